//! What programs may return: what the places that they are attached to understand.
//!
//! The table is of Linux 6.18 (`check_return_code` in `kernel/bpf/verifier.c`); a test asks the running
//! kernel.

use crate::{AttachType, ProgType};

/// Numbers that a program may return, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[doc(alias = "bpf_retval_range")]
pub struct ReturnRange {
    /// Least.
    pub least: i32,
    /// Greatest.
    pub most: i32,
    /// Only the low 32 bits of `r0` are looked at.
    pub low_half: bool,
}

impl ReturnRange {
    const fn new(least: i32, most: i32) -> Self {
        Self {
            least,
            most,
            low_half: false,
        }
    }
}

/// What the function returns that a program is attached to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HookResult {
    /// Nothing.
    Void,
    /// A truth value. For Linux security hooks, these are [`BOOL_HOOKS`], which return an `int`.
    Bool,
    /// A number; zero, or an error number below zero, for Linux security hooks.
    Number,
}

/// Linux security hooks that return a truth value (`bool_lsm_hooks` in `kernel/bpf/bpf_lsm.c`).
pub const BOOL_HOOKS: &[&str] = &[
    "audit_rule_known",
    "inode_xattr_skipcap",
    "xfrm_state_pol_flow_match",
];

/// `MAX_ERRNO`.
const MAX_ERRNO: i32 = 4095;

/// What programs may return, `None` if any number will do. `result` is of the function that they are
/// attached to, where the type has one.
pub fn returns(
    prog_type: ProgType,
    attach_type: Option<AttachType>,
    result: Option<HookResult>,
) -> Option<ReturnRange> {
    Some(match (prog_type, attach_type) {
        (ProgType::CgroupSockAddr, Some(attach)) => sock_addr(attach),
        // Egress may also say "congested".
        (ProgType::CgroupSkb, Some(AttachType::CGROUP_INET_EGRESS)) => ReturnRange::new(0, 3),
        (
            ProgType::CgroupSkb
            | ProgType::CgroupSock
            | ProgType::CgroupSockAddr
            | ProgType::CgroupDevice
            | ProgType::CgroupSysctl
            | ProgType::CgroupSockopt
            | ProgType::SockOps
            | ProgType::SkLookup
            | ProgType::Netfilter,
            _,
        ) => ReturnRange::new(0, 1),
        // Whether the return is traced too.
        (
            ProgType::Kprobe,
            Some(AttachType::TRACE_KPROBE_SESSION | AttachType::TRACE_UPROBE_SESSION),
        ) => ReturnRange::new(0, 1),
        (ProgType::Tracing, Some(AttachType::TRACE_FENTRY | AttachType::TRACE_FEXIT)) => {
            ReturnRange::new(0, 0)
        }
        (ProgType::Tracing, Some(AttachType::TRACE_ITER)) => ReturnRange::new(0, 1),
        (ProgType::Lsm, Some(AttachType::LSM_CGROUP)) => match result {
            Some(HookResult::Void) | None => ReturnRange::new(1, 1),
            Some(_) => ReturnRange::new(0, 1),
        },
        (ProgType::Lsm, _) => ReturnRange {
            low_half: true,
            ..match result? {
                HookResult::Void => return None,
                HookResult::Bool => ReturnRange::new(0, 1),
                HookResult::Number => ReturnRange::new(-MAX_ERRNO, 0),
            }
        },
        _ => return None,
    })
}

const fn sock_addr(attach_type: AttachType) -> ReturnRange {
    match attach_type {
        AttachType::CGROUP_UDP4_RECVMSG
        | AttachType::CGROUP_UDP6_RECVMSG
        | AttachType::CGROUP_UNIX_RECVMSG
        | AttachType::CGROUP_INET4_GETPEERNAME
        | AttachType::CGROUP_INET6_GETPEERNAME
        | AttachType::CGROUP_UNIX_GETPEERNAME
        | AttachType::CGROUP_INET4_GETSOCKNAME
        | AttachType::CGROUP_INET6_GETSOCKNAME
        | AttachType::CGROUP_UNIX_GETSOCKNAME => ReturnRange::new(1, 1),
        // Binds may also waive the privilege for low ports.
        AttachType::CGROUP_INET4_BIND | AttachType::CGROUP_INET6_BIND => ReturnRange::new(0, 3),
        _ => ReturnRange::new(0, 1),
    }
}
