//! `events publish`: one event or many, from the command line, a file or stdin. Many are sent in batches; after a
//! failure, earlier batches stay published, and the message says how many events that are.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal as _};
use std::path::Path;
use std::time::Instant;

use indicatif::ProgressBar;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::PublishArgs;
use crate::command::client::control_api::{ControlApi, exit_of, into_reply, with_api};
use crate::command::console::output::{counted, put, put_answer, rows, say, text};
use crate::command::console::progress::bar;
use crate::command::console::terminal;
use crate::command::failure::failed;
use crate::command::{Exit, Failure, Outcome};
use crate::control::client::ControlResponse;
use crate::domain::escape::escape_controls;

/// Maximum events per batch, and approximate maximum bytes.
const BATCH_EVENTS: usize = 1000;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// What some editors put before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Maximum number of invalid fields named for a batch.
const FIELDS: usize = 20;

type Documents = Box<dyn Iterator<Item = Result<Box<RawValue>, Failure>>>;

pub fn run(args: &PublishArgs) -> Outcome {
    let (source, length) = open(args)?;
    let (mut documents, is_array) = read(source)?;
    let first = documents.next().ok_or_else(|| (Exit::Usage, "the input has no event".to_owned()))??;
    let second = documents.next().transpose()?;
    if second.is_none() && !is_array {
        return with_api(&args.account, |api| publish_one(api, args, &first));
    }
    if args.id.is_some() {
        return Err((Exit::Usage, "--id is for one event, and there are several".to_owned()));
    }
    let documents = [Some(Ok(first)), second.map(Ok)].into_iter().flatten().chain(documents);
    with_api(&args.account, |api| publish_all(api, args, documents, length))
}

/// The input and its length, if known.
fn open(args: &PublishArgs) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    match (&args.data, &args.file) {
        (Some(data), _) => Ok((Box::new(Cursor::new(data.clone().into_bytes())), Some(data.len() as u64))),
        (None, Some(path)) if path != Path::new("-") => {
            let failed = |error: io::Error| (Exit::Failed, format!("{}: {error}", path.display()));
            let file = File::open(path).map_err(failed)?;
            let length = file.metadata().map_err(failed)?.len();
            Ok((Box::new(BufReader::new(file)), Some(length)))
        }
        (None, None) if io::stdin().is_terminal() => {
            Err((Exit::Usage, "pass the event with --data, --file or on stdin".to_owned()))
        }
        _ => Ok((Box::new(BufReader::new(io::stdin())), None)),
    }
}

/// The JSON documents of the input, and whether it is an array or a stream.
fn read(mut source: Box<dyn BufRead>) -> Result<(Documents, bool), Failure> {
    let wrong = |error: &serde_json::Error| (Exit::Usage, format!("not JSON: {error}"));
    if source.fill_buf().map_err(failed)?.starts_with(BYTE_ORDER_MARK) {
        source.consume(BYTE_ORDER_MARK.len());
    }
    loop {
        let blank = source.fill_buf().map_err(failed)?;
        let length = blank.len();
        let start = blank.iter().position(|byte| !byte.is_ascii_whitespace());
        if start.is_none() && length > 0 {
            source.consume(length);
            continue;
        }
        if start.and_then(|start| blank.get(start)) == Some(&b'[') {
            let all: Vec<Box<RawValue>> = serde_json::from_reader(source).map_err(|error| wrong(&error))?;
            return Ok((Box::new(all.into_iter().map(Ok)), true));
        }
        let documents = serde_json::Deserializer::from_reader(source).into_iter::<Box<RawValue>>();
        return Ok((Box::new(documents.map(move |found| found.map_err(|error| wrong(&error)))), false));
    }
}

