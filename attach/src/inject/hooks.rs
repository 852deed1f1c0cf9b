//! Hooks: patched functions and the programs that they run.

use std::mem::{offset_of, size_of};

use bpftime_abi::target::{
    Config, HOOK_ENTRY, HOOK_RETURN, HookDispatch, HookState, MAX_HOOKS, MAX_PROGRAMS_PER_HOOK,
    State,
};

use super::Injection;
use super::control::JournalHook;
use super::programs::{ProgramSpec, write_list};
use super::site::{self, Module};
use super::unwind::Unwinders;
use crate::error::{Error, Result};
use crate::patch::{self, Change, Outcome};
use crate::process::Status;
use crate::target::{Stopped, Target};
use crate::trampoline::{self, BuildError, Patch, SitePlan, Trampoline};

/// Room set aside for a trampoline.
pub(super) const TRAMPOLINE_LEN: u64 = 256;

/// When a hook runs a program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum When {
    /// Before the function's first instruction (uprobe).
    Entry,
    /// After it has returned (uretprobe).
    Return,
}

/// What shall run where.
#[derive(Clone, Copy, Debug)]
pub struct LinkSpec<'a> {
    /// The file.
    pub module: &'a Module,
    /// Offset of the function's first instruction in the file.
    pub offset: u64,
    /// Entry or return.
    pub when: When,
    /// The program.
    pub program: ProgramSpec,
}

/// A program at a function; for [`Injection::unlink`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Link(u64);

/// A patched function.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    pub(super) index: usize,
    pub(super) site: u64,
    pub(super) patches: Vec<Patch>,
    /// Its function is an unwinder's, which is told of the return points of other hooks.
    pub(super) guards: bool,
    pub(super) returns: bool,
    pub(super) trampoline: u64,
    pub(super) return_point: u64,
    /// Record indices in the order in which they run.
    pub(super) entry: Vec<usize>,
    pub(super) on_return: Vec<usize>,
    /// The patch is gone; trampoline and index wait until no thread needs them.
    pub(super) retired: bool,
}

impl Hook {
    /// Whether its jumps are still there.
    pub(super) fn is_in_place(&self, target: &Target) -> bool {
        self.patches.iter().all(|patch| {
            let mut now = vec![0; patch.replacement.len()];
            target.read(patch.address, &mut now).is_ok() && now == patch.replacement
        })
    }
}

impl Injection {
    /// Runs a program at a function, wherever the file is mapped in the process. All or nothing.
    /// `unwinders` knows the process's files, or gets to know them.
    pub fn link(
        &mut self,
        stopped: &mut Stopped<'_>,
        spec: &LinkSpec<'_>,
        unwinders: &mut Unwinders,
    ) -> Result<Link> {
        let maps = stopped.maps()?;
        let addresses = maps.code_addresses(spec.module.id(), spec.offset);
        if addresses.is_empty() {
            return Err(Error::NotLoaded {
                pid: stopped.target().pid(),
                path: spec.module.elf().path().to_owned(),
            });
        }
        let link = Link(self.next_link);
        self.next_link += 1;
        self.links.insert(link.0, Vec::new());
        for address in addresses {
            if let Err(error) = self.link_at(stopped, link, spec, address, unwinders) {
                self.unlink(stopped, link)?;
                return Err(error);
            }
        }
        Ok(link)
    }

    /// Takes a program away from its function; the function gets its own bytes back if no other
    /// program is there. Unknown links are ignored.
    pub fn unlink(&mut self, stopped: &mut Stopped<'_>, link: Link) -> Result<()> {
        let target = stopped.target();
        for (hook, program) in self.links.remove(&link.0).unwrap_or_default() {
            self.programs.switch_off(target, &self.control, program)?;
            let Some(entry) = self.hooks.get_mut(&hook) else {
                continue;
            };
            entry.entry.retain(|p| *p != program);
            entry.on_return.retain(|p| *p != program);
            self.write_lists(stopped, hook)?;
            if self
                .hooks
                .get(&hook)
                .is_some_and(|h| h.entry.is_empty() && h.on_return.is_empty())
            {
                self.remove_hook(stopped, hook)?;
            }
        }
        Ok(())
    }

    /// Addresses of the functions that a link's program was put at.
    pub fn sites_of(&self, link: Link) -> Vec<u64> {
        self.hooks_of(link).map(|hook| hook.site).collect()
    }

    /// Whether the jumps to a link's program are still there: the process may have unloaded the
    /// file since, or changed its code. A glance that costs little; it need not be stopped.
    pub fn is_in_place(&self, target: &Target, link: Link) -> bool {
        self.hooks_of(link).all(|hook| hook.is_in_place(target))
    }

    fn hooks_of(&self, link: Link) -> impl Iterator<Item = &Hook> {
        let places = self.links.get(&link.0).into_iter().flatten();
        places.filter_map(|(hook, _)| self.hooks.get(hook))
    }

    /// Addresses of the functions that are probed now.
    pub fn sites(&self) -> Vec<u64> {
        self.hooks
            .values()
            .filter(|hook| !hook.retired && !hook.guards)
            .map(|hook| hook.site)
            .collect()
    }

