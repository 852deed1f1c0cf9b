//! Types of the running kernel, by name.

use std::collections::HashMap;

/// `BTF_KIND_*`.
pub(super) const STRUCT: u32 = 4;
pub(super) const TYPEDEF: u32 = 8;
pub(super) const FUNC: u32 = 12;

/// Numbers of types by kind and name.
pub(super) struct Btf(HashMap<(u32, String), u32>);

impl Btf {
    /// The kernel's own.
    pub(super) fn kernel() -> Option<Self> {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let header = word(4)? as usize;
        let (types, len) = (header + word(8)? as usize, word(12)? as usize);
        let strings = header + word(16)? as usize;
        let mut found = HashMap::new();
        let (mut at, mut id) = (types, 1);
        while at < types + len {
            let (name, info) = (strings + word(at)? as usize, word(at + 4)?);
            let (kind, count) = (info >> 24 & 0x1f, info as usize & 0xffff);
            if matches!(kind, STRUCT | TYPEDEF | FUNC) {
                let name = bytes[name..].split(|byte| *byte == 0).next()?;
                let name = String::from_utf8_lossy(name).into_owned();
                found.entry((kind, name)).or_insert(id);
            }
            let after = match kind {
                // Integers, variables, declaration tags.
                1 | 14 | 17 => 4,
                3 => 12,
                // Structures, unions, sections, 64-bit enumerations.
                4 | 5 | 15 | 19 => 12 * count,
                // Enumerations, prototypes.
                6 | 13 => 8 * count,
                _ => 0,
            };
            at += 12 + after;
            id += 1;
        }
        Some(Self(found))
    }

    pub(super) fn id(&self, kind: u32, name: &str) -> Option<u32> {
        self.0.get(&(kind, name.into())).copied()
    }
}
