#!/bin/sh
# adnanh/webhook 2.8.0 (Debian 2.8.0-4+b6): a signature that does not match is a 500, one that is missing a 200.
#
# Behaviour: with a hook whose trigger rule checks an HMAC-SHA256 of the payload, a request with a wrong
#   signature is answered "500 Error occurred while evaluating hook rules.", and a request without the
#   header 200 with "Hook rules were not satisfied.", as if it had been taken. The right one is 200, too.
# A good guess: 401 or 403 in both cases, or the same status in both, as neither triggers the command.
# Seen:
#   right: 200 taken
#   wrong: 500 Error occurred while evaluating hook rules.
#   missing: 200 Hook rules were not satisfied.
# Why it matters to a webhook sender: a wrong secret looks like a broken server and is retried for days,
#   and a header of another name looks delivered although nothing ran. Only the text of the 200 tells.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq webhook=2.8.0-4+b6 2>/dev/null
dpkg -x webhook_*.deb root
cat > hooks.json <<'END'
[{
  "id": "in",
  "execute-command": "/bin/true",
  "response-message": "taken",
  "trigger-rule": {"match": {
    "type": "payload-hmac-sha256",
    "secret": "a secret of this page",
    "parameter": {"source": "header", "name": "X-Signature"}
  }}
}]
END
cat > show.py <<'END'
import hashlib
import hmac
import socket
import subprocess
import time
import urllib.error
import urllib.request

with socket.create_server(("127.0.0.1", 0)) as listener:
    port = listener.getsockname()[1]
process = subprocess.Popen(["root/usr/bin/webhook", "-ip", "127.0.0.1", "-port", str(port), "-hooks", "hooks.json"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
body = b'{"event":"clock_in"}'


def ask(headers):
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/hooks/in", body, headers)
    for _ in range(100):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return f"{answer.status} {answer.read().decode().strip()}"
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read().decode().strip()}"
        except urllib.error.URLError:
            time.sleep(0.05)
    raise SystemExit("the receiver did not start")


try:
    right = hmac.new(b"a secret of this page", body, hashlib.sha256).hexdigest()
    print("right:", ask({"X-Signature": right}))
    print("wrong:", ask({"X-Signature": "0" * 64}))
    print("missing:", ask({}))
finally:
    process.kill()
END
python3 show.py > seen
cat seen
cat > expected <<'END'
right: 200 taken
wrong: 500 Error occurred while evaluating hook rules.
missing: 200 Hook rules were not satisfied.
END
diff expected seen
