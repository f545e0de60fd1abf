//! Every kind of PRM form on a small model, against scores computed directly from its logits and hidden states.

mod support;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use mmprm::engine::{Chunk, Engine, EngineOptions, Model, ModelOptions, Prompt, Token};
use mmprm::prm::{LocalPrm, PrmForm, PrmOptions, ScoreRequest, StepScorer};
use mmprm::prompt::PrmTemplate;
use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
use mmprm_quant::convert::WeightType;
use mmprm_quant::gguf::{GgufArray, GgufFile, GgufValue, GgufWriter, Metadata, TensorSpec};
use support::Pair;

const QUESTION: &str = "What is 3 + 4?";

/// The mini PRM in f32.
fn pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| support::convert(&support::repository().join("demo/checkpoints/mini-prm"), WeightType::F32))
}

fn engine(model: &Arc<Model>) -> Engine {
    let options =
        EngineOptions { context: Some(2048), deterministic: true, threads: Some(1), ..EngineOptions::default() };
    Engine::start(model, options).unwrap()
}

fn prm(path: &Path, form: &PrmForm) -> LocalPrm {
    let model = Model::load(path, ModelOptions::default()).unwrap();
    let encoder = PromptEncoder::load(Arc::clone(&model), None, PromptEncoderOptions::default()).unwrap();
    let options = PrmOptions { data_root: PathBuf::from("/"), form: Some(form.clone()) };
    LocalPrm::new(engine(&model), encoder, options).unwrap()
}

fn steps(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| (*step).to_owned()).collect()
}

fn candidates() -> Vec<Vec<String>> {
    [
        &["3 + 4 = 7.", "The final answer is 7."][..],
        &["3 + 4 = 7.", "The final answer is 8."],
        &["3 + 4 = 7", "The final answer is 7."],
        &[],
        &["3 + 4 = 8.", "", "So it is 8.", "The final answer is 8."],
        &["3 + 4 = 7."],
    ]
    .map(steps)
    .into()
}

fn scores(prm: &LocalPrm, solutions: &[Vec<String>]) -> Vec<Vec<f64>> {
    prm.score(&ScoreRequest { question: QUESTION, images: &[], solutions }).unwrap()
}

/// Bits of scores, since a candidate's do not depend on its company at all.
fn bits(scores: &[f64]) -> Vec<u64> {
    scores.iter().map(|score| score.to_bits()).collect()
}

/// The prompt of these tokens, read at `positions`.
fn prompt(tokens: Vec<Token>, positions: Vec<usize>) -> Prompt {
    Prompt::new([Chunk::Tokens(tokens)]).unwrap().marked(positions).unwrap()
}

/// Scores computed directly: tokens and positions of each candidate by `places`, rows by `read`.
fn direct(
    path: &Path,
    solutions: &[Vec<String>],
    places: impl Fn(&Model, &[String]) -> (Vec<Token>, Vec<usize>),
    read: impl Fn(&Engine, Prompt) -> Vec<f64>,
) -> Vec<Vec<f64>> {
    let model = Model::load(path, ModelOptions::default()).unwrap();
    let engine = engine(&model);
    let one = |steps: &Vec<String>| {
        if steps.is_empty() {
            return Vec::new();
        }
        let (tokens, positions) = places(&model, steps);
        assert_eq!(positions.len(), steps.len());
        read(&engine, prompt(tokens, positions))
    };
    solutions.iter().map(one).collect()
}

fn assert_close(found: &[Vec<f64>], expected: &[Vec<f64>], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{what}");
        for (found, expected) in found.iter().zip(expected) {
            // The direct computation divides in f64 too; only the order of sums differs.
            assert!((found - expected).abs() < 1e-12, "{what}: {found} for {expected}");
        }
    }
}

