//! Helpers that call functions of the program back.

use bpftime_isa::GraphNode;
use bpftime_isa::context::Object;
use bpftime_isa::helper::HelperProto;
use bpftime_isa::kfunc::DYNPTR_SIZE;
use bpftime_vm::TrapReason;
use bpftime_vm::interp::machine::{Arguments, Called};

use super::helpers::{Call, DRAIN, FIND_VMA, TIMER_SET_CALLBACK};
use super::memory::{Kind, handle};
use super::parts::{Dynptr, Part};
use super::world::{Repeating, World};

impl World<'_> {
    pub(super) fn start_calling(
        &mut self,
        proto: &'static HelperProto,
        arguments: &Arguments,
        call: &Call,
    ) -> Result<Called, TrapReason> {
        let Some(entry) = call.function else {
            return Err(self.lack(format!("{}: no function", proto.name)));
        };
        let (at, context) = (0, call.context);
        if proto.id == TIMER_SET_CALLBACK {
            return self.call_later(entry, call.object);
        }
        if proto.id == FIND_VMA {
            if self.tape.below(3) == 0 {
                return Ok(Called::Result(Some(2u64.wrapping_neg())));
            }
            let result = 0;
            let later = false;
            self.repeating.push(Repeating::Once { result, later });
            let area = self.object(&Object::Kernel("vm_area_struct"), 0);
            let arguments = [
                Some(arguments.values[0]),
                Some(area),
                Some(context),
                None,
                None,
            ];
            return Ok(Called::Callback { entry, arguments });
        }
        let repeating = match call.map {
            Some(_) if proto.id == DRAIN => Repeating::Drain {
                entry,
                context,
                at,
                count: self.tape.below(4),
                given: (0, 0),
            },
            Some(map) => Repeating::Each {
                entry,
                context,
                map,
                at,
                count: self.tape.below(4),
            },
            None => {
                let count = arguments.values[0] & 0xffff_ffff;
                if count > 1 << 23 {
                    return Ok(Called::Result(Some(7u64.wrapping_neg())));
                }
                Repeating::Loop {
                    entry,
                    context,
                    at,
                    count,
                }
            }
        };
        self.repeating.push(repeating);
        self.go_on_calling(0)
    }

    /// Calls the function of the innermost helper that calls back once more, or ends it.
    pub(super) fn go_on_calling(&mut self, result: u64) -> Result<Called, TrapReason> {
        let Some(repeating) = self.repeating.pop() else {
            return Err(self.lack("a callback of nobody".to_owned()));
        };
        match repeating {
            Repeating::Loop {
                entry,
                context,
                at,
                count,
            } => {
                // A result other than 0 ends the loop, once it went round.
                if at == count || (at > 0 && result & 0xffff_ffff != 0) {
                    return Ok(Called::Result(Some(at)));
                }
                let next = Repeating::Loop {
                    entry,
                    context,
                    at: at + 1,
                    count,
                };
                self.repeating.push(next);
                let arguments = [Some(at), Some(context), None, None, None];
                Ok(Called::Callback { entry, arguments })
            }
            Repeating::Each {
                entry,
                context,
                map,
                at,
                count,
            } => {
                if at == count || (at > 0 && result & 0xffff_ffff != 0) {
                    return Ok(Called::Result(Some(at)));
                }
                let next = Repeating::Each {
                    entry,
                    context,
                    map,
                    at: at + 1,
                    count,
                };
                self.repeating.push(next);
                let key_size = self.maps[map].definition.key_size as usize;
                let mut key = self.random_bytes(key_size);
                if self.maps[map].is_array() && key_size == 4 {
                    key.copy_from_slice(&(at as u32).to_le_bytes());
                }
                let key = self.memory.add(Kind::Other, false, key);
                let value = self.map_value_at(map, at);
                let map = handle(map as u64);
                let arguments = [Some(map), Some(key), Some(value), Some(context), None];
                Ok(Called::Callback { entry, arguments })
            }
            Repeating::Drain {
                entry,
                context,
                at,
                count,
                given: (dynptr, sample),
            } => {
                self.memory.remove(dynptr);
                self.memory.remove(sample);
                self.parts.remove(&dynptr);
                if at > 0 && result > 1 {
                    return Err(self.refuse(format!("a callback gives {result:#x}")));
                }
                if at == count || (at > 0 && result != 0) {
                    return Ok(Called::Result(Some(at)));
                }
                let len = self.tape.below(64) as usize;
                let bytes = self.random_bytes(len);
                let sample = self.memory.add(Kind::Other, true, bytes);
                let dynptr = self.memory.add(Kind::Other, true, vec![0; 16]);
                let made = Dynptr {
                    base: Some(sample),
                    offset: 0,
                    size: len as u64,
                    read_only: false,
                    record: None,
                };
                let put = self.put_part(dynptr, DYNPTR_SIZE, Part::Dynptr(made));
                if let (Ok(()), Some(region)) = (put, self.memory.at_mut(dynptr)) {
                    region.writable = false;
                }
                self.repeating.push(Repeating::Drain {
                    entry,
                    context,
                    at: at + 1,
                    count,
                    given: (dynptr, sample),
                });
                let arguments = [Some(dynptr), Some(context), None, None, None];
                Ok(Called::Callback { entry, arguments })
            }
            Repeating::Less { root, .. } => {
                self.repeating.push(repeating);
                match self.collection(root, true) {
                    Ok(holds) => Ok(self.go_on_comparing(holds)),
                    Err(problem) => Err(self.refuse(problem.to_owned())),
                }
            }
            Repeating::Once { result, later } => {
                if later {
                    self.later_ends();
                }
                Ok(Called::Result(Some(result)))
            }
        }
    }

    /// Compares the node that is put into a tree with another, or ends.
    pub(super) fn go_on_comparing(&mut self, holds: GraphNode) -> Called {
        let Some(Repeating::Less {
            entry,
            node,
            root,
            left,
            result,
        }) = self.repeating.pop()
        else {
            return Called::Result(None);
        };
        let other = self.member(root, holds, false);
        if left == 0 || other == 0 {
            return Called::Result(Some(result));
        }
        self.repeating.push(Repeating::Less {
            entry,
            node,
            root,
            left: left - 1,
            result,
        });
        let arguments = [Some(node), Some(other), None, None, None];
        Called::Callback { entry, arguments }
    }

    /// Calls a function now that is to be called later: on a stack of its own, holding nothing.
    pub(super) fn call_later(&mut self, entry: u32, place: u64) -> Result<Called, TrapReason> {
        let held = self.memory.around(place);
        let Some((value, Some(map))) = held.map(|(base, region)| (base, region.map)) else {
            return Err(self.lack("the map of what is called later".to_owned()));
        };
        self.ran_later = true;
        let (result, later) = (0, true);
        self.repeating.push(Repeating::Once { result, later });
        self.suspended.push((
            std::mem::take(&mut self.locks),
            [self.rcu, self.preempt, self.irq],
        ));
        [self.rcu, self.preempt, self.irq] = [0; 3];
        let key_size = self.maps[map].definition.key_size as usize;
        let key = self.random_bytes(key_size);
        let key = self.memory.add(Kind::Other, false, key);
        let map = handle(map as u64);
        let arguments = [Some(map), Some(key), Some(value), None, None];
        Ok(Called::Callback { entry, arguments })
    }

    fn later_ends(&mut self) {
        let held = [self.rcu, self.preempt, self.irq];
        if !self.locks.is_empty() || held != [0; 3] {
            let _ = self.refuse("the end of a callback, with a section that goes on".to_owned());
        }
        if let Some((locks, sections)) = self.suspended.pop() {
            self.locks = locks;
            [self.rcu, self.preempt, self.irq] = sections;
        }
    }
}
