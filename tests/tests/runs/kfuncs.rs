//! Functions of the kernel's that programs call by BTF: what they are given, and what they do.

use bpftime_isa::kfunc::{self, DynptrKind, IterKind, KfuncArg, KfuncEffect, KfuncProto, KfuncRet};
use bpftime_isa::{MapFieldKind, MapType};
use bpftime_vm::TrapReason;
use bpftime_vm::interp::machine::{Arguments, Called};

use super::memory::Kind;
use super::parts::{Dynptr, Part};
use super::world::{Repeating, World};

const ERROR: u64 = 22u64.wrapping_neg();
const MAX_SIZE: u64 = 1 << 29;

type Checked = Result<(), &'static str>;

impl World<'_> {
    pub(super) fn call_kfunc(
        &mut self,
        id: u32,
        btf_idx: i16,
        arguments: &Arguments,
    ) -> Result<Called, TrapReason> {
        let name = self
            .types
            .filter(|_| btf_idx == 0)
            .and_then(|it| it.name(id));
        let Some(proto) = name.and_then(|name| kfunc::by_name(&name)) else {
            return Err(self.refuse(format!("a call of kernel function {id}")));
        };
        if !self.locks.is_empty() && !about_collections(proto) {
            return Err(self.refuse(format!("{}: called with a lock held", proto.name)));
        }
        for (index, argument) in proto.args.iter().enumerate() {
            if *argument == KfuncArg::Ignored {
                continue;
            }
            let value = arguments.values[index];
            let checked = if arguments.initialised[index] {
                self.check_kfunc_argument(proto, *argument, index, arguments)?
            } else {
                Err("not set")
            };
            if let Err(problem) = checked {
                return Err(self.refuse(format!(
                    "{}: argument {} ({argument:?}) {value:#x}: {problem} ({})",
                    proto.name,
                    index + 1,
                    self.memory.describe(value)
                )));
            }
        }
        let values = arguments.values;
        match self.act(proto, values) {
            Err(problem) => Err(self.refuse(format!("{}: {problem}", proto.name))),
            Ok(Some(called)) => Ok(called),
            Ok(None) => self.kfunc_result(proto, values),
        }
    }

    fn check_kfunc_argument(
        &mut self,
        proto: &KfuncProto,
        argument: KfuncArg,
        index: usize,
        arguments: &Arguments,
    ) -> Result<Checked, TrapReason> {
        let value = arguments.values[index];
        let size = arguments.values.get(index + 1).copied().unwrap_or(0);
        let map = self
            .map_of(value)
            .map(|map| self.maps[map].definition.map_type);
        let typed = self
            .memory
            .around(value)
            .is_some_and(|it| it.1.typed.is_some());
        Ok(match argument {
            KfuncArg::Ignored | KfuncArg::Anything | KfuncArg::Number | KfuncArg::KernelType => {
                Ok(())
            }
            KfuncArg::Ctx if value == self.context => Ok(()),
            KfuncArg::Ctx => Err("not the context"),
            KfuncArg::Packet if value == self.context => Ok(()),
            KfuncArg::Packet => self.structure_at(value, "sk_buff"),
            KfuncArg::Plain(_) if value == 0 => Ok(()),
            KfuncArg::StructOrNull(_) if value == 0 => Ok(()),
            KfuncArg::Struct(name)
            | KfuncArg::Rcu(name)
            | KfuncArg::StructOrNull(name)
            | KfuncArg::Plain(name) => self.structure_at(value, name),
            KfuncArg::Released(name) => match self.memory.at(value) {
                Some(region) if region.owners > 0 => self.structure_at(value, name),
                _ => Err("not something to give back"),
            },
            KfuncArg::Map if map.is_some() || typed => Ok(()),
            KfuncArg::Arena if map == Some(MapType::Arena) || typed => Ok(()),
            KfuncArg::Map | KfuncArg::Arena => Err("not such a map"),
            KfuncArg::Size | KfuncArg::ConstSize if value > MAX_SIZE => Err("the size"),
            KfuncArg::Size | KfuncArg::ConstSize => Ok(()),
            KfuncArg::MemOrNull if value == 0 => Ok(()),
            KfuncArg::MemRead => self.readable(value, size),
            KfuncArg::MemWrite => self.written(value, size),
            KfuncArg::MemOrNull => self.writable(value, size),
            KfuncArg::FixedMemWrite(size) => self.written(value, size.into()),
            KfuncArg::DynptrOrNull if value == 0 => Ok(()),
            KfuncArg::Dynptr | KfuncArg::DynptrOrNull => self.dynptr(value).map(drop),
            KfuncArg::Iterator(kind) if proto.effect != KfuncEffect::IteratorNew => {
                match self.part(value) {
                    Ok(Part::Iterator { kind: it, .. }) if it == kind => Ok(()),
                    Ok(_) => Err("another thing"),
                    Err(problem) => Err(problem),
                }
            }
            // What is made there is checked when it is made.
            KfuncArg::Iterator(_) | KfuncArg::NewDynptr | KfuncArg::IrqFlag => Ok(()),
            KfuncArg::LocalType => {
                let known = self.program.objects.iter();
                let mut known = known.filter(|it| u64::from(it.type_id) == value);
                known.next().map(drop).ok_or("not a structure")
            }
            KfuncArg::Object => self.owned_object(value),
            KfuncArg::Refcounted => match self.memory.at(value) {
                Some(region)
                    if matches!(region.kind, Kind::Local { .. })
                        && region
                            .fields
                            .iter()
                            .any(|it| it.kind == MapFieldKind::Refcount) =>
                {
                    Ok(())
                }
                _ => Err("not an object that counts its owners"),
            },
            KfuncArg::List => self.collection(value, false).map(drop),
            KfuncArg::Tree => self.collection(value, true).map(drop),
            KfuncArg::ListNode | KfuncArg::TreeNode | KfuncArg::TreeMember => {
                let tree = argument != KfuncArg::ListNode;
                let object = self
                    .collection(arguments.values[0], tree)
                    .and_then(|holds| self.object_of(value, holds));
                match object {
                    Ok(base) if argument != KfuncArg::TreeMember => self.owned_object(base),
                    other => other.map(drop),
                }
            }
            KfuncArg::Less => Self::function_at(value).map(drop).ok_or("not a function"),
            KfuncArg::ResLock | KfuncArg::Workqueue => {
                let kind = self.field_at(value).map(|(_, field)| field.kind);
                match (argument, kind) {
                    (KfuncArg::ResLock, Some(MapFieldKind::ResSpinLock))
                    | (KfuncArg::Workqueue, Some(MapFieldKind::Workqueue)) => Ok(()),
                    _ => Err("not such a part of a map's value"),
                }
            }
            KfuncArg::WorkqueueMap if map.is_some() => Ok(()),
            KfuncArg::WorkqueueMap => Err("not a map"),
            KfuncArg::Work => Self::function_at(value).map(drop).ok_or("not a function"),
            KfuncArg::MemReadOrNull | KfuncArg::MemWriteOrNull if value == 0 && size == 0 => Ok(()),
            KfuncArg::MemReadOrNull => self.readable(value, size),
            KfuncArg::MemWriteOrNull => self.written(value, size),
            KfuncArg::FixedMemRead(size) => self.readable(value, size.into()),
            // No table tells how many bytes.
            KfuncArg::StructMemRead(_) => self.readable(value, 1),
            KfuncArg::ResultSize if value > MAX_SIZE => Err("the size"),
            KfuncArg::ResultSize => Ok(()),
            KfuncArg::PerCpuObject => {
                let one = self.of_cpus.get(&value).copied();
                one.map_or(Err("nothing"), |one| self.owned_object(one))
            }
        })
    }

    /// What the function does, if that is not told by its prototype alone; `None`: its result is.
    fn act(
        &mut self,
        proto: &'static KfuncProto,
        values: [u64; 5],
    ) -> Result<Option<Called>, &'static str> {
        let value = |value| Ok(Some(Called::Result(Some(value))));
        let nothing = Ok(Some(Called::Result(None)));
        let iterator = match proto.args.first() {
            Some(KfuncArg::Iterator(kind)) => *kind,
            _ => IterKind::Num,
        };
        match proto.effect {
            KfuncEffect::IteratorNew => return value(self.new_iterator(iterator, values)?),
            KfuncEffect::IteratorNext => return value(self.next_element(values[0], iterator)?),
            KfuncEffect::IteratorDestroy => {
                self.destroy_iterator(values[0], iterator)?;
                return nothing;
            }
            KfuncEffect::RcuReadLock => self.rcu += 1,
            KfuncEffect::RcuReadUnlock => {
                self.rcu = self.rcu.checked_sub(1).ok_or("no section to leave")?;
                self.left_rcu();
            }
            KfuncEffect::PreemptDisable => self.preempt += 1,
            KfuncEffect::PreemptEnable => {
                self.preempt = self.preempt.checked_sub(1).ok_or("no section to leave")?;
            }
            KfuncEffect::IrqSave => {
                self.irq += 1;
                self.put_part(values[0], 8, Part::Flag(self.irq))?;
            }
            KfuncEffect::IrqRestore => self.enable(values[0])?,
            KfuncEffect::Dynptr(kind) => {
                let size = match self.packet_bytes().len() as u64 {
                    0 => self.tape.below(256),
                    size => size,
                };
                let dynptr = Dynptr {
                    base: Some(0),
                    offset: 0,
                    size,
                    read_only: kind == DynptrKind::Skb && self.tape.below(4) == 0,
                    record: None,
                };
                return value(self.new_dynptr(values[2], dynptr)?);
            }
            KfuncEffect::CloneDynptr => {
                let dynptr = self.dynptr(values[0])?;
                self.put_part(values[1], kfunc::DYNPTR_SIZE, Part::Dynptr(dynptr))?;
                return value(if dynptr.base.is_some() { 0 } else { ERROR });
            }
            KfuncEffect::Throw => {
                if let Some(problem) = self.left_behind() {
                    let _ = self.refuse(problem);
                    return Err("something is held");
                }
                return Ok(Some(Called::End(values[0])));
            }
            KfuncEffect::None => return self.act_by_name(proto, values),
            KfuncEffect::Lock => {
                if self.tape.below(4) == 0 {
                    return value(35u64.wrapping_neg());
                }
                if proto.args.contains(&KfuncArg::IrqFlag) {
                    self.irq += 1;
                    self.put_part(values[1], 8, Part::Flag(self.irq))?;
                }
                self.locks.push(values[0]);
                return value(0);
            }
            KfuncEffect::Unlock => {
                if self.locks.last() != Some(&values[0]) {
                    return Err("not the lock that was taken last");
                }
                if proto.args.contains(&KfuncArg::IrqFlag) {
                    self.enable(values[1])?;
                }
                self.locks.pop();
                self.unlocked();
            }
        }
        Ok(None)
    }

    /// Interrupts are enabled again, as the flag says.
    fn enable(&mut self, flag: u64) -> Checked {
        match self.part(flag)? {
            Part::Flag(depth) if depth == self.irq => self.irq -= 1,
            _ => return Err("not the flag of the last time"),
        }
        self.parts.remove(&flag);
        Ok(())
    }

    fn act_by_name(
        &mut self,
        proto: &'static KfuncProto,
        values: [u64; 5],
    ) -> Result<Option<Called>, &'static str> {
        let value = |value| Ok(Some(Called::Result(Some(value))));
        let nothing = Ok(Some(Called::Result(None)));
        let tree = proto.name.contains("rbtree");
        match (proto.name, proto.ret) {
            ("bpf_dynptr_adjust", _) => {
                let mut dynptr = self.dynptr(values[0])?;
                let (start, end) = (values[1] & 0xffff_ffff, values[2] & 0xffff_ffff);
                if dynptr.base.is_none() || start > end || end > dynptr.size {
                    return value(ERROR);
                }
                dynptr.offset += start;
                dynptr.size = end - start;
                self.change_part(values[0], Part::Dynptr(dynptr));
                value(0)
            }
            ("bpf_dynptr_size", _) => {
                let dynptr = self.dynptr(values[0])?;
                value(if dynptr.base.is_some() {
                    dynptr.size
                } else {
                    ERROR
                })
            }
            ("bpf_dynptr_is_null", _) => value(self.dynptr(values[0])?.base.is_none().into()),
            ("bpf_dynptr_is_rdonly", _) => value(self.dynptr(values[0])?.read_only.into()),
            (_, KfuncRet::Slice(writable)) => {
                let dynptr = self.dynptr(values[0])?;
                value(self.slice(&dynptr, values[1], (values[2], values[3]), writable))
            }
            (_, KfuncRet::Object) => {
                if self.tape.below(4) == 0 {
                    return value(0);
                }
                let made = self.new_object(values[0] as u32, 1);
                value(made.ok_or("no such structure")?)
            }
            (_, KfuncRet::PerCpuObject) => {
                if self.tape.below(4) == 0 {
                    return value(0);
                }
                let made = self.new_object(values[0] as u32, 1);
                let one = made.ok_or("no such structure")?;
                value(self.per_cpu(one))
            }
            ("bpf_wq_set_callback_impl", _) => {
                let entry = Self::function_at(values[1]).ok_or("no function")?;
                match self.call_later(entry, values[0]) {
                    Ok(called) => Ok(Some(called)),
                    Err(_) => Err("the map of what is called later"),
                }
            }
            (_, KfuncRet::Again) => {
                let region = self.memory.at_mut(values[0]).ok_or("no object")?;
                if region.owners == 0 && self.tape.below(3) == 0 {
                    return value(0);
                }
                if let Some(region) = self.memory.at_mut(values[0]) {
                    region.owners += 1;
                }
                value(values[0])
            }
            ("bpf_rbtree_remove", _) => {
                let holds = self.collection(values[0], true)?;
                let base = self.object_of(values[1], holds)?;
                value(self.take_out(values[0], base, holds))
            }
            (_, KfuncRet::Node | KfuncRet::Member) => {
                let holds = self.collection(values[0], tree)?;
                value(self.member(values[0], holds, proto.ret == KfuncRet::Node))
            }
            ("bpf_list_push_back_impl" | "bpf_list_push_front_impl", _) => {
                let holds = self.collection(values[0], false)?;
                let base = self.object_of(values[1], holds)?;
                value(self.put_into(values[0], base))
            }
            ("bpf_rbtree_add_impl", _) => {
                let holds = self.collection(values[0], true)?;
                let base = self.object_of(values[1], holds)?;
                let entry = Self::function_at(values[2]).ok_or("no function")?;
                let result = self.put_into(values[0], base);
                self.repeating.push(Repeating::Less {
                    entry,
                    node: values[1],
                    root: values[0],
                    left: self.tape.below(4),
                    result,
                });
                Ok(Some(self.go_on_comparing(holds)))
            }
            _ if proto.args.first() == Some(&KfuncArg::Object) => {
                self.give_away(values[0]);
                nothing
            }
            _ if proto.args.first() == Some(&KfuncArg::PerCpuObject) => {
                if let Some(one) = self.of_cpus.remove(&values[0]) {
                    self.give_away(one);
                }
                nothing
            }
            ("bpf_arena_alloc_pages", _) => {
                if self.tape.below(4) == 0 {
                    return value(0);
                }
                let page = self.tape.below(1 << 16);
                value(Self::arena_variable(0) + page * 4096)
            }
            _ => Ok(None),
        }
    }

    fn kfunc_result(&mut self, proto: &KfuncProto, values: [u64; 5]) -> Result<Called, TrapReason> {
        let released = proto.args.iter().zip(values);
        for (argument, value) in released {
            if matches!(argument, KfuncArg::Released(_)) {
                self.memory.remove(value);
            }
        }
        let value = |value| Ok(Called::Result(Some(value)));
        match proto.ret {
            KfuncRet::Void => Ok(Called::Result(None)),
            KfuncRet::Number => value(match self.tape.below(3) {
                0 => 0,
                1 => self.tape.below(16),
                _ => self.number(),
            }),
            KfuncRet::StructOrNull(_)
            | KfuncRet::RcuOrNull(_)
            | KfuncRet::PlainOrNull(_)
            | KfuncRet::SizedMemoryOrNull
            | KfuncRet::AcquiredOrNull(_)
                if !self.tape.often() =>
            {
                value(0)
            }
            KfuncRet::StructOrNull(name)
            | KfuncRet::RcuOrNull(name)
            | KfuncRet::Plain(name)
            | KfuncRet::PlainOrNull(name) => {
                let type_id = self.types.and_then(|types| types.structure(name));
                let address = self.structure(type_id.unwrap_or(0), 0);
                if let Some(region) = self.memory.at_mut(address) {
                    region.rcu = matches!(proto.ret, KfuncRet::RcuOrNull(_));
                }
                value(address)
            }
            KfuncRet::SizedMemoryOrNull => {
                let bytes = self.random_bytes(values[2] as usize);
                value(self.memory.add(Kind::Other, true, bytes))
            }
            KfuncRet::Acquired(name) | KfuncRet::AcquiredOrNull(name) => {
                value(self.acquired_structure(name))
            }
            // Reads that fault give 0, so that what is there does not matter.
            KfuncRet::Cast => value(self.structure(values[1] as u32, 0)),
            KfuncRet::KernelContext => value(self.structure(0, 0)),
            KfuncRet::Memory(size) => {
                let bytes = self.random_bytes(size as usize);
                value(self.memory.add(Kind::Other, true, bytes))
            }
            other => Err(self.lack(format!("{}: {other:?}", proto.name))),
        }
    }
}

/// Whether it may be called with a lock held.
fn about_collections(proto: &KfuncProto) -> bool {
    proto.name.contains("_list_")
        || proto.name.contains("rbtree")
        || proto.name.contains("refcount")
        || proto.name.contains("res_spin")
        || matches!(
            proto.effect,
            KfuncEffect::IteratorNew | KfuncEffect::IteratorNext | KfuncEffect::IteratorDestroy
        )
}