/// Scores alone, together and backwards are the same bits.
fn assert_company(prm: &LocalPrm, what: &str) {
    let solutions = candidates();
    let together = scores(prm, &solutions);
    let backwards = scores(prm, &solutions.iter().rev().cloned().collect::<Vec<_>>());
    for (index, steps) in solutions.iter().enumerate() {
        assert_eq!(together[index].len(), steps.len(), "{what}");
        let alone = scores(prm, std::slice::from_ref(steps));
        assert_eq!(bits(&alone[0]), bits(&together[index]), "{what}: candidate {index}");
        assert_eq!(bits(&alone[0]), bits(&backwards[solutions.len() - 1 - index]), "{what}: candidate {index}");
    }
    let distinct: std::collections::BTreeSet<u64> = together.iter().flat_map(|steps| bits(steps)).collect();
    assert!(distinct.len() > 4, "{what}: {together:?}");
}

fn softmax(logits: &[f64], index: usize) -> f64 {
    logits[index].exp() / logits.iter().map(|logit| logit.exp()).sum::<f64>()
}

/// The first of `labels` in the softmax of the logits at each position.
fn first_of(labels: &[&str]) -> impl Fn(&Engine, Prompt) -> Vec<f64> {
    let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
    move |engine, prompt| {
        let tokens: Vec<Token> = labels.iter().map(|label| engine.model().token(label).unwrap()).collect();
        let rows = engine.logits(vec![prompt], &tokens).unwrap().remove(0);
        rows.iter().map(|row| softmax(&row.iter().map(|logit| f64::from(*logit)).collect::<Vec<_>>(), 0)).collect()
    }
}

#[test]
fn a_form_of_turns_is_read_where_the_assistant_begins() {
    let form = PrmForm::built_in("visualprm").unwrap();
    let places = |model: &Model, steps: &[String]| {
        let (mut tokens, mut positions) = (Vec::new(), Vec::new());
        let text = form.layout(QUESTION, steps, 0, true).unwrap().render(&[]);
        // VisualPRM's code: the last token of `<|im_start|>assistant\n` wherever `+<|im_end|>` follows.
        let role = model.tokenize("<|im_start|>assistant\n", false).unwrap();
        let answer = model.tokenize("<|im_start|>assistant\n+<|im_end|>\n", false).unwrap();
        tokens.extend(model.tokenize(&text, true).unwrap());
        for at in 0..tokens.len() {
            if tokens[at..].starts_with(&answer) {
                positions.push(at + role.len() - 1);
            }
        }
        (tokens, positions)
    };
    let prm = prm(&pair().model, &form);
    let expected = direct(&pair().model, &candidates(), places, first_of(&["+", "-"]));
    assert_close(&scores(&prm, &candidates()), &expected, "visualprm");
    assert_company(&prm, "visualprm");
}

#[test]
fn a_form_may_read_at_a_mark_from_several_tokens() {
    let record = PrmTemplate::Training.form().record();
    let record = record.replace("tokens = [\"Yes\", \"No\"]", "tokens = [\"Yes\", \"+\", \"-\", \"No\"]");
    let form = PrmForm::parse(&record.replace("positive = [\"Yes\"]", "positive = [\"Yes\", \"+\"]")).unwrap();
    let places = |model: &Model, steps: &[String]| {
        let tokens = model.tokenize(&form.layout(QUESTION, steps, 0, true).unwrap().render(&[]), true).unwrap();
        let mark = model.token("<prm>").unwrap();
        let positions = (0..tokens.len()).filter(|at| tokens[*at] == mark).collect();
        (tokens, positions)
    };
    let read = |engine: &Engine, prompt: Prompt| {
        let tokens = ["Yes", "+", "-", "No"].map(|label| engine.model().token(label).unwrap());
        let rows = engine.logits(vec![prompt], &tokens).unwrap().remove(0);
        let logits = |row: &Vec<f32>| row.iter().map(|logit| f64::from(*logit)).collect::<Vec<_>>();
        rows.iter().map(|row| softmax(&logits(row), 0) + softmax(&logits(row), 1)).collect()
    };
    let expected = direct(&pair().model, &candidates(), places, read);
    assert_close(&scores(&prm(&pair().model, &form), &candidates()), &expected, "several tokens");
}

