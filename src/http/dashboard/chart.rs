//! A chart of attempts over time, as bars and as a table of the same figures. Pure but for reading what was counted.

use crate::domain::{SubscriptionId, Timestamp};
use crate::http::dashboard::activity::{History, Span, Step, Tally};
use crate::http::dashboard::parts;

/// The parameter that names how far back a chart goes.
pub const RANGE: &str = "range";
const WEEK: &str = "7d";
/// Size of the drawing: of one step, and in height.
const STEP_WIDTH: usize = 10;
const BAR_WIDTH: usize = 8;
const HEIGHT: u64 = 1000;
/// Little is still to be seen.
const HEIGHT_MIN: u64 = 15;

/// A chart and what is said of it.
pub struct Chart {
    pub title: &'static str,
    /// What it shows, in a sentence.
    pub summary: String,
    /// Where the other ranges are: address, name, and whether it is this one.
    pub links: [(String, &'static str, bool); 2],
    pub bars: Vec<Bar>,
    /// The most attempts in a step.
    pub most: u64,
    /// Size of the drawing.
    pub width: usize,
    pub height: u64,
    pub bar_width: usize,
    /// How much of it lies before what is known.
    pub unknown: usize,
    /// Since when everything is known, if that is later than the beginning.
    pub known_since: String,
    /// Every step that is known, newest first.
    pub rows: Vec<Row>,
    /// When it begins.
    pub start: String,
    pub total: Total,
}

/// A bar: what failed stands on what was delivered.
pub struct Bar {
    pub x: usize,
    pub delivered_y: u64,
    pub delivered_height: u64,
    pub failed_y: u64,
    pub failed_height: u64,
}

/// A row of the table.
pub struct Row {
    pub start: String,
    pub total: Total,
}

/// Attempts, as they are shown.
pub struct Total {
    pub attempts: u64,
    pub delivered: u64,
    pub failed: u64,
    /// Which part delivered; a dash without attempts.
    pub success: String,
    /// Within which time half, 95 and 99 of a hundred ended.
    pub took: [String; 3],
}

impl Total {
    /// What is shown of a tally.
    #[must_use]
    pub fn of(tally: &Tally) -> Self {
        let attempts = tally.attempts();
        let took = [50, 95, 99].map(|percent| if attempts == 0 { "–".to_owned() } else { took(tally, percent) });
        Self { attempts, delivered: tally.delivered, failed: tally.failed, success: success(tally), took }
    }
}

/// Rounded down, so that 100 % means all.
fn success(tally: &Tally) -> String {
    let Some(thousandths) = (tally.delivered * 1000).checked_div(tally.attempts()) else { return "–".to_owned() };
    match (thousandths / 10, thousandths % 10) {
        (whole, 0) => format!("{whole} %"),
        (whole, tenth) => format!("{whole}.{tenth} %"),
    }
}

fn took(tally: &Tally, percent: u64) -> String {
    match tally.took(percent) {
        None => "over 30 s".to_owned(),
        Some(bound) if bound.as_secs() > 0 => format!("≤ {} s", bound.as_secs()),
        Some(bound) => format!("≤ {} ms", bound.as_millis()),
    }
}

impl Chart {
    /// The chart of the wanted range that ends now, on a page of that path, of what the visitor sees.
    #[must_use]
    pub fn of(
        history: &History,
        now: Timestamp,
        range: Option<&str>,
        path: &str,
        is_wanted: impl Fn(SubscriptionId) -> bool,
    ) -> Self {
        let (span, title) = match range {
            Some(WEEK) => (Span::Week, "Attempts in the last 7 days"),
            _ => (Span::Day, "Attempts in the last 24 hours"),
        };
        let steps = history.steps(span, now, is_wanted);
        let most = steps.iter().map(|step| step.tally.attempts()).max().unwrap_or(0);
        let mut all = Tally::default();
        for step in &steps {
            all.merge(&step.tally);
        }
        let total = Total::of(&all);
        let since = history.since();
        // A step is known once the one after it began later.
        let unknown = steps.iter().skip(1).take_while(|step| step.start <= since).count();
        let start = steps.first().map(|step| step.start).unwrap_or_default();
        Self {
            title,
            summary: summary(&total),
            links: [
                (path.to_owned(), "24 hours", span == Span::Day),
                (format!("{path}?{RANGE}={WEEK}"), "7 days", span == Span::Week),
            ],
            bars: steps.iter().enumerate().filter_map(|(place, step)| Bar::of(place, &step.tally, most)).collect(),
            most,
            width: steps.len() * STEP_WIDTH,
            height: HEIGHT,
            bar_width: BAR_WIDTH,
            unknown: unknown * STEP_WIDTH,
            known_since: if start < since { since.to_string() } else { String::new() },
            rows: steps.iter().skip(unknown).rev().map(Row::of).collect(),
            start: start.to_string(),
            total,
        }
    }
}

fn summary(total: &Total) -> String {
    if total.attempts == 0 {
        return "There were none.".to_owned();
    }
    let [attempts, delivered, failed] = [total.attempts, total.delivered, total.failed].map(|n| parts::number(&n));
    let word = if total.attempts == 1 { "attempt" } else { "attempts" };
    format!("{attempts} {word}: {delivered} delivered, {failed} failed; {} succeeded.", total.success)
}

impl Bar {
    fn of(place: usize, tally: &Tally, most: u64) -> Option<Self> {
        let height = |count: u64| (count * HEIGHT).checked_div(most).unwrap_or(0).max(HEIGHT_MIN * count.min(1));
        let (delivered_height, failed_height) = (height(tally.delivered), height(tally.failed));
        let delivered_y = HEIGHT.saturating_sub(delivered_height);
        (tally.attempts() > 0).then(|| Self {
            x: place * STEP_WIDTH + (STEP_WIDTH - BAR_WIDTH) / 2,
            delivered_y,
            delivered_height,
            failed_y: delivered_y.saturating_sub(failed_height),
            failed_height,
        })
    }
}

impl Row {
    fn of(step: &Step) -> Self {
        Self { start: step.start.to_string(), total: Total::of(&step.tally) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::dashboard::activity::Activity;

    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn bars_and_rows_show_the_same_and_what_is_not_known_is_left_out() {
        let now = Timestamp::from_ms(1_000_000 * HOUR_MS + 5);
        let begun = Timestamp::from_ms(999_998 * HOUR_MS + 1);
        let activity = Activity::beginning_at(begun);
        let id = SubscriptionId(1);
        activity.push(begun, (0..1000).map(|number| (id, number > 0, Duration::from_millis(40))));
        let chart = Chart::of(&activity.history(), now, None, "/", |_| true);
        assert_eq!((chart.bars.len(), chart.most, chart.known_since), (1, 1000, begun.to_string()));
        let bar = &chart.bars[0];
        assert_eq!((bar.delivered_height, bar.failed_height), (999, HEIGHT_MIN), "one failure is seen");
        assert_eq!((bar.x, bar.delivered_y, bar.failed_y), (211, 1, 0));
        assert_eq!(chart.total.success, "99.9 %");
        assert_eq!(chart.total.took, ["≤ 50 ms", "≤ 50 ms", "≤ 50 ms"]);
        let attempts: Vec<u64> = chart.rows.iter().map(|row| row.total.attempts).collect();
        assert_eq!((attempts, chart.unknown), (vec![0, 0, 1000], 21 * STEP_WIDTH));
        let week = Chart::of(&activity.history(), now, Some("7d"), "/", |_| false);
        assert_eq!((week.width, week.bars.len(), week.summary.as_str()), (280, 0, "There were none."));
        assert!(week.links[1].2 && week.links[1].0 == "/?range=7d");
    }
}
