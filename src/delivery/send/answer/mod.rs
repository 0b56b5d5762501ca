//! Reads answers in HTTP/1.1: [`head`] up to the empty line, [`body`] behind it. Pure; runs on delivery threads.

pub(in crate::delivery) mod body;
pub(in crate::delivery) mod error;
pub(in crate::delivery) mod head;
