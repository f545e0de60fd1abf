//! The record of a form: reading and checking it.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::FormError;
use super::score::{ReadOut, ScoreRecord};
use super::template::{Slot, Template};

/// Maximum size of a record in bytes: what an outline of a GGUF file keeps of a text.
const MAX_BYTES: usize = 64 << 10;
/// The text of an image that the question does not place.
const IMAGE: &str = "{image}\n";

/// How a process reward model reads solutions; `docs/prm-forms.md` describes its record.
#[derive(Debug, Clone, PartialEq)]
pub struct PrmForm {
    name: String,
    source: Option<String>,
    record: String,
    pub(super) text: TextForm,
    read_out: ReadOut,
    /// Texts that end a critique.
    stops: Vec<Template>,
}

/// The text that the model reads.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TextForm {
    pub system: String,
    pub begin: Template,
    pub step: Template,
    pub answer: Template,
    pub between: Template,
    pub end: Template,
    pub image: Template,
    /// Texts of the templates that have to be single tokens.
    pub marks: Vec<String>,
    /// White space around steps, and before a question that begins a message, is removed.
    pub strip: bool,
    /// Steps are tokenised by themselves.
    pub apart: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    name: String,
    source: Option<String>,
    text: TextRecord,
    score: ScoreRecord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextRecord {
    #[serde(default)]
    system: String,
    begin: String,
    step: String,
    answer: Option<String>,
    #[serde(default)]
    between: String,
    #[serde(default)]
    end: String,
    image: Option<String>,
    #[serde(default)]
    marks: Vec<String>,
    #[serde(default)]
    strip: bool,
    #[serde(default)]
    apart: bool,
}

impl PrmForm {
    /// Reads a TOML record.
    ///
    /// # Errors
    /// [`FormError`], naming the key.
    pub fn parse(record: &str) -> Result<Self, FormError> {
        if record.len() > MAX_BYTES {
            return Err(FormError::TooLarge { found: record.len(), max: MAX_BYTES });
        }
        let parsed: Record = toml::from_str(record).map_err(|error| FormError::Toml(one_line(&error, record)))?;
        if parsed.name.is_empty() || parsed.name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            let problem = format!("found {:?}, expected a name without spaces", parsed.name);
            return Err(FormError::Value { key: "name", problem });
        }
        let (read_out, stops) = parsed.score.read_out()?;
        let text = TextForm::of(parsed.text, &read_out)?;
        text.check(&read_out)?;
        Ok(Self { name: parsed.name, source: parsed.source, record: record.to_owned(), text, read_out, stops })
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where the form is from.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Returns the TOML record.
    pub fn record(&self) -> &str {
        &self.record
    }

    /// Returns how a score is read.
    pub fn read_out(&self) -> &ReadOut {
        &self.read_out
    }

    /// Returns whether scores are read at the end of the text only, so that each step takes a prompt of its own.
    pub fn reads_at_end(&self) -> bool {
        self.text.end.has(Slot::Read)
    }

    /// Returns whether the form has a place for images.
    pub fn has_images(&self) -> bool {
        self.text.begin.has(Slot::Images)
    }

    /// Returns whether the form begins with the vocabulary's beginning-of-sequence token.
    pub fn begins_with_bos(&self) -> bool {
        self.text.begin.has(Slot::Bos)
    }

    /// Returns whether the answer of a finished solution is written in another way than its steps.
    pub fn tells_answers(&self) -> bool {
        self.text.answer != self.text.step
    }

    /// Returns the form with another system message.
    #[must_use]
    pub fn with_system(&self, system: &str) -> Self {
        let mut form = self.clone();
        if form.text.begin.has(Slot::System) && system != form.text.system {
            system.clone_into(&mut form.text.system);
            let mut table: toml::Table = form.record.parse().unwrap_or_default();
            if let Some(toml::Value::Table(text)) = table.get_mut("text") {
                text.insert("system".into(), toml::Value::String(system.to_owned()));
            }
            form.record = table.to_string();
        }
        form
    }

    /// Returns the form with the beginning-of-sequence token in front.
    ///
    /// # Panics
    /// Never for a built-in form.
    pub(crate) fn with_bos(&self) -> Self {
        let mut table: toml::Table = self.record.parse().expect("a record is TOML");
        if let Some(toml::Value::String(begin)) = table.get_mut("text").and_then(|text| text.get_mut("begin")) {
            begin.insert_str(0, "{bos}");
        }
        Self::parse(&table.to_string()).expect("the text of a built-in form may begin with the token")
    }

    /// Returns the texts that a vocabulary must have as single tokens for the scores to be read.
    pub fn tokens(&self) -> &[String] {
        match &self.read_out {
            ReadOut::Tokens { tokens, .. } | ReadOut::Critique { tokens, .. } => tokens,
            _ => &[],
        }
    }

    /// Returns in a few words how scores are read.
    pub fn summary(&self) -> String {
        self.read_out.summary()
    }

