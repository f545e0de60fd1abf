//! Servers that misbehave: a request that fails is a failure and no incorrect rollout, nothing hangs, and the key is shown
//! nowhere.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::http::{Reply, Request, Server, reply};
use crate::kills::files;
use crate::mutate::{self, Random, cases, is_wanted};
use crate::support::Sandbox;
use crate::tally::{Ended, Tally};

/// Mutated replies of each command: one in a request, so that five attempts make five of them.
const REPLIES: usize = 150;
/// Problems of a run, which are asked at the same time: waits between attempts cost time but no work.
const PROBLEMS: usize = 30;
/// The key, of which no piece of this many characters may be seen.
const KEY: &str = "sk-Zq7Wv3Xk9Rt5Yb2Nm8";
const PIECE: usize = 6;

/// A right reply to a request for rollouts, a judgement of an answer, or a judgement of a step.
fn right(request: &Request) -> Value {
    let count = request.body["n"].as_u64().unwrap_or(1);
    let text = "<step>Look.</step><step>Count.</step><answer>Answer: The final answer is 7</answer>";
    let top = json!([{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -2.5}]);
    let choice = |index| {
        json!({"index": index, "finish_reason": "stop", "message": {"role": "assistant", "content": text},
            "logprobs": {"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": top}]}})
    };
    let choices: Vec<Value> = (0..count).map(choice).collect();
    json!({"id": "1", "choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 9}})
}

/// A whole reply, as bytes on the connection.
fn raw(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Raw(bytes) | Reply::Stall(bytes) => bytes,
    }
}

fn ok(body: &str) -> Reply {
    reply("200 OK", &["content-type: application/json"], body)
}

