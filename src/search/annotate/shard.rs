//! Dividing a data set among machines.

use std::str::FromStr;

/// One share of a data set: every `count`th item, beginning with item `index`. The shares of one
/// `count` are disjoint and together complete, and of equal size up to one item.
///
/// ```
/// use mmprm::search::annotate::Shard;
/// let second: Shard = "2/4".parse()?;
/// assert_eq!(second.select(vec![1, 2, 3, 4, 5, 6]), [2, 6]);
/// assert_eq!("1/1".parse::<Shard>()?.select(vec![1, 2, 3]), [1, 2, 3]);
/// # Ok::<(), mmprm::search::annotate::ShardError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    index: usize,
    count: usize,
}

/// The text is not a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a share such as 2/4")]
pub struct ShardError;

impl Shard {
    /// The items of this share, in order.
    pub fn select<T>(self, items: Vec<T>) -> Vec<T> {
        items.into_iter().skip(self.index).step_by(self.count).collect()
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    /// Parses `I/N`, with `I` from 1 to `N`.
    fn from_str(text: &str) -> Result<Self, ShardError> {
        let numbers = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match numbers {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index: index - 1, count }),
            _ => Err(ShardError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_disjoint_and_complete() {
        for count in 1..8 {
            let share = |index| format!("{index}/{count}").parse::<Shard>().unwrap();
            let shares: Vec<Vec<usize>> = (1..=count).map(|index| share(index).select((0..20).collect())).collect();
            let mut all = shares.concat();
            all.sort_unstable();
            assert_eq!(all, (0..20).collect::<Vec<_>>());
            assert!(shares.iter().all(|share| share.len().abs_diff(20 / count) <= 1), "{shares:?}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2"] {
            assert_eq!(text.parse::<Shard>(), Err(ShardError), "{text}");
        }
    }
}
