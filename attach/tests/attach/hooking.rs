//! Programs in machine code and a place where they count.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use bpftime_abi::EntryPoint;
use bpftime_abi::target::MappingKind;
use bpftime_attach::inject::{
    Image, InjectOptions, Injection, Link, LinkSpec, Module, ProgramSpec, Unwinders, When,
};
use bpftime_attach::target::Protection;
use bpftime_attach::{Result, Stopped};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// `rax = vm->map_values[0]; lock inc [rax]; return 0`.
const COUNT: &[u8] = &[
    0x48, 0x8b, 0x47, 0x10, 0x48, 0x8b, 0x00, 0xf0, 0x48, 0xff, 0x00, 0x31, 0xc0, 0xc3,
];
/// The same, and `lock add [rax + 8], regs->ax`; `regs` is `rsi`, `ax` at 80.
const COUNT_AND_ADD: &[u8] = &[
    0x48, 0x8b, 0x47, 0x10, 0x48, 0x8b, 0x00, 0xf0, 0x48, 0xff, 0x00, // count
    0x48, 0x8b, 0x4e, 0x50, 0xf0, 0x48, 0x01, 0x48, 0x08, // add
    0x31, 0xc0, 0xc3,
];

fn memfd(name: &std::ffi::CStr, content: &[u8]) -> File {
    let file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC).expect("memfd"));
    file.set_len(4096).unwrap();
    file.write_all_at(content, 0).unwrap();
    file
}

/// Counters that a victim and we share.
pub(crate) struct Counters(File);

impl Counters {
    pub(crate) fn new() -> Self {
        Self(memfd(c"bpftime-counters", &[]))
    }

    fn word(&self, index: u64) -> u64 {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, index * 8).unwrap();
        u64::from_le_bytes(word)
    }

    /// How often the program ran.
    pub(crate) fn calls(&self) -> u64 {
        self.word(0)
    }

    /// Sum of `rax`.
    pub(crate) fn sum(&self) -> u64 {
        self.word(1)
    }
}

/// An injection with the two programs above.
pub(crate) struct Hooking {
    pub(crate) injection: Injection,
    code: [u64; 2],
    pub(crate) unwinders: Unwinders,
}

impl Hooking {
    pub(crate) fn attach(stopped: &mut Stopped<'_>, image: &Image) -> Result<Self> {
        let options = InjectOptions {
            image,
            target_id: 1,
            leases: None,
        };
        let injection = Injection::attach(stopped, &options)?;
        let mut code = [0; 2];
        for (place, bytes) in code.iter_mut().zip([COUNT, COUNT_AND_ADD]) {
            let file = memfd(c"bpftime-program", bytes);
            let rx = Protection::ReadExecute;
            let kind = MappingKind::Program;
            *place = injection.map_file(stopped, file.as_fd(), 4096, rx, false, kind, 1)?;
        }
        Ok(Self {
            injection,
            code,
            unwinders: Unwinders::default(),
        })
    }

    pub(crate) fn link(
        &mut self,
        stopped: &mut Stopped<'_>,
        module: &Module,
        function: &str,
        when: When,
        counters: &Counters,
    ) -> Result<Link> {
        let offset = module.elf().function(function).expect("function").offset;
        self.link_at(stopped, module, offset, when, counters)
    }

    /// Probes the function's returns.
    pub(crate) fn on_return(
        &mut self,
        stopped: &mut Stopped<'_>,
        module: &Module,
        function: &str,
        counters: &Counters,
    ) -> Result<()> {
        let link = self.link(stopped, module, function, When::Return, counters);
        link.map(drop)
    }

    /// As [`Self::link`], for a function without a name.
    pub(crate) fn link_at(
        &mut self,
        stopped: &mut Stopped<'_>,
        module: &Module,
        offset: u64,
        when: When,
        counters: &Counters,
    ) -> Result<Link> {
        let rw = Protection::ReadWrite;
        let kind = MappingKind::Map;
        let values =
            self.injection
                .map_file(stopped, counters.0.as_fd(), 4096, rw, true, kind, 1)?;
        let table = self.injection.map_tables(stopped, &values.to_le_bytes())?;
        let code = self.code[usize::from(when == When::Return)];
        let program = ProgramSpec {
            entry: EntryPoint::new(code),
            maps: 0,
            map_values: table,
            cookie: 0,
            needs_cpu: false,
            link_id: 1,
        };
        self.injection.link(
            stopped,
            &LinkSpec {
                module,
                offset,
                when,
                program,
            },
            &mut self.unwinders,
        )
    }
}
