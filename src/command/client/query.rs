//! What commands put into the path and the query of a request. Pure; runs on the main thread.

use crate::cli::Point;
use crate::clock::Clock;

/// A point in time as the API reads it.
pub fn time_parameter(point: Point) -> String {
    point.seen_from(Clock::start().wall())
}

/// Percent-encodes a path segment.
pub fn path_part(text: &str) -> String {
    text.bytes().fold(String::new(), |path, byte| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' => path + &char::from(byte).to_string(),
        _ => path + &format!("%{byte:02X}"),
    })
}
