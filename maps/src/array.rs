//! Arrays and per-CPU arrays: values in the data memory, index by index, CPU by CPU.

use bpftime_abi::map_type::update_flags::{BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST};
use bpftime_abi::{Errno, MapType};

use crate::mapref::{MapRef, check_update_flags};
use crate::mem;

/// An array or per-CPU array.
pub(crate) struct Array<'m>(&'m MapRef);

impl<'m> Array<'m> {
    #[inline(always)]
    pub(crate) fn new(map: &'m MapRef) -> Self {
        Self(map)
    }

    /// Address of a value, or null outside the array. `cpu` is 0 for plain arrays.
    #[inline(always)]
    pub(crate) fn value(&self, index: u32, cpu: u32) -> *mut u8 {
        let Self(map) = self;
        if index >= map.geometry.max_entries || cpu != 0 && cpu >= self.cpus() {
            return core::ptr::null_mut();
        }
        let offset = map.layout.value_stride.wrapping_mul(index as u64);
        let of_cpu = map.layout.cpu_stride.wrapping_mul(cpu as u64);
        map.data.wrapping_add(offset.wrapping_add(of_cpu) as usize)
    }

    fn cpus(&self) -> u32 {
        match self.0.geometry.map_type {
            MapType::PerCpuArray => self.0.geometry.cpus,
            _ => 1,
        }
    }

    /// A program's update.
    ///
    /// # Safety
    /// `value_size` bytes at `value` are readable.
    pub(crate) unsafe fn update(
        &self,
        index: u32,
        value: *const u8,
        flags: u64,
        cpu: u32,
    ) -> Result<(), Errno> {
        check_update_flags(flags)?;
        let cpu = if self.cpus() == 1 { 0 } else { cpu };
        if index >= self.0.geometry.max_entries {
            return Err(Errno::E2BIG);
        }
        if flags & BPF_NOEXIST != 0 {
            return Err(Errno::EEXIST);
        }
        let to = self.value(index, cpu);
        if flags & BPF_F_LOCK != 0 || to.is_null() {
            return Err(Errno::EINVAL);
        }
        // SAFETY: a value that is not null has value_size bytes; `value` by contract. A program
        // may pass the address of the value itself, or of a neighbour: no partial overlap,
        // since the verifier keeps both accesses within one value.
        unsafe { mem::copy(to, value, self.0.geometry.value_size as usize) };
        Ok(())
    }

    /// The system call's update of a per-CPU array: all CPUs' values.
    ///
    /// # Safety
    /// `user_value_size` bytes at `values` are readable.
    pub(crate) unsafe fn update_all_cpus(
        &self,
        index: u32,
        values: *const u8,
        flags: u64,
    ) -> Result<(), Errno> {
        if flags > BPF_EXIST {
            return Err(Errno::EINVAL);
        }
        if index >= self.0.geometry.max_entries {
            return Err(Errno::E2BIG);
        }
        if flags == BPF_NOEXIST {
            return Err(Errno::EEXIST);
        }
        let stride = self.0.layout.value_stride as usize;
        let mut cpu = 0;
        let mut from = values;
        while cpu < self.cpus() {
            let to = self.value(index, cpu);
            // SAFETY: `to` is inside the array; `from` has cpus * stride bytes. The padding is
            // copied too, as in the kernel.
            unsafe { mem::copy(to, from, stride) };
            from = from.wrapping_add(stride);
            cpu = cpu.wrapping_add(1);
        }
        Ok(())
    }

    /// The system call's lookup: the value, or all CPUs' values.
    ///
    /// # Safety
    /// `user_value_size` bytes at `to` are writable.
    pub(crate) unsafe fn read(&self, index: u32, to: *mut u8) -> Result<(), Errno> {
        let stride = self.0.layout.value_stride as usize;
        let size = if self.0.geometry.is_per_cpu() {
            stride
        } else {
            self.0.geometry.value_size as usize
        };
        let mut cpu = 0;
        let mut to = to;
        while cpu < self.cpus() {
            let from = self.value(index, cpu);
            if from.is_null() {
                return Err(Errno::ENOENT);
            }
            // SAFETY: `from` is inside the array.
            unsafe { mem::copy(to, from, size) };
            to = to.wrapping_add(stride);
            cpu = cpu.wrapping_add(1);
        }
        Ok(())
    }

    /// The index after `index`, the first one if that is unknown or absent.
    pub(crate) fn next(max_entries: u32, index: Option<u32>) -> Result<u32, Errno> {
        match index {
            Some(index) if index < max_entries => {
                let next = index.wrapping_add(1);
                if next == max_entries {
                    Err(Errno::ENOENT)
                } else {
                    Ok(next)
                }
            }
            _ => Ok(0),
        }
    }
}
