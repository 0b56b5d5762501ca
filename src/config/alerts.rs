//! `[alerts]`: who is told of what goes wrong, and how.
//!
//! Runs at start-up, on the main thread only. It must never compare one key with another, which is left to the rules across
//! sections.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::read::ConfigReader;
use crate::config::value::{self, Raw};
use crate::domain::smtp::{MailServer, is_address};

const RECIPIENTS_MAX: usize = 20;
const SPANS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(366 * 24);

/// `[alerts]`: who is told of what goes wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertsSection {
    /// Who gets a mail; at most 20.
    pub email_to: Vec<String>,
    /// The sender of these; set if anybody gets one.
    pub email_from: Option<String>,
    /// Where mail is handed over; set if anybody gets one.
    pub smtp: Option<MailServer>,
    /// File with `user:password` for it.
    pub smtp_credentials_file: Option<PathBuf>,
    /// Where a webhook goes.
    pub webhook_url: Option<String>,
    /// File with the secret that it is signed with; set exactly when `webhook_url` is.
    pub webhook_secret_file: Option<PathBuf>,
    /// A program that gets the JSON of an alert; an absolute path.
    pub command: Option<PathBuf>,
    /// When mail goes out, once a day, as hour and minute; none: at once.
    pub digest: Option<(i8, i8)>,
    /// An endpoint that has failed for so long is told of; up to 366 days.
    pub failing_after: Duration,
    /// A backup is missed when the last one is older; 0: never.
    pub backup_missed_after: Duration,
    /// A feed is behind when its oldest event has waited for longer; 0: never.
    pub feed_behind_after: Duration,
}

impl AlertsSection {
    pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Self> {
        let span = |raw: &Raw| value::duration(raw, &SPANS);
        Some(Self {
            email_to: reader.take_list("alerts.email_to", RECIPIENTS_MAX, address)?,
            email_from: reader.take("alerts.email_from", |raw| unless_empty(raw, address))?,
            smtp: reader.take("alerts.smtp", |raw| unless_empty(raw, mail_server))?,
            smtp_credentials_file: reader.take("alerts.smtp_credentials_file", value::optional_path)?,
            webhook_url: reader.take("alerts.webhook_url", |raw| unless_empty(raw, url))?,
            webhook_secret_file: reader.take("alerts.webhook_secret_file", value::optional_path)?,
            command: reader.take("alerts.command", command)?,
            digest: reader.take("alerts.digest", |raw| unless_empty(raw, time_of_day))?,
            failing_after: reader.take("alerts.failing_after", span)?,
            backup_missed_after: reader.take("alerts.backup_missed_after", span)?,
            feed_behind_after: reader.take("alerts.feed_behind_after", span)?,
        })
    }

    /// Whether anybody is told.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.email_to.is_empty() || self.webhook_url.is_some() || self.command.is_some()
    }
}

fn unless_empty<T>(raw: &Raw, parse: impl Fn(&Raw) -> Result<T, String>) -> Result<Option<T>, String> {
    match raw {
        Raw::Text(text) if text.is_empty() => Ok(None),
        _ => parse(raw).map(Some),
    }
}

fn text<'a>(raw: &'a Raw, hint: &str) -> Result<&'a str, String> {
    match raw {
        // An error may repeat it.
        Raw::Text(text) if text.len() <= 2048 => Ok(text),
        Raw::Text(_) => Err(format!("is too long; {hint}")),
        _ => Err(format!("is not a string in quotes; {hint}")),
    }
}

fn address(raw: &Raw) -> Result<String, String> {
    const HINT: &str = r#"write for example "ops@example.com", without a name"#;
    let text = text(raw, HINT)?;
    if is_address(text) { Ok(text.to_owned()) } else { Err(format!("is not a mail address; {HINT}")) }
}

fn mail_server(raw: &Raw) -> Result<MailServer, String> {
    const HINT: &str = r#"write for example "smtp+starttls://mail.example.com:587", "smtps://mail.example.com:465", or "smtp://127.0.0.1:25" for a server in a private network; put user and password into alerts.smtp_credentials_file"#;
    // Not repeated: it may have a password in it.
    MailServer::parse(text(raw, HINT)?).ok_or_else(|| format!("is not a mail server; {HINT}"))
}

fn url(raw: &Raw) -> Result<String, String> {
    const HINT: &str = r#"write for example "https://ops.example.com/hooks/alerts""#;
    let text = text(raw, HINT)?;
    let is_url = ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme));
    if is_url && !text.contains(char::is_control) { Ok(text.to_owned()) } else { Err(format!("is not a URL; {HINT}")) }
}

fn command(raw: &Raw) -> Result<Option<PathBuf>, String> {
    match value::optional_path(raw)? {
        Some(path) if !path.is_absolute() => Err("is not an absolute path; begin it with /".to_owned()),
        path => Ok(path),
    }
}

fn time_of_day(raw: &Raw) -> Result<(i8, i8), String> {
    const HINT: &str = r#"write for example "07:00""#;
    let text = text(raw, HINT)?;
    let wrong = || format!("is not a time of day; {HINT}");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let part = |text: &str, end: i8| {
        let is_two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &i8| is_two && *number < end)
    };
    part(hour, 24).zip(part(minute, 60)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_day_has_two_digits_each() {
        let read = |text: &str| time_of_day(&Raw::Text(text.to_owned()));
        assert_eq!((read("07:00"), read("23:59")), (Ok((7, 0)), Ok((23, 59))));
        for wrong in ["", "7:00", "24:00", "07:60", "07", "07:0", "-7:00", "07:00:00", "+7:00"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_in_a_wrong_place_is_not_repeated() {
        let message = mail_server(&Raw::Text("smtp://me:pa55word@mail.example:25".to_owned())).unwrap_err();
        assert!(!message.contains("pa55word"), "{message}");
    }
}
