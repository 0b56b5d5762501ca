//! The real server as a child process: its configuration, keys and subscriptions, and how it is stopped and started
//! again on the same data.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Request;

use crate::Result;
use crate::receiver::PemFiles;

const READY: &str = "listening on http://";
/// A start that takes longer has failed.
const START_LIMIT: Duration = Duration::from_mins(2);
/// The drain time is 30 s; a stop that takes much longer has failed.
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// What a scenario sets beside the defaults.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Replaces the retry schedule.
    pub retry_schedule: Option<&'static [&'static str]>,
    /// A certificate authority for deliveries.
    pub authority: Option<PathBuf>,
    /// The client certificates that deliveries show.
    pub certificates: Vec<ShownCertificate>,
    /// Takes in this many connections that send nothing, for as long as a scenario takes.
    pub idle_connections: Option<usize>,
    /// Words in front of the program, for what it is to run through.
    pub through: &'static [&'static str],
}

/// A client certificate, who uses it, and for where.
#[derive(Clone, Debug)]
pub struct ShownCertificate {
    /// What subscriptions call it.
    pub name: String,
    /// The certificate and its key.
    pub files: PemFiles,
    /// Whose subscriptions use it.
    pub account: String,
    /// The host that it is shown to.
    pub host: String,
}

/// The program to measure, if there is one.
pub fn binary() -> Option<PathBuf> {
    std::env::var_os("SCENARIOS_SERVER")
        .map(PathBuf::from)
        .or_else(|| option_env!("CARGO_BIN_EXE_tempclock-webhooks").map(PathBuf::from))
        .filter(|path| path.is_file())
}

/// A server at work.
pub struct Server {
    binary: PathBuf,
    through: &'static [&'static str],
    config: PathBuf,
    data_dir: PathBuf,
    child: Child,
    keys: BTreeMap<String, String>,
    /// Of each account, in the order in which they were made.
    subscriptions: BTreeMap<String, Vec<u64>>,
    agent: Agent,
    /// Where it listens.
    pub addr: SocketAddr,
    /// How long the last start took.
    pub started_in: Duration,
}

