//! The strings of an array, in about the memory that they take in a file: vocabularies have hundreds
//! of thousands of short ones, and hostile files millions.

use std::ops::Range;

/// A list of strings, stored one after another.
///
/// ```
/// use mmprm_quant::gguf::Texts;
/// let texts: Texts = ["a", "", "bc"].into_iter().collect();
/// assert_eq!((texts.len(), texts.get(2), texts.get(3)), (3, Some("bc"), None));
/// assert_eq!(texts.iter().collect::<Vec<_>>(), ["a", "", "bc"]);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Texts {
    joined: String,
    /// Where each string ends.
    ends: Vec<usize>,
}

impl Texts {
    /// Returns the number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the string at `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        self.range(index).map(|range| &self.joined[range])
    }

    /// Returns the strings in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    /// Makes room for the places of `count` more strings.
    pub(super) fn reserve(&mut self, count: usize) {
        self.ends.reserve_exact(count);
    }

    /// Appends a string.
    pub fn push(&mut self, text: &str) {
        self.joined.push_str(text);
        self.ends.push(self.joined.len());
    }

    /// Returns the memory taken by a string besides its own bytes.
    pub(super) const fn overhead() -> usize {
        size_of::<usize>()
    }

    fn range(&self, index: usize) -> Option<Range<usize>> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(start..end)
    }
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl<T: AsRef<str>> Extend<T> for Texts {
    fn extend<I: IntoIterator<Item = T>>(&mut self, texts: I) {
        texts.into_iter().for_each(|text| self.push(text.as_ref()));
    }
}

impl<T: AsRef<str>> FromIterator<T> for Texts {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut all = Self::default();
        all.extend(texts);
        all
    }
}
