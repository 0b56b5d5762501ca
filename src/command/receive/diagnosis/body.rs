//! Changes that a body undergoes between the wire and the verification, and how to undo them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;

use crate::command::receive::diagnosis::json::{self, Escapes, Layout, Order, Style};
use crate::command::receive::diagnosis::verdict::Cause;
use crate::domain::options::names::Names;

/// A change of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A newline was added, or spaces.
    NewlineAdded,
    /// This text at the end was removed.
    EndCutOff(&'static str),
    /// LF became CRLF.
    CrlfMade,
    /// CRLF became LF.
    CrlfLost,
    /// Both, at the last line: LF became CRLF and a newline was added.
    CrlfMadeAndNewlineAdded,
    /// A byte order mark was added.
    BomAdded,
    /// A byte order mark was removed.
    BomLost,
    /// UTF-8 became Latin-1.
    Latin1Made,
    /// UTF-8 was read as Latin-1 and encoded again.
    EncodedTwice,
    /// UTF-8 became UTF-16.
    Utf16Made,
    /// It was base64-encoded.
    Base64Made,
    /// It was encoded as a JSON string.
    JsonStringMade,
    /// The payload was taken out of its form.
    FormDecoded,
    /// The form was parsed and encoded again.
    FormReencoded,
    /// The signature is that of an empty body.
    NotRead,
    /// The JSON was parsed and serialised again; its original style.
    JsonReserialized(Style),
}

/// All changes but the rewriting of JSON, likeliest first.
pub const CHANGES: [Change; 16] = [
    Change::NewlineAdded,
    Change::EndCutOff("\n"),
    Change::EndCutOff("\r\n"),
    Change::CrlfMade,
    Change::CrlfLost,
    Change::CrlfMadeAndNewlineAdded,
    Change::BomAdded,
    Change::BomLost,
    Change::Latin1Made,
    Change::EncodedTwice,
    Change::Utf16Made,
    Change::Base64Made,
    Change::JsonStringMade,
    Change::FormDecoded,
    Change::FormReencoded,
    Change::NotRead,
];

/// The likely original styles of the JSON, likeliest first; for a large body only a few, since each takes time.
pub fn json_changes(is_large: bool) -> Vec<Change> {
    if is_large {
        let style = |layout| Style { layout, escapes: Escapes::AsIs, order: Order::AsIs };
        return Layout::ALL.into_iter().map(|layout| Change::JsonReserialized(style(layout))).collect();
    }
    let mut changes = Vec::new();
    for order in [Order::AsIs, Order::Published, Order::Sorted] {
        for layout in Layout::ALL {
            for escapes in [Escapes::AsIs, Escapes::None, Escapes::Ascii, Escapes::AsciiAndSlash] {
                changes.push(Change::JsonReserialized(Style { layout, escapes, order }));
            }
        }
    }
    changes
}

const BOM: &[u8] = b"\xef\xbb\xbf";

impl Change {
    /// The body before the change; `None` if the change is impossible.
    pub fn undo(self, body: &[u8]) -> Option<(Vec<u8>, Cause)> {
        let before = self.before(body)?;
        (before != body).then(|| (before, self.cause()))
    }

