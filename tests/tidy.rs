//! Rules for the source tree that the compiler does not check: the order of the rooms, cycles between files, where
//! unsafe code may be, how long a file may get, and words that `CONTRIBUTING.md` bans. Sources are parsed, not searched
//! as text.

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use imports::imports;
use sources::{Source, sources};
use syn::visit::Visit;

/// The rooms of `src`, in the order of the pipeline. A room uses only rooms before it, apart from [`EXTRA`] and [`HELPERS`].
const ROOMS: [&str; 16] = [
    "data", "image", "prompt", "answer", "engine", "vision", "remote", "policy", "prm", "judge", "dataset", "search",
    "train", "eval", "report", "internvl",
];
/// Rooms that every room may use, and that use only each other.
const HELPERS: [&str; 2] = ["compat", "util"];
/// The trainer's model: `nn` uses helpers only, `internvl` uses `nn` too; jobs and vision encoders run it.
const EXTRA: [(&str, &str); 5] =
    [("internvl", "nn"), ("train", "internvl"), ("train", "nn"), ("vision", "internvl"), ("vision", "nn")];

fn is_allowed(user: &str, used: &str) -> bool {
    if user == used || EXTRA.contains(&(user, used)) {
        return true;
    }
    // The facade uses all rooms, and none of them uses it.
    if HELPERS.contains(&used) || user == "facade" {
        return true;
    }
    if HELPERS.contains(&user) || matches!(user, "nn" | "internvl") {
        return false;
    }
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    matches!((place(user), place(used)), (Some(user), Some(used)) if used < user)
}

