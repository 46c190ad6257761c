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
 * Everything that it takes from its tag, every call and every field: docs/integration.md, "Pixel".
 *
 * Comments stand on lines of their own: the server strips them by that rule
 * (tracker/pixel/rules.py). Every word here is read by a newcomer before embedding it.
 */
(function (w, d) {
  "use strict";
  var before = w.kopeck;
  // A second copy of the script on one page does nothing.
  if (before && before.order) { return; }

  // Of clicks, of reports that wait and of those that were sent; the oldest go first.
  var KEPT_MAX = 20;
  var TOKEN = /^[\w.~-]{16,120}$/;
  var VISITOR = /^[\w-]{16,64}$/;
  var KEEP_DAYS = 400;
  var SENDS_MAX = 5;
  var CLICKS = "kopeck_clicks";
  var VISITOR_ID = "kopeck_visitor";
  var CONSENT = "kopeck_consent";
  var OUTBOX = "kopeck_outbox";
  var REPORTED = "kopeck_reported";

  var tag = d.currentScript || d.querySelector("script[data-program][src*='/pixel']");
  if (!tag) { return; }
  // data-path="/kopeck": the shop hands this path of its own on to Kopeck, which keeps the
  // cookies there by Set-Cookie; browsers that cap what scripts set leave those alone.
  var path = said("path");
  var base = (path || tag.src.replace(/\/pixel[^\/]*$/, "")).replace(/\/$/, "");
  var program = said("program");
  // data-domain=".shop.example" shares the cookies between sub-domains; absent: this host alone.
  var domain = said("domain");
  // data-http-only, with a path: scripts cannot read the cookies, the shop's server can.
  var hidden = !!path && said("http-only") !== null;
  var debug = said("debug") !== null || /[?&]kopeck_debug=1/.test(w.location.search);
  // What the debug panel shows.
  var seen = [];
  // What neither cookie nor storage would take lives as long as the page.
  var page = {};
  // data-consent="required": until the visitor has agreed, the page alone remembers anything.
  // True and false are answers, null is none yet.
  var granted = said("consent") !== "required" || read(CONSENT) === "1" || null;
  var waiting = [];
  var orders = [];
  var lostTold = 0;

  function said(name) { return tag.getAttribute("data-" + name); }

  // Runs a step; whatever it throws stays inside.
  function quietly(step) {
    try { return step(); } catch (e) { tell("error", String(e)); return undefined; }
  }

  function tell(what, more) { if (debug) { seen.push([what, more]); } }

  /* ---- first-party storage: cookie, else localStorage, else the page ---- */

  function stored(key) { return quietly(function () { return w.localStorage.getItem(key); }); }

  function store(key, value) {
    quietly(function () { w.localStorage.setItem(key, value); });
  }

  function cookie(name) {
    var found = quietly(function () { return ("; " + d.cookie).split("; " + name + "=")[1]; });
    return found && found.split(";")[0];
  }

  function setCookie(name, value, days) {
    quietly(function () {
      d.cookie = name + "=" + value + "; path=/; max-age=" + days * 86400 + "; samesite=lax" +
        (domain ? "; domain=" + domain : "") + (w.location.protocol === "https:" ? "; secure" : "");
    });
  }

  function read(name) { return cookie(name) || stored(name) || page[name] || ""; }

  function write(name, value) {
    page[name] = value;
    if (!granted || hidden && name !== CONSENT) { return; }
    setCookie(name, value, KEEP_DAYS);
    if (cookie(name) !== value) { store(name, value); }
  }

  function list(key) {
    var parsed = quietly(function () { return JSON.parse(stored(key)); });
    return Array.isArray(parsed) ? parsed : page[key] || [];
  }

  function keep(key, values) {
    page[key] = values = values.slice(-KEPT_MAX);
    if (granted) { store(key, JSON.stringify(values)); }
  }

  // The server's answer sets the same cookies again, for longer than scripts may.
  function keepByServer(what) {
    function told(answer) { tell("kept", answer.status); }
    what.domain = domain;
    what.http_only = hidden;
    if (!path) { return; }
    quietly(function () {
      w.fetch(base + "/v1/keep", {
        method: "POST", body: JSON.stringify(what), keepalive: true, credentials: "same-origin",
        headers: { "Content-Type": "application/json" }
      }).then(told, told);
    });
  }

  /* ---- click tokens and the visitor ---- */

  function tokens() {
    return granted ? read(CLICKS).split("|").filter(function (token, i, all) {
      return TOKEN.test(token) && all.indexOf(token) === i;
    }).slice(-KEPT_MAX) : [];
  }

  function visitor() {
    // Without consent there is none; one that scripts cannot read is the server's to name.
    if (!granted || hidden) { return ""; }
    var id = read(VISITOR_ID);
    if (!VISITOR.test(id)) {
      id = [].map.call(w.crypto.getRandomValues(new Uint8Array(16)), function (byte) {
        return (256 + byte).toString(16).slice(1);
      }).join("");
      write(VISITOR_ID, id);
    }
    return id;
  }

  function add(taken) {
    var all = tokens();
    taken.forEach(function (token) { if (all.indexOf(token) < 0) { all.push(token); } });
    if (!taken.length) { return; }
    all = all.slice(-KEPT_MAX);
    write(CLICKS, all.join("|"));
    // Whoever came by no link is given no id until an order or the shop asks for one.
    keepByServer({ clicks: all, visitor: visitor() });
  }

  // Takes the tokens out of the address: out of its query, and out of a query behind its #.
  function takeTokens() {
    var at = w.location;
    var found = [];
    // Other parameters keep their exact spelling, so nothing here decodes and encodes again.
    function without(text) {
      var head = /^(#[^?]*\?|[?#]?)/.exec(text)[0];
      var rest = text.slice(head.length).split("&").filter(function (pair) {
        if (pair.slice(0, 4) !== "kpk=") { return true; }
        found.push(pair.slice(4));
        return false;
      }).join("&");
      return rest ? head + rest : head.slice(0, -1);
    }
    var to = at.origin + at.pathname + without(at.search) + without(at.hash);
    if (!found.length) { return; }
    quietly(function () { w.history.replaceState(w.history.state, "", to); });
    found = found.filter(function (token) { return TOKEN.test(token); });
    tell("clicks", found.length);
    if (granted) { add(found); } else { waiting = waiting.concat(found); }
    if (granted === false) { lose(); }
  }

  /* ---- consent ---- */

  // Tells that clicks were lost for want of consent: how many, and nothing else.
  function lose() {
    var lost = waiting.length - lostTold;
    if (!lost) { return; }
    beacon(JSON.stringify({ program: program, type: "lost", clicks: lost }));
    lostTold += lost;
  }

  function consent(yes) {
    tell("consent", !!yes);
    var was = granted;
    granted = !!yes;
    if (granted) {
      write(CONSENT, "1");
      add(waiting);
    } else {
      lose();
      if (was) { keepByServer({ forget: true }); }
      [CLICKS, VISITOR_ID, CONSENT, OUTBOX, REPORTED].forEach(function (name) {
        if (cookie(name)) { setCookie(name, "", 0); }
        quietly(function () { w.localStorage.removeItem(name); });
      });
      page = {};
    }
    waiting = [];
    lostTold = 0;
    report();
  }

  // Sends the orders that waited for an answer.
  function report() {
    orders.splice(0).forEach(function (what) { quietly(function () { send(what); }); });
  }

  /* ---- reports ---- */

  // Sent for the `tries`-th time; SENDS_MAX takes it out.
  function setOutbox(body, tries) {
    var rest = list(OUTBOX).filter(function (entry) { return entry.body !== body; });
    if (tries < SENDS_MAX) { rest.push({ body: body, tries: tries }); }
    keep(OUTBOX, rest);
  }

  function beacon(body) {
    return quietly(function () { return w.navigator.sendBeacon(base + "/v1/events", body); });
  }

  function image(body) {
    new Image().src = base + "/p.gif?d=" + encodeURIComponent(body);
  }

  // A keepalive request outlives the page like a beacon and says whether it arrived; the beacon
  // serves browsers without it, the image is the last resort. Text/plain needs no preflight.
  // Until the answer is known the report stays in the outbox; the next page sends it again.
  function post(body, tries) {
    setOutbox(body, tries);
    function done() { setOutbox(body, SENDS_MAX); }
    if (w.fetch && "keepalive" in Request.prototype) {
      w.fetch(base + "/v1/events" + (debug ? "?explain=1" : ""), {
        method: "POST", body: body, keepalive: true, credentials: path ? "same-origin" : "omit"
      }).then(function (answer) {
        if (answer.status < 500 && answer.status !== 429) {
          done();
          // A page that was mended after a refusal must be heard; what else is reported again by
          // that is known to the server.
          if (answer.status === 202) { keep(REPORTED, []); }
        }
        answer.text().then(function (text) { tell("answer", text); });
      }, function () {
        tell("answer", "");
        if (!beacon(body)) { image(body); }
      });
    } else if (beacon(body)) {
      done();
    } else {
      image(body);
    }
  }

  function order(what) {
    if (granted === null) { orders.push(what); } else { send(what); }
  }

  function send(what) {
    var id = String(what.order_id);
    var reported = list(REPORTED);
    // Reloading the thank-you page reports nothing new.
    if (reported.indexOf(id) >= 0) { return tell("again", id); }
    if (!what.test) { keep(REPORTED, reported.concat(id)); }
    tell("order", what);
    post(JSON.stringify({
      program: program, type: "order", order: what, clicks: tokens(),
      visitor: visitor() || undefined, consent: granted ? undefined : false,
      sent_at: new Date().toISOString()
    }), 1);
  }

  // Orders that the page holds as text, for shops whose policy allows no inline code.
  function readOrders() {
    [].forEach.call(d.querySelectorAll("[data-kopeck-order]"), function (place) {
      quietly(function () {
        order(JSON.parse(place.getAttribute("data-kopeck-order") || place.textContent));
      });
    });
  }

  /* ---- what the page calls ---- */

  var kopeck = { tokens: tokens, visitor: visitor, order: order, consent: consent };

  // kopeck.push(["order", {…}]) or kopeck.push(function (kopeck) { … })
  function push(call) {
    quietly(function () {
      if (typeof call === "function") { call(kopeck); } else { kopeck[call[0]](call[1]); }
    });
  }

  w.kopeck = {
    push: push,
    tokens: tokens,
    visitor: function () { return quietly(visitor) || ""; },
    order: function (what) { push(["order", what]); },
    consent: function (yes) { push(["consent", yes]); }
  };

  function look() { quietly(takeTokens); }

  look();
  quietly(function () {
    list(OUTBOX).forEach(function (entry) { post(entry.body, entry.tries + 1); });
  });
  if (Array.isArray(before)) { before.forEach(push); }

  // An application that changes the address by itself brings tokens as a page does.
  ["pushState", "replaceState"].forEach(function (name) {
    var own = w.history[name];
    w.history[name] = function () {
      own.apply(this, arguments);
      look();
    };
  });
  w.addEventListener("popstate", look);
  w.addEventListener("hashchange", look);
  // Who leaves without an answer has not agreed. Elsewhere nothing listens: a page that is being
  // left would hear of its own request as failed, and send a second one.
  if (!granted) {
    w.addEventListener("pagehide", function () {
      if (!granted) { lose(); report(); }
    });
  }
  if (d.readyState === "loading") {
    d.addEventListener("DOMContentLoaded", readOrders);
  } else {
    readOrders();
  }

  if (debug) {
    w.kopeck.seen = function () {
      return {
        tag: tag, base: base, hidden: hidden, granted: granted, clicks: waiting,
        orders: orders, seen: seen
      };
    };
    var script = d.createElement("script");
    script.src = base + "/pixel-debug.js";
    script.nonce = tag.nonce;
    d.head.appendChild(script);
  }
})(window, document);
