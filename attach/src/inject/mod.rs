//! The in-target image and everything that belongs to it.
//!
//! [`Injection::attach`] brings the image into a stopped process, [`Injection::link`] hooks
//! functions, [`detach`] undoes all of it, also when whoever attached is dead. Before anything is
//! done to the process, its control memory says so.

mod bytes;
mod control;
mod hooks;
mod image;
mod inside;
mod mappings;
mod programs;
mod removal;
mod returns;
mod site;
mod undo;
mod unwind;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd};

use bpftime_abi::target::{
    CONFIG_NO_SYSTEM_CALLS, CONFIG_SAME_PID_NAMESPACE, Config, MappingKind, Phase, ProcessState,
    State,
};

use crate::elf::Elf;
use crate::error::{Error, Result};
use crate::memfd;
use crate::process::{Auxv, Maps, Seccomp, Status};
use crate::target::{At, Protection, Stopped, Target, gaps};
use crate::trampoline::Dispatchers;

pub use hooks::{Link, LinkSpec, When};
pub use image::{Image, ImageError};
pub use programs::ProgramSpec;
pub use site::Module;
pub use undo::{Detached, detach, guardian};
pub use unwind::Unwinders;

use control::{CONTROL_LEN, ControlMemory, ImagePlace};
use hooks::Hook;
use mappings::Pool;

/// Offsets from the FS base at which C libraries keep the thread id: glibc, musl (two versions).
const TID_OFFSETS: [u32; 3] = [0x2d0, 0x30, 0x38];

/// What an injection needs.
#[derive(Clone, Copy, Debug)]
pub struct InjectOptions<'a> {
    /// The image.
    pub image: &'a Image,
    /// The broker's number for the process, not 0.
    pub target_id: u32,
    /// Memory with the lease table and how many leases may be used.
    pub leases: Option<(BorrowedFd<'a>, u32)>,
}

/// The image in a process. Dropping it changes nothing there.
#[derive(Debug)]
pub struct Injection {
    control: ControlMemory,
    control_file: File,
    dispatchers: Dispatchers,
    pools: Vec<Pool>,
    hooks: BTreeMap<usize, Hook>,
    /// Hook records from this index on were never used.
    hooks_used: usize,
    programs: programs::Programs,
    links: BTreeMap<u64, Vec<(usize, usize)>>,
    next_link: u64,
    /// [`Config::flags`] as the process has them.
    config_flags: u32,
    /// [`Config::tid_offset`] as the process has it.
    tid_offset: u32,
    /// Sites at unwinders that cannot be hooked, with the reasons.
    unguarded: HashMap<u64, String>,
}

impl Injection {
    /// Brings the image in. What an earlier injection left is removed first.
    pub fn attach(stopped: &mut Stopped<'_>, options: &InjectOptions<'_>) -> Result<Self> {
        let target = stopped.target();
        let pid = target.pid();
        target.check_seccomp()?;
        if !Auxv::read(pid)?.has_fsgsbase() {
            return Err(Error::Unsupported(
                "the processor or kernel does not let programs read the FS base (FSGSBASE, \
                 Linux 5.9), by which the hooks find a thread's state"
                    .into(),
            ));
        }
        undo::undo_all(stopped)?;

        let image = options.image;
        // Before places are chosen, so that it is in none of them.
        stopped.open_remote_session()?;
        let maps = stopped.maps()?;
        let near = maps
            .iter()
            .filter(|m| m.execute && m.is_file())
            .last()
            .map_or(0, |m| m.start);
        // The control memory follows the image.
        let base = gaps::find(&maps, near, image.len() + CONTROL_LEN, u64::MAX)?;
        let place = ImagePlace {
            image: base,
            len: image.len(),
            state: base + image.header().state,
        };

        let page = control::first_page(target, options.target_id, &place);
        let control_file = memfd::create(c"bpftime-control", &page, CONTROL_LEN, false)?;
        let control = stopped.map_fd(
            control_file.as_fd(),
            At::Free(base + image.len()),
            CONTROL_LEN,
            Protection::ReadWrite,
            true,
        )?;
        let status = Status::read(pid)?;
        let mut injection = Self {
            control: ControlMemory {
                address: control,
                place,
                owned: true,
                guardian: std::process::id() as i32,
            },
            control_file,
            dispatchers: Dispatchers::new(image.header(), base),
            pools: Vec::new(),
            hooks: BTreeMap::new(),
            hooks_used: 0,
            programs: programs::Programs::default(),
            links: BTreeMap::new(),
            next_link: 1,
            config_flags: config_flags(&status),
            tid_offset: 0,
            unguarded: HashMap::new(),
        };
        if let Err(error) = injection.fill(stopped, options, &maps) {
            // No code of the process is changed yet, so this leaves nothing behind.
            undo::undo_all(stopped)?;
            return Err(error);
        }
        Ok(injection)
    }

