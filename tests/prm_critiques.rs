//! PRM forms with critiques on tiny models, against the same turns run by hand and by the models' own code.

mod support;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use mmprm::engine::{
    Chunk, Completion, Engine, EngineOptions, Finish, GenerateRequest, Model, ModelOptions, Prompt, Sampling, Stream,
    Token,
};
use mmprm::prm::{Critique, LocalPrm, PrmError, PrmForm, PrmOptions, ScoreRequest, Scored, StepScorer};
use mmprm::util::cancel::CancelToken;
use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::progress::no_progress;
use serde_json::Value;
use support::{golden, json};

const QUESTION: &str = "What is 12 + 30?";
/// Each step in a turn, after which its critique and verdict stay.
const TURNS: &str = r#"
name = "turns"
[text]
begin = "<|im_start|>user\nQuestion: {question}\n"
step = "{step}<|im_end|>\n<|im_start|>assistant\nCheck {number}: {critique}\nIs it correct? {read}{verdict}<|im_end|>\n"
between = "<|im_start|>user\n"
marks = ["<|im_start|>", "<|im_end|>"]
[score]
by = "critique"
tokens = ["+", "-"]
positive = ["+"]
max_tokens = 9
"#;
/// One critique of the steps up to the scored one.
const AT_END: &str = r#"
name = "at-end"
[text]
begin = "<|im_start|>user\nQuestion: {question}\n"
step = "Step {number}: {step}\n"
end = "Is step {number} correct?<|im_end|>\n<|im_start|>assistant\n{critique}<|im_end|>\n<|im_start|>assistant\n{read}"
[score]
by = "critique"
tokens = ["-", "+"]
positive = ["+"]
max_tokens = 9
"#;

/// A tiny checkpoint with a `ChatML` vocabulary in f32.
fn tiny() -> &'static Path {
    static FILE: OnceLock<(PathBuf, tempfile::TempDir)> = OnceLock::new();
    &FILE.get_or_init(|| converted("smollm2")).0
}

fn converted(family: &str) -> (PathBuf, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = golden().join("families").join(family);
    let plan = plan(&checkpoint, directory.path(), &ConvertOptions::new(WeightType::F32)).unwrap();
    plan.write(&mut no_progress).unwrap();
    (plan.files[0].path.clone(), directory)
}

fn engine(model: &Arc<Model>) -> Engine {
    let options =
        EngineOptions { context: Some(2048), deterministic: true, threads: Some(1), ..EngineOptions::default() };
    Engine::start(model, options).unwrap()
}

fn prm_on(path: &Path, form: &PrmForm, start: impl Fn(&Arc<Model>) -> Engine) -> LocalPrm {
    let model = Model::load(path, ModelOptions::default()).unwrap();
    let encoder = PromptEncoder::load(Arc::clone(&model), None, PromptEncoderOptions::default()).unwrap();
    let options = PrmOptions { data_root: PathBuf::from("/"), form: Some(form.clone()) };
    LocalPrm::new(start(&model), encoder, options).unwrap()
}

fn prm(form: &PrmForm) -> LocalPrm {
    prm_on(tiny(), form, engine)
}

fn form(record: &str) -> PrmForm {
    PrmForm::parse(record).unwrap()
}

/// The form with other texts that end a critique.
fn with_stops(record: &str, stops: &[&str]) -> PrmForm {
    let stops: Vec<String> = stops.iter().map(|stop| stop.replace('{', "{{")).collect();
    form(&format!("{record}stop = {}\n", serde_json::to_string(&stops).unwrap()))
}

fn candidates() -> Vec<Vec<String>> {
    [
        &["12 + 30 = 42.", "The answer is 42."][..],
        &["12 + 30 = 42.", "The answer is 5."],
        &["12 + 30 = 43.", "", "So it is 43."],
        &[],
        &["12 + 30 = 42."],
        &["12 + 30 = 42.", "The answer is 42."],
    ]
    .map(|steps| steps.iter().map(|step| (*step).to_owned()).collect())
    .into()
}

fn scored(prm: &LocalPrm, solutions: &[Vec<String>]) -> (Vec<Vec<f64>>, Vec<Vec<Critique>>) {
    let request = ScoreRequest { question: QUESTION, images: &[], solutions };
    let Scored { scores, critiques } = prm.score_with_critiques(&request).unwrap();
    let critiques = critiques.unwrap();
    assert!(scores.iter().zip(&critiques).all(|(scores, critiques)| scores.len() == critiques.len()));
    (scores, critiques)
}

fn bits(scores: &[f64]) -> Vec<u64> {
    scores.iter().map(|score| score.to_bits()).collect()
}

