//! Runs that are interrupted or killed: what is finished is kept, and the same command ends with the bytes of a run
//! that nothing disturbed.
#![cfg(unix)]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Desk, POLICY};

/// Starts `arguments`, waits until `underway`, sends `signal`, and gives the exit code (none where a signal ended it).
fn stop(desk: &Desk, arguments: &str, signal: &str, underway: impl Fn() -> bool) -> Option<i32> {
    let mut child = desk.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !underway() {
        assert!(start.elapsed() < Duration::from_mins(1), "`{arguments}` does not get under way");
        assert!(child.try_wait().unwrap().is_none(), "`{arguments}` ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap().code()
}

fn lines(desk: &Desk, name: &str) -> usize {
    std::fs::read(desk.path(name))
        .map_or(0, |bytes| bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")).count())
}

#[test]
fn an_interrupted_or_killed_generate_continues_to_the_same_bytes() {
    let desk = Desk::new();
    let generate = format!("generate {POLICY} --deterministic --problems data/test.json --limit 24 -n 8 --parallel 8");
    desk.run(&format!("{generate} -o whole.json")).done();
    let command = format!("{generate} -o c.json");
    // The settings and some records.
    let code = stop(&desk, &command, "-INT", || lines(&desk, "c.json.journal") >= 4);
    assert_eq!(code, Some(4));
    let kept = lines(&desk, "c.json.journal");
    assert!(kept >= 4 && !desk.path("c.json").exists());
    let code = stop(&desk, &command, "-KILL", || lines(&desk, "c.json.journal") > kept + 2);
    assert_eq!(code, None);
    assert!(!desk.path("c.json").exists());
    desk.run(&command).done();
    assert_eq!(desk.read("c.json"), desk.read("whole.json"));
    assert!(!desk.path("c.json.journal").exists());
}

#[test]
fn an_interrupted_or_killed_annotation_continues_to_the_same_bytes() {
    let desk = Desk::new();
    let annotate = format!(
        "annotate {POLICY} --deterministic --problems data/test.json --limit 16 --rollouts 8 --rollout-budget 40"
    );
    desk.run(&format!("{annotate} -o whole")).done();
    let command = format!("{annotate} -o trees");
    let code = stop(&desk, &command, "-INT", || lines(&desk, "trees/annotate.log.jsonl") >= 2);
    assert_eq!(code, Some(4));
    let kept = lines(&desk, "trees/annotate.log.jsonl");
    let code = stop(&desk, &command, "-KILL", || lines(&desk, "trees/annotate.log.jsonl") >= kept + 2);
    assert_eq!(code, None);
    desk.run(&command).done();
    assert_eq!(desk.trees("whole").len(), 16);
    assert_eq!(desk.trees("whole"), desk.trees("trees"));
    for tree in desk.trees("whole") {
        assert!(desk.read(&format!("whole/{tree}")) == desk.read(&format!("trees/{tree}")), "{tree} differs");
    }
}
