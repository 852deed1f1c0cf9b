//! Many runs of one program, led by what they reach.

use std::collections::BTreeMap;

use bpftime_isa::returns::HookResult;
use bpftime_isa::{Decoded, Imm64, Instruction, KernelTypes, Operand, ProgType, Reg};
use bpftime_verifier::VerifiedProgram;
use bpftime_vm::interp::{Prepared, TrapReason};

use super::packet;
use super::tape::{Random, Tape};
use super::world::World;

/// How much a program is run. Instructions are counted, and never time, so that it is the same
/// everywhere.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Inputs.
    pub(crate) runs: usize,
    /// Instructions of a run; what goes on longer is given up.
    pub(crate) steps: u64,
}

impl Effort {
    /// So many inputs, that are run to the end as far as possible.
    pub(crate) fn thorough(runs: usize) -> Self {
        let steps = 1 << 18;
        Self { runs, steps }
    }

    /// So many inputs, for thousands of programs.
    pub(crate) fn quick(runs: usize) -> Self {
        let steps = 1 << 13;
        Self { runs, steps }
    }
}

/// One run in so many may execute so many times the instructions.
const LONG: (usize, u64) = (50, 32);

/// What came of the runs of a program.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) runs: usize,
    /// Runs that came to an end.
    pub(crate) ended: usize,
    /// Runs that were given up because they went on for long.
    pub(crate) cut_off: usize,
    /// What the program did that it may not, the first time.
    pub(crate) violation: Option<String>,
    /// What the made-up world lacks.
    pub(crate) missing: Option<String>,
    /// For each instruction, whether it was executed.
    pub(crate) executed: Vec<bool>,
}

impl Report {
    /// How many of the instructions that were analysed were executed.
    pub(crate) fn share(&self, reached: &[bool]) -> f64 {
        let analysed = reached.iter().filter(|reached| **reached).count();
        let executed = self.executed.iter().filter(|executed| **executed).count();
        executed as f64 / analysed.max(1) as f64
    }
}

/// What a run starts with.
#[derive(Clone)]
struct Input {
    packet: Vec<u8>,
    choices: Vec<u64>,
}

