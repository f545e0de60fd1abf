//! Checkpoints: the initial model's tensors and files with other values, loadable by MM-PRM's class.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mmprm_quant::safetensors::StoredType;
use safetensors::SafeTensors;

use crate::support::json;
use crate::{ARCHITECTURES, Bench, sample};

/// Name → type, shape and values of every tensor in the files of a directory.
fn tensors(directory: &Path) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let entry = (format!("{:?}", tensor.dtype()), tensor.shape().to_vec(), tensor.data().to_vec());
            assert!(found.insert(name, entry).is_none(), "a tensor occurs twice");
        }
    }
    found
}

#[test]
fn a_trained_checkpoint_has_the_tensors_and_files_of_the_initial_one() {
    for architecture in ARCHITECTURES {
        let samples = sample("Find the sum.", &[("1 + 1 = 2.", 0.37), ("Answer: 2", 1.0)]);
        let Some(mut bench) = Bench::of(architecture, &samples) else { continue };
        bench.recipe.lr = 1e-2;
        bench.run(&mut |_| ()).unwrap();
        let (base, last) = (&bench.recipe.model, bench.recipe.output.join("last"));
        let (before, after) = (tensors(base), tensors(&last));
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{architecture}");
        let mut changed = 0;
        for (name, (dtype, shape, values)) in &before {
            let (found_dtype, found_shape, found) = &after[name];
            assert_eq!((dtype, shape), (found_dtype, found_shape), "{architecture}: {name}");
            if name.starts_with("vision_model.") {
                assert!(values == found, "{architecture}: {name} is frozen and has changed");
            } else {
                changed += usize::from(values != found);
            }
        }
        assert!(changed >= 20, "{architecture}: only {changed} tensors have changed");
        // Shards become one file; everything else is copied.
        for entry in fs::read_dir(base).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.contains(".safetensors") {
                continue;
            }
            let (theirs, ours) = (fs::read(base.join(&name)).unwrap(), fs::read(last.join(&name)).unwrap());
            if name == "config.json" {
                assert_eq!(json(&base.join(&name)), json(&last.join(&name)), "{architecture}");
            } else {
                assert!(theirs == ours, "{architecture}: {name} differs");
            }
        }
        assert!(!last.join("model.safetensors.index.json").exists(), "an index of missing shards");
    }
}

#[test]
fn the_configuration_has_the_type_of_the_saved_weights() {
    for (stored, name, dtype) in [(StoredType::F16, "float16", "F16"), (StoredType::F32, "float32", "F32")] {
        let Some(mut bench) = Bench::new(&sample("1?", &[("1.", 1.0)])) else { return };
        bench.recipe.save_as = stored;
        bench.run(&mut |_| ()).unwrap();
        let last = bench.recipe.output.join("last");
        assert_eq!(json(&last.join("config.json"))["torch_dtype"], name);
        assert!(tensors(&last).values().all(|(found, ..)| found == dtype));
    }
}
