<?php
// Report an order, refund a part of it, list affiliates: PHP 8 with curl, no packages.
// Usage: php order.php ORDER_ID
declare(strict_types=1);

const TRIES = 4;

function call(string $method, string $path, ?array $body = null, ?string $key = null): array
{
    $headers = ['Authorization: Bearer ' . getenv('KOPECK_KEY')];
    if ($body !== null) {
        $headers[] = 'Content-Type: application/json';
    }
    if ($key !== null) {
        $headers[] = "Idempotency-Key: $key";
    }
    for ($attempt = 1; ; $attempt++) {
        $curl = curl_init(getenv('KOPECK_URL') . "/api/v1$path");
        curl_setopt_array($curl, [
            CURLOPT_CUSTOMREQUEST => $method,
            CURLOPT_HTTPHEADER => $headers,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_TIMEOUT => 30,
        ]);
        if ($body !== null) {
            curl_setopt($curl, CURLOPT_POSTFIELDS, json_encode($body, JSON_THROW_ON_ERROR));
        }
        $answer = curl_exec($curl);
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        if ($answer !== false && $status < 300) {
            return json_decode($answer, true, flags: JSON_THROW_ON_ERROR);
        }
        $again = $answer === false || in_array($status, [429, 502, 503, 504], true);
        if (!$again || $attempt === TRIES) {
            throw new RuntimeException("$method $path: $status $answer");
        }
        sleep(2 ** ($attempt - 1));
    }
}

function money(string $amount): array
{
    return ['amount' => $amount, 'currency' => getenv('KOPECK_CURRENCY') ?: 'RUB'];
}

$orderId = $argv[1];
// In a shop: what the buyer's cookie kopeck_clicks holds. Without it nobody is credited.
$clicks = array_values(array_filter(explode('|', getenv('KOPECK_CLICKS') ?: '')));
$inPath = rawurlencode($orderId);
call('POST', '/orders', [
    'order_id' => $orderId,
    'placed_at' => gmdate('Y-m-d\TH:i:s\Z'),
    'total' => money('4490.00'),
    'clicks' => $clicks,
], "order-$orderId");
call('POST', "/orders/$inPath/refunds", [
    'refund_id' => 'R-1',
    'amount' => money('490.00'),
], "refund-$orderId-1");
$order = call('GET', "/orders/$inPath");
echo $order['status'], ', ', $order['refunded']['amount'], " refunded\n";

$count = 0;
$after = '';
do {
    $page = call('GET', '/affiliates?limit=2' . ($after === '' ? '' : "&after=$after"));
    $count += count($page['affiliates']);
    $after = $page['next'] ?? '';
} while ($after !== '');
echo $count, " affiliates\n";
