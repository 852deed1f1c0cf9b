//! Types made to break matching: cycles, explosions, and bit fields that fit no load.

use std::sync::Arc;

use super::*;

const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_STRUCT: u32 = 4;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC_PROTO: u32 = 13;

/// Builds BTF from words.
struct Builder {
    types: Vec<u32>,
    strings: Vec<u8>,
}

impl Builder {
    fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
        }
    }

    fn string(&mut self, text: &str) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend(text.bytes().chain([0]));
        at
    }

    /// Adds a type; `extra` follows the common header.
    fn ty(&mut self, name: &str, kind: u32, vlen: u32, size_or_type: u32, extra: &[u32]) {
        let name = if name.is_empty() {
            0
        } else {
            self.string(name)
        };
        self.types.extend([name, kind << 24 | vlen, size_or_type]);
        self.types.extend(extra);
    }

    fn build(self) -> Btf {
        let len = self.types.len() as u32 * 4;
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, len, len, self.strings.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.types.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(self.strings);
        Btf::parse(bytes).unwrap()
    }
}

fn relocate_one(local: &Btf, target: Btf, ty: u32, access: u32, kind: u32) -> Result<(), String> {
    // r0 = 0
    let mut insns = [Insn {
        opcode: 0xb7,
        ..Insn::default()
    }];
    let record = CoreRecord {
        offset: 0,
        ty,
        access,
        kind,
    };
    relocate(
        &mut insns,
        &record,
        local,
        || Ok(Arc::new(target)),
        // Enough for each of these but the explosion.
        &mut Fuel(100_000),
    )
    .map_err(|error| error.to_string())
}

#[test]
fn cycles_of_types_end() {
    let mut builder = Builder::new();
    let access = builder.string("0");
    builder.ty("t", KIND_TYPEDEF, 0, 2, &[]);
    builder.ty("t", KIND_TYPEDEF, 0, 1, &[]);
    let btf = builder.build();
    assert!(btf.size(1).is_err());
    let type_exists = RelocationKind::TypeExists as u32;
    let error = relocate_one(&btf, btf.clone(), 1, access, type_exists).unwrap_err();
    assert!(error.contains("too deeply"), "{error}");

    // A pointer to itself is compared level by level, not for ever.
    let mut builder = Builder::new();
    let access = builder.string("0");
    builder.ty("t", KIND_TYPEDEF, 0, 2, &[]);
    builder.ty("", KIND_PTR, 0, 2, &[]);
    let btf = builder.build();
    let error = relocate_one(&btf, btf.clone(), 1, access, type_exists).unwrap_err();
    assert!(error.contains("levels"), "{error}");
}

#[test]
fn explosions_of_types_run_out_of_fuel() {
    // Functions with ten parameters of the next function type: 10^30 comparisons.
    let mut builder = Builder::new();
    let access = builder.string("0");
    builder.ty("t", KIND_TYPEDEF, 0, 2, &[]);
    for id in 2..30 {
        let params = [[0, id + 1]; 10].concat();
        builder.ty("", KIND_FUNC_PROTO, 10, 0, &params);
    }
    builder.ty("int", KIND_INT, 0, 4, &[32]);
    let btf = builder.build();
    let type_exists = RelocationKind::TypeExists as u32;
    let error = relocate_one(&btf, btf.clone(), 1, access, type_exists).unwrap_err();
    assert!(error.contains("steps"), "{error}");
}

#[test]
fn unnamed_structs_in_themselves_end() {
    let member = |builder: &mut Builder, name: &str, ty| [builder.string(name), ty, 0];
    let mut builder = Builder::new();
    let access = builder.string("0:0");
    let wanted = member(&mut builder, "x", 2);
    builder.ty("s", KIND_STRUCT, 1, 4, &wanted);
    builder.ty("int", KIND_INT, 0, 4, &[32]);
    let local = builder.build();
    let mut builder = Builder::new();
    builder.ty("s", KIND_STRUCT, 1, 4, &[0, 1, 0]);
    let target = builder.build();
    let error = relocate_one(&local, target, 1, access, 0).unwrap_err();
    assert!(error.contains("64 levels"), "{error}");
}

#[test]
fn access_strings_are_checked() {
    let mut builder = Builder::new();
    let name = builder.string("x");
    let texts = [
        "",
        "a",
        "-1",
        "0:1",
        "0:0:0",
        "99999999999",
        "0:0:",
        &"0:".repeat(99),
    ];
    let accesses = texts.map(|text| builder.string(text));
    builder.ty("s", KIND_STRUCT, 1, 4, &[name, 2, 0]);
    builder.ty("int", KIND_INT, 0, 4, &[32]);
    let btf = builder.build();
    for access in accesses {
        assert!(relocate_one(&btf, btf.clone(), 1, access, 0).is_err());
    }
    assert!(relocate_one(&btf, btf.clone(), 7, accesses[3], 0).is_err());
    assert!(relocate_one(&btf, btf.clone(), 1, 1 << 30, 0).is_err());
    assert!(relocate_one(&btf, btf.clone(), 1, accesses[3], 77).is_err());
}
