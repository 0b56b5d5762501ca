import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from signature import status


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(status(body, self.headers.get("X-TempClock-Signature")))
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Receiver).serve_forever()
