//! Which form a model is used in: that of its metadata, of a checkpoint's own facts, or another that was asked for.
//!
//! ```
//! use mmprm::prm::form::{Facts, choose};
//! let facts = Facts { architecture: "Qwen2ForProcessRewardModel", ..Facts::default() };
//! assert_eq!(choose(&facts).unwrap().name(), "qwen2.5-math-prm");
//! let facts = Facts { architecture: "InternVLChatModel", names: &["OpenGVLab/VisualPRM-8B-v1_1"], ..Facts::default() };
//! assert_eq!(choose(&facts).unwrap().name(), "visualprm");
//! assert!(choose(&Facts { architecture: "Qwen2ForCausalLM", names: &["my-model"], ..Facts::default() }).is_none());
//! ```

use std::path::Path;

use mmprm_quant::gguf::{GgufFile, GgufValue};
use mmprm_quant::head::{self, HeadShape};
use mmprm_quant::hf::origin::{FORM_KEY, TASK_KEY, TEMPLATE_KEY, Task};
use mmprm_quant::hf::source::Source;

use crate::prompt::{PrmForm, PrmTemplate, ReadOut, STEP_TOKEN};
use crate::util::io::read_to_string;

/// What is known of a checkpoint that makes it a PRM of some form.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// The first of `architectures` in its config.json.
    pub architecture: &'a str,
    /// Its names: `_name_or_path` of its config.json, its directory.
    pub names: &'a [&'a str],
    /// `system_message` of its config.json.
    pub system_message: Option<&'a str>,
    /// Whether its tokenizer names a beginning-of-sequence token.
    pub names_bos: bool,
}

/// Chooses the form of a checkpoint; `None` if nothing says that it is a PRM.
pub fn choose(facts: &Facts<'_>) -> Option<PrmForm> {
    // Architectures are sure. The parts of names are in the order in which the first one counts.
    const ARCHITECTURES: [(&str, &str); 3] = [
        ("Qwen2ForProcessRewardModel", "qwen2.5-math-prm"),
        ("Qwen2ForPrmModel", "skywork-o1-prm"),
        ("InternVLRewardModel", "visualprm"),
    ];
    const NAMES: [(&str, &str); 11] = [
        ("skywork-o1-open-prm", "skywork-o1-prm"),
        ("qwen2.5-math-prm", "qwen2.5-math-prm"),
        ("qwen2.5-math-7b-prm800k", "qwen2.5-math-prm"),
        ("visualprm", "visualprm"),
        ("qwen-vl-prm", "qwen-vl-prm"),
        ("math-shepherd-mistral-7b-prm", "math-shepherd"),
        ("llama3.1-8b-prm", "rlhflow-llama3.1"),
        ("math-psa", "math-psa"),
        ("genprm", "genprm"),
        ("thinkprm", "thinkprm"),
        ("mm-prm", "internvl2_5-scoring"),
    ];
    let named = |part: &str| facts.names.iter().any(|name| name.to_lowercase().replace('_', "-").contains(part));
    let known = ARCHITECTURES.iter().find(|(architecture, _)| *architecture == facts.architecture);
    let known = known.or_else(|| NAMES.iter().find(|(part, _)| named(part))).map(|(_, form)| *form);
    let form = known.or_else(|| facts.architecture.ends_with("ForTokenClassification").then_some("trl"));
    let form = PrmForm::built_in(form?)?;
    // TRL's code writes the token wherever the tokenizer names one. `{bos}` in the built-in form would be that of config.json too.
    let form = if form.name() == "trl" && facts.names_bos { form.with_bos() } else { form };
    Some(
        facts
            .system_message
            .filter(|system| !system.is_empty())
            .map_or(form.clone(), |system| form.with_system(system)),
    )
}

