//! Disks that are full: a limit on the size of files, and a small file system where one can be mounted. A command ends with a
//! sentence that names the file, and resumes to the same bytes when there is space.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::kills::{annotate, candidates, difference, files, samples, sandbox};
use crate::mutate::{Random, cases, is_wanted};
use crate::skips;
use crate::support::{POLICY, PRM, Sandbox};
use crate::tally::Tally;

/// Attempts with too little space, of each command.
const ATTEMPTS: usize = 3;
/// Size of a block of `ulimit -f` in bytes.
const BLOCK: u64 = 512;

/// A training run and its scores.
const ABLATION: &str = "candidates = \"c.json\"\n[train]\nmodel = \"mini-prm\"\nsamples = \"s.jsonl\"\nsteps = 2\n\
                        batch-samples = 3\n[score]\ndata-root = \"data\"\n[[arms]]\nname = \"soft\"\n";

/// Commands that write below `out`.
fn commands() -> Vec<String> {
    let generate = format!("generate {POLICY} --deterministic --problems data/test.json --limit 6 -n 4");
    let both = format!("{POLICY} --prm prm.gguf --prm-mmproj prm-mmproj.gguf --deterministic");
    let train = "train prm --quiet --model mini-prm --samples s.jsonl --epochs 1 --batch-samples 3";
    vec![
        format!("{} --quiet -o out", annotate(3)),
        format!("{generate} --quiet -o out/c.json"),
        format!("score {PRM} --deterministic -i c.json --data-root data --quiet -o out/s.json"),
        format!("{train} -o out"),
        format!("{train} -o out --lora-rank 2"),
        "convert mini-prm --quiet -o out".to_owned(),
        "quantize prm.gguf --type q4_0 --quiet -o out/q.gguf".to_owned(),
        "samples trees --every-rollout --quiet -o out/s.jsonl".to_owned(),
        "merge lora/last --base mini-prm --quiet -o out".to_owned(),
        "train expand mini-prm --layers 1 --quiet -o out".to_owned(),
        "samples c.json --ranking --quiet -o out/r.jsonl".to_owned(),
        "verify answers.jsonl --quiet -o out/verdicts.jsonl".to_owned(),
        format!("search --method beam --width 2 {both} --problems data/test.json --limit 2 -n 2 --quiet -o out/c.json"),
        format!("eval bench other {both} --problems data/test.json --limit 2 -n 2 --quiet -o out/d"),
        "ablate ablation.toml --quiet -o out/d".to_owned(),
        "choose scored.json --quiet -o out/chosen.jsonl".to_owned(),
        "eval bon scored.json --quiet -o out/bon.json".to_owned(),
        "report scored.json --data-root data --quiet -o out/report.html".to_owned(),
        "data import json data/test.json --quiet -o out/d".to_owned(),
        "data convert s.jsonl --to trl --threshold 0.5 --quiet -o out/trl.jsonl".to_owned(),
        "data split data/test.json --parts a=0.5,b=0.5 --quiet -o out/d".to_owned(),
        "data curate data/test.json --quiet -o out/d".to_owned(),
    ]
}

fn prepared() -> Sandbox {
    let sandbox = sandbox();
    sandbox.write("s.jsonl", samples());
    sandbox.write("c.json", candidates(6));
    sandbox.write("answers.jsonl", "{\"gold\": \"1/2\", \"pred\": \"0.5\"}\n".repeat(40));
    sandbox.run(&format!("score {PRM} --deterministic -i c.json --data-root data --quiet -o scored.json")).done();
    sandbox.write("ablation.toml", ABLATION);
    sandbox.run(&format!("{} --quiet -o trees", annotate(4))).done();
    sandbox.run("train prm --quiet --model mini-prm --samples s.jsonl --steps 1 -o lora --lora-rank 2").done();
    sandbox
}

