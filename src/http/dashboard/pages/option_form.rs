//! Fields of a form for what has a JSON Schema: made from the schema, filled from JSON, read back into JSON. So a new
//! option of a subscription has its place in the form as soon as the API knows it. Pure.

use askama::Template;
use serde_json::{Map, Value};

use crate::domain::FieldError;
use crate::http::dashboard::form::Form;
use crate::http::dashboard::parts;

/// Fields whose text is not shown while it is typed.
const SECRETS: [&str; 3] = ["password", "token", "client_secret"];
/// What an empty list is written as, since nothing stands for the default.
const EMPTY_LIST: &str = "none";

/// A field, or a group of them.
#[derive(Debug)]
pub struct Field {
    /// The path in the JSON, with dots.
    pub name: String,
    /// The last part of it, to be read.
    pub label: String,
    /// What it means.
    pub hint: String,
    /// What is wrong with it.
    pub problem: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Text(String),
    Secret(String),
    Number(String),
    /// One of these words; the present one.
    Choice(Vec<String>, String),
    /// Any of these words; whether they are chosen.
    Boxes(Vec<(String, bool)>),
    /// Several lines: `name: value`, or JSON.
    Lines(String),
    Group(Vec<Field>),
}

/// How a value is written in a form.
enum Shape<'a> {
    Text,
    Secret,
    Number,
    Choice(Vec<String>),
    Boxes(Vec<String>),
    /// Texts with commas between them.
    List,
    /// An object of texts, one on each line.
    Pairs,
    /// Any JSON.
    Json,
    Group(&'a Map<String, Value>),
}

impl Shape<'_> {
    fn of<'a>(name: &str, schema: &'a Value) -> Shape<'a> {
        match type_of(schema) {
            "string" => match words(&schema["enum"]) {
                words if !words.is_empty() => Shape::Choice(words),
                _ if SECRETS.contains(&name) => Shape::Secret,
                _ => Shape::Text,
            },
            "integer" => Shape::Number,
            "boolean" => Shape::Choice(vec!["true".to_owned(), "false".to_owned()]),
            "array" => match words(&schema["items"]["enum"]) {
                words if !words.is_empty() => Shape::Boxes(words),
                _ => Shape::List,
            },
            "object" => match schema["properties"].as_object() {
                Some(properties) => Shape::Group(properties),
                None if type_of(&schema["additionalProperties"]) == "string" => Shape::Pairs,
                None => Shape::Json,
            },
            _ => Shape::Json,
        }
    }
}

/// The type that a schema has beside null.
fn type_of(schema: &Value) -> &str {
    let types = schema["type"].as_array().map_or_else(|| vec![&schema["type"]], |types| types.iter().collect());
    types.into_iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or_default()
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Field {
    /// The field for a value with this schema.
    #[must_use]
    pub fn of(name: &str, schema: &Value, value: &Value, problems: &[FieldError]) -> Self {
        let label = name.rsplit('.').next().unwrap_or(name);
        let text = || if value.is_null() { String::new() } else { parts::plain(value) };
        let (kind, how) = match Shape::of(label, schema) {
            Shape::Text => (Kind::Text(text()), ""),
            Shape::Secret => (Kind::Secret(text()), "“set” keeps the stored value."),
            Shape::Number => (Kind::Number(text()), ""),
            Shape::Choice(words) => (Kind::Choice(words, text()), ""),
            Shape::Boxes(words) => {
                let chosen = self::words(value);
                let boxes = words.into_iter().map(|word| (chosen.contains(&word), word)).map(|(is, word)| (word, is));
                (Kind::Boxes(boxes.collect()), "")
            }
            Shape::List => {
                let list = value.as_array().map(|_| self::words(value).join(", "));
                let text = list.map(|text| if text.is_empty() { EMPTY_LIST.to_owned() } else { text });
                (Kind::Text(text.unwrap_or_default()), "Separated by commas; “none” for an empty list.")
            }
            Shape::Pairs => {
                let none = Map::new();
                let pairs = parts::pairs(value.as_object().unwrap_or(&none)).into_iter();
                let lines: Vec<_> = pairs.map(|(name, value)| format!("{name}: {value}")).collect();
                (Kind::Lines(lines.join("\n")), "One per line: name, colon, value.")
            }
            Shape::Json => {
                let text = if value.is_null() { String::new() } else { parts::indented(&value.to_string()) };
                (Kind::Lines(text), "As JSON.")
            }
            Shape::Group(properties) => {
                let member = |(member, schema): (&String, &Value)| {
                    Self::of(&format!("{name}.{member}"), schema, &value[member.as_str()], problems)
                };
                (Kind::Group(properties.iter().map(member).collect()), "")
            }
        };
        let what = schema["description"].as_str().unwrap_or_default().replace('`', "");
        let hint = [what.as_str(), how].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
        let problem = problem(name, &kind, problems);
        Self { name: name.to_owned(), label: label.replace('_', " "), hint, problem, kind }
    }

    /// The field as HTML, with everything escaped.
    #[must_use]
    pub fn html(&self) -> String {
        let members = match &self.kind {
            Kind::Group(members) => members.iter().map(Self::html).collect(),
            _ => Vec::new(),
        };
        // Writing to a string cannot fail.
        FieldPart { field: self, members }.render().unwrap_or_default()
    }
}

#[derive(Template)]
#[template(path = "subscriptions/field.html")]
struct FieldPart<'a> {
    field: &'a Field,
    members: Vec<String>,
}

