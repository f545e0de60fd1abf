//! Compares final answers by rules: `cargo run --release --example verify`.

use mmprm::{Judge, Problem};

fn main() -> Result<(), mmprm::Error> {
    let judge = Judge::rules();
    for (expected, answer) in [
        (r"\frac{1}{2}", "The final answer is $0.5$."),
        ("x = 3", "so x = 4"),
        ("12 cm", "120 mm"),
        (r"(-\infty, 2]", r"x \le 2"),
        ("the longest side", "the side opposite the right angle"),
    ] {
        let problem = Problem::new("(any question)").answer(expected);
        println!("{expected} and {answer}: {:?}", judge.verdict(&problem, answer)?);
    }
    Ok(())
}
