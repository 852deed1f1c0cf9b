//! Maps as the broker holds them.
//!
//! [`large`]: values piece by piece.

pub mod large;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpftime_abi::map_type::create_flags::{BPF_F_MMAPABLE, BPF_F_RDONLY_PROG};
use bpftime_abi::{Errno, MapType};
use bpftime_isa::MapDef;
use bpftime_maps::{Caller, Geometry, MapRef};
use nix::fcntl::SealFlag;
use nix::sys::eventfd::EventFd;

use super::event::Event;
use super::objects::Btf;
use crate::sys::errno_of;
use crate::sys::file::{add_seals, fixed_memfd, is_sole_user, reopen};
use crate::sys::mapping::{Mapping, mappings_of};

/// How many keys in a row may vanish before they are read.
const MAX_VANISHED: u32 = 1 << 16;
/// Most bytes of a read-only map that verification looks into.
const MAX_KNOWN: u32 = 16 << 20;

/// What a tool said about a map besides its geometry.
#[derive(Debug, Default)]
pub struct Description {
    /// Name.
    pub name: String,
    /// Type information that the next two refer to.
    pub btf: Option<Arc<Btf>>,
    /// Type id of keys.
    pub key_type: u32,
    /// Type id of values.
    pub value_type: u32,
    /// `map_extra`.
    pub extra: u64,
}

/// A map.
#[derive(Debug)]
pub struct Map {
    /// Id as tools see it.
    pub id: u32,
    /// What the tool said.
    pub description: Description,
    control: Memory,
    /// None where the type has no data memory.
    data: Option<Memory>,
    /// Handle over the broker's own mappings, which `control` and `data` keep alive.
    handle: MapRef,
    /// An open file of its own where tools get the data memory itself.
    lease: Mutex<Option<OwnedFd>>,
    frozen: AtomicBool,
    /// Output rings by index, of a perf event array.
    rings: Mutex<BTreeMap<u32, Arc<Event>>>,
    /// What tools wait on for a ring buffer.
    pub wake: EventFd,
    /// Whether a thread of [`super::wakeup`] watches the map.
    pub watched: AtomicBool,
    cursors: Mutex<Cursors>,
}

/// Places where batch reads of a hash map stopped. A tool gets a 32-bit number, as from the
/// kernel, where the key may be longer.
#[derive(Debug, Default)]
pub struct Cursors {
    next: u32,
    keys: BTreeMap<u32, Vec<u8>>,
}

impl Cursors {
    /// Cursors that are kept; of older ones the read starts anew.
    const KEPT: usize = 64;

    /// Remembers the last key that was read.
    pub fn remember(&mut self, key: Vec<u8>) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.keys.insert(self.next, key);
        while self.keys.len() > Self::KEPT {
            self.keys.pop_first();
        }
        self.next
    }

    /// The key behind a number.
    pub fn recall(&mut self, cursor: u32) -> Option<Vec<u8>> {
        self.keys.remove(&cursor)
    }
}

/// A file and the broker's mapping of it.
#[derive(Debug)]
struct Memory {
    fd: OwnedFd,
    mapping: Mapping,
}

impl Memory {
    fn new(name: &str, len: usize) -> io::Result<Self> {
        let fd = fixed_memfd(name, len as u64)?;
        let mapping = Mapping::new(&fd, len, true)?;
        Ok(Self { fd, mapping })
    }
}

impl Map {
    /// Makes an empty map. The geometry's own checks come first, so errors are the kernel's.
    pub fn new(id: u32, geometry: Geometry, description: Description) -> Result<Self, Errno> {
        geometry.validate()?;
        let name = &description.name;
        let memory = |kind, len| {
            Memory::new(&format!("bpftime-map-{kind}:{name}"), len)
                .map_err(|error| errno_of(&error))
        };
        let control = memory("control", geometry.control_len())?;
        let data = match geometry.data_len() {
            0 => None,
            len => Some(memory("data", len)?),
        };
        let address = |memory: &Memory| memory.mapping.as_ptr();
        let data_address = data.as_ref().map_or(std::ptr::null_mut(), address);
        // SAFETY: both mappings have the lengths that the geometry asks for, are new and zero,
        // cannot shrink, and live as long as this object, which never hands the handle out.
        let handle = unsafe { MapRef::init(geometry, address(&control), data_address) }?;
        let mut map = Self {
            id,
            description,
            control,
            data,
            handle,
            lease: Mutex::new(None),
            frozen: AtomicBool::new(false),
            rings: Mutex::default(),
            wake: super::wakeup::event_fd()?,
            watched: AtomicBool::new(false),
            cursors: Mutex::default(),
        };
        if map.is_mappable() {
            let data = map.data.as_ref().ok_or(Errno::EINVAL)?;
            let lease = reopen(&data.fd, true).map_err(|error| errno_of(&error))?;
            map.lease = Mutex::new(Some(lease));
        }
        Ok(map)
    }

