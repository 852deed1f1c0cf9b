//! Undoing an injection from what the control memory says, whoever made it.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use bpftime_abi::target::{HOOK_UNWIND, HookState, Phase};

use super::control::{ControlMemory, JournalHook};
use super::inside;
use super::removal::revert;
use super::returns::Returns;
use crate::error::{Error, Result};
use crate::memfd::NAME_PREFIX;
use crate::patch::Outcome;
use crate::process::Mapping;
use crate::target::{Stopped, Target, executor};

/// How often threads are let run to leave our code before it is left where it is.
const ATTEMPTS: u32 = 12;

/// What [`detach`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Detached {
    /// There was something to undo.
    pub was_attached: bool,
    /// Functions that have their own bytes again.
    pub restored: usize,
    /// Functions whose code somebody else has changed or unloaded since; not touched.
    pub foreign: Vec<u64>,
    /// Threads are still in our code, or will come back to it. It stays mapped, does nothing but
    /// let them, and their exceptions, out, and is removed by the next detach.
    pub code_left: bool,
    /// The process has confined itself since by a seccomp filter, so that nothing can be unmapped.
    /// What is mapped does nothing.
    pub confined: bool,
}

/// Process id of who says in the control memory that the process is its target; it may have ended. (A
/// process can write anything there.)
pub fn guardian(target: &Target) -> Result<Option<i32>> {
    let maps = target.maps()?;
    for address in ControlMemory::mapped(&maps) {
        if let Ok(Some(control)) = ControlMemory::open(target, address)
            && control.owned
        {
            return Ok(Some(control.guardian));
        }
    }
    Ok(None)
}

/// Undoes everything in a process that runs.
pub fn detach(target: &Target) -> Result<Detached> {
    let maps = target.maps()?;
    if ControlMemory::mapped(&maps).is_empty() && !executor::has_leftovers(target.pid(), &maps) {
        return Ok(Detached::default());
    }
    let mut total = Detached::default();
    let mut pause = Duration::from_micros(200);
    for _ in 0..ATTEMPTS {
        let mut stopped = target.stop()?;
        let now = undo_all(&mut stopped)?;
        drop(stopped);
        total.was_attached |= now.was_attached;
        total.restored = total.restored.max(now.restored);
        total.foreign = now.foreign;
        total.code_left = now.code_left;
        total.confined = now.confined;
        if !total.code_left || total.confined {
            break;
        }
        thread::sleep(pause);
        pause *= 2;
    }
    Ok(total)
}

/// Undoes every injection in a stopped process, as far as its threads allow now.
pub(super) fn undo_all(stopped: &mut Stopped<'_>) -> Result<Detached> {
    let maps = stopped.maps()?;
    // Looked at before one of ours may be there.
    let stubs_left = !stopped.makes_remote_calls() && !executor::remove_leftovers(stopped, &maps)?;
    let mut done = Detached {
        code_left: stubs_left,
        ..Detached::default()
    };
    for address in ControlMemory::mapped(&maps) {
        done.was_attached = true;
        match ControlMemory::open(stopped.target(), address)? {
            Some(control) => match undo_one(stopped, &control, stubs_left, &mut done) {
                Err(Error::Seccomp { .. }) => {
                    done.code_left = true;
                    done.confined = true;
                }
                result => result?,
            },
            // A thread that is in a stub may be about to map something that is announced here.
            None if stubs_left => {}
            // Killed before anything else was done.
            None => stopped.unmap(address, super::control::CONTROL_LEN)?,
        }
    }
    Ok(done)
}

