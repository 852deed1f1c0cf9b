//! `bpf_ringbuf_*` and `bpf_perf_event_output`.

use bpftime_abi::VmCtx;
use bpftime_maps::{MapRef, Record};

use crate::env::{Env, OpenRecord, env, map, ops};

/// Wakes the consumers of a map.
///
/// # Safety
/// `env` was filled by an engine.
unsafe fn wake(env: &mut Env, map: &MapRef, needed: bool) {
    if needed {
        // SAFETY: by contract; the word lives as long as the map is mapped.
        unsafe { (ops(env).futex_wake)(env, map.wake_word()) }
    }
}

/// `long bpf_ringbuf_output(ringbuf, data, size, flags)`.
///
/// # Safety
/// The verifier proved that `r1` is the handle of a ring buffer and `r2` points to `r3` readable
/// bytes.
pub unsafe extern "sysv64" fn ringbuf_output(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    let (env, map) = unsafe { (env(vm), map(r1)) };
    // SAFETY: by contract.
    match unsafe { map.output(&env.caller, r2 as *const u8, r3, r4) } {
        Ok(needed) => {
            // SAFETY: by contract.
            unsafe { wake(env, map, needed) };
            0
        }
        Err(errno) => errno.to_r0(),
    }
}

/// `void *bpf_ringbuf_reserve(ringbuf, size, flags)`: address of the record's data, or 0.
///
/// # Safety
/// The verifier proved that `r1` is the handle of a ring buffer.
pub unsafe extern "sysv64" fn ringbuf_reserve(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    r3: u64,
    _: u64,
    _: u64,
) -> u64 {
    if r3 != 0 {
        return 0;
    }
    // SAFETY: by contract.
    let (env, map) = unsafe { (env(vm), map(r1)) };
    let caller = env.caller;
    let Some(place) = env
        .open_records
        .iter_mut()
        .find(|place| place.map.is_null())
    else {
        return 0;
    };
    let Some(record) = map.reserve(&caller, r2) else {
        return 0;
    };
    *place = OpenRecord { map, record };
    record.data as u64
}

/// Takes a record off the list of open ones.
fn close(env: &mut Env, data: u64) -> Option<(*const MapRef, Record)> {
    let open = |place: &&mut OpenRecord| !place.map.is_null() && place.record.data as u64 == data;
    let place = env.open_records.iter_mut().find(open)?;
    let closed = (place.map, place.record);
    *place = OpenRecord::NONE;
    Some(closed)
}

/// `void bpf_ringbuf_submit(data, flags)`.
///
/// # Safety
/// The verifier proved that `r1` is what `bpf_ringbuf_reserve` gave, not given back since.
pub unsafe extern "sysv64" fn ringbuf_submit(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    let env = unsafe { env(vm) };
    if let Some((map, record)) = close(env, r1) {
        // SAFETY: the record was on the list, so it is open, and its map is alive.
        unsafe { wake(env, &*map, (*map).submit(record, r2)) };
    }
    0
}

/// `void bpf_ringbuf_discard(data, flags)`.
///
/// # Safety
/// As [`ringbuf_submit`].
pub unsafe extern "sysv64" fn ringbuf_discard(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    let env = unsafe { env(vm) };
    if let Some((map, record)) = close(env, r1) {
        // SAFETY: the record was on the list, so it is open, and its map is alive.
        unsafe { wake(env, &*map, (*map).discard(record, r2)) };
    }
    0
}

/// `u64 bpf_ringbuf_query(ringbuf, flags)`.
///
/// # Safety
/// The verifier proved that `r1` is the handle of a ring buffer.
pub unsafe extern "sysv64" fn ringbuf_query(
    _: *mut VmCtx,
    r1: u64,
    r2: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe { map(r1).query(r2) }
}

/// `long bpf_perf_event_output(ctx, map, flags, data, size)`.
///
/// # Safety
/// The verifier proved that `r2` is the handle of a perf event array and `r4` points to `r5`
/// readable bytes.
pub unsafe extern "sysv64" fn perf_event_output(
    vm: *mut VmCtx,
    _: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
) -> u64 {
    // SAFETY: by contract.
    let (env, map, cpu) = unsafe { (env(vm), map(r2), (*vm).cpu) };
    // SAFETY: by contract; the environment keeps the rings mapped while programs run.
    match unsafe { map.perf_output(r3, cpu, r4 as *const u8, r5) } {
        Ok(needed) => {
            // SAFETY: by contract.
            unsafe { wake(env, map, needed) };
            0
        }
        Err(errno) => errno.to_r0(),
    }
}