/// The turns of a form by hand: one engine, one request at a time.
struct ByHand {
    model: Arc<Model>,
    engine: Engine,
}

impl ByHand {
    fn new() -> Self {
        let model = Model::load(tiny(), ModelOptions::default()).unwrap();
        Self { engine: engine(&model), model }
    }

    /// What the model writes after these tokens.
    fn write(&self, tokens: &[Token], max_tokens: usize) -> Completion {
        let prompt = Prompt::new([Chunk::Tokens(tokens.to_vec())]).unwrap();
        let request = GenerateRequest::new(prompt, Sampling::GREEDY, vec![Stream::named(1, "other", 2, 3)], max_tokens);
        self.engine.forget().unwrap();
        self.engine.generate(request).unwrap().remove(0)
    }

    /// The logits of `+` and `-` after these tokens.
    fn logits(&self, tokens: &[Token]) -> [f64; 2] {
        let read = ["+", "-"].map(|text| self.model.token(text).unwrap());
        let prompt = Prompt::new([Chunk::Tokens(tokens.to_vec())]).unwrap().marked(vec![tokens.len() - 1]).unwrap();
        self.engine.forget().unwrap();
        let row = self.engine.logits(vec![prompt], &read).unwrap().remove(0).remove(0);
        [f64::from(row[0]), f64::from(row[1])]
    }

    fn tokens(&self, text: &str) -> Vec<Token> {
        self.model.tokenize(text, false).unwrap()
    }

    /// Scores and critiques of `TURNS`.
    fn turns(&self, steps: &[String]) -> Vec<(f64, String)> {
        let mut before = format!("<|im_start|>user\nQuestion: {QUESTION}\n");
        let (mut tokens, mut judged) = (Vec::new(), Vec::new());
        for (index, step) in steps.iter().enumerate() {
            let text = format!("{before}{step}<|im_end|>\n<|im_start|>assistant\nCheck {}: ", index + 1);
            tokens.extend(self.tokens(&text));
            let critique = self.write(&tokens, 9).tokens;
            tokens.extend(&critique);
            tokens.extend(self.tokens("\nIs it correct? "));
            let [plus, minus] = self.logits(&tokens);
            tokens.push(self.model.token(if plus >= minus { "+" } else { "-" }).unwrap());
            before = "<|im_end|>\n<|im_start|>user\n".into();
            judged.push((plus.exp() / (plus.exp() + minus.exp()), self.model.detokenize(&critique)));
        }
        judged
    }

    /// The text of `steps` in the form `AT_END` up to the critique, and the critique.
    fn critique_at_end(&self, steps: &[String]) -> (Vec<Token>, Vec<Token>) {
        let step = |(index, step): (usize, &String)| format!("Step {}: {step}\n", index + 1);
        let shown: String = steps.iter().enumerate().map(step).collect();
        let text = format!(
            "<|im_start|>user\nQuestion: {QUESTION}\n{shown}Is step {} correct?<|im_end|>\n<|im_start|>assistant\n",
            steps.len()
        );
        let tokens = self.tokens(&text);
        let critique = self.write(&tokens, 9).tokens;
        (tokens, critique)
    }

    /// Score and critique of the last of `steps` in the form `AT_END`, whose critique ends before `stop`, if it occurs.
    fn at_end(&self, steps: &[String], stop: Option<&str>) -> (f64, String) {
        let (mut tokens, critique) = self.critique_at_end(steps);
        let whole = self.model.detokenize(&critique);
        let kept = stop.and_then(|stop| whole.split_once(stop)).map_or(&whole[..], |(before, _)| before);
        // Tokens within the text that is kept, and what is left of it.
        let text = |count: &usize| self.model.detokenize(&critique[..*count]);
        let count = (0..=critique.len()).rev().find(|count| kept.starts_with(&text(count))).unwrap();
        let rest = kept[text(&count).len()..].to_owned();
        tokens.extend(&critique[..count]);
        tokens.extend(self.tokens(&format!("{rest}<|im_end|>\n<|im_start|>assistant\n")));
        let [plus, minus] = self.logits(&tokens);
        (plus.exp() / (plus.exp() + minus.exp()), kept.to_owned())
    }
}

fn assert_judged(found: (f64, &Critique), expected: &(f64, String), what: &str) {
    assert_eq!(found.1.text, expected.1, "{what}");
    assert!((found.0 - expected.0).abs() < 1e-12, "{what}: {} for {}", found.0, expected.0);
}

