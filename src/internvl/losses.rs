//! Head and losses, on the rows that targets read only: never a full `[tokens, vocabulary]` matrix
//! of logits.

use rayon::prelude::*;

use super::layout::Language;
use super::packed::{StepLoss, Targets};
use super::pass::{Pass, matrix, matrix_mut};
use super::ranking::{self, RankingLoss};
use super::ratio::{self, RatioLoss};
use super::step_loss::{self, StepLosses};
use super::trainable::Gradients;
use crate::nn::gemm::{Gemm, Operand};
use crate::nn::softmax::softmax;
use crate::nn::tensor::MatMut;

/// Maximum rows of logits over the vocabulary at a time.
const CHUNK: usize = 128;

/// Loss of a sequence.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loss {
    /// Weighted sum over the targets.
    pub loss: f64,
    /// Unweighted loss of each target, of each group of compared steps, of each problem of a ranking, or of each prefix
    /// of a ratio.
    pub losses: Vec<f32>,
    /// For each target the step's score, p(`yes`) against `no`, or the log-probability of the next
    /// token; for each candidate of a ranking or prefix of a ratio its score.
    pub outputs: Vec<f32>,
    /// For each next-token target the token with the highest probability; empty for others.
    pub likeliest: Vec<u32>,
}

/// The final norm and head.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub pass: Pass<'a>,
    pub tensors: &'a Language,
    pub width: usize,
    pub vocabulary: usize,
}

