//! The control-flow graph, with subprograms inlined by call string.
//!
//! Reads: decoded instructions, [`Structure`]. Throws: the inlined program is too long.
//! Invariant afterwards: a node is a run of instructions that is entered at its first and left
//! after its last; each call has its own copy of the called function.
//!
//! A call of a helper that calls back is a node of its own, with an edge to a copy of each function
//! whose address is taken and edges from their exits back to it: a loop around the helper. A node
//! without instructions comes before it, to which everything leads that leads to the call, so that
//! the call heads no other loop. A helper that only notes a callback for later (a timer's) has an
//! edge to a copy that is shared by all such calls, and whose exit leads nowhere. A node without
//! instructions is the door to that copy: the head of what looks like a loop where the function asks
//! for itself to be called again, which is another run each time.
//!
//! A global function that is judged by its contract ([`crate::contract`]) has one copy as well, behind such
//! a door, to which each of its calls has an edge beside that to the block after the call.

use std::collections::HashMap;

use bpftime_abi::MAX_CALL_FRAMES;
use bpftime_isa::{CallTarget, Decoded, Instruction};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::contract::Global;
use crate::domain::state::CallbackKind;
use crate::structure::{Index, Structure};
use crate::transfer::TAIL_CALL;

/// A run of instructions in one inlined copy of a function.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Which copy, an index into [`Cfg::instances`].
    pub(crate) instance: usize,
    /// First instruction.
    pub(crate) first: Index,
    /// One past the last instruction.
    pub(crate) end: Index,
    /// Where execution goes on: the next block; after an exit, the block after the call.
    pub(crate) next: Option<NodeIndex>,
    /// Where a jump or a call leads; the block after the call of the function, where it may return
    /// without an exit.
    pub(crate) target: Option<NodeIndex>,
    /// The last instruction may return from the function, and go on as well.
    pub(crate) returns_early: bool,
    /// The door to a copy of a function that is called some time later.
    pub(crate) door: bool,
}

/// An inlined copy of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instance {
    /// Index into [`Structure::functions`].
    pub(crate) function: usize,
    /// Copy and instruction of the call, unless it is the main program.
    pub(crate) caller: Option<(usize, Index)>,
    /// Block after the call.
    returns_to: Option<NodeIndex>,
}

/// The graph.
#[derive(Debug)]
pub(crate) struct Cfg {
    pub(crate) graph: DiGraph<Block, ()>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) entry: NodeIndex,
    callbacks: HashMap<NodeIndex, Vec<Callback>>,
    /// Doors to functions that are judged by their contracts, by the block of the call.
    by_contract: HashMap<NodeIndex, NodeIndex>,
}

/// A function that a call may call back: its slot, and its first block.
pub(crate) type Callback = (u32, NodeIndex);

/// The inlined program has more instructions than the budget allows.
#[derive(Debug)]
pub(crate) struct TooLong;

impl Cfg {
    /// Builds the graph of what the first instruction reaches.
    ///
    /// A call of a function that runs already (through a callback), or with too many frames, leads
    /// nowhere; the analysis refuses to pass it.
    pub(crate) fn new(
        code: &[Decoded],
        structure: &Structure,
        kind_of: KindOf<'_>,
        globals: &[Option<Global>],
        max_instructions: usize,
    ) -> Result<Self, TooLong> {
        let mut builder = Builder {
            code,
            structure,
            leaders: leaders(code, structure, kind_of),
            kind_of,
            globals,
            by_contract: HashMap::new(),
            graph: DiGraph::new(),
            instances: vec![Instance {
                function: 0,
                caller: None,
                returns_to: None,
            }],
            nodes: Nodes::new(code.len()),
            calls: HashMap::new(),
            callbacks: HashMap::new(),
            later: HashMap::new(),
            taken: structure.taken(code),
            pending: Vec::new(),
            left: max_instructions,
        };
        let entry = builder.node(0, 0)?;
        while let Some(node) = builder.pending.pop() {
            builder.connect(node)?;
        }
        Ok(Self {
            graph: builder.graph,
            instances: builder.instances,
            entry,
            callbacks: builder.callbacks,
            by_contract: builder.by_contract,
        })
    }

