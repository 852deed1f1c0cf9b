//! What stays the same during an analysis.

mod rights;

use std::borrow::Cow;
use std::collections::HashMap;

use bpftime_abi::map_type::create_flags::BPF_F_RDONLY_PROG;
use bpftime_isa::helper::{self, HelperProto, Unavailable};
use bpftime_isa::kfunc::{self, KfuncArg, KfuncProto};
use bpftime_isa::{
    ArgType, CallTarget, CtxLayout, Instruction, KernelSymbol, LocalStruct, MapDef, MapField,
    MapFieldKind, MapType, Object, ProgType, Program, Trust, Walked, context,
};

use crate::Options;
use crate::domain::state::{CallbackKind, State};
use crate::domain::value::{Hold, Kind, PerCpu, Value};
use crate::options::Target;

/// Structures of the kernel's whose memory RCU keeps (`rcu_protected_types` in
/// `kernel/bpf/verifier.c`).
const RCU_PROTECTED: [&str; 4] = ["cgroup", "bpf_cpumask", "task_struct", "bpf_crypto_ctx"];

const D_PATH: u32 = 147;

/// The program and the rules under which it is judged.
pub(crate) struct Env<'a> {
    pub(crate) program: &'a Program,
    pub(crate) options: &'a Options,
    /// Layout of the context.
    pub(crate) layout: Cow<'static, CtxLayout>,
    /// The program's maps, then what its maps of maps hold.
    maps: Vec<&'a MapDef>,
    /// For each of the program's maps, which of `maps` it holds.
    held: Vec<Option<u32>>,
    /// The program's structures by name; none where several have it.
    locals: HashMap<&'a str, Option<u32>>,
}

impl<'a> Env<'a> {
    /// `None` if the program type has no context that is known.
    pub(crate) fn new(program: &'a Program, options: &'a Options) -> Option<Self> {
        // The engines have no objects of a kernel to call with.
        if options.target == Target::Bpftime && program.prog_type.is_typed() {
            return None;
        }
        let layout = context::of(program)?;
        let mut maps: Vec<&MapDef> = program.maps.iter().collect();
        let mut held = Vec::with_capacity(maps.len());
        for map in &program.maps {
            let of_maps = matches!(map.map_type, MapType::ArrayOfMaps | MapType::HashOfMaps);
            held.push(map.inner.as_deref().filter(|_| of_maps).map(|inner| {
                maps.push(inner);
                maps.len() as u32 - 1
            }));
        }
        let mut locals = HashMap::new();
        for local in program.objects.iter() {
            let number = locals.entry(local.name.as_str());
            number
                .and_modify(|number| *number = None)
                .or_insert(Some(local.type_id));
        }
        Some(Self {
            locals,
            program,
            options,
            layout,
            maps,
            held,
        })
    }

