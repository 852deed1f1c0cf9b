//! `bpftime map`: maps of the loaded tools.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use bpftime_runtime::broker::protocol::MapInfo;
use bpftime_runtime::client::ask;

use crate::exit::Exit;
use crate::report;

/// Show the maps of loaded tools.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the maps of all loaded tools.
    List {
        /// Print JSON to stdout.
        #[arg(long)]
        json: bool,
    },
    /// Print the contents of a map.
    ///
    /// Keys and values are bytes in hexadecimal, with their number in decimal where they have 1,
    /// 2, 4 or 8 bytes. Per-CPU maps have one value for each virtual CPU, each a multiple of 8
    /// bytes.
    Dump {
        /// Name or id of the map.
        #[arg(value_name = "NAME")]
        map: String,
        /// Print JSON to stdout.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List { json } => list(*json)?,
        Command::Dump { map, json } => dump(map, *json)?,
    }
    Ok(Exit::Accepted.into())
}

fn list(json: bool) -> anyhow::Result<()> {
    let maps = ask::maps()?;
    if json {
        return report::print(&maps);
    }
    report::to_stdout(|out| {
        writeln!(
            out,
            "{:>5}  {:<16} {:<17} {:>5} {:>7} {:>9}  SESSIONS",
            "ID", "NAME", "TYPE", "KEY", "VALUE", "ENTRIES"
        )?;
        maps.iter()
            .try_for_each(|map| writeln!(out, "{}", line(map)))
    })
}

/// A map in the list.
fn line(map: &MapInfo) -> String {
    let MapInfo {
        id,
        name,
        map_type,
        key_size,
        value_size,
        max_entries,
        ..
    } = map;
    let sessions: Vec<_> = map.sessions.iter().map(u32::to_string).collect();
    format!(
        "{id:>5}  {name:<16} {map_type:<17} {key_size:>5} {value_size:>7} {max_entries:>9}  {}",
        sessions.join(",")
    )
}

fn dump(map: &str, json: bool) -> anyhow::Result<()> {
    let dump = ask::dump(map)?;
    if json {
        return report::print(&dump);
    }
    report::to_stdout(|out| {
        for element in &dump.elements {
            writeln!(out, "{}: {}", bytes(&element.key), bytes(&element.value))?;
        }
        writeln!(out, "{} elements", dump.elements.len())
    })
}

/// Hexadecimal, and the number that the bytes are where they can be one.
fn bytes(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        let space = if index == 0 { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{space}{byte:02x}");
    }
    if matches!(bytes.len(), 1 | 2 | 4 | 8) {
        let number = bytes
            .iter()
            .rev()
            .fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        let _ = write!(text, " ({number})");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn numbers_are_little_endian() {
        assert_eq!(bytes(&[0x2a, 1, 0, 0]), "2a 01 00 00 (298)");
        assert_eq!(bytes(&[1, 2, 3]), "01 02 03");
        assert_eq!(bytes(&[]), "");
    }
}
