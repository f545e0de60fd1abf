//! A process reward model that runs on this machine, on llama.cpp.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use mmprm_quant::gguf::GgufFile;
use mmprm_quant::head::Head;

use super::critique::{Critic, KnownTurns};
use super::form::{Claims, check_head};
use super::probability::{sigmoid, softmax};
use super::{PrmError, ScoreRequest, Scored, StepScorer, finite};
use crate::data::solution;
use crate::engine::{
    Engine, EngineError, EngineStats, LoraAdapter, Model, ModelOptions, Prompt, PromptError, Token, refuse_other_kinds,
};
use crate::image;
use crate::prompt::{Activation, Piece, PrmForm, ReadOut};
use crate::util::cancel::CancelToken;
use crate::vision::prompts::{EncodeError, PromptEncoder};

/// How a [`LocalPrm`] reads candidates.
#[derive(Debug, Clone)]
pub struct PrmOptions {
    /// Folder that image paths are relative to and confined to.
    pub data_root: PathBuf,
    /// The form; `None` takes the one in the model's metadata, or else MM-PRM's scoring form.
    pub form: Option<PrmForm>,
}

/// A language model, its vision encoder and the engine that runs them, as a [`StepScorer`].
#[derive(Debug)]
pub struct LocalPrm {
    engine: Engine,
    encoder: PromptEncoder,
    data_root: PathBuf,
    form: PrmForm,
    /// The token of the form's mark at which scores are read, if it has one.
    mark: Option<Token>,
    reader: Reader,
    /// The model whose log-probabilities are subtracted, for a form that reads ratios.
    reference: Option<Reference>,
    /// Number of critiques that reached their maximum length.
    truncated: AtomicU64,
    /// Held by the problem whose critiques are written, where requests run one by one: those of two problems in turn would each
    /// find the other's prompt in the cache.
    writing: Mutex<()>,
    known: KnownTurns,
    cancel: CancelToken,
}

/// A reference model.
#[derive(Debug)]
struct Reference {
    engine: Engine,
    encoder: PromptEncoder,
}

/// What scores are made of.
#[derive(Debug)]
enum Reader {
    Tokens { tokens: Vec<Token>, positive: Vec<usize> },
    Head { head: Head, activation: Activation, output: usize },
    Logprob,
    LogRatio { beta: f64, cumulative: bool },
    Critique { tokens: Vec<Token>, positive: Vec<usize>, max_tokens: usize },
}

/// The tokens of a candidate's steps, and where among them each step ends.
type Continuation = (Vec<Token>, Vec<usize>);

/// The prompts of a candidate, and where in each of them scores are read.
type Places = Vec<(usize, Vec<usize>)>;

impl LocalPrm {
    /// The form that a model which is not loaded yet will be used in. Checks that it has the head which the form reads;
    /// [`check_vocabulary`](Self::check_vocabulary) checks the form's tokens.
    ///
    /// # Errors
    /// [`EngineError`] if a file is no GGUF file of a language model, names an unknown form or two of them, was trained for something
    /// else, or lacks the head.
    pub fn form_of(model: &Path, adapters: &[LoraAdapter], asked: Option<&PrmForm>) -> Result<PrmForm, EngineError> {
        let refuse = |cause| EngineError::Load { path: model.to_owned(), cause };
        let file = GgufFile::open_outline(model)?;
        refuse_other_kinds(&file)?;
        let mut claims = Claims::of_file(&file);
        for adapter in adapters.iter().filter(|adapter| adapter.scale != 0.0) {
            claims = claims.under(Claims::of_file(&GgufFile::open_outline(&adapter.path)?));
        }
        let form = claims.form(asked).map_err(refuse)?;
        check_head(&form, &file).map_err(refuse)?;
        Ok(form)
    }

    /// Checks that a model whose weights are not loaded yet has the tokens of a form in its vocabulary.
    ///
    /// # Errors
    /// [`EngineError::Load`], naming the first token that it has not.
    pub fn check_vocabulary(model: &Path, form: &PrmForm) -> Result<(), EngineError> {
        let vocabulary = Model::load(model, ModelOptions { vocab_only: true, ..ModelOptions::default() })?;
        tokens(form, &vocabulary).map(|_| ())
    }

