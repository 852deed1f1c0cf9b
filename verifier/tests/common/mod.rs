//! What the tests share: options, programs from text, the kernel's verifier tests.

use bpftime_isa::{Insn, MapDef, MapType, ProgType, Program};
use bpftime_verifier::Options;

/// The kernel's rules for privileged programs, with everything on offer.
pub(crate) fn options() -> Options {
    Options::linux()
}

/// A program of the type.
pub(crate) fn program(prog_type: ProgType, insns: Vec<Insn>, maps: Vec<MapDef>) -> Program {
    Program {
        name: "test".into(),
        license: "GPL".into(),
        maps,
        ..Program::new(prog_type, insns)
    }
}

/// A map definition.
pub(crate) fn map(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: map_type.name().into(),
        ..MapDef::new(map_type, key_size, value_size, max_entries)
    }
}
