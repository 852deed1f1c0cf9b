//! Free address space near a place.

use crate::error::{Error, Result};
use crate::process::Maps;

const PAGE: u64 = 4096;
/// First address used; `vm.mmap_min_addr` is not above it by default.
const LOWEST: u64 = 1 << 16;
/// First address after user space with four-level page tables.
const HIGHEST: u64 = 0x7fff_ffff_f000;
/// The heap grows up, the main stack down: they keep this much.
const ROOM_TO_GROW: u64 = 1 << 30;

/// The free range of `len` bytes (whole pages) closest to `near`, all of it within `reach`.
pub fn find(maps: &Maps, near: u64, len: u64, reach: u64) -> Result<u64> {
    candidates(maps, near, len, reach).ok_or(Error::NoRoom {
        pid: maps.pid(),
        near,
        len,
    })
}

fn candidates(maps: &Maps, near: u64, len: u64, reach: u64) -> Option<u64> {
    let len = len.checked_next_multiple_of(PAGE)?;
    let mut best: Option<(u64, u64)> = None;
    let mut gap_start = LOWEST;
    let mut grows_up = false;
    // The program break starts after the main executable, also while there is no heap.
    let executable = maps.executable_end();
    let end = [(HIGHEST, HIGHEST, false)];
    let ranges = maps
        .iter()
        .map(|m| (m.start, m.end, m.name.as_os_str() == "[stack]"));
    for (start, mapping_end, grows_down) in ranges.chain(end) {
        let first = if grows_up {
            gap_start.saturating_add(ROOM_TO_GROW)
        } else {
            gap_start
        };
        let last = if grows_down {
            start.saturating_sub(ROOM_TO_GROW)
        } else {
            start
        };
        if let Some(last) = last.min(HIGHEST).checked_sub(len)
            && first <= last
        {
            let place = near.clamp(first, last) & !(PAGE - 1);
            let place = if place < first { first } else { place };
            let distance = distance(near, place, len);
            if distance <= reach && best.is_none_or(|(_, d)| distance < d) {
                best = Some((place, distance));
            }
        }
        gap_start = gap_start.max(mapping_end);
        grows_up = mapping_end == executable
            || maps
                .at(mapping_end.wrapping_sub(1))
                .is_some_and(|m| m.name.as_os_str() == "[heap]");
    }
    best.map(|(place, _)| place)
}

/// The larger distance of `near` from either end.
fn distance(near: u64, place: u64, len: u64) -> u64 {
    near.abs_diff(place).max(near.abs_diff(place + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(text: &str) -> Maps {
        Maps::parse(1, text.as_bytes()).expect("well formed")
    }

    #[test]
    fn nearest_gap_that_is_not_for_growth() {
        let maps = maps(
            "400000-401000 r-xp 0 0:1 5 /exe\n401000-500000 rw-p 0 0:0 0 [heap]\n\
             7f0000000000-7f0000100000 r-xp 0 0:1 6 /lib\n\
             7fff00000000-7fff00100000 rw-p 0 0:0 0 [stack]\n",
        );
        // Below the executable, not in the way of the heap.
        assert_eq!(
            find(&maps, 0x400000, 0x10000, 1 << 31).expect("room"),
            0x3f0000
        );
        let room = find(&maps, 0x400000, 0x400000, 1 << 31).expect("room");
        assert!(room >= 0x500000 + ROOM_TO_GROW);
        assert!(maps.is_free(room, 0x400000));
        let place = find(&maps, 0x7f0000080000, 4096, 1 << 31).expect("room");
        assert!(maps.is_free(place, 4096));
        assert!(place.abs_diff(0x7f0000080000) <= 0x100000);
        let place = find(&maps, 0x7fff00000000, 4096, 1 << 31).expect("room");
        assert!(place <= 0x7fff00000000 - ROOM_TO_GROW || place >= 0x7fff00100000);
        assert!(matches!(
            find(&maps, 0x400000, 1 << 32, 1 << 31),
            Err(Error::NoRoom { .. })
        ));
    }

    #[test]
    fn full_address_space() {
        let maps = maps("10000-7ffffffff000 rw-p 0 0:0 0\n");
        assert!(find(&maps, 0x400000, 4096, u64::MAX).is_err());
    }
}
