//! Converts a low-rank adapter to a GGUF adapter, which unmodified llama.cpp loads with the
//! converted base (`--lora`). The base is a checkpoint, or the GGUF file of a text model over which
//! the adapter was trained.
//!
//! Where conversion splits or reorders the rows of a matrix, the rows of B follow and A is repeated
//! for each part. Retrained rows of token tables become exact adapters of their tables: one factor
//! holds the differences from the base's rows, the other selects them. llama.cpp scales each
//! adapter by `alpha` over the rank of that tensor, which the selecting factor compensates; a matrix
//! with another scale (rank-stabilised `LoRA`, `alpha_pattern`) has the rest of it in B.
//!
//! ```no_run
//! use std::path::Path;
//! use mmprm_quant::convert::{WeightType, adapter};
//! let plan = adapter::plan(Path::new("run/best"), Path::new("InternVL2_5-8B"), Path::new("models"), WeightType::F16)?;
//! plan.write()?;
//! println!("{}: {} tensors", plan.path.display(), plan.tensors.len());
//! # Ok::<(), mmprm_quant::convert::ConvertError>(())
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::base::Base;
use super::error::ConvertError;
use super::metadata::entry;
use super::options::WeightType;
use super::planned::{PlannedTensor, model_name};
use crate::adapter::{Adapter, AdapterError, Matrix, Pair, TokenRows};
use crate::blocks::{GgmlType, quantize_rows};
use crate::gguf::{GgufWriter, Metadata, TensorSpec};
use crate::hf::config::LanguageArch;
use crate::hf::origin::Origin;

/// A tensor of a GGUF adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterTensor {
    /// Name, dimensions and type in the file.
    pub spec: TensorSpec,
    values: Vec<f32>,
}

/// A GGUF adapter to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterPlan {
    /// Path.
    pub path: PathBuf,
    /// Metadata.
    pub metadata: Metadata,
    /// Tensors, in file order.
    pub tensors: Vec<AdapterTensor>,
    /// Notes for the user: parts of the adapter that a GGUF adapter cannot contain.
    pub notes: Vec<String>,
}

/// Plans the conversion of an adapter of `base`, a checkpoint or the GGUF file of a text model, into `<name>-lora-<type>.gguf` in
/// `output`, where `<name>` is the name of the adapter's directory. Nothing is written.
///
/// # Errors
/// [`ConvertError`] with the file and the key or tensor that is invalid, does not match the base,
/// or has no GGUF form.
pub fn plan(adapter: &Path, base: &Path, output: &Path, weight_type: WeightType) -> Result<AdapterPlan, ConvertError> {
    let name = model_name(adapter)?;
    let adapter = Adapter::open(adapter)?;
    let base = Base::open(base)?;
    let planned = base.map(weight_type)?;
    let tied = base.language.tied && base.language.arch != LanguageArch::InternLm2;
    if let Some(table) = adapter.rows.keys().next().filter(|_| tied) {
        // The table then has two uses, for which llama.cpp needs A and B in opposite orders.
        let problem =
            "retrained rows of a table that is both embedding and head have no GGUF form; merge the adapter instead";
        return Err(adapter.tensor_error(table, problem).into());
    }
    let mut tensors = Tensors { adapter: &adapter, base: &base, weight_type, list: Vec::new(), used: BTreeSet::new() };
    for target in &planned {
        if let Some(pair) = adapter.pairs.get(&target.source) {
            tensors.pair(target, pair)?;
        }
        if let Some(rows) = adapter.rows.get(&target.source) {
            tensors.rows(target, rows)?;
        }
    }
    let Tensors { list, used, .. } = tensors;
    if let Some(unknown) = adapter.pairs.keys().chain(adapter.rows.keys()).find(|name| !used.contains(name.as_str())) {
        let problem = "not a matrix of the base's language model; a GGUF adapter can adapt only those";
        return Err(adapter.tensor_error(unknown, problem).into());
    }
    if let Some(name) = adapter.full_tensors.keys().find(|name| !base.is_in_mmproj(name)) {
        let problem = "a fully trained tensor of the language model, which a GGUF adapter cannot contain; merge the adapter \
                       instead";
        return Err(adapter.tensor_error(name, problem).into());
    }
    let notes = adapter.full_tensors.keys().next().map(|name| {
        format!(
            "a GGUF adapter cannot contain '{name}' and {} other fully trained tensors of this adapter: merge it, and use the \
             mmproj file of the merged checkpoint",
            adapter.full_tensors.len() - 1
        )
    });
    let mut metadata = vec![
        entry("general.architecture", base.language.arch.name()),
        entry("general.type", "adapter"),
        entry("general.name", name.as_str()),
        entry("general.file_type", weight_type.file_type()),
        entry("adapter.type", "lora"),
        entry("adapter.lora.alpha", adapter.alpha as f32),
    ];
    if let Some(origin) = Origin::read(&adapter.path)? {
        metadata.extend(origin.metadata());
    }
    let path = output.join(format!("{name}-lora-{}.gguf", weight_type.name()));
    Ok(AdapterPlan { path, metadata, tensors: list, notes: notes.into_iter().collect() })
}

