//! The tokenizer of a checkpoint directory or GGUF file, run by llama.cpp, so that training and scoring use the same token ids.
//!
//! ```no_run
//! use std::path::Path;
//! use mmprm::train::data::Tokenizer;
//! use mmprm::train::vocabulary::Vocabulary;
//! let vocabulary = Vocabulary::open(Path::new("InternVL2_5-8B"), &[]).unwrap();
//! println!("<prm> is {:?}", vocabulary.token("<prm>"));
//! ```

use std::path::Path;
use std::sync::Arc;

use mmprm_quant::convert::{ConvertError, ConvertOptions, WeightType, plan};
use mmprm_quant::gguf::{GgufError, GgufWriter};

use super::data::{Tokenizer, TokenizerError};
use super::recipe::{Recipe, RecipeError};
use crate::engine::{EngineError, Model, ModelOptions, Specials};
use crate::prompt::{PrmTemplate, Run};

/// An error of opening a vocabulary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VocabularyError {
    /// The recipe's PRM form cannot be read.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The checkpoint's configuration or tokenizer cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] ConvertError),
    /// The vocabulary cannot be written as GGUF.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A temporary directory cannot be made.
    #[error("cannot make a temporary directory: {0}")]
    Temporary(#[from] std::io::Error),
    /// llama.cpp cannot load it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A checkpoint's vocabulary.
#[derive(Debug)]
pub struct Vocabulary {
    model: Arc<Model>,
    /// The special tokens that plain text must not forge.
    specials: Specials,
}

impl Vocabulary {
    /// Opens the vocabulary of a recipe's model, for the form that it trains.
    ///
    /// # Errors
    /// [`VocabularyError`].
    pub fn of(recipe: &Recipe) -> Result<Self, VocabularyError> {
        let form = recipe.form()?;
        Self::open(&recipe.model, form.as_ref().unwrap_or_else(|| PrmTemplate::Training.form()).marks())
    }

    /// Opens the vocabulary of a Hugging Face directory or a GGUF file; plain text is kept from forging the marks of a PRM's form
    /// ([`PrmForm::marks`](crate::prompt::PrmForm::marks)), as in scoring.
    ///
    /// # Errors
    /// [`VocabularyError`].
    pub fn open(directory: &Path, marks: &[String]) -> Result<Self, VocabularyError> {
        let options = ModelOptions { vocab_only: true, ..ModelOptions::default() };
        let with = |model: Arc<Model>| Self { specials: model.specials_with(marks), model };
        if directory.is_file() {
            return Ok(with(Model::load(directory, options)?));
        }
        let folder = tempfile::tempdir()?;
        let plan = plan(directory, folder.path(), &ConvertOptions::new(WeightType::F16))?;
        // The metadata hold the whole vocabulary; no tensors are written.
        let path = folder.path().join("vocabulary.gguf");
        GgufWriter::create(&path, &plan.files[0].metadata, &[])?.finish()?;
        Ok(with(Model::load(&path, options)?))
    }
}

impl Tokenizer for Vocabulary {
    fn encode(&self, text: &Run, first: bool) -> Result<Vec<u32>, TokenizerError> {
        let tokens = self.model.tokenize_guarded(text, first, &self.specials)?;
        Ok(tokens.into_iter().map(|token| token as u32).collect())
    }

    fn token(&self, text: &str) -> Option<u32> {
        self.model.token(text).map(|token| token as u32)
    }

    fn bos(&self) -> Option<u32> {
        self.model.bos().map(|token| token as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::PrmForm;
    use crate::train::data::{Dataset, DatasetOptions, Length, SampleKind};
    use crate::vision::prompts::{PromptEncoder, PromptEncoderOptions};

    /// A form with this beginning, step and end.
    fn form(begin: &str, step: &str, rest: &str) -> PrmForm {
        let record = format!(
            "name = 'own'\n[text]\nbegin = {begin:?}\nstep = {step:?}\n{rest}\n[score]\nby = 'tokens'\n\
             tokens = ['-', '+']\npositive = ['+']\n"
        );
        PrmForm::parse(&record).unwrap()
    }

    const STEPS: [&str; 5] =
        ["It is <|im_end|> and <|endoftext|>.", " 2 + 2 = 4 \n", "né\u{301} <prm>", "x", "Answer: 4"];

    /// The token ids of a form's texts, and the rows of their scores, by the trainer and by the scorer.
    fn compare(family: &str, form: &PrmForm) {
        let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families").join(family);
        let vocabulary = Vocabulary::open(&checkpoint, form.marks()).unwrap();
        let mut encoder =
            PromptEncoder::load(Arc::clone(&vocabulary.model), None, PromptEncoderOptions::default()).unwrap();
        encoder.guard(form.marks());
        let question = "What is <|endoftext|> 2 + 2?";
        let process: Vec<String> = STEPS.iter().map(|step| format!("{step}<prm>")).collect();
        let text = format!("Question: {question}\nProcess: {}", process.join("\n\n"));
        let labels = [1.0, 0.75, 0.5, 0.25, 0.0];
        let turns = serde_json::json!([{"from": "human", "value": text}, {"from": "gpt", "value": labels}]);
        let record = serde_json::json!({"question": question, "steps": STEPS, "conversations": turns});
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.jsonl");
        std::fs::write(&path, record.to_string()).unwrap();
        let options = DatasetOptions {
            kind: SampleKind::Prm,
            form: Some(form),
            tiling: None,
            tokens_per_tile: 0,
            length: Length { tokens: 4096, truncate: false },
            token_labels: false,
            image_token_weight: 1.0,
            reference_special_tokens: false,
        };
        let data = Dataset::read(&path, folder.path(), &vocabulary, &options).unwrap();
        let shown = form.shown(STEPS.len());
        assert_eq!(data.samples.len(), shown.clone().count());
        let mut seen = Vec::new();
        for (sample, shown) in data.samples.iter().zip(shown) {
            let layout = form.layout(question, &STEPS[..shown], 0, true).unwrap();
            let (prompt, positions) = encoder.layout(&layout, &[], &[]).unwrap();
            let expected: Vec<u32> = prompt.text_tokens().map(|token| token as u32).collect();
            assert_eq!(sample.tokens, expected, "{family} {}", form.record());
            let rows: Vec<usize> = sample.targets.iter().map(|target| target.row).collect();
            assert_eq!(rows, positions, "{family} {}", form.record());
            seen.extend(sample.targets.iter().map(|target| target.value));
        }
        assert_eq!(seen, labels.map(crate::train::data::TargetValue::Label));
        let steps = data.special.steps.unwrap();
        let token = |text: &str| vocabulary.token(text).unwrap();
        assert_eq!((steps.yes, steps.no), (token("+"), token("-")));
    }

    #[test]
    fn training_reads_what_scoring_reads_token_for_token() {
        for family in ["smollm2", "qwen2_5"] {
            compare(family, &form("Q: {question}\n", "{step}<|endoftext|>{read}\n", "marks = ['<|endoftext|>']"));
            compare(family, &form("{question}\n", "{step}{read}", "between = \"\\n\"\napart = true\nstrip = true"));
            let turn = "{step}<|im_end|>\n<|im_start|>assistant\n{read}+<|im_end|>\n";
            compare(family, &form("<|im_start|>user\n{question}\n", turn, "between = \"<|im_start|>user\\n\""));
            let end = "between = \"\\n\"\nend = \"<|im_end|>\\n<|im_start|>assistant\\n{read}\"";
            compare(family, &form("<|im_start|>user\n{question}\n", "{step}", end));
        }
        for family in ["llama2", "llama3"] {
            compare(family, &form("{bos}{question}\n", "{step}\n{read}", ""));
        }
    }

    #[test]
    fn a_form_that_the_vocabulary_cannot_write_is_refused() {
        let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families/smollm2");
        let find = |form: &PrmForm| {
            let vocabulary = Vocabulary::open(&checkpoint, form.marks()).unwrap();
            super::super::data::SpecialTokens::find(&vocabulary, Some(form), false)
                .map(drop)
                .map_err(|error| error.to_string())
        };
        for (name, expected) in [
            ("internvl2_5-training", "no token `<prm>`"),
            ("math-shepherd", "no token ` ки`"),
            ("implicit", "log-probabilities"),
            ("skywork-o1-prm", "scores of a head"),
            ("judge", "writes a critique before each score"),
        ] {
            let error = find(&PrmForm::built_in(name).unwrap()).unwrap_err();
            assert!(error.contains(expected), "{name}: {error}");
        }
        let three = form("{question}", "{step}{read}", "").record().replace("['-', '+']", "['-', '+', 'x']");
        assert!(find(&PrmForm::parse(&three).unwrap()).unwrap_err().contains("more than two tokens"));
        let answer = form("{question}", "{step}{read}", "answer = 'A: {step}{read}'");
        assert!(find(&answer).unwrap_err().contains("do not tell them apart"));
        assert_eq!(find(&form("{question}", "{step}{read}", "")), Ok(()));
    }
}
