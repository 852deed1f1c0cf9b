//! What broker and guardian say to each other, framed by [`crate::sys::wire`].

use std::path::PathBuf;

use bpftime_abi::MapType;
use bpftime_maps::Geometry;
use serde::{Deserialize, Serialize};

/// From the broker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToGuardian {
    /// First message: whom to guard. With the lease table.
    Begin {
        /// The process.
        pid: i32,
        /// The broker's number for it, not 0.
        target_id: u32,
        /// Virtual CPUs in the lease table.
        cpus: u32,
        /// The process waits before its `exec`, which is to be followed.
        starting: bool,
    },
    /// A map, before the first program that uses it. With control and data memory.
    Map {
        /// Id.
        id: u32,
        /// Type and sizes.
        geometry: MapGeometry,
    },
    /// An output ring. With its memory.
    Ring {
        /// Number of the event.
        number: u32,
        /// Bytes of data after the control page.
        data_len: u64,
    },
    /// A program, before the first attachment that uses it. With the code.
    Program(ProgramText),
    /// All that is to be attached; what is attached and not in here is to be removed.
    Reconcile {
        /// Repeated in the answer.
        generation: u64,
        /// Programs at places.
        attachments: Vec<Wanted>,
        /// Output rings of perf event arrays.
        rings: Vec<RingPlace>,
    },
    /// How are things?
    Query {
        /// Repeated in the answer.
        generation: u64,
    },
    /// Remove everything and end.
    Detach,
}

/// Geometry of a map, as a message.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct MapGeometry {
    /// The kernel's number of the type.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries.
    pub max_entries: u32,
    /// Flags of creation.
    pub flags: u32,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Key of the hash function.
    pub seed: u64,
}

impl From<&Geometry> for MapGeometry {
    fn from(geometry: &Geometry) -> Self {
        Self {
            map_type: geometry.map_type as u32,
            key_size: geometry.key_size,
            value_size: geometry.value_size,
            max_entries: geometry.max_entries,
            flags: geometry.flags,
            cpus: geometry.cpus,
            seed: geometry.seed,
        }
    }
}

impl MapGeometry {
    /// The geometry; nothing for a type that does not exist.
    pub fn geometry(&self) -> Option<Geometry> {
        Some(Geometry {
            map_type: MapType::from_u32(self.map_type)?,
            key_size: self.key_size,
            value_size: self.value_size,
            max_entries: self.max_entries,
            flags: self.flags,
            cpus: self.cpus,
            seed: self.seed,
        })
    }
}

/// A compiled program, as a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProgramText {
    /// Id.
    pub id: u32,
    /// Name.
    pub name: String,
    /// Bytes of code.
    pub len: usize,
    /// Offset of the entry.
    pub entry: usize,
    /// Bytes of native stack.
    pub stack_bytes: usize,
    /// A virtual CPU must be leased for each run.
    pub needs_cpu: bool,
    /// Ids of its maps, by index.
    pub maps: Vec<u32>,
}

/// A program at a place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wanted {
    /// Unique among all attachments of the broker.
    pub key: u64,
    /// Id of the link, 0 without one.
    pub link_id: u32,
    /// Id of the program.
    pub program: u32,
    /// The file.
    pub path: PathBuf,
    /// Offset of the instruction in the file.
    pub offset: u64,
    /// At the function's return.
    pub at_return: bool,
    /// What `bpf_get_attach_cookie` gives.
    pub cookie: u64,
}

/// An output ring at an index of a map.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RingPlace {
    /// Id of the map.
    pub map: u32,
    /// Index.
    pub index: u32,
    /// Number of the event.
    pub ring: u32,
}

/// From the guardian.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromGuardian {
    /// The process is guarded; attachments may come. For a process that starts: it may go on.
    Ready,
    /// The process cannot be guarded; the guardian ends.
    Failed {
        /// Why, one sentence.
        sentence: String,
    },
    /// Answer to [`ToGuardian::Reconcile`].
    Reconciled {
        /// From the question.
        generation: u64,
        /// What could not be attached, by key, with the reason.
        failures: Vec<(u64, String)>,
    },
    /// Answer to [`ToGuardian::Query`].
    Report {
        /// From the question.
        generation: u64,
        /// Attachments that are in the process.
        hooks: Vec<HookReport>,
    },
    /// Text that programs have printed.
    Trace {
        /// Lines that were lost, before these or among them.
        lost: u64,
        /// In order, at most [`TRACE_RECORDS`](bpftime_abi::target::TRACE_RECORDS).
        lines: Vec<TraceLine>,
    },
    /// Everything is removed (or the reason why not); the guardian ends.
    Detached {
        /// Why something is left, one sentence; nothing if all is removed.
        sentence: Option<String>,
    },
    /// The process has ended; the guardian ends.
    Exited,
}

/// A line of `bpf_trace_printk`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TraceLine {
    /// Thread id as the process sees it.
    pub tid: u32,
    /// Name of the thread.
    pub comm: String,
    /// When it was read, microseconds of the monotonic clock.
    pub time_us: u64,
    /// The text, as the process wrote it: at most
    /// [`TRACE_TEXT`](bpftime_abi::target::TRACE_TEXT) bytes, without NUL.
    pub text: Vec<u8>,
}

/// State of an attachment in a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HookReport {
    /// Key of the attachment.
    pub key: u64,
    /// Address in the process; 0 if it has no place there.
    pub address: u64,
    /// Whether the process's memory holds the patch now.
    pub attached: bool,
    /// Runs of the hook so far.
    pub hits: u64,
    /// Runs that were left out: nested, no free slot, no free CPU, return not seen.
    pub missed: u64,
    /// Why it is not attached.
    pub failure: Option<String>,
}