    /// Checks that a reference model is there if a form takes one and only then, and that it has the vocabulary of the model. Loads
    /// the weights of neither.
    ///
    /// # Errors
    /// [`EngineError::Load`], naming the model, or the reference that differs.
    pub fn check_reference(model: &Path, form: &PrmForm, reference: Option<&Path>) -> Result<(), EngineError> {
        let refuse = |path: &Path, cause: String| Err(EngineError::Load { path: path.to_owned(), cause });
        match (form.has_reference(), reference) {
            (false, None) => Ok(()),
            (true, None) => refuse(model, without_reference(form)),
            (false, Some(reference)) => {
                refuse(reference, format!("it is given as a reference model, but the PRM form {form} reads none"))
            }
            (true, Some(reference)) => {
                let vocabulary = |path| Model::load(path, ModelOptions { vocab_only: true, ..ModelOptions::default() });
                check_same(&*vocabulary(model)?, &*vocabulary(reference)?)
            }
        }
    }

    /// Wraps a running engine and the encoder of the same model.
    ///
    /// # Errors
    /// [`EngineError::Load`], as [`form_of`](Self::form_of); for a form that takes a reference model too.
    pub fn new(engine: Engine, encoder: PromptEncoder, options: PrmOptions) -> Result<Self, EngineError> {
        Self::with(engine, encoder, None, options)
    }

    /// As [`new`](Self::new), with the running engine and the encoder of a reference model.
    ///
    /// # Errors
    /// As [`new`](Self::new), and as [`check_reference`](Self::check_reference).
    pub fn with_reference(
        engine: Engine,
        encoder: PromptEncoder,
        (reference, its_encoder): (Engine, PromptEncoder),
        options: PrmOptions,
    ) -> Result<Self, EngineError> {
        Self::with(engine, encoder, Some(Reference { engine: reference, encoder: its_encoder }), options)
    }

    fn with(
        engine: Engine,
        mut encoder: PromptEncoder,
        mut reference: Option<Reference>,
        options: PrmOptions,
    ) -> Result<Self, EngineError> {
        let model = encoder.model();
        let refuse = |cause: String| EngineError::Load { path: model.path().to_owned(), cause };
        let claims = Claims::of_file(model.file()).under(Claims::of(|key| model.adapter_text(key).map(str::to_owned)));
        let form = claims.form(options.form.as_ref()).map_err(refuse)?;
        check_head(&form, model.file()).map_err(refuse)?;
        let tokens = tokens(&form, model)?;
        match &reference {
            None if form.has_reference() => return Err(refuse(without_reference(&form))),
            Some(reference) if form.has_reference() => check_same(model, reference.encoder.model())?,
            Some(reference) => Self::check_reference(model.path(), &form, Some(reference.encoder.model().path()))?,
            None => {}
        }
        let reader = match form.read_out() {
            ReadOut::Tokens { positive, .. } => Reader::Tokens { tokens, positive: positive.clone() },
            ReadOut::Head { activation, output } => {
                let head = Head::read(model.file())?.ok_or_else(|| refuse("it has no head".to_owned()))?;
                Reader::Head { head, activation: *activation, output: *output }
            }
            ReadOut::Logprob => Reader::Logprob,
            ReadOut::LogRatio { beta, cumulative } => Reader::LogRatio { beta: *beta, cumulative: *cumulative },
            ReadOut::Critique { positive, max_tokens, .. } => {
                Reader::Critique { tokens, positive: positive.clone(), max_tokens: *max_tokens }
            }
        };
        let mark = form.mark_read().and_then(|mark| model.token(mark));
        encoder.guard(form.marks());
        if let Some(reference) = &mut reference {
            reference.encoder.guard(form.marks());
        }
        let (data_root, truncated, cancel) = (options.data_root, AtomicU64::new(0), CancelToken::new());
        let (writing, known) = (Mutex::default(), KnownTurns::default());
        Ok(Self { engine, encoder, data_root, form, mark, reader, reference, truncated, writing, known, cancel })
    }

