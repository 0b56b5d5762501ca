<?php
// A receiver that looks the header up by its exact name in getallheaders(). The secret is in WEBHOOK_SECRET.
$expected = hash_hmac('sha256', file_get_contents('php://input'), getenv('WEBHOOK_SECRET'));
$given = getallheaders()['X-TempClock-Signature'] ?? '';
http_response_code(hash_equals($expected, $given) ? 200 : 401);