/// Chooses the form of the checkpoint in a directory, by its config.json and its name; `None` if nothing says that it is a PRM.
pub fn of_checkpoint(directory: &Path) -> Option<PrmForm> {
    let source = Source::read(directory).ok()?;
    let absolute = std::path::absolute(directory).ok();
    let own = absolute.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let names: Vec<&str> = [source.name.as_deref(), own.as_deref()].into_iter().flatten().collect();
    choose(&Facts {
        architecture: source.architecture.as_deref().unwrap_or_default(),
        names: &names,
        system_message: source.system_message.as_deref(),
        names_bos: source.names_bos,
    })
}

/// Returns the form that a GGUF file names, from an outline of it; `None` if it names none.
pub fn of_file(file: &GgufFile) -> Option<Result<PrmForm, String>> {
    let claims = Claims::of_file(file);
    let names_one = claims.form.is_some() || claims.template.is_some() || claims.has_head;
    let is_prm = claims.task.as_deref().is_some_and(|task| task != Task::Policy.name());
    (names_one || is_prm).then(|| claims.form(None))
}

/// Returns a form as settings of a run record it: its name if it is a built-in one, or else its record.
pub fn recorded(form: &PrmForm) -> &str {
    if PrmForm::built_in(form.name()).as_ref() == Some(form) { form.name() } else { form.record() }
}

/// Returns whether a form that [`recorded`] wrote has probabilities of texts as scores.
pub fn is_logprob(recorded: &str) -> bool {
    let form = PrmForm::built_in(recorded).or_else(|| PrmForm::parse(recorded).ok());
    form.is_some_and(|form| *form.read_out() == ReadOut::Logprob)
}

/// Maximum size of a file with a form, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// Returns whether a name that is no built-in form's is the path of a file.
pub fn is_path(name: &str) -> bool {
    let path = Path::new(name);
    path.extension().is_some_and(|extension| extension == "toml")
        || name.contains(std::path::MAIN_SEPARATOR)
        || path.exists()
}

/// Reads a form that a person names: a built-in one, or a TOML file.
///
/// # Errors
/// What is wrong, with the file.
pub fn named(name: &str) -> Result<PrmForm, String> {
    let path = Path::new(name);
    if let Some(form) = PrmForm::built_in(name) {
        return Ok(form);
    }
    if !is_path(name) {
        return name.parse().map_err(|error| format!("{error}, or the path of a TOML file"));
    }
    let record = read_to_string(path, MAX_FILE).map_err(|error| error.to_string())?;
    PrmForm::parse(&record).map_err(|error| format!("{name}: {error}"))
}

/// What a file says of the form of its model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claims {
    task: Option<String>,
    template: Option<String>,
    form: Option<String>,
    /// Other words for `<prm>`, `Yes` and `No`.
    words: [Option<String>; 3],
    has_head: bool,
}

/// The keys of other words, and the words.
const WORDS: [(&str, &str); 3] =
    [("mmprm.prm.step_token", STEP_TOKEN), ("mmprm.prm.yes_token", "Yes"), ("mmprm.prm.no_token", "No")];

impl Claims {
    /// Returns those of texts under keys.
    pub fn of(text: impl Fn(&str) -> Option<String>) -> Self {
        let words = WORDS.map(|(key, _)| text(key));
        Self { task: text(TASK_KEY), template: text(TEMPLATE_KEY), form: text(FORM_KEY), words, has_head: false }
    }

    /// Returns those of a file, also of an outline.
    pub fn of_file(file: &GgufFile) -> Self {
        let text = |key: &str| file.get(key).and_then(GgufValue::as_str).map(str::to_owned);
        Self { has_head: file.get("mmprm.head.layers").is_some(), ..Self::of(text) }
    }

    /// Returns those of a model under an adapter, which was trained last: it has its own form, or none and leaves the model's.
    #[cfg(any(test, feature = "engine"))]
    pub fn under(self, adapter: Self) -> Self {
        let says = adapter.task.is_some() || adapter.template.is_some() || adapter.form.is_some();
        if says { Self { words: self.words, has_head: self.has_head, ..adapter } } else { self }
    }

