//! Verdicts stored on disk, so that no question is asked twice.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{JudgeError, JudgeModel};
use crate::data::problem::Problem;
use crate::remote::reply::short;
use crate::util::io::FileError;
use crate::util::jsonl::{self, Hash, JsonLines};

/// Maximum length of a line in bytes. A verdict takes some hundreds.
const MAX_LINE: u64 = 1 << 16;

/// SHA-256 of the judge's identity, the question, the expected answer and the proposed one.
type Key = [u8; 32];

/// A question in flight: a second caller waits for the first one's verdict.
type Pending = Arc<OnceLock<Result<bool, JudgeError>>>;

/// A [`JudgeModel`] with an append-only JSON Lines file of verdicts, one per line, written before
/// the verdict is used. Judges of several identities and several processes may share a file.
/// Truncated or damaged lines are skipped.
pub struct CachedJudge<'a> {
    judge: Box<dyn JudgeModel + 'a>,
    identity: String,
    path: PathBuf,
    state: Mutex<State>,
    hits: AtomicU64,
    damaged: usize,
}

struct State {
    /// Opened for the first new verdict, so that a run without any creates no file.
    file: Option<JsonLines>,
    /// Whether the file's last line is truncated.
    torn: bool,
    known: HashMap<Key, bool>,
    pending: HashMap<Key, Pending>,
}

impl<'a> CachedJudge<'a> {
    /// Answers from the file at `path` where possible, else asks `judge`. The file and its
    /// directory are created for the first new verdict.
    ///
    /// # Errors
    /// [`JudgeError::Cache`] if the file cannot be read, [`JudgeError::NotACache`] if it holds
    /// something else than verdicts.
    pub fn open(judge: Box<dyn JudgeModel + 'a>, path: &Path) -> Result<Self, JudgeError> {
        let Lines { known, is_cache, torn, damaged } = read(path).map_err(failed)?;
        if !is_cache {
            return Err(JudgeError::NotACache { path: path.to_owned() });
        }
        let state = Mutex::new(State { file: None, torn, known, pending: HashMap::new() });
        Ok(Self { identity: judge.identity(), judge, path: path.to_owned(), state, hits: AtomicU64::new(0), damaged })
    }

    /// Number of damaged lines in the file, which are skipped and stay in it.
    pub fn damaged_lines(&self) -> usize {
        self.damaged
    }

    fn key(&self, problem: &Problem, answer: &str) -> Key {
        let mut digest = Sha256::new();
        for part in [&self.identity, &problem.question, &problem.answer, answer] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    /// Asks the judge and stores its verdict.
    fn ask(&self, key: Key, problem: &Problem, answer: &str) -> Result<bool, JudgeError> {
        let correct = self.judge.judge(problem, answer)?;
        // The key covers question and answers; the other fields are for people.
        let line = json!({
            "key": hex(&key), "judge": self.identity, "id": short(&problem.id),
            "gold": short(&problem.answer), "answer": short(answer), "correct": correct,
        });
        let mut state = self.state();
        state.append(&self.path, &line).map_err(failed)?;
        state.known.insert(key, correct);
        Ok(correct)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is a single insertion or removal.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, path: &Path, line: &Value) -> Result<(), FileError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(JsonLines::open_shared(path, self.torn)?),
        };
        file.append(line)
    }
}

fn failed(error: FileError) -> JudgeError {
    JudgeError::Cache(Arc::new(error))
}

