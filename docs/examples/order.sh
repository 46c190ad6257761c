#!/bin/sh
# Report an order, refund a part of it, list affiliates: curl alone. Usage: order.sh ORDER_ID
set -eu
order_id=$1
api="$KOPECK_URL/api/v1"

# --retry sends the call again after a time-out, 429 or 503; the key makes that safe.
call() {
    answer=$(curl --silent --show-error --fail-with-body --retry 3 \
        --header "Authorization: Bearer $KOPECK_KEY" --header 'Content-Type: application/json' "$@") || {
        printf '%s\n' "$answer" >&2
        return 1
    }
    printf '%s\n' "$answer"
}

currency=${KOPECK_CURRENCY:-RUB}
# In a shop: what the buyer's cookie kopeck_clicks holds. Without it nobody is credited.
clicks=$(printf '%s\n' "${KOPECK_CLICKS:-}" | sed 's/|/", "/g; s/..*/["&"]/; s/^$/[]/')
placed_at=$(date -u +%Y-%m-%dT%H:%M:%SZ)
call "$api/orders" --header "Idempotency-Key: order-$order_id" --data @- <<JSON >/dev/null
{"order_id": "$order_id", "placed_at": "$placed_at", "clicks": $clicks,
 "total": {"amount": "4490.00", "currency": "$currency"}}
JSON

call "$api/orders/$order_id/refunds" --header "Idempotency-Key: refund-$order_id-1" --data @- <<JSON >/dev/null
{"refund_id": "R-1", "amount": {"amount": "490.00", "currency": "$currency"}}
JSON

order=$(call "$api/orders/$order_id")
printf '%s\n' "$order" | sed 's/.*"status":"\([a-z]*\)","program".*"refunded":{"amount":"\([0-9.]*\)".*/\1, \2 refunded/'

# `next` goes into `after` until it is null.
after='' count=0
while :; do
    page=$(call --get "$api/affiliates" --data-urlencode limit=2 ${after:+--data-urlencode "after=$after"})
    count=$((count + $(printf %s "$page" | grep -o '"id":"' | wc -l)))
    after=$(printf %s "$page" | sed -n 's/.*"next":"\([^"]*\)".*/\1/p')
    [ -n "$after" ] || break
done
echo "$count affiliates"
