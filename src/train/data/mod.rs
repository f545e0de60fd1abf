//! Training files → samples: token ids, where images stand, and what is to be learnt at which token.
//!
//! A file is JSON Lines. For [`Task::Prm`] its records are those of `mmprm samples`, written as the reference trains them, and
//! may have `weights` beside their conversations, one a label; for [`Task::Policy`] they are conversations with a text as the
//! `gpt` turn, or `{question, image, previous, solution: [steps…, answer]}`. Whatever is wrong with a record is one sentence with
//! its file, line and id: no record is left out or replaced.
//! How samples become batches is [`super::pack`]'s business; what images look like to the model that of
//! [`super::features`].
//!
//! ```
//! use mmprm::image::Tiling;
//! use mmprm::train::data::{Dataset, Goal, Length, Options, Task, Tokenizer};
//! struct Letters; // a token a character, special tokens from 256
//! impl Tokenizer for Letters {
//!     fn encode(&self, text: &str, _: bool) -> Result<Vec<u32>, String> {
//!         Ok(text.replace("<prm>", "\u{100}").chars().map(|letter| letter as u32).collect())
//!     }
//!     fn token(&self, text: &str) -> Option<u32> {
//!         ["<prm>", "<IMG_CONTEXT>", "Yes", "No"].iter().position(|known| *known == text).map(|index| 256 + index as u32)
//!     }
//! }
//! let folder = tempfile::tempdir().unwrap();
//! let file = folder.path().join("samples.jsonl");
//! let process = r"Question: 1 + 1?\nProcess: It is 3.<prm>";
//! let turns = format!(r#"[{{"from": "human", "value": "{process}"}}, {{"from": "gpt", "value": [0.25]}}]"#);
//! std::fs::write(&file, format!(r#"{{"id": 0, "conversations": {turns}}}"#)).unwrap();
//! let options = Options {
//!     task: Task::Prm,
//!     tiling: Tiling { size: 448, min_tiles: 1, max_tiles: 6, thumbnail: true },
//!     tokens_per_tile: 256,
//!     length: Length { tokens: 4096, truncate: false },
//!     token_labels: false,
//! };
//! let data = Dataset::read(&file, folder.path(), &Letters, &options).unwrap();
//! let target = data.samples[0].targets[0];
//! assert_eq!((data.samples[0].tokens[target.row], target.goal), (256, Goal::Label(0.25)));
//! ```

mod encode;
mod images;
mod record;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

pub use encode::{Length, Tokenizer};
pub use images::Image;
pub use record::{Forms, Task};

use crate::image::{self, ImageError, Tiling};
use crate::prompt::STEP_TOKEN;
use encode::Encoder;
use images::Images;
use record::Record;

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 64 << 20;

/// Why training data cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file cannot be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is no record.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A record cannot be learnt from.
    #[error("{}:{line}: sample {id}: {problem}", path.display())]
    Sample {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The record's id as JSON.
        id: String,
        /// What is wrong and what was expected.
        problem: String,
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
    /// The vocabulary lacks a token.
    #[error("the vocabulary has no token `{token}`, expected it as a token of its own")]
    NoToken {
        /// Its text.
        token: &'static str,
    },
    /// There is nothing in it.
    #[error("{}: there are no samples in it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Tokens with a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<IMG_CONTEXT>`, in whose place an image's embeddings stand.
    pub context: u32,
    /// `<prm>`.
    pub step: u32,
    /// `Yes`.
    pub yes: u32,
    /// `No`.
    pub no: u32,
}

impl SpecialTokens {
    /// Finds them.
    ///
    /// # Errors
    /// [`DataError::NoToken`].
    pub fn find(tokenizer: &dyn Tokenizer) -> Result<Self, DataError> {
        let find = |token| tokenizer.token(token).ok_or(DataError::NoToken { token });
        Ok(Self { context: find("<IMG_CONTEXT>")?, step: find(STEP_TOKEN)?, yes: find("Yes")?, no: find("No")? })
    }
}

/// What is to be learnt at a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// The probability of `Yes` against `No`.
    Label(f32),
    /// The next token.
    Token(u32),
}

/// A goal and its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// The token's index in the sample.
    pub row: usize,
    /// What is to be learnt there.
    pub goal: Goal,
    /// How much it counts: 1 where nothing else is said.
    pub weight: f32,
}

impl Target {
    /// A target that counts once.
    pub fn new(row: usize, goal: Goal) -> Self {
        Self { row, goal, weight: 1.0 }
    }
}

/// Where an image stands in a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Index of its first context token.
    pub start: usize,
    /// Which of the data set's images.
    pub image: usize,
}

/// One text to learn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The record's id as JSON.
    pub id: String,
    /// Equal for samples with the same question and images.
    pub problem: u64,
    /// Its token ids.
    pub tokens: Vec<u32>,
    /// Its images in order.
    pub images: Vec<Placed>,
    /// What is to be learnt, by row.
    pub targets: Vec<Target>,
}

/// How a file becomes samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// What the file holds.
    pub task: Task,
    /// How images are cut.
    pub tiling: Tiling,
    /// Context tokens of a tile.
    pub tokens_per_tile: usize,
    /// How long samples may be.
    pub length: Length,
    /// Whether the label of a step is also to be learnt at each of its tokens, not at its end alone. The tokens so far are a
    /// prefix like any other, and the step's value is an estimate of theirs.
    pub token_labels: bool,
}

/// The samples of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// In the file's order.
    pub samples: Vec<Sample>,
    /// Their images, each once.
    pub images: Vec<Image>,
    /// Tokens with a role.
    pub words: SpecialTokens,
}

