#!/bin/sh
# tinyproxy 1.11.1 (Debian 1.11.1-2.1+deb12u1): a wrong proxy login is answered 401, not 407.
#
# Behaviour: without credentials the proxy says 407 with Proxy-Authenticate. With wrong ones it says 401
#   with WWW-Authenticate, which is what an origin server says, both for CONNECT and for a plain request.
#   A port that refuses the connection behind the right login is 500, not 502 or 503.
# A good guess: 407 in both cases, as RFC 9110 section 15.5.8 has it and as other proxies do it.
# Seen:
#   no login, CONNECT: 407
#   no login, plain: 407
#   wrong login, CONNECT: 401
#   wrong login, plain: 401
#   right login, closed port: 500
# Why it matters to a webhook sender: a 401 over plain http reads as the receiver's. A sender that then
#   renews the receiver's token, or counts a failure towards switching the receiver off, punishes it
#   for a password that was changed at the proxy.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq tinyproxy-bin=1.11.1-2.1+deb12u1 2>/dev/null
dpkg -x tinyproxy-bin_*.deb root
cat > show.py <<'END'
import base64
import socket
import subprocess
import time


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


proxy, closed = free_port(), free_port()
with open("tinyproxy.conf", "w") as conf:
    conf.write(f"Port {proxy}\nListen 127.0.0.1\nBasicAuth sender right\n")
process = subprocess.Popen(["root/usr/bin/tinyproxy", "-d", "-c", "tinyproxy.conf"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def connect():
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", proxy), timeout=10)
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise SystemExit("the proxy did not start")


def status(target, password):
    login = ""
    if password:
        pair = base64.b64encode(f"sender:{password}".encode()).decode()
        login = f"Proxy-Authorization: Basic {pair}\r\n"
    with connect() as stream:
        stream.sendall(f"{target} HTTP/1.1\r\nHost: 127.0.0.1:{closed}\r\n{login}\r\n".encode())
        return stream.makefile("rb").readline().split()[1].decode()


try:
    tunnel, plain = f"CONNECT 127.0.0.1:{closed}", f"GET http://127.0.0.1:{closed}/"
    print("no login, CONNECT:", status(tunnel, None))
    print("no login, plain:", status(plain, None))
    print("wrong login, CONNECT:", status(tunnel, "wrong"))
    print("wrong login, plain:", status(plain, "wrong"))
    print("right login, closed port:", status(tunnel, "right"))
finally:
    process.kill()
    process.wait()
END
python3 show.py > seen
cat seen
cat > expected <<'END'
no login, CONNECT: 407
no login, plain: 407
wrong login, CONNECT: 401
wrong login, plain: 401
right login, closed port: 500
END
diff expected seen