impl Server {
    /// Starts it in a folder.
    pub fn start(binary: &Path, dir: &Path, settings: &Settings) -> Result<Self> {
        let data_dir = dir.join("data");
        let config = dir.join("config.toml");
        fs::create_dir_all(&data_dir)?;
        fs::write(&config, configuration(&data_dir, settings))?;
        let through = settings.through;
        let (child, addr, started_in) = launch(binary, through, &config, &data_dir)?;
        let binary = binary.to_owned();
        let (keys, subscriptions) = (BTreeMap::new(), BTreeMap::new());
        let agent = Agent::config_builder().http_status_as_error(false).proxy(None).build().new_agent();
        Ok(Self { binary, through, config, data_dir, child, keys, subscriptions, agent, addr, started_in })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A key of an account, made at the first call.
    pub fn key(&mut self, account: &str) -> Result<String> {
        if let Some(key) = self.keys.get(account) {
            return Ok(key.clone());
        }
        let answer =
            self.command(&["keys", "create", "--name", "bench", "--scopes", "*", "--json", "--account", account])?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let key = answer["data"]["key"].as_str().ok_or("keys create gave no key")?.to_owned();
        self.keys.insert(account.to_owned(), key.clone());
        Ok(key)
    }

    /// Runs a command of the same program and returns its standard output.
    pub fn command(&self, words: &[&str]) -> Result<Vec<u8>> {
        let output = Command::new(&self.binary).args(words).arg("--config").arg(&self.config).output()?;
        if !output.status.success() {
            return Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(output.stdout)
    }

    /// Makes a subscription to what the driver publishes, unless the wish names other types. Returns its number.
    pub fn subscribe(&mut self, account: &str, wish: &Value) -> Result<u64> {
        let mut whole = json!({"events": ["clock_in"]});
        if let (Some(whole), Some(wish)) = (whole.as_object_mut(), wish.as_object()) {
            whole.extend(wish.clone());
        }
        let made = self.call(account, "POST", "/webhooks", &whole)?;
        let id = made["data"]["id"].as_u64().ok_or_else(|| format!("no id in {made}"))?;
        self.subscriptions.entry(account.to_owned()).or_default().push(id);
        Ok(id)
    }

    /// Changes each subscription of an account, by its number among them.
    pub fn change(&mut self, account: &str, to: impl Fn(usize) -> Value) -> Result<()> {
        for (index, id) in self.subscriptions.get(account).cloned().unwrap_or_default().into_iter().enumerate() {
            self.call(account, "PUT", &format!("/webhooks/{id}"), &to(index))?;
        }
        Ok(())
    }

    /// Gives each subscription of an account another secret, beside which the one before stays valid.
    pub fn rotate(&mut self, account: &str) -> Result<()> {
        for id in self.subscriptions.get(account).cloned().unwrap_or_default() {
            self.call(account, "POST", &format!("/webhooks/{id}/secret"), &json!({"overlap": "1d"}))?;
        }
        Ok(())
    }

    /// Sends a request of the API, without a body if there is nothing to send, and returns its answer.
    pub fn call(&mut self, account: &str, method: &str, path: &str, body: &Value) -> Result<Value> {
        let key = self.key(account)?;
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}/api/v1{path}", self.addr))
            .header("Authorization", format!("Bearer {key}"));
        let mut answer = match body {
            Value::Null => self.agent.run(request.body(())?)?,
            body => self.agent.run(request.header("Content-Type", "application/json").body(body.to_string())?)?,
        };
        let text = answer.body_mut().read_to_string()?;
        if !answer.status().is_success() {
            return Err(format!("{method} {path} {body}: {} {text}", answer.status()).into());
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// How many deliveries of an account have that status.
    pub fn count(&mut self, account: &str, status: &str) -> Result<u64> {
        let answer = self.call(account, "GET", &format!("/deliveries?limit=1&status={status}"), &Value::Null)?;
        answer["pagination"]["total"].as_u64().ok_or_else(|| format!("no total in {answer}").into())
    }

    /// Asks it to stop, as systemd would, and waits; gives the time it took.
    pub fn stop(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or("odd process id")?;
        kill_process(pid, Signal::TERM)?;
        while began.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() {
                    Ok(began.elapsed())
                } else {
                    Err(format!("the server stopped with {status}").into())
                };
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err("the server did not stop".into())
    }

    /// Starts it again after a stop.
    pub fn start_again(&mut self) -> Result<()> {
        (self.child, self.addr, self.started_in) = launch(&self.binary, self.through, &self.config, &self.data_dir)?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(data_dir: &Path, settings: &Settings) -> String {
    // A TOML string of the plain kind is written as JSON writes it.
    let text = |value: &dyn std::fmt::Display| json!(value.to_string()).to_string();
    let schedule = settings.retry_schedule.map(|waits| format!("retry_schedule = {}\n", json!(waits)));
    let authority = settings.authority.as_ref().map(|path| format!("ca_certificates = {}\n", text(&path.display())));
    let connections = settings
        .idle_connections
        .map(|count| format!("[server]\nmax_connections = {}\nrequest_timeout = \"10m\"\n\n", count + 100));
    let certificate = |shown: &ShownCertificate| {
        format!(
            "[[delivery.client_certificate]]\nname = {}\ncertificate = {}\nkey = {}\naccounts = [{}]\nhosts = [{}]\n\n",
            text(&shown.name),
            text(&shown.files.certificate.display()),
            text(&shown.files.key.display()),
            text(&shown.account),
            text(&shown.host),
        )
    };
    format!(
        "{}[storage]\ndata_dir = {}\n\n[delivery]\nallow_http = true\nallow_networks = [\"127.0.0.0/8\"]\n{}{}\n\
         {}[limits]\nsubscriptions_per_account = 10000\n\n\
         [rate_limit]\nmanagement_per_minute = 0\npublish_per_minute = 0\nwrong_keys_per_minute = 0\n",
        connections.unwrap_or_default(),
        text(&data_dir.display()),
        schedule.unwrap_or_default(),
        authority.unwrap_or_default(),
        settings.certificates.iter().map(certificate).collect::<String>(),
    )
}

/// Starts the process and waits until it says that it listens.
fn launch(binary: &Path, through: &[&str], config: &Path, data_dir: &Path) -> Result<(Child, SocketAddr, Duration)> {
    let began = Instant::now();
    let mut command = match through {
        [] => Command::new(binary),
        [first, words @ ..] => {
            let mut command = Command::new(first);
            command.args(words).arg(binary);
            command
        }
    };
    let mut child = command
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(config)
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let log = BufReader::new(child.stderr.take().ok_or("no pipe from the server")?);
    let (send, lines) = mpsc::channel();
    // Reads on after the start: a full pipe would stop the server.
    std::thread::spawn(move || {
        for line in log.lines().map_while(std::result::Result::ok) {
            let _ = send.send((Instant::now(), line));
        }
    });
    let mut said = String::new();
    while let Ok((at, line)) = lines.recv_timeout(START_LIMIT.saturating_sub(began.elapsed())) {
        if let Some((_, rest)) = line.split_once(READY) {
            let addr = rest.split_whitespace().next().unwrap_or_default().parse()?;
            return Ok((child, addr, at - began));
        }
        said.push_str(&line);
        said.push('\n');
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(format!("the server did not start:\n{said}").into())
}
