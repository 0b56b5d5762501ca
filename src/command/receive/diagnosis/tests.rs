//! Each cause is made on purpose, and has to be the one that is named.

use crate::command::receive::diagnosis::*;
use crate::domain::EventId;
use crate::domain::event;
use crate::domain::event::event_type::EventType;
use crate::domain::options::format::Format;
use crate::domain::options::names::Names;
use crate::domain::signing::{SigningSecret, standard_prefix, standard_text};
use crate::domain::signing_keys::{Ed25519Key, Ed25519PublicKey};

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NOW_S: u64 = 1_772_438_400;
const DATA: &str = r#"{"entry_id": 9001, "worker_id": 42, "worker_name": "Zoë K", "clock_in": "2026-03-02T08:00:00Z", "location_id": 7, "rate": 8.50}"#;

fn now() -> Timestamp {
    Timestamp::from_ms(NOW_S * 1000)
}

fn compact_data() -> String {
    DATA.replace(", \"", ",\"").replace("\": ", "\":")
}

fn body_with(data: &str) -> Vec<u8> {
    event::body(EventId(7), EventType::ClockIn, now(), data)
}

fn body() -> Vec<u8> {
    body_with(&compact_data())
}

fn signed(body: &[u8]) -> (String, String) {
    let signatures = SigningSecret::parse(SECRET).unwrap().sign(EventId(7), NOW_S, body);
    (signatures.tempclock_header().to_string(), signatures.standard_header().to_string())
}

fn knows(secrets: &[&str]) -> Expected {
    Expected { secrets: secrets.iter().map(|secret| (*secret).to_owned().into()).collect(), ..Expected::default() }
}

fn ask_for(expected: &Expected, body: &[u8], header: Header<'_>) -> Verdict {
    diagnose(&Claim { body, header, expected }, now(), Duration::from_mins(5))
}

fn ask(body: &[u8], secret: &str, header: Header<'_>) -> Verdict {
    ask_for(&knows(&[secret]), body, header)
}

/// The kinds and places of the signatures that match.
#[track_caller]
fn fits(verdict: &Verdict) -> Vec<(&'static str, Option<usize>)> {
    let Verdict::Matches(fits) = verdict else { panic!("{verdict:?}") };
    fits.iter().map(|fit| (fit.kind, fit.secret)).collect()
}

