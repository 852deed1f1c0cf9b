//! The kernel's own verifier tests as raw instructions in a JSON file.
//!
//! A file has `meta.maps`, definitions of maps by name, and `tests`. A test has raw slots in
//! hexadecimal (or the name of a gzip file with them), the slots that name a map, the program's
//! type, and what the kernel is expected to say of it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bpftime_abi::map_type::create_flags::{
    BPF_F_NO_PREALLOC, BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG,
};
use bpftime_isa::{
    AttachType, Hook, Insn, MapDef, MapField, MapFieldKind, MapType, ProgType, Program,
};
use flate2::read::GzDecoder;
use serde::Deserialize;

use crate::btf::Kind;
use crate::core_relo;
use crate::environment::Environment;

/// Bytes of a file of vectors.
const FILE_BYTES: u64 = 512 << 20;
/// The program may sleep.
const BPF_F_SLEEPABLE: u32 = 1 << 4;
/// Slots of one test; more than any kernel takes, so that programs too long are vectors too.
const TEST_SLOTS: u64 = 4_000_000;
/// `BPF_PSEUDO_MAP_VALUE`, and its form by index.
const MAP_VALUE: (u8, u8) = (2, 6);
/// `BPF_PSEUDO_MAP_IDX`.
const MAP_IDX: u8 = 5;

/// One test.
#[derive(Debug)]
pub struct Vector {
    /// File that the test is from, within its source.
    pub file: String,
    /// Name of the test.
    pub name: String,
    /// What Linux says; `None` if the file does not tell.
    pub expected: Option<Expected>,
    /// Whether the kernel is asked to refuse unaligned accesses (`BPF_F_STRICT_ALIGNMENT`).
    pub strict_alignment: bool,
    /// The program, or why it cannot be made of the test.
    pub program: Result<Program, Unsupported>,
}

/// What Linux says of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// It loads.
    Accepted,
    /// It does not.
    Rejected,
}

/// Why a test makes no program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// The slots cannot be read.
    #[error("the instructions cannot be read: {0}")]
    Instructions(String),
    /// A program type that is not known.
    #[error("program type {0} is not known")]
    ProgType(u32),
    /// A map that is not defined, or whose type or value's type is not known.
    #[error("map `{0}` is not defined, or its type is not known")]
    Map(String),
    /// A slot that names a map, but is not there or loads no map.
    #[error("slot {0} is to name a map, but is no load of one")]
    Place(usize),
    /// A call of a kernel function, whose number depends on the kernel.
    #[error("calls the kernel function `{0}`, and this machine does not tell its number")]
    KernelFunction(String),
}

/// Why a file of vectors cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VectorsError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// More bytes than are taken.
    #[error("more than {FILE_BYTES} bytes")]
    TooLarge,
    /// Not JSON, or not in this form.
    #[error("not a file of verifier tests: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Document {
    meta: Meta,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    maps: HashMap<String, Map>,
}

#[derive(Deserialize)]
struct Map {
    type_id: u32,
    key: u32,
    value: u32,
    max: u32,
    map_flags: Option<String>,
    inner: Option<Box<Map>>,
    /// The value's type, described in words.
    btf: Option<String>,
}

#[derive(Deserialize)]
struct Test {
    #[serde(default)]
    file: String,
    name: String,
    prog_type: u32,
    #[serde(default)]
    expected_attach_type: u32,
    #[serde(default)]
    prog_load_flags: u32,
    /// What a program is attached to whose context is typed by BTF.
    attach_kfunc: Option<String>,
    result: Option<String>,
    insns: Option<String>,
    insns_file: Option<String>,
    #[serde(default)]
    fixups: BTreeMap<String, Vec<usize>>,
    #[serde(default)]
    kfunc_fixups: Vec<KernelFunction>,
    #[serde(default)]
    strict_alignment: bool,
    actual_6_18: Option<Actual>,
}

#[derive(Deserialize)]
struct KernelFunction {
    insn: usize,
    kfunc: String,
}

#[derive(Deserialize)]
struct Actual {
    verdict: Option<String>,
}

/// Reads a file of vectors. Kernel functions have the numbers of this machine's kernel.
///
/// # Errors
///
/// A file that cannot be read or is not in this form. Tests that make no program are no error;
/// they say why.
pub fn read(path: &Path) -> Result<Vec<Vector>, VectorsError> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(VectorsError::TooLarge);
    }
    parse(&bytes, path.parent().unwrap_or(Path::new("")))
}

/// Reads vectors from JSON text; files with instructions are looked for in a folder.
///
/// # Errors
///
/// As [`read`].
pub fn parse(json: &[u8], folder: &Path) -> Result<Vec<Vector>, VectorsError> {
    let document: Document = serde_json::from_slice(json)?;
    let vectors = document.tests.iter().map(|test| Vector {
        file: test.file.clone(),
        name: test.name.clone(),
        expected: expected(test),
        strict_alignment: test.strict_alignment,
        program: program(test, &document.meta.maps, folder),
    });
    Ok(vectors.collect())
}

