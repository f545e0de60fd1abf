//! How much of the metadata is kept: all of it, or an outline for a listing.
//!
//! Files whose header is one long array are valid, and reading them takes a multiple of their size.
//! An outline has the beginnings of long arrays and strings; all elements are validated.

/// Arrays of more elements are cut in an outline.
const LONG_ARRAY: usize = 1024;
/// Number of elements kept of a long array.
const ITEMS: usize = 16;
/// Strings of more bytes are cut in an outline, to this length.
const LONG_TEXT: usize = 64 << 10;
/// Maximum size in bytes of all values kept in an outline.
const BUDGET: usize = 4 << 20;
/// Bytes counted per element beside its own: it is copied to be shown.
const PER_ITEM: usize = 64;

/// What is kept of the values that are still to be read.
#[derive(Debug)]
pub(super) struct Keep {
    /// Bytes that may still be kept; `None` for everything.
    budget: Option<usize>,
    /// Number of texts that were cut.
    cuts: usize,
}

impl Keep {
    /// Keeps everything.
    pub(super) fn everything() -> Self {
        Self { budget: None, cuts: 0 }
    }

    /// Keeps short values, and the beginnings of long ones.
    pub(super) fn outline() -> Self {
        Self { budget: Some(BUDGET), cuts: 0 }
    }

    /// Returns the part of a text that is kept.
    pub(super) fn text<'a>(&mut self, text: &'a str) -> &'a str {
        let Some(budget) = &mut self.budget else { return text };
        let kept = &text[..text.floor_char_boundary(LONG_TEXT.min(*budget))];
        *budget -= kept.len();
        self.cuts += usize::from(kept.len() < text.len());
        kept
    }

    /// Returns how many texts were cut.
    pub(super) fn cuts(&self) -> usize {
        self.cuts
    }

    /// Returns how many elements of an array are kept, each of `size` bytes in memory.
    pub(super) fn items(&mut self, length: usize, size: usize) -> usize {
        let Some(budget) = &mut self.budget else { return length };
        let kept = if length > LONG_ARRAY { ITEMS } else { length }.min(*budget / (size + PER_ITEM));
        *budget -= kept * (size + PER_ITEM);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_is_bounded_whatever_the_file_has() {
        let mut keep = Keep::outline();
        assert_eq!((keep.items(1024, 4), keep.items(1025, 4), keep.text("é")), (1024, 16, "é"));
        let long = "é".repeat(1 << 20);
        let kept: usize = (0..1000).map(|_| keep.text(&long).len() + keep.items(900, 24) * (24 + PER_ITEM)).sum();
        assert!(kept <= BUDGET && kept > BUDGET / 2, "{kept} bytes");
        assert_eq!((Keep::everything().text(&long), Keep::everything().items(1 << 30, 8)), (long.as_str(), 1 << 30));
    }
}
