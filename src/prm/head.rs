//! Heads: linear layers on a hidden state, from the metadata of a model's GGUF file.
//!
//! llama.cpp refuses tensors that it does not know, so a head is metadata: `mmprm.head.layers`, and for each layer
//! `mmprm.head.N.weight` (row-major, `[outputs, inputs]`), `mmprm.head.N.shape` and perhaps `mmprm.head.N.bias`; between layers
//! the function `mmprm.head.activation`.

use mmprm_quant::gguf::{GgufArray, GgufFile, GgufValue};

/// The beginning of the keys of a head.
const PREFIX: &str = "mmprm.head.";
/// Maximum number of layers.
const MAX_LAYERS: usize = 8;
/// Maximum width of a layer.
const MAX_WIDTH: u32 = 1 << 16;

/// A head.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    layers: Vec<Layer>,
}

#[derive(Debug, Clone, PartialEq)]
struct Layer {
    inputs: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// The inputs and outputs of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadShape {
    /// The width of the hidden state.
    pub inputs: usize,
    /// The number of outputs.
    pub outputs: usize,
    /// The number of layers.
    pub layers: usize,
}

impl HeadShape {
    /// Returns the shape of a file's head, from its outline; `None` if it has no head.
    ///
    /// # Errors
    /// What is wrong with the head, by the key.
    pub fn of(file: &GgufFile) -> Result<Option<Self>, String> {
        let mut own = file.metadata().iter().map(|(key, _)| key.as_str()).filter(|key| key.starts_with(PREFIX));
        let layers_key = format!("{PREFIX}layers");
        let Some(layers) = file.get(&layers_key) else {
            return match own.next() {
                Some(key) => Err(format!("it has {key} but no {layers_key}")),
                None => Ok(None),
            };
        };
        let layers = layers.as_u32().map(|layers| layers as usize).filter(|layers| (1..=MAX_LAYERS).contains(layers));
        let layers = layers.ok_or_else(|| format!("{layers_key}: expected a number from 1 to {MAX_LAYERS}"))?;
        let is_known = |key: &&str| {
            let Some((layer, what)) = key[PREFIX.len()..].split_once('.') else {
                return ["layers", "activation"].contains(&&key[PREFIX.len()..]);
            };
            let index = layer.parse::<usize>().ok().filter(|index| index.to_string() == layer);
            index.is_some_and(|index| index < layers) && ["weight", "shape", "bias"].contains(&what)
        };
        if let Some(key) = own.find(|key| !is_known(key)) {
            return Err(format!("{key}: not a key of a head with {layers} layers"));
        }
        let activation_key = format!("{PREFIX}activation");
        match file.get(&activation_key).map(GgufValue::as_str) {
            None if layers > 1 => return Err(format!("{activation_key} is missing, expected \"relu\" between layers")),
            None | Some(Some("relu")) => {}
            Some(found) => return Err(format!("{activation_key}: found {found:?}, expected \"relu\"")),
        }
        let (mut inputs, mut outputs) = (0, 0);
        for index in 0..layers {
            let [rows, columns] = shape(file, index)?;
            if index == 0 {
                inputs = columns;
            } else if columns != outputs {
                let before = index - 1;
                return Err(format!(
                    "{PREFIX}{index}.shape: {columns} inputs, but layer {before} has {outputs} outputs"
                ));
            }
            outputs = rows;
            let length = |what: &str, expected: usize| {
                let key = format!("{PREFIX}{index}.{what}");
                match file.get(&key) {
                    Some(GgufValue::Array(GgufArray::F32(items))) => {
                        let found = file.full_length(&key).unwrap_or(items.len());
                        if found == expected {
                            Ok(())
                        } else {
                            Err(format!("{key}: {found} numbers, expected {expected}"))
                        }
                    }
                    Some(other) => Err(format!("{key}: found {}, expected f32[]", other.type_name())),
                    None if what == "bias" => Ok(()),
                    None => Err(format!("{key} is missing")),
                }
            };
            length("weight", rows * columns)?;
            length("bias", rows)?;
        }
        Ok(Some(Self { inputs, outputs, layers }))
    }
}

fn shape(file: &GgufFile, index: usize) -> Result<[usize; 2], String> {
    let key = format!("{PREFIX}{index}.shape");
    match file.get(&key) {
        Some(GgufValue::Array(GgufArray::U32(shape))) => match shape[..] {
            [rows, columns] if (1..=MAX_WIDTH).contains(&rows) && (1..=MAX_WIDTH).contains(&columns) => {
                Ok([rows as usize, columns as usize])
            }
            _ => Err(format!("{key}: found {shape:?}, expected outputs and inputs, from 1 to {MAX_WIDTH}")),
        },
        Some(other) => Err(format!("{key}: found {}, expected u32[]", other.type_name())),
        None => Err(format!("{key} is missing")),
    }
}

impl Head {
    /// Reads the head of a file; `None` if it has none.
    ///
    /// # Errors
    /// What is wrong with the head, by the key.
    pub fn read(file: &GgufFile) -> Result<Option<Self>, String> {
        let Some(HeadShape { layers, .. }) = HeadShape::of(file)? else { return Ok(None) };
        let floats = |index: usize, what: &str| {
            let key = format!("{PREFIX}{index}.{what}");
            match file.get(&key) {
                Some(GgufValue::Array(GgufArray::F32(items))) if items.iter().all(|value| value.is_finite()) => {
                    Ok(items.clone())
                }
                Some(_) => Err(format!("{key} has numbers that are infinite or not a number")),
                None => Ok(Vec::new()),
            }
        };
        let layer = |index: usize| {
            let [_, inputs] = shape(file, index)?;
            Ok(Layer { inputs, weight: floats(index, "weight")?, bias: floats(index, "bias")? })
        };
        (0..layers).map(layer).collect::<Result<_, _>>().map(|layers| Some(Self { layers }))
    }