impl Head<'_> {
    /// Computes the loss from the residual stream after the last block, `[targets, width]`; with
    /// `gradients`, adds to them and returns the gradient of the stream too.
    pub fn run(&self, stream: &[f32], targets: &Targets, gradients: Option<&mut Gradients>) -> (Loss, Vec<f32>) {
        let (width, norm) = (self.width, self.tensors.norm);
        let stream = matrix(stream, width);
        let (normed, scales) = self.pass.norm(norm, stream);
        let Some(gradients) = gradients else {
            return (self.losses(&normed, targets, None), Vec::new());
        };
        let (mut d_normed, mut d_stream) = (vec![0.0; normed.len()], vec![0.0; normed.len()]);
        let loss = self.losses(&normed, targets, Some((&mut d_normed, gradients)));
        let (d_normed, d_stream_matrix) = (matrix(&d_normed, width), matrix_mut(&mut d_stream, width));
        self.pass.norm_backward(norm, stream, &scales, d_normed, d_stream_matrix, gradients);
        (loss, d_stream)
    }

    fn losses(&self, normed: &[f32], targets: &Targets, wanted: Option<(&mut [f32], &mut Gradients)>) -> Loss {
        match targets {
            Targets::Steps { labels, weights, yes, no, loss, .. } => {
                self.step_losses(normed, (labels, weights), loss, [*yes, *no], wanted)
            }
            Targets::Tokens { ids, weights, .. } => self.token_losses(normed, ids, weights, wanted),
            Targets::Ranking { ids, problems, weights, .. } => {
                // The weight of a token depends on all candidates of its problem, so the head runs twice.
                let logprobs = self.token_losses(normed, ids, &vec![0.0; ids.len()], None).outputs;
                let RankingLoss { loss, losses, scores, token_weights } = ranking::loss(&logprobs, problems, weights);
                if wanted.is_some() {
                    self.token_losses(normed, ids, &token_weights, wanted);
                }
                Loss { loss, losses, outputs: scores, likeliest: Vec::new() }
            }
            Targets::Ratio { ids, paths, beta, weights, .. } => {
                let logprobs = self.token_losses(normed, ids, &vec![0.0; ids.len()], None).outputs;
                let RatioLoss { loss, losses, scores, token_weights } = ratio::loss(&logprobs, paths, *beta, weights);
                if wanted.is_some() {
                    self.token_losses(normed, ids, &token_weights, wanted);
                }
                Loss { loss, losses, outputs: scores, likeliest: Vec::new() }
            }
        }
    }

    /// Computes the losses of steps from their logits of `yes` and `no`.
    fn step_losses(
        &self,
        normed: &[f32],
        (labels, weights): (&[f32], &[f32]),
        loss: &StepLoss,
        tokens: [u32; 2],
        wanted: Option<(&mut [f32], &mut Gradients)>,
    ) -> Loss {
        let width = self.width;
        let mut head = vec![0.0; 2 * width];
        let table = self.tensors.head_table();
        self.pass.gather_rows(table, &tokens, matrix_mut(&mut head, width));
        let (normed, head) = (matrix(normed, width), matrix(&head, width));
        let mut logits = vec![0.0; 2 * labels.len()];
        Gemm::new().run(normed, Operand::from(head).t(), matrix_mut(&mut logits, 2));
        let margins: Vec<f64> =
            logits.chunks_exact(2).map(|logits| f64::from(logits[0]) - f64::from(logits[1])).collect();
        let outputs = margins.iter().map(|margin| step_loss::sigmoid(*margin) as f32).collect();
        let StepLosses { loss, losses, slopes } = step_loss::losses(&margins, labels, weights, loss);
        for (logits, slope) in logits.chunks_exact_mut(2).zip(slopes) {
            logits.copy_from_slice(&[slope as f32, -(slope as f32)]);
        }
        if let Some((d_normed, gradients)) = wanted {
            let d_logits = matrix(&logits, 2);
            Gemm::new().run(d_logits, head, matrix_mut(d_normed, width));
            let mut d_rows = vec![0.0; 2 * width];
            Gemm::new().run(Operand::from(d_logits).t(), normed, matrix_mut(&mut d_rows, width));
            Pass::gather_rows_backward(table, &tokens, matrix(&d_rows, width), gradients);
        }
        Loss { loss, losses, outputs, likeliest: Vec::new() }
    }

    /// Computes the cross entropy of the softmax over the vocabulary with the next token.
    fn token_losses(
        &self,
        normed: &[f32],
        ids: &[u32],
        weights: &[f32],
        mut wanted: Option<(&mut [f32], &mut Gradients)>,
    ) -> Loss {
        let (width, vocabulary) = (self.width, self.vocabulary);
        let table = self.tensors.head_table();
        let mut all = Loss::default();
        let mut buffer = vec![0.0; CHUNK.min(ids.len()) * vocabulary];
        for first in (0..ids.len()).step_by(CHUNK) {
            let count = CHUNK.min(ids.len() - first);
            let normed = matrix(&normed[first * width..][..count * width], width);
            let logits = &mut buffer[..count * vocabulary];
            self.pass.logits(table, normed, MatMut::new(logits, count, vocabulary));
            let targets = ids[first..].par_iter().zip(&weights[first..]);
            let rows = logits.par_chunks_exact_mut(vocabulary).zip(targets);
            let logprobs: Vec<_> = rows.map(|(row, (id, weight))| next_token(row, *id, *weight)).collect();
            for ((logprob, likeliest), weight) in logprobs.into_iter().zip(&weights[first..]) {
                all.likeliest.push(likeliest);
                all.loss -= f64::from(*weight) * f64::from(logprob);
                all.losses.push(-logprob);
                all.outputs.push(logprob);
            }
            let Some((d_normed, gradients)) = &mut wanted else { continue };
            let d_normed = matrix_mut(&mut d_normed[first * width..][..count * width], width);
            self.pass.logits_gradient(table, normed, logits, d_normed, gradients);
        }
        all
    }
}

/// Returns the log-probability of token `id` and the most probable token; overwrites the logits by
/// the gradient of the weighted loss.
fn next_token(logits: &mut [f32], id: u32, weight: f32) -> (f32, u32) {
    let id = id as usize;
    let (mut peak, own) = (0, logits[id]);
    for (place, logit) in logits.iter().enumerate() {
        if *logit > logits[peak] {
            peak = place;
        }
    }
    let highest = logits[peak];
    let width = logits.len();
    softmax(MatMut::new(logits, 1, width));
    // The highest probability cannot underflow, that of `id` can.
    let logprob = own - highest + logits[peak].ln();
    logits[id] -= 1.0;
    for value in logits.iter_mut() {
        *value *= weight;
    }
    (logprob, peak as u32)
}