/// What is wrong with a field itself; a group leaves to its members what is wrong with them.
fn problem(name: &str, kind: &Kind, problems: &[FieldError]) -> String {
    let is_meant = |error: &&FieldError| match error.field.strip_prefix(name) {
        Some("") => true,
        Some(rest) => !matches!(kind, Kind::Group(_)) && rest.starts_with(['.', '[']),
        None => false,
    };
    problems.iter().filter(is_meant).map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// What a form has for a value with this schema; null if it has nothing.
pub fn value(name: &str, schema: &Value, form: &Form) -> Result<Value, FieldError> {
    let label = name.rsplit('.').next().unwrap_or(name);
    let text = form.text(name);
    match Shape::of(label, schema) {
        Shape::Boxes(_) => {
            let chosen: Vec<Value> = form.all(name).map(Value::from).collect();
            Ok(if chosen.is_empty() { Value::Null } else { chosen.into() })
        }
        Shape::Group(properties) => {
            let mut members = Map::new();
            for (member, schema) in properties {
                let value = value(&format!("{name}.{member}"), schema, form)?;
                if !value.is_null() {
                    members.insert(member.clone(), value);
                }
            }
            Ok(if members.is_empty() { Value::Null } else { members.into() })
        }
        _ if text.is_empty() => Ok(Value::Null),
        Shape::Choice(_) if type_of(schema) == "boolean" => Ok((text == "true").into()),
        Shape::Text | Shape::Secret | Shape::Choice(_) => Ok(text.into()),
        Shape::Number => {
            let number: Result<i64, _> = text.parse();
            number.map(Value::from).map_err(|_| FieldError::new(name, "must be a number"))
        }
        Shape::List if text == EMPTY_LIST => Ok(Value::Array(Vec::new())),
        Shape::List => Ok(list(text).into()),
        Shape::Pairs => pairs(name, text),
        Shape::Json => {
            serde_json::from_str(text).map_err(|error| FieldError::new(name, format!("must be JSON: {error}")))
        }
    }
}

/// Texts that commas or line breaks divide.
#[must_use]
pub fn list(text: &str) -> Vec<String> {
    text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn pairs(name: &str, text: &str) -> Result<Value, FieldError> {
    let mut members = Map::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((key, value)) = line.split_once(':') else {
            return Err(FieldError::new(name, "needs a name, a colon and a value on each line"));
        };
        if members.insert(key.trim().to_owned(), value.trim().into()).is_some() {
            return Err(FieldError::new(name, format!("{} is given twice", key.trim())));
        }
    }
    Ok(members.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::api::option_schemas;

    /// A form that sends what the fields show.
    fn sent(fields: &[Field], pairs: &mut Vec<(String, String)>) {
        for field in fields {
            let name = field.name.clone();
            match &field.kind {
                Kind::Text(text)
                | Kind::Secret(text)
                | Kind::Number(text)
                | Kind::Lines(text)
                | Kind::Choice(_, text) => {
                    pairs.push((name, text.clone()));
                }
                Kind::Boxes(boxes) => {
                    let chosen = boxes.iter().filter(|(_, is_chosen)| *is_chosen);
                    pairs.extend(chosen.map(|(word, _)| (name.clone(), word.clone())));
                }
                Kind::Group(members) => sent(members, pairs),
            }
        }
    }

    #[test]
    fn a_form_that_nobody_changed_is_read_back_as_what_it_was_made_from() {
        let stored = json!({
            "headers": {"X-Site": "set", "X-Other": "set"},
            "auth": {"type": "basic", "username": "a:b", "password": "set"},
            "format": "form",
            "names": {"signature": "X-Sig", "envelope": {"id": "key"}},
            "signatures": ["standard"],
            "filter": {"site.name": {"prefix": "N"}, "location_id": [3, "4"]},
            "rate_limit": "10/s",
            "max_in_flight": 3,
            "retry_schedule": ["5s", "1m"],
            "delivery_window": {"days": ["mon", "sun"], "from": "06:00", "to": "20:00", "time_zone": "Europe/London"},
        });
        let mut others = 0;
        for values in [stored, json!({"retry_schedule": []}), json!({})] {
            let schemas = option_schemas::all();
            let fields: Vec<_> =
                schemas.iter().map(|(name, schema)| Field::of(name, schema, &values[*name], &[])).collect();
            let mut pairs = Vec::new();
            sent(&fields, &mut pairs);
            let form = Form::of(pairs);
            for (name, schema) in &schemas {
                assert_eq!(value(name, schema, &form).unwrap(), values[*name], "{name}");
            }
            others += fields.len();
        }
        assert!(others > 30, "{others}");
    }

    #[test]
    fn what_is_wrong_stands_with_the_field_that_it_concerns() {
        let problems =
            [FieldError::new("delivery_window.from", "is late"), FieldError::new("headers.X", "is no header")];
        let schemas = option_schemas::all();
        let html: String =
            schemas.iter().map(|(name, schema)| Field::of(name, schema, &Value::Null, &problems).html()).collect();
        assert_eq!((html.matches("is late").count(), html.matches("is no header").count()), (1, 1), "{html}");
        assert_eq!(html.matches("aria-invalid").count(), 2);
        let form = |name: &str, text: &str| Form::of(vec![(name.to_owned(), text.to_owned())]);
        let read = |name: &str, text: &str| {
            let (_, schema) = option_schemas::all().into_iter().find(|(known, _)| *known == name).unwrap();
            value(name, &schema, &form(name, text))
        };
        for (name, text) in
            [("max_in_flight", "many"), ("headers", "no colon"), ("headers", "A: 1\nA: 2"), ("filter", "{")]
        {
            assert_eq!(read(name, text).unwrap_err().field, name);
        }
    }
}
