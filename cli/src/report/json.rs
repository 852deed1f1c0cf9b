//! Verdicts as JSON.

use std::collections::BTreeMap;
use std::io::Write as _;

use bpftime_abi::MapType;
use bpftime_isa::{ArgType, helper};
use bpftime_verifier::refine::{Answer, Refuted};
use bpftime_verifier::{Facts, Rejection};
use serde::Serialize;

use super::{FileReport, KnownAt, ProgramReport, Verdict, print, to_stdout};

/// Version of the JSON form; raised when a field changes its meaning or goes.
const JSON_VERSION: u32 = 1;

/// Prints verdicts for programs, to stdout.
pub(crate) fn print_json(files: &[FileReport]) -> anyhow::Result<()> {
    let files = files.iter().map(JsonFile::from).collect();
    print(&JsonReport {
        version: JSON_VERSION,
        files,
    })
}

/// Prints an object for each program, and for each file without any, on a line of its own.
pub(crate) fn print_json_lines(files: &[FileReport]) -> anyhow::Result<()> {
    for file in files {
        let mut lines = Vec::new();
        if let Some(error) = &file.error {
            lines.push(serde_json::to_string(&JsonLine {
                file: &file.file,
                error: Some(error),
                program: None,
            })?);
        }
        for program in &file.programs {
            lines.push(serde_json::to_string(&JsonLine {
                file: &file.file,
                error: None,
                program: Some(JsonProgram::from(program)),
            })?);
        }
        to_stdout(|out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct JsonReport<'a> {
    version: u32,
    files: Vec<JsonFile<'a>>,
}

#[derive(Serialize)]
struct JsonFile<'a> {
    file: &'a str,
    error: Option<&'a str>,
    programs: Vec<JsonProgram<'a>>,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(flatten)]
    program: Option<JsonProgram<'a>>,
}

#[derive(Serialize)]
struct JsonProgram<'a> {
    section: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    prog_type: &'a str,
    type_from: &'static str,
    instructions: usize,
    verdict: &'static str,
    duration_us: u128,
    memory_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<JsonFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejection: Option<JsonRejection<'a>>,
}

#[derive(Serialize)]
struct JsonFacts {
    /// `null`: no fixed bound.
    max_executed_instructions: Option<u64>,
    max_stack_bytes: u32,
    reached_instructions: usize,
    /// Of instructions that no run executes.
    unreached_slots: Vec<u32>,
    /// Abstract instruction steps of the analysis.
    steps: u64,
    peak_states: usize,
    helpers: Vec<String>,
    kfuncs: Vec<String>,
    map_types: Vec<&'static str>,
    needs_cpu: bool,
    /// The main program first, then its subprograms.
    functions: Vec<JsonFunction>,
    /// Calls of helpers that take a map, and which one it is if that is known.
    map_calls: Vec<JsonMapCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    returns: Option<String>,
    /// What registers hold whenever an instruction reads them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    known: Vec<JsonKnown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refinement: Option<JsonRefinement>,
}

#[derive(Serialize)]
struct JsonFunction {
    slot: u32,
    stack_bytes: u32,
    /// Judged by its type alone.
    by_contract: bool,
}

#[derive(Serialize)]
struct JsonMapCall {
    slot: u32,
    helper: String,
    /// Its place among the program's maps; `null` where it differs from path to path.
    map: Option<u32>,
}

#[derive(Serialize)]
struct JsonKnown {
    slot: u32,
    instruction: String,
    reads: BTreeMap<String, String>,
}

/// What the verdict needed a solver for.
#[derive(Serialize)]
struct JsonRefinement {
    solver: String,
    proved: Vec<JsonProved>,
}

#[derive(Serialize)]
struct JsonProved {
    slot: u32,
    fact: String,
}

/// What a solver said.
#[derive(Serialize)]
struct JsonRefuted<'a> {
    solver: &'a str,
    fact: &'a str,
    /// `refuted` or `unknown`.
    answer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    /// A run in which the fact does not hold: what the program is given, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<JsonInput>,
}

#[derive(Serialize)]
struct JsonInput {
    slot: u32,
    origin: String,
    value: u64,
}

#[derive(Serialize)]
struct JsonRejection<'a> {
    code: &'static str,
    title: &'static str,
    slot: u32,
    instruction: &'a str,
    source: Option<JsonSource<'a>>,
    needed: &'a str,
    known: &'a str,
    calls: &'a [u32],
    state: &'a str,
    errno: &'static str,
    kernel_log: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refuted: Option<JsonRefuted<'a>>,
}

#[derive(Serialize)]
struct JsonSource<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    text: &'a str,
}

impl<'a> From<&'a FileReport> for JsonFile<'a> {
    fn from(file: &'a FileReport) -> Self {
        Self {
            file: &file.file,
            error: file.error.as_deref(),
            programs: file.programs.iter().map(JsonProgram::from).collect(),
        }
    }
}

