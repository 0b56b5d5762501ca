<?php
// Reads a delivery a line ({secret, headers, body in base64}) and answers each with "ok" or why it is refused.
// Exits with 1 when it has refused any. Knows X-TempClock-Signature alone, which needs nothing but PHP.
$refused = false;
while (($line = fgets(STDIN)) !== false) {
    $delivery = json_decode($line, true);
    $body = base64_decode($delivery['body']);
    $expected = hash_hmac('sha256', $body, $delivery['secret']);
    $genuine = hash_equals($expected, $delivery['headers']['X-TempClock-Signature']);
    $refused = $refused || !$genuine;
    echo $genuine ? "ok\n" : "refused: X-TempClock-Signature does not fit\n";
}
exit($refused ? 1 : 0);
