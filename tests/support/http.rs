//! A small HTTP server whose replies a test scripts, valid or not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST /v1/chat/completions`.
    pub target: String,
    /// Header lines with lower-case names.
    pub headers: Vec<String>,
    pub body: Value,
    pub at: Instant,
}

impl Request {
    /// The text of the first message.
    pub fn prompt(&self) -> String {
        self.body["messages"][0]["content"][0]["text"].as_str().expect("a prompt").to_owned()
    }
}

/// How the server answers a request before it closes the connection.
#[derive(Debug, Clone)]
pub enum Reply {
    /// These bytes.
    Raw(Vec<u8>),
    /// These bytes, then nothing until the test ends.
    Stall(Vec<u8>),
}

/// A reply with a status, additional header lines and a body.
pub fn reply(status: &str, headers: &[&str], body: &str) -> Reply {
    let headers = headers.join("\r\n") + if headers.is_empty() { "" } else { "\r\n" };
    let length = body.len();
    Reply::Raw(
        format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}")
            .into_bytes(),
    )
}

/// A chat completion with these words.
pub fn says(words: &str) -> Reply {
    reply("200 OK", &["content-type: application/json"], &completion(words))
}

/// The body of [`says`].
pub fn completion(words: &str) -> String {
    json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": words}}]}).to_string()
}

/// A chat completion of one token, with the most likely tokens and their log-probabilities.
pub fn likes(tokens: &[(&str, f64)]) -> Reply {
    let top: Vec<Value> = tokens.iter().map(|(token, logprob)| json!({"token": token, "logprob": logprob})).collect();
    let message = json!({"role": "assistant", "content": tokens.first().map_or("", |(token, _)| token)});
    let body = json!({"choices": [{"message": message, "logprobs": {"content": [{"top_logprobs": top}]}}]});
    reply("200 OK", &["content-type: application/json"], &body.to_string())
}

type Behaviour = dyn Fn(usize, &Request) -> Reply + Send + Sync;

/// The running server; dropping it stops it.
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    behaviour: Box<Behaviour>,
    requests: Mutex<Vec<Request>>,
    stop: AtomicBool,
    in_flight: AtomicUsize,
    max: AtomicUsize,
}

impl Server {
    /// Starts a server that answers request `index`, counted from 0, with the result of
    /// `behaviour`.
    pub fn start(behaviour: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            behaviour: Box::new(behaviour),
            requests: Mutex::default(),
            stop: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            max: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stop.load(Ordering::Relaxed) {
                    break;
                }
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || stream.map(|stream| serving.serve(stream)));
            }
        });
        Self { port, shared, thread: Some(thread) }
    }

    /// A server that gives these replies in order, then repeats the last one.
    pub fn script(replies: Vec<Reply>) -> Self {
        Self::start(move |index, _| replies[index.min(replies.len() - 1)].clone())
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The maximum number of requests in flight so far.
    pub fn max_at_once(&self) -> usize {
        self.shared.max.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // A final connection wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let Some(request) = read(&stream) else {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            return None;
        };
        self.max.fetch_max(self.in_flight.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let index = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let reply = (self.behaviour)(index, &request);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        match reply {
            Reply::Raw(bytes) => stream.write_all(&bytes).ok()?,
            Reply::Stall(bytes) => {
                stream.write_all(&bytes).ok()?;
                while !self.stop.load(Ordering::Relaxed) {
                    sleep(Duration::from_millis(5));
                }
            }
        }
        Some(())
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let target = lines.first()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<String> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": ").map(|(name, value)| format!("{}: {value}", name.to_lowercase())))
        .collect();
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: "))?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { target, headers, body: serde_json::from_slice(&body).ok()?, at: Instant::now() })
}
