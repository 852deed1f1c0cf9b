//! What is known at one place of a program.

use std::rc::Rc;

use bpftime_isa::Reg;

use super::lineage::Lineage;
use super::section::Sections;
use super::stack::{Stack, Units};
use super::value::{Id, Kind, Value};

/// Registers and stack of one call.
#[derive(Clone, PartialEq, Debug)]
pub struct Frame {
    /// `r0` to `r10`.
    pub regs: [Value; 11],
    /// The frame's stack.
    pub stack: Stack,
    /// Whether a helper called the function, and which kind.
    pub callback: Option<CallbackKind>,
    /// Resources that were held when the function was called back.
    pub held_before: usize,
}

/// Who calls a function back, and what it may return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallbackKind {
    /// `bpf_loop`.
    Loop,
    /// `bpf_for_each_map_elem`.
    ForEachMapElem,
    /// `bpf_find_vma`.
    FindVma,
    /// `bpf_user_ringbuf_drain`, with a dynptr on each sample.
    Drain,
    /// The comparison of `bpf_rbtree_add`, with the tree's lock held.
    Less,
    /// `bpf_timer_set_callback`: some time later, on a stack of its own.
    Timer,
    /// `bpf_wq_set_callback_impl`: some time later, on a stack of its own, where it may sleep.
    Workqueue,
    /// A global function that is judged by its contract: no helper calls it, but it starts and ends as
    /// one that is called later.
    Global,
    /// Another helper, which this version does not know.
    Other,
}

impl CallbackKind {
    /// The kind by number of the helper.
    pub fn of(helper: u32) -> Self {
        match helper {
            164 => Self::ForEachMapElem,
            170 => Self::Timer,
            180 => Self::FindVma,
            181 => Self::Loop,
            209 => Self::Drain,
            _ => Self::Other,
        }
    }

    /// Whether the function is called after the helper has returned.
    pub fn is_later(self) -> bool {
        matches!(self, Self::Timer | Self::Workqueue)
    }

    /// Greatest number that it may return; the least is 0.
    pub fn greatest_result(self) -> u64 {
        if self.is_later() { 0 } else { 1 }
    }
}

impl Frame {
    fn new(depth: u8) -> Self {
        let mut regs = [Value::uninit(); 11];
        regs[Reg::R10.index()] = Value::pointer(Kind::Stack { frame: depth });
        Self {
            regs,
            stack: Stack::default(),
            callback: None,
            held_before: 0,
        }
    }
}

/// A resource that must be given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reference {
    /// Identity that pointers to it carry.
    pub id: Id,
    /// Slot of the call that acquired it.
    pub slot: u32,
}

/// What is known at one place: all frames, and what was acquired.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    frames: Vec<Rc<Frame>>,
    /// Acquired resources in order.
    pub references: Vec<Reference>,
    /// Locks held and the like.
    pub sections: Sections,
    /// Greatest number of instructions executed until here; `u64::MAX` if not known.
    pub executed: u64,
    /// Where it came from, if that is remembered.
    pub lineage: Lineage,
}

impl State {
    /// The state in which a program starts, without its arguments.
    pub fn entry() -> Self {
        Self {
            frames: vec![Rc::new(Frame::new(0))],
            references: Vec::new(),
            sections: Sections::default(),
            executed: 0,
            lineage: Lineage::default(),
        }
    }

    /// Count of frames, at least 1.
    pub fn depth(&self) -> usize {
        self.frames.len()
    }

    /// What the state costs in memory and in comparisons, 1 for a usual one: frames, and what is
    /// remembered of stacks and resources.
    pub fn weight(&self) -> usize {
        let cells: usize = self.frames().map(|frame| frame.stack.cells().len()).sum();
        self.frames.len() + cells / 32 + self.references.len() / 64
    }

    /// All frames, the main program's first.
    pub fn frames(&self) -> impl DoubleEndedIterator<Item = &Frame> + ExactSizeIterator {
        self.frames.iter().map(|frame| &**frame)
    }

    /// A frame by depth.
    pub fn frame(&self, depth: usize) -> Option<&Frame> {
        self.frames.get(depth).map(|frame| &**frame)
    }

    /// A frame by depth, to be changed.
    pub fn frame_mut(&mut self, depth: usize) -> Option<&mut Frame> {
        self.frames.get_mut(depth).map(Rc::make_mut)
    }

    /// Replaces all frames; they are as many as before.
    pub fn set_frames(&mut self, frames: Vec<Frame>) {
        self.frames = frames.into_iter().map(Rc::new).collect();
    }

    fn top(&self) -> &Frame {
        // There is always the main program's frame: `pop` never removes the last.
        &self.frames[self.frames.len() - 1]
    }

    fn top_mut(&mut self) -> &mut Frame {
        let last = self.frames.len() - 1;
        Rc::make_mut(&mut self.frames[last])
    }

    /// A register of the running function.
    pub fn reg(&self, reg: Reg) -> &Value {
        &self.top().regs[reg.index()]
    }

    /// Sets a register of the running function.
    pub fn set(&mut self, reg: Reg, value: Value) {
        self.top_mut().regs[reg.index()] = value;
    }

    /// Registers of the running function, to be changed.
    pub fn regs_mut(&mut self) -> &mut [Value; 11] {
        &mut self.top_mut().regs
    }

