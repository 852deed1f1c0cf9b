//! Checks of helper arguments against the helper's prototype.

use bpftime_isa::{ArgType, HelperProto, Reg};

use super::checked::MapView;
use super::machine::Arguments;
use super::regions::{Region, Regions};
use super::trap::{Access, ArgumentProblem, RegionKind, TrapReason};

/// Greatest size that a helper takes; the kernel refuses more (`BPF_MAX_VAR_SIZ`).
#[doc(alias = "BPF_MAX_VAR_SIZ")]
const MAX_SIZE: u64 = 1 << 29;

/// What the arguments mean for the memory that the program may use.
#[derive(Debug, Default)]
pub(crate) struct CheckedCall {
    /// Index of the map in the first map argument.
    pub(crate) map: Option<u32>,
    /// Bytes that the helper is asked to allocate.
    pub(crate) alloc_size: u64,
    /// The record that the helper takes back.
    pub(crate) given_back: Option<Region>,
}

/// Checks all arguments of a call.
pub(crate) fn check(
    proto: &'static HelperProto,
    arguments: &Arguments,
    regions: &Regions,
    maps: &[MapView<'_>],
    context: u64,
) -> Result<CheckedCall, TrapReason> {
    let mut call = CheckedCall::default();
    for (index, expected) in proto.args.iter().enumerate() {
        if matches!(expected, ArgType::None) {
            continue;
        }
        let problem = |problem| TrapReason::HelperArgument {
            name: proto.name,
            argument: index as u8 + 1,
            problem,
        };
        let argument = Argument {
            value: value(arguments, index).map_err(problem)?,
            // Sizes are checked here too, before anything of theirs is touched.
            size: value(arguments, index + 1).unwrap_or(0),
            size_may_be_zero: proto.args.get(index + 1) == Some(&ArgType::ConstSizeOrZero),
        };
        argument
            .check(*expected, &mut call, regions, maps, context)
            .map_err(problem)?;
    }
    Ok(call)
}

fn value(arguments: &Arguments, index: usize) -> Result<u64, ArgumentProblem> {
    match (
        arguments.initialised.get(index),
        arguments.values.get(index),
        Reg::ALL.get(index + 1),
    ) {
        (Some(true), Some(value), _) => Ok(*value),
        (_, _, Some(reg)) => Err(Box::new(TrapReason::Uninitialised(*reg)).into()),
        _ => Err(ArgumentProblem::Unsupported("a sixth argument")),
    }
}

struct Argument {
    value: u64,
    /// The next argument, the size of memory.
    size: u64,
    size_may_be_zero: bool,
}

impl Argument {
    fn check(
        &self,
        expected: ArgType,
        call: &mut CheckedCall,
        regions: &Regions,
        maps: &[MapView<'_>],
        context: u64,
    ) -> Result<(), ArgumentProblem> {
        let definition = || {
            let map = call.map.and_then(|index| maps.get(index as usize));
            map.map(|map| map.definition)
                .ok_or(ArgumentProblem::Unsupported("a value without its map"))
        };
        let memory = |size: u64, access| {
            regions
                .check(self.value, size, access)
                .map_err(|reason| ArgumentProblem::Memory(Box::new(reason)))
        };
        let null = self.value == 0;
        match expected {
            ArgType::None | ArgType::Anything | ArgType::Scalar => Ok(()),
            ArgType::ConstMapPtr => {
                let index = maps.iter().position(|map| map.handle == self.value);
                let index = index.ok_or(ArgumentProblem::NotAMap(self.value))?;
                call.map = Some(index as u32);
                Ok(())
            }
            ArgType::MapKey => memory(definition()?.key_size.into(), Access::Read),
            ArgType::MapValueOrNull if null => Ok(()),
            ArgType::MapValue | ArgType::MapValueOrNull => {
                memory(definition()?.value_size.into(), Access::Read)
            }
            ArgType::UninitMapValue => memory(definition()?.value_size.into(), Access::Write),
            ArgType::MemReadOrNull | ArgType::MemWriteOrNull | ArgType::UninitMemOrNull if null => {
                self.sized().map(drop)
            }
            ArgType::MemRead | ArgType::MemReadOrNull => memory(self.sized()?, Access::Read),
            ArgType::MemWrite
            | ArgType::MemWriteOrNull
            | ArgType::UninitMem
            | ArgType::UninitMemOrNull => memory(self.sized()?, Access::Write),
            ArgType::FixedMemRead(size) => memory(size.into(), Access::Read),
            ArgType::FixedMemWrite(size) | ArgType::FixedMemReadWrite(size) => {
                memory(size.into(), Access::Write)
            }
            // Checked with the memory that it belongs to.
            ArgType::ConstSize | ArgType::ConstSizeOrZero => Ok(()),
            ArgType::ConstAllocSize => {
                if self.value == 0 || self.value > MAX_SIZE {
                    return Err(ArgumentProblem::Size(self.value));
                }
                call.alloc_size = self.value;
                Ok(())
            }
            ArgType::CtxOrNull if null => Ok(()),
            ArgType::Ctx | ArgType::CtxOrNull if self.value == context => Ok(()),
            ArgType::Ctx | ArgType::CtxOrNull => Err(ArgumentProblem::NotTheContext(self.value)),
            ArgType::RingBufMem => {
                let record = regions.starting_at(self.value, |kind| {
                    matches!(kind, RegionKind::RingBufRecord { .. })
                });
                call.given_back = Some(*record.ok_or(ArgumentProblem::NotReserved(self.value))?);
                Ok(())
            }
            ArgType::ConstStr => Err(ArgumentProblem::Unsupported("a constant string")),
            ArgType::SockCommon
            | ArgType::AnySock
            | ArgType::AnySockOrNull
            | ArgType::SocketOrNull
            | ArgType::ReleasedSock => Err(ArgumentProblem::Unsupported("a socket")),
            ArgType::KptrField | ArgType::ReleasedKptr => Err(ArgumentProblem::Unsupported(
                "a kernel pointer in a map's value",
            )),
            ArgType::Struct(_) | ArgType::StructOrNull(_) | ArgType::PerCpu => {
                Err(ArgumentProblem::Unsupported("a structure of the kernel's"))
            }
            ArgType::SpinLock | ArgType::Timer => Err(ArgumentProblem::Unsupported(
                "a lock or a timer in a map's value",
            )),
            ArgType::Func | ArgType::StackOrNull => Err(ArgumentProblem::Unsupported("a callback")),
            ArgType::NewDynptr(_) | ArgType::Dynptr | ArgType::ReleasedDynptr => {
                Err(ArgumentProblem::Unsupported("a dynptr"))
            }
            ArgType::Unsupported(what) => Err(ArgumentProblem::Unsupported(what)),
        }
    }

    /// The size in the next argument, in range.
    fn sized(&self) -> Result<u64, ArgumentProblem> {
        if self.size > MAX_SIZE || (self.size == 0 && !self.size_may_be_zero) {
            return Err(ArgumentProblem::Size(self.size));
        }
        Ok(self.size)
    }
}
