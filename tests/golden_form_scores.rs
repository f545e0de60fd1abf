//! Scores of whole PRM forms on tiny checkpoints, against the procedure of each form's own project
//! (`tests/golden/families/make_scores.py`), and what quantisation leaves of their verdicts.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mmprm::engine::{Engine, EngineOptions, Model, ModelOptions, gpu_devices};
use mmprm::prm::form::of_checkpoint;
use mmprm::prm::{LocalPrm, PrmForm, PrmOptions, ScoreRequest, StepScorer};
use mmprm::prompt::PrmTemplate;
use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
use mmprm_quant::blocks::GgmlType;
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::progress::no_progress;
use mmprm_quant::quantize::{QuantType, QuantizeOptions};
use serde_json::Value;
use support::{assert_compared, cases, json, name, numbers, repository};
use tempfile::TempDir;

/// A model, perhaps with its vision projector.
struct Files {
    _directory: TempDir,
    paths: Vec<PathBuf>,
}

impl Files {
    fn convert(checkpoint: &Path) -> Self {
        let directory = TempDir::new().unwrap();
        let plan = plan(checkpoint, directory.path(), &ConvertOptions::new(WeightType::F32)).unwrap();
        plan.write(&mut no_progress).unwrap();
        Self { paths: plan.files.iter().map(|file| file.path.clone()).collect(), _directory: directory }
    }

    /// The language model in `q8_0`, with the same projector.
    fn quantized(&self) -> Self {
        let directory = TempDir::new().unwrap();
        let file = GgufFile::open(&self.paths[0]).unwrap();
        let mut paths = self.paths.clone();
        paths[0] = directory.path().join("q8_0.gguf");
        let plan = mmprm_quant::quantize::plan(&file, &QuantizeOptions::new(QuantType::Q8_0)).unwrap();
        plan.write(&paths[0], &mut no_progress).unwrap();
        for tensor in GgufFile::open(&paths[0]).unwrap().tensors().iter().filter(|tensor| tensor.dims.len() > 1) {
            assert_eq!(tensor.ggml_type, GgmlType::Q8_0, "{}", tensor.name);
        }
        Self { _directory: directory, paths }
    }

    fn start(&self) -> (Engine, PromptEncoder) {
        let model = Model::load(&self.paths[0], ModelOptions::default()).unwrap();
        let projector = self.paths.get(1).map(PathBuf::as_path);
        let encoder = PromptEncoder::load(Arc::clone(&model), projector, PromptEncoderOptions::default()).unwrap();
        let options = EngineOptions { context: Some(2048), deterministic: true, ..EngineOptions::default() };
        (Engine::start(&model, options).unwrap(), encoder)
    }
}

/// A model in a form, and candidates with the scores that they should have.
struct Subject {
    label: String,
    form: PrmForm,
    model: Files,
    reference: Option<Files>,
    /// Where the images of each problem are, and their names.
    images: (PathBuf, Vec<String>),
    problems: Vec<Problem>,
}

#[derive(Clone)]
struct Problem {
    question: String,
    candidates: Vec<Vec<String>>,
    expected: Vec<Vec<f64>>,
}

