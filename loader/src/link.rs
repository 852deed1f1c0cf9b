//! One program out of an object: its function, a copy of each function that it calls, and every
//! reference resolved.
//!
//! Functions are appended in the order of their first use, depth first, as libbpf does it, so
//! that slot numbers are those of the kernel's log.

use std::collections::{HashMap, HashSet};

use bpftime_isa::{Insn, LineInfo, MapDef, Subprogram};

use crate::btf::Btf;
use crate::code::Code;
use crate::elf::Elf;
use crate::externs::Extern;
use crate::maps::Maps;
use crate::{LoadError, limits};

const LD_IMM64: u8 = 0x18;
const CALL: u8 = 0x85;
const PSEUDO_CALL: u8 = 1;
const PSEUDO_KFUNC_CALL: u8 = 2;
const PSEUDO_BTF_ID: u8 = 3;
const PSEUDO_FUNC: u8 = 4;
/// The meanings of the source register of a 64-bit load, from `BPF_PSEUDO_MAP_FD`.
const PSEUDO_FIRST: u8 = 1;
/// As before, to `BPF_PSEUDO_MAP_IDX_VALUE`.
const PSEUDO_LAST: u8 = PSEUDO_MAP_IDX_VALUE;
const PSEUDO_MAP_IDX: u8 = 5;
const PSEUDO_MAP_IDX_VALUE: u8 = 6;
/// Number of the helper that a call of an absent weak kernel function becomes; no helper has it.
const ABSENT_FUNCTION: i32 = 2_002_000_000;

/// All that linking reads.
pub(crate) struct Linker<'a> {
    pub(crate) elf: &'a Elf<'a>,
    pub(crate) btf: Option<&'a Btf>,
    pub(crate) code: &'a [Code<'a>],
    /// Index in `code` by section.
    pub(crate) code_of: HashMap<usize, usize>,
    pub(crate) maps: &'a Maps,
    pub(crate) externs: &'a HashMap<usize, Extern>,
    /// What programs may still take together.
    pub(crate) slots_left: u64,
    pub(crate) line_bytes_left: u64,
}

/// A linked program.
pub(crate) struct Linked {
    pub(crate) insns: Vec<Insn>,
    pub(crate) maps: Vec<MapDef>,
    pub(crate) subprograms: Vec<Subprogram>,
    pub(crate) lines: Vec<LineInfo>,
}

/// A function by the index of its section in `code` and its own there.
pub(crate) type FunctionId = (usize, usize);

/// A function that was copied, and how far it is relocated.
struct Frame {
    id: FunctionId,
    /// First slot in the program.
    base: usize,
    /// Next slot to look at, in the function.
    next: usize,
}

struct Output {
    insns: Vec<Insn>,
    /// Copied functions, by first slot.
    copies: Vec<(usize, FunctionId)>,
    base_of: HashMap<FunctionId, usize>,
    /// Index in the program by index in the object.
    map_index: HashMap<usize, usize>,
    maps: Vec<MapDef>,
}

/// What a reference means.
enum Reference {
    Function(FunctionId),
    Map(usize),
    /// A map's value, at an offset.
    Value(usize, u32),
    Extern(Extern),
}

