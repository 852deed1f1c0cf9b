//! What programs may do for what they are attached to: write into objects of the kernel's, ask for the names of
//! paths.

use bpftime_isa::{AttachType, Object, ProgType, Trust, struct_ops};

use super::Env;

/// Functions of the kernel's in which paths may be named (`btf_allowlist_d_path` in
/// `kernel/trace/bpf_trace.c`).
const D_PATH_CALLERS: [&str; 9] = [
    "security_file_permission",
    "security_inode_getattr",
    "security_file_open",
    "security_path_truncate",
    "vfs_truncate",
    "vfs_fallocate",
    "dentry_open",
    "vfs_getattr",
    "filp_close",
];

impl Env<'_> {
    /// Whether the program may ask for the name of a path (`bpf_d_path_allowed`): where no lock is held that
    /// the answer takes.
    pub(super) fn d_path_allowed(&self) -> bool {
        let program = self.program;
        let iterates = program.attach_type == Some(AttachType::TRACE_ITER);
        let target = program.hook.target.as_deref();
        match program.prog_type {
            ProgType::Tracing if iterates => true,
            ProgType::Tracing => target.is_some_and(|target| D_PATH_CALLERS.contains(&target)),
            // The kernel lets those sleep that are attached to hooks which may, and to no other.
            ProgType::Lsm => program.may_sleep(),
            _ => false,
        }
    }

    /// Whether the program may write these bytes of an object that is certainly there: what it
    /// implements says which (`btf_struct_access` of the kernel's structures of functions); those that get
    /// packets, the mark of a tracked connection. What RCU keeps is as good as what is trusted: it is
    /// there, and is of that type, until the section ends.
    pub(crate) fn may_write(&self, object: Object, offset: i64, size: u32) -> bool {
        if matches!(
            self.program.prog_type,
            ProgType::Xdp | ProgType::SchedCls | ProgType::SchedAct
        ) {
            return self.is_mark(object, offset, size);
        }
        let target = self.program.hook.target.as_deref();
        let ops = target.and_then(struct_ops::by_name);
        let ops = ops.filter(|_| self.program.prog_type == ProgType::StructOps);
        let Some((ops, types)) = ops.zip(self.options.kernel_types.as_deref()) else {
            return false;
        };
        let Object::Typed {
            type_id,
            trust: Trust::Trusted | Trust::Rcu,
        } = object
        else {
            return false;
        };
        let Ok(offset) = u32::try_from(offset) else {
            return false;
        };
        ops.writes.iter().any(|write| {
            let place = types.member(write.holder, write.path);
            types.structure(write.structure) == Some(type_id)
                && place.is_some_and(|(at, bytes)| {
                    let end = at.saturating_add(bytes).saturating_sub(write.but_last);
                    let begins = offset == at || write.inside && offset >= at;
                    begins && offset.checked_add(size).is_some_and(|last| last <= end)
                })
        })
    }

    /// Whether the bytes are in the mark of a tracked connection (`nf_conntrack_btf_struct_access`).
    fn is_mark(&self, object: Object, offset: i64, size: u32) -> bool {
        let Some(types) = self.options.kernel_types.as_deref() else {
            return false;
        };
        let is_connection = match object {
            Object::Typed {
                type_id,
                trust: Trust::Trusted,
            } => ["nf_conn", "nf_conn___init"]
                .into_iter()
                .any(|name| types.structure(name) == Some(type_id)),
            _ => false,
        };
        let mark = types.member("nf_conn", &["mark"]);
        is_connection && mark.is_some_and(|(at, bytes)| offset == i64::from(at) && size <= bytes)
    }
}
