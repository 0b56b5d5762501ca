//! Checks of the network: name look-ups and TLS connections to delivery hosts, as the server makes them.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use url::{Host, Url};

use super::finding::Finding;
use crate::app;
use crate::command::doctor::context::{DoctorContext, NETWORK_LIMIT};
use crate::command::doctor::queue::QueueReport;
use crate::delivery::send::address::look_up::{LookUpError, look_up};
use crate::delivery::send::dial::dial;
use crate::delivery::send::proxy::Proxy;
use crate::delivery::send::tls::error as tls_error;
use crate::domain::delivery::tls_fault::TlsFault;
use crate::domain::endpoint::address::AddressRule;

const DNS: &str = "dns";
const TLS: &str = "tls";
const CONNECTION: &str = "connection";
const PROXY: &str = "proxy";
/// Number of hosts checked; if these work, DNS and routing do.
const HOSTS: usize = 3;

/// A host that deliveries go to.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
    is_tls: bool,
}

/// The hosts to check: the given one, otherwise those of the subscriptions.
pub fn targets(context: &DoctorContext, queue: Option<&QueueReport>, findings: &mut Vec<Finding>) -> Vec<Target> {
    if let Some(host) = &context.host {
        let url = if host.contains("://") { host.clone() } else { format!("https://{host}/") };
        let target = target(&url);
        if target.is_none() {
            findings.push(Finding::problem(
                DNS,
                format!("{host} is not a host"),
                "Write --host crm.example.com, --host crm.example.com:8443, or a URL",
            ));
        }
        return target.into_iter().collect();
    }
    let mut found: Vec<Target> = Vec::new();
    for target in queue.into_iter().flat_map(QueueReport::urls).filter_map(target) {
        if !found.contains(&target) {
            found.push(target);
        }
    }
    if found.is_empty() {
        let message = "not checked, because no subscription's host is known; --host HOST checks any host";
        findings.push(Finding::ok(DNS, message));
    }
    if found.len() > HOSTS {
        let message =
            format!("{HOSTS} of {} hosts of subscriptions are checked; check any other with --host", found.len());
        findings.push(Finding::ok(DNS, message));
    }
    found.into_iter().take(HOSTS).collect()
}

fn target(url: &str) -> Option<Target> {
    let url = Url::parse(url).ok()?;
    let host = match url.host()? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    Some(Target { host, port: url.port_or_known_default()?, is_tls: url.scheme() == "https" })
}

/// Resolves the name and connects, or has the proxy do both.
pub fn check(context: &DoctorContext, target: &Target) -> Vec<Finding> {
    let Target { host, port, is_tls } = target;
    match app::proxy(&context.config) {
        Ok(Some(proxy)) if proxy.is_for(host) => return vec![through_proxy(context, target, &proxy)],
        Ok(_) => {}
        // A finding of the files.
        Err(_) => return Vec::new(),
    }
    let ips = match look_up(host) {
        Ok(ips) => ips,
        Err(error) => {
            let fix = match error {
                LookUpError::NotFound => "Check the name; if it is right, check the name server in /etc/resolv.conf",
                LookUpError::NameServer => "Check the name server in /etc/resolv.conf, and those of the domain",
                LookUpError::TooManyAddresses => {
                    "Deliveries to it fail: ask its owner to give the name fewer addresses"
                }
                LookUpError::Lacking(_) => "Reduce the load on this machine, or raise its limits",
            };
            return vec![Finding::problem(DNS, format!("{host} has no address: {error}"), fix)];
        }
    };
    let addresses: Vec<SocketAddr> = ips.iter().map(|ip| SocketAddr::new(*ip, *port)).collect();
    let delivery = &context.config.delivery;
    let rule = AddressRule::new(delivery.allow_networks.clone(), delivery.allow_hosts.clone());
    if let Err(refusal) = rule.check(host, &ips) {
        let fix =
            "Deliveries to it fail; if that is intended, list it in delivery.allow_networks or delivery.allow_hosts";
        return vec![Finding::problem(DNS, refusal.to_string(), fix)];
    }
    let first = ips.first().map(ToString::to_string).unwrap_or_default();
    let resolved = if first == *host {
        format!("{host} is an address and needs no look-up")
    } else {
        format!("{host} resolves to {first}")
    };
    let mut findings = vec![Finding::ok(DNS, resolved)];
    let place = format!("{host} port {port}");
    findings.push(match connect(context, target, &addresses) {
        Ok(()) if *is_tls => Finding::ok(TLS, format!("{place}: connected, its certificate is trusted")),
        Ok(()) => Finding::ok(CONNECTION, format!("{place}: connected, over plain http")),
        Err(ConnectError::Connect(error)) => {
            let fix = "Check that the receiver runs, and that firewalls allow this machine to connect to it";
            let error = error.to_string();
            let cause = error.split(" (os error").next().unwrap_or_default().to_lowercase();
            Finding::problem(CONNECTION, format!("{place} cannot be connected to: {cause}"), fix)
        }
        Err(ConnectError::Tls(fault)) => {
            let words = fault.in_words();
            let (cause, fix) = words.split_once("; ").unwrap_or((words.as_str(), ""));
            Finding::problem(TLS, format!("TLS with {place} failed: {cause}"), fix)
        }
    });
    findings
}

