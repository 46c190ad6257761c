/* What pages gain when scripts run: copying, confirming, sorting, filtering, the theme.
   Every page works without this file; nothing here is needed to read or to send a form. */
(function () {
  "use strict";
  var words = document.body.dataset;

  function each(selector, act, root) {
    Array.prototype.forEach.call((root || document).querySelectorAll(selector), act);
  }

  /* ---- theme ---- */

  function showTheme() {
    var dark = document.documentElement.getAttribute("data-bs-theme") === "dark";
    each("[data-theme-toggle]", function (button) { button.setAttribute("aria-pressed", String(dark)); });
  }

  function switchTheme() {
    var root = document.documentElement;
    var next = root.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
    root.setAttribute("data-bs-theme", next);
    try { localStorage.setItem("kopeck-theme", next); } catch (e) { /* kept for this page alone */ }
    showTheme();
  }

  /* ---- copy ---- */

  function copyBySelection(text) {
    var area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.appendChild(area);
    area.select();
    var done = false;
    try { done = document.execCommand("copy"); } catch (e) { /* the text stays selectable */ }
    area.remove();
    return done;
  }

  function announce(text) {
    var live = document.getElementById("live");
    if (live) { live.textContent = ""; live.textContent = text; }
  }

  function showCopied(button) {
    var label = button.querySelector("[data-copy-label]");
    var before = label ? label.textContent : "";
    if (button.classList.contains("is-copied")) { return; }
    button.classList.add("is-copied");
    if (label) { label.textContent = words.wordCopied; }
    announce(words.wordCopied);
    setTimeout(function () {
      button.classList.remove("is-copied");
      if (label) { label.textContent = before; }
    }, 1600);
  }

  function copy(button) {
    var text = button.getAttribute("data-copy");
    function fallback() { if (copyBySelection(text)) { showCopied(button); } }
    if (navigator.clipboard && window.isSecureContext) {
      navigator.clipboard.writeText(text).then(function () { showCopied(button); }, fallback);
    } else {
      fallback();
    }
  }

  /* ---- confirm ---- */

  function ask(form, submitter) {
    var dialog = document.getElementById("confirm-dialog");
    var asker = submitter && submitter.hasAttribute("data-confirm") ? submitter : form;
    dialog.querySelector("[data-confirm-text]").textContent = asker.getAttribute("data-confirm");
    var yes = dialog.querySelector("[value=yes]");
    yes.textContent = asker.getAttribute("data-confirm-label") ||
      (submitter && submitter.textContent.trim()) || words.wordConfirm;
    yes.className = "btn " + (asker.getAttribute("data-confirm-tone") === "danger" ? "btn-danger" : "btn-primary");
    dialog.returnValue = "";
    dialog.onclose = function () {
      if (dialog.returnValue !== "yes") { return; }
      form.dataset.confirmed = "yes";
      if (submitter) { form.requestSubmit(submitter); } else { form.requestSubmit(); }
    };
    dialog.showModal();
  }

  function onSubmit(event) {
    var form = event.target;
    var submitter = event.submitter;
    var asks = form.hasAttribute("data-confirm") || (submitter && submitter.hasAttribute("data-confirm"));
    if (asks && form.dataset.confirmed !== "yes" && "showModal" in HTMLDialogElement.prototype) {
      event.preventDefault();
      ask(form, submitter);
      return;
    }
    delete form.dataset.confirmed;
    // form.method would be the field of that name, where there is one.
    if ((form.getAttribute("method") || "").toLowerCase() === "post") { guardAgainstDoubleClick(event, form); }
  }

  /* A second click on the same button sends nothing; the server is safe against it anyway. */
  function guardAgainstDoubleClick(event, form) {
    if (form.dataset.sent === "yes") { event.preventDefault(); return; }
    form.dataset.sent = "yes";
    setTimeout(function () { delete form.dataset.sent; }, 3000);
  }

  /* ---- tables ---- */

  function cellKey(row, index) {
    var cell = row.cells[index];
    if (!cell) { return ""; }
    var key = cell.getAttribute("data-sort");
    return key === null ? cell.textContent.trim() : key;
  }

  function compare(a, b) {
    var x = Number(a), y = Number(b);
    if (a !== "" && b !== "" && !isNaN(x) && !isNaN(y)) { return x - y; }
    return a.localeCompare(b, document.documentElement.lang, { numeric: true, sensitivity: "base" });
  }

  function sortBy(table, header) {
    var index = header.cellIndex;
    var up = header.getAttribute("aria-sort") !== "ascending";
    each("th[aria-sort]", function (th) { th.removeAttribute("aria-sort"); }, table);
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    var body = table.tBodies[0];
    Array.prototype.slice.call(body.rows)
      .map(function (row, i) { return { row: row, key: cellKey(row, index), i: i }; })
      .sort(function (a, b) { return (up ? 1 : -1) * compare(a.key, b.key) || a.i - b.i; })
      .forEach(function (entry) { body.appendChild(entry.row); });
  }

  function makeSortable(table) {
    each("thead th:not([data-no-sort])", function (th) {
      if (!th.textContent.trim()) { return; }
      var button = document.createElement("button");
      button.type = "button";
      button.className = "table-sort-button";
      while (th.firstChild) { button.appendChild(th.firstChild); }
      th.appendChild(button);
      button.addEventListener("click", function () { sortBy(table, th); });
    }, table);
  }

  function makeFilterable(input) {
    var table = document.getElementById(input.getAttribute("data-filter-for"));
    if (!table) { return; }
    var nothing = document.getElementById(table.id + "-nothing");
    input.closest("[data-filter-box]").hidden = false;
    input.addEventListener("input", function () {
      var wanted = input.value.trim().toLowerCase();
      var shown = 0;
      Array.prototype.forEach.call(table.tBodies[0].rows, function (row) {
        var fits = row.textContent.toLowerCase().indexOf(wanted) >= 0;
        row.hidden = !fits;
        if (fits) { shown += 1; }
      });
      if (nothing) { nothing.hidden = shown > 0; }
    });
  }

  /* What scrolls can be scrolled by keys. */
  function makeReachable(box) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) { box.tabIndex = 0; }
  }

  /* Of a line of choices that slides, the one that holds is in sight. */
  function showCurrent(choice) {
    var line = choice.parentElement;
    line.scrollLeft = choice.offsetLeft - line.offsetLeft - (line.clientWidth - choice.offsetWidth) / 2;
  }

  /* ---- wire up ---- */

  document.addEventListener("click", function (event) {
    var target = event.target.closest ? event.target : null;
    if (!target) { return; }
    var copyButton = target.closest("[data-copy]");
    if (copyButton) { copy(copyButton); return; }
    if (target.closest("[data-theme-toggle]")) { switchTheme(); return; }
    var closer = target.closest("[data-dismiss]");
    if (closer) { closer.closest(".alert").remove(); }
  });
  document.addEventListener("submit", onSubmit);
  document.addEventListener("focusin", function (event) {
    if (event.target.matches && event.target.matches("[data-select-all]")) { event.target.select(); }
  });
  each("table[data-sortable]", makeSortable);
  each(".table-scroll", makeReachable);
  each(".switch [aria-current]", showCurrent);
  each("[data-filter-for]", makeFilterable);
  showTheme();
})();