/// As the server signs a body for a subscription with these secrets, newest first, and this key pair.
fn standard_of(secrets: &[&str], key: Option<&Ed25519Key>, body: &[u8]) -> String {
    let prefix = standard_prefix(EventId(7), NOW_S);
    let secrets = secrets.iter().map(|secret| SigningSecret::parse(secret).unwrap().sign_standard(&prefix, body));
    let symmetric = secrets.map(|mac| standard_text(&mac).to_string());
    symmetric.chain(key.map(|key| key.sign(&prefix, body))).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_causes(verdict: &Verdict, wanted: &[&str]) {
    let Verdict::Explained(causes) = verdict else { panic!("{wanted:?} was to be found, not {verdict:?}") };
    let codes: Vec<_> = causes.iter().map(|cause| cause.code).collect();
    assert_eq!(codes, wanted, "{causes:?}");
    assert!(causes.iter().all(|cause| !cause.message.contains("0011") && !cause.fix.contains("0011")), "{causes:?}");
}

/// What is said of a body that was `sent`, and `received` otherwise, by both headers.
#[track_caller]
fn assert_body_cause(sent: &[u8], received: &[u8], wanted: &str) {
    let (tempclock, standard) = signed(sent);
    assert_causes(&ask(received, SECRET, Header::TempClock { signature: &tempclock }), &[wanted]);
    let id = EventId(7).to_string();
    let header = Header::Standard { id: &id, timestamp: &NOW_S.to_string(), signature: &standard };
    assert_causes(&ask(received, SECRET, header), &[wanted]);
}

#[test]
fn both_headers_match_what_was_signed() {
    let (tempclock, standard) = signed(&body());
    assert_eq!(fits(&ask(&body(), SECRET, Header::TempClock { signature: &tempclock })), [("tempclock", Some(1))]);
    let id = EventId(7).to_string();
    let timestamp = NOW_S.to_string();
    let header = |signature| Header::Standard { id: &id, timestamp: &timestamp, signature };
    assert_eq!(fits(&ask(&body(), SECRET, header(&standard))), [("standard", Some(1))]);
    let two = format!("v1,{} {standard}", "A".repeat(43) + "=");
    // One of several signatures is enough.
    assert_eq!(fits(&ask(&body(), SECRET, header(&two))), [("standard", Some(1))]);
}

#[test]
fn newlines_that_came_or_went_are_named() {
    let (plain, lined) = (body(), [&body()[..], b"\n"].concat());
    assert_body_cause(&plain, &lined, "newline_added");
    assert_body_cause(&plain, &[&body()[..], b"\r\n"].concat(), "newline_added");
    assert_body_cause(&lined, &plain, "newline_removed");
    assert_body_cause(&[&body()[..], b"\r\n"].concat(), &plain, "newline_removed");
}

#[test]
fn changed_line_ends_are_named() {
    let lf = body_with("{\n  \"worker_id\": 1,\n  \"worker_name\": \"A\"\n}");
    let crlf = String::from_utf8(lf.clone()).unwrap().replace('\n', "\r\n").into_bytes();
    assert_body_cause(&lf, &crlf, "crlf_added");
    assert_body_cause(&crlf, &lf, "crlf_removed");
    assert_body_cause(&lf, &[&crlf[..], b"\r\n"].concat(), "crlf_added");
}

#[test]
fn byte_order_marks_are_named() {
    let marked = [b"\xef\xbb\xbf", &body()[..]].concat();
    assert_body_cause(&body(), &marked, "bom_added");
    assert_body_cause(&marked, &body(), "bom_removed");
}

#[test]
fn other_encodings_are_named() {
    let text = String::from_utf8(body()).unwrap();
    let latin1: Vec<u8> = text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect();
    assert_body_cause(&body(), &latin1, "encoding_latin1");
    let twice: String = body().iter().copied().map(char::from).collect();
    assert_body_cause(&body(), twice.as_bytes(), "encoding_twice");
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_body_cause(&body(), &little, "encoding_utf16");
    assert_body_cause(&body(), &[b"\xff\xfe", &little[..]].concat(), "encoding_utf16");
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_body_cause(&body(), &[b"\xfe\xff", &big[..]].concat(), "encoding_utf16");
}

#[test]
fn wrapped_and_missing_bodies_are_named() {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(body());
    assert_body_cause(&body(), base64.as_bytes(), "body_base64");
    let string = serde_json::to_string(&String::from_utf8(body()).unwrap()).unwrap();
    assert_body_cause(&body(), string.as_bytes(), "body_in_json_string");
    assert_body_cause(b"", &body(), "body_not_read");
}

#[test]
fn json_that_was_serialized_again_is_named_whichever_library_did_it() {
    let value: serde_json::Value = serde_json::from_slice(&body()).unwrap();
    let text = String::from_utf8(body()).unwrap();
    let spaced = text.replace(",\"", ", \"").replace("\":", "\": ");
    for received in [
        // Sorted keys, compact and in lines.
        value.to_string(),
        serde_json::to_string_pretty(&value).unwrap(),
        spaced.clone(),
        text.replace('ë', "\\u00eb"),
        spaced.replace('ë', "\\u00eb"),
    ] {
        // A library writes 8.5 for 8.50, which nothing can undo.
        assert_body_cause(
            &body_with(&compact_data().replace("8.50", "8.5")),
            received.replace("8.50", "8.5").as_bytes(),
            "json_reserialized",
        );
    }
    // Published with spaces, kept by the server byte for byte, and written compact by the receiver.
    assert_body_cause(&body_with(DATA), &body(), "json_reserialized");
    let path = body_with(r#"{"worker_id":1,"worker_name":"a/b ë"}"#);
    let php = String::from_utf8(path.clone()).unwrap().replace('/', "\\/").replace('ë', "\\u00eb");
    assert_body_cause(&path, php.as_bytes(), "json_reserialized");
    assert_body_cause(php.as_bytes(), &path, "json_reserialized");
    let Verdict::Explained(causes) = ask(
        value.to_string().as_bytes(),
        SECRET,
        Header::TempClock { signature: &signed(serde_json::to_string_pretty(&value).unwrap().as_bytes()).0 },
    ) else {
        panic!("lines were to be found")
    };
    assert!(causes[0].message.contains("indented by two spaces"), "{causes:?}");
}

#[test]
fn a_spoilt_secret_is_named() {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(SECRET);
    let (tempclock, _) = signed(&body());
    for (secret, wanted) in [
        (format!(" {SECRET}\n"), vec!["secret_spaces"]),
        (format!("\"{SECRET}\""), vec!["secret_quotes"]),
        (format!("whsec_{SECRET}"), vec!["secret_prefix"]),
        (SECRET.to_uppercase(), vec!["secret_upper_case"]),
        (encoded, vec!["secret_base64_encoded"]),
        (format!("'{}' ", SECRET.to_uppercase()), vec!["secret_spaces", "secret_quotes", "secret_upper_case"]),
    ] {
        assert_causes(&ask(&body(), &secret, Header::TempClock { signature: &tempclock }), &wanted);
    }
}

#[test]
fn a_key_that_was_made_wrongly_is_named() {
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(SECRET).unwrap();
    for (key, wanted) in [
        (hex::decode(SECRET).unwrap(), "key_hex_decoded"),
        (decoded, "key_base64_decoded"),
        (SECRET.to_uppercase().into_bytes(), "key_upper_case"),
        (format!("{SECRET}\n").into_bytes(), "key_with_newline"),
        (format!("whsec_{SECRET}").into_bytes(), "key_with_prefix"),
    ] {
        let signature = hex::encode(hmac(&key, &[&body()]));
        assert_causes(&ask(&body(), SECRET, Header::TempClock { signature: &signature }), &[wanted]);
    }
    let id = EventId(7).to_string();
    let timestamp = NOW_S.to_string();
    let prefix = format!("{id}.{timestamp}.");
    let base64 = |key: &[u8]| {
        let mac = hmac(key, &[prefix.as_bytes(), &body()]);
        format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(mac))
    };
    for (key, wanted) in
        [(SECRET.as_bytes().to_vec(), "key_as_text"), (hex::decode(SECRET).unwrap(), "key_hex_decoded")]
    {
        let header = Header::Standard { id: &id, timestamp: &timestamp, signature: &base64(&key) };
        assert_causes(&ask(&body(), SECRET, header), &[wanted]);
    }
}

#[test]
fn another_spelling_of_the_signature_is_named() {
    use base64::Engine as _;
    let (hex, standard) = signed(&body());
    let base64 = base64::engine::general_purpose::STANDARD.encode(hex::decode(&hex).unwrap());
    for (signature, wanted) in [
        (hex.to_uppercase(), vec!["signature_upper_case"]),
        (base64, vec!["signature_base64"]),
        (format!("sha256={hex}"), vec!["signature_prefix"]),
        (format!("\"{hex}\" "), vec!["signature_wrapped"]),
    ] {
        assert_causes(&ask(&body(), SECRET, Header::TempClock { signature: &signature }), &wanted);
    }
    let id = EventId(7).to_string();
    let bare = standard.strip_prefix("v1,").unwrap().to_owned();
    let in_hex = hex::encode(base64::engine::general_purpose::STANDARD.decode(&bare).unwrap());
    for (signature, wanted) in [
        (bare.clone(), vec!["signature_without_version"]),
        (format!("v1,{in_hex}"), vec!["signature_hex"]),
        (format!("v1,{}", bare.trim_end_matches('=')), vec!["signature_base64_variant"]),
    ] {
        let header = Header::Standard { id: &id, timestamp: &NOW_S.to_string(), signature: &signature };
        assert_causes(&ask(&body(), SECRET, header), &wanted);
    }
}

#[test]
fn the_other_header_is_named() {
    let (tempclock, standard) = signed(&body());
    let id = EventId(7).to_string();
    let header = Header::Standard { id: &id, timestamp: &NOW_S.to_string(), signature: &tempclock };
    assert_causes(&ask(&body(), SECRET, header), &["wrong_header", "signature_without_version", "signature_hex"]);
    let Verdict::Unexplained(causes) = ask(&body(), SECRET, Header::TempClock { signature: &standard }) else {
        panic!("without id and timestamp nothing can be proven")
    };
    assert_eq!(causes[0].code, "wrong_header");
}

#[test]
fn a_wrong_id_or_timestamp_is_named() {
    let (_, standard) = signed(&body());
    let (id, timestamp) = (EventId(7).to_string(), NOW_S.to_string());
    for (id, timestamp, wanted) in [
        ("dlv_1", timestamp.as_str(), "wrong_id"),
        (&id, &format!("{timestamp}000"), "timestamp_not_in_seconds"),
        (&id, &now().to_string(), "timestamp_not_in_seconds"),
    ] {
        assert_causes(&ask(&body(), SECRET, Header::Standard { id, timestamp, signature: &standard }), &[wanted]);
    }
    let decoded = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(SECRET).unwrap()
    };
    let unsigned = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(hmac(&decoded, &[&body()]))
    };
    let header = Header::Standard { id: &id, timestamp: &timestamp, signature: &format!("v1,{unsigned}") };
    assert_causes(&ask(&body(), SECRET, header), &["id_and_timestamp_not_signed"]);
}

