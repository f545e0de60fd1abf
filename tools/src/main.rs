//! The `mmprm` command line.

fn main() {}
