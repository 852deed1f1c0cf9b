//! A program attached to a hook.

use core::mem::{offset_of, size_of};

use crate::{Capabilities, EntryPoint, MapType};

/// Programs of one hook beyond this number are not run.
pub const MAX_PROGRAMS_PER_HOOK: usize = 64;

/// A program attached to a hook. The same program at two hooks takes two records.
#[repr(C, align(128))]
#[derive(Clone, Copy, Debug)]
pub struct ProgramRecord {
    /// Next record of the list, 0 for none.
    pub next: u64,
    /// The code; address 0 in a record that is not used.
    pub entry: EntryPoint,
    /// [`VmCtx::maps`](crate::VmCtx::maps) of the program.
    pub maps: u64,
    /// [`VmCtx::map_values`](crate::VmCtx::map_values) of the program.
    pub map_values: u64,
    /// What `bpf_get_attach_cookie` gives.
    pub cookie: u64,
    /// Address of the program's word in [`Control::switches`](super::Control::switches).
    pub switch: u64,
    /// The program runs while the switch holds this value; not 0. A switch that is used anew gets
    /// a new value, so that forked children keep out.
    pub generation: u64,
    /// [`PROGRAM_NEEDS_CPU`] and [`PROGRAM_TAKES_NO_LOCK`], see [`program_flags`].
    pub flags: u32,
    /// The broker's number of the link.
    pub link_id: u32,
    /// Keeps the size.
    pub reserved: [u64; 8],
}

/// The program uses its virtual CPU (per-CPU maps, `bpf_get_smp_processor_id`,
/// `bpf_perf_event_output`): one is leased for each run.
pub const PROGRAM_NEEDS_CPU: u32 = 1;

/// The program takes no lock of a map (neither updates nor deletes elements, nor outputs to a
/// ring or perf buffer). Saves a `gettid` where [`Config::tid_offset`](super::Config::tid_offset) is 0.
pub const PROGRAM_TAKES_NO_LOCK: u32 = 2;

/// The flags of a program that uses the helpers and map types in `needs`.
pub const fn program_flags(needs: &Capabilities) -> u32 {
    /// Helpers that use the leased CPU: `get_smp_processor_id`, `perf_event_output`.
    const USE_CPU: [u32; 2] = [8, 25];
    /// Helpers that change no map and wait for none, and can come with any map: lookup,
    /// `probe_read`, `ktime_get_ns`, `trace_printk`, `get_prandom_u32`, CPU, process, user, name,
    /// `probe_read_str`, `probe_read_{user,kernel}{,_str}`, cookie, function address.
    const TAKE_NO_LOCK: [u32; 18] = [
        1, 4, 5, 6, 7, 8, 14, 15, 16, 45, 112, 113, 114, 115, 125, 173, 174, 195,
    ];

    let mut flags = 0;
    let mut other = *needs;
    let mut index = 0;
    while index < TAKE_NO_LOCK.len() {
        other = other.without_helper(TAKE_NO_LOCK[index]);
        index += 1;
    }
    if !other.has_any_helper() {
        flags |= PROGRAM_TAKES_NO_LOCK;
    }
    if needs.has_helper(USE_CPU[0])
        || needs.has_helper(USE_CPU[1])
        || needs.has_map_type(MapType::PerCpuArray)
        || needs.has_map_type(MapType::PerCpuHash)
        || needs.has_map_type(MapType::LruPerCpuHash)
        || needs.has_map_type(MapType::PerfEventArray)
    {
        flags |= PROGRAM_NEEDS_CPU;
    }
    flags
}

const _: () = {
    assert!(size_of::<ProgramRecord>() == 128);
    assert!(offset_of!(ProgramRecord, next) == 0);
    assert!(offset_of!(ProgramRecord, entry) == 8);
    assert!(offset_of!(ProgramRecord, maps) == 16);
    assert!(offset_of!(ProgramRecord, map_values) == 24);
    assert!(offset_of!(ProgramRecord, cookie) == 32);
    assert!(offset_of!(ProgramRecord, switch) == 40);
    assert!(offset_of!(ProgramRecord, generation) == 48);
    assert!(offset_of!(ProgramRecord, flags) == 56);
    assert!(offset_of!(ProgramRecord, link_id) == 60);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_follow_from_helpers_and_maps() {
        let none = Capabilities::NONE;
        assert_eq!(program_flags(&none), PROGRAM_TAKES_NO_LOCK);
        // A count per process: lookup, update, process id.
        let counting = none
            .with_helper(1)
            .with_helper(2)
            .with_helper(14)
            .with_map_type(MapType::Hash);
        assert_eq!(program_flags(&counting), 0);
        let per_cpu = none.with_helper(1).with_map_type(MapType::PerCpuArray);
        assert_eq!(
            program_flags(&per_cpu),
            PROGRAM_NEEDS_CPU | PROGRAM_TAKES_NO_LOCK
        );
        let perf = none.with_helper(25).with_map_type(MapType::PerfEventArray);
        assert_eq!(program_flags(&perf), PROGRAM_NEEDS_CPU);
        let cpu_id = none.with_helper(8);
        assert_eq!(
            program_flags(&cpu_id),
            PROGRAM_NEEDS_CPU | PROGRAM_TAKES_NO_LOCK
        );
        let ring = none.with_helper(131).with_map_type(MapType::RingBuf);
        assert_eq!(program_flags(&ring), 0);
    }
}