/// What Linux 6.18 did, else what the test itself expects.
fn expected(test: &Test) -> Option<Expected> {
    let actual = test
        .actual_6_18
        .as_ref()
        .and_then(|it| it.verdict.as_deref());
    [actual, test.result.as_deref()]
        .into_iter()
        .flatten()
        .find_map(|verdict| match verdict {
            "ACCEPT" | "VERBOSE_ACCEPT" => Some(Expected::Accepted),
            "REJECT" => Some(Expected::Rejected),
            _ => None,
        })
}

fn program(
    test: &Test,
    maps: &HashMap<String, Map>,
    folder: &Path,
) -> Result<Program, Unsupported> {
    let prog_type =
        ProgType::from_u32(test.prog_type).ok_or(Unsupported::ProgType(test.prog_type))?;
    let mut insns = slots(test, folder)?;
    if !test.kfunc_fixups.is_empty() {
        name_functions(test, &mut insns)?;
    }
    let mut definitions = Vec::new();
    for (name, places) in &test.fixups {
        let definition = maps
            .get(name)
            .and_then(|it| map(name, it))
            .ok_or_else(|| Unsupported::Map(name.clone()))?;
        for place in places {
            let insn = insns.get_mut(*place).ok_or(Unsupported::Place(*place))?;
            // By descriptor becomes by index.
            insn.src = if insn.src == MAP_VALUE.0 {
                MAP_VALUE.1
            } else {
                MAP_IDX
            };
            insn.imm = i32::try_from(definitions.len()).map_err(|_| Unsupported::Place(*place))?;
        }
        definitions.push(definition);
    }
    Ok(Program {
        name: test.name.clone(),
        attach_type: Some(AttachType(test.expected_attach_type)),
        hook: Hook {
            sleepable: test.prog_load_flags & BPF_F_SLEEPABLE != 0,
            target: test.attach_kfunc.clone(),
            member: None,
            signature: None,
        },
        license: "GPL".to_owned(),
        maps: definitions,
        ..Program::new(prog_type, insns)
    })
}

/// Puts the numbers that kernel functions have in this machine's kernel into calls of them. Those
/// that it does not have keep number 0, which is no function's.
fn name_functions(test: &Test, insns: &mut [Insn]) -> Result<(), Unsupported> {
    let kernel = Environment::host().target_btf().ok().flatten();
    for function in &test.kfunc_fixups {
        let Some(btf) = &kernel else {
            return Err(Unsupported::KernelFunction(function.kfunc.clone()));
        };
        let insn = insns
            .get_mut(function.insn)
            .ok_or(Unsupported::Place(function.insn))?;
        let number = core_relo::type_named(btf, &function.kfunc, Kind::Func);
        insn.imm = number.map_or(0, |number| number as i32);
        insn.off = 0;
    }
    Ok(())
}

fn slots(test: &Test, folder: &Path) -> Result<Vec<Insn>, Unsupported> {
    let bytes = match (&test.insns, &test.insns_file) {
        (Some(hex), _) => hex_bytes(hex.as_bytes()),
        (None, Some(file)) => unpacked(folder, file),
        (None, None) => Err("there are none".to_owned()),
    }
    .map_err(Unsupported::Instructions)?;
    let slots = bytes.as_chunks::<{ Insn::SIZE }>();
    if !slots.1.is_empty() {
        let text = format!("{} bytes are not whole slots", bytes.len());
        return Err(Unsupported::Instructions(text));
    }
    Ok(slots
        .0
        .iter()
        .map(|slot| Insn::from_le_bytes(*slot))
        .collect())
}

fn hex_bytes(hex: &[u8]) -> Result<Vec<u8>, String> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let (pairs, rest) = hex.as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8))
        .collect::<Option<Vec<u8>>>();
    bytes
        .filter(|_| rest.is_empty())
        .ok_or_else(|| "not hexadecimal".to_owned())
}

/// Slots of a gzip file beside the vectors.
fn unpacked(folder: &Path, file: &str) -> Result<Vec<u8>, String> {
    let name = Path::new(file)
        .file_name()
        .ok_or_else(|| format!("`{file}` names no file"))?;
    let open = File::open(folder.join(name)).map_err(|error| format!("{file}: {error}"))?;
    let limit = TEST_SLOTS * Insn::SIZE as u64;
    let mut bytes = Vec::new();
    GzDecoder::new(open)
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{file}: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{file}: more than {TEST_SLOTS} slots"));
    }
    Ok(bytes)
}

