//! The house keeps its own rules: which layer may import which, how long a file is, and that each says what it owns.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as promised")]

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use self::imports::Imports;

/// Longer files have more than one role.
const LINES: usize = 450;

/// A folder with more files than this is a drawer.
const FILES: usize = 20;

/// Each layer with what it may import; see `docs/architecture.md`.
const LAYERS: [(&str, &[&str]); 13] = [
    ("domain", &["domain"]),
    ("clock", &["domain"]),
    ("descriptors", &[]),
    ("metrics", &[]),
    ("tuning", &[]),
    ("config", &["config", "domain"]),
    ("storage", &["storage", "domain", "clock", "tuning"]),
    ("delivery", &["delivery", "storage", "domain", "clock", "tuning"]),
    ("http", &["http", "delivery", "storage", "domain", "clock", "metrics"]),
    ("notify", &["notify", "delivery", "storage", "domain", "clock"]),
    ("control", &["control", "notify", "http", "storage", "domain", "clock"]),
    (
        "app",
        &[
            "app",
            "control",
            "notify",
            "metrics",
            "http",
            "delivery",
            "storage",
            "config",
            "domain",
            "clock",
            "descriptors",
        ],
    ),
    ("cli", &["cli", "domain"]),
];

fn sources() -> BTreeMap<PathBuf, String> {
    sources_in("src")
}

/// The sources in a folder of the repository, by their path in it.
fn sources_in(folder: &str) -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut folders = vec![root.clone()];
    let mut found = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(&root).unwrap().to_owned(), text);
            }
        }
    }
    assert!(found.len() > 20, "only {} sources found", found.len());
    found
}

fn imports(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|character: char| !(character.is_ascii_lowercase() || character == '_'));
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn layers_import_downward_only() {
    for (path, text) in sources() {
        let layer = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else { continue };
        for import in imports(&text) {
            assert!(allowed.contains(&import), "{} imports {import}", path.display());
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let imports = Imports::read(&sources());
    let arrows: usize = imports.arrows.values().map(BTreeSet::len).sum();
    assert!(arrows > 300, "only {arrows} imports found");
    let circles: Vec<String> = imports.circles().iter().map(|circle| format!("{circle:#?}")).collect();
    assert!(circles.is_empty(), "files that import each other:\n{}", circles.join("\n"));
}

#[test]
fn no_folder_is_a_drawer() {
    for root in ["src", "tests", "benches"] {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(root)];
        while let Some(folder) = folders.pop() {
            let entries: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            let files = entries.iter().filter(|path| path.is_file()).count();
            assert!(files <= FILES, "{} has {files} files", folder.display());
            folders.extend(entries.into_iter().filter(|path| path.is_dir()));
        }
    }
}

#[test]
fn every_file_says_what_it_owns_and_has_one_role() {
    for (path, text) in ["src", "tests", "benches"].into_iter().flat_map(sources_in) {
        assert!(text.starts_with("//! "), "{} does not say what it owns", path.display());
        let lines = text.lines().count();
        assert!(lines <= LINES, "{} has {lines} lines", path.display());
    }
}

/// What is served is described: both come from one table, and nothing is served beside it.
#[test]
fn the_api_has_no_route_outside_of_its_table() {
    let (table, operation) = (Path::new("http/openapi/routes.rs"), Path::new("http/openapi/operation.rs"));
    // Pages for people are no part of the API, and have a table of their own.
    let pages = Path::new("http/dashboard/routes.rs");
    // Each way to serve something, and the one file that may use it.
    let ways = [
        (".route(", None),
        ("web::resource", Some(operation)),
        (".service(", Some(table)),
        ("web::scope", Some(table)),
    ];
    let sources = sources();
    for (path, text) in &sources {
        let is_api = path.starts_with("http") && path != Path::new("http/metrics.rs") && path != pages;
        for (way, home) in ways.iter().filter(|_| is_api) {
            assert!(*home == Some(path) || !text.contains(way), "{} has a route of its own: {way}", path.display());
        }
    }
    let table = &sources[table];
    assert_eq!(table.matches(".service(").count(), table.matches(".into_service()").count() + 1);
}

#[test]
fn engines_their_files_and_stored_rows_are_named_where_they_belong_and_bincode_in_one_file() {
    for (path, text) in sources() {
        let is_engine = path.starts_with("storage/redb");
        let names_crate = ["use redb", " redb::", "(redb::", "<redb::"].iter().any(|name| text.contains(name));
        let is_error = path == Path::new("storage/error.rs");
        assert!(is_engine || is_error || !names_crate, "{} names redb", path.display());
        let is_postgres = path.starts_with("storage/postgres");
        assert!(is_postgres || !text.contains("tokio_postgres"), "{} names tokio-postgres", path.display());
        let may_choose = path.starts_with("storage");
        let names_folder = text.contains("storage::redb") || text.contains("storage::postgres");
        assert!(may_choose || !names_folder, "{} names the folder of an engine", path.display());
        // What every engine shares takes it from `storage/mod.rs` or through the seam.
        let is_shared = ["storage/rules", "storage/write", "storage/read", "storage/engine.rs"];
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_test = path.iter().any(|name| name == "tests");
        if is_shared.iter().any(|shared| path.starts_with(shared)) && !is_test {
            let names_folder = code.contains("storage::redb") || code.contains("storage::postgres");
            assert!(!names_folder, "{} names the folder of an engine", path.display());
        }
        // The help of `verify` has an example.
        let knows_files = path.starts_with("storage") || path == Path::new("cli/receive/sign.rs");
        let names_file = ["tempclock.redb", "DATABASE_FILE", "statvfs"].iter().any(|name| text.contains(name));
        assert!(knows_files || !names_file, "{} names a file of the store, or its disk", path.display());
        let is_storage = path.starts_with("storage");
        assert!(is_storage || !text.contains("storage::rows"), "{} knows rows as they are stored", path.display());
        let is_codec = path == Path::new("storage/rows/codec.rs");
        assert!(is_codec || !text.contains("bincode::"), "{} names bincode", path.display());
    }
}
