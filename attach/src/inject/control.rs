//! The control memory inside the process: identity, phase, journal of mappings and of patches.
//!
//! It is read and written through the process, so whoever may trace the process can undo what
//! another party did. In a forked child it is the parent's memory: there it is only read.

use std::mem::{offset_of, size_of};

use bpftime_abi::ABI_VERSION;
use bpftime_abi::target::{
    CONTROL_MAGIC, CONTROL_NAME, Control, ControlPage, HookRecord, HookState, MAX_HOOKS,
    MAX_MAPPINGS, MAX_PROGRAMS, MappingKind, MappingRecord, PatchRecord, Phase, State,
};

use super::bytes::{u32_at, u64_at};
use crate::error::{Error, Result};
use crate::process::Maps;
use crate::target::Target;
use crate::trampoline::Patch;

/// Bytes of the control memory.
pub(super) const CONTROL_LEN: u64 = size_of::<Control>() as u64;

/// Content of a new control memory up to the journal.
pub(super) fn first_page(target: &Target, target_id: u32, address_of: &ImagePlace) -> Vec<u8> {
    let mut page = vec![0; size_of::<ControlPage>()];
    let mut put = |offset: usize, value: &[u8]| {
        if let Some(place) = page.get_mut(offset..offset + value.len()) {
            place.copy_from_slice(value);
        }
    };
    put(
        offset_of!(ControlPage, abi_version),
        &ABI_VERSION.to_le_bytes(),
    );
    put(offset_of!(ControlPage, pid), &target.pid().to_le_bytes());
    put(
        offset_of!(ControlPage, start_time),
        &target.start_time().to_le_bytes(),
    );
    put(
        offset_of!(ControlPage, guardian),
        &std::process::id().to_le_bytes(),
    );
    put(
        offset_of!(ControlPage, phase),
        &(Phase::Injecting as u32).to_le_bytes(),
    );
    put(
        offset_of!(ControlPage, image),
        &address_of.image.to_le_bytes(),
    );
    put(
        offset_of!(ControlPage, image_len),
        &address_of.len.to_le_bytes(),
    );
    put(
        offset_of!(ControlPage, state),
        &address_of.state.to_le_bytes(),
    );
    put(offset_of!(ControlPage, target_id), &target_id.to_le_bytes());
    put(offset_of!(ControlPage, magic), &CONTROL_MAGIC.to_le_bytes());
    page
}

/// Where the image is.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImagePlace {
    pub(super) image: u64,
    pub(super) len: u64,
    pub(super) state: u64,
}

impl ImagePlace {
    /// No address of a process; so nothing is found there.
    const NOWHERE: Self = Self {
        image: 0,
        len: 0,
        state: 0,
    };

    /// Whether addresses within it can be added up. The process may have written anything.
    fn is_possible(&self) -> bool {
        let end = self.image.checked_add(self.len);
        let state_end = self.state.checked_add(size_of::<State>() as u64);
        self.image <= self.state && end.is_some() && state_end.is_some() && state_end <= end
    }
}

/// A hook of the journal.
#[derive(Clone, Debug)]
pub(super) struct JournalHook {
    pub(super) index: usize,
    /// `HookRecord::kind`.
    pub(super) kind: u32,
    pub(super) site: u64,
    pub(super) patches: Vec<Patch>,
    pub(super) trampoline: u64,
    pub(super) trampoline_len: u64,
    pub(super) return_point: u64,
}

/// A mapping of the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct JournalMapping {
    pub(super) index: usize,
    pub(super) address: u64,
    pub(super) len: u64,
}

/// The control memory at an address of a process.
#[derive(Clone, Debug)]
pub(super) struct ControlMemory {
    pub(super) address: u64,
    pub(super) place: ImagePlace,
    /// It was made for this process, not for one that this one was forked from.
    pub(super) owned: bool,
    /// Process id of who made it.
    pub(super) guardian: i32,
}

impl ControlMemory {
    /// Addresses of all control memories that are mapped.
    pub(super) fn mapped(maps: &Maps) -> Vec<u64> {
        let mut found = Vec::new();
        for mapping in maps.memfd(CONTROL_NAME.as_bytes()) {
            if mapping.offset == 0 {
                found.push(mapping.start);
            }
        }
        found
    }

