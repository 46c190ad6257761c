/*
 * Kopeck's pixel: what a shop's pages embed.
 *
 *   <script async src="https://kopeck.example/pixel.js" data-program="demo"></script>
 *   <script>
 *     window.kopeck = window.kopeck || [];
 *     kopeck.push(["order", {order_id: "A-1", total: {amount: "10.00", currency: "EUR"}}]);
 *   </script>
 *
 * It takes ?kpk=<click token> out of the address, so that a copied address credits no stranger,
 * keeps up to twenty tokens (oldest first) and a visitor id in first-party cookies of the shop,
 * and reports orders to POST /v1/events. It never throws into the page and needs nothing else.
 *
 * Comments stand on lines of their own: the server strips them by that rule
 * (tracker/pixel/rules.py). Every word here is read by a newcomer before embedding it.
 */
(function (w, d) {
  "use strict";
  var before = w.kopeck;
  // A second copy of the script on one page does nothing.
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
  // data-domain=".shop.example" shares the cookies between sub-domains; absent: this host alone.
  var domain = tag.getAttribute("data-domain");
  // What neither cookie nor storage would take lives as long as the page.
  var page = {};

  // Runs a step; whatever it throws stays inside.
  function quietly(step) { try { return step(); } catch (e) { return undefined; } }

  /* ---- first-party storage: cookie, else localStorage, else the page ---- */

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

  /* ---- click tokens and the visitor ---- */

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
    // Other parameters keep their exact spelling, so nothing here decodes and encodes again.
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
    // Whoever came by no link is given no id until an order or the shop asks for one.
    visitor();
  }

  /* ---- reports ---- */

  // Sent for the `tries`-th time; SENDS_MAX takes it out.
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

  // A keepalive request outlives the page like a beacon and says whether it arrived; the beacon
  // serves browsers without it, the image is the last resort. Text/plain needs no preflight.
  // Until the answer is known the report stays in the outbox; the next page sends it again.
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
    // Reloading the thank-you page reports nothing new.
    if (reported.indexOf(id) >= 0) { return; }
    keep("kopeck_reported", reported.concat(id).slice(-REPORTED_MAX));
    send(JSON.stringify({
      program: program, type: "order", order: what, clicks: tokens(), visitor: visitor(),
      sent_at: new Date().toISOString()
    }), 1);
  }

  /* ---- what the page calls ---- */

  var kopeck = { tokens: tokens, visitor: visitor, order: order };

  // kopeck.push(["order", {…}]) or kopeck.push(function (kopeck) { … })
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
