//! Importing published data sets: their own files become problem files and step-labelled solutions of this project.
//!
//! A source is Parquet (Hugging Face's form, with images inside; feature `parquet`), a JSON array, JSON Lines or CSV; images that are not
//! beside it may be in zip archives, which are given as sources too. What each set's
//! columns mean is in [`sets`]; images are written once each, named by a hash of their content. Nothing is dropped silently: rows
//! that cannot be used are counted by reason.
//!
//! ```
//! use mmprm::data::import::{ImportOptions, import};
//! use mmprm::data::problem::Problems;
//! let folder = tempfile::tempdir()?;
//! let source = folder.path().join("test.jsonl");
//! std::fs::write(&source, r#"{"question": "How many are 3 and 4?", "answer": "3 + 4 = 7\n#### 7"}"#)?;
//! let output = folder.path().join("gsm8k");
//! let summary = import(&[source], &output, &ImportOptions::default(), &mut |_| true)?;
//! assert_eq!((summary.set, summary.records), ("gsm8k", 1));
//! assert_eq!(Problems::load(&output.join("problems.json"), None)?.items[0].answer, "7");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod archive;
mod builder;
mod error;
mod images;
#[cfg(feature = "parquet")]
mod parquet;
pub(in crate::data) mod row;
pub mod sets;
pub(in crate::data) mod source;
mod steps;

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use mmprm_quant::atomic::AtomicFile;
use serde_json::{Map, Value};

pub use builder::Mapping;
pub use error::ImportError;
pub use row::Row;

use crate::util::io::FileError;
use archive::{Archive, is_archive};
use builder::Dropped;
use images::ImageFolder;
use sets::Set;

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The set's name; recognised by its columns without one.
    pub set: Option<&'static Set>,
    /// For the set `json`: which column holds each field of a problem, as `(field, column)`.
    pub mapping: Mapping,
    /// Folder that image paths in the source are relative to and confined to; the source's own folder without it.
    pub image_root: Option<PathBuf>,
    /// Maximum number of rows to read.
    pub limit: Option<usize>,
    /// Replace the output of an earlier import.
    pub replaces: bool,
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ImportSummary {
    /// The set's name.
    pub set: &'static str,
    /// The file written: `problems.json`, or `solutions.json` for sets of step-labelled solutions.
    pub output: PathBuf,
    /// Rows read.
    pub rows: usize,
    /// Records written.
    pub records: usize,
    /// Records without an answer.
    pub without_answer: usize,
    /// Image files written; equal images are one file.
    pub images: usize,
    /// Rows left out, by reason.
    pub dropped: BTreeMap<&'static str, usize>,
    /// For each reason the first rows left out, by id or place, with what was found.
    pub examples: BTreeMap<&'static str, Vec<String>>,
}

/// Rows named for each reason.
const EXAMPLES: usize = 5;

/// Imports the files of a data set into the directory `output`. `on_row` is called after each row with the number of rows so far;
/// once it returns false, nothing is written and the import ends with [`ImportError::Cancelled`].
///
/// # Errors
/// [`ImportError`] for sources that cannot be read or are not of the set, and for outputs that cannot be written; single rows that
/// cannot be used are counted instead.
pub fn import(
    sources: &[PathBuf],
    output: &Path,
    options: &ImportOptions,
    on_row: &mut dyn FnMut(usize) -> bool,
) -> Result<ImportSummary, ImportError> {
    let (archives, tables): (Vec<&PathBuf>, Vec<&PathBuf>) = sources.iter().partition(|path| is_archive(path));
    let mut set = options.set;
    let mut importing: Option<Importing> = None;
    let mut rows = 0;
    let mut unseen: HashSet<&str> = options.mapping.iter().map(|(_, column)| column.as_str()).collect();
    for path in tables {
        let root = options.image_root.clone().unwrap_or_else(|| path.parent().unwrap_or(Path::new("")).to_owned());
        source::read(path, &mut |place, row| {
            if options.limit.is_some_and(|limit| rows >= limit) {
                return Ok(false);
            }
            let known = match set {
                Some(known) => known,
                None => *set.insert(Set::of_columns(&row).ok_or_else(|| ImportError::unknown(path, &row))?),
            };
            let one = match &mut importing {
                Some(one) => one,
                none => {
                    let archives = archives.iter().map(|path| Archive::open(path)).collect::<Result<_, _>>()?;
                    none.insert(Importing::start(known, output, sources, archives, options.replaces)?)
                }
            };
            unseen.retain(|column| !row.has(column));
            one.add(&place, row, &root, options)?;
            rows += 1;
            if on_row(rows) { Ok(true) } else { Err(ImportError::Cancelled) }
        })?;
    }
    let importing = importing.ok_or_else(|| ImportError::Empty { paths: sources.to_vec() })?;
    if let Some(column) = unseen.into_iter().min() {
        return Err(ImportError::NoColumn { paths: sources.to_vec(), column: column.to_owned() });
    }
    importing.finish(rows)
}

