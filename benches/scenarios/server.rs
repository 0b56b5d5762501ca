//! The real server as a child process: its configuration, keys and subscriptions, and how it is stopped and started
//! again on the same data.

mod clock;
mod settings;

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
use clock::WallClock;
pub use settings::{Settings, ShownCertificate};

const READY: &str = "listening on http://";
/// A start that takes longer has failed.
const START_LIMIT: Duration = Duration::from_mins(2);
/// The drain time is 30 s; a stop that takes much longer has failed.
const STOP_LIMIT: Duration = Duration::from_mins(1);

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
    clock: Option<WallClock>,
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
        let url_file = dir.join("database_url");
        if let Some(url) = &settings.postgres {
            fs::write(&url_file, url)?;
        }
        fs::write(&config, settings::configuration(&data_dir, settings, &url_file))?;
        let through = settings.through;
        let clock = if settings.moves_clock { Some(WallClock::new(dir)?) } else { None };
        let (child, addr, started_in) = launch(command(binary, through, clock.as_ref()), &config, &data_dir)?;
        let binary = binary.to_owned();
        let (keys, subscriptions) = (BTreeMap::new(), BTreeMap::new());
        let agent = Agent::config_builder().http_status_as_error(false).proxy(None).build().new_agent();
        Ok(Self { binary, through, config, data_dir, clock, child, keys, subscriptions, agent, addr, started_in })
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

    /// Learns which subscriptions an account has from an earlier run, the oldest first.
    pub fn find_subscriptions(&mut self, account: &str) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        loop {
            let path = format!("/webhooks?limit=100&offset={}", found.len());
            let page = self.call(account, "GET", &path, &Value::Null)?;
            found.extend(page["data"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_u64()));
            if page["pagination"]["has_more"] != true {
                break;
            }
        }
        found.sort_unstable();
        self.subscriptions.insert(account.to_owned(), found.clone());
        Ok(found)
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

    /// Ends it at once, as a power cut of the process would.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again after a stop.
    pub fn start_again(&mut self) -> Result<()> {
        let command = command(&self.binary, self.through, self.clock.as_ref());
        (self.child, self.addr, self.started_in) = launch(command, &self.config, &self.data_dir)?;
        Ok(())
    }

    /// Moves its wall clock ahead, by three days at most, and says to it that this time has passed.
    pub fn advance(&mut self, by: Duration) -> Result<()> {
        self.clock.as_mut().ok_or("the clock of this server does not move")?.advance(by)?;
        self.command(&["clock", "confirm", "--yes"]).map(drop)
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.data_dir.join("tempclock.redb")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, behind the words that it runs through.
fn command(binary: &Path, through: &[&str], clock: Option<&WallClock>) -> Command {
    let mut command = match through {
        [] => Command::new(binary),
        [first, words @ ..] => {
            let mut command = Command::new(first);
            command.args(words).arg(binary);
            command
        }
    };
    if let Some(clock) = clock {
        clock.give_to(&mut command);
    }
    command
}

/// Starts the process and waits until it says that it listens.
fn launch(mut command: Command, config: &Path, data_dir: &Path) -> Result<(Child, SocketAddr, Duration)> {
    let began = Instant::now();
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
