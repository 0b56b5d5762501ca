//! Whether the time of a refusal tells one invalid key from another, by the API and by the form that signs in: a revoked
//! one, one that differs from it in its last character, and one that is like no other. Welch's t, over requests on one
//! connection in every order.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Bench, at_most};
use crate::Result;
use crate::browser::Form;
use crate::measure::float;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System, Target};
use crate::server::Settings;
use crate::stand::{Speaks, Stand};
use crate::wire::{self, Extent};

const ACCOUNT: &str = "default";
const PATIENCE: Duration = Duration::from_secs(10);
/// What three comparisons of equal times exceed once in 50,000 runs.
const T: f64 = 4.5;

/// Each pair of kinds.
pub fn run(bench: &Bench) -> Vec<Row> {
    bench.server_alone("wrong keys", |system| measure(bench, system))
}

fn measure(bench: &Bench, system: &System) -> Result<Vec<Row>> {
    let tries = bench.pick(10_000, 2_000);
    let groups = vec![Group::new(ACCOUNT, Behaviour::Healthy, 1)];
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
    let server = stand.server()?;
    let revoked = revoked_key(&server.command(&["keys", "create", "--name", "revoked", "--scopes", "*", "--json"])?)?;
    server.command(&["keys", "revoke", "revoked"])?;
    let (start, last) = revoked.split_at(revoked.len() - 1);
    let near = format!("{start}{}", if last == "0" { '1' } else { '0' });
    let far = format!("tc_live_{}", "0".repeat(40));

    let keys = [("revoked", revoked), ("nearly that", near), ("another", far)];
    let form = Form::at(server.addr)?;
    let mut rows = Vec::new();
    for (place, status) in [("the API", 401), ("the form", 403)] {
        let request = |key: &str| if status == 401 { request(server.addr, key) } else { form.with(key) };
        let requests = keys.clone().map(|(name, key)| (name, request(&key)));
        for (pair, target) in compare(server.addr, status, requests, tries)? {
            let row = Row { targets: vec![target], ..Row::default() };
            rows.push(row.named(&format!("invalid keys at {place}: {pair}"), system));
        }
    }
    Ok(rows)
}

/// Times refusals with that status; each pair of kinds with what comes of it.
fn compare(
    addr: SocketAddr,
    status: u16,
    requests: [(&'static str, Vec<u8>); 3],
    tries: usize,
) -> Result<Vec<(String, Target)>> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut kinds = requests.map(|(name, request)| (name, request, Vec::with_capacity(tries)));
    for round in 0..tries {
        // In every order in turn, so that none profits from its place.
        kinds.rotate_left(1);
        if round % 3 == 0 {
            kinds.swap(0, 1);
        }
        for (_, request, samples) in &mut kinds {
            samples.push(refusal(&mut stream, request, status)?.as_secs_f64() * 1e9);
        }
    }
    for (_, _, samples) in &mut kinds {
        // The slowest tenth is what the machine did meanwhile.
        samples.sort_by(f64::total_cmp);
        samples.truncate(tries * 9 / 10);
    }
    kinds.sort_by_key(|(name, ..)| *name);
    let pair = |one: &(&str, Vec<u8>, Vec<f64>), other: &(&str, Vec<u8>, Vec<f64>)| {
        let ((a, spread_a), (b, spread_b)) = (moments(&one.2), moments(&other.2));
        let t = (a - b) / (spread_a + spread_b).sqrt();
        (format!("{}, {}", one.0, other.0), at_most(&format!("{a:.0} and {b:.0} ns, t"), Some(t.abs()), T))
    };
    let [one, two, three] = &kinds;
    Ok(vec![pair(one, two), pair(one, three), pair(two, three)])
}

fn revoked_key(answer: &[u8]) -> Result<String> {
    let answer: Value = serde_json::from_slice(answer)?;
    Ok(answer["data"]["key"].as_str().ok_or("keys create gave no key")?.to_owned())
}

fn request(addr: SocketAddr, key: &str) -> Vec<u8> {
    format!("GET /api/v1/webhooks HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {key}\r\n\r\n").into_bytes()
}

/// How long the server takes to refuse with that status.
fn refusal(stream: &mut TcpStream, request: &[u8], wanted: u16) -> Result<Duration> {
    let (mut inbox, mut chunk) = (Vec::with_capacity(2 * 1024), [0; 2 * 1024]);
    let begun = Instant::now();
    stream.write_all(request)?;
    while Extent::of(&inbox)?.is_none() {
        match stream.read(&mut chunk)? {
            0 => return Err("the connection ended".into()),
            count => inbox.extend_from_slice(&chunk[..count]),
        }
    }
    let took = begun.elapsed();
    match wire::status(&inbox) {
        status if status == wanted => Ok(took),
        status => Err(format!("an invalid key was answered {status}").into()),
    }
}

/// The mean and its variance.
fn moments(samples: &[f64]) -> (f64, f64) {
    let count = float(samples.len() as u64);
    let mean = samples.iter().sum::<f64>() / count;
    (mean, samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (count - 1.0) / count)
}