    /// Sets what ends critiques that are being written, with [`PrmError::Cancelled`].
    #[must_use]
    pub fn cancelled_by(mut self, cancel: &CancelToken) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// Returns the form in which the model is used.
    pub fn form(&self) -> &PrmForm {
        &self.form
    }

    /// The engine's counters.
    pub fn stats(&self) -> EngineStats {
        self.engine.stats()
    }

    /// Number of critiques so far that reached their maximum length, so that a score was read before the model had ended its critique.
    pub fn truncated_critiques(&self) -> u64 {
        self.truncated.load(Relaxed)
    }

    fn scored(&self, request: &ScoreRequest<'_>, is_finished: bool) -> Result<Scored, EncodeError> {
        let resolve = |path: &String| image::resolve(&self.data_root, path);
        let images = request.images.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        let scores = match &self.reader {
            Reader::Logprob | Reader::LogRatio { .. } => self.by_logprob(request, &images, is_finished)?,
            Reader::Tokens { .. } | Reader::Head { .. } => self.at_places(request, &images, is_finished)?,
            Reader::Critique { tokens, positive, max_tokens } => {
                let (engine, encoder, form, max_tokens) = (&self.engine, &self.encoder, &self.form, *max_tokens);
                let (images, cancel, known) = (&images[..], &self.cancel, &self.known);
                // Encoded before another problem's critiques are waited for.
                images.iter().try_for_each(|image| encoder.image(image).map(drop))?;
                let is_serial = engine.is_deterministic();
                let _writing = is_serial.then(|| self.writing.lock().unwrap_or_else(PoisonError::into_inner));
                let critic = Critic { engine, encoder, form, tokens, positive, max_tokens, images, cancel, known };
                let judged = critic.judge(request, is_finished, |text| self.shown(text))?;
                let truncated = judged.iter().flatten().filter(|(_, critique)| critique.truncated).count();
                self.truncated.fetch_add(truncated as u64, Relaxed);
                let (scores, critiques) = judged.into_iter().map(|steps| steps.into_iter().unzip()).unzip();
                return Ok(Scored { scores, critiques: Some(critiques) });
            }
        };
        Ok(Scored { scores, critiques: None })
    }

    /// A question or step as the model is shown it. MM-PRM's code would read a step token inside the text as the end of a step;
    /// here it is text.
    fn shown(&self, text: &str) -> String {
        if self.encoder.has_reference_special_tokens() {
            solution::without(text, self.form.marks())
        } else {
            text.to_owned()
        }
    }

    /// Scores of an implicit PRM, from the log-probabilities of the steps' tokens, given the steps before.
    fn by_logprob(
        &self,
        request: &ScoreRequest<'_>,
        images: &[PathBuf],
        is_finished: bool,
    ) -> Result<Vec<Vec<f64>>, EncodeError> {
        let context = self.form.beginning(request.question, images.len())?;
        let candidates = self.continuations(request, is_finished)?;
        let read = |engine: &Engine, encoder: &PromptEncoder| -> Result<Vec<Vec<f64>>, EncodeError> {
            let from = encoder.layout(&context, images, &[])?.0.len();
            let prompt = |(tokens, _): &Continuation| Ok(encoder.layout(&context, images, tokens)?.0);
            let prompts = candidates.iter().map(prompt).collect::<Result<Vec<_>, EncodeError>>()?;
            let logprobs = engine.logprobs(prompts, from)?;
            Ok(logprobs.iter().zip(&candidates).map(|(logprobs, (_, ends))| of_steps(logprobs, ends)).collect())
        };
        let mut sums = read(&self.engine, &self.encoder)?.into_iter();
        let reference = self.reference.as_ref().map(|Reference { engine, encoder }| read(engine, encoder));
        let mut reference_sums = reference.transpose()?.unwrap_or_default().into_iter();
        let score = |steps: &Vec<String>| {
            if steps.is_empty() {
                return Vec::new();
            }
            let sums = sums.next().unwrap_or_default();
            match self.reader {
                Reader::LogRatio { beta, cumulative } => {
                    ratios(&sums, &reference_sums.next().unwrap_or_default(), beta, cumulative)
                }
                _ => sums.into_iter().map(f64::exp).collect(),
            }
        };
        Ok(request.solutions.iter().map(score).collect())
    }