impl<'a> From<&'a ProgramReport> for JsonProgram<'a> {
    fn from(program: &'a ProgramReport) -> Self {
        let mut json = Self {
            section: &program.section,
            name: &program.name,
            prog_type: program.prog_type.name(),
            type_from: program.type_from.as_str(),
            instructions: program.instructions,
            verdict: "accepted",
            duration_us: program.measured.time.as_micros(),
            memory_bytes: program.measured.memory,
            error: None,
            facts: None,
            rejection: None,
        };
        match &program.verdict {
            Verdict::Accepted(facts) => json.facts = Some(JsonFacts::new(program, facts)),
            Verdict::Rejected(rejection) => {
                json.verdict = "rejected";
                json.rejection = Some(JsonRejection::from(rejection.as_ref()));
            }
            Verdict::Unreadable(why) => {
                json.verdict = "unreadable";
                json.error = Some(why);
            }
        }
        json
    }
}

impl JsonFacts {
    fn new(program: &ProgramReport, facts: &Facts) -> Self {
        let map_types = MapType::ALL.iter();
        let map_types = map_types.filter(|map_type| facts.needs.has_map_type(**map_type));
        let map_calls = facts.calls.iter().filter(|call| takes_map(call.helper));
        Self {
            max_executed_instructions: facts.max_insns,
            max_stack_bytes: facts.max_stack,
            reached_instructions: facts.reached_count(),
            unreached_slots: program.unreached.clone(),
            steps: facts.cost.steps,
            peak_states: facts.cost.peak_states,
            helpers: facts.helpers.iter().copied().map(helper_name).collect(),
            kfuncs: facts.kfuncs.clone(),
            map_types: map_types.map(|map_type| map_type.name()).collect(),
            needs_cpu: facts.needs_cpu,
            functions: facts
                .functions
                .iter()
                .map(|function| JsonFunction {
                    slot: function.entry,
                    stack_bytes: function.stack,
                    by_contract: function.by_contract,
                })
                .collect(),
            map_calls: map_calls
                .map(|call| JsonMapCall {
                    slot: call.slot,
                    helper: helper_name(call.helper),
                    map: call.map,
                })
                .collect(),
            returns: facts.returns.as_ref().map(ToString::to_string),
            known: program.known.iter().map(JsonKnown::from).collect(),
            refinement: facts.refinement.as_ref().map(|refinement| {
                let proved = refinement.proved.iter().map(|(slot, fact)| JsonProved {
                    slot: *slot,
                    fact: fact.clone(),
                });
                JsonRefinement {
                    solver: refinement.solver.clone(),
                    proved: proved.collect(),
                }
            }),
        }
    }
}

/// A helper's name as C has it.
fn helper_name(number: u32) -> String {
    match helper::proto(number) {
        Some(proto) => format!("bpf_{}", proto.name),
        None => number.to_string(),
    }
}

fn takes_map(number: u32) -> bool {
    helper::proto(number).is_some_and(|proto| proto.args.contains(&ArgType::ConstMapPtr))
}

impl From<&KnownAt> for JsonKnown {
    fn from(known: &KnownAt) -> Self {
        let reads = known.reads.iter();
        Self {
            slot: known.slot,
            instruction: known.instruction.clone(),
            reads: reads
                .map(|(reg, value)| (reg.to_string(), value.clone()))
                .collect(),
        }
    }
}

impl<'a> From<&'a Rejection> for JsonRejection<'a> {
    fn from(rejection: &'a Rejection) -> Self {
        Self {
            code: rejection.code.as_str(),
            title: rejection.code.title(),
            slot: rejection.slot,
            instruction: &rejection.instruction,
            source: rejection.source.as_ref().map(|line| JsonSource {
                file: &line.file,
                line: line.line,
                column: line.column,
                text: &line.text,
            }),
            needed: &rejection.needed,
            known: &rejection.known,
            calls: &rejection.calls,
            state: &rejection.state,
            errno: rejection.errno().name(),
            kernel_log: rejection.kernel_log(),
            refuted: rejection.refuted.as_ref().map(JsonRefuted::from),
        }
    }
}

impl<'a> From<&'a Refuted> for JsonRefuted<'a> {
    fn from(refuted: &'a Refuted) -> Self {
        let (answer, why, witness) = match &refuted.answer {
            Answer::Refuted(witness) => ("refuted", None, Some(witness)),
            Answer::Unknown(why) => ("unknown", Some(why.as_str()), None),
            Answer::Proved => ("proved", None, None),
        };
        let inputs = witness.iter().flat_map(|witness| &witness.inputs);
        Self {
            solver: &refuted.solver,
            fact: &refuted.fact,
            answer,
            why,
            inputs: inputs
                .map(|input| JsonInput {
                    slot: input.slot,
                    origin: input.origin.to_string(),
                    value: input.value,
                })
                .collect(),
        }
    }
}
