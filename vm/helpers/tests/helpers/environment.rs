//! An environment of this process.

use std::sync::atomic::{AtomicU32, Ordering};

use bpftime_abi::VmCtx;
use bpftime_helpers::{Env, HELPERS, Ops};
use bpftime_maps::{Caller, Geometry, MapRef};

/// What the functions of the environment note.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) wakes: u32,
}

/// A context to call helpers with.
pub(crate) struct Host {
    pub(crate) env: Box<Env>,
    pub(crate) vm: Box<VmCtx>,
    pub(crate) notes: Box<Notes>,
}

impl Host {
    pub(crate) fn new() -> Self {
        let mut notes = Box::new(Notes::default());
        let mut env = Box::new(Env::new(&OPS, Caller::new(7, None)));
        env.private = (&raw mut *notes).cast();
        env.cookie = 0xc00c1e;
        env.func_ip = 0xf1f1;
        let vm = Box::new(VmCtx {
            helpers: HELPERS.as_ptr(),
            maps: core::ptr::null(),
            map_values: core::ptr::null(),
            env: (&raw mut *env).cast(),
            cpu: 3,
            reserved: 0,
        });
        Self { env, vm, notes }
    }

    /// Calls a helper by number.
    pub(crate) fn call(&mut self, helper: usize, args: [u64; 5]) -> u64 {
        let [r1, r2, r3, r4, r5] = args;
        // SAFETY: the tests pass what a verified program would.
        unsafe { HELPERS[helper](&mut *self.vm, r1, r2, r3, r4, r5) }
    }
}

/// A map in leaked memory.
pub(crate) fn map(geometry: Geometry) -> MapRef {
    let memory = |len: usize| -> *mut u8 {
        let pages = vec![[0u64; 512]; len / 4096 + 1].leak();
        let at = pages.as_mut_ptr().cast::<u8>();
        at.wrapping_add(at.align_offset(4096))
    };
    // SAFETY: zeroed memory of the right lengths that is never freed.
    unsafe {
        MapRef::init(
            geometry,
            memory(geometry.control_len()),
            memory(geometry.data_len()),
        )
    }
    .unwrap()
}

pub(crate) const CLOCKS: u64 = 1_000_000_000_000;

static OPS: Ops = Ops {
    clock_ns,
    pid_tgid,
    uid_gid,
    comm,
    random,
    read_memory,
    trace_printk,
    futex_wake,
};

unsafe extern "sysv64" fn clock_ns(_: *mut Env, clock: u32) -> u64 {
    CLOCKS + clock as u64
}

unsafe extern "sysv64" fn pid_tgid(_: *mut Env) -> u64 {
    11 << 32 | 12
}

unsafe extern "sysv64" fn uid_gid(_: *mut Env) -> u64 {
    13 << 32 | 14
}

unsafe extern "sysv64" fn comm(_: *mut Env, comm: *mut u8) {
    // SAFETY: 16 bytes by contract.
    unsafe { comm.cast::<[u8; 16]>().write(*b"fifteen-letters\0") }
}

unsafe extern "sysv64" fn random(_: *mut Env) -> u32 {
    static STATE: AtomicU32 = AtomicU32::new(0x8000_0001);
    STATE.fetch_add(1, Ordering::Relaxed)
}

unsafe extern "sysv64" fn read_memory(_: *mut Env, to: *mut u8, from: u64, len: u64) -> i32 {
    let local = libc::iovec {
        iov_base: to.cast(),
        iov_len: len as usize,
    };
    let remote = libc::iovec {
        iov_base: from as *mut _,
        iov_len: len as usize,
    };
    // SAFETY: `to` has len bytes; the kernel checks `from`.
    let read = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    if read == len as isize {
        0
    } else {
        -libc::EFAULT
    }
}

unsafe extern "sysv64" fn trace_printk(env: *mut Env, text: *const u8, len: u64) {
    // SAFETY: `private` is the notes; the text has len bytes.
    unsafe {
        let text = core::slice::from_raw_parts(text, len as usize).to_vec();
        (*(*env).private.cast::<Notes>()).lines.push(text);
    }
}

unsafe extern "sysv64" fn futex_wake(env: *mut Env, word: *const AtomicU32) {
    assert!(!word.is_null());
    // SAFETY: `private` is the notes.
    unsafe { (*(*env).private.cast::<Notes>()).wakes += 1 }
}
