//! The memory of a training run: the table of `mmprm train --plan`, and the refusal of a run that cannot fit.

use mmprm::train::{Advice, MemoryReport};
use serde_json::json;

use crate::exit::Exit;
use crate::table::Table;
use crate::ui::{Ui, bytes};

/// Prints the memory that a run needs.
pub fn show(report: &MemoryReport, ui: &Ui) -> anyhow::Result<Exit> {
    let MemoryReport { parts, total, available, tokens, advice, .. } = report;
    let mut table = Table::new(["peak memory", "MiB"]);
    for part in parts {
        table.row([part.name.into(), mebibytes(part.bytes)]);
    }
    table.row(["total".into(), mebibytes(*total)]);
    ui.say_lines(table)?;
    if let Some(available) = available {
        let fits = if report.fits() { "it fits".into() } else { format!("it does not fit: {}", sentence_of(advice)) };
        ui.say(format_args!("{} MiB are available; {fits}", mebibytes(*available)))?;
    }
    ui.result(&json!({"parts": parts, "total": total, "available": available, "tokens": tokens, "advice": advice}))?;
    Ok(Exit::Done)
}

/// The error of a run that does not fit into memory.
pub fn too_large(report: &MemoryReport) -> anyhow::Error {
    anyhow::anyhow!(
        "the run needs about {} of memory and {} are available; it would need {} (see --plan)",
        bytes(report.total),
        bytes(report.available.unwrap_or(0)),
        sentence_of(&report.advice)
    )
}

/// `A with this, B with that too`: totals and changes.
fn sentence_of(advice: &[Advice]) -> String {
    let parts = advice.iter().enumerate().map(|(number, Advice { change, total })| {
        let too = if number > 0 { " too" } else { "" };
        format!("{} with {change}{too}", bytes(*total))
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn mebibytes(bytes: u64) -> String {
    (bytes >> 20).to_string()
}