    /// The tokens of the candidates that have steps.
    fn continuations(&self, request: &ScoreRequest<'_>, is_finished: bool) -> Result<Vec<Continuation>, EncodeError> {
        let special = self.encoder.model().special_texts();
        let mut continuations = Vec::new();
        for steps in request.solutions.iter().filter(|steps| !steps.is_empty()) {
            let (mut run, mut own_ends) = (self.encoder.run(), Vec::new());
            for (index, step) in steps.iter().enumerate() {
                let is_answer = is_finished && index + 1 == steps.len();
                for piece in self.form.step_pieces(&solution::without(step, &special), index, is_answer) {
                    match piece {
                        Piece::Text(text) => run.template(&text),
                        Piece::Plain(text) => run.plain(&text),
                        Piece::Image(_) => {}
                    }
                }
                own_ends.push(self.encoder.tokenize(&run, false)?);
            }
            let tokens = own_ends.last().cloned().unwrap_or_default();
            // A token that spans two steps belongs to the later one.
            let shared = |own: &Vec<Token>| own.iter().zip(&tokens).take_while(|(own, all)| own == all).count();
            let ends = own_ends.iter().map(shared).collect();
            continuations.push((tokens, ends));
        }
        Ok(continuations)
    }

    /// Scores read at places of the text: in one prompt for a candidate, or in one for each step where the form reads at the end.
    fn at_places(
        &self,
        request: &ScoreRequest<'_>,
        images: &[PathBuf],
        is_finished: bool,
    ) -> Result<Vec<Vec<f64>>, EncodeError> {
        let question = self.shown(request.question);
        let (mut prompts, mut places) = (Vec::new(), Vec::new());
        for steps in request.solutions {
            let steps: Vec<String> = steps.iter().map(|step| self.shown(step)).collect();
            let mut own = Places::new();
            for count in self.form.shown(steps.len()) {
                let layout =
                    self.form.layout(&question, &steps[..count], images.len(), is_finished && count == steps.len())?;
                let (prompt, positions) = self.encoder.layout(&layout, images, &[])?;
                self.check_marks(&prompt, &positions)?;
                let row = |position: &usize| prompt.marks().binary_search(position).unwrap_or_default();
                own.push((prompts.len(), positions.iter().map(row).collect()));
                prompts.push(prompt);
            }
            places.push(own);
        }
        let rows = match &self.reader {
            Reader::Tokens { tokens, .. } => self.engine.logits(prompts, tokens)?,
            _ => self.engine.hidden(prompts)?,
        };
        let score = |(prompt, row): (usize, usize)| self.reader.probability(&rows[prompt][row]);
        let all = |own: Places| -> Vec<f64> {
            own.into_iter().flat_map(|(prompt, own)| own.into_iter().map(move |row| (prompt, row))).map(score).collect()
        };
        Ok(places.into_iter().map(all).collect())
    }

    /// Checks that the tokenizer kept the form's mark whole where scores are read.
    fn check_marks(&self, prompt: &Prompt, positions: &[usize]) -> Result<(), PromptError> {
        let Some(mark) = self.mark else { return Ok(()) };
        let found = positions.iter().filter(|position| prompt.token(**position) == Some(mark)).count();
        if found == positions.len() { Ok(()) } else { Err(PromptError::Marks { found, expected: positions.len() }) }
    }
}

