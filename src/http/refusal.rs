//! Gives the errors that the HTTP library answers by itself the headers and the body that every error has. Runs on the
//! HTTP workers.

use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};

use super::error::ApiError;
use super::middleware::{REQUEST_ID, new_id};
use super::respond::JSON;

const NO_BODY: &str = "content-length: 0\r\n";
const CLOSE: &str = "connection: close\r\n";

/// The library's answer made complete; none if it is not one that it gives to what is no request.
pub fn complete(answer: &[u8]) -> Option<Vec<u8>> {
    let (status_line, headers) = std::str::from_utf8(answer).ok()?.split_once("\r\n")?;
    let error = match status_line.split(' ').nth(1)? {
        "400" => ApiError::bad_request("this is no HTTP request that is understood here"),
        "408" => ApiError::request_timeout(),
        "431" => ApiError::head_too_large(),
        _ => return None,
    };
    let others = headers.strip_suffix("\r\n")?.replacen(CLOSE, "", 1);
    let (before, after) = others.split_once(NO_BODY)?;
    let id = new_id();
    let body = serde_json::to_string(&error.body(&id)).ok()?;
    let length = body.len();
    Some(
        format!(
            "{status_line}\r\n{before}content-length: {length}\r\n{CLOSE}content-type: {JSON}\r\n{CACHE_CONTROL}: no-store\r\n\
             {X_CONTENT_TYPE_OPTIONS}: nosniff\r\n{REQUEST_ID}: {id}\r\n{after}\r\n{body}"
        )
        .into_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_errors_without_a_body_are_completed() {
        let refusal = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\ndate: now\r\n\r\n";
        let completed = String::from_utf8(complete(refusal.as_bytes()).unwrap()).unwrap();
        let (head, body) = completed.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n") && head.ends_with("date: now"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert_eq!(head.matches("connection: close").count(), 1);
        for other in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
        ] {
            assert_eq!(complete(other.as_bytes()), None, "{other}");
        }
    }
}
