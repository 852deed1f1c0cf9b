//! Types of programs whose section tells none, from a table.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use bpftime_isa::ProgType;

/// Types by file below the folder, section and function.
#[derive(Debug, Default)]
pub(crate) struct Types(HashMap<[String; 3], ProgType>);

impl Types {
    /// Reads a table of tabs with a header; of its columns these count: `file`, of which the first
    /// folder is left out, `section`, `function`, and `kernel_type`, the type that the kernel was asked
    /// with.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let mut lines = text
            .lines()
            .map(|line| line.split('\t').collect::<Vec<_>>());
        let header = lines.next().unwrap_or_default();
        let column = |name: &str| {
            let at = header.iter().position(|column| *column == name);
            at.with_context(|| format!("{} has no column {name}", path.display()))
        };
        let (file, section) = (column("file")?, column("section")?);
        let (function, prog_type) = (column("function")?, column("kernel_type")?);
        let typed = lines.filter_map(|line| {
            let named = *line.get(prog_type)?;
            let prog_type = (1..64)
                .filter_map(ProgType::from_u32)
                .find(|known| known.name() == named)?;
            let file = line.get(file)?.split_once('/')?.1;
            let key = [file, line.get(section)?, line.get(function)?].map(str::to_owned);
            Some((key, prog_type))
        });
        Ok(Self(typed.collect()))
    }

    /// The type of a program. Some rows name the section instead of the function.
    pub(crate) fn of(&self, file: &str, section: &str, function: &str) -> Option<ProgType> {
        let find = |function: &str| {
            self.0
                .get(&[file, section, function].map(str::to_owned))
                .copied()
        };
        find(function).or_else(|| find(section))
    }
}
