//! Training files → samples: token ids, images, and the targets to learn.
//!
//! A file is JSON Lines. For [`SampleKind::Prm`] its records are MM-PRM training samples as `mmprm samples` writes them,
//! optionally with `weights`, one for each label; [`SampleKind::Steps`] reads the same records. For [`SampleKind::Ranking`] and
//! [`SampleKind::Outcome`] they are the candidates of a problem (`mmprm samples --ranking`). For [`SampleKind::Policy`] they are conversations with a text as the
//! `gpt` turn, or `{question, image, previous, solution: [steps…, answer]}`,
//! optionally with `image_tokens`: for each image token the pieces of the vocabulary that are printed where it looks, which it learns
//! to output, so that a model learns to read from random weights. Any defect of a record is an error with its
//! file, line and id; no record is skipped or replaced, but for samples that [`Length::truncate`] leaves nothing of, which are counted. [`super::pack`] makes batches of samples, [`super::features`]
//! encodes images.
//!
//! ```
//! use mmprm::image::Tiling;
//! use mmprm::prompt::Run;
//! use mmprm::train::data::{Dataset, DatasetOptions, Length, SampleKind, TargetValue, Tokenizer, TokenizerError};
//! struct Letters; // a token for each character, special tokens from 256
//! impl Tokenizer for Letters {
//!     fn encode(&self, run: &Run, _: bool) -> Result<Vec<u32>, TokenizerError> {
//!         Ok(run.text().replace("<prm>", "\u{100}").chars().map(|letter| letter as u32).collect())
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
//! let options = DatasetOptions {
//!     kind: SampleKind::Prm,
//!     form: None,
//!     tiling: Some(Tiling { size: 448, min_tiles: 1, max_tiles: 6, thumbnail: true }),
//!     tokens_per_tile: 256,
//!     length: Length { tokens: 4096, truncate: false },
//!     token_labels: false,
//!     image_token_weight: 1.0,
//!     reference_special_tokens: false,
//! };
//! let data = Dataset::read(&file, folder.path(), &Letters, &options).unwrap();
//! let target = data.samples[0].targets[0];
//! assert_eq!((data.samples[0].tokens[target.row], target.value), (256, TargetValue::Label(0.25)));
//! ```

mod encode;
mod error;
mod images;
mod record;
mod sample;
mod tokenizer;
mod writer;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use mmprm_quant::read;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

pub use encode::Length;
pub use error::{DataError, SampleError, TokenizerError};
pub use images::Image;
pub use record::{SampleKind, SolutionForms};
pub use sample::{Placed, Prefix, Sample, Target, TargetValue};
pub use tokenizer::{SpecialTokens, StepTokens, Tokenizer};

use crate::image::{self, ImageError, Tiling};
use crate::prompt::{PrmForm, PrmTemplate};
use crate::util::io::FileError;
use encode::Encoder;
use images::Images;
use record::Record;

/// Maximum bytes of a line.
const MAX_LINE: u64 = 64 << 20;

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DatasetOptions<'a> {
    /// The kind of its samples.
    pub kind: SampleKind,
    /// The form of a PRM that is not MM-PRM's.
    pub form: Option<&'a PrmForm>,
    /// How images are cut into tiles; `None` for a text model.
    pub tiling: Option<Tiling>,
    /// Context tokens of a tile.
    pub tokens_per_tile: usize,
    /// The length limit of samples.
    pub length: Length,
    /// Puts a step's label at each of its tokens instead of its end alone.
    pub token_labels: bool,
    /// Weight of what each image token learns (`image_tokens` of a policy's record) against a token of the text.
    pub image_token_weight: f32,
    /// Recognises special tokens in questions and solutions, as MM-PRM's code does; otherwise they are text there.
    pub reference_special_tokens: bool,
}

/// The samples of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Samples in the file's order.
    pub samples: Vec<Sample>,
    /// The number of samples left out because nothing to learn is within the length limit.
    pub left_out: usize,
    /// Their distinct images.
    pub images: Vec<Image>,
    /// Ids of the special tokens.
    pub special: SpecialTokens,
}

