//! A head that scores positions from the last hidden state, in the metadata of a language model's GGUF file.
//!
//! llama.cpp refuses files with tensors that it does not know, so the layers are arrays:
//!
//! | key | value |
//! |---|---|
//! | `mmprm.head.layers` | number of linear layers, 1 to 4 |
//! | `mmprm.head.N.shape` | outputs and inputs of layer N (`u32[2]`) |
//! | `mmprm.head.N.weight` | its matrix, row after row (`f32[]`) |
//! | `mmprm.head.N.bias` | its bias, if it has one (`f32[]`) |
//! | `mmprm.head.activation` | what is applied between layers (`relu`); absent for one layer |
//!
//! Conversion writes a checkpoint's head ([`crate::convert`]); where and how scores are read from its
//! outputs is up to the form of the reward model.
//!
//! ```
//! use mmprm_quant::gguf::{GgufFile, GgufWriter};
//! use mmprm_quant::head::{Head, Layer};
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("head.gguf");
//! let layer = Layer { outputs: 1, inputs: 2, weight: vec![2.0, -1.0], bias: Some(vec![0.5]) };
//! let head = Head { layers: vec![layer], activation: None };
//! GgufWriter::create(&path, &head.metadata(), &[])?.finish()?;
//! let read = Head::read(&GgufFile::open(&path)?)?.unwrap();
//! assert_eq!(read, head);
//! assert_eq!(read.apply(&[3.0, 4.0]), [2.5]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::gguf::{GgufArray, GgufError, GgufFile, GgufValue, Metadata};

/// The beginning of the keys.
const PREFIX: &str = "mmprm.head.";
const LAYERS: &str = "mmprm.head.layers";
const ACTIVATION: &str = "mmprm.head.activation";
/// Maximum number of layers; known heads have one or two.
const MAX_LAYERS: u32 = 4;
/// Maximum inputs or outputs of a layer.
const MAX_WIDTH: u32 = 1 << 16;

/// What is applied between two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Negative numbers become 0.
    Relu,
}

impl Activation {
    /// Returns the name in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
        }
    }
}

/// A linear layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Number of outputs.
    pub outputs: usize,
    /// Number of inputs.
    pub inputs: usize,
    /// The matrix, row after row: one row per output.
    pub weight: Vec<f32>,
    /// One number per output.
    pub bias: Option<Vec<f32>>,
}

/// A head.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The layers, at least one; each has as many inputs as the one before has outputs.
    pub layers: Vec<Layer>,
    /// What is applied between layers.
    pub activation: Option<Activation>,
}

/// The sizes of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadShape {
    /// Width of the hidden state, then the number of outputs of each layer.
    pub widths: Vec<usize>,
    /// What is applied between layers.
    pub activation: Option<Activation>,
}

impl HeadShape {
    /// Reads it from a file, also from an outline; `None` if the file has no head.
    ///
    /// # Errors
    /// [`GgufError`] with the key that is missing, invalid or unknown.
    pub fn read(file: &GgufFile) -> Result<Option<Self>, GgufError> {
        let mut keys = file.metadata().iter().map(|(key, _)| key.as_str()).filter(|key| key.starts_with(PREFIX));
        if file.get(LAYERS).is_none() {
            return match keys.next() {
                None => Ok(None),
                Some(_) => Err(missing(file, LAYERS, "u32")),
            };
        }
        let layers = file.get_u32(LAYERS)?;
        if !(1..=MAX_LAYERS).contains(&layers) {
            return Err(wrong(file, LAYERS, layers.to_string(), &format!("1 to {MAX_LAYERS}")));
        }
        let is_known = |key: &str| {
            let part = key[PREFIX.len()..].split_once('.').filter(|(layer, part)| {
                layer.parse().is_ok_and(|layer: u32| layer < layers) && ["shape", "weight", "bias"].contains(part)
            });
            part.is_some() || key == LAYERS || key == ACTIVATION
        };
        if let Some(unknown) = keys.find(|key| !is_known(key)) {
            return Err(wrong(file, unknown, "found".to_owned(), "no such key in a head"));
        }
        let mut widths: Vec<usize> = Vec::new();
        for layer in 0..layers {
            let key = part(layer, "shape");
            let Some(GgufValue::Array(GgufArray::U32(shape))) = file.get(&key) else {
                return Err(missing_or(file, &key, "u32[2], outputs and inputs"));
            };
            let fits = shape.len() == 2 && shape.iter().all(|width| (1..=MAX_WIDTH).contains(width));
            if !fits {
                return Err(wrong(file, &key, format!("{shape:?}"), &format!("two numbers of 1 to {MAX_WIDTH}")));
            }
            let (outputs, inputs) = (shape[0] as usize, shape[1] as usize);
            match widths.last() {
                None => widths.push(inputs),
                Some(before) if *before == inputs => {}
                Some(before) => {
                    let expected = format!("{before} inputs, the outputs of the layer before");
                    return Err(wrong(file, &key, format!("{shape:?}"), &expected));
                }
            }
            widths.push(outputs);
        }
        let activation = match (file.get(ACTIVATION), layers) {
            (None, 1) => None,
            (None, _) => return Err(missing(file, ACTIVATION, "string")),
            (Some(value), 1) => {
                return Err(wrong(file, ACTIVATION, value.to_string(), "none: the head has one layer"));
            }
            (Some(_), _) => match file.get_str(ACTIVATION)? {
                "relu" => Some(Activation::Relu),
                other => return Err(wrong(file, ACTIVATION, format!("'{other}'"), "'relu'")),
            },
        };
        Ok(Some(Self { widths, activation }))
    }
}

