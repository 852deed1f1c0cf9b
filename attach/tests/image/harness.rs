//! Does from inside what the injector does from outside.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::{addr_of, addr_of_mut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, RwLock};

use bpftime_abi::EntryPoint;
use bpftime_abi::target::{
    CONFIG_SAME_PID_NAMESPACE, Control, HookRecord, LeaseTable, MAX_HOOKS, MAX_PROGRAMS,
    PROGRAM_NEEDS_CPU, ProcessState, State,
};
use bpftime_attach::inject::Image;
use bpftime_attach::trampoline::{Dispatchers, Site, Trampoline, build_entry, build_return, plan};
use object::{Object, ObjectSymbol};

use crate::victims::{Registers, call_with};

/// Where glibc keeps a thread's id, from the FS base.
const TID_OFFSET: u32 = 0x2d0;

/// The image, mapped once for all tests of this executable.
pub(crate) struct Harness {
    pub(crate) base: u64,
    pub(crate) image: Image,
    state: *mut State,
    control: *mut Control,
    next: Mutex<Next>,
    /// For tests of return probes: one that fills the table of return addresses takes it alone.
    pub(crate) returns: RwLock<()>,
}

// SAFETY: the pointers refer to mappings that are never removed; `next` hands out parts of them.
unsafe impl Send for Harness {}
// SAFETY: as above.
unsafe impl Sync for Harness {}

#[derive(Default)]
struct Next {
    hook: usize,
    program: usize,
    trampoline: u64,
}

/// A patched function. Stays patched.
pub(crate) struct Hook {
    pub(crate) index: usize,
    pub(crate) trampoline: Trampoline,
}

/// One program of a hook.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) code: extern "C" fn(),
    /// Map handles; a program finds them through its `VmCtx`.
    pub(crate) maps: *const u64,
    pub(crate) needs_cpu: bool,
}

impl Program {
    pub(crate) fn new(code: unsafe extern "C" fn(), maps: &[u64]) -> Self {
        Self {
            // SAFETY: both are plain code addresses.
            code: unsafe { std::mem::transmute::<unsafe extern "C" fn(), extern "C" fn()>(code) },
            maps: Vec::leak(maps.to_vec()).as_ptr(),
            needs_cpu: false,
        }
    }
}

/// The harness, or the reason why these tests cannot run here.
pub(crate) fn harness() -> Option<&'static Harness> {
    static HARNESS: OnceLock<Result<Harness, String>> = OnceLock::new();
    match HARNESS.get_or_init(Harness::new) {
        Ok(harness) => Some(harness),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

/// The image file, built by the command that its documentation gives.
pub(crate) fn image_file() -> Result<PathBuf, String> {
    static FILE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FILE.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/image/Cargo.toml");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
        let output = Command::new(env!("CARGO"))
            .args(["build", "--release", "--target", "x86_64-unknown-none"])
            .arg("--manifest-path")
            .arg(manifest)
            .env("CARGO_TARGET_DIR", &target)
            .env_remove("RUSTFLAGS")
            .output()
            .map_err(|error| format!("cargo cannot be run: {error}"))?;
        if !output.status.success() {
            let log = String::from_utf8_lossy(&output.stderr);
            if log.contains("target may not be installed") {
                return Err("the Rust target x86_64-unknown-none is not installed".into());
            }
            panic!("the image does not build:\n{log}");
        }
        Ok(target.join("x86_64-unknown-none/release/bpftime-image"))
    })
    .clone()
}

