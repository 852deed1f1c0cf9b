//! The control-flow graph, with subprograms inlined by call string.
//!
//! Reads: decoded instructions, [`Structure`]. Throws: the inlined program is too long.
//! Invariant afterwards: a node is a run of instructions that is entered at its first and left
//! after its last; each call has its own copy of the called function.

use std::collections::HashMap;

use bpftime_isa::{CallTarget, Decoded, Instruction};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::structure::{Index, Structure};

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
    /// Where a jump or a call leads.
    pub(crate) target: Option<NodeIndex>,
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
}

/// The inlined program has more instructions than the budget allows.
#[derive(Debug)]
pub(crate) struct TooLong;

impl Cfg {
    /// Builds the graph of what the first instruction reaches.
    pub(crate) fn new(
        code: &[Decoded],
        structure: &Structure,
        max_instructions: usize,
    ) -> Result<Self, TooLong> {
        let mut builder = Builder {
            code,
            structure,
            leaders: leaders(code, structure),
            graph: DiGraph::new(),
            instances: vec![Instance {
                function: 0,
                caller: None,
                returns_to: None,
            }],
            nodes: HashMap::new(),
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
        })
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

/// For each instruction, whether a block begins there.
fn leaders(code: &[Decoded], structure: &Structure) -> Vec<bool> {
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
    }
    leaders
}

fn ends_block(insn: &Instruction) -> bool {
    matches!(
        insn,
        Instruction::Jump { .. }
            | Instruction::Branch { .. }
            | Instruction::MayGoto { .. }
            | Instruction::Exit
            | Instruction::Call(CallTarget::Local(_))
    )
}

struct Builder<'a> {
    code: &'a [Decoded],
    structure: &'a Structure,
    leaders: Vec<bool>,
    graph: DiGraph<Block, ()>,
    instances: Vec<Instance>,
    nodes: HashMap<(usize, Index), NodeIndex>,
    pending: Vec<NodeIndex>,
    left: usize,
}

impl Builder<'_> {
    /// The block of the copy that begins at the instruction, made if it is new.
    fn node(&mut self, instance: usize, first: Index) -> Result<NodeIndex, TooLong> {
        if let Some(node) = self.nodes.get(&(instance, first)) {
            return Ok(*node);
        }
        let mut end = first as usize + 1;
        while end < self.code.len() && !self.leaders[end] {
            end += 1;
        }
        self.left = self.left.checked_sub(end - first as usize).ok_or(TooLong)?;
        let node = self.graph.add_node(Block {
            instance,
            first,
            end: end as Index,
            next: None,
            target: None,
        });
        self.nodes.insert((instance, first), node);
        self.pending.push(node);
        Ok(node)
    }

    fn connect(&mut self, node: NodeIndex) -> Result<(), TooLong> {
        let block = &self.graph[node];
        let (instance, end) = (block.instance, block.end);
        let last = end - 1;
        let (next, target) = match self.code[last as usize].insn {
            Instruction::Exit => (self.instances[instance].returns_to, None),
            Instruction::Jump { .. } => (None, self.jump(instance, last)?),
            Instruction::Branch { .. } | Instruction::MayGoto { .. } => {
                (Some(self.node(instance, end)?), self.jump(instance, last)?)
            }
            Instruction::Call(CallTarget::Local(_)) => {
                let after = self.node(instance, end)?;
                // The edge to the block after the call is the callee's exit.
                let callee = self.call(instance, last, after)?;
                (None, callee)
            }
            _ => (Some(self.node(instance, end)?), None),
        };
        for to in [next, target].into_iter().flatten() {
            self.graph.add_edge(node, to, ());
        }
        let block = &mut self.graph[node];
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

    fn call(
        &mut self,
        instance: usize,
        index: Index,
        after: NodeIndex,
    ) -> Result<Option<NodeIndex>, TooLong> {
        let Some(entry) = self.structure.function_target(self.code, index) else {
            return Ok(None);
        };
        self.instances.push(Instance {
            function: self.structure.function_of(entry),
            caller: Some((instance, index)),
            returns_to: Some(after),
        });
        self.node(self.instances.len() - 1, entry).map(Some)
    }
}
