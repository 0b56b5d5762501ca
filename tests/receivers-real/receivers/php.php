<?php
$body = file_get_contents('php://input');
$secret = trim(file_get_contents(getenv('SECRET_FILE')));
$genuine = hash_equals(hash_hmac('sha256', $body, $secret), $_SERVER['HTTP_X_TEMPCLOCK_SIGNATURE'] ?? '');
http_response_code(getenv('VERIFY') === 'no' || $genuine ? 204 : 401);
