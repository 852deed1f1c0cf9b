//! The context that compiled code and helpers are called with.

/// What a running program can reach, besides its arguments.
///
/// Compiled code reads `helpers`, `maps` and `map_values` at the fixed offsets below and passes
/// the pointer on as the first argument of each helper. The rest belongs to the helpers.
#[repr(C)]
#[derive(Debug)]
pub struct VmCtx {
    /// Helper functions by helper number; [`HELPER_SLOTS`] entries, none null. A number that
    /// the environment does not offer holds a function that returns `-EINVAL`; the verifier
    /// refuses programs that call it.
    pub helpers: *const HelperFn,
    /// Map handles by the program's map index: what `r1 = map ll` gives and helpers take. The
    /// value is the address of the engine's private `MapRef`.
    pub maps: *const u64,
    /// Address of the first value of each map by the program's map index, for direct value
    /// access (`BPF_PSEUDO_MAP_VALUE`) and for lookups without a call; 0 where the map type has none
    /// (only arrays, per-CPU ones included, do).
    pub map_values: *const u64,
    /// State of the environment that runs the program (thread slot, host environment); compiled
    /// code never looks at it.
    pub env: *mut u8,
    /// The leased virtual CPU, the index into per-CPU values: below the number of CPUs of each per-CPU
    /// map of the program.
    pub cpu: u32,
    /// Not used; keeps the size a multiple of 8.
    pub reserved: u32,
}

/// Entries in the table that [`VmCtx::helpers`] points to.
pub const HELPER_SLOTS: usize = 256;

/// Offset of [`VmCtx::helpers`], for code generators.
pub const OFFSET_HELPERS: i32 = core::mem::offset_of!(VmCtx, helpers) as i32;
/// Offset of [`VmCtx::maps`], for code generators.
pub const OFFSET_MAPS: i32 = core::mem::offset_of!(VmCtx, maps) as i32;
/// Offset of [`VmCtx::map_values`], for code generators.
pub const OFFSET_MAP_VALUES: i32 = core::mem::offset_of!(VmCtx, map_values) as i32;

/// Offset of [`VmCtx::cpu`], for code generators.
pub const OFFSET_CPU: i32 = core::mem::offset_of!(VmCtx, cpu) as i32;

/// A helper: `r1` to `r5` as 64-bit words, result in `r0`. System V calling convention, and
/// no xmm or ymm register is touched.
pub type HelperFn = unsafe extern "sysv64" fn(*mut VmCtx, u64, u64, u64, u64, u64) -> u64;

/// A compiled program: `r1` (context address), `r2` (context length where the context type
/// passes one, else 0), result in `r0`. System V calling convention; needs
/// `MAX_CALL_FRAMES * (STACK_SIZE + spill space)` bytes of native stack, and no xmm or ymm
/// register is touched.
pub type ProgramFn = unsafe extern "sysv64" fn(*mut VmCtx, u64, u64) -> u64;
