//! Compares answers and deliveries with the API's description, which every one of them has to fit: no status, header,
//! field or error code that it does not know.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::{Registry, Validator};
use serde_json::{Value, json};
use tempclock_webhooks::http;

use super::{Answer, Received};

/// Headers that no answer may have unless they are described.
const OWN_HEADERS: [&str; 6] =
    ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-Request-Id", "Retry-After", "Allow", "WWW-Authenticate"];
/// Headers that every HTTP request has, and that nobody needs to describe.
const PLAIN_HEADERS: [&str; 3] = ["host", "content-length", "content-type"];
const DOCUMENT: &str = "tempclock:openapi";

/// The description, in which no object has further fields unless it says so.
static CLOSED: LazyLock<Value> = LazyLock::new(|| {
    let mut document = http::document().clone();
    close(&mut document);
    document
});

static REGISTRY: LazyLock<Registry<'static>> =
    LazyLock::new(|| Registry::new().add(DOCUMENT, CLOSED.clone()).unwrap().prepare().unwrap());

fn close(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("type") == Some(&json!("object")) && fields.contains_key("properties") {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// What does not fit the schema that lies at a JSON pointer of the description.
pub fn faults(pointer: &str, value: &Value) -> Vec<String> {
    static VALIDATORS: Mutex<Option<HashMap<String, Arc<Validator>>>> = Mutex::new(None);
    let validator = {
        let mut validators = VALIDATORS.lock().unwrap();
        let known = validators.get_or_insert_default().entry(pointer.to_owned());
        Arc::clone(known.or_insert_with(|| {
            let fragment = pointer.replace('{', "%7B").replace('}', "%7D");
            let schema = json!({"$ref": format!("{DOCUMENT}#{fragment}")});
            let options = jsonschema::options().with_registry(&REGISTRY).should_validate_formats(true);
            Arc::new(options.build(&schema).unwrap_or_else(|error| panic!("{pointer}: {error}")))
        }))
    };
    validator.iter_errors(value).map(|error| format!("{} at {:?}", error, error.instance_path().to_string())).collect()
}

/// The pointer to one step further down.
pub fn below(pointer: &str, step: &str) -> String {
    format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"))
}

/// Where what lies at the pointer is written down.
pub fn resolved(pointer: String) -> String {
    match CLOSED.pointer(&pointer).and_then(|value| value["$ref"].as_str()) {
        Some(reference) => reference.strip_prefix('#').unwrap().to_owned(),
        None => pointer,
    }
}

fn at(pointer: &str) -> &'static Value {
    CLOSED.pointer(pointer).unwrap_or_else(|| panic!("there is no {pointer} in the description"))
}

/// The pointer to the path that a request is for.
fn path_of(path: &str) -> Option<String> {
    let asked: Vec<&str> = path.split(['?', '#']).next().unwrap().split('/').collect();
    let fits = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        parts.len() == asked.len()
            && parts
                .iter()
                .zip(&asked)
                .all(|(part, asked)| part == asked || (part.starts_with('{') && !asked.is_empty()))
    };
    let mut found: Vec<&String> = at("/paths").as_object().unwrap().keys().filter(|template| fits(template)).collect();
    found.sort_by_key(|template| template.contains('{'));
    found.first().map(|template| below("/paths", template))
}

