(function (w, d) {
"use strict";
var before = w.kopeck;
if (before && before.order) { return; }
var TOKENS_MAX = 20;
var TOKEN = /^[\w.~-]{16,120}$/;
var VISITOR = /^[\w-]{16,64}$/;
var KEEP_DAYS = 400;
var OUTBOX_MAX = 10;
var SENDS_MAX = 5;
var REPORTED_MAX = 50;
var tag = d.currentScript || d.querySelector("script[data-program][src*='/pixel']");
if (!tag) { return; }
var origin = tag.src.split("/").slice(0, 3).join("/");
var program = tag.getAttribute("data-program");
var domain = tag.getAttribute("data-domain");
var page = {};
function quietly(step) { try { return step(); } catch (e) { return undefined; } }
function stored(key) { return quietly(function () { return w.localStorage.getItem(key); }); }
function cookie(name) {
var found = quietly(function () { return ("; " + d.cookie).split("; " + name + "=")[1]; });
return found && found.split(";")[0];
}
function read(name) { return cookie(name) || stored(name) || page[name] || ""; }
function write(name, value) {
page[name] = value;
quietly(function () {
d.cookie = name + "=" + value + "; path=/; max-age=" + KEEP_DAYS * 86400 + "; samesite=lax" +
(domain ? "; domain=" + domain : "") + (w.location.protocol === "https:" ? "; secure" : "");
});
if (cookie(name) !== value) { quietly(function () { w.localStorage.setItem(name, value); }); }
}
function list(key) {
var parsed = quietly(function () { return JSON.parse(stored(key)); });
return Array.isArray(parsed) ? parsed : page[key] || [];
}
function keep(key, values) {
page[key] = values;
quietly(function () { w.localStorage.setItem(key, JSON.stringify(values)); });
}
function tokens() {
return read("kopeck_clicks").split("|").filter(function (token, i, all) {
return TOKEN.test(token) && all.indexOf(token) === i;
}).slice(-TOKENS_MAX);
}
function visitor() {
var id = read("kopeck_visitor");
if (!VISITOR.test(id)) {
id = "";
var bytes = w.crypto.getRandomValues(new Uint8Array(16));
for (var i = 0; i < 16; i++) { id += (256 + bytes[i]).toString(16).slice(1); }
write("kopeck_visitor", id);
}
return id;
}
function takeTokens() {
var at = w.location;
var taken = [];
var rest = at.search.slice(1).split("&").filter(function (pair) {
if (pair.slice(0, 4) !== "kpk=") { return true; }
taken.push(pair.slice(4));
return false;
});
if (!taken.length) { return; }
var query = rest.join("&");
w.history.replaceState(w.history.state, "", at.pathname + (query && "?" + query) + at.hash);
var all = tokens();
taken.forEach(function (token) {
if (TOKEN.test(token) && all.indexOf(token) < 0) { all.push(token); }
});
if (!all.length) { return; }
write("kopeck_clicks", all.slice(-TOKENS_MAX).join("|"));
visitor();
}
function setOutbox(body, tries) {
var rest = list("kopeck_outbox").filter(function (entry) { return entry.body !== body; });
if (tries < SENDS_MAX) { rest.push({ body: body, tries: tries }); }
keep("kopeck_outbox", rest.slice(-OUTBOX_MAX));
}
function image(body) {
new Image().src = origin + "/p.gif?d=" + encodeURIComponent(body);
}
function beacon(url, body) {
return quietly(function () { return w.navigator.sendBeacon(url, body); });
}
function send(body, tries) {
var url = origin + "/v1/events";
setOutbox(body, tries);
function done() { setOutbox(body, SENDS_MAX); }
if (w.fetch && "keepalive" in Request.prototype) {
w.fetch(url, { method: "POST", body: body, keepalive: true, credentials: "omit" })
.then(function (answer) { if (answer.status < 500 && answer.status !== 429) { done(); } },
function () { if (!beacon(url, body)) { image(body); } });
} else if (beacon(url, body)) {
done();
} else {
image(body);
}
}
function order(what) {
var id = String(what.order_id);
var reported = list("kopeck_reported");
if (reported.indexOf(id) >= 0) { return; }
keep("kopeck_reported", reported.concat(id).slice(-REPORTED_MAX));
send(JSON.stringify({
program: program, type: "order", order: what, clicks: tokens(), visitor: visitor(),
sent_at: new Date().toISOString()
}), 1);
}
var kopeck = { tokens: tokens, visitor: visitor, order: order };
function push(call) {
quietly(function () {
if (typeof call === "function") { call(kopeck); } else { kopeck[call[0]](call[1]); }
});
}
w.kopeck = {
push: push,
tokens: function () { return quietly(tokens) || []; },
visitor: function () { return quietly(visitor) || ""; },
order: function (what) { push(["order", what]); }
};
quietly(takeTokens);
quietly(function () {
list("kopeck_outbox").forEach(function (entry) { send(entry.body, entry.tries + 1); });
});
if (Array.isArray(before)) { before.forEach(push); }
})(window, document);
