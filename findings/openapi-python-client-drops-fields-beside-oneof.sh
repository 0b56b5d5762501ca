#!/bin/sh
# openapi-python-client 0.29.1: fields that stand beside `oneOf` are left out of the generated models.
#
# Behaviour: for a schema with `properties: {id}`, `required: [id]` and a `oneOf` of two shapes, the
#   generator writes one class a shape. Neither has the required field `id`, and nothing warns of it.
# A good guess: every class has `id` as well, as the keywords of a schema all apply at once, or the
#   generator refuses a schema that it cannot express.
# Seen:
#   exit 0, warnings about the schema: 0
#   new_event_type_0.py: hours
#   new_event_type_1.py: name
# Why it matters to a webhook sender: publishing by POST is safe to repeat only with an id of the
#   publisher's. If the document puts that id beside a oneOf of event types, publishers with a generated
#   client have no field for it, and each of their repeats is a second event and a second webhook.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check openapi-python-client==0.29.1
cat > api.json <<'END'
{
  "openapi": "3.1.0",
  "info": {"title": "events", "version": "1"},
  "paths": {
    "/events": {
      "post": {
        "operationId": "publish",
        "requestBody": {
          "required": true,
          "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewEvent"}}}
        },
        "responses": {"204": {"description": "taken"}}
      }
    }
  },
  "components": {
    "schemas": {
      "NewEvent": {
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "string"}},
        "oneOf": [
          {"type": "object", "required": ["hours"], "properties": {"hours": {"type": "number"}}},
          {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
        ]
      }
    }
  }
}
END
# Without the formatter that it would run over the result.
echo 'post_hooks: []' > config.yml
code=0
venv/bin/openapi-python-client generate --path api.json --config config.yml --meta none \
    --output-path client > messages 2>&1 || code=$?
echo "exit $code, warnings about the schema: $(grep -ciE 'warning|error|oneOf|NewEvent' messages || true)" > seen
for file in client/models/new_event*.py; do
    fields=$(sed -nE 's/^    ([a-z_]+): [a-z].*/\1/p' "$file" | grep -v '^additional_properties$' | sort -u | tr '\n' ' ')
    echo "${file##*/}: ${fields% }" >> seen
done
cat seen
cat > expected <<'END'
exit 0, warnings about the schema: 0
new_event_type_0.py: hours
new_event_type_1.py: name
END
diff expected seen || { cat messages; exit 1; }
