//! What the API returned to a command. Runs on the main thread.

use std::ops::Deref;

use serde_json::Value;

/// A successful response.
#[derive(Debug)]
pub struct ApiReply {
    /// The raw text.
    pub text: String,
    pub json: Value,
}

impl Deref for ApiReply {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.json
    }
}
