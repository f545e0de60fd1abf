//! Errors of reading training data: the file and line, and what is wrong with the record.

use std::path::PathBuf;

use serde_json::Value;

use crate::data::images::ImageFieldError;
use crate::image::ImageError;
use crate::prompt::FormError;
use crate::util::io::FileError;

/// An error of reading training data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line is longer than the limit.
    #[error("{}:{line}: more than {limit} bytes, expected one record a line", path.display())]
    LongLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The limit in bytes.
        limit: u64,
    },
    /// A line is not a JSON record.
    #[error("{}:{line}: not a record: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A record cannot be trained on.
    #[error("{}:{line}: sample {id}: {source}", path.display())]
    Sample {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The record's id as JSON.
        id: String,
        /// What is wrong and what was expected.
        source: Box<SampleError>,
    },
    /// An image of a record cannot be used.
    #[error("{}:{line}: sample {id}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The record's id as JSON.
        id: String,
        /// What is wrong with the image.
        source: Box<ImageError>,
    },
    /// The vocabulary lacks a special token.
    #[error("the vocabulary has no token `{token}`, expected it as one token")]
    NoToken {
        /// Its text.
        token: String,
    },
    /// The form of a PRM cannot be trained.
    #[error("the PRM form {form}: {problem}")]
    Form {
        /// Its name.
        form: String,
        /// What is wrong and what was expected.
        problem: &'static str,
    },
    /// The file has no records.
    #[error("{}: no samples, expected at least one", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong with one record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// A PRM record without conversations.
    #[error("no `conversations`, expected one of a human and a gpt turn")]
    NoConversations,
    /// A record whose question is unknown, which another form than MM-PRM's needs.
    #[error("no question, expected `question` and `steps`, or a text of the form `Question: …\\nProcess: …<prm>…`")]
    NoQuestion,
    /// A form cannot show the record.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A token reaches across the place where a score is read.
    #[error(
        "step {number}: a token reaches across the place where its score is read, expected a form whose steps end at tokens"
    )]
    Spanned {
        /// The step, from 1.
        number: usize,
    },
    /// The form begins with a token that the vocabulary has not.
    #[error("the vocabulary names no beginning-of-sequence token, which the PRM form begins with")]
    NoBos,
    /// Images for a text model.
    #[error("images, expected none: the model is a text model")]
    TextModel,
    /// A PRM record whose text is not a question and a process.
    #[error("the human turn is not `Question: …` and `Process: …`, expected them as `mmprm samples` writes them")]
    NoProcess,
    /// A policy record of neither form.
    #[error("expected `conversations`, or `question` and `solution`")]
    NoSolution,
    /// A record to rank without candidates.
    #[error("expected `question`, `candidates` and `labels`, as `mmprm samples --ranking` writes them")]
    NoCandidates,
    /// Image tokens with something to learn in a record that is not for a policy.
    #[error("`image_tokens` is for training a policy")]
    ImageTokensKind,
    /// Not as many entries as image tokens.
    #[error("`image_tokens` has {found} entries, expected {expected}, one for each image token")]
    ImageTokens {
        /// Number of entries.
        found: usize,
        /// Number of image tokens.
        expected: usize,
    },
    /// A piece that is no token.
    #[error("`image_tokens`: the vocabulary has no token {piece:?}")]
    NoPiece {
        /// The piece.
        piece: String,
    },
    /// Not as many labels as candidates.
    #[error("{found} labels, expected {expected}, one for each candidate")]
    CandidateCount {
        /// Labels.
        found: usize,
        /// Candidates.
        expected: usize,
    },
    /// The label of a candidate to rank is neither right nor wrong.
    #[error("label {number} is {found}, expected 0 or 1")]
    Verdict {
        /// Which, from 1.
        number: usize,
        /// The value.
        found: Value,
    },
    /// A solution without an answer.
    #[error("`solution` is empty, expected steps and an answer")]
    EmptySolution,
    /// Its images are not known.
    #[error(transparent)]
    Images(#[from] ImageFieldError),
    /// `question` and `steps` beside a human turn of something else.
    #[error("`question` and `steps` are not those of the human turn; remove them, or write all three anew")]
    OtherSteps,
    /// Not two turns.
    #[error("{found} turns, expected a human and a gpt turn")]
    TurnCount {
        /// Their number.
        found: usize,
    },
    /// Turns of other speakers.
    #[error("turns of `{first}` and `{second}`, expected `human` and `gpt`")]
    Speakers {
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
    /// The human turn is not a string.
    #[error("the human turn is not a string")]
    HumanTurn,
    /// The gpt turn of a policy record is not a string.
    #[error("the gpt turn is not a string, expected the text that the policy should write")]
    Reply,
    /// The gpt turn of a PRM record is not a list.
    #[error("the gpt turn is not a list, expected a label for each `<prm>`")]
    Labels,
    /// Not as many labels as steps.
    #[error("{found} labels, expected {expected}, one for each `<prm>`")]
    LabelCount {
        /// Labels.
        found: usize,
        /// Occurrences of `<prm>`.
        expected: usize,
    },
    /// No step.
    #[error("no `<prm>`, expected at least one")]
    NoStep,
    /// A label outside 0 to 1.
    #[error("label {number} is {found}, expected a number from 0 to 1")]
    Label {
        /// Which, from 1.
        number: usize,
        /// The value.
        found: Value,
    },
    /// Not as many weights as labels.
    #[error("{found} weights, expected {expected}, one for each label")]
    WeightCount {
        /// Weights.
        found: usize,
        /// Labels.
        expected: usize,
    },
    /// A negative weight.
    #[error("weight {number} is {found}, expected 0 or more")]
    Weight {
        /// Which, from 1.
        number: usize,
        /// The value.
        found: Value,
    },
    /// The tokenizer failed.
    #[error("cannot tokenize: {0}")]
    Tokenizer(#[source] TokenizerError),
    /// The tokenizer splits or merges `<prm>`.
    #[error("{found} tokens `<prm>`, expected {expected}, one for each label")]
    StepTokens {
        /// Tokens found.
        found: usize,
        /// Labels.
        expected: usize,
    },
    /// The text itself has the image placeholder.
    #[error("the text contains `<IMG_CONTEXT>`, which only images may")]
    ContextInText,
    /// The text has more image marks than the record has images.
    #[error("the text refers to an image that the record does not have")]
    NoSuchImage,
    /// Longer than the limit.
    #[error("{found} tokens, expected at most {limit}; raise `max_tokens` or set `truncate`")]
    TooLong {
        /// Tokens of the sample.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The limit falls inside an image.
    #[error("{found} tokens, and the limit of {limit} would cut an image")]
    CutImage {
        /// Tokens of the sample.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Truncation removes every target.
    #[error("no target is left within the limit of {limit} tokens")]
    CutTargets {
        /// The limit.
        limit: usize,
    },
}

/// Why a tokenizer cannot split a text.
pub type TokenizerError = Box<dyn std::error::Error + Send + Sync>;
