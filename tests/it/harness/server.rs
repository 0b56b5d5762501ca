//! The real binary on a folder of its own, stopped at the end whatever happens.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::program::{Output, command, run_behind, wait_guarded};
use super::{ALL_SCOPES, Client, Postgres, eventually, log::Log};

/// What most tests run on; a test's own settings come over it.
const SETTINGS: [(&str, &str); 5] = [
    ("delivery.allow_http", "true"),
    ("delivery.allow_networks", r#"["127.0.0.0/8"]"#),
    ("delivery.retry_schedule", r#"["1s", "1s", "1s"]"#),
    ("rate_limit.management_per_minute", "0"),
    ("rate_limit.wrong_keys_per_minute", "0"),
];

/// A server and its folder.
pub struct Server {
    folder: TempDir,
    data_dir: PathBuf,
    settings: BTreeMap<String, String>,
    environment: Vec<(String, String)>,
    /// What every command of this server runs inside of, such as a namespace.
    inside: Vec<String>,
    /// What `serve` alone runs through, such as limits or a tracer.
    through: Vec<String>,
    running: Option<Running>,
    /// What earlier runs wrote to stderr.
    earlier: String,
}

struct Running {
    child: Child,
    address: SocketAddr,
    log: Arc<Log>,
}

/// A start that failed.
#[derive(Debug)]
pub struct Failure {
    pub status: ExitStatus,
    /// What it wrote to stderr.
    pub said: String,
}

/// The address on 127.0.0.1 that a process listens on, as the kernel knows it.
fn listens_on(process: u32) -> Option<SocketAddr> {
    const LISTENING: &str = "0A";
    let held: Vec<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .ok()?
        .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned()))
        .collect();
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).ok()?;
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is_ours = columns[3] == LISTENING && held.contains(&format!("socket:[{}]", columns[9]));
        let port = columns[1].split_once(':')?.1;
        is_ours.then(|| SocketAddr::from(([127, 0, 0, 1], u16::from_str_radix(port, 16).unwrap())))
    })
}

impl Server {
    /// Starts a server in a new folder, with settings such as `("delivery.threads", "8")` over
    /// those of [`SETTINGS`]; an empty value takes a setting away.
    #[track_caller]
    pub fn start(overrides: &[(&str, &str)]) -> Self {
        let mut server = Self::stopped(overrides);
        server.launch();
        server
    }

    /// A folder with a configuration on which nothing runs yet.
    pub fn stopped(overrides: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut server = Self {
            data_dir: folder.path().join("data"),
            folder,
            settings: BTreeMap::new(),
            environment: Vec::new(),
            inside: Vec::new(),
            through: Vec::new(),
            running: None,
            earlier: String::new(),
        };
        server.configure(&SETTINGS);
        server.move_to(&server.data_dir());
        if std::env::var("TEST_ENGINE").is_ok_and(|engine| engine == "postgres") {
            server.move_to_postgres(&Postgres::shared().url(), &Postgres::new_schema());
        }
        server.configure(overrides);
        server
    }

    /// Starts a server on the PostgreSQL that the tests share, in a schema of its own.
    #[track_caller]
    pub fn start_on_postgres(overrides: &[(&str, &str)]) -> Self {
        let mut server = Self::stopped_on_postgres(overrides);
        server.launch();
        server
    }

    /// The same before it runs.
    pub fn stopped_on_postgres(overrides: &[(&str, &str)]) -> Self {
        let mut server = Self::stopped(&[]);
        server.move_to_postgres(&Postgres::shared().url(), &Postgres::new_schema());
        server.configure(overrides);
        server
    }

