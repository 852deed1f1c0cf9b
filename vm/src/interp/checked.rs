//! The machine of unproved programs: every access and every helper argument is checked.

use bpftime_abi::{Capabilities, STACK_SIZE, VmCtx};
use bpftime_isa::{AtomicOp, MapDef, MapType, Reg, RetType, Size, Width, helper};

use super::arguments;
use super::loops::{LOOP, Loops};
use super::machine::{Arguments, Called, Machine};
use super::regions::{Region, Regions};
use super::stack::Stacks;
use super::trap::{ArgumentProblem, RegionKind, TrapReason};

/// One of the program's maps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapView<'a> {
    /// Definition.
    pub(crate) definition: &'a MapDef,
    /// Handle as helpers take it.
    pub(crate) handle: u64,
    /// Address of the first value, 0 if the type has none.
    pub(crate) value: u64,
}

impl MapView<'_> {
    /// Whether programs may write values.
    fn writable(&self) -> bool {
        use bpftime_abi::map_type::create_flags::BPF_F_RDONLY_PROG;
        self.definition.flags & BPF_F_RDONLY_PROG == 0
    }
}

/// Runs any program over memory that it is given, and no other.
pub(crate) struct Checked<'a> {
    vm: *mut VmCtx,
    offered: Capabilities,
    maps: &'a [MapView<'a>],
    context: u64,
    regions: Regions,
    stacks: Stacks,
    loops: Loops,
    /// Addresses of functions that the program has made.
    functions: Vec<u64>,
}

impl<'a> Checked<'a> {
    /// # Safety
    ///
    /// `vm` is valid, its helper table offers `offered`, and `maps` are its maps; `regions` are
    /// as [`Regions::add`] asks for as long as this machine lives. `context` is what `r1` holds
    /// at the start.
    pub(crate) unsafe fn new(
        vm: *mut VmCtx,
        offered: Capabilities,
        maps: &'a [MapView<'a>],
        context: u64,
        regions: Regions,
    ) -> Self {
        Self {
            vm,
            offered,
            maps,
            context,
            regions,
            stacks: Stacks::new(),
            loops: Loops::default(),
            functions: Vec::new(),
        }
    }

    fn map(&self, index: u32) -> Result<&MapView<'a>, TrapReason> {
        self.maps.get(index as usize).ok_or(TrapReason::Map {
            index,
            problem: "does not exist",
        })
    }
}

impl Machine for Checked<'_> {
    fn load(&mut self, address: u64, size: Size) -> Result<u64, TrapReason> {
        self.regions.load(address, size)
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), TrapReason> {
        self.regions.store(address, size, value)
    }

    fn atomic(
        &mut self,
        address: u64,
        width: Width,
        op: AtomicOp,
        operand: u64,
        expected: u64,
    ) -> Result<u64, TrapReason> {
        self.regions.atomic(address, width, op, operand, expected)
    }

    fn helper(&mut self, number: u32, arguments: Arguments) -> Result<Called, TrapReason> {
        let proto = helper::proto(number)
            .filter(|_| self.offered.has_helper(number))
            .ok_or(TrapReason::HelperNotOffered(number))?;
        if number == LOOP {
            let [_, function, ..] = arguments.values;
            let missing = arguments.initialised[..4].iter().position(|is| !is);
            if let Some(reg) = missing.and_then(|index| Reg::ALL.get(index + 1)) {
                return Err(TrapReason::Uninitialised(*reg));
            }
            if !self.functions.contains(&function) {
                return Err(TrapReason::HelperArgument {
                    name: proto.name,
                    argument: 2,
                    problem: ArgumentProblem::NotAFunction(function),
                });
            }
            return Ok(self.loops.begin(arguments));
        }
        let checked = arguments::check(proto, &arguments, &self.regions, self.maps, self.context)?;
        let [r1, r2, r3, r4, r5] = arguments.values;
        // SAFETY: the table has HELPER_SLOTS entries and `has_helper` is false beyond them; every
        // argument was checked against the helper's prototype.
        let result = unsafe {
            let function = *(*self.vm).helpers.add(number as usize);
            function(self.vm, r1, r2, r3, r4, r5)
        };
        if let Some(record) = checked.given_back {
            self.regions.remove(record.kind, Some(record.base));
        }
        match (proto.ret, checked.map) {
            (RetType::Void, _) => return Ok(Called::Result(None)),
            (RetType::MapValueOrNull, Some(index)) if result != 0 => {
                let map = self.map(index)?;
                let region = Region {
                    kind: RegionKind::MapValue { map: index },
                    base: result,
                    len: map.definition.value_size.into(),
                    writable: map.writable(),
                };
                // SAFETY: a lookup gives the address of a value of the map, whose memory outlives
                // this machine.
                unsafe { self.regions.add(region) };
            }
            (RetType::RingBufMemOrNull, Some(index)) if result != 0 => {
                let region = Region {
                    kind: RegionKind::RingBufRecord { map: index },
                    base: result,
                    len: checked.alloc_size,
                    writable: true,
                };
                // SAFETY: `reserve` gives the address of a record with so many bytes in the map,
                // whose memory outlives this machine.
                unsafe { self.regions.add(region) };
            }
            _ => {}
        }
        Ok(Called::Result(Some(result)))
    }

    fn called_back(&mut self, result: u64) -> Result<Called, TrapReason> {
        Ok(self.loops.next(result))
    }

    fn function(&mut self, entry: i64) -> Result<u64, TrapReason> {
        let address = Loops::address(entry);
        if !self.functions.contains(&address) {
            self.functions.push(address);
        }
        Ok(address)
    }

    fn map_handle(&mut self, index: u32) -> Result<u64, TrapReason> {
        Ok(self.map(index)?.handle)
    }

    fn map_value(&mut self, index: u32, offset: u32) -> Result<u64, TrapReason> {
        let map = self.map(index)?;
        if map.value == 0 || map.definition.map_type != MapType::Array {
            return Err(TrapReason::Map {
                index,
                problem: "has no value that can be addressed directly",
            });
        }
        let address = map.value.wrapping_add(offset.into());
        let region = Region {
            kind: RegionKind::MapValue { map: index },
            base: map.value,
            len: map.definition.value_size.into(),
            writable: map.writable(),
        };
        // SAFETY: an array has at least one value, whose memory outlives this machine.
        unsafe { self.regions.add(region) };
        Ok(address)
    }

    fn enter(&mut self, depth: usize) -> u64 {
        let base = self.stacks.enter(depth);
        let region = Region {
            kind: RegionKind::Stack { frame: depth },
            base,
            len: STACK_SIZE as u64,
            writable: true,
        };
        // SAFETY: the stacks live as long as the regions and are touched through them only.
        unsafe { self.regions.add(region) };
        base + STACK_SIZE as u64
    }

    fn leave(&mut self, depth: usize) {
        self.regions
            .remove(RegionKind::Stack { frame: depth }, None);
    }
}