/// Runs a program on inputs. The same seed gives the same runs.
pub(crate) fn run(
    verified: &VerifiedProgram,
    types: Option<&dyn KernelTypes>,
    effort: Effort,
    seed: u64,
) -> Report {
    let program = verified.program();
    let facts = verified.facts();
    let code = verified.instructions();
    let words = words(code);
    let mut random = Random::new(seed);
    let mut report = Report::default();
    let mut executed = vec![false; program.insns.len()];
    let mut ways = vec![0; program.insns.len()];
    let mut worth: Vec<Input> = Vec::new();
    // Branches that went one way only, with an input that came there and what was compared.
    let mut one_way: BTreeMap<u32, (Input, u64, u64)> = BTreeMap::new();
    let signature = program.hook.signature.as_ref();
    let returns_nothing = signature.is_some_and(|it| it.result == HookResult::Void);
    let mut known = 0;
    let prepared = match Prepared::new(&program.insns) {
        Ok(prepared) => prepared,
        Err(trap) => {
            report.violation = Some(trap.to_string());
            return report;
        }
    };
    for run in 0..effort.runs {
        let most = if run % LONG.0 == 0 {
            effort.steps * LONG.1
        } else {
            effort.steps
        };
        let limit = facts
            .max_insns
            .map_or(most, |proved| proved.saturating_add(1).min(most));
        let mut input = if worth.is_empty() || random.chance(4) {
            fresh(&mut random, &words, program.prog_type)
        } else if !one_way.is_empty() && random.chance(2) {
            let nth = random.below(one_way.len() as u64) as usize;
            match one_way.values().nth(nth) {
                Some((input, left, right)) => the_other_way(&mut random, input, *left, *right),
                None => changed(&mut random, &words, &worth),
            }
        } else {
            changed(&mut random, &words, &worth)
        };
        if let Some(len) = facts.memory_len {
            input.packet.resize(len as usize, 0);
        }
        let tape = Tape::new(input.choices, random.next());
        let Some(mut world) = World::new(
            program,
            types,
            &words,
            &input.packet,
            tape,
            &mut executed,
            &mut ways,
        ) else {
            report.missing = Some("a context for the type".to_owned());
            break;
        };
        world.limit_stacks(&facts.functions);
        let (r1, r2) = world.registers();
        let result = match prepared.run(&mut world, r1, r2, limit) {
            // Its result is not looked at.
            Err(trap) if returns_nothing && trap.reason == TrapReason::Uninitialised(Reg::R0) => {
                let ends = |it: &Decoded| it.slot == trap.slot && it.insn == Instruction::Exit;
                if code.iter().any(ends) {
                    Ok(0)
                } else {
                    Err(trap)
                }
            }
            result => result,
        };
        report.runs += 1;
        report.ended += usize::from(result.is_ok());
        let steps = world.steps;
        let fault = match &result {
            _ if world.violation.is_some() => world.violation.clone(),
            _ if world.missing.is_some() => {
                report.missing = world.missing.clone();
                None
            }
            Ok(_) if !world.ran_later && facts.max_insns.is_some_and(|most| steps > most) => Some(
                format!("{steps} instructions, more than {:?}", facts.max_insns),
            ),
            Ok(_) => world.left_behind(),
            Err(trap) if matches!(trap.reason, TrapReason::BudgetSpent { .. }) => {
                let counted = facts.max_insns.filter(|_| !world.ran_later);
                let proved = counted.filter(|proved| *proved < limit);
                report.cut_off += usize::from(proved.is_none());
                proved.map(|most| format!("more than the {most} instructions of the analysis"))
            }
            Err(trap) if matches!(trap.reason, TrapReason::Unsupported(_)) => {
                report.missing = Some(trap.reason.to_string());
                None
            }
            Err(trap) => Some(trap.reason.to_string()),
        };
        let compared = std::mem::take(&mut world.compared);
        let choices = world.tape.into_choices();
        let now = executed.iter().filter(|executed| **executed).count();
        let ran = Input {
            packet: input.packet.clone(),
            choices,
        };
        one_way.retain(|slot, _| ways[*slot as usize] != 3);
        for (slot, left, right) in compared {
            let new = !one_way.contains_key(&slot);
            if ways[slot as usize] != 3 && (new || random.chance(4)) {
                one_way.insert(slot, (ran.clone(), left, right));
            }
        }
        if now > known {
            known = now;
            worth.push(ran);
        }
        if let Some(fault) = fault {
            let at = result
                .err()
                .map_or_else(String::new, |trap| format!("slot {}: ", trap.slot));
            report.violation = Some(format!("{at}{fault}, packet {:02x?}", input.packet));
            break;
        }
    }
    report.executed = code
        .iter()
        .map(|decoded| executed[decoded.slot as usize])
        .collect();
    if report.violation.is_none() {
        let unanalysed = code
            .iter()
            .zip(report.executed.iter().zip(&facts.reached))
            .find(|(_, (executed, reached))| **executed && !**reached);
        report.violation = unanalysed.map(|(decoded, _)| {
            format!(
                "slot {}: executed, but never analysed: {}",
                decoded.slot, decoded.insn
            )
        });
    }
    report
}

/// Numbers in the program's instructions, in both byte orders, and their neighbours.
fn words(code: &[Decoded]) -> Vec<u64> {
    let mut words = Vec::new();
    for decoded in code {
        let number = match decoded.insn {
            Instruction::Branch {
                src: Operand::Imm(imm),
                ..
            }
            | Instruction::Alu {
                src: Operand::Imm(imm),
                ..
            } => i64::from(imm) as u64,
            Instruction::LoadImm64 {
                value: Imm64::Value(value),
                ..
            } => value,
            _ => continue,
        };
        words.extend([
            number,
            number.wrapping_add(1),
            number.wrapping_sub(1),
            u64::from((number as u16).swap_bytes()),
            u64::from((number as u32).swap_bytes()),
        ]);
    }
    words.sort_unstable();
    words.dedup();
    words
}

