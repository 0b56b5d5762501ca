//! Which file takes a name from which: every `use` and every path in the code, followed through re-exports to the file
//! that defines the name. `mod` declarations and test modules do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module, as the names from the root of the crate down to it.
type Module = Vec<String>;

/// The files of the crate and what each imports.
pub struct Imports {
    files: BTreeMap<Module, PathBuf>,
    /// Of each module, the names that it brings in, with the path of each: its children may take them from there.
    reexports: BTreeMap<Module, BTreeMap<String, Module>>,
    /// Of each file, the files that it imports.
    pub arrows: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

impl Imports {
    /// Reads the imports of these sources, whose paths begin below `src`.
    pub fn read(sources: &BTreeMap<PathBuf, String>) -> Self {
        let files = sources.keys().map(|path| (module_of(path), path.clone())).collect();
        let mut imports = Self { files, reexports: BTreeMap::new(), arrows: BTreeMap::new() };
        let found: Vec<_> = sources.iter().map(|(path, text)| (path, uses(&without_tests(text)))).collect();
        for (path, (uses, _)) in &found {
            let module = module_of(path);
            for used in uses {
                if let Some(target) = imports.absolute(&module, &used.path) {
                    imports.reexports.entry(module.clone()).or_default().insert(used.name.clone(), target);
                }
            }
        }
        for (path, (uses, paths)) in &found {
            let module = module_of(path);
            let named = uses.iter().filter(|used| !used.is_reexport).map(|used| &used.path).chain(paths);
            let targets: BTreeSet<_> = named
                .filter_map(|named| imports.absolute(&module, named))
                .filter_map(|target| imports.file_of(&target, 0))
                .filter(|target| target != *path)
                .collect();
            imports.arrows.insert((*path).clone(), targets);
        }
        imports
    }

    /// The path from the root of the crate; `None` for what another crate defines.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Module> {
        let mut path = path.iter().peekable();
        let mut base = match path.peek().map(|name| name.as_str()) {
            Some("crate") => {
                path.next();
                Vec::new()
            }
            Some("self") => {
                path.next();
                module.to_vec()
            }
            Some("super") => module.to_vec(),
            Some(first) => {
                let child = [module, &[first.to_owned()]].concat();
                self.files.contains_key(&child).then(|| module.to_vec())?
            }
            None => return None,
        };
        for name in path {
            if name == "super" {
                base.pop();
            } else {
                base.push(name.clone());
            }
        }
        Some(base)
    }

    /// The file that defines what stands at this path.
    fn file_of(&self, path: &[String], depth: usize) -> Option<PathBuf> {
        assert!(depth < 10, "re-exports go round in circles at {path:?}");
        let length = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let reexported = rest.first().and_then(|name| self.reexports.get(module)?.get(name));
        match reexported {
            Some(target) => self.file_of(&[target, &rest[1..]].concat(), depth + 1),
            None => self.files.get(module).cloned(),
        }
    }

    /// Groups of files that import each other, directly or through others.
    pub fn circles(&self) -> Vec<Vec<&PathBuf>> {
        let reached: BTreeMap<_, _> = self.arrows.keys().map(|path| (path, self.reached_from(path))).collect();
        let mut circles: Vec<Vec<&PathBuf>> = Vec::new();
        for (path, reachable) in &reached {
            let circle: Vec<_> = reachable.iter().filter(|other| reached[*other].contains(*path)).copied().collect();
            if circle.len() > 1 && !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles
    }

    fn reached_from<'a>(&'a self, path: &'a PathBuf) -> BTreeSet<&'a PathBuf> {
        let mut reached = BTreeSet::new();
        let mut open = vec![path];
        while let Some(next) = open.pop() {
            for target in &self.arrows[next] {
                if reached.insert(target) {
                    open.push(target);
                }
            }
        }
        reached
    }
}

/// The module that a file below `src` is.
fn module_of(path: &Path) -> Module {
    let mut names: Module = path.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if matches!(names.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

/// The text before its test module, without comments.
fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code = code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    // A visibility names a module without importing it.
    let mut parts = code.split("pub(in ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "pub" + part.split_once(')').map_or("", |(_, rest)| rest))
}

/// A name that a `use` brings in.
struct Used {
    /// The file only passes it on: it is public, and stands nowhere else in the code.
    is_reexport: bool,
    /// Under which name it is known then.
    name: String,
    path: Vec<String>,
}

/// What a text uses by `use`, and the paths in the rest of its code.
fn uses(text: &str) -> (Vec<Used>, Vec<Vec<String>>) {
    let (mut uses, mut rest) = (Vec::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let words = line.trim_start();
        let visibility = ["pub use ", "pub(crate) use ", "pub(super) use ", "use "]
            .into_iter()
            .find(|start| words.starts_with(start));
        let Some(start) = visibility else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut tree = words[start.len()..].to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().unwrap_or(";"));
        }
        let mut found = Vec::new();
        expand(tree.split(';').next().unwrap_or_default(), &[], &mut found);
        uses.extend(found.into_iter().map(|(path, name)| Used { is_reexport: start.starts_with("pub"), name, path }));
    }
    for used in uses.iter_mut().filter(|used| used.is_reexport) {
        used.is_reexport = !words(&rest).any(|word| word.split("::").any(|name| name == used.name));
    }
    (uses, paths(&rest))
}

/// The single paths of a tree such as `a::{b, c::{self, d as e}}`, each with its name.
fn expand(tree: &str, prefix: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let tree = tree.trim();
    let Some((path, branches)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
        let mut full = prefix.to_vec();
        full.extend(path.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
        if full.len() > 1 && full.last().is_some_and(|name| name == "self") {
            full.pop();
        }
        if let Some(last) = full.last().cloned() {
            found.push((full, alias.map_or(last, str::to_owned)));
        }
        return;
    };
    let mut full = prefix.to_vec();
    full.extend(path.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
    let inner = branches.trim_end().strip_suffix('}').unwrap_or(branches);
    let (mut depth, mut begin) = (0, 0);
    for (place, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&inner[begin..place], &full, found);
                begin = place + 1;
            }
            _ => {}
        }
    }
    expand(&inner[begin..], &full, found);
}

/// The names and paths in code.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character: char| !(character.is_alphanumeric() || character == '_' || character == ':'))
}

/// The paths in code; those of other crates are sorted out later.
fn paths(code: &str) -> Vec<Vec<String>> {
    words(code)
        .filter(|word| word.contains("::") && !word.starts_with(':'))
        .map(|word| word.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect())
        .collect()
}
