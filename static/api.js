/* Shows the API's own description in Swagger UI; a file, because the pages allow no inline script. */
"use strict";
SwaggerUIBundle({
  url: document.getElementById("api").dataset.document,
  domNode: document.getElementById("api"),
  deepLinking: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null
});