#[test]
fn a_right_signature_with_a_timestamp_far_off_is_refused() {
    let (_, standard) = signed(&body());
    let (id, timestamp) = (EventId(7).to_string(), NOW_S.to_string());
    let header = Header::Standard { id: &id, timestamp: &timestamp, signature: &standard };
    let body = body();
    let expected = knows(&[SECRET]);
    let claim = Claim { body: &body, header, expected: &expected };
    let at = |seconds: u64| diagnose(&claim, Timestamp::from_ms(seconds * 1000), Duration::from_mins(5));
    fits(&at(NOW_S + 300));
    fits(&at(NOW_S - 300));
    assert_causes(&at(NOW_S + 301), &["timestamp_too_old"]);
    assert_causes(&at(NOW_S - 301), &["timestamp_in_the_future"]);
}

#[test]
fn several_causes_at_once_are_all_named() {
    let (tempclock, _) = signed(&body());
    let received = [&body()[..], b"\n"].concat();
    let verdict = ask(&received, &format!("{SECRET}\n"), Header::TempClock { signature: &tempclock.to_uppercase() });
    assert_causes(&verdict, &["newline_added", "secret_spaces", "signature_upper_case"]);
}

#[test]
fn during_a_rotation_it_is_told_which_secret_made_which_signature() {
    let (new, old) = ("an-own-secret-of-the-receiver", SECRET);
    let (id, timestamp) = (EventId(7).to_string(), NOW_S.to_string());
    let (body, expected) = (body(), knows(&[new, old]));
    let both = standard_of(&[new, old], None, &body);
    let header = Header::Standard { id: &id, timestamp: &timestamp, signature: &both };
    assert_eq!(fits(&ask_for(&expected, &body, header)), [("standard", Some(1)), ("standard", Some(2))]);
    let (tempclock, _) = signed(&body);
    let header = Header::TempClock { signature: &tempclock };
    assert_eq!(fits(&ask_for(&expected, &body, header)), [("tempclock", Some(2))]);
    assert_causes(&ask_for(&expected, &[&body[..], b"\n"].concat(), header), &["newline_added"]);
}

