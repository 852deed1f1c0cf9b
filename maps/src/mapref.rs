//! The handle of a map, and the operations as a program sees them.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bpftime_abi::map_type::update_flags::{BPF_EXIST, BPF_F_LOCK};
use bpftime_abi::{Errno, MapType};

use crate::array::Array;
use crate::geometry::{Geometry, Layout};
use crate::hash::{Hash, Values};
use crate::lock::Caller;
use crate::perf::PerfRing;
use crate::ringbuf::Ring;

/// A map as one process sees it: a private copy of its geometry, and where its memory lies here.
///
/// The address of a `MapRef` is the map's handle in [`bpftime_abi::VmCtx::maps`]. It is plain
/// data without padding: a supervisor may make one for another process, with that process's
/// addresses, and write its bytes there.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MapRef {
    pub(crate) geometry: Geometry,
    pub(crate) layout: Layout,
    pub(crate) control: *mut u8,
    pub(crate) data: *mut u8,
    perf_rings: *const PerfRing,
    perf_ring_count: u64,
}

const _: () = assert!(size_of::<Geometry>() == 32 && size_of::<Layout>() == 72);
const _: () = assert!(size_of::<MapRef>() == 32 + 72 + 32);

// SAFETY: a `MapRef` is data; what it refers to is shared memory made for concurrent use, of
// which every control word is atomic.
unsafe impl Send for MapRef {}
// SAFETY: as above.
unsafe impl Sync for MapRef {}

/// The words of control memory that all types have at fixed offsets.
#[repr(C)]
pub(crate) struct Header {
    /// 0: free elements of a hash map.
    pub free: crate::hash::FreeList,
    pad0: [u64; 6],
    /// 64: elements with which a hash map replaces others.
    pub spare: crate::hash::FreeList,
    pad1: [u64; 6],
    /// 128: not 0 when elements may have been lost by an owner's death.
    pub lost: AtomicU32,
    pad2: [u32; 15],
    /// 192: lock of a ring buffer, or of the search for lost elements of a hash map.
    pub lock: crate::lock::Lock,
    /// 200: where the oldest record that may be uncommitted begins, of a ring buffer.
    pub pending: AtomicU64,
    pad3: [u64; 6],
    /// 256: raised when a consumer is to be woken; consumers wait on it (futex).
    pub wake: AtomicU32,
    /// 260: number of consumers that wait; a producer makes no system call when it is 0.
    pub waiters: AtomicU32,
}

const _: () = assert!(size_of::<Header>() as u64 <= crate::geometry::HEADER_BYTES);
const _: () = assert!(core::mem::offset_of!(Header, wake) == 256);

impl MapRef {
    /// Makes the handle of a map; reads and writes none of its memory. The fields are checked
    /// by [`Geometry::validate`].
    ///
    /// `data` may be null where [`Geometry::data_len`] is 0.
    ///
    /// # Safety
    /// As long as the result or a copy of it is used for anything else than copying: `control`
    /// and `data` are page-aligned addresses of [`Geometry::control_len`] and
    /// [`Geometry::data_len`] bytes of memory that is readable and writable and cannot shrink
    /// (sealed), in the process that uses it; and that memory, zeroed at first, has been
    /// changed by nobody but users of the same geometry or hostile processes.
    #[inline]
    pub const unsafe fn init(
        geometry: Geometry,
        control: *mut u8,
        data: *mut u8,
    ) -> Result<Self, Errno> {
        match (geometry.validate(), Layout::of(&geometry)) {
            (Err(errno), _) => Err(errno),
            (_, None) => Err(Errno::ENOMEM),
            (Ok(()), Some(layout)) => Ok(Self {
                geometry,
                layout,
                control,
                data,
                perf_rings: core::ptr::null(),
                perf_ring_count: 0,
            }),
        }
    }

    /// Gives a perf event array its rings: a private table by index (CPU), whose entries may be
    /// changed while programs run (see [`PerfRing`]).
    ///
    /// # Safety
    /// `count` rings at `rings` live as long as this handle is used, in the process that uses it.
    pub const unsafe fn set_perf_rings(&mut self, rings: *const PerfRing, count: u32) {
        self.perf_rings = rings;
        self.perf_ring_count = count as u64;
    }

    /// The geometry that the handle was made with.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Address of the first value of arrays, per-CPU ones included, whose other values follow at
    /// [`Geometry::array_strides`]; 0 where the type has no such thing.
    pub fn values_base(&self) -> u64 {
        match self.geometry.map_type {
            MapType::Array | MapType::PerCpuArray => self.data as u64,
            _ => 0,
        }
    }

    /// Address of the value for `key` on the virtual CPU `cpu`, or null: what
    /// `bpf_map_lookup_elem` gives.
    ///
    /// The address stays readable and writable as long as the map is mapped. After the key is
    /// deleted (or, of a hash map, replaced), the bytes there may become those of another key
    /// at any time, as with the kernel's preallocated hash maps.
    ///
    /// # Safety
    /// `key_size` bytes at `key` are readable.
    #[inline]
    pub unsafe fn lookup(&self, key: *const u8, cpu: u32) -> *mut u8 {
        // The commonest types first: a comparison is cheaper than a jump through a table.
        if self.geometry.map_type == MapType::Hash {
            // SAFETY: key is readable by contract.
            return unsafe { Hash::new(self).lookup(key) };
        }
        if self.geometry.map_type == MapType::Array {
            // SAFETY: the keys of arrays have four bytes.
            return Array::new(self).value(unsafe { crate::mem::load(key) }, 0);
        }
        // SAFETY: passed on.
        unsafe { self.lookup_other(key, cpu) }
    }

