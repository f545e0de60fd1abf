//! Dividing a file into parts, such as training and test problems.
//!
//! Every record is in one part. Records of one problem stay together: equal questions with images that look alike, records that show
//! the same image file, and records of one id. The draw is seeded, and stratified by a field if wanted: each part then has the field's
//! values in the proportions of the whole file, as nearly as whole numbers allow.
//!
//! ```
//! use mmprm::data::records::Records;
//! use mmprm::dataset::split::{SplitOptions, split};
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("problems.jsonl");
//! let lines: String = (0..10).map(|n| format!("{{\"question\": \"{n} + 1?\", \"answer\": \"{}\"}}\n", n + 1)).collect();
//! std::fs::write(&path, lines)?;
//! let options = SplitOptions { parts: vec!["train=0.8".parse()?, "test=rest".parse()?], ..SplitOptions::default() };
//! let summary = split(&Records::load(&path, None)?, &path, &folder.path().join("parts"), &options)?;
//! assert_eq!((summary.parts[0].records, summary.parts[1].records), (8, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use mmprm_quant::atomic;

use super::images::{Facts, facts};
use super::output::{self, ImageCarrier, OutputError};
use super::similar::{Key, Seen};
use crate::data::fields::group;
use crate::data::records::{Item, RecordKind, Records};
use crate::util::random::{CounterStream, mix};

/// The size of a part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// A fraction of all records, 0 to 1.
    Fraction(f64),
    /// A number of records.
    Count(usize),
    /// All other records.
    Rest,
}

/// A part by its name and size, as `train=0.8`, `test=500` or `train=rest`.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its name, of which the file's name is made.
    pub name: String,
    /// Its size.
    pub size: Size,
}

/// A text that is not the name and size of a part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected NAME=SIZE, where SIZE is a fraction such as 0.8, a number of records, or rest; found `{0}`")]
pub struct UnknownPart(String);

impl FromStr for Part {
    type Err = UnknownPart;

    fn from_str(text: &str) -> Result<Self, UnknownPart> {
        let unknown = || UnknownPart(text.to_owned());
        let (name, size) = text.split_once('=').ok_or_else(unknown)?;
        let is_sign = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        let size = match size {
            "rest" => Size::Rest,
            size if size.contains('.') => Size::Fraction(
                size.parse().ok().filter(|size| (f64::EPSILON..=1.0).contains(size)).ok_or_else(unknown)?,
            ),
            size => Size::Count(size.parse().ok().filter(|size| *size > 0).ok_or_else(unknown)?),
        };
        if name.is_empty() || !name.chars().all(is_sign) {
            return Err(unknown());
        }
        Ok(Self { name: name.to_owned(), size })
    }
}

/// How to divide.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SplitOptions {
    /// The parts.
    pub parts: Vec<Part>,
    /// The field whose values each part has in the same proportions.
    pub by: Option<String>,
    /// Seed of the draw.
    pub seed: u64,
    /// Replace the parts of an earlier split.
    pub replaces: bool,
}

/// What was divided.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SplitSummary {
    /// Records of the file.
    pub records: usize,
    /// Groups of records that were kept together.
    pub tied_groups: usize,
    /// Records in these groups.
    pub tied_records: usize,
    /// Records in the largest of them.
    pub largest_group: usize,
    /// The parts.
    pub parts: Vec<PartSummary>,
}

/// A part that was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PartSummary {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// The size asked for.
    pub wanted: usize,
    /// Its records.
    pub records: usize,
    /// Its records by the value of the field.
    pub by: BTreeMap<String, usize>,
}

/// Why a file cannot be divided.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// The sizes do not fit each other or the file.
    #[error("{0}")]
    Sizes(String),
    /// No record has the field.
    #[error("no record has the field `{field}`")]
    NoField {
        /// The field.
        field: String,
    },
    /// A part cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Divides the records of the file `source` into parts, written to `folder`.