    /// Reads the first page. `None`: an injection that ended before anything was written.
    pub(super) fn open(target: &Target, address: u64) -> Result<Option<Self>> {
        let mut page = vec![0; size_of::<ControlPage>()];
        target.read(address, &mut page)?;
        let word = |offset| u64_at(&page, offset).unwrap_or(0);
        let half = |offset| u32_at(&page, offset).unwrap_or(0);
        if word(offset_of!(ControlPage, magic)) != CONTROL_MAGIC {
            return Ok(None);
        }
        let version = half(offset_of!(ControlPage, abi_version));
        if version != ABI_VERSION {
            return Err(Error::Control {
                pid: target.pid(),
                what: "the control memory",
                reason: format!(
                    "its ABI version is {version}, ours {ABI_VERSION}; detach with the bpftime \
                     that attached"
                ),
            });
        }
        let place = ImagePlace {
            image: word(offset_of!(ControlPage, image)),
            len: word(offset_of!(ControlPage, image_len)),
            state: word(offset_of!(ControlPage, state)),
        };
        Ok(Some(Self {
            address,
            place: if place.is_possible() {
                place
            } else {
                ImagePlace::NOWHERE
            },
            guardian: half(offset_of!(ControlPage, guardian)) as i32,
            owned: half(offset_of!(ControlPage, pid)) == target.pid() as u32
                && word(offset_of!(ControlPage, start_time)) == target.start_time(),
        }))
    }

    /// Whether programs run and patches are allowed.
    pub(super) fn set_phase(&self, target: &Target, phase: Phase) -> Result<()> {
        let offset = offset_of!(Control, page) + offset_of!(ControlPage, phase);
        target.write(self.address + offset as u64, &(phase as u32).to_le_bytes())
    }

    /// Lets no program run any more, in forked children neither.
    pub(super) fn switch_all_off(&self, target: &Target) -> Result<()> {
        let at = self.address + offset_of!(Control, switches) as u64;
        target.write(at, &[0; MAX_PROGRAMS * size_of::<u64>()])
    }

    /// Announces a mapping; to be called before it is made.
    pub(super) fn announce_mapping(
        &self,
        target: &Target,
        (address, len): (u64, u64),
        kind: MappingKind,
        id: u32,
    ) -> Result<usize> {
        let count_at = self.address + offset_of!(ControlPage, mapping_count) as u64;
        let mut count = [0; 4];
        target.read(count_at, &mut count)?;
        let count = u32::from_le_bytes(count) as usize;
        let index = if count < MAX_MAPPINGS {
            count
        } else {
            // Records of what was unmapped are used again.
            self.free_mapping(target)?.ok_or_else(|| Error::Control {
                pid: target.pid(),
                what: "the control memory",
                reason: format!("all {MAX_MAPPINGS} records of mappings are in use"),
            })?
        };
        let mut record = vec![0; size_of::<MappingRecord>()];
        for (offset, value) in [
            (offset_of!(MappingRecord, address), address),
            (offset_of!(MappingRecord, len), len),
            (
                offset_of!(MappingRecord, kind),
                u64::from(kind as u32) | u64::from(id) << 32,
            ),
        ] {
            if let Some(place) = record.get_mut(offset..offset + 8) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        }
        target.write(self.mapping_at(index), &record)?;
        if index == count {
            target.write(count_at, &(count as u32 + 1).to_le_bytes())?;
        }
        Ok(index)
    }

    fn mapping_at(&self, index: usize) -> u64 {
        let offset = offset_of!(Control, mappings) + index * size_of::<MappingRecord>();
        self.address + offset as u64
    }

    fn mapping_records(&self, target: &Target) -> Result<Vec<u8>> {
        let mut records = vec![0; MAX_MAPPINGS * size_of::<MappingRecord>()];
        target.read(self.mapping_at(0), &mut records)?;
        Ok(records)
    }

    fn free_mapping(&self, target: &Target) -> Result<Option<usize>> {
        let records = self.mapping_records(target)?;
        Ok(records
            .chunks_exact(size_of::<MappingRecord>())
            .position(|record| u32_at(record, offset_of!(MappingRecord, kind)) == Some(0)))
    }

    /// Mappings that are announced and not yet unmapped. What the parent of a forked child has
    /// unmapped may still be mapped in the child, so there all that ever was counts.
    pub(super) fn mappings(&self, target: &Target) -> Result<Vec<JournalMapping>> {
        let records = self.mapping_records(target)?;
        Ok(records
            .chunks_exact(size_of::<MappingRecord>())
            .enumerate()
            .filter_map(|(index, record)| {
                let address = u64_at(record, offset_of!(MappingRecord, address))?;
                let len = u64_at(record, offset_of!(MappingRecord, len))?;
                let struck_out = u32_at(record, offset_of!(MappingRecord, kind))? == 0;
                let possible = len != 0 && address.checked_add(len).is_some();
                let counts = possible && !(struck_out && self.owned);
                counts.then_some(JournalMapping {
                    index,
                    address,
                    len,
                })
            })
            .collect())
    }

