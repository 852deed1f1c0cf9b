//! `/proc/PID/maps`: what is mapped where.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// One line of `/proc/PID/maps`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after.
    pub end: u64,
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// May be executed.
    pub execute: bool,
    /// Changes are seen by others (`MAP_SHARED`).
    pub shared: bool,
    /// File offset of `start`.
    pub offset: u64,
    /// Device of the file as in `st_dev`, 0 without a file.
    pub device: u64,
    /// Inode of the file, 0 without a file.
    pub inode: u64,
    /// The name: a path (without the `" (deleted)"` suffix), `[heap]` and the like, or empty.
    pub name: PathBuf,
    /// The path no longer leads to the file.
    pub deleted: bool,
}

impl Mapping {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether nothing is mapped (the kernel shows no such line).
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Whether `address` lies in it.
    pub fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// Whether it maps a file (a memfd counts).
    pub fn is_file(&self) -> bool {
        self.inode != 0
    }

    /// The name given to `memfd_create`, if it maps a memfd.
    pub fn memfd_name(&self) -> Option<&[u8]> {
        if !self.is_file() {
            return None;
        }
        self.name.as_os_str().as_bytes().strip_prefix(b"/memfd:")
    }
}

/// A file as the kernel identifies it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

impl FileId {
    /// The file that `path` leads to from this process; use `/proc/PID/root/...` for a path as
    /// another process sees it.
    pub fn of(path: &Path) -> Result<Self> {
        let meta = std::fs::metadata(path).map_err(|source| Error::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
        })
    }
}

/// All mappings of a process, by address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Maps {
    pid: i32,
    /// A thread that is known not to have ended.
    thread: i32,
    mappings: Vec<Mapping>,
}

impl Maps {
    /// Reads `/proc/PID/maps`.
    pub fn read(pid: i32) -> Result<Self> {
        let (text, thread) = super::read_of_living(pid, "maps")?;
        let maps = Self::parse(pid, &text)?;
        Ok(Self { thread, ..maps })
    }

    /// Parses the text of `/proc/PID/maps`.
    pub fn parse(pid: i32, text: &[u8]) -> Result<Self> {
        let mut mappings = Vec::new();
        for (index, line) in text.split(|b| *b == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            mappings.push(parse_line(line).ok_or_else(|| Error::ProcFormat {
                path: format!("/proc/{pid}/maps"),
                line: index + 1,
                text: String::from_utf8_lossy(line).into_owned(),
            })?);
        }
        Ok(Self {
            pid,
            thread: pid,
            mappings,
        })
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// First address after the main executable, 0 if it is not known.
    pub(crate) fn executable_end(&self) -> u64 {
        let Ok(file) = FileId::of(Path::new(&format!("/proc/{}/exe", self.thread))) else {
            return 0;
        };
        self.of_file(file).last().map_or(0, |last| {
            // What is not in the file (.bss) follows directly.
            let mut end = last.end;
            while let Some(next) = self.at(end)
                && !next.is_file()
                && next.name.as_os_str().is_empty()
            {
                end = next.end;
            }
            end
        })
    }

    /// The mappings, in ascending order of address.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter()
    }

    /// Mappings of code that come from files other than ours.
    pub fn code_of_files(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings
            .iter()
            .filter(|m| m.execute && !m.shared && m.is_file() && m.memfd_name().is_none())
    }

    /// The mapping that `address` lies in.
    pub fn at(&self, address: u64) -> Option<&Mapping> {
        let index = self.mappings.partition_point(|m| m.end <= address);
        self.mappings.get(index).filter(|m| m.contains(address))
    }

    /// Whether nothing is mapped in `start..start + len`.
    pub fn is_free(&self, start: u64, len: u64) -> bool {
        let index = self.mappings.partition_point(|m| m.end <= start);
        match (self.mappings.get(index), start.checked_add(len)) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(next), Some(end)) => next.start >= end,
        }
    }

    /// Mappings of the memfd with this name.
    pub fn memfd<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a Mapping> {
        self.mappings
            .iter()
            .filter(move |m| m.memfd_name() == Some(name))
    }

    /// The mappings of `file`, found by device and inode, whatever the path says.
    ///
    /// Some file systems (overlayfs, btrfs) show another device here than `stat` does. Where
    /// only the inode agrees, the mapping's path is looked up in the process's own root.
    pub fn of_file(&self, file: FileId) -> Vec<&Mapping> {
        let mut by_name: Option<(&Path, bool)> = None;
        let mut found = Vec::new();
        for mapping in self
            .mappings
            .iter()
            .filter(|m| m.is_file() && m.inode == file.inode)
        {
            let same = mapping.device == file.device || {
                match by_name {
                    Some((name, same)) if name == mapping.name => same,
                    _ => {
                        let same = !mapping.deleted
                            && FileId::of(&self.path_from_outside(&mapping.name)).ok()
                                == Some(file);
                        by_name = Some((&mapping.name, same));
                        same
                    }
                }
            };
            if same {
                found.push(mapping);
            }
        }
        found
    }

    /// Addresses of the byte at `offset` of `file` in executable mappings; more than one if the
    /// file is mapped more than once (`dlmopen`, a loader that loads itself). Shared mappings are left
    /// out, as the kernel's uprobes do: what is written there may be seen by others.
    pub fn code_addresses(&self, file: FileId, offset: u64) -> Vec<u64> {
        self.of_file(file)
            .into_iter()
            .filter(|m| m.execute && !m.shared && offset >= m.offset && offset - m.offset < m.len())
            .map(|m| m.start + (offset - m.offset))
            .collect()
    }

    /// The path by which a privileged process reaches what is mapped, also when the file was replaced.
    pub(crate) fn path_of_mapping(&self, mapping: &Mapping) -> PathBuf {
        let (start, end) = (mapping.start, mapping.end);
        PathBuf::from(format!("/proc/{}/map_files/{start:x}-{end:x}", self.thread))
    }

    /// The path by which this process reaches a file that the other one knows as `path`.
    pub fn path_from_outside(&self, path: &Path) -> PathBuf {
        let mut outside = PathBuf::from(format!("/proc/{}/root", self.thread));
        outside.push(path.strip_prefix("/").unwrap_or(path));
        outside
    }
}

fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
        let (field, tail) = rest.split_at(end);
        rest = tail.strip_prefix(b" ").unwrap_or(tail);
        std::str::from_utf8(field).ok()
    };
    let (start, end) = field()?.split_once('-')?;
    let perms = field()?.as_bytes();
    let offset = field()?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?;
    let name = rest.trim_ascii_start();
    let (name, deleted) = match name.strip_suffix(b" (deleted)") {
        Some(path) => (path, true),
        None => (name, false),
    };
    let [r, w, x, s] = *perms else { return None };
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    if end < start {
        return None;
    }
    Some(Mapping {
        start,
        end,
        read: r == b'r',
        write: w == b'w',
        execute: x == b'x',
        shared: s == b's',
        offset: u64::from_str_radix(offset, 16).ok()?,
        device: libc::makedev(
            u32::from_str_radix(major, 16).ok()?,
            u32::from_str_radix(minor, 16).ok()?,
        ),
        inode: inode.parse().ok()?,
        name: PathBuf::from(OsString::from_vec(unescape_newlines(name))),
        deleted,
    })
}

/// The kernel writes a newline in a path as `\012` and leaves everything else as it is.
fn unescape_newlines(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"\\012") {
            out.push(b'\n');
            rest = tail;
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind() {
        let text = b"55d0c0a00000-55d0c0a02000 r-xp 00001000 fd:01 1234                       /usr/bin/a b\n\
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n\
7f0000002000-7f0000003000 rw-s 00000000 00:01 77                         /memfd:bpftime-control (deleted)\n\
7f0000004000-7f0000005000 r--p 00000000 08:10 9                          /tmp/x\\012y (deleted)\n\
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
        let maps = Maps::parse(1, text).expect("well formed");
        let all: Vec<_> = maps.iter().collect();
        assert_eq!(all.len(), 5);
        assert_eq!(all[0].name, Path::new("/usr/bin/a b"));
        assert!(all[0].execute && !all[0].write && !all[0].shared && !all[0].deleted);
        assert_eq!((all[0].offset, all[0].inode), (0x1000, 1234));
        assert_eq!(all[0].device, libc::makedev(0xfd, 1));
        assert!(!all[1].is_file() && all[1].name.as_os_str().is_empty());
        assert_eq!(all[2].memfd_name(), Some(&b"bpftime-control"[..]));
        assert!(all[2].shared);
        assert_eq!(all[3].name, Path::new("/tmp/x\ny"));
        assert!(all[3].deleted);
        assert_eq!(maps.at(0x7f0000000fff), Some(all[1]));
        assert_eq!(maps.at(0x7f0000001000), None);
        assert!(maps.is_free(0x7f0000001000, 0x1000));
        assert!(!maps.is_free(0x7f0000001000, 0x1001));
        assert!(!maps.is_free(u64::MAX, 2));
        let file = FileId {
            device: libc::makedev(0xfd, 1),
            inode: 1234,
        };
        assert_eq!(maps.code_addresses(file, 0x1010), [0x55d0c0a00010]);
        assert!(maps.code_addresses(file, 0x3000).is_empty());
        assert!(maps.code_addresses(file, 0xfff).is_empty());
    }

    #[test]
    fn shared_mappings_are_no_place_for_probes() {
        let file = FileId {
            device: libc::makedev(0xfd, 1),
            inode: 7,
        };
        for (mode, count) in [("r-xp", 1), ("r-xs", 0), ("rwxs", 0)] {
            let text = format!("10000-20000 {mode} 00000000 fd:01 7 /lib/x\n");
            let maps = Maps::parse(1, text.as_bytes()).expect("well formed");
            assert_eq!(maps.code_addresses(file, 0x10).len(), count, "{mode}");
        }
    }

    #[test]
    fn nonsense_is_an_error_with_its_line() {
        for text in ["x", "1-0 r-xp 0 0:0 0", "0-1 rx 0 0:0 0", "0-1 r-xp 0 0 0"] {
            let text = format!("0-1 r-xp 0 0:0 0\n{text}\n");
            let Err(Error::ProcFormat { line, .. }) = Maps::parse(1, text.as_bytes()) else {
                panic!("{text} was accepted");
            };
            assert_eq!(line, 2);
        }
    }

    #[test]
    fn finds_code_of_this_process_by_inode() {
        let maps = Maps::read(std::process::id() as i32).expect("own maps");
        let exe = FileId::of(Path::new("/proc/self/exe")).expect("own executable");
        let here = lines_of_every_kind as fn() as usize as u64;
        let mapping = maps.at(here).expect("code is mapped");
        let offset = here - mapping.start + mapping.offset;
        assert_eq!(maps.code_addresses(exe, offset), [here]);
        assert_eq!(
            maps.path_from_outside(Path::new("/bin")).file_name(),
            Path::new("/bin").file_name()
        );
    }
}