    /// Has the server keep its data in a schema of that database.
    pub fn move_to_postgres(&mut self, url: &str, schema: &str) {
        let file = self.folder.path().join("database_url");
        fs::write(&file, format!("{url}\n")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        self.configure(&[
            ("storage.engine", "'postgres'"),
            ("storage.postgres.url_file", &format!("'{}'", file.display())),
            ("storage.postgres.schema", &format!("'{schema}'")),
        ]);
    }

    /// The schema that it keeps its data in.
    pub fn schema(&self) -> &str {
        self.settings["storage.postgres.schema"].trim_matches('\'')
    }

    /// Has the server keep its data in another folder than one of its own.
    pub fn move_to(&mut self, data_dir: &Path) {
        data_dir.clone_into(&mut self.data_dir);
        self.configure(&[("storage.data_dir", &format!("'{}'", data_dir.display()))]);
    }

    /// Changes the configuration file; it is read at the next start.
    pub fn configure(&mut self, overrides: &[(&str, &str)]) {
        for (name, value) in overrides {
            if value.is_empty() {
                self.settings.remove(*name);
            } else {
                self.settings.insert((*name).to_owned(), (*value).to_owned());
            }
        }
        let mut text = String::new();
        for (name, value) in self.settings.iter().filter(|(name, _)| !name.contains('.')) {
            writeln!(text, "{name} = {value}").unwrap();
        }
        for (name, value) in &self.settings {
            let Some((section, key)) = name.split_once('.') else { continue };
            let header = format!("[{section}]\n");
            if !text.contains(&header) {
                text.push_str(&header);
            }
            writeln!(text, "{key} = {value}").unwrap();
        }
        fs::write(self.config_file(), text).unwrap();
    }

    /// Sets a variable of the environment for the next start, and for every command from now on.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Puts words before every command from now on, such as `nsenter`; they have to become that command.
    pub fn inside(&mut self, words: Vec<String>) {
        self.inside = words;
    }

    /// Puts words before `serve` from now on, such as `prlimit`; they have to become that command.
    pub fn through(&mut self, words: &[&str]) {
        self.through = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Starts the server on its folder and waits until it listens.
    #[track_caller]
    pub fn launch(&mut self) {
        if let Err(Failure { status, said }) = self.try_launch() {
            panic!("the server never listened, and ended with {status}:\n{said}");
        }
    }

    /// Starts the server where it may fail, and gives how it failed.
    #[track_caller]
    pub fn try_launch(&mut self) -> Result<(), Failure> {
        assert!(self.running.is_none(), "the server runs already");
        self.running = Some(self.begin()?);
        Ok(())
    }

    fn begin(&self) -> Result<Running, Failure> {
        let mut child = self.spawn(Stdio::piped());
        let log = Log::of(child.stderr.take().unwrap());
        if let Some(address) = log.wait_for_address() {
            return Ok(Running { child, address, log });
        }
        let status = wait_guarded(&mut child, "a server that does not listen");
        Err(Failure { status, said: log.text() })
    }

    /// Starts the server with a stderr that nobody can read, and waits until it listens.
    #[track_caller]
    pub fn launch_unheard(&mut self, stderr: Stdio) {
        let mut child = self.spawn(stderr);
        let address = eventually("the server listens, or ends", || match child.try_wait().unwrap() {
            Some(status) => panic!("the server never listened, and ended with {status}"),
            None => listens_on(child.id()),
        });
        self.running = Some(Running { child, address, log: Log::of(std::io::empty()) });
    }

    fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn spawn(&self, stderr: Stdio) -> Child {
        let words = [self.inside.as_slice(), &self.through].concat();
        command(&words, self.variables())
            .arg("serve")
            .arg("--config")
            .arg(self.config_file())
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(self.data_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("{:?} does not start: {error}", words.first()))
    }

    /// Tries to start the server where it must fail, and gives what it said.
    #[track_caller]
    pub fn fail_to_start(&self) -> Output {
        match self.begin() {
            Err(Failure { status, said }) => Output { code: status.code(), stdout: String::new(), stderr: said },
            Ok(mut running) => {
                let _ = running.child.kill();
                let _ = running.child.wait();
                panic!("the server listens although it should not start:\n{}", running.log.text());
            }
        }
    }

    #[track_caller]
    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server runs")
    }

    /// Where the server listens.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.running().address
    }

    /// The process id of the server.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// Lowers how many files and connections the running server may have open.
    #[track_caller]
    pub fn limit_descriptors(&self, count: usize) {
        let (process, limit) = (self.pid().to_string(), format!("--nofile={count}:"));
        let status = Command::new("prlimit").args(["--pid", &process, &limit]).status().expect("prlimit runs");
        assert!(status.success(), "prlimit ended with {status}");
    }

