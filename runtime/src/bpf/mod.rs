//! The `bpf()` system call and its surroundings, answered for tools.
//!
//! Each command has a function that takes a private copy of the request and gives a reply or
//! the error number that the kernel gives. Field offsets are those of `union bpf_attr` in
//! `linux/bpf.h`.
//!
//! - [`attr`]: the request
//! - [`command`]: numbers of commands, and which function answers which
//! - [`map_create`], [`map_elem`], [`map_batch`]: maps
//! - [`btf`], [`btf_load`]: type information
//! - [`prog_load`]: programs: verification and compilation
//! - [`xlated`]: what tools see of a program's instructions
//! - [`mod@link`] makes links
//! - [`ids`]: enumeration of objects
//! - [`info`]: descriptions of objects
//! - [`perf`]: `perf_event_open` and the `ioctl`s of perf events
//! - [`epoll`]: `epoll_ctl` on maps and output rings
//! - [`paths`]: files of sysfs that tools look at

pub mod attr;
pub mod btf;
pub mod btf_load;
pub mod command;
pub mod epoll;
pub mod ids;
pub mod info;
pub mod link;
pub mod map_batch;
pub mod map_create;
pub mod map_elem;
pub mod paths;
pub mod perf;
pub mod prog_load;
pub mod xlated;

pub use attr::Attr;

use bpftime_abi::Errno;

use crate::broker::session::Session;
use crate::notify::Call;
use crate::notify::listener::Reply;

/// A call of a tool, with the session that it belongs to.
#[derive(Debug)]
pub struct Request<'a> {
    /// The tool.
    pub session: &'a Session,
    /// The call.
    pub call: &'a Call<'a>,
}

/// Result of a command.
pub type Answer = Result<Reply, Errno>;

impl Request<'_> {
    /// The object behind a descriptor of the tool; `EBADF` if there is none, `EINVAL` if it is
    /// none of ours.
    pub fn object(&self, fd: i32) -> Result<crate::broker::objects::Object, Errno> {
        self.session.broker.registry.object(self.call.fd(fd)?)
    }

    /// The perf event behind a descriptor of the tool; `EBADF` if it is none.
    pub fn event(&self, fd: i32) -> Result<std::sync::Arc<crate::broker::event::Event>, Errno> {
        match self.object(fd) {
            Ok(crate::broker::objects::Object::Event(event)) => Ok(event),
            _ => Err(Errno::EBADF),
        }
    }

    /// A new descriptor for an object, closed on `exec` as the kernel's are.
    pub fn handle(&self, object: crate::broker::objects::Object) -> Answer {
        let registry = &self.session.broker.registry;
        let fd = registry
            .new_handle(object, self.session.id)
            .map_err(|error| crate::sys::errno_of(&error))?;
        Ok(Reply::Fd { fd, cloexec: true })
    }
}
