//! The texts of a page, each stored once, with their formulas.
//!
//! A text is a JSON string, or a list of strings and indices of formulas.
//!
//! ```
//! use mmprm::report::texts::Texts;
//! let mut texts = Texts::default();
//! assert_eq!([texts.index("So $x$ is 2."), texts.index("Hence."), texts.index("So $x$ is 2.")], [0, 1, 0]);
//! assert_eq!(serde_json::to_string(texts.list()).unwrap(), r#"[["So ",0," is 2."],"Hence."]"#);
//! ```

use std::collections::HashMap;

use serde_json::{Value, json};

use super::math::{Formulas, Part, split};

/// The texts of a page.
#[derive(Debug, Default)]
pub struct Texts {
    known: HashMap<String, usize>,
    list: Vec<Value>,
    /// The formulas in them.
    pub formulas: Formulas,
}

impl Texts {
    /// The index of a text in [`list`](Self::list).
    pub fn index(&mut self, text: &str) -> usize {
        if let Some(known) = self.known.get(text) {
            return *known;
        }
        let value = self.value(text);
        self.list.push(value);
        self.known.insert(text.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }

    /// All texts.
    pub fn list(&self) -> &[Value] {
        &self.list
    }

    fn value(&mut self, text: &str) -> Value {
        let parts = split(text);
        if let [Part::Text(_)] | [] = parts[..] {
            return json!(text);
        }
        let mut values: Vec<Value> = Vec::new();
        let mut plain = String::new();
        let mut end = 0;
        for part in parts {
            match part {
                Part::Text(part) => {
                    plain.push_str(part);
                    end += part.len();
                }
                Part::Formula { source, block } => {
                    // With its delimiters, for where it cannot be converted.
                    let from = end;
                    end = end_of(text, from, source);
                    match self.formulas.index(source, block) {
                        Some(index) => {
                            if !plain.is_empty() {
                                values.push(json!(std::mem::take(&mut plain)));
                            }
                            values.push(json!(index));
                        }
                        None => plain.push_str(&text[from..end]),
                    }
                }
            }
        }
        if values.is_empty() {
            return json!(plain);
        }
        if !plain.is_empty() {
            values.push(json!(plain));
        }
        Value::Array(values)
    }
}

/// Where the formula with this source ends that begins at `from`, its closing delimiter included.
fn end_of(text: &str, from: usize, source: &str) -> usize {
    let delimiter = if text[from..].starts_with('$') && !text[from..].starts_with("$$") { 1 } else { 2 };
    let inner = from + delimiter;
    let after = inner + text[inner..].find(source).unwrap_or(0) + source.len();
    let blanks = text[after..].len() - text[after..].trim_start().len();
    after + blanks + delimiter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_that_cannot_be_converted_stay_as_written() {
        let mut texts = Texts::default();
        for text in [r"a $\bad{x}$ b", r"\(\bad\)", r"\[ \bad \] $ \bad $", "$$\\bad$$", "", "plain <b>"] {
            let index = texts.index(text);
            assert_eq!(texts.list()[index], json!(text));
        }
        let index = texts.index(r"a $\bad$ b $ x=1 $ c \[ y \]");
        assert_eq!(texts.list()[index], json!([r"a $\bad$ b ", 0, " c ", 1]));
    }
}
