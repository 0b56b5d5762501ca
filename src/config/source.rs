//! Collects the values of each key from defaults, file, environment and flags.
//!
//! Runs at start-up, on the main thread only. It must never read anything but the given file and variables, and never
//! validates a value.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::ErrorCollector;
use super::nearest::{nearest, suggestion};
use super::origin::{CONFIG_VARIABLE, EXAMPLE, Origin, Sources, VARIABLE_PREFIX};
use super::value::{CLIENT_CERTIFICATE, EVENT_TYPE, Field, Raw};

/// The section that lies in another one.
const SECTION_IN_A_SECTION: &str = "storage.postgres";

/// All values given for each known key.
pub(super) struct Gathered {
    keys: BTreeMap<String, Vec<(Origin, Raw)>>,
    /// False when the file could not be read, so that its keys are missing here.
    pub(super) complete: bool,
}

impl Gathered {
    /// The values given for `key`, the strongest last.
    pub(super) fn of(&self, key: &str) -> &[(Origin, Raw)] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// All keys that exist, in alphabetical order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    fn sections(&self) -> impl Iterator<Item = &str> {
        self.keys().filter_map(|key| Some(key.split_once('.')?.0))
    }

    fn add(&mut self, key: &str, origin: Origin, raw: Raw) {
        if let Some(given) = self.keys.get_mut(key) {
            given.push((origin, raw));
        }
    }

    /// The default value, whose kind determines how plain text is parsed.
    fn model(&self, key: &str) -> Option<Raw> {
        self.of(key).first().map(|(_, raw)| raw.clone())
    }
}

/// Collects from all sources, weakest first.
pub(super) fn gather(sources: &Sources, errors_found: &mut ErrorCollector) -> Gathered {
    let mut gathered = Gathered { keys: BTreeMap::new(), complete: true };
    // No line of the example is their default, as a list of tables has no empty one that could be copied.
    for key in [CLIENT_CERTIFICATE, EVENT_TYPE] {
        gathered.keys.insert(key.to_owned(), vec![(Origin::Default, Raw::List(Vec::new()))]);
    }
    match entries(EXAMPLE) {
        Ok(defaults) => {
            for entry in defaults {
                let given = gathered.keys.entry(entry.key).or_default();
                given.push((Origin::Default, entry.raw));
            }
        }
        Err(fault) => errors_found.add_spot(fault.line, fault.column, fault.message),
    }
    if let Some(path) = &sources.file {
        gathered.complete = add_file(path, &mut gathered, errors_found);
    }
    add_environment(&sources.environment, &mut gathered, errors_found);
    add_flags(&sources.flags, &mut gathered, errors_found);
    gathered
}

fn add_file(path: &Path, gathered: &mut Gathered, errors_found: &mut ErrorCollector) -> bool {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            errors_found.add_file(format!("cannot be read: {error}"));
            return false;
        }
    };
    let parsed = match std::str::from_utf8(&bytes) {
        Ok(text) => entries(text),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let before = String::from_utf8_lossy(before);
            Err(SyntaxError::at(&before, before.len(), "is not UTF-8 text"))
        }
    };
    match parsed {
        Ok(entries) => {
            for entry in entries {
                add_entry(entry, gathered, errors_found);
            }
            true
        }
        Err(fault) => {
            errors_found.add_spot(fault.line, fault.column, fault.message);
            false
        }
    }
}

fn add_entry(entry: TomlEntry, gathered: &mut Gathered, errors_found: &mut ErrorCollector) {
    let TomlEntry { key, in_section, line, raw } = entry;
    let origin = Origin::File { line };
    if (in_section || key == EVENT_TYPE) && !gathered.of(&key).is_empty() {
        gathered.add(&key, origin, raw);
    } else if !in_section && gathered.sections().any(|section| section == key) {
        if !matches!(raw, Raw::Table(_)) {
            let message = format!("{key:?} is a section; write [{key}] with its keys below it");
            errors_found.add(&origin, &key, message);
        }
    } else if !in_section && !gathered.of(&key).is_empty() {
        let message = format!("{key:?} in quotes is one name with a dot; write {key} unquoted");
        errors_found.add(&origin, &key, message);
    } else if let Some(section) = unknown_section(&key, in_section, &raw, gathered) {
        if !errors_found.concerns(section) {
            let hint = suggestion(section, gathered.sections(), |near| format!("[{near}]"));
            errors_found.add(&origin, section, format!("unknown section {section:?}; {hint}"));
        }
    } else {
        let hint = suggestion(&key, gathered.keys(), |near| format!("{near:?}"));
        errors_found.add(&origin, &key, format!("unknown key {key:?}; {hint}"));
    }
}

/// The unknown section of an entry, unless its key was probably meant to be in another section.
fn unknown_section<'a>(key: &'a str, in_section: bool, raw: &Raw, gathered: &Gathered) -> Option<&'a str> {
    if !in_section {
        return Some(key).filter(|_| matches!(raw, Raw::Table(_)));
    }
    let (section, _) = key.split_once('.')?;
    let is_known = gathered.sections().any(|known| known == section);
    let is_key_near = nearest(key, gathered.keys()).is_some_and(|(_, is_near)| is_near);
    Some(section).filter(|_| !is_known && !is_key_near)
}

