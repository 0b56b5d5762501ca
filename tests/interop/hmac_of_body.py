"""Verifies as senders of a plain HMAC document it: reads a delivery a line ({scheme, secret, headers, body in base64}), whose
scheme is the name of the header, and answers each with "ok" or why it is refused. Exits with 1 when it has refused any."""

import base64
import hashlib
import hmac
import json
import sys

refused = False
for line in sys.stdin:
    delivery = json.loads(line)
    body, secret = base64.b64decode(delivery["body"]), delivery["secret"].encode()
    expected = hmac.new(secret, body, hashlib.sha256).hexdigest()
    name = delivery["scheme"]
    if hmac.compare_digest(expected, delivery["headers"][name]):
        print("ok")
    else:
        refused = True
        print(f"refused: {name} does not fit")
sys.exit(1 if refused else 0)
