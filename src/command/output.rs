//! What commands print: JSON for programs and tables for people on stdout, messages on stderr. Text that others have
//! chosen never reaches the terminal as it is. A reader who goes away ends a command, and never makes it panic.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table};
use serde_json::Value;

use super::access::Reply;
use super::{Exit, Failure, Outcome};
use crate::domain::visible::visible;

/// Columns of free text, which may be broken over several lines; all others are kept whole, so that an id can be
/// copied.
const FREE: [&str; 9] =
    ["DATA", "DESCRIPTION", "ERROR", "EVENTS", "MEANING", "NEEDS IN DATA", "NETWORKS", "SCOPES", "URL"];
/// Columns that are left out, one after the other, where the terminal is too narrow for all.
const LEAST: [&str; 11] =
    ["DATA", "LAST USED", "NEXT ATTEMPT", "AT", "EXPIRES", "EVENT", "FOR", "TRIES", "ATTEMPT", "ANSWER", "DESCRIPTION"];
/// The least that a column of free text needs to be read.
const FREE_CHARS: usize = 20;
/// The column whose words have colours.
const COLOURED: &str = "STATUS";
const GAP: u16 = 2;

/// Writes text to stdout. Whoever reads it may have enough of it; that is no failure.
pub fn put(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => (Exit::Done, String::new()),
        _ => (Exit::Failed, format!("stdout: {error}")),
    })
}

/// Says something to a person, on stderr. Whether anybody reads it changes nothing about what was done.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// An answer as it came, so that numbers and the order of fields stay as they are; on one line, and without control
/// over a terminal.
pub fn put_answer(answer: &Reply) -> Outcome {
    put(&format!("{}\n", super::terminal::json_line(&answer.text)))
}

/// One JSON document on a line of its own.
pub fn put_json(value: &Value) -> Outcome {
    put(&format!("{}\n", super::terminal::json(value)))
}

/// As many columns as the terminal has room for; where even the fewest do not fit, the rows one below the other.
pub fn put_table(names: &[&str], rows: Vec<Vec<String>>) -> Outcome {
    let Some(width) = io::stdout().is_terminal().then(console_width) else {
        return put(&table(names, rows, None, false));
    };
    let kept = fitting(names, &rows, width.into());
    if needed_chars(&chosen(&kept, names), &chosen_rows(&kept, &rows)) > usize::from(width) {
        return put(&records(names, &rows, width.into()));
    }
    put(&table(&chosen(&kept, names), chosen_rows(&kept, &rows), Some(width), is_coloured()))?;
    let left_out: Vec<_> = names.iter().enumerate().filter(|(place, _)| !kept.contains(place)).collect();
    if !left_out.is_empty() && !rows.is_empty() {
        let left_out: Vec<_> = left_out.into_iter().map(|(_, name)| *name).collect();
        say(&format!("Not shown, for a wider terminal: {}", left_out.join(", ")));
    }
    Ok(())
}

/// The places of the columns that fit into so many characters, or of those that are never left out.
fn fitting(names: &[&str], rows: &[Vec<String>], width: usize) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..names.len()).collect();
    for least in LEAST {
        if needed_chars(&chosen(&kept, names), &chosen_rows(&kept, rows)) <= width {
            break;
        }
        kept.retain(|place| names.get(*place) != Some(&least));
    }
    kept
}

fn chosen<T: Clone>(kept: &[usize], all: &[T]) -> Vec<T> {
    kept.iter().filter_map(|place| all.get(*place).cloned()).collect()
}

fn chosen_rows(kept: &[usize], rows: &[Vec<String>]) -> Vec<Vec<String>> {
    rows.iter().map(|row| chosen(kept, row)).collect()
}

/// Names with their values, one a line; those without a value are left out.
pub fn put_fields(fields: &[(&str, String)]) -> Outcome {
    let width = io::stdout().is_terminal().then(console_width);
    put(&lines(fields, width.map_or(usize::MAX, usize::from)))
}

fn lines(fields: &[(&str, String)], width: usize) -> String {
    let longest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let begin = longest + usize::from(GAP);
    let given = fields.iter().filter(|(_, value)| !value.is_empty());
    let line = |(name, value): &(&str, String)| {
        let value = wrapped(value, width.saturating_sub(begin).max(FREE_CHARS));
        format!("{name:longest$}  {}\n", value.join(&format!("\n{:begin$}", "")))
    };
    given.map(line).collect()
}

/// The text in lines of so many characters, broken between words where it has any.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > width {
        let space = rest.iter().take(width + 1).rposition(|character| *character == ' ').filter(|place| *place > 0);
        let after = rest.split_off(space.unwrap_or(width));
        lines.push(rest.into_iter().collect());
        rest = after.into_iter().skip(usize::from(space.is_some())).collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}

fn records(names: &[&str], rows: &[Vec<String>], width: usize) -> String {
    let record = |row: &Vec<String>| {
        let fields: Vec<_> = names.iter().copied().zip(row.iter().cloned()).collect();
        lines(&fields, width)
    };
    rows.iter().map(record).collect::<Vec<_>>().join("\n")
}

/// How wide a table has to be for its columns to be read.
fn needed_chars(names: &[&str], rows: &[Vec<String>]) -> usize {
    let column = |(index, name): (usize, &&str)| {
        let cells = rows.iter().filter_map(|row| Some(row.get(index)?.chars().count()));
        let widest = cells.chain([name.chars().count()]).max().unwrap_or(0);
        usize::from(GAP) + if FREE.contains(name) { widest.min(FREE_CHARS) } else { widest }
    };
    names.iter().enumerate().map(column).sum::<usize>().saturating_sub(GAP.into())
}

