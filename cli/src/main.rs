//! The `bpftime` command.
fn main() {}