    /// The door to the function that the block calls by its contract, and the function.
    pub(crate) fn by_contract(&self, node: NodeIndex) -> Option<(NodeIndex, usize)> {
        let door = *self.by_contract.get(&node)?;
        let instance = self.instances.get(self.graph[door].instance)?;
        Some((door, instance.function))
    }

    /// Calls by contract: the copy that calls, and the one that is called.
    pub(crate) fn contract_calls(&self) -> impl Iterator<Item = (usize, usize)> + use<'_> {
        let instance = |node: NodeIndex| self.graph[node].instance;
        let calls = self.by_contract.iter();
        calls.map(move |(call, door)| (instance(*call), instance(*door)))
    }

    /// What the call that the block is may call back.
    pub(crate) fn callbacks(&self, node: NodeIndex) -> &[Callback] {
        self.callbacks.get(&node).map_or(&[], Vec::as_slice)
    }

    /// Depth of the frame in which the copy runs, 0 for the main program.
    pub(crate) fn depth(&self, instance: usize) -> usize {
        let caller = |at: &usize| self.instances.get(*at)?.caller.map(|(caller, _)| caller);
        std::iter::successors(Some(instance), caller).count() - 1
    }

    /// Slots of the calls that lead to the copy, outermost first.
    pub(crate) fn call_string(&self, instance: usize, code: &[Decoded]) -> Vec<u32> {
        let mut calls = Vec::new();
        let mut at = self.instances.get(instance);
        while let Some(Instance {
            caller: Some((caller, index)),
            ..
        }) = at
        {
            calls.extend(code.get(*index as usize).map(|call| call.slot));
            at = self.instances.get(*caller);
        }
        calls.reverse();
        calls
    }
}

/// How what is called uses a function that it is given, if it is given one.
pub(crate) type KindOf<'a> = &'a dyn Fn(&Instruction) -> Option<CallbackKind>;

/// For each instruction, whether a block begins there.
fn leaders(code: &[Decoded], structure: &Structure, kind_of: KindOf<'_>) -> Vec<bool> {
    let mut leaders = vec![false; code.len() + 1];
    for function in &structure.functions {
        leaders[function.first as usize] = true;
    }
    for (index, decoded) in code.iter().enumerate() {
        if let Some(target) = structure.jump_target(code, index as Index) {
            leaders[target as usize] = true;
        }
        if ends_block(&decoded.insn) {
            leaders[index + 1] = true;
        }
        if kind_of(&decoded.insn).is_some() {
            leaders[index] = true;
            leaders[index + 1] = true;
        }
    }
    leaders
}

/// Whether a function may return to its caller there and go on as well.
fn may_return(insn: &Instruction) -> bool {
    matches!(
        insn,
        Instruction::LoadPacket { .. } | Instruction::Call(CallTarget::Helper(TAIL_CALL))
    )
}

fn ends_block(insn: &Instruction) -> bool {
    may_return(insn)
        || matches!(
            insn,
            Instruction::Jump { .. }
                | Instruction::Branch { .. }
                | Instruction::MayGoto { .. }
                | Instruction::Exit
                | Instruction::Call(CallTarget::Local(_) | CallTarget::Kfunc { .. })
        )
}

struct Builder<'a> {
    code: &'a [Decoded],
    kind_of: KindOf<'a>,
    /// Functions that are judged by their contracts, by number of the function; may be empty.
    globals: &'a [Option<Global>],
    by_contract: HashMap<NodeIndex, NodeIndex>,
    structure: &'a Structure,
    leaders: Vec<bool>,
    graph: DiGraph<Block, ()>,
    instances: Vec<Instance>,
    nodes: Nodes,
    /// Nodes of calls that call back, behind the empty ones that are in `nodes`.
    calls: HashMap<(u32, Index), NodeIndex>,
    /// What these calls may call back.
    callbacks: HashMap<NodeIndex, Vec<Callback>>,
    /// Doors to the copies of functions that are called some time later, by function, and to those that
    /// are judged by their contracts.
    later: HashMap<(usize, bool), NodeIndex>,
    /// First instructions of functions whose addresses are taken.
    taken: Vec<Index>,
    pending: Vec<NodeIndex>,
    left: usize,
}

