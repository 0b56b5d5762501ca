//! Checks liveness and readiness over HTTP, as a load balancer would.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::tls::{TlsConfig, TlsProvider};

use super::finding::Finding;
use crate::app;
use crate::command::doctor::context::{DoctorContext, NETWORK_LIMIT};
use crate::control::client::Client;

const SERVER: &str = "server";
/// Time limit to connect; a server that is repairing its file does not respond.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// The readiness checks and how to fix each.
const READY: [(&str, &str); 3] = [
    ("store", "Restart the server and check its log; if the store fails again, verify it and restore a backup"),
    ("threads", "Restart the server, and report what its log says about the thread that ended"),
    ("disk_space", "Free some space, or lower storage.free_space_reserve"),
];

/// Whether the server is up, and the findings.
pub fn check(context: &DoctorContext) -> (bool, Vec<Finding>) {
    let Some(url) = &context.url else {
        let fix = "Pass --api-url, or set a port";
        let message = "server.listen has port 0, so the server's port is unknown; not checked";
        return (false, vec![Finding::warning(SERVER, message, fix)]);
    };
    let agent = agent();
    let health = match get(&agent, &format!("{url}/healthz")) {
        Ok((_, health)) if health["version"].is_string() => health,
        Ok(_) => {
            let fix = "Change the port of one of the two (server.listen), or pass the right --api-url";
            return (false, vec![Finding::problem(SERVER, format!("another program responds at {url}"), fix)]);
        }
        Err(_) if context.control.as_ref().is_some_and(is_stopping) => {
            let message =
                "it is stopping: it accepts no more requests, and ends when the attempts in flight have finished";
            return (true, vec![Finding::problem(SERVER, message, "Wait until it has ended, then start it again")]);
        }
        Err(error) => {
            let fix =
                "Start it: systemctl start tempclock-webhooks, or tempclock-webhooks serve; its log says why it ended";
            return (false, vec![Finding::problem(SERVER, format!("{url} does not respond: {error}"), fix)]);
        }
    };
    let mut findings = Vec::new();
    let version = health["version"].as_str().unwrap_or_default();
    if version != env!("CARGO_PKG_VERSION") {
        let message = format!("it runs version {version}, but this command is version {}", env!("CARGO_PKG_VERSION"));
        findings.push(Finding::warning(SERVER, message, "Restart it: systemctl restart tempclock-webhooks"));
    }
    match get(&agent, &format!("{url}/readyz")) {
        Ok((200, _)) if has_another_folder(context) => {
            let folder = context.config.storage.data_dir.display();
            let message =
                format!("{url} responds, but no server has {folder} open: it is a server with another data folder");
            let fix =
                "Run doctor with that server's configuration, or change the port of one of the two (server.listen)";
            findings.push(Finding::warning(SERVER, message, fix));
        }
        Ok((200, _)) => findings.push(Finding::ok(SERVER, format!("{url} responds and is ready"))),
        Ok((_, readiness)) => findings.extend(not_ready(&readiness)),
        Err(error) => {
            let fix = "Check its log; restart it if it hangs";
            findings.push(Finding::problem(SERVER, format!("{url}/readyz does not respond: {error}"), fix));
        }
    }
    (true, findings)
}

/// A server has its control socket in its data folder, or where its configuration says.
fn has_another_folder(context: &DoctorContext) -> bool {
    let connected = app::control_socket(&context.config).connect();
    let is_absent = |error: std::io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
    context.is_own && connected.is_err_and(is_absent)
}

/// The control socket is served until the end of a stop.
fn is_stopping(control: &Client) -> bool {
    control.send("GET", "/readyz", &[], None).is_ok_and(|answer| answer.json["status"] == "stopping")
}

fn not_ready(readiness: &Value) -> Vec<Finding> {
    let failed = READY.iter().filter(|(name, _)| readiness["checks"][name] == "failed");
    let mut findings: Vec<Finding> =
        failed.map(|(name, fix)| Finding::problem(SERVER, format!("it is not ready: {name}"), *fix)).collect();
    if findings.is_empty() {
        let status = readiness["status"].as_str().unwrap_or("not ready").to_owned();
        findings.push(Finding::problem(SERVER, format!("it is {status}"), "Wait, and check its log"));
    }
    findings
}

/// A client that does not verify the server's certificate, since it does not connect by the certificate's name.
fn agent() -> Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .disable_verification(true)
        .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_LIMIT))
        .timeout_global(Some(NETWORK_LIMIT))
        .build();
    Agent::new_with_config(config)
}

fn get(agent: &Agent, url: &str) -> Result<(u16, Value), ureq::Error> {
    let mut response = agent.get(url).call()?;
    let text = response.body_mut().read_to_string()?;
    Ok((response.status().as_u16(), serde_json::from_str(&text).unwrap_or_default()))
}
