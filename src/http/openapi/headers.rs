//! The response headers of the API's description. Pure.

use serde_json::{Value, json};

/// The headers of every rate-limited response.
pub const RATE_LIMIT_HEADERS: [&str; 2] = ["X-RateLimit-Limit", "X-RateLimit-Remaining"];

/// References to the headers of these names.
pub fn references(names: &[&str]) -> Value {
    let reference = |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
    Value::Object(names.iter().map(reference).collect())
}

/// All headers by name.
pub fn all() -> Value {
    let header = |description: &str, schema: Value, example: Value| json!({"description": description, "required": true, "schema": schema, "example": example});
    let number = || json!({"type": "integer", "minimum": 0});
    let text = || json!({"type": "string"});
    json!({
        "X-Request-Id": header(
            "The request's id in the log: yours if you sent a valid one.",
            json!({"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,128}$"}),
            json!("req_5f2b8c1d9e3a4f60718293a4"),
        ),
        "X-RateLimit-Limit": header(
            "Requests that the key may make within a minute; 4294967295 means no limit.",
            number(),
            json!(60),
        ),
        "X-RateLimit-Remaining": header("Requests left in the current minute.", number(), json!(59)),
        "Retry-After": header("Seconds to wait before a retry.", number(), json!(12)),
        "Allow": header("The methods of this path.", text(), json!("GET, POST")),
        "WWW-Authenticate": header("The authentication scheme.", json!({"type": "string", "const": "Bearer"}), json!("Bearer")),
    })
}
