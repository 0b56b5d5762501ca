//! The yardstick's delivery threads: sign, send by ureq, report.

use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::Spec;
use crate::Result;
use crate::wire::now_us;

const TIMEOUT: Duration = Duration::from_secs(30);
const BUFFER: usize = 8 * 1024;
const RESPONSE_LIMIT: u64 = 64 * 1024;
const SECRET: &[u8] = b"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// One delivery.
pub struct Job {
    /// Which endpoint.
    pub endpoint: u32,
    /// Which event.
    pub id: u64,
    /// What it gets.
    pub body: Arc<str>,
}

/// What came of it: the row that is kept.
#[derive(Serialize)]
pub struct Outcome {
    /// Which endpoint.
    pub endpoint: u32,
    /// Which event.
    pub id: u64,
    attempt: u32,
    started_us: u64,
    duration_us: u64,
    status: Option<u16>,
    response: String,
    error: Option<String>,
}

/// Where to, and the connections kept open to it.
pub struct Endpoint {
    uri: Uri,
    agent: Agent,
    mac: Hmac<Sha256>,
}

/// An agent for each endpoint: a shared one searches its connections from end to end.
pub fn endpoints(spec: &Spec) -> Result<Arc<[Endpoint]>> {
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(match &spec.authority {
            Some(path) => RootCerts::new_with_certs(&[Certificate::from_pem(&fs::read(path)?)?]),
            None => RootCerts::new_with_certs(&[]),
        })
        .build();
    let endpoint = |url: &String| {
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .max_idle_connections(spec.threads)
            .max_idle_connections_per_host(spec.threads)
            .tls_config(tls.clone())
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), AtOnce);
        Ok(Endpoint { uri: url.parse()?, agent, mac: Hmac::new_from_slice(SECRET)? })
    };
    spec.endpoints.iter().map(endpoint).collect()
}

/// Delivers until nobody hands over any more.
pub fn run(endpoints: &[Endpoint], jobs: &Receiver<Job>, report: &Sender<Outcome>) {
    for job in jobs {
        let Ok(endpoint) = usize::try_from(job.endpoint) else { return };
        let (began, started_us) = (Instant::now(), now_us());
        let result = endpoints[endpoint].deliver(&job);
        let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (status, response, error) = match result {
            Ok((status, response)) => (Some(status), response, None),
            Err(error) => (None, String::new(), Some(error.to_string())),
        };
        let outcome = Outcome {
            endpoint: job.endpoint,
            id: job.id,
            attempt: 1,
            started_us,
            duration_us,
            status,
            response,
            error,
        };
        if report.send(outcome).is_err() {
            return;
        }
    }
}

impl Endpoint {
    fn deliver(&self, job: &Job) -> Result<(u16, String), ureq::Error> {
        let mut mac = self.mac.clone();
        mac.update(job.body.as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        let response = self
            .agent
            .post(self.uri.clone())
            .header("Content-Type", "application/json")
            .header("User-Agent", "TempClock-Webhooks/0")
            .header("X-TempClock-Event", "clock_in")
            .header("X-TempClock-Delivery", format!("dlv_{:016x}", job.id))
            .header("X-TempClock-Attempt", "1")
            .header("X-TempClock-Signature", signature)
            .send(job.body.as_bytes())?;
        let status = response.status().as_u16();
        let mut text = String::new();
        response.into_body().into_reader().take(RESPONSE_LIMIT).read_to_string(&mut text)?;
        Ok((status, text))
    }
}

/// Reads the address out of the URL. The resolver that ureq brings starts a thread for each request with a time limit.
#[derive(Debug)]
struct AtOnce;

impl Resolver for AtOnce {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let address: SocketAddr = uri
            .authority()
            .and_then(|authority| authority.as_str().parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an endpoint must be an address and a port"))?;
        let mut addresses = self.empty();
        addresses.push(address);
        Ok(addresses)
    }
}