    /// [`Self::lookup`] of the other types.
    ///
    /// # Safety
    /// As [`Self::lookup`].
    unsafe fn lookup_other(&self, key: *const u8, cpu: u32) -> *mut u8 {
        match self.geometry.map_type {
            MapType::PerCpuArray => {
                // SAFETY: the keys of arrays have four bytes.
                Array::new(self).value(unsafe { crate::mem::load(key) }, cpu)
            }
            MapType::PerCpuHash if cpu < self.geometry.cpus => {
                // SAFETY: key is readable by contract.
                let values = unsafe { Hash::new(self).lookup(key) };
                if values.is_null() {
                    return values;
                }
                let offset = self.layout.cpu_stride.wrapping_mul(cpu as u64);
                values.wrapping_add(offset as usize)
            }
            _ => core::ptr::null_mut(),
        }
    }

    /// Sets the value for `key` (on the virtual CPU `cpu`): `bpf_map_update_elem`.
    ///
    /// `EINVAL` for unknown flags, `E2BIG` when the map is full or the index too large, `EEXIST`
    /// and `ENOENT` as the flags ask, `EBUSY` when a lock cannot be had, `ENOTSUPP` for types
    /// without elements.
    ///
    /// # Safety
    /// `key_size` bytes at `key` and `value_size` bytes at `value` are readable.
    #[inline]
    pub unsafe fn update(
        &self,
        caller: &Caller,
        key: *const u8,
        value: *const u8,
        flags: u64,
        cpu: u32,
    ) -> Result<(), Errno> {
        match self.geometry.map_type {
            MapType::Array | MapType::PerCpuArray => {
                // SAFETY: the keys of arrays have four bytes; value is readable by contract.
                unsafe { Array::new(self).update(crate::mem::load(key), value, flags, cpu) }
            }
            MapType::Hash => {
                // SAFETY: key and value are readable by contract.
                unsafe { Hash::new(self).update(caller, key, flags, Values::Whole(value)) }
            }
            MapType::PerCpuHash => {
                if cpu >= self.geometry.cpus {
                    return Err(Errno::EINVAL);
                }
                // SAFETY: key and value are readable by contract.
                unsafe { Hash::new(self).update(caller, key, flags, Values::OneCpu(value, cpu)) }
            }
            MapType::PerfEventArray => Err(Errno::EINVAL),
            _ => Err(Errno::ENOTSUPP),
        }
    }

    /// Removes `key`: `bpf_map_delete_elem`. `EINVAL` for arrays, `ENOENT` without such a key.
    ///
    /// # Safety
    /// `key_size` bytes at `key` are readable.
    #[inline]
    pub unsafe fn delete(&self, caller: &Caller, key: *const u8) -> Result<(), Errno> {
        match self.geometry.map_type {
            MapType::Hash | MapType::PerCpuHash => {
                // SAFETY: key is readable by contract.
                unsafe { Hash::new(self).delete(caller, key, |_| ()) }
            }
            MapType::Array | MapType::PerCpuArray | MapType::PerfEventArray => Err(Errno::EINVAL),
            _ => Err(Errno::ENOTSUPP),
        }
    }

    /// Makes good what owners that died left behind: frees their locks, discards their
    /// uncommitted ring buffer records, finds lost elements. To be called (by anybody with
    /// [`Caller::alive`], off a hook's path) when a user of the map has died. Takes time in
    /// proportion to the size of the map.
    ///
    /// `EBUSY` if somebody alive held a lock, or lost elements could not be searched for.
    pub fn recover(&self, caller: &Caller) -> Result<(), Errno> {
        match self.geometry.map_type {
            MapType::Hash | MapType::PerCpuHash => Hash::new(self).recover(caller),
            MapType::RingBuf => Ring::new(self).recover(caller),
            _ => Ok(()),
        }
    }

    /// The futex word on which consumers of a ring buffer or perf event array wait: read it,
    /// find nothing to consume, then wait while it has the value read. Null for other types.
    pub fn wake_word(&self) -> *const AtomicU32 {
        match self.geometry.map_type {
            MapType::RingBuf | MapType::PerfEventArray => &raw const self.header().wake,
            _ => core::ptr::null(),
        }
    }

    /// Counts a consumer that is about to wait on [`Self::wake_word`] (before it looks for data
    /// a last time); to be followed by [`Self::end_wait`]. Producers wake nobody otherwise.
    pub fn begin_wait(&self) {
        self.header().waiters.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends what [`Self::begin_wait`] began.
    pub fn end_wait(&self) {
        self.header().waiters.fetch_sub(1, Ordering::SeqCst);
    }

    /// The private table of a perf event array has a ring there.
    pub(crate) fn perf_ring(&self, index: u32) -> Option<&PerfRing> {
        if self.perf_rings.is_null() || index as u64 >= self.perf_ring_count {
            return None;
        }
        // SAFETY: index < count, and the table lives as long as the handle (`set_perf_rings`).
        Some(unsafe { &*self.perf_rings.wrapping_add(index as usize) })
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the control memory has at least one page, is aligned to it (`init`), and all
        // words of the header that are ever used are atomic.
        unsafe { &*self.control.cast::<Header>() }
    }
}

/// Checks the flags of an update of a map whose values have no spin lock, in the kernel's order;
/// `BPF_F_LOCK` itself is for the caller to refuse.
#[inline]
pub(crate) fn check_update_flags(flags: u64) -> Result<(), Errno> {
    if flags & !BPF_F_LOCK > BPF_EXIST {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}
