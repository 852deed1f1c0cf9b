//! Sections of a program in which not everything may be done: spin locks held, RCU read-side
//! sections, disabled preemption and interrupts.

use super::value::Id;

/// What holds a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// A value of the map with the index.
    Map(u32),
    /// An object of the program's structure with the number.
    Local(u32),
}

/// Which functions take a lock and release it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockKind {
    /// `bpf_spin_lock`.
    Spin,
    /// `bpf_res_spin_lock`, which gives up where it would wait for ever.
    Resilient,
    /// `bpf_res_spin_lock_irqsave`.
    ResilientIrq,
}

/// A spin lock in a map's value or in an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lock {
    /// How it was taken.
    pub kind: LockKind,
    /// What it is in.
    pub holder: Holder,
    /// Identity of the pointer to the value or object; 0 for the only value of a map of one.
    pub value: Id,
    /// Slot of the call that took it.
    pub slot: u32,
}

/// The sections that a program is in at one place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sections {
    /// The spin locks that are held, in the order in which they were taken; of `bpf_spin_lock`, one.
    pub locks: Vec<Lock>,
    /// RCU read-side sections that the program entered and did not leave.
    pub rcu: u32,
    /// How often preemption was disabled and not enabled again.
    pub preempt: u32,
    /// How often interrupts were disabled and not restored.
    pub irq: u8,
}

impl Sections {
    /// Whether the program is in none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
