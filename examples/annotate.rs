//! Searches one problem for the first wrong step of wrong solutions (`OmegaPRM`) and prints the labelled tree:
//! `cargo run --release --example annotate`.

use std::path::Path;

use mmprm::data::tree::Node;
use mmprm::search::{SearchParams, search};
use mmprm::{Judge, Policy, Problem};

fn main() -> Result<(), mmprm::Error> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let models = demo.join("models");
    let policy = Policy::open(models.join("policy-q8_0.gguf"))?.mmproj(models.join("mmproj-policy-f16.gguf"))?;
    let problem = Problem::new("How much larger is the tallest bar than the shortest bar?")
        .answer("10")
        .image(demo.join("mini-k12/test/images/test-2-00000.png").display().to_string());
    let params = SearchParams { rollouts: 8, rollout_budget: 60, ..SearchParams::default() };
    let outcome = search(&problem, &policy, &Judge::rules(), &params)?;
    println!("{} rollouts; solved {:.0} % of the time", outcome.stats.rollouts, 100.0 * outcome.tree.root.mc_value);
    print(&outcome.tree.root, 0);
    Ok(())
}

fn print(node: &Node, depth: usize) {
    for child in &node.children {
        println!("{:depth$}{:.2}  {}", "", child.mc_value, child.partial_solution.join(" / "), depth = 2 * depth);
        print(child, depth + 1);
    }
}
