//! Answer comparisons per second, for numbers and for expressions.
//!
//! `cargo bench --bench answers`
#![allow(missing_docs, reason = "criterion's macro makes a public function without docs")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mmprm::answer::{AnswerSpec, Outcome, compare};

const NUMBERS: &[(&str, &str)] = &[
    ("42", "42.0"),
    ("1,234", "1234"),
    ("-7", "7"),
    ("0.5", "1/2"),
    ("3.14", "3.15"),
    ("120", "The final answer is 120."),
    ("25%", "0.25"),
    ("1000", "\\boxed{1{,}000}"),
];

const EXPRESSIONS: &[(&str, &str)] = &[
    ("x^2 + 2x + 1", "(x+1)^2"),
    ("\\frac{\\sqrt{3}}{3}", "\\frac{1}{\\sqrt{3}}"),
    ("\\tan^2(y)+1", "\\sec^2(y)"),
    ("2x+4y-3=0", "y=-\\frac{1}{2}x+\\frac{3}{4}"),
    ("\\frac{n!}{k!(n-k)!}", "\\frac{(n-1)!}{k!} \\cdot \\frac{n}{(n-k)!}"),
    ("(-\\infty, 1] \\cup [10, \\infty)", "x \\le 1 \\text{ or } x \\ge 10"),
    ("\\frac{\\pi r}{h+r}", "The answer is $\\boxed{\\frac{r\\pi}{r+h}}$."),
    ("\\begin{pmatrix}1 & 2 \\\\ 3 & 4\\end{pmatrix}", "\\begin{bmatrix}1 & 2 \\\\ 3 & 5\\end{bmatrix}"),
];

fn rates(criterion: &mut Criterion) {
    let spec = AnswerSpec::default();
    let mut group = criterion.benchmark_group("answers");
    for (name, pairs) in [("numbers", NUMBERS), ("expressions", EXPRESSIONS)] {
        for (gold, prediction) in pairs {
            let outcome = compare(gold, prediction, &spec).outcome;
            assert_ne!(outcome, Outcome::Undecided, "{gold} and {prediction} are compared, not passed on");
        }
        group.throughput(Throughput::Elements(pairs.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for (gold, prediction) in pairs {
                    black_box(compare(black_box(gold), black_box(prediction), &spec));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(answers, rates);
criterion_main!(answers);
