//! What the target's memory says of its hooks.

use std::mem::offset_of;

use bpftime_abi::target::{
    Control, HookRecord, HookState, MAX_HOOKS, MAX_SLOTS, PatchRecord, State,
};
use bpftime_attach::Target;

use super::inside::Inside;
use super::protocol::HookReport;

/// Little-endian words of a record.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn u32(&self, offset: usize) -> u32 {
        self.0
            .get(offset..)
            .and_then(|b| b.first_chunk())
            .map_or(0, |b| u32::from_le_bytes(*b))
    }

    fn u64(&self, offset: usize) -> u64 {
        self.0
            .get(offset..)
            .and_then(|b| b.first_chunk())
            .map_or(0, |b| u64::from_le_bytes(*b))
    }

    fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        self.0.get(offset..offset + len).unwrap_or_default()
    }
}

/// One entry for each attachment that is wanted.
pub fn report(target: &Target, inside: &Inside) -> Vec<HookReport> {
    let records = inside.injection().and_then(|injection| {
        let mut records = vec![0; MAX_HOOKS * size_of::<HookRecord>()];
        let at = injection.control_address() + offset_of!(Control, hooks) as u64;
        target.read(at, &mut records).ok().map(|()| records)
    });
    let hits = inside.injection().and_then(|injection| {
        let mut hits = vec![0; MAX_SLOTS * MAX_HOOKS * size_of::<u64>()];
        let at = injection.state_address() + offset_of!(State, hits) as u64;
        target.read(at, &mut hits).ok().map(|()| hits)
    });
    let maps = target.maps().ok();
    let wanted = inside.wanted().iter().map(|wanted| {
        let mut report = HookReport {
            key: wanted.key,
            address: 0,
            attached: false,
            hits: 0,
            missed: 0,
            failure: inside.failures().get(&wanted.key).cloned(),
        };
        let (Some(module), Some(maps)) = (inside.module(wanted), &maps) else {
            return report;
        };
        let addresses = maps.code_addresses(module.id(), wanted.offset);
        report.address = addresses.first().copied().unwrap_or(0);
        if !inside.is_linked(wanted.key) {
            return report;
        }
        let mut all_patched = !addresses.is_empty();
        for address in addresses {
            let found = records
                .iter()
                .flat_map(|records| records.chunks_exact(size_of::<HookRecord>()).enumerate())
                .find(|(_, record)| is_live(&Words(record), address));
            let Some((index, record)) = found else {
                all_patched = false;
                continue;
            };
            all_patched &= is_patched(target, &Words(record));
            let hits = hits.as_ref().map_or(0, |hits| hits_of(&Words(hits), index));
            report.missed = report.missed.wrapping_add(missed(&Words(record)));
            report.hits = report.hits.wrapping_add(hits);
        }
        report.attached = all_patched;
        report
    });
    wanted.collect()
}

fn is_live(record: &Words<'_>, site: u64) -> bool {
    record.u32(offset_of!(HookRecord, state)) == HookState::Live as u32
        && record.u64(offset_of!(HookRecord, site)) == site
}

/// Whether the process's memory holds every patch of the hook.
fn is_patched(target: &Target, record: &Words<'_>) -> bool {
    let patches = offset_of!(HookRecord, patches);
    (0..2).all(|index| {
        let base = patches + index * size_of::<PatchRecord>();
        let len = record.u32(base + offset_of!(PatchRecord, len)) as usize;
        if len > 16 {
            return false;
        }
        let address = record.u64(base + offset_of!(PatchRecord, address));
        let wanted = record.bytes(base + offset_of!(PatchRecord, replacement), len);
        let mut seen = vec![0; len];
        target.read(address, &mut seen).is_ok() && seen == wanted
    })
}

fn missed(record: &Words<'_>) -> u64 {
    [
        offset_of!(HookRecord, missed_nested),
        offset_of!(HookRecord, missed_slot),
        offset_of!(HookRecord, missed_cpu),
        offset_of!(HookRecord, missed_return),
    ]
    .into_iter()
    .fold(0, |sum, offset| sum.wrapping_add(record.u64(offset)))
}

fn hits_of(hits: &Words<'_>, hook: usize) -> u64 {
    (0..MAX_SLOTS).fold(0, |sum, slot| {
        sum.wrapping_add(hits.u64((slot * MAX_HOOKS + hook) * size_of::<u64>()))
    })
}
