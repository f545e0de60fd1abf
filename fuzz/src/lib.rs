//! What each fuzz target does with its input: reads it as one kind of file, as strangers' files are
//! read, and uses what was read. An error is a fine answer; a panic, a crash or a broken promise is
//! not. libFuzzer calls these functions from `targets`, and `tests/fuzz_corpus.rs` of the library
//! replays the stored inputs through them without it.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;

use mmprm::answer::{AnswerSpec, Outcome, Rule, compare};
use mmprm::data::samples::{Paths, every_rollout};
use mmprm::data::tree::json;
use mmprm::data::{Problem, Problems};
use mmprm::image::{Limits, Tiling};
use mmprm::util::journal::Journal;
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::progress::no_progress;
use mmprm_quant::{Checkpoint, check, inspect};
use tempfile::TempDir;

/// A function that reads one input.
pub type Target = fn(&[u8]);

/// All targets by name; the name is also that of the corpus.
pub const TARGETS: [(&str, Target); 7] = [
    ("answer", answer),
    ("gguf", gguf),
    ("image", image),
    ("journal", journal),
    ("problem", problem),
    ("safetensors", safetensors),
    ("tree", tree),
];

/// Compares two texts, separated by a zero byte, by every rule; no text differs from itself.
pub fn answer(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (gold, prediction) = text.split_once('\0').unwrap_or((&text, &text));
    let free = AnswerSpec::default();
    let choices = AnswerSpec { choices: vec![gold.to_owned(), "12 cm".into(), "no".into()], ..AnswerSpec::default() };
    for rule in [Rule::General, Rule::MathVista, Rule::MathVision] {
        rule.compare(gold, prediction, &free);
        rule.compare(gold, prediction, &choices);
    }
    let itself = compare(gold, gold, &free);
    // A text without an answer may differ from itself.
    let empty = itself.reason == "the prediction contains no answer";
    assert!(empty || itself.outcome != Outcome::Different, "{gold:?} differs from itself: {}", itself.reason);
}

/// Opens a GGUF file in full and in outline, which agree, and checks it as a model of each kind.
pub fn gguf(bytes: &[u8]) {
    with_file("model.gguf", bytes, |path| {
        let outline = GgufFile::open_outline(path);
        let file = GgufFile::open(path);
        assert_eq!(outline.is_ok(), file.is_ok(), "{outline:?} {file:?}");
        let (Ok(outline), Ok(file)) = (outline, file) else { return };
        assert_eq!(inspect::summary(&outline), inspect::summary(&file));
        for ((key, cut), (other, value)) in outline.metadata().iter().zip(file.metadata()) {
            assert_eq!(key, other);
            assert!(!cut.to_string().is_empty() || value.to_string().is_empty(), "{key}");
        }
        inspect::content_hash(&file, &mut no_progress).expect("a file that was opened is read");
        shown(check::language(&file));
        shown(check::vision(&file));
        shown(check::adapter(&file, &file));
    });
}

/// Opens a safetensors file and reads all tensors.
pub fn safetensors(bytes: &[u8]) {
    with_file("model.safetensors", bytes, |path| {
        let Some(checkpoint) = shown(Checkpoint::open_file(path)) else { return };
        for name in checkpoint.names() {
            let tensor = checkpoint.get(name).expect("a listed tensor is found");
            let elements = if tensor.shape.contains(&0) { 0 } else { tensor.shape.iter().product::<usize>() };
            assert_eq!(checkpoint.data(tensor).len() * 8, elements * tensor.dtype.bits(), "{name}");
        }
    });
}

/// Decodes an image within small limits, and cuts it into tiles.
pub fn image(bytes: &[u8]) {
    let limits = Limits { max_side: 512, max_pixels: 1 << 16, max_file_bytes: 1 << 20 };
    with_file("image", bytes, |path| {
        let Some(image) = shown(mmprm::image::load(path, &limits)) else { return };
        assert_eq!(image.data.len(), image.width * image.height * 3);
        assert!(image.width * image.height <= 1 << 16);
        let tiling = Tiling::new(28, 1, 4, true).expect("a sound tiling");
        assert!((1..=5).contains(&mmprm::image::tiles(&image, &tiling).len()));
    });
}

