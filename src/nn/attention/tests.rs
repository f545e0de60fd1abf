//! Attention against its definition in `f64` and finite differences, and packed trees against their
//! paths.

use half::bf16;

use super::*;
use crate::nn::tensor::{Mat, MatMut};
use crate::nn::testing::{Random, check_gradient, deviation, wide};

/// Inputs of the forward.
struct Inputs {
    tokens: usize,
    heads: Heads,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

/// Output, log-sum-exp, gradients of queries, keys and values.
struct Results {
    out: Vec<f32>,
    lse: Vec<f32>,
    d_q: Vec<f32>,
    d_k: Vec<f32>,
    d_v: Vec<f32>,
}

impl Inputs {
    fn random(random: &mut Random, tokens: usize, heads: Heads) -> Self {
        let mut normals = |heads: usize, dim: usize| random.normals(tokens * heads * dim);
        let Heads { query, key, dim } = heads;
        Self { tokens, heads, q: normals(query, dim), k: normals(key, dim), v: normals(key, dim) }
    }

    fn run(&self, segments: &Segments, d_out: &[f32]) -> Results {
        let Heads { query, key, dim } = self.heads;
        let of_query = |values| Mat::new(values, self.tokens, query * dim);
        let of_key = |values| Mat::new(values, self.tokens, key * dim);
        let zeros = |like: &[f32]| vec![f32::NAN; like.len()];
        let mut results = Results {
            out: zeros(&self.q),
            lse: vec![f32::NAN; self.tokens * query],
            d_q: zeros(&self.q),
            d_k: zeros(&self.k),
            d_v: zeros(&self.v),
        };
        let attention = Attention::new(self.heads, segments);
        let (q, k, v) = (of_query(&self.q), of_key(&self.k), of_key(&self.v));
        let out = MatMut::new(&mut results.out, self.tokens, query * dim);
        attention.forward(q, k, v, out, MatMut::new(&mut results.lse, self.tokens, query));
        let saved =
            SavedAttention { q, k, v, out: of_query(&results.out), lse: Mat::new(&results.lse, self.tokens, query) };
        let d_q = MatMut::new(&mut results.d_q, self.tokens, query * dim);
        let d_k = MatMut::new(&mut results.d_k, self.tokens, key * dim);
        let d_v = MatMut::new(&mut results.d_v, self.tokens, key * dim);
        attention.backward(saved, of_query(d_out), d_q, d_k, d_v);
        results
    }