#[test]
fn a_signature_of_a_key_pair_is_verified_and_its_mistakes_are_named() {
    let key = Ed25519Key::from_seed(&[9; 32]);
    let public_key = Ed25519PublicKey::parse(&key.public_key());
    let (id, timestamp) = (EventId(7).to_string(), NOW_S.to_string());
    let body = body();
    let both = standard_of(&[SECRET], Some(&key), &body);
    let header = |id, signature| Header::Standard { id, timestamp: &timestamp, signature };
    let knows_both = Expected { public_key, ..knows(&[SECRET]) };
    let found = fits(&ask_for(&knows_both, &body, header(&id, &both)));
    assert_eq!(found, [("standard", Some(1)), ("ed25519", None)]);
    // With the public key alone, and a signature that is of nothing else.
    let knows_key = Expected { secrets: Vec::new(), ..knows_both.clone() };
    let alone = standard_of(&[], Some(&key), &body);
    assert_eq!(fits(&ask_for(&knows_key, &body, header(&id, &alone))), [("ed25519", None)]);
    assert_causes(&ask_for(&knows_key, &[&body[..], b"\n"].concat(), header(&id, &alone)), &["newline_added"]);
    assert_causes(&ask_for(&knows_key, &body, header("dlv_1", &alone)), &["wrong_id"]);
    let code = |verdict| match verdict {
        Verdict::Unexplained(causes) => causes[0].code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(ask_for(&knows(&[SECRET]), &body, header(&id, &alone))), "public_key_needed");
    let symmetric = standard_of(&[SECRET], None, &body);
    assert_eq!(code(ask_for(&knows_key, &body, header(&id, &symmetric))), "secret_needed");
    assert_eq!(code(ask_for(&knows_key, b"{\"id\":\"x\",\"events\":[]}", header(&id, &alone))), "unknown");
}

#[test]
fn a_given_secret_is_read_as_the_server_reads_it() {
    let (id, timestamp) = (EventId(7).to_string(), NOW_S.to_string());
    for secret in ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", "sixteen_chars_ok", "Mixed-Case_And.Signs!"] {
        let standard = standard_of(&[secret], None, &body());
        let header = Header::Standard { id: &id, timestamp: &timestamp, signature: &standard };
        assert_eq!(fits(&ask(&body(), secret, header)), [("standard", Some(1))], "{secret}");
        let other = Header::TempClock { signature: &"0".repeat(64) };
        let Verdict::Unexplained(causes) = ask(&body(), secret, other) else { panic!("{secret}") };
        assert_eq!(causes[0].code, "unknown", "{secret}");
    }
}

