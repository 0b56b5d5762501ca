//! How a request gets from a server on standby to the active one, and the answer back: rows of two tables that are neither
//! logged nor flushed, as nobody misses them after a crash. They are encrypted from one server for the other. A request is for
//! the epoch of the server that was active when it was sent, and no other one executes it; none is executed twice, and no part
//! of an answer is passed over. Each side has a connection and a thread of its own, and polls while there is something to wait
//! for.

use std::collections::HashMap;

use uuid::Uuid;

use crate::storage::error::StorageError;
use crate::storage::postgres::connection::line::Line;
use crate::storage::postgres::connection::session::Value;
use crate::storage::postgres::nodes::Node;
use crate::storage::relay::{AnswerPart, Asked, Message};
use crate::storage::sealing::Seal;

type Result<T> = std::result::Result<T, StorageError>;

/// How the two tables are made.
pub(super) const DEFINITION: &str = "CREATE UNLOGGED TABLE requests (node uuid NOT NULL, number int8 NOT NULL, \
    epoch int8 NOT NULL, message bytea NOT NULL, sent_at timestamptz NOT NULL DEFAULT clock_timestamp(), \
    PRIMARY KEY (node, number)); \
    CREATE UNLOGGED TABLE answers (node uuid NOT NULL, number int8 NOT NULL, part int8 NOT NULL, value bytea NOT NULL, \
    sent_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (node, number, part))";
/// A command that has the lease is in no list, and answers nobody.
const ACTIVE: &str = "SELECT l.epoch, n.node, n.public_key FROM lease l JOIN nodes n ON n.node = l.node";
const ASK: &str = "INSERT INTO requests (node, number, epoch, message) SELECT $1, r.number, l.epoch, r.message \
    FROM lease l, unnest($3::int8[], $4::bytea[]) AS r (number, message) WHERE l.epoch = $2 RETURNING 1";
/// Parts of one answer come in their order.
const TAKE_ANSWERS: &str = "DELETE FROM answers WHERE node = $1 AND number >= $2 AND (number, part) IN (SELECT number, part \
    FROM answers WHERE node = $1 AND number >= $2 ORDER BY number, part LIMIT 64) RETURNING number, part, value";
/// Those that are on standby or were lately.
const ASKERS: &str = "SELECT node, public_key, seen_at > clock_timestamp() - interval '10 s' FROM nodes WHERE node <> $1 \
    ORDER BY seen_at DESC LIMIT 100";
/// Up to 16 from each server and about 4 MiB, unless one message is longer. What was sent 10 s ago may have been given up.
const TAKE: &str = "SELECT n.node, r.number, r.message, r.is_late FROM unnest($2::uuid[], $3::int8[]) AS n (node, last) \
    CROSS JOIN LATERAL (SELECT * FROM (SELECT f.*, sum(octet_length(f.message)) OVER (ORDER BY f.number) \
    - octet_length(f.message) AS before FROM (SELECT q.number, q.message, \
    clock_timestamp() - q.sent_at > interval '10 s' AS is_late FROM requests q \
    WHERE q.node = n.node AND q.number > n.last AND q.epoch = $1 ORDER BY q.number LIMIT 16) f) w \
    WHERE w.before < 4194304) r";
const TAKEN: &str = "DELETE FROM requests r USING unnest($1::uuid[], $2::int8[]) AS n (node, last) \
    WHERE r.node = n.node AND r.number <= n.last";
/// A part that was sent before an error may have arrived.
const ANSWER: &str = "INSERT INTO answers (node, number, part, value) SELECT a.node, a.number, a.part, a.value \
    FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::bytea[]) AS a (node, number, part, value) ON CONFLICT DO NOTHING";
const FORGET_ANSWERS: &str = "DELETE FROM answers WHERE sent_at < clock_timestamp() - interval '1 min'";
const FORGET_REQUESTS: &str = "DELETE FROM requests WHERE epoch < $1 OR sent_at < clock_timestamp() - interval '1 min'";

