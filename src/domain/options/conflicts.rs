//! Options of a subscription that do not go together. Pure; any thread.

use crate::domain::FieldError;
use crate::domain::options::format::Format;
use crate::domain::options::headers::OwnHeader;
use crate::domain::options::order::Order;
use crate::domain::options::{DEFAULTS, Options};

/// Those that a subscription may have whose deliveries are read.
const OF_PULL: [&str; 3] = ["mode", "signatures", "filter"];

impl Options {
    /// The options that a subscription in mode pull may not have, and has.
    fn options_of_push(&self) -> impl Iterator<Item = String> {
        let defaults = DEFAULTS.to_json(false);
        let given = self.to_json(false).into_iter();
        given
            .filter(move |(name, value)| !OF_PULL.contains(&name.as_str()) && defaults.get(name) != Some(value))
            .map(|(name, _)| name)
    }

    /// What does not go together.
    pub(super) fn conflicts(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.is_pull() {
            let message = "does not apply in mode pull, where nothing is sent; omit it";
            errors.extend(self.options_of_push().map(|name| FieldError::new(name, message)));
        }
        for OwnHeader { name, .. } in &self.headers {
            if self.auth.is_some() && name.eq_ignore_ascii_case("authorization") {
                let message = "cannot be combined with auth, which sets it; omit one of them";
                errors.push(FieldError::new(format!("headers.{name}"), message));
            }
            if self.names.headers().any(|taken| name.eq_ignore_ascii_case(taken)) {
                errors.push(FieldError::new(
                    format!("headers.{name}"),
                    "is the name that the option names gives to another header",
                ));
            }
        }
        if self.format == Format::CloudEvents && !self.names.has_plain_envelope() {
            let message = "cannot be combined with the format cloudevents, whose keys are fixed; omit one of them";
            errors.push(FieldError::new("names.envelope", message));
        }
        if self.batch.is_some() && self.format != Format::Json {
            let message = "requires the format json; omit one of them";
            errors.push(FieldError::new("batch", message));
        }
        if self.batch.is_some() && self.order == Order::Worker {
            let message = "cannot be combined with the order worker, because one request has events of many workers; choose the order subscription, or none";
            errors.push(FieldError::new("batch", message));
        }
        errors
    }
}
