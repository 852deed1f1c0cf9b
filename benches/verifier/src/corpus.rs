//! The programs of all objects below a folder.

use std::path::{Path, PathBuf};

use bpftime_isa::{ProgType, Program, section};
use bpftime_loader::Object;

use crate::types::Types;

/// A program and where it is from.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Its object file.
    pub(crate) path: PathBuf,
    /// The file's path below the folder.
    pub(crate) file: String,
    /// The program, its type from the table or guessed if the section does not tell it.
    pub(crate) program: Program,
    /// Whether the program has the type that the name of its section tells.
    pub(crate) typed_by_section: bool,
}

/// The object files below a folder, sorted.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "o") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// All programs, and how many objects could not be read.
pub(crate) fn subjects(folder: &Path, types: &Types) -> (Vec<Subject>, usize) {
    let mut all = Vec::new();
    let mut unreadable = 0;
    for path in objects(folder) {
        let parsed = std::fs::read(&path)
            .ok()
            .and_then(|bytes| Object::parse(&bytes).ok());
        let Some(object) = parsed else {
            unreadable += 1;
            continue;
        };
        let file = path.strip_prefix(folder).unwrap_or(&path);
        let file = file.display().to_string();
        for program in object.into_programs() {
            let mut program = program.into_program();
            let by_section = program.prog_type;
            if let Some(known) = types.of(&file, &program.section, &program.name)
                && known != by_section
            {
                program.prog_type = known;
                program.attach_type = None;
            }
            if program.prog_type == ProgType::Unspec {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                program.prog_type = section::guess(&stem, &program.section);
            }
            if program.license.is_empty() {
                // Left to the loader, which gives one here, as that of the table did.
                program.license = "GPL".to_owned();
            }
            let typed_by_section = program.prog_type == by_section;
            all.push(Subject {
                path: path.clone(),
                file: file.clone(),
                program,
                typed_by_section,
            });
        }
    }
    (all, unreadable)
}
