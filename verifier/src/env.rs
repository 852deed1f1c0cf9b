//! What stays the same during an analysis.

use bpftime_isa::{CtxLayout, MapDef, ProgType, Program, context};

use crate::Options;

/// The program and the rules under which it is judged.
pub(crate) struct Env<'a> {
    pub(crate) program: &'a Program,
    pub(crate) options: &'a Options,
    /// Layout of the context.
    pub(crate) layout: &'static CtxLayout,
}

impl<'a> Env<'a> {
    /// `None` if the program type has no context that is known.
    pub(crate) fn new(program: &'a Program, options: &'a Options) -> Option<Self> {
        let layout = context::layout(program.prog_type, program.attach_type)?;
        Some(Self {
            program,
            options,
            layout,
        })
    }

    /// A map by index.
    pub(crate) fn map(&self, index: u32) -> Option<&'a MapDef> {
        self.program.maps.get(index as usize)
    }

    /// Whether packets may be written directly, as `may_access_direct_pkt_data` has it.
    pub(crate) fn packet_writable(&self) -> bool {
        matches!(
            self.program.prog_type,
            ProgType::SchedCls
                | ProgType::SchedAct
                | ProgType::Xdp
                | ProgType::LwtXmit
                | ProgType::SkSkb
                | ProgType::SkMsg
                | ProgType::CgroupSockopt
        )
    }

    /// Whether the licence allows helpers that are for GPL-compatible programs only; the list
    /// is the kernel's (`include/linux/license.h`).
    pub(crate) fn gpl_compatible(&self) -> bool {
        matches!(
            self.program.license.as_str(),
            "GPL"
                | "GPL v2"
                | "GPL and additional rights"
                | "Dual BSD/GPL"
                | "Dual MIT/GPL"
                | "Dual MPL/GPL"
        )
    }
}
