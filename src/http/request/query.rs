//! Extractor for a request's query parameters. Runs on the HTTP workers.

use std::cell::RefCell;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::domain::FieldError;
use crate::domain::field_error::nearest;
use crate::http::request::error::ApiError;
use crate::http::request::respond::{DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET};
use crate::storage::read::reader::PageRequest;

/// A request's query parameters; the first of several values counts. Errors are collected until [`Query::finish`], so
/// that the caller gets all at once. A parameter that nobody has asked for by then is ignored unless its name is near to one
/// that was: a filter whose name is misspelled must not return everything.
#[derive(Clone, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
    known: RefCell<Vec<String>>,
}

impl FromRequest for Query {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
        let pairs = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        std::future::ready(Ok(Self::of(pairs)))
    }
}

impl Query {
    /// Of these names and values.
    #[must_use]
    pub fn of(pairs: Vec<(String, String)>) -> Self {
        Self { pairs, errors: Vec::new(), known: RefCell::default() }
    }

    /// Every name with its value that is not empty.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        pairs.filter(|(_, value)| !value.is_empty())
    }

    /// The value of a parameter, if present and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.known.borrow_mut().push(name.to_owned());
        self.pairs
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The value of a parameter, parsed; the error says what is `wanted`.
    pub fn parse<T>(&mut self, name: &str, wanted: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.read(name, |value| parse(value).ok_or_else(|| format!("must be {wanted}")))
    }

    /// The value of a parameter, parsed; the error of `parse` is the message.
    pub fn read<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match parse(self.get(name)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.errors.push(FieldError::new(name, message));
                None
            }
        }
    }

    /// Refuses a parameter.
    pub fn refuse(&mut self, name: &str, message: &str) {
        self.errors.push(FieldError::new(name, message));
    }

    /// An error that names every invalid parameter.
    pub fn finish(mut self) -> Result<(), ApiError> {
        let asked = self.known.take();
        let known: Vec<&str> = asked.iter().map(String::as_str).collect();
        let names = self.pairs.iter().map(|(name, _)| name.as_str());
        let misspelled = names.filter(|name| !known.contains(name) && nearest(name, &known).is_some());
        self.errors.extend(misspelled.map(|name| FieldError::unknown(name, &known)));
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(self.errors)) }
    }

    /// The requested page of a list with a cursor, which is an item's id that `cursor` parses.
    pub fn page<C>(&mut self, cursor: impl Fn(&str) -> Option<C>) -> PageRequest<C> {
        let offset = self.read("offset", |text| match offset(text)? {
            offset if offset <= MAX_OFFSET => Ok(offset),
            _ => Err(format!("must be at most {MAX_OFFSET}; use cursor for later pages")),
        });
        let after = self.parse("cursor", "the next_cursor of an earlier page", cursor);
        PageRequest { limit: self.limit(), offset: offset.unwrap_or(0), after }
    }

    /// Limit and offset of a list without a cursor.
    pub fn page_by_offset(&mut self) -> (usize, usize) {
        (self.limit(), self.read("offset", offset).unwrap_or(0))
    }

    fn limit(&mut self) -> usize {
        let limit = self.parse("limit", "an integer from 1 on (above 100 it counts as 100)", |text| {
            text.parse().ok().filter(|limit: &usize| *limit > 0)
        });
        limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT)
    }
}

fn offset(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "must be an integer from 0 on".to_owned())
}
