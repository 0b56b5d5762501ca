//! The settings of the rules that the writer applies. Types only.

use std::time::Duration;

use crate::domain::delivery::health::HealthRule;
use crate::domain::delivery::retry::RetryRule;

/// The rules that the writer applies.
#[derive(Clone, Debug)]
pub struct Rules {
    /// When to retry after a failed attempt.
    pub retry: RetryRule,
    /// How long an endpoint may fail without a success before its subscription is disabled.
    pub health: HealthRule,
    /// How long finished events and attempts are kept.
    pub retention: RetentionRule,
    /// How long records of the audit are kept.
    pub audit_kept: Duration,
    /// When those who run the server are told; none: never.
    pub alerts: Option<AlertRule>,
    /// How many subscriptions an account may have.
    pub subscriptions_per_account: u32,
}

/// When those who run the server are told.
#[derive(Clone, Copy, Debug)]
pub struct AlertRule {
    /// After so long without a success an endpoint is told of.
    pub failing_after: Duration,
    /// A feed is told of when its oldest event was not acknowledged for so long; 0: never.
    pub feed_behind_after: Duration,
}

/// How long finished events and attempts are kept.
#[derive(Clone, Copy, Debug)]
pub struct RetentionRule {
    /// Events with all their deliveries, from when the last delivery finished.
    pub events: Duration,
    /// What idempotency keys were used for, from when that was.
    pub idempotency: Duration,
    /// Attempts, from when their delivery finished.
    pub attempts: Duration,
    /// What is pending for a disabled subscription, from when it was last to be sent or was disabled.
    pub held: Duration,
}
