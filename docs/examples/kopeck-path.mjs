// A path of the shop's own that leads to Kopeck: Express middleware (any connect-style server).
//
//   import { kopeckPath } from "./kopeck-path.mjs";
//   app.use(kopeckPath({ kopeck: "https://kopeck.example", secret: "demo.…" }));
//
// Before body parsers. Node 18 or later; nothing to install. docs/integration.md says why.

// All that leads to Kopeck: its pages for people have no business on the shop's domain.
const PASSED = /^\/(?:pixel(?:-[0-9a-z]+)?\.js|v1\/(?:events|keep)|[pv]\.gif)$/;
// All of the buyer's cookies that Kopeck is told.
const COOKIES = /^kopeck_(?:clicks|visitor)=/;
const ASKED = ["content-type", "origin", "referer", "sec-fetch-site", "if-none-match"];
const ANSWERED = ["content-type", "cache-control", "etag", "x-content-type-options"];
const BODY_BYTES_MAX = 20_000;
const TIMEOUT_MS = 5_000;

export function kopeckPath({ kopeck, secret = "", path = "/kopeck" }) {
  return async function (request, response, next) {
    const url = new URL(request.originalUrl || request.url, "http://shop");
    if (!url.pathname.startsWith(path + "/")) { return next(); }
    const asked = url.pathname.slice(path.length);
    if (!PASSED.test(asked) || !["GET", "POST"].includes(request.method)) {
      response.statusCode = 404;
      return response.end();
    }
    try {
      const body = request.method === "POST" ? await bodyOf(request) : undefined;
      if (body === null) {
        response.statusCode = 413;
        return response.end();
      }
      const answer = await fetch(kopeck + asked + url.search, {
        method: request.method,
        headers: headersOf(request, secret),
        body,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      response.statusCode = answer.status;
      for (const name of ANSWERED) {
        if (answer.headers.has(name)) { response.setHeader(name, answer.headers.get(name)); }
      }
      response.setHeader("set-cookie", answer.headers.getSetCookie());
      response.end(Buffer.from(await answer.arrayBuffer()));
    } catch {
      // The pixel keeps the report and sends it again.
      response.statusCode = 502;
      response.end();
    }
  };
}

function headersOf(request, secret) {
  const headers = {};
  for (const name of ASKED) {
    if (request.headers[name]) { headers[name] = request.headers[name]; }
  }
  headers.cookie = (request.headers.cookie || "").split("; ")
    .filter((one) => COOKIES.test(one)).join("; ");
  if (secret) {
    // request.ip is Express's, by its "trust proxy"; behind a proxy without it nothing else helps.
    headers["x-kopeck-proxy"] = secret;
    headers["x-kopeck-buyer"] = request.ip || request.socket.remoteAddress;
  }
  return headers;
}

// What is larger than any report is read and thrown away, so that the answer is heard: null.
async function bodyOf(request) {
  const parts = [];
  let bytes = 0;
  for await (const part of request) {
    bytes += part.length;
    if (bytes <= BODY_BYTES_MAX) { parts.push(part); }
  }
  return bytes > BODY_BYTES_MAX ? null : Buffer.concat(parts);
}