impl Linker<'_> {
    /// The functions that others call or refer to. References that cannot be resolved do not
    /// count; they fail where they are linked.
    pub(crate) fn referenced(&self) -> HashSet<FunctionId> {
        let mut referenced = HashSet::new();
        for (index, code) in self.code.iter().enumerate() {
            let mut slot = 0;
            while let Some(insn) = code.insns.get(slot) {
                if let Ok(Some(Reference::Function(id))) = self.reference(index, slot, *insn) {
                    referenced.insert(id);
                }
                slot += if insn.opcode == LD_IMM64 { 2 } else { 1 };
            }
        }
        referenced
    }

    /// Links the program that starts with the function.
    pub(crate) fn link(&mut self, main: FunctionId) -> Result<Linked, LoadError> {
        let mut output = Output {
            insns: Vec::new(),
            copies: Vec::new(),
            base_of: HashMap::new(),
            map_index: HashMap::new(),
            maps: Vec::new(),
        };
        let mut stack = vec![self.append(main, &mut output)?];
        while let Some(frame) = stack.last_mut() {
            let id = frame.id;
            let slot = frame.next;
            let place = frame.base + slot;
            let function = &self.code[id.0].functions[id.1];
            if slot >= function.len {
                stack.pop();
                continue;
            }
            let insn = output.insns[place];
            frame.next += if insn.opcode == LD_IMM64 { 2 } else { 1 };
            let reference = self.reference(id.0, function.start + slot, insn)?;
            let Some(reference) = reference else { continue };
            if insn.opcode == LD_IMM64 && slot + 1 >= function.len {
                return Err(LoadError::Section {
                    section: self.code[id.0].name.to_owned(),
                    message: format!(
                        "offset {:#x}: a 64-bit load without its second half",
                        (function.start + slot) * Insn::SIZE
                    ),
                });
            }
            let callee = match reference {
                Reference::Function(callee) => Some(callee),
                _ => None,
            };
            if let Some(callee) = callee
                && !output.base_of.contains_key(&callee)
            {
                let frame = self.append(callee, &mut output)?;
                stack.push(frame);
            }
            self.write(&mut output, place, &reference);
        }
        let lines = self.lines(&output)?;
        let subprograms = output.copies.iter().map(|(base, id)| {
            let function = &self.code[id.0].functions[id.1];
            Subprogram {
                insn: *base as u32,
                name: function.name.to_owned(),
                global: function.global,
                contract: function.contract.clone().filter(|_| function.global),
            }
        });
        Ok(Linked {
            subprograms: subprograms.collect(),
            lines,
            insns: output.insns,
            maps: output.maps,
        })
    }

    fn append(&mut self, id: FunctionId, output: &mut Output) -> Result<Frame, LoadError> {
        let code = &self.code[id.0];
        let function = &code.functions[id.1];
        let base = output.insns.len();
        let what = format!(
            "instructions of a program, with function `{}`",
            function.name
        );
        limits::check(what, (base + function.len) as u64, limits::PROGRAM_SLOTS)?;
        self.slots_left = self
            .slots_left
            .checked_sub(function.len as u64)
            .ok_or_else(|| LoadError::TooLarge {
                what: "instructions of all programs together".to_owned(),
                found: limits::TOTAL_SLOTS + 1,
                limit: limits::TOTAL_SLOTS,
            })?;
        let slots = code
            .insns
            .get(function.start..function.start + function.len);
        output.insns.extend_from_slice(slots.unwrap_or_default());
        output.copies.push((base, id));
        output.base_of.insert(id, base);
        Ok(Frame { id, base, next: 0 })
    }

    /// What the instruction at a slot of a section refers to, if to anything.
    fn reference(
        &self,
        code: usize,
        slot: usize,
        insn: Insn,
    ) -> Result<Option<Reference>, LoadError> {
        let section = &self.elf.sections[self.code[code].index];
        let offset = (slot * Insn::SIZE) as u64;
        let relocations = &section.relocations;
        let first = relocations.partition_point(|relocation| relocation.offset < offset);
        let relocation = relocations
            .get(first)
            .filter(|relocation| relocation.offset < offset + Insn::SIZE as u64);
        let Some(relocation) = relocation else {
            return self.unrelocated(code, slot, insn);
        };
        let fail = |message: String| LoadError::Relocation {
            section: section.name.to_owned(),
            offset: relocation.offset,
            symbol: self.elf.describe(relocation.symbol),
            message,
        };
        let symbol = &self.elf.symbols[relocation.symbol];
        let call = insn.opcode == CALL;
        if relocation.offset != offset {
            return Err(fail("not at the start of an instruction".to_owned()));
        }
        if !call && insn.opcode != LD_IMM64 {
            return Err(fail(format!(
                "the instruction (opcode {:#04x}) is neither a call nor a 64-bit load",
                insn.opcode
            )));
        }
        if symbol.undefined {
            let found = self.externs.get(&relocation.symbol).copied();
            let found = found.ok_or_else(|| {
                let c_library = ["memset", "memcpy", "memmove", "memcmp"].contains(&symbol.name);
                let message = if c_library {
                    "clang made a call to the C library, which BPF programs do not have, of a \
                     large or variable fill, copy or comparison; make it smaller or write a loop"
                } else {
                    "an undefined symbol that BTF does not declare with `__ksym` or \
                     `__kconfig`; is a function or map missing?"
                };
                fail(message.to_owned())
            })?;
            if call && matches!(found, Extern::Kconfig { .. } | Extern::Variable { .. }) {
                return Err(fail("a call of something that is no function".to_owned()));
            }
            return Ok(Some(Reference::Extern(found)));
        }
        let target = symbol
            .section
            .ok_or_else(|| fail("the symbol is in no section".to_owned()))?;
        if let Some(code) = self.code_of.get(&target).copied() {
            let symbol_slot = (symbol.value / Insn::SIZE as u64) as i64;
            let slot = if call {
                // -1 for a symbol of its own; a section's symbol has the distance in it.
                symbol_slot + i64::from(insn.imm) + 1
            } else {
                symbol_slot + i64::from(insn.imm) / Insn::SIZE as i64
            };
            let function = self.function(code, slot);
            let function =
                function.ok_or_else(|| fail(format!("no function starts at slot {slot}")))?;
            return Ok(Some(Reference::Function(function)));
        }
        if call {
            return Err(fail("a call into a section without functions".to_owned()));
        }
        let inside = i64::from(insn.imm).wrapping_add(relocation.addend);
        let offset = symbol.value.wrapping_add(inside.cast_unsigned());
        if let Some(map) = self.maps.defined_at(target, offset) {
            return Ok(Some(Reference::Map(map)));
        }
        if let Some(map) = self.maps.of_data(target) {
            let size = self.elf.sections[target].size;
            let offset = u32::try_from(offset)
                .ok()
                .filter(|offset| u64::from(*offset) <= size);
            let offset = offset.ok_or_else(|| fail(format!("beyond the {size} bytes of data")))?;
            return Ok(Some(Reference::Value(map, offset)));
        }
        Err(fail(format!(
            "section `{}` holds neither functions, maps nor global data",
            self.elf.sections[target].name
        )))
    }

    /// References without a relocation: calls within a section.
    fn unrelocated(
        &self,
        code: usize,
        slot: usize,
        insn: Insn,
    ) -> Result<Option<Reference>, LoadError> {
        let fail = |message: String| LoadError::Section {
            section: self.code[code].name.to_owned(),
            message: format!("offset {:#x}: {message}", slot * Insn::SIZE),
        };
        match (insn.opcode, insn.src) {
            (CALL, PSEUDO_CALL) => {
                let target = slot as i64 + i64::from(insn.imm) + 1;
                let function = self.function(code, target);
                let function =
                    function.ok_or_else(|| fail(format!("no function starts at slot {target}")))?;
                Ok(Some(Reference::Function(function)))
            }
            (LD_IMM64, src @ PSEUDO_FIRST..=PSEUDO_LAST) => Err(fail(format!(
                "a 64-bit load refers to a map or function (source register {src}) without a \
                 relocation"
            ))),
            _ => Ok(None),
        }
    }

    fn function(&self, code: usize, slot: i64) -> Option<FunctionId> {
        let slot = usize::try_from(slot).ok()?;
        Some((code, self.code[code].function_at(slot)?))
    }

    /// Writes the reference into the instruction at a slot; of a 64-bit load, both halves are
    /// there.
    fn write(&self, output: &mut Output, place: usize, reference: &Reference) {
        let wide = output.insns[place].opcode == LD_IMM64;
        let (src, low, high) = match reference {
            Reference::Function(id) => {
                let base = output.base_of.get(id).copied().unwrap_or(0);
                // Both are below `PROGRAM_SLOTS`.
                let distance = base as i64 - place as i64 - 1;
                let src = if wide { PSEUDO_FUNC } else { PSEUDO_CALL };
                (src, distance as i32, 0)
            }
            Reference::Map(map) => (PSEUDO_MAP_IDX, self.use_map(output, *map), 0),
            Reference::Value(map, offset) => {
                let index = self.use_map(output, *map);
                (PSEUDO_MAP_IDX_VALUE, index, offset.cast_signed())
            }
            Reference::Extern(Extern::Kconfig { map, offset }) => {
                let index = self.use_map(output, *map);
                (PSEUDO_MAP_IDX_VALUE, index, offset.cast_signed())
            }
            Reference::Extern(Extern::Function { btf_id }) if !wide => {
                (PSEUDO_KFUNC_CALL, btf_id.cast_signed(), 0)
            }
            Reference::Extern(Extern::Function { btf_id } | Extern::Variable { btf_id }) => {
                (PSEUDO_BTF_ID, btf_id.cast_signed(), 0)
            }
            Reference::Extern(Extern::Absent) if wide => (0, 0, 0),
            Reference::Extern(Extern::Absent) => (0, ABSENT_FUNCTION, 0),
        };
        let insn = &mut output.insns[place];
        insn.src = src;
        insn.imm = low;
        if wide {
            output.insns[place + 1].imm = high;
        }
    }

    fn use_map(&self, output: &mut Output, map: usize) -> i32 {
        let Output {
            map_index, maps, ..
        } = output;
        let index = *map_index.entry(map).or_insert_with(|| {
            maps.push(self.maps.defs[map].clone());
            maps.len() - 1
        });
        // Below `MAPS`.
        index as i32
    }

    fn lines(&mut self, output: &Output) -> Result<Vec<LineInfo>, LoadError> {
        let Some(btf) = self.btf else {
            return Ok(Vec::new());
        };
        let mut lines = Vec::new();
        for (base, id) in &output.copies {
            let code = &self.code[id.0];
            let function = &code.functions[id.1];
            let end = function.start + function.len;
            let first = code
                .lines
                .partition_point(|line| (line.slot as usize) < function.start);
            for line in code.lines.iter().skip(first) {
                let slot = line.slot as usize;
                if slot >= end {
                    break;
                }
                let text = |offset| btf.string(offset).map_err(LoadError::btf(".BTF.ext lines"));
                let (file, text) = (text(line.file)?, text(line.text)?);
                self.line_bytes_left = self
                    .line_bytes_left
                    .checked_sub((size_of::<LineInfo>() + file.len() + text.len()) as u64)
                    .ok_or_else(|| LoadError::TooLarge {
                        what: "bytes of source lines".to_owned(),
                        found: limits::LINE_BYTES + 1,
                        limit: limits::LINE_BYTES,
                    })?;
                lines.push(LineInfo {
                    insn: (base + slot - function.start) as u32,
                    file: file.to_owned(),
                    text: text.trim().to_owned(),
                    line: line.line_col >> 10,
                    column: line.line_col & 0x3ff,
                });
            }
        }
        Ok(lines)
    }
}
