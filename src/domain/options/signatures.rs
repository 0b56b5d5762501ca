//! The option `signatures`: which signatures a delivery carries. Pure; any thread.

use serde_json::Value;

use crate::domain::FieldError;

/// Which signatures are sent; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureKinds {
    /// `X-TempClock-Signature`.
    pub tempclock: bool,
    /// `v1,` in `webhook-signature`.
    pub standard: bool,
    /// `v1a,` in `webhook-signature`, with the subscription's own key pair.
    pub ed25519: bool,
}

/// The names of all kinds.
pub const KINDS: [&str; 3] = ["tempclock", "standard", "ed25519"];

impl Default for SignatureKinds {
    fn default() -> Self {
        Self { tempclock: true, standard: true, ed25519: false }
    }
}

impl SignatureKinds {
    /// Reads the option.
    pub fn read(value: &Value) -> Result<Self, Vec<FieldError>> {
        let wrong = |place: String, message: &str| FieldError::new(place, message);
        let Some(given) = value.as_array().filter(|given| !given.is_empty()) else {
            let message = "must be an array of \"tempclock\", \"standard\" and \"ed25519\", at least one of them";
            return Err(vec![wrong("signatures".to_owned(), message)]);
        };
        let mut kinds = Self { tempclock: false, standard: false, ed25519: false };
        let mut errors = Vec::new();
        for (index, kind) in given.iter().enumerate() {
            let kind = match kind.as_str() {
                Some("tempclock") => &mut kinds.tempclock,
                Some("standard") => &mut kinds.standard,
                Some("ed25519") => &mut kinds.ed25519,
                _ => {
                    errors.push(wrong(
                        format!("signatures[{index}]"),
                        "must be \"tempclock\", \"standard\" or \"ed25519\"",
                    ));
                    continue;
                }
            };
            if std::mem::replace(kind, true) {
                errors.push(wrong(format!("signatures[{index}]"), "is given twice"));
            }
        }
        if errors.is_empty() { Ok(kinds) } else { Err(errors) }
    }

    /// The names of those that are sent.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let sent = [self.tempclock, self.standard, self.ed25519];
        KINDS.into_iter().zip(sent).filter(|(_, is_sent)| *is_sent).map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_is_shown_again_and_the_rest_is_refused() {
        for shown in [json!(["standard"]), json!(["tempclock", "ed25519"]), json!(["tempclock", "standard", "ed25519"])]
        {
            assert_eq!(json!(SignatureKinds::read(&shown).unwrap().names()), shown);
        }
        for wrong in [json!([]), json!("standard"), json!(["rsa"]), json!(["standard", "standard"]), json!([null])] {
            assert!(SignatureKinds::read(&wrong).is_err(), "{wrong}");
        }
    }
}