#[test]
fn the_prefix_that_names_give_a_signature_belongs_to_it() {
    let names = serde_json::json!({"signature": "X-Hub-Signature-256", "signature_prefix": "sha256="});
    let expected = Expected { names: Names::read(&names).unwrap(), ..knows(&[SECRET]) };
    let (digits, _) = signed(&body());
    let prefixed = format!("sha256={digits}");
    let ask = |signature| ask_for(&expected, &body(), Header::TempClock { signature });
    assert_eq!(fits(&ask(&prefixed)), [("tempclock", Some(1))]);
    assert_causes(&ask(&digits), &["signature_prefix_missing"]);
}

#[test]
fn forms_cloud_events_and_other_keys_are_bodies_of_this_server() {
    let form = Format::Form.body(&body(), &Names::default(), "default").unwrap().into_owned();
    let (tempclock, _) = signed(&form);
    let header = Header::TempClock { signature: &tempclock };
    fits(&ask(&form, SECRET, header));
    assert_causes(&ask(&body(), SECRET, header), &["form_decoded"]);
    let other_escapes = String::from_utf8(form.clone()).unwrap().replace('+', "%20");
    assert_ne!(other_escapes.as_bytes(), form);
    assert_causes(&ask(other_escapes.as_bytes(), SECRET, header), &["form_reencoded"]);

    let names = Names::read(&serde_json::json!({"envelope": {"id": "event_id", "data": "payload"}})).unwrap();
    let renamed = Format::Json.body(&body(), &names, "default").unwrap().into_owned();
    let cloud = Format::CloudEvents.body(&body(), &Names::default(), "default").unwrap().into_owned();
    let other = "1".repeat(64);
    let codes = |names: &Names, body: &[u8]| {
        let expected = Expected { names: names.clone(), ..knows(&[&other]) };
        let Verdict::Unexplained(causes) = ask_for(&expected, body, header) else { panic!("another secret") };
        causes.iter().map(|cause| cause.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&names, &renamed), ["unknown"]);
    assert_eq!(codes(&Names::default(), &renamed), ["body_foreign"]);
    assert_eq!(codes(&Names::default(), &cloud), ["unknown"]);
    assert_eq!(codes(&Names::default(), &form), ["unknown"]);
}

#[test]
fn what_cannot_be_proven_is_only_called_odd() {
    let (tempclock, _) = signed(&body());
    let codes = |verdict: Verdict| match verdict {
        Verdict::Unexplained(causes) => causes.iter().map(|cause| cause.code).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let other = SECRET.replace("00", "11");
    let header = Header::TempClock { signature: &tempclock };
    assert_eq!(codes(ask(&body(), &other, header)), ["unknown"]);
    assert_eq!(codes(ask(&body(), "tc_live_0011", header)), ["secret_is_an_api_key"]);
    assert_eq!(codes(ask(&body(), "hunter2", header)), ["secret_malformed"]);
    assert_eq!(codes(ask(b"", &other, header)), ["body_empty"]);
    assert_eq!(codes(ask(b"{}", &other, header)), ["body_foreign"]);
    assert_eq!(codes(ask(&body(), &other, Header::TempClock { signature: "abc" })), ["signature_malformed"]);
}

#[test]
fn one_cause_is_found_in_a_large_body_too() {
    let names = format!(r#"{{"worker_id":1,"worker_name":"{}"}}"#, "ë ".repeat(100_000));
    let large = body_with(&names);
    let text = String::from_utf8(large.clone()).unwrap();
    assert_body_cause(&large, text.replace("\":", "\": ").replace(",\"", ", \"").as_bytes(), "json_reserialized");
    assert_body_cause(&large, &[&large[..], b"\n"].concat(), "newline_added");
}

#[test]
fn nothing_that_is_received_brings_it_down() {
    let deep = "[".repeat(100_000);
    let large = vec![b'['; 100 << 10];
    for body in [deep.as_bytes(), &large, b"\xff\xfe\x00", b"\"", b"{\"id\":", b"\r", b"\xef\xbb\xbf"] {
        for signature in ["", "v1,", "é", "v1,==", " ", "sha256=", &"0".repeat(64), &format!("v1,{}=", "A".repeat(43))]
        {
            let verdict = ask(body, "é", Header::TempClock { signature });
            assert!(matches!(verdict, Verdict::Unexplained(_)), "{verdict:?}");
            let header = Header::Standard { id: "", timestamp: "é", signature };
            assert!(matches!(ask(body, "", header), Verdict::Unexplained(_)));
        }
    }
}