impl Head {
    /// Reads and validates the head of a file; `None` if it has none.
    ///
    /// # Errors
    /// [`GgufError`] with the key that is missing, invalid or unknown.
    pub fn read(file: &GgufFile) -> Result<Option<Self>, GgufError> {
        let Some(HeadShape { widths, activation }) = HeadShape::read(file)? else { return Ok(None) };
        let mut layers = Vec::new();
        for (layer, pair) in (0..).zip(widths.windows(2)) {
            let (inputs, outputs) = (pair[0], pair[1]);
            let weight = numbers(file, &part(layer, "weight"), inputs * outputs)?.to_vec();
            let bias = part(layer, "bias");
            let bias = if file.get(&bias).is_some() { Some(numbers(file, &bias, outputs)?.to_vec()) } else { None };
            layers.push(Layer { outputs, inputs, weight, bias });
        }
        Ok(Some(Self { layers, activation }))
    }

    /// Returns it as GGUF metadata.
    pub fn metadata(&self) -> Metadata {
        let mut metadata: Metadata = vec![(LAYERS.to_owned(), GgufValue::from(self.layers.len() as u32))];
        for (index, layer) in (0..).zip(&self.layers) {
            metadata.push((part(index, "shape"), vec![layer.outputs as u32, layer.inputs as u32].into()));
            metadata.push((part(index, "weight"), layer.weight.clone().into()));
            metadata.extend(layer.bias.clone().map(|bias| (part(index, "bias"), bias.into())));
        }
        metadata.extend(self.activation.map(|activation| (ACTIVATION.to_owned(), activation.name().into())));
        metadata
    }

    /// Computes the outputs for a hidden state, in 64 bits.
    ///
    /// # Panics
    /// If `hidden` has not the width of the first layer's inputs.
    pub fn apply(&self, hidden: &[f32]) -> Vec<f64> {
        let mut values: Vec<f64> = hidden.iter().map(|value| f64::from(*value)).collect();
        for (index, layer) in self.layers.iter().enumerate() {
            assert_eq!(values.len(), layer.inputs, "the width of the hidden state");
            if index > 0 && self.activation == Some(Activation::Relu) {
                for value in &mut values {
                    *value = value.max(0.0);
                }
            }
            let rows = layer.weight.chunks_exact(layer.inputs).enumerate();
            let outputs = rows.map(|(output, row)| {
                let bias = layer.bias.as_ref().map_or(0.0, |bias| f64::from(bias[output]));
                row.iter().zip(&values).fold(bias, |sum, (w, x)| f64::from(*w).mul_add(*x, sum))
            });
            values = outputs.collect();
        }
        values
    }
}

/// Checks the head of a language model whose hidden states have the given width, and returns its sizes if it has one; an outline is
/// enough.
///
/// # Errors
/// [`GgufError`] with the key that is missing, invalid or of another size.
pub fn check(file: &GgufFile, hidden: u64) -> Result<Option<HeadShape>, GgufError> {
    let Some(shape) = HeadShape::read(file)? else { return Ok(None) };
    if shape.widths[0] as u64 != hidden {
        let found = format!("{} inputs", shape.widths[0]);
        return Err(wrong(file, &part(0, "shape"), found, &format!("{hidden}, the width of the hidden states")));
    }
    for (layer, pair) in (0..).zip(shape.widths.windows(2)) {
        numbers(file, &part(layer, "weight"), pair[0] * pair[1])?;
        let bias = part(layer, "bias");
        if file.get(&bias).is_some() {
            numbers(file, &bias, pair[1])?;
        }
    }
    Ok(Some(shape))
}

fn part(layer: u32, name: &str) -> String {
    format!("{PREFIX}{layer}.{name}")
}

/// Returns an array of this many finite numbers.
fn numbers<'a>(file: &'a GgufFile, key: &str, count: usize) -> Result<&'a [f32], GgufError> {
    let Some(GgufValue::Array(GgufArray::F32(numbers))) = file.get(key) else {
        return Err(missing_or(file, key, "f32[]"));
    };
    let length = file.full_length(key).unwrap_or(numbers.len());
    if length != count {
        return Err(wrong(file, key, format!("{length} numbers"), &format!("{count}, by the shape of the layer")));
    }
    match numbers.iter().position(|number| !number.is_finite()) {
        Some(at) => Err(wrong(file, key, format!("element {at} is {}", numbers[at]), "finite numbers")),
        None => Ok(numbers),
    }
}

