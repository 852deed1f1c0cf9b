//! From a program to a verdict.

use bpftime_abi::Capabilities;
use bpftime_isa::{
    CallTarget, Decoded, Instruction, MapType, OnThrow, ProgType, Program, Reg, decode,
};

use crate::budget::Purse;
use crate::cfg::Cfg;
use crate::check::Failure;
use crate::contract::{self, Global};
use crate::diagnostic::Code;
use crate::domain::state::State;
use crate::domain::value::{Kind, Value};
use crate::engine::{Engine, Located};
use crate::env::Env;
use crate::facts::{CallFacts, Cost, Facts, FunctionFacts};
use crate::known::Known;
use crate::liveness::live_registers;
use crate::refine::{Refiner, Session};
use crate::stack_liveness::live_stack;
use crate::structure::{Index, Structure};
use crate::termination::{Ending, endings};
use crate::wto::Wto;
use crate::{Options, Rejection, Target, VerifiedProgram, fixpoint, stack_depth};

/// Judges a program.
///
/// # Errors
///
/// A [`Rejection`] says which instruction is not proved safe, what it needs and what is known.
/// What this version cannot analyse it rejects.
pub fn verify(program: Program, options: &Options) -> Result<VerifiedProgram, Box<Rejection>> {
    let instructions = decoded(&program, options)?;
    let mut facts = analyse(&program, &instructions, options, None)?;
    add_on_throw(&program, options, &mut facts)?;
    Ok(VerifiedProgram::new(program, instructions, facts))
}

/// Judges what is called when the program throws, and adds to the facts what that may do. Its instructions
/// are not the program's: a rejection tells of slots of its own.
fn add_on_throw(
    program: &Program,
    options: &Options,
    facts: &mut Facts,
) -> Result<(), Box<Rejection>> {
    let OnThrow::Calls(called) = &program.on_throw else {
        return Ok(());
    };
    let instructions = decoded(called, options)?;
    if called.on_throw != OnThrow::IsCalled {
        let failure = Failure::new(
            Code::UnsupportedCall,
            "a function to call on an exception that says so",
            format!("{}, which is called with the context", called.name),
            "exception cb only supports single integer argument",
        );
        return Err(reject(called, &instructions, 0, failure));
    }
    let more = analyse(called, &instructions, options, None)?;
    facts.max_insns = facts
        .max_insns
        .zip(more.max_insns)
        .and_then(|(program, called)| program.checked_add(called));
    facts.max_stack = facts.max_stack.max(more.max_stack);
    let map_types = MapType::ALL
        .iter()
        .filter(|map_type| more.needs.has_map_type(**map_type));
    facts.needs = map_types.fold(facts.needs, |needs, map_type| {
        needs.with_map_type(*map_type)
    });
    facts.needs = more
        .helpers
        .iter()
        .fold(facts.needs, |needs, helper| needs.with_helper(*helper));
    facts.needs_cpu |= more.needs_cpu;
    facts.helpers.extend(more.helpers);
    facts.helpers.sort_unstable();
    facts.helpers.dedup();
    facts.kfuncs.extend(more.kfuncs);
    facts.kfuncs.sort_unstable();
    facts.kfuncs.dedup();
    Ok(())
}

/// As [`verify`]; what is rejected is judged again with somebody to ask where a check fails
/// ([`crate::refine`]). [`Facts::refinement`] says whether the verdict depends on it.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_refined(
    program: Program,
    options: &Options,
    refiner: &mut dyn Refiner,
) -> Result<VerifiedProgram, Box<Rejection>> {
    let instructions = decoded(&program, options)?;
    let mut facts = analyse(&program, &instructions, options, Some(refiner))?;
    add_on_throw(&program, options, &mut facts)?;
    Ok(VerifiedProgram::new(program, instructions, facts))
}

