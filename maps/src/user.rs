//! The operations as the `bpf()` system call shows them.
//!
//! Keys and values are slices of exactly [`crate::Geometry::key_size`] and
//! [`crate::Geometry::user_value_size`] bytes (all CPUs' values, each rounded up to 8 bytes, for
//! per-CPU maps); other lengths are `EINVAL`. What depends on the descriptor (a map made
//! read-only or write-only for user space: `EPERM`) and on the request itself (flags where there
//! may be none) is for the caller to check.

use bpftime_abi::map_type::update_flags::BPF_F_LOCK;
use bpftime_abi::{Errno, MapType};

use crate::array::Array;
use crate::hash::{Hash, Values};
use crate::lock::Caller;
use crate::mapref::MapRef;
use crate::mem;

impl MapRef {
    /// `BPF_MAP_LOOKUP_ELEM`: copies the value. `ENOENT` without such a key.
    pub fn lookup_user(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno> {
        // BPF_F_LOCK is known, but no value of ours has a spin lock.
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let key = self.key(key)?;
        let value = self.value_mut(value)?;
        match self.geometry.map_type {
            MapType::Array | MapType::PerCpuArray => {
                // SAFETY: the keys of arrays have four bytes; the slice has the value's size.
                unsafe { Array::new(self).read(mem::load(key), value) }
            }
            MapType::Hash | MapType::PerCpuHash => {
                // SAFETY: the slices have the sizes of key and value.
                unsafe { Hash::new(self).read(key, value) }
            }
            _ => Err(Errno::ENOTSUPP),
        }
    }

    /// `BPF_MAP_UPDATE_ELEM`. Errors as with [`MapRef::update`].
    pub fn update_user(
        &self,
        caller: &Caller,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        if flags & BPF_F_LOCK != 0 {
            return Err(Errno::EINVAL);
        }
        let key = self.key(key)?;
        if value.len() != self.geometry.user_value_size() {
            return Err(Errno::EINVAL);
        }
        let value = value.as_ptr();
        match self.geometry.map_type {
            MapType::PerCpuArray => {
                // SAFETY: the keys of arrays have four bytes; the slice has the value's size.
                unsafe { Array::new(self).update_all_cpus(mem::load(key), value, flags) }
            }
            MapType::PerCpuHash => {
                // SAFETY: the slices have the sizes of key and value.
                unsafe { Hash::new(self).update(caller, key, flags, Values::AllCpus(value)) }
            }
            // SAFETY: the slices have the sizes of key and value.
            _ => unsafe { self.update(caller, key, value, flags, 0) },
        }
    }

    /// `BPF_MAP_DELETE_ELEM`. Errors as with [`MapRef::delete`].
    pub fn delete_user(&self, caller: &Caller, key: &[u8]) -> Result<(), Errno> {
        let key = self.key(key)?;
        // SAFETY: the slice has the key's size.
        unsafe { self.delete(caller, key) }
    }

    /// `BPF_MAP_GET_NEXT_KEY`: the key after `key`, the first one if that is absent or not in
    /// the map. `ENOENT` at the end.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        let key = match key {
            Some(key) => self.key(key)?,
            None => core::ptr::null(),
        };
        if next.len() != self.geometry.key_size as usize {
            return Err(Errno::EINVAL);
        }
        match self.geometry.map_type {
            MapType::Array | MapType::PerCpuArray | MapType::PerfEventArray => {
                // SAFETY: the keys of arrays have four bytes.
                let index = (!key.is_null()).then(|| unsafe { mem::load(key) });
                let index = Array::next(self.geometry.max_entries, index)?;
                // SAFETY: the slice has the key's size, four.
                unsafe { mem::store::<u32>(next.as_mut_ptr(), index) };
                Ok(())
            }
            MapType::Hash | MapType::PerCpuHash => {
                // SAFETY: both have the key's size.
                unsafe { Hash::new(self).next_key(key, next.as_mut_ptr()) }
            }
            _ => Err(Errno::ENOTSUPP),
        }
    }

    /// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`: hash maps only, `ENOTSUPP` otherwise.
    pub fn lookup_and_delete_user(
        &self,
        caller: &Caller,
        key: &[u8],
        value: &mut [u8],
        flags: u64,
    ) -> Result<(), Errno> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let key = self.key(key)?;
        let value = self.value_mut(value)?;
        match self.geometry.map_type {
            MapType::Hash | MapType::PerCpuHash => {
                let size = self.geometry.user_value_size();
                // SAFETY: the slices have the sizes of key and value; so has the element.
                unsafe { Hash::new(self).delete(caller, key, |from| mem::copy(value, from, size)) }
            }
            _ => Err(Errno::ENOTSUPP),
        }
    }

    fn key(&self, key: &[u8]) -> Result<*const u8, Errno> {
        if key.len() == self.geometry.key_size as usize {
            Ok(key.as_ptr())
        } else {
            Err(Errno::EINVAL)
        }
    }

    fn value_mut(&self, value: &mut [u8]) -> Result<*mut u8, Errno> {
        if value.len() == self.geometry.user_value_size() {
            Ok(value.as_mut_ptr())
        } else {
            Err(Errno::EINVAL)
        }
    }
}
