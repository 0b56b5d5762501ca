// Reads a delivery a line ({secret, headers, body in base64}) and answers each with "ok" or why it is refused.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// Installed outside of the sources, in the folder that the first argument names.
const { Webhook } = createRequire(`${process.argv[2]}/`)("standardwebhooks");

for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body: encoded } = JSON.parse(line);
  const body = Buffer.from(encoded, "base64");
  try {
    new Webhook(secret).verify(body, headers);
    const expected = createHmac("sha256", secret).update(body).digest("hex");
    const given = headers["x-tempclock-signature"] ?? "";
    if (given.length !== expected.length || !timingSafeEqual(Buffer.from(given), Buffer.from(expected))) {
      throw new Error("X-TempClock-Signature does not fit");
    }
    console.log("ok");
  } catch (error) {
    console.log(`refused: ${error.message}`);
  }
}
