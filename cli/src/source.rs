//! Object files and programs named on the command line.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use bpftime_abi::{Capabilities, MapType};
use bpftime_isa::{ProgType, helper};
use bpftime_loader::{Object, Options, object};
use clap::ValueEnum;

use crate::exit::Unreadable;

/// Program types that may be given where a section's name does not tell.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum TypeName {
    /// A network packet at the driver.
    Xdp,
    /// A network packet at a queue (tc).
    SchedCls,
    /// A socket's packet.
    SocketFilter,
    /// The registers of a probed function.
    Kprobe,
    /// A tracepoint's record.
    Tracepoint,
    /// A raw tracepoint's arguments.
    RawTracepoint,
    /// A performance event.
    PerfEvent,
    /// Plain memory: its address in r1, its length in r2.
    Memory,
}

impl TypeName {
    fn prog_type(self) -> ProgType {
        match self {
            Self::Xdp => ProgType::Xdp,
            Self::SchedCls => ProgType::SchedCls,
            Self::SocketFilter => ProgType::SocketFilter,
            Self::Kprobe => ProgType::Kprobe,
            Self::Tracepoint => ProgType::Tracepoint,
            Self::RawTracepoint => ProgType::RawTracepoint,
            Self::PerfEvent => ProgType::PerfEvent,
            Self::Memory => ProgType::Memory,
        }
    }
}

/// Which programs of a file.
#[derive(clap::Args)]
pub(crate) struct Selection {
    /// Only the program of that name (function or section).
    #[arg(long, value_name = "NAME")]
    pub(crate) program: Option<String>,
    /// Type of programs whose section name tells none.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) prog_type: Option<TypeName>,
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
            (ProgType::Unspec, Some(given)) => given.prog_type(),
            _ => prog_type,
        }
    }
}

/// Reads an object file.
pub(crate) fn read_object(path: &Path) -> anyhow::Result<Object> {
    let read = || -> anyhow::Result<Object> {
        // A directory or an endless file is not read into memory.
        let size = std::fs::metadata(path)?.len();
        if size > bpftime_loader::limits::FILE_BYTES {
            return Err(anyhow!("{size} bytes are too many for an object file"));
        }
        let bytes = std::fs::read(path)?;
        let options = Options {
            name: object::object_name(path),
            ..Options::default()
        };
        Ok(Object::parse_with(&bytes, &options)?)
    };
    read()
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(Unreadable::mark)
}

/// All helpers and map types that there are: what the kernel could offer.
pub(crate) fn kernel_capabilities() -> Capabilities {
    let helpers = helper::PROTOS
        .iter()
        .fold(Capabilities::NONE, |all, proto| all.with_helper(proto.id));
    MapType::ALL
        .iter()
        .fold(helpers, |all, map_type| all.with_map_type(*map_type))
}