fn decoded(program: &Program, options: &Options) -> Result<Vec<Decoded>, Box<Rejection>> {
    let count = program.insns.len();
    if count == 0 || count > options.budget.max_slots {
        let failure = Failure::new(
            Code::ProgramSize,
            format!("between 1 and {} slots", options.budget.max_slots),
            format!("{count} slots"),
            "BPF program is too large",
        );
        return Err(reject(program, &[], 0, failure));
    }
    decode(&program.insns).map_err(|error| {
        let failure = Failure::new(
            Code::Decode,
            "instructions of RFC 9669 and Linux 6.18",
            error.to_string(),
            error.to_string(),
        );
        let mut rejection = reject(program, &[], 0, failure);
        rejection.slot = error.slot();
        rejection.source = program.line_of(rejection.slot).cloned();
        rejection
    })
}

/// Loops over iterators whose passes are counted after all, each at the price of another analysis.
const MAX_COUNTED: u32 = 8;

fn analyse(
    program: &Program,
    code: &[Decoded],
    options: &Options,
    refiner: Option<&mut dyn Refiner>,
) -> Result<Facts, Box<Rejection>> {
    let plain = |index: Index, code_of: Code, needed: &str, known: &str, kernel: &str| {
        reject(
            program,
            code,
            index,
            Failure::new(code_of, needed, known, kernel),
        )
    };
    let structure = Structure::new(code).map_err(|fault| {
        let failure = Failure::new(fault.code, fault.needed, fault.known, fault.kernel_message);
        reject(program, code, fault.index, failure)
    })?;
    if options.target == crate::options::Target::Linux6_18
        && let Some(index) = structure.unreachable(code)
    {
        return Err(plain(
            index,
            Code::Unreachable,
            "instructions that something leads to",
            "nothing leads to this one",
            &format!("unreachable insn {}", code[index as usize].slot),
        ));
    }
    if let Some(failure) = crate::struct_ops::missing(program) {
        return Err(reject(program, code, 0, failure));
    }
    let Some(env) = Env::new(program, options) else {
        let name = program.prog_type.name();
        let hook = program.hook.target.as_deref().unwrap_or("not named");
        return Err(if program.prog_type.is_typed() {
            plain(
                0,
                Code::ProgramType,
                "a hook that the kernel's types (BTF) describe",
                &format!("{name}, with the hook {hook}"),
                "attach_btf_id is not a function or tracepoint of the kernel",
            )
        } else {
            plain(
                0,
                Code::ProgramType,
                "a program type that this version supports, and an attach type that it has",
                name,
                "unsupported program type",
            )
        });
    };
    if matches!(program.prog_type, ProgType::Lsm | ProgType::StructOps) && !env.gpl_compatible() {
        return Err(plain(
            0,
            Code::HelperLicense,
            "a licence compatible with the GPL, for programs of this type",
            &format!("{:?}", program.license),
            match program.prog_type {
                ProgType::Lsm => "LSM programs must have a GPL compatible license",
                _ => "struct ops programs must have a GPL compatible license",
            },
        ));
    }
    let subject = Subject {
        program,
        code,
        env: &env,
        structure: &structure,
        globals: &[],
    };
    let mut purse = Purse::ALL;
    let rejection = match subject.analyse(refiner, &mut purse) {
        Err(rejection) if rejection.code == Code::Complexity => rejection,
        result => return result,
    };
    // Too much work with what each call knows: functions by their contracts, if that is enough.
    let globals = contract::globals(code, &structure, program);
    if !globals.iter().any(Option::is_some) {
        return Err(rejection);
    }
    let by_contract = Subject {
        globals: &globals,
        ..subject
    };
    let mut purse = purse.at_least(Purse::SECOND);
    by_contract.analyse(None, &mut purse).map_err(|_| rejection)
}

/// A program, and how it is analysed.
#[derive(Clone, Copy)]
struct Subject<'a> {
    program: &'a Program,
    code: &'a [Decoded],
    env: &'a Env<'a>,
    structure: &'a Structure,
    /// Functions that are judged by their contracts, by number of the function; may be empty.
    globals: &'a [Option<Global>],
}