    /// Returns the texts that end the critique of step `number`, counted from 1.
    #[cfg(any(test, feature = "engine"))]
    pub(crate) fn stops(&self, number: usize) -> Vec<String> {
        let fill = |slot| Some(if slot == Slot::Next { number + 1 } else { number }.to_string());
        self.stops.iter().map(|stop| stop.text(fill)).collect()
    }

    /// Returns whether the text after a score's place begins with the most probable of the form's tokens.
    #[cfg(any(test, feature = "engine"))]
    pub(crate) fn repeats_verdict(&self) -> bool {
        self.text.step.has(Slot::Verdict)
    }

    /// Returns the texts of the templates that a vocabulary must have as single tokens.
    pub fn marks(&self) -> &[String] {
        &self.text.marks
    }

    /// Returns the mark that a score is read at, if each place to read is behind one.
    pub fn mark_read(&self) -> Option<&str> {
        let TextForm { step, answer, end, .. } = &self.text;
        let templates = if end.has(Slot::Read) { vec![end] } else { vec![step, answer] };
        let is_read =
            |mark: &&String| templates.iter().all(|template| template.before(Slot::Read).ends_with(mark.as_str()));
        self.text.marks.iter().find(is_read).map(String::as_str)
    }

    /// Returns the form of implicit PRMs that are trained against a reference model with this β: the text of the built-in form
    /// `implicit`, and the ratio of all tokens up to a step's end.
    ///
    /// # Panics
    /// Never: the form is built in.
    pub fn log_ratio(beta: f64) -> Self {
        let implicit = super::built_in("implicit").expect("the form is built in");
        let mut table: toml::Table = implicit.record.parse().expect("a built-in record is TOML");
        table.insert("name".into(), "implicit-ratio".into());
        table.insert("source".into(), "mmprm train implicit-prm; implicit PRMs: arXiv 2412.01981".into());
        let score = [("by", "logprob-ratio".into()), ("beta", beta.into()), ("cumulative", true.into())];
        let score: toml::Table =
            score.into_iter().map(|(key, value): (&str, toml::Value)| (key.into(), value)).collect();
        table.insert("score".into(), score.into());
        Self::parse(&table.to_string()).expect("the record is that of a built-in form with another score")
    }

    /// Returns the form with other texts in place of `<prm>`, `Yes` and `No`, which files may name.
    ///
    /// # Errors
    /// [`FormError`] for texts that cannot be in a form.
    pub(crate) fn with_words(&self, words: &[(&str, &str)]) -> Result<Self, FormError> {
        let mut table: toml::Table =
            self.record.parse().map_err(|error| FormError::Toml(one_line(&error, &self.record)))?;
        let change = |value: &mut toml::Value, is_part: bool| {
            if let toml::Value::String(text) = value {
                for (from, to) in words {
                    if is_part {
                        *text = text.replace(from, &to.replace('{', "{{"));
                    } else if text == from {
                        (*to).clone_into(text);
                    }
                }
            }
        };
        for (key, value) in table.iter_mut().filter_map(|(_, value)| value.as_table_mut()).flatten() {
            match value {
                toml::Value::Array(items) => items.iter_mut().for_each(|item| change(item, false)),
                value if ["step", "answer"].contains(&key.as_str()) => change(value, true),
                _ => {}
            }
        }
        Self::parse(&table.to_string())
    }
}

impl fmt::Display for PrmForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for PrmForm {
    type Err = FormError;

    /// Returns the built-in form of this name.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let unknown = || FormError::Unknown { found: name.to_owned(), known: Self::BUILT_IN.join(", ") };
        Self::built_in(name).ok_or_else(unknown)
    }
}

impl TextForm {
    fn of(record: TextRecord, read_out: &ReadOut) -> Result<Self, FormError> {
        const BEGIN: [Slot; 4] = [Slot::System, Slot::Bos, Slot::Images, Slot::Question];
        const STEP: [Slot; 5] = [Slot::Step, Slot::Read, Slot::Number, Slot::Critique, Slot::Verdict];
        const END: [Slot; 3] = [Slot::Read, Slot::Number, Slot::Critique];
        let (of_step, of_end) =
            if read_out.is_after_critique() { (&STEP[..], &END[..]) } else { (&STEP[..3], &END[..2]) };
        let answer = record.answer.as_deref().unwrap_or(&record.step);
        Ok(Self {
            begin: Template::parse("text.begin", &record.begin, &BEGIN)?,
            step: Template::parse("text.step", &record.step, of_step)?,
            answer: Template::parse("text.answer", answer, of_step)?,
            between: Template::parse("text.between", &record.between, &[])?,
            end: Template::parse("text.end", &record.end, of_end)?,
            image: Template::parse("text.image", record.image.as_deref().unwrap_or(IMAGE), &[Slot::Image])?,
            system: record.system,
            marks: record.marks,
            strip: record.strip,
            apart: record.apart,
        })
    }

