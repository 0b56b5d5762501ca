//! The API's description is whole and true: it has every route, every answer fits it, and the page made from it can be
//! read without anything else. That every answer of every other test fits it too is for the harness to see.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tempclock_webhooks::http;

use crate::harness::contract::{below, check_delivery, faults};
use crate::harness::{ALL_SCOPES, Answer, Client, Receiver, Reply, Server, clock_in, sample};

const UNUSED: &str = "http://127.0.0.1:9/hook";
/// Where the id is in the query.
const PHP: &str = "/api/v1/webhooks.php";
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"];

/// Every operation: its path, its method, and what is said of it.
fn operations() -> impl Iterator<Item = (&'static String, String, &'static Value)> {
    let paths = http::document()["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, operation)| (path, method.to_uppercase(), operation))
    })
}

fn scope(operation: &Value) -> Option<&str> {
    operation["security"][0]["apiKey"][0].as_str()
}

fn ask(client: &Client, method: &str, path: &str) -> Answer {
    let json = [("Content-Type", "application/json")];
    let body = ["POST", "PUT"].contains(&method).then_some(&b"{}"[..]);
    client.send(method, &path.replace("{id}", "999999"), &json, body)
}

#[test]
fn what_is_served_is_the_description_at_both_addresses() {
    let server = Server::start(&[]);
    for path in ["/openapi.json", "/api/v1/openapi.json"] {
        let answer = server.stranger().send("GET", path, &[], None).expect(200);
        assert_eq!(&answer.json, http::document());
        server.stranger().send("HEAD", path, &[], None).expect(200);
    }
    assert!(http::document()["openapi"].as_str().unwrap().starts_with("3.1"));
}

#[test]
fn every_path_has_the_methods_that_are_described_and_no_other() {
    let server = Server::start(&[]);
    let client = server.client();
    let paths: BTreeSet<&String> = operations().map(|(path, ..)| path).collect();
    for path in paths {
        let described: BTreeSet<String> =
            operations().filter(|(found, ..)| *found == path).map(|(_, method, _)| method).collect();
        for method in METHODS {
            // An answer to HEAD has no body, and HTTP libraries refuse some of the others.
            let answer = match method {
                "HEAD" => client.send(method, path, &[], None),
                _ => client.raw(format!("{}\r\n", client.raw_head(method, path)).as_bytes()).expect("an answer"),
            };
            assert_eq!(answer.status == 405, !described.contains(method), "{method} {path}: {}", answer.text);
            if answer.status == 405 {
                let allowed = answer.header("allow").unwrap().split(", ").map(str::to_owned).collect();
                assert_eq!(described, allowed, "{path}");
            }
        }
    }
}

#[test]
fn each_operation_wants_the_scope_that_is_described_and_no_other() {
    let server = Server::start(&[]);
    let all: Vec<&str> =
        ALL_SCOPES.split(',').chain(["keys:admin", "audit:read", "feed:read", "events:erase"]).collect();
    let with = |scopes: &[&str]| server.client_with(&server.key(&scopes.join(",")));
    for wanted in &all {
        let without: Vec<&str> = all.iter().copied().filter(|scope| scope != wanted).collect();
        let (with, without) = (with(&[wanted]), with(&without));
        for (path, method, _) in operations().filter(|(.., operation)| scope(operation) == Some(*wanted)) {
            let refused = ask(&without, &method, path).expect(403);
            assert!(refused.json["message"].as_str().unwrap().contains(wanted), "{}", refused.text);
            assert_ne!(ask(&with, &method, path).status, 403, "{method} {path}");
            ask(&server.stranger(), &method, path).expect(401);
        }
    }
    for (path, method, operation) in operations().filter(|(.., operation)| scope(operation).is_none()) {
        let is_open = operation["security"] == json!([]);
        ask(&server.stranger(), &method, path).expect(if is_open { 200 } else { 401 });
        ask(&with(&["events:write"]), &method, path).expect(200);
    }
}

