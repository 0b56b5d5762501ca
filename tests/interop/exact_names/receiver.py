"""A receiver that copies the headers into a dictionary, where a name has to be exact. The secret is in WEBHOOK_SECRET."""

import hashlib
import hmac
import http.server
import os


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        headers = dict(self.headers)
        body = self.rfile.read(int(headers["Content-Length"]))
        expected = hmac.new(os.environ["WEBHOOK_SECRET"].encode(), body, hashlib.sha256).hexdigest()
        is_genuine = hmac.compare_digest(expected, headers.get("X-TempClock-Signature", ""))
        self.send_response(200 if is_genuine else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print("listening on", server.server_port, flush=True)
server.serve_forever()
