//! Model files as they are named on the command line: what is said of one that cannot be right, before anything is loaded.
//!
//! A directory is refused with the command that makes a GGUF file of it, or with the files in it. Records with images need a
//! vision projector, and the one that lies beside the model is named.

use std::path::{Path, PathBuf};

use mmprm_quant::adapter::is_adapter;
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::quantize::QuantType;

use crate::exit::{BadInput, Usage};

/// Number of files that a message names.
const SHOWN: usize = 5;

/// Refuses a directory in the place of a model's GGUF file; other files are looked at when they are opened.
pub fn check(path: &Path) -> anyhow::Result<()> {
    if !path.is_dir() {
        return Ok(());
    }
    let directory = quoted(path);
    let advice = if is_adapter(path) {
        format!(
            "an adapter's; convert it first: mmprm convert {directory} --base HF_DIR -o models, and give it with --lora"
        )
    } else if path.join("config.json").is_file() {
        format!("convert it first: mmprm convert {directory} -o models")
    } else {
        match &ggufs(path)[..] {
            [] => "expected a GGUF file, and none is in it".to_owned(),
            files => format!("expected a GGUF file, and in it {}", listed(files)),
        }
    };
    let separator = if advice.starts_with("an adapter's") { ", " } else { "; " };
    Err(BadInput(format!("{} is a directory{separator}{advice}", path.display())).into())
}

/// `is X` or `are X, Y and 3 others`.
fn listed(files: &[PathBuf]) -> String {
    let shown: Vec<String> = files.iter().take(SHOWN).map(|file| file.display().to_string()).collect();
    match files.len() {
        1 => format!("is {}", shown[0]),
        count if count > SHOWN => format!("are {} and {} others", shown.join(", "), count - SHOWN),
        _ => format!("are {}", shown.join(", ")),
    }
}

/// The GGUF files of a directory by name; none of one that cannot be read.
pub fn ggufs(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_gguf = |path: &PathBuf| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    let mut files: Vec<PathBuf> = entries.filter(|path| is_gguf(path) && path.is_file()).collect();
    files.sort();
    files
}

/// A path as a shell reads it, quoted where it has to be.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@=~".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// The folders in which the source tree is looked for, and above which: that of this program and the working directory.
pub fn places() -> Vec<PathBuf> {
    let program = std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    program.into_iter().chain(std::env::current_dir().ok()).collect()
}

/// The directory `demo` of the source tree, with its models.
pub fn demo() -> Option<PathBuf> {
    let places = places();
    let mut above = places.iter().flat_map(|place| place.ancestors());
    above.find_map(|folder| Some(folder.join("demo")).filter(|demo| demo.join("models/prm-q8_0.gguf").is_file()))
}

/// The records of a file that have images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithImages {
    count: usize,
    of: usize,
    first: String,
}

impl WithImages {
    /// Counts records by whether they have images; `name` names one. `None` if none has.
    pub fn count<T>(
        records: &[T],
        has_images: impl Fn(&T) -> bool,
        name: impl Fn(usize, &T) -> String,
    ) -> Option<Self> {
        let mut with = records.iter().enumerate().filter(|(_, record)| has_images(record));
        let (index, first) = with.next()?;
        Some(Self { count: 1 + with.count(), of: records.len(), first: name(index, first) })
    }
}

/// Refuses a model without a vision projector for records with images, read from `file`.
pub fn check_projector(
    model: &Path,
    mmproj: Option<&Path>,
    file: &Path,
    with_images: Option<WithImages>,
) -> anyhow::Result<()> {
    check_projector_flag("--mmproj", model, mmproj, file, with_images)
}

/// As [`check_projector`], for a projector that `flag` names.
pub fn check_projector_flag(
    flag: &str,
    model: &Path,
    mmproj: Option<&Path>,
    file: &Path,
    with_images: Option<WithImages>,
) -> anyhow::Result<()> {
    let (None, Some(WithImages { count, of, first })) = (mmproj, with_images) else { return Ok(()) };
    // What is no language model is refused as such by its loader.
    let outline = GgufFile::open_outline(model);
    if !outline.is_ok_and(|outline| outline.get_str("general.architecture").is_ok_and(|name| name != "clip")) {
        return Ok(());
    }
    let advice = match projector_beside(model) {
        Some(found) => format!("its vision projector seems to be {}", quoted(&found)),
        None => "its vision projector usually lies beside it as mmproj-….gguf".to_owned(),
    };
    let have = if count == 1 { "has" } else { "have" };
    Err(Usage(format!(
        "{}: {count} of {of} problems {have} images (the first is {first}), so {} needs {flag}; {advice}",
        file.display(),
        model.display(),
    ))
    .into())
}

/// The file `mmproj-NAME….gguf` beside a model `NAME….gguf`, names without their quantisation types compared: with the same
/// type if there is one, else the first by name.
pub fn projector_beside(model: &Path) -> Option<PathBuf> {
    let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (name, quant_type) = name_and_type(model, "")?;
    let mut found: Vec<(PathBuf, Option<QuantType>)> = Vec::new();
    for file in ggufs(folder) {
        let matching = name_and_type(&file, "mmproj").filter(|(other, _)| *other == name);
        // A model in the working directory is named without a folder, and so is its projector.
        let short = if model.parent() == Some(Path::new("")) { PathBuf::from(file.file_name()?) } else { file };
        found.extend(matching.map(|(_, quant_type)| (short, quant_type)));
    }
    let same = found.iter().position(|(_, other)| *other == quant_type).unwrap_or(0);
    found.into_iter().nth(same).map(|(file, _)| file)
}

/// A file's name after `prefix`, without extension and quantisation type, in lower case; and the type.
fn name_and_type(path: &Path, prefix: &str) -> Option<(String, Option<QuantType>)> {
    let stem = path.file_stem()?.to_str()?.to_ascii_lowercase();
    let stem = stem.strip_prefix(prefix)?.trim_start_matches(['-', '_', '.']);
    let split = stem.rsplit_once(['-', '.']).and_then(|(name, end)| Some((name, QuantType::from_name(end)?)));
    let (name, quant_type) = split.map_or((stem, None), |(name, quant_type)| (name, Some(quant_type)));
    (!name.is_empty()).then(|| (name.to_owned(), quant_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projector_beside_a_model_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a-q8_0.gguf", "mmproj-a-f16.gguf", "mmproj-a-q8_0.gguf", "mmproj-b-f16.gguf", "mmproj.gguf"] {
            std::fs::write(path(name), "").unwrap();
        }
        assert_eq!(projector_beside(&path("a-q8_0.gguf")), Some(path("mmproj-a-q8_0.gguf")));
        assert_eq!(projector_beside(&path("a-Q4_K_M.gguf")), Some(path("mmproj-a-f16.gguf")));
        assert_eq!(projector_beside(&path("b.gguf")), Some(path("mmproj-b-f16.gguf")));
        assert_eq!(projector_beside(&path("c-q8_0.gguf")), None);
        assert_eq!(projector_beside(Path::new("nowhere.gguf")), None);
    }

    #[test]
    fn paths_are_quoted_for_a_shell() {
        assert_eq!(quoted(Path::new("models/a-f16.gguf")), "models/a-f16.gguf");
        assert_eq!(quoted(Path::new("it's mine")), "'it'\\''s mine'");
    }
}
