//! The built-in forms, one TOML file each.

use std::sync::LazyLock;

use super::record::PrmForm;

/// The names and records of the built-in forms.
const RECORDS: [(&str, &str); 14] = [
    ("internvl2_5-scoring", include_str!("builtin/internvl2_5-scoring.toml")),
    ("internvl2_5-training", include_str!("builtin/internvl2_5-training.toml")),
    ("visualprm", include_str!("builtin/visualprm.toml")),
    ("qwen-vl-prm", include_str!("builtin/qwen-vl-prm.toml")),
    ("qwen2.5-math-prm", include_str!("builtin/qwen2.5-math-prm.toml")),
    ("skywork-o1-prm", include_str!("builtin/skywork-o1-prm.toml")),
    ("math-shepherd", include_str!("builtin/math-shepherd.toml")),
    ("rlhflow-llama3.1", include_str!("builtin/rlhflow-llama3.1.toml")),
    ("math-psa", include_str!("builtin/math-psa.toml")),
    ("trl", include_str!("builtin/trl.toml")),
    ("genprm", include_str!("builtin/genprm.toml")),
    ("thinkprm", include_str!("builtin/thinkprm.toml")),
    ("judge", include_str!("builtin/judge.toml")),
    ("implicit", include_str!("builtin/implicit.toml")),
];

static FORMS: LazyLock<Vec<PrmForm>> = LazyLock::new(|| {
    let parse = |(name, record): &(&str, &str)| {
        PrmForm::parse(record).unwrap_or_else(|error| panic!("the built-in PRM form {name}: {error}"))
    };
    RECORDS.iter().map(parse).collect()
});

impl PrmForm {
    /// The names of the built-in forms.
    pub const BUILT_IN: [&'static str; RECORDS.len()] = {
        let mut names = [""; RECORDS.len()];
        let mut index = 0;
        while index < names.len() {
            names[index] = RECORDS[index].0;
            index += 1;
        }
        names
    };

    /// Returns the built-in form of this name.
    pub fn built_in(name: &str) -> Option<Self> {
        built_in(name).cloned()
    }
}

/// As [`PrmForm::built_in`], without a copy.
pub(crate) fn built_in(name: &str) -> Option<&'static PrmForm> {
    let index = PrmForm::BUILT_IN.iter().position(|known| *known == name)?;
    FORMS.get(index)
}
