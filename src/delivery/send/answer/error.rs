//! What is wrong with an answer that cannot be read. Pure; runs on delivery threads.

use std::borrow::Cow;

use ureq::Error;

use crate::domain::delivery::outcome::HeadFault;

/// Maximum length of an answer's head, as in Node.js.
pub(in crate::delivery) const HEAD_BYTES: usize = 16 * 1024;

/// Why an answer cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::delivery) enum AnswerError {
    /// Its head, or a line between the chunks of its body, is too long.
    #[error("the head is too long")]
    TooLong,
    /// It is not HTTP; the text says why.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// It begins with a status, and the rest of its head cannot be read.
    #[error("the head of a {0} cannot be read")]
    Head(u16, HeadFault),
}

impl From<AnswerError> for Error {
    fn from(error: AnswerError) -> Self {
        Self::Other(Box::new(error))
    }
}
