//! `mmprm eval bench`: a benchmark in one command, from problems to the table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use mmprm::data::candidates::{self, CandidateSet};
use mmprm::data::fields::field as field_of;
use mmprm::eval::bench::{BENCHES, Bench, relabelled};
use mmprm::eval::bon::{self, BonOptions, MethodAccuracy, Report};
use mmprm::util::io::read_text;
use mmprm_quant::atomic::{beside, check_directory};
use serde_json::{Map, Value, json};

use super::bon::left_out;
use super::{aggregators, group_table, measured, write_result};
use crate::args::ExistingArgs;
use crate::commands::generate::{self, GenerationArgs};
use crate::commands::score;
use crate::exit::{BadInput, Exit};
use crate::scorer::{self, ReferenceArgs, ScorerPair};
use crate::table::Table;
use crate::ui::{Ui, output_directory};

/// Run a benchmark: generate candidates, score their steps, select, print the table.
///
/// Accuracies are shown by the general rule for answers (and the judge model, where one is given) and, where the benchmark has a rule
/// of its own that needs no model, by that, which is what its papers print; in all and by the fields that its papers divide problems
/// by. The directory keeps candidates.json, scored.json and results.json; the same command resumes an interrupted run, and `eval bon`,
/// `show` and `report` read these files.
#[derive(clap::Args)]
pub struct Args {
    /// The benchmark, as `mmprm data import` calls it; `other` for any problem file.
    #[arg(value_name = "NAME", value_parser = bench())]
    bench: &'static Bench,

    /// Directory of the results; created if missing.
    #[arg(short, long, value_name = "DIR", value_parser = output_directory())]
    output: PathBuf,

    #[command(flatten)]
    existing: ExistingArgs,

    /// Process reward model; without one, candidates are selected without scores.
    #[arg(long, value_name = "GGUF", help_heading = "Reward model")]
    prm: Option<PathBuf>,

    /// Its vision projector; problems with images need one.
    #[arg(long, value_name = "GGUF", help_heading = "Reward model", requires = "prm")]
    prm_mmproj: Option<PathBuf>,

    /// How it reads solutions: the name of a built-in PRM form, or a TOML file (docs/prm-forms.md) [default: from the model's metadata].
    #[arg(long, value_name = "FILE|NAME", help_heading = "Reward model", requires = "prm")]
    prm_form: Option<String>,

    #[command(flatten)]
    prm_reference: ReferenceArgs,

    /// Field of the problems whose values divide them into groups; `outer.inner` for a field within another. May be repeated [default:
    /// those of the benchmark].
    #[arg(long, value_name = "FIELD")]
    by: Vec<String>,

    /// Accuracies from elsewhere to show beside: a JSON object of columns, each an object of methods and per cents, such as
    /// {"paper": {"random": 33.9, "product": 42.8}}.
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,

    #[command(flatten)]
    generation: GenerationArgs,
}

fn bench() -> impl TypedValueParser<Value = &'static Bench> {
    PossibleValuesParser::new(BENCHES.iter().map(|bench| bench.name))
        .map(|name| Bench::named(&name).expect("only names of benchmarks pass"))
}

/// Accuracies from elsewhere: columns of methods with per cents.
type Reference = Vec<(String, BTreeMap<String, f64>)>;

