//! A PostgreSQL server of the tests' own: one for each process of tests, in a folder that goes with it, with fsync on. It
//! ends when the process does, whatever happens to that.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::{Authority, eventually};

static SHARED: LazyLock<Postgres> = LazyLock::new(Postgres::start);
static SCHEMAS: AtomicU32 = AtomicU32::new(1);
/// The superuser's, over the network.
const PASSWORD: &str = "secret of the tests";
/// What it runs as where the tests are root, which it refuses to be.
const USER: &str = "postgres";
/// A port that was free may be taken before the server has it.
const PORTS_TRIED: u32 = 20;

/// A running server.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    /// Ends the server when its stdin is closed, which it is at the latest when the tests end.
    keeper: Option<Child>,
    authority: TempDir,
}

impl Postgres {
    /// The one that the tests share; each has a schema of its own.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Starts one.
    pub fn start() -> Self {
        let mut server = Self::in_a_new_folder();
        let folder = server.folder.clone();
        let made = as_user(&program("initdb"))
            .args(["--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .arg("--username=postgres")
            .arg(format!("--pwfile={}", folder.join("password").display()))
            .arg("-D")
            .arg(folder.join("data"))
            .current_dir("/")
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        for _ in 0..PORTS_TRIED {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            server.keeper = Some(run(&server.folder, server.port));
            if server.is_ready() {
                return server;
            }
        }
        panic!("PostgreSQL does not start: {}", fs::read_to_string(server.folder.join("log")).unwrap_or_default());
    }

    /// A folder with all but the data.
    fn in_a_new_folder() -> Self {
        // Not a `TempDir`: what ends the server removes it.
        let folder = TempDir::new().unwrap().keep();
        let authority = TempDir::new().unwrap();
        let issuer = Authority::new();
        issuer.write_to(authority.path());
        issuer.identity("localhost", |_| {}).write_to(&folder, "server");
        fs::write(folder.join("password"), PASSWORD).unwrap();
        for path in [folder.clone(), folder.join("password"), folder.join("server.key"), folder.join("server.pem")] {
            give_away(&path);
        }
        Self { keeper: None, folder, port: 0, authority }
    }

    /// Starts a standby of it, which has everything when this returns. It takes the port of a server that was killed, or
    /// another one.
    #[track_caller]
    pub fn standby(&self, in_the_place_of: Option<&Self>) -> Self {
        let mut standby = Self::in_a_new_folder();
        let copied = as_user(&program("pg_basebackup"))
            .args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync", "-U", USER, "-p"])
            .arg(self.port.to_string())
            .arg("-h")
            .arg(&self.folder)
            .arg("-D")
            .arg(standby.folder.join("data"))
            .current_dir("/")
            .output()
            .expect("pg_basebackup runs");
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        for _ in 0..PORTS_TRIED {
            standby.port = match in_the_place_of {
                Some(killed) => killed.port,
                None => TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
            };
            standby.keeper = Some(run(&standby.folder, standby.port));
            if standby.is_ready() {
                eventually("the standby follows", || {
                    (self.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") != "0")
                        .then_some(())
                });
                return standby;
            }
        }
        panic!("the standby does not start: {}", fs::read_to_string(standby.folder.join("log")).unwrap_or_default());
    }

    /// Has every commit wait for its standby from now on.
    pub fn wait_for_standby(&self) {
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("SELECT pg_reload_conf()");
        eventually("its standby is synchronous", || {
            (self.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1").then_some(())
        });
    }

    /// Makes a standby the primary, which waits for no standby.
    pub fn promote(&self) {
        self.sql("ALTER SYSTEM RESET synchronous_standby_names");
        self.sql("SELECT pg_reload_conf()");
        assert_eq!(self.sql("SELECT pg_promote(true, 120)"), "t");
    }

    /// Ends all its processes at once, as a machine that fails does. Its data stay.
    pub fn kill_9(&mut self) {
        let text = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let main: i32 = text.lines().next().unwrap().parse().unwrap();
        let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap();
        let all = [main].into_iter().chain(children.split_whitespace().map(|id| id.parse().unwrap()));
        for pid in all.filter_map(Pid::from_raw) {
            // A child may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
        self.pause();
    }

    /// Starts it again where it was.
    pub fn start_again(&mut self) {
        // Processes that were killed may not have let go of their memory yet.
        let starts = (0..PORTS_TRIED).any(|_| {
            self.keeper = Some(run(&self.folder, self.port));
            self.is_ready()
        });
        assert!(starts, "it starts again");
    }

    /// Stops it, closing every connection. Its data stay.
    pub fn pause(&mut self) {
        if let Some(stdin) = self.keeper.as_mut().and_then(|keeper| keeper.stdin.as_mut()) {
            stdin.write_all(b"keep\n").unwrap();
        }
        self.stop();
    }

    /// The URL of the superuser for both, whichever takes writes.
    pub fn url_with(&self, other: &Self) -> String {
        self.url().replace(&format!(":{}/", self.port), &format!(":{},localhost:{}/", self.port, other.port))
    }

    fn is_ready(&mut self) -> bool {
        eventually("PostgreSQL answers, or ends", || {
            if self.keeper.as_mut().is_none_or(|keeper| keeper.try_wait().unwrap().is_some()) {
                return Some(false);
            }
            self.try_sql("SELECT 1").status.success().then_some(true)
        })
    }

    /// Its URL for the superuser.
    pub fn url(&self) -> String {
        self.url_of(USER, PASSWORD, "postgres", "sslmode=disable")
    }

    /// A URL for somebody, with what stands behind the question mark.
    pub fn url_of(&self, user: &str, password: &str, database: &str, options: &str) -> String {
        let password = password.replace(' ', "%20");
        format!("postgres://{user}:{password}@localhost:{}/{database}?{options}", self.port)
    }

    /// Its URL for the superuser over the socket of this machine, with what stands behind the question mark.
    pub fn url_of_socket(&self, options: &str) -> String {
        let folder = self.folder.to_str().unwrap().replace('/', "%2F");
        format!("postgres://{USER}@{folder}:{}/postgres?{options}", self.port)
    }

    /// The file with the authority that its certificate for `localhost` is from.
    pub fn authority(&self) -> PathBuf {
        self.authority.path().join("authority.pem")
    }

    /// The name of a schema that no other test uses.
    pub fn new_schema() -> String {
        format!("test_{}_{}", std::process::id(), SCHEMAS.fetch_add(1, Ordering::SeqCst))
    }

    fn try_sql(&self, sql: &str) -> Output {
        Command::new(program("psql"))
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", USER, "-p", &self.port.to_string(), "-h"])
            .arg(&self.folder)
            .args(["-d", "postgres", "-c", sql])
            .stdin(Stdio::null())
            .output()
            .expect("psql runs")
    }

    /// Executes SQL as the superuser, and gives what it prints.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        let output = self.try_sql(sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Stops it, closing every connection, and starts it again where it was.
    pub fn restart(&mut self) {
        self.pause();
        self.start_again();
    }

    /// Stops it.
    pub fn stop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs the server until the stdin of what is returned is closed.
fn run(folder: &Path, port: u16) -> Child {
    // What runs in the background of a shell has no stdin but by another number. The folder goes with the server, even if
    // this process was killed.
    let script = r#"exec 3<&0
        "$@" >>"$KEPT/log" 2>&1 & child=$!
        (read -r word <&3; kill -INT $child 2>/dev/null && [ "$word" != keep ] && touch "$KEPT/gone") &
        wait $child; code=$?
        [ ! -e "$KEPT/gone" ] || rm -rf "$KEPT"
        exit $code"#;
    let server = as_user(&program("postgres"));
    let mut keeper = Command::new("sh");
    keeper.args(["-c", script, "sh"]).arg(server.get_program()).args(server.get_args());
    keeper
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-k")
        .arg(folder)
        .args(["-p", &port.to_string(), "-h", "localhost", "-N", "400"])
        .args(["-c", "fsync=on", "-c", "shared_buffers=64MB", "-c", "ssl=on", "-c", "log_min_messages=warning"])
        .arg("-c")
        .arg(format!("ssl_cert_file={}", folder.join("server.pem").display()))
        .arg("-c")
        .arg(format!("ssl_key_file={}", folder.join("server.key").display()))
        .env("KEPT", folder)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh runs")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program of PostgreSQL, by its name.
fn program(name: &str) -> PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
        let newest =
            versions.map(|entry| entry.path()).filter(|path| path.join("bin/postgres").exists()).max_by_key(number);
        newest.expect("PostgreSQL is installed; tests/run installs it").join("bin")
    });
    FOLDER.join(name)
}

/// A command that runs as somebody who may run a server.
fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()]).arg(program);
    command
}

/// Makes a file or folder that user's.
fn give_away(path: &Path) {
    if !is_root() {
        return;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with(&format!("{USER}:"))).expect("there is a user postgres");
    let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
    chown(path, Some(ids[0]), Some(ids[1])).unwrap();
    if path.is_dir() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
