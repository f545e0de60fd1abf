//! The user's profile: the models and choices of `mmprm solve` where no flag names others.
//!
//! A TOML file in the user's configuration directory (`$XDG_CONFIG_HOME/mmprm`, `~/.config/mmprm`; `%APPDATA%\mmprm` on
//! Windows), written by `mmprm config`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use mmprm::eval::selection::Selection;
use mmprm_quant::atomic::AtomicFile;
use mmprm_quant::gguf::GgufFile;
use toml::{Table, Value};

use crate::exit::{BadInput, Usage};

/// Maximum size of the file in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Most candidates of a question.
pub const MAX_CANDIDATES: usize = 1 << 12;

/// The keys, with what each is.
pub const KEYS: [(&str, &str); 6] = [
    ("policy", "policy model, a GGUF file"),
    ("mmproj", "its vision projector"),
    ("prm", "process reward model, a GGUF file"),
    ("prm-mmproj", "its vision projector"),
    ("n", "candidates per question"),
    ("by", "rule that selects a candidate"),
];

/// The stored keys and their values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile(Table);

/// The directory of a kind of the user's files: `variable` of the environment, or `below` the home directory.
pub fn directory(variable: &str, below: &str) -> Option<PathBuf> {
    let absolute = |path: std::ffi::OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let own = std::env::var_os(variable).and_then(absolute);
    let windows = || std::env::var_os("APPDATA").and_then(absolute);
    let home = || std::env::var_os("HOME").and_then(absolute).map(|home| home.join(below));
    own.or_else(home).or_else(windows).map(|directory| directory.join("mmprm"))
}

/// The profile's file.
pub fn file() -> anyhow::Result<PathBuf> {
    let directory = directory("XDG_CONFIG_HOME", ".config");
    let missing = || anyhow!("found no home directory for the profile; set XDG_CONFIG_HOME to an absolute path");
    Ok(directory.ok_or_else(missing)?.join("config.toml"))
}

impl Profile {
    /// Reads the profile; a file that does not exist has no keys.
    pub fn load() -> anyhow::Result<Self> {
        match file() {
            Ok(path) if path.exists() => Self::read(&path),
            _ => Ok(Self::default()),
        }
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = mmprm::util::io::read_to_string(path, MAX_BYTES)?;
        let refuse = |cause: String| BadInput(format!("{}: {cause}", path.display()));
        let table: Table = text.parse().map_err(|error: toml::de::Error| refuse(error.message().to_owned()))?;
        for (key, value) in &table {
            let text = check_key(key).and_then(|()| value.as_str().ok_or_else(|| format!("{key}: expected a string")));
            check_value(key, text.map_err(refuse)?).map_err(|cause| refuse(format!("{key}: {cause}")))?;
        }
        Ok(Self(table))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// The path in a key.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        self.get(key).map(PathBuf::from)
    }

    /// Sets a key. A model's path is stored as an absolute one, and has to be a GGUF file.
    pub fn set(&mut self, key: &str, value: &str) -> anyhow::Result<()> {
        check_key(key).map_err(Usage)?;
        let refuse = |cause: String| Usage(format!("{key} {value}: {cause}"));
        let value = match key {
            "n" | "by" => {
                check_value(key, value).map_err(refuse)?;
                value.to_owned()
            }
            _ => {
                let path = std::path::absolute(value).with_context(|| format!("{key} {value}"))?;
                GgufFile::open_outline(&path)?;
                path.into_os_string().into_string().map_err(|_| refuse("expected a path in Unicode".into()))?
            }
        };
        self.0.insert(key.to_owned(), Value::String(value));
        Ok(())
    }

    /// Removes a key; returns whether it was set.
    pub fn unset(&mut self, key: &str) -> anyhow::Result<bool> {
        check_key(key).map_err(Usage)?;
        Ok(self.0.remove(key).is_some())
    }

    /// Writes the profile; returns its file.
    pub fn save(&self) -> anyhow::Result<PathBuf> {
        let path = file()?;
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).with_context(|| format!("cannot write {}", directory.display()))?;
        }
        let mut output = AtomicFile::create(&path)?;
        let text = self.0.to_string();
        output
            .write_all(text.as_bytes())
            .and_then(|()| output.commit())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// Checks what can be checked without files.
fn check_value(key: &str, value: &str) -> Result<(), String> {
    match key {
        "n" => match value.parse() {
            Ok(1..=MAX_CANDIDATES) => Ok(()),
            _ => Err(format!("expected a number of candidates, 1 to {MAX_CANDIDATES}")),
        },
        "by" => value.parse::<Selection>().map(drop).map_err(|error| error.to_string()),
        _ => Ok(()),
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let names = || KEYS.map(|(name, _)| name).join(", ");
    if KEYS.iter().any(|(name, _)| *name == key) { Ok(()) } else { Err(format!("{key}: expected one of {}", names())) }
}