/// Brings about a refusal; none is known for what depends on more than the request.
fn refused(client: &Client, status: u16, method: &str, path: &str) -> Option<Answer> {
    let send = |id: &str, query: &str, kind: &str, body: &str| {
        let mut asked = path.replace("{id}", id) + query;
        if path == PHP {
            asked = format!("{asked}{}id={id}", if query.is_empty() { "?" } else { "&" });
        }
        let body = ["POST", "PUT"].contains(&method).then_some(body.as_bytes());
        Some(client.send(method, &asked, &[("Content-Type", kind)], body))
    };
    let json = "application/json";
    match (status, method) {
        (400, "GET") if path == PHP => send("x", "", json, ""),
        (400, "GET") => send("1", "?limit=0", json, ""),
        (400, "DELETE") => send("x", "", json, ""),
        (400, _) => send("1", "", json, "[]"),
        (404, _) if path.ends_with("/deliveries/retry") => send("1", "", json, r#"{"subscription": 999999}"#),
        (404, _) => send("999999", "?action=test", json, "{}"),
        (413, _) => {
            // The length that is announced is refused. Sent, so much may be cut off before the answer is read.
            let asked = if path == PHP { format!("{path}?id=1") } else { path.replace("{id}", "1") };
            let head = client.raw_head(method, &asked);
            let head = format!("{head}Content-Type: {json}\r\nContent-Length: {}\r\n\r\n", 9 << 20);
            Some(client.raw(head.as_bytes()).expect("an answer"))
        }
        (415, _) => send("1", "", "text/plain", "{}"),
        _ => None,
    }
}

#[test]
fn every_refusal_that_is_described_is_met() {
    let server = Server::start(&[]);
    let client = server.client_with(&server.key("*,events:erase"));
    client.subscribe(UNUSED, &["*"]);
    let mut met = 0;
    for (path, method, operation) in operations() {
        for status in operation["responses"].as_object().unwrap().keys() {
            let status = status.parse().unwrap();
            if let Some(answer) = refused(&client, status, &method, path) {
                answer.expect(status);
                met += 1;
            }
        }
    }
    assert!(met > 30, "only {met} refusals");
}

#[test]
fn every_route_with_a_key_is_counted_as_described() {
    let limits =
        ["management_per_minute", "publish_per_minute", "feed_per_minute"].map(|limit| format!("rate_limit.{limit}"));
    let server = Server::start(&limits.each_ref().map(|limit| (limit.as_str(), "1")));
    let client = server.client_with(&server.key("*"));
    client.get("/webhooks").expect(200);
    client.publish("clock_in", &clock_in(1));
    client.get("/feeds/999999").expect(404);
    for (path, method, operation) in operations() {
        let is_counted = operation["security"] != json!([]);
        assert_eq!(operation["responses"].get("429").is_some(), is_counted, "{method} {path}");
        ask(&client, &method, path).expect(if is_counted { 429 } else { 200 });
    }
}

#[test]
fn every_parameter_of_a_query_is_read() {
    let server = Server::start(&[]);
    let client = server.client_with(&server.key("*"));
    let id = client.subscribe(UNUSED, &["*"]).id.to_string();
    for (path, method, operation) in operations() {
        let names = operation["parameters"].as_array().unwrap().iter().filter(|found| found["in"] == "query");
        for name in names.map(|found| found["name"].as_str().unwrap()) {
            // Longer than any id, and no tag either.
            let mut asked = format!("{}?{name}={}", path.replace("{id}", &id), "x".repeat(256));
            let all = operation["parameters"].as_array().unwrap();
            for other in all.iter().filter(|found| found["in"] == "query" && found["required"] == true) {
                if other["name"] != name {
                    asked.push('&');
                    asked.push_str(other["name"].as_str().unwrap());
                    asked.push_str("=1");
                }
            }
            let json = [("Content-Type", "application/json")];
            let body = ["POST", "PUT"].contains(&method.as_str()).then_some(&b"{}"[..]);
            let answer = client.send(&method, &asked, &json, body);
            // Without an action, the number of a subscription to be made is passed over.
            let is_passed_over = method == "POST" && name == "id";
            let wrong = answer.expect(400);
            assert_eq!(wrong.wrong_fields() == [name], !is_passed_over, "{method} {asked}: {}", wrong.text);
        }
    }
}

/// Examples of media types, of parameters and headers, and of schemas: each with the schema that it is of.
fn examples() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let mut places = vec![String::new()];
    while let Some(place) = places.pop() {
        let value = http::document().pointer(&place).unwrap();
        if let Some(schema) = value.get("schema").filter(|schema| schema.is_object()) {
            let pointer = below(&place, "schema");
            let several = value.get("examples").and_then(Value::as_object).into_iter().flat_map(|all| all.values());
            found.extend(value.get("example").map(|example| (pointer.clone(), example.clone())));
            found.extend(several.map(|example| (pointer.clone(), example["value"].clone())));
            assert!(!schema.as_object().unwrap().is_empty(), "{pointer} says nothing");
        }
        // In a schema it is a list, beside a type or a reference.
        let own = value.get("examples").and_then(Value::as_array).into_iter().flatten();
        found.extend(own.map(|example| (place.clone(), example.clone())));
        match value {
            Value::Object(fields) => {
                let deeper = fields.keys().filter(|name| !["example", "examples", "value"].contains(&name.as_str()));
                places.extend(deeper.map(|name| below(&place, name)));
            }
            Value::Array(items) => places.extend((0..items.len()).map(|index| below(&place, &index.to_string()))),
            _ => {}
        }
    }
    found
}

