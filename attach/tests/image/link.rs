//! What is in the image file: nothing that a target could notice.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpKind, Register,
};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationFlags, SymbolKind,
    elf::{R_X86_64_RELATIVE, SHF_WRITE},
};

use crate::harness::image_file;

/// Native stack that helpers may need; `SLOT_STACK_BYTES` leaves far more.
const HELPER_STACK: u64 = 4096;

/// The code of the image by function.
struct Code64 {
    functions: BTreeMap<u64, Function>,
}

struct Function {
    name: String,
    instructions: Vec<Instruction>,
}

fn file() -> Option<Vec<u8>> {
    match image_file() {
        Ok(path) => Some(std::fs::read(path).expect("the image was built")),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

impl Code64 {
    fn read(file: &[u8]) -> Self {
        let elf = object::File::parse(file).expect("the image is an ELF file");
        let text = elf.section_by_name(".text").expect("the image has code");
        let data = text.data().expect("the file is whole");
        let mut starts: BTreeMap<u64, String> = elf
            .symbols()
            .filter(|symbol| symbol.section_index() == Some(text.index()))
            .filter(|symbol| symbol.kind() != SymbolKind::Section)
            // The linker script's end marks lie behind it.
            .filter(|symbol| symbol.address() < text.address() + data.len() as u64)
            .map(|symbol| (symbol.address(), symbol.name().unwrap_or("?").to_owned()))
            .collect();
        starts.entry(text.address()).or_insert_with(|| "?".into());
        let ends: Vec<u64> = starts
            .keys()
            .skip(1)
            .copied()
            .chain([text.address() + data.len() as u64])
            .collect();
        let functions = starts
            .into_iter()
            .zip(ends)
            .map(|((start, name), end)| {
                let offset = (start - text.address()) as usize;
                let code = &data[offset..offset + (end - start) as usize];
                let instructions = Decoder::with_ip(64, code, start, DecoderOptions::NONE)
                    .into_iter()
                    .collect();
                (start, Function { name, instructions })
            })
            .collect();
        Self { functions }
    }

    fn instructions(&self) -> impl Iterator<Item = (&str, &Instruction)> {
        self.functions
            .values()
            .flat_map(|f| f.instructions.iter().map(|i| (f.name.as_str(), i)))
    }

    fn by_name(&self, name: &str) -> u64 {
        *self
            .functions
            .iter()
            .find(|(_, function)| function.name == name)
            .unwrap_or_else(|| panic!("the image has no {name}"))
            .0
    }

    /// Functions that a function calls or jumps to directly.
    fn callees(&self, function: &Function) -> BTreeSet<u64> {
        function
            .instructions
            .iter()
            .filter(|i| i.op0_kind() == OpKind::NearBranch64)
            .map(Instruction::near_branch_target)
            .filter(|target| self.functions.contains_key(target))
            .collect()
    }

    /// The functions that can run when `start` is called, without those called indirectly.
    fn reachable(&self, start: u64) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let mut open = vec![start];
        while let Some(function) = open.pop() {
            if found.insert(function) {
                open.extend(self.callees(&self.functions[&function]));
            }
        }
        found
    }

    /// Upper bound of the native stack of a call of `start`, and of what it calls. A function that is
    /// called indirectly counts `indirect`.
    fn stack(&self, start: u64, indirect: u64, path: &mut Vec<u64>) -> u64 {
        let function = &self.functions[&start];
        assert!(!path.contains(&start), "{} is recursive", function.name);
        path.push(start);
        let mut own = 8;
        let mut calls = 0;
        for instruction in &function.instructions {
            match instruction.mnemonic() {
                Mnemonic::Push => own += 8,
                Mnemonic::Sub if instruction.op0_register() == Register::RSP => {
                    assert_ne!(instruction.op1_kind(), OpKind::Register, "a variable frame");
                    own += instruction.immediate(1);
                }
                _ => {}
            }
            if matches!(
                instruction.flow_control(),
                FlowControl::IndirectCall | FlowControl::IndirectBranch
            ) {
                calls = calls.max(indirect);
            }
        }
        for callee in self.callees(function) {
            // A jump inside the function is no call.
            if callee != start {
                calls = calls.max(self.stack(callee, indirect, path));
            }
        }
        path.pop();
        own + calls
    }
}

#[test]
fn nothing_is_undefined_or_panics() {
    let Some(file) = file() else { return };
    let elf = object::File::parse(&*file).expect("the image is an ELF file");
    let mut symbols = 0;
    for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
        let name = symbol.name().unwrap_or_default();
        assert!(
            !symbol.is_undefined() || name.is_empty(),
            "{name} is undefined"
        );
        for word in ["panic", "unwind", "alloc", "memcpy@", "__tls"] {
            assert!(!name.contains(word), "{name} is in the image");
        }
        symbols += 1;
    }
    assert!(symbols > 20, "the symbol table is there");
    assert!(elf.imports().expect("readable").is_empty());
}