impl Subject<'_> {
    fn plain(&self, code: Code, needed: &str, known: &str, kernel: &str) -> Box<Rejection> {
        let failure = Failure::new(code, needed, known, kernel);
        reject(self.program, self.code, 0, failure)
    }

    fn graph(&self) -> Result<Cfg, Box<Rejection>> {
        let kind_of = |insn: &Instruction| self.env.callback_kind(insn);
        let most = self.env.options.budget.max_inlined;
        let built = Cfg::new(self.code, self.structure, &kind_of, self.globals, most);
        let cfg = built.map_err(|_| {
            self.plain(
                Code::Complexity,
                &format!("at most {most} inlined instructions"),
                "subprogram calls multiply to more",
                "BPF program is too large",
            )
        })?;
        if !self.globals.is_empty() && stack_depth::too_deep_by_contract(&cfg) {
            return Err(self.plain(
                Code::CallDepth,
                "functions that do not come to call themselves, and few frames",
                "a chain of calls through global functions and callbacks",
                "the call stack is too deep",
            ));
        }
        Ok(cfg)
    }

    fn analyse(
        &self,
        mut refiner: Option<&mut dyn Refiner>,
        purse: &mut Purse,
    ) -> Result<Facts, Box<Rejection>> {
        let Self {
            program,
            code,
            env,
            structure,
            globals,
        } = *self;
        let budget = &env.options.budget;
        let cfg = self.graph()?;
        let wto = Wto::new(&cfg.graph, cfg.entry).map_err(|_| {
            self.plain(
                Code::Complexity,
                "loops that nest less deeply",
                "the order of the control-flow graph costs too much",
                "BPF program is too complex",
            )
        })?;
        let live = live_registers(code, structure);
        let (live_stack, first) = live_stack(code, structure, &program.maps);
        let mut endings = endings(env, &cfg, &wto, code, &first);
        let mut counted = 0;
        let mut spent = Cost::default();
        let mut attempts = budget.attempts().into_iter();
        let mut effort = attempts.next().unwrap_or(budget.most());
        let mut asking = false;
        // Why the program was refused with all that could be proved.
        let mut refused = None;
        let engine = loop {
            let limited = purse.limit(budget, effort);
            let mut engine = Engine::new(
                env,
                code,
                &cfg,
                (&live, &live_stack),
                (&endings, globals),
                &structure.functions,
                limited,
            );
            if asking && let Some(refiner) = &mut refiner {
                engine.session = Some(Session::new(&cfg, &mut **refiner));
            }
            let entry = entry_state(env);
            let result = fixpoint::run(&cfg.graph, &wto, &mut engine, cfg.entry, entry);
            spent.add(&engine.cost);
            purse.pay(budget, &engine.cost);
            let Err(mut located) = result else {
                break engine;
            };
            let complex = located.failure.code == Code::Complexity;
            if complex && limited != effort {
                located.failure.needed = format!(
                    "at most {} abstract steps and {} comparisons, or less of both, over all attempts",
                    Purse::ALL.of(budget.max_steps),
                    Purse::ALL.of(budget.max_comparisons)
                );
            }
            let joined = engine.joined;
            // A loop that goes on after the last element may end for another reason.
            if let Some(head) = engine.barren
                && counted < MAX_COUNTED
                && let Some(ending) = endings.get_mut(head.index())
            {
                *ending = Ending::Unknown;
                counted += 1;
                continue;
            }
            // Where nothing was joined, more states make no difference, but more steps may.
            let next = if asking {
                // The other way round: what costs too much may do with fewer states and more answers.
                attempts.next_back().filter(|_| complex)
            } else if effort == budget.most() {
                // A weaker attempt would fail for less of a reason.
                None
            } else if joined {
                attempts.next()
            } else if complex {
                attempts.next_back()
            } else {
                None
            };
            match next {
                Some(more) => effort = more,
                // Nobody is asked before all that can be done without has been done.
                None if refiner.is_some() && !asking => {
                    asking = true;
                    *purse = Purse::ALL;
                    attempts = budget.attempts().into_iter();
                    effort = attempts.next_back().unwrap_or(effort);
                }
                None => {
                    // A loop with `may_goto` may end for a reason of its own, which counting its passes
                    // shows, and what they do.
                    let bounded = endings.contains(&Ending::MayGoto) && !complex;
                    let first = refused.take().unwrap_or(located);
                    if !bounded {
                        let steps = spent.steps;
                        return Err(located_rejection(program, code, &cfg, first, steps));
                    }
                    refused = Some(first);
                    for ending in &mut endings {
                        if *ending == Ending::MayGoto {
                            *ending = Ending::Unknown;
                        }
                    }
                    attempts = budget.attempts().into_iter();
                    effort = attempts.next().unwrap_or(effort);
                }
            }
        };
        if let Some(below) = stack_depth::below_tail_call(&cfg, &engine.stack, &engine.tail_calls) {
            return Err(self.plain(
            Code::StackDepth,
            "less than 256 bytes of stack below a function with a tail call",
            &below.to_string(),
            &format!(
                "tail_calls are not allowed when call stack of previous frames is {below} bytes. Too large"
            ),
        ));
        }
        let deepest = stack_depth::combined(&cfg, &engine.stack, &engine.entered);
        let max_stack = deepest.bytes;
        let too_deep = max_stack > stack_depth::LIMIT
            && !(has_private_stacks(env, &cfg, &engine)
                && stack_depth::shared(&cfg, &engine.stack, &engine.entered).bytes
                    <= stack_depth::LIMIT);
        if too_deep {
            return Err(self.plain(
                Code::StackDepth,
                &format!(
                    "at most {} bytes of stack over all frames",
                    stack_depth::LIMIT
                ),
                &format!("a chain of calls needs {max_stack}"),
                &format!(
                    "combined stack size of {} calls is {max_stack}. Too large",
                    deepest.frames
                ),
            ));
        }
        Ok(facts(env, code, structure, engine, (max_stack, spent)))
    }
}

