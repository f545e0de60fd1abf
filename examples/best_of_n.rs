//! Writes 16 solutions of a problem and prints the one the PRM prefers: `cargo run --release --example best_of_n`.

use std::path::Path;

use mmprm::{Policy, Prm, Problem};

fn main() -> Result<(), mmprm::Error> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let models = demo.join("models");
    let policy = Policy::open(models.join("policy-q8_0.gguf"))?.mmproj(models.join("mmproj-policy-f16.gguf"))?;
    let prm = Prm::open(models.join("prm-q8_0.gguf"))?.mmproj(models.join("mmproj-prm-f16.gguf"))?;
    let problem = Problem::new("How much larger is the tallest bar than the shortest bar?")
        .image(demo.join("mini-k12/test/images/test-2-00000.png").display().to_string());
    let best = mmprm::best_of_n(&policy, &prm, &problem, 16)?;
    println!("candidate {} of 16:", best.index + 1);
    for (step, score) in best.steps.iter().zip(&best.scores) {
        println!("{score:.3}  {step}");
    }
    Ok(())
}
