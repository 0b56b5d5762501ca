"""Reads a delivery a line ({scheme, secret, headers, body in base64}) and answers each with "ok" or why it is refused.

Exits with 1 when it has refused any.
"""

import base64
import hashlib
import hmac
import json
import sys

from standardwebhooks.webhooks import Webhook


def verify(scheme, secret, headers, body):
    if scheme == "standard":
        Webhook(secret).verify(body, headers)
        return
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, headers["X-TempClock-Signature"]):
        raise ValueError("X-TempClock-Signature does not fit")


refused = False
for line in sys.stdin:
    delivery = json.loads(line)
    delivery["body"] = base64.b64decode(delivery["body"])
    try:
        verify(**delivery)
        print("ok")
    except Exception as error:
        refused = True
        print(f"refused: {error}")
sys.exit(1 if refused else 0)
