// A path of the shop's own that leads to Kopeck: a Cloudflare Worker on the route
// shop.example/kopeck/* with the variable KOPECK and the secret KOPECK_SECRET.
// docs/integration.md says why.

const PATH = "/kopeck";
const PASSED = /^\/(?:pixel(?:-[0-9a-z]+)?\.js|v1\/(?:events|keep)|[pv]\.gif)$/;
const COOKIES = /^kopeck_(?:clicks|visitor)=/;
const ASKED = ["content-type", "origin", "referer", "sec-fetch-site", "if-none-match"];
const BODY_BYTES_MAX = 20_000;

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const asked = url.pathname.slice(PATH.length);
    if (!url.pathname.startsWith(PATH + "/") || !PASSED.test(asked) ||
        !["GET", "POST"].includes(request.method)) {
      return new Response(null, { status: 404 });
    }
    const headers = new Headers();
    for (const name of ASKED) {
      if (request.headers.has(name)) { headers.set(name, request.headers.get(name)); }
    }
    headers.set("cookie", (request.headers.get("cookie") || "").split("; ")
      .filter((one) => COOKIES.test(one)).join("; "));
    if (env.KOPECK_SECRET) {
      headers.set("x-kopeck-proxy", env.KOPECK_SECRET);
      headers.set("x-kopeck-buyer", request.headers.get("cf-connecting-ip") || "");
    }
    const body = request.method === "POST" ? await request.arrayBuffer() : undefined;
    if (body && body.byteLength > BODY_BYTES_MAX) { return new Response(null, { status: 413 }); }
    return fetch(env.KOPECK + asked + url.search, { method: request.method, headers, body });
  },
};
