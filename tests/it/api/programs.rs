//! The programs of `docs/integrate.md`: each is taken from the page and run as the page says. `tests/run` installs the
//! languages.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

pub const PAGE: &str = include_str!("../../../docs/integrate.md");

/// A program that is not running.
#[derive(Clone)]
pub struct Program {
    /// The name of its file.
    pub file: String,
    pub source: String,
    /// What runs it, in the folder of its file.
    pub command: String,
}

/// A program that runs. Ended with all its children, whatever happens.
pub struct Running {
    folder: TempDir,
    child: Child,
}

/// The fenced blocks of a text with what they are marked as.
pub fn blocks(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, fenced)) = rest.split_once("\n```") {
        let (mark, fenced) = fenced.split_once('\n').expect("a line that opens a block");
        let (block, after) = fenced.split_once("\n```\n").expect("a line that closes a block");
        found.push((mark, block));
        // The next block may open on the line after.
        rest = after;
    }
    found
}

/// The only block of the page that is marked so.
#[track_caller]
pub fn block(mark: &str) -> &'static str {
    let found: Vec<_> = blocks(PAGE).into_iter().filter(|(present, _)| *present == mark).collect();
    assert_eq!(found.len(), 1, "blocks marked {mark}");
    found[0].1
}

impl Program {
    /// All of the page, with the languages that they are marked as.
    pub fn all() -> Vec<(&'static str, Self)> {
        let program = |(mark, source): (&'static str, &str)| {
            let (opening, command) = source.lines().next()?.split_once(", run with: ")?;
            let (_, file) = opening.rsplit_once(' ')?;
            let [file, source, command] = [file, source, command].map(str::to_owned);
            Some((mark, Self { file, source, command }))
        };
        blocks(PAGE).into_iter().filter_map(program).collect()
    }

    /// The only one in that language whose file has that name, whatever follows a dot in it.
    #[track_caller]
    pub fn of_page(mark: &str, name: &str) -> Self {
        let is_it = |file: &str| file.to_lowercase().split('.').next() == Some(name);
        let mut found = Self::all();
        found.retain(|(present, program)| *present == mark && is_it(&program.file));
        assert_eq!(found.len(), 1, "programs called {name} in {mark}");
        found.remove(0).1
    }
}

impl Running {
    /// Starts it in a folder of its own, with these variables and none of those that are not given.
    pub fn launch(program: &Program, variables: &[(&str, Option<&str>)]) -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join(&program.file), &program.source).unwrap();
        let said = File::create(folder.path().join("said.txt")).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", &program.command]).current_dir(folder.path()).process_group(0);
        shell.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        for (name, value) in variables {
            shell.env_remove(name).envs(value.map(|value| (name, value)));
        }
        // What Go has compiled of its library is kept; nothing here is to be fetched.
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop/go");
        shell.env("GOCACHE", cache).env("GOPROXY", "off").env("GOFLAGS", "-mod=mod");
        let child = shell.spawn().unwrap();
        Self { folder, child }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// All that it has printed.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("said.txt")).unwrap()).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
