//! The API's description in `OpenAPI` 3.1, and a page made from it. Both are made from
//! the table of routes and from the structs that answers are serialized from. Runs on the HTTP workers.

mod admin_routes;
mod answers;
mod errors;
mod example;
mod feed_routes;
mod headers;
pub(super) mod operation;
mod page;
pub(super) mod parameters;
pub(super) mod routes;
mod webhooks;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use self::example::SCHEMAS;
use self::page::HtmlPage;
use self::webhooks::NamedTypes;
use crate::domain::event::catalogue::Catalogue;
use crate::domain::event::event_type::EventType;
use crate::http::api::jobs::{body, erasure};
use crate::http::api::subscription_tools::{matching, rotation};
use crate::http::api::{event_body, event_types, feeds, key_body, subscription_body, test_ping};
use crate::http::openapi::operation::{Access, BASE, Operation, Parameter, Resource, ResponseSpec};
use crate::http::request::error::ErrorBody;
use crate::http::request::respond;

/// The description as a JSON document and as a page.
pub struct Description {
    document: Value,
    page: HtmlPage,
}

impl Description {
    /// Describes these routes, with these event types.
    pub fn of(resources: &[Resource], catalogue: &Catalogue) -> Self {
        let document = describe(resources, &NamedTypes::of(catalogue));
        let page = HtmlPage::of(&document);
        Self { document, page }
    }

    /// The whole document.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Responds with the document.
    pub fn show(&self) -> HttpResponse {
        respond::json(&mut HttpResponse::Ok(), &self.document)
    }

    /// Responds with the page.
    pub fn show_page(&self) -> HttpResponse {
        show_page(&self.page)
    }
}

fn show_page(page: &HtmlPage) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_SECURITY_POLICY, page.policy.clone()))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .body(page.html.clone())
}

const INTRODUCTION: &str = "Accepts the events of a staffing time clock and delivers them, signed, to every system that subscribed. All routes but the open ones need an API key: `Authorization: Bearer tc_live_…`. A key belongs to one \
    account; other accounts' resources return 404. Requests and responses are JSON in UTF-8; times are RFC 3339. \
    Empty and unknown query parameters are ignored, but one that looks like a misspelled known one gets 400. Malformed \
    HTTP requests get 400, 408 or 431 without a body, whatever their path, and the connection is closed.";

const LICENSE: &str = env!("CARGO_PKG_LICENSE");

/// A heading with a sentence about its operations.
fn tag(name: &str) -> Value {
    let description = match name {
        "Subscriptions" => "Who gets which events, and where.",
        "Events" => "Publish events, and find published ones.",
        "Deliveries" => "One event for one subscription: its attempts, and redelivery.",
        "Feeds" => "Events for a receiver that reads them, for example behind a firewall.",
        "Jobs" => "Work on many deliveries that continues after the response: read its progress or stop it.",
        "Audit" => "Who changed what.",
        "API keys" => "Create, rotate and revoke the keys of your account.",
        "Server" => "Health, and this description. No key is needed.",
        _ => "The same operations at the addresses of TempClock's own API.",
    };
    json!({"name": name, "description": description})
}

