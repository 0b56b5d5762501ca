//! The thread of a server on standby that passes requests on and fetches answers. It keeps, for each request, how much of its
//! answer may come before its caller has taken more, so that slow callers fill no memory. It never waits for a caller.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::mpsc::Sender;

use crate::storage::Asking;
use crate::storage::error::StorageError;
use crate::storage::relay::{After, AnswerPart, Message, Question, WINDOW};

/// How often answers are asked for while they come, and while some are awaited.
const BUSY: Duration = Duration::from_millis(2);
const QUIET: Duration = Duration::from_millis(20);
/// For how long after a request or a part of an answer the next one is asked for often.
const BUSY_FOR: Duration = Duration::from_millis(200);
/// How often it is looked at otherwise whether there is something to do.
const IDLE: Duration = Duration::from_secs(1);
/// After a fault of the database.
const PAUSE: Duration = Duration::from_millis(200);
/// How long each part of an answer may take: longer than a test ping, or a wait for an event of a feed.
const ANSWER: Duration = Duration::from_mins(3);
/// Further parts of all answers together that may be on their way to callers: 64 MiB.
const PARTS_AT_ONCE: u32 = 1024;
/// After about so many bytes what waits is sent.
const SENT_BYTES: usize = 4 * 1024 * 1024;
const SENT_AT_ONCE: usize = 64;

/// What handlers pass to the thread.
pub enum Work {
    /// Pass it on.
    Ask(Box<Question>, Sender<Came>),
    /// A server is active since that epoch, and the one before answers nothing more.
    TakenOver(i64),
    /// End.
    Stop,
}

/// What comes of a request. Where nothing more comes, what became of it is not known.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    /// The next part of the answer.
    Part(AnswerPart),
    /// It was not passed on.
    NotSent,
}

