//! The fixed set of programs that the engines are measured with.
//!
//! Beside this file are the programs in C; here is what memory each is given and what it must return,
//! computed in another way than the program does where there is one.
//!
//! - [`memory`](mod@memory): what the programs are given
//! - [`expected`]: what they must return
//! - [`built`]: their objects, as `make -C benches/programs` leaves them

pub mod built;
pub mod expected;
pub mod memory;

pub use built::Built;

/// A program of the set.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Name, that of the file in C.
    pub name: &'static str,
    /// The memory that it is given.
    pub memory: fn() -> Vec<u8>,
    /// What it must return for this memory.
    pub expected: fn(&[u8]) -> u64,
    /// Whether it uses maps.
    pub maps: bool,
}

const fn program(
    name: &'static str,
    memory: fn() -> Vec<u8>,
    expected: fn(&[u8]) -> u64,
) -> Program {
    Program {
        name,
        memory,
        expected,
        maps: false,
    }
}

const fn with_maps(program: Program) -> Program {
    Program {
        maps: true,
        ..program
    }
}

/// A call that does nothing, to be measured by itself: it is no part of the means.
pub const EMPTY: Program = program("empty", || vec![0; 16], |memory| memory.len() as u64);

/// All programs of the set.
pub const PROGRAMS: [Program; 22] = [
    program("prime_count", memory::prime_count, expected::prime_count),
    program("log2", memory::log2, expected::log2),
    program("bit_count", || memory::random(2048), expected::bit_count),
    program(
        "binary_search",
        memory::binary_search,
        expected::binary_search,
    ),
    program("memcmp", memory::memcmp, expected::memcmp),
    program("memcpy", || memory::random(3072), expected::memcpy),
    program("strcmp", memory::strcmp, expected::strcmp),
    program("fnv_hash", || memory::random(1024), expected::fnv_hash),
    program(
        "rotate_hash",
        || memory::random(2048),
        expected::rotate_hash,
    ),
    program("bubble_sort", || memory::random(512), expected::sort),
    program("quick_sort", || memory::random(768), expected::sort),
    program(
        "matrix_multiply",
        || memory::random(3072),
        expected::matrix_multiply,
    ),
    program(
        "switch_dispatch",
        || memory::random(1024),
        expected::switch_dispatch,
    ),
    program("call_chain", || memory::random(256), expected::call_chain),
    program(
        "nested_loops",
        || memory::random(16),
        expected::nested_loops,
    ),
    program("packet_parse", memory::packets, expected::packet_parse),
    program("rss_hash", || memory::random(232), expected::rss_hash),
    program("checksum", || memory::random(1500), expected::checksum),
    program("string_search", memory::text, expected::string_search),
    program("crc32", memory::crc32, expected::crc32),
    with_maps(program(
        "hash_counter",
        memory::keys,
        expected::hash_counter,
    )),
    with_maps(program(
        "array_histogram",
        || memory::random(1024),
        expected::array_histogram,
    )),
];
