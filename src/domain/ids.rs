//! Typed identifiers and their text form. Pure; any thread.
//!
//! An event's id is 48 bits of milliseconds and 80 random bits, so ids sort by time and are never reused, even after a
//! restore. A delivery's id consists of its event and its subscription.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::Timestamp;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(inline, extend("examples" = [1]))]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// An account (tenant).
    AccountId
);
number_id!(
    /// An API key's number, for naming it without showing it.
    KeyId
);
number_id!(
    /// A subscription; an integer in the API, as clients of `TempClock` expect.
    SubscriptionId
);

/// An event; `evt_` and 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u128);

/// One event for one subscription; `dlv_` and 40 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// What is delivered.
    pub event: EventId,
    /// For whom.
    pub subscription: SubscriptionId,
}

/// One HTTP request of a delivery; `att_`, the delivery's digits and the attempt's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The delivery that it belongs to.
    pub delivery: DeliveryId,
    /// Counted from 1 without gaps.
    pub number: u32,
}

/// Several events in one request; `bat_` and 32 hexadecimal digits. Its number is from the same source as an event's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u128);

/// A job; `job_` and 32 hexadecimal digits, which sort by the time of its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u128);

/// A record of the audit; `aud_` and 32 hexadecimal digits, which sort by the time of the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditId(pub u128);

const RANDOM_BITS: u32 = 80;
const RANDOM_MASK: u128 = (1 << RANDOM_BITS) - 1;

impl EventId {
    /// The id shown in examples.
    pub const EXAMPLE: Self = Self(0x019c_adc7_b1c0_7ad1_ea45_cf36_ac5a_c543);

    /// The smallest id that an event of that time can have; where a range of times begins.
    #[must_use]
    pub fn first_at(time: Timestamp) -> Self {
        Self(u128::from(time.as_ms()) << RANDOM_BITS)
    }

    /// The creation time in the id, by the wall clock (or slightly later, if the clock stepped back).
    #[must_use]
    pub fn time(self) -> Timestamp {
        Timestamp::from_ms(u64::try_from(self.0 >> RANDOM_BITS).unwrap_or(u64::MAX))
    }

    /// Reads `evt_…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text.strip_prefix("evt_")?, 32).map(Self)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id::<36>(f, "evt_", &self.0.to_be_bytes())
    }
}

impl DeliveryId {
    /// The id shown in examples.
    pub const EXAMPLE: Self = Self { event: EventId::EXAMPLE, subscription: SubscriptionId(1) };

    /// Reads `dlv_…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("dlv_")?;
        let (event, subscription) = digits.split_at_checked(32)?;
        let event = EventId(parse_hex(event, 32)?);
        let subscription = u32::try_from(parse_hex(subscription, 8)?).ok().map(SubscriptionId)?;
        Some(Self { event, subscription })
    }

    fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        let (event, subscription) = bytes.split_at_mut(16);
        event.copy_from_slice(&self.event.0.to_be_bytes());
        subscription.copy_from_slice(&self.subscription.0.to_be_bytes());
        bytes
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id::<44>(f, "dlv_", &self.to_bytes())
    }
}

impl BatchId {
    /// The batch as the outbox and the schedule know it, which take it for an event.
    #[must_use]
    pub fn of(self, subscription: SubscriptionId) -> DeliveryId {
        DeliveryId { event: EventId(self.0), subscription }
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id::<36>(f, "bat_", &self.0.to_be_bytes())
    }
}

impl JobId {
    /// The id shown in examples.
    pub const EXAMPLE: Self = Self(EventId::EXAMPLE.0);

    /// Reads `job_…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text.strip_prefix("job_")?, 32).map(Self)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id::<36>(f, "job_", &self.0.to_be_bytes())
    }
}

impl AuditId {
    /// The id shown in examples.
    pub const EXAMPLE: Self = Self(EventId::EXAMPLE.0);

    /// Reads `aud_…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text.strip_prefix("aud_")?, 32).map(Self)
    }

    /// When it was recorded.
    #[must_use]
    pub fn time(self) -> Timestamp {
        EventId(self.0).time()
    }
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id::<36>(f, "aud_", &self.0.to_be_bytes())
    }
}

