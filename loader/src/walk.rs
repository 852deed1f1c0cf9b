//! Reads of the kernel's structures by BTF.
//!
//! The rules are those of the kernel (`btf_struct_walk` in `kernel/bpf/btf.c`), which decide by the first
//! member that the read touches.

use bpftime_isa::Program;
use bpftime_isa::kernel_types::{KernelSymbol, KernelTypes, Walked};

use crate::Environment;
use crate::btf::types::Member;
use crate::btf::{Btf, Kind, Type};
use crate::core_relo::type_named;
use crate::map_fields::{NUMBERS_DEPTH, is_numbers};
use crate::signature::signature;

/// Structures within structures; those of kernels are far less deep.
const MAX_DEPTH: usize = 64;

/// Members that point to what stays valid as long as their structure: structure, member, whether it may be
/// null, whether it needs an RCU section (`BTF_TYPE_SAFE_*` in `kernel/bpf/verifier.c`).
const KEPT: &[(&str, &str, bool, bool)] = &[
    ("bpf_iter_meta", "seq", false, false),
    ("linux_binprm", "file", false, false),
    ("file", "f_inode", false, false),
    ("socket", "sk", true, false),
    ("dentry", "d_inode", true, false),
    ("task_struct", "cpus_ptr", false, true),
    ("task_struct", "cgroups", false, true),
    ("task_struct", "real_parent", false, true),
    ("task_struct", "group_leader", false, true),
    ("cgroup", "kn", false, true),
    ("css_set", "dfl_cgrp", false, true),
    ("cgroup_subsys_state", "cgroup", false, true),
    ("mm_struct", "exe_file", true, true),
    ("sk_buff", "sk", true, true),
    ("request_sock", "sk", true, true),
];

/// What one member says of a read.
enum Step<'a> {
    Done(Option<Walked>),
    /// The read lies in this structure, at this offset.
    Into(Type<'a>, u32),
    /// It is about a later member.
    Next,
}

impl KernelTypes for Btf {
    fn read(&self, type_id: u32, offset: u32, size: u32) -> Option<Walked> {
        let top = self.resolve(type_id).ok()?;
        let mut ty = top;
        let mut offset = offset;
        // In a union, nothing is said of where its members end.
        let mut in_union = false;
        for _ in 0..MAX_DEPTH {
            in_union |= ty.kind == Kind::Union && ty.vlen != 1;
            match self.step(&top, &ty, offset, size, in_union) {
                Step::Done(walked) => return walked,
                Step::Into(inner, at) => (ty, offset) = (inner, at),
                Step::Next => return None,
            }
        }
        None
    }

    fn contains(&self, type_id: u32, offset: u32, name: &str) -> bool {
        let Ok(mut ty) = self.resolve(type_id) else {
            return false;
        };
        let mut offset = offset;
        for _ in 0..MAX_DEPTH {
            let named = self.string(ty.name).is_ok_and(|found| found == name);
            if offset == 0 && named && ty.kind == Kind::Struct {
                return true;
            }
            match self.step(&ty, &ty, offset, 1, false) {
                Step::Into(inner, at) => (ty, offset) = (inner, at),
                Step::Done(_) | Step::Next => return false,
            }
        }
        false
    }

    fn structure(&self, name: &str) -> Option<u32> {
        type_named(self, name, Kind::Struct)
    }

    fn is_composite(&self, type_id: u32) -> bool {
        self.ty(type_id).is_ok_and(|ty| ty.kind.is_composite())
    }

    fn member(&self, structure: &str, path: &[&str]) -> Option<(u32, u32)> {
        let mut ty = self.structure(structure)?;
        let mut offset = 0u32;
        for name in path {
            let (at, member) = self.member_named(ty, name, MAX_DEPTH)?;
            offset = offset.checked_add(at)?;
            ty = member;
        }
        Some((offset, u32::try_from(self.size(ty).ok()?).ok()?))
    }

