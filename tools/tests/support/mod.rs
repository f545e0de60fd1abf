//! Shared by the tests of the command line: temporary directories to run the real binary in, with
//! small models that it converted.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

pub mod png;

/// The result of running the binary.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Run {
    pub fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asserts success without any output on standard error.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        self
    }

    /// Asserts that the run ended with `code` and one sentence that contains each of `parts`.
    #[track_caller]
    pub fn refused(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.out, "", "a refused run prints no result");
        let sentence = self.err.strip_suffix('\n').expect("the sentence ends its line");
        assert!(sentence.starts_with("mmprm: ") && !sentence.contains('\n'), "not one sentence: {}", self.err);
        for chatter in ["panicked", "backtrace", "llama_", "ggml_", "Custom {", "Os {", "Some("] {
            assert!(!sentence.contains(chatter), "{sentence} contains {chatter}");
        }
        for part in parts {
            assert!(sentence.contains(part), "{sentence} does not contain {part}");
        }
        self
    }

    /// Standard output, which must be one JSON object.
    #[track_caller]
    pub fn object(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "{}", self.out);
        let value: Value = serde_json::from_str(&self.out).expect("standard output is JSON");
        assert!(value.is_object(), "{value}");
        value
    }
}

/// A temporary directory with the inputs of most commands: `policy.gguf`, `mmproj.gguf`,
/// `prm.gguf`, `prm-mmproj.gguf`, and the problems and images of the demo in `data/`.
pub struct Sandbox {
    folder: TempDir,
}

/// The flags of the mini policy, with a rollout length that suits it.
pub const POLICY: &str = "--policy policy.gguf --mmproj mmproj.gguf --max-tokens 150";
/// The flags of the mini reward model.
pub const PRM: &str = "--prm prm.gguf --mmproj prm-mmproj.gguf";

impl Sandbox {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let models = models();
        for (name, target) in [
            ("policy.gguf", models.join("mini-mm-policy-f16.gguf")),
            ("mmproj.gguf", models.join("mmproj-mini-mm-policy-f16.gguf")),
            ("prm.gguf", models.join("mini-prm-f16.gguf")),
            ("prm-mmproj.gguf", models.join("mmproj-mini-prm-f16.gguf")),
            ("data", demo().join("mini-k12/test")),
        ] {
            symlink(target, folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    /// A sandbox with the source tree's `demo/`, which benchmarks look for above the program or the
    /// current directory: the program may be built outside the source tree.
    pub fn with_demo() -> Self {
        let sandbox = Self::new();
        symlink(demo(), sandbox.path("demo")).unwrap();
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// The sorted names in a directory of the sandbox; `""` is the sandbox itself.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The sorted names of the trees in a directory of the sandbox.
    pub fn trees(&self, folder: &str) -> Vec<String> {
        let is_tree = |name: &String| Path::new(name).extension().is_some_and(|extension| extension == "json");
        self.names(folder).into_iter().filter(is_tree).collect()
    }

    /// A command that runs the binary in the sandbox with `arguments`, separated by spaces.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mmprm"));
        self.prepare(&mut command);
        command.args(arguments.split_whitespace());
        command
    }

    /// Runs the binary with `arguments`, separated by spaces.
    pub fn run(&self, arguments: &str) -> Run {
        finish(&mut self.command(arguments))
    }

    /// As [`Sandbox::run`], with files limited to `blocks` blocks of 512 bytes: writing fails as on
    /// a full disk.
    pub fn run_on_full_disk(&self, blocks: u32, arguments: &str) -> Run {
        let mut command = Command::new("sh");
        self.prepare(&mut command);
        command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""), "sh"]);
        command.arg(env!("CARGO_BIN_EXE_mmprm")).args(arguments.split_whitespace());
        finish(&mut command)
    }

    fn prepare(&self, command: &mut Command) {
        command.current_dir(self.folder.path()).env("RUST_BACKTRACE", "1");
        for variable in ["MMPRM_LOG", "COLUMNS", "CLICOLOR_FORCE", "PAGER"] {
            command.env_remove(variable);
        }
        // The profile of whoever runs the tests must not change them.
        command.env("XDG_CONFIG_HOME", self.path("config")).env("XDG_STATE_HOME", self.path("state"));
        command.stdin(Stdio::null());
    }

    /// Runs `arguments`, which must be refused with `code` and one sentence, and must create no
    /// files.
    #[track_caller]
    pub fn refuses(&self, arguments: &str, code: i32, parts: &[&str]) {
        let before = self.names("");
        self.run(arguments).refused(code, parts);
        assert_eq!(self.names(""), before, "`{arguments}` left files behind");
    }
}

fn finish(command: &mut Command) -> Run {
    Run::of(command.output().unwrap())
}

/// The directory `demo` of the source tree.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo").canonicalize().unwrap()
}

/// The directory of the demo's checkpoints as f16 GGUF pairs, converted once per test binary.
fn models() -> &'static Path {
    static MODELS: OnceLock<PathBuf> = OnceLock::new();
    MODELS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!("models-", env!("CARGO_CRATE_NAME")));
        for checkpoint in ["mini-mm-policy", "mini-prm"] {
            let source = demo().join("checkpoints").join(checkpoint);
            let arguments: [&OsStr; 4] = ["convert".as_ref(), source.as_ref(), "-o".as_ref(), folder.as_ref()];
            finish(Command::new(env!("CARGO_BIN_EXE_mmprm")).args(arguments)).done();
        }
        folder
    })
}

/// Copies a checkpoint of the demo to `name` in the sandbox, where a test may damage it.
pub fn copy_checkpoint(sandbox: &Sandbox, name: &str) {
    for entry in std::fs::read_dir(demo().join("checkpoints/mini-mm-policy")).unwrap() {
        let entry = entry.unwrap();
        sandbox.write(&format!("{name}/{}", entry.file_name().to_str().unwrap()), std::fs::read(entry.path()).unwrap());
    }
}

/// The position of the first `needle`.
#[track_caller]
pub fn find(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|window| window == needle).expect("the bytes occur")
}

/// Replaces the first `old` by `new`, which must have the same length.
#[track_caller]
pub fn replace(bytes: &mut [u8], old: &str, new: &str) {
    assert_eq!(old.len(), new.len());
    overwrite(bytes, find(bytes, old.as_bytes()), new.as_bytes());
}

pub fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}
