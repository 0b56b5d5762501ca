//! The option `mode`: whether deliveries are sent, or read by the receiver. It is fixed when a subscription is made. Pure;
//! any thread.

use serde_json::Value;

use crate::domain::FieldError;

/// How deliveries come to the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are sent to the endpoint.
    #[default]
    Push,
    /// The receiver reads them from the feed.
    Pull,
}

/// The names of all modes.
pub const MODES: [&str; 2] = ["push", "pull"];

impl Mode {
    /// Reads the option.
    pub fn read(value: &Value) -> Result<Self, Vec<FieldError>> {
        match value.as_str() {
            Some("push") => Ok(Self::Push),
            Some("pull") => Ok(Self::Pull),
            _ => Err(vec![FieldError::new("mode", "must be \"push\" or \"pull\"")]),
        }
    }

    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
        }
    }
}
