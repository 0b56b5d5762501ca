//! What is known of event types without a configuration: the base types, and four opt-in ones. Pure; any
//! thread.

use crate::domain::event::event_type::EventType;
use crate::domain::event::field::FieldKind::{self, Count, Date, Id, OptionalId, Text, TextList, Time, TimeOfDay};

/// A type that every configuration knows, beside the base types. No subscription gets it unless it names it.
pub struct OptInType {
    /// Its name.
    pub name: &'static str,
    /// One sentence for the catalogue.
    pub description: &'static str,
    /// A valid `data`.
    pub example: &'static str,
}

/// What goes only where it is asked for. Each of them needs a worker.
pub const OPT_IN: [OptInType; 4] = [
    OptInType {
        name: "clock.blocked_by_survey",
        description: "A worker could not clock in because a survey was not answered.",
        example: r#"{"worker_id":52,"worker_name":"Ana Kowalska","survey":"Fit for work","location_id":3}"#,
    },
    OptInType {
        name: "clock.geofence_breach",
        description: "A worker left the area of the location while clocked in.",
        example: r#"{"worker_id":52,"entry_id":4711,"location_id":3,"distance_m":420}"#,
    },
    OptInType {
        name: "clock.geofence_refused",
        description: "A worker could not clock in outside the area of the location.",
        example: r#"{"worker_id":52,"location_id":3,"distance_m":1250}"#,
    },
    OptInType {
        name: "clock.low_gps_confidence",
        description: "A worker clocked in or out with an imprecise position.",
        example: r#"{"worker_id":52,"entry_id":4711,"accuracy_m":310}"#,
    },
];

/// The fields of `data` that each of them needs.
pub const OPT_IN_FIELDS: [(&str, FieldKind); 1] = [("worker_id", Id)];

impl EventType {
    /// The fields of `data` of a base type that are checked; all but optional ones are required, and others are allowed.
    #[must_use]
    pub fn fields(&self) -> &'static [(&'static str, FieldKind)] {
        match self {
            Self::ClockIn => &[
                ("entry_id", Id),
                ("worker_id", Id),
                ("worker_name", Text),
                ("clock_in", Time),
                ("location_id", OptionalId),
            ],
            Self::ClockOut => &[
                ("entry_id", Id),
                ("worker_id", Id),
                ("worker_name", Text),
                ("clock_in", Time),
                ("clock_out", Time),
                ("total_minutes", Count),
                ("location_id", OptionalId),
            ],
            Self::WorkerCreated => &[("worker_id", Id), ("worker_name", Text)],
            Self::WorkerUpdated => &[("worker_id", Id), ("worker_name", Text), ("changed_fields", TextList)],
            Self::ShiftCreated => &[
                ("shift_id", Id),
                ("worker_id", Id),
                ("location_id", OptionalId),
                ("shift_date", Date),
                ("start_time", TimeOfDay),
                ("end_time", TimeOfDay),
            ],
            Self::DocumentExpired => &[
                ("document_id", Id),
                ("worker_id", Id),
                ("worker_name", Text),
                ("document_type", Text),
                ("expired_on", Date),
            ],
            Self::Ping => &[("message", Text), ("webhook_id", Id)],
            Self::Other(_) => &[],
        }
    }

    /// One sentence about a base type for the catalogue.
    #[must_use]
    pub fn description(&self) -> &'static str {
        match self {
            Self::ClockIn => "A worker clocked in at a location.",
            Self::ClockOut => "A worker clocked out; the data has the minutes worked.",
            Self::WorkerCreated => "A worker was added.",
            Self::WorkerUpdated => "A worker's record was changed.",
            Self::ShiftCreated => "A shift was planned for a worker.",
            Self::DocumentExpired => "A worker's document has expired.",
            Self::Ping => "A test of the connection, sent by the server on request.",
            Self::Other(_) => "",
        }
    }

    /// A valid `data` of a base type, for the catalogue, the demo and tests.
    #[must_use]
    pub fn example(&self) -> &'static str {
        match self {
            Self::ClockIn => {
                r#"{"entry_id":4711,"worker_id":52,"worker_name":"Ana Kowalska","clock_in":"2026-03-02T07:58:12Z","location_id":3}"#
            }
            Self::ClockOut => {
                r#"{"entry_id":4711,"worker_id":52,"worker_name":"Ana Kowalska","clock_in":"2026-03-02T07:58:12Z","clock_out":"2026-03-02T16:03:40Z","total_minutes":485,"location_id":3}"#
            }
            Self::WorkerCreated => r#"{"worker_id":53,"worker_name":"Jonas Petraitis"}"#,
            Self::WorkerUpdated => {
                r#"{"worker_id":53,"worker_name":"Jonas Petraitis","changed_fields":["phone","hourly_rate"]}"#
            }
            Self::ShiftCreated => {
                r#"{"shift_id":900,"worker_id":53,"location_id":3,"shift_date":"2026-03-03","start_time":"08:00","end_time":"16:30"}"#
            }
            Self::DocumentExpired => {
                r#"{"document_id":77,"worker_id":52,"worker_name":"Ana Kowalska","document_type":"forklift_licence","expired_on":"2026-03-01"}"#
            }
            Self::Ping => r#"{"message":"Hello from tempclock-webhooks","webhook_id":1}"#,
            Self::Other(_) => "{}",
        }
    }
}