#[test]
fn relocations_are_relative_and_data_is_read_only() {
    let Some(file) = file() else { return };
    let elf = object::File::parse(&*file).expect("the image is an ELF file");
    let mut relocations = 0;
    for (_, relocation) in elf.dynamic_relocations().into_iter().flatten() {
        assert!(matches!(
            relocation.flags(),
            RelocationFlags::Elf {
                r_type: R_X86_64_RELATIVE
            }
        ));
        relocations += 1;
    }
    assert!(relocations >= 256, "the helper table is relocated");
    for section in elf.sections() {
        let object::SectionFlags::Elf { sh_flags } = section.flags() else {
            panic!("not an ELF section");
        };
        let writable = sh_flags & u64::from(SHF_WRITE) != 0;
        let name = section.name().unwrap_or_default();
        assert!(
            !writable
                || [".state", ".dynamic", ".data.rel.ro"].contains(&name)
                || section.size() == 0,
            "{name} is writable"
        );
    }
    let text = elf.section_by_name(".text").expect("the image has code");
    let image = bpftime_attach::inject::Image::parse(&file).expect("the image is well-formed");
    let loaded = image.header().file_len;
    eprintln!(
        "image: {} bytes of code, {loaded} bytes mapped",
        text.size()
    );
    assert!(loaded < 1 << 17, "the image has grown beyond 128 KiB");
}

#[test]
fn no_vector_or_x87_register_and_no_slow_instruction() {
    let Some(file) = file() else { return };
    let code = Code64::read(&file);
    let mut factory = InstructionInfoFactory::new();
    let mut checked = 0;
    for (function, instruction) in code.instructions() {
        let at = instruction.ip();
        assert!(!instruction.is_invalid(), "{function}: {at:#x}");
        for used in factory.info(instruction).used_registers() {
            let register = used.register();
            assert!(
                !register.is_vector_register()
                    && !register.is_st()
                    && !register.is_mm()
                    && !register.is_k(),
                "{function}: {register:?} is used at {at:#x}"
            );
        }
        assert!(
            !matches!(
                instruction.mnemonic(),
                Mnemonic::Popf
                    | Mnemonic::Popfq
                    | Mnemonic::Xsave
                    | Mnemonic::Xsavec
                    | Mnemonic::Xrstor
                    | Mnemonic::Fxsave
                    | Mnemonic::Fxrstor
                    | Mnemonic::Cpuid
                    | Mnemonic::Int
            ),
            "{function}: {:?} at {at:#x}",
            instruction.mnemonic()
        );
        checked += 1;
    }
    assert!(checked > 2000, "the code was read");
}

#[test]
fn no_system_call_on_the_path_of_a_probe() {
    let Some(file) = file() else { return };
    let code = Code64::read(&file);
    let entries = [
        "bpftime_entry_dispatch",
        "bpftime_return_entry_dispatch",
        "bpftime_return_dispatch",
    ];
    // What programs ask for by their flags is theirs.
    let prepare = code.by_name("bpftime_prepare");
    let asked_for = code.reachable(prepare);
    for entry in entries {
        let reachable = code.reachable(code.by_name(entry));
        assert!(reachable.contains(&prepare));
        for address in reachable.difference(&asked_for) {
            let function = &code.functions[address];
            assert!(
                function
                    .instructions
                    .iter()
                    .all(|i| i.code() != Code::Syscall),
                "{entry} reaches the system call in {}",
                function.name
            );
        }
    }
    let with_call = code
        .instructions()
        .filter(|(_, i)| i.code() == Code::Syscall)
        .count();
    assert!(with_call > 0, "helpers do make system calls");
}

#[test]
fn helpers_need_little_stack() {
    let Some(file) = file() else { return };
    let code = Code64::read(&file);
    let by_part = |part: &str| {
        let found: Vec<u64> = code
            .functions
            .iter()
            .filter(|(_, function)| function.name.contains(part))
            .map(|(address, _)| *address)
            .collect();
        assert!(!found.is_empty(), "no function is named {part}");
        found
    };
    // Helpers call the environment through pointers, which calls the vDSO at most.
    let vdso = 512;
    let environment = by_part("environment")
        .into_iter()
        .map(|function| code.stack(function, vdso, &mut Vec::new()))
        .max()
        .unwrap_or(0);
    let (bound, name) = by_part("bpftime_helpers")
        .into_iter()
        .map(|helper| {
            let stack = code.stack(helper, environment, &mut Vec::new());
            (stack, &code.functions[&helper].name)
        })
        .max()
        .expect("there are helpers");
    eprintln!(
        "helpers need at most {bound} bytes of stack ({name}), the environment {environment}"
    );
    assert!(bound <= HELPER_STACK);
    assert!(
        bpftime_abi::target::PROGRAM_STACK_BYTES as u64 + HELPER_STACK
            < bpftime_abi::target::SLOT_STACK_BYTES as u64 / 2
    );
}
