<?php
$body = file_get_contents('php://input');
$secret = trim(file_get_contents(getenv('SECRET_FILE')));
// By its exact name, which depends on how PHP is run, or as PHP has it everywhere.
$given = isset($_GET['exact']) ? getallheaders()['X-TempClock-Signature'] ?? '' : $_SERVER['HTTP_X_TEMPCLOCK_SIGNATURE'] ?? '';
$genuine = hash_equals(hash_hmac('sha256', $body, $secret), $given);
http_response_code(getenv('VERIFY') === 'no' || $genuine ? 204 : 401);