fn describe(resources: &[Resource], types: &NamedTypes<'_>) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut named = Map::new();
    let answers: Vec<Vec<Value>> = resources
        .iter()
        .flat_map(|resource| &resource.operations)
        .map(|operation| {
            let schemas = operation.answers.iter().map(|answer| (answer, schema_of(answer, &mut generator)));
            schemas.map(|(answer, schema)| answers::named(operation.name, answer, schema, &mut named)).collect()
        })
        .collect();
    let schemas = schemas(generator, named, types);
    let mut answers = answers.into_iter();
    let mut paths = Map::new();
    let mut headings: Vec<&str> = Vec::new();
    for resource in resources {
        if !headings.contains(&resource.heading) {
            headings.push(resource.heading);
        }
        let mut entry = Map::new();
        for operation in &resource.operations {
            let answers = answers.next().unwrap_or_default();
            let method = operation.method.as_str().to_lowercase();
            entry.insert(method, describe_operation(resource, operation, answers, &schemas));
        }
        paths.insert(format!("{BASE}{}", resource.path), Value::Object(entry.clone()));
        if resource.is_at_root {
            paths.insert(resource.path.to_owned(), Value::Object(at_root(entry)));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tempclock-webhooks",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
            "license": {"name": LICENSE, "identifier": LICENSE},
        },
        "servers": [{"url": "/"}],
        "tags": headings.into_iter().map(tag).collect::<Vec<_>>(),
        "paths": paths,
        "webhooks": webhooks::section(types),
        "components": {
            "schemas": schemas,
            "responses": errors::responses(),
            "headers": headers::all(),
            "parameters": {"X-Request-Id": {
                "name": "X-Request-Id",
                "in": "header",
                "description": "Your own id for this request, for the response and the log: 1 to 128 letters, digits, `-`, `_`, `.` or `:`. An invalid one is ignored.",
                "schema": {"type": "string"},
                "example": "payroll-2026-03-02-17",
            }},
            "securitySchemes": {"apiKey": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "tc_live_ and 40 hexadecimal digits",
                "description": "An API key; create one with `tempclock-webhooks keys create`.",
            }},
        },
    })
}

/// Operations without the base path need unique names.
fn at_root(mut entry: Map<String, Value>) -> Map<String, Value> {
    for operation in entry.values_mut() {
        let name = operation["operationId"].as_str().map(|name| format!("{name}AtRoot"));
        operation["operationId"] = name.into();
    }
    entry
}

fn schemas(mut generator: SchemaGenerator, answers: Map<String, Value>, types: &NamedTypes<'_>) -> Map<String, Value> {
    generator.subschema_for::<ErrorBody<'static>>();
    generator.subschema_for::<EventType>();
    let mut schemas = generator.take_definitions(true);
    schemas.extend(answers);
    schemas.extend(webhooks::schemas(types));
    let url = "https://crm.example.com/hooks/tempclock";
    let event = webhooks::clock_in();
    let bodies = [
        (
            "NewSubscription",
            subscription_body::schema(&["events"]),
            json!({"url": url, "events": ["clock_in", "clock_out"], "description": "Time sheets to the CRM"}),
        ),
        ("SubscriptionChange", subscription_body::schema(&[]), json!({"active": true})),
        ("NewRetry", body::retry_schema(), json!({"subscription": 1, "since": "2026-03-02T08:00:00Z"})),
        (
            "NewKey",
            key_body::schema(),
            json!({"name": "crm", "scopes": ["webhooks:read"], "expires": "90d", "networks": ["10.0.0.0/8"]}),
        ),
        ("KeyRotation", key_body::rotation_schema(), json!({"overlap": "24h"})),
        ("NewReplay", body::replay_schema(), json!({"since": "2026-03-02T08:00:00Z", "events": ["clock_in"]})),
        ("NewErasure", erasure::schema(), json!({"worker_id": 52})),
        ("FeedAcknowledgement", feeds::schema(), json!({"cursor": "cur_1_019cadc7b1c07ad1ea45cf36ac5ac543"})),
        ("SecretRotation", rotation::schema(), json!({"overlap": "24h"})),
        ("EventToMatch", matching::schema(), json!({"event": "clock_in", "data": event_types::clock_in()})),
        ("SubscriptionTest", test_ping::schema(), json!({"verify": true})),
        (
            "NewEvents",
            event_body::batch_schema(&json!({"$ref": format!("{SCHEMAS}NewEvent")})),
            json!({"events": [event, {"event": "worker_created", "data": event_types::example(EventType::WorkerCreated.example())}]}),
        ),
    ];
    for (name, mut schema, example) in bodies {
        schema["examples"] = json!([example]);
        schemas.insert(name.to_owned(), schema);
    }
    schemas
}