impl Dataset {
    /// Reads a file whose image paths are relative, and confined, to `root`.
    ///
    /// # Errors
    /// [`DataError`] for the first record that cannot be used.
    ///
    /// # Panics
    /// Never: every image that a sample shows was read before.
    pub fn read(path: &Path, root: &Path, tokenizer: &dyn Tokenizer, options: &Options) -> Result<Self, DataError> {
        let words = SpecialTokens::find(tokenizer)?;
        let records = read_records(path)?;
        let place = Place { path, root };
        let images: Vec<Vec<PathBuf>> = records.iter().map(|record| place.images(record)).collect::<Result<_, _>>()?;
        let (loaded, mut failed) = Images::read(&distinct(&images), &options.tiling);
        for (numbered, images) in records.iter().zip(&images) {
            if let Some(error) = images.iter().find_map(|image| failed.remove(image)) {
                return Err(place.image(numbered, error));
            }
        }
        let Options { tokens_per_tile, length, token_labels, .. } = *options;
        let encoder = Encoder { tokenizer, words, tokens_per_tile, length, token_labels };
        let samples: Vec<Vec<Sample>> = records
            .par_iter()
            .zip(&images)
            .map(|(numbered, images)| {
                let index = |image: &PathBuf| loaded.index(image).expect("every image was read");
                let shown: Vec<usize> = images.iter().map(index).collect();
                let tiles: Vec<_> = shown.iter().map(|&index| (index, loaded.all[index].tiles)).collect();
                let (line, record) = numbered;
                let texts = record.texts(options.task, images.len());
                let digests = shown.iter().map(|&index| loaded.all[index].digest.as_slice());
                let sample = |text: record::Text| {
                    let problem = problem_key(&text.question, digests.clone());
                    encoder.sample(&text, &tiles, record.id.to_string(), problem)
                };
                let samples = texts.and_then(|texts| texts.into_iter().map(sample).collect::<Result<Vec<_>, _>>());
                samples.map_err(|problem| place.sample(*line, record, problem))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { samples: samples.into_iter().flatten().collect(), images: loaded.all, words })
    }
}

impl Dataset {
    /// Labels become 1 from `threshold` on and 0 below.
    pub fn harden(&mut self, threshold: f32) {
        for target in self.samples.iter_mut().flat_map(|sample| &mut sample.targets) {
            if let Goal::Label(label) = &mut target.goal {
                *label = f32::from(u8::from(*label >= threshold));
            }
        }
    }

    /// Leaves labels at the ends of steps only.
    pub fn steps_only(samples: &mut [Sample], words: SpecialTokens) {
        for Sample { tokens, targets, .. } in samples {
            targets.retain(|target| matches!(target.goal, Goal::Token(_)) || tokens[target.row] == words.step);
        }
    }

    /// Takes over the samples of another set, whose images join this one's; returns them.
    pub fn adopt(&mut self, other: Self) -> Vec<Sample> {
        let mut place = |image: Image| {
            let known = self.images.iter().position(|known| known.digest == image.digest);
            known.unwrap_or_else(|| {
                self.images.push(image);
                self.images.len() - 1
            })
        };
        let places: Vec<usize> = other.images.into_iter().map(&mut place).collect();
        let mut samples = other.samples;
        samples.iter_mut().flat_map(|sample| &mut sample.images).for_each(|placed| placed.image = places[placed.image]);
        samples
    }

    /// The same images and tokens for other samples.
    #[must_use]
    pub fn without_samples(&self) -> Self {
        Self { samples: Vec::new(), images: self.images.clone(), words: self.words }
    }
}

/// Where records come from, for messages.
struct Place<'a> {
    path: &'a Path,
    root: &'a Path,
}

type Numbered = (usize, Record);

impl Place<'_> {
    fn sample(&self, line: usize, record: &Record, problem: String) -> DataError {
        DataError::Sample { path: self.path.to_owned(), line, id: record.id.to_string(), problem }
    }

    fn image(&self, (line, record): &Numbered, error: ImageError) -> DataError {
        let (path, id) = (self.path.to_owned(), record.id.to_string());
        DataError::Image { path, line: *line, id, source: Box::new(error) }
    }

    /// The files of a record's images.
    fn images(&self, numbered: &Numbered) -> Result<Vec<PathBuf>, DataError> {
        let (line, record) = numbered;
        let names = record.images().map_err(|problem| self.sample(*line, record, problem))?;
        let resolve = |name| image::resolve(self.root, name).map_err(|error| self.image(numbered, error));
        names.into_iter().map(resolve).collect()
    }
}

fn read_records(path: &Path) -> Result<Vec<Numbered>, DataError> {
    let fail = |source| DataError::Read { path: path.to_owned(), source };
    let mut reader = BufReader::new(File::open(path).map_err(fail)?);
    let (mut records, mut line, mut number) = (Vec::new(), Vec::new(), 0);
    loop {
        line.clear();
        let length = reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line).map_err(fail)?;
        if length == 0 {
            break;
        }
        number += 1;
        let wrong = |problem: String| DataError::Line { path: path.to_owned(), line: number, problem };
        if length as u64 > MAX_LINE {
            return Err(wrong(format!("more than {MAX_LINE} bytes, expected one record a line")));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let record = serde_json::from_slice(&line).map_err(|error| wrong(format!("not a record: {error}")))?;
        records.push((number, record));
    }
    if records.is_empty() { Err(DataError::Empty { path: path.to_owned() }) } else { Ok(records) }
}

fn distinct(images: &[Vec<PathBuf>]) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    images.iter().flatten().filter(|image| seen.insert(*image)).cloned().collect()
}

fn problem_key<'a>(question: &str, digests: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(question);
    digests.for_each(|digest| hasher.update(digest));
    let digest: [u8; 32] = hasher.finalize().into();
    u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

#[cfg(test)]
mod tests;