///
/// # Errors
/// [`SplitError`]; no part is written then.
pub fn split(
    records: &Records,
    source: &Path,
    folder: &Path,
    options: &SplitOptions,
) -> Result<SplitSummary, SplitError> {
    let items = &records.items;
    let wanted = sizes(&options.parts, items.len())?;
    if let Some(field) = options.by.as_ref().filter(|field| items.iter().all(|item| !item.record.contains_key(*field)))
    {
        return Err(SplitError::NoField { field: field.clone() });
    }
    let file = |part: &Part| folder.join(&part.name).with_extension(records.form.extension());
    let paths: Vec<PathBuf> = options.parts.iter().map(file).collect();
    output::check(&paths, &[source], options.replaces)?;

    let facts = facts(&records.root, items.iter().flat_map(|item| &item.images));
    let stratum = |item: &Item| options.by.as_ref().map_or_else(String::new, |field| group(&item.record, field));
    let groups = tied(records, &facts);
    let strata: Vec<String> = items.iter().map(stratum).collect();
    let placed = assign(&groups, &strata, &wanted, options.seed);

    let mut carrier = ImageCarrier::new(&records.root, folder);
    let (mut parts, mut files) = (Vec::new(), Vec::new());
    for (number, part) in options.parts.iter().enumerate() {
        let own = || (0..items.len()).filter(|index| placed[*index] == number);
        let written = own().map(|index| carrier.carry(&items[index])).collect::<Result<Vec<_>, _>>()?;
        files.push(output::written(&paths[number], records.form, &written)?);
        let mut by = BTreeMap::new();
        if options.by.is_some() {
            own().for_each(|index| *by.entry(strata[index].clone()).or_default() += 1);
        }
        let (name, path) = (part.name.clone(), paths[number].clone());
        parts.push(PartSummary { name, path, wanted: wanted[number], records: written.len(), by });
    }
    atomic::put_in_place(files).map_err(OutputError::Write)?;
    let tied: Vec<usize> = groups.iter().map(Vec::len).filter(|size| *size > 1).collect();
    Ok(SplitSummary {
        records: items.len(),
        tied_groups: tied.len(),
        tied_records: tied.iter().sum(),
        largest_group: tied.iter().copied().max().unwrap_or_default(),
        parts,
    })
}

/// The number of records of each part.
fn sizes(parts: &[Part], count: usize) -> Result<Vec<usize>, SplitError> {
    let wrong = |cause: String| Err(SplitError::Sizes(cause));
    let mut names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    names.sort_unstable();
    if let Some([name, ..]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        return wrong(format!("two parts are named `{name}`"));
    }
    let (mut fraction, mut counted, mut rests) = (0.0, 0, 0);
    let (mut fractions, mut counts) = (false, false);
    for part in parts {
        match part.size {
            Size::Fraction(size) => (fraction, fractions) = (fraction + size, true),
            Size::Count(size) => (counted, counts) = (counted + size, true),
            Size::Rest => rests += 1,
        }
    }
    if parts.len() < 2 {
        return wrong("expected at least two parts".to_owned());
    }
    if fractions && counts {
        return wrong("expected fractions or numbers of records, found both".to_owned());
    }
    if rests > 1 {
        return wrong("expected at most one part with the rest".to_owned());
    }
    if fractions && (rests == 0 && (fraction - 1.0).abs() > 1e-9 || fraction > 1.0 + 1e-9) {
        return wrong(format!("the fractions add up to {fraction}, expected 1"));
    }
    if counts && (counted > count || rests == 0 && counted != count) {
        let hint = if counted < count { "; give one part the rest" } else { "" };
        return wrong(format!("the parts have {counted} records together, but the file has {count}{hint}"));
    }
    let rest = if counts { (count - counted) as f64 } else { (1.0 - fraction) * count as f64 };
    let exact: Vec<f64> = parts
        .iter()
        .map(|part| match part.size {
            Size::Fraction(size) => size * count as f64,
            Size::Count(size) => size as f64,
            Size::Rest => rest,
        })
        .collect();
    // Whole numbers by the largest remainders; the tolerance keeps 0.1 * 10 at 1.
    let mut sizes: Vec<usize> = exact.iter().map(|size| (size + 1e-9) as usize).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|a, b| (exact[*b].fract()).total_cmp(&exact[*a].fract()));
    let missing = count - sizes.iter().sum::<usize>();
    order.iter().take(missing).for_each(|part| sizes[*part] += 1);
    if let Some(empty) = sizes.iter().position(|size| *size == 0) {
        return wrong(format!("of {count} records none would be in the part `{}`", parts[empty].name));
    }
    Ok(sizes)
}

