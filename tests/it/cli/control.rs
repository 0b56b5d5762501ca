//! The control socket makes its user the operator, and nothing else does.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{ALL_SCOPES, BINARY, Process, Server, run, write_program};

#[test]
fn who_calls_over_tcp_is_never_taken_for_the_operator() {
    let server = Server::start(&[]);
    let key = server.key_for("mine", ALL_SCOPES);
    let yours = server.client_of("yours");
    yours.subscribe("http://127.0.0.1:9/", &["ping"]);
    let headers: [&[(&str, &str)]; 4] = [
        &[],
        &[("X-Account", "yours"), ("X-Operator", "1")],
        &[("Host", "control.sock"), ("Forwarded", "for=unix:")],
        &[("X-Forwarded-For", "127.0.0.1")],
    ];
    for headers in headers {
        let stranger = server.stranger().send("GET", "/api/v1/webhooks?account=yours", headers, None);
        stranger.expect(401).expect_error("unauthorized");
        let mine = server.client_with(&key).send("GET", "/api/v1/webhooks?account=yours", headers, None);
        assert_eq!(mine.expect(200).json["data"], json!([]), "another account's subscriptions");
        for caller in [server.stranger(), server.client_with(&key), server.client_with(&server.key("*"))] {
            for (method, path) in [
                ("GET", "/control/keys"),
                ("POST", "/control/keys"),
                ("POST", "/control/keys/rotate"),
                ("POST", "/control/keys/revoke"),
                ("GET", "/control/backup"),
                ("POST", "/control/backup/note"),
                ("GET", "/control/alerts"),
                ("GET", "/control/nodes"),
                ("GET", "/control/clock"),
                ("POST", "/control/clock/confirm"),
                ("POST", "/control/sign-in-link"),
                ("GET", "/api/v1/control/keys"),
            ] {
                caller.send(method, path, headers, None).expect(404).expect_error("not_found");
            }
        }
    }
    let narrow = server.client_with(&server.key_for("mine", "events:read"));
    narrow.get("/webhooks?account=mine").expect(403).expect_error("forbidden");
}

#[test]
fn the_operator_has_no_rate_limit_and_leaves_that_of_the_keys_alone() {
    let server = Server::start(&[("rate_limit.management_per_minute", "5")]);
    let key = server.key("*");
    for _ in 0..12 {
        assert_eq!(server.cli(&["subscriptions", "list"]).code, Some(0));
    }
    server.client_with(&key).get("/webhooks").expect(200);
}