/// Maximum size in bytes of a file of accuracies.
const MAX_REFERENCE: u64 = 1 << 20;

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_directory(&args.output)?;
    let reference = args.reference.as_deref().map(read_reference).transpose()?.unwrap_or_default();
    if let Some(model) = &args.prm {
        // What the second half of the work would refuse is refused before the first.
        let form = args.prm_form.as_deref().map(scorer::prm_form).transpose()?;
        let reference = args.prm_reference.clone();
        ScorerPair { model: model.clone(), mmproj: args.prm_mmproj.clone(), form, reference }.check()?;
    }
    std::fs::create_dir_all(&args.output).with_context(|| format!("cannot create {}", args.output.display()))?;
    let (candidates, results) = (args.output.join("candidates.json"), args.output.join("results.json"));
    let step = ui.for_a_step();
    let generated = generate::generate_to(&candidates, &args.generation, args.existing, &step)?;
    if generated == Exit::Interrupted {
        return Ok(generated);
    }
    let (mut exit, mut last) = (generated, candidates);
    if let Some(prm) = &args.prm {
        let scored = args.output.join("scored.json");
        let scoring = score::Args {
            prm: prm.clone(),
            mmproj: args.prm_mmproj.clone(),
            input: last,
            output: scored.clone(),
            data_root: None,
            prm_form: args.prm_form.clone(),
            critiques: false,
            reference: args.prm_reference.clone(),
            existing: args.existing,
            // `--lora` is for the policy.
            engine: args.generation.engine.without_adapters(),
        };
        match score::run(&scoring, &step)? {
            Exit::Done => {}
            Exit::Interrupted => return Ok(Exit::Interrupted),
            failed => exit = failed,
        }
        last = scored;
    }
    let sets = candidates::load(&last)?;
    let evaluation = Evaluation::new(args.bench, &sets, &args.by, args.generation.sampling.seed);
    let result = evaluation.result(args, &last, &reference)?;
    write_result(Some(&results), &result)?;
    ui.result(&result)?;
    print(&evaluation, &reference, ui)?;
    ui.say(format_args!("written: {}", args.output.display()))?;
    Ok(exit)
}

/// The reports of a benchmark.
struct Evaluation {
    bench: &'static Bench,
    /// By the labels of the candidates, then by the benchmark's own rule if it has one.
    reports: Vec<(&'static str, Report)>,
    /// For each field the report of each of its values.
    groups: Vec<(String, Vec<(String, Report)>)>,
}

impl Evaluation {
    fn new(bench: &'static Bench, sets: &[CandidateSet], by: &[String], seed: u64) -> Self {
        let options = BonOptions { reference: false, seed };
        let mut reports = vec![("general rule", bon::report(sets, options))];
        if let Some(rule) = bench.rule {
            reports.push(("own rule", bon::report(&relabelled(sets, rule), options)));
        }
        // A field of the benchmark that this file lacks is not a group; one that was asked for is shown as it is.
        let own = bench.groups.iter().filter(|field| sets.iter().any(|set| field_of(&set.record, field).is_some()));
        let fields: Vec<String> =
            if by.is_empty() { own.map(|field| (*field).to_owned()).collect() } else { by.to_vec() };
        let groups = fields.into_iter().map(|field| {
            let groups = bon::grouped(sets, &field, options);
            (field, groups)
        });
        Self { bench, reports, groups: groups.collect() }
    }

    /// The report by the candidates' labels.
    fn general(&self) -> &Report {
        &self.reports[0].1
    }

