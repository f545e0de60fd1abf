//! The data sets that are known, and what their columns mean.
//!
//! Question texts are what each set's own evaluation shows. Columns that are not used stay in the record under their names.

use serde_json::Value;

use super::builder::{Builder, Dropped, Imported, Mapping};
use super::row::Row;
use super::steps;

/// A data set.
#[derive(Debug)]
pub struct Set {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is and where its columns are described.
    pub about: &'static str,
    /// Whether its rows are step-labelled solutions, and not problems.
    pub has_steps: bool,
    /// Columns by which it is recognised: all of them; of alternatives separated by `|`, one.
    columns: &'static [&'static str],
    /// Columns that another set has.
    never: &'static [&'static str],
    pub(super) map: fn(Row, &Mapping) -> Result<Imported, Dropped>,
}

/// All sets, more specific columns first.
pub static SETS: [Set; 14] = [
    Set {
        name: "mathvista",
        about: "MathVista (AI4Math/MathVista): the question is `query`, with its hint and choices",
        has_steps: false,
        columns: &["pid", "query", "question_type", "answer_type"],
        never: &[],
        map: mathvista,
    },
    Set {
        name: "mathverse",
        about: "MathVerse (AI4Math/MathVerse): the question is `query_cot`, else `query_wo`",
        has_steps: false,
        columns: &["sample_index", "problem_version", "query_cot|query_wo"],
        never: &[],
        map: mathverse,
    },
    Set {
        name: "mathvision",
        about: "MATH-Vision (MathLLMs/MathVision): question and options; the image is `decoded_image`, else `image`",
        has_steps: false,
        columns: &["question", "options", "level", "subject", "image|decoded_image"],
        never: &["pid"],
        map: mathvision,
    },
    Set {
        name: "olympiadbench",
        about: "OlympiadBench (Hothan/OlympiadBench, OE_…): context and question; the tolerance `error` becomes `precision`",
        has_steps: false,
        columns: &["question", "final_answer", "subfield", "is_multiple_answer|answer_type"],
        never: &[],
        map: olympiadbench,
    },
    Set {
        name: "visualprocessbench",
        about: "VisualProcessBench (OpenGVLab/VisualProcessBench): steps with 1 right, 0 neutral, -1 wrong",
        has_steps: true,
        columns: &["question", "response", "image"],
        never: &[],
        map: steps::visualprocessbench,
    },
    Set {
        name: "processbench",
        about: "ProcessBench (Qwen/ProcessBench): `label` is the index of the first wrong step, -1 for none",
        has_steps: true,
        columns: &["problem", "steps", "label", "final_answer_correct"],
        never: &[],
        map: steps::processbench,
    },
    Set {
        name: "prmbench",
        about: "PRMBench (hitsmy/PRMBench_Preview): the modified process; `error_steps` count from 1",
        has_steps: true,
        columns: &["modified_process", "error_steps"],
        never: &[],
        map: steps::prmbench,
    },
    Set {
        name: "omegaprm",
        about: "OpenR's OmegaPRM annotation (openreasoner/openr): prefixes of solutions with their MC values; right above 0",
        has_steps: true,
        columns: &["question", "final_answer", "reasoning_steps"],
        never: &[],
        map: steps::omegaprm,
    },
    Set {
        name: "prm800k",
        about: "PRM800K (openai/prm800k): the completion chosen at each step; rated 1, 0 or -1",
        has_steps: true,
        columns: &["question", "label", "labeler"],
        never: &[],
        map: steps::prm800k,
    },
    Set {
        name: "math-shepherd",
        about: "Math-Shepherd (peiyi9979/Math-Shepherd): a step ends in ки in `input`, in + or - in `label`",
        has_steps: true,
        columns: &["input", "label", "task"],
        never: &[],
        map: steps::math_shepherd,
    },
    Set {
        name: "mmk12",
        about: "MMK12 (FanqingM/MMK12) and MM-PRM's seed form (mm-k12): question, answer, image or image_path",
        has_steps: false,
        columns: &["question", "answer|correct_answer", "image|image_path|images|image_paths"],
        never: &["response"],
        map: problem,
    },
    Set {
        name: "math500",
        about: "MATH-500 (HuggingFaceH4/MATH-500) and MATH: problem, solution, answer",
        has_steps: false,
        columns: &["problem", "solution", "answer"],
        never: &[],
        map: math500,
    },
    Set {
        name: "gsm8k",
        about: "GSM8K (openai/gsm8k): the number after #### in `answer`",
        has_steps: false,
        columns: &["question", "answer"],
        never: &["image", "image_path", "id"],
        map: gsm8k,
    },
    Set {
        name: "json",
        about: "any JSON, JSON Lines, CSV or Parquet with columns question and answer, or those named by a mapping",
        has_steps: false,
        columns: &["question"],
        never: &[],
        map: problem,
    },
];