/// Undoes one injection, but for what threads need now; `stubs_left`: some are in stubs of tracers
/// that died, and may be about to map something that the journal announces.
fn undo_one(
    stopped: &mut Stopped<'_>,
    control: &ControlMemory,
    stubs_left: bool,
    done: &mut Detached,
) -> Result<()> {
    let target = stopped.target();
    if control.owned {
        control.set_phase(target, Phase::Removing)?;
        // Forked children keep their patches; nothing runs there any more either.
        control.switch_all_off(target)?;
    }
    let hooks = control.hooks(target)?;
    // An unwinder must be told what return points stand for as long as there are any.
    let (guards, probes): (Vec<_>, Vec<_>) =
        hooks.iter().partition(|hook| hook.kind & HOOK_UNWIND != 0);
    for hook in probes {
        let patched = is_patched(stopped, hook);
        match undo_hook(stopped, control, hook)? {
            Outcome::Done => done.restored += usize::from(patched),
            // A removed record is only history.
            Outcome::Foreign if patched => done.foreign.push(hook.site),
            Outcome::Foreign => {}
        }
    }
    if stubs_left {
        return Ok(());
    }
    if !image_is_there(stopped, control)? {
        // Killed before the image was in, or while everything was being unmapped.
        for hook in guards {
            undo_hook(stopped, control, hook)?;
        }
        return unmap_all(stopped, control);
    }
    let points: HashMap<usize, u64> = hooks
        .iter()
        .filter(|hook| hook.return_point != 0)
        .map(|hook| (hook.index, hook.return_point))
        .collect();
    let returns = Returns::read(stopped, control, points)?;
    let code = inside::code(&stopped.maps()?);
    if inside::is_busy(stopped, control)? || inside::any_reference(stopped, &code, &returns)? {
        done.code_left = true;
        return Ok(());
    }
    // These have no islands, so no thread is let run for it.
    for hook in guards {
        undo_hook(stopped, control, hook)?;
    }
    returns.put_back(stopped)?;
    unmap_all(stopped, control)
}

/// Gives a function its own bytes back.
fn undo_hook(
    stopped: &mut Stopped<'_>,
    control: &ControlMemory,
    hook: &JournalHook,
) -> Result<Outcome> {
    let patched = control.owned && is_patched(stopped, hook);
    if patched {
        control.set_hook_state(stopped.target(), hook.index, HookState::Removing)?;
    }
    let outcome = revert(stopped, hook.site, &hook.patches)?;
    if patched {
        control.set_hook_state(stopped.target(), hook.index, HookState::Free)?;
    }
    Ok(outcome)
}

/// Whether any of the hook's jumps is in place.
fn is_patched(stopped: &Stopped<'_>, hook: &JournalHook) -> bool {
    hook.patches.iter().any(|patch| {
        let mut now = vec![0; patch.replacement.len()];
        stopped.read(patch.address, &mut now).is_ok() && now == patch.replacement
    })
}

/// Whether image and state are both mapped.
fn image_is_there(stopped: &Stopped<'_>, control: &ControlMemory) -> Result<bool> {
    let maps = stopped.maps()?;
    let place = control.place;
    Ok(maps
        .at(place.image)
        .is_some_and(|m| m.execute && is_ours(m))
        && maps
            .at(place.state)
            .is_some_and(|m| m.write && !m.is_file())
        && maps
            .at((place.image + place.len).saturating_sub(1))
            .is_some_and(|m| m.write && !m.is_file()))
}

fn is_ours(mapping: &Mapping) -> bool {
    mapping
        .memfd_name()
        .is_some_and(|name| name.starts_with(NAME_PREFIX.as_bytes()))
}

/// Unmaps what the journal lists and what still is a memory file of ours, the control memory
/// last. The state, which is anonymous, is known by the image before it, so it goes first.
fn unmap_all(stopped: &mut Stopped<'_>, control: &ControlMemory) -> Result<()> {
    let target = stopped.target();
    for record in control.mappings(target)? {
        let maps = stopped.maps()?;
        let end = record.address.saturating_add(record.len);
        let in_record = |m: &&Mapping| m.start < end && m.end > record.address;
        let starts_with_ours = maps.at(record.address).is_some_and(is_ours);
        let place = control.place;
        if starts_with_ours && record.address == place.image && end == place.image + place.len {
            let state_is_there = maps.at(place.state).is_some_and(|m| !m.is_file());
            if state_is_there {
                stopped.unmap(place.state, end - place.state)?;
            }
        }
        for mapping in maps.iter().filter(in_record).filter(|m| is_ours(m)) {
            let start = mapping.start.max(record.address);
            stopped.unmap(start, mapping.end.min(end) - start)?;
        }
        if control.owned {
            control.forget_mapping(target, record.index)?;
        }
    }
    stopped.unmap(control.address, super::control::CONTROL_LEN)
}
