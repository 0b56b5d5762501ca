//! What pages read of the API's answers. Every field is one of the API's description; what a page does not show is left
//! out. Pure but for collecting a body that is in memory already.

use actix_web::HttpResponse;
use actix_web::body::to_bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::http::request::error::ApiError;

/// Reads the answer of one of the API's handlers.
pub async fn read<T: DeserializeOwned>(answer: Result<HttpResponse, ApiError>) -> Result<T, ApiError> {
    let body = to_bytes(answer?.into_body()).await.map_err(|error| ApiError::internal(&error))?;
    serde_json::from_slice(&body).map_err(|error| ApiError::internal(&error))
}

/// One thing.
#[derive(Deserialize)]
pub struct One<T> {
    pub data: T,
}

/// A page of a list.
#[derive(Deserialize)]
pub struct List<T> {
    pub data: Vec<T>,
    pub pagination: Pagination,
}

/// Where a page of a list lies.
#[derive(Deserialize, Default)]
pub struct Pagination {
    pub total: usize,
    #[serde(default = "yes")]
    pub total_is_exact: bool,
    pub has_more: bool,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A list without rows.
    pub fn empty() -> Self {
        Self { data: Vec::new(), pagination: Pagination { total_is_exact: true, ..Pagination::default() } }
    }
}

fn yes() -> bool {
    true
}

/// A subscription, with its last attempts where one is read.
#[derive(Deserialize)]
pub struct Subscription {
    pub id: u32,
    #[serde(default)]
    pub url: String,
    pub active: bool,
    pub description: String,
    #[serde(default)]
    pub disabled_reason: String,
    #[serde(default)]
    pub disabled_at: String,
    #[serde(default)]
    pub failing_since: Option<String>,
    #[serde(default)]
    pub recent_deliveries: Vec<Attempt>,
}

/// A delivery, with its attempts and its body where one is read.
#[derive(Deserialize)]
pub struct Delivery {
    pub id: String,
    pub event_id: String,
    pub event: String,
    pub subscription_id: u32,
    pub status: String,
    pub held: bool,
    #[serde(default)]
    pub waiting_for: String,
    pub attempt_count: u32,
    pub response_code: Option<u16>,
    pub error: Option<String>,
    pub next_attempt_at: Option<String>,
    pub created_at: String,
    pub completed_at: Option<String>,
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    #[serde(default)]
    pub body: Option<String>,
}

/// One attempt, with what was sent and came back where one delivery is read.
#[derive(Deserialize)]
pub struct Attempt {
    #[serde(rename = "attempt")]
    pub number: u32,
    pub status: String,
    pub response_code: Option<u16>,
    pub error: Option<String>,
    pub duration_ms: u32,
    pub created_at: String,
    #[serde(default)]
    pub request: Option<Request>,
    #[serde(default)]
    pub response: Option<Response>,
}

/// What was sent.
#[derive(Deserialize)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Map<String, Value>,
    #[serde(default)]
    pub body_sha256: String,
}

/// What came back.
#[derive(Deserialize)]
pub struct Response {
    pub headers: Map<String, Value>,
    pub body: String,
}

/// An event.
#[derive(Deserialize)]
pub struct Event {
    pub id: String,
    #[serde(rename = "event")]
    pub kind: String,
    pub created_at: String,
}

/// An event type.
#[derive(Deserialize)]
pub struct EventType {
    pub name: String,
}

/// A job and how far it has come.
#[derive(Deserialize)]
pub struct Job {
    pub id: String,
    pub kind: String,
    pub state: String,
    pub done: u64,
    pub of: Option<u64>,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub error: Option<String>,
}

/// The answer to what became a job.
#[derive(Deserialize)]
pub struct Created {
    pub job: Job,
}

/// How much a job would do.
#[derive(Deserialize)]
pub struct Size {
    pub count: u64,
    pub is_exact: bool,
}
