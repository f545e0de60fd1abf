//! What people see in a terminal: steps with bars for their scores, candidates, trees and curves.
//!
//! Every text from a file or a model is escaped here, before colours are added. What is drawn is left to the commands.

#![expect(clippy::format_push_string, reason = "texts are drawn once, and read better this way")]

pub mod candidates;
pub mod chart;
pub mod inline;
pub mod pen;
pub mod steps;
pub mod tree;
