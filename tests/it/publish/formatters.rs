//! The table of formatters in `docs/publish.md` is right: what each prints is accepted or refused as the page says, and
//! each language that is installed here prints it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{Server, clock_in};

const PAGE: &str = include_str!("../../../docs/publish.md");

/// A row of the table.
struct Formatter {
    language: &'static str,
    code: &'static str,
    printed: &'static str,
    verdict: &'static str,
}

fn table() -> Vec<Formatter> {
    let (_, section) = PAGE.split_once("\n## Format times\n").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("the section after it");
    let rows = section.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let formatter = |line: &'static str| {
        let [language, code, printed, verdict] =
            line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect::<Vec<_>>()[..]
        else {
            panic!("not four cells: {line}")
        };
        Formatter { language, code, printed, verdict }
    };
    rows.map(formatter).collect()
}

#[test]
fn what_each_formatter_prints_is_accepted_or_refused_as_the_page_says() {
    let server = Server::start(&[]);
    let client = server.client();
    let rows = table();
    assert!(rows.len() > 40, "{} rows", rows.len());
    for Formatter { language, code, printed, verdict } in rows {
        let mut data = clock_in(1);
        data["clock_in"] = printed.into();
        let answer = client.post("/events", &json!({"event": "clock_in", "data": data}));
        match verdict {
            "accepted" => assert_eq!(answer.status, 202, "{language} {code}: {}", answer.text),
            words => {
                let message = answer.expect(400).json["errors"][0]["message"].as_str().unwrap().to_owned();
                assert!(message.contains(words), "{language} {code}: {message}");
            }
        }
    }
}

/// Has the language print what each of its formatters makes, one a line.
#[track_caller]
fn assert_printed(language: &str, programs: &[&str], file: &str, command: &str, source: impl Fn(&[&str]) -> String) {
    let rows: Vec<Formatter> = table().into_iter().filter(|row| row.language == language).collect();
    assert!(!rows.is_empty(), "the page has no {language}");
    let is_there = |program: &&str| {
        Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success()
    };
    if let Some(missing) = programs.iter().find(|program| !is_there(program)) {
        eprintln!("there is no {missing}, so what {language} prints was not tested");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let code: Vec<&str> = rows.iter().map(|row| row.code).collect();
    fs::write(folder.path().join(file), source(&code)).unwrap();
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop/go");
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder.path())
        .envs([("TZ", "UTC"), ("LC_ALL", "C"), ("GOPROXY", "off"), ("GOFLAGS", "-mod=mod")])
        .env("GOCACHE", cache)
        .output()
        .unwrap();
    assert!(output.status.success(), "{language}: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let wanted: Vec<&str> = rows.iter().map(|row| row.printed).collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), wanted, "{language} prints something else");
}

fn each(code: &[&str], line: impl Fn(&str) -> String) -> String {
    code.iter().map(|code| line(code) + "\n").collect()
}

#[test]
fn java_prints_what_the_page_says() {
    let command = "java -Duser.timezone=UTC Main.java";
    assert_printed("Java", &["java", "javac"], "Main.java", command, |code| {
        let lines = each(code, |code| format!("System.out.println({code});"));
        format!(
            "import java.text.*; import java.time.*; import java.time.format.*; import java.util.Date;
             class Main {{ public static void main(String[] a) {{
             OffsetDateTime t = OffsetDateTime.parse(\"2026-03-02T07:58:00Z\");
             {lines} }} }}"
        )
    });
}

#[test]
fn php_prints_what_the_page_says() {
    assert_printed("PHP", &["php"], "main.php", "php main.php", |code| {
        let lines = each(code, |code| format!("echo {code}, \"\\n\";"));
        format!("<?php $t = new DateTimeImmutable('@1772438280');\n{lines}")
    });
}

#[test]
fn python_prints_what_the_page_says() {
    assert_printed("Python", &["python3"], "main.py", "python3 main.py", |code| {
        let lines = each(code, |code| format!("print({code})"));
        format!(
            "import email.utils\nfrom datetime import datetime, timezone\n\
             t = datetime.fromtimestamp(1772438280, timezone.utc)\n{lines}"
        )
    });
}

#[test]
fn javascript_prints_what_the_page_says() {
    assert_printed("JavaScript", &["node"], "main.js", "node main.js", |code| {
        let lines = each(code, |code| format!("console.log({code});"));
        format!("const t = new Date(1772438280000);\n{lines}")
    });
}

#[test]
fn ruby_prints_what_the_page_says() {
    assert_printed("Ruby", &["ruby"], "main.rb", "ruby main.rb", |code| {
        let lines = each(code, |code| format!("puts {code}"));
        format!("require 'time'\nt = Time.at(1772438280).utc\n{lines}")
    });
}

#[test]
fn go_prints_what_the_page_says() {
    assert_printed("Go", &["go"], "main.go", "go run main.go", |code| {
        let lines = each(code, |code| format!("fmt.Println({code})"));
        format!(
            "package main\nimport (\"fmt\"; \"time\")\nfunc main() {{\nt := time.Unix(1772438280, 0).UTC()\n{lines}}}\n"
        )
    });
}

#[test]
fn c_sharp_prints_what_the_page_says() {
    let command = "mcs -nologo -out:main.exe main.cs && mono main.exe";
    assert_printed("C#", &["mcs", "mono"], "main.cs", command, |code| {
        let lines = each(code, |code| format!("Console.WriteLine({code});"));
        format!(
            "using System; class Main_ {{ static void Main() {{
             var t = new DateTimeOffset(2026, 3, 2, 7, 58, 0, TimeSpan.Zero);
             {lines} }} }}"
        )
    });
}

#[test]
fn perl_prints_what_the_page_says() {
    assert_printed("Perl", &["perl"], "main.pl", "perl main.pl", |code| {
        let lines = each(code, |code| format!("print {code}, \"\\n\";"));
        format!("use POSIX 'strftime'; my $t = 1772438280;\n{lines}")
    });
}

#[test]
fn tcl_prints_what_the_page_says() {
    assert_printed("Tcl", &["tclsh"], "main.tcl", "tclsh main.tcl", |code| {
        format!("set t 1772438280\n{}", each(code, |code| format!("puts [{code}]")))
    });
}

#[test]
fn sqlite_prints_what_the_page_says() {
    assert_printed("SQLite", &["sqlite3"], "main.sql", "sqlite3 < main.sql", |code| {
        each(code, |code| format!("select {code} from (select 1772438280 as t);"))
    });
}

#[test]
fn the_shell_prints_what_the_page_says() {
    // Another `date` than GNU's knows neither -d nor -I.
    assert_printed("Shell", &["bash"], "main.sh", "bash main.sh", |code| {
        format!("t=1772438280\n{}", each(code, str::to_owned))
    });
}
