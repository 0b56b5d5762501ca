//! What a receiver does for one request, from the dice, and what the delivery has to be told of it.

use tempclock_webhooks::domain::delivery::attempt::{Attempt, Response};
use tempclock_webhooks::domain::delivery::outcome::Outcome;

use super::dice::Dice;

/// The header that says whose answer it is.
const OWNER: &str = "x-owner";
const NOBODY: &str = "nobody";

/// All that is done for one request.
pub struct Plan {
    /// Which request.
    pub number: u64,
    /// Sent when the request has come.
    pub answer: Vec<u8>,
    /// Sent in one go with it.
    pub behind: Vec<u8>,
    /// The connection is ended behind that.
    pub ends: bool,
    /// Done when the delivery has ended, before the next begins.
    pub later: Later,
    /// Sent before the request has come, if it comes on a new connection over TLS.
    pub early: Vec<u8>,
    /// What is true of the delivery if its request came.
    truth: Truth,
    /// The connection may carry the next request.
    pub may_be_kept: bool,
    /// It has to.
    pub must_be_kept: bool,
}

/// What is done on a connection that nobody uses.
pub enum Later {
    Nothing,
    Send(Vec<u8>),
    /// Sends all but the end of what becomes of these bytes over TLS.
    SendTorn(Vec<u8>),
    RenewKeys,
    End,
}

#[derive(Clone, Copy, Debug)]
enum Truth {
    /// A whole answer.
    Answered(u16),
    /// One whose body has no end.
    Cut(u16),
    /// No whole head of an answer.
    Unanswered,
    /// An answer with a status that is no success, and a fault anywhere behind it.
    Damaged,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunks,
    UntilEnd,
    Nothing,
}

/// An answer as it goes over the wire.
struct Answer {
    bytes: Vec<u8>,
    framing: Framing,
    /// Where its body begins, and from where on it counts as whole.
    body_at: usize,
    whole_at: usize,
    closes: bool,
}

/// What may come before an answer.
const INTERIMS: [&[u8]; 4] = [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\nDate: Mon, 02 Mar 2026 07:58:00 GMT\r\nServer: akka-http\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n",
];
/// Lines of a head that are seldom, or that only curl and its like read.
const ODD_LINES: [&[u8]; 9] = [
    b"X-Folded: a\r\n b\r\n\t c\r\n",
    b"X-Folded-At-Once:\r\n  a\r\n",
    b"X-Empty:\r\n",
    b"X-Latin: caf\xe9\r\n",
    b"X-Spaced : a\r\n",
    b"X Y: a\r\n",
    b"PHP Warning:  Module x is already loaded\r\n",
    b"!#$%&'*+-.^_`|~09: a\r\n",
    b"Keep-Alive: timeout=60\r\n",
];
const SUCCESSES: [u16; 5] = [200, 200, 201, 202, 204];
const FAILURES: [u16; 9] = [500, 500, 503, 400, 404, 429, 302, 304, 410];
/// The client reads no more of a body than 64 KiB, and then uses the connection no more.
const LONG_BODY: usize = 70_000;
const READ_BYTES: usize = 64 * 1024;
/// What is cut off behind the 64 KiB is never missed, so no body is cut from here on.
const CUT_BELOW: usize = 60_000;

impl Plan {
    pub fn draw(dice: &mut Dice, number: u64) -> Self {
        let status = status(dice);
        let owner = number.to_string();
        let mut plan = match dice.below(20) {
            0 | 1 => {
                let whole = answer(dice, &owner, status);
                Self::cut(dice, number, status, &whole)
            }
            2 => {
                let failure = dice.pick(&FAILURES);
                let mut bytes = answer(dice, &owner, failure).bytes;
                damage(dice, &mut bytes);
                Self::new(number, bytes, Truth::Damaged).ending()
            }
            _ => {
                let answer = answer(dice, &owner, status);
                let is_open = answer.framing != Framing::UntilEnd && !answer.closes;
                let is_short = answer.bytes.len() < READ_BYTES;
                let mut plan = Self::new(number, answer.bytes, Truth::Answered(status));
                plan.ends = !is_open;
                plan.may_be_kept = is_open;
                plan.must_be_kept = is_open && is_short;
                plan
            }
        };
        if !plan.ends {
            // Whoever takes it for an answer is wrong.
            let wrong = if (200..300).contains(&status) { 500 } else { 200 };
            plan.add_strays(dice, wrong);
        }
        if dice.one_in(30) {
            plan.early = answer(dice, NOBODY, 200).bytes;
        }
        plan
    }

