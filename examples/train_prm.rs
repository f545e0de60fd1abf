//! Trains a PRM for one epoch on two labelled solutions, in a directory that is removed at the end: `cargo run --release --example train_prm`.
//! Real samples come from `mmprm samples`, real recipes look like those in demo/recipes.

use mmprm::train::recipe::Recipe;
use mmprm::train::train;
use mmprm::util::cancel::CancelToken;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let folder = temporary.path();
    let sample = |id: u32, steps: &str, labels: &str| {
        format!(
            "{{\"id\": {id}, \"image\": null, \"conversations\": [\
             {{\"from\": \"human\", \"value\": \"Question: What is 3 + 4?\\nProcess: {steps}\"}}, \
             {{\"from\": \"gpt\", \"value\": {labels}}}]}}\n"
        )
    };
    let samples = sample(0, "3 + 4 = 7.<prm>", "[0.9]") + &sample(1, "3 + 4 = 8.<prm>", "[0.1]");
    std::fs::write(folder.join("samples.jsonl"), samples)?;
    let recipe = Recipe::parse(&format!(
        "model = '{demo}/checkpoints/mini-prm'\nsamples = '{folder}/samples.jsonl'\noutput = '{folder}/prm'\nepochs = 1\n\
         validation = 0.0",
        demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo"),
        folder = folder.display(),
    ))?;
    let summary = train(&recipe, &mut |event| println!("{event:?}"), &CancelToken::new())?;
    println!("{} steps; the checkpoint was in {}", summary.steps, folder.join("prm/last").display());
    Ok(())
}