#[test]
fn every_example_fits_its_schema() {
    let examples = examples();
    assert!(examples.len() > 150, "only {} examples found", examples.len());
    for (schema, example) in examples {
        let found = faults(&schema, &example);
        assert!(found.is_empty(), "{schema}: {example:#}: {found:?}");
    }
}

#[test]
fn every_field_of_an_event_says_what_it_means() {
    let server = Server::start(&[]);
    let client = server.client();
    for event in client.get("/event-types").expect(200).rows() {
        for (name, field) in event["schema"]["properties"].as_object().unwrap() {
            assert!(field["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}: {event}");
        }
    }
}

#[test]
fn every_body_and_every_success_has_an_example() {
    let paths = http::document()["paths"].as_object().unwrap();
    let mut bodies = 0;
    for (path, method, operation) in operations().filter(|(.., operation)| operation["tags"][0] != "Server") {
        if operation.get("requestBody").is_some() {
            bodies += 1;
            assert!(operation.pointer("/requestBody/content/application~1json/example").is_some(), "{method} {path}");
        }
        for (status, response) in operation["responses"].as_object().unwrap().iter().filter(|(s, _)| s.starts_with('2'))
        {
            let content = response["content"].as_object().unwrap();
            assert!(content.values().any(|media| media["example"].is_object()), "{method} {path} {status}");
        }
    }
    assert!(bodies >= 6 && paths.len() >= 20);
}

#[test]
fn examples_of_requests_are_accepted() {
    let server = Server::start(&[]);
    let client = server.client();
    let order = ["createSubscription", "updateSubscription", "publishEvent", "publishEvents"];
    for name in order {
        let (path, method, operation) = operations().find(|(.., found)| found["operationId"] == name).unwrap();
        let mut body = operation["requestBody"]["content"]["application/json"]["example"].clone();
        if body.get("url").is_some() {
            body["url"] = UNUSED.into();
        }
        let json = [("Content-Type", "application/json")];
        let answer = client.send(&method, &path.replace("{id}", "1"), &json, Some(body.to_string().as_bytes()));
        assert!(answer.status < 300, "{name}: {}", answer.text);
    }
}

#[test]
fn a_delivery_of_every_type_is_as_described() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::first([Reply::status(500)]);
    let subscription = client.subscribe(&receiver.url("/hook"), &["*", "clock.*"]);
    let described: Vec<&String> = http::document()["webhooks"].as_object().unwrap().keys().collect();
    assert_eq!(described.len(), 11);
    for event in &described {
        client.publish(event, &sample(event));
    }
    // The one that fails is an event: a test ping would not be sent again.
    receiver.wait_for(1, "the first attempt");
    client.post_nothing(&format!("/webhooks/{}/test", subscription.id)).expect(200);
    let requests = receiver.wait_for(described.len() + 2, "every event, one of them twice, and the test");
    let mut seen = BTreeSet::new();
    for request in &requests {
        check_delivery(request);
        seen.insert(request.header("x-tempclock-event").to_owned());
    }
    assert_eq!(seen.len(), described.len());
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_shows_everything() {
    let server = Server::start(&[]);
    for path in ["/docs", "/api/v1/docs"] {
        let page = server.stranger().send("GET", path, &[], None).expect(200);
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for foreign in ["<script", "<link", "<img", "<iframe", "@import", "url(", " style=", " onclick=", "src="] {
            assert!(!page.text.contains(foreign), "{foreign} in the page");
        }
        for (path, _, operation) in operations() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(page.text.contains(&format!("<h3 id=\"{id}\">")), "{id} is not on the page");
            assert!(page.text.contains(&format!("<code>{path}</code>")), "{path} is not on the page");
        }
        let components = &http::document()["components"]["schemas"];
        for name in components.as_object().unwrap().keys() {
            assert!(page.text.contains(&format!("id=\"schema-{name}\"")), "{name} is not on the page");
        }
        // Every link within the page leads somewhere.
        for target in page.text.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(page.text.contains(&format!("id=\"{target}\"")), "#{target} leads nowhere");
        }
    }
}
