//! Tests of helpers, called as compiled code calls them.

#[expect(dead_code, reason = "the helpers' tests use a part")]
#[path = "../../../../maps/tests/maps/bpf.rs"]
mod bpf;
mod environment;
mod memory;
mod output;
mod print;
mod table;
mod task;