#[test]
fn a_room_uses_only_rooms_before_it() {
    let mut wrong = BTreeSet::new();
    for source in sources("src").iter().filter(|source| !source.module.is_empty()) {
        for used in imports(source) {
            let (user, room) = (&source.module[0], &used[0]);
            if is_room(room) && !is_allowed(user, room) {
                wrong.insert(format!("{}: {user} uses {}", source.path, used.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", lines(&wrong));
}

fn is_room(name: &str) -> bool {
    ROOMS.contains(&name) || HELPERS.contains(&name) || matches!(name, "nn" | "facade")
}

#[test]
fn every_room_has_a_place_in_the_order() {
    for source in sources("src").iter().filter(|source| !source.module.is_empty()) {
        let room = &source.module[0];
        assert!(is_room(room), "{}: the room {room} is not in tests/tidy.rs", source.path);
    }
}

/// Files that use each other on purpose, with the reason.
const CYCLES: [(&str, &str); 1] = [
    // An answer holds answers (a list holds numbers, a set holds intervals), so comparing one kind compares others.
    ("src/answer/rules/", "src/answer/rules/"),
];

#[test]
fn files_do_not_use_each_other_in_circles() {
    let mut wrong = BTreeSet::new();
    for root in ["src", "quant/src", "tools/src"] {
        let sources = sources(root);
        let uses = file_graph(&sources);
        for (user, used) in &uses {
            for other in used.iter().filter(|other| uses.get(*other).is_some_and(|back| back.contains(user))) {
                let is_meant = CYCLES.iter().any(|(a, b)| user.starts_with(a) && other.starts_with(b));
                if user < other && !is_meant {
                    wrong.insert(format!("{user} and {other} use each other"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", lines(&wrong));
}

/// For each file the files it names items of. A module may name its children and they may name what it defines: parent and
/// child are not a cycle.
fn file_graph(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let files: BTreeMap<&[String], &str> =
        sources.iter().map(|source| (source.module.as_slice(), source.path.as_str())).collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let uses = graph.entry(source.path.clone()).or_default();
        for used in imports(source) {
            // The longest prefix that is a module of its own file.
            let target = (1..=used.len()).rev().find_map(|length| Some((&used[..length], files.get(&used[..length])?)));
            let Some((module, path)) = target else { continue };
            if !source.module.starts_with(module) && !module.starts_with(&source.module) {
                uses.insert((*path).to_owned());
            }
        }
    }
    graph
}

/// Where unsafe code may be: bindings to C, memory maps and SIMD kernels. That each block says why it is sound is clippy's
/// `undocumented_unsafe_blocks`.
const UNSAFE: [&str; 5] =
    ["src/engine/ffi/", "src/nn/simd/", "src/nn/gemm/kernels/", "quant/src/blocks/ffi.rs", "quant/src/map.rs"];

#[test]
fn unsafe_code_is_in_bindings_maps_and_kernels_only() {
    let mut wrong = BTreeSet::new();
    for source in all_sources() {
        if !source.has_unsafe() || UNSAFE.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        wrong.insert(source.path);
    }
    assert!(wrong.is_empty(), "unsafe code in\n{}", lines(&wrong));
}

#[test]
fn only_the_command_line_reads_arguments_and_exits() {
    let mut wrong = BTreeSet::new();
    for source in all_sources().into_iter().filter(|source| !source.path.starts_with("tools/")) {
        let mut paths = Paths::default();
        paths.visit_file(&source.product());
        for banned in ["env::args", "env::args_os", "process::exit", "clap"] {
            if paths.0.iter().any(|path| path == banned || path.ends_with(&format!("::{banned}"))) {
                wrong.insert(format!("{} uses {banned}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", lines(&wrong));
}

/// Every path in a file, as text.
#[derive(Default)]
struct Paths(Vec<String>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.0.push(segments.join("::"));
        syn::visit::visit_path(self, path);
    }
}

#[test]
fn quant_does_not_depend_on_the_library() {
    let manifest = std::fs::read_to_string(sources::root().join("quant/Cargo.toml")).unwrap();
    assert!(!manifest.lines().any(|line| line.starts_with("mmprm ") || line.starts_with("mmprm.")));
}

#[test]
fn no_file_is_longer_than_600_lines() {
    for source in
        all_sources().into_iter().chain(sources("tests")).chain(sources("tools/tests")).chain(sources("quant/tests"))
    {
        let lines = source.text.lines().count();
        assert!(lines <= 600, "{}: {lines} lines; does it hold two ideas?", source.path);
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: BTreeSet<String> = all_sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//!") && !source.is_tests())
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "no `//!` lines at the top of\n{}", lines(&silent));
}

/// Words that comments, docs and messages do not use, and what they say instead.
const BANNED: [(&str, &str); 12] = [
    ("picture", "image"),
    ("graphics device", "GPU"),
    ("likelihood", "log-probability"),
    ("are believed", "are validated"),
    ("hostile twin", "validated on reading"),
    ("with patience", "with timeouts and retries"),
    ("for the sake of company", "batch composition"),
    ("goes on to the same", "resumes bit-exactly"),
    ("receiver's curve", "ROC AUC"),
    ("looks away", "ignores"),
    ("heeds", "follows"),
    ("beginnings of the names", "name prefixes"),
];

/// Names in files of earlier versions and of others, which are still read, and words of questions.
const KEPT: [&str; 4] = ["likelihood_of", "likelihood-of", "pictures pic pics", "\"drawing\", \"picture\""];

#[test]
fn texts_use_the_words_of_the_field() {
    let mut wrong = BTreeSet::new();
    for source in all_sources() {
        for (number, line) in source.text.lines().enumerate() {
            let lower = line.to_lowercase();
            for (banned, instead) in BANNED {
                if lower.contains(banned) && !KEPT.iter().any(|kept| lower.contains(kept)) {
                    wrong.insert(format!("{}:{}: \"{banned}\"; write \"{instead}\"", source.path, number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", lines(&wrong));
}

fn all_sources() -> Vec<Source> {
    ["src", "quant/src", "tools/src"].into_iter().flat_map(sources).collect()
}

fn lines(found: &BTreeSet<String>) -> String {
    found.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_parser_sees_what_it_is_meant_to_see() {
    let text = "
        use crate::{engine::Engine, data};
        fn f() { super::super::nn::gemm(); crate::eval::bon::x(); }
        #[cfg(test)]
        mod tests { use crate::train::Trainer; }
        mod after { use crate::judge::Judge; }";
    let source = Source::parsed("src/answer/rules/x.rs", vec!["answer".into(), "rules".into(), "x".into()], text);
    let rooms: BTreeSet<String> = imports(&source).into_iter().map(|used| used[0].clone()).collect();
    let found: Vec<&str> = rooms.iter().map(String::as_str).collect();
    // `super::super` of answer::rules::x is answer, so `nn` there is a module of answer.
    assert_eq!(found, ["answer", "data", "engine", "eval", "judge"]);
    assert!(!source.has_unsafe());
    assert!(Source::parsed("a.rs", vec![], "fn f() { unsafe { g() } }").has_unsafe());
    assert!(Path::new(&sources::root()).join("Cargo.toml").exists());
}
