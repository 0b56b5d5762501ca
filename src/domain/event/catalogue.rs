//! The catalogue of event types that may be published: those that are always known, and those that the configuration
//! declares. Pure; any thread.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::domain::escape::{REPEATED_CHARS, shortened};
use crate::domain::event::built_in::{OPT_IN, OPT_IN_FIELDS};
use crate::domain::event::data::{self, FIELDS_MAX};
use crate::domain::event::event_type::{EventType, NAME_CHARS, TypeName};
use crate::domain::event::field::FieldKind;
use crate::domain::field_error::nearest;

/// Maximum number of types that a configuration declares.
pub const DECLARED_MAX: usize = 500;
/// Maximum length of a description and of a field's name, in characters.
const DESCRIPTION_CHARS: usize = 500;
const FIELD_CHARS: usize = 64;
/// `X-TempClock-Event` of what is no single event.
const RESERVED: &str = "batch";
/// More would only hide what is meant.
const NAMES_TOLD: usize = 30;

/// What is known of an event type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeDescription {
    /// The type.
    pub event_type: EventType,
    /// One sentence.
    pub description: Cow<'static, str>,
    /// Whether a subscription gets it only if it names it or its prefix, and not by `*`.
    pub is_opt_in: bool,
    /// The fields of `data` that are checked.
    pub fields: Vec<(Cow<'static, str>, FieldKind)>,
    /// A valid `data`.
    pub example: Cow<'static, str>,
}

/// A type as a configuration declares it, before it is checked.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// Its name.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Whether `*` leaves it out.
    pub is_opt_in: bool,
    /// The fields of `data` that it needs.
    pub required: Vec<(String, FieldKind)>,
    /// A valid `data` as JSON text, if one is given.
    pub example: Option<String>,
}

impl Declaration {
    /// The type, or everything that is wrong with it.
    pub fn check(self) -> Result<TypeDescription, Vec<String>> {
        let Self { name, description, is_opt_in, required, example } = self;
        let mut faults = Vec::new();
        let shown = shortened(&name, REPEATED_CHARS);
        let event_type = match EventType::from_name(&name) {
            None => {
                faults.push(format!(
                    "name = {shown:?} is not a valid name of a type; use up to {NAME_CHARS} characters: lower-case words such as \"timesheet_approved\", with dots to group types"
                ));
                None
            }
            Some(known) if Catalogue::built_in().get(&known).is_some() => {
                faults.push(format!("name = {shown:?} is a built-in type and cannot be declared"));
                None
            }
            Some(_) if name == RESERVED => {
                faults.push(format!(
                    "name = {shown:?} is reserved for requests with several events; choose another name"
                ));
                None
            }
            other => other,
        };
        if description.chars().count() > DESCRIPTION_CHARS || description.chars().any(char::is_control) {
            faults.push(format!("description has more than {DESCRIPTION_CHARS} characters, or control characters"));
        }
        if required.len() > FIELDS_MAX {
            faults.push(format!("required has {} fields; allowed is 0 to {FIELDS_MAX}", required.len()));
        }
        let is_name = |name: &str| !name.is_empty() && name.chars().count() <= FIELD_CHARS;
        if required.iter().any(|(name, _)| !is_name(name)) {
            faults.push(format!("required has a field whose name does not have 1 to {FIELD_CHARS} characters"));
        }
        let example = example.unwrap_or_else(|| example_of(&required));
        if faults.is_empty() {
            faults.extend(fault_of_example(&required, &example));
        }
        let Some(event_type) = event_type.filter(|_| faults.is_empty()) else { return Err(faults) };
        let fields = required.into_iter().map(|(name, kind)| (name.into(), kind)).collect();
        Ok(TypeDescription { event_type, description: description.into(), is_opt_in, fields, example: example.into() })
    }
}

fn fault_of_example(required: &[(String, FieldKind)], example: &str) -> Option<String> {
    if let Err(error) = serde_json::from_str::<serde_json::Value>(example) {
        return Some(format!("example is not JSON: {error}"));
    }
    let errors = data::check(required, example).err()?;
    let errors: Vec<_> = errors.into_iter().map(|error| format!("{} {}", error.field, error.message)).collect();
    Some(format!("example is invalid: {}", errors.join("; ")))
}

/// A `data` with all fields, each with a value that fits.
fn example_of(required: &[(String, FieldKind)]) -> String {
    let fields = required.iter().map(|(name, kind)| (name.clone(), kind.example()));
    serde_json::Value::Object(fields.collect()).to_string()
}

/// All types that may be published.
#[derive(Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// The base types, the built-in opt-in ones, those that are declared.
    types: Vec<TypeDescription>,
    places: HashMap<EventType, usize>,
}

static BUILT_IN: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
    let base = EventType::BASE.into_iter().map(|event_type| TypeDescription {
        event_type,
        description: event_type.description().into(),
        is_opt_in: false,
        fields: event_type.fields().iter().map(|(name, kind)| ((*name).into(), *kind)).collect(),
        example: event_type.example().into(),
    });
    let opt_in = OPT_IN.iter().filter_map(|known| {
        Some(TypeDescription {
            event_type: EventType::Other(TypeName::new(known.name)?),
            description: known.description.into(),
            is_opt_in: true,
            fields: OPT_IN_FIELDS.iter().map(|(name, kind)| ((*name).into(), *kind)).collect(),
            example: known.example.into(),
        })
    });
    Arc::new(Catalogue::of(base.chain(opt_in).collect()))
});