impl Harness {
    fn new() -> Result<Self, String> {
        // SAFETY: no memory is involved. Bit 1: the kernel lets user code use rdfsbase.
        if unsafe { libc::getauxval(libc::AT_HWCAP2) } & 2 == 0 {
            return Err("the processor or kernel has no FSGSBASE".into());
        }
        let tid: i32;
        // SAFETY: glibc's thread control block is longer than this.
        unsafe { std::arch::asm!("mov {:e}, fs:[{}]", out(reg) tid, const TID_OFFSET) };
        // SAFETY: takes no argument.
        if tid != unsafe { libc::gettid() } {
            return Err("the C library keeps the thread id elsewhere".into());
        }
        let file = std::fs::read(image_file()?).expect("the image was built");
        let image = Image::parse(&file).expect("the image is well-formed");

        let base = map(None, image.len(), libc::MAP_PRIVATE);
        let code = relocated(&file, image.header().file_len, base);
        let control = map(None, size_of::<Control>() as u64, libc::MAP_SHARED);
        let leases = map(None, size_of::<LeaseTable>() as u64, libc::MAP_SHARED);
        // SAFETY: all of it lies in the mappings just made, which nobody else knows yet.
        unsafe {
            std::ptr::copy_nonoverlapping(code.as_ptr(), base as *mut u8, code.len());
            assert_eq!(
                libc::mprotect(
                    base as *mut _,
                    code.len(),
                    libc::PROT_READ | libc::PROT_EXEC
                ),
                0
            );
            let state = (base + image.header().state) as *mut State;
            let config = addr_of_mut!((*state).config);
            (*config).control = control;
            (*config).leases = leases;
            (*config).lease_count = 2;
            (*config).target_id = 77;
            (*config).flags = CONFIG_SAME_PID_NAMESPACE;
            (*config).tid_offset = TID_OFFSET;
            (*config).vdso_clock_gettime = vdso_clock_gettime();
            assert_eq!(
                libc::madvise(
                    state.cast(),
                    size_of::<ProcessState>(),
                    libc::MADV_WIPEONFORK
                ),
                0
            );
            Ok(Self {
                base,
                image,
                state,
                control: control as *mut Control,
                next: Mutex::default(),
                returns: RwLock::default(),
            })
        }
    }

    pub(crate) fn state(&self) -> *mut State {
        self.state
    }

    pub(crate) fn control(&self) -> *mut Control {
        self.control
    }

    /// Patches a function so that entry and return programs run, in the order given.
    pub(crate) fn hook(
        &self,
        (address, len): (usize, usize),
        on_entry: &[Program],
        on_return: &[Program],
    ) -> Hook {
        // SAFETY: the victims are assembly between two labels, followed by padding.
        let (code, padding) = unsafe {
            (
                std::slice::from_raw_parts(address as *const u8, len),
                std::slice::from_raw_parts((address + len) as *const u8, 16),
            )
        };
        let plan = plan(&Site {
            address: address as u64,
            code,
            padding_after: padding,
            padding_before: &[],
            entries: &[],
        })
        .expect("the victim can be patched");

        let mut next = self.next.lock().expect("no test panics in here");
        let index = next.hook;
        assert!(index < MAX_HOOKS);
        next.hook += 1;
        if next.trampoline == 0 {
            next.trampoline = near(address as u64, 64 << 10);
        }
        let at = next.trampoline;
        let dispatchers = Dispatchers::new(self.image.header(), self.base);
        let build = if on_return.is_empty() {
            build_entry
        } else {
            build_return
        };
        let trampoline = build(&plan, index as u32, &dispatchers, at).expect("within reach");
        next.trampoline += (trampoline.code.len() as u64).next_multiple_of(64);
        poke(at, &trampoline.code);

        let entry_programs = self.programs(&mut next, on_entry);
        let return_programs = self.programs(&mut next, on_return);
        // SAFETY: the index is below MAX_HOOKS; the site is not patched yet, so nobody reads.
        unsafe {
            let hook = addr_of_mut!((*self.state).hooks[index]);
            (*hook).site = address as u64;
            (*hook).entry_programs = entry_programs;
            (*hook).return_programs = return_programs;
            (*hook).return_point = trampoline.return_point.unwrap_or(0);
        }
        for patch in &trampoline.patches {
            poke(patch.address, &patch.replacement);
        }
        Hook { index, trampoline }
    }

    /// Writes a list of programs and gives the address of its first record.
    fn programs(&self, next: &mut Next, programs: &[Program]) -> u64 {
        let mut following = 0;
        for program in programs.iter().rev() {
            let index = next.program;
            assert!(index < MAX_PROGRAMS);
            next.program += 1;
            // SAFETY: the index is below MAX_PROGRAMS; nobody refers to the record yet.
            unsafe {
                let switch = addr_of_mut!((*self.control).switches[index]);
                *switch = 5;
                let record = addr_of_mut!((*self.state).programs[index]);
                (*record).next = following;
                (*record).entry = EntryPoint::new(program.code as usize as u64);
                (*record).maps = program.maps as u64;
                (*record).switch = switch as u64;
                (*record).generation = 5;
                (*record).flags = if program.needs_cpu {
                    PROGRAM_NEEDS_CPU
                } else {
                    0
                };
                following = record as u64;
            }
        }
        following
    }

    /// Invocations of a hook, all slots together.
    pub(crate) fn hits(&self, hook: &Hook) -> u64 {
        // SAFETY: within the state; words that are read while others write them.
        unsafe {
            let hits = addr_of!((*self.state).hits);
            (0..bpftime_abi::target::MAX_SLOTS)
                .map(|slot| addr_of!((*hits)[slot][hook.index]).read_volatile())
                .sum()
        }
    }

