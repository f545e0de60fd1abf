//! What a shell and `man` get: completions, man pages, and where `make install` puts them.
#![cfg(unix)]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::{Sandbox, demo};

#[test]
fn completions_name_the_commands_and_are_read_by_their_shell() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = sandbox.run(&format!("completions {shell}")).done().out;
        for word in ["generate", "quantize", "implicit-prm", "rollout-budget"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        sandbox.write(&format!("mmprm.{shell}"), &script);
        let has_shell =
            Command::new(shell).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        if has_shell && ["bash", "zsh", "fish"].contains(&shell) {
            let checked = Command::new(shell).arg("-n").arg(sandbox.path(&format!("mmprm.{shell}"))).output().unwrap();
            assert!(checked.status.success() && checked.stderr.is_empty(), "{shell}: {checked:?}");
        }
    }
    let run = sandbox.run("completions csh");
    assert!(run.code == Some(2) && run.err.contains("bash, elvish, fish, powershell, zsh"), "{run:?}");
}

#[test]
fn bash_completes_a_command_and_its_flags() {
    let sandbox = Sandbox::new();
    sandbox.write("mmprm.bash", sandbox.run("completions bash").done().out);
    let complete = |words: &str| {
        let count = words.split(' ').count() - 1;
        let script = format!(
            "source mmprm.bash; COMP_WORDS=({words}); COMP_CWORD={count}; _mmprm mmprm \"${{COMP_WORDS[{count}]}}\" \
             \"${{COMP_WORDS[{}]}}\"; echo \"${{COMPREPLY[@]}}\"",
            count - 1
        );
        let output = Command::new("bash").args(["-c", &script]).current_dir(sandbox.path("")).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("mmprm quant"), "quantize");
    assert_eq!(complete("mmprm train implicit-prm --save-"), "--save-every");
}

#[test]
fn every_command_has_a_man_page_with_its_example() {
    let sandbox = Sandbox::new();
    let run = sandbox.run("man -o man1").done();
    let names = sandbox.names("man1");
    assert!(run.out.contains(&format!("{} man pages in man1", names.len())), "{}", run.out);
    let reference = std::fs::read_to_string(demo().join("../docs/cli.md")).unwrap();
    let commands = reference.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'));
    let mut expected: Vec<String> = commands.map(|command| format!("{}.1", command.replace(' ', "-"))).collect();
    expected.sort();
    assert_eq!(names, expected);
    let page = String::from_utf8(sandbox.read("man1/mmprm-quantize.1")).unwrap();
    assert!(page.starts_with(".ie") || page.contains(".TH"), "{page}");
    for part in ["Quantise a GGUF file", "mmprm quantize", "requantize", ".SH EXAMPLES\n  mmprm quantize"] {
        assert!(page.replace('\\', "").contains(part), "no {part}: {page}");
    }
}

/// Runs a target of the Makefile with the binary of this test, without building it.
fn make(sandbox: &Sandbox, target: &str) {
    let root = demo().join("..");
    let output = Command::new("make")
        .args(["--no-print-directory", "-C", root.to_str().unwrap(), target, "PREFIX=/usr"])
        .arg(format!("MMPRM={}", env!("CARGO_BIN_EXE_mmprm")))
        .arg(format!("DESTDIR={}", sandbox.path("stage").display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn make_installs_and_uninstalls_the_program_its_pages_and_completions() {
    let sandbox = Sandbox::new();
    make(&sandbox, "install-files");
    let places = [
        "bin/mmprm",
        "share/man/man1/mmprm.1",
        "share/man/man1/mmprm-train-implicit-prm.1",
        "share/bash-completion/completions/mmprm",
        "share/zsh/site-functions/_mmprm",
        "share/fish/vendor_completions.d/mmprm.fish",
    ];
    let found = |place: &str| sandbox.path("stage/usr").join(place);
    for place in places {
        assert!(found(place).is_file(), "{place}");
    }
    let version = Command::new(found("bin/mmprm")).arg("--version").output().unwrap();
    assert!(version.status.success());
    sandbox.write("stage/usr/share/man/man1/other.1", "");
    make(&sandbox, "uninstall");
    for place in places {
        assert!(!found(place).exists(), "{place}");
    }
    assert!(Path::new(&found("share/man/man1/other.1")).exists(), "what others installed stays");
}
