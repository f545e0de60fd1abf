//! A session at the terminal: questions and commands, one a line.

use std::io::{BufRead, IsTerminal, Read};
use std::path::PathBuf;

use anyhow::anyhow;
use mmprm::eval::selection::Selection;
use mmprm::search::guided::Method;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::question::Question;
use super::session::{Session, needs_logprobs, needs_scores};
use crate::exit::{self, BadInput, Exit};
use crate::profile::{self, MAX_CANDIDATES};
use crate::ui::Ui;

const HELP: &str =
    "A line with a question is solved; image files named in it are what it is about, and stay for the next question.
  /n 32         candidates per question
  /by RULE      rule that selects (product, min, majority, weighted_vote, …)
  /why          all candidates of the last question, with the scores of their steps
  /images       forget the images
  /help         this text
  /quit         end (also Ctrl-D)";

/// Maximum length of a line in bytes.
const MAX_LINE: u64 = 1 << 20;
/// Lines kept in the history.
const HISTORY: usize = 1000;

/// Answers lines until the input ends; a question without images is about `images` at first.
pub fn run(session: &mut Session, mut images: Vec<String>, ui: &Ui) -> anyhow::Result<Exit> {
    let mut lines = Lines::open()?;
    let mut has_failed = false;
    if lines.is_terminal() {
        ui.say("question with image files, or /help")?;
    }
    while let Some(line) = lines.next()? {
        if ui.is_interrupted() {
            return Ok(Exit::Interrupted);
        }
        let line = line.trim();
        let handled = match line.strip_prefix('/') {
            _ if line.is_empty() => Ok(true),
            // A path may begin with a slash, too.
            Some(command) if !command.contains(['/', '.']) => obey(command, session, &mut images, ui),
            _ => ask(line, session, &mut images, ui).map(|()| true),
        };
        match handled {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if Exit::of(&error) == Exit::Interrupted => return Err(error),
            Err(error) => {
                has_failed = true;
                ui.warn(exit::sentence(&error));
            }
        }
    }
    // A person has seen what failed; a script has to be told.
    Ok(if has_failed && !lines.is_terminal() { Exit::Failed } else { Exit::Done })
}

fn ask(line: &str, session: &mut Session, images: &mut Vec<String>, ui: &Ui) -> anyhow::Result<()> {
    let question = Question::of_line(line, images)?;
    images.clone_from(&question.images);
    if question.text.is_empty() {
        return ui.say(format_args!("images: {}; now the question", question.images.join(", ")));
    }
    session.answer(&question, ui)
}

/// Obeys a command; false for the last one.
fn obey(command: &str, session: &mut Session, images: &mut Vec<String>, ui: &Ui) -> anyhow::Result<bool> {
    let (name, value) = command.split_once(' ').map_or((command, ""), |(name, value)| (name, value.trim()));
    match name {
        "quit" | "q" | "exit" => return Ok(false),
        "help" => ui.say_lines(HELP)?,
        "images" => images.clear(),
        "why" => {
            if !session.explain(ui)? {
                ui.say("no question has been answered yet")?;
            }
        }
        "n" => match value.parse() {
            Ok(count @ 1..=MAX_CANDIDATES) => session.count = count,
            _ => return Err(anyhow!("/n {value}: expected 1 to {MAX_CANDIDATES}, as in /n 32")),
        },
        "by" => {
            let rule: Selection = value.parse().map_err(|error| anyhow!("/by {value}: {error}"))?;
            if needs_logprobs(rule) && session.search != Method::BestOfN {
                return Err(anyhow!("/by {rule}: a search has no log-probabilities"));
            }
            if needs_scores(rule) && !session.has_prm() {
                return Err(anyhow!("/by {rule}: needs a process reward model, which was not loaded (--prm)"));
            }
            session.rule = Some(rule);
        }
        _ => return Err(anyhow!("/{name}: expected one of /n, /by, /why, /images, /help, /quit")),
    }
    Ok(true)
}

/// Where lines come from.
enum Lines {
    Terminal(Box<DefaultEditor>, Option<PathBuf>),
    Pipe,
}

impl Lines {
    fn open() -> anyhow::Result<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Pipe);
        }
        let config = rustyline::Config::builder().max_history_size(HISTORY)?.auto_add_history(true).build();
        let mut editor = DefaultEditor::with_config(config)?;
        let history = profile::directory("XDG_STATE_HOME", ".local/state").map(|directory| directory.join("history"));
        if let Some(history) = &history {
            // There is none in the first session.
            let _ = editor.load_history(history);
        }
        Ok(Self::Terminal(Box::new(editor), history))
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(..))
    }

    /// The next line; `None` at the end.
    fn next(&mut self) -> anyhow::Result<Option<String>> {
        match self {
            Self::Pipe => {
                let mut line = String::new();
                let read = std::io::stdin().lock().take(MAX_LINE).read_line(&mut line)?;
                if read as u64 == MAX_LINE {
                    return Err(
                        BadInput(format!("standard input: expected lines of less than {MAX_LINE} bytes")).into()
                    );
                }
                Ok((read > 0).then_some(line))
            }
            Self::Terminal(editor, history) => match editor.readline("› ") {
                Ok(line) => {
                    if let Some(history) = history {
                        // A history that cannot be kept is not worth an error.
                        let _ = history.parent().map(std::fs::create_dir_all);
                        let _ = editor.append_history(history);
                    }
                    Ok(Some(line))
                }
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }
}
