//! Sets of event types, as subscriptions name them: single types, `prefix.*`, and `*`. What `*` stands for beside the base
//! types is in the catalogue. Pure; any thread.

use std::fmt;

use crate::domain::event::catalogue::Catalogue;
use crate::domain::event::event_type::{EventType, TypeName};

/// Maximum number of names of one set.
pub const TYPES_MAX: usize = 100;

/// How a name of a set is written, for schemas.
pub const TYPES_PATTERN: &str = r"^(\*|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\.\*)?)$";

/// A set of event types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTypes {
    /// One bit a base type, the highest for `*`.
    base: u8,
    /// The others, in the order in which they were named.
    others: Vec<Others>,
}

/// Types that are not base types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    One(TypeName),
    /// All that begin with this and a dot.
    Under(TypeName),
}

const STAR: u8 = 0x80;

/// What was taken away from a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// One type.
    One(EventType),
    /// `prefix.*`: the types that begin so and that the set does not have otherwise.
    Under(TypeName),
    /// `*`: all types but the base types that the set does not have otherwise.
    Star,
}

impl Removed {
    /// Reads what was written of it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name.strip_suffix(".*") {
            _ if name == "*" => Some(Self::Star),
            Some(prefix) => TypeName::new(prefix).map(Self::Under),
            None => EventType::from_name(name).map(Self::One),
        }
    }

    /// Whether a type went with it from a set of which that is left. Nobody knows whether `*` stands for a type that is no
    /// longer declared, so where that is left the type is, too.
    #[must_use]
    pub fn covers(&self, event_type: &EventType, left: &EventTypes) -> bool {
        let is_gone = || !left.has_star() && !left.contains_by_name(event_type);
        match (self, event_type) {
            (Self::One(one), _) => one == event_type,
            (Self::Under(prefix), EventType::Other(name)) => is_under(name.as_str(), prefix.as_str()) && is_gone(),
            (Self::Star, EventType::Other(_)) => is_gone(),
            _ => false,
        }
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(event_type) => f.write_str(event_type.name()),
            Self::Under(prefix) => write!(f, "{}.*", prefix.as_str()),
            Self::Star => f.write_str("*"),
        }
    }
}

impl Others {
    fn covers(&self, name: &TypeName) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Under(prefix) => is_under(name.as_str(), prefix.as_str()),
        }
    }
}

fn is_under(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
}

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(name) => f.write_str(name.as_str()),
            Self::Under(prefix) => write!(f, "{}.*", prefix.as_str()),
        }
    }
}

