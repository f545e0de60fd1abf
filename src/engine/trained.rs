//! The context that a model was trained with, and what happens to prompts beyond it.
//!
//! Up to it, dynamic NTK scaling of positions changes nothing, and llama.cpp computes what MM-PRM's
//! code does. Beyond it llama.cpp does not scale, so that prompts of a model with dynamic scaling
//! are refused; prompts of other models are computed and counted, for a warning. A model that
//! attends within a window is computed up to its width, and longer prompts are refused too.

use mmprm_quant::convert::{DYNAMIC_ROPE, WINDOW};
use mmprm_quant::gguf::{GgufFile, GgufValue};

use super::LimitError;

/// The trained context of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainedContext {
    positions: usize,
    limit: Option<Limit>,
}

/// Why llama.cpp computes something else beyond some length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Dynamic,
    Window,
}

impl TrainedContext {
    /// Reads it from a model's metadata; a file that does not give it has no limit.
    ///
    /// ```
    /// use mmprm::engine::TrainedContext;
    /// use mmprm_quant::gguf::{GgufFile, GgufWriter};
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("a.gguf");
    /// let metadata = [("general.architecture", "qwen2".into()), ("qwen2.context_length", 4096_u32.into())];
    /// GgufWriter::create(&path, &metadata.map(|(key, value)| (key.to_owned(), value)), &[])?.finish()?;
    /// let trained = TrainedContext::of(&GgufFile::open(&path)?);
    /// assert_eq!((trained.admit(4096)?, trained.admit(4097)?), (true, false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(file: &GgufFile) -> Self {
        let arch = file.get_str("general.architecture").unwrap_or_default();
        let value = |key: &str| file.get(&format!("{arch}.rope.scaling.{key}"));
        let context = file.get_u32(&format!("{arch}.context_length")).map_or(usize::MAX, |length| length as usize);
        // YaRN extends a shorter context by its factor; configurations may give either length.
        let original = value("original_context_length").and_then(GgufValue::as_u32);
        let extended = match (original, value("factor").and_then(GgufValue::as_f32)) {
            (Some(original), Some(factor)) => (f64::from(original) * f64::from(factor)) as usize,
            _ => 0,
        };
        let positions = context.max(extended);
        let window = file.get(WINDOW).and_then(GgufValue::as_u32).map(|window| window as usize);
        match window.filter(|window| *window < positions) {
            Some(window) => Self { positions: window, limit: Some(Limit::Window) },
            None => Self { positions, limit: file.get(DYNAMIC_ROPE).map(|_| Limit::Dynamic) },
        }
    }

    /// Returns the length in positions; `usize::MAX` if it is unknown.
    pub fn positions(self) -> usize {
        self.positions
    }

    /// Returns whether a prompt is within the trained context.
    ///
    /// # Errors
    /// [`LimitError::BeyondTrained`] for a longer prompt of a model with dynamic scaling,
    /// [`LimitError::BeyondWindow`] for one of a model that attends within a window.
    pub fn admit(self, positions: usize) -> Result<bool, LimitError> {
        match self.limit {
            _ if positions <= self.positions => Ok(true),
            None => Ok(false),
            Some(Limit::Dynamic) => Err(LimitError::BeyondTrained { positions, trained: self.positions }),
            Some(Limit::Window) => Err(LimitError::BeyondWindow { positions, window: self.positions }),
        }
    }

    /// Returns the number of tokens that can be drawn after an admitted prompt without decoding one
    /// beyond the last position that is computed exactly.
    pub fn room(self, positions: usize) -> usize {
        if self.limit.is_some() { self.positions.saturating_add(1).saturating_sub(positions) } else { usize::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmprm_quant::gguf::GgufWriter;

    fn trained(metadata: &[(&str, GgufValue)]) -> TrainedContext {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gguf");
        let architecture = ("general.architecture".to_owned(), "qwen2".into());
        let rest = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        let metadata: Vec<(String, GgufValue)> = std::iter::once(architecture).chain(rest).collect();
        GgufWriter::create(&path, &metadata, &[]).unwrap().finish().unwrap();
        TrainedContext::of(&GgufFile::open(&path).unwrap())
    }

    #[test]
    fn prompts_beyond_dynamic_scaling_are_refused_in_one_sentence() {
        let dynamic = trained(&[("qwen2.context_length", 64_u32.into()), (DYNAMIC_ROPE, 2_f32.into())]);
        assert_eq!((dynamic.admit(64), dynamic.room(64), dynamic.room(60)), (Ok(true), 1, 5));
        let error = dynamic.admit(65).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the prompt takes 65 positions, more than the trained context of 64, beyond which this model's dynamic scaling \
             of positions is not supported"
        );
    }

    #[test]
    fn prompts_beyond_a_window_are_refused_in_one_sentence() {
        let of = |window: u32| trained(&[("qwen2.context_length", 64_u32.into()), (WINDOW, window.into())]);
        let narrow = of(16);
        assert_eq!((narrow.positions(), narrow.admit(16), narrow.room(10)), (16, Ok(true), 7));
        assert_eq!(
            narrow.admit(17).unwrap_err().to_string(),
            "the prompt takes 17 positions, but this model attends to the last 16 only, which is not supported"
        );
        assert_eq!(of(64).admit(65), Ok(false));
    }

    #[test]
    fn other_models_go_on_and_are_counted() {
        let plain = trained(&[("qwen2.context_length", 64_u32.into())]);
        assert_eq!((plain.admit(64), plain.admit(65), plain.room(65)), (Ok(true), Ok(false), usize::MAX));
        let yarn = trained(&[
            ("qwen2.context_length", 64_u32.into()),
            ("qwen2.rope.scaling.original_context_length", 64_u32.into()),
            ("qwen2.rope.scaling.factor", 4_f32.into()),
        ]);
        assert_eq!((yarn.positions(), yarn.admit(256), yarn.admit(257)), (256, Ok(true), Ok(false)));
        assert_eq!(trained(&[]).admit(usize::MAX), Ok(true));
    }
}
