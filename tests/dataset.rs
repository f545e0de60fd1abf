//! Statistics, parts and curation of files of problems.

#[path = "dataset/curate.rs"]
mod curate;
#[path = "dataset/split.rs"]
mod split;
#[path = "dataset/stats.rs"]
mod stats;
#[path = "dataset/support.rs"]
mod support;