/// A place with little space.
trait Disk {
    /// What a message about a full disk says.
    const FULL: &'static str;
    /// The command that runs `arguments` with space for `bytes`.
    fn little(&self, sandbox: &Sandbox, bytes: u64, arguments: &str) -> Command;
    /// Makes space again.
    fn free(&self);
    /// Empties the directory `out`.
    fn empty(&self, sandbox: &Sandbox);
}

/// A limit on the size of each file.
struct Limit;

impl Disk for Limit {
    const FULL: &'static str = "File too large";

    fn little(&self, sandbox: &Sandbox, bytes: u64, arguments: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", bytes / BLOCK), "sh"]);
        let program = sandbox.command(arguments);
        command.current_dir(sandbox.path("")).arg(program.get_program()).args(program.get_args());
        command
    }

    fn free(&self) {}

    fn empty(&self, sandbox: &Sandbox) {
        let _ = fs::remove_dir_all(sandbox.path("out"));
    }
}

/// A file system in memory, mounted at `out`.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts one, if this process may.
    fn new(sandbox: &Sandbox) -> Option<Self> {
        let path = sandbox.path("out");
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&path);
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(path))
    }

    fn resize(&self, bytes: u64) {
        let size = format!("remount,size={bytes}");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

impl Disk for Mounted {
    const FULL: &'static str = "No space left on device";

    fn little(&self, sandbox: &Sandbox, bytes: u64, arguments: &str) -> Command {
        self.resize(bytes.max(4096));
        sandbox.command(arguments)
    }

    fn free(&self) {
        self.resize(64 << 20);
    }

    fn empty(&self, sandbox: &Sandbox) {
        for name in sandbox.names("out") {
            let path = sandbox.path("out").join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.unwrap();
        }
    }
}

/// Runs every command with too little space, then with enough. Space is shared by all files, or each file's own.
fn attempts<D: Disk>(kind: &'static str, sandbox: &Sandbox, disk: &D, is_shared: bool) {
    let mut tally = Tally::new(kind);
    for arguments in commands() {
        let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
        let verb = arguments.split(' ').take_while(is_word).collect::<Vec<_>>().join(" ");
        disk.empty(sandbox);
        sandbox.run(&arguments).done();
        let expected = files(sandbox, "out");
        let sizes = expected.iter().map(|(_, bytes)| bytes.len() as u64);
        let most = if is_shared { sizes.sum() } else { sizes.max().unwrap_or(0) };
        for number in 0..cases(ATTEMPTS) {
            let case = format!("{kind} {verb} #{number}");
            if !is_wanted(&case) {
                continue;
            }
            disk.empty(sandbox);
            let space = (most as f64 * Random::new(&arguments, number).fraction()) as u64;
            let ended = tally.run(&case, &mut disk.little(sandbox, space, &arguments));
            let is_named = ended.err.contains("out") && ended.err.contains(D::FULL);
            if ended.code == Some(1) && !is_named {
                tally.fault(&case, &format!("{space} bytes: the sentence names no file: {}", ended.err));
            } else if !matches!(ended.code, Some(0 | 1)) {
                tally.fault(&case, &format!("{space} bytes: exit code {:?}: {}", ended.code, ended.err));
            }
            disk.free();
            let ended = tally.run(&case, &mut sandbox.command(&arguments));
            if ended.code != Some(0) || !ended.err.is_empty() {
                tally.lost(&case, &format!("{space} bytes: not resumed: {}", ended.err));
            } else if let Some(difference) = difference(&expected, &files(sandbox, "out")) {
                tally.lost(&case, &format!("{space} bytes: {difference}"));
            }
        }
    }
    tally.finish();
}

#[test]
fn a_limit_on_the_size_of_files() {
    attempts("full disk, limit", &prepared(), &Limit, false);
}

#[test]
fn a_small_file_system() {
    let sandbox = prepared();
    let Some(disk) = Mounted::new(&sandbox) else {
        return skips::skip("a small file system cannot be mounted without the superuser's rights");
    };
    attempts("full disk, tmpfs", &sandbox, &disk, true);
}