impl Set {
    /// The set of this name; `mm-k12`, `jsonl` and `csv` are other names of `mmk12` and `json`.
    pub fn named(name: &str) -> Option<&'static Self> {
        let name = match name {
            "mm-k12" => "mmk12",
            "jsonl" | "csv" => "json",
            other => other,
        };
        SETS.iter().find(|set| set.name == name)
    }

    /// The set that a row with these columns is of.
    pub(super) fn of_columns(row: &Row) -> Option<&'static Self> {
        let has = |column: &&str| column.split('|').any(|name| row.has(name));
        SETS.iter().find(|set| set.columns.iter().all(has) && !set.never.iter().any(|name| row.has(name)))
    }
}

/// A problem with columns named as this project names them, or as the mapping says.
fn problem(row: Row, mapping: &Mapping) -> Result<Imported, Dropped> {
    let mut builder = Builder::new(row);
    let columns = |field: &str, usual: &[&'static str]| -> Vec<String> {
        let named = mapping.iter().filter(|(own, _)| own == field).map(|(_, column)| column.clone());
        let named: Vec<String> = named.collect();
        if named.is_empty() { usual.iter().map(|name| (*name).to_owned()).collect() } else { named }
    };
    let ids = columns("id", &["id", "unique_id"]);
    let questions = columns("question", &["question", "problem"]);
    let answers = columns("answer", &["correct_answer", "answer"]);
    let images = columns("image", &["images", "image_paths", "image", "image_path", "decoded_image"]);
    builder.id(&ids);
    builder.question(&questions)?;
    builder.answer(&answers);
    builder.images(&images)?;
    builder.numbered_images()?;
    let is_own = |field: &str| ["id", "question", "answer", "image"].contains(&field);
    for (field, column) in mapping.iter().filter(|(field, _)| !is_own(field)) {
        if let Some(value) = builder.take(column) {
            builder.set(field, value);
        }
    }
    builder.done(&[ids, questions, answers].concat())
}

fn mathvista(row: Row, _: &Mapping) -> Result<Imported, Dropped> {
    let mut builder = Builder::new(row);
    builder.id(&["pid"]);
    builder.question(&["query"])?;
    builder.answer(&["answer"]);
    builder.images(&["decoded_image", "image"])?;
    builder.done(&["pid", "query", "answer"])
}

fn mathverse(row: Row, _: &Mapping) -> Result<Imported, Dropped> {
    let mut builder = Builder::new(row);
    builder.id(&["sample_index"]);
    builder.question(&["query_cot", "query_wo"])?;
    builder.answer(&["answer"]);
    builder.images(&["image"])?;
    if let Some(Value::Object(metadata)) = builder.take("metadata") {
        for field in ["subject", "subfield", "source"] {
            if let Some(value) = metadata.get(field) {
                builder.set(field, value.clone());
            }
        }
        builder.set("metadata", Value::Object(metadata));
    }
    builder.done(&["sample_index", "answer"])
}

fn mathvision(row: Row, _: &Mapping) -> Result<Imported, Dropped> {
    let mut builder = Builder::new(row);
    builder.id(&["id"]);
    builder.question(&["question"])?;
    builder.answer(&["answer"]);
    builder.images(&["decoded_image", "image"])?;
    builder.done(&["answer"])
}

fn olympiadbench(row: Row, _: &Mapping) -> Result<Imported, Dropped> {
    let mut builder = Builder::new(row);
    builder.id(&["id"]);
    let question = builder.needed("no question", &["question"])?;
    let question = match builder.text(&["context"]) {
        Some(context) => format!("{context}\n{question}"),
        None => question,
    };
    builder.set("question", question);
    let answers = match builder.take("final_answer") {
        Some(Value::Array(answers)) => {
            let text = |answer: &Value| answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
            answers.iter().filter(|answer| !answer.is_null()).map(text).collect()
        }
        Some(Value::String(answer)) => vec![answer],
        _ => Vec::new(),
    };
    if answers.is_empty() {
        return Err(Dropped::Row("no answer: a proof", String::new()));
    }
    builder.set("correct_answer", answers.join(", "));
    // In a record of this project `error` says that something failed.
    if let Some(error) = builder.take("error") {
        let tolerance = match &error {
            Value::String(text) => text.split(',').next().unwrap_or_default().trim().to_owned(),
            other => other.to_string(),
        };
        if tolerance.parse::<f64>().is_ok_and(f64::is_finite) {
            builder.set("precision", tolerance);
        }
        builder.set("tolerance", error);
    }
    builder.numbered_images()?;
    builder.images(&["image", "images"])?;
    builder.done(&["question", "error"])
}

fn math500(row: Row, _: &Mapping) -> Result<Imported, Dropped> {
    let mut builder = Builder::new(row);
    builder.id(&["unique_id", "id"]);
    builder.question(&["problem"])?;
    builder.answer(&["answer"]);
    builder.done(&["unique_id", "problem", "answer"])
}

fn gsm8k(row: Row, _: &Mapping) -> Result<Imported, Dropped> {
    let mut builder = Builder::new(row);
    builder.question(&["question"])?;
    let answer = builder.needed("no answer", &["answer"])?;
    match answer.rsplit_once("####") {
        Some((solution, answer)) => {
            // Thousands are separated by commas in the source.
            builder.set("correct_answer", answer.trim().replace(',', ""));
            builder.set("solution", solution.trim());
        }
        None => builder.set("correct_answer", answer),
    }
    builder.done(&["answer"])
}
