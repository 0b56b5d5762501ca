//! Remarks on an endpoint that accepted a test ping although it may not have been the receiver. Pure; any thread.

use crate::domain::delivery::attempt::{Attempt, Response};

/// What servers say in a 2xx although they did nothing, in lower case, and what it means.
const TEXTS: [(&str, &str); 3] = [
    ("rules were not satisfied", "the answer's text says that a rule of the receiver was not met, so it did nothing"),
    ("not satisfied", "the answer's text says that a rule of the receiver was not met, so it did nothing"),
    (
        "workflow was started",
        "the receiver answers before its workflow runs, so the answer does not show whether the workflow accepts the delivery",
    ),
];

impl Attempt {
    /// Why a 2xx looks as if nobody took the ping, if it does.
    #[must_use]
    pub fn remark(&self) -> Option<&'static str> {
        let response = self.response.as_ref().filter(|_| self.outcome.is_delivered())?;
        let start = String::from_utf8_lossy(&response.body).to_lowercase();
        let start = start.trim_start();
        if let Some((_, remark)) = TEXTS.into_iter().find(|(text, _)| start.contains(text)) {
            return Some(remark);
        }
        let is_page = response.content_type().is_some_and(|kind| kind.starts_with("text/html")) && !start.is_empty();
        if is_page || start.starts_with("<!doctype html") || start.starts_with("<html") {
            return Some("the answer is an HTML page, which webhook receivers rarely send; check the path of the URL");
        }
        if start.is_empty() && self.outcome.response_code() == Some(200) && response.content_type().is_none() {
            return Some(
                "the answer is empty, as from servers that answer any path like that; check the path of the URL, or test with verify",
            );
        }
        None
    }
}

impl Response {
    /// Its content type, in lower case.
    #[must_use]
    pub fn content_type(&self) -> Option<String> {
        self.header("content-type").map(|value| value.trim().to_ascii_lowercase())
    }
}