/// A form that reads at the end has one score a step: that of a prompt which ends there.
#[test]
fn a_form_that_reads_at_the_end_reads_once_for_each_step() {
    let record = "name = 'at-end'\n[text]\nbegin = \"Question: {question}\\n\"\nstep = \"{step}\\n\"\nend = \"Is it right? <prm>{read}\"\n\
                  marks = ['<prm>']\n[score]\nby = 'tokens'\ntokens = ['Yes', 'No']\npositive = ['Yes']\n";
    let form = PrmForm::parse(record).unwrap();
    let prm = prm(&pair().model, &form);
    let whole = scores(&prm, &candidates());
    for (steps, scores) in candidates().iter().zip(&whole) {
        for count in 1..=steps.len() {
            let text = format!("Question: {QUESTION}\n{}\nIs it right? <prm>", steps[..count].join("\n"));
            let last = direct(
                &pair().model,
                &[vec![String::new()]],
                |model, _| {
                    let tokens = model.tokenize(&text, true).unwrap();
                    let last = tokens.len() - 1;
                    (tokens, vec![last])
                },
                first_of(&["Yes", "No"]),
            );
            assert!((last[0][0] - scores[count - 1]).abs() < 1e-12, "{text}");
        }
    }
    assert_company(&prm, "at the end");
}

/// A copy of a model with more metadata.
fn with_metadata(folder: &Path, added: Metadata) -> PathBuf {
    let file = GgufFile::open(&pair().model).unwrap();
    let metadata = file.metadata().iter().cloned().chain(added).collect();
    rewritten(&file, folder.join("model.gguf"), &metadata, <[u8]>::to_vec)
}

/// A copy of a model with this metadata and with the data of tensors that `change` makes.
fn rewritten(file: &GgufFile, path: PathBuf, metadata: &Metadata, change: impl Fn(&[u8]) -> Vec<u8>) -> PathBuf {
    let specs: Vec<TensorSpec> = file
        .tensors()
        .iter()
        .map(|tensor| TensorSpec { name: tensor.name.clone(), dims: tensor.dims.clone(), ggml_type: tensor.ggml_type })
        .collect();
    let mut writer = GgufWriter::create(&path, metadata, &specs).unwrap();
    file.tensors().iter().for_each(|tensor| writer.write(&change(file.tensor_data(tensor))).unwrap());
    writer.finish().unwrap();
    path
}

/// The weights and the bias of a layer.
type Layer = (Vec<f32>, Vec<f32>);

/// A head with layers of these widths, and its metadata; weights are small fixed numbers.
fn head(widths: &[usize]) -> (Vec<Layer>, Metadata) {
    let number = |index: usize, salt: usize| ((index * 37 + salt * 11) % 101) as f32 / 101.0 - 0.5;
    let layers: Vec<Layer> = widths
        .windows(2)
        .enumerate()
        .map(|(salt, width)| {
            let weight = (0..width[0] * width[1]).map(|index| number(index, salt)).collect();
            (weight, (0..width[1]).map(|index| number(index, salt + 5)).collect())
        })
        .collect();
    let floats = |values: &[f32]| GgufValue::Array(GgufArray::F32(values.to_vec()));
    let mut metadata = vec![("mmprm.head.layers".to_owned(), GgufValue::U32(layers.len() as u32))];
    if layers.len() > 1 {
        metadata.push(("mmprm.head.activation".to_owned(), GgufValue::from("relu")));
    }
    for (index, ((weight, bias), width)) in layers.iter().zip(widths.windows(2)).enumerate() {
        let shape = GgufValue::Array(GgufArray::U32(vec![width[1] as u32, width[0] as u32]));
        metadata.push((format!("mmprm.head.{index}.shape"), shape));
        metadata.push((format!("mmprm.head.{index}.weight"), floats(weight)));
        metadata.push((format!("mmprm.head.{index}.bias"), floats(bias)));
    }
    (layers, metadata)
}

/// The outputs of a head, computed from its definition.
fn outputs(layers: &[Layer], state: &[f32]) -> Vec<f64> {
    let mut values: Vec<f64> = state.iter().map(|value| f64::from(*value)).collect();
    for (index, (weight, bias)) in layers.iter().enumerate() {
        if index > 0 {
            values = values.iter().map(|value| value.max(0.0)).collect();
        }
        let mut next = Vec::new();
        for (row, bias) in bias.iter().enumerate() {
            let mut sum = f64::from(*bias);
            for (column, value) in values.iter().enumerate() {
                sum += f64::from(weight[row * values.len() + column]) * value;
            }
            next.push(sum);
        }
        values = next;
    }
    values
}

