//! A naive implementation of the model in `f64`, token by token and path by path, without any
//! kernels, to compare with.

use crate::internvl::layout::{Layout, Linear, Norm, QkvTensors};
use crate::internvl::{ComparedStep, NormKind, Parameters, RankedCandidate, RatioPath, RatioPrefix, StepLoss, Targets};
use crate::nn::rope::RopeScaling;

/// Rows of a matrix.
pub type Rows = Vec<Vec<f64>>;

pub struct NaiveModel<'a> {
    layout: &'a Layout,
    /// The values of all tensors, in `f64`.
    pub values: Vec<Vec<f64>>,
    pub states: std::cell::RefCell<Vec<Rows>>,
}

impl<'a> NaiveModel<'a> {
    pub fn new(parameters: &'a Parameters) -> Self {
        let values = parameters.iter().map(|(_, values)| values.iter().map(|value| f64::from(*value)).collect());
        Self { layout: parameters.layout(), values: values.collect(), states: std::cell::RefCell::default() }
    }

    fn linear(&self, linear: Linear, x: &Rows) -> Rows {
        let weight = &self.values[linear.weight];
        let apply = |x: &Vec<f64>| {
            let outputs = weight.chunks(x.len()).enumerate().map(|(output, row)| {
                let bias = linear.bias.map_or(0.0, |bias| self.values[bias][output]);
                bias + row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>()
            });
            outputs.collect()
        };
        x.iter().map(apply).collect()
    }

    fn norm(&self, norm: Norm, x: &Rows) -> Rows {
        let apply = |x: &Vec<f64>| {
            let width = x.len() as f64;
            let mean = norm.bias.map_or(0.0, |_| x.iter().sum::<f64>() / width);
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width;
            let scale = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
            let bias = |place: usize| norm.bias.map_or(0.0, |bias| self.values[bias][place]);
            let weight = &self.values[norm.weight];
            x.iter().enumerate().map(|(place, x)| (x - mean) * scale * weight[place] + bias(place)).collect()
        };
        x.iter().map(apply).collect()
    }

    /// Computes features from pixel values.
    pub fn features(&self, pixels: &[f32]) -> Rows {
        let config = self.layout.tower().unwrap().1;
        pixels.chunks(config.pixels()).flat_map(|tile| self.tile(tile)).collect()
    }

    fn tile(&self, pixels: &[f32]) -> Rows {
        let vision = self.layout.tower().unwrap().1;
        let (side, patch, image) = (vision.side(), vision.patch, vision.image);
        let pixel = |channel: usize, y: usize, x: usize| f64::from(pixels[(channel * image + y) * image + x]);
        let mut patches = Vec::new();
        for place in 0..side * side {
            let (top, left) = (place / side * patch, place % side * patch);
            let offsets = (0..3 * patch * patch).map(|i| (i / (patch * patch), i / patch % patch, i % patch));
            patches.push(offsets.map(|(channel, y, x)| pixel(channel, top + y, left + x)).collect());
        }
        self.convolved_tile(&self.linear(self.layout.tower().unwrap().0.patch, &patches))
    }

