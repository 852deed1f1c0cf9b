//! Object files and programs named on the command line.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bpftime_isa::ProgType;
use bpftime_loader::{Btf, Environment, Object, Options, TargetBtf, limits, object};

use crate::exit::Unreadable;

/// A program type by the name that `bpftool prog` prints, with `-` or `_`.
fn prog_type(name: &str) -> Result<ProgType, String> {
    let wanted = name.replace('-', "_");
    let known = || PROG_TYPES.filter_map(ProgType::from_u32);
    known()
        .chain([ProgType::Memory])
        .find(|known| *known != ProgType::Unspec && known.name() == wanted)
        .ok_or_else(|| {
            let names: Vec<&str> = known().skip(1).map(ProgType::name).collect();
            format!("one of memory, {}", names.join(", "))
        })
}

/// Numbers that the kernel has given to program types, and some to come.
const PROG_TYPES: std::ops::Range<u32> = 0..64;

/// Which programs of a file.
#[derive(clap::Args)]
pub(crate) struct Selection {
    /// Only the program of that name (function or section).
    #[arg(long, value_name = "NAME")]
    pub(crate) program: Option<String>,
    /// Type of programs whose section name tells none: xdp, sched-cls, socket-filter, kprobe and
    /// so on, as bpftool prints them; or memory: plain memory, its address in r1, its length in
    /// r2.
    #[arg(long = "type", value_name = "TYPE", value_parser = prog_type)]
    pub(crate) prog_type: Option<ProgType>,
    /// Kernel types for CO-RE relocations [default: /sys/kernel/btf/vmlinux].
    #[arg(long, value_name = "FILE")]
    pub(crate) btf: Option<PathBuf>,
    /// Processors that the machine may have at most, for Linux, which knows that; a verdict that rests on it
    /// holds on such machines only [default: not known].
    #[arg(long, value_name = "COUNT")]
    pub(crate) cpus: Option<u32>,
}

impl Selection {
    /// Whether a program of that name in that section is meant.
    pub(crate) fn takes(&self, name: &str, section: &str) -> bool {
        let wanted = self.program.as_deref();
        wanted.is_none_or(|wanted| wanted == name || wanted == section)
    }

    /// The type of a program whose section tells `prog_type`.
    pub(crate) fn type_or(&self, prog_type: ProgType) -> ProgType {
        match (prog_type, self.prog_type) {
            (ProgType::Unspec, Some(given)) => given,
            _ => prog_type,
        }
    }
}

impl Selection {
    /// The kernel that objects are read for.
    pub(crate) fn environment(&self) -> anyhow::Result<Environment> {
        let mut environment = Environment::host();
        if let Some(path) = &self.btf {
            let btf = read_bounded(path, limits::BTF_BYTES)
                .and_then(|bytes| Ok(Btf::parse(bytes)?))
                .with_context(|| format!("cannot read kernel types from {}", path.display()))
                .map_err(Unreadable::mark)?;
            environment.btf = TargetBtf::Given(Arc::new(btf));
        }
        Ok(environment)
    }
}

/// Reads an object file for a kernel.
pub(crate) fn read_object(path: &Path, environment: &Environment) -> anyhow::Result<Object> {
    let options = Options {
        name: object::object_name(path),
        environment: environment.clone(),
    };
    read_bounded(path, limits::FILE_BYTES)
        .and_then(|bytes| Ok(Object::parse_with(&bytes, &options)?))
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(Unreadable::mark)
}

/// Reads a file of at most `limit` bytes, whatever size it claims to have.
fn read_bounded(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        bail!("more than {limit} bytes");
    }
    Ok(bytes)
}
