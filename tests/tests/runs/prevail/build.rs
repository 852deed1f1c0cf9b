//! Programs that bring about what a case knows before its code, and ask for what it knows after.
//!
//! The start of a program computes each value in scratch registers, from numbers of a map value
//! that nothing is known of, leaves where they are not as the case says, and keeps the values on the
//! stack until all are there. After the code one fact of the case is asked for: where it is not so,
//! the program reads out of bounds. If it is accepted, the fact is proved.

use std::collections::BTreeMap;

use bpftime_isa::ProgType;

use super::case::{Case, Fact, Of, Place};
use super::text::{self, Code};

/// Words of the stack where values wait until all are there: registers by number, then the start and
/// the end of the packet, a scratch word, the context, a key.
const WORDS: i64 = 15;
const PACKET_START: i64 = 10;
const PACKET_END: i64 = 11;
const SCRATCH: i64 = 12;
const CONTEXT: i64 = 13;
const KEY: i64 = 14;
/// Bytes of a frame.
const FRAME: i64 = 512;
/// Reading below the stack: what must not be reached.
const BAD: &str = "bad:\nr0 = *(u64 *)(r10 - 4096)\nexit\n";
const INFEASIBLE: &str = "infeasible:\nr0 = 0\nexit\n";

/// Maps of the programs: numbers, a hash, then one with values of the size of a region.
pub(super) const NUMBERS: u32 = 0;
pub(super) const HASH: u32 = 1;
pub(super) const PROGRAMS: u32 = 2;
pub(super) const FIRST_REGION: u32 = 3;

/// What is known of one value before the code.
#[derive(Default, Clone)]
struct Known {
    types: Vec<String>,
    ranges: BTreeMap<String, (Option<i128>, Option<i128>)>,
    packet_end: bool,
}

impl Known {
    fn exact(&self, kind: &str) -> Option<i64> {
        match self.ranges.get(kind) {
            Some((Some(least), Some(most))) if least == most => i64::try_from(*least).ok(),
            _ => None,
        }
    }
}

/// A case as a program, up to what is asked for.
pub(super) struct Built {
    start: String,
    code: Code,
    /// Bytes of the values of maps from [`FIRST_REGION`].
    pub(super) regions: Vec<u32>,
    pub(super) prog_type: ProgType,
}

impl Built {
    /// The program that asks for nothing, or for one thing.
    pub(super) fn program(&self, question: &str) -> String {
        format!(
            "{}{}\ndone:\n{question}r0 = 0\nexit\n{INFEASIBLE}{BAD}{}",
            self.start,
            self.code.main.join("\n"),
            self.code.functions.join("\n")
        )
    }
}

/// Why a case is not a program here.
pub(super) type Unmapped = String;