    /// What the server holds in memory now, in KiB.
    #[track_caller]
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }

    /// A folder for a test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything written to stderr so far, by all runs.
    pub fn log(&self) -> String {
        let now = self.running.as_ref().map(|running| running.log.text()).unwrap_or_default();
        format!("{}{now}", self.earlier)
    }

    /// Runs a command with this server's configuration.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let config = self.config_file();
        let mut all = arguments.to_vec();
        all.extend(["--config", config.to_str().unwrap()]);
        self.command(&all)
    }

    /// Runs a command where this server runs, without its configuration.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> Output {
        let environment: Vec<_> = self.variables().collect();
        run_behind(&self.inside, arguments, &environment, b"")
    }

    /// Makes a key and gives what the command printed about it.
    #[track_caller]
    pub fn create_key(&self, further: &[&str]) -> Value {
        let mut arguments = vec!["keys", "create", "--json"];
        arguments.extend(further);
        let output = self.cli(&arguments);
        assert_eq!(output.code, Some(0), "keys create failed: {output:?}\n{}", self.log());
        let printed: Value = serde_json::from_str(&output.stdout).expect("JSON on stdout");
        printed["data"].clone()
    }

    /// Makes a key of the default account.
    #[track_caller]
    pub fn key(&self, scopes: &str) -> String {
        self.key_for("default", scopes)
    }

    /// Makes a key of an account.
    #[track_caller]
    pub fn key_for(&self, account: &str, scopes: &str) -> String {
        let key = self.create_key(&["--name", "tests", "--account", account, "--scopes", scopes]);
        key["key"].as_str().expect("the text of the key").to_owned()
    }

    /// A client with a new key of the default account and all scopes.
    #[track_caller]
    pub fn client(&self) -> Client {
        self.client_of("default")
    }

    /// A client with a new key of an account and all scopes.
    #[track_caller]
    pub fn client_of(&self, account: &str) -> Client {
        self.client_with(&self.key_for(account, ALL_SCOPES))
    }

    /// A client with a key that exists.
    #[track_caller]
    pub fn client_with(&self, key: &str) -> Client {
        Client::new(self.address(), Some(key))
    }

    /// A client without a key.
    #[track_caller]
    pub fn stranger(&self) -> Client {
        Client::new(self.address(), None)
    }

    /// Ends the process at once, as a power cut would.
    #[track_caller]
    pub fn kill_9(&mut self) {
        let mut running = self.running.take().expect("the server runs");
        let _ = running.child.kill();
        running.child.wait().unwrap();
        self.keep(&running.log);
    }

    /// How the server ended, if it has.
    pub fn has_exited(&mut self) -> Option<ExitStatus> {
        self.running.as_mut()?.child.try_wait().unwrap()
    }

    /// Waits until SIGTERM is a request, and no longer the end; or until the server has ended.
    #[track_caller]
    pub fn wait_until_it_heeds_signals(&mut self) {
        let status = format!("/proc/{}/status", self.pid());
        let term = 1_u64 << (Signal::TERM.as_raw() - 1);
        eventually("the server heeds signals, or ends", || {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
            (caught & term != 0 || self.has_exited().is_some()).then_some(())
        });
    }

    /// Asks the server to stop, without waiting for it.
    #[track_caller]
    pub fn ask_to_stop(&self) {
        let pid = Pid::from_child(&self.running().child);
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits for the end of a server that was asked to stop.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let running = self.running.as_mut().expect("the server runs");
        let status = eventually("the server ends", || running.child.try_wait().unwrap());
        let running = self.running.take().unwrap();
        self.keep(&running.log);
        status
    }

    /// Stops the server and gives how it ended.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.wait_for_exit()
    }

    /// Starts the server again on its folder, after stopping it if it runs.
    #[track_caller]
    pub fn restart(&mut self) {
        if self.running.is_some() {
            let status = self.terminate();
            assert!(status.success(), "the server ended with {status}:\n{}", self.earlier);
        }
        self.launch();
    }

    fn keep(&mut self, log: &Log) {
        log.wait_for_end();
        self.earlier.push_str(&log.text());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
        if thread::panicking() {
            eprintln!("--- the server wrote ---\n{}------------------------", self.log());
        }
    }
}