    fn symbol(&self, id: u32) -> Option<KernelSymbol> {
        let ty = self.ty(id).ok()?;
        match ty.kind {
            Kind::Func => Some(KernelSymbol::Function),
            Kind::Var => {
                let percpu = self.is_percpu(id);
                let of = self.resolve(ty.size_or_type).ok()?;
                if of.kind == Kind::Struct {
                    return Some(match percpu {
                        true => KernelSymbol::PerCpuStructure(of.id),
                        false => KernelSymbol::Structure(of.id),
                    });
                }
                let size = self.size(ty.size_or_type).ok()?;
                let size = u32::try_from(size).ok()?;
                Some(match percpu {
                    true => KernelSymbol::PerCpuMemory(size),
                    false => KernelSymbol::Memory(size),
                })
            }
            _ => None,
        }
    }

    fn is_numbers(&self, name: &str) -> bool {
        let found = type_named(self, name, Kind::Struct);
        found.is_some_and(|id| is_numbers(self, id, NUMBERS_DEPTH))
    }

    fn name(&self, type_id: u32) -> Option<String> {
        let ty = self.ty(type_id).ok()?;
        self.string(ty.name).ok().map(str::to_owned)
    }
}

impl Btf {
    /// Offset and type of a member of the structure, or of what has no name in it. Depth is bounded.
    fn member_named(&self, ty: u32, name: &str, depth: usize) -> Option<(u32, u32)> {
        let ty = self.resolve(ty).ok().filter(|ty| ty.kind.is_composite())?;
        let depth = depth.checked_sub(1)?;
        ty.members().find_map(|member| {
            let start = member.bit_offset / 8;
            if member.bit_size > 0 {
                return None;
            }
            if self.string(member.name).is_ok_and(|found| found == name) {
                return Some((start, member.ty));
            }
            if member.name != 0 {
                return None;
            }
            let (inner, found) = self.member_named(member.ty, name, depth)?;
            Some((start.checked_add(inner)?, found))
        })
    }

    /// What the structure, `top` or in that, says of the read.
    fn step(
        &self,
        top: &Type<'_>,
        ty: &Type<'_>,
        offset: u32,
        size: u32,
        in_union: bool,
    ) -> Step<'_> {
        let Some(end) = offset.checked_add(size) else {
            return Step::Done(None);
        };
        if ty.kind == Kind::Void {
            return Step::Done(Some(Walked::Number));
        }
        if !ty.kind.is_composite() {
            return Step::Done(None);
        }
        if end > ty.size_or_type {
            return self.flexible(ty, offset);
        }
        for member in ty.members() {
            let start = member.bit_offset / 8;
            if end <= start {
                break;
            }
            match self.member_step(top, &member, offset, size, in_union) {
                Step::Next => {}
                step => return step,
            }
        }
        Step::Done(None)
    }

    /// A read beyond the structure, which may end in an array without length.
    fn flexible(&self, ty: &Type<'_>, offset: u32) -> Step<'_> {
        let inner = || {
            let last = ty.members().last()?;
            let start = last.bit_offset / 8;
            let array = self.resolve(last.ty).ok()?;
            let within = offset.checked_sub(start)?;
            if array.kind != Kind::Array || array.array().len != 0 {
                return None;
            }
            let element = self.resolve(array.array().element).ok()?;
            match element.kind {
                Kind::Int => Some(Step::Done(Some(Walked::Number))),
                _ if element.kind.is_composite() && element.size_or_type > 0 => {
                    Some(Step::Into(element, within % element.size_or_type))
                }
                _ => None,
            }
        };
        inner().unwrap_or(Step::Done(None))
    }

    fn member_step(
        &self,
        top: &Type<'_>,
        member: &Member,
        offset: u32,
        size: u32,
        in_union: bool,
    ) -> Step<'_> {
        let end = offset + size;
        let start = member.bit_offset / 8;
        if member.bit_size > 0 {
            let bits_end = (member.bit_offset + member.bit_size).div_ceil(8);
            return match offset <= start && bits_end <= end {
                true => Step::Done(Some(Walked::Number)),
                false => Step::Next,
            };
        }
        if offset < start {
            // A hole.
            return Step::Done(None);
        }
        let (Ok(mut ty), Ok(bytes)) = (self.resolve(member.ty), self.size(member.ty)) else {
            return Step::Done(None);
        };
        let Some(member_end) = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| start.checked_add(bytes))
        else {
            return Step::Done(None);
        };
        if offset >= member_end {
            return Step::Next;
        }
        let mut start = start;
        while ty.kind == Kind::Array {
            let element = ty.array().element;
            let (Ok(inner), Ok(width)) = (self.resolve(element), self.size(element)) else {
                return Step::Done(None);
            };
            let Some(index) = u64::from(offset - start).checked_div(width) else {
                return Step::Done(None);
            };
            // Not more than the offset.
            start += (index * width) as u32;
            ty = inner;
        }
        if ty.kind.is_composite() {
            return Step::Into(ty, offset - start);
        }
        if ty.kind == Kind::Ptr {
            if size != 8 || offset != start {
                return Step::Done(None);
            }
            return Step::Done(Some(self.pointee(&ty, top, member)));
        }
        Step::Done((in_union || end <= member_end).then_some(Walked::Number))
    }

    /// What the pointer, a member of `top` or of what is in that, leads to; a number if that is not the kernel's own memory.
    fn pointee(&self, pointer: &Type<'_>, top: &Type<'_>, member: &Member) -> Walked {
        let named = |name: u32, wanted: &str| self.string(name).is_ok_and(|name| name == wanted);
        let kept = KEPT
            .iter()
            .find(|(of, at, _, _)| named(top.name, of) && named(member.name, at));
        let elsewhere = self.ty(pointer.size_or_type).is_ok_and(|to| {
            let tag = self.string(to.name).unwrap_or_default();
            to.kind == Kind::TypeTag && matches!(tag, "user" | "percpu")
        });
        match self.resolve(pointer.size_or_type) {
            Ok(to) if to.kind.is_composite() && elsewhere => Walked::Number,
            Ok(to) if to.kind.is_composite() => match kept {
                Some((_, _, nullable, rcu)) => Walked::Kept {
                    type_id: to.id,
                    nullable: *nullable,
                    rcu: *rcu,
                },
                None => Walked::Object(to.id),
            },
            _ => Walked::Object(0),
        }
    }
}