impl Dataset {
    /// Reads a file. Image paths are relative to `root` and may not leave it.
    ///
    /// # Errors
    /// [`DataError`] for the first record that cannot be used.
    ///
    /// # Panics
    /// Never: every image of a sample is read before.
    pub fn read(
        path: &Path,
        root: &Path,
        tokenizer: &dyn Tokenizer,
        options: &DatasetOptions<'_>,
    ) -> Result<Self, DataError> {
        let is_prm = options.kind == SampleKind::Prm;
        let form = is_prm.then(|| options.form.unwrap_or_else(|| PrmTemplate::Training.form()));
        let special = SpecialTokens::find(tokenizer, form, options.tiling.is_some())?;
        let records = read_records(path)?;
        let source = Source { path, root };
        let images = |record| source.images(record, options.tiling.is_some());
        let images: Vec<Vec<PathBuf>> = records.iter().map(images).collect::<Result<_, _>>()?;
        let read = |tiling| Images::read(&distinct(&images), tiling);
        let (loaded, mut failed) = options.tiling.as_ref().map_or_else(Default::default, read);
        for (numbered, images) in records.iter().zip(&images) {
            if let Some(error) = images.iter().find_map(|image| failed.remove(image)) {
                return Err(source.image(numbered, error));
            }
        }
        let encoder = Encoder {
            tokenizer,
            special,
            tokens_per_tile: options.tokens_per_tile,
            length: options.length,
            token_labels: options.token_labels,
            image_token_weight: options.image_token_weight,
            reference_special_tokens: options.reference_special_tokens,
        };
        let (left_out, first_left_out) = (AtomicUsize::new(0), Mutex::new(None));
        let samples: Vec<Vec<Option<Sample>>> = records
            .par_iter()
            .zip(&images)
            .map(|(numbered, images)| {
                let index = |image: &PathBuf| loaded.index(image).expect("every image was read");
                let shown: Vec<usize> = images.iter().map(index).collect();
                let tiles: Vec<_> = shown.iter().map(|&index| (index, loaded.all[index].tiles)).collect();
                let (line, record) = numbered;
                let texts = record.texts(options.kind, images.len(), options.form);
                let digests = shown.iter().map(|&index| loaded.all[index].digest.as_slice());
                let sample = |text: record::Text| {
                    let problem = problem_key(&text.question, digests.clone());
                    match encoder.sample(&text, &tiles, record.id.to_string(), problem) {
                        // Only samples that may be cut at all end so.
                        Err(error @ (SampleError::CutImage { .. } | SampleError::CutTargets { .. })) => {
                            left_out.fetch_add(1, Ordering::Relaxed);
                            let mut first = first_left_out.lock().unwrap_or_else(PoisonError::into_inner);
                            if first.as_ref().is_none_or(|(known, _)| known > line) {
                                *first = Some((*line, source.sample(*line, record, error)));
                            }
                            Ok(None)
                        }
                        sample => sample.map(Some),
                    }
                };
                let samples = texts.and_then(|texts| texts.into_iter().map(sample).collect::<Result<Vec<_>, _>>());
                samples.map_err(|error| source.sample(*line, record, error))
            })
            .collect::<Result<_, _>>()?;
        let samples: Vec<Sample> = samples.into_iter().flatten().flatten().collect();
        let first = first_left_out.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let (true, Some((_, error))) = (samples.is_empty(), first) {
            return Err(error);
        }
        Ok(Self { samples, left_out: left_out.into_inner(), images: loaded.all, special })
    }

    /// Replaces labels by 1 where `is_right` accepts them, and others by 0.
    pub fn harden(&mut self, is_right: impl Fn(f32) -> bool) {
        for target in self.samples.iter_mut().flat_map(|sample| &mut sample.targets) {
            if let TargetValue::Label(label) = &mut target.value {
                *label = f32::from(u8::from(is_right(*label)));
            }
        }
        for prefix in self.samples.iter_mut().flat_map(|sample| &mut sample.prefixes) {
            prefix.label = f32::from(u8::from(is_right(prefix.label)));
        }
    }

