//! The generated part of `docs/support-matrix.md` says what the tables in the code say.
//!
//! `BPFTIME_BLESS=1` writes it anew.

use std::fmt::Write as _;

use bpftime_abi::{Capabilities, MapType};
use bpftime_helpers::CAPABILITIES;
use bpftime_isa::section::SECTIONS;
use bpftime_isa::{ArgType, HelperProto, ProgType, RetType, context, helper};
use bpftime_tests::paths;

const START: &str = "<!-- generated from the tables in the code: begin -->\n";
const END: &str = "<!-- generated: end -->\n";

/// Whether the verifier knows the prototype well enough to check a call.
fn checked(proto: &HelperProto) -> bool {
    let known = |arg: &ArgType| !matches!(arg, ArgType::Unsupported(_));
    proto.args.iter().all(known) && !matches!(proto.ret, RetType::Unsupported(_))
}

fn names(protos: &[HelperProto]) -> String {
    protos
        .iter()
        .map(|proto| format!("`{}`", proto.name))
        .collect::<Vec<_>>()
        .join(", ")
}

fn generated(capabilities: &Capabilities) -> String {
    let mut text = String::new();
    let (offered, others): (Vec<HelperProto>, Vec<HelperProto>) = helper::PROTOS
        .iter()
        .copied()
        .partition(|proto| capabilities.has_helper(proto.id));
    let (judged, unknown): (Vec<_>, Vec<_>) = others.into_iter().partition(checked);
    let _ = write!(
        text,
        "### Helpers\n\n\
         Run by every engine and in targets ({}): {}.\n\n\
         Checked by the verifier (`bpftime verify`), not run ({}): {}.\n\n\
         {}\n\n",
        offered.len(),
        names(&offered),
        judged.len(),
        names(&judged),
        match unknown.len() {
            0 => "Every helper is known to the verifier.".to_owned(),
            count => format!("Calls are rejected ({count}): {}.", names(&unknown)),
        },
    );
    let (maps, missing): (Vec<_>, Vec<_>) = MapType::ALL
        .iter()
        .filter(|map_type| **map_type != MapType::Unspec)
        .partition(|map_type| capabilities.has_map_type(**map_type));
    let list = |types: Vec<&MapType>| {
        types
            .iter()
            .map(|map_type| format!("`{}`", map_type.name()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let _ = write!(
        text,
        "### Maps\n\nCreated: {}.\n\nCreation fails with a reason: {}.\n\n",
        list(maps),
        list(missing)
    );
    text.push_str("### Program types\n\n| type | sections | context known |\n|---|---|---|\n");
    for prog_type in (1..=32).filter_map(ProgType::from_u32) {
        let mut layouts: Vec<&str> = SECTIONS
            .iter()
            .filter(|section| section.prog_type == prog_type)
            .filter_map(|section| context::layout(prog_type, section.attach_type))
            .map(|layout| layout.name)
            .collect();
        layouts.extend(context::layout(prog_type, None).map(|layout| layout.name));
        layouts.sort_unstable();
        layouts.dedup();
        let sections = SECTIONS
            .iter()
            .filter(|section| section.prog_type == prog_type)
            .count();
        let known = if prog_type.is_typed() {
            "arguments, by the kernel's types".to_owned()
        } else if layouts.is_empty() {
            "no: rejected".to_owned()
        } else {
            layouts
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let _ = writeln!(text, "| {} | {sections} | {known} |", prog_type.name());
    }
    text.push('\n');
    text
}

#[test]
fn generated_part_is_up_to_date() {
    let path = paths::workspace().join("docs/support-matrix.md");
    let text = std::fs::read_to_string(&path).expect("the support matrix");
    let (before, rest) = text.split_once(START).expect("the start mark");
    let (inside, after) = rest.split_once(END).expect("the end mark");
    let wanted = generated(&CAPABILITIES);
    if std::env::var_os("BPFTIME_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{START}{wanted}{END}{after}")).expect("writable");
        return;
    }
    assert!(
        inside == wanted,
        "docs/support-matrix.md is out of date: run with BPFTIME_BLESS=1"
    );
}
