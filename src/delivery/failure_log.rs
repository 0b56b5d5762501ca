//! Logs one line for each failed attempt: what happened, what to do, when the next attempt is due. It is written after
//! the commit, when the next attempt is known, and on a thread of its own, so that a slow log reader delays no commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::kv::Value;
use log::{Level, Log, Record};

use crate::clock::Clock;
use crate::domain::{DeliveryId, Timestamp};
use crate::storage::command::{AttemptFigures, RecordedAttempt};
use crate::storage::read::registry::Registry;

/// Maximum number of queued lines; further ones are only counted.
const QUEUED_LINES: usize = 4096;

/// The queue of failed attempts to log.
pub struct FailureLog {
    clock: Clock,
    lines: Option<Sender<Line>>,
    left_out: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

struct Line {
    delivery: DeliveryId,
    attempt: AttemptFigures,
    /// Its account, if the subscription still exists.
    account: Option<String>,
    next: NextStep,
}

/// What follows a failed attempt.
#[derive(Clone, Copy)]
enum NextStep {
    /// Another attempt, which was made at once.
    Made,
    AttemptAt(Timestamp),
    Held,
    Nothing,
    Deleted,
}

impl FailureLog {
    /// Starts the logging thread.
    pub fn start(clock: Clock) -> std::io::Result<Self> {
        let (sender, lines) = bounded(QUEUED_LINES);
        let left_out = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&left_out);
        let thread = std::thread::Builder::new().name("failure-log".to_owned());
        let thread = thread.spawn(move || write_all(&lines, &counted))?;
        Ok(Self { clock, lines: Some(sender), left_out, thread: Some(thread) })
    }

    /// Queues a line for each failed attempt of a commit; never blocks.
    pub fn log_failures(&self, recorded: &mut [RecordedAttempt], registry: &Registry) {
        for RecordedAttempt { delivery, due, attempt, before, .. } in recorded {
            let subscription = registry.subscription(delivery.subscription);
            let queue = |attempt: &mut AttemptFigures, next| {
                let Some(explanation) = attempt.explanation.take() else { return };
                let attempt = AttemptFigures { explanation: Some(explanation), ..*attempt };
                let account = subscription.map(|found| registry.account_name(found.account).to_owned());
                let line = Line { delivery: *delivery, attempt, account, next };
                if self.lines.as_ref().is_none_or(|lines| lines.try_send(line).is_err()) {
                    self.left_out.fetch_add(1, Ordering::Relaxed);
                }
            };
            for before in before {
                queue(before, NextStep::Made);
            }
            let Some(attempt) = attempt else { continue };
            let next = match (due, subscription) {
                (_, None) => NextStep::Deleted,
                (Some(due), Some(found)) if found.state.is_active() => {
                    NextStep::AttemptAt(self.clock.read_for_display().on_the_wall(*due))
                }
                (Some(_), _) => NextStep::Held,
                (None, _) => NextStep::Nothing,
            };
            queue(attempt, next);
        }
    }
}

