//! Reads answers in HTTP/1.1 as they come ([`incoming`]): [`head`] up to the empty line, [`body`] behind it. Pure; runs on
//! delivery threads, [`stray`] also on the `connections` thread.

pub(in crate::delivery) mod body;
pub(in crate::delivery) mod error;
mod fault;
pub(in crate::delivery) mod head;
pub(in crate::delivery) mod incoming;
pub(in crate::delivery) mod stray;