impl Problem {
    fn of(problem: &Value) -> Self {
        let candidates = problem["candidates"].as_array().unwrap();
        Self {
            question: problem["question"].as_str().unwrap().to_owned(),
            candidates: candidates.iter().map(|candidate| strings(&candidate["steps"])).collect(),
            expected: candidates.iter().map(|candidate| numbers(&candidate["scores"])).collect(),
        }
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

impl Subject {
    /// A case of a family's `scores.json`.
    fn of(folder: &Path, case: &Value) -> Self {
        let name_of_form = case["form"].as_str().unwrap();
        let mut label = format!("{name_of_form} on {}", name(folder));
        let form = match case.get("beta") {
            Some(beta) => {
                let form = PrmForm::log_ratio(beta.as_f64().unwrap());
                let (summed, cumulative) = ("cumulative = true", case["cumulative"].as_bool().unwrap());
                assert!(form.name() == name_of_form && form.record().contains(summed));
                label = format!("{label}, cumulative: {cumulative}");
                PrmForm::parse(&form.record().replace(summed, &format!("cumulative = {cumulative}"))).unwrap()
            }
            // Conversion chooses its beginning.
            None if name_of_form == "trl" => of_checkpoint(folder).unwrap(),
            None => PrmForm::built_in(name_of_form).unwrap(),
        };
        let images = case.get("images").map(strings).unwrap_or_default();
        if !images.is_empty() {
            label = format!("{label}, with an image");
        }
        let reference = case.get("reference").map(|other| folder.with_file_name(other.as_str().unwrap()));
        Self {
            label,
            form,
            model: Files::convert(folder),
            reference: reference.as_deref().map(Files::convert),
            images: (folder.to_owned(), images),
            problems: case["problems"].as_array().unwrap().iter().map(Problem::of).collect(),
        }
    }

    /// One of MM-PRM's own forms on the mini PRM, which was trained to have verdicts.
    fn own(template: PrmTemplate) -> Self {
        let candidates = [
            &["3 + 4 = 7.", "The final answer is 7."][..],
            &["3 + 4 = 7.", "The final answer is 8."],
            &["3 + 4 = 8.", "So it is 8.", "The final answer is 8."],
            &["The final answer is 7."],
        ];
        let candidates = candidates.map(|steps| steps.iter().map(|step| (*step).to_owned()).collect()).into();
        let question = "What is 3 + 4?".to_owned();
        Self {
            label: format!("{template} on the mini PRM"),
            form: template.form().clone(),
            model: Files::convert(&repository().join("demo/checkpoints/mini-prm")),
            reference: None,
            images: (PathBuf::from("/"), Vec::new()),
            problems: vec![Problem { question, candidates, expected: Vec::new() }],
        }
    }

    /// The same with both models in `q8_0`.
    fn quantized(&self) -> Self {
        Self {
            label: format!("{} in q8_0", self.label),
            form: self.form.clone(),
            model: self.model.quantized(),
            reference: self.reference.as_ref().map(Files::quantized),
            images: self.images.clone(),
            problems: self.problems.clone(),
        }
    }

    fn prm(&self) -> LocalPrm {
        let (path, form) = (&self.model.paths[0], Some(self.form.clone()));
        assert_eq!(LocalPrm::form_of(path, &[], form.as_ref()).unwrap(), self.form, "{}", self.label);
        LocalPrm::check_vocabulary(path, &self.form).unwrap();
        let other = self.reference.as_ref().map(|files| files.paths[0].as_path());
        LocalPrm::check_reference(path, &self.form, other).unwrap();
        let (engine, encoder) = self.model.start();
        let options = PrmOptions { data_root: self.images.0.clone(), form };
        match &self.reference {
            Some(reference) => LocalPrm::with_reference(engine, encoder, reference.start(), options).unwrap(),
            None => LocalPrm::new(engine, encoder, options).unwrap(),
        }
    }

    /// The scores of all candidates of all problems.
    fn scores(&self) -> Vec<Vec<f64>> {
        let prm = self.prm();
        let of = |Problem { question, candidates, .. }: &Problem| {
            prm.score(&ScoreRequest { question, images: &self.images.1, solutions: candidates }).unwrap()
        };
        self.problems.iter().flat_map(of).collect()
    }
}

/// One for each form, family and kind of problem.
fn subjects() -> Vec<Subject> {
    let mut subjects = Vec::new();
    for folder in cases("families") {
        let path = folder.join("scores.json");
        if path.exists() {
            subjects.extend(json(&path).as_array().unwrap().iter().map(|case| Subject::of(&folder, case)));
        }
    }
    assert_compared(subjects.len(), "families");
    subjects
}

#[test]
fn whole_forms_have_the_scores_of_their_own_code() {
    let mut forms = BTreeSet::new();
    for subject in subjects() {
        let found = subject.scores();
        let is_tiled = subject.form.name() == "visualprm";
        let tolerance = match subject.images.1.is_empty() {
            true if gpu_devices().is_empty() => 1e-4,
            // llama.cpp's vision towers round pixels to 16 bits (`tests/golden_families.rs`).
            false if is_tiled && gpu_devices().is_empty() => 1e-3,
            _ => 2e-2,
        };
        // A probability of a whole text is compared by its logarithm, a sum of some hundred numbers.
        let is_logprob = subject.form.name() == "implicit";
        let value = |score: f64| if is_logprob { score.ln() / 10.0 } else { score };
        let expected: Vec<&Vec<f64>> = subject.problems.iter().flat_map(|problem| &problem.expected).collect();
        let mut worst = 0.0_f64;
        assert_eq!(found.len(), expected.len(), "{}", subject.label);
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.len(), expected.len(), "{}", subject.label);
            let distances = found.iter().zip(expected).map(|(a, b)| (value(*a) - value(*b)).abs());
            worst = distances.fold(worst, f64::max);
        }
        println!("{}: {worst:.1e}", subject.label);
        assert!(worst <= tolerance, "{}: off by {worst}: {found:?}", subject.label);
        forms.insert(subject.form.name().to_owned());
    }
    // Those of MM-PRM: tests/golden_score.rs.
    let mut expected = forms_without_critiques();
    expected.retain(|name| PrmTemplate::ALL.iter().all(|own| own.name() != name));
    assert_eq!(forms, expected);
}

/// Every built-in form, and that of ratios. Forms that write critiques: `tests/prm_critiques.rs`.
fn forms_without_critiques() -> BTreeSet<String> {
    let has_none = |name: &&str| !PrmForm::built_in(name).unwrap().writes_critiques();
    PrmForm::BUILT_IN.into_iter().filter(has_none).chain(["implicit-ratio"]).map(str::to_owned).collect()
}

/// Scores further than this from 0.5 are verdicts.
const MARGIN: f64 = 0.05;

#[test]
fn q8_0_flips_no_verdict_of_any_form() {
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    for subject in subjects().into_iter().chain(PrmTemplate::ALL.map(Subject::own)) {
        let (exact, quantized) = (subject.scores().concat(), subject.quantized().scores().concat());
        assert_eq!(exact.len(), quantized.len(), "{}", subject.label);
        assert_ne!(exact, quantized, "{}: quantisation changes something", subject.label);
        let (mut decided, mut change) = (0, 0.0_f64);
        for (exact, quantized) in exact.iter().zip(&quantized) {
            change = change.max((exact - quantized).abs());
            if (exact - 0.5).abs() > MARGIN {
                assert_eq!(*exact > 0.5, *quantized > 0.5, "{}: {exact} becomes {quantized}", subject.label);
                decided += 1;
            }
        }
        println!("{}: {decided} verdicts of {} steps, scores change by up to {change:.1e}", subject.label, exact.len());
        *verdicts.entry(subject.form.name().to_owned()).or_default() += decided;
    }
    assert_eq!(verdicts.keys().cloned().collect::<BTreeSet<_>>(), forms_without_critiques());
    assert!(verdicts.values().all(|count| *count > 0), "{verdicts:?}");
}
