//! A policy on a server, from the command line: searches and candidates without a local model.
#![cfg(unix)]

#[path = "../../tests/support/http.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod http;
mod support;

use http::{Reply, Request, Server, reply};
use serde_json::{Value, json};
use support::Sandbox;

/// The problems of these tests.
const PROBLEMS: &str = "--problems data/test.json --limit 2";

/// The flags of a policy on `server`.
fn policy(server: &Server) -> String {
    format!("--policy-url {} --policy-model policy-1", server.url())
}

fn annotate(server: &Server, flags: &str) -> String {
    format!("annotate {} {PROBLEMS} --rollouts 4 --rollout-budget 20 {flags}", policy(server))
}

/// A scripted model: its solution depends on the question, the steps so far and the seed, and is
/// right in one case of three.
fn solution(request: &Request, seed: u64) -> String {
    let body = &request.body;
    assert!(body["messages"][0]["content"].as_str().unwrap().contains("InternVL"));
    let parts = body["messages"][1]["content"].as_array().unwrap();
    assert!(parts[0]["image_url"]["url"].as_str().unwrap().starts_with("data:image/png;base64,"));
    let question = parts[1]["text"].as_str().unwrap();
    let right = if question.contains("tallest bar") { 10 } else { 80 };
    let answer = if seed.is_multiple_of(3) { right } else { right + 1 + seed % 5 };
    let steps = [format!("Look at it, way {}.", seed % 4), format!("Count to {}.", seed % 7), "Sum up.".to_owned()];
    // The steps so far are in the user's or in the assistant's message.
    let begun = body["messages"][2]["content"].as_str().unwrap_or_default();
    let steps_so_far = question.matches("<step>").count() + begun.matches("<step>").count();
    let rest: Vec<String> = steps.iter().skip(steps_so_far).map(|step| format!("<step>{step}</step>")).collect();
    format!("{}<answer>Answer: The final answer is {answer}</answer><|im_end|>", rest.concat())
}

/// A server that writes at most `max` solutions per request.
fn server(max: u64) -> Server {
    Server::start(move |_, request| {
        let count = request.body["n"].as_u64().unwrap_or(1).min(max);
        let choice = |index| {
            let text = solution(request, request.body["seed"].as_u64().unwrap() + index);
            json!({"index": index, "finish_reason": "stop", "message": {"role": "assistant", "content": text}})
        };
        let choices: Vec<Value> = (0..count).map(choice).collect();
        let usage = json!({"prompt_tokens": 300, "completion_tokens": 40 * count});
        let body = json!({"choices": choices, "usage": usage});
        reply("200 OK", &["content-type: application/json"], &body.to_string())
    })
}

/// Every tree in a folder, with its name.
fn trees(sandbox: &Sandbox, folder: &str) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let bytes = sandbox.read(&format!("{folder}/{name}"));
        (name, bytes)
    };
    sandbox.trees(folder).into_iter().map(read).collect()
}

#[test]
fn a_policy_on_a_server_is_searched_and_the_same_seed_gives_the_same_trees() {
    let sandbox = Sandbox::new();
    for (max, name) in [(16, "several"), (1, "one")] {
        let server = server(max);
        let result = sandbox.run(&annotate(&server, &format!("-o {name} --json"))).done().object();
        assert_eq!((&result["summary"]["done"], &result["summary"]["failed"]), (&json!(2), &json!(0)));
        let requests = server.requests().len() as u64;
        let counters = &result["server"];
        assert_eq!((&counters["requests"], &counters["rollouts"]), (&json!(requests), &result["summary"]["rollouts"]));
        assert_eq!(counters["generated"], json!(40 * counters["rollouts"].as_u64().unwrap()));
        assert!(!result.as_object().unwrap().contains_key("engine"));
        let first = trees(&sandbox, name);
        assert_eq!(first.len(), 2);
        assert!(first.iter().any(|(_, tree)| String::from_utf8_lossy(tree).contains("Look at it, way ")));

        sandbox
            .run(&annotate(&server, &format!("-o {name}-again --policy-parallel 1 --problems-at-once 1 --quiet")))
            .done();
        assert_eq!(trees(&sandbox, &format!("{name}-again")), first);
        sandbox.run(&annotate(&server, &format!("-o {name}-other --seed 1 --quiet"))).done();
        assert_ne!(trees(&sandbox, &format!("{name}-other")), first);
        for share in ["1/2", "2/2"] {
            sandbox.run(&annotate(&server, &format!("-o {name}-shares --shard {share} --quiet"))).done();
        }
        assert_eq!(trees(&sandbox, &format!("{name}-shares")), first);
    }
    let lines = sandbox.run(&annotate(&server(16), "-o lines")).done().out;
    assert!(lines.contains(" rollouts/s, ") && lines.contains(" tokens/s generated, "), "{lines}");
    assert!(lines.contains(" requests)") && !lines.contains("reuse"), "{lines}");
    sandbox.run("samples several -o prm.jsonl").done();
}

