//! Who operates on a map, and a lock that survives its owner.

use core::sync::atomic::{AtomicU64, Ordering};

use bpftime_abi::Errno;

/// Says whether the thread that an owner number names (see [`Caller::owner`]) still exists.
/// A number with a zero upper half names a thread by its thread id alone.
///
/// Must answer `true` when it cannot know: a lock taken from a living owner is worse than one
/// that stays taken. It is called only after the caller has waited for the lock in vain.
pub type OwnerAlive = unsafe extern "sysv64" fn(owner: u64) -> bool;

/// Who changes a map.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Caller {
    /// The calling thread: thread group id in the upper half, thread id (not 0) in the lower,
    /// in a pid namespace that all users of the map share. Zero means nobody and is refused
    /// with `EINVAL`.
    pub owner: u64,
    /// How to find out that the owner of a lock is dead. Without it, a lock whose owner died
    /// stays taken until somebody else finds out (`MapRef::recover`).
    pub alive: Option<OwnerAlive>,
    /// How often to wait for a lock that a living thread holds: rounds of some 1000 pause
    /// instructions (tens of microseconds), at least one. Few on a hook's path.
    pub rounds: u32,
    /// Not used; keeps the size a multiple of 8.
    pub reserved: u32,
}

impl Caller {
    /// A caller on a hook's path: it gives up soon.
    pub const fn new(owner: u64, alive: Option<OwnerAlive>) -> Self {
        Self {
            owner,
            alive,
            rounds: 1,
            reserved: 0,
        }
    }

    /// The same with more patience, for callers that are not on a hook's path.
    pub const fn with_rounds(mut self, rounds: u32) -> Self {
        self.rounds = rounds;
        self
    }
}

/// Pause instructions in a round of waiting.
const PAUSES: u32 = 1000;

/// A lock in shared memory: the owner's number, or 0.
#[repr(transparent)]
pub(crate) struct Lock(AtomicU64);

/// How the lock was got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// It was free.
    Free,
    /// Its owner had died: what it guards may be half changed.
    FromDead,
}

impl Lock {
    /// Takes the lock.
    ///
    /// `EBUSY` if the calling thread has it already (it was interrupted by a signal handler
    /// that came here), or if it does not become free in time.
    #[inline(always)]
    pub(crate) fn take(&self, caller: &Caller) -> Result<Taken, Errno> {
        let me = caller.owner;
        if me != 0
            && self
                .0
                .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        {
            return Ok(Taken::Free);
        }
        self.take_slow(caller)
    }

    #[cold]
    #[inline(never)]
    fn take_slow(&self, caller: &Caller) -> Result<Taken, Errno> {
        let me = caller.owner;
        if me == 0 {
            return Err(Errno::EINVAL);
        }
        let mut round = 0;
        loop {
            let mut pause = 0;
            while pause < PAUSES {
                let owner = self.0.load(Ordering::Relaxed);
                if owner == me {
                    return Err(Errno::EBUSY);
                }
                if owner == 0
                    && self
                        .0
                        .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
                        .is_ok()
                {
                    return Ok(Taken::Free);
                }
                core::hint::spin_loop();
                pause += 1;
            }
            if self.take_from_dead(caller) {
                return Ok(Taken::FromDead);
            }
            round += 1;
            if round >= caller.rounds {
                return Err(Errno::EBUSY);
            }
        }
    }

    /// Takes the lock if its owner is dead; does not wait.
    pub(crate) fn take_from_dead(&self, caller: &Caller) -> bool {
        let owner = self.0.load(Ordering::Relaxed);
        if owner == 0 || owner == caller.owner || caller.owner == 0 {
            return false;
        }
        let Some(alive) = caller.alive else {
            return false;
        };
        // SAFETY: the caller supplied the function for this purpose; it takes any number.
        if unsafe { alive(owner) } {
            return false;
        }
        // A dead owner's number never comes back here, so that exactly one rescuer wins.
        self.0
            .compare_exchange(owner, caller.owner, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Gives the lock back, unless somebody took it away from us.
    #[inline(always)]
    pub(crate) fn release(&self, caller: &Caller) {
        if self.0.load(Ordering::Relaxed) == caller.owner {
            self.0.store(0, Ordering::Release);
        }
    }
}