    /// Selects rows of all inputs.
    fn select(&self, tokens: &[usize]) -> Self {
        let Heads { query, key, dim } = self.heads;
        Self {
            tokens: tokens.len(),
            heads: self.heads,
            q: select(&self.q, query * dim, tokens),
            k: select(&self.k, key * dim, tokens),
            v: select(&self.v, key * dim, tokens),
        }
    }
}

fn select(values: &[f32], width: usize, tokens: &[usize]) -> Vec<f32> {
    tokens.iter().flat_map(|token| values[token * width..][..width].iter().copied()).collect()
}

/// Attention by definition, with `sees(i, j)` for every pair.
fn naive(heads: Heads, tokens: usize, [q, k, v]: [&[f64]; 3], sees: &dyn Fn(usize, usize) -> bool) -> Vec<f64> {
    let Heads { query, key, dim } = heads;
    let mut out = vec![0.0; tokens * query * dim];
    for head in 0..query {
        let shared = head / (query / key);
        for i in 0..tokens {
            let seen: Vec<usize> = (0..tokens).filter(|j| sees(i, *j)).collect();
            let q = &q[(i * query + head) * dim..][..dim];
            let row = |values: &[f64], j: usize| values[(j * key + shared) * dim..][..dim].to_vec();
            let score = |j: &usize| q.iter().zip(row(k, *j)).map(|(q, k)| q * k).sum::<f64>() / (dim as f64).sqrt();
            let powers: Vec<f64> = seen.iter().map(|j| score(j).exp()).collect();
            let sum: f64 = powers.iter().sum();
            for (j, power) in seen.iter().zip(&powers) {
                for (out, v) in out[(i * query + head) * dim..][..dim].iter_mut().zip(row(v, *j)) {
                    *out += power / sum * v;
                }
            }
        }
    }
    out
}

#[test]
fn causal_and_full_attention_match_the_definition() {
    let mut random = Random::new(71);
    for (tokens, query, key, dim) in [(1, 1, 1, 1), (17, 4, 2, 5), (70, 3, 3, 16), (300, 2, 1, 8), (40, 8, 1, 3)] {
        let heads = Heads { query, key, dim };
        let inputs = Inputs::random(&mut random, tokens, heads);
        for mask in [Mask::Causal, Mask::Full] {
            let results = inputs.run(&Segments::plain(&[tokens], mask), &inputs.q);
            let sees = |i: usize, j: usize| mask == Mask::Full || j <= i;
            let expected = naive(heads, tokens, [&wide(&inputs.q), &wide(&inputs.k), &wide(&inputs.v)], &sees);
            let deviation = deviation(&results.out, &expected);
            assert!(deviation < 3e-6, "{tokens} tokens, {mask:?}: {deviation:e}");
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    let mut random = Random::new(72);
    for mask in [Mask::Causal, Mask::Full] {
        let (tokens, heads) = (9, Heads { query: 4, key: 2, dim: 3 });
        let inputs = Inputs::random(&mut random, tokens, heads);
        let d_out = random.normals(inputs.q.len());
        let segments = Segments::new(&[(3, None), (2, Some(0)), (4, Some(0))], mask);
        let segment = |token: usize| [0, 0, 0, 1, 1, 2, 2, 2, 2][token];
        let sees = |i: usize, j: usize| {
            let related = segment(i) == segment(j) || segment(j) == 0;
            related && (j <= i || mask == Mask::Full)
        };
        let results = inputs.run(&segments, &d_out);
        let (q, k, v) = (wide(&inputs.q), wide(&inputs.k), wide(&inputs.v));
        let loss = |inputs: [&[f64]; 3]| -> f64 {
            naive(heads, tokens, inputs, &sees).iter().zip(&d_out).map(|(out, d_out)| out * f64::from(*d_out)).sum()
        };
        check_gradient(&q, &results.d_q, 1e-5, &|q| loss([q, &k, &v]));
        check_gradient(&k, &results.d_k, 1e-5, &|k| loss([&q, k, &v]));
        check_gradient(&v, &results.d_v, 1e-5, &|v| loss([&q, &k, v]));
    }
}

/// A random forest: lengths and parents.
fn forest(random: &mut Random, segments: usize, longest: usize) -> Vec<(usize, Option<usize>)> {
    let mut root = 0;
    let segment = |index: usize| {
        let length = random.below(longest + 1);
        if index == 0 || random.below(5) == 0 {
            root = index;
            return (length, None);
        }
        (length, Some(root + random.below(index - root)))
    };
    (0..segments).map(segment).collect()
}

/// Tokens of the path from the root to a segment.
fn path(segments: &[(usize, Option<usize>)], end: usize) -> Vec<usize> {
    let start = |index: usize| segments[..index].iter().map(|segment| segment.0).sum::<usize>();
    let mut path = Vec::new();
    let mut next = Some(end);
    while let Some(index) = next {
        path.splice(0..0, start(index)..start(index) + segments[index].0);
        next = segments[index].1;
    }
    path
}

#[test]
fn a_packed_forest_matches_its_separate_paths() {
    let mut random = Random::new(73);
    for (count, longest) in [(6, 9), (12, 40), (5, 300), (30, 4)] {
        let shape = forest(&mut random, count, longest);
        let segments = Segments::new(&shape, Mask::Causal);
        let heads = Heads { query: 4, key: 2, dim: 8 };
        let inputs = Inputs::random(&mut random, segments.tokens(), heads);
        let d_out = random.normals(inputs.q.len());
        let packed = inputs.run(&segments, &d_out);
        let width = heads.query * heads.dim;
        let mut expected = [vec![0.0f64; inputs.q.len()], vec![0.0; inputs.k.len()], vec![0.0; inputs.v.len()]];
        for end in 0..shape.len() {
            let tokens = path(&shape, end);
            let own = tokens.len() - shape[end].0;
            // Each path gets the gradient of its last segment only, so that the paths add up to the
            // forest.
            let mut d_path = select(&d_out, width, &tokens);
            d_path[..own * width].fill(0.0);
            let alone = inputs.select(&tokens).run(&Segments::plain(&[tokens.len()], Mask::Causal), &d_path);
            let (ours, theirs) = (select(&packed.out, width, &tokens), wide(&alone.out));
            if !tokens.is_empty() {
                assert!(deviation(&ours, &theirs) < 1e-5);
                assert!(deviation(&select(&packed.lse, heads.query, &tokens), &wide(&alone.lse)) < 1e-5);
            }
            for (expected, part) in expected.iter_mut().zip([&alone.d_q, &alone.d_k, &alone.d_v]) {
                let columns = part.len() / tokens.len().max(1);
                for (token, row) in tokens.iter().zip(part.chunks(columns.max(1))) {
                    for (expected, part) in expected[token * columns..].iter_mut().zip(row) {
                        *expected += f64::from(*part);
                    }
                }
            }
        }
        for (ours, expected) in [&packed.d_q, &packed.d_k, &packed.d_v].into_iter().zip(&expected) {
            let deviation = deviation(ours, expected);
            assert!(deviation < 1e-5, "{deviation:e}");
        }
    }
}

#[test]
fn results_do_not_depend_on_the_thread_count() {
    let mut random = Random::new(74);
    let shape = forest(&mut random, 10, 60);
    let segments = Segments::new(&shape, Mask::Causal);
    let inputs = Inputs::random(&mut random, segments.tokens(), Heads { query: 6, key: 3, dim: 8 });
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| inputs.run(&segments, &inputs.q))
    };
    let (one, four) = (run(1), run(4));
    assert!(one.out == four.out && one.lse == four.lse);
    assert!(one.d_q == four.d_q && one.d_k == four.d_k && one.d_v == four.d_v);
}

#[test]
fn bf16_inputs_are_widened() {
    let mut random = Random::new(75);
    let heads = Heads { query: 2, key: 2, dim: 4 };
    let mut inputs = Inputs::random(&mut random, 20, heads);
    let narrow = |values: &[f32]| values.iter().map(|value| bf16::from_f32(*value)).collect::<Vec<_>>();
    let (q, k, v) = (narrow(&inputs.q), narrow(&inputs.k), narrow(&inputs.v));
    let back = |values: &[bf16]| values.iter().map(|value| value.to_f32()).collect::<Vec<_>>();
    (inputs.q, inputs.k, inputs.v) = (back(&q), back(&k), back(&v));
    let segments = Segments::plain(&[20], Mask::Causal);
    let (mut out, mut lse) = (vec![0.0; 160], vec![0.0; 40]);
    Attention::new(heads, &segments).forward(
        Mat::new(&q, 20, 8),
        Mat::new(&k, 20, 8),
        Mat::new(&v, 20, 8),
        MatMut::new(&mut out, 20, 8),
        MatMut::new(&mut lse, 20, 2),
    );
    assert_eq!(out, inputs.run(&segments, &inputs.q).out);
}