pub(super) fn build(case: &Case) -> Result<Built, Unmapped> {
    let mut known: BTreeMap<Place, Known> = BTreeMap::new();
    let mut relations: Vec<&Fact> = Vec::new();
    let mut packet_size = None;
    for fact in &case.pre {
        match fact {
            Fact::Type(place, types) => known.entry(*place).or_default().types.clone_from(types),
            Fact::Range((place, kind), least, most) => {
                let ranges = &mut known.entry(*place).or_default().ranges;
                ranges.insert(kind.clone(), (*least, *most));
            }
            Fact::PacketEnd((place, _)) => known.entry(*place).or_default().packet_end = true,
            Fact::PacketSize(least, _) => packet_size = *least,
            Fact::Sum((a, _), (b, _), 0) if a == b => {}
            Fact::Sum(..) | Fact::Difference(..) => relations.push(fact),
            Fact::MetaOffset => {}
            other => return Err(format!("before: {other:?}")),
        }
    }
    // Where PREVAIL counts to the frame's end.
    let frame_end = known
        .remove(&Place::Reg(10))
        .and_then(|value| value.exact("stack_offset"))
        .unwrap_or(FRAME);
    let in_frame = |byte: i64| byte - frame_end + FRAME;
    let known: BTreeMap<Place, Known> = known
        .into_iter()
        .map(|(place, value)| match place {
            Place::Stack(first, last) => (Place::Stack(in_frame(first), in_frame(last)), value),
            register => (register, value),
        })
        .collect();
    let used = |first: i64, last: i64| {
        known
            .keys()
            .any(|place| matches!(place, Place::Stack(a, b) if *a <= last && first <= *b))
    };
    // Values wait in a part of the stack that the case says nothing of.
    let waiting = [0, FRAME - 8 * WORDS, 128, 256]
        .into_iter()
        .find(|first| !used(*first, first + 8 * WORDS - 1))
        .ok_or("before: all of the stack")?;
    let mut lines = case.code.iter().flat_map(|(_, lines)| lines);
    let legacy = lines.any(|line| line.contains("skb["));
    let mut builder = Builder {
        text: String::new(),
        waiting,
        frame_end,
        packet_fields: if legacy { (76, 80) } else { (0, 4) },
        regions: Vec::new(),
        numbers: 0,
        labels: 0,
        packet_size: packet_size.unwrap_or(0),
        has_packet: known
            .values()
            .any(|value| value.packet_end || value.types.iter().any(|kind| kind == "packet")),
    };
    builder.begin();
    for (place, value) in &known {
        if let Place::Reg(number) = place {
            builder.value(value)?;
            builder.keep((*number).into(), "r2");
        }
    }
    for relation in relations {
        builder.relation(relation)?;
    }
    for (place, value) in &known {
        if let Place::Stack(first, last) = place
            && value.types.is_empty()
        {
            // A value in bytes whose type is given elsewhere.
            builder.cell(*first, *last, value)?;
        } else if let Place::Stack(first, last) = place {
            let narrower = known.iter().any(|(other, it)| {
                matches!(other, Place::Stack(a, b) if (a, b) != (first, last) && a >= first && b <= last)
                    && it.types.is_empty()
            });
            if !narrower {
                builder.cell(*first, *last, value)?;
            } else {
                builder.bytes(*first, *last)?;
                for (other, it) in &known {
                    if let Place::Stack(a, b) = other
                        && (a, b) != (first, last)
                        && a >= first
                        && b <= last
                    {
                        builder.cell(*a, *b, it)?;
                    }
                }
            }
        }
    }
    // A call leaves r1 to r5 without a value, as registers are that nothing is known of.
    builder.line("call 7");
    for place in known.keys() {
        if let Place::Reg(number) = place {
            builder.fetch((*number).into(), &format!("r{number}"));
        }
    }
    Ok(Built {
        start: builder.text,
        code: text::code(case)?,
        regions: builder.regions,
        prog_type: if legacy {
            ProgType::SchedCls
        } else {
            ProgType::Xdp
        },
    })
}

struct Builder {
    text: String,
    /// First byte where values wait.
    waiting: i64,
    frame_end: i64,
    /// Offsets of the packet's start and end in the context.
    packet_fields: (u32, u32),
    regions: Vec<u32>,
    numbers: u32,
    labels: u32,
    packet_size: i128,
    has_packet: bool,
}

impl Builder {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Distance of a waiting word from the stack's end.
    fn distance(&self, word: i64) -> i64 {
        FRAME - self.waiting - 8 * word
    }

    fn keep(&mut self, word: i64, register: &str) {
        let distance = self.distance(word);
        self.line(&format!("*(u64 *)(r10 - {distance}) = {register}"));
    }

    fn fetch(&mut self, word: i64, register: &str) {
        let distance = self.distance(word);
        self.line(&format!("{register} = *(u64 *)(r10 - {distance})"));
    }

    fn begin(&mut self) {
        self.keep(CONTEXT, "r1");
        if !self.has_packet {
            return;
        }
        let (start, end) = self.packet_fields;
        self.line(&format!("r3 = *(u32 *)(r1 + {start})"));
        self.line(&format!("r4 = *(u32 *)(r1 + {end})"));
        if self.packet_size > 0 {
            self.line("r5 = r3");
            self.line(&format!("r5 += {}", self.packet_size));
            self.line("if r5 > r4 goto infeasible");
        }
        self.keep(PACKET_START, "r3");
        self.keep(PACKET_END, "r4");
    }

