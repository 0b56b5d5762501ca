//! `[[event_type]]`: the event types that the configuration declares.
//!
//! Runs at start-up and on a reload. It must never accept a type that could not be published; what is wrong with one is
//! told with the line on which it stands.

use std::sync::Arc;

use super::nearest::suggestion;
use super::read::ConfigReader;
use super::value::{self, EVENT_TYPE, Field, Raw};
use crate::domain::event::catalogue::{Catalogue, DECLARED_MAX, Declaration, TypeDescription};
use crate::domain::event::field::FieldKind;

const KEYS: [&str; 5] = ["name", "description", "opt_in", "required", "example"];

/// What is wrong, and on which line.
type Faults = Vec<(Option<usize>, String)>;

/// The catalogue with the types that are declared.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Arc<Catalogue>> {
    reader.take_placed(EVENT_TYPE, parse)
}

fn parse(raw: &Raw) -> Result<Arc<Catalogue>, Faults> {
    let Raw::List(tables) = raw else {
        return Err(vec![(
            None,
            "is not a list of tables; write [[event_type]], in double brackets, above each".to_owned(),
        )]);
    };
    if tables.len() > DECLARED_MAX {
        return Err(vec![(None, format!("has {} entries; allowed are 0 to {DECLARED_MAX}", tables.len()))]);
    }
    let mut faults: Faults = Vec::new();
    let mut types: Vec<TypeDescription> = Vec::new();
    for (place, table) in tables.iter().enumerate() {
        let line = first_line(table);
        match declared(table) {
            Ok(declared) if types.iter().any(|known| known.event_type == declared.event_type) => {
                faults.push((line, format!("declares {:?} twice", declared.event_type.name())));
            }
            Ok(declared) => types.push(declared),
            Err(found) => {
                let at = |(line, fault)| (line, format!("number {}: {fault}", place + 1));
                faults.extend(found.into_iter().map(at));
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Catalogue::with(types).ok_or_else(|| vec![(None, "declares a type twice".to_owned())])
}

fn first_line(table: &Raw) -> Option<usize> {
    match table {
        Raw::Table(fields) => fields.iter().map(|field| field.line).min(),
        _ => None,
    }
}

fn declared(table: &Raw) -> Result<TypeDescription, Faults> {
    let Raw::Table(fields) = table else {
        return Err(vec![(None, "is not a table; write [[event_type]] above its keys".to_owned())]);
    };
    let mut faults: Faults = Vec::new();
    let mut declaration = Declaration {
        name: String::new(),
        description: String::new(),
        is_opt_in: true,
        required: Vec::new(),
        example: None,
    };
    let mut has_name = false;
    for Field { name, line, raw } in fields {
        let read = match name.as_str() {
            "name" => {
                has_name = true;
                value::plain_text(raw).map(|text| declaration.name = text)
            }
            "description" => value::plain_text(raw).map(|text| declaration.description = text),
            "opt_in" => value::truth(raw).map(|truth| declaration.is_opt_in = truth),
            "example" => value::plain_text(raw).map(|text| declaration.example = Some(text)),
            "required" => required(raw).map(|fields| declaration.required = fields),
            _ => {
                let hint = suggestion(name, KEYS.into_iter(), |near| format!("{near:?}"));
                faults.push((Some(*line), format!("unknown key {name:?}; {hint}")));
                continue;
            }
        };
        if let Err(fault) = read {
            faults.push((Some(*line), format!("{name} {fault}")));
        }
    }
    if !has_name {
        faults.push((first_line(table), "name is missing".to_owned()));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let line = first_line(table);
    declaration.check().map_err(|found| found.into_iter().map(|fault| (line, fault)).collect())
}

fn required(raw: &Raw) -> Result<Vec<(String, FieldKind)>, String> {
    let Raw::Table(fields) = raw else {
        return Err(r#"is not a table; write for example { shift_id = "id", approved_at = "timestamp" }"#.to_owned());
    };
    fields
        .iter()
        .map(|Field { name, raw, .. }| {
            let kind = value::one_of(raw, &FieldKind::DECLARED).map_err(|fault| format!(".{name} {fault}"))?;
            Ok((name.clone(), kind))
        })
        .collect()
}
