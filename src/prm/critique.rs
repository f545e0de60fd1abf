//! Scores that are read after a critique of each step, which the model writes: generative reward models and judges.
//!
//! A candidate is a conversation of turns: text up to a critique, the critique, text up to the place where the score is read. A
//! critique is drawn greedily and stays in the conversation token for token; texts between critiques are tokenised by themselves.
//! Turns of a conversation follow each other. A deterministic engine runs one conversation after the other, so that a turn extends
//! the prompt in the cache; another engine decodes the same turn of all conversations together. Equal turns are computed once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::probability::softmax;
use super::{Critique, ScoreRequest};
use crate::engine::{Completion, Engine, Finish, GenerateRequest, Model, Prompt, Sampling, Stream, Token};
use crate::prompt::{Layout, Piece, PrmForm};
use crate::util::cancel::CancelToken;
use crate::vision::prompts::{EncodeError, PromptEncoder};

/// Writes critiques and reads scores after them, for one problem.
pub(super) struct Critic<'a> {
    pub engine: &'a Engine,
    pub encoder: &'a PromptEncoder,
    pub form: &'a PrmForm,
    pub tokens: &'a [Token],
    pub positive: &'a [usize],
    pub max_tokens: usize,
    pub images: &'a [PathBuf],
    pub cancel: &'a CancelToken,
    pub known: &'a KnownTurns,
}

/// The steps of a candidate that are judged in one conversation.
struct Conversation {
    candidate: usize,
    /// The index of the step that the first turn is about.
    first: usize,
    layout: Layout,
    /// What follows the text of the first turn: critiques, and the text between them.
    then: Vec<Token>,
    judged: Vec<(f64, Critique)>,
}

/// What makes two turns the same: keys of the prompt, the number of the step (for the texts that end a critique), the text after it.
type Key = (Arc<[u64]>, usize, String);

/// A turn to compute.
struct New {
    key: Key,
    /// The index of a conversation that has it.
    conversation: usize,
    prompt: Prompt,
}

/// A turn that was computed.
#[derive(Debug)]
struct Turn {
    /// Tokens of the critique, of the text after it, and of the verdict if the form repeats it.
    tokens: Vec<Token>,
    score: f64,
    critique: Critique,
}

/// Turns that were computed, also for earlier requests: a search scores longer and longer beginnings of a solution.
#[derive(Debug, Default)]
pub(super) struct KnownTurns(Mutex<HashMap<Key, Arc<Turn>>>);

impl KnownTurns {
    /// Number of turns at which all are dropped: about 64 MiB of prompts of 2,000 positions.
    const MAX: usize = 4096;

    fn get(&self, key: &Key) -> Option<Arc<Turn>> {
        self.lock().get(key).cloned()
    }