/// Replies that no client should take for a result, each with its name. `elsewhere` is another server.
fn troubles(elsewhere: &str) -> Vec<(&'static str, Reply)> {
    let right = right(&Request {
        target: String::new(),
        headers: Vec::new(),
        body: json!({"n": 4}),
        at: std::time::Instant::now(),
    })
    .to_string();
    let location = format!("location: {elsewhere}/chat/completions?key={KEY}");
    let redirect = |status| reply(status, &[location.as_str()], &format!("moved, {KEY}"));
    let headers =
        |headers: &str, body: &str| Reply::Raw(format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{body}").into_bytes());
    let odd = |bytes: &[u8]| [&b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"[..], bytes].concat();
    vec![
        ("nothing", Reply::Raw(Vec::new())),
        ("silence", Reply::Stall(Vec::new())),
        ("half a header", Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec())),
        ("half a body", Reply::Stall(raw(ok(&right))[..120].to_vec())),
        ("cut off", Reply::Raw(raw(ok(&right))[..180].to_vec())),
        ("longer than it is", headers("content-length: 99999", &right)),
        ("shorter than it is", headers("content-length: 40", &right)),
        ("length -1", headers("content-length: -1", &right)),
        ("two lengths", headers("content-length: 10\r\ncontent-length: 20", &right)),
        ("huge length", headers("content-length: 18446744073709551615", "{")),
        ("huge chunk", headers("transfer-encoding: chunked", "ffffffffffffffff\r\n{}")),
        ("bad chunk", headers("transfer-encoding: chunked", "zz\r\n{}\r\n0\r\n\r\n")),
        ("compressed", Reply::Raw(odd(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0"))),
        ("endless header", Reply::Raw([b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'a'; 4 << 20]].concat())),
        ("many headers", headers(&"x: y\r\n".repeat(20_000), "{}")),
        ("huge body", Reply::Raw(odd(&vec![b' '; 64 << 20]))),
        ("deep nesting", ok(&"[".repeat(2_000_000))),
        ("deep in place", ok(&right.replacen("\"stop\"", &("[".repeat(100_000) + &"]".repeat(100_000)), 1))),
        ("many choices", ok(&json!({"choices": vec![json!({}); 200_000]}).to_string())),
        ("no choices", ok(r#"{"choices": []}"#)),
        ("null choices", ok(r#"{"choices": null}"#)),
        ("another object", ok(r#"{"object": "list"}"#)),
        ("an error with 200", ok(&json!({"error": {"message": format!("the key {KEY} is wrong")}}).to_string())),
        ("no text", ok(&right.replace("\"content\":\"<", "\"other\":\"<"))),
        ("invalid UTF-8", Reply::Raw(odd(b"{\"choices\": [{\"message\": {\"content\": \"\xff\xfe\"}}]}"))),
        ("a page", reply("200 OK", &["content-type: text/html"], "<html>\u{1b}[2J Welcome</html>")),
        ("500", reply("500 Internal Server Error", &[], &format!("{}{KEY}", "x".repeat(190)))),
        ("503", reply("503 Service Unavailable", &["retry-after: 0"], &format!("\u{1b}[31m{KEY}\r\nmmprm: forged"))),
        ("429", reply("429 Too Many Requests", &["retry-after: 0"], KEY)),
        ("a status of letters", Reply::Raw(format!("HTTP/1.1 {KEY} OK\r\n\r\n").into_bytes())),
        ("another protocol", Reply::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec())),
        ("continue for ever", Reply::Raw(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(20_000))),
        ("301", redirect("301 Moved Permanently")),
        ("302", redirect("302 Found")),
        ("307", redirect("307 Temporary Redirect")),
        ("308", redirect("308 Permanent Redirect")),
    ]
}

/// The files of a run: as many problems as [`PROBLEMS`], and a tree with as many steps.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let problem =
        |number: usize| json!({"id": number, "question": format!("What is {number} + 1?"), "correct_answer": "7"});
    sandbox.write("p.json", json!((0..PROBLEMS).map(problem).collect::<Vec<_>>()).to_string());
    for number in 0..PROBLEMS {
        let tree = json!({"question": format!("What is {number} + 1?"), "answer": "7", "image_path": null, "mc_value": 0.5,
            "visit_count": 0, "correct_rollouts": [["Look.", "7"]], "incorrect_rollouts": [["Look.", "8"]], "id": number,
            "children": []});
        sandbox.write(&format!("trees/{number:032x}.json"), tree.to_string());
    }
    sandbox
}

/// Commands that ask a server, and write below `out`.
fn commands(server: &Server) -> [String; 3] {
    let url = server.url();
    let policy = format!("--policy-url {url} --policy-model m --policy-timeout 2 --policy-parallel {PROBLEMS}");
    [
        format!("generate {policy} --problems p.json -n 2 --quiet -o out/c.json"),
        format!(
            "annotate {policy} --problems p.json --rollouts 2 --rollout-budget 2 --problems-at-once {PROBLEMS} --quiet -o out"
        ),
        format!("judge trees --judge-url {url} --judge-model m --judge-timeout 2 --parallel {PROBLEMS} --quiet -o out"),
    ]
}

fn run(tally: &mut Tally, sandbox: &Sandbox, case: &str, arguments: &str) -> Ended {
    let _ = fs::remove_dir_all(sandbox.path("out"));
    let mut command = sandbox.command(arguments);
    let ended = tally.run(case, command.env("MMPRM_POLICY_KEY", KEY).env("MMPRM_JUDGE_KEY", KEY));
    let mut texts =
        vec![("standard output".to_owned(), ended.out.clone()), ("standard error".to_owned(), ended.err.clone())];
    if sandbox.path("out").exists() {
        let files = files(sandbox, "out").into_iter();
        texts.extend(files.map(|(name, bytes)| (name, String::from_utf8_lossy(&bytes).into_owned())));
    }
    for (name, text) in texts {
        if KEY.as_bytes().windows(PIECE).any(|piece| text.contains(std::str::from_utf8(piece).unwrap())) {
            tally.fault(case, &format!("the key is shown in {name}"));
        }
        if text.contains('\u{1b}') || text.lines().any(|line| line.starts_with("mmprm: forged")) {
            tally.fault(case, &format!("control characters of the server are in {name}"));
        }
    }
    ended
}

/// The ids of problems with candidates or a tree.
fn results(sandbox: &Sandbox) -> Vec<Value> {
    let names = if sandbox.path("out").exists() { sandbox.trees("out") } else { Vec::new() };
    let read = |name: &String| match sandbox.json(&format!("out/{name}")) {
        Value::Array(records) => records,
        tree => vec![tree],
    };
    let has_results = |record: &Value| {
        let labels = record["labels"].as_array().is_some_and(|labels| !labels.is_empty());
        labels || record.get("mc_value").is_some()
    };
    let records = names.iter().filter(|name| !name.contains("settings")).flat_map(read);
    records.filter(has_results).map(|record| record["id"].clone()).collect()
}

/// Runs the commands for solutions with one problem for each of these replies, which is its reply in all attempts.
fn fails(tally: &mut Tally, sandbox: &Sandbox, troubles: &[(&'static str, Reply)]) {
    let count = troubles.len();
    let problem = |number: usize| json!({"id": troubles[number].0, "question": format!("[{number}]"), "answer": "7"});
    sandbox.write("p.json", json!((0..count).map(problem).collect::<Vec<_>>()).to_string());
    let replies: Vec<Reply> = troubles.iter().map(|(_, reply)| reply.clone()).collect();
    let server = Server::start(move |_, request| {
        let prompt = request.body["messages"].to_string();
        let number = (0..replies.len()).find(|number| prompt.contains(&format!("[{number}]")));
        replies[number.expect("the prompt has the question")].clone()
    });
    let [generate, annotate, _] = commands(&server);
    for arguments in [generate, annotate] {
        let case = format!("{} of {}", arguments.split(' ').next().unwrap(), troubles[0].0);
        let arguments = arguments.replace(&format!(" {PROBLEMS} "), &format!(" {count} "));
        tally.inputs(count - 1);
        let ended = run(tally, sandbox, &case, &arguments);
        let results = results(sandbox);
        if ended.code != Some(1) || !results.is_empty() {
            tally.lost(&case, &format!("code {:?}, results of {results:?}: {}", ended.code, ended.err));
        }
    }
}

#[test]
fn replies_that_are_no_results() {
    let sandbox = sandbox();
    let elsewhere = Server::script(vec![ok("{}")]);
    let mut tally = Tally::new("servers, troubles");
    let (redirects, others): (Vec<_>, Vec<_>) =
        troubles(&elsewhere.url()).into_iter().partition(|(name, _)| name.starts_with("30"));
    fails(&mut tally, &sandbox, &others);
    // A redirect ends the run, so each is a run of its own.
    for redirect in redirects {
        fails(&mut tally, &sandbox, &[redirect]);
    }
    let asked = elsewhere.requests().len();
    if asked > 0 {
        tally.fault("redirects", &format!("{asked} requests went to another host"));
    }
    tally.finish();
}

/// A reply in which one thing is changed: a value, its bytes, its head, or where it ends.
fn mutated(request: &Request, random: &mut Random) -> Vec<u8> {
    let whole = right(request);
    let body = match random.below(3) {
        0 => whole.to_string().into_bytes(),
        _ => mutate::json(&whole, random).bytes,
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let mut bytes = [format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    match random.below(4) {
        0 => bytes = mutate::bytes(&bytes, random).bytes,
        1 => bytes.truncate(random.below(bytes.len())),
        _ => {}
    }
    bytes
}

#[test]
fn mutated_replies() {
    let sandbox = sandbox();
    let mut tally = Tally::new("servers, mutated");
    for round in 0..cases(REPLIES).div_ceil(5 * PROBLEMS) {
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let server = Server::start(move |index, request| {
            counter.fetch_add(1, Ordering::Relaxed);
            Reply::Raw(mutated(request, &mut Random::new("reply", round * 100_000 + index)))
        });
        for arguments in commands(&server) {
            let case = format!("mutated replies, {} #{round}", arguments.split(' ').next().unwrap());
            if is_wanted(&case) {
                run(&mut tally, &sandbox, &case, &arguments);
            }
        }
        tally.inputs(sent.load(Ordering::Relaxed));
    }
    tally.finish();
}