    /// Return addresses that are kept now for a hook.
    pub(crate) fn outstanding(&self, hook: &Hook) -> usize {
        // SAFETY: as in `hits`.
        unsafe {
            let returns = addr_of!((*self.state).returns);
            (0..bpftime_abi::target::RETURN_ENTRIES)
                .filter(|&index| {
                    let entry = addr_of!((*returns)[index]).read_volatile();
                    entry.live().is_some_and(|(_, index)| index == hook.index)
                })
                .count()
        }
    }

    /// The journal record of a hook.
    pub(crate) fn record(&self, hook: &Hook) -> HookRecord {
        // SAFETY: the index is below MAX_HOOKS.
        unsafe { addr_of!((*self.control).hooks[hook.index]).read_volatile() }
    }
}

/// The image's read-only part, for `base`.
pub(crate) fn relocated(file: &[u8], len: u64, base: u64) -> Vec<u8> {
    let elf = object::File::parse(file).expect("the image is an ELF file");
    let mut code = file[..len as usize].to_vec();
    for (offset, relocation) in elf.dynamic_relocations().into_iter().flatten() {
        let value = base.wrapping_add_signed(relocation.addend());
        code[offset as usize..][..8].copy_from_slice(&value.to_le_bytes());
    }
    code
}

/// Address of `__vdso_clock_gettime` in this process.
fn vdso_clock_gettime() -> u64 {
    // SAFETY: no memory is involved.
    let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    // SAFETY: the kernel maps at least two pages of vDSO there.
    let file = unsafe { std::slice::from_raw_parts(vdso as *const u8, 8192) };
    let elf = object::File::parse(file).expect("the vDSO is an ELF file");
    let symbol = elf
        .dynamic_symbols()
        .find(|symbol| symbol.name() == Ok("__vdso_clock_gettime"));
    vdso + symbol.expect("the vDSO has clocks").address()
}

/// Memory of zeros, read-write.
fn map(at: Option<u64>, len: u64, kind: libc::c_int) -> u64 {
    let fixed = if at.is_some() {
        libc::MAP_FIXED_NOREPLACE
    } else {
        0
    };
    // SAFETY: a new mapping that replaces none.
    let address = unsafe {
        libc::mmap(
            at.unwrap_or(0) as *mut _,
            len as usize,
            libc::PROT_READ | libc::PROT_WRITE,
            kind | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        0
    } else {
        address as u64
    }
}

/// Read-execute memory within reach of a jump from `address`.
fn near(address: u64, len: u64) -> u64 {
    let start = address & !0xffff;
    for step in 1..0x7000 {
        let at = map(Some(start - step * 0x10000), len, libc::MAP_PRIVATE);
        if at != 0 {
            // SAFETY: the mapping just made.
            let result = unsafe {
                libc::mprotect(
                    at as *mut _,
                    len as usize,
                    libc::PROT_READ | libc::PROT_EXEC,
                )
            };
            assert_eq!(result, 0);
            return at;
        }
    }
    panic!("no free memory near {address:#x}");
}

/// Writes to memory that is not writable, as a debugger does.
pub(crate) fn poke(address: u64, bytes: &[u8]) {
    OpenOptions::new()
        .write(true)
        .open("/proc/self/mem")
        .and_then(|memory| memory.write_all_at(bytes, address))
        .expect("/proc/self/mem is writable");
}

/// Calls a function of up to three arguments.
pub(crate) fn call(function: (usize, usize), arguments: [u64; 3]) -> u64 {
    // SAFETY: the victims follow the C calling convention.
    let function: extern "C" fn(u64, u64, u64) -> u64 = unsafe { std::mem::transmute(function.0) };
    function(arguments[0], arguments[1], arguments[2])
}

/// Calls a function with given registers and gives those after it.
pub(crate) fn call_registers(function: (usize, usize), before: &Registers) -> Registers {
    // `call_with` keeps temporaries in static memory.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|error| error.into_inner());
    let mut after = *before;
    // SAFETY: the victims neither keep nor follow pointers in registers.
    unsafe { call_with(function.0, before, &mut after) };
    after
}

/// The address of a counter, as a map handle.
pub(crate) fn handle<T>(value: &'static T) -> u64 {
    value as *const T as u64
}

/// A counter that lives as long as the patched code.
pub(crate) fn counter() -> &'static AtomicU64 {
    Box::leak(Box::default())
}

/// The value of a counter.
pub(crate) fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::SeqCst)
}
