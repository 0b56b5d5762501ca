//! Help, manual pages and completions are made of one definition, and every example in them works.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory as _;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempclock_webhooks::cli::Cli;

use crate::harness::{
    BINARY, Output, Process, Receiver, Server, clock_in, run, signature_hex, signature_standard, wait_guarded,
};

const NAME: &str = "tempclock-webhooks";

/// Every command with its words and its examples, as they stand in its help.
fn commands() -> Vec<(Vec<String>, Vec<String>)> {
    let mut found = Vec::new();
    collect(&Cli::command(), &[], &mut found);
    assert!(found.len() > 15, "{found:?}");
    found
}

fn collect(command: &clap::Command, words: &[String], found: &mut Vec<(Vec<String>, Vec<String>)>) {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut examples: Vec<String> = Vec::new();
    for line in after.lines().filter(|line| line.starts_with("  ")) {
        match examples.last_mut() {
            Some(example) if example.ends_with('\\') => *example = format!("{example}\n{line}"),
            _ if line.trim_start().starts_with(NAME) => examples.push(line.trim().to_owned()),
            _ => {}
        }
    }
    found.push((words.to_vec(), examples));
    for further in command.get_subcommands() {
        collect(further, &[words, &[further.get_name().to_owned()]].concat(), found);
    }
}

/// The folder in which examples run, with all that they name.
struct Stage {
    server: Server,
    event: String,
    delivery: String,
    job: String,
    _receiver: Receiver,
}

impl Stage {
    fn new() -> Self {
        let mut server = Server::start(&[("alerts.command", "'/bin/true'")]);
        let listen = format!("\"{}\"", server.address());
        server.configure(&[("server.listen", &listen)]);
        let key = server.key("*");
        server.key("webhooks:read");
        server.key("webhooks:read");
        let client = server.client_with(&key);
        let receiver = Receiver::start();
        let secret = client.subscribe(&receiver.url("/"), &["clock_in"]).secret;
        let event = client.publish("clock_in", &clock_in(1));
        let delivery = client.delivery_ids(&event).remove(0);
        client.wait_for_status(&delivery, "delivered");
        let made = client.post("/deliveries/retry", &json!({})).expect(202);
        let job = made.data()["job"]["id"].as_str().unwrap().to_owned();
        let folder = server.folder();
        fs::create_dir(folder.join("bin")).unwrap();
        symlink(BINARY, folder.join("bin").join(NAME)).unwrap();
        fs::write(folder.join("key.txt"), key).unwrap();
        fs::write(folder.join("secret.txt"), &secret).unwrap();
        fs::write(folder.join("body.json"), BODY).unwrap();
        fs::write(folder.join("data.json"), clock_in(1).to_string()).unwrap();
        let morning = [2, 3].map(|entry| json!({"event": "clock_in", "data": clock_in(entry)}).to_string());
        fs::write(folder.join("morning.ndjson"), morning.join("\n")).unwrap();
        let new_key = folder.join("new.key");
        let made = run(&["secrets", "make-key", new_key.to_str().unwrap()], &[]);
        assert_eq!(made.code, Some(0), "{made:?}");
        Self { server, event, delivery, job, _receiver: receiver }
    }

    /// Writes `postgres.toml`, each time for another schema.
    fn write_postgres_config(&self) {
        let mut other = Server::stopped_on_postgres(&[]);
        other.move_to(&self.server.data_dir());
        let text = fs::read_to_string(other.config_file()).unwrap();
        let url = fs::read_to_string(other.folder().join("database_url")).unwrap();
        let here = self.server.folder();
        fs::write(here.join("database_url"), url).unwrap();
        let text = text.replace(&other.folder().display().to_string(), &here.display().to_string());
        fs::write(here.join("postgres.toml"), text).unwrap();
    }

