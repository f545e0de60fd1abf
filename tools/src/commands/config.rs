//! `mmprm config`: the user's profile.

use serde_json::{Map, Value, json};

use crate::exit::{Exit, Usage};
use crate::profile::{self, KEYS, Profile};
use crate::ui::Ui;

/// Set the models that `mmprm solve` uses without flags.
///
/// Keys: policy, mmproj, prm and prm-mmproj (GGUF files), n (candidates per question) and by (the
/// rule that selects one). They are kept in config.toml in the user's configuration directory.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Set a key.
    Set {
        /// Key: policy, mmproj, prm, prm-mmproj, n or by.
        key: String,
        /// Value; the path of a model is stored as an absolute one.
        value: String,
    },
    /// Print the value of a key.
    Get {
        /// Key.
        key: String,
    },
    /// Remove a key.
    Unset {
        /// Key.
        key: String,
    },
    /// Print all keys and the file that they are in.
    List,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let mut profile = Profile::load()?;
    match &args.what {
        What::Set { key, value } => {
            profile.set(key, value)?;
            let file = profile.save()?;
            let value = profile.get(key);
            ui.result(&json!({"file": file, "key": key, "value": value}))?;
            ui.say(format_args!("{key} = {} in {}", value.unwrap_or_default(), file.display()))?;
        }
        What::Unset { key } => {
            let was_set = profile.unset(key)?;
            let file = if was_set { profile.save()? } else { profile::file()? };
            ui.result(&json!({"file": file, "key": key, "was_set": was_set}))?;
            ui.say(format_args!("{key}: {}", if was_set { "removed" } else { "was not set" }))?;
        }
        What::Get { key } => {
            let value =
                profile.get(key).ok_or_else(|| Usage(format!("{key} is not set; mmprm config set {key} VALUE")))?;
            ui.result(&json!({"key": key, "value": value}))?;
            ui.say(value)?;
        }
        What::List => {
            let file = profile::file()?;
            let values: Map<String, Value> =
                KEYS.iter().map(|(key, _)| ((*key).to_owned(), json!(profile.get(key)))).collect();
            ui.result(&json!({"file": file, "values": values}))?;
            ui.say(file.display())?;
            for (key, meaning) in KEYS {
                ui.say(format_args!(
                    "  {key:<10}  {}",
                    profile.get(key).map_or_else(|| format!("(not set: {meaning})"), str::to_owned)
                ))?;
            }
        }
    }
    Ok(Exit::Done)
}
