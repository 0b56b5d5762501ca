//! Lays out tables and fields within a width, with ids unbroken and every column shown. Pure.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::command::console::terminal::{Paint, Tone};

/// Columns of unbounded length, which are cut to the rest of a line; `show` prints them in full.
const CUT: [&str; 2] = ["DATA", "ERROR"];
/// The coloured column.
const COLOURED: &str = "STATUS";
/// Spaces between columns, and the indentation of a row's further lines.
const GAP: usize = 2;
/// Minimum width of a value.
const VALUE_CHARS: usize = 20;

/// A table with a header line and a line per row. Columns that do not fit follow on further, indented lines, each value
/// with its name.
pub fn table(names: &[&str], rows: &[Vec<String>], width: usize, paint: Paint) -> String {
    let columns: Vec<Column> = names.iter().enumerate().map(|(place, name)| Column::of(place, name, rows)).collect();
    let (line, rest) = columns.split_at(fitting_columns(&columns, width));
    let head: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let head = shown(line, &head, width, None);
    let rows = rows.iter().flat_map(|row| [shown(line, row, width, Some(paint)), named(rest, row, width)]);
    std::iter::once(head).chain(rows).collect()
}

#[derive(Clone, Copy)]
struct Column<'a> {
    place: usize,
    name: &'a str,
    chars: usize,
}

impl<'a> Column<'a> {
    fn of(place: usize, name: &'a str, rows: &[Vec<String>]) -> Self {
        let cells = rows.iter().filter_map(|row| row.get(place));
        let chars = cells.map(|cell| cell.width()).chain([name.width()]).max().unwrap_or(0);
        Self { place, name, chars }
    }
}

/// How many columns fit into a line; at least one.
fn fitting_columns(columns: &[Column], width: usize) -> usize {
    let ends = columns.iter().scan(0, |at, column| {
        let end = *at + column.chars;
        *at = end + GAP;
        Some(end)
    });
    ends.take_while(|end| *end <= width).count().max(1)
}

/// The line of a row.
fn shown(columns: &[Column], row: &[String], width: usize, paint: Option<Paint>) -> String {
    let mut line = String::new();
    for Column { place, name, chars } in columns {
        let cell = row.get(*place).map_or("", String::as_str);
        let space = " ".repeat(chars.saturating_sub(cell.width()) + GAP);
        let cell = if CUT.contains(name) { cut(cell, width.max(VALUE_CHARS)) } else { cell.to_owned() };
        let tone = tone(&cell).filter(|_| *name == COLOURED);
        let painted = paint.zip(tone).map(|(paint, tone)| paint.word(tone, &cell));
        line.push_str(&painted.unwrap_or(cell));
        line.push_str(&space);
    }
    line.trim_end().to_owned() + "\n"
}

/// The further lines of a row: values with their names, as many on a line as fit. Words are not broken, so that they can be
/// copied, and an empty value is left out.
fn named(columns: &[Column], row: &[String], width: usize) -> String {
    let room = width.saturating_sub(GAP).max(VALUE_CHARS);
    let mut lines: Vec<String> = Vec::new();
    for Column { place, name, .. } in columns {
        let Some(cell) = row.get(*place).filter(|cell| !cell.is_empty()) else { continue };
        let text = format!("{}: {cell}", name.to_lowercase());
        let text = if CUT.contains(name) { cut(&text, room) } else { wrapped(&text, room).join("\n  ") };
        match lines.last_mut().filter(|line| line.width() + GAP + text.width() <= room) {
            Some(line) => *line = format!("{line}  {text}"),
            None => lines.push(text),
        }
    }
    lines.iter().flat_map(|line| ["  ", line, "\n"]).collect()
}

fn tone(word: &str) -> Option<Tone> {
    match word {
        "delivered" | "active" => Some(Tone::Good),
        "pending" | "held" => Some(Tone::Doubtful),
        "exhausted" | "failed" | "disabled" | "revoked" | "expired" | "cancelled" => Some(Tone::Bad),
        _ => None,
    }
}

fn cut(text: &str, chars: usize) -> String {
    if text.width() <= chars {
        return text.to_owned();
    }
    text.chars().take(fitting(text.chars(), chars.saturating_sub(1))).chain(['…']).collect()
}

