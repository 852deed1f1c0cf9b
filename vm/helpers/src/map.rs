//! `bpf_map_lookup_elem`, `bpf_map_update_elem`, `bpf_map_delete_elem`,
//! `bpf_map_lookup_percpu_elem`.

use bpftime_abi::VmCtx;

use crate::env::{env, map};

/// `void *bpf_map_lookup_elem(map, key)`: address of the value, or 0.
///
/// # Safety
/// The verifier proved that `r1` is a map handle and `r2` points to a readable key.
pub unsafe extern "sysv64" fn map_lookup_elem(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe { map(r1).lookup(r2 as *const u8, (*vm).cpu) as u64 }
}

/// `long bpf_map_update_elem(map, key, value, flags)`.
///
/// # Safety
/// The verifier proved that `r1` is a map handle, and `r2` and `r3` point to a readable key and
/// value.
pub unsafe extern "sysv64" fn map_update_elem(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    let result = unsafe {
        let caller = &env(vm).caller;
        map(r1).update(caller, r2 as *const u8, r3 as *const u8, r4, (*vm).cpu)
    };
    match result {
        Ok(()) => 0,
        Err(errno) => errno.to_r0(),
    }
}

/// `long bpf_map_delete_elem(map, key)`.
///
/// # Safety
/// The verifier proved that `r1` is a map handle and `r2` points to a readable key.
pub unsafe extern "sysv64" fn map_delete_elem(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    match unsafe { map(r1).delete(&env(vm).caller, r2 as *const u8) } {
        Ok(()) => 0,
        Err(errno) => errno.to_r0(),
    }
}

/// `void *bpf_map_lookup_percpu_elem(map, key, cpu)`: address of that CPU's value, or 0.
///
/// # Safety
/// The verifier proved that `r1` is the handle of a per-CPU map and `r2` points to a readable
/// key.
pub unsafe extern "sysv64" fn map_lookup_percpu_elem(
    _: *mut VmCtx,
    r1: u64,
    r2: u64,
    r3: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    let map = unsafe { map(r1) };
    // The kernel takes a u32.
    let cpu = r3 as u32;
    if !map.geometry().is_per_cpu() || cpu >= map.geometry().cpus {
        return 0;
    }
    // SAFETY: by contract.
    unsafe { map.lookup(r2 as *const u8, cpu) as u64 }
}
