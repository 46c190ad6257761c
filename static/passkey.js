/* Forms with data-passkey: their button asks the browser's passkey and sends what it signed.
   The challenge comes from data-passkey-options; the answer goes into the field `passkey`. */
(function () {
  "use strict";

  function bytes(text) {
    var plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, function (char) { return char.charCodeAt(0); });
  }

  function text(buffer) {
    var plain = "";
    new Uint8Array(buffer).forEach(function (byte) { plain += String.fromCharCode(byte); });
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }

  function readied(options) {
    options.challenge = bytes(options.challenge);
    if (options.user) { options.user.id = bytes(options.user.id); }
    (options.allowCredentials || []).concat(options.excludeCredentials || []).forEach(
      function (known) { known.id = bytes(known.id); }
    );
    return options;
  }

  function written(credential) {
    var response = {};
    ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"].forEach(
      function (name) { if (credential.response[name]) { response[name] = text(credential.response[name]); } }
    );
    return JSON.stringify({
      id: credential.id, rawId: text(credential.rawId), type: credential.type, response: response
    });
  }

  function challenge(form) {
    var sent = new FormData();
    sent.append("csrf_token", form.elements.csrf_token.value);
    return fetch(form.dataset.passkeyOptions, { method: "POST", body: sent, redirect: "error" })
      .then(function (answer) {
        if (!answer.ok) { throw new Error(String(answer.status)); }
        return answer.json();
      });
  }

  function ask(form, button) {
    var failed = form.querySelector("[data-passkey-error]");
    failed.hidden = true;
    button.disabled = true;
    challenge(form).then(function (options) {
      var asked = { publicKey: readied(options) };
      return form.dataset.passkey === "create"
        ? navigator.credentials.create(asked) : navigator.credentials.get(asked);
    }).then(function (credential) {
      form.elements.passkey.value = written(credential);
      form.submit();
    }).catch(function () {
      button.disabled = false;
      failed.hidden = false;
    });
  }

  document.addEventListener("click", function (event) {
    var button = event.target.closest("[data-passkey-button]");
    if (button) { ask(button.form, button); }
  });
}());
