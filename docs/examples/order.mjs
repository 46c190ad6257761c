// Report an order, refund a part of it, list affiliates: Node 18 or newer, no packages.
// Usage: node order.mjs ORDER_ID
const { KOPECK_URL, KOPECK_KEY, KOPECK_CURRENCY = "RUB", KOPECK_CLICKS = "" } = process.env;
const orderId = process.argv[2];
const TRIES = 4;

async function call(method, path, body, key) {
  for (let attempt = 1; ; attempt += 1) {
    const headers = { Authorization: `Bearer ${KOPECK_KEY}` };
    if (body) headers["Content-Type"] = "application/json";
    if (key) headers["Idempotency-Key"] = key;
    let answer;
    try {
      answer = await fetch(`${KOPECK_URL}/api/v1${path}`, {
        method, headers, body: body && JSON.stringify(body),
      });
    } catch (error) {
      if (attempt === TRIES) throw error;
    }
    if (answer?.ok) return answer.json();
    if (answer && ![429, 502, 503, 504].includes(answer.status)) {
      const problem = await answer.json();
      const fields = (problem.errors ?? []).map((e) => `${e.field}: ${e.message}`).join(" ");
      throw new Error(`${problem.code}: ${problem.detail} ${fields} (${problem.request_id})`);
    }
    if (attempt === TRIES) throw new Error(`${method} ${path}: ${answer.status}`);
    const seconds = Number(answer?.headers.get("Retry-After")) || 2 ** attempt / 4;
    await new Promise((done) => setTimeout(done, seconds * 1000));
  }
}

const money = (amount) => ({ amount, currency: KOPECK_CURRENCY });
// In a shop: what the buyer's cookie kopeck_clicks holds. Without it nobody is credited.
const clicks = KOPECK_CLICKS.split("|").filter(Boolean);

await call("POST", "/orders", {
  order_id: orderId, placed_at: new Date().toISOString(), total: money("4490.00"), clicks,
}, `order-${orderId}`);
await call("POST", `/orders/${encodeURIComponent(orderId)}/refunds`, {
  refund_id: "R-1", amount: money("490.00"),
}, `refund-${orderId}-1`);
const order = await call("GET", `/orders/${encodeURIComponent(orderId)}`);
console.log(`${order.status}, ${order.refunded.amount} refunded`);

let count = 0;
let after = "";
do {
  const page = await call("GET", `/affiliates?limit=2${after && `&after=${after}`}`);
  count += page.affiliates.length;
  after = page.next;
} while (after);
console.log(count, "affiliates");
