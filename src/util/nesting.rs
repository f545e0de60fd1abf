//! Limits on the structure of JSON, checked on its bytes before it is parsed.
//!
//! A parser needs stack for each level of nesting and, for a value of a few bytes, memory of many
//! times its length. Counting brackets and commas outside of strings bounds both. Bytes that are
//! not JSON are counted too; the parser refuses them.

/// Maximum structure of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Structure {
    /// Levels of arrays and objects.
    pub(crate) levels: usize,
    /// Arrays and objects.
    pub(crate) brackets: usize,
    /// Commas, of which there is one less than values in each array and object.
    pub(crate) commas: usize,
}

impl Structure {
    /// No more than this many levels; nothing else is limited.
    pub(crate) const fn levels(levels: usize) -> Self {
        Self { levels, brackets: usize::MAX, commas: usize::MAX }
    }

    /// Returns where `json` first exceeds the limits, and how; `None` if it does not.
    pub(crate) fn excess(&self, json: &[u8]) -> Option<Excess> {
        let (mut level, mut brackets, mut commas) = (0_usize, 0_usize, 0_usize);
        let (mut in_string, mut escaped) = (false, false);
        for (at, &byte) in json.iter().enumerate() {
            match (in_string, byte) {
                (true, _) if escaped => escaped = false,
                (true, b'\\') => escaped = true,
                (_, b'"') => in_string = !in_string,
                (false, b'[' | b'{') => {
                    (level, brackets) = (level + 1, brackets + 1);
                    if level > self.levels {
                        return Some(Excess { at, what: "levels", limit: self.levels });
                    }
                    if brackets > self.brackets {
                        return Some(Excess { at, what: "arrays and objects", limit: self.brackets });
                    }
                }
                (false, b']' | b'}') => level = level.saturating_sub(1),
                (false, b',') => {
                    commas += 1;
                    if commas > self.commas {
                        return Some(Excess { at, what: "values", limit: self.commas });
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Where and how a text exceeds a [`Structure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Excess {
    /// Offset of the first byte too many.
    pub(crate) at: usize,
    /// What there is too much of.
    pub(crate) what: &'static str,
    /// How much there may be.
    pub(crate) limit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_brackets_and_commas_are_counted_outside_of_strings() {
        let limits = Structure { levels: 2, brackets: 3, commas: 2 };
        for (text, expected) in [
            (r#"{"a": ["[[[,,,", "\"[[[", 1]}"#, None),
            ("[[]", None),
            ("[[[", Some((2, "levels"))),
            (r#"[{"a": {"#, Some((7, "levels"))),
            ("[[],[],[],[]]", Some((7, "arrays and objects"))),
            ("[0,0,0,0]", Some((6, "values"))),
            (r#"["\\",[["#, Some((7, "levels"))),
            ("]]]][[", None),
        ] {
            let found = limits.excess(text.as_bytes()).map(|excess| (excess.at, excess.what));
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(Structure::levels(1).excess("[0,0,0,[".as_bytes()).unwrap().limit, 1);
    }
}