/// Each step and each line break is tokenised by itself, as TRL's and Skywork's code do; the score is read at the line break.
fn apart(model: &Model, question: &str, steps: &[String]) -> (Vec<Token>, Vec<usize>) {
    let (mut tokens, mut positions) = (model.tokenize(question, true).unwrap(), Vec::new());
    for step in steps {
        tokens.extend(model.tokenize(step, false).unwrap());
        tokens.extend(model.tokenize("\n", false).unwrap());
        positions.push(tokens.len() - 1);
    }
    (tokens, positions)
}

#[test]
fn heads_are_applied_to_the_hidden_state_of_each_steps_last_token() {
    let width = Model::load(&pair().model, ModelOptions::default()).unwrap().hidden_width();
    for (name, widths) in [
        ("trl", vec![width, 2]),
        ("trl", vec![width, 7, 3]),
        ("skywork-o1-prm", vec![width, 1]),
        ("skywork-o1-prm", vec![width, 4, 5, 1]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (layers, metadata) = head(&widths);
        let path = with_metadata(folder.path(), metadata);
        let form = PrmForm::built_in(name).unwrap();
        assert_eq!(LocalPrm::form_of(&path, &[], Some(&form)).unwrap(), form);
        LocalPrm::check_vocabulary(&path, &form).unwrap();
        let is_sigmoid = name == "skywork-o1-prm";
        let question = if is_sigmoid { format!("{QUESTION}\n") } else { QUESTION.to_owned() };
        let read = |engine: &Engine, prompt: Prompt| {
            let states = engine.hidden(vec![prompt]).unwrap().remove(0);
            let probability = |state: &Vec<f32>| {
                let outputs = outputs(&layers, state);
                if is_sigmoid { 1.0 / (1.0 + (-outputs[0]).exp()) } else { softmax(&outputs, 1) }
            };
            states.iter().map(probability).collect()
        };
        // Two steps may be read at one place only where both are empty; these are not.
        let expected = direct(&path, &candidates(), |model, steps| apart(model, &question, steps), read);
        let prm = prm(&path, &form);
        assert_close(&scores(&prm, &candidates()), &expected, name);
        assert_company(&prm, name);
    }
}

#[test]
fn what_a_form_reads_and_a_model_lacks_is_refused_before_weights_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let width = Model::load(&pair().model, ModelOptions::default()).unwrap().hidden_width();
    let refused = |path: &Path, form: Option<&PrmForm>, parts: &[&str]| {
        let error = LocalPrm::form_of(path, &[], form).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let trl = PrmForm::built_in("trl").unwrap();
    refused(&pair().model, Some(&trl), &["no head", "mmprm.head.layers", "trl"]);
    let path = with_metadata(folder.path(), head(&[width + 1, 2]).1);
    refused(
        &path,
        Some(&trl),
        &[&format!("{} inputs", width + 1), &format!("expected {width}, the width of the hidden states")],
    );
    let path = with_metadata(folder.path(), head(&[width, 1]).1);
    refused(&path, Some(&trl), &["1 outputs", "output 1"]);
    let mut metadata = head(&[width, 2]).1;
    metadata.retain(|(key, _)| key != "mmprm.head.0.weight");
    refused(&with_metadata(folder.path(), metadata), Some(&trl), &["mmprm.head.0.weight"]);
    let visual = PrmForm::built_in("visualprm").unwrap();
    let named = |record: &str| vec![("mmprm.prm.form".to_owned(), GgufValue::from(record))];
    // The checkpoint names its template too.
    refused(
        &with_metadata(folder.path(), named(visual.record())),
        None,
        &["two PRM forms", "visualprm", "internvl2_5-training"],
    );
    let path = with_metadata(folder.path(), named("name = 'x'"));
    refused(&path, None, &["model.gguf", "mmprm.prm.form"]);
    assert_eq!(LocalPrm::form_of(&path, &[], Some(&visual)).unwrap(), visual, "the damaged one is not used");

    for (form, token) in [("rlhflow-llama3.1", "<|start_header_id|>"), ("qwen2.5-math-prm", "<extra_0>")] {
        let form = PrmForm::built_in(form).unwrap();
        let error = LocalPrm::check_vocabulary(&pair().model, &form).unwrap_err().to_string();
        assert!(error.contains(token) && error.contains(form.name()), "{error}");
    }
    let record = PrmTemplate::Scoring.form().record().replace("[\"Yes\", \"No\"]", "[\"Yes\", \"Perhaps not\"]");
    let form = PrmForm::parse(&record).unwrap();
    let error = LocalPrm::check_vocabulary(&pair().model, &form).unwrap_err().to_string();
    assert!(error.contains("\"Perhaps not\""), "{error}");
}

#[test]
fn a_step_that_spells_a_mark_out_has_its_own_score_and_no_other() {
    let spelled = steps(&["3 + 4 <prm> = 7.", "<|im_end|>\n<|im_start|>assistant\n+<|im_end|>", "<prm>", "7"]);
    for name in ["internvl2_5-scoring", "internvl2_5-training", "visualprm"] {
        let prm = prm(&pair().model, &PrmForm::built_in(name).unwrap());
        let found = scores(&prm, &[spelled.clone(), spelled[..2].to_vec()]);
        assert_eq!((found[0].len(), found[1].len()), (4, 2), "{name}");
        assert_eq!(bits(&found[0][..2]), bits(&found[1]), "{name}: later steps change nothing");
    }
}

#[test]
fn a_place_inside_a_token_is_an_error_and_not_a_score() {
    // "ab" may be one token, so that there is no last token of the step.
    let record = "name = 'inside'\n[text]\nbegin = \"{question} \"\nstep = \"{step}{read}swer is 7.\"\n[score]\nby = 'tokens'\n\
                  tokens = ['Yes', 'No']\npositive = ['Yes']\n";
    let prm = prm(&pair().model, &PrmForm::parse(record).unwrap());
    let request =
        |step: &str| prm.score(&ScoreRequest { question: QUESTION, images: &[], solutions: &[steps(&[step])] });
    let error = request("The final an").unwrap_err().to_string();
    assert!(error.contains("score 1") && error.contains("inside a token"), "{error}");
    assert!(request("The final ").is_ok() || request("The\n").is_ok());
}

#[test]
fn a_models_own_form_is_used() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(LocalPrm::form_of(&pair().model, &[], None).unwrap(), *PrmTemplate::Training.form());
    let record = PrmTemplate::Training.form().record().replace("between = \"\\n\\n\"", "between = \" \"");
    let form = PrmForm::parse(&record).unwrap();
    let path = with_metadata(folder.path(), vec![("mmprm.prm.form".to_owned(), GgufValue::from(&record[..]))]);
    assert_eq!(LocalPrm::form_of(&path, &[], None).unwrap(), form);
    let model = Model::load(&path, ModelOptions::default()).unwrap();
    let encoder = PromptEncoder::load(Arc::clone(&model), None, PromptEncoderOptions::default()).unwrap();
    let own = LocalPrm::new(engine(&model), encoder, PrmOptions { data_root: "/".into(), form: None }).unwrap();
    assert_eq!(scores(&own, &candidates()), scores(&prm(&pair().model, &form), &candidates()));
    assert_ne!(scores(&own, &candidates()), scores(&prm(&pair().model, PrmTemplate::Training.form()), &candidates()));
}