/// Groups of records that have to stay together, by their indices, in the order of their first records.
fn tied(records: &Records, facts: &Facts) -> Vec<Vec<usize>> {
    let items = &records.items;
    let mut first: Vec<usize> = (0..items.len()).collect();
    let mut seen = Seen::default();
    let (mut by_image, mut by_id) = (HashMap::new(), HashMap::new());
    for (index, item) in items.iter().enumerate() {
        let mut others = Vec::new();
        let key = Key::new(item, facts);
        for image in &key.images {
            others.push(*by_image.entry(image.sha256).or_insert(index));
        }
        if records.kind == RecordKind::Candidates {
            others.push(*by_id.entry(&item.id).or_insert(index));
        }
        if !item.question.is_empty() {
            others.extend(seen.add(index, key));
        }
        for other in others {
            let (a, b) = (root_of(&mut first, index), root_of(&mut first, other));
            first[a.max(b)] = a.min(b);
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in 0..items.len() {
        groups.entry(root_of(&mut first, index)).or_default().push(index);
    }
    groups.into_values().collect()
}

/// The first record of a group, with the path to it shortened.
fn root_of(first: &mut [usize], mut index: usize) -> usize {
    while first[index] != index {
        first[index] = first[first[index]];
        index = first[index];
    }
    index
}

/// Assigns each record a part. Groups are placed stratum by stratum, each in the part that has the fewest records compared with its
/// share of those placed so far; tied groups come first, so that single records even out what they upset.
fn assign(groups: &[Vec<usize>], strata: &[String], wanted: &[usize], seed: u64) -> Vec<usize> {
    let total = strata.len() as f64;
    let draw = CounterStream::new(mix(seed));
    let mut order: Vec<&Vec<usize>> = groups.iter().collect();
    order.sort_by_key(|group| (&strata[group[0]], std::cmp::Reverse(group.len()), draw.bits(group[0] as u64)));
    let mut placed = vec![0; strata.len()];
    let mut sizes = vec![0_usize; wanted.len()];
    let mut count = 0;
    for group in &order {
        count += group.len();
        let deficit = |part: usize| wanted[part] as f64 * count as f64 / total - sizes[part] as f64;
        let part =
            (0..wanted.len()).reduce(|best, part| if deficit(part) > deficit(best) + 1e-9 { part } else { best });
        let part = part.unwrap_or_default();
        sizes[part] += group.len();
        group.iter().for_each(|index| placed[*index] = part);
    }
    even_out(&order, strata, wanted, &mut placed, &mut sizes);
    placed
}

/// Moves single records out of parts that tied groups made too large, from the stratum that such a part has most too many of.
fn even_out(order: &[&Vec<usize>], strata: &[String], wanted: &[usize], placed: &mut [usize], sizes: &mut [usize]) {
    let mut of_stratum: BTreeMap<&str, usize> = BTreeMap::new();
    for stratum in strata {
        *of_stratum.entry(stratum).or_default() += 1;
    }
    let singles: Vec<usize> = order.iter().filter(|group| group.len() == 1).map(|group| group[0]).collect();
    loop {
        let large = (0..sizes.len()).find(|part| sizes[*part] > wanted[*part]);
        let small = (0..sizes.len()).find(|part| sizes[*part] < wanted[*part]);
        let (Some(large), Some(small)) = (large, small) else { return };
        let excess = |index: usize| {
            let own =
                (0..strata.len()).filter(|other| placed[*other] == large && strata[*other] == strata[index]).count();
            own as f64 - wanted[large] as f64 * of_stratum[strata[index].as_str()] as f64 / strata.len() as f64
        };
        // One single record stands for its stratum.
        let mut candidates: BTreeMap<&str, usize> = BTreeMap::new();
        for index in singles.iter().filter(|index| placed[**index] == large) {
            candidates.insert(&strata[*index], *index);
        }
        let Some(moved) = candidates.into_values().max_by(|a, b| excess(*a).total_cmp(&excess(*b))) else { return };
        placed[moved] = small;
        sizes[large] -= 1;
        sizes[small] += 1;
    }
}