    fn new(number: u64, answer: Vec<u8>, truth: Truth) -> Self {
        Self {
            number,
            answer,
            behind: Vec::new(),
            ends: false,
            later: Later::Nothing,
            early: Vec::new(),
            truth,
            may_be_kept: false,
            must_be_kept: false,
        }
    }

    fn ending(self) -> Self {
        Self { ends: true, ..self }
    }

    fn cut(dice: &mut Dice, number: u64, status: u16, answer: &Answer) -> Self {
        let has_body = answer.framing != Framing::UntilEnd && answer.whole_at > answer.body_at;
        let (at, truth) = if has_body && dice.one_in(2) {
            (answer.body_at + dice.below((answer.whole_at - answer.body_at).min(CUT_BELOW)), Truth::Cut(status))
        } else {
            (dice.below(answer.body_at), Truth::Unanswered)
        };
        Self::new(number, answer.bytes[..at].to_vec(), truth).ending()
    }

    fn add_strays(&mut self, dice: &mut Dice, wrong: u16) {
        if dice.one_in(8) {
            self.behind = stray(dice, wrong);
        }
        self.later = match dice.below(40) {
            0..=2 => Later::Send(stray(dice, wrong)),
            3 | 4 => Later::SendTorn(stray(dice, wrong)),
            5 | 6 => Later::RenewKeys,
            7 => Later::End,
            _ => Later::Nothing,
        };
        self.may_be_kept &= self.is_quiet();
        self.must_be_kept &= self.is_quiet();
    }

    /// Whether nothing is sent that nobody asked for. An answer that is damaged may end sooner than its bytes.
    pub fn is_quiet(&self) -> bool {
        let is_whole = !matches!(self.truth, Truth::Damaged);
        is_whole && self.behind.is_empty() && matches!(self.later, Later::Nothing | Later::RenewKeys)
    }

    /// How often the request may come: once, unless the connection ended without a byte of an answer.
    pub fn most_requests(&self) -> usize {
        if self.answer.is_empty() { 2 } else { 1 }
    }

    /// Panics unless the delivery was told the truth.
    pub fn check(&self, attempt: &Attempt, requests: usize, has_spoken_first: bool) {
        let Attempt { outcome, response, .. } = attempt;
        let told = format!("request {} came {requests} times, {:?}: {outcome:?}", self.number, self.truth);
        let owner = response.as_ref().and_then(owner);
        assert_ne!(owner, Some(NOBODY), "{told}");
        if requests == 0 {
            assert!(has_spoken_first, "{told}");
            assert!(matches!(outcome, Outcome::BadResponse(text) if text.contains("before the request")), "{told}");
            return;
        }
        assert!(requests <= self.most_requests(), "{told}");
        match self.truth {
            Truth::Answered(status) => {
                assert_eq!(outcome, &Outcome::of_status(status), "{told}");
                assert_eq!(owner, Some(self.number.to_string().as_str()), "{told}");
            }
            Truth::Cut(status @ 200..=299) => {
                assert!(matches!(outcome, Outcome::Incomplete(told, _) if *told == status), "{told}");
            }
            Truth::Cut(status) => assert_eq!(outcome, &Outcome::of_status(status), "{told}"),
            Truth::Unanswered => assert_eq!(outcome.response_code(), None, "{told}"),
            Truth::Damaged => assert!(!outcome.is_delivered(), "{told}"),
        }
    }

    /// A delivery that is told a success although there was none.
    pub fn is_false_success(&self, outcome: &Outcome, requests: usize) -> bool {
        let is_success = requests > 0 && matches!(self.truth, Truth::Answered(200..=299));
        outcome.is_delivered() && !is_success
    }
}

fn owner(response: &Response) -> Option<&str> {
    response.headers.iter().find(|(name, _)| name == OWNER).map(|(_, value)| value.as_str())
}

fn status(dice: &mut Dice) -> u16 {
    if dice.one_in(2) { dice.pick(&SUCCESSES) } else { dice.pick(&FAILURES) }
}

/// What nobody asked for.
fn stray(dice: &mut Dice, wrong: u16) -> Vec<u8> {
    match dice.below(8) {
        0 => b"\r\n".to_vec(),
        1 => b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n".to_vec(),
        2 => (0..=dice.below(9_000)).map(|_| dice.next().to_le_bytes()[0]).collect(),
        3 => format!("<html>{}</html>", "x".repeat(dice.below(9_000))).into_bytes(),
        4 => {
            let whole = answer(dice, NOBODY, wrong).bytes;
            whole[..=dice.below(whole.len())].to_vec()
        }
        5 => {
            let (first, second) = (answer(dice, NOBODY, wrong).bytes, answer(dice, NOBODY, wrong).bytes);
            [first, second].concat()
        }
        _ => answer(dice, NOBODY, wrong).bytes,
    }
}

