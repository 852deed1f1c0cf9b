//! An object file and its programs.

use std::collections::HashSet;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use bpftime_isa::{Hook, MapDef, OnThrow, ProgType, Program, SectionKind, section};

use crate::btf::ext::BtfExt;
use crate::btf::{Btf, Kind};
use crate::elf::Elf;
use crate::environment::Environment;
use crate::link::{FunctionId, Linked, Linker};
use crate::map_fields::local_structs;
use crate::maps::Maps;
use crate::signature::{member_signature, signature};
use crate::struct_ops::{self, Member};
use crate::{LoadError, code, externs, isolate, limits};

/// What to load an object for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the object, the start of the names of its global data maps. libbpf takes the
    /// file's name up to the first dot; see [`object_name`].
    pub name: String,
    /// The kernel that the programs are loaded for.
    pub environment: Environment,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: String::new(),
            environment: Environment::host(),
        }
    }
}

/// The name that libbpf gives to an object: the file's, up to the first dot, at most 15 bytes.
pub fn object_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.split('.').next().unwrap_or_default();
    name.chars().take(15).collect()
}

/// A program that nothing has been proved about. It cannot be run; the verifier takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedProgram {
    program: Program,
}

impl UnverifiedProgram {
    /// The program, for the verifier.
    pub fn into_program(self) -> Program {
        self.program
    }
}

impl Deref for UnverifiedProgram {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

/// What the section's name says of the place, and what the kernel's types say of that.
fn hook(
    kind: &SectionKind<'_>,
    member: Option<&Member>,
    environment: &Environment,
) -> Result<Hook, LoadError> {
    let mut hook = Hook::of_section(kind);
    if kind.prog_type == ProgType::StructOps {
        hook.target = member.map(|member| member.structure.clone());
        hook.member = member.map(|member| member.member.clone());
        if let Some(Member { structure, member }) = member
            && let Some(kernel) = environment.target_btf()?
        {
            hook.signature = member_signature(&kernel, structure, member);
        }
        return Ok(hook);
    }
    if kind.prog_type.is_typed()
        && let Some(target) = kind.target
        && let Some(kernel) = environment.target_btf()?
    {
        hook.signature = signature(&kernel, kind.prog_type, kind.attach_type, target);
    }
    Ok(hook)
}

/// A program that cannot be linked.
#[derive(Debug)]
pub struct RefusedProgram {
    /// Name of the function.
    pub name: String,
    /// ELF section.
    pub section: String,
    /// Why.
    pub error: LoadError,
}

/// An object file that was read: its programs, linked and relocated, and its maps.
#[derive(Debug)]
pub struct Object {
    programs: Vec<UnverifiedProgram>,
    refused: Vec<RefusedProgram>,
    maps: Vec<MapDef>,
    license: String,
}

impl Object {
    /// Reads an ELF object for this machine's kernel; see [`Object::parse_with`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LoadError> {
        Self::parse_with(bytes, &Options::default())
    }

    /// Reads an ELF object as `clang -target bpf -c` makes it.
    ///
    /// The bytes may be anything: a file that cannot be used gives an error that names the
    /// place, and memory and time are bounded by [`crate::limits`]. The work is done in a thread
    /// of its own, so that a defect in a parser is an error too.
    pub fn parse_with(bytes: &[u8], options: &Options) -> Result<Self, LoadError> {
        isolate::run(|| Self::read(bytes, options))
    }

    fn read(bytes: &[u8], options: &Options) -> Result<Self, LoadError> {
        let elf = Elf::parse(bytes)?;
        let license = license(&elf)?;
        let btf = match elf.section(".BTF") {
            Some((_, section)) => Some(Btf::parse(section.data).map_err(LoadError::btf(".BTF"))?),
            None => None,
        };
        let environment = &options.environment;
        let mut maps = Maps::read(&elf, btf.as_ref(), &options.name, environment.possible_cpus)?;
        let externs = externs::resolve(&elf, btf.as_ref(), environment, &options.name, &mut maps)?;
        let mut code = code::read(&elf)?;
        if let (Some(btf), Some((_, section))) = (&btf, elf.section(".BTF.ext")) {
            let ext = BtfExt::parse(section.data, btf).map_err(LoadError::btf(".BTF.ext"))?;
            code::apply_btf_ext(&mut code, btf, ext, environment)?;
        }

        let objects = match &btf {
            Some(btf) if externs::makes_objects(&elf, &externs) => local_structs(btf),
            _ => [].into(),
        };
        let members = btf.as_ref().map(|btf| struct_ops::members(&elf, btf));
        let members = members.unwrap_or_default();
        let mut linker = Linker {
            elf: &elf,
            btf: btf.as_ref(),
            code: &code,
            code_of: (0..)
                .zip(&code)
                .map(|(at, code)| (code.index, at))
                .collect(),
            maps: &maps,
            externs: &externs,
            slots_left: limits::TOTAL_SLOTS,
            line_bytes_left: limits::LINE_BYTES,
        };
        let mut programs = Vec::new();
        let mut refused = Vec::new();
        for (section_index, function_index) in program_functions(&code, &linker.referenced()) {
            let section = &code[section_index];
            let name = section.functions[function_index].name;
            let refuse = |refused: &mut Vec<RefusedProgram>, error| {
                refused.push(RefusedProgram {
                    name: name.to_owned(),
                    section: section.name.to_owned(),
                    error,
                });
            };
            let linked = match linker.link((section_index, function_index)) {
                Ok(linked) => linked,
                // What one program takes too much of, the next cannot have either.
                Err(error @ LoadError::TooLarge { .. }) => return Err(error),
                Err(error) => {
                    refuse(&mut refused, error);
                    continue;
                }
            };
            let kind = section::classify(section.name);
            let hook = match kind {
                Some(kind) => hook(&kind, members.get(name), environment)?,
                None => Hook::default(),
            };
            let program = |name: &str, linked: Linked, on_throw: OnThrow| Program {
                name: name.to_owned(),
                section: section.name.to_owned(),
                prog_type: kind.map_or(ProgType::Unspec, |kind| kind.prog_type),
                attach_type: kind.and_then(|kind| kind.attach_type),
                hook: hook.clone(),
                license: license.clone(),
                insns: linked.insns,
                maps: linked.maps,
                subprograms: linked.subprograms,
                lines: linked.lines,
                objects: objects.clone(),
                on_throw,
            };
            let on_throw = match on_throw(btf.as_ref(), &code, name) {
                Ok(None) => OnThrow::Ends,
                Ok(Some((called, id))) => match linker.link(id) {
                    Ok(linked) => {
                        OnThrow::Calls(Arc::new(program(called, linked, OnThrow::IsCalled)))
                    }
                    Err(error) => {
                        refuse(&mut refused, error);
                        continue;
                    }
                },
                Err(error) => {
                    refuse(&mut refused, error);
                    continue;
                }
            };
            programs.push(UnverifiedProgram {
                program: program(name, linked, on_throw),
            });
        }
        if programs.is_empty() {
            let first = refused.into_iter().next();
            return Err(first.map_or(LoadError::NoPrograms, |program| program.error));
        }
        Ok(Self {
            programs,
            refused,
            maps: maps.defs,
            license,
        })
    }

