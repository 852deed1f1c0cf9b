//! Which threads are in some code, or will come back to it.

use std::collections::{BTreeMap, HashMap};
use std::mem::{offset_of, size_of};
use std::ops::Range;

use bpftime_abi::target::{MAX_SLOTS, PtRegs, RETURN_ENTRIES, SLOT_STACK_BYTES, State, ThreadSlot};

use super::{Stopped, memory, stub};
use crate::error::Result;
use crate::process::Maps;

/// Where a thread refers to code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reference {
    /// Its program counter.
    ProgramCounter {
        /// The thread.
        tid: i32,
        /// The program counter.
        address: u64,
    },
    /// A word of its stack: a return address, or the program counter that a signal handler
    /// returns to (or a value that looks like one).
    Stack {
        /// The thread.
        tid: i32,
        /// Address of the word.
        slot: u64,
        /// The word.
        address: u64,
    },
    /// There may be more: its stack is too large, or refers too often, to be looked at whole.
    Unscanned {
        /// The thread.
        tid: i32,
    },
}

/// No more than this of one stack is looked at.
const MAX_STACK: u64 = 64 << 20;
/// No more than this of all stacks together.
const MAX_STACKS: u64 = 1 << 30;
/// No more stacks than this.
const MAX_RANGES: usize = 1 << 16;
/// No more references than this: more cannot be put back by anybody.
const MAX_FOUND: usize = RETURN_ENTRIES + 1;
/// No more addresses than this are looked at for being the return address of a signal handler.
const MAX_SIGRETURNS: usize = 1 << 14;
/// Bytes read at a time.
const CHUNK: usize = 64 << 10;
/// `mov rax, 15; syscall`, to which signal handlers return (glibc and musl; the kernel's ABI
/// leaves the function to the C library).
const SIGRETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];
/// Below the probed code's stack pointer, the trampolines and the image use no more than this.
const BELOW_PROBE: u64 = 1024;
/// From the address of the return address of a signal handler: the interrupted `rsp` in its
/// `ucontext`.
const FRAME_RSP: u64 = 168;

impl Stopped<'_> {
    /// References of all threads to any of `ranges`.
    ///
    /// Every word of each stack from its pointer to the end of the mapping is looked at, so a
    /// number that happens to equal an address counts. Where a signal handler runs on an alternate
    /// stack, the interrupted stack is followed too. Stacks of coroutines that do not run are not
    /// looked at: these were left at a call.
    pub fn references(&self, ranges: &[Range<u64>]) -> Result<Vec<Reference>> {
        self.references_in(&self.maps()?, ranges)
    }

    pub(super) fn references_in(
        &self,
        maps: &Maps,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Reference>> {
        let wanted = |address: u64| ranges.iter().any(|range| range.contains(&address));
        // A thread in a stub that a dead tracer left goes on where that stub jumps to.
        let stubs: Vec<_> = stub::places(self.target().pid(), maps)
            .into_iter()
            .filter(|place| place.leftover)
            .map(|place| {
                (
                    place.address..place.address + stub::LEN as u64,
                    place.resumes_at,
                )
            })
            .collect();
        let hit =
            |address: u64| wanted(address) || stubs.iter().any(|(stub, _)| stub.contains(&address));
        let mut scan = StackScan {
            stopped: self,
            maps,
            executable: executable_bounds(maps),
            tid: 0,
            found: Vec::new(),
            seen: BTreeMap::new(),
            sigreturns: HashMap::new(),
            left: MAX_STACKS,
            unscanned: false,
        };
        let mut threads: Vec<_> = self.threads().iter().collect();
        // What is above one of several stack pointers in a mapping is then looked at once.
        threads.sort_by_key(|thread| thread.registers().rsp);
        for thread in threads {
            let regs = thread.registers();
            let restarted = stub::is_restart(regs.rax).then(|| regs.rip.wrapping_sub(2));
            scan.tid = thread.tid();
            for address in [Some(regs.rip), restarted].into_iter().flatten() {
                if hit(address) {
                    scan.found.push(Reference::ProgramCounter {
                        tid: thread.tid(),
                        address,
                    });
                }
            }
            scan.follow(regs.rsp, &hit);
            if scan.unscanned {
                scan.found.push(Reference::Unscanned { tid: thread.tid() });
                break;
            }
        }
        let mut found = scan.found;
        let through_stubs: Vec<Reference> = found
            .iter()
            .filter_map(|reference| {
                let (tid, address) = match *reference {
                    Reference::ProgramCounter { tid, address }
                    | Reference::Stack { tid, address, .. } => (tid, address),
                    Reference::Unscanned { .. } => return None,
                };
                let (_, resumes_at) = stubs.iter().find(|(stub, _)| stub.contains(&address))?;
                wanted(*resumes_at).then_some(Reference::ProgramCounter {
                    tid,
                    address: *resumes_at,
                })
            })
            .collect();
        found.retain(|reference| match *reference {
            Reference::ProgramCounter { address, .. } | Reference::Stack { address, .. } => {
                wanted(address)
            }
            Reference::Unscanned { .. } => true,
        });
        found.extend(through_stubs);
        Ok(found)
    }
}