/// An import under way.
struct Importing {
    set: &'static Set,
    output: PathBuf,
    file: AtomicFile,
    images: ImageFolder,
    ids: HashSet<String>,
    records: usize,
    without_answer: usize,
    dropped: BTreeMap<&'static str, usize>,
    examples: BTreeMap<&'static str, Vec<String>>,
}

impl Importing {
    fn start(
        set: &'static Set,
        directory: &Path,
        sources: &[PathBuf],
        archives: Vec<Archive>,
        replaces: bool,
    ) -> Result<Self, ImportError> {
        let output = directory.join(if set.has_steps { "solutions.json" } else { "problems.json" });
        if let Ok(existing) = output.canonicalize() {
            let is_source = sources.iter().any(|source| source.canonicalize().is_ok_and(|source| source == existing));
            if is_source || !replaces {
                return Err(ImportError::Exists { path: output, is_source });
            }
        }
        std::fs::create_dir_all(directory).map_err(FileError::writing(directory))?;
        let mut file = AtomicFile::create(&output).map_err(FileError::writing(&output))?;
        file.write_all(b"[").map_err(FileError::writing(&output))?;
        Ok(Self {
            set,
            images: ImageFolder::new(directory.join("images"), archives),
            output,
            file,
            ids: HashSet::new(),
            records: 0,
            without_answer: 0,
            dropped: BTreeMap::new(),
            examples: BTreeMap::new(),
        })
    }

    fn add(&mut self, place: &str, row: Row, root: &Path, options: &ImportOptions) -> Result<(), ImportError> {
        let name = row.id().map_or_else(|| place.to_owned(), |id| format!("{place} (id {id})"));
        let made = (self.set.map)(row, &options.mapping).and_then(|imported| {
            let paths =
                imported.images.iter().map(|image| self.images.store(image, root)).collect::<Result<Vec<_>, _>>()?;
            let mut record = imported.record;
            match &paths[..] {
                [] => {}
                [one] => drop(record.insert("image_path".into(), one.as_str().into())),
                several => drop(record.insert("image_paths".into(), several.into())),
            }
            let own = record.get("id").map(ToString::to_string);
            if own.is_some_and(|id| !self.ids.insert(id)) {
                return Err(Dropped::Row("duplicate id", String::new()));
            }
            Ok(record)
        });
        match made {
            Ok(record) => self.write(&record),
            Err(Dropped::Row(reason, found)) => {
                *self.dropped.entry(reason).or_default() += 1;
                let examples = self.examples.entry(reason).or_default();
                if examples.len() < EXAMPLES {
                    examples.push(if found.is_empty() { name } else { format!("{name}: {found}") });
                }
                Ok(())
            }
            Err(Dropped::Failed(error)) => Err(error.into()),
        }
    }

    fn write(&mut self, record: &Map<String, Value>) -> Result<(), ImportError> {
        if ["correct_answer", "answer"].iter().all(|name| record.get(*name).is_none_or(Value::is_null)) {
            self.without_answer += 1;
        }
        let separator = if self.records == 0 { "\n" } else { ",\n" };
        let text = format!("{separator}{}", Value::Object(record.clone()));
        self.file.write_all(text.as_bytes()).map_err(FileError::writing(&self.output))?;
        self.records += 1;
        Ok(())
    }

    fn finish(mut self, rows: usize) -> Result<ImportSummary, ImportError> {
        if self.records == 0 {
            let reason = |(reason, count): (&&str, &usize)| format!("{reason} ({count})");
            let reasons = self.dropped.iter().map(reason).collect::<Vec<_>>().join(", ");
            return Err(ImportError::NoRecords { rows, reasons });
        }
        let written = self.file.write_all(b"\n]\n").and_then(|()| self.file.commit());
        written.map_err(FileError::writing(&self.output))?;
        Ok(ImportSummary {
            set: self.set.name,
            output: self.output,
            rows,
            records: self.records,
            without_answer: self.without_answer,
            images: self.images.written(),
            dropped: self.dropped,
            examples: self.examples,
        })
    }
}
