// Reads a delivery a line ({scheme, secret, headers, body in base64}) and answers each with "ok" or why it is refused.
// Exits with 1 when it has refused any. The first argument is the folder that the packages are installed in.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const folder = `${process.argv[2]}/`;
const { Webhook } = createRequire(folder)("standardwebhooks");
const { Webhook: SvixWebhook } = createRequire(folder)("svix");
// A module of ECMAScript, which `require` does not load in every version of Node.js.
const github = await import(new URL("node_modules/@octokit/webhooks-methods/dist-node/index.js", pathToFileURL(folder)));

async function verify({ scheme, secret, headers, body }) {
  if (scheme === "standard") {
    new Webhook(secret).verify(body, headers);
    return;
  }
  if (scheme === "svix") {
    new SvixWebhook(secret).verify(body, headers);
    return;
  }
  if (scheme === "github") {
    if (!(await github.verify(secret, body.toString(), headers["X-Hub-Signature-256"]))) {
      throw new Error("X-Hub-Signature-256 does not fit");
    }
    return;
  }
  const expected = Buffer.from(createHmac("sha256", secret).update(body).digest("hex"));
  const given = Buffer.from(headers["X-TempClock-Signature"]);
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    throw new Error("X-TempClock-Signature does not fit");
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const delivery = JSON.parse(line);
  delivery.body = Buffer.from(delivery.body, "base64");
  try {
    await verify(delivery);
    console.log("ok");
  } catch (error) {
    process.exitCode = 1;
    console.log(`refused: ${error.message}`);
  }
}