struct StackScan<'a> {
    stopped: &'a Stopped<'a>,
    maps: &'a Maps,
    executable: Range<u64>,
    tid: i32,
    found: Vec<Reference>,
    /// Start and end of what was looked at.
    seen: BTreeMap<u64, u64>,
    /// Addresses, and whether they are the return address of a signal handler.
    sigreturns: HashMap<u64, bool>,
    /// Bytes that may still be looked at.
    left: u64,
    /// A bound was met.
    unscanned: bool,
}

impl StackScan<'_> {
    /// Looks at the stack from `rsp`, and at those that its signal frames interrupted.
    fn follow(&mut self, rsp: u64, hit: &impl Fn(u64) -> bool) {
        let mut todo = vec![rsp];
        while let Some(rsp) = todo.pop() {
            let Some(mapping) = self.maps.at(rsp) else {
                continue;
            };
            let start = rsp & !7;
            // A frame lower in a stack that was looked at already adds nothing.
            let before = self.seen.range(..=start).next_back();
            if before.is_some_and(|(_, end)| start < *end) {
                continue;
            }
            let mut end = mapping.end.min(start.saturating_add(MAX_STACK));
            if let Some(slot) = PrivateStack::at(self.maps, start) {
                end = slot.end;
                todo.extend(slot.interrupted(self.stopped.target().pid()));
            }
            // What follows may have been looked at from another thread's stack pointer.
            if let Some((next, _)) = self.seen.range(start..).next() {
                end = end.min(*next);
            }
            self.seen.insert(start, end);
            self.unscanned |= self.seen.len() > MAX_RANGES;
            self.scan(start..end, hit, &mut todo);
            if self.unscanned {
                return;
            }
        }
    }

    fn scan(&mut self, range: Range<u64>, hit: &impl Fn(u64) -> bool, todo: &mut Vec<u64>) {
        let pid = self.stopped.target().pid();
        let mut buffer = vec![0; CHUNK];
        let mut at = range.start;
        while at < range.end {
            let want = CHUNK.min((range.end - at) as usize);
            let Some(chunk) = buffer.get_mut(..want) else {
                return;
            };
            let Ok(got) = memory::read_some(pid, at, chunk) else {
                return;
            };
            self.left = self.left.saturating_sub(got as u64);
            self.unscanned |= self.left == 0;
            let (words, _) = chunk.get(..got).unwrap_or_default().as_chunks::<8>();
            for (index, word) in words.iter().enumerate() {
                let address = u64::from_le_bytes(*word);
                let slot = at + index as u64 * 8;
                if hit(address) {
                    self.unscanned |= self.found.len() >= MAX_FOUND;
                    self.found.push(Reference::Stack {
                        tid: self.tid,
                        slot,
                        address,
                    });
                }
                // Most words are small numbers or pointers to data.
                if self.executable.contains(&address) && self.is_sigreturn(address) {
                    let mut rsp = [0; 8];
                    if memory::read(pid, slot + FRAME_RSP, &mut rsp).is_ok() {
                        todo.push(u64::from_le_bytes(rsp));
                    }
                }
                if self.unscanned {
                    return;
                }
            }
            if got < want {
                return;
            }
            at += want as u64;
        }
    }

    /// Whether a word is the return address of a signal handler; answers are remembered.
    fn is_sigreturn(&mut self, address: u64) -> bool {
        if let Some(answer) = self.sigreturns.get(&address) {
            return *answer;
        }
        let executable = self.maps.at(address).is_some_and(|m| m.execute);
        let mut code = [0; SIGRETURN.len()];
        let answer = executable
            && memory::read(self.stopped.target().pid(), address, &mut code).is_ok()
            && code == SIGRETURN;
        self.unscanned |= self.sigreturns.len() >= MAX_SIGRETURNS;
        self.sigreturns.insert(address, answer);
        answer
    }
}

/// From the first to the last byte that can be executed.
fn executable_bounds(maps: &Maps) -> Range<u64> {
    let mut code = maps.iter().filter(|m| m.execute);
    let first = code.next().map_or(0, |m| m.start);
    first..code.last().map_or(u64::MAX, |m| m.end)
}

/// The private stack of a thread slot of the in-target image, on which programs run.
struct PrivateStack {
    end: u64,
    slot: u64,
}

impl PrivateStack {
    fn at(maps: &Maps, rsp: u64) -> Option<Self> {
        // The state follows the image's text.
        let state = maps.memfd(b"bpftime-image").map(|m| m.end).find(|state| {
            rsp.checked_sub(*state)
                .is_some_and(|offset| offset < size_of::<State>() as u64)
        })?;
        let offset = rsp.checked_sub(state + offset_of!(State, stacks) as u64)?;
        let index = offset / SLOT_STACK_BYTES as u64;
        (index < MAX_SLOTS as u64).then(|| Self {
            end: rsp - offset + (index + 1) * SLOT_STACK_BYTES as u64,
            slot: state + offset_of!(State, slots) as u64 + index * size_of::<ThreadSlot>() as u64,
        })
    }

    /// Where the stack of the probed code is looked at from.
    fn interrupted(&self, pid: i32) -> Option<u64> {
        let at = self.slot + (offset_of!(ThreadSlot, regs) + offset_of!(PtRegs, sp)) as u64;
        let mut sp = [0; 8];
        memory::read(pid, at, &mut sp).ok()?;
        u64::from_le_bytes(sp).checked_sub(BELOW_PROBE)
    }
}
