//! What pages read of the API's answers. Every field is one of the API's description; what a page does not show is left
//! out. Pure but for collecting a body that is in memory already.

use actix_web::HttpResponse;
use actix_web::body::to_bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::http::request::error::ApiError;

/// Reads the answer of one of the API's handlers.
pub async fn read<T: DeserializeOwned>(answer: Result<HttpResponse, ApiError>) -> Result<T, ApiError> {
    let body = to_bytes(answer?.into_body()).await.map_err(|error| ApiError::internal(&error))?;
    serde_json::from_slice(&body).map_err(|error| ApiError::internal(&error))
}

/// Reads what a handler of the API would have put into its answer.
pub fn read_again<T: DeserializeOwned>(view: &impl Serialize) -> Result<T, ApiError> {
    let value = serde_json::to_value(view).map_err(|error| ApiError::internal(&error))?;
    serde_json::from_value(value).map_err(|error| ApiError::internal(&error))
}

/// One thing.
#[derive(Deserialize)]
pub struct One<T> {
    pub data: T,
    /// What was done, for people; empty where nothing was.
    #[serde(default)]
    pub message: String,
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
    pub offset: usize,
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
    pub events: Vec<String>,
    pub active: bool,
    pub description: String,
    #[serde(default)]
    pub disabled_reason: String,
    #[serde(default)]
    pub disabled_at: String,
    #[serde(default)]
    pub failing_since: Option<String>,
    #[serde(default)]
    pub unacknowledged_since: Option<String>,
    #[serde(default)]
    pub secret: String,
    #[serde(default)]
    pub public_key: String,
    #[serde(default)]
    pub filtered: u64,
    #[serde(default)]
    pub recent_deliveries: Vec<Attempt>,
    pub created_at: String,
    pub updated_at: String,
    /// Everything else, the options among it.
    #[serde(flatten)]
    pub further: Map<String, Value>,
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
    pub delivery_id: String,
    pub event: String,
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
    pub body: Option<String>,
}

/// An event, with its deliveries where one is read.
#[derive(Deserialize)]
pub struct Event {
    pub id: String,
    #[serde(rename = "event")]
    pub kind: String,
    /// Null once it was erased, as its data.
    pub timestamp: Option<String>,
    /// As it was published, number spelling and all.
    pub data: Option<Box<RawValue>>,
    pub tags: Vec<String>,
    pub created_at: String,
    #[serde(default)]
    pub erased_at: Option<String>,
    #[serde(default)]
    pub sha256: String,
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
}

/// An event type.
#[derive(Deserialize)]
pub struct EventType {
    pub name: String,
    pub description: String,
    pub schema: Value,
    pub example: Value,
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

/// The answer to an erasure.
#[derive(Deserialize)]
pub struct CreatedErasure {
    pub job: Job,
    pub last_backup_at: Option<String>,
}

/// How much a job would do.
#[derive(Deserialize)]
pub struct Size {
    pub count: u64,
    pub is_exact: bool,
}

/// An API key; its text where it was made just now.
#[derive(Deserialize)]
pub struct Key {
    pub id: u32,
    pub name: String,
    pub prefix: String,
    pub scopes: Vec<String>,
    pub expires_at: Option<String>,
    pub networks: Vec<String>,
    pub subscriptions: Vec<u32>,
    pub created_at: String,
    pub last_used_at: Option<String>,
    pub revoked_at: Option<String>,
    #[serde(default)]
    #[serde(rename = "key")]
    pub text: String,
    #[serde(default)]
    pub previous_valid_until: String,
}

impl Key {
    /// Where it can be used and what it sees, if not everywhere and everything.
    #[must_use]
    pub fn limits(&self) -> String {
        let subscriptions = self.subscriptions.iter().map(|id| format!("subscription {id}"));
        self.networks.iter().cloned().chain(subscriptions).collect::<Vec<_>>().join(", ")
    }
}

/// A change and who made it.
#[derive(Deserialize)]
pub struct AuditRecord {
    pub action: String,
    pub object: String,
    pub actor: Actor,
    pub request_id: String,
    pub source_address: Option<String>,
    pub before: Option<Map<String, Value>>,
    pub after: Option<Map<String, Value>>,
    pub created_at: String,
}

/// Who made a change: a key, or a user of the server's machine.
#[derive(Deserialize)]
pub struct Actor {
    pub key_id: Option<u32>,
    pub key_prefix: Option<String>,
    pub user: Option<String>,
}

/// How a test ping went.
#[derive(Deserialize)]
pub struct TestResult {
    pub success: bool,
    pub response_code: Option<u16>,
    pub duration_ms: u32,
    pub error: Option<String>,
    pub delivery_id: String,
    pub response_start: Option<String>,
    pub remark: Option<String>,
}

/// A rotated secret.
#[derive(Deserialize)]
pub struct Rotated {
    pub secret: String,
    pub previous_valid_until: String,
}

/// Whether the server is ready for work.
#[derive(Deserialize)]
pub struct Readiness {
    pub status: String,
    pub checks: Map<String, Value>,
}
