//! Response formats: a single object and a page of a list. Runs on the HTTP workers.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, HttpResponseBuilder};
use schemars::JsonSchema;
use serde::Serialize;

/// Default page size.
pub const DEFAULT_LIMIT: usize = 50;
/// Maximum page size.
pub const MAX_LIMIT: usize = 100;

/// The media type of responses.
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
    /// Number of items in the list.
    #[schemars(example = 1)]
    pub total: usize,
    /// Maximum page size.
    #[schemars(example = DEFAULT_LIMIT)]
    pub limit: usize,
    /// Number of items before the page.
    #[schemars(example = 0)]
    pub offset: usize,
    /// Whether there are items after the page.
    #[schemars(example = false)]
    pub has_more: bool,
    /// In lists that take a cursor.
    #[serde(flatten)]
    pub next: Option<NextPage>,
}

/// Where the next page begins.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NextPage {
    /// The `cursor` of the next page; `null` on the last one. Only in lists with a cursor.
    pub next_cursor: Option<String>,
}

/// Builds a response with a JSON body.
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

/// A single object with a message.
pub fn single_with_message<T: Serialize>(mut response: HttpResponseBuilder, data: &T, message: &str) -> HttpResponse {
    json(&mut response, &Single { data, message: Some(message) })
}

/// A page of a list.
pub fn list<T: Serialize>(data: &[T], pagination: &Pagination) -> HttpResponse {
    json(&mut HttpResponse::Ok(), &List { data, pagination })
}
