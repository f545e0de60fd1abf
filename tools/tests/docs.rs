//! `docs/cli.md` is current, and every command in the documents exists with its flags.
#![cfg(unix)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use support::Sandbox;

/// Documents whose commands are checked.
const DOCUMENTS: [&str; 4] = ["README.md", "docs/guide.md", "docs/performance.md", "docs/report.md"];
const REGENERATE: &str = "MMPRM_UPDATE=1 cargo test --release -p mmprm-tools --test docs";

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[test]
fn the_cli_reference_is_current() {
    let (path, current) = (source("docs/cli.md"), Sandbox::new().run("cli-reference").done().out);
    if std::env::var_os("MMPRM_UPDATE").is_some() {
        std::fs::write(&path, current).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let different = found.lines().zip(current.lines()).find(|(found, current)| found != current);
    assert!(
        found == current,
        "docs/cli.md does not match the flags; first different lines: {different:?}. Regenerate it with\n  {REGENERATE}"
    );
}

/// The flags of each command, by its words without `mmprm`, as the reference lists them.
fn flags() -> BTreeMap<String, BTreeSet<String>> {
    let text = Sandbox::new().run("cli-reference").done().out;
    let mut commands: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut command = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## `mmprm").and_then(|line| line.strip_suffix('`')) {
            name.trim().clone_into(&mut command);
            commands.entry(command.clone()).or_default().extend(["--help".into(), "-h".into()]);
        } else if let Some(spelling) = line.strip_prefix("* `-").and_then(|line| line.split('`').next()) {
            let spelling = format!("-{spelling}");
            let names = spelling.split([' ', ',']).filter(|part| part.starts_with('-')).map(str::to_owned);
            commands.entry(command.clone()).or_default().extend(names);
        }
    }
    let global = commands[""].clone();
    for flags in commands.values_mut() {
        flags.extend(global.iter().cloned());
    }
    commands.entry(String::new()).or_default().extend(["--version".into(), "-V".into()]);
    commands
}

/// The command lines in the code blocks of a document that start with `mmprm`, continued lines
/// joined, comments left out.
fn command_lines(text: &str) -> Vec<String> {
    let (mut in_fence, mut commands) = (false, Vec::new());
    for line in text.replace("\\\n", " ").lines() {
        in_fence ^= line.starts_with("```");
        let command = line.trim_start().trim_start_matches("$ ");
        if (in_fence || line.starts_with("    ")) && command.starts_with("mmprm ") {
            commands.push(command.split(" #").next().unwrap_or_default().trim().to_owned());
        }
    }
    commands
}

#[test]
fn commands_in_the_documents_exist_with_their_flags() {
    let flags = flags();
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(source(document)).unwrap();
        for line in command_lines(&text) {
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            let command = (0..=words.len().min(2)).rev().map(|count| words[..count].join(" "));
            let command = command.into_iter().find(|command| flags.contains_key(command)).unwrap();
            let is_whole = !command.is_empty() || words.first().is_none_or(|word| word.starts_with('-'));
            assert!(is_whole, "{document}: no such command: {line}");
            for word in words.iter().filter(|word| word.starts_with('-')) {
                let flag = word.split('=').next().unwrap_or_default();
                assert!(flags[&command].contains(flag), "{document}: `mmprm {command}` has no flag {flag}: {line}");
            }
        }
    }
}
