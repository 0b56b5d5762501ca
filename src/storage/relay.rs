//! What servers over one database hand to each other: a request that one on standby has taken, and the answer of the active
//! one, in parts. Types and their encoding; pure.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::storage::error::StorageError;
use crate::storage::rows::codec;

const VERSION: u8 = 1;
/// Maximum bytes of the body in the first part of an answer.
pub const FIRST_PART_BYTES: usize = 32 * 1024;
/// The same in each further one.
pub const PART_BYTES: usize = 64 * 1024;
/// How many parts of an answer may be on their way to a caller who has not taken them yet.
pub const WINDOW: u32 = 4;

/// Which request: the server that took it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asked {
    /// The server that took it.
    pub node: u128,
    /// Greater than those before.
    pub number: i64,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// All headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Where it came from.
    pub source: Option<SocketAddr>,
    /// It came over the control socket.
    pub is_operator: bool,
    /// The whole body.
    pub body: Vec<u8>,
}

/// What a server on standby says. Each has a number of its own, in its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Answer it.
    Ask(Box<Question>),
    /// There is room for so many further parts of the answer to the request of that number.
    Room {
        /// Which request.
        number: i64,
        /// How many parts.
        parts: u32,
    },
    /// Nobody waits any more for the answer to the request of that number.
    GiveUp(i64),
}

/// How an answer begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerHead {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The length of the body, if it is known.
    pub length: Option<u64>,
}

/// A part of an answer; the first one has a head. The first one is sent at once, each further one when there is room for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerPart {
    /// How it begins.
    pub head: Option<AnswerHead>,
    /// The next bytes of the body.
    pub body: Vec<u8>,
    /// What follows.
    pub after: After,
}

/// What follows a part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum After {
    /// Another part.
    More,
    /// Nothing: it is whole.
    End,
    /// Nothing, although it is not whole.
    CutOff,
}

impl Message {
    pub(in crate::storage) fn encode(&self) -> Result<Vec<u8>, StorageError> {
        codec::encode(VERSION, self)
    }

    pub(in crate::storage) fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        codec::decode(VERSION, bytes)
    }
}

impl AnswerPart {
    /// What is said of a request that gets no answer.
    pub const NONE: Self = Self { head: None, body: Vec::new(), after: After::CutOff };

    pub(in crate::storage) fn encode(&self) -> Result<Vec<u8>, StorageError> {
        codec::encode(VERSION, self)
    }

    pub(in crate::storage) fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        codec::decode(VERSION, bytes)
    }
}