    fn link_at(
        &mut self,
        stopped: &mut Stopped<'_>,
        link: Link,
        spec: &LinkSpec<'_>,
        address: u64,
        unwinders: &mut Unwinders,
    ) -> Result<()> {
        self.reclaim(stopped)?;
        let hook = match self.hook_for(stopped, spec, address, unwinders) {
            Ok(hook) => hook,
            Err(error) => {
                self.reclaim(stopped)?;
                return Err(error);
            }
        };
        let pid = stopped.target().pid();
        let result = self.add_program(stopped, link, spec, hook);
        let empty = |h: &Hook| h.entry.is_empty() && h.on_return.is_empty();
        if result.is_err() && self.hooks.get(&hook).is_some_and(empty) {
            self.remove_hook(stopped, hook)?;
        }
        tracing::debug!(pid, site = format_args!("{address:#x}"), hook, "linked");
        result
    }

    fn add_program(
        &mut self,
        stopped: &mut Stopped<'_>,
        link: Link,
        spec: &LinkSpec<'_>,
        index: usize,
    ) -> Result<()> {
        let target = stopped.target();
        let Some(hook) = self.hooks.get_mut(&index) else {
            return Ok(());
        };
        let list = match spec.when {
            When::Entry => &mut hook.entry,
            When::Return => &mut hook.on_return,
        };
        if list.len() >= MAX_PROGRAMS_PER_HOOK {
            return Err(Error::Site {
                pid: target.pid(),
                address: hook.site,
                reason: format!("it runs {MAX_PROGRAMS_PER_HOOK} programs already"),
            });
        }
        let program = self.programs.add(target, &self.control, &spec.program)?;
        list.push(program);
        self.links.entry(link.0).or_default().push((index, program));
        self.write_lists(stopped, index)
    }

    /// The hook at a site, made or extended to returns if need be.
    fn hook_for(
        &mut self,
        stopped: &mut Stopped<'_>,
        spec: &LinkSpec<'_>,
        address: u64,
        unwinders: &mut Unwinders,
    ) -> Result<usize> {
        let returns = spec.when == When::Return;
        let old = self
            .hooks
            .values()
            .find(|h| h.site == address && !h.retired)
            .cloned();
        if let Some(old) = &old
            && (old.returns || !returns)
        {
            return Ok(old.index);
        }
        let pid = stopped.target().pid();
        let refuse = |reason: String| Error::Site {
            pid,
            address,
            reason,
        };
        if old.as_ref().is_some_and(|old| old.guards) {
            return Err(refuse(
                "while returns are probed in the process, its unwinder's function is hooked already"
                    .into(),
            ));
        }
        let shadow_stack = Status::read(pid)?.shadow_stack;
        let unwinders_know = if returns && !shadow_stack {
            self.guard_unwinders(stopped, unwinders)?;
            Some(self.unwinders_know(stopped, unwinders, address)?)
        } else {
            returns.then_some(Ok(()))
        };
        let live = self.hooks.values().filter(|h| !h.retired);
        let place = (spec.offset, address);
        let plan = site::plan(stopped, spec.module, place, unwinders_know, live)?;
        if shadow_stack && let Some(what) = plan.breaks_shadow_stacks(returns) {
            return Err(refuse(format!(
                "the process has a hardware shadow stack, so {what}"
            )));
        }
        let index = self.free_index().ok_or_else(|| {
            refuse(format!(
                "the process has {MAX_HOOKS} hooks already, which is the most"
            ))
        })?;
        let dispatchers = self.dispatchers;
        let trampoline = self.place_trampoline(stopped, &plan, |plan, room| {
            let build = if returns {
                trampoline::build_return
            } else {
                trampoline::build_entry
            };
            build(plan, index as u32, &dispatchers, room)
        })?;
        let hook = Hook {
            index,
            site: address,
            patches: trampoline.patches.clone(),
            guards: false,
            returns,
            trampoline: trampoline.address,
            return_point: trampoline.return_point.unwrap_or(0),
            entry: old.as_ref().map_or_else(Vec::new, |old| old.entry.clone()),
            on_return: Vec::new(),
            retired: false,
        };
        let kind = HOOK_ENTRY | if returns { HOOK_RETURN } else { 0 };
        let record = JournalHook {
            index,
            kind,
            site: address,
            patches: hook.patches.clone(),
            trampoline: hook.trampoline,
            trampoline_len: TRAMPOLINE_LEN,
            return_point: hook.return_point,
        };
        self.put_in_place(stopped, hook, &record, old.as_ref())?;
        if let Some(old) = old {
            // Its programs run from the new one now; its trampoline is no longer jumped to.
            for places in self.links.values_mut() {
                for place in places.iter_mut().filter(|(hook, _)| *hook == old.index) {
                    place.0 = index;
                }
            }
            self.control
                .set_hook_state(stopped.target(), old.index, HookState::Free)?;
            if let Some(old) = self.hooks.get_mut(&old.index) {
                old.retired = true;
                old.entry.clear();
            }
        }
        Ok(index)
    }

