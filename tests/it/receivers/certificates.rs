//! Certificates of every kind that OpenSSL makes: those that are safe are accepted, and each that is not is refused in
//! words.

use serde_json::Value;

use super::openssl::{
    ALL_CIPHERS, Chain, ChainFiles, FOR_LOCALHOST, KeyKind, OpensslReceivers, P256, P384, P521, RSA, RSA_1024,
    RSA_3072, RSA_PSS, RSA_PSS_SHA256,
};
use crate::harness::{Server, clock_in};

/// A server that trusts the authorities of these chains, and what came of one delivery to each, in their order.
fn deliver(chains: &[Chain], host: &str, state: &str) -> Vec<Value> {
    deliver_with(ALL_CIPHERS, chains, host, state)
}

/// The same to receivers that speak with these ciphers.
fn deliver_with(ciphers: &str, chains: &[Chain], host: &str, state: &str) -> Vec<Value> {
    let mut server = Server::stopped(&[("delivery.retry_schedule", "[]"), ("delivery.allow_http", "")]);
    let files: Vec<ChainFiles> = chains
        .iter()
        .enumerate()
        .map(|(number, chain)| chain.make(server.folder(), &format!("chain-{number}")))
        .collect();
    let authorities: String = files.iter().map(|files| std::fs::read_to_string(&files.authority).unwrap()).collect();
    let trusted = server.folder().join("authorities.pem");
    std::fs::write(&trusted, authorities).unwrap();
    server.configure(&[("delivery.ca_certificates", &format!("'{}'", trusted.display()))]);
    server.launch();
    let receivers = OpensslReceivers::start(&files, ciphers);
    let client = server.client();
    for port in &receivers.ports {
        client.subscribe(&format!("https://{host}:{port}/hook"), &["clock_in"]);
    }
    let event = client.publish("clock_in", &clock_in(1));
    let ids = client.delivery_ids(&event);
    assert_eq!(ids.len(), chains.len());
    let settled = ids.iter().map(|id| client.wait_for_delivery(id, "is settled", |seen| seen["status"] != "pending"));
    let attempts: Vec<Value> = settled
        .map(|delivery| {
            assert_eq!(delivery["status"], state, "{delivery:#}");
            delivery["attempts"][0].clone()
        })
        .collect();
    let of_port = |port: &u16| {
        let attempt =
            attempts.iter().find(|attempt| attempt["request"]["url"].as_str().unwrap().contains(&port.to_string()));
        attempt.unwrap_or_else(|| panic!("no attempt for {port} in {attempts:#?}")).clone()
    };
    receivers.ports.iter().map(of_port).collect()
}

fn signed(authority_key: KeyKind, hash: &'static str, key: KeyKind) -> Chain {
    let salt = authority_key.contains(&"RSA-PSS").then_some("digest");
    Chain { authority_key, hash, key, extensions: FOR_LOCALHOST, salt }
}

fn saying(extensions: &'static str) -> Chain {
    Chain { authority_key: P256, hash: "-sha256", key: P256, extensions, salt: None }
}

fn salted(authority_key: KeyKind, hash: &'static str, salt: &'static str) -> Chain {
    Chain { authority_key, hash, key: P256, extensions: FOR_LOCALHOST, salt: Some(salt) }
}

#[test]
fn every_safe_signature_and_key_is_accepted() {
    let chains = [
        signed(P256, "-sha512", P256),
        signed(P384, "-sha512", P256),
        signed(P521, "-sha512", P256),
        signed(P521, "-sha384", P384),
        signed(P521, "-sha256", P384),
        signed(P256, "-sha256", P521),
        signed(RSA, "-sha512", RSA),
        signed(RSA_PSS, "-sha256", P256),
        signed(RSA_PSS, "-sha384", RSA_PSS),
        signed(RSA_PSS, "-sha512", RSA_PSS_SHA256),
        signed(RSA_PSS_SHA256, "-sha256", P256),
    ];
    deliver(&chains, "localhost", "delivered");
}