/// Panics unless the answer to a request is one that the description has.
#[track_caller]
pub fn check(method: &str, path: &str, answer: &Answer) {
    let seen = || format!("{method} {path} answered {} {:?} {}", answer.status, answer.headers, answer.text);
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{}", seen());
    if ["bad_request", "head_too_large"].iter().any(|code| answer.json["code"] == *code) {
        // What is no request that is understood has no path.
        let error = faults("/components/schemas/Error", &answer.json);
        assert!(error.is_empty(), "{error:?}: {}", seen());
        return;
    }
    let Some(path) = path_of(path) else {
        assert!([404, 429].contains(&answer.status), "no such path is described: {}", seen());
        for name in ["X-RateLimit-Limit", "X-RateLimit-Remaining"] {
            assert!(answer.header(name).is_some(), "{name} is missing: {}", seen());
        }
        let error = faults("/components/schemas/Error", &answer.json);
        assert!(error.is_empty(), "{error:?}: {}", seen());
        return;
    };
    let operation = below(&path, &method.to_lowercase());
    let response = if CLOSED.pointer(&operation).is_some() {
        let response = below(&below(&operation, "responses"), &answer.status.to_string());
        assert!(CLOSED.pointer(&response).is_some(), "no such status is described: {}", seen());
        resolved(response)
    } else {
        let name = match answer.status {
            405 => "MethodNotAllowed",
            // Whoever guesses keys does not get that far.
            429 => "TooManyRequests",
            _ => panic!("no such method is described: {}", seen()),
        };
        format!("/components/responses/{name}")
    };
    check_headers(&response, answer, &seen());
    if method == "HEAD" {
        assert!(answer.text.is_empty(), "a body for HEAD: {}", seen());
        return;
    }
    let content = at(&response).get("content").and_then(Value::as_object);
    let given = answer.header("content-type").unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default();
    let described = content.and_then(|content| content.get_key_value(given).or_else(|| content.iter().next()));
    let Some((media_type, described)) = described else {
        assert!(answer.text.is_empty(), "no body is described: {}", seen());
        return;
    };
    assert_eq!(given, media_type, "{}", seen());
    if media_type == "application/json" {
        let content = below(&below(&response, "content"), media_type);
        let found = faults(&below(&content, "schema"), &answer.json);
        assert!(found.is_empty(), "{found:#?}: {}", seen());
    }
    if let (Some(code), Some(examples)) = (answer.json["code"].as_str(), described.get("examples")) {
        assert!(examples.get(code).is_some(), "no such error is described: {}", seen());
    }
}

#[track_caller]
fn check_headers(response: &str, answer: &Answer, seen: &str) {
    let described = at(response)["headers"].as_object().unwrap();
    for name in described.keys() {
        let header = resolved(below(&below(response, "headers"), name));
        let Some(value) = answer.header(name) else {
            assert_eq!(at(&header)["required"], false, "{name} is missing: {seen}");
            continue;
        };
        let schema = below(&header, "schema");
        let value = if at(&schema)["type"] == "integer" { value.parse().unwrap_or_default() } else { json!(value) };
        let found = faults(&schema, &value);
        assert!(found.is_empty(), "{name}: {found:?}: {seen}");
    }
    for name in OWN_HEADERS.into_iter().filter(|name| answer.header(name).is_some()) {
        assert!(described.contains_key(name), "{name} is not described: {seen}");
    }
}

/// Panics unless a delivery is one that the description has.
#[track_caller]
pub fn check_delivery(request: &Received) {
    let entry = format!("/webhooks/{}/post", request.header("x-tempclock-event"));
    assert_eq!(request.method, "POST");
    let parameters = at(&below(&entry, "parameters")).as_array().unwrap();
    for (place, parameter) in parameters.iter().enumerate() {
        let name = parameter["name"].as_str().unwrap();
        let found = faults(&format!("{entry}/parameters/{place}/schema"), &json!(request.header(name)));
        assert!(found.is_empty(), "{name}: {found:?}");
    }
    for (name, _) in &request.headers {
        let name = name.to_lowercase();
        let is_described =
            parameters.iter().any(|parameter| parameter["name"].as_str().unwrap().to_lowercase() == name);
        assert!(is_described || PLAIN_HEADERS.contains(&name.as_str()), "header {name} is not described");
    }
    assert_eq!(request.header("content-type"), "application/json");
    let found = faults(&format!("{entry}/requestBody/content/application~1json/schema"), &request.json());
    assert!(found.is_empty(), "{found:?}");
}
