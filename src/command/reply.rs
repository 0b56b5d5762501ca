//! What the API returned to a command. Runs on the main thread.

use std::ops::Deref;

use serde_json::Value;

/// An answer that is no refusal.
#[derive(Debug)]
pub struct Reply {
    /// As it came.
    pub text: String,
    pub json: Value,
}

impl Deref for Reply {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.json
    }
}
