//! Scores the steps of two solutions: `cargo run --release --example score`.

use std::path::Path;

fn main() -> Result<(), mmprm::Error> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let prm = mmprm::Prm::open(demo.join("models/prm-q8_0.gguf"))?.mmproj(demo.join("models/mmproj-prm-f16.gguf"))?;
    let image = demo.join("mini-k12/test/images/test-2-00000.png");
    let candidates = [
        vec!["From the image, A = 12, B = 8, C = 4, D = 14.".to_owned(), "14 - 4 = 10.".to_owned()],
        vec!["From the image, A = 12, B = 8, C = 4, D = 14.".to_owned(), "14 - 8 = 7.".to_owned()],
    ];
    let question = "How much larger is the tallest bar than the shortest bar?";
    for (steps, scores) in candidates.iter().zip(prm.score(question, &[image], &candidates)?) {
        for (step, score) in steps.iter().zip(scores) {
            println!("{score:.3}  {step}");
        }
        println!();
    }
    Ok(())
}