    /// Returns the form in which the model is used: the one that was asked for, or its own, or MM-PRM's.
    pub fn form(&self, asked: Option<&PrmForm>) -> Result<PrmForm, String> {
        let task = self.task.as_deref();
        let is_implicit = task == Some(Task::ImplicitPrm.name());
        if let Some(form) = asked {
            if is_implicit && !form.is_implicit() {
                return Err(format!("it scores by log-probability (mmprm.task), which the PRM form {form} does not"));
            }
            return self.checked(form.clone());
        }
        if let Some(record) = &self.form {
            let form = PrmForm::parse(record).map_err(|error| format!("{FORM_KEY}: {error}"))?;
            let other = self.template.as_deref().filter(|template| *template != form.name());
            let other = other.or_else(|| Some(Task::ImplicitPrm.name()).filter(|_| is_implicit && !form.is_implicit()));
            if let Some(other) = other {
                let key = if self.template.as_deref() == Some(other) { TEMPLATE_KEY } else { TASK_KEY };
                return Err(format!("it names two PRM forms, {form} ({FORM_KEY}) and {other} ({key})"));
            }
            return self.checked(form);
        }
        match (&self.template, is_implicit) {
            (Some(template), true) => {
                Err(format!("it names two PRM forms, {template} ({TEMPLATE_KEY}) and implicit-prm ({TASK_KEY})"))
            }
            (None, true) => self.checked(PrmForm::built_in("implicit").expect("the form is built in")),
            (Some(template), false) => {
                let form = template.parse().map_err(|error| format!("{TEMPLATE_KEY}: {error}"))?;
                self.checked(form)
            }
            (None, false) if self.has_head => {
                Err("it has a head (mmprm.head.layers) but names no PRM form, by which the head would be read".into())
            }
            (None, false) => self.checked(PrmTemplate::Scoring.form().clone()),
        }
    }

    fn checked(&self, form: PrmForm) -> Result<PrmForm, String> {
        // Any policy may be a judge.
        if self.task.as_deref() == Some(Task::Policy.name()) && !form.is_implicit() && !form.writes_critiques() {
            return Err("it was trained as a policy (mmprm.task), expected a process reward model".into());
        }
        let own = WORDS.iter().zip(&self.words);
        let words: Vec<(&str, &str)> = own.filter_map(|((_, word), own)| Some((*word, own.as_deref()?))).collect();
        if words.is_empty() || !PrmTemplate::ALL.iter().any(|template| template.name() == form.name()) {
            return Ok(form);
        }
        form.with_words(&words).map_err(|error| format!("mmprm.prm.step_token, yes_token or no_token: {error}"))
    }
}