fn map(name: &str, definition: &Map) -> Option<MapDef> {
    let inner = match &definition.inner {
        // Maps of maps nest once, in the kernel too.
        Some(inner) if inner.inner.is_none() => Some(Box::new(map("inner", inner)?)),
        Some(_) => return None,
        None => None,
    };
    let fields = match definition.btf.as_deref() {
        Some(words) => fields(words)?,
        None => Vec::new(),
    };
    Some(MapDef {
        name: name.to_owned(),
        map_type: MapType::from_u32(definition.type_id)?,
        key_size: definition.key,
        value_size: definition.value,
        max_entries: definition.max,
        flags: match definition.map_flags.as_deref() {
            Some("BPF_F_RDONLY_PROG") => BPF_F_RDONLY_PROG,
            Some("BPF_F_WRONLY_PROG") => BPF_F_WRONLY_PROG,
            Some("BPF_F_NO_PREALLOC") => BPF_F_NO_PREALLOC,
            _ => 0,
        },
        inner,
        initial: None,
        frozen: false,
        fields,
    })
}

/// The kernel's parts of the values that the kernel's tests have, by the words that describe them.
fn fields(words: &str) -> Option<Vec<MapField>> {
    let field = |offset, size, kind| MapField { offset, size, kind };
    let kptr = |offset, target: &str, referenced| {
        let target = target.to_owned();
        field(
            offset,
            8,
            MapFieldKind::Kptr {
                target,
                referenced,
                percpu: false,
            },
        )
    };
    Some(if words.contains("kptr") {
        vec![
            kptr(0, "prog_test_ref_kfunc", false),
            kptr(8, "prog_test_ref_kfunc", true),
            kptr(16, "prog_test_member", true),
        ]
    } else if words.contains("timer") {
        vec![field(0, 16, MapFieldKind::Timer)]
    } else if words.contains("spin_lock") {
        vec![field(4, 4, MapFieldKind::SpinLock)]
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(test: &str) -> Vector {
        let text = format!(
            r#"{{"meta": {{"maps": {{"m": {{"type_id": 2, "key": 4, "value": 8, "max": 1}}}}}},
                "tests": [{test}]}}"#
        );
        let mut vectors = parse(text.as_bytes(), Path::new("/nowhere")).expect("a document");
        assert_eq!(vectors.len(), 1);
        vectors.remove(0)
    }

    #[test]
    fn slots_name_maps_by_index() {
        let vector = one(
            r#"{"file": "a.c", "name": "n", "prog_type": 1, "result": "REJECT",
                "actual_6_18": {"verdict": "ACCEPT"}, "fixups": {"m": [0, 2]},
                "insns": "1811000000000000000000000000000018210000000000000000000000000000"}"#,
        );
        assert_eq!(vector.expected, Some(Expected::Accepted));
        let program = vector.program.expect("a program");
        assert_eq!(program.maps.len(), 1);
        assert_eq!((program.insns[0].src, program.insns[0].imm), (5, 0));
        assert_eq!((program.insns[2].src, program.insns[2].imm), (6, 0));
    }

    #[test]
    fn what_the_kernel_did_not_try_is_as_the_test_says() {
        let vector = one(
            r#"{"name": "n", "prog_type": 26, "result": "VERBOSE_ACCEPT",
                "actual_6_18": {"verdict": "skip"}, "insns": "9500000000000000"}"#,
        );
        assert_eq!(vector.expected, Some(Expected::Accepted));
        let silent = one(r#"{"name": "n", "prog_type": 1, "insns": "9500000000000000"}"#);
        assert_eq!(silent.expected, None);
    }

    #[test]
    fn tests_without_a_program_say_why() {
        let why = |test: &str| one(test).program.expect_err("no program");
        assert_eq!(
            why(r#"{"name": "n", "prog_type": 999, "insns": ""}"#),
            Unsupported::ProgType(999)
        );
        assert_eq!(
            why(r#"{"name": "n", "prog_type": 1, "insns": "", "fixups": {"x": [0]}}"#),
            Unsupported::Map("x".into())
        );
        assert_eq!(
            why(r#"{"name": "n", "prog_type": 1, "insns": "", "fixups": {"m": [7]}}"#),
            Unsupported::Place(7)
        );
        for insns in ["95", "zz00000000000000", "950"] {
            let test = format!(r#"{{"name": "n", "prog_type": 1, "insns": "{insns}"}}"#);
            assert!(
                matches!(why(&test), Unsupported::Instructions(_)),
                "{insns}"
            );
        }
        let outside = r#"{"name": "n", "prog_type": 1, "insns_file": "../../etc/passwd"}"#;
        let Unsupported::Instructions(text) = why(outside) else {
            panic!("it has no instructions");
        };
        assert!(text.contains("No such file"), "{text}");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "[]", "{}", "{\"meta\": {}, \"tests\": 1}"] {
            assert!(parse(text.as_bytes(), Path::new("")).is_err(), "{text}");
        }
    }
}
