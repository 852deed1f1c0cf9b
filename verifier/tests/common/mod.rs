//! What the tests share: capabilities, programs from text, the kernel's verifier tests.

use bpftime_abi::Capabilities;
use bpftime_isa::{Insn, MapDef, MapType, ProgType, Program};
use bpftime_verifier::Options;

/// Everything that exists.
pub(crate) fn all_capabilities() -> Capabilities {
    let helpers = (0..256).fold(Capabilities::NONE, Capabilities::with_helper);
    MapType::ALL
        .iter()
        .fold(helpers, |all, map_type| all.with_map_type(*map_type))
}

/// The kernel's rules for privileged programs, with everything on offer.
pub(crate) fn options() -> Options {
    Options::new(all_capabilities())
}

/// A program of the type.
pub(crate) fn program(prog_type: ProgType, insns: Vec<Insn>, maps: Vec<MapDef>) -> Program {
    Program {
        name: "test".into(),
        section: String::new(),
        prog_type,
        attach_type: None,
        hook: bpftime_isa::Hook::default(),
        license: "GPL".into(),
        insns,
        maps,
        subprograms: Vec::new(),
        lines: Vec::new(),
    }
}

/// A map definition.
pub(crate) fn map(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: map_type.name().into(),
        map_type,
        key_size,
        value_size,
        max_entries,
        flags: 0,
        inner: None,
        initial: None,
        frozen: false,
        fields: Vec::new(),
    }
}
