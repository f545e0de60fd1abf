//! Long texts go through the user's pager where they go to a terminal.

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::{Command, Stdio};

use console::Term;

use crate::ui::Ui;

/// Prints a text that is drawn already: through PAGER (`less -R` without it) if it is longer than the terminal. Images go before it
/// where there is no pager, which would not show them.
pub fn show(images: &str, text: &str, ui: &Ui) -> anyhow::Result<()> {
    let rows = Term::stdout().size_checked().map(|(rows, _)| usize::from(rows));
    let is_long = rows.is_some_and(|rows| text.lines().count() >= rows);
    if is_long && std::io::stdin().is_terminal() && paged(text) {
        return Ok(());
    }
    if !images.is_empty() {
        ui.draw(images)?;
    }
    ui.draw(text)
}

/// Whether a pager showed the text.
fn paged(text: &str) -> bool {
    let pager = std::env::var("PAGER").ok().filter(|pager| !pager.trim().is_empty()).unwrap_or_else(|| "less".into());
    let mut words = pager.split_whitespace();
    let Some(program) = words.next() else { return false };
    let mut command = Command::new(program);
    command.args(words).env("LESS", std::env::var("LESS").unwrap_or_else(|_| "FRX".into())).stdin(Stdio::piped());
    let Ok(mut child) = command.spawn() else { return false };
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    // The reader may leave before the end.
    let is_written = written
        .is_some_and(|result| result.is_ok() || result.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe));
    child.wait().is_ok_and(|status| status.success()) && is_written
}