    fn result(&self, args: &Args, input: &Path, reference: &Reference) -> anyhow::Result<Value> {
        let report =
            |report: &Report| json!({"problems": report.used, "counts": report, "aggregators": aggregators(report)});
        let rules: Map<String, Value> =
            self.reports.iter().map(|(rule, own)| ((*rule).to_owned(), report(own))).collect();
        let groups: Map<String, Value> = self
            .groups
            .iter()
            .map(|(field, values)| {
                let values: Map<String, Value> =
                    values.iter().map(|(value, own)| (value.clone(), report(own))).collect();
                (field.clone(), Value::Object(values))
            })
            .collect();
        let reference: Map<String, Value> =
            reference.iter().map(|(column, methods)| (column.clone(), json!(methods))).collect();
        Ok(json!({
            "bench": self.bench.name, "rule": self.bench.about, "input": input, "settings": settings(args, input)?,
            "rules": rules, "groups": groups, "reference": reference,
        }))
    }
}

/// The settings of both runs, with the hashes of their models and inputs, as the runs keep them beside their outputs.
fn settings(args: &Args, last: &Path) -> anyhow::Result<Value> {
    let of = |path: &Path| -> anyhow::Result<Value> {
        let path = beside(path, ".settings.json");
        serde_json::from_slice(&read_text(&path, u64::MAX)?).with_context(|| format!("{}: not JSON", path.display()))
    };
    let candidates = args.output.join("candidates.json");
    Ok(json!({
        "generate": of(&candidates)?,
        "score": if last == candidates { Value::Null } else { of(last)? },
    }))
}

fn read_reference(path: &Path) -> anyhow::Result<Reference> {
    let wrong = |what: String| BadInput(format!("{}: {what}", path.display()));
    let text = read_text(path, MAX_REFERENCE)?;
    let columns: Map<String, Value> = serde_json::from_slice(&text).map_err(|error| {
        wrong(format!("expected an object of columns, each an object of methods and per cents ({error})"))
    })?;
    let column = |(name, methods): (String, Value)| {
        let methods = methods
            .as_object()
            .ok_or_else(|| wrong(format!("`{name}`: expected an object of methods and per cents")))?;
        let number = |(method, value): (&String, &Value)| {
            let value = value.as_f64().filter(|value| (0.0..=100.0).contains(value));
            let value =
                value.ok_or_else(|| wrong(format!("`{name}`: `{method}`: expected a number of per cent, 0 to 100")))?;
            Ok((method.clone(), value))
        };
        Ok((name.clone(), methods.iter().map(number).collect::<Result<_, BadInput>>()?))
    };
    Ok(columns.into_iter().map(column).collect::<Result<_, BadInput>>()?)
}

fn print(evaluation: &Evaluation, reference: &Reference, ui: &Ui) -> anyhow::Result<()> {
    let general = evaluation.general();
    ui.say(format_args!("{}", evaluation.bench.about))?;
    let others = left_out(general).unwrap_or_else(|| "none".to_owned());
    ui.say(format_args!("{} problems; left out of every figure: {others}", general.used))?;
    let mut table = Table::new(
        ["method".to_owned()]
            .into_iter()
            .chain(evaluation.reports.iter().map(|(rule, _)| format!("{rule}, % (95 % CI)")))
            .chain(reference.iter().map(|(name, _)| format!("{name}, %"))),
    );
    // Methods from elsewhere that are not among ours have rows of their own.
    let mut names: Vec<&str> = general.methods.iter().map(|method| method.name.as_str()).collect();
    for method in reference.iter().flat_map(|(_, methods)| methods.keys()) {
        if !names.contains(&method.as_str()) {
            names.push(method);
        }
    }
    for name in &names {
        let own = evaluation
            .reports
            .iter()
            .map(|(_, report)| measured(report, name).map_or_else(|| "-".to_owned(), per_cent_with_interval));
        let others = reference
            .iter()
            .map(|(_, methods)| methods.get(*name).map_or_else(|| "-".to_owned(), |value| format!("{value:.1}")));
        table.row([(*name).to_owned()].into_iter().chain(own).chain(others));
    }
    ui.say_lines(format_args!("\n{table}"))?;
    let is_known = |name: &&str| general.methods.iter().any(|method| method.name == *name);
    let shown: Vec<(&str, String)> =
        COMPARED.into_iter().filter(is_known).map(|name| (name, format!("{name}, %"))).collect();
    let accuracy = |method: &MethodAccuracy| format!("{:.1}", 100.0 * method.accuracy);
    for (field, values) in &evaluation.groups {
        ui.say_lines(format_args!("\n{}", group_table(field, values, &shown, accuracy)))?;
    }
    Ok(())
}

fn per_cent_with_interval(method: &MethodAccuracy) -> String {
    let [low, high] = method.ci.map(|value| 100.0 * value);
    format!("{:.1} ({low:.1} to {high:.1})", 100.0 * method.accuracy)
}

/// Methods of the tables of groups: choices without a reward model, the product of its scores, and any right candidate.
const COMPARED: [&str; 5] = ["random", "majority", "logprob_mean", "product", "oracle"];
