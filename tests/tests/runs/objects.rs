//! Objects of the program's own structures: who owns them, and the lists and trees that they are in.
//!
//! Others take things out of collections as soon as no lock is held: what only a collection owns is
//! gone then.

use std::sync::Arc;

use bpftime_isa::{GraphNode, MapField, MapFieldKind};

use super::memory::Kind;
use super::world::World;

/// Nodes in a collection beyond which no more are found in it.
const MEMBERS: usize = 8;

impl World<'_> {
    /// The kernel's part of the memory that begins exactly there: the region, and the part.
    pub(super) fn field_at(&self, address: u64) -> Option<(u64, MapField)> {
        let (base, region) = self.memory.around(address)?;
        let mut fields = region.fields.iter();
        let field = fields.find(|field| u64::from(field.offset) == address - base)?;
        Some((base, field.clone()))
    }

    /// A part of the kernel's that the bytes touch, and whether they are exactly it.
    pub(super) fn touched(&self, address: u64, len: u64) -> Option<(MapField, bool)> {
        let (base, region) = self.memory.around(address)?;
        let at = address - base;
        let mut fields = region.fields.iter();
        let field = fields.find(|field| {
            let first = u64::from(field.offset);
            at < first + u64::from(field.size) && first < at + len
        })?;
        let exact = u64::from(field.offset) == at && u64::from(field.size) == len;
        Some((field.clone(), exact))
    }

    /// A new object; it has `owners`.
    pub(super) fn new_object(&mut self, type_id: u32, owners: u32) -> Option<u64> {
        let program = self.program;
        let local = program.objects.iter().find(|it| it.type_id == type_id)?;
        let (len, fields): (usize, Arc<[MapField]>) =
            (local.size as usize, local.fields.clone().into());
        let bytes = self.value_bytes(len);
        let base = self.memory.add(Kind::Local { type_id }, true, bytes);
        let region = self.memory.at_mut(base)?;
        region.fields = fields;
        region.owners = owners;
        Some(base)
    }

    /// The object that begins at the address, if the program owns it.
    pub(super) fn owned_object(&self, base: u64) -> Result<(), &'static str> {
        match self.memory.at(base) {
            Some(region) if !matches!(region.kind, Kind::Local { .. }) => Err("not an object"),
            Some(region) if region.owners > 0 => Ok(()),
            Some(_) => Err("an object that the program does not own"),
            None => Err("nothing"),
        }
    }

    /// One owner less; without any, and in no collection, it is gone.
    pub(super) fn give_away(&mut self, base: u64) {
        let locked = !self.locks.is_empty();
        let Some(region) = self.memory.at_mut(base) else {
            return;
        };
        region.owners = region.owners.saturating_sub(1);
        if region.owners > 0 || region.member_of.is_some() || region.rcu {
            return;
        }
        if locked {
            // Members of a tree that were dropped by others are still there.
            region.rcu = true;
            return;
        }
        self.memory.remove(base);
    }

    /// What a kernel pointer in memory leads to, as a plain load finds it.
    pub(super) fn load_kptr(&mut self, address: u64, field: &MapField) -> u64 {
        let MapFieldKind::Kptr {
            target,
            referenced,
            percpu,
        } = &field.kind
        else {
            return 0;
        };
        let stored = self.kptrs.get(&address).copied();
        let stored = stored.filter(|base| self.memory.at(*base).is_some());
        match (self.tape.below(4), stored) {
            (0, _) => return 0,
            (1 | 2, Some(base)) => return base,
            _ => {}
        }
        let Some(base) = self.pointee(target, 0) else {
            return 0;
        };
        if *percpu {
            if let Some(region) = self.memory.at_mut(base) {
                region.rcu = true;
            }
            return self.per_cpu(base);
        }
        let kept = *referenced && self.in_rcu();
        if let Some(region) = self.memory.at_mut(base) {
            region.rcu = true;
        }
        if !kept {
            // It may be gone already: reads that fault give 0.
            self.stale.insert(base);
            if self.tape.below(2) == 0 {
                self.memory.remove(base);
            }
        }
        base
    }

    /// A structure by name, of the kernel's or of the program's.
    fn pointee(&mut self, name: &str, owners: u32) -> Option<u64> {
        let kernel = self.types.and_then(|types| types.structure(name));
        if let Some(type_id) = kernel {
            let base = self.structure(type_id, 0);
            if let Some(region) = self.memory.at_mut(base) {
                region.owners = owners;
                if owners > 0 {
                    region.kind = Kind::Acquired;
                }
            }
            return Some(base);
        }
        let program = self.program;
        let local = program.objects.iter().find(|it| it.name == name)?;
        self.new_object(local.type_id, owners)
    }

    /// Puts an object, or null, into memory, and gives what was there.
    pub(super) fn exchange(&mut self, address: u64, given: u64) -> Result<u64, &'static str> {
        let Some((_, field)) = self.field_at(address) else {
            return Err("no kernel pointer");
        };
        let MapFieldKind::Kptr {
            target,
            referenced: true,
            percpu,
        } = &field.kind
        else {
            return Err("no kernel pointer that owns");
        };
        if *percpu {
            let in_rcu = self.in_rcu();
            if given != 0 {
                let one = self.of_cpus.get(&given).copied().ok_or("nothing")?;
                let region = self.memory.at_mut(one).ok_or("what is gone")?;
                if region.owners == 0 {
                    return Err("not an object that the program owns");
                }
                region.owners -= 1;
                region.rcu = true;
                if !in_rcu {
                    self.memory.remove(one);
                }
            }
            if self.tape.below(3) == 0 {
                return Ok(0);
            }
            let one = self.pointee(target, 1);
            return Ok(one.map_or(0, |one| self.per_cpu(one)));
        }
        if given != 0 {
            let in_rcu = self.in_rcu();
            match self.memory.at_mut(given) {
                Some(region) if region.owners > 0 => {
                    region.owners -= 1;
                    if matches!(region.kind, Kind::Acquired) {
                        region.kind = Kind::Object { of: 0 };
                    }
                    region.rcu = true;
                }
                _ => return Err("not an object that the program owns"),
            }
            if !in_rcu {
                self.stale.insert(given);
            }
        }
        let old = self.kptrs.remove(&address);
        if given != 0 {
            self.kptrs.insert(address, given);
        }
        let old = old.filter(|base| self.memory.at(*base).is_some());
        match (self.tape.below(4), old) {
            (0, _) => Ok(0),
            (1 | 2, Some(base)) => {
                if let Some(region) = self.memory.at_mut(base) {
                    region.owners += 1;
                }
                Ok(base)
            }
            _ => Ok(self.pointee(target, 1).unwrap_or(0)),
        }
    }

    /// The list or tree at the address, whose lock is held: what it holds.
    pub(super) fn collection(&self, address: u64, tree: bool) -> Result<GraphNode, &'static str> {
        let Some((base, field)) = self.field_at(address) else {
            return Err("no list or tree");
        };
        let holds = match field.kind {
            MapFieldKind::ListHead { holds } if !tree => holds,
            MapFieldKind::RbRoot { holds } if tree => holds,
            _ => None,
        };
        let locked = |lock: &u64| matches!(self.memory.around(*lock), Some((it, _)) if it == base);
        if !self.locks.iter().any(locked) {
            return Err("a collection whose lock is not held");
        }
        holds.ok_or("no list or tree that holds something")
    }

    /// The object whose node, of the collection in question, is at the address.
    pub(super) fn object_of(&self, node: u64, holds: GraphNode) -> Result<u64, &'static str> {
        let Some((base, region)) = self.memory.around(node) else {
            return Err("nothing");
        };
        let type_id = holds.type_id;
        if region.kind != (Kind::Local { type_id }) || node - base != u64::from(holds.offset) {
            return Err("not such a node");
        }
        Ok(base)
    }

    /// Puts an object into a collection; `Some(0)`, or an error if it is in one already.
    pub(super) fn put_into(&mut self, root: u64, base: u64) -> u64 {
        let Some(region) = self.memory.at_mut(base) else {
            return 0;
        };
        if region.member_of.is_some() {
            self.give_away(base);
            return 22u64.wrapping_neg();
        }
        region.member_of = Some(root);
        region.owners = region.owners.saturating_sub(1);
        self.collections.entry(root).or_default().push(base);
        0
    }

    /// A node of an object in the collection, or null. One that is taken out has an owner more.
    pub(super) fn member(&mut self, root: u64, holds: GraphNode, take: bool) -> u64 {
        let known = self.collections.get(&root).map_or(0, Vec::len);
        let at = match self.tape.below(4) {
            0 => return 0,
            1 | 2 if known > 0 => self.tape.below(known as u64) as usize,
            _ if known >= MEMBERS => return 0,
            _ => {
                let Some(base) = self.new_object(holds.type_id, 0) else {
                    return 0;
                };
                if let Some(region) = self.memory.at_mut(base) {
                    region.member_of = Some(root);
                }
                self.collections.entry(root).or_default().push(base);
                known
            }
        };
        let members = self.collections.entry(root).or_default();
        let base = if take {
            members.remove(at)
        } else {
            members[at]
        };
        if take && let Some(region) = self.memory.at_mut(base) {
            region.member_of = None;
            region.owners += 1;
        }
        base + u64::from(holds.offset)
    }

    /// Takes an object out of a tree, if it is in it.
    pub(super) fn take_out(&mut self, root: u64, base: u64, holds: GraphNode) -> u64 {
        let members = self.collections.entry(root).or_default();
        let Some(at) = members.iter().position(|member| *member == base) else {
            return 0;
        };
        members.remove(at);
        if let Some(region) = self.memory.at_mut(base) {
            region.member_of = None;
            region.owners += 1;
        }
        base + u64::from(holds.offset)
    }

    /// The last lock was given back: others take things out of collections.
    pub(super) fn unlocked(&mut self) {
        if !self.locks.is_empty() {
            return;
        }
        self.collections.clear();
        self.memory.remove_all(|region| {
            matches!(region.kind, Kind::Local { .. })
                && region.owners == 0
                && (region.member_of.is_some()
                    || region.fields.iter().any(|field| {
                        matches!(field.kind, MapFieldKind::ListNode | MapFieldKind::RbNode)
                    }))
        });
        self.left_rcu();
    }

    /// What RCU kept is gone, unless it is kept by something else.
    pub(super) fn left_rcu(&mut self) {
        if self.in_rcu() {
            return;
        }
        let Self { memory, stale, .. } = self;
        memory.note_rcu(|base| {
            stale.insert(base);
        });
        memory.remove_all(|region| region.rcu && region.owners == 0);
    }

    /// Whether what RCU keeps is kept.
    pub(super) fn in_rcu(&self) -> bool {
        self.rcu > 0 || !self.locks.is_empty() || !self.program.may_sleep()
    }

    /// Whether the address is in an object that may be gone: reads that fault give 0.
    pub(super) fn is_stale(&self, address: u64) -> bool {
        let mut before = self.stale.range(..=address);
        before
            .next_back()
            .is_some_and(|base| address - base < 1 << 16)
    }
}
