"""Starts receivers one after the other, sends each a test ping with a second one that is wrongly signed, and compares what
the server says with docs/receivers.md. What is not installed is said to be left out."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

SERVER, KEY, RUN = sys.argv[1], sys.argv[2], Path(sys.argv[3])
SOURCES = Path(__file__).parent / "receivers"
SECRET = RUN / "secret.txt"
failures = []


def call(method, path, body=None):
    request = urllib.request.Request(
        f"{SERVER}/api/v1{path}",
        json.dumps(body).encode() if body is not None else None,
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["data"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("it does not listen")


def wait_for_line(file, words, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if words in file.read_text():
            return
        time.sleep(0.05)
    raise RuntimeError(f"it does not say {words!r}")


def of_page(heading):
    """The JSON under a heading of docs/bridges.md."""
    page = (Path(__file__).parents[2] / "docs" / "bridges.md").read_text()
    section = next(section for section in page.split("\n## ") if section.startswith(heading))
    return section.split("```json\n")[1].split("```")[0]


def check(name, command, path="/hook", verify="yes", files=None, ready=None, **wanted):
    """`wanted`: fields of the answer; for `remark` whether there is one. `ready`: what it says when it is, if its port does
    not tell."""
    if shutil.which(command[0]) is None:
        return print(f"{name}: left out, there is no {command[0]}")
    port = free_port()
    subscription = call("POST", "/webhooks", {"url": f"http://127.0.0.1:{port}{path}", "events": ["ping"]})
    SECRET.write_text(subscription["secret"])
    for file, text in (files or {}).items():
        text = text.replace("PORT", str(port)).replace("SECRET", subscription["secret"]).replace("RUN", str(RUN))
        (RUN / file).write_text(text)
    command = [part.replace("PORT", str(port)).replace("RUN", str(RUN)) for part in command]
    env = os.environ | {"PORT": str(port), "SECRET_FILE": str(SECRET), "VERIFY": verify, "PYTHONPATH": str(SOURCES)}
    env["WEBHOOK_SECRET"] = subscription["secret"]
    with open(RUN / "receiver.log", "wb") as log:
        # Apache ends its whole process group, so it has one of its own.
        process = subprocess.Popen(command, env=env, cwd=RUN, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(port, process)
            if ready:
                wait_for_line(RUN / "receiver.log", ready, process)
            answer = call("POST", f"/webhooks/{subscription['id']}/test", {"verify": True})
        except (RuntimeError, OSError) as error:
            failures.append(name)
            return print(f"{name}: FAILED, {error}: {(RUN / 'receiver.log').read_text()[-300:]}")
        finally:
            process.terminate()
            process.wait()
            call("DELETE", f"/webhooks/{subscription['id']}")
    found = {field: (answer[field] is not None if field == "remark" else answer[field]) for field in wanted}
    print(f"{name}: {answer['response_code']}, " + ", ".join(f"{field} {value}" for field, value in found.items()))
    if found != wanted:
        failures.append(name)
        print(f"   FAILED, wanted {wanted}: {answer}")


def source(name):
    return str(SOURCES / name)


# Those that verify are told from those that do not.
GO = str(RUN / "go-receiver")
if shutil.which("go"):
    subprocess.run(["go", "build", "-o", GO, source("server.go")], check=True)
for receiver, command in [
    ("php -S", ["php", "-S", "127.0.0.1:PORT", source("php.php")]),
    ("http.server", ["python3", source("http_server.py")]),
    ("Flask", ["python3", source("flask_app.py")]),
    ("Django", ["python3", source("django_app.py")]),
    ("FastAPI, uvicorn", ["python3", source("fastapi_app.py")]),
    ("Express", ["node", str(RUN / "express.mjs")]),
    ("WEBrick", ["ruby", source("webrick.rb")]),
    ("Go", [GO]),
]:
    for verify in ["yes", "no"]:
        name = f"{receiver} that {'verifies' if verify == 'yes' else 'does not verify'}"
        check(name, command, verify=verify, success=True, verifies_signatures=verify == "yes", remark=False)
check("Express that signs what it parsed", ["node", str(RUN / "express.mjs")], "/parsed", success=False, response_code=401)
check("Django with CSRF protection", ["python3", source("django_app.py")], "/protected", success=False, response_code=403)
check("Django without the last slash", ["python3", source("django_app.py")], "/slash", success=False, response_code=301)

# adnanh/webhook: a wrong signature is a 500 in any setup, and another rule that does not match a 200 by default.
RULE = """{"and": [{"match": {"type": "payload-hmac-sha256", "secret": "SECRET",
 "parameter": {"source": "header", "name": "NAME"}}}]}"""
HOOK = """[{"id": "hook", "execute-command": "/bin/true", "response-message": "done", "trigger-rule": RULE MORE}]"""


def hooks(name="X-TempClock-Signature", more=""):
    return {"hooks.json": HOOK.replace("RULE", RULE.replace("NAME", name)).replace("MORE", more)}


WEBHOOK = ["webhook", "-hooks", "RUN/hooks.json", "-ip", "127.0.0.1", "-port", "PORT"]
STRICT = ', "trigger-rule-mismatch-http-response-code": 401'
check("webhook, set up", WEBHOOK, "/hooks/hook", files=hooks(more=STRICT), success=True, verifies_signatures=True)
check("webhook by default", WEBHOOK, "/hooks/hook", files=hooks(), success=True, verifies_signatures=True)
misspelled = hooks("X-Tempclock-Signatur")
check("webhook, misspelled header", WEBHOOK, "/hooks/hook", files=misspelled, success=True, remark=True)
check("webhook at /", WEBHOOK, "/", files=hooks(), success=True, verifies_signatures=False)

# Proxies and file servers.
NOBODY = str(free_port())
CADDY = ["caddy", "run", "--adapter", "caddyfile", "--config", "RUN/Caddyfile"]
SITE = "{\n admin off\n}\nhttp://127.0.0.1:PORT {\n%s\n}\n"
(RUN / "www").mkdir(exist_ok=True)
(RUN / "www" / "index.html").write_text("<!DOCTYPE html><h1>Welcome</h1>")
check("Caddy without a route", CADDY, files={"Caddyfile": SITE % "handle /other/* {\nrespond 204\n}"}, success=True, remark=True)
check("Caddy file_server", CADDY, "/", files={"Caddyfile": SITE % "root * RUN/www\nfile_server"}, success=True, remark=True)
check("Caddy, receiver down", CADDY, files={"Caddyfile": SITE % f"reverse_proxy 127.0.0.1:{NOBODY}"}, success=False, response_code=502)
NGINX = ["nginx", "-p", "RUN", "-c", "RUN/nginx.conf", "-e", "RUN/nginx.log", "-g", "daemon off;"]
HTTP = """pid RUN/nginx.pid; events {} http { access_log off; client_body_temp_path RUN/body; proxy_temp_path RUN/proxy;
 fastcgi_temp_path RUN/fastcgi; uwsgi_temp_path RUN/uwsgi; scgi_temp_path RUN/scgi;
 server { listen 127.0.0.1:PORT; location / { %s } } }"""
check("nginx, static file", NGINX, "/index.html", files={"nginx.conf": HTTP % "root RUN/www;"}, success=False, response_code=405)
check("nginx, receiver down", NGINX, files={"nginx.conf": HTTP % f"proxy_pass http://127.0.0.1:{NOBODY};"}, success=False, response_code=502)
HAPROXY = """defaults
 mode http
 timeout connect 2s
 timeout client 5s
 timeout server 5s
