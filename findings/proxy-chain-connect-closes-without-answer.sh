#!/bin/sh
# proxy-chain 3.0.1: a CONNECT to a closed port is answered by closing, without a single byte.
#
# Behaviour: for a plain request in absolute form the proxy tells a refused connection by a status of
#   its own, 594. For CONNECT to the same address it closes the client's connection in silence.
# A good guess: CONNECT gets the same 594, or 502 or 503 as other proxies send it.
# Seen:
#   GET: HTTP/1.1 594 Connection Refused
#   CONNECT: closed after 0 bytes
# Why it matters to a webhook sender: the receiver is down, but it looks as if the proxy were broken.
#   A sender that repeats faults of its proxy outside of the receiver's schedule repeats for ever, and
#   an alarm names the wrong machine.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-fund --no-audit --prefix "$work" proxy-chain@3.0.1
cat > show.cjs <<'END'
const net = require("node:net");
const { Server } = require("proxy-chain");

/** A port on which nothing listens any more. */
const closedPort = () =>
  new Promise((resolve) => {
    const listener = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = listener.address();
      listener.close(() => resolve(port));
    });
  });

const ask = (proxyPort, requestLine, host) =>
  new Promise((resolve, reject) => {
    let answer = "";
    const socket = net.connect(proxyPort, "127.0.0.1", () => {
      socket.write(`${requestLine} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    });
    socket.on("data", (data) => (answer += data));
    socket.on("error", reject);
    socket.on("close", () => resolve(answer));
  });

(async () => {
  const server = new Server({ host: "127.0.0.1", port: 0 });
  await server.listen();
  const host = `127.0.0.1:${await closedPort()}`;
  const plain = await ask(server.port, `GET http://${host}/`, host);
  console.log("GET:", plain.split("\r\n")[0]);
  const tunnel = await ask(server.port, `CONNECT ${host}`, host);
  console.log("CONNECT: closed after", tunnel.length, "bytes");
  await server.close(true);
})();
END
node show.cjs > seen
cat seen
cat > expected <<'END'
GET: HTTP/1.1 594 Connection Refused
CONNECT: closed after 0 bytes
END
diff expected seen
