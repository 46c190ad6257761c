/*
 * What Kopeck's pixel sees on this page, told on the page itself.
 *
 * The pixel loads it where its tag has data-debug or the address ?kopeck_debug=1. It reads
 * kopeck.seen() and draws a panel; styles go through the DOM, so that a strict policy allows them.
 * English alone: whoever integrates a shop reads it, not its buyers.
 */
(function (w, d) {
  "use strict";
  if (!w.kopeck || !w.kopeck.seen || d.getElementById("kopeck-debug")) { return; }

  var PANEL = "position:fixed;box-sizing:border-box;right:12px;bottom:12px;z-index:2147483647;" +
    "width:min(380px,calc(100vw - 24px));" +
    "max-height:60vh;overflow:auto;padding:12px 14px;border-radius:10px;background:#fff;" +
    "color:#1b2432;font:13px/1.45 system-ui,sans-serif;box-shadow:0 4px 24px rgba(0,0,0,.25)";
  var COLOURS = { good: "#1a7f47", bad: "#b3261e", plain: "#5b6573" };
  var SIGNS = { good: "\u2713 ", bad: "\u2717 ", plain: "\u2022 " };
  var EVERY_MS = 500;

  function cookie(name) {
    try { return ("; " + d.cookie).indexOf("; " + name + "=") >= 0; } catch (e) { return false; }
  }

  function stored(name) {
    try { return w.localStorage.getItem(name) !== null; } catch (e) { return false; }
  }

  function clicks(count) { return count + (count === 1 ? " click" : " clicks"); }

  function short(token) { return token.slice(0, 6) + "\u2026" + token.slice(-4); }

  function amount(total) { return total ? total.amount + " " + total.currency : "no total"; }

  function said(state, name) { return state.tag.getAttribute("data-" + name); }

  // Each sentence with whether it is good news.
  function sentences(state) {
    var all = [];
    function add(kind, text) { all.push([kind, text]); }
    var program = said(state, "program");
    if (program) {
      add("good", "Program \u201c" + program + "\u201d; reports go to " + state.base + ".");
    } else {
      add("bad", "The tag has no data-program: no report can be taken.");
    }
    consentOf(state, add);
    clicksOf(state, add);
    state.orders.forEach(function (order) {
      add("plain", "Order " + order.order_id + " waits for the answer about consent.");
    });
    state.seen.forEach(function (one) { eventOf(one[0], one[1], add); });
    return all;
  }

  function consentOf(state, add) {
    if (said(state, "consent") !== "required") {
      add("plain", "Consent is not asked for: tokens are kept at once.");
    } else if (state.granted) {
      add("good", "Consent is given.");
    } else if (state.granted === null) {
      add("plain", "No answer about consent yet: nothing is stored; in the page " +
        (state.clicks.length === 1 ? "waits " : "wait ") + clicks(state.clicks.length) + ". Call kopeck.push([\"consent\", true]).");
    } else {
      add("plain", "Consent is refused: nothing is stored, orders are reported without clicks.");
    }
  }

  function clicksOf(state, add) {
    var tokens = w.kopeck.tokens();
    if (state.hidden) {
      add("plain", "Cookies are HttpOnly: the server sees the clicks, this page does not.");
    } else if (tokens.length) {
      add("good", clicks(tokens.length) + (tokens.length > 1 ? ", oldest first: " : ": ") + tokens.map(short).join(", ") + ".");
      if (cookie("kopeck_clicks")) {
        add("good", "They are kept in the cookie kopeck_clicks of this site.");
      } else if (stored("kopeck_clicks")) {
        add("plain", "The cookie was refused: they are kept in localStorage, which the shop's " +
          "server cannot read.");
      } else {
        add("bad", "Neither cookie nor localStorage took them: they end with this page.");
      }
    } else {
      add("plain", "No click: this browser came by no referral link, or ?kpk= was lost on the way.");
    }
  }

  function eventOf(what, more, add) {
    if (what === "clicks") {
      add(more ? "good" : "bad", more ? clicks(more) + " taken out of the address." :
        "A kpk parameter stood in the address, but it is no click token.");
    } else if (what === "kept") {
      add(more === 204 ? "good" : "bad", more === 204 ?
        "The server has set the cookies again by Set-Cookie." :
        "The path of data-path does not lead to Kopeck (answer " + (more || "none") + ").");
    } else if (what === "order") {
      add("plain", "Order " + more.order_id + " reported: " + amount(more.total) + ".");
    } else if (what === "again") {
      add("plain", "Order " + more + " was reported by this browser before; it is not sent again. " +
        "For another try take another id, or a new private window.");
    } else if (what === "answer") {
      answerOf(more, add);
    } else if (what === "error") {
      add("bad", "A step went wrong: " + more);
    }
  }

  function answerOf(text, add) {
    var answer;
    try { answer = JSON.parse(text); } catch (e) { answer = null; }
    if (!answer) {
      add("bad", "The report did not arrive (blocked, or Kopeck is away); the next page sends it " +
        "again. Look at connect-src of the page's Content-Security-Policy.");
    } else if (answer.taken) {
      add("good", "Kopeck could read the report. It is a claim until the shop's server, a signed " +
        "token or a person confirms it.");
    } else {
      add("bad", "Kopeck refused the report: " + answer.detail + " " +
        (answer.errors || []).map(function (e) { return e.field + ": " + e.message; }).join(" "));
    }
  }

  function line(kind, text) {
    var made = d.createElement("div");
    made.style.cssText = "margin-top:6px;overflow-wrap:anywhere;color:" + COLOURS[kind];
    made.textContent = SIGNS[kind] + text;
    return made;
  }

  var panel = d.createElement("section");
  panel.id = "kopeck-debug";
  panel.setAttribute("role", "status");
  panel.setAttribute("aria-label", "Kopeck pixel");
  panel.style.cssText = PANEL;
  var shown = "";

  function draw() {
    var all = sentences(w.kopeck.seen());
    var now = JSON.stringify(all);
    if (now === shown) { return; }
    shown = now;
    panel.textContent = "";
    var title = d.createElement("strong");
    title.textContent = "Kopeck: what the pixel sees here";
    panel.appendChild(title);
    all.forEach(function (one) { panel.appendChild(line(one[0], one[1])); });
  }

  function show() {
    d.body.appendChild(panel);
    draw();
    w.setInterval(draw, EVERY_MS);
  }

  if (d.body) { show(); } else { d.addEventListener("DOMContentLoaded", show); }
})(window, document);