impl EventTypes {
    /// Reads a list of names: types of the catalogue or of `before`, `prefix.*`, and `*`. Each error is the index and a
    /// sentence.
    pub fn parse<'a>(
        names: impl IntoIterator<Item = &'a str>,
        catalogue: &Catalogue,
        before: Option<&Self>,
    ) -> Result<Self, Vec<(usize, String)>> {
        let mut set = Self::from_bits(0);
        let mut errors = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let is_had = |found: &EventType| before.is_some_and(|before| before.names_one(found));
            let known = EventType::from_name(name).filter(|found| catalogue.get(found).is_some() || is_had(found));
            if let Some(event_type) = known {
                set.add(event_type);
            } else if !set.add_many(name) {
                errors.push((index, catalogue.unknown(name)));
            }
        }
        if errors.is_empty() { Ok(set) } else { Err(errors) }
    }

    /// Reads names as they were stored, declared or not. None if one of them is no name.
    #[must_use]
    pub fn from_stored<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut set = Self::from_bits(0);
        for name in names {
            match EventType::from_name(name) {
                Some(event_type) => set.add(event_type),
                None if set.add_many(name) => {}
                None => return None,
            }
        }
        Some(set)
    }

    /// The set with one bit a base type, the highest for `*`, as early formats stored it.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self { base: bits, others: Vec::new() }
    }

    /// Adds one type.
    fn add(&mut self, event_type: EventType) {
        match event_type {
            EventType::Other(name) => self.add_others(Others::One(name)),
            base => self.base |= bit(&base),
        }
    }

    /// Adds what `*` or `prefix.*` stands for. False if it is neither.
    fn add_many(&mut self, name: &str) -> bool {
        if name == "*" {
            self.base |= STAR;
            return true;
        }
        let prefix = name.strip_suffix(".*").and_then(TypeName::new);
        prefix.map(|prefix| self.add_others(Others::Under(prefix))).is_some()
    }

    fn add_others(&mut self, others: Others) {
        if !self.others.contains(&others) {
            self.others.push(others);
        }
    }

    /// How many names it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names().len()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.base == 0 && self.others.is_empty()
    }

    fn has_star(&self) -> bool {
        self.base & STAR != 0
    }

    fn names_one(&self, event_type: &EventType) -> bool {
        matches!(event_type, EventType::Other(name) if self.others.contains(&Others::One(*name)))
    }

    /// Whether the set contains the type, which `*` stands for unless it is `opt_in`.
    #[must_use]
    pub fn contains(&self, event_type: &EventType, opt_in: bool) -> bool {
        self.contains_by_name(event_type) || (self.has_star() && !opt_in)
    }

    /// Whether the set contains the type whatever the catalogue says: a base type, or another one that it names or has
    /// the prefix of.
    #[must_use]
    pub fn contains_by_name(&self, event_type: &EventType) -> bool {
        match event_type {
            EventType::Other(name) => self.others.iter().any(|others| others.covers(name)),
            base => self.base & (STAR | bit(base)) != 0,
        }
    }

    /// What is in this set and not in the other: types that are declared or that it names, and what else it has by a prefix
    /// or by `*`, whether that was ever declared or not.
    #[must_use]
    pub fn without(&self, other: &Self, catalogue: &Catalogue) -> Vec<Removed> {
        let under = self.others.iter().filter_map(|others| match others {
            Others::Under(prefix) if !other.has_star() && !other.has_prefix(prefix) => Some(Removed::Under(*prefix)),
            _ => None,
        });
        let under: Vec<_> = under.collect();
        let declared = catalogue.types().iter().filter(|found| {
            self.contains(&found.event_type, found.is_opt_in) && !other.contains(&found.event_type, found.is_opt_in)
        });
        let named = self.others.iter().filter_map(|others| match others {
            Others::One(name) => Some(EventType::Other(*name)),
            Others::Under(_) => None,
        });
        let undeclared = named.filter(|named| catalogue.get(named).is_none() && !other.contains_by_name(named));
        let mut types: Vec<_> = declared.map(|found| found.event_type).chain(undeclared).collect();
        types.retain(|event_type| !under.iter().any(|under| under.covers(event_type, other)));
        let star = (self.has_star() && !other.has_star()).then_some(Removed::Star);
        types.into_iter().map(Removed::One).chain(under).chain(star).collect()
    }

    /// Whether it has all types that begin with this and a dot.
    fn has_prefix(&self, prefix: &TypeName) -> bool {
        self.others.iter().any(|known| match known {
            Others::Under(wider) => wider == prefix || is_under(prefix.as_str(), wider.as_str()),
            Others::One(_) => false,
        })
    }

    /// The types that are in both sets, without a `*` that stands for more than the base types: what it stands for now is
    /// there by name.
    #[must_use]
    pub fn within(&self, other: &Self, catalogue: &Catalogue) -> Self {
        let mut both = Self::from_bits(0);
        for found in catalogue.types() {
            if [self, other].iter().all(|set| set.contains(&found.event_type, found.is_opt_in)) {
                both.add(found.event_type);
            }
        }
        for (one, another) in [(self, other), (other, self)] {
            for others in &one.others {
                let is_in_another = match others {
                    Others::One(name) => another.contains_by_name(&EventType::Other(*name)),
                    Others::Under(prefix) => another.has_prefix(prefix),
                };
                if is_in_another {
                    both.add_others(*others);
                }
            }
        }
        both
    }

    /// The names, as a subscription shows them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let base: Vec<_> = if self.has_star() {
            vec!["*".to_owned()]
        } else {
            let named = EventType::BASE.into_iter().filter(|base| self.base & bit(base) != 0);
            named.map(|base| base.name().to_owned()).collect()
        };
        base.into_iter().chain(self.others.iter().map(ToString::to_string)).collect()
    }
}