impl JudgeModel for CachedJudge<'_> {
    fn judge(&self, problem: &Problem, answer: &str) -> Result<bool, JudgeError> {
        let key = self.key(problem, answer);
        let pending = {
            let mut state = self.state();
            if let Some(&correct) = state.known.get(&key) {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Ok(correct);
            }
            Arc::clone(state.pending.entry(key).or_default())
        };
        let mut asked = false;
        let verdict = pending.get_or_init(|| {
            asked = true;
            self.ask(key, problem, answer)
        });
        if asked {
            // Failures are not stored: the next caller asks again.
            self.state().pending.remove(&key);
        } else if verdict.is_ok() {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        verdict.clone()
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn parallel(&self) -> usize {
        self.judge.parallel()
    }

    fn cache_hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}

struct Lines {
    known: HashMap<Key, bool>,
    /// Whether a line is a verdict, or the only one is the beginning of one, or there is none.
    is_cache: bool,
    /// Whether its last line is truncated.
    torn: bool,
    /// Number of damaged lines.
    damaged: usize,
}

/// A file without a verdict in this many lines is not a cache.
const LOOKED_AT: usize = 100;

fn read(path: &Path) -> Result<Lines, FileError> {
    let (mut known, mut sound, mut damaged, mut is_beginning) = (HashMap::new(), 0, 0, true);
    // Lines without a hash are from an earlier version.
    let mut hashed = false;
    let torn = jsonl::read(path, MAX_LINE, |line| -> Result<_, FileError> {
        let hash = line.hash(&[]);
        hashed |= hash == Hash::Right;
        let is_right = hash == Hash::Right || (hash == Hash::Missing && !hashed);
        if let Some((key, correct)) = verdict(line.bytes).filter(|_| is_right) {
            known.insert(key, correct);
            sound += 1;
        } else {
            damaged += usize::from(line.is_whole());
            is_beginning = line.number == 1 && !line.is_whole() && line.bytes.starts_with(b"{\"key\"");
        }
        let is_other = sound == 0 && line.number >= LOOKED_AT;
        Ok(if is_other { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(Lines { known, is_cache: sound > 0 || (damaged == 0 && is_beginning), torn, damaged })
}

fn verdict(line: &[u8]) -> Option<(Key, bool)> {
    let value: Value = serde_json::from_slice(line).ok()?;
    Some((unhex(value["key"].as_str()?)?, value["correct"].as_bool()?))
}

fn hex(key: &Key) -> String {
    let mut text = String::with_capacity(64);
    for byte in key {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<Key> {
    let mut key = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    /// Accepts even numbers, slowly; fails on "x".
    #[derive(Default)]
    struct Even {
        asked: AtomicUsize,
        name: &'static str,
    }

    impl JudgeModel for &Even {
        fn judge(&self, _: &Problem, answer: &str) -> Result<bool, JudgeError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(5));
            let number: u32 = answer.parse().map_err(|_| JudgeError::NoVerdict { reply: "a letter".into() })?;
            Ok(number.is_multiple_of(2))
        }

        fn identity(&self) -> String {
            self.name.into()
        }
    }

    fn problem(answer: &str) -> Problem {
        let record = serde_json::Map::new();
        Problem { record, id: "p".into(), question: "even?".into(), answer: answer.into(), images: vec![] }
    }

    fn open<'a>(judge: &'a Even, path: &Path) -> CachedJudge<'a> {
        CachedJudge::open(Box::new(judge), path).unwrap()
    }

    #[test]
    fn a_question_is_asked_once_by_all_threads_and_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/for/it.jsonl");
        let even = Even::default();
        let judge = open(&even, &path);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(judge.judge(&problem("g"), "4").unwrap()));
            }
        });
        assert_eq!((even.asked.load(Ordering::Relaxed), judge.cache_hits()), (1, 7));
        drop(judge);
        let judge = open(&even, &path);
        assert!(judge.judge(&problem("g"), "4").unwrap());
        assert!(!judge.judge(&problem("g"), "3").unwrap());
        assert_eq!((even.asked.load(Ordering::Relaxed), judge.cache_hits()), (2, 1));
    }

    #[test]
    fn questions_differ_by_correct_answer_and_by_judge() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.jsonl");
        let (one, other) = (Even { name: "one", ..Even::default() }, Even { name: "other", ..Even::default() });
        for asked in [&one, &other, &one] {
            let judge = open(asked, &path);
            judge.judge(&problem("g"), "4").unwrap();
            judge.judge(&problem("h"), "4").unwrap();
        }
        assert_eq!((one.asked.load(Ordering::Relaxed), other.asked.load(Ordering::Relaxed)), (2, 2));
    }

    #[test]
    fn failures_are_not_stored() {
        let directory = tempfile::tempdir().unwrap();
        let even = Even::default();
        let judge = open(&even, &directory.path().join("c.jsonl"));
        for _ in 0..2 {
            assert!(judge.judge(&problem("g"), "x").is_err());
        }
        assert_eq!((even.asked.load(Ordering::Relaxed), judge.cache_hits()), (2, 0));
    }

    #[test]
    fn truncated_and_damaged_lines_are_skipped_and_the_file_stays_usable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.jsonl");
        let even = Even::default();
        open(&even, &path).judge(&problem("g"), "4").unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}nonsense\n{}", &whole[..whole.len() / 2])).unwrap();
        let judge = open(&even, &path);
        judge.judge(&problem("g"), "4").unwrap();
        judge.judge(&problem("g"), "6").unwrap();
        let judge = open(&even, &path);
        judge.judge(&problem("g"), "6").unwrap();
        assert_eq!(even.asked.load(Ordering::Relaxed), 2);
        // Even where only the beginning of the first line reached the disk.
        std::fs::write(&path, &whole[..20]).unwrap();
        open(&even, &path);
    }

    #[test]
    fn a_verdict_that_was_changed_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.jsonl");
        let even = Even::default();
        let judge = open(&even, &path);
        judge.judge(&problem("g"), "4").unwrap();
        judge.judge(&problem("g"), "6").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"correct\":true", "\"correct\":false", 1)).unwrap();
        let judge = open(&even, &path);
        assert_eq!(judge.damaged_lines(), 1);
        assert!(judge.judge(&problem("g"), "4").unwrap() && judge.judge(&problem("g"), "6").unwrap());
        assert_eq!((even.asked.load(Ordering::Relaxed), judge.cache_hits()), (3, 1));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_or_a_pipe_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (link, pipe) = (directory.path().join("link"), directory.path().join("pipe"));
        std::os::unix::fs::symlink("other", &link).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [link, pipe] {
            let even = Even::default();
            let Err(error) = CachedJudge::open(Box::new(&even), &path) else { panic!("{} was taken", path.display()) };
            assert!(error.to_string().contains("expected a regular file"), "{error}");
        }
    }

    #[test]
    fn another_kind_of_file_is_refused_and_left_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("problems.json");
        for text in ["[\n1]\n", "{\"id\": 1}", "\n"] {
            std::fs::write(&path, text).unwrap();
            let even = Even::default();
            let Err(error) = CachedJudge::open(Box::new(&even), &path) else { panic!("{text:?} was taken") };
            assert!(error.to_string().contains("problems.json: expected a judge's cache"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
