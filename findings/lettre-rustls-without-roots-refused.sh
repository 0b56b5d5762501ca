#!/bin/sh
# lettre 0.11.23 (Rust): with its rustls features, it does not compile without a set of root certificates.
#
# Behaviour: with the features "rustls" and "ring" the build stops with compile_error! unless "webpki-roots",
#   "rustls-native-certs" or "rustls-platform-verifier" is on as well, even where the program gives every
#   connection its own list of roots (CertificateStore::None).
# A good guess: which roots are trusted is said where a connection is configured, so a program that brings its
#   own needs no set of them in the build, as with rustls itself.
# Seen: the check fails with features "builder", "smtp-transport", "rustls", "ring", and passes with
#   "webpki-roots" added.
# Why it matters to a webhook sender: it has one set of roots for its deliveries and wants the same for its
#   mails. The second set stays in the binary, unused, and has to be kept from being trusted by mistake.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat > "$work/src/main.rs" <<'RUST'
use lettre::transport::smtp::client::{CertificateStore, TlsParameters};

fn main() {
    let tls = TlsParameters::builder("mail.example.com".to_owned()).certificate_store(CertificateStore::None);
    println!("{}", tls.build_rustls().is_ok());
}
RUST
cd "$work"
try() {
    cat > Cargo.toml <<TOML
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
lettre = { version = "=0.11.23", default-features = false, features = ["builder", "smtp-transport", $1] }
TOML
    if CARGO_TARGET_DIR="$work/target" nice cargo check -q -j1 2> "$work/log"; then
        echo "$2: compiles"
    elif grep -q "^error: .*feature" "$work/log"; then
        echo "$2: a feature is missing"
    else
        cat "$work/log"
        echo "$2: does not compile"
    fi
}
{
    try '"rustls", "ring"' "without roots"
    try '"rustls", "ring", "webpki-roots"' "with webpki-roots"
} | tee seen
cat > expected <<'TEXT'
without roots: a feature is missing
with webpki-roots: compiles
TEXT
diff expected seen