/// A complete event for the API.
fn event(args: &PublishArgs, document: &RawValue) -> String {
    let Some(event) = &args.event else { return document.get().to_owned() };
    let text = |value: &str| Value::from(value).to_string();
    let mut fields = vec![("event", text(event)), ("data", document.get().to_owned())];
    fields.extend(args.id.as_deref().map(|id| ("id", text(id))));
    fields.extend(args.occurred_at.as_deref().map(|time| ("occurred_at", text(time))));
    fields.extend((!args.tags.is_empty()).then(|| ("tags", Value::from(args.tags.clone()).to_string())));
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn publish_one(api: &ControlApi, args: &PublishArgs, document: &RawValue) -> Outcome {
    let answer = into_reply(api.send_with_retry("POST", "/events", &[], Some(&event(args, document)))?)?;
    if args.account.json {
        return put_answer(&answer);
    }
    let published = &answer["data"];
    put(&format!("{}\n", text(published, "id")))?;
    if published["duplicate"] == true {
        say("It was published before; nothing was stored.");
    } else {
        match published["deliveries"].as_u64().unwrap_or(0) {
            0 => say(&format!("Published, but no subscription has the event type {}.", text(published, "event"))),
            count => say(&format!("Published for {}.", counted(count, "subscription", "subscriptions"))),
        }
    }
    Ok(())
}

/// Progress of publishing.
struct Tally {
    begun: Instant,
    /// How many events were sent.
    sent: u64,
    /// How many of them were published.
    events: u64,
    deliveries: u64,
    duplicates: u64,
    bar: ProgressBar,
    json: bool,
    /// Whether what is refused leaves the rest of a batch alone.
    partial: bool,
    /// How many events go into one request.
    at_once: usize,
}

fn publish_all(
    api: &ControlApi,
    args: &PublishArgs,
    documents: impl Iterator<Item = Result<Box<RawValue>, Failure>>,
    length: Option<u64>,
) -> Outcome {
    let template = if length.is_some() { "{bar:30} {msg}, {eta} left" } else { "{spinner} {msg}" };
    let bar = bar(length.unwrap_or(0), template);
    let json = args.account.json;
    let mut tally = Tally {
        begun: Instant::now(),
        sent: 0,
        events: 0,
        deliveries: 0,
        duplicates: 0,
        bar,
        json,
        partial: args.partial,
        at_once: BATCH_EVENTS,
    };
    if json {
        put("{\"data\":[")?;
    }
    let result = tally.publish(api, args, documents);
    tally.bar.finish_and_clear();
    let Tally { sent, events, deliveries, duplicates, .. } = tally;
    // Also after a failure, so that the published events are listed.
    if json {
        put("]}\n")?;
    } else if events > 0 {
        let fresh = counted(events.saturating_sub(duplicates), "event", "events");
        let before = if duplicates > 0 { format!("; {duplicates} had been published before") } else { String::new() };
        put(&format!("{fresh} published, {}{before}.\n", counted(deliveries, "delivery", "deliveries")))?;
    }
    result.map_err(|(exit, message)| match events {
        0 => (exit, format!("{message}\nNothing was published.")),
        1 => (exit, format!("{message}\nThe first event was published, the rest were not.")),
        _ => (exit, format!("{message}\nThe first {events} events were published, the rest were not.")),
    })?;
    match sent.saturating_sub(events) {
        0 => Ok(()),
        refused => Err((Exit::Usage, format!("{refused} of {sent} events were refused and not published"))),
    }
}

impl Tally {
    fn publish(
        &mut self,
        api: &ControlApi,
        args: &PublishArgs,
        documents: impl Iterator<Item = Result<Box<RawValue>, Failure>>,
    ) -> Outcome {
        let (mut batch, mut batch_bytes, mut read_bytes) = (Vec::new(), 0, 0);
        for document in documents {
            let document = document?;
            let event = event(args, &document);
            if batch.len() == BATCH_EVENTS || (!batch.is_empty() && batch_bytes + event.len() > BATCH_BYTES) {
                self.publish_batch(api, &batch, read_bytes)?;
                (batch_bytes, read_bytes) = (0, 0);
                batch.clear();
            }
            // With its comma.
            batch_bytes += event.len() + 1;
            batch.push(event);
            // Including the line break.
            read_bytes += document.get().len() as u64 + 1;
        }
        self.publish_batch(api, &batch, read_bytes)
    }

    fn publish_batch(&mut self, api: &ControlApi, mut batch: &[String], read_bytes: u64) -> Outcome {
        while !batch.is_empty() {
            let (now, later) = batch.split_at(batch.len().min(self.at_once));
            let body = format!("{{\"events\":[{}]}}", now.join(","));
            let query: &[_] = if self.partial { &[("partial", "true")] } else { &[] };
            let answer = api.send_with_retry("POST", "/events/batch", query, Some(&body))?;
            if answer.json["code"] == "too_many_deliveries" && now.len() > 1 {
                // So many subscriptions want them that fewer events fit into one request, now and later.
                self.at_once = now.len() / 2;
                continue;
            }
            let refused = self.refused(&answer);
            if self.partial && answer.status == 400 && !refused.is_empty() {
                self.bar.suspend(|| refused.iter().for_each(|line| say(line)));
                self.note(&vec![Value::Null; now.len()])?;
            } else if answer.status >= 300 {
                return Err(refusal(answer, &refused));
            } else {
                self.bar.suspend(|| refused.iter().for_each(|line| say(line)));
                self.note(rows(&answer.json))?;
            }
            batch = later;
        }
        self.bar.inc(read_bytes);
        Ok(())
    }

    fn note(&mut self, published: &[Value]) -> Outcome {
        for row in published {
            if self.json {
                let comma = if self.sent == 0 { "" } else { "," };
                put(&format!("{comma}{}", terminal::json(row)))?;
            }
            self.sent += 1;
            if row.is_null() {
                continue;
            }
            self.events += 1;
            if row["duplicate"] == true {
                self.duplicates += 1;
            } else {
                self.deliveries += row["deliveries"].as_u64().unwrap_or(0);
            }
        }
        let a_second = self.events.saturating_mul(1000)
            / u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.bar.set_message(format!("{} events, {a_second}/s", self.events));
        Ok(())
    }

    /// What was refused, with places within the file in place of those within the batch.
    fn refused(&self, answer: &ControlResponse) -> Vec<String> {
        let errors = answer.json["errors"].as_array().map_or(&[][..], Vec::as_slice);
        let lines = errors.iter().filter_map(|error| {
            let field = error["field"].as_str()?.strip_prefix("events[")?;
            let (index, rest) = field.split_once(']')?;
            let number = self.sent + index.parse::<u64>().ok()? + 1;
            let place = escape_controls(rest.trim_start_matches('.'));
            let message = escape_controls(error["message"].as_str()?);
            Some(format!("event {number}: {place}{}{message}", if place.is_empty() { "" } else { ": " }))
        });
        lines.collect()
    }
}

fn refusal(answer: ControlResponse, refused: &[String]) -> Failure {
    if refused.is_empty() {
        return into_reply(answer).err().unwrap_or_else(|| failed("the server refused the request without a reason"));
    }
    let shown = refused.get(..FIELDS).unwrap_or(refused);
    let more = refused.len() - shown.len();
    let rest = if more > 0 { format!("\nand {more} more") } else { String::new() };
    (exit_of(&answer), shown.join("\n") + &rest)
}
