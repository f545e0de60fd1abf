//! Exit codes, and the one place where errors are mapped to them.
//!
//! | code | meaning | errors |
//! |---|---|---|
//! | 0 | done | none; the reader of the output file, a pipe, closed it |
//! | 1 | failed | all others: an output that cannot be written, a model that stops, records that failed |
//! | 2 | wrong usage | [`Usage`], and what clap refuses: flags that are unknown, missing or contradictory |
//! | 3 | bad input data | [`BadInput`], and the library's errors on files that are missing or malformed |
//! | 4 | interrupted | Ctrl-C or SIGTERM; finished work is kept and the same command continues |

use std::io;
use std::process::ExitCode;

use mmprm::ErrorKind;
use mmprm::engine::{EngineError, LimitError};
use mmprm::util::printable::printable;

/// How a run ended; the module's table has the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything succeeded.
    Done,
    /// The run, or part of its records, failed.
    Failed,
    /// The flags are wrong. Clap exits by itself for those that it can check.
    Usage,
    /// An input file is missing or malformed.
    BadInput,
    /// The user stopped the run; the same command continues it.
    Interrupted,
    /// The reader of the output, a pipe, closed it, which is not an error.
    BrokenPipe,
}

/// A mistake in the command line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Unusable input data, detected by a command itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(pub String);

impl Exit {
    /// The exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Done | Self::BrokenPipe => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::BadInput => 3,
            Self::Interrupted => 4,
        }
    }

    /// The exit of a run that ended with `error`: that of the first known cause, else `Failed`.
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Failed)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return (error.kind() == io::ErrorKind::BrokenPipe).then_some(Self::BrokenPipe);
        }
        if cause.is::<Usage>() {
            return Some(Self::Usage);
        }
        if cause.is::<BadInput>() {
            return Some(Self::BadInput);
        }
        Some(match ErrorKind::of(cause)? {
            ErrorKind::Input => Self::BadInput,
            ErrorKind::Cancelled => Self::Interrupted,
            _ => Self::Failed,
        })
    }
}

/// An error and its causes as one sentence on one line, without control characters. Causes that the sentence already contains
/// are left out, since most errors of the library include their cause.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    let sentence = sentence.split(['\r', '\n']).map(str::trim).filter(|line| !line.is_empty());
    let sentence = with_hint(&printable(sentence.collect::<Vec<_>>().join(" ")));
    error.chain().find_map(option_flag).map_or(sentence.clone(), |flag| format!("{sentence}; see {flag}"))
}

/// The flag of an engine's option that is out of range.
fn option_flag(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let Some(EngineError::Limit(LimitError::OutOfRange { what, .. })) = cause.downcast_ref() else { return None };
    ["--context", "--parallel", "--threads"].into_iter().find(|flag| flag.trim_start_matches('-') == *what)
}

/// Adds the flag to change to a message of the library, whose errors name none. Causes of failed records
/// reach the command line as text, so hints are found by text; the tests hold them to the errors.
pub fn with_hint(message: &str) -> String {
    const HINTS: [(&str, &str); 6] = [
        ("positions but the context has ", "raise --context"),
        (" cells is full", "raise --context"),
        ("cannot allocate a context of ", "try a smaller --context"),
        ("No such file or directory below the data root ", "name the folder of the images with --data-root"),
        ("the image lies outside the data root", "name the folder of the images with --data-root"),
        ("the model was loaded without its vision projector", "give it with --mmproj"),
    ];
    let hint = HINTS.iter().find(|(part, _)| message.contains(part));
    hint.map_or_else(|| message.to_owned(), |(_, hint)| format!("{message}; {hint}"))
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use mmprm::vision::prompts::EncodeError;

    use super::*;

    #[test]
    fn each_kind_of_error_has_its_code() {
        let code = |error: anyhow::Error| Exit::of(&error.context("while running")).code();
        assert_eq!(code(io::Error::from(io::ErrorKind::BrokenPipe).into()), 0);
        assert_eq!(code(io::Error::from(io::ErrorKind::StorageFull).into()), 1);
        assert_eq!(code(anyhow::anyhow!("something else")), 1);
        assert_eq!(code(Usage("--top-p: expected more than 0".into()).into()), 2);
        assert_eq!(code(BadInput("p.json: found no problems".into()).into()), 3);
        assert_eq!(code(EngineError::Cancelled.into()), 4);
    }

    #[test]
    fn a_sentence_is_one_line_and_repeats_no_cause() {
        let error =
            anyhow::anyhow!("p.json: no such\nfile").context("cannot read p.json: no such\nfile").context("stopped");
        assert_eq!(sentence(&error), "stopped: cannot read p.json: no such file");
        let error = anyhow::anyhow!("key \u{1b}[2J\u{202e}\nof a file");
        assert_eq!(sentence(&error), "key \\u{1b}[2J\\u{202e} of a file");
    }

    #[test]
    fn messages_of_the_library_get_the_flag_to_change() {
        let out_of_range = |what| LimitError::OutOfRange { what, value: 200, min: 1, max: 128 };
        let context = EngineError::Context { path: "x".into(), cells: 512, cause: "not enough memory".into() };
        let errors: [(anyhow::Error, Option<&str>); 6] = [
            (EngineError::from(LimitError::PromptTooLong { positions: 9, context: 8 }).into(), Some("raise --context")),
            (EngineError::from(LimitError::ContextFull { context: 8 }).into(), Some("raise --context")),
            (context.into(), Some("try a smaller --context")),
            (EncodeError::NoVision.into(), Some("give it with --mmproj")),
            (EngineError::from(out_of_range("parallel")).into(), Some("see --parallel")),
            (EngineError::from(out_of_range("token")).into(), None),
        ];
        for (error, hint) in errors {
            let expected = hint.map_or(error.to_string(), |hint| format!("{error}; {hint}"));
            assert_eq!(sentence(&error), expected);
        }
    }
}