    /// The example as it can be run here: on this folder instead of the system's, on free ports.
    fn command(&self, example: &str) -> Command {
        let folder = self.server.folder();
        let here = folder.display().to_string();
        let config = self.server.config_file().display().to_string();
        let example = example
            .replace("/etc/tempclock-webhooks/config.toml", &config)
            .replace("--config config.toml", &format!("--config {config}"))
            .replace("/var/lib/tempclock-webhooks", &self.server.data_dir().display().to_string())
            .replace("/var/backups", &here)
            .replace("/etc/bash_completion.d", &here)
            .replace("/usr/local/share/zsh/site-functions", &here)
            .replace("~/.config/fish/completions", &here)
            .replace("/usr/local/share/man", &here)
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:9090", "127.0.0.1:0")
            .replace("crm.example.com", "localhost")
            .replace("evt_019cadc7b1c07ad1ea45cf36ac5ac543", &self.event)
            .replace("dlv_019cadc7b1c07ad1ea45cf36ac5ac54300000001", &self.delivery)
            .replace("job_019cadc7b1c07ad1ea45cf36ac5ac543", &self.job)
            .replace("secrets.key", &format!("key-{}.key", jiff::Timestamp::now().as_nanosecond()));
        let secret = fs::read_to_string(folder.join("secret.txt")).unwrap();
        let now = jiff::Timestamp::now().as_second().to_string();
        let mut command = Command::new("sh");
        command
            .args(["-c", example.as_str()])
            .current_dir(folder)
            .env("PATH", format!("{here}/bin:/usr/bin:/bin"))
            .env("TEMPCLOCK_WEBHOOKS_CONFIG", &config)
            .env("SIGNATURE", signature_hex(&secret, BODY))
            .env("WEBHOOK_SIGNATURE", signature_standard(&secret, "evt_1", &now, BODY))
            .env("WEBHOOK_ID", "evt_1")
            .env("WEBHOOK_TIMESTAMP", now);
        command
    }

    #[track_caller]
    fn run(&self, example: &str) {
        let mut command = self.command(example);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
        let code = wait_guarded(&mut child, example).code();
        // What it finds depends on the machine.
        let is_good = code == Some(0) || (example.contains(" doctor") && code == Some(1));
        assert!(is_good, "{example} ended with {code:?}: {stdout}");
        if example.contains("--json") {
            assert!(serde_json::from_str::<Value>(&stdout).is_ok(), "{example} printed {stdout}");
        }
    }

    /// Runs a command that has no end of its own, until it says that it is ready.
    #[track_caller]
    fn run_until_ready(&self, example: &str) {
        let mut command = self.command(&format!("exec 2>&1; exec {example}"));
        let mut process = Process::spawn(&mut command);
        process.wait_for_line(example, |line| {
            line.contains("istening on http://") || line.starts_with("Ctrl-C ends") || line.starts_with("Following")
        });
        let end = process.stop(Signal::TERM);
        assert!(end.status.success(), "{example}: {end:?}");
    }
}

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const BODY: &[u8] = br#"{"id":"evt_1","event":"ping","timestamp":"2026-03-02T08:00:00.000Z","data":{}}"#;

/// When an example runs: most while the server does, those that take its place or its data away after them.
fn turn(example: &str) -> u8 {
    let words: Vec<&str> = example.split_whitespace().skip(1).collect();
    match words[..] {
        ["subscriptions", "delete", ..] | ["events", "erase", ..] => 1,
        ["serve" | "restore" | "compact" | "verify" | "storage", ..] => 2,
        ["secrets", "rotate", ..] => 3,
        ["secrets", "decrypt", ..] => 4,
        ["init", ..] => 5,
        _ => 0,
    }
}

#[test]
fn every_command_has_an_example_and_every_example_works() {
    let mut all = Vec::new();
    for (words, examples) in commands() {
        assert!(!examples.is_empty(), "{words:?} has no example");
        for example in examples {
            let begins: Vec<&str> = example.split_whitespace().skip(1).take(words.len()).collect();
            assert_eq!(begins, words, "{words:?} has the example of another command");
            all.push(example);
        }
    }
    all.sort_by_key(|example| turn(example));
    let mut stage = Stage::new();
    let mut reached = 0;
    for example in all {
        for turn in reached + 1..=turn(&example) {
            match turn {
                2 => {
                    assert!(stage.server.terminate().success());
                    // An address that is taken by nobody now, but may be by another test.
                    stage.server.configure(&[("server.listen", "")]);
                }
                4 => {
                    let key = format!("'{}'", stage.server.folder().join("new.key").display());
                    stage.server.configure(&[("storage.encryption_key_file", &key)]);
                }
                5 => {
                    stage.server.configure(&[("storage.encryption_key_file", "")]);
                    fs::remove_dir_all(stage.server.data_dir()).unwrap();
                }
                _ => {}
            }
            reached = turn;
        }
        match example.split_whitespace().skip(1).take(2).collect::<Vec<_>>()[..] {
            ["serve" | "demo" | "listen", ..] | ["deliveries", "tail"] => stage.run_until_ready(&example),
            ["init", ..] => {
                drop(fs::remove_dir_all(stage.server.data_dir()));
                stage.run(&example);
            }
            ["storage", "copy"] => {
                stage.write_postgres_config();
                stage.run(&example);
            }
            _ => stage.run(&example),
        }
    }
    assert_eq!(reached, 5, "not every kind of example was met");
}

