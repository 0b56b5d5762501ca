//! Response formats: a single object and a page of a list. Runs on the HTTP workers.

use std::fmt::Display;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, HttpResponseBuilder};
use schemars::JsonSchema;
use serde::Serialize;

use crate::storage::read::reader::{Page, PageRequest};

/// Default page size.
pub const DEFAULT_LIMIT: usize = 50;
/// Maximum page size.
pub const MAX_LIMIT: usize = 100;
/// Maximum number of items before a page; what lies deeper is reached by the cursor.
pub const MAX_OFFSET: usize = 10_000;

/// The media type of responses.
pub const JSON: &str = "application/json; charset=utf-8";

/// One thing.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Single<'a, T> {
    data: &'a T,
    /// A message for people.
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

/// The position of a page in its list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pagination {
    /// Number of items in the list; if not all of it was read, of those that were.
    #[schemars(example = 1)]
    pub total: usize,
    /// `false` if `total` only counts matches among the rows read so far; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub total_is_exact: Option<bool>,
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

impl Pagination {
    /// Of a page of a list with a cursor.
    pub fn of<C: Copy + Display, T>(page: &Page<C, T>, request: PageRequest<C>) -> Self {
        Self {
            total: page.total,
            total_is_exact: (!page.is_exact).then_some(false),
            limit: request.limit,
            offset: request.offset,
            has_more: page.next.is_some(),
            next: Some(NextPage { next_cursor: page.next.map(|next| next.to_string()) }),
        }
    }

    /// Of a page of a list without a cursor, which is counted as a whole.
    #[must_use]
    pub fn of_whole(total: usize, limit: usize, offset: usize, shown: usize) -> Self {
        let has_more = offset.saturating_add(shown) < total;
        Self { total, total_is_exact: None, limit, offset, has_more, next: None }
    }
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