/// Whether Linux gives functions with large frames stacks of their own (`bpf_enable_priv_stack`): in programs
/// that are not entered while they run on the same CPU, without tail calls, and here without functions that are
/// called later, which share them.
fn has_private_stacks(env: &Env<'_>, cfg: &Cfg, engine: &Engine<'_>) -> bool {
    let types = matches!(
        env.program.prog_type,
        ProgType::Kprobe | ProgType::Tracepoint | ProgType::PerfEvent | ProgType::RawTracepoint
    );
    types
        && env.options.target == Target::Linux6_18
        && !engine.tail_calls.contains(&true)
        && !cfg.graph.node_weights().any(|block| block.door)
}

/// Registers as the program finds them.
fn entry_state(env: &Env<'_>) -> State {
    let mut state = State::entry();
    if env.layout.plain_memory {
        state.set(Reg::R1, Value::pointer(Kind::Memory));
        state.set(
            Reg::R2,
            env.options
                .memory_len
                .map_or_else(Value::unknown, Value::constant),
        );
    } else {
        state.set(
            Reg::R1,
            match env.program.on_throw {
                // What was thrown.
                OnThrow::IsCalled => Value::unknown(),
                _ => Value::pointer(Kind::Ctx),
            },
        );
    }
    state
}

fn facts(
    env: &Env<'_>,
    code: &[Decoded],
    structure: &Structure,
    engine: Engine<'_>,
    (max_stack, cost): (u32, Cost),
) -> Facts {
    let mut needs = Capabilities::NONE;
    let mut per_cpu = false;
    for index in &engine.notes.maps {
        if let Some(map) = env.map(*index) {
            needs = needs.with_map_type(map.map_type);
            per_cpu |= matches!(
                map.map_type,
                MapType::PerCpuArray
                    | MapType::PerCpuHash
                    | MapType::LruPerCpuHash
                    | MapType::PerCpuCgroupStorage
                    | MapType::PerfEventArray
            );
        }
    }
    let calls: Vec<CallFacts> = engine
        .notes
        .calls
        .iter()
        .map(|(&slot, &(helper, map))| CallFacts { slot, helper, map })
        .collect();
    let mut helpers: Vec<u32> = calls.iter().map(|call| call.helper).collect();
    helpers.sort_unstable();
    helpers.dedup();
    for helper in &helpers {
        needs = needs.with_helper(*helper);
        per_cpu |= CPU_HELPERS.contains(helper);
    }
    let functions = structure
        .functions
        .iter()
        .zip(&engine.stack)
        .enumerate()
        .map(|(number, (function, stack))| FunctionFacts {
            entry: code[function.first as usize].slot,
            stack: *stack,
            by_contract: engine.globals.get(number).is_some_and(Option::is_some),
        })
        .collect();
    let returns = returned(code, structure, &engine);
    let mut kfuncs: Vec<String> = Vec::new();
    for (decoded, reached) in code.iter().zip(&engine.reached) {
        if let Instruction::Call(CallTarget::Kfunc { id, btf_idx }) = decoded.insn
            && *reached
            && let Some(proto) = env.kfunc(id, btf_idx)
        {
            kfuncs.push(proto.name.to_owned());
        }
    }
    kfuncs.sort_unstable();
    kfuncs.dedup();
    Facts {
        functions,
        max_stack,
        max_insns: (engine.longest != u64::MAX).then_some(engine.longest),
        needs,
        helpers,
        calls,
        kfuncs,
        returns,
        operands: engine.operands,
        memory_len: env.options.memory_len,
        needs_cpu: per_cpu,
        reached: engine.reached,
        cost,
        refinement: engine.session.map(Session::into_refinement),
    }
}

