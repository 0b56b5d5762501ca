//! Measures the server in the situations that decide whether it is fast, fair and small, beside a yardstick made of the
//! same crates, and prints one table, which it also writes to `target/performance.md`.
//!
//! `cargo bench --bench scenarios [-- [--quick] [--yardstick] [SCENARIO…]]`. All traffic stays on loopback addresses.
//! Driver, receiver and yardstick are this same program under a first word of its own, each in its own process, so that
//! what one uses can be told from what another does.

mod browser;
mod child;
mod driver;
mod measure;
mod postgres;
mod receiver;
mod redb_alone;
mod report;
mod scenarios;
mod server;
mod stand;
mod wire;
mod yardstick;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use report::System;
use scenarios::{Bench, LONG_SCENARIOS, SCENARIOS};

/// What fails here ends one scenario, and its text is all that is read of it.
type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["driver", spec] => driver::run(spec),
        ["receiver", spec] => receiver::run(spec),
        ["yardstick", spec] => yardstick::run(spec),
        ["redb-alone", spec] => redb_alone::run(spec),
        _ => run(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scenarios: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    let named: Vec<&str> = words.iter().copied().filter(|word| !word.starts_with("--")).collect();
    let all = || SCENARIOS.iter().chain(LONG_SCENARIOS);
    let known = |name: &&str| *name == "all" || all().any(|scenario| scenario.name == *name);
    // `cargo bench` always says `--bench`; `cargo test --all-targets` does not, and must not measure for minutes.
    let asked = words.contains(&"--bench") || !named.is_empty();
    if !asked || !named.iter().all(known) {
        println!("usage: cargo bench --bench scenarios [-- [--quick] [--yardstick] [SCENARIO…]]\n\nscenarios: all");
        for scenario in SCENARIOS {
            println!("  {:<12} {}", scenario.name, scenario.about);
        }
        println!("\nby name alone:");
        for scenario in LONG_SCENARIOS {
            println!("  {:<12} {}", scenario.name, scenario.about);
        }
        return if named.is_empty() { Ok(()) } else { Err("no such scenario".into()) };
    }
    allow_many_connections()?;
    let server = if words.contains(&"--yardstick") { None } else { server::binary() };
    if server.is_none() {
        eprintln!("no server: measuring the yardstick alone (set SCENARIOS_SERVER to the program)");
    }
    let bench = Bench::new(words.contains(&"--quick"), server.map(System::Server));
    let machine = measure::machine();
    let mut rows = Vec::new();
    let is_one_of_all = |name: &str| SCENARIOS.iter().any(|scenario| scenario.name == name);
    for scenario in all() {
        let of_all = (named.is_empty() || named.contains(&"all")) && is_one_of_all(scenario.name);
        if !of_all && !named.contains(&scenario.name) {
            continue;
        }
        let began = Instant::now();
        eprint!("{:<12} ", scenario.name);
        rows.extend((scenario.run)(&bench));
        eprintln!("{:.0} s", began.elapsed().as_secs_f64());
    }
    scenarios::across(&mut rows);
    let table = format!("{}\n\n{}", machine, report::table(&rows));
    println!("{table}");
    let path = PathBuf::from("target/performance.md");
    std::fs::create_dir_all("target")?;
    std::fs::write(&path, table)?;
    eprintln!("also in {}", path.display());
    Ok(())
}

/// A thousand endpoints with a pool of connections each are more descriptors than a shell allows at first.
fn allow_many_connections() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
