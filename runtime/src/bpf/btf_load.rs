//! `BPF_BTF_LOAD`.

use bpftime_abi::Errno;

use super::{Answer, Attr, Request, btf};
use crate::broker::objects::{Btf, Object};

/// `BPF_BTF_LOAD`.
pub fn load(request: &Request<'_>, attr: &Attr) -> Answer {
    // btf, btf_log_buf, btf_size, btf_log_size, btf_log_level, btf_log_true_size, btf_flags,
    // btf_token_fd.
    attr.check_end(40)?;
    if attr.u32(32) != 0 {
        return Err(Errno::EINVAL);
    }
    let size = attr.u32(16);
    if size > btf::MAX_SIZE {
        return Err(Errno::E2BIG);
    }
    let blob = request.call.read_vec(attr.u64(0), size as usize)?;
    btf::check(&blob)?;
    let registry = &request.session.broker.registry;
    let btf = registry
        .btfs
        .insert(|id| Ok::<_, Errno>(Btf { id, blob }))?;
    request.handle(Object::Btf(btf))
}