#[test]
fn every_command_takes_a_configuration_file_before_and_after_its_words() {
    let server = Server::stopped(&[]);
    let config = server.config_file().display().to_string();
    let mut root = Cli::command();
    root.build();
    for (words, _) in commands() {
        let command = words.iter().fold(&root, |command, word| command.find_subcommand(word).unwrap());
        assert!(command.get_arguments().any(|argument| argument.get_long() == Some("config")), "{words:?}");
    }
    let new_key = |name: &str| server.folder().join(name).display().to_string();
    for (number, arguments) in [
        vec!["events", "types"],
        vec!["completions", "zsh"],
        vec!["man"],
        vec!["sign", "--secret", SECRET],
        vec!["config", "show"],
        vec!["secrets", "make-key"],
    ]
    .into_iter()
    .enumerate()
    {
        for (place, at) in [(0, "before"), (arguments.len(), "after")] {
            let file = new_key(&format!("{number}{at}"));
            let mut all = arguments.clone();
            if all.last() == Some(&"make-key") {
                all.push(&file);
            }
            let place = if place == 0 { 0 } else { all.len() };
            all.splice(place..place, ["--config", &config]);
            let output = run(&all, &[]);
            assert_eq!(output.code, Some(0), "{all:?}: {output:?}");
            assert!(!output.stdout.is_empty(), "{all:?}: {output:?}");
            let is_read = arguments != ["config", "show"] || output.stdout.contains(&config);
            assert!(is_read, "{all:?}: {output:?}");
        }
    }
}

