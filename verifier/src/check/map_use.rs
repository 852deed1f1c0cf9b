//! Which helper may be used with which map.

use bpftime_abi::map_type::create_flags::BPF_F_RDONLY_PROG;
use bpftime_isa::{AttachType, MapType, ProgType};

use super::Failure;
use crate::diagnostic::Code;
use crate::env::Env;

/// Whether the environment offers the map's type.
pub(super) fn offered(env: &Env<'_>, index: u32) -> Result<(), Failure> {
    match env.map(index) {
        Some(map) if !env.map_type_fits(map.map_type) => Err(Failure::new(
            Code::MapType,
            "a map type for programs that may sleep",
            format!("{} is of type {}", map.name, map.map_type.name()),
            "Sleepable programs can only use array, hash, ringbuf and local storage maps",
        )),
        Some(map) if env.options.capabilities.has_map_type(map.map_type) => Ok(()),
        Some(map) => Err(Failure::new(
            Code::MapType,
            "a map type that the environment offers",
            format!("{} is of type {}", map.name, map.map_type.name()),
            format!("map type {} is not supported", map.map_type.name()),
        )),
        None => Err(Failure::new(
            Code::MapAccess,
            "a map of the program",
            format!("map {index}"),
            format!("map index {index} is out of range"),
        )),
    }
}

/// Whether the program has an arena, so that addresses in it mean something.
pub(super) fn arena(env: &Env<'_>) -> Result<(), Failure> {
    let maps = (0u32..).zip(&env.program.maps);
    let mut arenas = maps.filter(|(_, map)| map.map_type == MapType::Arena);
    match arenas.next() {
        Some((index, _)) => offered(env, index),
        None => Err(Failure::new(
            Code::MapType,
            "a map of type arena among the program's",
            "none",
            "addr_space_cast insn can only be used in a program that has an associated arena",
        )),
    }
}

const LOOKUP: u32 = 1;
const UPDATE: u32 = 2;
const DELETE: u32 = 3;
const PUSH: u32 = 87;
const POP: u32 = 88;
const PEEK: u32 = 89;
const LOOKUP_PERCPU: u32 = 195;
const LOCAL_STORAGE: u32 = 81;
const FOR_EACH: u32 = 164;
const TIMER_INIT: u32 = 169;

/// Whether the helper takes maps of the type (kernel `check_map_func_compatibility`). What is
/// not listed is refused.
fn fits(map_type: MapType, helper: u32) -> bool {
    match map_type {
        MapType::LpmTrie => matches!(helper, LOOKUP | UPDATE | DELETE),
        MapType::Hash | MapType::Array | MapType::LruHash => {
            matches!(helper, LOOKUP | UPDATE | DELETE | FOR_EACH | TIMER_INIT)
        }
        MapType::PerCpuArray | MapType::PerCpuHash | MapType::LruPerCpuHash => {
            matches!(helper, LOOKUP | UPDATE | DELETE | LOOKUP_PERCPU | FOR_EACH)
        }
        MapType::ArrayOfMaps | MapType::HashOfMaps => helper == LOOKUP,
        MapType::ProgArray => helper == 12,
        MapType::PerfEventArray => matches!(helper, 22 | 25 | 55 | 111 | 121),
        MapType::StackTrace => helper == 27,
        MapType::CgroupArray => matches!(helper, 33 | 37),
        MapType::RingBuf => matches!(helper, 130..=131 | 134 | 198),
        MapType::CgroupStorage | MapType::PerCpuCgroupStorage => helper == LOCAL_STORAGE,
        MapType::SkStorage => matches!(helper, 107 | 108),
        MapType::InodeStorage => matches!(helper, 145 | 146),
        MapType::TaskStorage => matches!(helper, 156 | 157),
        MapType::CgrpStorage => matches!(helper, 210 | 211),
        MapType::UserRingBuf => helper == 209,
        MapType::Queue | MapType::Stack => matches!(helper, PUSH | POP | PEEK),
        MapType::BloomFilter => matches!(helper, PUSH | PEEK),
        MapType::DevMap | MapType::DevMapHash | MapType::XskMap => matches!(helper, LOOKUP | 51),
        MapType::CpuMap => helper == 51,
        MapType::SockMap => matches!(helper, LOOKUP | UPDATE | DELETE | 52 | 53 | 60 | 82),
        MapType::SockHash => matches!(helper, LOOKUP | UPDATE | DELETE | 70..=72 | 82),
        MapType::ReuseportSockArray => helper == 82,
        _ => false,
    }
}

/// Whether values of the type are sockets.
pub(super) fn holds_sockets(map_type: MapType) -> bool {
    matches!(map_type, MapType::SockMap | MapType::SockHash)
}

/// Whether the program may put sockets into maps, or take them out, without waiting for a lock that it
/// interrupted (`may_update_sockmap`).
fn may_change_sockets(env: &Env<'_>, helper: u32) -> bool {
    match env.program.prog_type {
        ProgType::Tracing => env.program.attach_type == Some(AttachType::TRACE_ITER),
        ProgType::SockOps => helper == DELETE,
        ProgType::SocketFilter
        | ProgType::SchedCls
        | ProgType::SchedAct
        | ProgType::Xdp
        | ProgType::SkReuseport
        | ProgType::FlowDissector
        | ProgType::SkLookup => true,
        _ => false,
    }
}

/// Whether the helper may be called with the map.
pub(super) fn compatible(
    env: &Env<'_>,
    index: u32,
    helper: u32,
    name: &str,
) -> Result<(), Failure> {
    offered(env, index)?;
    let Some(map) = env.map(index) else {
        return Ok(());
    };
    let sockets = holds_sockets(map.map_type) && matches!(helper, UPDATE | DELETE);
    if !fits(map.map_type, helper) || (sockets && !may_change_sockets(env, helper)) {
        return Err(Failure::new(
            Code::MapType,
            format!("a map that bpf_{name} takes"),
            format!("{} is of type {}", map.name, map.map_type.name()),
            format!(
                "cannot pass map_type {} into func bpf_{name}#{helper}",
                map.map_type as u32
            ),
        ));
    }
    let holds_maps = matches!(map.map_type, MapType::ArrayOfMaps | MapType::HashOfMaps);
    if holds_maps && env.held_by(index).is_none() {
        return Err(Failure::new(
            Code::MapType,
            "a map of maps that says what it holds",
            format!("{} says nothing", map.name),
            format!("map {} holds maps of which nothing is known", map.name),
        ));
    }
    if let Some(held) = env.held_by(index) {
        offered(env, held)?;
    }
    let changes = matches!(helper, UPDATE | DELETE | PUSH | POP);
    if changes && map.flags & BPF_F_RDONLY_PROG != 0 {
        return Err(Failure::new(
            Code::MapAccess,
            "a map that programs may write",
            format!("{} was created with BPF_F_RDONLY_PROG", map.name),
            "write into map forbidden",
        ));
    }
    Ok(())
}
