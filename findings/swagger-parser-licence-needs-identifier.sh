#!/bin/sh
# @apidevtools/swagger-parser 13.1.0: an OpenAPI 3.1 licence with a name alone is refused.
#
# Behaviour: validate() accepts `license: {name: MIT}` in a 3.0 document. In a 3.1 document the same
#   lines are an error; they need an identifier or a url.
# A good guess: 3.1 added `identifier` as an option. The specification requires only `name`, and says
#   of identifier and url that they exclude each other.
# Seen:
#   3.0.3, name alone: valid
#   3.1.0, name alone: #/info/license must have required property 'identifier'
#   3.1.0, name and identifier: valid
# Why it matters to a webhook sender: its OpenAPI document is a part of its interface. Moving it from
#   3.0 to 3.1 to gain the `webhooks` section makes tools built on this parser refuse the whole
#   document for a line that nobody touched.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-fund --no-audit --prefix "$work" @apidevtools/swagger-parser@13.1.0
cat > show.cjs <<'END'
const module_ = require("@apidevtools/swagger-parser");
const SwaggerParser = module_.default || module_;

async function outcome(version, license) {
  const document = { openapi: version, info: { title: "t", version: "1", license }, paths: {} };
  try {
    await SwaggerParser.validate(document);
    return "valid";
  } catch (error) {
    return error.message.split("\n").map((line) => line.trim()).find((line) => line.startsWith("#/"));
  }
}

(async () => {
  console.log("3.0.3, name alone:", await outcome("3.0.3", { name: "MIT" }));
  console.log("3.1.0, name alone:", await outcome("3.1.0", { name: "MIT" }));
  console.log("3.1.0, name and identifier:", await outcome("3.1.0", { name: "MIT", identifier: "MIT" }));
})();
END
node show.cjs > seen
cat seen
cat > expected <<'END'
3.0.3, name alone: valid
3.1.0, name alone: #/info/license must have required property 'identifier'
3.1.0, name and identifier: valid
END
diff expected seen
