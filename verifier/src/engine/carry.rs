//! States carried through blocks: assertions are checked, then the instruction makes of the state what
//! it makes.

use bpftime_isa::{CallTarget, Instruction, Object};
use petgraph::graph::NodeIndex;

use super::{Engine, Located};
use crate::assertion::{Assertion, assertions};
use crate::check::{Failure, check, contract};
use crate::diagnostic::Code;
use crate::domain::state::{CallbackKind, State};
use crate::domain::value::Kind;
use crate::liveness::reads;
use crate::refine::Refined;
use crate::structure::Index;
use crate::transfer::{
    TAIL_CALL, branch, called, contract_entry, entered, kfunc, returned_early, runs_already, step,
};

impl Engine<'_> {
    /// Whether to go on after a failed check: an error, or `false` if no run comes here so.
    fn refine(
        &mut self,
        (node, index): (NodeIndex, Index),
        state: &mut State,
        assertion: &Assertion,
        failure: Failure,
    ) -> Result<bool, Located> {
        let refined = self.session.as_mut().map(|session| {
            let last_id = &mut self.notes.last_id;
            session.refine(
                self.env,
                self.code,
                index as usize,
                state,
                assertion,
                last_id,
            )
        });
        let refuted = match refined {
            Some(Refined::Passes) => return Ok(true),
            Some(Refined::Unreachable) => return Ok(false),
            Some(Refined::Fails(refuted)) => Some(Box::new(refuted)),
            None => None,
        };
        Err(Located {
            refuted,
            ..self.at(node, index, Some(state), failure)
        })
    }

    /// Carries one state through a block.
    pub(super) fn carry(
        &mut self,
        node: NodeIndex,
        mut state: State,
        out: &mut Vec<(NodeIndex, State)>,
    ) -> Result<(), Located> {
        let cfg = self.cfg;
        let block = &cfg.graph[node];
        for index in block.first..block.end {
            let decoded = self.code[index as usize];
            self.count(node, index, &mut state)?;
            for assertion in assertions(&decoded.insn) {
                if let Err(failure) = check(self.env, &state, &assertion)
                    && !self.refine((node, index), &mut state, &assertion, failure)?
                {
                    return Ok(());
                }
            }
            // Not before: a check that fails may turn out to be one that no run comes to.
            if let Some(reached) = self.reached.get_mut(index as usize) {
                *reached = true;
            }
            self.operands.record(index, reads(&decoded.insn), &state);
            if let Some(failure) = self.other_memory(&state, index, &decoded.insn) {
                return Err(self.at(node, index, Some(&state), failure));
            }
            match decoded.insn {
                Instruction::Jump { .. } => {
                    out.extend(block.target.map(|to| (to, state)));
                    return Ok(());
                }
                Instruction::Branch {
                    cond,
                    width,
                    dst,
                    src,
                    ..
                } => {
                    for (to, taken) in [(block.next, false), (block.target, true)] {
                        let after = branch(self.env, state.clone(), cond, width, dst, src, taken);
                        out.extend(to.zip(after));
                    }
                    return Ok(());
                }
                Instruction::MayGoto { .. } => {
                    out.extend(block.next.map(|to| (to, state.clone())));
                    out.extend(block.target.map(|to| (to, state)));
                    return Ok(());
                }
                Instruction::Call(CallTarget::Local(_)) => {
                    if let Some((door, function)) = self.cfg.by_contract(node) {
                        return self.by_contract((node, index), state, (door, function), out);
                    }
                    let Some(to) = block.target else {
                        return Err(self.at(node, index, Some(&state), runs_already()));
                    };
                    if let Some(live) = self.live_stack.get(index as usize) {
                        state.keep_stack(*live);
                    }
                    state.push();
                    out.push((to, state));
                    return Ok(());
                }
                Instruction::Call(CallTarget::Kfunc { id, btf_idx }) => {
                    if let Some(kind) = self.env.callback_kind(&decoded.insn) {
                        self.call_back(node, index, &state, kind, out)?;
                    }
                    let before = state.clone();
                    let Some(proto) = self.env.kfunc(id, btf_idx) else {
                        return Err(self.at(node, index, Some(&before), runs_already()));
                    };
                    let after = kfunc(self.env, &mut self.notes, state, decoded.slot, proto)
                        .map_err(|failure| self.at(node, index, Some(&before), failure))?;
                    if after.is_empty() {
                        self.longest = self.longest.max(before.executed);
                    }
                    let next = block.next.into_iter();
                    out.extend(next.flat_map(|to| after.iter().map(move |s| (to, s.clone()))));
                    return Ok(());
                }
                Instruction::Exit => {
                    self.leave(&mut state, out, block.next);
                    return Ok(());
                }
                insn => {
                    if let Some(returned) = returned_early(self.env, &state, &insn) {
                        let Some(to) = block.target else {
                            return Err(self.at(node, index, Some(&state), runs_already()));
                        };
                        out.push((to, returned));
                    }
                    if matches!(insn, Instruction::Call(CallTarget::Helper(TAIL_CALL)))
                        && let Some(seen) = self.tail_calls.get_mut(block.instance)
                    {
                        *seen = true;
                    }
                    if let Some(kind) = self.env.callback_kind(&insn) {
                        self.call_back(node, index, &state, kind, out)?;
                    }
                    self.notes.live = self.live.get(index as usize + 1).copied().unwrap_or(0);
                    let result = step(self.env, &mut self.notes, &mut state, decoded.slot, &insn);
                    if let Err(failure) = result {
                        return Err(self.at(node, index, Some(&state), failure));
                    }
                    if matches!(insn, Instruction::LoadPacket { .. }) {
                        // It may also end the program here.
                        self.longest = self.longest.max(state.executed);
                    }
                }
            }
        }
        out.extend(block.next.map(|to| (to, state)));
        Ok(())
    }

    /// Enters a function that is judged by its contract, and goes on behind the call.
    fn by_contract(
        &mut self,
        (node, index): (NodeIndex, Index),
        mut state: State,
        (door, function): (NodeIndex, usize),
        out: &mut Vec<(NodeIndex, State)>,
    ) -> Result<(), Located> {
        let Some(Some(global)) = self.globals.get(function) else {
            return Err(self.at(node, index, Some(&state), runs_already()));
        };
        contract(self.env, &state, global)
            .map_err(|failure| self.at(node, index, Some(&state), failure))?;
        // How long the function runs is not added up.
        self.longest = u64::MAX;
        out.push((door, contract_entry(&mut self.notes, global)));
        called(self.env, &mut self.notes, &mut state, global);
        state.executed = u64::MAX;
        let next = self.cfg.graph[node].next;
        out.extend(next.map(|to| (to, state)));
        Ok(())
    }

    /// Enters the function that the helper calls back.
    fn call_back(
        &mut self,
        node: NodeIndex,
        index: Index,
        state: &State,
        kind: CallbackKind,
        out: &mut Vec<(NodeIndex, State)>,
    ) -> Result<(), Located> {
        let (function, entered) = entered(self.env, &mut self.notes, state, kind)
            .map_err(|failure| self.at(node, index, Some(state), failure))?;
        let callbacks = self.cfg.callbacks(node);
        match callbacks.iter().find(|(entry, _)| *entry == function) {
            Some((_, to)) => {
                out.push((*to, entered));
                Ok(())
            }
            None => Err(self.at(node, index, Some(state), runs_already())),
        }
    }

    /// An access goes to the context, or to one kind of the kernel's objects, always or never, as
    /// an engine may have to translate it.
    fn other_memory(&mut self, state: &State, index: Index, insn: &Instruction) -> Option<Failure> {
        let (Instruction::Load { base, .. } | Instruction::Store { base, .. }) = insn else {
            return None;
        };
        let pointer = state.reg(*base);
        let kind = match pointer.kind {
            // An engine may have to guard reads of what may be gone, whatever its type.
            Kind::Local { .. } | Kind::Object(Object::Typed { .. } | Object::Kernel(_)) => {
                Kind::Object(Object::Kernel(""))
            }
            Kind::Ctx | Kind::Object(_) => pointer.kind,
            _ => Kind::Uninit,
        };
        let seen = self.accessed.get_mut(index as usize)?;
        if *seen.get_or_insert(kind) == kind {
            return None;
        }
        Some(Failure::new(
            Code::ContextAccess,
            "an instruction that accesses the same kind of memory on all paths",
            pointer.to_string(),
            "same insn cannot be used with different pointers",
        ))
    }

    fn leave(
        &mut self,
        state: &mut State,
        out: &mut Vec<(NodeIndex, State)>,
        next: Option<NodeIndex>,
    ) {
        match next {
            None => self.longest = self.longest.max(state.executed),
            Some(to) => {
                let mut returned = state.clone();
                returned.pop();
                out.push((to, returned));
            }
        }
    }
}