    fn fill(
        &mut self,
        stopped: &mut Stopped<'_>,
        options: &InjectOptions<'_>,
        maps: &Maps,
    ) -> Result<()> {
        let target = stopped.target();
        let header = options.image.header();
        let place = self.control.place;
        let text = options.image.relocated(place.image)?;
        // One mapping over all, so that nothing else can get in between; then the state over it.
        self.announce(stopped, place.image, place.len, MappingKind::Image, 0)?;
        stopped.map_fd(
            text.as_fd(),
            At::Free(place.image),
            place.len,
            Protection::ReadExecute,
            false,
        )?;
        stopped.map_anonymous(
            At::Over(place.state),
            header.state_len,
            Protection::ReadWrite,
        )?;
        let process = place.state + offset_of!(State, process) as u64;
        stopped.advise(process, 4096, libc::MADV_WIPEONFORK)?;
        // 40 MB of which little is used; fails where the kernel has no huge pages.
        if let Err(error) = stopped.advise(place.state, header.state_len, libc::MADV_NOHUGEPAGE) {
            tracing::debug!(%error, "huge pages stay possible");
        }

        self.tid_offset = tid_offset(stopped);
        let (leases, lease_count) = match options.leases {
            Some((fd, count)) => {
                let len = size_of::<bpftime_abi::target::LeaseTable>() as u64;
                let rw = Protection::ReadWrite;
                (
                    self.map_file(stopped, fd, len, rw, true, MappingKind::Leases, 0)?,
                    count,
                )
            }
            None => (0, 0),
        };
        let mut config = vec![0; size_of::<Config>()];
        let mut put = |offset: usize, value: &[u8]| {
            if let Some(place) = config.get_mut(offset..offset + value.len()) {
                place.copy_from_slice(value);
            }
        };
        put(
            offset_of!(Config, control),
            &self.control.address.to_le_bytes(),
        );
        put(offset_of!(Config, leases), &leases.to_le_bytes());
        put(offset_of!(Config, lease_count), &lease_count.to_le_bytes());
        put(
            offset_of!(Config, target_id),
            &options.target_id.to_le_bytes(),
        );
        put(
            offset_of!(Config, vdso_clock_gettime),
            &vdso_function(stopped, maps, "__vdso_clock_gettime")
                .unwrap_or(0)
                .to_le_bytes(),
        );
        put(
            offset_of!(Config, tid_offset),
            &self.tid_offset.to_le_bytes(),
        );
        put(offset_of!(Config, flags), &self.config_flags.to_le_bytes());
        stopped.write(place.state + offset_of!(State, config) as u64, &config)?;
        self.tell_process_id(stopped, options.target_id)?;
        self.control.set_phase(target, Phase::Ready)
    }

    /// Fills in what the image would otherwise ask by a system call, for which a filter that the
    /// process installs later may kill.
    fn tell_process_id(&self, stopped: &Stopped<'_>, target_id: u32) -> Result<()> {
        let status = Status::read(stopped.target().pid())?;
        let Some(tgid) = status.namespace_pids.last() else {
            return Ok(());
        };
        let owner = if self.config_flags & CONFIG_SAME_PID_NAMESPACE != 0 {
            *tgid as u32
        } else {
            0x8000_0000 | target_id
        };
        let process = self.control.place.state + offset_of!(State, process) as u64;
        for (offset, value) in [
            (offset_of!(ProcessState, tgid), *tgid as u32),
            (offset_of!(ProcessState, owner), owner),
        ] {
            stopped.write(process + offset as u64, &value.to_le_bytes())?;
        }
        Ok(())
    }

