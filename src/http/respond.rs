//! The shapes of answers: one thing, a list, a list's page. Runs on the HTTP workers.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, HttpResponseBuilder};
use schemars::JsonSchema;
use serde::Serialize;

/// How many items a page has unless asked otherwise.
pub const DEFAULT_LIMIT: usize = 50;
/// How many items a page has at most.
pub const MAX_LIMIT: usize = 100;

/// The media type of answers.
pub const JSON: &str = "application/json; charset=utf-8";

/// One thing.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Single<'a, T> {
    data: &'a T,
    /// A sentence for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    message: Option<&'a str>,
}

/// A page of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub struct List<'a, T> {
    data: &'a [T],
    pagination: &'a Pagination,
}

/// Where in a list a page lies.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pagination {
    /// How many items the list has.
    #[schemars(example = 1)]
    pub total: usize,
    /// How many items a page has at most.
    #[schemars(example = DEFAULT_LIMIT)]
    pub limit: usize,
    /// How many items come before the page.
    #[schemars(example = 0)]
    pub offset: usize,
    /// Are there items after the page?
    #[schemars(example = false)]
    pub has_more: bool,
    /// In lists that take a cursor.
    #[serde(flatten)]
    pub next: Option<NextPage>,
}

/// Where the next page begins.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NextPage {
    /// What to give as `cursor` for the next page; `null` on the last one. Only in lists that take a cursor.
    pub next_cursor: Option<String>,
}

/// Finishes an answer with a JSON body.
pub fn json<T: Serialize>(response: &mut HttpResponseBuilder, body: &T) -> HttpResponse {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            response.insert_header((CONTENT_TYPE, JSON)).insert_header((CACHE_CONTROL, "no-store")).body(bytes)
        }
        Err(error) => {
            log::error!("an answer could not be written as JSON: {error}");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// One thing.
pub fn single<T: Serialize>(mut response: HttpResponseBuilder, data: &T) -> HttpResponse {
    json(&mut response, &Single { data, message: None })
}

/// One thing, with a sentence for a person.
pub fn single_with_message<T: Serialize>(mut response: HttpResponseBuilder, data: &T, message: &str) -> HttpResponse {
    json(&mut response, &Single { data, message: Some(message) })
}

/// A page of a list.
pub fn list<T: Serialize>(data: &[T], pagination: &Pagination) -> HttpResponse {
    json(&mut HttpResponse::Ok(), &List { data, pagination })
}