    /// The prototype of a helper, as the program gets it.
    pub(crate) fn helper(&self, id: u32) -> Result<&'static HelperProto, Unavailable> {
        if !self.options.capabilities.has_helper(id) {
            return Err(match helper::proto(id) {
                None => Unavailable::Unknown,
                Some(_) => Unavailable::ProgramType,
            });
        }
        let offered = helper::available(&self.program.caller(), id);
        if id == D_PATH && !self.d_path_allowed() {
            return Err(Unavailable::ProgramType);
        }
        match (offered, self.options.target) {
            // What takes no context is not tied to a type.
            (Err(Unavailable::ProgramType), Target::Bpftime) => helper::proto(id)
                .filter(|proto| !proto.takes_context())
                .ok_or(Unavailable::ProgramType),
            (offered, _) => offered,
        }
    }

    /// What a read of the kernel's own description of a map gives, for programs that Linux runs
    /// (`check_ptr_to_map_access`).
    pub(crate) fn walk_map(&self, map: u32, offset: i64, size: u32) -> Option<Walked> {
        if self.options.target != Target::Linux6_18 || !self.options.allow_ptr_leaks {
            return None;
        }
        let name = match self.map(map)?.map_type {
            MapType::Array
            | MapType::PerCpuArray
            | MapType::ProgArray
            | MapType::PerfEventArray => "bpf_array",
            MapType::Hash | MapType::LruHash | MapType::PerCpuHash | MapType::LruPerCpuHash => {
                "bpf_htab"
            }
            _ => "bpf_map",
        };
        let types = self.options.kernel_types.as_deref()?;
        types.read(types.structure(name)?, u32::try_from(offset).ok()?, size)
    }

    /// What a read of so many bytes at an offset of the object gives, if the kernel's types say what
    /// the object is.
    pub(crate) fn walk(&self, object: Object, offset: i64, size: u32) -> Option<Walked> {
        let types = self.options.kernel_types.as_deref()?;
        let type_id = match object {
            Object::Typed { type_id, .. } => type_id,
            Object::Kernel(name) => types.structure(name)?,
            _ => return None,
        };
        types.read(type_id, u32::try_from(offset).ok()?, size)
    }

    /// Whether helpers that take the structure with the name take this pointer to an object.
    pub(crate) fn contains(&self, object: Object, offset: i64, name: &str) -> bool {
        let types = self.options.kernel_types.as_deref();
        let type_id = match object {
            Object::Kernel(found) if found == name && offset == 0 => return true,
            Object::Kernel(found) => types.and_then(|types| types.structure(found)),
            Object::Typed {
                type_id,
                trust: Trust::Trusted | Trust::Rcu | Trust::Argument,
            } => Some(type_id),
            _ => None,
        };
        let found = types.zip(type_id).zip(u32::try_from(offset).ok());
        found.is_some_and(|((types, type_id), offset)| types.contains(type_id, offset, name))
    }

    /// Whether the object is of a type that only begins like the one with the name and is not to be taken for
    /// it: `nf_conn___init` is a connection that the kernel does not know yet
    /// (`btf_type_ids_nocast_alias`).
    pub(crate) fn is_other_view(&self, object: Object, name: &str) -> bool {
        let Object::Typed { type_id, .. } = object else {
            return false;
        };
        let types = self.options.kernel_types.as_deref();
        let found = types.and_then(|types| types.name(type_id));
        let rest = found.as_deref().and_then(|found| found.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with("___"))
    }

    /// Whether programs like this may use maps of the type at all; programs that may sleep may not
    /// use all of them on Linux (`check_map_prog_compatibility`).
    pub(crate) fn map_type_fits(&self, map_type: MapType) -> bool {
        let awake = self.options.target != Target::Linux6_18 || !self.program.may_sleep();
        awake
            || matches!(
                map_type,
                MapType::Hash
                    | MapType::LruHash
                    | MapType::Array
                    | MapType::PerCpuHash
                    | MapType::PerCpuArray
                    | MapType::LruPerCpuHash
                    | MapType::ArrayOfMaps
                    | MapType::HashOfMaps
                    | MapType::RingBuf
                    | MapType::UserRingBuf
                    | MapType::InodeStorage
                    | MapType::SkStorage
                    | MapType::TaskStorage
                    | MapType::CgrpStorage
                    | MapType::Queue
                    | MapType::Stack
                    | MapType::Arena
            )
    }

    /// A map by index: one of the program's, or the kind of map that one of them holds.
    pub(crate) fn map(&self, index: u32) -> Option<&'a MapDef> {
        self.maps.get(index as usize).copied()
    }

    /// Whether the kind is that of a map's values, or of objects, that hold a spin lock.
    pub(crate) fn holds_lock(&self, kind: Kind) -> bool {
        let mut fields = self.fields(kind).iter();
        fields.any(|field| field.kind.is_lock())
    }

    /// The kernel's parts of the memory that pointers of the kind lead to.
    pub(crate) fn fields(&self, kind: Kind) -> &'a [MapField] {
        match kind {
            Kind::MapValue { map } => self.map(map).map_or(&[], |map| &map.fields),
            Kind::Local { type_id, .. } => self.local(type_id).map_or(&[], |local| &local.fields),
            _ => &[],
        }
    }

    /// The kernel's part at exactly the place that the pointer leads to.
    pub(crate) fn field_at(&self, value: &Value) -> Option<&'a MapField> {
        if value.nullable {
            return None;
        }
        let offset = u32::try_from(value.constant_offset()?).ok()?;
        let mut fields = self.fields(value.kind).iter();
        fields.find(|field| field.offset == offset)
    }

    /// The program's structure with the number.
    pub(crate) fn local(&self, type_id: u32) -> Option<&'a LocalStruct> {
        let objects = &self.program.objects;
        let at = objects.binary_search_by_key(&type_id, |local| local.type_id);
        objects.get(at.ok()?)
    }

    /// What a kernel pointer leads to: a structure of the kernel's with the name or, if there is none,
    /// of the program's, where only one has it (`btf_parse_kptr`); of which each CPU has its own, of the
    /// program's only.
    pub(crate) fn pointee(&self, field: &MapField, trust: Trust, hold: Hold) -> Kind {
        let MapFieldKind::Kptr { target, percpu, .. } = &field.kind else {
            return Kind::Any;
        };
        let type_id = if *percpu {
            u32::MAX
        } else {
            self.type_named(target)
        };
        match self.locals.get(target.as_str()) {
            Some(Some(local)) if *percpu => Kind::PerCpuLocal {
                type_id: *local,
                hold,
            },
            Some(Some(local)) if type_id == u32::MAX => Kind::Local {
                type_id: *local,
                hold,
            },
            _ => Kind::Object(Object::Typed { type_id, trust }),
        }
    }

    /// What a kernel pointer leads to that was read from a map's value (`btf_ld_kptr_type`).
    pub(crate) fn loaded_pointee(&self, field: &MapField, in_rcu: bool) -> Kind {
        let MapFieldKind::Kptr {
            target, referenced, ..
        } = &field.kind
        else {
            return Kind::Any;
        };
        let kept = in_rcu && *referenced;
        let trust = if kept && RCU_PROTECTED.contains(&target.as_str()) {
            Trust::Rcu
        } else {
            Trust::Walked
        };
        let hold = if kept { Hold::Rcu } else { Hold::Stale };
        self.pointee(field, trust, hold)
    }

    /// How far what a read from an object gives can be relied upon (`check_ptr_to_btf_access`): an address,
    /// and whether it is a member that stays valid as long as its structure; and whether only in an
    /// RCU section.
    pub(crate) fn walked_trust(&self, state: &State, object: Object, kept: Option<bool>) -> Trust {
        let from = match object {
            Object::Typed { trust, .. } => trust,
            _ => Trust::Trusted,
        };
        match (from, kept) {
            (Trust::Walked, _) => Trust::Walked,
            (Trust::Argument, _) => Trust::Argument,
            (Trust::Trusted | Trust::Rcu, Some(false)) => Trust::Trusted,
            (Trust::Trusted | Trust::Rcu, _) if !self.in_rcu(state) => Trust::Walked,
            (Trust::Trusted | Trust::Rcu, Some(true)) => Trust::Rcu,
            // Helpers take it for the sake of programs that are older than the rules.
            (Trust::Trusted | Trust::Rcu, None) => Trust::Argument,
        }
    }

    /// What the address of the kernel's function or variable leads to.
    pub(crate) fn symbol(&self, id: u32) -> Option<Kind> {
        let types = self.options.kernel_types.as_deref()?;
        Some(match types.symbol(id)? {
            KernelSymbol::Function => Kind::Bytes { size: 0 },
            KernelSymbol::Memory(size) => Kind::Bytes { size },
            KernelSymbol::PerCpuMemory(size) => Kind::PerCpu(PerCpu::Memory(size)),
            KernelSymbol::PerCpuStructure(type_id) => Kind::PerCpu(PerCpu::Structure(type_id)),
            KernelSymbol::Structure(type_id) => Kind::Object(Object::Typed {
                type_id,
                trust: Trust::Argument,
            }),
        })
    }

    /// The kernel's own structure of the context (`bpf_cast_to_kern_ctx`).
    pub(crate) fn kernel_context(&self) -> Option<&'static str> {
        Some(match self.program.prog_type {
            _ if self.layout.name == "__sk_buff" => "sk_buff",
            ProgType::Xdp => "xdp_buff",
            ProgType::CgroupSock => "sock",
            ProgType::CgroupSockAddr => "bpf_sock_addr_kern",
            ProgType::CgroupSockopt => "bpf_sockopt_kern",
            ProgType::CgroupSysctl => "bpf_sysctl_kern",
            ProgType::SockOps => "bpf_sock_ops_kern",
            ProgType::SkMsg => "sk_msg",
            ProgType::SkLookup => "bpf_sk_lookup_kern",
            ProgType::SkReuseport => "sk_reuseport_kern",
            _ => return None,
        })
    }

    /// Whether what RCU keeps is kept: in an RCU section, with a lock held, and wherever the program
    /// cannot sleep (`in_rcu_cs`).
    pub(crate) fn in_rcu(&self, state: &State) -> bool {
        let sections = &state.sections;
        sections.rcu > 0 || !sections.locks.is_empty() || !self.may_sleep(state)
    }

    /// Whether what runs may sleep: the program, or what a timer (never) or a work queue (always) calls.
    pub(crate) fn may_sleep(&self, state: &State) -> bool {
        match state.frames().next().and_then(|first| first.callback) {
            Some(CallbackKind::Timer) => false,
            Some(CallbackKind::Workqueue) => true,
            _ => self.program.may_sleep(),
        }
    }

    /// The kernel function with the number, if it is one that is known.
    pub(crate) fn kfunc(&self, id: u32, btf: i16) -> Option<&'static KfuncProto> {
        if btf != 0 {
            return None;
        }
        let types = self.options.kernel_types.as_deref()?;
        kfunc::by_name(&types.name(id)?)
    }

    /// How the helper or kernel function that is called uses a function that it is given, if it is
    /// given one.
    pub(crate) fn callback_kind(&self, insn: &Instruction) -> Option<CallbackKind> {
        match *insn {
            Instruction::Call(CallTarget::Helper(id)) => helper::proto(id)
                .filter(|proto| proto.args.contains(&ArgType::Func))
                .map(|_| CallbackKind::of(id)),
            Instruction::Call(CallTarget::Kfunc { id, btf_idx }) => {
                self.kfunc(id, btf_idx).and_then(|proto| {
                    let calls = |argument| proto.args.contains(&argument);
                    let compares = calls(KfuncArg::Less).then_some(CallbackKind::Less);
                    compares.or(calls(KfuncArg::Work).then_some(CallbackKind::Workqueue))
                })
            }
            _ => None,
        }
    }

    /// Whether the number is that of one of the kernel's structures or unions.
    pub(crate) fn is_structure(&self, id: u64) -> bool {
        let types = self.options.kernel_types.as_deref();
        let id = u32::try_from(id).ok();
        types
            .zip(id)
            .is_some_and(|(types, id)| types.is_composite(id))
    }

    /// Whether the kernel's structure with the name is made of numbers only.
    pub(crate) fn is_numbers(&self, name: &str) -> bool {
        let types = self.options.kernel_types.as_deref();
        types.is_some_and(|types| types.is_numbers(name))
    }

    /// Bytes of the kernel's structure with the name.
    pub(crate) fn size_of(&self, name: &str) -> Option<u32> {
        let types = self.options.kernel_types.as_deref()?;
        types.member(name, &[]).map(|(_, size)| size)
    }

    /// Number of the structure in the kernel's types, or one that nothing has.
    pub(crate) fn type_named(&self, name: &str) -> u32 {
        let types = self.options.kernel_types.as_deref();
        types
            .and_then(|types| types.structure(name))
            .unwrap_or(u32::MAX)
    }

    /// Whether the value is the address of an object as the kernel's part of a map's value holds.
    pub(crate) fn points_to(&self, value: &Value, field: &MapField) -> bool {
        if value.offset().as_constant() != Some(0) {
            return false;
        }
        match (value.kind, self.pointee(field, Trust::Walked, Hold::Owned)) {
            (
                Kind::Object(Object::Typed { type_id, .. }),
                Kind::Object(Object::Typed {
                    type_id: wanted, ..
                }),
            ) => type_id != u32::MAX && type_id == wanted,
            (Kind::Local { .. }, wanted @ Kind::Local { .. })
            | (Kind::PerCpuLocal { .. }, wanted @ Kind::PerCpuLocal { .. }) => value.kind == wanted,
            _ => false,
        }
    }

    /// Whether the index is that of one map of the program's, not of a kind of map that a map of
    /// maps holds.
    pub(crate) fn is_own_map(&self, index: u32) -> bool {
        (index as usize) < self.program.maps.len()
    }

    /// The kind of map that the map holds.
    pub(crate) fn held_by(&self, index: u32) -> Option<u32> {
        self.held.get(index as usize).copied().flatten()
    }

    /// The bytes of a map's only value, where they can no longer change.
    pub(crate) fn constant_value(&self, index: u32) -> Option<&'a [u8]> {
        let map = self.program.maps.get(index as usize)?;
        if !map.frozen || map.flags & BPF_F_RDONLY_PROG == 0 || map.max_entries != 1 {
            return None;
        }
        map.initial.as_deref()?.get(..map.value_size as usize)
    }

    /// Whether packets may be written directly, as `may_access_direct_pkt_data` has it.
    pub(crate) fn packet_writable(&self) -> bool {
        matches!(
            self.program.prog_type,
            ProgType::SchedCls
                | ProgType::SchedAct
                | ProgType::Xdp
                | ProgType::LwtXmit
                | ProgType::SkSkb
                | ProgType::SkMsg
                | ProgType::CgroupSockopt
        )
    }

    /// Whether the licence allows helpers that are for GPL-compatible programs only; the list
    /// is the kernel's (`include/linux/license.h`).
    pub(crate) fn gpl_compatible(&self) -> bool {
        matches!(
            self.program.license.as_str(),
            "GPL"
                | "GPL v2"
                | "GPL and additional rights"
                | "Dual BSD/GPL"
                | "Dual MIT/GPL"
                | "Dual MPL/GPL"
        )
    }
}
