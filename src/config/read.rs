//! Picks the strongest value of each key and keeps a record of where it came from.
//!
//! Runs at start-up, on the main thread only. It must never let a broken value pass because a
//! stronger one hides it: every value that was given is checked, and every error is kept.

use std::collections::BTreeMap;

use super::error::ErrorCollector;
use super::origin::Origin;
use super::source::Gathered;
use super::value::Raw;

/// Returns typed values, key by key.
pub(super) struct ConfigReader<'a> {
    gathered: &'a Gathered,
    errors_found: &'a mut ErrorCollector,
    /// Where the value of each key that was asked for came from.
    pub(super) origins: BTreeMap<&'static str, Origin>,
    /// That value, as TOML.
    pub(super) values: BTreeMap<&'static str, String>,
}

impl<'a> ConfigReader<'a> {
    pub(super) fn new(gathered: &'a Gathered, errors_found: &'a mut ErrorCollector) -> Self {
        Self { gathered, errors_found, origins: BTreeMap::new(), values: BTreeMap::new() }
    }

    /// The value of `key`. `None` only if the compiled-in default is missing or invalid, which is an error too.
    pub(super) fn take<T>(&mut self, key: &'static str, parse: impl Fn(&Raw) -> Result<T, String>) -> Option<T> {
        self.choose(key, |raw| parse(raw).map_err(|fault| vec![fault]))
    }

    /// The entries of the list `key`, at most `most`.
    pub(super) fn take_list<T>(
        &mut self,
        key: &'static str,
        most: usize,
        parse: impl Fn(&Raw) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.choose(key, |raw| {
            let Raw::List(entries) = raw else {
                return Err(vec![r#"is not a list; write ["…", "…"] or []"#.to_owned()]);
            };
            if entries.len() > most {
                let number = entries.len();
                return Err(vec![format!("has {number} entries; allowed are 0 to {most}")]);
            }
            let mut taken = Vec::with_capacity(entries.len());
            let mut faults = Vec::new();
            for (position, entry) in entries.iter().enumerate() {
                match parse(entry) {
                    Ok(value) => taken.push(value),
                    Err(fault) => faults.push(format!("entry {} {fault}", position + 1)),
                }
            }
            if faults.is_empty() { Ok(taken) } else { Err(faults) }
        })
    }

    fn choose<T>(&mut self, key: &'static str, parse: impl Fn(&Raw) -> Result<T, Vec<String>>) -> Option<T> {
        self.take_placed(key, |raw| {
            parse(raw).map_err(|faults| faults.into_iter().map(|fault| (None, fault)).collect())
        })
    }

    /// The value of `key`, whose faults can have lines of their own in the file.
    pub(super) fn take_placed<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Raw) -> Result<T, Vec<(Option<usize>, String)>>,
    ) -> Option<T> {
        let mut chosen = None;
        for (origin, raw) in self.gathered.of(key) {
            match parse(raw) {
                Ok(value) => {
                    self.origins.insert(key, origin.clone());
                    self.values.insert(key, raw.to_string());
                    chosen = Some(value);
                }
                Err(faults) => {
                    for (line, fault) in faults {
                        let at = match (origin, line) {
                            (Origin::File { .. }, Some(line)) => &Origin::File { line },
                            _ => origin,
                        };
                        self.errors_found.add(at, key, format!("{key} {fault}"));
                    }
                }
            }
        }
        if chosen.is_none() {
            let message = format!("{key} has no usable default");
            self.errors_found.add(&Origin::Default, key, message);
        }
        chosen
    }
}
