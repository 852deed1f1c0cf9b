//! The table of helpers by number, and what it offers.

use bpftime_abi::vmctx::HELPER_SLOTS;
use bpftime_abi::{Capabilities, Errno, HelperFn, MapType, VmCtx};

use crate::{map, memory, output, print, task};

/// Stands for each number without a helper.
///
/// # Safety
/// None needed; the signature asks for it.
unsafe extern "sysv64" fn missing(_: *mut VmCtx, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    Errno::EINVAL.to_r0()
}

/// `bpf_loop`, which no function here carries out but the engines: it calls the program back.
const LOOP: u32 = 181;

macro_rules! helpers {
    ($($number:literal => $function:path;)*) => {
        /// The helpers by number (`BPF_FUNC_*`); numbers that are not offered hold a function
        /// that returns `-EINVAL`. Goes into [`VmCtx::helpers`].
        pub static HELPERS: [HelperFn; HELPER_SLOTS] = {
            let mut table: [HelperFn; HELPER_SLOTS] = [missing; HELPER_SLOTS];
            $(table[$number] = $function;)*
            table
        };

        /// What [`HELPERS`], the engines and the maps of `bpftime-maps` offer.
        pub const CAPABILITIES: Capabilities = Capabilities::NONE
            $(.with_helper($number))*
            .with_helper(LOOP)
            .with_map_type(MapType::Array)
            .with_map_type(MapType::PerCpuArray)
            .with_map_type(MapType::Hash)
            .with_map_type(MapType::PerCpuHash)
            .with_map_type(MapType::RingBuf)
            .with_map_type(MapType::PerfEventArray);
    };
}

helpers! {
    1 => map::map_lookup_elem;
    2 => map::map_update_elem;
    3 => map::map_delete_elem;
    4 => memory::probe_read;
    5 => task::ktime_get_ns;
    6 => print::trace_printk;
    7 => task::get_prandom_u32;
    8 => task::get_smp_processor_id;
    14 => task::get_current_pid_tgid;
    15 => task::get_current_uid_gid;
    16 => task::get_current_comm;
    25 => output::perf_event_output;
    42 => task::get_numa_node_id;
    45 => memory::probe_read_str;
    112 => memory::probe_read;
    113 => memory::probe_read;
    114 => memory::probe_read_str;
    115 => memory::probe_read_str;
    118 => task::jiffies64;
    125 => task::ktime_get_boot_ns;
    130 => output::ringbuf_output;
    131 => output::ringbuf_reserve;
    132 => output::ringbuf_submit;
    133 => output::ringbuf_discard;
    134 => output::ringbuf_query;
    160 => task::ktime_get_coarse_ns;
    165 => print::snprintf;
    173 => task::get_func_ip;
    174 => task::get_attach_cookie;
    177 => print::trace_vprintk;
    182 => memory::strncmp;
    195 => map::map_lookup_percpu_elem;
    208 => task::ktime_get_tai_ns;
}
