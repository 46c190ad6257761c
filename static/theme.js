/* Runs in <head> before anything is painted, so that the page never flashes in the other theme. */
(function () {
  var root = document.documentElement;
  var saved = null;
  try { saved = localStorage.getItem("kopeck-theme"); } catch (e) { /* storage refused: the system decides */ }
  var dark = saved ? saved === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.setAttribute("data-bs-theme", dark ? "dark" : "light");
  root.classList.add("js");
})();
