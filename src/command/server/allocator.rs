//! Bounds the arenas of glibc's memory allocator, which reads their number at the start of a process and nowhere else:
//! `serve` replaces its own process once with the same program and that setting. Runs on the main thread, before any
//! other thread exists. It never overrides a setting of the operator, and never makes a start fail.
//!
//! By default glibc gives threads up to eight arenas for each processor. A page of the database is allocated by the
//! thread that reads it and freed by the thread that evicts it, and its memory stays with the arena that it came from.
//! So each arena can grow to the size of the page cache, and does not shrink.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

const ARENA_MAX: &str = "MALLOC_ARENA_MAX";
/// One would take less memory, but threads wait for it; each further one can take as much as the page cache.
const ARENAS: &str = "2";
/// Where else an operator can have set it.
const TUNABLES: &str = "GLIBC_TUNABLES";
/// Set in the new process, because glibc can remove the setting from the environment (of a program with file
/// capabilities), and the process must not be replaced again and again.
const REPLACED: &str = "_TEMPCLOCK_ARENAS_BOUNDED";

/// Replaces the process by one with bounded arenas. Returns only if there is nothing to do, or with the reason why the
/// process could not be replaced.
pub fn bound_arenas() -> io::Result<()> {
    let is_set = |name: &str| env::var_os(name).is_some();
    if !cfg!(target_env = "gnu") || [REPLACED, ARENA_MAX, TUNABLES].into_iter().any(is_set) {
        return Ok(());
    }
    let mut arguments = env::args_os();
    let name = arguments.next();
    let mut command = Command::new(env::current_exe()?);
    command.arg0(name.as_deref().unwrap_or(OsStr::new("tempclock-webhooks"))).args(arguments);
    Err(command.env(ARENA_MAX, ARENAS).env(REPLACED, "1").exec())
}