/// The types of the kernel that programs are loaded for, read when they are asked for.
#[derive(Debug, Clone)]
pub struct TargetTypes(pub Environment);

impl TargetTypes {
    /// Says what the program is called with, where its type and hook leave that to the kernel's types.
    pub fn describe(&self, program: &mut Program) {
        let hook = &mut program.hook;
        if program.prog_type.is_typed()
            && hook.signature.is_none()
            && let Some(target) = hook.target.as_deref()
        {
            let (prog_type, attach_type) = (program.prog_type, program.attach_type);
            hook.signature = self.with(|btf| signature(btf, prog_type, attach_type, target));
        }
    }

    fn with<T>(&self, ask: impl FnOnce(&Btf) -> Option<T>) -> Option<T> {
        ask(self.0.target_btf().ok()??.as_ref())
    }
}

impl KernelTypes for TargetTypes {
    fn read(&self, type_id: u32, offset: u32, size: u32) -> Option<Walked> {
        self.with(|btf| btf.read(type_id, offset, size))
    }

    fn contains(&self, type_id: u32, offset: u32, name: &str) -> bool {
        self.with(|btf| Some(btf.contains(type_id, offset, name))) == Some(true)
    }

    fn structure(&self, name: &str) -> Option<u32> {
        self.with(|btf| btf.structure(name))
    }

    fn is_composite(&self, type_id: u32) -> bool {
        self.with(|btf| Some(btf.is_composite(type_id))) == Some(true)
    }

    fn member(&self, structure: &str, path: &[&str]) -> Option<(u32, u32)> {
        self.with(|btf| KernelTypes::member(btf, structure, path))
    }

    fn symbol(&self, id: u32) -> Option<KernelSymbol> {
        self.with(|btf| KernelTypes::symbol(btf, id))
    }

    fn is_numbers(&self, name: &str) -> bool {
        self.with(|btf| Some(btf.is_numbers(name))) == Some(true)
    }

    fn name(&self, type_id: u32) -> Option<String> {
        self.with(|btf| KernelTypes::name(btf, type_id))
    }
}