/// Connects through the proxy, over plain http as far as the proxy.
fn through_proxy(context: &DoctorContext, target: &Target, proxy: &Proxy) -> Finding {
    let Target { host, port, is_tls } = target;
    let connected = proxy.connect(target.is_tls.then_some((host.as_str(), *port)), NETWORK_LIMIT);
    let stream = match connected {
        Ok(stream) => stream,
        Err(text) => {
            let (cause, fix) = text.split_once("; ").unwrap_or((&text, "Check that the receiver runs"));
            return Finding::problem(PROXY, format!("{host} port {port}: {cause}"), fix);
        }
    };
    if !is_tls {
        let message = format!("{proxy} accepts connections; {host} port {port} uses plain http and was not checked");
        return Finding::ok(PROXY, message);
    }
    match handshake(context, target, stream) {
        Ok(()) => {
            Finding::ok(PROXY, format!("{host} port {port}: connected through {proxy}, its certificate is trusted"))
        }
        Err(ConnectError::Connect(error)) => {
            let fix = "Check that the receiver runs, and the proxy's log";
            Finding::problem(PROXY, format!("{host} port {port}: the connection through {proxy} failed: {error}"), fix)
        }
        Err(ConnectError::Tls(fault)) => {
            let words = fault.in_words();
            let (cause, fix) = words.split_once("; ").unwrap_or((words.as_str(), ""));
            Finding::problem(PROXY, format!("TLS with {host} port {port} through {proxy} failed: {cause}"), fix)
        }
    }
}

/// What a handshake without an answer in TLS means.
fn unanswered(error: &std::io::Error) -> TlsFault {
    match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => TlsFault::NoAnswer,
        _ => TlsFault::Ended,
    }
}

enum ConnectError {
    Connect(std::io::Error),
    Tls(TlsFault),
}

/// Connects as a delivery does. An address that takes the connection and says nothing is the last that deliveries go to
/// for a while, so another one is tried once.
fn connect(context: &DoctorContext, target: &Target, addresses: &[SocketAddr]) -> Result<(), ConnectError> {
    let mut silent = None;
    loop {
        let others: Vec<SocketAddr> = addresses.iter().filter(|address| Some(**address) != silent).copied().collect();
        let (stream, peer) = dial(&others, NETWORK_LIMIT).map_err(ConnectError::Connect)?;
        if !target.is_tls {
            return Ok(());
        }
        match handshake(context, target, stream) {
            Err(ConnectError::Tls(TlsFault::NoAnswer | TlsFault::Ended)) if silent.is_none() && others.len() > 1 => {
                silent = Some(peer);
            }
            result => return result,
        }
    }
}

fn handshake(context: &DoctorContext, target: &Target, mut stream: TcpStream) -> Result<(), ConnectError> {
    let of_configuration =
        |error: &dyn std::fmt::Display| ConnectError::Connect(std::io::Error::other(error.to_string()));
    let limits = stream.set_read_timeout(Some(NETWORK_LIMIT)).and(stream.set_write_timeout(Some(NETWORK_LIMIT)));
    limits.map_err(ConnectError::Connect)?;
    let config = app::tls_with(&context.config, &target.host).map_err(|error| of_configuration(&error))?;
    let name = ServerName::try_from(target.host.clone()).map_err(|error| of_configuration(&error))?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|error| of_configuration(&error))?;
    while connection.is_handshaking() {
        let done = connection.complete_io(&mut stream);
        done.map_err(|error| ConnectError::Tls(tls_error::of_io(&error).unwrap_or_else(|| unanswered(&error))))?;
    }
    connection.send_close_notify();
    drop(connection.complete_io(&mut stream));
    Ok(())
}