    /// Computes the features of a tile from its convolved patches.
    pub fn convolved_tile(&self, patches: &Rows) -> Rows {
        let (tensors, config) = self.layout.tower().unwrap();
        let side = config.side();
        let mut stream = vec![self.values[tensors.class].clone()];
        stream.extend_from_slice(patches);
        let position = self.values[tensors.position].chunks(config.hidden);
        let mut stream: Rows = stream.iter().zip(position).map(|(token, position)| sum(token, position)).collect();
        self.states.borrow_mut().push(stream.clone());
        for block in &tensors.blocks {
            let qkv = self.linear(block.qkv, &self.norm(block.norms[0], &stream));
            let part = |part: usize| -> Rows {
                qkv.iter().map(|row| row[part * config.hidden..(part + 1) * config.hidden].to_vec()).collect()
            };
            let (mut q, mut k) = (part(0), part(1));
            if let Some(norms) = block.qk_norms {
                (q, k) = (self.norm(norms[0], &q), self.norm(norms[1], &k));
            }
            let mixed = attention(&q, &k, &part(2), config.heads, 1, false);
            let attended = self.linear(block.out, &mixed);
            stream = self.scaled(block.scales[0], &attended, &stream);
            let inner = self.linear(block.up, &self.norm(block.norms[1], &stream));
            let inner = inner.iter().map(|row| row.iter().map(|x| gelu(*x)).collect()).collect();
            stream = self.scaled(block.scales[1], &self.linear(block.down, &inner), &stream);
            self.states.borrow_mut().push(stream.clone());
        }
        assert!(config.norm == NormKind::Layer || tensors.blocks.iter().all(|block| block.norms[0].bias.is_none()));
        let across = side / config.shuffle;
        let joined = (0..across * across).map(|block| {
            let (top, left) = (block / across * config.shuffle, block % across * config.shuffle);
            let places = (0..config.shuffle.pow(2)).map(|i| (top + i / config.shuffle, left + i % config.shuffle));
            places.flat_map(|(row, col)| stream[1 + row * side + col].clone()).collect()
        });
        joined.collect()
    }

    fn scaled(&self, scale: usize, branch: &Rows, stream: &Rows) -> Rows {
        let scale = &self.values[scale];
        let row = |(branch, stream): (&Vec<f64>, &Vec<f64>)| {
            branch.iter().zip(scale).zip(stream).map(|((x, scale), stream)| x * scale + stream).collect()
        };
        branch.iter().zip(stream).map(row).collect()
    }

