#!/bin/sh
# @node-oauth/oauth2-server 5.3.0: the token endpoint does not decode client credentials in Basic.
#
# Behaviour: a client that encodes its secret before it goes into the Authorization field, as RFC 6749
#   section 2.3.1 demands, gets 401 invalid_client whenever the secret holds a character that the
#   encoding changes. A client that breaks the rule and sends the secret as it is gets its token.
# A good guess: a server library for OAuth 2.0 decodes what the standard says is encoded, or tries both.
# Seen:
#   a secret of letters, as the standard says: 200
#   "a/b=", as the standard says: 401 invalid_client
#   "a/b=", not encoded: 200
#   "a/b=", in the request body: 200
# Why it matters to a webhook sender: generated secrets are often base64, with / + and =. A sender that
#   gets its tokens by client credentials and keeps to the standard fails at such a receiver with a
#   secret that is right; sending the credentials in the body works at both kinds of server.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-fund --no-audit --prefix "$work" @node-oauth/oauth2-server@5.3.0
cat > show.cjs <<'END'
const OAuth2Server = require("@node-oauth/oauth2-server");

async function outcome(secret, headers, credentials) {
  const model = {
    getClient: async (id, given) =>
      id === "app" && given === secret ? { id, grants: ["client_credentials"] } : null,
    getUserFromClient: async () => ({ id: 1 }),
    saveToken: async (token, client, user) => ({ ...token, client, user }),
  };
  const body = { grant_type: "client_credentials", ...credentials };
  const request = new OAuth2Server.Request({
    method: "POST",
    query: {},
    headers: {
      "content-type": "application/x-www-form-urlencoded",
      "content-length": String(new URLSearchParams(body).toString().length),
      ...headers,
    },
    body,
  });
  const response = new OAuth2Server.Response({});
  try {
    await new OAuth2Server({ model }).token(request, response);
    return response.status;
  } catch (error) {
    return `${error.code} ${error.name}`;
  }
}

const basic = (secret) => ({ authorization: "Basic " + Buffer.from(`app:${secret}`).toString("base64") });
const encoded = (text) => new URLSearchParams({ _: text }).toString().slice(2);

(async () => {
  const say = (what, result) => console.log(`${what}: ${result}`);
  say("a secret of letters, as the standard says", await outcome("abc", basic(encoded("abc")), {}));
  say('"a/b=", as the standard says', await outcome("a/b=", basic(encoded("a/b=")), {}));
  say('"a/b=", not encoded', await outcome("a/b=", basic("a/b="), {}));
  say('"a/b=", in the request body',
    await outcome("a/b=", {}, { client_id: "app", client_secret: "a/b=" }));
})();
END
node show.cjs > seen
cat seen
cat > expected <<'END'
a secret of letters, as the standard says: 200
"a/b=", as the standard says: 401 invalid_client
"a/b=", not encoded: 200
"a/b=", in the request body: 200
END
diff expected seen
