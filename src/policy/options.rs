//! How a policy generates, wherever its model runs.

use std::path::PathBuf;

use crate::data::solution::Continue;
use crate::engine::Sampling;
use crate::prompt::ChatTemplate;
use crate::util::cancel::CancelToken;

/// How a policy generates rollouts. The defaults are MM-PRM's annotation settings, images relative
/// to the working directory.
#[derive(Debug, Clone)]
pub struct GenerationOptions {
    /// Sampling parameters. For what servers make of them see
    /// [`RemotePolicy`](super::RemotePolicy).
    pub sampling: Sampling,
    /// Maximum new tokens per rollout.
    pub max_tokens: usize,
    /// Random seed. Each rollout has its own stream, derived from this, the problem, the node and
    /// the rollout's index.
    pub seed: u64,
    /// Folder that image paths are relative to and confined to.
    pub data_root: PathBuf,
    /// The chat template; `None` for that of the model: InternVL2.5's or Qwen-VL's for their families,
    /// that of the file for another, and the bare text for a model without one. A server applies its
    /// own and only receives this template's system message, by default InternVL2.5's.
    pub template: Option<ChatTemplate>,
    /// Which message of the prompt holds the steps before a rollout.
    pub continues: Continue,
    /// Once cancelled, requests end with [`PolicyError::Cancelled`](super::PolicyError::Cancelled).
    pub cancel: CancelToken,
}

impl Default for GenerationOptions {
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            max_tokens: 4096,
            seed: 0,
            data_root: ".".into(),
            template: None,
            continues: Continue::User,
            cancel: CancelToken::new(),
        }
    }
}
