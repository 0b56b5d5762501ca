//! The API's description as one HTML page: no script, no external resources, all text escaped. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::example::{self, SCHEMAS, names};
use crate::http::openapi::operation::BASE;

/// The page with its Content-Security-Policy.
pub struct HtmlPage {
    /// The whole page.
    pub html: String,
    /// Its Content-Security-Policy: only its own style.
    pub policy: String,
}

const STYLE: &str = include_str!("page.css");
const METHODS: [&str; 5] = ["get", "head", "post", "put", "delete"];
const PREPARATION: &str = "SERVER=http://127.0.0.1:8080\nKEY=tc_live_…";

impl HtmlPage {
    /// The page of a description.
    pub fn of(document: &Value) -> Self {
        let none = Map::new();
        let schemas = document["components"]["schemas"].as_object().unwrap_or(&none);
        let every: Vec<_> = entries(&document["components"]["parameters"]).map(|(_, parameter)| parameter).collect();
        let writer = Writer { document, schemas };
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let info = &document["info"];
        let (title, version) = (escape(text(&info["title"])), escape(text(&info["version"])));
        let html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{title} API</title><style>{STYLE}</style></head>\n<body>\
             <a class=\"skip\" href=\"#main\">Skip to the content</a>\n{nav}\n\
             <main id=\"main\"><h1>{title} API</h1><p class=\"soft\">Version {version} · OpenAPI 3.1 as \
             <a href=\"openapi.json\">openapi.json</a></p><p>{introduction}</p>\
             <p>The examples need two variables:</p>{preparation}{every}\n{main}</main></body></html>\n",
            nav = writer.navigation(),
            introduction = prose(text(&info["description"])),
            preparation = code(PREPARATION),
            every = parameter_list("Every request can have", &every),
            main = writer.main(),
        );
        Self { html, policy }
    }
}

struct Writer<'a> {
    document: &'a Value,
    schemas: &'a Map<String, Value>,
}

impl<'a> Writer<'a> {
    /// The operations of a heading: method, path, operation.
    fn operations(&self, heading: &Value) -> Vec<(&'static str, &'a str, &'a Value)> {
        let mut found = Vec::new();
        for (path, operations) in entries(&self.document["paths"]) {
            let present = METHODS.into_iter().filter_map(|method| Some((method, path, operations.get(method)?)));
            found.extend(present.filter(|(_, _, operation)| operation["tags"][0] == heading["name"]));
        }
        found
    }

    fn navigation(&self) -> String {
        let group = |name: &str, links: String| {
            let links = if links.is_empty() { links } else { format!("<ul>{links}</ul>") };
            format!("<li><a href=\"#{}\">{}</a>{links}</li>", anchor(name), escape(name))
        };
        let link = |id: &str, inner: &str| format!("<li><a href=\"#{}\">{inner}</a></li>", escape(id));
        let headings = each(list(&self.document["tags"]), |heading| {
            // Duplicates without a body or at the root need no link.
            let own = self
                .operations(heading)
                .into_iter()
                .filter(|(method, path, _)| *method != "head" && path.starts_with(BASE));
            let links = each(own, |(method, _, operation)| {
                let inner = format!("{} {}", method_mark(method), escape(text(&operation["summary"])));
                link(text(&operation["operationId"]), &inner)
            });
            group(text(&heading["name"]), links)
        });
        let webhooks = each(entries(&self.document["webhooks"]), |(name, _)| link(&webhook_id(name), &escape(name)));
        let schemas = each(self.schemas, |(name, _)| link(&schema_id(name), &escape(name)));
        let rest = [group("Webhooks", webhooks), group("Errors", String::new()), group("Schemas", schemas)].concat();
        format!("<nav aria-label=\"Contents\"><ul>{headings}{rest}</ul></nav>")
    }

    fn main(&self) -> String {
        let headings = each(list(&self.document["tags"]), |heading| {
            let operations =
                each(self.operations(heading), |(method, path, operation)| operation_part(method, path, operation));
            section(text(&heading["name"]), &operations)
        });
        let webhooks = each(entries(&self.document["webhooks"]), |(name, entry)| webhook(name, &entry["post"]));
        let mut errors: Vec<_> =
            entries(&self.document["components"]["responses"]).map(|(_, error)| self.error(error)).collect();
        errors.sort_unstable();
        let errors = errors.concat();
        let schemas = each(self.schemas, |(name, schema)| self.schema(name, schema));
        let intro = "<p>What a receiver gets: one <code>POST</code> for each attempt.</p>";
        [
            headings,
            section("Webhooks", &(intro.to_owned() + &webhooks)),
            section("Errors", &format!("<p>Every error has the shape {}.</p><dl>{errors}</dl>", schema_link("Error"))),
            section("Schemas", &schemas),
        ]
        .concat()
    }

