//! Alerts as a webhook: sent and guarded as a delivery is, signed the Standard Webhooks way, with none of the other headers.

use std::sync::Arc;

use crate::delivery::Transport;
use crate::domain::alert::Alert;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::catalogue::Catalogue;
use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::event::event_types::EventTypes;
use crate::domain::options::Options;
use crate::domain::options::names::Names;
use crate::domain::options::signatures::SignatureKinds;
use crate::domain::signing::SigningSecret;
use crate::domain::signing_keys::SigningKeys;
use crate::domain::subscription::{Subscription, SubscriptionState};
use crate::domain::{AccountId, SubscriptionId, Timestamp};
use crate::notify::way::{HandOverError, Way};

/// Hands alerts over by a webhook.
pub struct Webhook {
    transport: Arc<Transport>,
    target: Subscription,
}

impl Webhook {
    /// To that endpoint; none if there can be no such thing.
    #[must_use]
    pub fn new(transport: Arc<Transport>, endpoint: Endpoint, secret: SigningSecret) -> Option<Self> {
        let unnamed = String::new;
        let names = Names { event: unnamed(), delivery: unnamed(), attempt: unnamed(), ..Names::default() };
        let signatures = SignatureKinds { tempclock: false, standard: true, ed25519: false };
        let options = Arc::new(Options { names, signatures, ..Options::default() });
        let at = Timestamp::from_ms(0);
        let target = Subscription {
            id: SubscriptionId(0),
            account: AccountId(0),
            endpoint,
            events: EventTypes::parse([EventType::Ping.name()], &Catalogue::built_in(), None).ok()?,
            description: String::new(),
            keys: SigningKeys::of(secret),
            options,
            state: SubscriptionState::Active,
            created_at: at,
            updated_at: at,
        };
        Some(Self { transport, target })
    }
}

impl Way for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn hand_over(&self, alerts: &[Alert]) -> Result<(), HandOverError> {
        for alert in alerts {
            let content = EventContent::new(EventType::Ping, alert.envelope().into_bytes());
            let attempt = self.transport.send_on_new_connection(&self.target, "", alert.id, &content, 1).attempt;
            if !attempt.outcome.is_delivered() {
                return Err(HandOverError::passing(attempt.explanation().unwrap_or_default()));
            }
        }
        Ok(())
    }
}