impl AttemptId {
    /// The id shown in examples.
    pub const EXAMPLE: Self = Self { delivery: DeliveryId::EXAMPLE, number: 1 };
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id::<44>(f, "att_", &self.delivery.to_bytes())?;
        write!(f, "_{}", self.number)
    }
}

/// Writes a prefix and the hexadecimal digits of the bytes, `CHARS` in all. In one piece, because each delivery formats
/// its ids several times and number formatting is slow.
fn write_id<const CHARS: usize>(f: &mut fmt::Formatter<'_>, prefix: &str, bytes: &[u8]) -> fmt::Result {
    let mut text = [0; CHARS];
    let (head, digits) = text.split_at_mut(prefix.len());
    head.copy_from_slice(prefix.as_bytes());
    hex::encode_to_slice(bytes, digits).map_err(|_| fmt::Error)?;
    f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

fn parse_hex(digits: &str, length: usize) -> Option<u128> {
    let is_canonical = digits.len() == length && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_canonical { u128::from_str_radix(digits, 16).ok() } else { None }
}

macro_rules! text_id {
    ($($name:ident, $pattern:literal;)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "examples": [Self::EXAMPLE]})
            }
        }
    )*};
}
text_id!(
    EventId, "^evt_[0-9a-f]{32}$";
    DeliveryId, "^dlv_[0-9a-f]{40}$";
    AttemptId, "^att_[0-9a-f]{40}_[1-9][0-9]*$";
    JobId, "^job_[0-9a-f]{32}$";
    AuditId, "^aud_[0-9a-f]{32}$";
);

/// Generates event ids that always increase, whatever the clock does. Cursors and lanes rely on it that they increase in
/// the order of commits, because one writer generates them; an engine that several share has to keep that true.
#[derive(Debug)]
pub struct EventIds {
    last: u128,
}

impl EventIds {
    /// Continues after the greatest stored id.
    #[must_use]
    pub fn after(last: Option<EventId>) -> Self {
        Self { last: last.map_or(0, |id| id.0) }
    }

    /// The greatest id that was given out or stored; none if there is none.
    #[must_use]
    pub fn last(&self) -> Option<EventId> {
        (self.last > 0).then_some(EventId(self.last))
    }

    /// A new id for an event created at `now`. `random` is any 80 bits; the highest is dropped, which leaves room to
    /// count up when several ids fall into one millisecond or the clock steps back.
    pub fn next(&mut self, now: Timestamp, random: u128) -> EventId {
        let fresh = EventId::first_at(now).0 | (random & (RANDOM_MASK >> 1));
        self.last = if fresh > self.last { fresh } else { self.last.saturating_add(1 + (random & 0xffff)) };
        EventId(self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_read_back_from_their_text_and_from_nothing_else() {
        let delivery = DeliveryId { event: EventId(0xabc), subscription: SubscriptionId(7) };
        assert_eq!(DeliveryId::parse(&delivery.to_string()), Some(delivery));
        assert_eq!(EventId::parse(&delivery.event.to_string()), Some(delivery.event));
        for wrong in [
            "",
            "evt_",
            "evt_12",
            "dlv_0",
            "evt_0000000000000000000000000000000G",
            "evt_0000000000000000000000000000000A",
            "dlv_é000000000000000000000000000000000000000",
        ] {
            assert_eq!(EventId::parse(wrong), None, "{wrong}");
            assert_eq!(DeliveryId::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn ids_grow_even_when_the_clock_steps_back(steps in prop::collection::vec((0_u64..100_000, any::<u128>()), 1..200)) {
            let mut ids = EventIds::after(Some(EventId::first_at(Timestamp::from_ms(50_000))));
            let mut last = EventId::first_at(Timestamp::from_ms(50_000));
            for (ms, random) in steps {
                let id = ids.next(Timestamp::from_ms(ms), random);
                prop_assert!(id > last);
                last = id;
            }
        }
    }
}