/// What the main program returns: what its exits give, and 0 where it ends for want of a packet's bytes.
fn returned(code: &[Decoded], structure: &Structure, engine: &Engine<'_>) -> Option<Known> {
    let main = structure.functions.first()?;
    (main.first as usize..main.end as usize)
        .filter(|index| engine.reached.get(*index) == Some(&true))
        .filter_map(|index| match code.get(index)?.insn {
            Instruction::Exit => engine.operands.get(index, Reg::R0).copied(),
            Instruction::LoadPacket { .. } => Some(Known::zero()),
            _ => None,
        })
        .reduce(Known::join)
}

/// `bpf_get_smp_processor_id`, `bpf_perf_event_output`, `bpf_get_numa_node_id`,
/// `bpf_this_cpu_ptr`.
const CPU_HELPERS: [u32; 4] = [8, 25, 42, 154];

fn located_rejection(
    program: &Program,
    code: &[Decoded],
    cfg: &Cfg,
    located: Located,
    steps: u64,
) -> Box<Rejection> {
    let mut rejection = reject(program, code, located.index, located.failure);
    rejection.calls = cfg.call_string(located.instance, code);
    rejection.steps = steps;
    if let Some(state) = located.state {
        rejection.state = state.to_string();
    }
    rejection.refuted = located.refuted.map(|refuted| *refuted);
    rejection
}

fn reject(program: &Program, code: &[Decoded], index: Index, failure: Failure) -> Box<Rejection> {
    let decoded = code.get(index as usize);
    let slot = decoded.map_or(0, |decoded| decoded.slot);
    Box::new(Rejection {
        code: failure.code,
        slot,
        instruction: decoded.map_or_else(String::new, |decoded| decoded.insn.to_string()),
        source: program.line_of(slot).cloned(),
        needed: failure.needed,
        known: failure.known,
        calls: Vec::new(),
        state: String::new(),
        kernel_message: failure.kernel,
        steps: 0,
        refuted: None,
    })
}
