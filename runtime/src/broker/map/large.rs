//! Values piece by piece, between a map and a tool.
//!
//! Values of arrays may have two gigabytes. Those that are longer than [`PIECE`] are never held in
//! memory of the broker's own: they are read from the map's file and written to it, which also
//! keeps pages that nobody has written from being made.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use bpftime_abi::map_type::update_flags::{BPF_EXIST, BPF_NOEXIST};
use bpftime_abi::{Errno, MapType};

use super::Map;
use crate::sys::errno_of;

/// Most bytes of a value that are copied at once; hash maps have no longer ones.
pub const PIECE: usize = 4 << 20;

/// Where a long value is.
struct Place {
    file: File,
    offset: u64,
    len: usize,
}

impl Map {
    /// Gives the value of a key, `BPF_MAP_LOOKUP_ELEM`, in pieces with their offsets.
    pub fn lookup_pieces(
        &self,
        key: &[u8],
        mut give: impl FnMut(u64, &[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if !self.is_large() {
            return give(0, &self.lookup(key)?);
        }
        let place = self.place(key)?.ok_or(Errno::ENOENT)?;
        place.each_piece(|offset, piece| {
            place
                .file
                .read_exact_at(piece, place.offset + offset)
                .map_err(|error| errno_of(&error))?;
            give(offset, piece)
        })
    }

    /// Sets the value of a key, `BPF_MAP_UPDATE_ELEM`; `take` gives the piece at an offset. A
    /// long value is taken twice, so that one that cannot be read changes nothing.
    pub fn update_pieces(
        &self,
        key: &[u8],
        flags: u64,
        mut take: impl FnMut(u64, &mut [u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if !self.is_large() {
            let mut value = vec![0; self.geometry().user_value_size()];
            take(0, &mut value)?;
            return self.update(key, &value, flags);
        }
        let place = self.place(key)?;
        let len = self.geometry().user_value_size();
        each_piece(len, &mut take)?;
        if flags > BPF_EXIST {
            return Err(Errno::EINVAL);
        }
        let place = place.ok_or(Errno::E2BIG)?;
        if flags & BPF_NOEXIST != 0 {
            return Err(Errno::EEXIST);
        }
        place.each_piece(|offset, piece| {
            take(offset, piece)?;
            place
                .file
                .write_all_at(piece, place.offset + offset)
                .map_err(|error| errno_of(&error))
        })
    }

    fn is_large(&self) -> bool {
        let geometry = self.geometry();
        geometry.map_type == MapType::Array && geometry.user_value_size() > PIECE
    }

    /// Where the long value of a key is; nothing outside the array.
    fn place(&self, key: &[u8]) -> Result<Option<Place>, Errno> {
        let geometry = self.geometry();
        let index: [u8; 4] = key.try_into().map_err(|_| Errno::EINVAL)?;
        let index = u32::from_le_bytes(index);
        if index >= geometry.max_entries {
            return Ok(None);
        }
        let data = self.data.as_ref().ok_or(Errno::EINVAL)?;
        let file: OwnedFd = data
            .fd
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| errno_of(&error))?;
        // Arrays have their values one after the other, each rounded up to 8 bytes.
        let stride = u64::from(geometry.value_size).next_multiple_of(8);
        Ok(Some(Place {
            file: file.into(),
            offset: stride * u64::from(index),
            len: geometry.user_value_size(),
        }))
    }
}

impl Place {
    fn each_piece(
        &self,
        work: impl FnMut(u64, &mut [u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        each_piece(self.len, work)
    }
}

/// Calls `work` with each offset and a buffer for the piece there.
fn each_piece(
    len: usize,
    mut work: impl FnMut(u64, &mut [u8]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut buffer = vec![0; PIECE.min(len)];
    let mut done = 0;
    while done < len {
        let size = PIECE.min(len - done);
        let piece = buffer.get_mut(..size).ok_or(Errno::EINVAL)?;
        work(done as u64, piece)?;
        done += size;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bpftime_maps::Geometry;

    use super::*;
    use crate::broker::map::Description;

    /// Bytes of values: two pieces and a bit.
    const LEN: usize = 2 * PIECE + 13;

    fn array(value_size: usize) -> Map {
        let geometry = Geometry {
            map_type: MapType::Array,
            key_size: 4,
            value_size: value_size as u32,
            max_entries: 3,
            flags: 0,
            cpus: 1,
            seed: 0,
        };
        Map::new(1, geometry, Description::default()).unwrap()
    }

    fn pattern(index: u32) -> Vec<u8> {
        let byte = |at: usize| (at as u32).wrapping_mul(0x9e37_79b1).wrapping_add(index) >> 13;
        (0..LEN).map(|at| byte(at) as u8).collect()
    }

    fn take(value: &[u8]) -> impl FnMut(u64, &mut [u8]) -> Result<(), Errno> {
        |offset, piece| {
            let at = offset as usize;
            piece.copy_from_slice(&value[at..at + piece.len()]);
            Ok(())
        }
    }

    /// Long values are where programs and mappings find them.
    #[test]
    fn pieces_are_what_the_map_holds() {
        let map = array(LEN);
        for index in 0..3u32 {
            let value = pattern(index);
            map.update_pieces(&index.to_le_bytes(), 0, take(&value))
                .unwrap();
        }
        for index in 0..3u32 {
            let key = index.to_le_bytes();
            assert!(map.lookup(&key).unwrap() == pattern(index));
            let mut whole = Vec::new();
            map.lookup_pieces(&key, |offset, piece| {
                assert_eq!(offset as usize, whole.len());
                whole.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
            assert!(whole == pattern(index));
        }
    }

    /// The errors are those of short values, and what fails changes nothing.
    #[test]
    fn long_values_fail_as_short_ones() {
        let (long, short) = (array(LEN), array(8));
        let value = pattern(7);
        long.update_pieces(&[0; 4], 0, take(&value)).unwrap();
        for key in [0u32, 2, 3, u32::MAX] {
            for flags in [0, 1, 2, 3, 4, 8] {
                let key = key.to_le_bytes();
                let update = |map: &Map| map.update_pieces(&key, flags, |_, _| Ok(()));
                assert_eq!(update(&long), update(&short), "{key:?} {flags}");
                let lookup = |map: &Map| map.lookup_pieces(&key, |_, _| Ok(()));
                assert_eq!(lookup(&long), lookup(&short), "{key:?}");
            }
        }
        let short_key = |map: &Map| map.lookup_pieces(&[0; 3], |_, _| Ok(()));
        assert_eq!(short_key(&long), short_key(&short));
        long.update_pieces(&[0; 4], 0, take(&value)).unwrap();
        let faulty = |offset: u64, piece: &mut [u8]| {
            piece.fill(1);
            if offset == 0 {
                Ok(())
            } else {
                Err(Errno::EFAULT)
            }
        };
        assert_eq!(long.update_pieces(&[0; 4], 0, faulty), Err(Errno::EFAULT));
        assert!(long.lookup(&[0; 4]).unwrap() == value);
    }
}
