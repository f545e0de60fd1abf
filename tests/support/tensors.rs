//! Safetensors files, and the distance between tensors.

use std::path::Path;

use byteorder::{ByteOrder, LittleEndian};
use safetensors::SafeTensors;

/// A safetensors file in memory.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn read(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    pub fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    pub fn names(&self) -> Vec<String> {
        self.file().names().into_iter().map(str::to_owned).collect()
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        let file = self.file();
        let data = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data();
        let mut values = vec![0.0; data.len() / 4];
        LittleEndian::read_f32_into(data, &mut values);
        values
    }

    pub fn integers(&self, name: &str) -> Vec<i64> {
        let file = self.file();
        let data = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data();
        data.chunks_exact(8).map(LittleEndian::read_i64).collect()
    }

    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.integers(name).into_iter().map(|id| u32::try_from(id).unwrap()).collect()
    }
}

/// Returns ‖found − expected‖ / ‖expected‖.
pub fn relative(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |value: f64| value * value;
    let off: f64 = found.iter().zip(expected).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    (off / expected.iter().map(|value| square(f64::from(*value))).sum::<f64>()).sqrt()
}