#[test]
fn candidates_can_come_from_a_server() {
    let sandbox = Sandbox::new();
    let server = server(16);
    let generate = format!("generate {} {PROBLEMS} -n 5 -o c.json", policy(&server));
    let result = sandbox.run(&format!("{generate} --json")).done().object();
    assert_eq!(result["server"]["rollouts"], 10);
    assert_eq!(server.requests().len(), 2);
    for record in sandbox.json("c.json").as_array().unwrap() {
        assert_eq!(record["labels"].as_array().unwrap().len(), 5);
        assert_eq!(record["solutions_splits"][0].as_array().unwrap().len(), 4);
    }
}

#[test]
fn a_failing_server_fails_problems_with_the_cause() {
    let sandbox = Sandbox::new();
    let server = Server::script(vec![Reply::Stall(Vec::new())]);
    let run = sandbox.run(&annotate(&server, "-o trees --policy-timeout 1 --json").replace("--limit 2", "--limit 1"));
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.err.contains("failed 5 times, the last time because there was no whole reply within 1 s"),
        "{}",
        run.err
    );
    assert_eq!(run.object()["summary"]["failed"], 1);
    assert_eq!(sandbox.trees("trees"), [""; 0]);
    assert!(String::from_utf8(sandbox.read("trees/annotate.log.jsonl")).unwrap().contains("\"status\":\"failed\""));
}

#[test]
fn a_server_that_cannot_be_used_ends_the_run_with_one_sentence_and_the_same_command_resumes() {
    let sandbox = Sandbox::new();
    let told = r#"{"error": {"message": "sk-secret-1 is not a key"}}"#;
    let closed = Server::script(vec![reply("401 Unauthorized", &["content-type: application/json"], told)]);
    let generate = |server: &Server| format!("generate {} {PROBLEMS} -n 2 -o c.json", policy(server));
    for command in [annotate(&closed, "-o trees"), generate(&closed)] {
        let mut command = sandbox.command(&command);
        let output = command.env("MMPRM_POLICY_KEY", "sk-secret-1").output().unwrap();
        let run = support::Run {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!run.err.contains("secret"), "{}", run.err);
        run.refused(1, &["the policy cannot be used: ", "rejected the API key", "set MMPRM_POLICY_KEY"]);
    }
    assert!(closed.requests()[0].headers.contains(&"authorization: Bearer sk-secret-1".to_owned()));
    assert_eq!(sandbox.read("trees/annotate.log.jsonl"), b"");
    assert!(!String::from_utf8_lossy(&sandbox.read("c.json.journal")).contains("secret"));
    let open = server(16);
    sandbox.run(&annotate(&open, "-o trees")).done();
    sandbox.run(&generate(&open)).done();
}

#[test]
fn flags_that_do_not_apply_to_a_server_are_refused_in_one_sentence() {
    let sandbox = Sandbox::new();
    let server = server(16);
    for (flag, expected) in [
        ("--threads 2", "--threads applies to a local policy only"),
        ("--context 4096", "--context applies to"),
        ("--gpu-layers 3", "--gpu-layers applies to"),
        ("--deterministic", "--deterministic applies to"),
        ("--vision-encoder native", "--vision-encoder applies to"),
        ("--vision-cache kept", "--vision-cache applies to"),
        ("--mmproj mmproj.gguf", "--mmproj applies to"),
        ("--max-tiles 4", "--max-tiles applies to"),
        ("--parallel 8", "the number of requests at once with --policy-parallel"),
        ("--policy-key-env NOT_THERE", "--policy-key-env NOT_THERE: the environment has no such variable"),
        ("--policy-model", "a value is required"),
        ("--policy policy.gguf", "cannot be used with"),
    ] {
        let run = sandbox.run(&annotate(&server, &format!("-o trees {flag}")));
        assert_eq!(run.code, Some(2), "{flag}: {run:?}");
        assert!(run.err.contains(expected), "{flag}: {}", run.err);
    }
    let bad = "--policy-url localhost:8000 --policy-model m";
    sandbox.refuses(&format!("annotate {bad} {PROBLEMS} -o trees"), 2, &["--policy-url: the address lacks its scheme"]);
    for source in ["", "--policy-url http://localhost:1/v1", "--policy-model m", "--policy p.gguf --policy-parallel 2"]
    {
        let run = sandbox.run(&format!("annotate {source} {PROBLEMS} -o trees"));
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{source}: {run:?}");
    }
    // With a local judge, the engine's flags are the judge's.
    let judged = "--judge-gguf policy.gguf --threads 1 --judge always --unjudged incorrect";
    let run = sandbox.run(&annotate(&server, &format!("-o judged {judged} --json")));
    assert_eq!((run.code, &run.object()["summary"]["done"]), (Some(0), &json!(2)));
}

