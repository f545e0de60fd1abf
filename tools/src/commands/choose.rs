//! `mmprm choose`: the selected candidate of each problem.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use mmprm::data::candidates::{self, CandidateSet};
use mmprm::eval::selection::{Contenders, Selection};
use mmprm::util::printable::printable;
use mmprm_quant::atomic::{AtomicFile, check_file};
use serde_json::{Value, json};

use crate::args::check_distinct;
use crate::exit::{BadInput, Exit};
use crate::ui::{Ui, output_file};

/// Select one candidate of each problem, one JSON line a problem.
///
/// Each line has the problem's `id` (its index without one), the selected `answer`, its `index`
/// among the candidates, what the rule compares (`value`), by how much that exceeds the best of
/// another answer (`margin`, null if all agree), how many candidates agree (`agreement`, of
/// `candidates`), and `right` where the file has labels. A problem without a candidate to select
/// has a null `answer` and its cause in `error`.
#[derive(clap::Args)]
pub struct Args {
    /// Best-of-N file, from `mmprm score` or `mmprm generate`.
    #[arg(value_name = "FILE")]
    input: PathBuf,

    /// Output file (JSON Lines) [default: standard output].
    #[arg(short, long, value_name = "FILE", value_parser = output_file())]
    output: Option<PathBuf>,

    /// Rule: majority; product, min, average, last, max, sum_logprob, sum_logit or mean_odd of the
    /// step scores; weighted_vote_product, _min, _average or _last; logprob_mean,
    /// logprob_worst_step [default: product where the file has step scores, else majority].
    #[arg(long, value_name = "RULE")]
    by: Option<Selection>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    if let Some(output) = &args.output {
        check_file(output)?;
    }
    if let Some(output) = &args.output {
        check_distinct(output, [&args.input])?;
    }
    let sets = candidates::load(&args.input)?;
    let place = || args.input.display();
    let rule = args.by.unwrap_or_else(|| Selection::usual_of(&sets));
    if let Some(field) = rule.missing_in(&sets) {
        return Err(BadInput(format!("{}: no record has `{field}`, which --by {rule} needs", place())).into());
    }
    let lines: Vec<Value> = sets.iter().enumerate().map(|(index, set)| line(set, index, rule)).collect();
    let text = lines.iter().fold(String::new(), |text, line| text + &line.to_string() + "\n");
    let failed = lines.iter().filter(|line| line["answer"].is_null()).count();
    match &args.output {
        None => ui.write_result(&escaped(&text))?,
        Some(output) => {
            let mut file = AtomicFile::create(output)?;
            let written = file.write_all(text.as_bytes()).and_then(|()| file.commit());
            written.with_context(|| format!("cannot write {}", output.display()))?;
            let result = json!({"output": output, "rule": rule.name(), "problems": lines.len(), "failed": failed});
            ui.result_beside(output, &result)?;
            ui.say_beside(output, format_args!("{} problems, chosen by {rule}", lines.len()))?;
            ui.say_beside(output, format_args!("written: {}", output.display()))?;
        }
    }
    if failed > 0 {
        ui.warn(format_args!(
            "{failed} of {} problems have no candidate to select; their causes are in the output",
            lines.len()
        ));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

fn line(set: &CandidateSet, index: usize, rule: Selection) -> Value {
    let id = set.record.get("id").filter(|id| !id.is_null()).cloned().unwrap_or_else(|| json!(index));
    let contenders = Contenders::new(set);
    let Some(selected) = contenders.select(rule) else {
        return json!({"id": id, "answer": null, "error": cause(set, rule)});
    };
    let mut line = json!({
        "id": id, "answer": contenders.answers()[selected.index], "index": selected.index, "rule": rule.name(),
        "value": selected.value, "margin": selected.margin, "agreement": selected.agreement,
        "candidates": set.solutions.len(),
    });
    if let Some(right) = set.labels.as_ref().and_then(|labels| labels.get(selected.index)) {
        line["right"] = json!(right);
    }
    if line["answer"].is_null() {
        line["error"] = json!("the selected candidate has no steps");
    }
    line
}

/// JSON whose control characters, which JSON allows above U+007E, are escaped: a terminal would obey them.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' || printable(character).starts_with(character) {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

/// Why nothing is selected.
fn cause(set: &CandidateSet, rule: Selection) -> String {
    let text = |field: &str| set.record.get(field).and_then(Value::as_str).map(str::to_owned);
    let lacking = || rule.missing(set).map(|field| format!("the record has no `{field}`"));
    text("error").or_else(|| text("prm_error")).or_else(lacking).unwrap_or_else(|| "no candidate has an answer".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_the_json_is_the_same() {
        let line = json!({"answer": "a\u{9b}2J\u{202e}é🙂\n"}).to_string() + "\n";
        let safe = escaped(&line);
        assert!(safe.ends_with('\n') && safe.contains("\\u009b2J\\u202eé🙂\\n"), "{safe}");
        assert_eq!(serde_json::from_str::<Value>(&safe).unwrap(), serde_json::from_str::<Value>(&line).unwrap());
    }
}