impl Drop for FailureLog {
    fn drop(&mut self) {
        // The thread ends after writing the queued lines.
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn write_all(lines: &Receiver<Line>, left_out: &AtomicU64) {
    for line in lines {
        write(&log::logger(), &line);
        let count = left_out.swap(0, Ordering::Relaxed);
        if count > 0 {
            log::warn!("{count} failed attempts were not logged, because the log is read too slowly");
        }
    }
}

fn write(logger: &impl Log, Line { delivery, attempt, account, next }: &Line) {
    let then = match next {
        NextStep::Made => "the next attempt was made at once".to_owned(),
        NextStep::AttemptAt(due) => format!("next attempt at {due}"),
        NextStep::Held => "held until the subscription is enabled".to_owned(),
        NextStep::Deleted => "no further attempt, the subscription was deleted".to_owned(),
        NextStep::Nothing => "no further attempt, the retry schedule is exhausted".to_owned(),
    };
    let mut fields = vec![
        ("delivery", Value::from_display(delivery)),
        ("event", Value::from_display(&delivery.event)),
        ("subscription", delivery.subscription.0.into()),
        ("attempt", attempt.number.into()),
        ("cause", attempt.outcome.into()),
        ("duration_ms", u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX).into()),
    ];
    fields.extend(account.as_ref().map(|name| ("account", name.as_str().into())));
    fields.extend(attempt.response_code.map(|code| ("response_code", code.into())));
    if let NextStep::AttemptAt(due) = next {
        fields.push(("next_attempt_at", Value::from_display(due)));
    }
    let explanation = attempt.explanation.as_deref().unwrap_or_default();
    // The macros would show an absent field.
    logger.log(
        &Record::builder()
            .level(if matches!(next, NextStep::Nothing) { Level::Warn } else { Level::Info })
            .target(module_path!())
            .module_path_static(Some(module_path!()))
            .key_values(&fields.as_slice())
            .args(format_args!("attempt failed: {delivery}: {explanation}; {then}"))
            .build(),
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::time::Duration;

    use log::Metadata;
    use log::kv::{Error, Key, VisitSource};

    use super::*;
    use crate::domain::EventId;
    use crate::domain::SubscriptionId;

    /// Keeps the last line and its fields.
    #[derive(Default)]
    struct LastLine(Mutex<BTreeMap<String, String>>);

    struct LineFields<'a>(&'a mut BTreeMap<String, String>);

    impl<'kvs> VisitSource<'kvs> for LineFields<'_> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            self.0.insert(key.to_string(), value.to_string());
            Ok(())
        }
    }

    impl Log for LastLine {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            let mut kept = self.0.lock().unwrap();
            kept.clear();
            record.key_values().visit(&mut LineFields(&mut kept)).unwrap();
            kept.insert("message".to_owned(), record.args().to_string());
        }

        fn flush(&self) {}
    }

    fn written(next: NextStep) -> BTreeMap<String, String> {
        let attempt = AttemptFigures {
            number: 2,
            outcome: "http_status",
            took: Duration::from_millis(87),
            response_code: Some(500),
            delivered_after: None,
            explanation: Some("what happened; what to do".to_owned()),
        };
        let delivery = DeliveryId { event: EventId::EXAMPLE, subscription: SubscriptionId(7) };
        let kept = LastLine::default();
        write(&kept, &Line { delivery, attempt, account: Some("north".to_owned()), next });
        kept.0.into_inner().unwrap()
    }

    #[test]
    fn a_line_has_words_and_fields() {
        let due = Timestamp::from_ms(0);
        let line = written(NextStep::AttemptAt(due));
        let message = &line["message"];
        assert!(message.starts_with("attempt failed: dlv_"), "{message}");
        assert!(message.ends_with(&format!(": what happened; what to do; next attempt at {due}")), "{message}");
        for (field, value) in [
            ("event", EventId::EXAMPLE.to_string().as_str()),
            ("subscription", "7"),
            ("account", "north"),
            ("attempt", "2"),
            ("cause", "http_status"),
            ("response_code", "500"),
            ("duration_ms", "87"),
            ("next_attempt_at", &due.to_string()),
        ] {
            assert_eq!(line[field], value, "{field}");
        }
        assert!(line["delivery"].starts_with("dlv_"), "{line:?}");
    }

    #[test]
    fn a_line_says_when_nothing_follows() {
        let (held, ended, made) = (written(NextStep::Held), written(NextStep::Nothing), written(NextStep::Made));
        assert!(held["message"].ends_with("held until the subscription is enabled"));
        assert!(ended["message"].ends_with("no further attempt, the retry schedule is exhausted"));
        assert!(made["message"].ends_with("the next attempt was made at once"));
        assert!([held, ended, made].iter().all(|line| !line.contains_key("next_attempt_at")));
    }
}
