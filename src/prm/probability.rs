//! Probabilities from logits.

/// The logistic function.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Entry `index` of the softmax of `logits`.
pub(super) fn softmax(logits: &[f64], index: usize) -> f64 {
    1.0 / logits.iter().map(|logit| (logit - logits[index]).exp()).sum::<f64>()
}