/// Reads a problem file; each problem is the same when read again from its record.
pub fn problem(bytes: &[u8]) {
    with_file("problems.json", bytes, |path| {
        let Some(problems) = shown(Problems::load(path, None)) else { return };
        for problem in &problems.items {
            AnswerSpec::from_record(&problem.record);
            let line = serde_json::Value::Object(problem.record.clone()).to_string();
            let again = with_file("problem.jsonl", line.as_bytes(), |path| Problems::load(path, None));
            let again = again.expect("a record that was read is read again");
            assert_eq!(texts(&again.items[0]), texts(problem));
        }
    });
}

/// Reads a tree; its text reads as the same tree, and samples are made from it.
pub fn tree(bytes: &[u8]) {
    let Some(tree) = shown(json::parse(bytes, "tree.json")) else { return };
    let text = json::to_string(&tree);
    let again = json::parse(text.as_bytes(), "tree.json").expect("a written tree is read");
    assert_eq!(json::to_string(&again), text);
    every_rollout(&tree);
    Paths::of(&tree).sampled(0);
}

/// Opens a journal whose records are the input, and appends one; what was found stays.
pub fn journal(bytes: &[u8]) {
    with_folder(|folder| {
        let (artefact, settings) = (folder.join("scored.json"), serde_json::json!({"seed": 1}));
        let path = folder.join("scored.json.journal");
        // The input alone: not a journal, unless it has the header.
        fs::write(&path, bytes).expect("the folder is writable");
        shown(Journal::check(&artefact, &settings));
        shown(Journal::open(&artefact, &settings).map(drop));
        fs::remove_file(&path).expect("the journal is ours");
        // The input after the header.
        drop(Journal::open(&artefact, &settings).expect("a new journal"));
        let mut file = fs::read(&path).expect("a new journal");
        file.extend_from_slice(bytes);
        fs::write(&path, file).expect("the folder is writable");
        let (mut journal, first) = Journal::open(&artefact, &settings).expect("a journal with its header");
        let piece = serde_json::json!({"problem": 7});
        journal.append(&piece).expect("a journal that was opened");
        drop(journal);
        let (journal, second) = Journal::open(&artefact, &settings).expect("the same journal");
        assert_eq!(second.damaged, 0);
        assert_eq!(second.pieces, [first.pieces, vec![piece]].concat());
        journal.remove().expect("the journal is ours");
        let set_aside = folder.join("scored.json.journal.damaged");
        if set_aside.exists() {
            fs::remove_file(set_aside).expect("the folder is writable");
        }
    });
}

/// Returns what was read, or formats the error as the command line does.
fn shown<T, E: std::fmt::Display>(result: Result<T, E>) -> Option<T> {
    result.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

/// The parts of a problem that do not depend on its place in the file.
fn texts(problem: &Problem) -> (&str, &[String]) {
    (&problem.question, &problem.images)
}

/// Calls `use_it` with the path of a file with these bytes.
fn with_file<T>(name: &str, bytes: &[u8], use_it: impl FnOnce(&Path) -> T) -> T {
    with_folder(|folder| {
        let path = folder.join(name);
        fs::write(&path, bytes).expect("the folder is writable");
        use_it(&path)
    })
}

/// Calls `use_it` with a folder of this thread; in memory where the system has such a place.
fn with_folder<T>(use_it: impl FnOnce(&Path) -> T) -> T {
    thread_local! {
        static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
    }
    FOLDER.with(|folder| {
        use_it(
            folder
                .get_or_init(|| {
                    let memory = Path::new("/dev/shm");
                    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
                    folder.expect("a temporary folder")
                })
                .path(),
        )
    })
}
