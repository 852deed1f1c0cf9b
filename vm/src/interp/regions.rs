//! The memory that a checked program may use.

use bpftime_isa::{AtomicOp, Size, Width};

use super::raw;
use super::trap::{Access, RegionKind, TrapReason};

/// A run of bytes in this process that is mapped for as long as the region is listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    /// What it is.
    pub(crate) kind: RegionKind,
    /// Address of the first byte.
    pub(crate) base: u64,
    /// Bytes.
    pub(crate) len: u64,
    /// Whether programs may write it.
    pub(crate) writable: bool,
}

/// All memory that a program may use at the moment.
#[derive(Default, Debug)]
pub(crate) struct Regions(Vec<Region>);

impl Regions {
    /// Adds a region, unless the same one is there.
    ///
    /// # Safety
    ///
    /// Until the region is removed or this value dropped, its bytes are mapped, initialised,
    /// writable if the region says so, and no Rust reference to them is in use.
    pub(crate) unsafe fn add(&mut self, region: Region) {
        let same = |there: &Region| there.base == region.base && there.kind == region.kind;
        if !self.0.iter().any(same) {
            self.0.push(region);
        }
    }

    /// Removes the region of a kind that starts at an address, or any of the kind.
    pub(crate) fn remove(&mut self, kind: RegionKind, base: Option<u64>) {
        self.0
            .retain(|region| region.kind != kind || base.is_some_and(|base| base != region.base));
    }

    /// The region that starts at an address and satisfies a condition.
    pub(crate) fn starting_at(
        &self,
        base: u64,
        condition: impl Fn(RegionKind) -> bool,
    ) -> Option<&Region> {
        self.0
            .iter()
            .find(|region| region.base == base && condition(region.kind))
    }

    /// Checks that an access lies wholly within one region that allows it.
    pub(crate) fn check(&self, address: u64, size: u64, access: Access) -> Result<(), TrapReason> {
        let holds = |region: &&Region| {
            address
                .checked_sub(region.base)
                .and_then(|offset| offset.checked_add(size))
                .is_some_and(|end| end <= region.len)
        };
        // Regions may overlap (a value reached directly and by lookup): any that allows it will do.
        let mut read_only = None;
        for region in self.0.iter().filter(holds) {
            if access == Access::Read || region.writable {
                return Ok(());
            }
            read_only = Some(region.kind);
        }
        Err(match read_only {
            Some(kind) => TrapReason::ReadOnly {
                address,
                size,
                kind,
            },
            None => TrapReason::OutOfBounds {
                access,
                address,
                size,
                near: self.nearest(address),
            },
        })
    }

    fn nearest(&self, address: u64) -> Option<(RegionKind, u64, u64)> {
        self.0
            .iter()
            .min_by_key(|region| {
                let end = region.base.saturating_add(region.len);
                if (region.base..end).contains(&address) {
                    0
                } else {
                    region.base.abs_diff(address).min(end.abs_diff(address))
                }
            })
            .map(|region| (region.kind, region.base, region.len))
    }

    /// Reads `size` bytes, zero-extended.
    pub(crate) fn load(&self, address: u64, size: Size) -> Result<u64, TrapReason> {
        self.check(address, size.bytes().into(), Access::Read)?;
        // SAFETY: the bytes lie in a region, which is mapped and initialised.
        Ok(unsafe { raw::load(address, size) })
    }

    /// Writes the low `size` bytes of `value`.
    pub(crate) fn store(&self, address: u64, size: Size, value: u64) -> Result<(), TrapReason> {
        self.check(address, size.bytes().into(), Access::Write)?;
        // SAFETY: the bytes lie in a writable region without references to it.
        unsafe { raw::store(address, size, value) };
        Ok(())
    }

    /// Carries out an atomic operation and gives the old value. The address is aligned.
    pub(crate) fn atomic(
        &self,
        address: u64,
        width: Width,
        op: AtomicOp,
        operand: u64,
        expected: u64,
    ) -> Result<u64, TrapReason> {
        let size = match width {
            Width::W32 => 4,
            Width::W64 => 8,
        };
        self.check(address, size, Access::Write)?;
        if !address.is_multiple_of(size) {
            return Err(TrapReason::Misaligned {
                address,
                size: size as u32,
            });
        }
        // SAFETY: the bytes lie in a writable region without references to it, and are aligned.
        Ok(unsafe { raw::atomic(address, width, op, operand, expected) })
    }
}