/// Names and values, one per line; empty values are left out.
pub fn fields(fields: &[(&str, String)], width: usize) -> String {
    let longest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let begin = longest + GAP;
    let given = fields.iter().filter(|(_, value)| !value.is_empty());
    let line = |(name, value): &(&str, String)| {
        // JSON is for programs too.
        let is_json = value.starts_with(['{', '[']);
        let width = if is_json { usize::MAX } else { width.saturating_sub(begin).max(VALUE_CHARS) };
        let value = wrapped(value, width);
        format!("{name:longest$}  {}\n", value.join(&format!("\n{:begin$}", "")))
    };
    given.map(line).collect()
}

/// Number of characters that fit into that many terminal columns; at least one.
fn fitting(text: impl Iterator<Item = char>, columns: usize) -> usize {
    let ends = text.scan(0, |end, character| {
        *end += character.width().unwrap_or(0);
        Some(*end)
    });
    ends.take_while(|end| *end <= columns).count().max(1)
}

/// Wraps text at that width, between words. A longer word, such as a secret or a payload, stays whole, so that it can be
/// copied.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    loop {
        let room = fitting(rest.iter().copied(), width);
        if room >= rest.len() {
            break;
        }
        let space = rest.iter().take(room + 1).rposition(|character| *character == ' ').filter(|place| *place > 0);
        let Some(space) =
            space.or_else(|| rest.iter().position(|character| *character == ' ').filter(|place| *place > 0))
        else {
            break;
        };
        let after = rest.split_off(space);
        lines.push(rest.into_iter().collect());
        rest = after.into_iter().skip(1).collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Paint = Paint::NONE;
    const DELIVERIES: [&str; 8] =
        ["ID", "STATUS", "EVENT", "SUBSCRIPTION", "ATTEMPTS", "RESPONSE", "NEXT ATTEMPT", "ERROR"];

    fn delivery(error: &str) -> Vec<String> {
        let id = "dlv_019cadc7b1c07ad1ea45cf36ac5ac54300000001";
        [id, "exhausted", "document_expired", "1", "10", "404", "", error].map(str::to_owned).into()
    }

    #[test]
    fn every_column_is_there_in_80_characters_with_ids_whole() {
        let long = "the endpoint answered 404 and went on to say much more about it than a single line can hold";
        let text = table(&DELIVERIES, &[delivery(""), delivery(long)], 80, PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(lines[0], "ID                                            STATUS     EVENT");
        assert_eq!(lines[1], "dlv_019cadc7b1c07ad1ea45cf36ac5ac54300000001  exhausted  document_expired");
        assert_eq!(lines[2], "  subscription: 1  attempts: 10  response: 404");
        assert_eq!(lines[3], lines[1], "what is empty is left out");
        assert!(lines[5].starts_with("  error: the endpoint answered 404") && lines[5].ends_with('…'), "{text}");
        assert_eq!(lines.len(), 6, "{text}");
    }

    #[test]
    fn a_row_is_one_line_where_there_is_room_for_it() {
        let text = table(&DELIVERIES, &[delivery("the endpoint answered 404")], usize::MAX, PLAIN);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!(table(&["ID", "NAME"], &[], 80, PLAIN), "ID  NAME\n");
    }

    #[test]
    fn what_no_other_command_shows_in_whole_is_broken_between_words_and_not_cut() {
        let rows = [vec!["clock_in".to_owned(), "one two three four five six".to_owned()]];
        let text = table(&["NAME", "MEANING"], &rows, 24, PLAIN);
        assert_eq!(text, "NAME\nclock_in\n  meaning: one two three\n  four five six\n");
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("onetwothree", 7), ["onetwothree"]);
        assert_eq!(wrapped("one twothreefour five", 7), ["one", "twothreefour", "five"]);
    }

    #[test]
    fn characters_that_take_two_columns_are_counted_as_two() {
        let rows = [["時計", "x"], ["clock", "y"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&["NAME", "ID"], &rows, 80, PLAIN), "NAME   ID\n時計   x\nclock  y\n");
        assert_eq!(wrapped("時計 時計 時", 4), ["時計", "時計", "時"]);
        assert_eq!(wrapped("時", 1), ["時"]);
        assert_eq!(cut("時計時計", 6), "時計…");
    }

    #[test]
    fn only_the_words_of_a_status_have_colours_and_only_where_there_are_any() {
        let rows = [vec!["delivered".to_owned(), "delivered".to_owned()]];
        let coloured = table(&["STATUS", "NAME"], &rows, 80, Paint::ALL);
        assert_eq!(coloured.matches("\u{1b}[32m").count(), 1, "{coloured:?}");
        assert!(!table(&["STATUS", "NAME"], &rows, 80, PLAIN).contains('\u{1b}'));
    }
}