fn fresh(random: &mut Random, words: &[u64], prog_type: ProgType) -> Input {
    let ethernet = match prog_type {
        ProgType::Xdp | ProgType::SchedCls | ProgType::SchedAct | ProgType::SocketFilter => true,
        _ => random.chance(2),
    };
    Input {
        packet: packet::packet(random, words, ethernet),
        choices: Vec::new(),
    }
}

/// The input with one operand of a comparison, where it is found, made the other or nearly so.
fn the_other_way(random: &mut Random, input: &Input, left: u64, right: u64) -> Input {
    let mut input = input.clone();
    let (found, wanted) = if random.chance(4) {
        (right, left)
    } else {
        (left, right)
    };
    let wanted = match random.below(6) {
        0 => wanted.wrapping_add(1),
        1 => wanted.wrapping_sub(1),
        _ => wanted,
    };
    let mut places = Vec::new();
    for size in [8, 4, 2, 1] {
        if size < 8 && found >> (8 * size) != 0 && found >> (8 * size) != u64::MAX >> (8 * size) {
            continue;
        }
        let le = &found.to_le_bytes()[..size];
        let be = &found.to_be_bytes()[8 - size..];
        for (at, window) in input.packet.windows(size).enumerate() {
            if window == le {
                places.push((at, size, false));
            }
            if window == be && size > 1 {
                places.push((at, size, true));
            }
        }
    }
    for (nth, choice) in input.choices.iter().enumerate() {
        if *choice == found {
            places.push((nth, 0, false));
        }
        let bytes = choice.to_le_bytes();
        for size in [4, 2, 1] {
            if found >> (8 * size) == 0 {
                let part = &found.to_le_bytes()[..size];
                let inside = bytes.chunks_exact(size).position(|chunk| chunk == part);
                places.extend(inside.map(|at| (nth, 16 + at * size + 256 * size, false)));
            }
        }
    }
    if places.is_empty() {
        return input;
    }
    let (at, size, network) = places[random.below(places.len() as u64) as usize];
    let bytes = wanted.to_le_bytes();
    match size {
        0 => input.choices[at] = wanted,
        1..=8 if network => {
            input.packet[at..at + size].copy_from_slice(&wanted.to_be_bytes()[8 - size..]);
        }
        1..=8 => input.packet[at..at + size].copy_from_slice(&bytes[..size]),
        coded => {
            let (size, inside) = (coded / 256, coded % 256 - 16);
            let mut word = input.choices[at].to_le_bytes();
            word[inside..inside + size].copy_from_slice(&bytes[..size]);
            input.choices[at] = u64::from_le_bytes(word);
        }
    }
    input
}

/// An input that reached something new, a little different.
fn changed(random: &mut Random, words: &[u64], worth: &[Input]) -> Input {
    // Later ones reached further.
    let one = random
        .below(worth.len() as u64)
        .max(random.below(worth.len() as u64));
    let mut input = worth[one as usize].clone();
    if random.chance(2) {
        packet::damage(random, &mut input.packet, words);
    }
    if random.chance(6) {
        input
            .packet
            .resize(input.packet.len() + random.below(64) as usize, 0);
    }
    let count = input.choices.len() as u64;
    if count > 0 && !random.chance(4) {
        for _ in 0..=random.below(3) {
            let at = random.below(count) as usize;
            input.choices[at] = random.number(words);
        }
    }
    if count > 0 && random.chance(4) {
        input.choices.truncate(random.below(count) as usize);
    }
    input
}
