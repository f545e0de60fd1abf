//! Adaptive rollouts and speculation, on problems whose states have known success rates.

mod adaptive;
mod oracle;
mod speculative;