fn add_environment(environment: &[(String, String)], gathered: &mut Gathered, errors_found: &mut ErrorCollector) {
    for (variable, text) in environment {
        let Some(name) = variable.strip_prefix(VARIABLE_PREFIX) else {
            continue;
        };
        if variable == CONFIG_VARIABLE {
            continue;
        }
        let origin = Origin::Environment { variable: variable.clone() };
        let key = gathered.keys().find(|key| variable_name(key) == *variable);
        if let Some(key) = key.map(str::to_owned) {
            add_plain(&key, origin, text, gathered, errors_found);
        } else {
            let written = name.to_lowercase().replace("__", ".");
            let hint = suggestion(&written, gathered.keys(), variable_name);
            errors_found.add(&origin, &written, format!("does not name a key; {hint}"));
        }
    }
}

fn add_flags(flags: &[(&'static str, String)], gathered: &mut Gathered, errors_found: &mut ErrorCollector) {
    for (key, text) in flags {
        if gathered.of(key).is_empty() {
            let hint = suggestion(key, gathered.keys(), |near| format!("{near:?}"));
            errors_found.add(&Origin::Flag, key, format!("unknown key {key:?}; {hint}"));
        } else {
            add_plain(key, Origin::Flag, text, gathered, errors_found);
        }
    }
}

/// The environment variable that sets `key`.
pub(super) fn variable_name(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

fn add_plain(key: &str, origin: Origin, text: &str, gathered: &mut Gathered, errors_found: &mut ErrorCollector) {
    let read = match gathered.model(key) {
        Some(Raw::Whole(_)) => text.trim().parse().ok().map(Raw::Whole),
        Some(Raw::Truth(_)) => text.trim().parse().ok().map(Raw::Truth),
        Some(Raw::List(_)) => plain_list(text.trim()),
        _ => None,
    };
    let raw = read.unwrap_or_else(|| Raw::Text(text.to_owned()));
    if matches!(gathered.model(key), Some(Raw::List(_))) && !matches!(raw, Raw::List(_)) {
        let hint = r#"write ["a", "b"] or a,b"#;
        errors_found.add(&origin, key, format!("{key} is not a list; {hint}"));
        return;
    }
    gathered.add(key, origin, raw);
}

/// Parses a TOML array or comma-separated entries; `None` if it starts like an array and does not end like one.
fn plain_list(text: &str) -> Option<Raw> {
    if text.starts_with('[') {
        return DeValue::parse(text).ok().map(|value| raw(value.get_ref(), text));
    }
    if text.is_empty() {
        return Some(Raw::List(Vec::new()));
    }
    let entries = text.split(',').map(|entry| Raw::Text(entry.trim().into()));
    Some(Raw::List(entries.collect()))
}

/// A key of a TOML text; keys of the root and empty sections have no section.
struct TomlEntry {
    key: String,
    in_section: bool,
    line: usize,
    raw: Raw,
}

struct SyntaxError {
    line: usize,
    column: usize,
    message: String,
}

impl SyntaxError {
    fn at(text: &str, offset: usize, message: &str) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: line_of(text, offset),
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
            message: message.to_owned(),
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    before.filter(|byte| *byte == b'\n').count() + 1
}

fn entries(text: &str) -> Result<Vec<TomlEntry>, SyntaxError> {
    // The parser's `Display` repeats the line, which may hold a secret; its message does not.
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let hint = match error.message() {
            "duplicate key" => "; a section or key may appear only once in the file",
            _ => "",
        };
        SyntaxError::at(text, offset, &format!("is not TOML: {}{hint}", error.message()))
    })?;
    let mut entries = Vec::new();
    for (name, value) in table.get_ref() {
        match value.get_ref() {
            DeValue::Table(section) if !section.is_empty() && name.get_ref() != EVENT_TYPE => {
                for (key, value) in section {
                    let key_name = format!("{}.{}", name.get_ref(), key.get_ref());
                    let line = line_of(text, key.span().start);
                    match value.get_ref() {
                        DeValue::Table(inner) if key_name == SECTION_IN_A_SECTION => {
                            entries.extend(inner.iter().map(|(key, value)| TomlEntry {
                                key: format!("{key_name}.{}", key.get_ref()),
                                in_section: true,
                                line: line_of(text, key.span().start),
                                raw: raw(value.get_ref(), text),
                            }));
                        }
                        value => {
                            entries.push(TomlEntry { key: key_name, in_section: true, line, raw: raw(value, text) });
                        }
                    }
                }
            }
            value => entries.push(TomlEntry {
                key: name.get_ref().to_string(),
                in_section: false,
                line: line_of(text, name.span().start),
                raw: raw(value, text),
            }),
        }
    }
    Ok(entries)
}

fn raw(value: &DeValue<'_>, text: &str) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("a number out of range"), Raw::Whole),
        DeValue::Boolean(truth) => Raw::Truth(*truth),
        DeValue::Array(list) => Raw::List(list.iter().map(|value| raw(value.get_ref(), text)).collect()),
        DeValue::Table(table) => Raw::Table(
            table
                .iter()
                .map(|(key, value)| Field {
                    name: key.get_ref().to_string(),
                    line: line_of(text, key.span().start),
                    raw: raw(value.get_ref(), text),
                })
                .collect(),
        ),
        DeValue::Float(_) => Raw::Other("a number with decimals"),
        DeValue::Datetime(_) => Raw::Other("a date or time"),
    }
}
