//! What one operation of the API takes and answers. The routing and the API's description are both made from it, so
//! neither has what the other lacks. Pure; built once for each HTTP worker and once for the description.

use actix_web::http::Method;
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Responder, Route, web};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::error::ApiError;
use super::extract;
use super::respond::{List, Single};
use crate::domain::access::Scope;

/// Where the API begins.
pub const BASE: &str = "/api/v1";

/// A path with all that can be done there.
pub struct Resource {
    /// Below the base path, with `{id}` for an id.
    pub path: &'static str,
    /// It is served without the base path too.
    pub is_at_root: bool,
    /// The heading that its operations stand under.
    pub heading: &'static str,
    /// What can be done, each under a method of its own.
    pub operations: Vec<Operation>,
}

/// One method of a path.
pub struct Operation {
    /// Its method.
    pub method: Method,
    route: Route,
    /// A name that is unique in the API.
    pub name: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What else there is to know.
    pub details: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it takes beside the body.
    pub parameters: Vec<Parameter>,
    /// The body that it takes.
    pub body: Option<Body>,
    /// How it answers, apart from errors.
    pub answers: Vec<Answer>,
    /// It can meet something that is already there.
    pub may_conflict: bool,
}

/// Who may call an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Whoever has a key.
    AnyKey,
    /// Whoever has a key with this scope.
    Scope(Scope),
}

/// A value in the path, the query or a header.
pub struct Parameter {
    /// `path`, `query` or `header`.
    pub place: &'static str,
    /// Its name.
    pub name: &'static str,
    /// It cannot be left out.
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
    /// It can be left out.
    pub is_optional: bool,
}

/// How JSON Schema of an answer is made.
pub type Shape = fn(&mut SchemaGenerator) -> Schema;

/// An answer that is no error.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// What it says.
    pub description: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// Its body.
    pub shape: Shape,
    /// Optional fields of `data` that this answer always has.
    pub always: &'static [&'static str],
    /// The sentence for a person that it has, if it has one.
    pub message: Option<&'static str>,
}

/// One thing.
pub fn single<T: JsonSchema + 'static>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Single<'static, T>>()
}

/// A page of things.
pub fn list<T: JsonSchema + 'static>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<List<'static, T>>()
}

/// A body that is nothing but this.
pub fn plain<T: JsonSchema + 'static>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// An operation for everybody until it says whom it needs.
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
        self.answers.push(Answer { status, description, media_type, shape, always: &[], message: None });
        self
    }

    /// Of the answer before: optional fields of `data` that it always has.
    pub fn always_with(mut self, fields: &'static [&'static str]) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.always = fields;
        }
        self
    }

    /// Of the answer before: its sentence for a person.
    pub fn with_message(mut self, message: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.message = Some(message);
        }
        self
    }

    pub fn may_conflict(self) -> Self {
        Self { may_conflict: true, ..self }
    }

    /// The statuses of the errors that it can answer with.
    pub fn error_statuses(&self) -> Vec<u16> {
        let has_key = self.access != Access::Open;
        let has_body = self.body.is_some();
        let names_one = self.parameters.iter().any(|parameter| parameter.name == "id");
        let can_be_invalid = has_body || self.parameters.iter().any(|parameter| parameter.place != "path");
        let statuses = [
            (400, can_be_invalid),
            (401, has_key),
            (403, matches!(self.access, Access::Scope(_))),
            (404, names_one),
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
    /// The methods as `Allow` lists them.
    pub fn allow(&self) -> String {
        self.operations.iter().map(|operation| operation.method.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The route, which answers every other method with 405 and what is allowed.
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