/// Runs until it is told to stop.
pub fn run(mut asking: Asking, waiting: &Receiver<Work>) {
    let mut awaited = Awaited::new();
    loop {
        let first = waiting.recv_timeout(awaited.pace(Instant::now()));
        let mut works = match first {
            Ok(first) => vec![first],
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        works.extend(waiting.try_iter().take(SENT_AT_ONCE));
        // First, so that what a caller repeats is not executed before what it repeats.
        let mut messages = awaited.give_up(Instant::now());
        messages.extend(awaited.make_room());
        for work in works {
            match work {
                Work::Ask(question, caller) => messages.push(awaited.begin(question, caller)),
                Work::TakenOver(epoch) => awaited.end_before(epoch),
                Work::Stop => return,
            }
        }
        if let Err(error) = awaited.exchange(&mut asking, &messages) {
            log::warn!("requests could not be passed on: {error}");
            // Whether they arrived is not known, and their callers may repeat them.
            awaited.abandon_all();
            std::thread::sleep(PAUSE);
        }
    }
}

/// A request whose answer is awaited.
struct Caller {
    parts: Sender<Came>,
    /// The epoch of the server that was asked, once it is.
    epoch: Option<i64>,
    /// The place of the part that comes next.
    next: i64,
    /// How many parts may come.
    window: u32,
    /// When the last one came.
    last: Instant,
}

/// Requests whose answers are awaited, by their numbers.
struct Awaited {
    next: i64,
    callers: BTreeMap<i64, Caller>,
    /// Those that nobody waits for any more, which is still to be said.
    abandoned: Vec<i64>,
    busy_until: Instant,
}

impl Awaited {
    fn new() -> Self {
        Self { next: 1, callers: BTreeMap::new(), abandoned: Vec::new(), busy_until: Instant::now() }
    }

    fn pace(&self, now: Instant) -> Duration {
        match self.callers.is_empty() {
            true => IDLE,
            false if now < self.busy_until => BUSY,
            false => QUIET,
        }
    }

    fn number(&mut self) -> i64 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn begin(&mut self, question: Box<Question>, parts: Sender<Came>) -> (i64, Message) {
        let (number, now) = (self.number(), Instant::now());
        self.busy_until = now + BUSY_FOR;
        self.callers.insert(number, Caller { parts, epoch: None, next: 0, window: 1, last: now });
        (number, Message::Ask(question))
    }

    /// What the servers before that epoch were asked gets no answer.
    fn end_before(&mut self, epoch: i64) {
        self.callers.retain(|_, caller| caller.epoch.is_none_or(|asked| asked >= epoch));
    }

    /// Of those whose callers have gone, or whose answers do not come.
    fn give_up(&mut self, now: Instant) -> Vec<(i64, Message)> {
        let is_over = |caller: &Caller| {
            let is_stuck = caller.window > 0 && now.saturating_duration_since(caller.last) > ANSWER;
            caller.parts.is_closed() || is_stuck
        };
        let over: Vec<i64> =
            self.callers.iter().filter(|(_, caller)| is_over(caller)).map(|(number, _)| *number).collect();
        for number in over {
            self.abandon(number);
        }
        let abandoned = std::mem::take(&mut self.abandoned);
        abandoned.into_iter().map(|number| (self.number(), Message::GiveUp(number))).collect()
    }

    fn abandon(&mut self, number: i64) {
        if self.callers.remove(&number).is_some() {
            self.abandoned.push(number);
        }
    }

    /// After an error: what became of them is not known.
    fn abandon_all(&mut self) {
        self.abandoned.extend(std::mem::take(&mut self.callers).into_keys());
    }

    /// Says which callers have taken so much that more may come.
    fn make_room(&mut self) -> Vec<(i64, Message)> {
        // The first part alone may come to everybody.
        let begun = || self.callers.values().filter(|caller| caller.next > 0);
        let queued = |caller: &Caller| WINDOW.saturating_sub(u32::try_from(caller.parts.capacity()).unwrap_or(WINDOW));
        let mut left = PARTS_AT_ONCE.saturating_sub(begun().map(|caller| caller.window + queued(caller)).sum());
        let mut room = Vec::new();
        for (number, caller) in self.callers.iter_mut().filter(|(_, caller)| caller.next > 0) {
            let parts = WINDOW.saturating_sub(caller.window + queued(caller)).min(left);
            if parts >= WINDOW / 2 {
                caller.window += parts;
                left -= parts;
                caller.last = Instant::now();
                room.push((*number, parts));
            }
        }
        room.into_iter().map(|(number, parts)| (self.number(), Message::Room { number, parts })).collect()
    }

    fn exchange(&mut self, asking: &mut Asking, messages: &[(i64, Message)]) -> Result<(), StorageError> {
        for some in in_portions(messages) {
            let epoch = asking.send(some)?;
            for (number, _) in some {
                self.sent(*number, epoch);
            }
        }
        let Some(oldest) = self.callers.keys().next().copied() else { return Ok(()) };
        for (number, place, part) in asking.take(oldest)? {
            self.came(number, place, part);
        }
        Ok(())
    }

    /// A message was sent to the server of that epoch, or there was none.
    fn sent(&mut self, number: i64, epoch: Option<i64>) {
        if epoch.is_some() {
            self.callers.get_mut(&number).into_iter().for_each(|caller| caller.epoch = epoch);
        } else if let Some(caller) = self.callers.remove(&number) {
            drop(caller.parts.try_send(Came::NotSent));
        }
    }

    fn came(&mut self, number: i64, place: i64, part: AnswerPart) {
        let now = Instant::now();
        self.busy_until = now + BUSY_FOR;
        let Some(caller) = self.callers.get_mut(&number) else { return };
        // What was sent again after an error.
        if place < caller.next {
            return;
        }
        let (is_next, after) = (place == caller.next && caller.window > 0, part.after);
        (caller.next, caller.last) = (place + 1, now);
        caller.window = caller.window.saturating_sub(1);
        if !is_next || caller.parts.try_send(Came::Part(part)).is_err() {
            self.abandon(number);
        } else if after != After::More {
            self.callers.remove(&number);
        }
    }
}

/// Divides messages so that none of the portions is long, unless one message is.
fn in_portions(messages: &[(i64, Message)]) -> Vec<&[(i64, Message)]> {
    let size = |message: &Message| if let Message::Ask(question) = message { question.body.len() } else { 0 };
    let (mut portions, mut begun, mut bytes) = (Vec::new(), 0, 0);
    for (index, (_, message)) in messages.iter().enumerate() {
        if bytes > 0 && bytes + size(message) > SENT_BYTES {
            portions.extend(messages.get(begun..index));
            (begun, bytes) = (index, 0);
        }
        bytes += size(message);
    }
    portions.extend(messages.get(begun..).filter(|rest| !rest.is_empty()));
    portions
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{self, channel};

    use super::*;

    fn asks(body_bytes: usize) -> Message {
        let body = vec![0; body_bytes];
        let (method, target) = ("POST".to_owned(), "/".to_owned());
        Message::Ask(Box::new(Question { method, target, headers: Vec::new(), source: None, is_operator: false, body }))
    }

    #[test]
    fn what_waits_is_sent_in_portions_that_are_not_long_unless_one_message_is() {
        let messages: Vec<_> = [1, SENT_BYTES / 2, SENT_BYTES / 2, 2 * SENT_BYTES, 1, 0]
            .into_iter()
            .zip(1..)
            .map(|(bytes, number)| (number, asks(bytes)))
            .chain([(7, Message::GiveUp(1))])
            .collect();
        let portions = in_portions(&messages);
        let numbers: Vec<Vec<i64>> =
            portions.iter().map(|some| some.iter().map(|(number, _)| *number).collect()).collect();
        assert_eq!(numbers, [vec![1, 2], vec![3], vec![4], vec![5, 6, 7]]);
        assert!(in_portions(&[]).is_empty());
    }

    /// A request that was sent in epoch 1.
    fn awaited() -> (Awaited, i64, mpsc::Receiver<Came>) {
        let mut awaited = Awaited::new();
        let (number, parts) = more(&mut awaited);
        (awaited, number, parts)
    }

    fn more(awaited: &mut Awaited) -> (i64, mpsc::Receiver<Came>) {
        let (sender, parts) = channel(WINDOW as usize);
        let Message::Ask(question) = asks(0) else { unreachable!() };
        let (number, _) = awaited.begin(question, sender);
        awaited.sent(number, Some(1));
        (number, parts)
    }

    fn part(after: After) -> AnswerPart {
        AnswerPart { head: None, body: vec![1], after }
    }

    fn room(awaited: &mut Awaited) -> Vec<(i64, u32)> {
        let said = awaited.make_room();
        let room = said.into_iter().filter_map(|(_, message)| match message {
            Message::Room { number, parts } => Some((number, parts)),
            _ => None,
        });
        room.collect()
    }

    #[test]
    fn a_caller_that_takes_nothing_gets_one_part_and_a_window_and_no_more() {
        let (mut awaited, number, mut parts) = awaited();
        assert_eq!(room(&mut awaited), []);
        awaited.came(number, 0, part(After::More));
        assert_eq!(room(&mut awaited), [(number, WINDOW - 1)]);
        for place in 1..i64::from(WINDOW) {
            awaited.came(number, place, part(After::More));
            assert_eq!(room(&mut awaited), []);
        }
        for _ in 0..WINDOW {
            assert_eq!(parts.try_recv(), Ok(Came::Part(part(After::More))));
        }
        assert_eq!(room(&mut awaited), [(number, WINDOW)]);
        assert_eq!(awaited.give_up(Instant::now() + 2 * ANSWER), [(4, Message::GiveUp(number))]);
    }

    #[test]
    fn all_callers_together_get_no_more_than_there_is_memory_for() {
        let mut awaited = Awaited::new();
        let callers: Vec<_> = (0..PARTS_AT_ONCE).map(|_| more(&mut awaited)).collect();
        for (number, _) in &callers {
            awaited.came(*number, 0, part(After::More));
        }
        // Each has a part that it has not taken.
        assert_eq!(room(&mut awaited), []);
        drop(callers);
        assert_eq!(awaited.give_up(Instant::now()).len(), PARTS_AT_ONCE as usize);
        let (number, _parts) = more(&mut awaited);
        awaited.came(number, 0, part(After::More));
        assert_eq!(room(&mut awaited), [(number, WINDOW - 1)]);
    }

    #[test]
    fn a_part_that_comes_twice_counts_once_and_one_that_is_missing_ends_the_answer() {
        let (mut awaited, number, mut parts) = awaited();
        awaited.came(number, 0, part(After::More));
        awaited.came(number, 0, part(After::More));
        room(&mut awaited);
        awaited.came(number, 2, part(After::End));
        assert_eq!(parts.try_recv(), Ok(Came::Part(part(After::More))));
        assert_eq!(parts.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        assert!(matches!(awaited.give_up(Instant::now())[..], [(_, Message::GiveUp(given_up))] if given_up == number));
    }

    #[test]
    fn who_was_asked_before_another_one_took_over_answers_nobody() {
        let (mut awaited, number, mut parts) = awaited();
        let (second, mut second_parts) = more(&mut awaited);
        awaited.sent(second, Some(2));
        awaited.end_before(2);
        assert_eq!(parts.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        awaited.came(number, 0, part(After::End));
        awaited.came(second, 0, part(After::End));
        assert_eq!(second_parts.try_recv(), Ok(Came::Part(part(After::End))));
        let (third, mut third_parts) = more(&mut awaited);
        awaited.sent(third, None);
        assert_eq!(third_parts.try_recv(), Ok(Came::NotSent));
    }

    #[test]
    fn after_an_error_what_nobody_waits_for_is_given_up_before_anything_else_is_asked() {
        let (mut awaited, number, _parts) = awaited();
        awaited.abandon_all();
        assert_eq!(awaited.give_up(Instant::now()), [(2, Message::GiveUp(number))]);
        assert_eq!(awaited.give_up(Instant::now()), []);
    }
}
