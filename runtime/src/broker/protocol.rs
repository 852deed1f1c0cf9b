//! What the command line asks of the broker, framed by [`crate::sys::wire`].
//!
//! Each connection carries one request and one response.

use serde::{Deserialize, Serialize};

/// Version of this protocol. A broker of another version is told from the first message.
pub const VERSION: u32 = 1;

/// A request with the version of who asks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// [`VERSION`].
    pub version: u32,
    /// The request.
    pub request: Request,
}

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Answer the calls of a tool. With the listener of its filter and its standard error.
    Load {
        /// Process id of the tool.
        pid: i32,
        /// Its command line.
        command: Vec<String>,
    },
    /// Make a target of a process that waits before its `exec`.
    Start {
        /// Process id.
        pid: i32,
    },
    /// Make a target of a running process.
    Attach {
        /// Process id.
        pid: i32,
    },
    /// Remove everything from a target.
    Detach {
        /// Process id.
        pid: i32,
    },
    /// Sessions, programs, links, targets.
    Status,
    /// Maps of all sessions.
    Maps,
    /// Contents of a map.
    DumpMap {
        /// Name or id.
        map: String,
    },
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Done.
    Done,
    /// Done, with the attachments of the process.
    Attached {
        /// One for each program that is attached to a place, or that could not be.
        hooks: Vec<TargetHook>,
    },
    /// Not done, one sentence.
    Failed {
        /// Why.
        sentence: String,
    },
    /// The process is no target of the broker's.
    NotATarget,
    /// Answer to [`Request::Status`].
    Status(Status),
    /// Answer to [`Request::Maps`].
    Maps(Vec<MapInfo>),
    /// Answer to [`Request::DumpMap`].
    Dump(MapDump),
}

/// Everything that the broker holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Process id of the broker.
    pub broker_pid: i32,
    /// Tools.
    pub sessions: Vec<SessionInfo>,
    /// Programs.
    pub programs: Vec<ProgramInfo>,
    /// Programs at places.
    pub links: Vec<LinkInfo>,
    /// Processes that programs run in.
    pub targets: Vec<TargetInfo>,
}

/// A tool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The broker's number.
    pub id: u32,
    /// Process id.
    pub pid: i32,
    /// Command line.
    pub command: Vec<String>,
}

/// A program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProgramInfo {
    /// Id as tools see it.
    pub id: u32,
    /// Name.
    pub name: String,
    /// Type, as `bpftool` prints it.
    #[serde(rename = "type")]
    pub prog_type: String,
    /// Hash of the instructions, hexadecimal.
    pub tag: String,
    /// Instruction slots.
    pub instructions: u32,
    /// Bytes of machine code, 0 if the program's type is not run here.
    pub code_bytes: usize,
    /// Ids of its maps.
    pub maps: Vec<u32>,
    /// Sessions that hold a descriptor of it.
    pub sessions: Vec<u32>,
}

/// A program at a place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkInfo {
    /// Unique among all attachments; names the attachment in [`TargetHook`].
    pub key: u64,
    /// Id of the link as tools see it, 0 for a program that an `ioctl` put on its event.
    pub id: u32,
    /// Id of the program.
    pub program: u32,
    /// Name of the program.
    pub program_name: String,
    /// The file.
    pub path: String,
    /// Offset of the instruction in the file.
    pub offset: u64,
    /// At the function's return.
    pub at_return: bool,
    /// Only in this process.
    pub pid: Option<i32>,
}

/// A process that programs run in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetInfo {
    /// Process id.
    pub pid: i32,
    /// Command line.
    pub command: String,
    /// Why its guardian cannot be asked; then `hooks` says what was to be attached.
    pub problem: Option<String>,
    /// Programs that are to run in it.
    pub hooks: Vec<TargetHook>,
}

/// A program in a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetHook {
    /// Key of the attachment, as in [`LinkInfo`].
    pub key: u64,
    /// Name of the program.
    pub program: String,
    /// The file.
    pub path: String,
    /// Offset of the instruction in the file.
    pub offset: u64,
    /// At the function's return.
    pub at_return: bool,
    /// Address in the process, 0 if it has no place there.
    pub address: u64,
    /// Whether the process's memory was seen to hold the patch.
    pub attached: bool,
    /// Runs so far.
    pub hits: u64,
    /// Runs that were left out.
    pub missed: u64,
    /// Why it is not attached.
    pub failure: Option<String>,
}

/// A map.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MapInfo {
    /// Id as tools see it.
    pub id: u32,
    /// Name.
    pub name: String,
    /// Type, as `bpftool` prints it.
    #[serde(rename = "type")]
    pub map_type: String,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries; bytes for ring buffers.
    pub max_entries: u32,
    /// Flags of creation.
    pub flags: u32,
    /// Whether user space gave up writing.
    pub frozen: bool,
    /// Sessions that hold a descriptor of it.
    pub sessions: Vec<u32>,
}

/// Contents of a map.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MapDump {
    /// The map.
    pub map: MapInfo,
    /// Elements in the map's own order.
    pub elements: Vec<Element>,
}

/// An element of a map.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Element {
    /// Bytes of the key.
    pub key: Vec<u8>,
    /// Bytes of the value; for per-CPU maps all CPUs' values, each rounded up to 8 bytes.
    pub value: Vec<u8>,
}
