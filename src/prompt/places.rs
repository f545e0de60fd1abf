//! Places in a text as numbers of tokens, for any tokenizer: scoring and training read a form's scores at the same tokens.

use super::Run;

/// Why a place has no number of tokens.
#[derive(Debug)]
pub(crate) enum PlaceError<E> {
    /// The text cannot be split.
    Tokenizer(E),
    /// A token reaches across the place with this index.
    Spanned(usize),
}

/// Returns how many of a run's `tokens` are before each of `places`, which are numbers of bytes in ascending order. `first` says
/// whether the run begins a text.
///
/// Text tokenised in parts, from place to place, mostly gives the same tokens. Where it does not, each place is looked for by
/// itself, which takes quadratic time.
pub(crate) fn tokens_before<T: PartialEq, E>(
    run: &Run,
    first: bool,
    places: &[usize],
    tokens: &[T],
    tokenize: impl Fn(&Run, bool) -> Result<Vec<T>, E>,
) -> Result<Vec<usize>, PlaceError<E>> {
    let Some(&last) = places.last() else { return Ok(Vec::new()) };
    let tokenize = |run: &Run, first| tokenize(run, first).map_err(PlaceError::Tokenizer);
    let (mut ends, mut joined, mut start) = (Vec::new(), Vec::new(), 0);
    for &place in places {
        if place > start {
            joined.extend(tokenize(&run.part(start..place), first && start == 0)?);
            start = place;
        }
        ends.push(joined.len());
    }
    if last < run.text().len() {
        joined.extend(tokenize(&run.part(last..run.text().len()), false)?);
    }
    if joined == tokens {
        return Ok(ends);
    }
    let end = |(index, place): (usize, &usize)| {
        let before = tokenize(&run.part(0..*place), first)?;
        if tokens.starts_with(&before) { Ok(before.len()) } else { Err(PlaceError::Spanned(index)) }
    };
    places.iter().enumerate().map(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of letters from the left, and a letter that is left over.
    #[expect(clippy::unnecessary_wraps, reason = "a tokenizer may fail")]
    fn pairs(run: &Run, _: bool) -> Result<Vec<String>, ()> {
        let letters: Vec<char> = run.text().chars().collect();
        Ok(letters.chunks(2).map(|pair| pair.iter().collect()).collect())
    }

    fn places(text: &str, places: &[usize]) -> Result<Vec<usize>, usize> {
        let mut run = Run::default();
        run.plain(text);
        let tokens = pairs(&run, true).unwrap();
        tokens_before(&run, true, places, &tokens, pairs).map_err(|error| match error {
            PlaceError::Spanned(index) => index,
            PlaceError::Tokenizer(()) => usize::MAX,
        })
    }

    #[test]
    fn a_place_is_between_tokens_or_refused() {
        assert_eq!(places("abcdef", &[2, 4, 6]), Ok(vec![1, 2, 3]));
        assert_eq!(places("abcdef", &[]), Ok(Vec::new()));
        assert_eq!(places("abcdef", &[2, 5]), Err(1));
        assert_eq!(places("", &[0]), Ok(vec![0]));
    }
}