    /// Announces a hook whose trampoline is there, and patches its site.
    pub(super) fn put_in_place(
        &mut self,
        stopped: &mut Stopped<'_>,
        hook: Hook,
        record: &JournalHook,
        old: Option<&Hook>,
    ) -> Result<()> {
        let index = hook.index;
        self.control.announce_hook(stopped.target(), record)?;
        self.write_dispatch(stopped, &hook)?;
        self.hooks.insert(index, hook);
        self.hooks_used = self.hooks_used.max(index + 1);
        self.tell_hooks_used(stopped)?;
        self.write_lists(stopped, index)?;
        if let Err(error) = self.patch_in(stopped, index, old) {
            self.remove_hook(stopped, index)?;
            return Err(error);
        }
        self.control
            .set_hook_state(stopped.target(), index, HookState::Live)
    }

    /// A record that was never used, so that forked children find what their patches replaced;
    /// else any that is free.
    pub(super) fn free_index(&self) -> Option<usize> {
        let never_used = self.hooks_used..MAX_HOOKS;
        never_used
            .chain(0..MAX_HOOKS)
            .find(|index| !self.hooks.contains_key(index))
    }

    /// Builds a trampoline in room near its site.
    pub(super) fn place_trampoline(
        &mut self,
        stopped: &mut Stopped<'_>,
        plan: &SitePlan,
        build: impl FnOnce(&SitePlan, u64) -> Result<Trampoline, BuildError>,
    ) -> Result<Trampoline> {
        let pid = stopped.target().pid();
        let refuse = |error: BuildError| Error::Site {
            pid,
            address: plan.address,
            reason: error.to_string(),
        };
        let room = self.trampoline_room(stopped, plan.address, TRAMPOLINE_LEN)?;
        let built = build(plan, room).map_err(refuse);
        let trampoline = match built {
            Ok(trampoline) if trampoline.code.len() as u64 <= TRAMPOLINE_LEN => trampoline,
            other => {
                self.free_trampoline(room, TRAMPOLINE_LEN);
                let len = other?.code.len();
                return Err(Error::Site {
                    pid,
                    address: plan.address,
                    reason: format!("its trampoline would take {len} bytes"),
                });
            }
        };
        stopped.poke(room, &trampoline.code)?;
        Ok(trampoline)
    }

    fn dispatch_at(&self, index: usize) -> u64 {
        let offset = offset_of!(State, hooks) + index * size_of::<HookDispatch>();
        self.control.place.state + offset as u64
    }

    fn write_dispatch(&self, stopped: &Stopped<'_>, hook: &Hook) -> Result<()> {
        let at = self.dispatch_at(hook.index);
        for (offset, value) in [
            (offset_of!(HookDispatch, site), hook.site),
            (offset_of!(HookDispatch, entry_programs), 0),
            (offset_of!(HookDispatch, return_programs), 0),
            (offset_of!(HookDispatch, return_point), hook.return_point),
        ] {
            stopped.write(at + offset as u64, &value.to_le_bytes())?;
        }
        Ok(())
    }

    /// Tells the image how many hooks may have a return point.
    fn tell_hooks_used(&self, stopped: &Stopped<'_>) -> Result<()> {
        let config = self.control.place.state + offset_of!(State, config) as u64;
        let at = config + offset_of!(Config, hooks_used) as u64;
        stopped.write(at, &(self.hooks_used as u32).to_le_bytes())
    }

    fn write_lists(&self, stopped: &Stopped<'_>, index: usize) -> Result<()> {
        let Some(hook) = self.hooks.get(&index) else {
            return Ok(());
        };
        let at = self.dispatch_at(index);
        let target = stopped.target();
        let entry = at + offset_of!(HookDispatch, entry_programs) as u64;
        write_list(target, &self.control, entry, &hook.entry)?;
        let on_return = at + offset_of!(HookDispatch, return_programs) as u64;
        write_list(target, &self.control, on_return, &hook.on_return)
    }

    /// Writes the jumps, the island first. `old` is the hook whose jumps may be there already.
    fn patch_in(&self, stopped: &mut Stopped<'_>, index: usize, old: Option<&Hook>) -> Result<()> {
        let Some(hook) = self.hooks.get(&index) else {
            return Ok(());
        };
        for patch in &hook.patches {
            let mut from = vec![patch.original.clone()];
            from.extend(
                old.iter()
                    .flat_map(|old| &old.patches)
                    .filter(|p| p.address == patch.address)
                    .map(|p| p.replacement.clone()),
            );
            let end = patch.address + patch.replacement.len() as u64;
            let site = patch.address == hook.site;
            let change = Change {
                address: patch.address,
                from,
                to: patch.replacement.clone(),
                // At the first byte of a site a thread simply finds the jump. Padding is jumped
                // to only when another hook has its island there, and never run otherwise.
                no_thread_in: patch.address + u64::from(site || old.is_some())..end,
            };
            if patch::replace(stopped, &change)? == Outcome::Foreign {
                return Err(Error::Site {
                    pid: stopped.target().pid(),
                    address: patch.address,
                    reason: "its code has just been changed by somebody else".into(),
                });
            }
        }
        Ok(())
    }
}
