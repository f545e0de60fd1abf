//! Mutated input files, each read by the commands that read such files, and things that are no files in their place.

mod models;
mod records;
mod states;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::mutate::{self, Mutation, Random, cases, is_wanted};
use crate::support::Sandbox;
use crate::tally::{Ended, Tally, copy};

/// What a file consists of, which decides how it is mutated.
#[derive(Clone, Copy)]
enum Form {
    Bytes,
    Json,
    JsonLines,
    Toml,
    Safetensors,
}

impl Form {
    fn mutate(self, whole: &[u8], random: &mut Random) -> Mutation {
        match self {
            Self::Bytes => mutate::bytes(whole, random),
            Self::Json => mutate::json(&serde_json::from_slice(whole).unwrap(), random),
            Self::JsonLines => mutate::json_lines(whole, random),
            Self::Toml => mutate::toml(std::str::from_utf8(whole).unwrap(), random),
            Self::Safetensors => mutate::safetensors(whole, random),
        }
    }
}

/// A file below `case`, which is a copy of the directory `whole`, and the commands that read it.
struct Target {
    file: &'static str,
    form: Form,
    /// Mutations by default.
    count: usize,
    /// Chains of commands. Each command of a chain runs if those before it succeeded.
    chains: Vec<Vec<String>>,
    /// Finds what a chain that was refused or has succeeded did wrong, such as changed results.
    check: fn(&Sandbox, &Ended) -> Option<String>,
}

impl Target {
    fn new(file: &'static str, form: Form, count: usize, chains: &[&[&str]]) -> Self {
        let owned = |chain: &&[&str]| chain.iter().map(|&command| command.to_owned()).collect();
        Self { file, form, count, chains: chains.iter().map(owned).collect(), check: |_, _| None }
    }

    fn checked(self, check: fn(&Sandbox, &Ended) -> Option<String>) -> Self {
        Self { check, ..self }
    }
}

/// What may be in place of a file, made by a command.
const OTHERS: [(&str, &str); 7] = [
    ("a pipe", "mkfifo"),
    ("a directory", "mkdir"),
    ("a link to itself", "x"),
    ("an endless device", "/dev/zero"),
    ("a device", "/dev/null"),
    ("a file of the system", "/proc/self/mem"),
    ("a link to nothing", "nothing"),
];

/// Attacks files below the sandbox's directory `whole`.
fn attack(kind: &'static str, sandbox: &Sandbox, targets: &[Target]) {
    let mut tally = Tally::new(kind);
    for target in targets {
        let whole = sandbox.read(&format!("whole/{}", target.file));
        let unchanged = tally.accepted();
        let refused = try_case(&mut tally, sandbox, target, &format!("{kind}: {} as it is", target.file), || ());
        let commands: usize = target.chains.iter().map(Vec::len).sum();
        let accepted = tally.accepted() - unchanged;
        assert!(
            accepted == commands || !is_wanted("as it is"),
            "{}: {accepted} of {commands} commands succeed: {refused}",
            target.file
        );
        for number in 0..cases(target.count) {
            let mut random = Random::new(target.file, number);
            let mutation = target.form.mutate(&whole, &mut random);
            let case = format!("{kind}: {} #{number} ({})", target.file, mutation.what);
            try_case(&mut tally, sandbox, target, &case, || {
                sandbox.write(&format!("case/{}", target.file), &mutation.bytes);
            });
        }
        for (what, how) in OTHERS {
            let case = format!("{kind}: {} is {what}", target.file);
            try_case(&mut tally, sandbox, target, &case, || {
                let path = sandbox.path("case").join(target.file);
                fs::remove_file(&path).unwrap();
                match how {
                    "mkfifo" | "mkdir" => assert!(Command::new(how).arg(&path).status().unwrap().success()),
                    "x" => symlink(&path, &path).unwrap(),
                    _ => symlink(how, &path).unwrap(),
                }
            });
        }
    }
    tally.finish();
}

/// Copies `whole` to `case`, has a file of it changed, and runs the chains; returns the last refusal.
fn try_case(tally: &mut Tally, sandbox: &Sandbox, target: &Target, case: &str, change: impl Fn()) -> String {
    let mut refused = String::new();
    if !is_wanted(case) {
        return refused;
    }
    for chain in &target.chains {
        let _ = fs::remove_dir_all(sandbox.path("case"));
        copy(&sandbox.path("whole"), &sandbox.path("case"));
        change();
        let before = tally.faults();
        for command in chain {
            let case = format!("{case}, `{command}`");
            let ended = tally.run(&case, &mut sandbox.command(command));
            if let Some(loss) = (target.check)(sandbox, &ended) {
                tally.lost(&case, &loss);
            }
            if ended.code != Some(0) {
                refused = ended.err;
                break;
            }
        }
        if tally.faults() > before {
            tally.keep(&sandbox.path("case"));
        }
    }
    refused
}
