//! Runs the program on one case after another, and counts how it ended: crashes, hangs, memory, losses.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a running process is looked at.
const POLL: Duration = Duration::from_millis(1);
/// A process that runs for longer than this hangs. No case takes more than seconds on an idle machine.
pub const HANG: Duration = Duration::from_mins(2);
/// Resident memory that no case with the mini models needs, in bytes.
const MEMORY: u64 = 1 << 30;

/// A started process, whose output threads read, so that it never waits for this one.
pub struct Process {
    child: Child,
    out: JoinHandle<Vec<u8>>,
    err: JoinHandle<Vec<u8>>,
    started: Instant,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out: String,
    pub err: String,
    /// Largest resident memory in bytes.
    pub peak: u64,
    /// Why it was stopped from outside: "hang" or "memory".
    pub stopped: Option<&'static str>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (out, err) = (read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap()));
        Self { child, out, err, started: Instant::now() }
    }

    /// Sends a signal such as `libc::SIGKILL`.
    pub fn signal(&self, signal: i32) {
        // SAFETY: `kill` takes numbers only. The process is not waited for yet, so its id is its own.
        let result = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(result, 0, "cannot send signal {signal}");
    }

    /// Whether the process handles interrupts itself by now. Before, the system ends it.
    pub fn handles_interrupts(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|caught| u64::from_str_radix(caught.trim(), 16).ok()).unwrap_or(0);
        [libc::SIGINT, libc::SIGTERM].into_iter().all(|signal| caught & 1 << (signal - 1) != 0)
    }

    /// Waits until the process has run for `until`, or ended; returns whether it is still running.
    pub fn runs_until(&self, until: Duration) -> bool {
        loop {
            if self.has_ended() {
                return false;
            }
            let Some(rest) = until.checked_sub(self.started.elapsed()) else { return true };
            std::thread::sleep(rest.min(POLL));
        }
    }

    /// Whether the process has ended; it can still be waited for.
    fn has_ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit_once(')').is_none_or(|(_, fields)| fields.trim_start().starts_with(['Z', 'X']))
    }

    /// Resident memory now, in bytes.
    fn memory(&self) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap_or_default();
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
    }

    /// Waits for the end of the process, which is stopped if it hangs or takes more than `memory` bytes.
    pub fn end(self, memory: u64) -> Ended {
        let mut stopped = None;
        let (status, peak) = loop {
            if let Some(ended) = wait(self.child.id()) {
                break ended;
            }
            if stopped.is_none() {
                let is_hung = self.started.elapsed() > HANG;
                stopped = if is_hung { Some("hang") } else { (self.memory() > memory).then_some("memory") };
                if stopped.is_some() {
                    self.signal(libc::SIGKILL);
                }
            }
            std::thread::sleep(POLL);
        };
        let text = |read: JoinHandle<Vec<u8>>| String::from_utf8_lossy(&read.join().unwrap()).into_owned();
        let (out, err) = (text(self.out), text(self.err));
        Ended { code: status.code(), signal: status.signal(), out, err, peak, stopped }
    }
}

/// Most output of a process that is kept, in bytes.
const OUTPUT: u64 = 4 << 20;

fn read(stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut stream = stream;
        stream.by_ref().take(OUTPUT).read_to_end(&mut bytes).unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        bytes
    })
}

/// Status and largest resident memory of a child that has ended; none if it runs.
fn wait(id: u32) -> Option<(ExitStatus, u64)> {
    let mut status = 0;
    // SAFETY: `rusage` consists of integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live here. Nothing else waits for this child, so the id is its own.
    let found = unsafe { libc::wait4(id as i32, &raw mut status, libc::WNOHANG, &raw mut usage) };
    assert!(found >= 0, "cannot wait for process {id}: {}", std::io::Error::last_os_error());
    (found > 0).then(|| (ExitStatus::from_raw(status), usage.ru_maxrss as u64 * 1024))
}

/// Figures of one kind of case.
pub struct Tally {
    kind: &'static str,
    started: Instant,
    memory: u64,
    inputs: usize,
    accepted: usize,
    crashes: usize,
    hangs: usize,
    peak: u64,
    kills: usize,
    losses: usize,
    /// What went wrong, one line for each case.
    faults: Vec<String>,
}

