//! The area under the ROC curve: how often a score ranks a positive item above a negative one.
//!
//! ```
//! use mmprm::util::auc::auc;
//! // Score, whether the item is positive, and weight.
//! assert_eq!(auc(&[(0.9, true, 1.0), (0.2, false, 1.0), (0.9, false, 2.0)]), Some(2.0 / 3.0));
//! assert_eq!(auc(&[(0.9, true, 1.0)]), None);
//! ```

/// ROC AUC, weighted; ties count one half. `None` if all items are positive or all negative. Items are a score, whether it is
/// of a positive, and a weight.
pub fn auc(scores: &[(f64, bool, f64)]) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut negative_below, mut positive, mut above) = (0.0, 0.0, 0.0);
    for ties in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let weight =
            |side| ties.iter().filter(|(_, label, _)| *label == side).map(|(_, _, weight)| weight).sum::<f64>();
        let (positives, negatives) = (weight(true), weight(false));
        above += positives * (negative_below + 0.5 * negatives);
        negative_below += negatives;
        positive += positives;
    }
    let pairs = positive * negative_below;
    (pairs > 0.0).then(|| above / pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_ordered_pairs() {
        let scores = [(0.1, false, 1.0), (0.4, true, 1.0), (0.35, false, 1.0), (0.8, true, 1.0)];
        assert_eq!(auc(&scores), Some(1.0));
        assert_eq!(auc(&[(0.5, false, 3.0), (0.5, true, 2.0)]), Some(0.5));
        assert_eq!(auc(&[(0.9, false, 1.0), (0.1, true, 1.0)]), Some(0.0));
        assert_eq!(auc(&[]), None);
    }
}
