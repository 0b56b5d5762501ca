//! Builds an example for a schema from the examples of its parts. Pure.

use serde_json::{Map, Value, json};

/// The prefix of schema references.
pub const SCHEMAS: &str = "#/components/schemas/";

/// An example of a schema, which may refer to `schemas`. Optional fields are left out.
pub fn of(schema: &Value, schemas: &Map<String, Value>) -> Value {
    let given = [&schema["examples"][0], &schema["const"], &schema["enum"][0], &schema["default"]];
    if let Some(given) = given.into_iter().find(|value| !value.is_null()) {
        return given.clone();
    }
    if let Some(target) = target(schema, schemas) {
        let mut example = of(target, schemas);
        if let Some(fields) = example.as_object_mut() {
            for name in names(&schema["required"]) {
                fields.entry(name).or_insert_with(|| of(&target["properties"][name], schemas));
            }
        }
        return example;
    }
    // The alternative of an optional value is null.
    if let Some(choice) = schema["anyOf"].get(0) {
        let is_object = target(choice, schemas).is_some_and(|target| target["type"] == "object");
        return if is_object { of(choice, schemas) } else { Value::Null };
    }
    match schema["type"].as_str() {
        Some("object") => {
            let property = |name: &str| (name.to_owned(), of(&schema["properties"][name], schemas));
            Value::Object(names(&schema["required"]).map(property).collect())
        }
        Some("array") => json!([of(&schema["items"], schemas)]),
        Some("integer") => json!(0),
        Some("boolean") => json!(false),
        Some("string") => json!(""),
        _ => Value::Null,
    }
}

/// The referenced schema.
pub fn target<'a>(schema: &Value, schemas: &'a Map<String, Value>) -> Option<&'a Value> {
    schemas.get(schema["$ref"].as_str()?.strip_prefix(SCHEMAS)?)
}

/// The texts of a list.
pub fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}
