//! The search's options, on oracle trees: problems whose states have success rates that are known exactly.

mod adaptive;
mod oracle;
mod speculative;