#[test]
fn rsa_pss_is_accepted_with_a_salt_as_long_as_the_hash_and_with_the_longest() {
    let chains = [
        salted(RSA, "-sha256", "digest"),
        salted(RSA, "-sha512", "max"),
        salted(RSA_PSS, "-sha256", "max"),
        salted(RSA_PSS, "-sha384", "max"),
        salted(RSA_3072, "-sha256", "max"),
    ];
    deliver(&chains, "localhost", "delivered");
}

/// A certificate of a megabyte.
fn large() -> Chain {
    let text = "x".repeat(30_000);
    let extensions: Vec<_> = (1..=34).map(|number| format!("1.2.3.{number}=ASN1:UTF8:{text}\n")).collect();
    saying(format!("subjectAltName=DNS:localhost\n{}", extensions.concat()).leak())
}

#[test]
fn a_certificate_that_is_refused_is_refused_in_words() {
    let cases = [
        (signed(P256, "-sha1", P256), "signed with ECDSA with SHA-1, which is not accepted here; "),
        (signed(RSA, "-sha1", P256), "signed with RSA with SHA-1, which is not accepted here; "),
        (signed(P256, "-sha256", RSA_1024), "has 1024 bits, and fewer than 2048 are insecure; "),
        (signed(RSA_1024, "-sha256", P256), "RSA key of fewer than 2048 bits"),
        (saying(""), "is of version 1, "),
        (saying("basicConstraints=CA:FALSE\n"), "has no host name among its alternative names"),
        (
            saying("subjectAltName=URI:https://localhost/,email:a@localhost\n"),
            "has no host name among its alternative names",
        ),
        (saying("subjectAltName=DNS:localhost\nextendedKeyUsage=clientAuth\n"), "its certificate is not for servers; "),
        (
            saying("subjectAltName=DNS:localhost\nextendedKeyUsage=codeSigning\n"),
            "its certificate is not for servers; ",
        ),
        (
            saying("subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:TRUE\n"),
            "marked as that of an authority (CA:TRUE)",
        ),
        (saying("subjectAltName=DNS:localhost\n1.2.3.4=critical,ASN1:NULL\n"), "unknown critical extension; "),
        (salted(RSA, "-sha256", "20"), "RSA-PSS with an unusual salt length"),
        (large(), "too large"),
    ];
    let (chains, words): (Vec<Chain>, Vec<&str>) = cases.into_iter().unzip();
    let attempts = deliver(&chains, "localhost", "exhausted");
    for (attempt, words) in attempts.iter().zip(words) {
        let cause = attempt["error"].as_str().unwrap();
        assert!(cause.contains(words), "{words} is not in: {cause}");
        assert!(!cause.contains("Other") && !cause.contains("::") && !cause.contains('['), "debug text: {cause}");
    }
}

#[test]
fn a_receiver_with_no_safe_cipher_is_told_which_ones_it_was_offered() {
    // CBC alone, and the exchange of keys by RSA alone.
    for (ciphers, key) in [("ECDHE-ECDSA-AES128-SHA", P256), ("AES128-GCM-SHA256", RSA)] {
        let attempts = deliver_with(ciphers, &[signed(P256, "-sha256", key)], "localhost", "exhausted");
        let cause = attempts[0]["error"].as_str().unwrap();
        assert!(cause.contains("TLS 1.2 with ECDHE and AES-GCM or ChaCha20"), "{ciphers}: {cause}");
        assert!(cause.contains("only CBC or RSA key exchange"), "{ciphers}: {cause}");
    }
    let safe = [signed(P256, "-sha256", P256)];
    deliver_with("ECDHE-ECDSA-AES128-GCM-SHA256", &safe, "localhost", "delivered");
}

#[test]
fn an_address_that_a_certificate_has_as_a_name_is_told() {
    let attempts = deliver(&[saying("subjectAltName=DNS:127.0.0.1\n")], "127.0.0.1", "exhausted");
    let cause = attempts[0]["error"].as_str().unwrap();
    assert!(cause.contains("has 127.0.0.1 as a name") && cause.contains("IP:127.0.0.1"), "{cause}");
}