    /// Type and sizes.
    pub fn geometry(&self) -> &Geometry {
        self.handle.geometry()
    }

    /// The handle over the broker's mappings; not to be used after the map is gone.
    pub fn handle(&self) -> &MapRef {
        &self.handle
    }

    /// Whether tools map this type's memory.
    fn is_mappable(&self) -> bool {
        let geometry = self.geometry();
        match geometry.map_type {
            MapType::RingBuf => true,
            MapType::Array => geometry.flags & BPF_F_MMAPABLE != 0,
            _ => false,
        }
    }

    /// A new open file of the data memory if tools may map it, none otherwise.
    ///
    /// A map that programs only read is given read-only: tools fill it by system calls, and a
    /// read-only view can still be mapped after the file is sealed.
    pub fn file_for_tools(&self) -> io::Result<Option<OwnedFd>> {
        match &self.data {
            Some(data) if self.is_mappable() => {
                let write = self.geometry().flags & BPF_F_RDONLY_PROG == 0;
                reopen(&data.fd, write).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether tools can have the map's memory open, and none has.
    pub fn is_closed_by_tools(&self) -> bool {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.as_ref().is_some_and(is_sole_user)
    }

    /// Descriptors of control and data memory, for guardians.
    pub fn memory(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (
            self.control.fd.as_fd(),
            self.data.as_ref().map(|data| data.fd.as_fd()),
        )
    }

    /// Whether user space gave up writing.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Whether a process has the map's memory mapped writable.
    pub fn is_mapped_writable_by(&self, pid: i32) -> Result<bool, Errno> {
        let Some(data) = self.data.as_ref().filter(|_| self.is_mappable()) else {
            return Ok(false);
        };
        let mappings = mappings_of(pid, &data.fd).map_err(|error| errno_of(&error))?;
        Ok(mappings.iter().any(|mapping| mapping.writable))
    }

    /// `BPF_MAP_FREEZE`: no system call changes the map any more. The memory of a map that
    /// programs only read is sealed, `EBUSY` if somebody has it mapped writable.
    pub fn freeze(&self) -> Result<(), Errno> {
        if self.is_frozen() {
            return Err(Errno::EPERM);
        }
        if self.geometry().flags & BPF_F_RDONLY_PROG != 0
            && let Some(data) = &self.data
        {
            let io = |error: io::Error| errno_of(&error);
            let view = reopen(&data.fd, false).map_err(io)?;
            data.mapping.replace(&view, false).map_err(io)?;
            if let Err(error) = add_seals(&data.fd, SealFlag::F_SEAL_WRITE) {
                data.mapping.replace(&data.fd, true).map_err(io)?;
                return Err(errno_of(&error));
            }
            // The view is mapped, so it is what counts as the broker's own open file now.
            let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
            if lease.is_some() {
                *lease = Some(view);
            }
        }
        self.frozen.store(true, Ordering::Release);
        Ok(())
    }

    /// The definition that verification sees. The contents are part of it only if nobody can
    /// change them any more, and if they are not too long.
    pub fn definition(&self) -> MapDef {
        let geometry = self.geometry();
        let read_only = geometry.flags & BPF_F_RDONLY_PROG != 0;
        let frozen = self.is_frozen() && read_only;
        let initial = match &self.data {
            Some(data)
                if frozen
                    && geometry.map_type == MapType::Array
                    && geometry.value_size <= MAX_KNOWN =>
            {
                data.mapping
                    .read(0, geometry.value_size as usize)
                    .map(Arc::from)
            }
            _ => None,
        };
        MapDef {
            name: self.description.name.clone(),
            map_type: geometry.map_type,
            key_size: geometry.key_size,
            value_size: geometry.value_size,
            max_entries: geometry.max_entries,
            flags: geometry.flags,
            inner: None,
            initial,
            frozen,
            fields: Vec::new(),
        }
    }

    /// Puts an output ring at an index of a perf event array, or takes it away.
    pub fn set_ring(&self, index: u32, ring: Option<Arc<Event>>) -> Result<(), Errno> {
        if index >= self.geometry().max_entries {
            return Err(Errno::E2BIG);
        }
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        match ring {
            Some(ring) => {
                rings.insert(index, ring);
                Ok(())
            }
            None => rings.remove(&index).map(drop).ok_or(Errno::ENOENT),
        }
    }

    /// Output rings by index.
    pub fn rings(&self) -> BTreeMap<u32, Arc<Event>> {
        self.rings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Places where batch reads of this map stopped.
    pub fn cursors(&self) -> MutexGuard<'_, Cursors> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a key, as `BPF_MAP_LOOKUP_ELEM` gives it.
    pub fn lookup(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; self.geometry().user_value_size()];
        self.handle.lookup_user(key, &mut value, 0)?;
        Ok(value)
    }

    /// Sets the value of a key, `BPF_MAP_UPDATE_ELEM`.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.handle.update_user(&caller(), key, value, flags)
    }

    /// Removes a key, `BPF_MAP_DELETE_ELEM`.
    pub fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.handle.delete_user(&caller(), key)
    }

    /// The key after `key`, `BPF_MAP_GET_NEXT_KEY`.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let mut next = vec![0; self.geometry().key_size as usize];
        self.handle.next_key(key, &mut next)?;
        Ok(next)
    }

