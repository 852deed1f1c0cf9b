//! Symbols that the object leaves undefined: kernel options, kernel functions and variables.

use std::collections::HashMap;

use bpftime_abi::map_type::create_flags::{BPF_F_MMAPABLE, BPF_F_RDONLY_PROG};

use crate::btf::{Btf, Kind};
use crate::core_relo::{self, CoreError, Fuel};
use crate::elf::Elf;
use crate::environment::Environment;
use crate::kernel_config::KconfigExtern;
use crate::maps::{Maps, data_map_name, global_data_map};
use crate::{LoadError, limits};

/// `BTF_VAR_GLOBAL_EXTERN` and `BTF_FUNC_EXTERN`.
const LINKAGE_EXTERN: u32 = 2;

/// What an undefined symbol stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extern {
    /// A variable of the `.kconfig` map.
    Kconfig { map: usize, offset: u32 },
    /// A kernel function, by the number of its type in the target.
    Function { btf_id: u32 },
    /// A kernel variable, by the number of its type in the target.
    Variable { btf_id: u32 },
    /// A weak function or variable that the target does not have.
    Absent,
}

/// Resolves undefined symbols, by the symbol's index, and adds the `.kconfig` map.
///
/// An undefined symbol that BTF does not declare is left out; it fails where it is used.
pub(crate) fn resolve(
    elf: &Elf<'_>,
    btf: Option<&Btf>,
    environment: &Environment,
    object_name: &str,
    maps: &mut Maps,
) -> Result<HashMap<usize, Extern>, LoadError> {
    let mut externs = HashMap::new();
    let Some(btf) = btf else { return Ok(externs) };
    let declared = Declared::read(btf);
    let mut options = Vec::new();
    let mut fuel = Fuel::new();
    for (index, symbol) in elf.symbols.iter().enumerate() {
        if !symbol.undefined || symbol.name.is_empty() {
            continue;
        }
        if let Some(var) = declared.options.get(symbol.name) {
            let option = KconfigExtern::read(btf, symbol.name, *var, symbol.weak)?;
            options.push((index, option));
        } else if let Some(declaration) = declared.kernel.get(symbol.name) {
            let target = environment.target_btf()?;
            let found = kernel_symbol(btf, *declaration, target.as_deref(), &mut fuel);
            let found =
                found.map_err(|error| LoadError::extern_(symbol.name, error.to_string()))?;
            let resolved = match found {
                Some(resolved) => resolved,
                None if symbol.weak => Extern::Absent,
                None => {
                    return Err(LoadError::extern_(
                        symbol.name,
                        "the target kernel's type information does not have it, or not with such a \
                         type, and the extern is not `__weak`",
                    ));
                }
            };
            externs.insert(index, resolved);
        }
    }
    if options.is_empty() {
        return Ok(externs);
    }

    // libbpf's order: greatest alignment first, then smallest size, then by name.
    options.sort_by(|(_, a), (_, b)| (b.align, a.size, a.name).cmp(&(a.align, b.size, b.name)));
    let config = environment.kernel_config.as_deref();
    let mut bytes: Vec<u8> = Vec::new();
    let mut places = Vec::new();
    for (index, option) in &options {
        bytes.resize(
            bytes.len().next_multiple_of(option.align.max(1) as usize),
            0,
        );
        places.push((*index, bytes.len() as u32));
        bytes.extend(option.value(environment.kernel_version, config)?);
        limits::check(
            "bytes of `.kconfig`",
            bytes.len() as u64,
            limits::DATA_BYTES,
        )?;
    }
    let map = maps.add(global_data_map(
        data_map_name(object_name, ".kconfig"),
        BPF_F_RDONLY_PROG | BPF_F_MMAPABLE,
        bytes.into(),
    ))?;
    for (index, offset) in places {
        externs.insert(index, Extern::Kconfig { map, offset });
    }
    Ok(externs)
}

/// Kernel functions that make objects of the program's own structures, or work on them.
const OBJECT_FUNCTIONS: [&str; 5] = [
    "bpf_obj_",
    "bpf_percpu_obj_",
    "bpf_refcount_",
    "bpf_list_",
    "bpf_rbtree_",
];

/// Whether the object calls one of them.
pub(crate) fn makes_objects(elf: &Elf<'_>, externs: &HashMap<usize, Extern>) -> bool {
    externs.iter().any(|(index, found)| {
        let name = elf.symbols.get(*index).map_or("", |symbol| symbol.name);
        matches!(found, Extern::Function { .. })
            && OBJECT_FUNCTIONS.iter().any(|start| name.starts_with(start))
    })
}

/// What the kernel has for a declaration. One of another type is not what is declared: that is how
/// programs choose among versions of a function, each declared with a flavour and `__weak`.
fn kernel_symbol(
    local: &Btf,
    declaration: u32,
    target: Option<&Btf>,
    fuel: &mut Fuel,
) -> Result<Option<Extern>, CoreError> {
    let Some(target) = target else {
        return Ok(None);
    };
    let ty = local.ty(declaration)?;
    let found = core_relo::symbol_named(local, &ty, target, fuel)?;
    Ok(found.map(|btf_id| match ty.kind {
        Kind::Func => Extern::Function { btf_id },
        _ => Extern::Variable { btf_id },
    }))
}

/// Externs that the object's BTF declares, by name.
struct Declared<'a> {
    /// Variables of `.kconfig`.
    options: HashMap<&'a str, u32>,
    /// Functions and variables of `.ksyms`.
    kernel: HashMap<&'a str, u32>,
}

impl<'a> Declared<'a> {
    fn read(btf: &'a Btf) -> Self {
        let mut declared = Self {
            options: HashMap::new(),
            kernel: HashMap::new(),
        };
        for section in btf.types().filter(|ty| ty.kind == Kind::DataSec) {
            let section_name = btf.name(&section);
            let kconfig = section_name == Ok(".kconfig");
            if !kconfig && section_name != Ok(".ksyms") {
                continue;
            }
            for variable in section.variables() {
                let Ok(ty) = btf.ty(variable.ty) else {
                    continue;
                };
                let Ok(name) = btf.name(&ty) else { continue };
                match ty.kind {
                    Kind::Var if ty.var_linkage() != LINKAGE_EXTERN => {}
                    Kind::Var if kconfig => {
                        declared.options.insert(name, ty.id);
                    }
                    Kind::Var | Kind::Func => {
                        declared.kernel.insert(name, ty.id);
                    }
                    _ => {}
                }
            }
        }
        declared
    }
}
