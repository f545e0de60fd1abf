//! Memory of a training run, before it starts: the table of `mmprm train --plan`, and the refusal
//! of runs that cannot fit.

use mmprm::train::plan::{Advice, Demand, Plan, advice};
use mmprm::util::machine;
use serde_json::json;

use crate::exit::Exit;
use crate::table::Table;
use crate::ui::{Ui, bytes};

/// Prints the memory that a run would take, part by part.
pub fn show(demand: &Demand<'_>, ui: &Ui) -> anyhow::Result<Exit> {
    let plan = Plan::of(demand);
    let (total, available) = (plan.total(), machine::budget());
    let advice = available
        .map_or_else(Vec::new, |available| if total > available { advice(demand, available) } else { Vec::new() });
    let mut table = Table::new(["peak memory", "MiB"]);
    for part in &plan.parts {
        table.row([part.name.into(), mebibytes(part.bytes)]);
    }
    table.row(["total".into(), mebibytes(total)]);
    ui.say(table)?;
    if let Some(available) = available {
        let fits =
            if total > available { format!("it does not fit: {}", sentence_of(&advice)) } else { "it fits".into() };
        ui.say(format_args!("{} MiB are available; {fits}", mebibytes(available)))?;
    }
    ui.result(&json!({"parts": plan.parts, "total": total, "available": available, "tokens": demand.tokens, "advice": advice}))?;
    Ok(Exit::Done)
}

/// Refuses a run that needs more memory than is available, before anything is allocated.
pub fn refuse_too_large(demand: &Demand<'_>) -> anyhow::Result<()> {
    let (total, available) = (Plan::of(demand).total(), machine::budget().unwrap_or(u64::MAX));
    anyhow::ensure!(
        total <= available,
        "the run needs about {} of memory, but {} are available; it would need {} (see --plan)",
        bytes(total),
        bytes(available),
        sentence_of(&advice(demand, available))
    );
    Ok(())
}

/// The advice as text: `A with this, B with that too`, where each change adds to those before it.
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
