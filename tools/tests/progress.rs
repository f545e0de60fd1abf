//! Progress: one bar with rate and time left on a terminal, and nothing elsewhere.
#![cfg(target_os = "linux")]

mod support;

use std::process::{Command, Stdio};

use support::{POLICY, Sandbox};

/// Runs the binary on a pseudo-terminal; what it prints. `None` where `script` is not installed.
fn on_terminal(sandbox: &Sandbox, arguments: &str) -> Option<String> {
    let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_mmprm"));
    let mut command = Command::new("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .current_dir(sandbox.path(""))
        .env_remove("MMPRM_LOG")
        .env("TERM", "xterm");
    let output = command.stdin(Stdio::null()).output().ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_bar_with_rate_and_time_left_is_drawn_on_a_terminal_alone() {
    let sandbox = Sandbox::new();
    let generate = |more: &str| format!("generate {POLICY} --problems data/test.json --limit 8 -n 4 {more}");
    let Some(shown) = on_terminal(&sandbox, &generate("-o c.json")) else {
        eprintln!("skipped: `script` is not installed");
        return;
    };
    let bars: Vec<&str> = shown.split(['\r', '\n']).filter(|line| line.contains("generate ")).collect();
    let is_whole = |line: &&&str| line.contains("/8, ") && line.contains("/s, ") && line.contains("s left ");
    assert!(bars.len() > 3 && bars.iter().any(|line| is_whole(&line)), "{shown}");
    assert!(!bars.iter().any(|line| line.contains("processed/unique")), "{shown}");
    let last = shown.trim_end().lines().last().unwrap();
    assert!(last.contains("written: c.json"), "the bar is gone at the end: {last}");
    for quiet in ["--quiet", "--json"] {
        let shown = on_terminal(&sandbox, &generate(&format!("{quiet} --force -o c.json"))).unwrap();
        assert!(!shown.contains("s left "), "{shown}");
    }
    // Standard error of a test is no terminal.
    sandbox.run(&generate("--force -o c.json")).done();
}