    fn insert(&self, key: Key, turn: Turn) -> Arc<Turn> {
        let (turn, mut known) = (Arc::new(turn), self.lock());
        if known.len() >= Self::MAX {
            known.clear();
        }
        known.insert(key, Arc::clone(&turn));
        turn
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Turn>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conversation {
    fn turns(&self) -> usize {
        self.layout.critiques.len()
    }

    /// The text of a turn before its critique, and after it up to the place where the score is read.
    fn texts(&self, turn: usize) -> (&[Piece], &[Piece]) {
        let start = if turn == 0 { 0 } else { self.layout.reads[turn - 1] };
        let (critique, read) = (self.layout.critiques[turn], self.layout.reads[turn]);
        (&self.layout.pieces[start..critique], &self.layout.pieces[critique..read])
    }
}

impl Critic<'_> {
    /// Returns a score and a critique for each step of each candidate.
    pub fn judge(
        &self,
        request: &ScoreRequest<'_>,
        is_finished: bool,
        text: impl Fn(&str) -> String,
    ) -> Result<Vec<Vec<(f64, Critique)>>, EncodeError> {
        let question = text(request.question);
        let mut order: Vec<usize> = (0..request.solutions.len()).collect();
        // Neighbours share the longest beginnings.
        order.sort_by(|a, b| request.solutions[*a].cmp(&request.solutions[*b]));
        let mut conversations = Vec::new();
        for candidate in order {
            let steps: Vec<String> = request.solutions[candidate].iter().map(|step| text(step)).collect();
            for count in self.form.shown(steps.len()) {
                let is_whole = is_finished && count == steps.len();
                let layout = self.form.layout(&question, &steps[..count], self.images.len(), is_whole)?;
                let first = if self.form.reads_at_end() { count - 1 } else { 0 };
                conversations.push(Conversation { candidate, first, layout, then: Vec::new(), judged: Vec::new() });
            }
        }
        let width = if self.engine.is_deterministic() { 1 } else { conversations.len().max(1) };
        for group in conversations.chunks_mut(width) {
            let turns = group.iter().map(Conversation::turns).max().unwrap_or_default();
            (0..turns).try_for_each(|turn| self.turn(group, turn))?;
        }
        let mut judged: Vec<Vec<(f64, Critique)>> = vec![Vec::new(); request.solutions.len()];
        for conversation in conversations {
            judged[conversation.candidate].extend(conversation.judged);
        }
        Ok(judged)
    }

    /// Computes a turn of those conversations that have it.
    fn turn(&self, group: &mut [Conversation], turn: usize) -> Result<(), EncodeError> {
        let (mut own, mut new) = (Vec::new(), Vec::<New>::new());
        for (index, conversation) in group.iter_mut().enumerate().filter(|(_, one)| turn < one.turns()) {
            if turn > 0 {
                let before = self.tokenize("", conversation.texts(turn).0)?;
                conversation.then.extend(before);
            }
            let prompt = self.prompt(conversation, &[])?;
            let after: String = conversation.texts(turn).1.iter().map(text).collect();
            let key = (Arc::clone(prompt.keys()), conversation.first + turn + 1, after);
            let known = self.known.get(&key).ok_or_else(|| {
                new.iter().position(|new| new.key == key).unwrap_or_else(|| {
                    new.push(New { key, conversation: index, prompt });
                    new.len() - 1
                })
            });
            own.push((index, known));
        }
        let computed = if new.is_empty() { Vec::new() } else { self.compute(group, turn, new)? };
        for (index, known) in own {
            let turn = known.unwrap_or_else(|new| Arc::clone(&computed[new]));
            group[index].then.extend(&turn.tokens);
            group[index].judged.push((turn.score, turn.critique.clone()));
        }
        Ok(())
    }

    /// Computes turns that are not known.
    fn compute(&self, group: &[Conversation], turn: usize, new: Vec<New>) -> Result<Vec<Arc<Turn>>, EncodeError> {
        let requests = new.iter().map(|new| self.request(new.prompt.clone(), new.key.1)).collect();
        let (mut written, mut prompts) = (Vec::new(), Vec::new());
        for (completions, new) in self.engine.generate_each(requests)?.iter().zip(&new) {
            let completion = completions.first().expect("a request has one rollout");
            let conversation = &group[new.conversation];
            let (tokens, critique) = self.written(completion, new.key.1, conversation.texts(turn).1)?;
            let prompt = self.prompt(conversation, &tokens)?;
            let last = prompt.len() - 1;
            prompts.push(prompt.marked(vec![last])?);
            written.push((tokens, critique));
        }
        let rows = self.engine.logits(prompts, self.tokens)?;
        let mut computed = Vec::new();
        for ((new, (mut tokens, critique)), rows) in new.into_iter().zip(written).zip(rows) {
            let logits: Vec<f64> = rows.into_iter().flatten().map(f64::from).collect();
            let score = self.positive.iter().map(|index| softmax(&logits, *index)).sum();
            if self.form.repeats_verdict() {
                tokens.push(self.tokens[highest(&logits)]);
            }
            computed.push(self.known.insert(new.key, Turn { tokens, score, critique }));
        }
        Ok(computed)
    }

    /// The prompt of a conversation so far, followed by `tokens`.
    fn prompt(&self, conversation: &Conversation, tokens: &[Token]) -> Result<Prompt, EncodeError> {
        let Layout { pieces, bos, critiques, .. } = &conversation.layout;
        let first = Layout { pieces: pieces[..critiques[0]].to_vec(), bos: *bos, ..Layout::default() };
        let then = [&conversation.then, tokens].concat();
        Ok(self.encoder.layout(&first, self.images, &then)?.0)
    }

    fn request(&self, prompt: Prompt, number: usize) -> GenerateRequest {
        let streams = vec![Stream::named(0, "critique", 0, 0)];
        let mut request = GenerateRequest::new(prompt, Sampling::GREEDY, streams, self.max_tokens);
        request.stop_texts = self.form.stops(number);
        request.cancel = self.cancel.clone();
        request
    }

    /// The critique of step `number`, and its tokens with those of the text after it.
    fn written(
        &self,
        completion: &Completion,
        number: usize,
        after: &[Piece],
    ) -> Result<(Vec<Token>, Critique), EncodeError> {
        let Cut { whole, rest, text } = cut(self.encoder.model(), &completion.tokens, &self.form.stops(number));
        let mut tokens = completion.tokens[..whole].to_vec();
        tokens.extend(self.tokenize(&rest, after)?);
        Ok((tokens, Critique { text, truncated: completion.finish == Finish::Length }))
    }

    /// Tokens of what is left of a critique and of template text after it.
    fn tokenize(&self, rest: &str, pieces: &[Piece]) -> Result<Vec<Token>, EncodeError> {
        let mut run = self.encoder.run();
        run.plain(rest);
        for piece in pieces {
            match piece {
                Piece::Text(text) => run.template(text),
                Piece::Plain(text) => run.plain(text),
                // Images belong to the question, which is in the first turn's text.
                Piece::Image(_) => {}
            }
        }
        if run.is_empty() { Ok(Vec::new()) } else { Ok(self.encoder.tokenize(&run, false)?) }
    }
}

fn text(piece: &Piece) -> &str {
    match piece {
        Piece::Text(text) | Piece::Plain(text) => text,
        Piece::Image(_) => "",
    }
}

/// The index of the highest logit, the first of equal ones.
fn highest(logits: &[f64]) -> usize {
    (1..logits.len()).fold(0, |best, index| if logits[index] > logits[best] { index } else { best })
}

/// What is left of drawn tokens before the first text that ends a critique.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    /// Number of tokens that are before it as a whole.
    whole: usize,
    /// The part before it of the next token.
    rest: String,
    /// All text before it.
    text: String,
}