    /// Makes a value of one of its types in `r2`.
    fn value(&mut self, known: &Known) -> Result<(), Unmapped> {
        match &known.types[..] {
            [] if known.packet_end => self.of_type("packet", known),
            [] => Err("before: a value without a type".to_owned()),
            [only] => self.of_type(&only.clone(), known),
            many => {
                // Any of them: which one is not known.
                self.labels += 1;
                let done = format!("made_{}", self.labels);
                for (index, kind) in many.iter().enumerate() {
                    let next = format!("next_{}_{index}", self.labels);
                    if index + 1 < many.len() {
                        self.unknown();
                        self.line(&format!("if r2 != {index} goto {next}"));
                    }
                    self.of_type(kind, known)?;
                    self.line(&format!("goto {done}"));
                    self.line(&format!("{next}:"));
                }
                self.line(&format!("{done}:"));
                Ok(())
            }
        }
    }

    /// A number of which nothing is known, in `r2`.
    fn unknown(&mut self) {
        self.line(&format!("r2 = map_idx({NUMBERS:#x}) + 0x0 ll"));
        self.line(&format!("r2 = *(u64 *)(r2 + {})", 8 * self.numbers));
        self.numbers += 1;
    }

    fn of_type(&mut self, kind: &str, known: &Known) -> Result<(), Unmapped> {
        match kind {
            "number" => {
                self.number(known);
                Ok(())
            }
            "ctx" => {
                self.fetch(CONTEXT, "r2");
                self.offset(known, "ctx_offset", 0)
            }
            "stack" => {
                self.line("r2 = r10");
                self.offset(known, "stack_offset", -self.frame_end)
            }
            "packet" if known.packet_end => {
                self.fetch(PACKET_END, "r2");
                Ok(())
            }
            "packet" => {
                self.fetch(PACKET_START, "r2");
                self.offset(known, "packet_offset", 0)
            }
            "shared" => self.region(known),
            "map_fd" => {
                self.line(&format!("r2 = map_idx({HASH:#x}) ll"));
                Ok(())
            }
            "map_fd_programs" => {
                self.line(&format!("r2 = map_idx({PROGRAMS:#x}) ll"));
                Ok(())
            }
            other => Err(format!("before: a value of type {other}")),
        }
    }

    /// A number within its ranges, in `r2`.
    fn number(&mut self, known: &Known) {
        if let Some(only) = known.exact("svalue").or_else(|| known.exact("uvalue")) {
            self.line(&format!("r2 = {:#x} ll", only as u64));
            return;
        }
        self.unknown();
        for (kind, less, more) in [("svalue", "s<", "s>"), ("uvalue", "<", ">")] {
            let Some((least, most)) = known.ranges.get(kind) else {
                continue;
            };
            for (end, sign) in [(least, less), (most, more)] {
                if let Some(end) = end {
                    self.line(&format!("r3 = {:#x} ll", *end as u64));
                    self.line(&format!("if r2 {sign} r3 goto infeasible"));
                }
            }
        }
    }

    /// Adds a pointer's offset to `r2`.
    fn offset(&mut self, known: &Known, kind: &str, from: i64) -> Result<(), Unmapped> {
        if let Some(offset) = known.exact(kind) {
            if offset + from != 0 {
                self.line(&format!("r2 += {}", offset + from));
            }
            return Ok(());
        }
        let Some((Some(least), Some(most))) = known.ranges.get(kind).copied() else {
            return match known.ranges.get(kind) {
                None if kind == "packet_offset" || kind == "ctx_offset" => Ok(()),
                _ => Err(format!("before: {kind} without bounds")),
            };
        };
        self.keep(SCRATCH, "r2");
        let mut number = Known::default();
        let from = i128::from(from);
        let range = (Some(least + from), Some(most + from));
        number.ranges.insert("svalue".to_owned(), range);
        self.number(&number);
        self.fetch(SCRATCH, "r3");
        self.line("r3 += r2");
        self.line("r2 = r3");
        Ok(())
    }

