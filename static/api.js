/* Shows the API's own description in Swagger UI; a file, because the pages allow no inline script.
   Swagger UI is dark by a class of the document, our pages by an attribute: the one follows the other. */
"use strict";
(function () {
  var root = document.documentElement;
  function follow() {
    root.classList.toggle("dark-mode", root.getAttribute("data-bs-theme") === "dark");
  }
  new MutationObserver(follow).observe(root, { attributes: true, attributeFilter: ["data-bs-theme"] });
  follow();
  SwaggerUIBundle({
    url: document.getElementById("api").dataset.document,
    domNode: document.getElementById("api"),
    deepLinking: true,
    persistAuthorization: false,
    tryItOutEnabled: true,
    validatorUrl: null
  });
})();
