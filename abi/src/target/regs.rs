//! The context of uprobe programs.

use core::mem::size_of;

/// The kernel's `struct pt_regs` for x86-64: what a uprobe program's `r1` points to.
#[doc(alias = "pt_regs")]
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PtRegs {
    /// r15.
    pub r15: u64,
    /// r14.
    pub r14: u64,
    /// r13.
    pub r13: u64,
    /// r12.
    pub r12: u64,
    /// rbp.
    pub bp: u64,
    /// rbx.
    pub bx: u64,
    /// r11.
    pub r11: u64,
    /// r10.
    pub r10: u64,
    /// r9.
    pub r9: u64,
    /// r8.
    pub r8: u64,
    /// rax; the return value in return programs.
    pub ax: u64,
    /// rcx.
    pub cx: u64,
    /// rdx.
    pub dx: u64,
    /// rsi.
    pub si: u64,
    /// rdi.
    pub di: u64,
    /// `-1`: not in a system call.
    pub orig_ax: u64,
    /// The probed instruction; in return programs the address returned to.
    pub ip: u64,
    /// Code segment, 0x33.
    pub cs: u64,
    /// CF, PF, AF, ZF, SF and OF as at the probe; IF and bit 1 set.
    pub flags: u64,
    /// rsp as at the probe; in return programs as after the return.
    pub sp: u64,
    /// Stack segment, 0x2b.
    pub ss: u64,
}

const _: () = {
    assert!(size_of::<PtRegs>() == 21 * 8);
};