fn answer(dice: &mut Dice, owner: &str, status: u16) -> Answer {
    let is_bare = matches!(status, 204 | 304);
    let framing = match dice.below(10) {
        _ if is_bare => Framing::Nothing,
        0 => Framing::UntilEnd,
        1..=4 => Framing::Chunks,
        _ => Framing::Length,
    };
    let body = match dice.below(20) {
        0 => 0,
        1..=3 => dice.below(6_000),
        // What nobody reads has to fit into the kernel's buffers.
        4 if owner != NOBODY => dice.below(20_000),
        5 if owner != NOBODY && dice.one_in(10) => LONG_BODY,
        _ => dice.below(200),
    };
    let closes = dice.one_in(20);
    let mut bytes = Vec::new();
    for _ in 0..if dice.one_in(8) { 1 + dice.below(3) } else { 0 } {
        bytes.extend_from_slice(dice.pick(&INTERIMS));
    }
    let reason = dice.pick(&[" Words", " ", "", " \u{e9}"]);
    bytes.extend_from_slice(format!("HTTP/1.1 {status}{reason}\r\n{OWNER}: {owner}\r\n").as_bytes());
    for _ in 0..dice.below(3) {
        bytes.extend_from_slice(dice.pick(&ODD_LINES));
    }
    if dice.one_in(3) {
        bytes.extend_from_slice(format!("Server: {}\r\n", "s".repeat(dice.below(900))).as_bytes());
    }
    if closes {
        bytes.extend_from_slice(b"Connection: close\r\n");
    }
    let whole_at = match framing {
        Framing::Length => {
            let odd = dice.pick(&["", " ", "0", ""]);
            let line = match odd {
                "0" => format!("Content-Length: 00{body}\r\nContent-length: {body}, {body}\r\n\r\n"),
                space => format!("Content-Length{space}: {body}\r\n\r\n"),
            };
            bytes.extend_from_slice(line.as_bytes());
            let body_at = bytes.len();
            bytes.resize(body_at + body, b'.');
            return Answer { whole_at: bytes.len(), bytes, framing, body_at, closes };
        }
        Framing::Chunks => {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            let body_at = bytes.len();
            let mut left = body;
            // What nobody reads has to fit into the kernel's buffers.
            let mut longest = if owner == NOBODY { 40 } else { 15_000 };
            while left > 0 {
                let chunk = 1 + dice.below(left.min(5_000));
                let extension = match dice.below(10) {
                    0 => " ; a=b".to_owned(),
                    1 => format!(";a=\"{}\"", "b".repeat(dice.below(longest))),
                    _ => String::new(),
                };
                longest = 40;
                bytes.extend_from_slice(format!("{chunk:x}{extension}\r\n").as_bytes());
                bytes.resize(bytes.len() + chunk, b'.');
                bytes.extend_from_slice(b"\r\n");
                left -= chunk;
            }
            // Without the end of this line the body is not over, and with it only the empty line may be missing.
            let whole_at = bytes.len();
            bytes.extend_from_slice(b"0\r\n");
            if dice.one_in(5) {
                bytes.extend_from_slice(b"X-Trailer: t\r\n");
            }
            bytes.extend_from_slice(b"\r\n");
            return Answer { bytes, framing, body_at, whole_at, closes };
        }
        Framing::UntilEnd | Framing::Nothing => {
            bytes.extend_from_slice(b"\r\n");
            bytes.len()
        }
    };
    if framing == Framing::UntilEnd {
        bytes.resize(bytes.len() + body, b'.');
    }
    Answer { bytes, framing, body_at: whole_at, whole_at, closes }
}

/// Changes some bytes behind the status.
fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let from = bytes.windows(OWNER.len()).position(|part| part == OWNER.as_bytes()).unwrap();
    for _ in 0..=dice.below(4) {
        let at = from + dice.below(bytes.len() - from);
        match dice.below(3) {
            0 => bytes[at] = dice.next().to_le_bytes()[0],
            1 => bytes.insert(at, dice.next().to_le_bytes()[0]),
            _ => drop(bytes.remove(at)),
        }
    }
}
