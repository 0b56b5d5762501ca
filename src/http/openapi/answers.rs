//! Names the responses of the API's description, so that generated clients have types with names that last. Pure.

use serde_json::{Map, Value, json};

use super::example::SCHEMAS;
use crate::http::openapi::operation::ResponseSpec;

/// Stores the schema of an operation's response under a name in `schemas` and returns a reference to it. Bodies that are
/// no object with `data` stay as they are.
pub fn named(operation: &str, answer: &ResponseSpec, schema: Value, schemas: &mut Map<String, Value>) -> Value {
    let Some(data) = schema["properties"].get("data") else { return schema };
    let target = |value: &Value| Some(value["$ref"].as_str()?.strip_prefix(SCHEMAS)?.to_owned());
    let name = match (target(data), target(&data["items"])) {
        (Some(one), _) => one + &additions(answer) + "Response",
        (_, Some(item)) if schema["properties"].get("pagination").is_some() => item + "Page",
        _ => capitalized(operation) + "Response",
    };
    let reference = json!({"$ref": format!("{SCHEMAS}{name}")});
    schemas.insert(name, schema);
    reference
}

/// What the response has beyond the object: `WithSecretAndMessage`.
fn additions(answer: &ResponseSpec) -> String {
    let always = answer.always.iter().map(|field| field.split('_').map(capitalized).collect::<String>());
    let message = answer.message.map(|_| "Message".to_owned());
    let all: Vec<String> = always.chain(message).collect();
    if all.is_empty() { String::new() } else { format!("With{}", all.join("And")) }
}

/// The word with a capital first letter.
pub fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
