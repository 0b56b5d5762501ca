//! `[[delivery.client_certificate]]`: the client certificates that deliveries may show, each for accounts and hosts.
//!
//! Runs at start-up and on a reload. It must never open a file, or repeat a path; what is wrong with one is told with the
//! line on which it stands.

use std::net::IpAddr;
use std::path::PathBuf;

use super::address_entries;
use super::nearest::suggestion;
use super::read::ConfigReader;
use super::value::{self, CLIENT_CERTIFICATE, Field, Raw};
use crate::domain::options::certificate::{CertificateUse, NAME_CHARS, is_name};

const KEYS: [&str; 6] = ["name", "certificate", "key", "ca", "accounts", "hosts"];
const CERTIFICATES_MAX: usize = 1000;
const ENTRIES_MAX: usize = 1000;

/// A client certificate, by its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificateFiles {
    /// Who may use it, and for where.
    pub used: CertificateUse,
    /// PEM file with the certificate chain.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
    /// PEM file with the only authorities that are trusted there; none: those of every endpoint.
    pub ca: Option<PathBuf>,
}

/// What is wrong, and on which line.
type Faults = Vec<(Option<usize>, String)>;

/// The certificates.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Vec<ClientCertificateFiles>> {
    reader.take_placed(CLIENT_CERTIFICATE, parse)
}

fn parse(raw: &Raw) -> Result<Vec<ClientCertificateFiles>, Faults> {
    let Raw::List(tables) = raw else {
        let message = "is not a list of tables; write [[delivery.client_certificate]], in double brackets, above each";
        return Err(vec![(None, message.to_owned())]);
    };
    if tables.len() > CERTIFICATES_MAX {
        return Err(vec![(None, format!("has {} entries; allowed are 0 to {CERTIFICATES_MAX}", tables.len()))]);
    }
    let (mut all, mut faults): (Vec<ClientCertificateFiles>, Faults) = (Vec::new(), Vec::new());
    for (place, table) in tables.iter().enumerate() {
        match declared(table) {
            Ok(declared) if all.iter().any(|known| known.used.name == declared.used.name) => {
                faults.push((first_line(table), format!("declares {:?} twice", declared.used.name)));
            }
            Ok(declared) => all.push(declared),
            Err(found) => {
                let at = |(line, fault)| (line, format!("number {}: {fault}", place + 1));
                faults.extend(found.into_iter().map(at));
            }
        }
    }
    if faults.is_empty() { Ok(all) } else { Err(faults) }
}

fn first_line(table: &Raw) -> Option<usize> {
    match table {
        Raw::Table(fields) => fields.iter().map(|field| field.line).min(),
        _ => None,
    }
}

fn declared(table: &Raw) -> Result<ClientCertificateFiles, Faults> {
    let Raw::Table(fields) = table else {
        let message = "is not a table; write [[delivery.client_certificate]] above its keys";
        return Err(vec![(None, message.to_owned())]);
    };
    let mut faults: Faults = Vec::new();
    let (mut name, mut certificate, mut key, mut ca, mut accounts, mut hosts) = (None, None, None, None, None, None);
    for Field { name: field, line, raw } in fields {
        let read = match field.as_str() {
            "name" => certificate_name(raw).map(|read| name = Some(read)),
            "certificate" => value::path(raw).map(|read| certificate = Some(read)),
            "key" => value::path(raw).map(|read| key = Some(read)),
            "ca" => value::optional_path(raw).map(|read| ca = read),
            "accounts" => list(raw, account).map(|read| accounts = Some(read)),
            "hosts" => list(raw, host).map(|read| hosts = Some(read)),
            _ => {
                let hint = suggestion(field, KEYS.into_iter(), |near| format!("{near:?}"));
                faults.push((Some(*line), format!("unknown key {field:?}; {hint}")));
                continue;
            }
        };
        faults.extend(read.err().map(|fault| (Some(*line), format!("{field} {fault}"))));
    }
    let is_given = |wanted: &str| fields.iter().any(|field| field.name == wanted);
    for required in KEYS.into_iter().filter(|name| *name != "ca" && !is_given(name)) {
        faults.push((first_line(table), format!("{required} is missing")));
    }
    match (name, certificate, key, accounts, hosts) {
        (Some(name), Some(certificate), Some(key), Some(accounts), Some(hosts)) if faults.is_empty() => {
            Ok(ClientCertificateFiles { used: CertificateUse { name, accounts, hosts }, certificate, key, ca })
        }
        _ => Err(faults),
    }
}

fn certificate_name(raw: &Raw) -> Result<String, String> {
    let name = value::plain_text(raw)?;
    if is_name(&name) {
        return Ok(name);
    }
    Err(format!("is not a valid name; use 1 to {NAME_CHARS} letters, digits, hyphens, dots or underscores"))
}

/// A list that is not empty.
fn list(raw: &Raw, read: impl Fn(&Raw) -> Result<String, String>) -> Result<Vec<String>, String> {
    match raw {
        Raw::List(entries) if (1..=ENTRIES_MAX).contains(&entries.len()) => entries.iter().map(read).collect(),
        _ => Err(format!(r#"is not a list of 1 to {ENTRIES_MAX} entries; write ["…", "…"]"#)),
    }
}

fn account(raw: &Raw) -> Result<String, String> {
    let name = value::plain_text(raw)?;
    if name.is_empty() { Err("has an empty name".to_owned()) } else { Ok(name) }
}

/// A host as a URL has it: a name in lower case, or an address.
fn host(raw: &Raw) -> Result<String, String> {
    match raw {
        Raw::Text(text) => match text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => address_entries::host(raw),
        },
        _ => address_entries::host(raw),
    }
}