#[test]
fn scores_are_read_after_critiques_that_stay_in_the_conversation() {
    let hand = ByHand::new();
    let (scores, critiques) = scored(&prm(&form(TURNS)), &candidates());
    for (index, steps) in candidates().iter().enumerate() {
        let expected = hand.turns(steps);
        assert_eq!(scores[index].len(), steps.len());
        for (step, expected) in expected.iter().enumerate() {
            assert_judged((scores[index][step], &critiques[index][step]), expected, &format!("{index} {step}"));
        }
    }
    let distinct: std::collections::BTreeSet<u64> = scores.iter().flat_map(|steps| bits(steps)).collect();
    assert!(distinct.len() > 4, "{scores:?}");
    assert!(critiques.iter().flatten().all(|critique| !critique.text.is_empty()), "{critiques:?}");
}

#[test]
fn scores_at_the_end_are_read_after_one_critique() {
    let hand = ByHand::new();
    let (scores, critiques) = scored(&prm(&form(AT_END)), &candidates());
    for (index, steps) in candidates().iter().enumerate() {
        for count in 1..=steps.len() {
            let expected = hand.at_end(&steps[..count], None);
            let found = (scores[index][count - 1], &critiques[index][count - 1]);
            assert_judged(found, &expected, &format!("{index} {count}"));
        }
    }
}

#[test]
fn critiques_and_scores_do_not_depend_on_other_candidates() {
    for record in [TURNS, AT_END] {
        let (solutions, form) = (candidates(), form(record));
        let together = scored(&prm(&form), &solutions);
        let backwards = scored(&prm(&form), &solutions.iter().rev().cloned().collect::<Vec<_>>());
        for (index, steps) in solutions.iter().enumerate() {
            let alone = scored(&prm(&form), std::slice::from_ref(steps));
            // In a cache that holds another candidate's turns.
            let after = prm(&form);
            scored(&after, &solutions[(index + 2) % solutions.len()..][..1]);
            let after = scored(&after, std::slice::from_ref(steps));
            let other = solutions.len() - 1 - index;
            for (scores, critiques) in
                [(&together, index), (&backwards, other), (&after, 0)].map(|(all, at)| (&all.0[at], &all.1[at]))
            {
                assert_eq!((bits(scores), critiques), (bits(&alone.0[0]), &alone.1[0]), "{record} {index}");
            }
        }
    }
}

#[test]
fn equal_turns_are_computed_once_and_prompts_are_extended() {
    for record in [TURNS, AT_END] {
        let prm = prm(&form(record));
        scored(&prm, &candidates());
        let stats = prm.stats();
        // Distinct turns: the first step of three candidates is the same one, and the last candidate is the first again.
        assert_eq!(stats.finished, 6, "{record}");
        // A search asks for a longer beginning.
        let mut longer = candidates()[2].clone();
        longer.push("43 it is.".to_owned());
        scored(&prm, &[longer]);
        assert_eq!(prm.stats().finished, 7, "{record}");
        assert!(stats.processed_per_unique() < 1.6, "{record}: {stats:?}");
    }
}

#[test]
fn a_critique_ends_before_a_stop_text_also_within_a_token() {
    let hand = ByHand::new();
    let (mut places, mut within) = (0, 0);
    for steps in [&candidates()[0][..1], &candidates()[0], &candidates()[1], &candidates()[2][..1], &candidates()[2]] {
        let critique = hand.critique_at_end(steps).1;
        let texts: Vec<String> = critique.iter().map(|token| hand.model.detokenize(&[*token])).collect();
        // A random model writes bytes that are no text too.
        for text in texts.iter().filter(|text| text.len() > 1 && text.is_ascii()) {
            for stop in [&text[..], &text[1..]] {
                let expected = hand.at_end(steps, Some(stop));
                let prm = prm(&with_stops(AT_END, &["never in it", stop]));
                let (scores, critiques) = scored(&prm, std::slice::from_ref(&steps.to_vec()));
                let last = steps.len() - 1;
                assert_judged((scores[0][last], &critiques[0][last]), &expected, stop);
                assert!(!critiques[0][last].truncated && !critiques[0][last].text.contains(stop), "{stop:?}");
                within += usize::from(stop.len() < text.len() && critiques[0][last].text.ends_with(&text[..1]));
                places += 1;
            }
        }
    }
    assert!(places > 5 && within > 2, "{within} of {places} texts end within a token");
}