    fn before(self, body: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::NewlineAdded => Some(body.trim_ascii().to_vec()),
            Self::EndCutOff(end) => Some([body, end.as_bytes()].concat()),
            Self::CrlfMade => Some(with_lf(body)),
            Self::CrlfLost => Some(with_crlf(body)),
            Self::CrlfMadeAndNewlineAdded => Some(with_lf(body).trim_ascii_end().to_vec()),
            Self::BomAdded => body.strip_prefix(BOM).map(<[u8]>::to_vec),
            Self::BomLost => Some([BOM, body].concat()),
            Self::Latin1Made if std::str::from_utf8(body).is_err() => {
                Some(body.iter().copied().map(char::from).collect::<String>().into_bytes())
            }
            Self::Latin1Made => None,
            Self::EncodedTwice => {
                let text = std::str::from_utf8(body).ok()?;
                text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
            }
            Self::Utf16Made => from_utf16(body),
            Self::Base64Made => STANDARD.decode(body.trim_ascii()).ok(),
            Self::JsonStringMade => serde_json::from_slice::<String>(body).ok().map(String::into_bytes),
            Self::FormDecoded => Some(form(str::from_utf8(body).ok()?)),
            Self::FormReencoded => payload(body).map(|payload| form(&payload)),
            Self::NotRead => Some(Vec::new()),
            Self::JsonReserialized(style) => json::rewrite(std::str::from_utf8(body).ok()?, style),
        }
    }

    fn cause(self) -> Cause {
        let raw = "Verify the raw bytes, before anything reads them as text or lines";
        let not_encoded = "Verify the raw bytes, before they are decoded";
        let (code, message, fix) = match self {
            Self::NewlineAdded => (
                "newline_added",
                "the body has a newline or spaces at its ends that were not signed",
                "Pass it on unchanged: curl --data-binary instead of -d, printf instead of echo, no editor that ends files \
                 with a newline",
            ),
            Self::EndCutOff(_) => {
                ("newline_removed", "the newline that was signed at the end of the body is missing", raw)
            }
            Self::CrlfMade => ("crlf_added", "the body's line ends became CR LF after it was signed", raw),
            Self::CrlfLost => {
                ("crlf_removed", "the body's line ends were CR LF when it was signed and are LF now", raw)
            }
            Self::CrlfMadeAndNewlineAdded => {
                ("crlf_added", "the body's line ends became CR LF and a newline was added after it was signed", raw)
            }
            Self::BomAdded => ("bom_added", "the body begins with a byte order mark that was not signed", raw),
            Self::BomLost => {
                ("bom_removed", "the byte order mark that was signed at the front of the body is missing", raw)
            }
            Self::Latin1Made => ("encoding_latin1", "the body was converted from UTF-8 to Latin-1", not_encoded),
            Self::EncodedTwice => {
                ("encoding_twice", "the body was read as Latin-1 and encoded as UTF-8 again", not_encoded)
            }
            Self::Utf16Made => ("encoding_utf16", "the body was converted from UTF-8 to UTF-16", not_encoded),
            Self::Base64Made => (
                "body_base64",
                "the body is in base64, as some gateways pass it on",
                "Decode it before you check the signature",
            ),
            Self::JsonStringMade => (
                "body_in_json_string",
                "the body was put into a JSON string",
                "Verify the raw bytes, before they are wrapped",
            ),
            Self::FormDecoded => (
                "form_decoded",
                "the body is the payload of a form; the signed text is the whole form, including payload=",
                "Verify the raw body, before the form is parsed",
            ),
            Self::FormReencoded => (
                "form_reencoded",
                "the form was parsed and re-encoded, with different escapes than the signed form",
                "Verify the raw body, before the form is parsed",
            ),
            Self::NotRead => (
                "body_not_read",
                "the signature is that of an empty body",
                "The signer got no data: something had read the request's body before. Keep the raw body and sign that",
            ),
            Self::JsonReserialized(style) => {
                return Cause::new(
                    "json_reserialized",
                    format!("the body was parsed and serialized again; the signed text is {style}"),
                    "Verify the raw body, before it is parsed: serialized JSON may have other bytes",
                );
            }
        };
        Cause::new(code, message, fix)
    }
}

/// The oddity of a body that this server cannot have sent.
pub fn oddity(body: &[u8], names: &Names) -> Option<Cause> {
    if body.is_empty() {
        return Some(Cause::new(
            "body_empty",
            "the body is empty",
            "Something has already read it; keep the raw body of the request",
        ));
    }
    let is_ours = payload(body).is_some_and(|payload| has_keys(payload.as_bytes(), &names.envelope))
        || has_keys(body, &names.envelope)
        || has_keys(body, &["specversion", "id", "source", "type"])
        || has_keys(body, &["id", "events"])
        || has_keys(body, &["data", "pagination"]);
    (!is_ours).then(|| {
        let [id, event, timestamp, data] = &names.envelope;
        Cause::new(
            "body_foreign",
            format!(
                "the body is not one that this server sends: JSON with {id}, {event}, {timestamp} and {data}, that JSON as the payload of a form, CloudEvents, a batch or a page of a feed"
            ),
            "Verify the whole body of the request, not a part of it; if the subscription has other names of keys, pass them with --names",
        )
    })
}

fn has_keys(body: &[u8], keys: &[impl AsRef<str>]) -> bool {
    let body = serde_json::from_slice::<serde_json::Value>(body);
    body.is_ok_and(|body| keys.iter().all(|key| body.get(key.as_ref()).is_some()))
}

/// The payload of a form.
fn payload(body: &[u8]) -> Option<String> {
    let mut fields = form_urlencoded::parse(body);
    let (name, payload) = fields.next().filter(|_| fields.next().is_none())?;
    (name == "payload").then(|| payload.into_owned())
}

/// As the server encodes it.
fn form(payload: &str) -> Vec<u8> {
    form_urlencoded::Serializer::new(String::new()).append_pair("payload", payload).finish().into_bytes()
}

fn with_lf(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for (index, byte) in body.iter().enumerate() {
        if !(*byte == b'\r' && body.get(index + 1) == Some(&b'\n')) {
            out.push(*byte);
        }
    }
    out
}

fn with_crlf(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for byte in with_lf(body) {
        if byte == b'\n' {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}

fn from_utf16(body: &[u8]) -> Option<Vec<u8>> {
    let (is_big, rest) = match body {
        [0xff, 0xfe, rest @ ..] => (false, rest),
        [0xfe, 0xff, rest @ ..] => (true, rest),
        [0, _, ..] => (true, body),
        [_, 0, ..] => (false, body),
        _ => return None,
    };
    if rest.len() % 2 != 0 {
        return None;
    }
    let units: Vec<u16> = rest
        .chunks_exact(2)
        .filter_map(|pair| pair.try_into().ok())
        .map(|pair| if is_big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
        .collect();
    String::from_utf16(&units).ok().map(String::into_bytes)
}
