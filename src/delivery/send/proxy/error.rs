//! What went wrong at the operator's proxy. Pure; runs on delivery threads.

use ureq::Error;

/// Why a request did not get through. The texts name the proxy.
#[derive(Debug, thiserror::Error)]
pub(in crate::delivery) enum ProxyError {
    /// The proxy itself failed or refused; the text ends with what to do.
    #[error("{0}")]
    Own(String),
    /// It did not reach the receiver.
    #[error("{0}")]
    NotReached(String),
}

impl ProxyError {
    /// What an error stands for, if it is one of these.
    pub(in crate::delivery) fn of(error: &Error) -> Option<&Self> {
        match error {
            Error::Other(inner) => inner.downcast_ref(),
            _ => None,
        }
    }
}

impl From<ProxyError> for Error {
    fn from(error: ProxyError) -> Self {
        Self::Other(Box::new(error))
    }
}
