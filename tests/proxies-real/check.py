"""Starts the proxies, a receiver and the server, and compares what test pings say with what is expected."""

import http.server
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

PROGRAM, DEBIAN = sys.argv[1], pathlib.Path(sys.argv[2])
LIBRARIES = ":".join(str(DEBIAN / part) for part in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"))
folder = pathlib.Path(tempfile.mkdtemp(prefix="proxies-"))
# squid gives up root rights before it opens its files.
folder.chmod(0o777)
started = []
failures = 0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}; see {folder}")


def start(name, arguments):
    log = open(folder / f"{name}.log", "wb")
    environment = dict(os.environ, LD_LIBRARY_PATH=LIBRARIES)
    started.append(subprocess.Popen(arguments, stdout=log, stderr=log, env=environment))


def tinyproxy(port, allowed):
    config = folder / "tinyproxy.conf"
    config.write_text(
        f'Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nBasicAuth user secret\nConnectPort {allowed}\n'
    )
    start("tinyproxy", [DEBIAN / "usr/bin/tinyproxy", "-d", "-c", config])


def squid(port, allowed):
    passwords, config, share = folder / "passwords", folder / "squid.conf", DEBIAN / "usr/share/squid"
    passwords.write_text("user:" + subprocess.check_output(["openssl", "passwd", "-apr1", "secret"], text=True))
    helpers = DEBIAN / "usr/lib/squid"
    config.write_text(
        f"""http_port 127.0.0.1:{port}
auth_param basic program {helpers}/basic_ncsa_auth {passwords}
acl users proxy_auth REQUIRED
acl tunnels port {allowed}
http_access deny CONNECT !tunnels
http_access allow users
http_access deny all
cache deny all
access_log stdio:{folder}/squid-access.log
cache_log {folder}/squid-cache.log
pid_filename {folder}/squid.pid
coredump_dir {folder}
mime_table {DEBIAN}/usr/share/squid/mime.conf
error_directory {share}/errors/templates
icon_directory {share}/icons
unlinkd_program {helpers}/unlinkd
pinger_enable off
memory_cache_shared off
shutdown_lifetime 0 seconds
cache_effective_user {'nobody' if os.getuid() == 0 else os.environ.get('USER', 'nobody')}
"""
    )
    start("squid", [DEBIAN / "usr/sbin/squid", "-N", "-f", config])


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    logins = []

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.logins.append(self.headers.get("Proxy-Authorization"))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def receiver(context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def certificate():
    files = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-addext", "basicConstraints=critical,CA:FALSE", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return files[0], context


class Server:
    def __init__(self, proxy, password, trusted):
        data = pathlib.Path(tempfile.mkdtemp(dir=folder))
        (data / "login").write_text(f"user:{password}\n")
        (data / "login").chmod(0o600)
        config = data / "config.toml"
        config.write_text(
            f"""[server]
listen = "127.0.0.1:{free_port()}"
[storage]
data_dir = "{data}/data"
[delivery]
allow_http = true
allow_networks = ["127.0.0.0/8"]
timeout = "20s"
proxy = "http://127.0.0.1:{proxy}"
proxy_credentials_file = "{data}/login"
ca_certificates = "{trusted}"
[rate_limit]
management_per_minute = 0
"""
        )
        self.environment = dict(os.environ, TEMPCLOCK_WEBHOOKS_CONFIG=str(config))
        self.process = subprocess.Popen(
            [PROGRAM, "serve"], env=self.environment, stderr=subprocess.PIPE, text=True
        )
        for line in self.process.stderr:
            if "listening on " in line:
                self.url = line.split("listening on ")[1].strip()
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        made = subprocess.check_output(
            [PROGRAM, "keys", "create", "--name", "check", "--scopes", "*", "--json"], env=self.environment
        )
        self.key = json.loads(made)["data"]["key"]

    def call(self, path, body):
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1{path}", json.dumps(body).encode(), headers)
        return json.load(urllib.request.urlopen(request))["data"]

    def ping(self, url):
        made = self.call("/webhooks", {"url": url, "events": ["clock_in"]})
        return self.call(f"/webhooks/{made['id']}/test", {})

    def stop(self):
        self.process.terminate()
        self.process.wait()


def expect(what, result, words):
    global failures
    is_right = result["success"] if words is None else words in (result["error"] or "")
    failures += not is_right
    print(f"{'ok  ' if is_right else 'FAIL'} {what}: {result['error'] or 'delivered'}")


def check(name, run):
    trusted, context = certificate()
    secure, other, plain, closed = receiver(context), receiver(context), receiver(), free_port()
    port = free_port()
    run(port, secure)
    wait_for(port)
    server = Server(port, "secret", trusted)
    for _ in range(2):
        expect(f"{name} https", server.ping(f"https://localhost:{secure}/in"), None)
        expect(f"{name} http", server.ping(f"http://127.0.0.1:{plain}/in"), None)
    expect(f"{name} port not allowed", server.ping(f"https://localhost:{other}/in"), f"allow connections to localhost:{other}")
    expect(f"{name} http, nobody there", server.ping(f"http://127.0.0.1:{closed}/in"), "no connection to the endpoint (the proxy")
    server.stop()
    server = Server(port, "wrong", trusted)
    for url in (f"https://localhost:{secure}/in", f"http://127.0.0.1:{plain}/in"):
        expect(f"{name} wrong password", server.ping(url), "check the user and password")
    server.stop()


try:
    if (DEBIAN / "usr/bin/tinyproxy").exists():
        check("tinyproxy", tinyproxy)
    if (DEBIAN / "usr/sbin/squid").exists():
        check("squid", squid)
    leaked = [login for login in Receiver.logins if login]
    print("FAIL a receiver got the proxy's login" if leaked else "ok   no receiver got the proxy's login")
    failures += len(leaked)
finally:
    for process in started:
        process.terminate()
        process.wait()
if not failures:
    shutil.rmtree(folder)
sys.exit(1 if failures else 0)