frontend front
 bind 127.0.0.1:PORT
 default_backend back
backend back
 server one 127.0.0.1:%s
""" % NOBODY
check("HAProxy, receiver down", ["haproxy", "-db", "-f", "RUN/haproxy.cfg"], files={"haproxy.cfg": HAPROXY}, success=False, response_code=503)

# PHP in Apache, and beside nginx.
USER = "User nobody\nGroup nogroup\n" if os.getuid() == 0 else ""
MODULES = Path(shutil.which("apache2") or "/x/x").parent.parent / "lib/apache2/modules"
APACHE = ["apache2", "-D", "FOREGROUND", "-d", "RUN", "-f", "RUN/apache.conf"]
shutil.copy(source("php.php"), RUN / "www")


def apache(modules, lines):
    loaded = "".join(f"LoadModule {name}_module {MODULES}/{file}\n" for name, file in modules)
    own = "ServerName localhost\nPidFile RUN/apache.pid\nDefaultRuntimeDir RUN\nErrorLog RUN/apache.log\nListen 127.0.0.1:PORT\n"
    return {"apache.conf": loaded + USER + own + "DocumentRoot RUN/www\n" + lines}


PLAIN = [("mpm_event", "mod_mpm_event.so"), ("authz_core", "mod_authz_core.so"), ("dir", "mod_dir.so")]
PROXY = PLAIN + [("proxy", "mod_proxy.so"), ("proxy_http", "mod_proxy_http.so")]
MOD_PHP = [("mpm_prefork", "mod_mpm_prefork.so"), *PLAIN[1:], ("php", "libphp8.2.so")]
HANDLER = '<FilesMatch "\\.php$">\nSetHandler application/x-httpd-php\n</FilesMatch>\n'
check("Apache, static page", APACHE, "/", files=apache(PLAIN, "DirectoryIndex index.html\n"), success=True, remark=True)
down = apache(PROXY, f"ProxyPass / http://127.0.0.1:{NOBODY}/\n")
check("Apache, receiver down", APACHE, files=down, success=False, response_code=503)
for path, name in [("/php.php", "Apache mod_php"), ("/php.php?exact", "Apache mod_php, exact name")]:
    check(name, APACHE, path, files=apache(MOD_PHP, HANDLER), success=True, verifies_signatures=True)
if shutil.which("php-fpm8.2"):
    fpm_port = free_port()
    user = "user = nobody\ngroup = nogroup\n" if os.getuid() == 0 else ""
    (RUN / "fpm.conf").write_text(
        f"[global]\nerror_log = {RUN}/fpm.log\n[www]\n{user}listen = 127.0.0.1:{fpm_port}\npm = static\n"
        "pm.max_children = 2\nclear_env = no\n"
    )
    environment = os.environ | {"SECRET_FILE": str(SECRET), "VERIFY": "yes"}
    fpm = subprocess.Popen(["php-fpm8.2", "-n", "-F", "-y", str(RUN / "fpm.conf")], env=environment, stderr=subprocess.DEVNULL)
    wait_for(fpm_port, fpm)
    parameters = {"SCRIPT_FILENAME": "RUN/www/php.php", "REQUEST_METHOD": "$request_method", "QUERY_STRING": "$query_string",
                  "CONTENT_LENGTH": "$content_length", "CONTENT_TYPE": "$content_type"}
    passed = f"fastcgi_pass 127.0.0.1:{fpm_port};" + "".join(f" fastcgi_param {k} {v};" for k, v in parameters.items())
    check("nginx with php-fpm", NGINX, files={"nginx.conf": HTTP % passed}, success=True, verifies_signatures=True)
    check("nginx with php-fpm, exact name", NGINX, "/hook?exact", files={"nginx.conf": HTTP % passed}, success=False, response_code=401)
    fpm.terminate()
    fpm.wait()
else:
    print("php-fpm: left out, there is no php-fpm8.2")

# The set-ups of docs/bridges.md.
hook = of_page("adnanh/webhook").replace("/usr/local/bin/on-event", "/bin/true").replace("the subscription's secret", "SECRET")
check("webhook of the page", WEBHOOK, "/hooks/tempclock", files={"hooks.json": hook}, success=True, verifies_signatures=True)
check("webhook of the page, command fails", WEBHOOK, "/hooks/tempclock",
      files={"hooks.json": hook.replace("/bin/true", "/bin/false")}, success=False, response_code=500)
RED = ["node", str(RUN / "node_modules/node-red/red.js"), "--userDir", "RUN/red", "-D", "uiHost=127.0.0.1", "--port", "PORT", "RUN/flow.json"]
(RUN / "flow.json").write_text(of_page("Node-RED"))
check("Node-RED of the page", RED, "/tempclock", ready="Started flows", success=True, verifies_signatures=True)

print(f"{len(failures)} failed" if failures else "all as docs/receivers.md says")
sys.exit(bool(failures))
