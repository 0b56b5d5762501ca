//! The text of a request's body: UTF-8 as it is sent. What else it is, is said. Runs on the HTTP workers.

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_ENCODING;

use crate::http::request::error::ApiError;

/// The compression that the request declares, if any.
pub fn encoding(request: &HttpRequest) -> Option<String> {
    let declared = request.headers().get(CONTENT_ENCODING)?;
    let declared = String::from_utf8_lossy(declared.as_bytes()).trim().to_owned();
    (!declared.is_empty() && !declared.eq_ignore_ascii_case("identity")).then_some(declared)
}

/// The text, if it is UTF-8.
pub fn decode(bytes: Vec<u8>) -> Result<String, ApiError> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        match error.as_bytes() {
            [0x1f, 0x8b, ..] => ApiError::compressed("gzip"),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
                ApiError::invalid_json("the body is UTF-16, not UTF-8: encode it as UTF-8, without a byte order mark")
            }
            bytes => ApiError::invalid_json(format!(
                "the body is not UTF-8: byte {} is 0x{:02X}, as in Latin-1 or Windows-1252; encode it as UTF-8",
                at + 1,
                bytes.get(at).copied().unwrap_or_default()
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_no_utf_8_is_told_what_it_is() {
        assert_eq!(decode("Zoë".into()).unwrap(), "Zoë");
        for (bytes, words) in [
            (&b"{\"a\":\"Zo\xeb\"}"[..], "byte 9 is 0xEB, as in Latin-1"),
            (b"\x1f\x8b\x08", "compressed (gzip)"),
            (b"\xff\xfe{\0}\0", "UTF-16"),
        ] {
            let message = decode(bytes.to_vec()).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