impl AdapterPlan {
    /// Returns the size of all tensors in bytes, without padding.
    pub fn data_size(&self) -> u64 {
        self.tensors.iter().map(|tensor| size(&tensor.spec)).sum()
    }

    /// Writes the file; it appears at its path when it is complete.
    ///
    /// # Errors
    /// [`ConvertError`] with the file and tensor.
    ///
    pub fn write(&self) -> Result<(), ConvertError> {
        let specs: Vec<TensorSpec> = self.tensors.iter().map(|tensor| tensor.spec.clone()).collect();
        let mut writer = GgufWriter::create(&self.path, &self.metadata, &specs)?;
        for AdapterTensor { spec, values } in &self.tensors {
            let mut packed = vec![0; size(spec) as usize];
            quantize_rows(spec.ggml_type, values, spec.dims[0] as usize, &mut packed)
                .map_err(|source| ConvertError::Value { path: self.path.clone(), tensor: spec.name.clone(), source })?;
            writer.write(&packed)?;
        }
        Ok(writer.finish()?)
    }
}

/// Returns the size of a tensor in bytes.
fn size(spec: &TensorSpec) -> u64 {
    spec.ggml_type.tensor_bytes(&spec.dims).expect("types are chosen so that rows are whole blocks")
}

/// Collects the tensors of an adapter.
struct Tensors<'a> {
    adapter: &'a Adapter,
    base: &'a Base,
    weight_type: WeightType,
    list: Vec<AdapterTensor>,
    used: BTreeSet<&'a str>,
}

impl<'a> Tensors<'a> {
    /// Adds A and B of a target tensor.
    fn add(&mut self, target: &PlannedTensor, [down, up]: [Matrix; 2]) {
        for (end, Matrix { rows, cols, values }) in [("lora_a", down), ("lora_b", up)] {
            let chosen = self.weight_type.ggml_type();
            let fits = (cols as u64).is_multiple_of(chosen.block_len());
            let ggml_type = if fits { chosen } else { GgmlType::F16 };
            let name = format!("{}.{end}", target.spec.name);
            let dims = vec![cols as u64, rows as u64];
            self.list.push(AdapterTensor { spec: TensorSpec { name, dims, ggml_type }, values });
        }
    }

    fn pair(&mut self, target: &'a PlannedTensor, pair: &Pair) -> Result<(), AdapterError> {
        let found = [pair.up.rows as u64, pair.down.cols as u64];
        if target.shape != found {
            let problem = format!("for a base of shape {found:?}, expected the base's {:?}", target.shape);
            return Err(self.adapter.tensor_error(&target.source, problem));
        }
        let rows = target.spec.dims[1];
        // llama.cpp multiplies by alpha over the rank; a pair with another scale has the rest in B.
        let usual = self.adapter.alpha / pair.down.rows as f64;
        let rest = if (pair.scale / usual - 1.0).abs() < 1e-12 { 1.0 } else { (pair.scale / usual) as f32 };
        let values = (0..rows).flat_map(|row| pair.up.row(target.rows.source(row) as usize));
        let values = values.map(|value| value * rest).collect();
        let up = Matrix { rows: rows as usize, cols: pair.up.cols, values };
        self.add(target, [pair.down.clone(), up]);
        self.used.insert(&target.source);
        Ok(())
    }

    /// Adds retrained rows of the embedding, which llama.cpp looks up, or of the head, by which it
    /// multiplies.
    fn rows(&mut self, target: &'a PlannedTensor, new: &TokenRows) -> Result<(), AdapterError> {
        let [width, vocabulary] = [target.spec.dims[0] as usize, target.spec.dims[1] as usize];
        let TokenRows { tokens, rows } = new;
        if rows.cols != width {
            let problem = format!("rows of {}, expected the base's {width}", rows.cols);
            return Err(self.adapter.tensor_error(&target.source, problem));
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            let problem = format!("a row for token {token}, expected tokens below {vocabulary}");
            return Err(self.adapter.tensor_error(&target.source, problem));
        }
        let count = tokens.len();
        let pick = (count as f64 / self.adapter.alpha) as f32;
        let mut picks = Matrix { rows: vocabulary, cols: count, values: vec![0.0; vocabulary * count] };
        let mut differences = rows.clone();
        for (place, token) in tokens.iter().enumerate() {
            picks.values[*token as usize * count + place] = pick;
            let base = self.base.row(target, *token as usize, width);
            let base = base.map_err(|error| self.adapter.tensor_error(&target.source, error.to_string()))?;
            let row = &mut differences.values[place * width..][..width];
            row.iter_mut().zip(base).for_each(|(new, base)| *new -= base);
        }
        if target.spec.name == "token_embd.weight" {
            // llama.cpp multiplies the token's row of A by B: the columns of B are the differences.
            let values =
                (0..width * count).map(|place| differences.values[place % count * width + place / count]).collect();
            self.add(target, [picks, Matrix { rows: width, cols: count, values }]);
        } else {
            self.add(target, [differences, picks]);
        }
        self.used.insert(&target.source);
        Ok(())
    }
}