#[test]
fn speculation_keeps_the_trees_and_adaptive_rollouts_are_fewer() {
    let sandbox = Sandbox::new();
    let server = server(16);
    let rollouts = |flags: &str| {
        let flags = format!("{flags} --rollouts 16 --rollout-budget 100000 --max-searches 4 --json");
        let command = annotate(&server, &flags).replace("--rollouts 4 --rollout-budget 20 ", "");
        sandbox.run(&command).done().object()["summary"].clone()
    };
    let plain = rollouts("-o plain");
    let ahead = rollouts("-o ahead --speculative");
    assert_eq!(trees(&sandbox, "ahead"), trees(&sandbox, "plain"));
    assert_eq!((&plain["rollouts"], &plain["guesses"]), (&ahead["rollouts"], &json!(0)));
    assert!(ahead["guesses"].as_u64() > ahead["guesses_dropped"].as_u64(), "{ahead}");
    let adaptive = rollouts("-o adaptive --adaptive");
    assert!(adaptive["rollouts"].as_u64() < plain["rollouts"].as_u64(), "{adaptive} {plain}");
    let run = sandbox.run(&annotate(&server, "-o trees --speculative --deterministic"));
    assert_eq!(run.code, Some(2));
    assert!(run.err.contains("cannot be used with"), "{}", run.err);
}

#[test]
fn steps_can_be_in_the_assistants_message_and_trees_record_it() {
    let sandbox = Sandbox::new();
    let server = server(16);
    sandbox.run(&annotate(&server, "-o trees --continue assistant")).done();
    let continued = server.requests().into_iter().filter(|request| request.body["continue_final_message"] == true);
    let begun = continued.map(|request| request.body["messages"][2].clone()).collect::<Vec<_>>();
    assert!(!begun.is_empty());
    assert!(begun.iter().all(|message| message["role"] == "assistant"), "{begun:?}");
    for (_, tree) in trees(&sandbox, "trees") {
        assert!(String::from_utf8(tree).unwrap().ends_with("\"continue\": \"assistant\"\n}"));
    }
    let log = String::from_utf8(sandbox.read("trees/annotate.log.jsonl")).unwrap();
    assert!(log.lines().all(|line| line.contains("\"continue\":\"assistant\"")), "{log}");
    sandbox.run("samples trees -o prm.jsonl").done();
    sandbox.refuses(&annotate(&server, "-o trees"), 2, &["continue (\"assistant\" there, \"user\" here)"]);
}

#[test]
fn other_settings_are_refused_and_the_differences_named() {
    let sandbox = Sandbox::new();
    let server = server(16);
    sandbox.run(&annotate(&server, "-o trees")).done();
    let first = trees(&sandbox, "trees");
    sandbox.run(&annotate(&server, "-o trees --policy-parallel 2 --retry-failed")).done();
    let other = annotate(&server, "-o trees --seed 1 --alpha 0.25");
    let expected = "other settings: search.alpha (0.5 there, 0.25 here), seed (0 there, 1 here); give another --output";
    sandbox.refuses(&other, 2, &[expected, "--mix-settings"]);
    assert_eq!(trees(&sandbox, "trees"), first);
    sandbox.run(&format!("{other} --mix-settings")).done();
    assert_eq!(trees(&sandbox, "trees"), first);
}

#[test]
fn a_directory_of_an_earlier_version_is_refused_in_one_sentence() {
    let sandbox = Sandbox::new();
    let server = server(16);
    sandbox.run(&annotate(&server, "-o trees")).done();
    let settings = String::from_utf8(sandbox.read("trees/annotate.settings.jsonl")).unwrap();
    let old = settings.replace("\"format\":2,", "\"sampling\":\"Sampling { temperature: 1.0 }\",");
    assert_ne!(old, settings);
    sandbox.write("trees/annotate.settings.jsonl", old);
    let sentence = "was annotated by an earlier version whose settings cannot be compared; give another --output";
    sandbox.refuses(&annotate(&server, "--out trees"), 2, &[sentence, "--mix-settings"]);
    sandbox.run(&annotate(&server, "--out trees --mix-settings")).done();
}

#[test]
fn a_server_that_does_not_continue_messages_ends_the_run_and_the_error_names_the_flag() {
    let sandbox = Sandbox::new();
    let server = Server::start(|_, request| match request.body.get("continue_final_message") {
        None => {
            let text = |index| solution(request, request.body["seed"].as_u64().unwrap() + index);
            let choice = |index| json!({"index": index, "message": {"content": text(index)}});
            let count = request.body["n"].as_u64().unwrap_or(1);
            let choices: Vec<Value> = (0..count).map(choice).collect();
            reply("200 OK", &[], &json!({"choices": choices}).to_string())
        }
        Some(_) => reply("400 Bad Request", &[], "{}"),
    });
    sandbox.run(&annotate(&server, "-o trees --continue assistant")).refused(
        1,
        &["the policy cannot be used: ", "does not continue an assistant's message", "use --continue user"],
    );
}