    fn error(&self, response: &Value) -> String {
        let content = &response["content"]["application/json"];
        let examples: Vec<_> = entries(&content["examples"]).collect();
        let status = examples.first().map_or(&Value::Null, |(_, example)| &example["value"]["status"]);
        let codes = each(&examples, |(name, _)| format!(" <code>{}</code>", escape(name)));
        let shown = each(&examples, |(_, example)| pretty(&example["value"]));
        let headers = each(entries(&response["headers"]), |(name, reference)| {
            let description = prose(text(&self.resolve(reference)["description"]));
            format!("<li><code>{}</code> {description}</li>", escape(name))
        });
        let more = folded("Example and headers", &format!("{shown}<ul>{headers}</ul>"));
        let description = prose(text(&response["description"]));
        format!(
            "<div id=\"error-{status}\"><dt><span class=\"status\">{status}</span>{codes}</dt><dd>{description}{more}</dd></div>"
        )
    }

    fn schema(&self, name: &str, schema: &Value) -> String {
        let needed: Vec<_> = names(&schema["required"]).collect();
        let rows = each(entries(&schema["properties"]), |(name, property)| {
            let description = prose(text(&property["description"]));
            field(name, &kind(property), needed.contains(&name), &description)
        });
        let fields = match rows.as_str() {
            "" => format!("<p>{}</p>", kind(schema)),
            _ => format!("<dl>{rows}</dl>"),
        };
        let example = folded("Example", &pretty(&example::of(schema, self.schemas)));
        let description = prose(text(&schema["description"]));
        format!("{}<p>{description}</p>{fields}{example}", title_of(&schema_id(name), &escape(name)))
    }

    fn resolve(&self, value: &'a Value) -> &'a Value {
        let target = value["$ref"].as_str().and_then(|reference| self.document.pointer(reference.strip_prefix('#')?));
        target.unwrap_or(value)
    }
}

fn operation_part(method: &str, path: &str, operation: &Value) -> String {
    let title = format!("{} <code>{}</code>", method_mark(method), escape(path));
    // Common parameters are shown once.
    let parameters: Vec<_> =
        list(&operation["parameters"]).filter(|parameter| parameter.get("$ref").is_none()).collect();
    let body = operation.get("requestBody").map_or_else(String::new, |body| {
        let schema = &body["content"]["application/json"]["schema"];
        let optional = if body["required"] == true { "" } else { " (optional)" };
        format!("<h4>Body</h4><p>{}{optional}</p>", kind(schema))
    });
    let (errors, answers): (Vec<_>, Vec<_>) =
        entries(&operation["responses"]).partition(|(_, response)| response.get("$ref").is_some());
    let answers = each(answers, |(status, found)| response(status, found));
    let errors: Vec<_> = errors.iter().map(|(status, _)| format!("<a href=\"#error-{status}\">{status}</a>")).collect();
    [
        title_of(text(&operation["operationId"]), &title),
        format!("<p><strong>{}</strong></p>", escape(text(&operation["summary"]))),
        format!("<p>{}</p>", prose(text(&operation["description"]))),
        code(&curl(method, path, &parameters, operation)),
        parameter_list("Parameters", &parameters),
        body,
        format!("<h4>Responses</h4><dl>{answers}</dl><p class=\"soft\">Errors: {}</p>", errors.join(" ")),
    ]
    .concat()
}

fn webhook(name: &str, operation: &Value) -> String {
    let parameters: Vec<_> = list(&operation["parameters"]).collect();
    let content = &operation["requestBody"]["content"]["application/json"];
    let responses = each(entries(&operation["responses"]), |(status, found)| response(status, found));
    [
        title_of(&webhook_id(name), &format!("<code>{}</code>", escape(name))),
        format!("<p>{}</p><p>{}</p>", prose(text(&operation["summary"])), prose(text(&operation["description"]))),
        format!("<h4>Body</h4><p>{}</p>{}", kind(&content["schema"]), pretty(&content["example"])),
        folded("Headers", &parameter_list("Headers", &parameters)),
        folded("What your response means", &format!("<dl>{responses}</dl>")),
    ]
    .concat()
}

fn parameter_list(title: &str, parameters: &[&Value]) -> String {
    if parameters.is_empty() {
        return String::new();
    }
    let rows = each(parameters, |parameter| {
        let place = format!("{}, {}", kind(&parameter["schema"]), escape(text(&parameter["in"])));
        let example = parameter.get("example").and_then(Value::as_str);
        let example = example.map_or_else(String::new, |example| format!(" <code>{}</code>", escape(example)));
        let description = prose(text(&parameter["description"])) + &example;
        field(text(&parameter["name"]), &place, parameter["required"] == true, &description)
    });
    format!("<h4>{title}</h4><dl>{rows}</dl>")
}

fn response(status: &str, response: &Value) -> String {
    let media = entries(&response["content"]).next();
    let shape = media.map_or_else(String::new, |(media_type, content)| {
        let example = content.get("example").map_or_else(String::new, |example| folded("Example", &pretty(example)));
        format!("<p class=\"soft\">{}: {}</p>{example}", escape(media_type), kind(&content["schema"]))
    });
    let description = prose(text(&response["description"]));
    format!("<div><dt><span class=\"status\">{}</span></dt><dd>{description}{shape}</dd></div>", escape(status))
}

/// A value's type as text with links.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix(SCHEMAS)) {
        return schema_link(name);
    }
    let choices = |values: &Value, separator: &str, show: &dyn Fn(&Value) -> String| {
        list(values).map(show).collect::<Vec<_>>().join(separator)
    };
    if let Some(value) = schema.get("const") {
        return literal(value);
    }
    if schema.get("enum").is_some() {
        return choices(&schema["enum"], ", ", &literal);
    }
    if let Some(alternatives) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
        return choices(alternatives, " or ", &kind);
    }
    let words = match &schema["type"] {
        Value::String(name) if name == "array" => return format!("array of {}", kind(&schema["items"])),
        Value::String(name) if name == "object" && schema.get("properties").is_some() => {
            let fields =
                entries(&schema["properties"]).map(|(name, field)| format!("{}: {}", escape(name), kind(field)));
            return format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "));
        }
        Value::String(name) => escape(name),
        kinds => names(kinds).map(escape).collect::<Vec<_>>().join(" or "),
    };
    let format = schema["format"].as_str().map_or_else(String::new, |format| format!(" ({})", escape(format)));
    let limit = |key: &str, sign: &str| {
        let limit = schema.get(key).and_then(Value::as_u64);
        limit.map_or_else(String::new, |limit| format!(", {sign} {limit}"))
    };
    let default = schema.get("default").map_or_else(String::new, |value| format!(", default {}", literal(value)));
    [words, format, limit("minimum", "≥"), limit("maxLength", "maximum length"), default].concat()
}

