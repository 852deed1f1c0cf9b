//! `/proc/PID/auxv`: what the kernel told the program when it started.

use super::read_of_living;
use crate::error::Result;

/// `AT_HWCAP2`: the kernel lets user code read and write the FS and GS bases.
const HWCAP2_FSGSBASE: u64 = 1 << 1;

/// The auxiliary vector (`linux/auxvec.h`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auxv {
    entries: Vec<(u64, u64)>,
}

impl Auxv {
    /// Reads `/proc/PID/auxv`.
    pub fn read(pid: i32) -> Result<Self> {
        let (bytes, _) = read_of_living(pid, "auxv")?;
        Ok(Self::parse(&bytes))
    }

    /// Parses pairs of 64-bit words up to `AT_NULL`.
    pub fn parse(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let (pairs, _) = words.as_chunks::<2>();
        let entries = pairs
            .iter()
            .map(|[key, value]| (u64::from_le_bytes(*key), u64::from_le_bytes(*value)))
            .take_while(|(key, _)| *key != libc::AT_NULL)
            .collect();
        Self { entries }
    }

    /// The value of an `AT_*` entry.
    pub fn get(&self, key: u64) -> Option<u64> {
        self.entries
            .iter()
            .find(|(k, _)| *k == key)
            .map(|(_, value)| *value)
    }

    /// Where the executable starts (`AT_ENTRY`).
    pub fn entry(&self) -> Option<u64> {
        self.get(libc::AT_ENTRY)
    }

    /// Where the dynamic linker is mapped (`AT_BASE`); `None` for a static executable.
    pub fn interpreter_base(&self) -> Option<u64> {
        self.get(libc::AT_BASE).filter(|base| *base != 0)
    }

    /// Whether `rdfsbase` works (`HWCAP2_FSGSBASE`; Linux 5.9 on processors that have it).
    pub fn has_fsgsbase(&self) -> bool {
        self.get(libc::AT_HWCAP2)
            .is_some_and(|bits| bits & HWCAP2_FSGSBASE != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_getauxval() {
        let auxv = Auxv::read(std::process::id() as i32).expect("own auxv");
        for key in [
            libc::AT_ENTRY,
            libc::AT_BASE,
            libc::AT_PHDR,
            libc::AT_PAGESZ,
            libc::AT_HWCAP2,
        ] {
            // SAFETY: getauxval has no preconditions.
            let expected = unsafe { libc::getauxval(key) };
            assert_eq!(auxv.get(key).unwrap_or(0), expected, "key {key}");
        }
        assert_eq!(Auxv::parse(&[1; 15]).get(0x0101_0101_0101_0101), None);
    }
}