    /// Returns the outputs for a hidden state.
    pub fn apply(&self, state: &[f32]) -> Vec<f64> {
        let mut values: Vec<f64> = state.iter().map(|value| f64::from(*value)).collect();
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                for value in &mut values {
                    *value = value.max(0.0);
                }
            }
            let row = |(index, weights): (usize, &[f32])| {
                let product: f64 = weights.iter().zip(&values).map(|(weight, value)| f64::from(*weight) * value).sum();
                product + f64::from(layer.bias.get(index).copied().unwrap_or_default())
            };
            values = layer.weight.chunks_exact(layer.inputs).enumerate().map(row).collect();
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mmprm_quant::gguf::{GgufWriter, Metadata};

    use super::*;

    fn floats(values: &[f32]) -> GgufValue {
        GgufValue::Array(GgufArray::F32(values.to_vec()))
    }

    fn shape(rows: u32, columns: u32) -> GgufValue {
        GgufValue::Array(GgufArray::U32(vec![rows, columns]))
    }

    /// Two layers, 2 → 3 → 1.
    fn keys() -> Metadata {
        [
            ("layers", GgufValue::U32(2)),
            ("activation", GgufValue::from("relu")),
            ("0.shape", shape(3, 2)),
            ("0.weight", floats(&[1.0, 2.0, -1.0, 0.0, 0.5, 0.5])),
            ("0.bias", floats(&[0.0, 1.0, -10.0])),
            ("1.shape", shape(1, 3)),
            ("1.weight", floats(&[1.0, 10.0, 100.0])),
        ]
        .map(|(key, value)| (format!("{PREFIX}{key}"), value))
        .into()
    }

    fn file(folder: &Path, metadata: &Metadata) -> GgufFile {
        let path = folder.join("head.gguf");
        let all: Metadata = [("general.architecture".to_owned(), GgufValue::from("qwen2"))]
            .into_iter()
            .chain(metadata.clone())
            .collect();
        GgufWriter::create(&path, &all, &[]).unwrap().finish().unwrap();
        GgufFile::open(&path).unwrap()
    }

    #[test]
    fn a_head_is_its_layers_with_relu_between() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), &keys());
        assert_eq!(HeadShape::of(&file).unwrap(), Some(HeadShape { inputs: 2, outputs: 1, layers: 2 }));
        let head = Head::read(&file).unwrap().unwrap();
        // [1 + 4, -1 + 1, 1.5 - 10] → relu → [5, 0, 0].
        assert_eq!(head.apply(&[1.0, 2.0]), [5.0]);
        // [-3 - 2, 3 + 1, …] → [0, 4, 0].
        assert_eq!(head.apply(&[-3.0, -1.0]), [40.0]);
    }

    #[test]
    fn a_faulty_head_is_refused_by_the_key() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(HeadShape::of(&file(folder.path(), &Metadata::new())), Ok(None));
        for (key, value, part) in [
            ("layers", Some(GgufValue::U32(0)), "1 to 8"),
            ("layers", Some(GgufValue::from("two")), "1 to 8"),
            ("layers", Some(GgufValue::U32(1)), "not a key of a head with 1 layers"),
            ("layers", None, "mmprm.head.layers"),
            ("activation", Some(GgufValue::from("gelu")), "\"relu\""),
            ("activation", None, "activation is missing"),
            ("0.shape", Some(shape(3, 4)), "0.weight: 6 numbers, expected 12"),
            ("0.shape", Some(shape(3, 0)), "0.shape"),
            ("0.shape", Some(floats(&[3.0, 2.0])), "expected u32[]"),
            ("0.shape", None, "0.shape is missing"),
            ("1.shape", Some(shape(1, 2)), "1.shape: 2 inputs, but layer 0 has 3 outputs"),
            ("1.weight", Some(floats(&[1.0])), "1.weight: 1 numbers, expected 3"),
            ("1.weight", None, "1.weight is missing"),
            ("1.weight", Some(shape(1, 3)), "expected f32[]"),
            ("0.bias", Some(floats(&[1.0])), "0.bias: 1 numbers, expected 3"),
            ("1.scale", Some(floats(&[1.0])), "mmprm.head.1.scale"),
            ("2.weight", Some(floats(&[1.0])), "mmprm.head.2.weight"),
        ] {
            let mut metadata: Metadata =
                keys().into_iter().filter(|(known, _)| *known != format!("{PREFIX}{key}")).collect();
            metadata.extend(value.map(|value| (format!("{PREFIX}{key}"), value)));
            let error = HeadShape::of(&file(folder.path(), &metadata)).unwrap_err();
            assert!(error.contains(part), "{key}: {error}");
        }
        let mut metadata = keys();
        metadata.last_mut().unwrap().1 = floats(&[1.0, f32::NAN, 2.0]);
        let error = Head::read(&file(folder.path(), &metadata)).unwrap_err();
        assert!(error.contains("mmprm.head.1.weight"), "{error}");
    }
}