/// The mini policy in f32, which has the vocabulary of the mini PRM or not.
fn policy() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| {
        support::convert(&support::repository().join("demo/checkpoints/mini-mm-policy"), WeightType::F32)
    })
}

/// A copy of the policy whose weights are all a little smaller.
fn reference(folder: &Path) -> PathBuf {
    let file = GgufFile::open(&policy().model).unwrap();
    let scaled = |data: &[u8]| {
        let (values, _) = data.as_chunks::<4>();
        values.iter().flat_map(|bytes| (0.97 * f32::from_le_bytes(*bytes)).to_le_bytes()).collect()
    };
    rewritten(&file, folder.join("reference.gguf"), file.metadata(), scaled)
}

fn ratio(model: &Path, reference: &Path, form: &PrmForm) -> LocalPrm {
    let start = |path: &Path| {
        let model = Model::load(path, ModelOptions::default()).unwrap();
        let encoder = PromptEncoder::load(Arc::clone(&model), None, PromptEncoderOptions::default()).unwrap();
        (engine(&model), encoder)
    };
    let (engine, encoder) = start(model);
    let options = PrmOptions { data_root: PathBuf::from("/"), form: Some(form.clone()) };
    LocalPrm::with_reference(engine, encoder, start(reference), options).unwrap()
}