    /// Enters a subprogram: `r1` to `r5` are passed on, and lost to the caller.
    pub fn push(&mut self) {
        let mut frame = Frame::new(self.frames.len() as u8);
        frame.regs[1..=5].copy_from_slice(&self.top().regs[1..=5]);
        self.clear_caller_saved();
        self.frames.push(Rc::new(frame));
    }

    /// Enters a function that a helper calls back, with the arguments in `r1` and on. The caller's
    /// registers stay as they are: the helper has not returned.
    pub fn push_callback(&mut self, kind: CallbackKind, arguments: &[Value]) {
        let mut frame = Frame::new(self.frames.len() as u8);
        frame.callback = Some(kind);
        frame.held_before = self.references.len();
        for (reg, value) in frame.regs[1..].iter_mut().zip(arguments) {
            *reg = *value;
        }
        self.frames.push(Rc::new(frame));
    }

    /// The state in which a function is called back later, with the arguments in `r1` and on.
    pub fn entry_later(kind: CallbackKind, arguments: &[Value]) -> Self {
        let mut state = Self {
            frames: Vec::new(),
            references: Vec::new(),
            sections: Sections::default(),
            executed: 0,
            lineage: Lineage::default(),
        };
        state.push_callback(kind, arguments);
        state
    }

    /// How the running function was called back, if it was, and how many resources were held then.
    pub fn callback(&self) -> Option<(CallbackKind, usize)> {
        let top = self.top();
        top.callback.map(|kind| (kind, top.held_before))
    }

    /// Forgets registers of the running function that are not in the set, by number.
    pub fn keep_registers(&mut self, live: u16) {
        let dead = |number: usize, value: &Value| {
            live & (1 << number) == 0 && value.kind != Kind::Uninit && number != Reg::R10.index()
        };
        if !self.top().regs.iter().enumerate().any(|(n, v)| dead(n, v)) {
            return;
        }
        for (number, value) in self.top_mut().regs.iter_mut().enumerate() {
            if dead(number, value) {
                *value = Value::uninit();
            }
        }
    }

    /// Forgets bytes of the running function's stack that are in none of the units.
    pub fn keep_stack(&mut self, live: Units) {
        if self.top().stack.has_beyond(live) {
            self.top_mut().stack.keep_units(live);
        }
    }

    /// Returns from a subprogram: `r0` is passed on, `r1` to `r5` are lost, and pointers to the
    /// frame that is gone are no longer valid. After a callback the caller's registers are those
    /// that the helper was called with.
    pub fn pop(&mut self) {
        if self.frames.len() < 2 {
            return;
        }
        let gone = (self.frames.len() - 1) as u8;
        let result = *self.reg(Reg::R0);
        let called_back = self.top().callback;
        let helper_goes_on = called_back.is_some();
        self.frames.pop();
        if called_back == Some(CallbackKind::Drain) {
            self.end_samples();
        }
        if !helper_goes_on {
            self.clear_caller_saved();
            self.set(Reg::R0, result);
        }
        self.change_values(
            |value| match value.kind {
                Kind::Stack { frame } => frame == gone,
                Kind::Slice {
                    buffer: Some((frame, _)),
                    ..
                } => frame == gone,
                _ => false,
            },
            |value| *value = Value::any(),
        );
    }

    /// A sample is gone, and slices of it, wherever they are kept. Which slices are of it is not
    /// looked at: those of what has to be given back, and of packets, are not.
    fn end_samples(&mut self) {
        let held: Vec<Id> = self.references.iter().map(|held| held.id).collect();
        self.change_values(
            |value| {
                matches!(value.kind, Kind::Slice { packet: false, .. })
                    && value.reference != 0
                    && !held.contains(&value.reference)
            },
            |value| *value = Value::any(),
        );
    }

    /// `r0` to `r5` may not be read any more.
    pub fn clear_caller_saved(&mut self) {
        self.top_mut().regs[..=5].fill(Value::uninit());
    }

    /// Changes every register and stack cell, of all frames, for which the test holds.
    pub fn change_values(
        &mut self,
        test: impl Fn(&Value) -> bool,
        mut change: impl FnMut(&mut Value),
    ) {
        for frame in &mut self.frames {
            let found = frame.regs.iter().any(&test)
                || frame.stack.cells().iter().any(|cell| test(&cell.value));
            if !found {
                continue;
            }
            let frame = Rc::make_mut(frame);
            for value in &mut frame.regs {
                if test(value) {
                    change(value);
                }
            }
            for cell in frame.stack.cells_mut() {
                if test(&cell.value) {
                    change(&mut cell.value);
                    if cell.value.kind == Kind::Uninit {
                        cell.value = Value::any();
                    }
                }
            }
        }
    }

    /// A resource is given back: pointers to it become `invalid`.
    pub fn release(&mut self, reference: Id, invalid: Value) {
        self.references.retain(|held| held.id != reference);
        self.change_values(
            |value| value.reference == reference,
            |value| *value = invalid,
        );
    }
}

impl core::fmt::Display for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let depth = self.frames.len() - 1;
        let mut parts = Vec::new();
        if depth > 0 {
            parts.push(format!("frame{depth}:"));
        }
        for (number, value) in self.top().regs.iter().enumerate() {
            if value.kind != Kind::Uninit {
                parts.push(format!("R{number}={value}"));
            }
        }
        for cell in self.top().stack.cells() {
            let offset = i64::from(cell.at) - super::stack::SIZE as i64;
            parts.push(format!("fp{offset}={}", cell.value));
        }
        for held in &self.references {
            parts.push(format!("refs={}", held.id));
        }
        f.write_str(&parts.join(" "))
    }
}