impl Tally {
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            started: Instant::now(),
            memory: MEMORY,
            inputs: 0,
            accepted: 0,
            crashes: 0,
            hangs: 0,
            peak: 0,
            kills: 0,
            losses: 0,
            faults: Vec::new(),
        }
    }

    /// As [`new`](Self::new), with another limit of resident memory, in bytes.
    pub fn with_memory(kind: &'static str, memory: u64) -> Self {
        Self { memory, ..Self::new(kind) }
    }

    /// Runs one case to its end. It must end by itself, with success or with a sentence.
    pub fn run(&mut self, case: &str, command: &mut Command) -> Ended {
        self.inputs += 1;
        let ended = Process::start(command).end(self.memory);
        self.judge(case, &ended);
        ended
    }

    /// Counts `more` further inputs of a process that read several.
    pub fn inputs(&mut self, more: usize) {
        self.inputs += more;
    }

    /// Counts inputs that a process accepted though it refused others.
    pub fn accept(&mut self, more: usize) {
        self.accepted += more;
    }

    /// Runs a killed process that was not waited for to its end.
    pub fn killed(&mut self, process: Process) -> Ended {
        self.kills += 1;
        let ended = process.end(self.memory);
        self.peak = self.peak.max(ended.peak);
        if ended.code == Some(101) || ended.err.contains("panicked at") {
            self.crashes += 1;
            self.faults.push(format!("panic of a killed process: {}", shortened(&ended.err)));
        }
        ended
    }

    fn judge(&mut self, case: &str, ended: &Ended) {
        self.peak = self.peak.max(ended.peak);
        let trouble = if let Some(stopped) = ended.stopped {
            self.hangs += usize::from(stopped == "hang");
            stopped.to_owned()
        } else if ended.signal.is_some() || ended.code == Some(101) || ended.err.contains("panicked at") {
            self.crashes += 1;
            format!("crash, code {:?}, signal {:?}", ended.code, ended.signal)
        } else if !matches!(ended.code, Some(0..=3)) {
            format!("exit code {:?}", ended.code)
        } else if ended.code != Some(0) && !ended.err.lines().any(|line| line.starts_with("mmprm: ")) {
            "no sentence".to_owned()
        } else if !is_usage(&ended.err) && !ended.err.lines().all(is_message) {
            "chatter".to_owned()
        } else if [&ended.out, &ended.err].iter().any(|text| text.chars().any(|c| c.is_control() && c != '\n')) {
            "control characters".to_owned()
        } else if ended.peak > self.memory {
            format!("{} MiB of memory", ended.peak >> 20)
        } else {
            self.accepted += usize::from(ended.code == Some(0));
            return;
        };
        self.fault(case, &format!("{trouble}: {}", shortened(&ended.err)));
    }

    /// Records that a case went wrong.
    pub fn fault(&mut self, case: &str, what: &str) {
        self.faults.push(format!("{case}: {what}"));
    }

    /// Records that finished work was lost or changed.
    pub fn lost(&mut self, case: &str, what: &str) {
        self.losses += 1;
        self.fault(case, what);
    }

    /// Number of accepted inputs so far.
    pub fn accepted(&self) -> usize {
        self.accepted
    }

    /// Number of faults so far.
    pub fn faults(&self) -> usize {
        self.faults.len()
    }

    /// Number of kills so far.
    pub fn kills(&self) -> usize {
        self.kills
    }

    /// Copies a failed case's directory to where it is kept.
    pub fn keep(&self, directory: &Path) {
        let kept = kept(self.kind).join(self.faults.len().to_string());
        let _ = fs::remove_dir_all(&kept);
        copy(directory, &kept);
    }

    /// Prints the figures, and asserts that nothing went wrong.
    #[track_caller]
    pub fn finish(self) {
        let mut line = format!("hostile {}: {} inputs", self.kind, self.inputs);
        write!(line, " ({} accepted), {} crashes, {} hangs", self.accepted, self.crashes, self.hangs).unwrap();
        write!(line, ", at most {} MiB, {} kills, {} losses", self.peak >> 20, self.kills, self.losses).unwrap();
        writeln!(line, ", {:.0} s", self.started.elapsed().as_secs_f64()).unwrap();
        // Unlike what is printed, this is shown for a test that passes, too.
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        let (count, faults) = (self.faults.len(), self.faults.join("\n"));
        assert!(count == 0, "{count} cases went wrong (kept in {}):\n{faults}", kept(self.kind).display());
    }
}

/// Whether a line is a sentence for the user or a warning of the log.
fn is_message(line: &str) -> bool {
    line.starts_with("mmprm: ") || line.starts_with(" WARN mmprm")
}

/// Whether standard error is clap's message about flags, which has several lines.
fn is_usage(err: &str) -> bool {
    err.contains("\nUsage: ") || err.contains("For more information")
}

fn shortened(err: &str) -> String {
    let start: String = err.chars().take(300).collect();
    start.trim_end().replace('\n', " | ")
}

fn kept(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile").join(kind.replace(' ', "-"))
}

/// Copies a directory. Links are copied as links, and what is neither file, directory nor link is left out.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