/// The side of a server on standby.
pub struct Asking {
    line: Line,
    node: Node,
    active: Option<Active>,
}

/// The server that is asked.
#[derive(Clone)]
struct Active {
    epoch: i64,
    seal: Seal,
}

impl Asking {
    pub(super) fn new(line: Line, node: Node) -> Self {
        Self { line, node, active: None }
    }

    /// Sends messages, each with its number. The epoch of the server that they are for; none: there is no active server, and
    /// nothing was sent.
    pub fn send(&mut self, messages: &[(i64, Message)]) -> Result<Option<i64>> {
        // The server that was active before may not be any more.
        for _ in 0..2 {
            let id = self.node.id;
            let Some(Active { epoch, seal }) = self.active()? else { return Ok(None) };
            let (mut numbers, mut rows) = (Vec::new(), Vec::new());
            for (number, message) in messages {
                numbers.push(*number);
                rows.push(seal.seal_text(&request_name(id, *number), message.encode()?)?);
            }
            let values = vec![Value::Id(id), Value::Int(epoch), Value::Ints(numbers), Value::Rows(rows)];
            if !self.line.query(ASK, values)?.is_empty() {
                return Ok(Some(epoch));
            }
            self.active = None;
        }
        Ok(None)
    }

    fn active(&mut self) -> Result<Option<Active>> {
        if self.active.is_none() {
            let rows = self.line.query(ACTIVE, Vec::new())?;
            let found = rows.first().map(|row| {
                let seal = self.node.pairing.with(row.get(1), row.get(2))?;
                Ok::<_, StorageError>(Active { epoch: row.get(0), seal })
            });
            self.active = found.transpose()?;
        }
        Ok(self.active.clone())
    }

    /// What has come of answers to requests from that number on: its number, its place in its answer, and the part.
    pub fn take(&mut self, from: i64) -> Result<Vec<(i64, i64, AnswerPart)>> {
        let rows = self.line.query(TAKE_ANSWERS, vec![Value::Id(self.node.id), Value::Int(from)])?;
        let Some(active) = &self.active else { return Ok(Vec::new()) };
        let mut parts = Vec::with_capacity(rows.len());
        for row in &rows {
            let (number, place, bytes): (i64, i64, Vec<u8>) = (row.get(0), row.get(1), row.get(2));
            let opened = active.seal.open_text(&answer_name(self.node.id, number, place), bytes);
            match opened.and_then(|bytes| AnswerPart::decode(&bytes)) {
                Ok(part) => parts.push((number, place, part)),
                // Of the server before: whoever waited for it was told.
                Err(error) => log::debug!("a part of an answer is ignored: {error}"),
            }
        }
        parts.sort_unstable_by_key(|(number, place, _)| (*number, *place));
        Ok(parts)
    }
}

/// The side of the active server.
pub struct Answering {
    line: Line,
    epoch: i64,
    node: Node,
    askers: HashMap<Uuid, Asker>,
}

/// A server on standby.
struct Asker {
    seal: Seal,
    is_here: bool,
    /// The number of the last message that was taken from it, and whether those up to it are still in the table.
    last: i64,
    has_taken: bool,
}

impl Answering {
    pub(super) fn new(line: Line, epoch: i64, node: Node) -> Self {
        Self { line, epoch, node, askers: HashMap::new() }
    }