    fn check(&self, read_out: &ReadOut) -> Result<(), FormError> {
        let is_logprob = read_out.is_of_tokens();
        let count = |key, template: &Template, slot: Slot, allowed: std::ops::RangeInclusive<usize>, expected| {
            let found = template.count(slot);
            let error = FormError::Count { key, name: slot.name(), found, expected };
            if allowed.contains(&found) { Ok(()) } else { Err(error) }
        };
        count("text.begin", &self.begin, Slot::Question, 1..=1, "once")?;
        for slot in [Slot::System, Slot::Bos, Slot::Images] {
            count("text.begin", &self.begin, slot, 0..=1, "at most once")?;
        }
        if !self.system.is_empty() && !self.begin.has(Slot::System) {
            let problem = "found a text, but text.begin has no {system}".to_owned();
            return Err(FormError::Value { key: "text.system", problem });
        }
        count("text.image", &self.image, Slot::Image, 1..=1, "once")?;
        for (key, template) in [("text.step", &self.step), ("text.answer", &self.answer)] {
            count(key, template, Slot::Step, 1..=1, "once")?;
            if is_logprob {
                count(key, template, Slot::Read, 0..=0, "never, because the step's own tokens are read")?;
            } else if self.end.has(Slot::Read) {
                count(key, template, Slot::Read, 0..=0, "never, because text.end has it")?;
            } else {
                count(key, template, Slot::Read, 1..=1, "once, or once in text.end")?;
                if !template.is_before(Slot::Step, Slot::Read) {
                    let problem = "{read} is before {step}, so the score would not depend on the step".to_owned();
                    return Err(FormError::Value { key, problem });
                }
            }
        }
        for mark in &self.marks {
            let in_text = [&self.begin, &self.step, &self.answer, &self.between, &self.end];
            if mark.is_empty() || !in_text.iter().any(|template| template.has_text(mark)) {
                let problem = format!("{mark:?} is in no template, expected texts of them that are single tokens");
                return Err(FormError::Value { key: "text.marks", problem });
            }
        }
        for (key, given) in [("text.apart", self.apart), ("text.end", !self.end.parts().is_empty())] {
            if is_logprob && given {
                let problem = "a form that scores by log-probability has none".to_owned();
                return Err(FormError::Value { key, problem });
            }
        }
        let at_end = if is_logprob { 0..=0 } else { 0..=1 };
        count("text.end", &self.end, Slot::Read, at_end, if is_logprob { "never" } else { "at most once" })?;
        if read_out.is_after_critique() { self.check_critique() } else { Ok(()) }
    }

    /// Checks that each place where a score is read is after one where a critique is written.
    fn check_critique(&self) -> Result<(), FormError> {
        let refuse = |key, problem: &str| Err(FormError::Value { key, problem: problem.to_owned() });
        if self.apart {
            return refuse(
                "text.apart",
                "a form with critiques has none: texts between critiques are tokenised by themselves",
            );
        }
        if self.step.has(Slot::Verdict) != self.answer.has(Slot::Verdict) {
            return refuse(
                "text.answer",
                "{verdict} is in only one of text.step and text.answer, expected both or none",
            );
        }
        for (key, template) in [("text.step", &self.step), ("text.answer", &self.answer), ("text.end", &self.end)] {
            let reads = template.has(Slot::Read);
            let (critiques, verdicts) = (template.count(Slot::Critique), template.count(Slot::Verdict));
            let count = |name: Slot, found, expected| Err(FormError::Count { key, name: name.name(), found, expected });
            match (reads, critiques, verdicts) {
                (false, 0, 0) => continue,
                (false, 0, found) => return count(Slot::Verdict, found, "never, because {read} is elsewhere"),
                (false, found, _) => return count(Slot::Critique, found, "never, because {read} is elsewhere"),
                (true, 1, 0 | 1) => {}
                (true, 1, found) => return count(Slot::Verdict, found, "at most once, after {read}"),
                (true, found, _) => return count(Slot::Critique, found, "once, before {read}"),
            }
            if template.has(Slot::Step) && !template.is_before(Slot::Step, Slot::Critique) {
                return refuse(key, "{critique} is before {step}, so the model would not have read the step");
            }
            if !template.is_before(Slot::Critique, Slot::Read) {
                return refuse(key, "{read} is before {critique}, so the score would not depend on the critique");
            }
            if template.is_directly_before(Slot::Critique, Slot::Read) {
                return refuse(
                    key,
                    "{read} is directly after {critique}, expected a text between them that asks for the verdict",
                );
            }
            if template.has(Slot::Verdict) && !template.is_directly_before(Slot::Read, Slot::Verdict) {
                return refuse(
                    key,
                    "{verdict} is not directly after {read}, expected the token where its logits are read",
                );
            }
        }
        Ok(())
    }
}

/// The parser's message on one line, with the line of the record.
fn one_line(error: &toml::de::Error, record: &str) -> String {
    let message = error.message().replace('\n', " ");
    match error.span() {
        Some(span) => {
            let line = record.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1);
            format!("line {line}: {message}")
        }
        None => message,
    }
}
