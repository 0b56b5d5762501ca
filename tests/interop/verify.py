"""Reads a delivery a line ({secret, headers, body in base64}) and answers each with "ok" or why it is refused."""

import base64
import hashlib
import hmac
import json
import sys

from standardwebhooks.webhooks import Webhook

for line in sys.stdin:
    delivery = json.loads(line)
    secret, headers = delivery["secret"], delivery["headers"]
    body = base64.b64decode(delivery["body"])
    try:
        Webhook(secret).verify(body, headers)
        expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, headers["x-tempclock-signature"]):
            raise ValueError("X-TempClock-Signature does not fit")
        print("ok", flush=True)
    except Exception as error:
        print(f"refused: {error}", flush=True)
