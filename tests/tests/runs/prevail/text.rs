//! PREVAIL's instructions in the notation that our assembler reads.

use super::case::Case;

/// Code of a case.
pub(super) struct Code {
    /// The main program, which goes to `done` where it ends.
    pub(super) main: Vec<String>,
    /// The functions that it calls.
    pub(super) functions: Vec<String>,
}

/// Reads the code of a case.
pub(super) fn code(case: &Case) -> Result<Code, String> {
    let within = subprograms(case);
    let mut code = Code {
        main: Vec::new(),
        functions: Vec::new(),
    };
    for (position, (label, block)) in case.code.iter().enumerate() {
        let in_function = within.contains(label);
        let lines = if in_function {
            &mut code.functions
        } else {
            &mut code.main
        };
        lines.push(format!("{}:", name(label)));
        for line in block {
            translate(line, in_function, lines)?;
        }
        if falls_through(block) {
            // Blocks of functions are moved behind the main program.
            lines.push(match case.code.get(position + 1) {
                Some((next, _)) => format!("goto {}", name(next)),
                None if in_function => "exit".to_owned(),
                None => "goto done".to_owned(),
            });
        }
    }
    if !case.code.iter().any(|(label, _)| label == "exit") {
        code.main
            .extend(["L_exit:".to_owned(), "goto done".to_owned()]);
    }
    Ok(code)
}

fn falls_through(block: &[String]) -> bool {
    let last = block.last();
    last.is_none_or(|line| line != "exit" && !line.starts_with("goto "))
}

fn name(label: &str) -> String {
    format!("L_{}", label.replace(['/', ':', '.', '-'], "_"))
}

/// Labels in angle brackets.
fn labels(line: &str) -> Vec<&str> {
    line.split('<')
        .skip(1)
        .filter_map(|rest| rest.split_once('>').map(|(label, _)| label))
        .collect()
}

/// Labels of blocks that belong to subprograms: what calls reach without returning.
fn subprograms(case: &Case) -> Vec<String> {
    let mut pending: Vec<String> = Vec::new();
    for (_, block) in &case.code {
        for line in block.iter().filter(|line| line.starts_with("call <")) {
            pending.extend(labels(line).iter().map(|label| (*label).to_owned()));
        }
    }
    let mut found: Vec<String> = Vec::new();
    while let Some(label) = pending.pop() {
        if found.contains(&label) {
            continue;
        }
        let position = case.code.iter().position(|(name, _)| *name == label);
        found.push(label);
        let Some(position) = position else { continue };
        let block = &case.code[position].1;
        for line in block.iter().filter(|line| line.contains("goto <")) {
            pending.extend(labels(line).iter().map(|label| (*label).to_owned()));
        }
        if let (true, Some((next, _))) = (falls_through(block), case.code.get(position + 1)) {
            pending.push(next.clone());
        }
    }
    found
}

const CONDITIONS: [(&str, &str); 10] = [
    ("s>=", "s<"),
    ("s<=", "s>"),
    ("s>", "s<="),
    ("s<", "s>="),
    ("==", "!="),
    ("!=", "=="),
    (">=", "<"),
    ("<=", ">"),
    (">", "<="),
    ("<", ">="),
];

