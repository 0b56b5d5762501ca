//! What the fields of `data` mean, for the description of the API. Pure; any thread.

/// What a field of the base types means.
#[must_use]
pub fn of_field(name: &str) -> Option<&'static str> {
    Some(match name {
        "entry_id" => "The time entry: the same at clock-in and clock-out.",
        "worker_id" => "The worker.",
        "worker_name" => "The worker's display name.",
        "location_id" => "The location where it happened.",
        "clock_in" => "When the worker clocked in.",
        "clock_out" => "When the worker clocked out.",
        "total_minutes" => {
            "Minutes of the entry, as the time clock counts them. Whether breaks are deducted is up to the publisher, so it may differ from the time between clock_in and clock_out."
        }
        "changed_fields" => "The names of the worker's fields that changed.",
        "shift_id" => "The shift.",
        "shift_date" => "The day on which the shift starts, in the local time of its location.",
        "start_time" => "When it starts, in the local time of its location.",
        "end_time" => "When it ends, in the local time of its location. A time before start_time is on the next day.",
        "document_id" => "The document.",
        "document_type" => "What kind of document it is, in the publisher's words.",
        "expired_on" => "The day on which it expired.",
        "message" => "A message for people.",
        "webhook_id" => "The subscription.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::event_type::EventType;

    #[test]
    fn every_field_of_a_base_type_has_a_meaning() {
        for (name, _) in EventType::BASE.iter().flat_map(EventType::fields) {
            assert!(of_field(name).is_some(), "{name}");
        }
        assert_eq!(of_field("site"), None);
    }
}