fn cut(model: &Model, tokens: &[Token], stops: &[String]) -> Cut {
    let texts: Vec<Vec<u8>> = tokens.iter().map(|token| model.bytes(*token)).collect();
    cut_texts(&texts, stops)
}

fn cut_texts(tokens: &[Vec<u8>], stops: &[String]) -> Cut {
    let bytes = tokens.concat();
    let find = |stop: &String| bytes.windows(stop.len()).position(|part| part == stop.as_bytes());
    let end = stops.iter().filter_map(find).min();
    let text = String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned();
    let Some(end) = end else { return Cut { whole: tokens.len(), rest: String::new(), text } };
    let mut length = 0;
    let mut ends = vec![0];
    ends.extend(tokens.iter().map(|token| {
        length += token.len();
        length
    }));
    let whole = ends.iter().take_while(|own| **own <= end).count() - 1;
    // A character may begin in one token and end in the next: then neither is whole.
    let rest = |whole: usize| std::str::from_utf8(&bytes[ends[whole]..end]).ok().map(|rest| (whole, rest.to_owned()));
    let (whole, rest) = (0..=whole).rev().find_map(rest).unwrap_or((whole, String::new()));
    Cut { whole, rest, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_of(tokens: &[&[u8]], stops: &[&str]) -> (usize, String, String) {
        let tokens: Vec<Vec<u8>> = tokens.iter().map(|token| token.to_vec()).collect();
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let Cut { whole, rest, text } = cut_texts(&tokens, &stops);
        (whole, rest, text)
    }

    fn expected(whole: usize, rest: &str, text: &str) -> (usize, String, String) {
        (whole, rest.to_owned(), text.to_owned())
    }

    #[test]
    fn a_critique_ends_before_the_first_stop_text() {
        assert_eq!(cut_of(&[b"It", b" is", b" so"], &["</a>"]), expected(3, "", "It is so"));
        assert_eq!(cut_of(&[b"It", b" is", b"</a>"], &["</a>"]), expected(2, "", "It is"));
        assert_eq!(cut_of(&[b"It", b" is.</", b"a", b">\n"], &["</a>"]), expected(1, " is.", "It is."));
        assert_eq!(cut_of(&[b"It", b".\n\nStep", b" 2:"], &["Step 2:", "\n\n"]), expected(1, ".", "It."));
        assert_eq!(cut_of(&[b"</a>"], &["</a>"]), expected(0, "", ""));
        assert_eq!(cut_of(&[b"x", b"", b"</a>"], &["</a>"]), expected(2, "", "x"));
        assert_eq!(cut_of(&[], &["</a>"]), expected(0, "", ""));
        assert_eq!(cut_of(&[b"It"], &[]), expected(1, "", "It"));
    }

    #[test]
    fn a_character_that_two_tokens_share_is_text_of_neither() {
        // "é" is 0xC3 0xA9.
        assert_eq!(cut_of(&[b"a", b"b\xc3", b"\xa9.</a>"], &["</a>"]), expected(1, "bé.", "abé."));
        assert_eq!(cut_of(&[b"a\xc3", b"\xa9", b"</a>"], &["</a>"]), expected(2, "", "aé"));
        assert_eq!(cut_of(&[b"a\xc3", b"</a>"], &["</a>"]), expected(1, "", "a\u{fffd}"));
    }

    #[test]
    fn the_verdict_is_the_first_of_the_most_probable_tokens() {
        assert_eq!([highest(&[1.0, 2.0, 2.0]), highest(&[3.0, 2.0]), highest(&[-1.0, -1.0])], [1, 0, 0]);
    }
}
