//! The headers of a request that no option has shaped. Pure; any thread.

use std::fmt::{Display, Write as _};
use std::ops::Range;

use crate::domain::DeliveryId;
use crate::domain::event::event_type::EventType;
use crate::domain::signing::Signatures;

/// The signature headers of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The value of `webhook-timestamp`, in seconds.
    pub timestamp_s: u64,
    /// Both signatures.
    pub signatures: Signatures,
}

/// The names of an attempt's headers, in sending order.
pub const HEADER_NAMES: [&str; 9] = [
    "Content-Type",
    "User-Agent",
    "X-TempClock-Event",
    "X-TempClock-Delivery",
    "X-TempClock-Attempt",
    "X-TempClock-Signature",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

/// The values of an attempt's headers, concatenated.
#[derive(Debug)]
pub struct RequestHeaders {
    values: String,
    ends: [usize; HEADER_NAMES.len()],
}

impl RequestHeaders {
    /// Those of an attempt by that version of this program.
    #[must_use]
    pub fn of(delivery: DeliveryId, event_type: EventType, number: u32, version: &str, signed: &Signed) -> Self {
        let Signed { timestamp_s, signatures } = signed;
        let (tempclock, standard) = (signatures.tempclock_header(), signatures.standard_header());
        let all: [&dyn Display; HEADER_NAMES.len()] = [
            &"application/json",
            &format_args!("TempClock-Webhooks/{version}"),
            &event_type.name(),
            &delivery,
            &number,
            &tempclock,
            &delivery.event,
            timestamp_s,
            &standard,
        ];
        let mut values = String::with_capacity(512);
        let ends = all.map(|value| {
            // Writing to a string cannot fail.
            let _ = write!(values, "{value}");
            values.len()
        });
        Self { values, ends }
    }

    /// The ranges of the values, in the order of [`HEADER_NAMES`].
    fn places(&self) -> [Range<usize>; HEADER_NAMES.len()] {
        let mut begin = 0;
        self.ends.map(|end| std::mem::replace(&mut begin, end)..end)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = HEADER_NAMES.iter().copied();
        names.zip(self.places().map(|place| self.values.get(place).unwrap_or_default()))
    }
}
