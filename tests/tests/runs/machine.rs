//! What the interpreter asks of the world: memory, helpers, stacks.

use bpftime_isa::{AtomicOp, MapFieldKind, MapType, Size, Width};
use bpftime_vm::TrapReason;
use bpftime_vm::interp::Access;
use bpftime_vm::interp::machine::{Arguments, Called, Machine};

use super::memory::{Kind, handle};
use super::world::{COMPARED, FUNCTIONS, STACK_BYTES, World};

impl Machine for World<'_> {
    fn executing(&mut self, slot: u32) {
        if std::mem::take(&mut self.entered)
            && let (Some(used), Some(frame)) = (self.stacks.get(&slot), self.frames.last_mut())
        {
            let unused = STACK_BYTES.saturating_sub(*used as usize) as u64;
            *frame = self.memory.shorten(*frame, unused);
        }
        self.steps += 1;
        self.at = slot;
        if let Some(executed) = self.executed.get_mut(slot as usize) {
            *executed = true;
        }
    }

    fn comparing(&mut self, left: u64, right: u64, taken: bool) {
        let Some(ways) = self.ways.get_mut(self.at as usize) else {
            return;
        };
        *ways |= if taken { 2 } else { 1 };
        if *ways != 3 && left != right && self.compared.len() < COMPARED {
            self.compared.push((self.at, left, right));
        }
    }

    fn load(&mut self, address: u64, size: Size) -> Result<u64, TrapReason> {
        let len = u64::from(size.bytes());
        if let Some((base, region)) = self.memory.around(address)
            && let Some(type_id) = region.typed
        {
            return Ok(self.walk(base, type_id, address - base, size));
        }
        match self.touched(address, len) {
            Some((field, true)) if matches!(field.kind, MapFieldKind::Kptr { .. }) => {
                return Ok(self.load_kptr(address, &field));
            }
            Some((field, _)) => {
                return Err(self.refuse(format!("a read of {:?}", field.kind)));
            }
            None => {}
        }
        if let Some(value) = self.memory.load(address, size) {
            return Ok(value);
        }
        if Self::in_arena(address) || self.is_stale(address) {
            return Ok(self.number());
        }
        // The kernel's own description of a map.
        if self.map_of(address & !0xfff).is_some() {
            return Ok(self.number());
        }
        let anywhere = !self.memory.is_near(address) && !self.memory.is_gone(address);
        if self.reads_kernel_memory() && anywhere {
            return Ok(self.number());
        }
        Err(self.bad_access(Access::Read, address, size.bytes().into()))
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), TrapReason> {
        match self.touched(address, size.bytes().into()) {
            Some((field, true))
                if matches!(
                    field.kind,
                    MapFieldKind::Kptr {
                        referenced: false,
                        ..
                    }
                ) =>
            {
                return Ok(());
            }
            Some((field, _)) => {
                return Err(self.refuse(format!("a write of {:?}", field.kind)));
            }
            None if Self::in_arena(address) => return Ok(()),
            None => {}
        }
        match self.memory.store(address, size, value) {
            Some(()) => Ok(()),
            None => Err(self.bad_access(Access::Write, address, size.bytes().into())),
        }
    }

    fn atomic(
        &mut self,
        address: u64,
        width: Width,
        op: AtomicOp,
        operand: u64,
        expected: u64,
    ) -> Result<u64, TrapReason> {
        let size = match width {
            Width::W32 => Size::W,
            Width::W64 => Size::DW,
        };
        let mask = u64::MAX >> (64 - 8 * size.bytes());
        if Self::in_arena(address) {
            return Ok(self.number() & mask);
        }
        if let Some((field, _)) = self.touched(address, size.bytes().into()) {
            return Err(self.refuse(format!("an atomic operation on {:?}", field.kind)));
        }
        let Some(old) = self.memory.load(address, size) else {
            return Err(self.bad_access(Access::Write, address, size.bytes().into()));
        };
        let new = match op {
            AtomicOp::Add { .. } => old.wrapping_add(operand),
            AtomicOp::Or { .. } => old | operand,
            AtomicOp::And { .. } => old & operand,
            AtomicOp::Xor { .. } => old ^ operand,
            AtomicOp::Xchg => operand,
            AtomicOp::Cmpxchg if old == expected & mask => operand,
            AtomicOp::Cmpxchg => old,
        };
        match self.memory.store(address, size, new) {
            Some(()) => Ok(old),
            None => Err(self.bad_access(Access::Write, address, size.bytes().into())),
        }
    }

    fn helper(&mut self, number: u32, arguments: Arguments) -> Result<Called, TrapReason> {
        self.call_helper(number, &arguments)
    }

    fn kfunc(&mut self, id: u32, btf_idx: i16, arguments: Arguments) -> Result<Called, TrapReason> {
        self.call_kfunc(id, btf_idx, &arguments)
    }

    fn kernel_symbol(&mut self, id: u32, _btf_fd: u32) -> Result<u64, TrapReason> {
        match self.symbol(id) {
            Some(address) => Ok(address),
            None => Err(self.refuse(format!("the kernel's variable {id}"))),
        }
    }

    fn cast_address(&mut self, address: u64, to: u16, _from: u16) -> Result<u64, TrapReason> {
        Ok(Self::cast_arena(address, to))
    }

    fn called_back(&mut self, result: u64) -> Result<Called, TrapReason> {
        self.go_on_calling(result)
    }

    fn function(&mut self, entry: i64) -> Result<u64, TrapReason> {
        match u64::try_from(entry) {
            Ok(entry) => Ok(handle(FUNCTIONS + entry)),
            Err(_) => Err(self.refuse(format!("a function at slot {entry}"))),
        }
    }

    fn load_packet(&mut self, offset: i64, size: Size) -> Result<Option<u64>, TrapReason> {
        let packet = self.packet_bytes();
        let start = usize::try_from(offset).ok();
        let bytes = start.and_then(|at| packet.get(at..at.checked_add(size.bytes() as usize)?));
        let network = bytes.map(|bytes| {
            bytes
                .iter()
                .fold(0, |all, byte| all << 8 | u64::from(*byte))
        });
        // There are skbs whose packet programs cannot see.
        Ok(match network {
            None if self.packet == 0 && self.tape.often() => Some(self.number()),
            network => network,
        })
    }

    fn map_handle(&mut self, index: u32) -> Result<u64, TrapReason> {
        if index as usize >= self.program.maps.len() {
            return Err(self.refuse(format!("map {index}")));
        }
        Ok(handle(index.into()))
    }

    fn map_value(&mut self, index: u32, offset: u32) -> Result<u64, TrapReason> {
        if index as usize >= self.program.maps.len() {
            return Err(self.refuse(format!("map {index}")));
        }
        if self.maps[index as usize].definition.map_type == MapType::Arena {
            return Ok(Self::arena_variable(offset));
        }
        Ok(self.map_value_at(index as usize, 0) + u64::from(offset))
    }

    fn enter(&mut self, _depth: usize) -> u64 {
        let bytes = self.random_bytes(STACK_BYTES);
        let base = self.memory.add(Kind::Stack, true, bytes);
        self.frames.push(base);
        self.entered = true;
        base + STACK_BYTES as u64
    }

    fn leave(&mut self, _depth: usize) {
        if let Some(base) = self.frames.pop() {
            self.memory.remove(base);
        }
    }
}