/// The curl command of the request.
fn curl(method: &str, path: &str, parameters: &[&Value], operation: &Value) -> String {
    let mut path = path.to_owned();
    for parameter in parameters.iter().filter(|parameter| parameter["required"] == true) {
        let name = text(&parameter["name"]);
        let value = match &parameter["schema"]["examples"][0] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        path = match text(&parameter["in"]) {
            "path" => path.replace(&format!("{{{name}}}"), &value),
            _ => format!("{path}?{name}={value}"),
        };
    }
    let verb = match method {
        "get" => String::new(),
        "head" => " --head".to_owned(),
        other => format!(" -X {}", other.to_uppercase()),
    };
    let mut command = format!("curl{verb} \"$SERVER{path}\"");
    if list(&operation["security"]).next().is_some() {
        command += " \\\n  -H \"Authorization: Bearer $KEY\"";
    }
    let example = &operation["requestBody"]["content"]["application/json"]["example"];
    if !example.is_null() {
        let body = serde_json::to_string_pretty(example).unwrap_or_default().replace('\'', r"'\''");
        command = format!("{command} \\\n  -H 'Content-Type: application/json' -d '{body}'");
    }
    command
}

fn each<T>(items: impl IntoIterator<Item = T>, write: impl FnMut(T) -> String) -> String {
    items.into_iter().map(write).collect::<Vec<_>>().concat()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn section(name: &str, inner: &str) -> String {
    format!("<section><h2 id=\"{}\">{}</h2>{inner}</section>\n", anchor(name), escape(name))
}

fn title_of(id: &str, inner: &str) -> String {
    let id = escape(id);
    format!("<h3 id=\"{id}\"><a href=\"#{id}\">{inner}</a></h3>")
}

fn field(name: &str, kind: &str, is_needed: bool, description: &str) -> String {
    let needed = if is_needed { " <span class=\"needed\">required</span>" } else { "" };
    let name = escape(name);
    format!("<div><dt><code>{name}</code> <span class=\"type\">{kind}</span>{needed}</dt><dd>{description}</dd></div>")
}

fn folded(title: &str, inner: &str) -> String {
    format!("<details><summary>{title}</summary>{inner}</details>")
}

fn code(text: &str) -> String {
    format!("<pre tabindex=\"0\"><code>{}</code></pre>", escape(text))
}

fn pretty(value: &Value) -> String {
    code(&serde_json::to_string_pretty(value).unwrap_or_default())
}

fn literal(value: &Value) -> String {
    format!("<code>{}</code>", escape(&value.to_string()))
}

fn method_mark(method: &str) -> String {
    format!("<span class=\"method {method}\">{}</span>", method.to_uppercase())
}

fn schema_link(name: &str) -> String {
    format!("<a href=\"#{}\">{}</a>", escape(&schema_id(name)), escape(name))
}

fn schema_id(name: &str) -> String {
    format!("schema-{name}")
}

fn webhook_id(name: &str) -> String {
    format!("webhook-{name}")
}

fn anchor(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Escapes a sentence and marks backticked parts as code.
fn prose(sentence: &str) -> String {
    let parts = sentence.split('`').enumerate();
    each(parts, |(place, part)| if place % 2 == 0 { escape(part) } else { format!("<code>{}</code>", escape(part)) })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