    /// Removes labels that are not at the ends of steps.
    pub fn steps_only(samples: &mut [Sample], special: SpecialTokens) {
        // Without a mark, all are where scores are read.
        let Some(mark) = special.steps.and_then(|steps| steps.mark) else { return };
        for Sample { tokens, targets, .. } in samples {
            targets.retain(|target| matches!(target.value, TargetValue::Token(_)) || tokens[target.row] == mark);
        }
    }

    /// Adds the images of another data set to this one's and returns its samples, referring to them.
    pub fn adopt(&mut self, other: Self) -> Vec<Sample> {
        let mut place = |image: Image| {
            let known = self.images.iter().position(|known| known.digest == image.digest);
            known.unwrap_or_else(|| {
                self.images.push(image);
                self.images.len() - 1
            })
        };
        self.left_out += other.left_out;
        let places: Vec<usize> = other.images.into_iter().map(&mut place).collect();
        let mut samples = other.samples;
        samples.iter_mut().flat_map(|sample| &mut sample.images).for_each(|placed| placed.image = places[placed.image]);
        samples
    }

    /// The same images and special tokens without samples.
    #[must_use]
    pub fn without_samples(&self) -> Self {
        Self { samples: Vec::new(), left_out: 0, images: self.images.clone(), special: self.special }
    }
}

/// The file of the records and the root of their images.
struct Source<'a> {
    path: &'a Path,
    root: &'a Path,
}

type Numbered = (usize, Record);

impl Source<'_> {
    fn sample(&self, line: usize, record: &Record, error: SampleError) -> DataError {
        DataError::Sample { path: self.path.to_owned(), line, id: record.id.to_string(), source: Box::new(error) }
    }

    fn image(&self, (line, record): &Numbered, error: ImageError) -> DataError {
        let (path, id) = (self.path.to_owned(), record.id.to_string());
        DataError::Image { path, line: *line, id, source: Box::new(error) }
    }

    /// Paths of a record's images; a text model `reads_images` not.
    fn images(&self, numbered: &Numbered, reads_images: bool) -> Result<Vec<PathBuf>, DataError> {
        let (line, record) = numbered;
        let names = record.images().map_err(|error| self.sample(*line, record, error))?;
        if !reads_images && !names.is_empty() {
            return Err(self.sample(*line, record, SampleError::TextModel));
        }
        let resolve = |name: &String| image::resolve(self.root, name).map_err(|error| self.image(numbered, error));
        names.iter().map(resolve).collect()
    }
}

fn read_records(path: &Path) -> Result<Vec<Numbered>, DataError> {
    let fail = FileError::reading(path);
    let mut reader = BufReader::new(read::open(path).map_err(&fail)?);
    let (mut records, mut line, mut number) = (Vec::new(), Vec::new(), 0);
    loop {
        line.clear();
        let length = reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line).map_err(&fail)?;
        if length == 0 {
            break;
        }
        number += 1;
        if length as u64 > MAX_LINE {
            return Err(DataError::LongLine { path: path.to_owned(), line: number, limit: MAX_LINE });
        }
        let text = if number == 1 { read::without_bom(&line) } else { &line[..] };
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let wrong = |source| DataError::Line { path: path.to_owned(), line: number, source };
        let record = serde_json::from_slice(text).map_err(wrong)?;
        records.push((number, record));
    }
    if records.is_empty() { Err(DataError::Empty { path: path.to_owned() }) } else { Ok(records) }
}

fn distinct(images: &[Vec<PathBuf>]) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    images.iter().flatten().filter(|image| seen.insert(*image)).cloned().collect()
}

/// Hash of a problem's question and images.
fn problem_key<'a>(question: &str, digests: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(question);
    digests.for_each(|digest| hasher.update(digest));
    let digest: [u8; 32] = hasher.finalize().into();
    u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

#[cfg(test)]
mod tests;