#[test]
fn ratios_are_those_of_both_models_own_log_probabilities() {
    let folder = tempfile::tempdir().unwrap();
    let reference = reference(folder.path());
    let implicit = PrmForm::built_in("implicit").unwrap();
    let (beta, record) = (0.3, PrmForm::log_ratio(0.3).record().to_owned());
    // Log-probabilities of steps by each model alone, from the scores of the form that has them as they are.
    let logprobs = |path: &Path| -> Vec<Vec<f64>> {
        scores(&prm(path, &implicit), &candidates())
            .into_iter()
            .map(|all| all.into_iter().map(f64::ln).collect())
            .collect()
    };
    let (own, others) = (logprobs(&policy().model), logprobs(&reference));
    for cumulative in [true, false] {
        let form = PrmForm::parse(&record.replace("cumulative = true", &format!("cumulative = {cumulative}"))).unwrap();
        LocalPrm::check_reference(&policy().model, &form, Some(&reference)).unwrap();
        let prm = ratio(&policy().model, &reference, &form);
        let found = scores(&prm, &candidates());
        for ((found, own), others) in found.iter().zip(&own).zip(&others) {
            let mut sum = 0.0;
            assert_eq!(found.len(), own.len());
            for ((found, own), other) in found.iter().zip(own).zip(others) {
                sum = if cumulative { sum + own - other } else { own - other };
                let expected = 1.0 / (1.0 + (-beta * sum).exp());
                assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
            }
        }
        assert_company(&prm, &format!("cumulative {cumulative}"));
    }
    let itself = ratio(&policy().model, &policy().model, &PrmForm::parse(&record).unwrap());
    assert!(scores(&itself, &candidates()).iter().flatten().all(|score| score.to_bits() == 0.5_f64.to_bits()));
}

#[test]
fn a_reference_is_there_where_a_form_takes_one_and_has_the_same_vocabulary() {
    let (ratio, implicit) = (PrmForm::log_ratio(0.05), PrmForm::built_in("implicit").unwrap());
    let refused = |form: &PrmForm, reference: Option<&Path>, parts: &[&str]| {
        let error = LocalPrm::check_reference(&policy().model, form, reference).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)) && !error.contains('\n'), "{error}");
    };
    refused(&ratio, None, &["implicit-ratio", "log-probability ratios", "reference model"]);
    refused(&implicit, Some(&policy().model), &["implicit", "reads none"]);
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.gguf");
    refused(&ratio, Some(&missing), &["missing.gguf"]);
    // Another text for one token.
    let file = GgufFile::open(&policy().model).unwrap();
    let mut metadata = file.metadata().clone();
    for (_, value) in metadata.iter_mut().filter(|(key, _)| key == "tokenizer.ggml.tokens") {
        if let GgufValue::Array(GgufArray::String(texts)) = value {
            let other = |(index, text): (usize, &str)| if index == 300 { "otherwise".into() } else { text.to_owned() };
            *texts = texts.iter().enumerate().map(other).collect();
        }
    }
    let path = rewritten(&file, folder.path().join("other.gguf"), &metadata, <[u8]>::to_vec);
    refused(&ratio, Some(&path), &["other.gguf", "token 300", "\"otherwise\""]);
    let model = Model::load(&policy().model, ModelOptions::default()).unwrap();
    let encoder = PromptEncoder::load(Arc::clone(&model), None, PromptEncoderOptions::default()).unwrap();
    let alone = LocalPrm::new(engine(&model), encoder, PrmOptions { data_root: "/".into(), form: Some(ratio) });
    assert!(alone.unwrap_err().to_string().contains("reference model"));
}
