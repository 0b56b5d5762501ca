//! A PostgreSQL of the benchmark's own: a primary with fsync on and one synchronous standby, both on loopback, in a folder that
//! goes with it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::measure::Usage;

/// What it runs as where the benchmark is root's, which it refuses to be.
const USER: &str = "postgres";
const START_LIMIT: Duration = Duration::from_mins(1);

/// Primary and standby.
pub struct Postgres {
    primary: Process,
    standby: Process,
    _dir: TempDir,
}

struct Process {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Postgres {
    /// Starts both, the data in that folder.
    pub fn start(folder: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("postgres").tempdir_in(folder)?;
        give_away(dir.path())?;
        let primary = dir.path().join("primary");
        made(
            as_user("initdb")?
                .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres", "-D"])
                .arg(&primary),
        )?;
        let primary = Process::start(primary)?;
        let standby = dir.path().join("standby");
        let mut copy = as_user("pg_basebackup")?;
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "-h", "127.0.0.1", "-U", USER, "-p"]);
        made(copy.arg(primary.port.to_string()).arg("-D").arg(&standby))?;
        let standby = Process::start(standby)?;
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")?;
        primary.sql("SELECT pg_reload_conf()")?;
        let began = Instant::now();
        while primary.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")? != "1" {
            if began.elapsed() > START_LIMIT {
                return Err("the standby does not follow".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { primary, standby, _dir: dir })
    }

    /// Its URL for everything.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres?sslmode=disable", self.primary.port)
    }

    /// Processor time of both so far, in microseconds: of every process that they ever had.
    pub fn cpu_us(&self) -> Result<u64> {
        let mut sum = 0;
        for process in [&self.primary, &self.standby] {
            sum += process.cpu_us()?;
        }
        Ok(sum)
    }

    /// Asks it, as its superuser.
    pub fn sql(&self, sql: &str) -> Result<String> {
        self.primary.sql(sql)
    }
}

impl Process {
    fn start(folder: PathBuf) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = as_user("postgres")?;
        command.arg("-D").arg(&folder).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""]);
        command.args([
            "-c",
            "fsync=on",
            "-c",
            "full_page_writes=on",
            "-c",
            "shared_buffers=256MB",
            "-c",
            "max_wal_size=4GB",
        ]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let process = Self { child, folder, port };
        let began = Instant::now();
        while process.sql("SELECT 1").is_err() {
            if began.elapsed() > START_LIMIT {
                return Err(format!("PostgreSQL in {} does not start", process.folder.display()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(process)
    }

    fn sql(&self, sql: &str) -> Result<String> {
        let output = Command::new(program("psql")?)
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", USER, "-d", "postgres", "-p"])
            .arg(self.port.to_string())
            .args(["-c", sql])
            .output()?;
        if !output.status.success() {
            return Err(format!("{sql}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// The main process adds up what its ended children used; those that live are read one by one.
    fn cpu_us(&self) -> Result<u64> {
        let main = self.child.id();
        let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children"))?;
        let mut sum = Usage::with_ended_children(main)?;
        for child in children.split_whitespace() {
            // One that has ended meanwhile is among the others next time.
            sum += Usage::with_ended_children(child.parse()?).unwrap_or_default();
        }
        Ok(sum)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of the newest version that is installed.
fn program(name: &str) -> Result<PathBuf> {
    let versions =
        fs::read_dir("/usr/lib/postgresql").map_err(|_| "PostgreSQL is not installed; tests/run installs it")?;
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.flatten().map(|entry| entry.path()).max_by_key(number);
    Ok(newest.ok_or("PostgreSQL is not installed; tests/run installs it")?.join("bin").join(name))
}

fn as_user(name: &str) -> Result<Command> {
    let program = program(name)?;
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()]);
        // It ends with the benchmark, whatever becomes of that.
        command.args(["--pdeathsig", "INT"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    Ok(command)
}

fn made(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned().into()) }
}

/// Makes a folder that user's.
fn give_away(path: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.starts_with(&format!("{USER}:"))).ok_or("there is no user postgres")?;
    let ids: Vec<u32> = line.split(':').skip(2).take(2).filter_map(|id| id.parse().ok()).collect();
    let [user, group] = ids[..] else { return Err("odd line of /etc/passwd".into()) };
    Ok(chown(path, Some(user), Some(group))?)
}
