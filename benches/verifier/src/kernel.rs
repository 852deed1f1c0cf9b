//! The kernel's verifier, asked by a libbpf tool or directly.

use std::path::Path;
use std::process::Command;

use crate::corpus::Subject;
use crate::kernel_raw;
use crate::measure::median;
use crate::report::Measured;

/// Why the kernel cannot be asked, if it cannot.
pub(crate) fn unavailable(tool: &Path) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("the kernel's verifier may only be asked by root".into());
    }
    (!tool.exists()).then(|| format!("{} is missing; run make -C benches", tool.display()))
}

/// The kernel's verdict and time, by way of libbpf or, where that cannot open the object, of our loader;
/// none if the object cannot be loaded so far that the verifier sees the program.
pub(crate) fn judge(tool: &Path, subject: &Subject, rounds: usize) -> Option<Measured> {
    let (accepted, micros) =
        by_libbpf(tool, subject, rounds).or_else(|| kernel_raw::judge(&subject.program, rounds))?;
    Some(Measured {
        accepted,
        micros: median(&micros),
        bytes: None,
        states: None,
    })
}

fn by_libbpf(tool: &Path, subject: &Subject, rounds: usize) -> Option<(bool, Vec<f64>)> {
    // Only where the section does not tell the type is it told.
    let told = if subject.typed_by_section {
        0
    } else {
        subject.program.prog_type as u32
    };
    let output = Command::new(tool)
        .arg(&subject.path)
        .args([&subject.program.section, &subject.program.name])
        .args([told.to_string(), rounds.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_whitespace();
    let accepted = match words.next()? {
        "accept" => true,
        "reject" => false,
        _ => return None,
    };
    let micros: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
    (micros.len() == rounds).then_some((accepted, micros))
}
