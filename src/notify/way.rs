//! A way by which alerts reach people. Implementations block, on a thread that is theirs for one hand-over.

use crate::domain::alert::Alert;

/// Why alerts were not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct HandOverError {
    /// What happened.
    pub text: String,
    /// The other side refused these alerts for good; another attempt is of no use.
    pub is_final: bool,
}

impl HandOverError {
    /// Another attempt may succeed.
    pub fn passing(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_final: false }
    }
}

/// A way by which alerts reach people.
pub trait Way: Send + Sync {
    /// Its name, as it is stored and shown.
    fn name(&self) -> &str;

    /// At which hour and minute of the day it hands over, if not at once. More than one alert at a time comes only then.
    fn time_of_day(&self) -> Option<(i8, i8)> {
        None
    }

    /// Hands alerts over.
    fn hand_over(&self, alerts: &[Alert]) -> Result<(), HandOverError>;
}