    /// The programs, in the order of the file.
    pub fn programs(&self) -> impl ExactSizeIterator<Item = &UnverifiedProgram> {
        self.programs.iter()
    }

    /// The programs, in the order of the file.
    pub fn into_programs(self) -> Vec<UnverifiedProgram> {
        self.programs
    }

    /// Programs that cannot be linked, for example because a function that they call is nowhere.
    /// libbpf would refuse the whole object.
    pub fn refused(&self) -> &[RefusedProgram] {
        &self.refused
    }

    /// All maps, those that no program uses too. Programs have their own list of those they use.
    pub fn maps(&self) -> &[MapDef] {
        &self.maps
    }

    /// Text of the `license` section; empty if there is none.
    pub fn license(&self) -> &str {
        &self.license
    }
}

/// What begins the tag of a program that names the function to call when it throws.
const EXCEPTION_CALLBACK: &str = "exception_callback:";

/// The function that is called when the program throws: its name and where it is. Of several tags, the
/// kernel takes none.
fn on_throw<'a>(
    btf: Option<&'a Btf>,
    code: &[code::Code<'_>],
    program: &str,
) -> Result<Option<(&'a str, FunctionId)>, LoadError> {
    let Some(btf) = btf else { return Ok(None) };
    let mut found = None;
    for tag in btf.types().filter(|ty| ty.kind == Kind::DeclTag) {
        let called = btf.string(tag.name).ok();
        let Some(called) = called.and_then(|text| text.strip_prefix(EXCEPTION_CALLBACK)) else {
            continue;
        };
        let of = btf.ty(tag.size_or_type).map_err(LoadError::btf(".BTF"))?;
        if of.kind != Kind::Func || btf.name(&of) != Ok(program) {
            continue;
        }
        let wrong = |message: &str| LoadError::Symbol {
            symbol: called.to_owned(),
            section: TEXT.to_owned(),
            message: message.to_owned(),
        };
        if found.is_some() {
            return Err(wrong("one of several functions to call on an exception"));
        }
        let mut sections = code.iter().enumerate();
        let place = sections.find_map(|(section, code)| {
            let mut functions = code.functions.iter();
            let at = functions.position(|function| function.name == called)?;
            Some((section, at))
        });
        let place = place.ok_or_else(|| wrong("no function to call on an exception"))?;
        found = Some((called, place));
    }
    Ok(found)
}

const TEXT: &str = ".text";

/// The functions that are programs: those in sections other than `.text`; of static ones, those
/// that no function calls (libbpf takes none of these, other loaders do). Where all functions are
/// in `.text`, those that are not static.
fn program_functions(code: &[code::Code<'_>], referenced: &HashSet<FunctionId>) -> Vec<FunctionId> {
    let functions = |text: bool| {
        let sections = code.iter().enumerate();
        sections
            .filter(move |(_, section)| (section.name == TEXT) == text)
            .flat_map(|(index, section)| {
                let functions = section.functions.iter().enumerate();
                functions.map(move |(at, function)| ((index, at), function.local))
            })
    };
    let programs: Vec<FunctionId> = functions(false)
        .filter(|(id, local)| !local || !referenced.contains(id))
        .map(|(id, _)| id)
        .collect();
    if !programs.is_empty() {
        return programs;
    }
    let text = functions(true).filter(|(_, local)| !local);
    text.map(|(id, _)| id).collect()
}

/// Bytes of a licence; the kernel takes 128.
const LICENSE_BYTES: usize = 128;

fn license(elf: &Elf<'_>) -> Result<String, LoadError> {
    let Some((_, section)) = elf.section("license") else {
        return Ok(String::new());
    };
    let text = section.data.split(|byte| *byte == 0).next();
    let text = text.unwrap_or_default();
    if text.len() >= LICENSE_BYTES {
        return Err(LoadError::section(
            section.name,
            format!("{} bytes, the kernel takes {LICENSE_BYTES}", text.len()),
        ));
    }
    String::from_utf8(text.to_vec())
        .map_err(|error| LoadError::section(section.name, error.to_string()))
}
