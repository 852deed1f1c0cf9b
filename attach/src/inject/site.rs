//! The code around a function's entry, as the planner of patches needs it.

use std::path::Path;
use std::sync::OnceLock;

use super::hooks::Hook;
use crate::elf::{Elf, ElfError, Jump, ReturnHazard, is_mangled};
use crate::error::{Error, Result};
use crate::process::FileId;
use crate::target::Stopped;
use crate::trampoline::{self, Site, SitePlan};

/// Functions are looked at up to this size.
const MAX_FUNCTION: u64 = 16 << 20;
/// Padding is looked for this far before and after a function.
const PADDING: u64 = 128;
/// Bytes that a patch replaces at most.
const LONGEST_PATCH: u64 = 5;

/// An executable or library that can be hooked.
#[derive(Debug)]
pub struct Module {
    elf: Elf,
    id: FileId,
    /// Jumps into the first bytes of functions.
    jumps: OnceLock<Vec<Jump>>,
}

impl Module {
    /// Reads a file. For a file as another process sees it, use `/proc/PID/root/...`.
    pub fn open(path: &Path) -> Result<Self, ElfError> {
        let elf = Elf::open(path)?;
        let id = FileId::of(path).map_err(|error| ElfError::Io {
            path: path.to_owned(),
            source: match error {
                Error::File { source, .. } => source,
                other => std::io::Error::other(other),
            },
        })?;
        let jumps = OnceLock::new();
        Ok(Self { elf, id, jumps })
    }

    /// Symbols and segments.
    pub fn elf(&self) -> &Elf {
        &self.elf
    }

    /// Does the part of the work for a hook at `offset` that takes long, so that it need not be
    /// done while a process is stopped.
    pub fn prepare(&self, offset: u64) {
        if let Some(size) = self.size_at(offset) {
            self.jumps_into(offset, size);
        }
    }

    /// Bytes of the function that starts at `offset`; nothing if none does.
    fn size_at(&self, offset: u64) -> Option<u64> {
        let next = self.elf.next_function(offset).unwrap_or(offset);
        match self.elf.function_at(offset) {
            Some(function) if function.offset != offset => None,
            Some(function) if function.size > 0 => Some(function.size),
            _ => Some(next - offset),
        }
    }

    /// Where other functions jump to in the bytes that a patch may replace, without the first.
    fn jumps_into(&self, offset: u64, size: u64) -> Vec<u64> {
        let elf = &self.elf;
        let places = offset + 1..offset.saturating_add(LONGEST_PATCH);
        let function = offset..offset.saturating_add(size);
        let of_place;
        let long = if elf.function_at(offset).is_some() {
            let find = || elf.long_jumps_into_functions(LONGEST_PATCH);
            self.jumps.get_or_init(find)
        } else {
            of_place = elf.long_jumps_into(&places);
            &of_place
        };
        let from_outside = |jump: &&Jump| !function.contains(&jump.from);
        long.iter()
            .filter(from_outside)
            .map(|jump| jump.to)
            .filter(|to| places.contains(to))
            .chain(elf.short_jumps_into(&places, &function))
            .collect()
    }

    /// Device and inode.
    pub fn id(&self) -> FileId {
        self.id
    }
}

/// Decides how to patch the function at `offset` of the file, which is mapped at `address`.
/// `hooks` are the ones that are in place. `returns`: returns are to be seen, and why unwinders cannot
/// be told of return points, if so.
pub(super) fn plan<'h>(
    stopped: &Stopped<'_>,
    module: &Module,
    (offset, address): (u64, u64),
    returns: Option<Result<(), String>>,
    hooks: impl Iterator<Item = &'h Hook> + Clone,
) -> Result<SitePlan> {
    let pid = stopped.target().pid();
    let refuse = |reason: String| Error::Site {
        pid,
        address,
        reason,
    };
    let elf = module.elf();
    if elf.executable_segment(offset).is_none() {
        return Err(refuse(format!(
            "file offset {offset:#x} is not in an executable segment"
        )));
    }
    let Some(size) = module.size_at(offset) else {
        let (into, name) = elf.function_at(offset).map_or((0, ""), |function| {
            (offset - function.offset, function.name.as_str())
        });
        return Err(refuse(format!(
            "it is {into} bytes into {name}; only the entry of a function can be hooked"
        )));
    };
    if returns.is_some() {
        let names = elf.functions().iter().filter(|f| f.offset == offset);
        if let Some(function) = names.clone().find(|f| trampoline::returns_twice(&f.name)) {
            return Err(refuse(format!(
                "{} returns more than once, so its return cannot be probed",
                function.name
            )));
        }
    }
    if returns.is_some() && elf.return_hazard() == Some(&ReturnHazard::MovingStacks) {
        return Err(Error::GoFunction {
            pid,
            address,
            path: elf.path().to_owned(),
        });
    }
    if size == 0 || size > MAX_FUNCTION {
        return Err(refuse(format!("a function of {size} bytes")));
    }
    let end = offset + size;
    let following = elf.next_function(end - 1).unwrap_or(end);
    let after = following.saturating_sub(end).min(PADDING);
    let before = elf.gap_before(offset).min(PADDING);

    let start = address - before;
    let mut bytes = vec![0; (before + size + after) as usize];
    stopped.read(start, &mut bytes)?;
    // The function's own bytes where this very function is hooked already. Padding in which other
    // hooks have a jump no longer looks like padding, and is not used again.
    for patch in hooks
        .filter(|hook| hook.site == address)
        .flat_map(|hook| &hook.patches)
    {
        let at = patch.address.wrapping_sub(start) as usize;
        if let Some(place) = bytes.get_mut(at..at.saturating_add(patch.original.len())) {
            place.copy_from_slice(&patch.original);
        }
    }
    let (padding_before, rest) = bytes.split_at(before as usize);
    let (code, padding_after) = rest.split_at(size as usize);
    if let Some(Err(unwinder)) = returns
        && let Some(sign) = sign_of_exceptions(elf, offset)
        && !trampoline::is_leaf(code, address)
    {
        return Err(Error::MayUnwind {
            pid,
            address,
            path: elf.path().to_owned(),
            sign,
            unwinder,
        });
    }
    let entries: Vec<u64> = elf
        .functions()
        .iter()
        .map(|f| f.offset)
        .filter(|f| *f > offset && *f < offset + 16)
        .chain(module.jumps_into(offset, size))
        .map(|f| address + (f - offset))
        .collect();
    let site = Site {
        address,
        code,
        padding_after,
        padding_before,
        entries: &entries,
    };
    trampoline::plan(&site).map_err(|refusal| refuse(refusal.to_string()))
}

/// By what it is known that an exception may pass through the function, if it calls another.
fn sign_of_exceptions(elf: &Elf, offset: u64) -> Option<String> {
    if let Some(ReturnHazard::Exceptions(sign)) = elf.return_hazard() {
        return Some(sign.clone());
    }
    let mut names = elf.functions().iter().filter(|f| f.offset == offset);
    let mangled = names.find(|f| is_mangled(&f.name))?;
    Some(format!("has it in C++ or Rust, as {}", mangled.name))
}
