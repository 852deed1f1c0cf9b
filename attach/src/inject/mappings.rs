//! Mappings that the injector makes in the process, each announced in the journal first.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use bpftime_abi::target::MappingKind;

use super::Injection;
use crate::error::{Error, Result};
use crate::memfd::{self, NAME_PREFIX};
use crate::target::{At, Protection, Stopped, gaps};

/// Bytes of a mapping for trampolines.
const POOL_LEN: u64 = 64 << 10;
/// A trampoline is at most this far from what it serves: 2 GiB less room for the module itself.
const REACH: u64 = (1 << 31) - (64 << 20);
/// Trampolines start at multiples of this.
const ALIGN: u64 = 16;

/// Trampolines near a module.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) address: u64,
    /// Used ranges from the start.
    used: u64,
    /// Ranges that may be used again.
    free: Vec<(u64, u64)>,
}

impl Pool {
    /// Room for a trampoline of at most `len` bytes.
    fn take(&mut self, len: u64) -> Option<u64> {
        if let Some(index) = self.free.iter().position(|(_, have)| *have >= len) {
            return Some(self.free.swap_remove(index).0);
        }
        (self.used + len <= POOL_LEN).then(|| {
            self.used += len;
            self.address + self.used - len
        })
    }

    fn contains(&self, address: u64) -> bool {
        (self.address..self.address + POOL_LEN).contains(&address)
    }
}

impl Injection {
    /// Maps one of our memory files somewhere in the process. Its name (`memfd_create`) must
    /// start with [`NAME_PREFIX`], by which whoever cleans up knows it again.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a plain property of the mapping"
    )]
    pub fn map_file(
        &self,
        stopped: &mut Stopped<'_>,
        fd: BorrowedFd<'_>,
        len: u64,
        protection: Protection,
        shared: bool,
        kind: MappingKind,
        id: u32,
    ) -> Result<u64> {
        let near = self.control.place.image;
        self.map_near(
            stopped,
            fd,
            (near, u64::MAX),
            len,
            (protection, shared),
            (kind, id),
        )
    }

    /// Maps private memory with this content, for tables that programs refer to.
    pub fn map_tables(&self, stopped: &mut Stopped<'_>, content: &[u8]) -> Result<u64> {
        let len = (content.len().max(1) as u64).next_multiple_of(4096);
        let file = memfd::create(c"bpftime-tables", content, len, true)?;
        let rw = Protection::ReadWrite;
        self.map_file(
            stopped,
            file.as_fd(),
            len,
            rw,
            false,
            MappingKind::Tables,
            0,
        )
    }

    /// Unmaps what [`Injection::map_file`] or [`Injection::map_tables`] mapped. False if a thread
    /// may still be using it; try again later.
    pub fn unmap_file(&self, stopped: &mut Stopped<'_>, address: u64) -> Result<bool> {
        let target = stopped.target();
        let records = self.control.mappings(target)?;
        let Some(record) = records.iter().find(|record| record.address == address) else {
            return Err(Error::Control {
                pid: target.pid(),
                what: "the control memory",
                reason: format!("nothing is mapped at {address:#x} by us"),
            });
        };
        let range = record.address..record.address + record.len;
        if super::inside::is_busy(stopped, &self.control)?
            || !stopped.references(&[range])?.is_empty()
        {
            return Ok(false);
        }
        stopped.unmap(record.address, record.len)?;
        self.control.forget_mapping(target, record.index)?;
        Ok(true)
    }

    pub(super) fn announce(
        &self,
        stopped: &Stopped<'_>,
        address: u64,
        len: u64,
        kind: MappingKind,
        id: u32,
    ) -> Result<usize> {
        self.control
            .announce_mapping(stopped.target(), (address, len), kind, id)
    }

    fn map_near(
        &self,
        stopped: &mut Stopped<'_>,
        fd: BorrowedFd<'_>,
        (near, reach): (u64, u64),
        len: u64,
        (protection, shared): (Protection, bool),
        (kind, id): (MappingKind, u32),
    ) -> Result<u64> {
        if !memfd::is_ours(fd.as_raw_fd()) {
            return Err(Error::Unsupported(format!(
                "only memory files named {NAME_PREFIX}* are mapped into processes"
            )));
        }
        let len = len.next_multiple_of(4096);
        // Before the place is chosen, so that it is not in it.
        stopped.open_remote_session()?;
        let address = gaps::find(&stopped.maps()?, near, len, reach)?;
        let index = self.announce(stopped, address, len, kind, id)?;
        match stopped.map_fd(fd, At::Free(address), len, protection, shared) {
            Ok(address) => Ok(address),
            Err(error) => {
                self.control.forget_mapping(stopped.target(), index)?;
                Err(error)
            }
        }
    }

    /// Room for a trampoline near a site, in code memory that is private to the process.
    pub(super) fn trampoline_room(
        &mut self,
        stopped: &mut Stopped<'_>,
        site: u64,
        len: u64,
    ) -> Result<u64> {
        const NAME: &CStr = c"bpftime-trampolines";
        let len = len.next_multiple_of(ALIGN);
        let near = |pool: &Pool| {
            site.abs_diff(pool.address)
                .max(site.abs_diff(pool.address + POOL_LEN))
                <= REACH
        };
        if let Some(room) = self
            .pools
            .iter_mut()
            .filter(|pool| near(pool))
            .find_map(|pool| pool.take(len))
        {
            return Ok(room);
        }
        // int3: nothing may run here that is not a trampoline.
        let file = memfd::create(NAME, &[0xcc; POOL_LEN as usize], POOL_LEN, true)?;
        let address = self.map_near(
            stopped,
            file.as_fd(),
            (site, REACH),
            POOL_LEN,
            (Protection::ReadExecute, false),
            (MappingKind::Trampolines, 0),
        )?;
        let mut pool = Pool {
            address,
            used: 0,
            free: Vec::new(),
        };
        let room = pool.take(len);
        self.pools.push(pool);
        room.ok_or_else(|| Error::Unsupported(format!("a trampoline of {len} bytes is too long")))
    }

    /// Gives room back that no thread uses any more.
    pub(super) fn free_trampoline(&mut self, address: u64, len: u64) {
        if let Some(pool) = self.pools.iter_mut().find(|pool| pool.contains(address)) {
            pool.free.push((address, len.next_multiple_of(ALIGN)));
        }
    }
}
