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
    file: File,
    base: *mut c_void,
    len: usize,
    object: CodeObject,
}

// SAFETY: the mapping is never written after it is made, and `base` is owned.
unsafe impl Send for Executable {}
// SAFETY: as above; all methods with `&self` only read.
unsafe impl Sync for Executable {}

impl Executable {
    /// Puts the code into a `memfd` that can no longer be changed, and maps it.
    ///
    /// # Errors
    ///
    /// Those of `memfd_create`, `fcntl` and `mmap`; without descriptors or memory, mostly.
    pub fn load(object: CodeObject) -> io::Result<Self> {
        let file = sealed_file(object.code())?;
        let len = object.code().len();
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
        Ok(Self {
            file,
            base,
            len,
            object,
        })
    }

    /// The sealed `memfd`, to be mapped elsewhere.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// What was loaded.
    pub fn object(&self) -> &CodeObject {
        &self.object
    }

    /// Where the program starts in this process.
    pub fn entry_point(&self) -> EntryPoint {
        EntryPoint::new(self.base as u64 + self.object.entry() as u64)
    }

    /// Runs the program and gives `r0`.
    ///
    /// # Safety
    ///
    /// `vm` is valid and fits [`CodeObject::requirements`], `r1` and `r2` are what the program's
    /// type asks for, and [`CodeObject::stack_bytes`] of stack are left.
    pub unsafe fn run(&self, vm: *mut VmCtx, r1: u64, r2: u64) -> u64 {
        // SAFETY: the entry point holds code with this convention, made from a verified program.
        unsafe {
            let function: ProgramFn = std::mem::transmute(self.entry_point().address() as usize);
            function(vm, r1, r2)
        }
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `load` with this length and nobody else unmaps it.
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
