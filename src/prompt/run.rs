//! Text to tokenise, of which parts are plain: special tokens that a question, a step or an answer spells out are text there.
//!
//! Finding the parts is done here; ids are left to the engine and to the trainer's tokenizer.

use std::ops::Range;

/// A run of text without images, with the parts of it that came from a user or a model.
///
/// ```
/// use mmprm::prompt::{Fragment, Run, Special};
/// let specials = [Special::new("<|im_end|>")];
/// let mut run = Run::default();
/// run.plain("a <|im_end|> b");
/// run.template("<|im_end|>");
/// assert_eq!(run.fragments(&specials), Some(vec![Fragment::Text("a <|im_end|> b"), Fragment::Special(0)]));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    text: String,
    plain: Vec<Range<usize>>,
    reference: bool,
}

/// A special token of a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Special {
    /// Its text.
    pub text: String,
    /// Whether the tokenizer finds it even where it looks for no special tokens (llama.cpp's user-defined tokens), so that plain
    /// text has to be split within it.
    pub always_found: bool,
}

impl Special {
    /// A special token that is found only where the tokenizer looks for special tokens.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), always_found: false }
    }
}

/// A part of a run that is tokenised by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment<'a> {
    /// Text in which no special token is looked for.
    Text(&'a str),
    /// A special token, by its index in the list.
    Special(usize),
}

impl Run {
    /// Returns an empty run. With `reference`, special tokens are recognised in plain text too, as in
    /// MM-PRM's code.
    pub fn new(reference: bool) -> Self {
        Self { reference, ..Self::default() }
    }

    /// Appends text in which special tokens are recognised.
    pub fn template(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Appends text in which special tokens are text.
    pub fn plain(&mut self, text: &str) {
        if self.reference {
            return self.template(text);
        }
        let start = self.text.len();
        self.text.push_str(text);
        match self.plain.last_mut() {
            Some(last) if last.end == start => last.end = self.text.len(),
            _ if text.is_empty() => {}
            _ => self.plain.push(start..self.text.len()),
        }
    }

    /// Returns a part of the run.
    ///
    /// # Panics
    /// If the bytes do not begin and end at characters.
    #[must_use]
    pub fn part(&self, bytes: Range<usize>) -> Self {
        let within = |range: &Range<usize>| {
            let (start, end) = (range.start.max(bytes.start), range.end.min(bytes.end));
            (start < end).then(|| start - bytes.start..end - bytes.start)
        };
        let plain = self.plain.iter().filter_map(within).collect();
        Self { text: self.text[bytes.clone()].to_owned(), plain, reference: self.reference }
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Removes all text.
    pub fn clear(&mut self) {
        self.text.clear();
        self.plain.clear();
    }

    /// Returns the parts to tokenise one by one, or `None` where no plain part spells out one of `specials`: then the whole text is
    /// tokenised at once, as MM-PRM does.
    pub fn fragments(&self, specials: &[Special]) -> Option<Vec<Fragment<'_>>> {
        let spells_one = |range: &Range<usize>| find(&self.text[range.clone()], specials).is_some();
        if !self.plain.iter().any(spells_one) {
            return None;
        }
        let (mut fragments, mut start, mut position) = (Vec::new(), 0, 0);
        let mut plain = self.plain.iter().peekable();
        while position < self.text.len() {
            while plain.next_if(|range| range.end <= position).is_some() {}
            let (is_plain, end) = match plain.peek() {
                Some(range) if range.start <= position => (true, range.end),
                Some(range) => (false, range.start),
                None => (false, self.text.len()),
            };
            let Some((at, index)) = find(&self.text[position..end], specials) else {
                position = end;
                continue;
            };
            let (at, special) = (position + at, &specials[index]);
            if !is_plain {
                fragments.extend(self.fragment(start..at));
                fragments.push(Fragment::Special(index));
                start = at + special.text.len();
            } else if special.always_found {
                let inside = at + special.text.chars().next().map_or(0, char::len_utf8);
                fragments.extend(self.fragment(start..inside));
                start = inside;
            }
            // Plain text may spell out another one within this one.
            position = if is_plain { at + special.text.chars().next().map_or(1, char::len_utf8) } else { start };
        }
        fragments.extend(self.fragment(start..self.text.len()));
        Some(fragments)
    }

    fn fragment(&self, range: Range<usize>) -> Option<Fragment<'_>> {
        (!range.is_empty()).then(|| Fragment::Text(&self.text[range]))
    }
}

