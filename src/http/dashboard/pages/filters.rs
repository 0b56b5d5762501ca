//! The filters of a list, which are its page's query: as the API takes them, and as links keep them. Pure.

use std::str::FromStr as _;

use jiff::civil::Date;
use url::form_urlencoded::Serializer;

use crate::http::request::error::ApiError;
use crate::http::request::extract::Query;

/// What a page's query has of its own: the days, for which the API has times.
const DAYS: [&str; 2] = ["from", "to"];
/// Where in the list the page lies, which a changed filter makes meaningless.
const PLACE: [&str; 3] = ["cursor", "offset", "done"];

/// The filters of a list.
pub struct Filters(Query);

impl Filters {
    /// Of a page's query.
    #[must_use]
    pub fn of(query: Query) -> Self {
        Self(query)
    }

    /// What is given for a filter, or nothing.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_default()
    }

    /// Whether any of these is given.
    #[must_use]
    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.0.get(name).is_some())
    }

    /// Whether any filter is given.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        self.0.pairs().any(|(name, _)| !PLACE.contains(&name))
    }

    /// The time from which on the list is wanted, as the API takes it.
    pub fn since(&self) -> Result<Option<String>, ApiError> {
        self.day("from", Some)
    }

    /// The time before which the list is wanted: the end of the last day.
    pub fn until(&self) -> Result<Option<String>, ApiError> {
        self.day("to", |day| day.tomorrow().ok())
    }

    fn day(&self, name: &'static str, edge: impl Fn(Date) -> Option<Date>) -> Result<Option<String>, ApiError> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        let day = Date::from_str(text).ok().filter(|day| day.year() >= 1970).and_then(edge);
        let day = day.ok_or_else(|| ApiError::invalid_field(name, "must be a day such as 2026-03-02"))?;
        Ok(Some(format!("{day}T00:00:00Z")))
    }

    /// As the API takes them.
    pub fn for_api(&self) -> Result<Query, ApiError> {
        let kept = self.0.pairs().filter(|(name, _)| !DAYS.contains(name));
        let mut pairs: Vec<_> = kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        pairs.extend(self.since()?.map(|time| ("since".to_owned(), time)));
        pairs.extend(self.until()?.map(|time| ("until".to_owned(), time)));
        Ok(Query::of(pairs))
    }

    /// A link to a page with these filters, and with further parameters in place of where this page lies.
    #[must_use]
    pub fn link(&self, path: &str, further: &[(&str, &str)]) -> String {
        let kept = self.0.pairs().filter(|(name, _)| !PLACE.contains(name));
        let query: String = Serializer::new(String::new()).extend_pairs(kept).extend_pairs(further).finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &str)]) -> Filters {
        Filters::of(Query::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()))
    }

    #[test]
    fn days_become_the_times_between_which_they_lie_and_a_link_keeps_every_filter() {
        let given = filters(&[
            ("status", "exhausted"),
            ("from", "2026-03-01"),
            ("to", "2026-03-31"),
            ("cursor", "x"),
            ("event", ""),
        ]);
        let query = given.for_api().unwrap();
        assert_eq!(
            (query.get("since"), query.get("until")),
            (Some("2026-03-01T00:00:00Z"), Some("2026-04-01T00:00:00Z"))
        );
        assert_eq!((query.get("status"), query.get("cursor"), query.get("from")), (Some("exhausted"), Some("x"), None));
        assert_eq!(
            given.link("/a", &[("cursor", "y&")]),
            "/a?status=exhausted&from=2026-03-01&to=2026-03-31&cursor=y%26"
        );
        assert_eq!(filters(&[("cursor", "x")]).link("/a", &[]), "/a");
        for wrong in ["yesterday", "2026-02-30", "1969-01-01", "2026-3-1x"] {
            assert!(filters(&[("from", wrong)]).for_api().is_err(), "{wrong}");
        }
    }
}