    /// Computes the stream after the final norm of one path of tokens, some of which have features
    /// instead of embeddings.
    pub fn path(&self, tokens: &[(u32, Option<&Vec<f64>>)]) -> Rows {
        let (tensors, config) = (&self.layout.language, &self.layout.config().language);
        let projector = self.layout.projector.as_ref().unwrap();
        let table: Vec<&[f64]> = self.values[tensors.embedding].chunks(config.hidden).collect();
        let embed = |(token, features): &(u32, Option<&Vec<f64>>)| match features {
            None => table[*token as usize].to_vec(),
            Some(features) => {
                let inner = self.linear(projector.first, &self.norm(projector.norm, &vec![(*features).clone()]));
                let inner = inner.iter().map(|row| row.iter().map(|x| gelu(*x)).collect()).collect();
                self.linear(projector.second, &inner).remove(0)
            }
        };
        let mut stream: Rows = tokens.iter().map(embed).collect();
        let (heads, keys, dim) = (config.heads, config.kv_heads, config.head);
        self.states.borrow_mut().push(stream.clone());
        for block in &tensors.blocks {
            let normed = self.norm(block.attention_norm, &stream);
            let [mut q, mut k, v] = match block.qkv {
                QkvTensors::Separate(linears) => linears.map(|linear| self.linear(linear, &normed)),
                QkvTensors::Fused(linear) => {
                    let fused = self.linear(linear, &normed);
                    let group = (heads / keys + 2) * dim;
                    let pick = |from: usize, to: usize| -> Rows {
                        let row = |row: &Vec<f64>| row.chunks(group).flat_map(|head| head[from..to].to_vec()).collect();
                        fused.iter().map(row).collect()
                    };
                    [pick(0, group - 2 * dim), pick(group - 2 * dim, group - dim), pick(group - dim, group)]
                }
            };
            for x in [&mut q, &mut k] {
                self.rotate(x);
            }
            let mixed = self.linear(block.out, &attention(&q, &k, &v, heads, heads / keys, true));
            stream = stream.iter().zip(&mixed).map(|(a, b)| sum(a, b)).collect();
            let normed = self.norm(block.norm, &stream);
            let (gate, up) = (self.linear(block.gate, &normed), self.linear(block.up, &normed));
            let gated = |(gate, up): (&Vec<f64>, &Vec<f64>)| {
                gate.iter().zip(up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect()
            };
            let down = self.linear(block.down, &gate.iter().zip(&up).map(gated).collect());
            stream = stream.iter().zip(&down).map(|(a, b)| sum(a, b)).collect();
            self.states.borrow_mut().push(stream.clone());
        }
        self.norm(tensors.norm, &stream)
    }

    fn rotate(&self, x: &mut Rows) {
        let config = &self.layout.config().language;
        let dim = config.head;
        let length = x.len() as f64;
        let base = match config.rope_scaling {
            RopeScaling::Dynamic { factor, trained } if x.len() > trained => {
                let growth = f64::from(factor) * length / trained as f64 - (f64::from(factor) - 1.0);
                f64::from(config.rope_base) * growth.powf(dim as f64 / (dim as f64 - 2.0))
            }
            _ => f64::from(config.rope_base),
        };
        for (position, row) in x.iter_mut().enumerate() {
            for head in row.chunks_mut(dim) {
                for i in 0..dim / 2 {
                    // Angles are rounded to f32, as in MM-PRM's code.
                    let divisor = config.rope_divisors.get(i).copied().unwrap_or(1.0);
                    let frequency = base.powf(-2.0 * i as f64 / dim as f64) as f32 / divisor;
                    let angle = f64::from(position as f32 * frequency);
                    let (low, high) = (head[i], head[i + dim / 2]);
                    head[i] = low * angle.cos() - high * angle.sin();
                    head[i + dim / 2] = high * angle.cos() + low * angle.sin();
                }
            }
        }
    }

    /// Computes the weighted loss of targets on a path; rows of targets count within the path.
    pub fn loss(&self, hidden: &Rows, targets: &Targets) -> f64 {
        let head: Vec<&[f64]> =
            self.values[self.layout.language.head].chunks(self.layout.config().language.hidden).collect();
        let logit = |row: usize, token: usize| hidden[row].iter().zip(head[token]).map(|(a, b)| a * b).sum::<f64>();
        let log_sum = |logits: &[f64]| logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        let next_token = |row: usize, id: u32| {
            let logits: Vec<f64> = (0..head.len()).map(|token| logit(row, token)).collect();
            log_sum(&logits) - logits[id as usize]
        };
        if let Targets::Ranking { rows, ids, problems, weights } = targets {
            let score = |candidate: &RankedCandidate| {
                let losses = candidate.targets.iter().map(|target| next_token(rows[*target], ids[*target]));
                -losses.sum::<f64>()
            };
            let of = |candidates: &Vec<RankedCandidate>| {
                let right: Vec<f64> = candidates.iter().filter(|candidate| candidate.right).map(score).collect();
                log_sum(&candidates.iter().map(score).collect::<Vec<_>>()) - log_sum(&right)
            };
            return problems.iter().zip(weights).map(|(candidates, weight)| f64::from(*weight) * of(candidates)).sum();
        }
        if let Targets::Ratio { rows, ids, paths, beta, weights } = targets {
            let prefixes = paths.iter().flat_map(|path| path.prefixes.iter().map(move |prefix| (path, prefix)));
            let of = |((path, prefix), weight): ((&RatioPath, &RatioPrefix), &f32)| {
                let own = path.targets[..prefix.targets].iter().map(|target| -next_token(rows[*target], ids[*target]));
                let score = 1.0 / (1.0 + (beta * (prefix.reference - own.sum::<f64>())).exp());
                let label = f64::from(prefix.label);
                -f64::from(*weight) * (label * score.ln() + (1.0 - label) * (1.0 - score).ln())
            };
            return prefixes.zip(weights).map(of).sum();
        }
        if let Targets::Steps { rows, weights, yes, no, loss, .. } = targets
            && loss.compares()
        {
            let margin =
                |step: &ComparedStep| logit(rows[step.target], *yes as usize) - logit(rows[step.target], *no as usize);
            let of = |steps: &Vec<ComparedStep>| compared(steps, &steps.iter().map(margin).collect::<Vec<_>>(), loss);
            return loss.groups().iter().zip(weights).map(|(steps, weight)| f64::from(*weight) * of(steps)).sum();
        }
        let of = |target: usize| match targets {
            Targets::Steps { rows, labels, yes, no, loss: StepLoss::SquaredError, .. } => {
                let [yes, no] = [*yes, *no].map(|token| logit(rows[target], token as usize).exp());
                (yes / (yes + no) - f64::from(labels[target])).powi(2)
            }
            Targets::Steps { rows, labels, yes, no, .. } => {
                let logits = [*yes, *no].map(|token| logit(rows[target], token as usize));
                let label = f64::from(labels[target]);
                log_sum(&logits) - label * logits[0] - (1.0 - label) * logits[1]
            }
            Targets::Tokens { rows, ids, .. } => next_token(rows[target], ids[target]),
            Targets::Ranking { .. } | Targets::Ratio { .. } => unreachable!("its loss is not of single targets"),
        };
        (0..targets.rows().len()).map(|target| f64::from(targets.weights()[target]) * of(target)).sum()
    }
}

/// The loss of a group of compared steps.
fn compared(steps: &[ComparedStep], margins: &[f64], loss: &StepLoss) -> f64 {
    let mut terms: Vec<(f64, f64)> = Vec::new();
    let weights: Vec<f64> = steps.iter().map(|step| f64::from(step.weight)).collect();
    for (index, step) in steps.iter().enumerate() {
        let own = margins[index].exp();
        match loss {
            StepLoss::QValues { margin, .. } => {
                let raised = |other: usize| weights[other] * (margins[other] + f64::from(*margin)).exp();
                let wrong: f64 = (0..steps.len()).filter(|other| steps[*other].label < 0.5).map(raised).sum();
                let before = (0..index).filter(|other| steps[*other].label >= 0.5);
                let before: f64 = before.map(|other| weights[other] * margins[other].exp()).sum();
                if index == 0 && wrong > 0.0 {
                    terms.push((1.0, 1.0 / (1.0 + wrong)));
                }
                if step.label >= 0.5 {
                    terms.push((weights[index], own / (own + before + 1.0 + wrong)));
                }
            }
            _ => {
                for other in (0..steps.len()).filter(|other| steps[*other].label < step.label) {
                    terms.push((weights[index] * weights[other], own / (own + margins[other].exp())));
                }
            }
        }
    }
    let total: f64 = terms.iter().map(|(weight, _)| weight).sum();
    -terms.iter().map(|(weight, share)| weight * share.ln()).sum::<f64>() / total
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// x · Φ(x), with Φ by its Taylor series, or 0 and 1 far from 0.
fn gelu(x: f64) -> f64 {
    let t = x * std::f64::consts::FRAC_1_SQRT_2;
    if t.abs() > 5.0 {
        return if t > 0.0 { x } else { 0.0 };
    }
    let (mut term, mut sum) = (t, t);
    for n in 1..150 {
        term *= -t * t / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    0.5 * x * (1.0 + sum * std::f64::consts::FRAC_2_SQRT_PI)
}

fn attention(q: &Rows, k: &Rows, v: &Rows, heads: usize, group: usize, causal: bool) -> Rows {
    let dim = q[0].len() / heads;
    let part = |row: &Vec<f64>, head: usize| row[head * dim..(head + 1) * dim].to_vec();
    let row = |token: usize| {
        let seen = if causal { token + 1 } else { q.len() };
        let head = |head: usize| {
            let query = part(&q[token], head);
            let score = |key: usize| {
                let key = part(&k[key], head / group);
                (query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() / (dim as f64).sqrt()).exp()
            };
            let weights: Vec<f64> = (0..seen).map(score).collect();
            let total: f64 = weights.iter().sum();
            let values = (0..seen).map(|key| part(&v[key], head / group));
            values.zip(&weights).fold(vec![0.0; dim], |mix, (value, weight)| {
                mix.iter().zip(&value).map(|(mix, value)| mix + weight / total * value).collect()
            })
        };
        (0..heads).flat_map(head).collect()
    };
    (0..q.len()).map(row).collect()
}