impl Catalogue {
    /// What is known without a configuration.
    #[must_use]
    pub fn built_in() -> Arc<Self> {
        Arc::clone(&BUILT_IN)
    }

    /// That, and what a configuration declares. None if a type is declared twice.
    #[must_use]
    pub fn with(declared: impl IntoIterator<Item = TypeDescription>) -> Option<Arc<Self>> {
        let types: Vec<_> = BUILT_IN.types.iter().cloned().chain(declared).collect();
        let catalogue = Self::of(types);
        (catalogue.places.len() == catalogue.types.len()).then(|| Arc::new(catalogue))
    }

    fn of(types: Vec<TypeDescription>) -> Self {
        let places = types.iter().enumerate().map(|(place, known)| (known.event_type, place)).collect();
        Self { types, places }
    }

    /// All of them.
    #[must_use]
    pub fn types(&self) -> &[TypeDescription] {
        &self.types
    }

    /// What is known of a type; none if it cannot be published.
    #[must_use]
    pub fn get(&self, event_type: &EventType) -> Option<&TypeDescription> {
        self.places.get(event_type).and_then(|place| self.types.get(*place))
    }

    /// The type of that name, if it can be published; the error is a sentence with the nearest name.
    pub fn parse(&self, name: &str) -> Result<&TypeDescription, String> {
        let known = EventType::from_name(name).and_then(|event_type| self.get(&event_type));
        known.ok_or_else(|| self.unknown(name))
    }

    /// A sentence about a name that is not known, with the nearest one.
    #[must_use]
    pub fn unknown(&self, name: &str) -> String {
        let names = self.names();
        // A near name may be another one than was meant, so others are told too.
        let hint = nearest(name, &names).map_or(String::new(), |near| format!("did you mean \"{near}\"? "));
        let name = shortened(name, REPEATED_CHARS);
        let rest = names.len().saturating_sub(NAMES_TOLD);
        let told = names.iter().take(NAMES_TOLD).copied().collect::<Vec<_>>().join(", ");
        let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        format!("unknown event type \"{name}\"; {hint}known are: {told}{rest}")
    }

    /// The names of all.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.types.iter().map(|known| known.event_type.name()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declaration() -> Declaration {
        Declaration {
            name: "timesheet_approved".to_owned(),
            description: "A time sheet was approved.".to_owned(),
            is_opt_in: true,
            required: vec![("timesheet_id".to_owned(), FieldKind::Id), ("approved_at".to_owned(), FieldKind::Time)],
            example: Some(r#"{"timesheet_id":"7","approved_at":"2026-03-02T07:58:12Z"}"#.to_owned()),
        }
    }

    #[test]
    fn every_example_fits_its_type() {
        assert_eq!(BUILT_IN.types().len(), EventType::BASE.len() + OPT_IN.len());
        for known in BUILT_IN.types() {
            assert!(data::check(&known.fields, &known.example).is_ok(), "{}", known.event_type);
        }
    }

    #[test]
    fn a_declared_type_is_known_beside_the_others_and_only_once() {
        let declared = declaration().check().unwrap();
        let catalogue = Catalogue::with([declared.clone()]).unwrap();
        assert_eq!(catalogue.parse("timesheet_approved"), Ok(&declared));
        assert_eq!(catalogue.parse("clock_in").unwrap().event_type, EventType::ClockIn);
        assert!(catalogue.parse("timesheet_aproved").unwrap_err().contains("did you mean \"timesheet_approved\"?"));
        assert!(Catalogue::built_in().parse("timesheet_approved").is_err());
        assert_eq!(Catalogue::with([declared.clone(), declared]), None);
    }

    #[test]
    fn everything_that_is_wrong_with_a_declaration_is_told() {
        let wrong = |change: fn(&mut Declaration)| {
            let mut declaration = declaration();
            change(&mut declaration);
            declaration.check().unwrap_err().join(" | ")
        };
        for (change, words) in [
            ((|one| one.name = "Timesheet".to_owned()) as fn(&mut Declaration), "is not a valid name of a type"),
            (|one| one.name = "ping".to_owned(), "is a built-in type"),
            (|one| one.name = "clock.geofence_breach".to_owned(), "is a built-in type"),
            (|one| one.name = "batch".to_owned(), "reserved for requests with several events"),
            (|one| one.description = "a\u{7}".to_owned(), "control characters"),
            (|one| one.required = vec![(String::new(), FieldKind::Id)], "1 to 64 characters"),
            (|one| one.required = vec![("a".to_owned(), FieldKind::Id); 33], "allowed is 0 to 32"),
            (|one| one.example = Some("{".to_owned()), "example is not JSON"),
            (|one| one.example = Some("[]".to_owned()), "example is invalid: data must be an object"),
            (|one| one.example = Some("{}".to_owned()), "data.timesheet_id is missing"),
        ] {
            assert!(wrong(change).contains(words), "{}", wrong(change));
        }
        let both = wrong(|one| (one.name, one.description) = ("A".to_owned(), "\n".to_owned()));
        assert!(both.contains(" | "), "{both}");
    }

    #[test]
    fn an_example_that_is_not_given_is_made_of_the_fields() {
        let required = FieldKind::DECLARED.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
        let known = Declaration { required, example: None, ..declaration() }.check().unwrap();
        assert!(data::check(&known.fields, &known.example).is_ok());
    }
}
