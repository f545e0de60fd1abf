//! Step-level judging of multimodal mathematics on one workstation.
#![deny(unsafe_code)]

pub mod answer;
pub mod compat;
pub mod data;
pub mod engine;
pub mod eval;
pub mod image;
pub mod internvl;
pub mod judge;
pub mod nn;
pub mod policy;
pub mod prm;
pub mod prompt;
pub mod remote;
pub mod search;
pub mod train;
pub mod util;
pub mod vision;