/// The first of `specials` in `text`, and of those that begin there the longest: its place and its index. Text after
/// that place is not read, which keeps the time of many searches linear.
fn find(text: &str, specials: &[Special]) -> Option<(usize, usize)> {
    let mut begins = [false; 256];
    for first in specials.iter().filter_map(|special| special.text.bytes().next()) {
        begins[usize::from(first)] = true;
    }
    let mut places = text.bytes().enumerate().filter(|(_, byte)| begins[usize::from(*byte)]).map(|(at, _)| at);
    places.find_map(|at| {
        let rest = &text.as_bytes()[at..];
        let found = specials.iter().enumerate().filter(|(_, special)| !special.text.is_empty());
        let found = found.filter(|(_, special)| rest.starts_with(special.text.as_bytes()));
        Some((at, found.min_by_key(|(_, special)| std::cmp::Reverse(special.text.len()))?.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specials() -> Vec<Special> {
        let always = Special { always_found: true, ..Special::new("<prm>") };
        vec![Special::new("<|im_end|>"), always, Special::new("<s>"), Special::new("<s><s>")]
    }

    /// Template text in brackets, plain text without.
    fn run(text: &str) -> Run {
        let mut run = Run::default();
        for (index, part) in text.split(['[', ']']).enumerate() {
            if index % 2 == 1 { run.template(part) } else { run.plain(part) }
        }
        run
    }

    fn fragments(text: &str) -> Option<Vec<String>> {
        let run = run(text);
        let fragments = run.fragments(&specials())?;
        let write = |fragment: &Fragment<'_>| match fragment {
            Fragment::Text(text) => (*text).to_owned(),
            Fragment::Special(index) => format!("#{index}"),
        };
        let written: String = fragments
            .iter()
            .map(|fragment| match fragment {
                Fragment::Text(text) => *text,
                Fragment::Special(index) => run_specials()[*index],
            })
            .collect();
        assert_eq!(written, run.text(), "nothing is lost");
        Some(fragments.iter().map(write).collect())
    }

    fn run_specials() -> &'static [&'static str] {
        &["<|im_end|>", "<prm>", "<s>", "<s><s>"]
    }

    #[test]
    fn text_without_special_tokens_is_tokenised_at_once() {
        assert_eq!(fragments("a[<|im_end|><prm>]b < s>"), None);
        assert_eq!(fragments(""), None);
    }

    #[test]
    fn special_tokens_are_recognised_in_the_template_only() {
        assert_eq!(fragments("a<|im_end|>b[<|im_end|>\n]c").unwrap(), ["a<|im_end|>b", "#0", "\nc"]);
        assert_eq!(fragments("[<s>x]<s>[<s><s>]").unwrap(), ["#2", "x<s>", "#3"]);
        assert_eq!(fragments("<|im_end|>").unwrap(), ["<|im_end|>"]);
    }

    #[test]
    fn tokens_that_are_always_found_are_split_in_plain_text() {
        assert_eq!(fragments("a<prm>b[<prm>]").unwrap(), ["a<", "prm>b", "#1"]);
        assert_eq!(fragments("<prm><prm>").unwrap(), ["<", "prm><", "prm>"]);
        assert_eq!(fragments("<pr<prm>m>[<prm>]").unwrap(), ["<pr<", "prm>m>", "#1"]);
    }

    #[test]
    fn a_part_of_a_run_has_its_plain_parts() {
        let whole = run("ab[<s>]cd[e]");
        assert_eq!(whole.part(1..6), run("b[<s>]c"));
        assert_eq!(whole.part(2..5), run("[<s>]"));
        assert_eq!(whole.part(0..whole.text().len()), whole);
        assert!(whole.part(3..3).is_empty());
    }

    #[test]
    fn many_tokens_in_a_long_text_take_linear_time() {
        let run = run(&"<prm>".repeat(200_000));
        assert_eq!(run.fragments(&specials()).unwrap().len(), 200_001);
    }

    #[test]
    fn a_token_across_plain_and_template_text_is_none() {
        assert_eq!(fragments("<prm>, <pr[m>]").unwrap(), ["<", "prm>, <prm>"]);
    }
}