fn translate(line: &str, within: bool, out: &mut Vec<String>) -> Result<(), String> {
    if line == "exit" {
        out.push(if within { "exit" } else { "goto done" }.to_owned());
        return Ok(());
    }
    if let Some(condition) = line.strip_prefix("assume ") {
        let inverse = inverse(condition).ok_or_else(|| format!("`{line}`"))?;
        out.push(format!("if {inverse} goto infeasible"));
        return Ok(());
    }
    if line.starts_with("goto <") || line.starts_with("call <") {
        let labels = labels(line);
        let [label] = labels[..] else {
            return Err(format!("`{line}`: a choice of targets"));
        };
        out.push(format!("{} {}", &line[..4], name(label)));
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("if ") {
        let (condition, _) = rest
            .split_once(" goto ")
            .ok_or_else(|| format!("`{line}`"))?;
        let label = labels(rest)
            .last()
            .map(|label| name(label))
            .unwrap_or_default();
        if let Some((left, right)) = condition.split_once("&!=") {
            out.push(format!("if {left} & {right} goto {label}"));
        } else if let Some((left, right)) = condition.split_once("&==") {
            out.push(format!("if {left} & {right} goto +1"));
            out.push(format!("goto {label}"));
        } else {
            out.push(format!("if {condition} goto {label}"));
        }
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("lock ") {
        out.push(atomic(rest).ok_or_else(|| format!("`{line}`"))?);
        return Ok(());
    }
    out.push(plain(line)?);
    Ok(())
}

fn inverse(condition: &str) -> Option<String> {
    let mut words = condition.split_whitespace();
    let (left, sign, right) = (words.next()?, words.next()?, words.next()?);
    // `w1 w< 3` is a comparison of halves, as the name of the register says.
    let sign = sign.strip_prefix('w').unwrap_or(sign);
    let right = same_width(left, right);
    let (_, inverse) = CONDITIONS.iter().find(|(known, _)| *known == sign)?;
    Some(format!("{left} {inverse} {right}"))
}

/// `*(u64 *)(r1 + 4) += r2 fetch`.
fn atomic(text: &str) -> Option<String> {
    let (memory, rest) = text.split_once(")(")?;
    let bits = if memory.contains("u32") { 32 } else { 64 };
    let (address, operation) = rest.split_once(") ")?;
    let mut words = operation.split_whitespace();
    let (sign, src) = (words.next()?, words.next()?);
    let fetch = words.next() == Some("fetch");
    Some(match (sign, fetch) {
        ("x=", _) if bits == 32 => {
            let w = src.replace('r', "w");
            format!("{w} = xchg32_32({address}, {w})")
        }
        ("x=", _) => format!("{src} = xchg_64({address}, {src})"),
        ("cx=", _) if bits == 32 => {
            format!(
                "w0 = cmpxchg32_32({address}, w0, {})",
                src.replace('r', "w")
            )
        }
        ("cx=", _) => format!("r0 = cmpxchg_64({address}, r0, {src})"),
        (sign, true) => {
            let name = match sign {
                "+=" => "add",
                "|=" => "or",
                "&=" => "and",
                "^=" => "xor",
                _ => return None,
            };
            format!("{src} = atomic_fetch_{name}((u{bits} *)({address}), {src})")
        }
        (sign, false) => format!("lock *(u{bits} *)({address}) {sign} {src}"),
    })
}

fn plain(line: &str) -> Result<String, String> {
    if let Some((dst, value)) = line.split_once('=')
        && let Some(number) = value.trim().strip_suffix("ll")
        && let Some(number) = number_of(number.trim())
    {
        return Ok(format!("{} = {:#x} ll", dst.trim(), number as u64));
    }
    for (sign, size) in [(" s8= ", "s8"), (" s16= ", "s16"), (" s32= ", "s32")] {
        if let Some((dst, src)) = line.split_once(sign) {
            // The halves are named for the width of the result.
            return Ok(format!("{dst} = ({size}){}", with_width(src, dst)));
        }
    }
    if line.contains("map_fd") || line.contains("map_val") || line.contains("map_by_idx") {
        return Err(format!("`{line}`: a map of PREVAIL's test platform"));
    }
    let line = line.replace("= swap", "= bswap").replace("= - w", "= -w");
    // `w1 += r2` means the half of r2.
    Ok(match line.rsplit_once(' ') {
        Some((rest, last)) if line.starts_with('w') => {
            format!("{rest} {}", same_width(&line, last))
        }
        _ => line,
    })
}

fn number_of(text: &str) -> Option<i128> {
    match text.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// An operand in the width of the other.
fn same_width(left: &str, right: &str) -> String {
    match right.strip_prefix('r') {
        Some(number) if left.starts_with('w') => format!("w{number}"),
        _ => right.to_owned(),
    }
}

fn with_width(src: &str, dst: &str) -> String {
    let number = src.trim().trim_start_matches(['r', 'w']);
    format!("{}{number}", &dst[..1])
}
