//! What makes up for actix-http 3.20: each file here names the fault that it is for, and goes when a version that is free
//! of it is in use. Runs on the HTTP workers; nothing here knows what a request means.
//!
//! | File | Fault of actix-http 3.20 |
//! |---|---|
//! | `connection`, `framing` | Version and keep-alive of a response come from the latest parsed request; requests that were pipelined behind `Connection: close` are executed. |
//! | `guarded_stream` | It reads on while responses wait to be sent; only the first head of a connection has a time limit; closing with unread input resets the connection. |
//! | `piecewise_body` | A body that comes in one piece is copied whole before any of it is sent. |
//! | `unread_body` | A chunked body that no handler reads is drained without a limit. |
//! | `first_byte` | A connection has two buffers of 8 KiB before anything has come. |
//! | `few_headers` | The headers of a request take 7 KB until it is answered. |
//! | `connection_limit` | Connections are limited in all, not by source. |

mod connection;
mod connection_limit;
mod few_headers;
mod first_byte;
mod framing;
mod guarded_body;
mod guarded_stream;
mod listener;
mod piecewise_body;
mod unread_body;

pub use self::connection_limit::source_of;
pub use self::few_headers::shrink_headers;
pub use self::listener::{ServerSettings, serve};
pub use self::piecewise_body::{PIECE_BYTES, PiecewiseBody};
pub use self::unread_body::{keep, keep_unread};