    /// A map value with as many bytes as the region, null too unless the case says otherwise.
    fn region(&mut self, known: &Known) -> Result<(), Unmapped> {
        let size = known
            .exact("shared_region_size")
            .and_then(|size| u32::try_from(size).ok())
            .filter(|size| *size > 0)
            .ok_or("before: a region whose size is not a number above 0")?;
        let index = FIRST_REGION + self.regions.len() as u32;
        self.regions.push(size);
        let least = |kind: &str| known.ranges.get(kind).and_then(|(least, _)| *least);
        let not_null = least("svalue")
            .or_else(|| least("uvalue"))
            .is_some_and(|it| it > 0);
        let offset = known.exact("shared_offset");
        if not_null || offset.is_some_and(|offset| offset != 0) {
            self.line(&format!("r2 = map_idx({index:#x}) + 0x0 ll"));
            return self.offset(known, "shared_offset", 0);
        }
        self.unknown();
        let key = self.distance(KEY);
        self.line(&format!("*(u32 *)(r10 - {key}) = r2"));
        self.line("r2 = r10");
        self.line(&format!("r2 += -{key}"));
        self.line(&format!("r1 = map_idx({index:#x}) ll"));
        self.line("call 1");
        self.line("r2 = r0");
        Ok(())
    }

    /// A relation between numbers, by leaving where it does not hold.
    fn relation(&mut self, relation: &Fact) -> Result<(), Unmapped> {
        let (a, b) = match relation {
            Fact::Sum(a, b, _) | Fact::Difference(a, b, _) => (a, b),
            other => return Err(format!("before: {other:?}")),
        };
        let number = |of: &Of| match of {
            (Place::Reg(number), kind) if kind == "svalue" || kind == "uvalue" => Ok(*number),
            _ => Err(format!("before: {relation:?}")),
        };
        let (a, b) = (number(a)?, number(b)?);
        self.fetch(b.into(), "r3");
        match relation {
            Fact::Sum(_, _, more) => {
                if *more != 0 {
                    self.line(&format!("r2 = {:#x} ll", *more as u64));
                    self.line("r3 += r2");
                }
                self.keep(a.into(), "r3");
            }
            Fact::Difference(_, _, most) => {
                self.fetch(a.into(), "r2");
                self.line("r2 -= r3");
                self.line(&format!("r3 = {:#x} ll", *most as u64));
                self.line("if r2 s> r3 goto infeasible");
            }
            _ => {}
        }
        Ok(())
    }

    /// Bytes of the stack with one value.
    fn cell(&mut self, first: i64, last: i64, known: &Known) -> Result<(), Unmapped> {
        let size = last - first + 1;
        let kinds: Vec<&str> = known.types.iter().map(String::as_str).collect();
        let plain = kinds.iter().all(|kind| *kind == "number");
        if plain && known.ranges.is_empty() {
            return self.bytes(first, last);
        }
        if !matches!(size, 1 | 2 | 4 | 8) || (!plain && size != 8) {
            return Err(format!("before: a value in {size} bytes of the stack"));
        }
        self.room(first)?;
        if plain {
            self.number(known);
        } else {
            self.value(known)?;
        }
        self.line(&format!("*(u{} *)(r10 - {}) = r2", 8 * size, FRAME - first));
        Ok(())
    }

    /// Bytes of the stack with numbers that are not known.
    fn bytes(&mut self, first: i64, last: i64) -> Result<(), Unmapped> {
        self.room(first)?;
        let mut at = first;
        while at <= last {
            let mut size = 8;
            while at % size != 0 || at + size > last + 1 {
                size /= 2;
            }
            self.unknown();
            self.line(&format!("*(u{} *)(r10 - {}) = r2", 8 * size, FRAME - at));
            at += size;
        }
        Ok(())
    }

    fn room(&self, first: i64) -> Result<(), Unmapped> {
        if (0..FRAME).contains(&first) {
            return Ok(());
        }
        Err("before: the stack of another frame".to_owned())
    }
}