#[test]
fn help_shows_the_examples_whole_and_lists_the_exit_codes() {
    for (words, examples) in commands() {
        let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = run(&arguments, &[]);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{words:?}");
        let narrow = run(&arguments, &[("COLUMNS", "80")]);
        for line in examples.iter().flat_map(|example| example.lines()).map(str::trim) {
            assert!(narrow.stdout.lines().any(|shown| shown.trim() == line), "{line:?} is broken in {}", narrow.stdout);
        }
        let root = Cli::command();
        let command = words.iter().fold(&root, |command, word| command.find_subcommand(word).unwrap());
        for line in command.get_after_help().unwrap().to_string().lines() {
            assert!(help.stdout.lines().any(|shown| shown == line), "{line:?} is broken in {}", help.stdout);
        }
    }
    let help = run(&["--help"], &[]);
    assert!(help.stdout.contains("Exit codes:"), "{}", help.stdout);
    for code in ["0 ", "1 ", "2 ", "3 ", "5 ", "74 "] {
        assert!(help.stdout.lines().any(|line| line.starts_with(&format!("  {code}"))), "{code}: {}", help.stdout);
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let written = run(&["man", "--output", folder.path().join("man1").to_str().unwrap()], &[]);
    assert_eq!(written.code, Some(0), "{written:?}");
    let names: Vec<String> =
        commands().iter().map(|(words, _)| [&[NAME.to_owned()], words.as_slice()].concat().join("-")).collect();
    assert_eq!(written.stdout.lines().count(), names.len(), "{}", written.stdout);
    for (name, (_, examples)) in names.iter().zip(commands()) {
        let page = fs::read_to_string(folder.path().join("man1").join(format!("{name}.1"))).expect(name);
        for wanted in
            [".TH", ".SH NAME", ".SH SYNOPSIS", ".SH EXAMPLES", ".SH \"EXIT STATUS\"", "invalid configuration"]
        {
            assert!(page.contains(wanted), "{name} has no {wanted}: {page}");
        }
        // Head and foot have the title twice beside other words, so a long one overlaps them.
        assert!(page.contains(&format!(".TH {NAME} 1 ")), "{page}");
        assert!(!page.contains(".SH DESCRIPTION"), "{name} says again what it is: {page}");
        let plain = page.replace("\\-", "-").replace("\\*(Aq", "'");
        for line in examples.iter().flat_map(|example| example.lines()) {
            let line = line.trim().trim_end_matches('\\');
            assert!(plain.contains(line), "{name} has no {line}: {page}");
        }
    }
    let retry = fs::read_to_string(folder.path().join("man1").join(format!("{NAME}-deliveries-retry.1"))).unwrap();
    let (arguments, options) = retry.split_once(".SH OPTIONS").unwrap();
    assert!(arguments.contains(".SH ARGUMENTS") && arguments.contains("[ID]") && !options.contains("[ID]"), "{retry}");
    let first = run(&["man"], &[]);
    assert_eq!(first.stdout, fs::read_to_string(folder.path().join("man1").join(format!("{NAME}.1"))).unwrap());
}

#[test]
fn completions_know_every_command_and_bash_accepts_its_own() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell], &[]);
        assert_eq!((script.code, script.stderr.as_str()), (Some(0), ""), "{shell}");
        for (words, _) in commands() {
            let last = words.last().cloned().unwrap_or_default();
            assert!(script.stdout.contains(&last), "{shell} does not know {last}");
        }
        for name in ["clock_in", "document_expired", "exhausted", "webhooks"] {
            assert!(script.stdout.contains(name), "{shell} does not offer {name}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    fs::write(&path, run(&["completions", "bash"], &[]).stdout).unwrap();
    assert!(bash_accepts(&path), "bash refuses its completions");
    let unknown = run(&["completions", "tcsh"], &[]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("zsh"), "{unknown:?}");
}

fn bash_accepts(script: &Path) -> bool {
    Command::new("bash").arg("-n").arg(script).status().expect("bash").success()
}

#[test]
fn a_wrong_word_is_answered_with_the_nearest_right_one() {
    for (arguments, meant) in [
        (vec!["srve"], "serve"),
        (vec!["lisen"], "listen"),
        (vec!["sign", "--secert", "x"], "--secret"),
        (vec!["config", "shwo"], "show"),
        (vec!["completions", "bsh"], "bash"),
    ] {
        let output: Output = run(&arguments, &[]);
        assert_eq!(output.code, Some(2), "{arguments:?}: {output:?}");
        assert!(output.stderr.contains(meant), "{arguments:?}: {}", output.stderr);
        assert!(!output.stderr.contains('\u{1b}'), "colour without a terminal: {output:?}");
    }
}

#[test]
fn the_configuration_is_shown_with_the_origin_of_each_value() {
    let server = Server::stopped(&[("delivery.threads", "9")]);
    let config = server.config_file();
    let arguments = ["config", "show", "--config", config.to_str().unwrap()];
    let environment = [("TEMPCLOCK_WEBHOOKS_LIMITS__EVENT_BYTES", "1KiB")];
    let json = run(&[&arguments[..], &["--json"]].concat(), &environment);
    let shown: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(shown["file"], config.to_str().unwrap());
    let row = |key: &str| shown["data"].as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
    let threads = row("delivery.threads");
    assert_eq!((&threads["value"], &threads["origin"]), (&9.into(), &"file".into()), "{threads}");
    assert!(threads["line"].is_u64(), "{threads}");
    let bytes = row("limits.event_bytes");
    assert_eq!((&bytes["value"], &bytes["origin"]), (&"1KiB".into(), &"environment".into()), "{bytes}");
    assert_eq!(bytes["variable"], environment[0].0);
    assert_eq!(row("retention.events")["origin"], "default");
    assert!(row("delivery.retry_schedule")["value"].is_array());
    let text = run(&arguments, &environment);
    assert!(text.stdout.contains("delivery.threads = 9"), "{}", text.stdout);
    let line = text.stdout.lines().find(|line| line.starts_with("limits.event_bytes")).unwrap();
    assert!(line.ends_with(environment[0].0), "{line}");
    assert!(toml::from_str::<toml::Table>(&text.stdout).is_ok(), "{}", text.stdout);
}