#[test]
fn connections_that_say_nothing_do_not_keep_a_command_out() {
    let server = Server::start(&[]);
    server.key("*");
    let socket = server.data_dir().join("control.sock");
    let idle: Vec<_> = (0..40).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let listed = server.cli(&["subscriptions", "list"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    drop(idle);
    server.stranger().send("GET", "/healthz", &[], None).expect(200);
}

#[test]
fn a_control_socket_that_cannot_be_is_told_with_another_place_for_it() {
    // One character more than the system takes.
    let long = "x".repeat(108);
    let mut server = Server::stopped(&[("server.control_socket", &format!("'/tmp/{long}'"))]);
    let refused = server.fail_to_start();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in ["the control socket /tmp/xxx", "SUN_LEN; ", "set server.control_socket to a shorter path"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let nowhere = server.folder().join("nowhere/control.sock");
    server.configure(&[("server.control_socket", &format!("'{}'", nowhere.display()))]);
    assert!(server.fail_to_start().stderr.contains("; set server.control_socket to "));
    // What lies in its place is told as before, with what to do about that.
    fs::write(server.folder().join("a file"), "").unwrap();
    server.configure(&[("server.control_socket", &format!("'{}'", server.folder().join("a file").display()))]);
    let refused = server.fail_to_start();
    assert!(refused.stderr.contains("it was not changed"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("set server.control_socket"), "{}", refused.stderr);

    // A command that opens the store itself has a socket of its own.
    let folder = server.folder().join(&long);
    fs::create_dir(&folder).unwrap();
    let config = server.config_file();
    let list = ["keys", "list", "--config", config.to_str().unwrap()];
    let refused = run(&list, &[("TMPDIR", folder.to_str().unwrap())]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("; set TMPDIR to a folder with a shorter path"), "{}", refused.stderr);
    let listed = run(&list, &[]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
}

#[test]
fn what_is_no_request_is_refused_on_the_socket_and_the_next_command_works() {
    let server = Server::start(&[]);
    server.key("*");
    let socket = server.data_dir().join("control.sock");
    let endless = vec![b'a'; 300_000];
    for bytes in [&b"\0\0\0"[..], b"{\"command\":\"back_up\"}\n", b"GET / HTTP/9\r\n\r\n", &endless] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        // The server may refuse before it has read everything.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let is_refusal = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
        assert!(is_refusal, "{:?}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(server.cli(&["subscriptions", "list"]).code, Some(0));
}

#[test]
fn a_command_without_a_server_leaves_nothing_behind_and_stands_back_for_one() {
    let mut server = Server::stopped(&[]);
    let nothing = server.cli(&["subscriptions", "list"]);
    assert_eq!(nothing.code, Some(5), "{nothing:?}");
    assert!(nothing.stderr.contains("tempclock-webhooks init"), "{}", nothing.stderr);
    assert!(!server.data_dir().exists(), "a look made a database");
    server.key("*");
    let listed = server.cli(&["subscriptions", "list", "--json"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(!server.data_dir().join("control.sock").exists());
    server.launch();
    let configured = server.data_dir().join("control.sock");
    std::fs::rename(&configured, server.folder().join("elsewhere.sock")).unwrap();
    let refused = server.cli(&["subscriptions", "list"]);
    assert_eq!(refused.code, Some(1), "a second owner of the file: {refused:?}");
    assert!(refused.stderr.contains("tempclock.redb"), "{}", refused.stderr);
}

#[test]
fn keys_are_listed_as_the_api_lists_things_and_a_name_that_fits_several_is_refused() {
    let server = Server::start(&[]);
    server.create_key(&["--name", "twin", "--scopes", "webhooks:read"]);
    server.create_key(&["--name", "twin", "--scopes", "webhooks:read"]);
    let listed: Value = serde_json::from_str(&server.cli(&["keys", "list", "--json"]).stdout).unwrap();
    assert_eq!(listed["pagination"]["total"], 2);
    let refused = server.cli(&["keys", "revoke", "twin"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let unknown = server.cli(&["keys", "revoke", "nobody"]);
    assert_eq!(unknown.code, Some(5), "{unknown:?}");
    let wrong = server.cli(&["keys", "create", "--name", "", "--scopes", "webhooks:red", "--networks", "ten"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    for wanted in ["name", "webhooks:read", "ten"] {
        assert!(wrong.stderr.contains(wanted), "{wanted} is not in {}", wrong.stderr);
    }
    let many = (0..25).map(|number| format!("net{number}")).collect::<Vec<_>>().join(",");
    let wrong = server.cli(&["keys", "create", "--name", "n", "--scopes", "*", "--networks", &many]);
    assert!(wrong.stderr.ends_with("  and 5 more\n"), "{}", wrong.stderr);
    let elsewhere = server.cli(&["keys", "list", "--account", "nobody"]);
    assert_eq!(elsewhere.code, Some(5), "{elsewhere:?}");
}

#[test]
fn a_key_whose_name_is_the_number_of_another_does_not_keep_that_from_being_revoked() {
    let server = Server::start(&[]);
    let first = server.create_key(&["--name", "first", "--scopes", "webhooks:read"]);
    let number = first["id"].to_string();
    let second = server.create_key(&["--name", &number, "--scopes", "webhooks:read"]);
    let refused = server.cli(&["keys", "revoke", &number]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for key in [&first, &second] {
        let wanted = format!("id:{} ({}, ", key["id"], key["prefix"].as_str().unwrap());
        assert!(refused.stderr.contains(&wanted), "{wanted} is not in {}", refused.stderr);
    }
    let revoked = server.cli(&["keys", "revoke", &format!("id:{number}")]);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    assert!(revoked.stdout.contains("(first)"), "{revoked:?}");
}

#[test]
fn networks_of_a_key_are_written_in_the_one_form_that_is_compared_and_are_listed() {
    let server = Server::start(&[]);
    for (wrong, right) in [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
        ("fd00::1/8", "fd00::/8"),
        ("10.1.2.3", "10.1.2.3/32"),
    ] {
        let refused = server.cli(&["keys", "create", "--name", "n", "--scopes", "*", "--networks", wrong]);
        assert_eq!(refused.code, Some(2), "{wrong}: {refused:?}");
        assert!(refused.stderr.contains(right), "{wrong}: {}", refused.stderr);
    }
    server.create_key(&["--name", "n", "--scopes", "webhooks:read, events:read", "--networks", "10.0.0.0/8, ::1/128"]);
    let listed = server.cli(&["keys", "list"]);
    assert!(listed.stdout.contains("10.0.0.0/8,::1/128"), "{listed:?}");
    assert!(listed.stdout.contains("webhooks:read,events:read"), "{listed:?}");
}

/// Words that make a command run as nobody, if these tests may do that.
fn as_nobody() -> Option<[&'static str; 4]> {
    let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    rustix::process::geteuid().is_root().then_some(words)
}

#[test]
fn a_command_of_another_user_says_whose_the_database_is() {
    let Some(words) = as_nobody() else { return };
    let mut server = Server::stopped(&[]);
    server.key("*");
    fs::set_permissions(server.folder(), Permissions::from_mode(0o755)).unwrap();
    let reachable = server.folder().join("program");
    write_program(&reachable, &fs::read(BINARY).unwrap());
    for is_running in [false, true] {
        if is_running {
            server.launch();
        }
        for arguments in [&["keys", "list"][..], &["subscriptions", "list"], &["backup", "--output", "-"], &["serve"]] {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).arg(&reachable).args(arguments).arg("--config").arg(server.config_file());
            let output = command.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
            assert!(said.contains("sudo -u root tempclock-webhooks"), "{arguments:?}: {said}");
            assert_eq!(said.contains("systemctl start tempclock-webhooks"), arguments == ["serve"], "{said}");
        }
    }
}

#[test]
fn what_root_makes_in_the_folder_of_another_user_is_left_to_that_user() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    if as_nobody().is_none() {
        return;
    }
    let server = Server::stopped(&[]);
    fs::create_dir(server.data_dir()).unwrap();
    chown(server.data_dir(), Some(65534), Some(65534)).unwrap();
    // What that user could put there to be given a file of root's.
    let secret = server.folder().join("secret");
    fs::write(&secret, "root's own").unwrap();
    for trap in ["holder", "identity.new"] {
        std::os::unix::fs::symlink(&secret, server.data_dir().join(trap)).unwrap();
    }
    let owners = || -> Vec<_> {
        let files = fs::read_dir(server.data_dir()).unwrap().map(|file| file.unwrap());
        files.map(|file| (file.file_name(), file.metadata().unwrap().uid())).collect()
    };
    let backup = server.folder().join("backup").display().to_string();
    for arguments in [&["init"][..], &["backup", "--output", &backup], &["restore", "--yes", &backup], &["compact"]] {
        let output = server.cli(arguments);
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
        assert!(
            owners().len() >= 3 && owners().iter().all(|(_, owner)| *owner == 65534),
            "{arguments:?}: {:?}",
            owners()
        );
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "root's own");
    assert_eq!(fs::metadata(&secret).unwrap().uid(), 0);
}

#[test]
fn a_folder_that_is_closed_to_its_owner_is_named_with_the_remedy() {
    let Some(words) = as_nobody() else { return };
    let server = Server::stopped(&[]);
    fs::create_dir(server.data_dir()).unwrap();
    std::os::unix::fs::chown(server.data_dir(), Some(65534), Some(65534)).unwrap();
    fs::set_permissions(server.data_dir(), Permissions::from_mode(0o500)).unwrap();
    fs::set_permissions(server.folder(), Permissions::from_mode(0o755)).unwrap();
    let reachable = server.folder().join("program");
    write_program(&reachable, &fs::read(BINARY).unwrap());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(&reachable).arg("init").arg("--config").arg(server.config_file());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("chmod u+rwX {}", server.data_dir().display())), "{said}");
}

#[test]
fn a_control_socket_that_another_user_serves_is_not_talked_to() {
    let Some(words) = as_nobody() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let socket = folder.path().join("control.sock");
    let server = Server::stopped(&[("server.control_socket", &format!("'{}'", socket.display()))]);
    let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen(5)\n\
        print('ready', flush=True)\nwhile True:\n    c, _ = s.accept()\n    print('heard', c.recv(9), flush=True)\n    c.close()";
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["/usr/bin/python3", "-c", script]).arg(&socket);
    let mut squatter = Process::spawn(&mut command);
    squatter.wait_for_line("it listens", |line| line == "ready");
    let made = server.cli(&["keys", "create", "--name", "mine", "--scopes", "*"]);
    assert_eq!(made.code, Some(0), "the database itself was not used: {made:?}");
    let end = squatter.stop(Signal::TERM);
    let heard: Vec<_> = end.stdout.iter().filter(|line| line.starts_with("heard") && !line.ends_with("b''")).collect();
    assert!(heard.is_empty(), "a stranger was told {heard:?}");
}
