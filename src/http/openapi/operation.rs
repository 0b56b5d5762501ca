//! The definition of an API operation. Routing and the API's description are both built from it, so they cannot differ.
//! Pure; built once per HTTP worker and once for the description.

use actix_web::http::Method;
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Responder, Route, web};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use crate::domain::access::Scope;
use crate::http::request::error::ApiError;
use crate::http::request::extract;
use crate::http::request::respond::{List, Single};

/// The API's base path.
pub const BASE: &str = "/api/v1";

/// A path with its operations.
pub struct Resource {
    /// Relative to the base path, with `{id}` for an id.
    pub path: &'static str,
    /// Whether it is also served without the base path.
    pub is_at_root: bool,
    /// The heading of its operations.
    pub heading: &'static str,
    /// Its operations, one per method.
    pub operations: Vec<Operation>,
}

/// A path below the base path.
pub fn at<const N: usize>(heading: &'static str, path: &'static str, operations: [Operation; N]) -> Resource {
    Resource { path, is_at_root: false, heading, operations: operations.into() }
}

/// One method of a path.
pub struct Operation {
    /// Its method.
    pub method: Method,
    route: Route,
    /// A unique name.
    pub name: &'static str,
    /// A summary.
    pub summary: &'static str,
    /// Details.
    pub details: &'static str,
    /// Who may call it.
    pub access: Access,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Its request body.
    pub body: Option<Body>,
    /// Its responses, apart from errors.
    pub answers: Vec<ResponseSpec>,
    /// Whether it can respond 409.
    pub may_conflict: bool,
    /// Whether its body names something, so that it can respond 404.
    pub names_in_body: bool,
}

/// Who may call an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Any valid key.
    AnyKey,
    /// A key with this scope.
    Scope(Scope),
}

/// A value in the path, the query or a header.
pub struct Parameter {
    /// `path`, `query` or `header`.
    pub place: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Whether it is required.
    pub is_required: bool,
    /// What it means.
    pub description: &'static str,
    /// JSON Schema of its value.
    pub schema: Value,
}

/// A body in JSON.
pub struct Body {
    /// The name of its schema.
    pub name: &'static str,
    /// Whether it is optional.
    pub is_optional: bool,
}

/// Generates the JSON Schema of a response.
pub type Shape = fn(&mut SchemaGenerator) -> Schema;

/// A successful response.
pub struct ResponseSpec {
    /// The HTTP status.
    pub status: u16,
    /// What it says.
    pub description: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// Its body.
    pub shape: Shape,
    /// Optional fields of `data` that this response always has.
    pub always: &'static [&'static str],
    /// Its message, if it has one.
    pub message: Option<&'static str>,
}

/// A single object.
pub fn single<T: JsonSchema + 'static>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Single<'static, T>>()
}

/// A page of a list.
pub fn list<T: JsonSchema + 'static>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<List<'static, T>>()
}

/// A body without an envelope.
pub fn plain<T: JsonSchema + 'static>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// An operation that is open to everybody unless restricted.
pub fn operation<F, Args>(method: Method, handler: F, name: &'static str, summary: &'static str) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Operation {
        route: web::method(method.clone()).to(handler),
        method,
        name,
        summary,
        details: "",
        access: Access::Open,
        parameters: Vec::new(),
        body: None,
        answers: Vec::new(),
        may_conflict: false,
        names_in_body: false,
    }
}

impl Operation {
    pub fn details(self, details: &'static str) -> Self {
        Self { details, ..self }
    }

    pub fn needs(self, scope: Scope) -> Self {
        Self { access: Access::Scope(scope), ..self }
    }

    pub fn needs_a_key(self) -> Self {
        Self { access: Access::AnyKey, ..self }
    }

    pub fn takes(mut self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    pub fn body(self, name: &'static str) -> Self {
        Self { body: Some(Body { name, is_optional: false }), ..self }
    }

    pub fn optional_body(self, name: &'static str) -> Self {
        Self { body: Some(Body { name, is_optional: true }), ..self }
    }

    pub fn answers(self, status: u16, description: &'static str, shape: Shape) -> Self {
        self.answers_in("application/json", status, description, shape)
    }

    pub fn answers_in(
        mut self,
        media_type: &'static str,
        status: u16,
        description: &'static str,
        shape: Shape,
    ) -> Self {
        self.answers.push(ResponseSpec { status, description, media_type, shape, always: &[], message: None });
        self
    }

    /// For the previous response: optional fields of `data` that it always has.
    pub fn always_with(mut self, fields: &'static [&'static str]) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.always = fields;
        }
        self
    }

    /// For the previous response: its message.
    pub fn with_message(mut self, message: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.message = Some(message);
        }
        self
    }

    pub fn may_conflict(self) -> Self {
        Self { may_conflict: true, ..self }
    }

    pub fn names_in_body(self) -> Self {
        Self { names_in_body: true, ..self }
    }

    /// The statuses of its possible errors.
    pub fn error_statuses(&self) -> Vec<u16> {
        let has_key = self.access != Access::Open;
        let has_body = self.body.is_some();
        let names_one = self.parameters.iter().any(|parameter| parameter.name == "id");
        let can_be_invalid = has_body || self.parameters.iter().any(|parameter| parameter.place != "path");
        let statuses = [
            (400, can_be_invalid),
            (401, has_key),
            (403, matches!(self.access, Access::Scope(_))),
            (404, names_one || self.names_in_body),
            (405, true),
            (408, has_body),
            (409, self.may_conflict),
            (413, has_body),
            (415, has_body),
            (429, has_key),
            (500, has_key),
            (503, has_key),
        ];
        statuses.into_iter().filter(|(_, applies)| *applies).map(|(status, _)| status).collect()
    }
}

impl Resource {
    /// The value of `Allow`.
    pub fn allow(&self) -> String {
        self.operations.iter().map(|operation| operation.method.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The route, which responds 405 to every other method.
    pub fn into_service(self) -> actix_web::Resource {
        let allow = self.allow();
        let wrong_method = move |request: HttpRequest| {
            let noted = extract::note_caller(&request);
            let error = noted.err().unwrap_or_else(|| ApiError::method_not_allowed(&allow));
            async move { Err::<HttpResponse, _>(error) }
        };
        let routes = self.operations.into_iter().map(|operation| operation.route);
        routes.fold(web::resource(self.path), actix_web::Resource::route).default_service(web::to(wrong_method))
    }
}
