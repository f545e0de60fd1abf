//! Writing what is kept, and the report of what is not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mmprm_quant::atomic;
use serde_json::{Map, Value, json};

use super::{Choice, CurateError, CurateOptions, ProblemType, choose};
use crate::data::records::{Form, Records};
use crate::dataset::output::{self, ImageCarrier, OutputError};

/// What was kept and dropped.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CurateSummary {
    /// Problems read.
    pub read: usize,
    /// Problems kept.
    pub kept: usize,
    /// Problems kept, by type.
    pub types: BTreeMap<ProblemType, usize>,
    /// Problems dropped, by reason, in the order in which reasons are looked for.
    pub dropped: Map<String, Value>,
    /// The first problem dropped for each reason: its id and what was found.
    #[serde(skip)]
    pub examples: BTreeMap<String, String>,
    /// The file with the problems.
    pub output: PathBuf,
    /// The file with the report.
    pub report: PathBuf,
}

/// Writes `problems.json` with the problems of the file `source` that are kept, and `curation.json` with the reasons for the others.
///
/// # Errors
/// [`CurateError`]; nothing is written then.
pub fn curate(
    records: &Records,
    source: &Path,
    folder: &Path,
    options: &CurateOptions,
    replaces: bool,
) -> Result<CurateSummary, CurateError> {
    let [output, report] = ["problems.json", "curation.json"].map(|name| folder.join(name));
    output::check([&output, &report], &[source], replaces)?;
    let choice = choose(records, options)?;
    let mut carrier = ImageCarrier::new(&records.root, folder);
    let mut kept = Vec::with_capacity(choice.kept.len());
    let mut types = BTreeMap::new();
    for one in &choice.kept {
        let mut record = carrier.carry(&records.items[one.index])?;
        record.insert("problem_type".into(), json!(one.problem_type));
        *types.entry(one.problem_type).or_default() += 1;
        kept.push(record);
    }
    let problems = output::written(&output, Form::Array, &kept)?;
    let examples = examples(records, &choice);
    let summary = CurateSummary {
        read: records.items.len(),
        kept: kept.len(),
        types,
        dropped: choice.counts().iter().map(|(reason, count)| (reason.name().to_owned(), json!(count))).collect(),
        examples,
        output,
        report: report.clone(),
    };
    let text = serde_json::to_vec_pretty(&whole_report(records, source, options, &choice, &summary))
        .map_err(|error| OutputError::Write(error.into()))?;
    let written = atomic::complete(&report, &text).and_then(|report| atomic::put_in_place(vec![report, problems]));
    written.map_err(OutputError::Write)?;
    Ok(summary)
}

fn examples(records: &Records, choice: &Choice) -> BTreeMap<String, String> {
    let mut examples = BTreeMap::new();
    for dropped in &choice.dropped {
        let id = &records.items[dropped.index].id;
        let example = if dropped.found.is_empty() { id.clone() } else { format!("{id}: {}", dropped.found) };
        examples.entry(dropped.reason.name().to_owned()).or_insert(example);
    }
    examples
}

fn whole_report(
    records: &Records,
    source: &Path,
    options: &CurateOptions,
    choice: &Choice,
    summary: &CurateSummary,
) -> Value {
    let mut dropped = Map::new();
    for reason in choice.counts().keys() {
        let own = choice.dropped.iter().filter(|one| one.reason == *reason);
        let list: Vec<Value> = own.map(|one| json!({"id": records.items[one.index].id, "found": one.found})).collect();
        dropped.insert(reason.name().to_owned(), json!({"count": list.len(), "problems": list}));
    }
    let against: Vec<&String> = options.against.iter().map(|(name, _)| name).collect();
    let filter = options.candidates.as_ref().map(|_| json!({"min": options.min_pass, "max": options.max_pass}));
    json!({
        "source": source,
        "settings": {"text_only": options.keeps_text_only, "against": against, "pass_rate": filter, "balance_seed": options.balance},
        "read": summary.read,
        "kept": summary.kept,
        "types": summary.types,
        "dropped": dropped,
    })
}