/// Blocks by copy and first instruction.
struct Nodes {
    /// Of the first copy, which large programs mostly are, by instruction.
    main: Vec<NodeIndex>,
    /// Of the others, of which a copy may hold a small part of its function only.
    copies: HashMap<(usize, Index), NodeIndex>,
}

impl Nodes {
    fn new(instructions: usize) -> Self {
        Self {
            main: vec![NodeIndex::end(); instructions],
            copies: HashMap::new(),
        }
    }

    fn get(&self, instance: usize, first: Index) -> Option<NodeIndex> {
        if instance > 0 {
            return self.copies.get(&(instance, first)).copied();
        }
        let node = self.main.get(first as usize).copied();
        node.filter(|node| *node != NodeIndex::end())
    }

    fn insert(&mut self, instance: usize, first: Index, node: NodeIndex) {
        match self.main.get_mut(first as usize) {
            Some(place) if instance == 0 => *place = node,
            _ => {
                self.copies.insert((instance, first), node);
            }
        }
    }
}

impl Builder<'_> {
    /// The block of the copy that begins at the instruction, made if it is new.
    fn node(&mut self, instance: usize, first: Index) -> Result<NodeIndex, TooLong> {
        if let Some(node) = self.nodes.get(instance, first) {
            return Ok(node);
        }
        if (self.kind_of)(&self.code[first as usize].insn).is_some() {
            let node = self.add(instance, first, first)?;
            self.nodes.insert(instance, first, node);
            return Ok(node);
        }
        let mut end = first as usize + 1;
        while end < self.code.len() && !self.leaders[end] {
            end += 1;
        }
        let node = self.add(instance, first, end as Index)?;
        self.nodes.insert(instance, first, node);
        Ok(node)
    }

    fn add(&mut self, instance: usize, first: Index, end: Index) -> Result<NodeIndex, TooLong> {
        // An empty block counts as well: each costs memory.
        let cost = (end - first).max(1) as usize;
        self.left = self.left.checked_sub(cost).ok_or(TooLong)?;
        let node = self.graph.add_node(Block {
            instance,
            first,
            end,
            next: None,
            target: None,
            returns_early: false,
            door: false,
        });
        self.pending.push(node);
        Ok(node)
    }

    /// The block of the call that calls back.
    fn calling_back(&mut self, instance: usize, index: Index) -> Result<NodeIndex, TooLong> {
        if let Some(node) = self.calls.get(&(instance as u32, index)) {
            return Ok(*node);
        }
        let node = self.add(instance, index, index + 1)?;
        self.calls.insert((instance as u32, index), node);
        Ok(node)
    }

    /// Functions that run in the copy, the innermost first.
    fn chain(&self, instance: usize) -> impl Iterator<Item = usize> + use<'_> {
        let next = |at: &&Instance| at.caller.and_then(|(caller, _)| self.instances.get(caller));
        std::iter::successors(self.instances.get(instance), move |at| next(at))
            .map(|at| at.function)
    }

    /// A copy of the function for a call in the copy `caller`, unless it runs there already or
    /// there are too many frames.
    fn copy(
        &mut self,
        function: usize,
        caller: usize,
        index: Index,
        returns_to: NodeIndex,
    ) -> Option<usize> {
        let frames = self.chain(caller).count();
        if frames >= MAX_CALL_FRAMES || self.chain(caller).any(|running| running == function) {
            return None;
        }
        self.instances.push(Instance {
            function,
            caller: Some((caller, index)),
            returns_to: Some(returns_to),
        });
        Some(self.instances.len() - 1)
    }

    /// The door to the copy of a function that is called some time later, or is judged by its contract.
    fn copy_for_later(
        &mut self,
        function: usize,
        by_contract: bool,
        entry: Index,
    ) -> Result<NodeIndex, TooLong> {
        if let Some(door) = self.later.get(&(function, by_contract)) {
            return Ok(*door);
        }
        self.instances.push(Instance {
            function,
            caller: None,
            returns_to: None,
        });
        let door = self.add(self.instances.len() - 1, entry, entry)?;
        self.graph[door].door = true;
        self.later.insert((function, by_contract), door);
        Ok(door)
    }

    /// First blocks of the functions that the call may call back.
    fn callbacks(&mut self, node: NodeIndex, kind: CallbackKind) -> Result<Vec<Callback>, TooLong> {
        let Block {
            instance, first, ..
        } = self.graph[node];
        // Each call may lead to each of them.
        self.left = self.left.checked_sub(self.taken.len()).ok_or(TooLong)?;
        let mut found = Vec::with_capacity(self.taken.len());
        for entry in self.taken.clone() {
            let function = self.structure.function_of(entry);
            let to = if kind.is_later() {
                self.copy_for_later(function, false, entry)?
            } else {
                match self.copy(function, instance, first, node) {
                    Some(copy) => self.node(copy, entry)?,
                    None => continue,
                }
            };
            found.push((self.code[entry as usize].slot, to));
        }
        Ok(found)
    }

    fn connect(&mut self, node: NodeIndex) -> Result<(), TooLong> {
        let block = &self.graph[node];
        let (instance, first, end) = (block.instance, block.first, block.end);
        if first == end {
            let behind = if block.door {
                self.node(instance, first)?
            } else {
                self.calling_back(instance, first)?
            };
            self.graph.add_edge(node, behind, ());
            self.graph[node].next = Some(behind);
            return Ok(());
        }
        let last = end - 1;
        if let Some(kind) = (self.kind_of)(&self.code[last as usize].insn) {
            let callbacks = self.callbacks(node, kind)?;
            for (_, to) in &callbacks {
                self.graph.add_edge(node, *to, ());
            }
            self.callbacks.insert(node, callbacks);
        }
        let (next, target) = match self.code[last as usize].insn {
            Instruction::Exit => (self.instances[instance].returns_to, None),
            Instruction::Jump { .. } => (None, self.jump(instance, last)?),
            Instruction::Branch { .. } | Instruction::MayGoto { .. } => {
                (Some(self.node(instance, end)?), self.jump(instance, last)?)
            }
            Instruction::Call(CallTarget::Local(_)) => {
                let after = self.node(instance, end)?;
                match self.contract_door(last)? {
                    Some(door) => {
                        self.graph.add_edge(node, door, ());
                        self.by_contract.insert(node, door);
                        (Some(after), None)
                    }
                    // The edge to the block after the call is the callee's exit.
                    None => (None, self.call(instance, last, after)?),
                }
            }
            ref insn if may_return(insn) => (
                Some(self.node(instance, end)?),
                self.instances[instance].returns_to,
            ),
            _ => (Some(self.node(instance, end)?), None),
        };
        for to in [next, target].into_iter().flatten() {
            self.graph.add_edge(node, to, ());
        }
        let returns_early = may_return(&self.code[last as usize].insn);
        let block = &mut self.graph[node];
        block.returns_early = returns_early;
        block.next = next;
        block.target = target;
        Ok(())
    }

    fn jump(&mut self, instance: usize, index: Index) -> Result<Option<NodeIndex>, TooLong> {
        match self.structure.jump_target(self.code, index) {
            Some(target) => self.node(instance, target).map(Some),
            None => Ok(None),
        }
    }

    /// The door to the function that is called there, if it is judged by its contract.
    fn contract_door(&mut self, index: Index) -> Result<Option<NodeIndex>, TooLong> {
        let Some(entry) = self.structure.callee(self.code, index) else {
            return Ok(None);
        };
        let function = self.structure.function_of(entry);
        match self.globals.get(function) {
            Some(Some(_)) => self.copy_for_later(function, true, entry).map(Some),
            _ => Ok(None),
        }
    }

    fn call(
        &mut self,
        instance: usize,
        index: Index,
        after: NodeIndex,
    ) -> Result<Option<NodeIndex>, TooLong> {
        let Some(entry) = self.structure.callee(self.code, index) else {
            return Ok(None);
        };
        let function = self.structure.function_of(entry);
        match self.copy(function, instance, index, after) {
            Some(copy) => self.node(copy, entry).map(Some),
            None => Ok(None),
        }
    }
}