    /// Looks which servers are on standby, and whether there are any.
    pub fn is_asked(&mut self) -> Result<bool> {
        let rows = self.line.query(ASKERS, vec![Value::Id(self.node.id)])?;
        let mut askers = HashMap::new();
        for row in &rows {
            let (id, shown, is_here): (Uuid, Vec<u8>, bool) = (row.get(0), row.get(1), row.get(2));
            let known = self.askers.remove(&id).map(|asker| Asker { is_here, ..asker });
            let asker = known.map_or_else(
                || Ok(Asker { seal: self.node.pairing.with(id, shown)?, is_here, last: 0, has_taken: false }),
                Ok::<_, StorageError>,
            );
            match asker {
                Ok(asker) => drop(askers.insert(id, asker)),
                Err(error) => log::debug!("a server is not answered: {error}"),
            }
        }
        self.askers = askers;
        Ok(self.askers.values().any(|asker| asker.is_here))
    }

    /// Messages that have come, each once. None: too late, or not to be understood; a request gets no answer then.
    pub fn take(&mut self) -> Result<Vec<(Asked, Option<Message>)>> {
        let here = self.askers.iter().filter(|(_, asker)| asker.is_here);
        let (ids, lasts) = here.map(|(id, asker)| (*id, asker.last)).unzip();
        let rows = self.line.query(TAKE, vec![Value::Int(self.epoch), Value::Ids(ids), Value::Ints(lasts)])?;
        let mut messages = Vec::with_capacity(rows.len());
        for row in &rows {
            let (node, number, is_late): (Uuid, i64, bool) = (row.get(0), row.get(1), row.get(3));
            let Some(asker) = self.askers.get_mut(&node) else { continue };
            asker.last = asker.last.max(number);
            asker.has_taken = true;
            let opened = asker.seal.open_text(&request_name(node, number), row.get(2));
            let message = opened.and_then(|bytes| Message::decode(&bytes));
            let message =
                message.inspect_err(|error| log::warn!("a request of a server on standby is not executed: {error}"));
            // Whatever it is late for, nobody waits any more but to give it up.
            let is_stale = |message: &Message| is_late && matches!(message, Message::Ask(_));
            messages.push((Asked { node: node.as_u128(), number }, message.ok().filter(|message| !is_stale(message))));
        }
        messages.sort_by_key(|(asked, _)| *asked);
        Ok(messages)
    }

    /// Removes what was taken.
    pub fn remove_taken(&mut self) -> Result<()> {
        let taken = self.askers.iter().filter(|(_, asker)| asker.has_taken);
        let (ids, lasts): (Vec<Uuid>, Vec<i64>) = taken.map(|(id, asker)| (*id, asker.last)).unzip();
        if !ids.is_empty() {
            self.line.query(TAKEN, vec![Value::Ids(ids), Value::Ints(lasts)])?;
            self.askers.values_mut().for_each(|asker| asker.has_taken = false);
        }
        Ok(())
    }

    /// Sends parts of answers, each with its place in its answer. After an error the same may be sent again.
    pub fn send(&mut self, parts: &[(Asked, i64, AnswerPart)]) -> Result<()> {
        let (mut nodes, mut numbers, mut places, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (asked, place, part) in parts {
            let node = Uuid::from_u128(asked.node);
            // One that is forgotten waits for nothing.
            let Some(asker) = self.askers.get(&node) else { continue };
            rows.push(asker.seal.seal_text(&answer_name(node, asked.number, *place), part.encode()?)?);
            nodes.push(node);
            numbers.push(asked.number);
            places.push(*place);
        }
        let values = vec![Value::Ids(nodes), Value::Ints(numbers), Value::Ints(places), Value::Rows(rows)];
        self.line.query(ANSWER, values)?;
        Ok(())
    }

    /// Removes what nobody has fetched, and requests of servers that have gone or to those that were active before.
    pub fn forget(&mut self) -> Result<()> {
        self.line.query(FORGET_ANSWERS, Vec::new())?;
        self.line.query(FORGET_REQUESTS, vec![Value::Int(self.epoch)])?;
        Ok(())
    }
}

fn request_name(node: Uuid, number: i64) -> String {
    format!("request {node} {number}")
}

fn answer_name(node: Uuid, number: i64, part: i64) -> String {
    format!("answer {node} {number} {part}")
}