    /// Whether it is not known where threads keep their ids, as in a process that was attached to
    /// before its C library had started: [`Injection::find_thread_ids`] may know better later.
    pub fn misses_thread_ids(&self) -> bool {
        self.tid_offset == 0
    }

    /// Looks again where threads keep their ids, so that helpers need not ask by a system call.
    pub fn find_thread_ids(&mut self, stopped: &Stopped<'_>) -> Result<()> {
        self.tid_offset = tid_offset(stopped);
        let config = self.control.place.state + offset_of!(State, config) as u64;
        let at = config + offset_of!(Config, tid_offset) as u64;
        stopped.write(at, &self.tid_offset.to_le_bytes())
    }

    /// Looks whether the process has confined itself by a seccomp filter since, and lets helpers
    /// make no system call any more if so. Costs little; the process need not be stopped.
    ///
    /// Only the filters of the main thread are looked at.
    pub fn notice_seccomp(&mut self, target: &Target) -> Result<()> {
        if self.config_flags & CONFIG_NO_SYSTEM_CALLS != 0 {
            return Ok(());
        }
        let status = Status::read(target.pid())?;
        if status.seccomp == Seccomp::Disabled {
            return Ok(());
        }
        let flags = self.config_flags | CONFIG_NO_SYSTEM_CALLS;
        let config = self.control.place.state + offset_of!(State, config) as u64;
        let at = config + offset_of!(Config, flags) as u64;
        target.write(at, &flags.to_le_bytes())?;
        self.config_flags = flags;
        Ok(())
    }

    /// The control memory (`abi::target::Control`), to be mapped here.
    pub fn control(&self) -> BorrowedFd<'_> {
        self.control_file.as_fd()
    }

    /// Its address in the process.
    pub fn control_address(&self) -> u64 {
        self.control.address
    }

    /// Address of `abi::target::State` in the process.
    pub fn state_address(&self) -> u64 {
        self.control.place.state
    }

    /// Removes everything; as [`detach`] with the process already stopped.
    pub fn detach(self, stopped: &mut Stopped<'_>) -> Result<Detached> {
        undo::undo_all(stopped)
    }
}

/// [`Config::flags`] for a process.
fn config_flags(status: &Status) -> u32 {
    let mut flags = 0;
    if status.seccomp != Seccomp::Disabled {
        flags |= CONFIG_NO_SYSTEM_CALLS;
    }
    if status.namespace_pids.len() == 1 {
        flags |= CONFIG_SAME_PID_NAMESPACE;
    }
    flags
}

/// Address of a function of the vDSO.
fn vdso_function(stopped: &Stopped<'_>, maps: &Maps, name: &str) -> Option<u64> {
    let vdso = maps.iter().find(|m| m.name.as_os_str() == "[vdso]")?;
    let mut bytes = vec![0; usize::try_from(vdso.len()).ok()?];
    stopped.read(vdso.start, &mut bytes).ok()?;
    let elf = Elf::parse(std::path::Path::new("[vdso]"), bytes).ok()?;
    Some(vdso.start + elf.function(name).ok()?.offset)
}

/// Where every thread keeps its id, or 0.
fn tid_offset(stopped: &Stopped<'_>) -> u32 {
    let holds_tid = |offset: u32| {
        stopped.threads().iter().all(|thread| {
            let mut tid = [0; 4];
            let at = thread.registers().fs_base.wrapping_add(u64::from(offset));
            stopped.read(at, &mut tid).is_ok()
                && Status::read(thread.tid()).is_ok_and(|status| {
                    status.namespace_tids.last() == Some(&i32::from_le_bytes(tid))
                })
        })
    };
    TID_OFFSETS
        .into_iter()
        .find(|offset| holds_tid(*offset))
        .unwrap_or(0)
}
