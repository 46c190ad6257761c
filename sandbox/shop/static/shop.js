/* What the thank-you page tells Kopeck's pixel; the queue works before the pixel has loaded. */
(function () {
  var report = document.getElementById("kopeck-order");
  if (!report) { return; }
  window.kopeck = window.kopeck || [];
  window.kopeck.push(["order", JSON.parse(report.getAttribute("data-order"))]);
})();