    /// Strikes out a mapping that is gone; its place stays legible for forked children.
    pub(super) fn forget_mapping(&self, target: &Target, index: usize) -> Result<()> {
        let at = self.mapping_at(index) + offset_of!(MappingRecord, kind) as u64;
        target.write(at, &[0; 4])
    }

    pub(super) fn hook_at(&self, index: usize) -> u64 {
        let offset = offset_of!(Control, hooks) + index * size_of::<HookRecord>();
        self.address + offset as u64
    }

    /// Writes a journal entry, complete before its state says so.
    pub(super) fn announce_hook(&self, target: &Target, hook: &JournalHook) -> Result<()> {
        let at = self.hook_at(hook.index);
        self.set_hook_state(target, hook.index, HookState::Free)?;
        let mut record = vec![0; offset_of!(HookRecord, missed_nested)];
        let mut put = |offset: usize, value: &[u8]| {
            if let Some(place) = record.get_mut(offset..offset + value.len()) {
                place.copy_from_slice(value);
            }
        };
        put(offset_of!(HookRecord, kind), &hook.kind.to_le_bytes());
        put(offset_of!(HookRecord, site), &hook.site.to_le_bytes());
        put(
            offset_of!(HookRecord, trampoline),
            &hook.trampoline.to_le_bytes(),
        );
        put(
            offset_of!(HookRecord, trampoline_len),
            &hook.trampoline_len.to_le_bytes(),
        );
        put(
            offset_of!(HookRecord, return_point),
            &hook.return_point.to_le_bytes(),
        );
        for (index, patch) in hook.patches.iter().take(2).enumerate() {
            let base = offset_of!(HookRecord, patches) + index * size_of::<PatchRecord>();
            let len = patch.replacement.len();
            if len > 8 || patch.original.len() != len {
                return Err(Error::Unsupported(format!(
                    "a patch of {len} bytes is too long"
                )));
            }
            put(
                base + offset_of!(PatchRecord, address),
                &patch.address.to_le_bytes(),
            );
            put(
                base + offset_of!(PatchRecord, len),
                &(len as u32).to_le_bytes(),
            );
            put(base + offset_of!(PatchRecord, original), &patch.original);
            put(
                base + offset_of!(PatchRecord, replacement),
                &patch.replacement,
            );
        }
        // All but the state, then the state; counters start anew.
        target.write(at + 4, record.get(4..).unwrap_or_default())?;
        target.write(at + offset_of!(HookRecord, missed_nested) as u64, &[0; 32])?;
        self.set_hook_state(target, hook.index, HookState::Planned)
    }

    pub(super) fn set_hook_state(
        &self,
        target: &Target,
        index: usize,
        state: HookState,
    ) -> Result<()> {
        target.write(
            self.hook_at(index) + offset_of!(HookRecord, state) as u64,
            &(state as u32).to_le_bytes(),
        )
    }

    /// All hooks that were ever patched, removed ones included: a forked child may still have
    /// the patch of a hook that its parent has removed.
    pub(super) fn hooks(&self, target: &Target) -> Result<Vec<JournalHook>> {
        let mut records = vec![0; MAX_HOOKS * size_of::<HookRecord>()];
        target.read(self.hook_at(0), &mut records)?;
        Ok(records
            .chunks_exact(size_of::<HookRecord>())
            .enumerate()
            .filter_map(|(index, record)| parse_hook(index, record))
            .collect())
    }
}

fn parse_hook(index: usize, record: &[u8]) -> Option<JournalHook> {
    let mut patches = Vec::new();
    for patch in 0..2 {
        let base = offset_of!(HookRecord, patches) + patch * size_of::<PatchRecord>();
        let len = u32_at(record, base + offset_of!(PatchRecord, len))? as usize;
        if len == 0 || len > 8 {
            continue;
        }
        let bytes = |offset: usize| record.get(base + offset..base + offset + len);
        let address = u64_at(record, base + offset_of!(PatchRecord, address))?;
        if address.checked_add(len as u64).is_none() {
            continue;
        }
        patches.push(Patch {
            address,
            original: bytes(offset_of!(PatchRecord, original))?.to_vec(),
            replacement: bytes(offset_of!(PatchRecord, replacement))?.to_vec(),
        });
    }
    if patches.is_empty() {
        return None;
    }
    Some(JournalHook {
        index,
        kind: u32_at(record, offset_of!(HookRecord, kind))?,
        site: u64_at(record, offset_of!(HookRecord, site))?,
        patches,
        trampoline: u64_at(record, offset_of!(HookRecord, trampoline))?,
        trampoline_len: u64_at(record, offset_of!(HookRecord, trampoline_len))?,
        return_point: u64_at(record, offset_of!(HookRecord, return_point))?,
    })
}