fn bit(base: &EventType) -> u8 {
    base.number().map_or(0, |number| 1 << number)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::event::catalogue::Declaration;
    use crate::domain::event::field::FieldKind;

    fn of(name: &str) -> EventType {
        EventType::from_name(name).unwrap()
    }

    fn set(names: &[&str]) -> EventTypes {
        EventTypes::from_stored(names.iter().copied()).unwrap()
    }

    fn catalogue() -> Arc<Catalogue> {
        let declared =
            [("shift.moved", false), ("shift.swapped", true), ("approved", false)].map(|(name, is_opt_in)| {
                let required = vec![("worker_id".to_owned(), FieldKind::Id)];
                Declaration { name: name.to_owned(), description: String::new(), is_opt_in, required, example: None }
            });
        Catalogue::with(declared.into_iter().map(|one| one.check().unwrap())).unwrap()
    }

    #[test]
    fn a_star_is_the_base_types_and_what_is_not_opt_in() {
        let star = EventTypes::parse(["*", "ping"], &Catalogue::built_in(), None).unwrap();
        assert!(EventType::BASE.iter().all(|base| star.contains(base, false)));
        assert!(star.contains(&of("approved"), false) && !star.contains(&of("clock.geofence_breach"), true));
        assert_eq!(star.names(), ["*"]);
    }

    #[test]
    fn a_prefix_has_all_that_begin_with_it_and_a_dot() {
        let clock = EventTypes::parse(["clock.*", "clock_in"], &Catalogue::built_in(), None).unwrap();
        for (name, is_in) in [("clock.x", true), ("clock.x.y", true), ("clock", false), ("clock_out", false)] {
            assert_eq!(clock.contains(&of(name), true), is_in, "{name}");
        }
        assert_eq!(clock.names(), ["clock_in", "clock.*"]);
        assert_eq!(EventTypes::from_stored(["clock_in", "clock.*"]), Some(clock));
        assert_eq!(EventTypes::from_stored(["clock_in", "Clock"]), None);
    }

    #[test]
    fn a_wrong_name_is_told_with_its_place_and_the_nearest_one_unless_the_set_had_it() {
        let errors = EventTypes::parse(["clock_in", "clockout", "a.b.*.c"], &catalogue(), None).unwrap_err();
        assert_eq!(errors.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
        assert!(errors[0].1.contains("did you mean \"clock_out\"?"), "{}", errors[0].1);
        let before = set(&["gone", "gone_too.*"]);
        assert!(EventTypes::parse(["gone"], &catalogue(), None).is_err());
        assert_eq!(EventTypes::parse(["gone"], &catalogue(), Some(&before)), Ok(set(&["gone"])));
    }

    #[test]
    fn what_is_taken_away_is_known_by_the_catalogue_and_by_name() {
        let names = |types: Vec<Removed>| types.iter().map(ToString::to_string).collect::<Vec<_>>();
        let without = |one: &[&str], other: &[&str]| names(set(one).without(&set(other), &catalogue()));
        assert_eq!(without(&["clock_in", "shift.*", "gone"], &["shift.moved"]), ["clock_in", "gone", "shift.*"]);
        assert_eq!(without(&["*", "shift.*"], &["*"]), ["shift.swapped"]);
        assert_eq!(without(&["a.b.*", "shift.*"], &["a.*", "shift.moved", "shift.*"]), [] as [&str; 0]);
        assert_eq!(without(&["*"], &["*", "clock_in"]), [] as [&str; 0]);
        let star = without(&["*"], &["clock_in"]);
        assert!(["approved", "*"].iter().all(|name| star.contains(&(*name).to_owned())), "{star:?}");
    }

    #[test]
    fn what_went_with_a_prefix_or_a_star_need_not_be_declared_and_what_is_left_stays() {
        // What was removed, what is left, what went with it, and what did not.
        type Case = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);
        let cases: [Case; 5] = [
            ("shift.*", &["shift.kept", "shift.a.*"], &["shift.moved", "shift.never"], &["shift.kept", "shift.a.b"]),
            ("shift.*", &["*"], &[], &["shift.moved", "shift.swapped"]),
            ("shift.*", &["clock_in"], &["shift.x.y"], &["shift", "shifts.x", "ping", "clock_in"]),
            ("*", &["ping", "gone.*"], &["approved", "never"], &["gone.x", "ping", "clock_in"]),
            ("clock_in", &[], &["clock_in"], &["clock_out", "clock.x"]),
        ];
        for (removed, left, gone, stays) in cases {
            let is_gone = |name: &&&str| Removed::from_name(removed).unwrap().covers(&of(name), &set(left));
            assert_eq!(gone.iter().chain(stays).filter(is_gone).collect::<Vec<_>>(), gone.iter().collect::<Vec<_>>());
            assert_eq!(Removed::from_name(removed).unwrap().to_string(), removed);
        }
        assert!(["", "a.*.*", ".*", "A"].iter().all(|name| Removed::from_name(name).is_none()));
    }

    #[test]
    fn what_two_sets_have_in_common_names_what_a_star_stands_for() {
        let within = |one: &[&str], other: &[&str]| {
            let names = |both: EventTypes| {
                let mut names = both.names();
                names.sort_unstable();
                names
            };
            let both = names(set(one).within(&set(other), &catalogue()));
            assert_eq!(both, names(set(other).within(&set(one), &catalogue())));
            both
        };
        assert_eq!(within(&["*"], &["shift.*", "ping", "gone"]), ["ping", "shift.moved"]);
        assert_eq!(within(&["a.*"], &["a.b.*", "gone"]), ["a.b.*"]);
        assert_eq!(within(&["gone", "clock_in"], &["gone", "clock_out"]), ["gone"]);
        let star = within(&["*"], &["*"]);
        assert!(star.contains(&"approved".to_owned()) && !star.contains(&"shift.swapped".to_owned()));
    }
}
