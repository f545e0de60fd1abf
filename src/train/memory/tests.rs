use super::*;
use crate::internvl::{Config, Layout};
use crate::train::measure::ModelShape;
use crate::train::recipe::Recipe;

const SHAPE: ModelShape = ModelShape { width: 64, layers: 4, heads: 4, keys: 2, inner: 128, vocabulary: 1000 };

fn layout() -> std::sync::Arc<Layout> {
    Layout::new(&Config::from_json(&SHAPE.config()).unwrap())
}

fn bytes(plan: &MemoryPlan, name: &str) -> u64 {
    plan.parts.iter().find(|part| part.name == name).map_or(0, |part| part.bytes)
}

#[test]
fn every_weight_is_counted_once() {
    let layout = layout();
    let values = |wanted: &dyn Fn(usize) -> bool| -> u64 {
        let tensors = layout.tensors().iter().enumerate().filter(|(number, _)| wanted(*number));
        tensors.map(|(_, tensor)| tensor.len() as u64).sum()
    };
    let mut workload = Workload::new(&layout, &Trainable::without_vision(&layout), 100);
    workload.task = Task::Policy;
    workload.tower_bytes = 4.0;
    let plan = MemoryPlan::of(&workload);
    let trained = values(&|number| !layout.is_vision(number));
    assert_eq!(bytes(&plan, "trained weights"), 4 * trained);
    assert_eq!(bytes(&plan, "frozen weights"), 4 * values(&|number| layout.is_vision(number)));
    assert_eq!(bytes(&plan, "gradients"), 4 * trained);
    assert_eq!(bytes(&plan, "optimiser state"), 8 * trained);
    workload.optimizer = OptimizerKind::Muon;
    assert!(bytes(&MemoryPlan::of(&workload), "optimiser state") < 8 * trained);
}

#[test]
fn unused_embedding_rows_have_no_gradient() {
    let layout = layout();
    let mut workload = Workload::new(&layout, &Trainable::without_vision(&layout), 100);
    let all = bytes(&MemoryPlan::of(&workload), "gradients");
    workload.distinct_tokens = 10;
    let few = bytes(&MemoryPlan::of(&workload), "gradients");
    let rows = 4 * (SHAPE.vocabulary * SHAPE.width) as u64;
    assert!(few < all && all - few < rows, "{few} {all}");
}

#[test]
fn adapters_and_a_quantised_base_replace_trained_weights() {
    let layout = layout();
    let mut workload = Workload::new(&layout, &Trainable::only(&layout, |_| false), 100);
    workload.base_bytes = 144.0 / 256.0;
    workload.adapters =
        Some(Adapters { rank: 2, targets: vec!["wo".into(), "w2".into()], projector: false, token_rows: 1 });
    let plan = MemoryPlan::of(&workload);
    // wo is 64 × 64 and w2 64 × 128, in 4 blocks; and a row of embedding and head.
    let values = 4 * 2 * (64 + 64 + 64 + 128) + 2 * 64;
    assert_eq!(bytes(&plan, "trained weights"), 4 * values);
    assert_eq!(bytes(&plan, "optimiser state"), 8 * values);
    let whole = MemoryPlan::of(&Workload { base_bytes: 4.0, ..workload.clone() });
    assert!(bytes(&plan, "frozen weights") * 3 < bytes(&whole, "frozen weights"));
}

#[test]
fn checkpointing_keeps_one_stream_for_each_layer() {
    let layout = layout();
    let mut workload = Workload::new(&layout, &Trainable::without_vision(&layout), 1000);
    workload.precision = Compute::F32;
    let everything = bytes(&MemoryPlan::of(&workload), "activations");
    workload.checkpointing = true;
    let streams = bytes(&MemoryPlan::of(&workload), "activations");
    assert!(streams > 4 * 4 * 1000 * 64 && streams < everything / 2, "{streams} {everything}");
    workload.checkpointing = false;
    workload.precision = Compute::Bf16;
    assert!(bytes(&MemoryPlan::of(&workload), "activations") < everything * 6 / 10);
}

#[test]
fn advice_accumulates_until_the_run_fits() {
    let layout = layout();
    let workload = Workload::new(&layout, &Trainable::without_vision(&layout), 4096);
    let all = advice_for(&workload, 0);
    assert!(all.windows(2).all(|pair| pair[1].total < pair[0].total), "{all:?}");
    assert!(all.last().is_some_and(|last| last.change.contains("Q4_K")));
    let first = advice_for(&workload, all[0].total);
    assert_eq!((first.len(), first[0].change.as_str()), (1, "`checkpointing = true`"));
}

#[test]
fn a_recipe_with_adapters_needs_less_memory() {
    let (recipe, layout) = ("model = 'm'\nsamples = 's'\noutput = 'o'\n", layout());
    let of = |recipe: &str| MemoryPlan::of(&Workload::of(&Recipe::parse(recipe).unwrap(), &layout, None));
    let (full, adapters) = (of(recipe), of(&format!("{recipe}[lora]\nrank = 2\n")));
    assert!(adapters.total() < full.total());
    assert!(10 * bytes(&adapters, "optimiser state") < bytes(&full, "optimiser state"));
}
