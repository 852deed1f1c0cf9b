//! Taking hooks away, and making free again what no thread needs.

use std::collections::HashMap;

use bpftime_abi::target::HookState;

use super::hooks::{Hook, TRAMPOLINE_LEN};
use super::returns::Returns;
use super::{Injection, inside};
use crate::error::Result;
use crate::patch::{self, Change, Outcome};
use crate::target::Stopped;
use crate::trampoline::Patch;

impl Injection {
    /// Gives a function its own bytes back.
    pub(super) fn remove_hook(&mut self, stopped: &mut Stopped<'_>, index: usize) -> Result<()> {
        let Some(hook) = self.hooks.get_mut(&index) else {
            return Ok(());
        };
        hook.retired = true;
        let (site, patches) = (hook.site, hook.patches.clone());
        let target = stopped.target();
        self.control
            .set_hook_state(target, index, HookState::Removing)?;
        revert(stopped, site, &patches)?;
        self.control
            .set_hook_state(target, index, HookState::Free)?;
        self.reclaim(stopped)
    }

    /// Makes indices, trampolines and records of what was removed free again, if no thread
    /// needs them, and lets go of unwinders that need not know anything any more.
    pub(super) fn reclaim(&mut self, stopped: &mut Stopped<'_>) -> Result<()> {
        self.reclaim_retired(stopped)?;
        if self.retire_guards(stopped)? {
            self.reclaim_retired(stopped)?;
        }
        Ok(())
    }

    fn reclaim_retired(&mut self, stopped: &mut Stopped<'_>) -> Result<()> {
        let retired: Vec<Hook> = self.hooks.values().filter(|h| h.retired).cloned().collect();
        if (retired.is_empty() && !self.programs.has_retired())
            || inside::is_busy(stopped, &self.control)?
        {
            return Ok(());
        }
        self.programs.reclaim();
        if retired.is_empty() {
            return Ok(());
        }
        let points: HashMap<usize, u64> = retired
            .iter()
            .filter(|hook| hook.return_point != 0)
            .map(|hook| (hook.index, hook.return_point))
            .collect();
        let returns = Returns::read(stopped, &self.control, points)?;
        let image = self.control.place.image;
        let trampolines = retired
            .iter()
            .map(|h| h.trampoline..h.trampoline + TRAMPOLINE_LEN);
        let ranges: Vec<_> = std::iter::once(image..self.control.place.state)
            .chain(trampolines)
            .collect();
        if inside::any_reference(stopped, &ranges, &returns)? {
            return Ok(());
        }
        returns.put_back(stopped)?;
        for hook in retired {
            self.free_trampoline(hook.trampoline, TRAMPOLINE_LEN);
            self.hooks.remove(&hook.index);
        }
        Ok(())
    }
}

/// Writes the original bytes back, the site first; [`Outcome::Foreign`] if somebody else changed
/// some of them, which then stay.
pub(super) fn revert(stopped: &mut Stopped<'_>, site: u64, patches: &[Patch]) -> Result<Outcome> {
    let mut outcome = Outcome::Done;
    for patch in patches.iter().rev() {
        let len = if patch.address == site { 0 } else { 1 };
        let change = Change {
            address: patch.address,
            from: vec![patch.replacement.clone()],
            to: patch.original.clone(),
            // A thread at the jump of an island would run padding.
            no_thread_in: patch.address..patch.address + len,
        };
        if patch::replace(stopped, &change)? == Outcome::Foreign {
            outcome = Outcome::Foreign;
        }
    }
    Ok(outcome)
}