fn console_width() -> u16 {
    Table::new().width().unwrap_or(80)
}

fn is_coloured() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn table(names: &[&str], rows: Vec<Vec<String>>, width: Option<u16>, is_coloured: bool) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(names.iter().copied());
    table.set_content_arrangement(ContentArrangement::Disabled);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    if is_coloured {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    for row in rows {
        table.add_row(row.into_iter().zip(names).map(|(text, name)| {
            let colour = colour(&text).filter(|_| is_coloured && *name == COLOURED);
            let cell = Cell::new(text);
            if let Some(colour) = colour { cell.fg(colour) } else { cell }
        }));
    }
    for (column, name) in table.column_iter_mut().zip(names) {
        column.set_padding((0, GAP));
        if !FREE.contains(name) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn colour(word: &str) -> Option<Color> {
    match word {
        "delivered" | "active" => Some(Color::Green),
        "pending" | "held" | "paused" => Some(Color::Yellow),
        "exhausted" | "failed" | "off" | "revoked" | "expired" => Some(Color::Red),
        _ => None,
    }
}

/// A field's text as it may be shown; empty if there is none.
pub fn text(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::Null => String::new(),
        Value::String(text) => visible(text),
        Value::Array(items) => {
            let items = items.iter().map(|item| item.as_str().map_or_else(|| visible(&item.to_string()), visible));
            items.collect::<Vec<_>>().join(",")
        }
        other => visible(&other.to_string()),
    }
}

/// A field's time to the second; empty if there is none.
pub fn time(value: &Value, field: &str) -> String {
    let text = text(value, field);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// So many of something.
pub fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// The rows of a list.
pub fn rows(answer: &Value) -> &[Value] {
    answer["data"].as_array().map_or(&[], Vec::as_slice)
}

/// Says on stderr that a list goes on.
pub fn note_rest(answer: &Value) {
    if answer["pagination"]["has_more"] == true {
        say(&format!("{} of {}; more with --limit", rows(answer).len(), answer["pagination"]["total"]));
    }
}

/// What the API says to a person, on stderr.
pub fn note_message(answer: &Value) {
    if let Some(message) = answer["message"].as_str() {
        say(&visible(message));
    }
}

/// A failure that is nobody's fault.
pub fn failed(error: impl std::fmt::Display) -> Failure {
    (Exit::Failed, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_to_the_width_of_the_terminal_and_ids_whole() {
        let rows = vec![vec!["dlv_0123456789".to_owned(), "word ".repeat(30)]];
        let narrow = table(&["ID", "ERROR"], rows.clone(), Some(40), false);
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        assert!(narrow.contains("dlv_0123456789"), "{narrow}");
        let free = table(&["ID", "ERROR"], rows, None, false);
        assert_eq!(free.lines().count(), 2, "{free}");
    }

    #[test]
    fn rows_stand_one_below_the_other_when_the_columns_do_not_fit() {
        let rows = vec![vec!["dlv_0123456789".to_owned(), String::new()], vec!["dlv_1".to_owned(), "word".repeat(30)]];
        let needed = needed_chars(&["ID", "ERROR"], &rows);
        assert_eq!(needed, 14 + 2 + 20);
        let text = table(&["ID", "ERROR"], rows.clone(), Some(36), false);
        assert!(text.lines().all(|line| line.chars().count() <= 36), "{text}");
        let below = records(&["ID", "ERROR"], &rows, 36);
        assert!(below.starts_with("ID     dlv_0123456789\n\nID     dlv_1\nERROR  word"), "{below}");
        assert!(below.lines().all(|line| line.chars().count() <= 36), "{below}");
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("onetwothree", 7), ["onetwot", "hree"]);
    }

    #[test]
    fn a_list_of_deliveries_fits_80_columns_with_its_errors() {
        let names = ["ID", "STATUS", "EVENT", "FOR", "TRIES", "ANSWER", "ERROR", "NEXT ATTEMPT"];
        let row = |error: &str| {
            let id = "dlv_019cadc7b1c07ad1ea45cf36ac5ac54300000001";
            [id, "exhausted", "document_expired", "1", "10", "404", error, "2026-03-02T08:00:00Z"].map(str::to_owned)
        };
        let shown = |rows: &[Vec<String>], width| chosen(&fitting(&names, rows, width), &names);
        let good = [row("").to_vec()];
        assert_eq!(shown(&good, 80), ["ID", "STATUS", "TRIES", "ANSWER", "ERROR"]);
        let failed = [row("the endpoint answered 404; check the subscription's URL").to_vec()];
        assert_eq!(shown(&failed, 80), ["ID", "STATUS", "ERROR"]);
        assert_eq!(shown(&failed, 200), names);
        for width in [62, 80, 100, 120] {
            let kept = fitting(&names, &good, width);
            let text = table(&chosen(&kept, &names), chosen_rows(&kept, &good), None, false);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
        }
    }

    #[test]
    fn only_the_words_of_a_status_have_colours_and_only_where_there_are_any() {
        let rows = || vec![vec!["delivered".to_owned(), "delivered".to_owned()]];
        let coloured = table(&["STATUS", "NAME"], rows(), None, true);
        assert_eq!(coloured.matches("\u{1b}[38").count(), 1, "{coloured:?}");
        assert!(!table(&["STATUS", "NAME"], rows(), None, false).contains('\u{1b}'));
    }
}