fn missing(file: &GgufFile, key: &str, expected: &'static str) -> GgufError {
    GgufError::MissingKey { path: file.path().to_owned(), key: key.to_owned(), expected }
}

fn missing_or(file: &GgufFile, key: &str, expected: &'static str) -> GgufError {
    match file.get(key) {
        None => missing(file, key, expected),
        Some(value) => wrong(file, key, value.type_name(), expected),
    }
}

fn wrong(file: &GgufFile, key: &str, found: impl Into<String>, expected: &str) -> GgufError {
    GgufError::UnsoundKey {
        path: file.path().to_owned(),
        key: key.to_owned(),
        found: found.into(),
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::GgufWriter;

    fn mlp() -> Head {
        let layer = |outputs, inputs, bias: Option<Vec<f32>>| {
            let weight = (0..outputs * inputs).map(|index| index as f32 - 3.0).collect();
            Layer { outputs, inputs, weight, bias }
        };
        let layers = vec![layer(3, 2, Some(vec![0.5, -0.5, 1.0])), layer(2, 3, None)];
        Head { layers, activation: Some(Activation::Relu) }
    }

    fn file(change: impl FnOnce(&mut Metadata)) -> GgufFile {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head.gguf");
        let mut metadata = mlp().metadata();
        change(&mut metadata);
        GgufWriter::create(&path, &metadata, &[]).unwrap().finish().unwrap();
        GgufFile::open(&path).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_applied() {
        let head = Head::read(&file(|_| {})).unwrap().unwrap();
        assert_eq!(head, mlp());
        // -3·1 - 2·2 + 0.5, -1·1 + 0·2 - 0.5, 1·1 + 2·2 + 1 are -6.5, -1.5, 6; the last one is left.
        assert_eq!(head.apply(&[1.0, 2.0]), [-6.0, 12.0]);
        assert_eq!(Head::read(&file(Vec::clear)).unwrap(), None);
        assert!(check(&file(|_| {}), 2).is_ok());
    }

    #[test]
    fn heads_that_contradict_themselves_are_refused_by_key() {
        let set = |key: &'static str, value: GgufValue| {
            move |metadata: &mut Metadata| {
                metadata.retain(|(other, _)| other != key);
                metadata.push((key.to_owned(), value));
            }
        };
        let without = |key: &'static str| move |metadata: &mut Metadata| metadata.retain(|(other, _)| other != key);
        for (file, expected) in [
            (file(without(LAYERS)), "key 'mmprm.head.layers': missing"),
            (file(set(LAYERS, 0_u32.into())), "key 'mmprm.head.layers': 0, expected 1 to 4"),
            (file(set(LAYERS, 1_u32.into())), "key 'mmprm.head.1.shape': found, expected no such key"),
            (file(set(LAYERS, 3_u32.into())), "key 'mmprm.head.2.shape': missing"),
            (file(without("mmprm.head.1.shape")), "key 'mmprm.head.1.shape': missing"),
            (
                file(set("mmprm.head.1.shape", vec![2_u32, 4].into())),
                "expected 3 inputs, the outputs of the layer before",
            ),
            (
                file(set("mmprm.head.0.shape", vec![3_u32].into())),
                "key 'mmprm.head.0.shape': [3], expected two numbers",
            ),
            (file(set("mmprm.head.0.shape", vec![0_u32, 2].into())), "key 'mmprm.head.0.shape': [0, 2]"),
            (file(without("mmprm.head.0.weight")), "key 'mmprm.head.0.weight': missing"),
            (file(set("mmprm.head.0.weight", vec![1.0_f32; 5].into())), "weight': 5 numbers, expected 6"),
            (file(set("mmprm.head.1.bias", vec![1.0_f32; 3].into())), "bias': 3 numbers, expected 2"),
            (file(set("mmprm.head.1.bias", vec![0.0, f32::NAN].into())), "element 1 is NaN, expected finite"),
            (file(set("mmprm.head.1.bias", "x".into())), "key 'mmprm.head.1.bias': string, expected f32[]"),
            (file(set("mmprm.head.0.gain", 1_u32.into())), "key 'mmprm.head.0.gain': found, expected no such key"),
            (file(without(ACTIVATION)), "key 'mmprm.head.activation': missing"),
            (file(set(ACTIVATION, "gelu".into())), "key 'mmprm.head.activation': 'gelu', expected 'relu'"),
        ] {
            let error = Head::read(&file).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}, expected {expected}");
            assert_eq!(check(&file, 2).unwrap_err().to_string(), error);
        }
        let error = check(&file(|_| {}), 8).unwrap_err().to_string();
        assert!(error.contains("shape': 2 inputs, expected 8, the width of the hidden states"), "{error}");
    }
}