fn schema_of(answer: &ResponseSpec, generator: &mut SchemaGenerator) -> Value {
    let mut schema = (answer.shape)(generator).to_value();
    if !answer.always.is_empty() {
        schema["properties"]["data"]["required"] = json!(answer.always);
    }
    if let Some(message) = answer.message {
        schema["properties"]["message"]["examples"] = json!([message]);
        schema["required"] = json!(["data", "message"]);
    }
    schema
}

fn describe_operation(
    resource: &Resource,
    operation: &Operation,
    answers: Vec<Value>,
    schemas: &Map<String, Value>,
) -> Value {
    let needs = match operation.access {
        Access::Open => "Needs no API key.".to_owned(),
        Access::AnyKey => "Needs an API key with any scope.".to_owned(),
        Access::Scope(scope) => format!("Needs the scope `{}`.", scope.name()),
    };
    let description = [operation.details, &needs].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let security = match operation.access {
        Access::Open => json!([]),
        Access::AnyKey => json!([{"apiKey": []}]),
        Access::Scope(scope) => json!([{"apiKey": [scope.name()]}]),
    };
    let parameters: Vec<_> = operation.parameters.iter().map(describe_parameter).collect();
    let request_id = json!({"$ref": "#/components/parameters/X-Request-Id"});
    let mut described = json!({
        "operationId": operation.name,
        "tags": [resource.heading],
        "summary": operation.summary,
        "description": description.join(" "),
        "parameters": parameters.into_iter().chain([request_id]).collect::<Vec<_>>(),
        "responses": responses(operation, answers, schemas),
        "security": security,
    });
    if let Some(body) = &operation.body {
        let schema = json!({"$ref": format!("{SCHEMAS}{}", body.name)});
        let example = example::of(&schema, schemas);
        described["requestBody"] = json!({
            "required": !body.is_optional,
            "content": {"application/json": {"schema": schema, "example": example}},
        });
    }
    described
}

fn describe_parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.is_required,
        "description": parameter.description,
        "schema": parameter.schema,
    })
}

fn responses(operation: &Operation, answers: Vec<Value>, schemas: &Map<String, Value>) -> Map<String, Value> {
    let mut names = vec!["X-Request-Id"];
    if operation.access != Access::Open {
        names.extend(headers::RATE_LIMIT_HEADERS);
    }
    let mut responses = Map::new();
    for (answer, schema) in operation.answers.iter().zip(answers) {
        let example = example::of(&schema, schemas);
        let status = answer.status.to_string();
        match responses.get_mut(&status) {
            None => {
                let mut response = json!({"description": answer.description, "headers": headers::references(&names)});
                // A response to HEAD has no body.
                if operation.method != Method::HEAD {
                    let mut content = json!({"schema": schema});
                    if example.as_object().is_some_and(|fields| !fields.is_empty()) {
                        content["example"] = example;
                    }
                    response["content"] = json!({answer.media_type: content});
                }
                responses.insert(status, response);
            }
            Some(response) => add_choice(response, answer, &schema),
        }
    }
    for status in operation.error_statuses() {
        let reference = format!("#/components/responses/{}", errors::name(status));
        responses.insert(status.to_string(), json!({"$ref": reference}));
    }
    responses
}

/// Adds an alternative for the same status.
fn add_choice(response: &mut Value, answer: &ResponseSpec, schema: &Value) {
    let first = response["description"].as_str().unwrap_or_default();
    response["description"] = format!("{first} Or: {}", answer.description).into();
    if response["content"].get(answer.media_type).is_none() {
        response["content"][answer.media_type] = json!({"schema": schema});
        return;
    }
    let content = &mut response["content"][answer.media_type]["schema"];
    *content = json!({"anyOf": [content, schema]});
}