#[test]
fn critiques_that_reach_their_maximum_are_scored_and_counted() {
    let hand = ByHand::new();
    let prm = prm(&form(&TURNS.replace("max_tokens = 9", "max_tokens = 2")));
    let (scores, critiques) = scored(&prm, &candidates()[..2]);
    assert!(critiques.iter().flatten().all(|critique| critique.truncated), "{critiques:?}");
    assert_eq!(prm.truncated_critiques(), 4);
    assert!(scores.iter().flatten().all(|score| (0.0..1.0).contains(score)));
    let text =
        format!("<|im_start|>user\nQuestion: {QUESTION}\n12 + 30 = 42.<|im_end|>\n<|im_start|>assistant\nCheck 1: ");
    let written = hand.write(&hand.tokens(&text), 2);
    assert_eq!(
        (written.finish, hand.model.detokenize(&written.tokens)),
        (Finish::Length, critiques[0][0].text.clone())
    );
}

#[test]
fn an_engine_that_decodes_requests_together_writes_the_same_critiques() {
    for record in [TURNS, AT_END] {
        let together = |model: &Arc<Model>| {
            let options = EngineOptions { context: Some(2048), parallel: Some(4), ..EngineOptions::default() };
            Engine::start(model, options).unwrap()
        };
        let (found, critiques) = scored(&prm_on(tiny(), &form(record), together), &candidates());
        let (expected, same) = scored(&prm(&form(record)), &candidates());
        assert_eq!(critiques, same, "{record}");
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-3, "{record}: {found} for {expected}");
        }
    }
}

#[test]
fn unfinished_solutions_have_no_answer_and_cancelled_ones_no_scores() {
    let record = AT_END.replace("end = ", "answer = \"Answer: {step}\\n\"\nend = ");
    let prm = prm(&form(&record));
    let solutions = &candidates()[..1];
    let request = ScoreRequest { question: QUESTION, images: &[], solutions };
    let (finished, unfinished) = (prm.score(&request).unwrap(), prm.score_unfinished(&request).unwrap());
    assert_eq!(bits(&finished[0][..1]), bits(&unfinished[0][..1]));
    assert_ne!(bits(&finished[0][1..]), bits(&unfinished[0][1..]));
    assert_eq!(unfinished, scored(&self::prm(&form(AT_END)), solutions).0);
    let cancel = CancelToken::new();
    let prm = prm.cancelled_by(&cancel);
    let request = ScoreRequest { question: "What is 30 + 12?", ..request };
    assert!(prm.score_unfinished(&request).is_ok());
    cancel.cancel();
    let request = ScoreRequest { question: "What is 12 + 13?", ..request };
    assert!(matches!(prm.score_unfinished(&request), Err(PrmError::Cancelled)));
}

#[test]
fn what_a_form_with_critiques_needs_and_a_model_lacks_is_refused() {
    for (from, to, part) in
        [("\"+\", \"-\"", "\"+\", \"not one token\"", "\"not one token\""), ("<|im_end|>", "<|end|>", "\"<|end|>\"")]
    {
        let error = LocalPrm::check_vocabulary(tiny(), &form(&TURNS.replace(from, to))).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("turns") && !error.contains('\n'), "{error}");
    }
    for name in ["genprm", "thinkprm"] {
        let error = LocalPrm::check_vocabulary(tiny(), &PrmForm::built_in(name).unwrap()).unwrap_err().to_string();
        assert!(error.contains("<｜User｜>") && error.contains(name), "{error}");
    }
}

/// `tests/golden/families/critiques.py`: transformers' greedy decoding and logits.
#[test]
fn critiques_and_scores_are_those_of_the_families_own_code() {
    let cases = json(&golden().join("families/critiques.json"));
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 3);
    let mut truncated = 0;
    for case in cases {
        let family = case["family"].as_str().unwrap();
        let (path, _directory) = converted(family);
        let prm = prm_on(&path, &form(case["form"].as_str().unwrap()), engine);
        let solutions: Vec<Vec<String>> = serde_json::from_value(case["solutions"].clone()).unwrap();
        let question = case["question"].as_str().unwrap();
        let Scored { scores, critiques } =
            prm.score_with_critiques(&ScoreRequest { question, images: &[], solutions: &solutions }).unwrap();
        assert_eq!(serde_json::to_value(critiques.unwrap()).unwrap(), case["critiques"], "{family}");
        let expected: Vec<Vec<f64>> = serde_json::from_value(case["scores"].clone()).unwrap();
        for (found, expected) in scores.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-4, "{family}: {found} for {expected}");
        }
        let is_truncated = |critique: &&Value| critique["truncated"] == true;
        let own = case["critiques"].as_array().unwrap().iter().flat_map(|steps| steps.as_array().unwrap());
        truncated += own.filter(is_truncated).count();
    }
    assert!(truncated > 0);
}
