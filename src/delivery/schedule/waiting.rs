//! Why a pending delivery is not sent now, in one word. Plain values.

/// What a delivery that is due waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It is being attempted, or as many attempts are in flight as may be.
    InFlight,
    /// Its retry is not due yet.
    Retry,
    /// The endpoint asked for less, or does not respond.
    Backoff,
    /// The delivery before it, by the subscription's `order`.
    Order,
    /// The subscription's `rate_limit`.
    RateLimit,
    /// The subscription's `delivery_window`.
    Window,
    /// Further events for one request, by the subscription's `batch`.
    Batch,
    /// Its subscription is disabled.
    Off,
    /// A free thread, or its turn.
    Thread,
    /// Its receiver, who reads it.
    Pull,
}

impl Waiting {
    /// Every word.
    pub const WORDS: [&str; 10] =
        ["in_flight", "retry", "backoff", "order", "rate_limit", "window", "batch", "off", "thread", "pull"];

    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Retry => "retry",
            Self::Backoff => "backoff",
            Self::Order => "order",
            Self::RateLimit => "rate_limit",
            Self::Window => "window",
            Self::Batch => "batch",
            Self::Off => "off",
            Self::Thread => "thread",
            Self::Pull => "pull",
        }
    }
}
