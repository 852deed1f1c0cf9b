//! ELF, BTF, CO-RE and line info: bytes become an unverified program.
//!
//! ```no_run
//! let bytes = std::fs::read("prog.bpf.o").unwrap();
//! for program in bpftime_loader::Object::parse(&bytes).unwrap().programs() {
//!     println!("{}/{}: {} slots", program.section, program.name, program.insns.len());
//! }
//! ```
//!
//! In the order in which a file goes through them:
//!
//! - [`object`]: the entry point; an object file and its programs
//! - `isolate`: a panic in a parser becomes an error
//! - `elf`: the container: sections, symbols, relocations
//! - [`btf`]: type information, of the object and of the target kernel
//! - `maps`: map definitions and global data
//! - `map_fields`: parts of map values that belong to the kernel
//! - `externs`, [`kernel_config`]: symbols that the kernel provides
//! - `code`: executable sections, functions, source lines
//! - `contract`: what global functions are called with
//! - `core_relo`: CO-RE relocations
//! - `link`: one program with all that it calls
//! - [`signature`](mod@signature): what programs are called with whose context is typed by BTF
//! - `struct_ops`: which function of a kernel structure a program implements
//! - `walk`: reads of the structures that typed pointers lead to
//! - [`environment`]: the kernel that programs are loaded for
//! - [`limits`]: how much of everything is taken
//! - [`vectors`]: verifier tests as raw instructions, another way to a program
//! - [`error`]: why a file was refused
#![forbid(unsafe_code)]

pub mod btf;
mod code;
mod contract;
mod core_relo;
mod elf;
pub mod environment;
pub mod error;
mod externs;
mod isolate;
pub mod kernel_config;
pub mod limits;
mod link;
mod map_fields;
mod maps;
pub mod object;
pub mod signature;
mod struct_ops;
pub mod vectors;
mod walk;

pub use btf::Btf;
pub use environment::{Environment, TargetBtf};
pub use error::LoadError;
pub use kernel_config::KernelConfig;
pub use object::{Object, Options, RefusedProgram, UnverifiedProgram};
pub use signature::signature;
pub use walk::TargetTypes;