/// Checks that a model's file, of which an outline is enough, has the head that `form` reads.
///
/// # Errors
/// What is missing or does not fit, by the key.
pub fn check_head(form: &PrmForm, file: &GgufFile) -> Result<(), String> {
    let ReadOut::Head { output, .. } = form.read_out() else { return Ok(()) };
    let architecture = file.get("general.architecture").and_then(GgufValue::as_str).unwrap_or_default();
    let width = file.get_u32(&format!("{architecture}.embedding_length")).map_err(|error| error.to_string())?;
    let Some(HeadShape { widths, .. }) = head::check(file, width.into()).map_err(|error| error.to_string())? else {
        return Err(format!("it has no head (mmprm.head.layers), which the PRM form {form} reads"));
    };
    let outputs = widths[widths.len() - 1];
    if *output >= outputs {
        return Err(format!("its head has {outputs} outputs, but the PRM form {form} reads output {output}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(keys: &[(&str, &str)]) -> Claims {
        Claims::of(|key| keys.iter().find(|(known, _)| *known == key).map(|(_, value)| (*value).to_owned()))
    }

    fn form(keys: &[(&str, &str)]) -> Result<String, String> {
        claims(keys).form(None).map(|form| form.to_string())
    }

    #[test]
    fn a_file_names_one_form() {
        let visual = PrmForm::built_in("visualprm").unwrap();
        let named = |name: &str| Ok(name.to_owned());
        assert_eq!(form(&[]), named("internvl2_5-scoring"));
        assert_eq!(form(&[(TASK_KEY, "prm")]), named("internvl2_5-scoring"));
        assert_eq!(form(&[(TEMPLATE_KEY, "internvl2_5-training")]), named("internvl2_5-training"));
        assert_eq!(form(&[(TASK_KEY, "implicit-prm")]), named("implicit"));
        let ratio = PrmForm::log_ratio(0.25);
        assert_eq!(form(&[(FORM_KEY, ratio.record()), (TASK_KEY, "implicit-prm")]), named("implicit-ratio"));
        assert!(!is_logprob(ratio.record()) && is_logprob("implicit"));
        assert_eq!(form(&[(FORM_KEY, visual.record())]), named("visualprm"));
        assert_eq!(
            form(&[(FORM_KEY, visual.record()), (TEMPLATE_KEY, "visualprm"), (TASK_KEY, "prm")]),
            named("visualprm")
        );
        for (keys, parts) in [
            (vec![(TEMPLATE_KEY, "chatml")], ["mmprm.prm.template", "chatml"]),
            (vec![(FORM_KEY, "name = 1")], ["mmprm.prm.form", "line 1"]),
            (vec![(FORM_KEY, visual.record()), (TEMPLATE_KEY, "trl")], ["two PRM forms", "trl"]),
            (vec![(FORM_KEY, visual.record()), (TASK_KEY, "implicit-prm")], ["two PRM forms", "mmprm.task"]),
            (vec![(TEMPLATE_KEY, "trl"), (TASK_KEY, "implicit-prm")], ["two PRM forms", "implicit-prm"]),
            (vec![(TASK_KEY, "policy")], ["trained as a policy", "mmprm.task"]),
            (vec![(FORM_KEY, visual.record()), (TASK_KEY, "policy")], ["trained as a policy", "mmprm.task"]),
        ] {
            let error = form(&keys).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        let head = Claims { has_head: true, ..Claims::default() };
        assert!(head.form(None).unwrap_err().contains("mmprm.head.layers"));
    }

    #[test]
    fn a_form_that_is_asked_for_replaces_the_models_own() {
        let trl = PrmForm::built_in("trl").unwrap();
        let implicit = PrmForm::built_in("implicit").unwrap();
        for keys in [vec![], vec![(TEMPLATE_KEY, "internvl2_5-training")], vec![(FORM_KEY, "damaged")]] {
            assert_eq!(claims(&keys).form(Some(&trl)).unwrap(), trl);
        }
        assert!(claims(&[(TASK_KEY, "implicit-prm")]).form(Some(&trl)).unwrap_err().contains("log-probability"));
        assert!(claims(&[(TASK_KEY, "policy")]).form(Some(&trl)).is_err());
        assert_eq!(claims(&[(TASK_KEY, "policy")]).form(Some(&implicit)).unwrap(), implicit);
        let judge = PrmForm::built_in("judge").unwrap();
        assert_eq!(claims(&[(TASK_KEY, "policy")]).form(Some(&judge)).unwrap(), judge);
        assert!(claims(&[(TASK_KEY, "implicit-prm")]).form(Some(&judge)).is_err());
    }

    #[test]
    fn an_adapter_that_says_something_says_all() {
        let base = || claims(&[(TASK_KEY, "policy"), ("mmprm.prm.step_token", "<s>")]);
        let adapter = claims(&[(TASK_KEY, "prm"), (TEMPLATE_KEY, "internvl2_5-training")]);
        let both = base().under(adapter);
        let form = both.form(None).unwrap();
        assert_eq!((form.name(), form.mark_read()), ("internvl2_5-training", Some("<s>")));
        assert_eq!(base().under(Claims::default()), base());
        let training = PrmTemplate::Training.form().record();
        let base = claims(&[(FORM_KEY, training)]);
        assert_eq!(base.under(claims(&[(TASK_KEY, "implicit-prm")])).form(None).unwrap().name(), "implicit");
    }

    #[test]
    fn checkpoints_are_recognised_by_what_they_say() {
        let form = |architecture, name| {
            let names = [name];
            choose(&Facts { architecture, names: &names, ..Facts::default() }).map(|form| form.name().to_owned())
        };
        for (architecture, name, expected) in [
            ("Qwen2ForProcessRewardModel", "anything", "qwen2.5-math-prm"),
            ("Qwen2ForPrmModel", "x", "skywork-o1-prm"),
            ("Qwen2ForCausalLM", "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B", "skywork-o1-prm"),
            ("InternVLChatModel", "VisualPRM-8B", "visualprm"),
            ("Qwen2ForCausalLM", "GenPRM/GenPRM-7B", "genprm"),
            ("Qwen2ForCausalLM", "ThinkPRM-1.5B", "thinkprm"),
            ("Qwen2_5_VLForConditionalGeneration", "ob11/Qwen-VL-PRM-7B", "qwen-vl-prm"),
            ("MistralForCausalLM", "math-shepherd-mistral-7b-prm", "math-shepherd"),
            ("LlamaForCausalLM", "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data", "rlhflow-llama3.1"),
            ("LlamaForCausalLM", "Llama3.1-8B-PRM-Mistral-Data", "rlhflow-llama3.1"),
            ("Qwen2ForCausalLM", "openreasoner/Math-psa", "math-psa"),
            ("Qwen2ForTokenClassification", "my-prm", "trl"),
            ("InternVLChatModel", "MM-PRM-8B", "internvl2_5-scoring"),
        ] {
            assert_eq!(form(architecture, name).as_deref(), Some(expected), "{architecture} {name}");
        }
        for (architecture, name) in [
            ("InternVLChatModel", "mini-mm-policy"),
            ("LlamaForCausalLM", "Llama-3.1-8B"),
            ("", ""),
            ("Qwen2ForCausalLM", "prm"),
        ] {
            assert_eq!(form(architecture, name), None, "{architecture} {name}");
        }
        let facts = Facts { architecture: "InternVLRewardModel", system_message: Some("Judge."), ..Facts::default() };
        let text = choose(&facts).unwrap().layout("q", &["a"], 0, true).unwrap().render(&[]);
        assert!(text.starts_with("<|im_start|>system\nJudge.<|im_end|>"), "{text}");
        for names_bos in [true, false] {
            let facts = Facts { architecture: "LlamaForTokenClassification", names_bos, ..Facts::default() };
            let form = choose(&facts).unwrap();
            assert_eq!((form.name(), form.begins_with_bos()), ("trl", names_bos));
            assert_eq!(PrmForm::parse(form.record()).unwrap().begins_with_bos(), names_bos);
            let facts = Facts { architecture: "Qwen2ForProcessRewardModel", ..facts };
            assert!(!choose(&facts).unwrap().begins_with_bos());
        }
    }

    #[test]
    fn a_form_is_named_or_a_file() {
        assert_eq!(named("trl").unwrap().name(), "trl");
        let error = named("nonsense").unwrap_err();
        assert!(error.contains("`nonsense`") && error.contains("TOML file"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let name = path.to_str().unwrap();
        assert!(named(name).unwrap_err().contains("mine.toml"));
        std::fs::write(&path, PrmForm::built_in("trl").unwrap().record()).unwrap();
        assert_eq!(named(name).unwrap().name(), "trl");
        std::fs::write(&path, "name = 'x'").unwrap();
        let error = named(name).unwrap_err();
        assert!(error.contains("mine.toml: ") && error.contains("missing field"), "{error}");
    }
}