/// Sums of log-probabilities over the tokens of each step.
fn of_steps(logprobs: &[f32], ends: &[usize]) -> Vec<f64> {
    let mut start = 0;
    let step = |end: &usize| {
        // A tokenizer may divide a longer text anew from before the last end; such a step has no tokens of its own.
        let end = (*end).max(start);
        let own = &logprobs[std::mem::replace(&mut start, end)..end];
        own.iter().map(|logprob| f64::from(*logprob)).sum::<f64>()
    };
    ends.iter().map(step).collect()
}

/// Scores of steps from their log-probabilities in the model and in the reference.
fn ratios(sums: &[f64], reference: &[f64], beta: f64, cumulative: bool) -> Vec<f64> {
    let mut before = 0.0;
    let step = |(own, reference): (&f64, &f64)| {
        let ratio = before + (own - reference);
        before = if cumulative { ratio } else { 0.0 };
        sigmoid(beta * ratio)
    };
    sums.iter().zip(reference).map(step).collect()
}

fn without_reference(form: &PrmForm) -> String {
    format!("the PRM form {form} reads log-probability ratios, which take a reference model")
}

/// Refuses a reference whose vocabulary is not the model's.
fn check_same(model: &Model, reference: &Model) -> Result<(), EngineError> {
    model.other_vocabulary(reference).map_or(Ok(()), |difference| {
        let model = model.path().display();
        let cause = format!("its vocabulary is not that of {model}, whose reference model it should be: {difference}");
        Err(EngineError::Load { path: reference.path().to_owned(), cause })
    })
}

/// The tokens that the form reads.
fn tokens(form: &PrmForm, model: &Model) -> Result<Vec<Token>, EngineError> {
    let refuse = |cause: String| EngineError::Load { path: model.path().to_owned(), cause };
    let token = |text: &String| {
        let unknown = || {
            refuse(format!(
                "its vocabulary has no single token {text:?}, which the PRM form {form} needs; is this a process reward model of \
                 that form?"
            ))
        };
        model.token(text).ok_or_else(unknown)
    };
    form.marks().iter().try_for_each(|mark| token(mark).map(|_| ()))?;
    if form.begins_with_bos() && model.bos().is_none() {
        return Err(refuse(format!("it names no beginning-of-sequence token, which the PRM form {form} begins with")));
    }
    form.tokens().iter().map(token).collect()
}

impl Reader {
    /// The probability that a step is right, from what was read at its place.
    fn probability(&self, row: &[f32]) -> f64 {
        match self {
            Self::Tokens { positive, .. } => {
                let logits: Vec<f64> = row.iter().map(|logit| f64::from(*logit)).collect();
                positive.iter().map(|index| softmax(&logits, *index)).sum()
            }
            Self::Head { head, activation, output } => {
                let outputs = head.apply(row);
                match activation {
                    Activation::Softmax => softmax(&outputs, *output),
                    Activation::Sigmoid => sigmoid(outputs[*output]),
                }
            }
            Self::Logprob | Self::LogRatio { .. } | Self::Critique { .. } => f64::NAN,
        }
    }
}

impl StepScorer for LocalPrm {
    fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
        self.score_with_critiques(request).map(|scored| scored.scores)
    }

    fn score_with_critiques(&self, request: &ScoreRequest<'_>) -> Result<Scored, PrmError> {
        let Scored { scores, critiques } = self.scored(request, true).map_err(failure)?;
        Ok(Scored { scores: finite(scores)?, critiques })
    }

    fn score_unfinished(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
        self.scored(request, false).map_err(failure).and_then(|scored| finite(scored.scores))
    }
}

fn failure(error: EncodeError) -> PrmError {
    match error {
        EncodeError::Engine(EngineError::Cancelled) => PrmError::Cancelled,
        EncodeError::Engine(error @ (EngineError::Limit(_) | EngineError::Prompt(_))) => {
            PrmError::Problem(Box::new(error))
        }
        EncodeError::Engine(error) => PrmError::Model(Box::new(error)),
        EncodeError::Vision(error) => PrmError::Model(Box::new(error)),
        error => PrmError::Problem(Box::new(error)),
    }
}