    /// The first element after `key`, the first of all without, that `read` finds; it gives the
    /// value of a key. Keys that are deleted between the two steps are passed over. `EINTR` if
    /// that does not end: a process that has the map can write keys where no lookup finds them.
    pub fn next_element<T>(
        &self,
        key: Option<&[u8]>,
        read: impl Fn(&[u8]) -> Result<T, Errno>,
    ) -> Result<(Vec<u8>, T), Errno> {
        let mut next = self.next_key(key)?;
        for _ in 0..MAX_VANISHED {
            match read(&next) {
                Err(Errno::ENOENT) => next = self.next_key(Some(&next))?,
                Err(errno) => return Err(errno),
                Ok(value) => return Ok((next, value)),
            }
        }
        Err(Errno(libc::EINTR))
    }

    /// Removes a key and gives its value, `BPF_MAP_LOOKUP_AND_DELETE_ELEM`.
    pub fn lookup_and_delete(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; self.geometry().user_value_size()];
        self.handle
            .lookup_and_delete_user(&caller(), key, &mut value, 0)?;
        Ok(value)
    }

    /// Makes good what users of the map that died left behind.
    pub fn recover(&self) {
        // EBUSY: somebody alive is at it; what is lost stays lost until the next time.
        let _ = self.handle.recover(&caller());
    }
}

/// The broker as a user of maps.
fn caller() -> Caller {
    let tid = nix::unistd::gettid().as_raw() as u64;
    let pid = nix::unistd::getpid().as_raw() as u64;
    Caller::new(pid << 32 | tid, Some(owner_alive)).with_rounds(100)
}

/// Whether the thread that holds a map's lock still exists.
unsafe extern "sysv64" fn owner_alive(owner: u64) -> bool {
    let (pid, tid) = (owner >> 32, owner & 0xffff_ffff);
    let path = if pid == 0 {
        format!("/proc/{tid}")
    } else {
        format!("/proc/{pid}/task/{tid}")
    };
    // A thread that procfs does not show for another reason than its death counts as alive.
    !matches!(std::fs::metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_key_that_no_lookup_finds_does_not_hang_the_reader() {
        let geometry = Geometry {
            map_type: MapType::Hash,
            key_size: 8,
            value_size: 8,
            max_entries: 64,
            flags: 0,
            cpus: 1,
            seed: 0,
        };
        let map = Map::new(1, geometry, Description::default()).unwrap();
        let key = 0x1122_3344_5566_7788_u64.to_le_bytes();
        map.update(&key, &[1; 8], 0).unwrap();
        // As a target may: another key in the element's place, whose hash does not fit.
        let control = std::fs::File::from(reopen(map.memory().0, true).unwrap());
        let mut bytes = vec![0; map.geometry().control_len()];
        control.read_exact_at(&mut bytes, 0).unwrap();
        let places = bytes.windows(8).enumerate().filter(|(_, at)| *at == key);
        for (offset, _) in places {
            control.write_all_at(&[0xee; 8], offset as u64).unwrap();
        }
        assert_eq!(map.next_key(None).unwrap(), [0xee; 8]);
        assert_eq!(map.lookup(&[0xee; 8]), Err(Errno::ENOENT));
        assert_eq!(
            map.next_element(None, |key| map.lookup(key)),
            Err(Errno(libc::EINTR))
        );
    }
}
