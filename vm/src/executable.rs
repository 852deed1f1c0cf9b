//! Machine code mapped for execution in this process.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::ptr;

use bpftime_abi::{EntryPoint, ProgramFn, VmCtx};

use crate::jit::CodeObject;

/// A [`CodeObject`] in a sealed `memfd`, mapped for reading and execution. The memory is never
/// writable and executable at once, and is unmapped on drop.
#[derive(Debug)]
pub struct Executable {
    mapping: Mapping,
    object: CodeObject,
}

impl Executable {
    /// Puts the code into a `memfd` that can no longer be changed, and maps it.
    ///
    /// # Errors
    ///
    /// Those of `memfd_create`, `fcntl` and `mmap`; without descriptors or memory, mostly.
    pub fn load(object: CodeObject) -> io::Result<Self> {
        Ok(Self {
            mapping: Mapping::new(object.code())?,
            object,
        })
    }

    /// The sealed `memfd`, to be mapped elsewhere.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.mapping.file.as_fd()
    }

    /// What was loaded.
    pub fn object(&self) -> &CodeObject {
        &self.object
    }

    /// Where the program starts in this process, as long as this value lives.
    pub fn entry_point(&self) -> EntryPoint {
        self.mapping.at(self.object.entry())
    }

    /// Runs the program and gives `r0`.
    ///
    /// # Safety
    ///
    /// `vm` is valid and fits [`CodeObject::requirements`], `r1` and `r2` are what the program's
    /// type asks for, and [`CodeObject::stack_bytes`] of stack are left.
    pub unsafe fn run(&self, vm: *mut VmCtx, r1: u64, r2: u64) -> u64 {
        // SAFETY: the code is that of a verified program, mapped as long as `self` lives; the
        // rest is the caller's promise.
        unsafe { call(self.entry_point(), vm, r1, r2) }
    }
}

/// Calls a compiled program.
///
/// # Safety
///
/// There is mapped code of [`ProgramFn`]'s convention at the entry, and it may be called with
/// these arguments.
pub(crate) unsafe fn call(entry: EntryPoint, vm: *mut VmCtx, r1: u64, r2: u64) -> u64 {
    let address = entry.address() as *const ();
    // SAFETY: the caller vouches for the code at the address.
    let function = unsafe { std::mem::transmute::<*const (), ProgramFn>(address) };
    // SAFETY: the caller vouches for the arguments.
    unsafe { function(vm, r1, r2) }
}

/// Code mapped for reading and execution.
#[derive(Debug)]
pub(crate) struct Mapping {
    file: File,
    base: *mut c_void,
    len: usize,
}

// SAFETY: the mapping is never written after it is made, and is owned.
unsafe impl Send for Mapping {}
// SAFETY: as above; all methods with `&self` only read.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn new(code: &[u8]) -> io::Result<Self> {
        let file = sealed_file(code)?;
        let len = code.len();
        // SAFETY: a new mapping at an address that the kernel picks.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_EXEC,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { file, base, len })
    }

    /// The address of an offset in the code.
    pub(crate) fn at(&self, offset: usize) -> EntryPoint {
        EntryPoint::new(self.base as u64 + offset as u64)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and nobody else unmaps it.
        unsafe { libc::munmap(self.base, self.len) };
    }
}

/// A `memfd` with these bytes that nobody can write, shrink or grow.
fn sealed_file(bytes: &[u8]) -> io::Result<File> {
    const NAME: &std::ffi::CStr = c"bpftime-program";
    // SAFETY: the name is NUL-terminated.
    let fd = unsafe {
        libc::memfd_create(
            NAME.as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | libc::MFD_EXEC,
        )
    };
    let fd = match fd {
        // Kernels before 6.3 do not know MFD_EXEC, and make every memfd executable.
        -1 if io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) => {
            // SAFETY: the name is NUL-terminated.
            unsafe {
                libc::memfd_create(NAME.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
            }
        }
        fd => fd,
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and owned by nobody else.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes)?;
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: only changes the file's seals.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}
