//! The programs of all objects below a folder.

use std::path::{Path, PathBuf};

use bpftime_isa::{ProgType, Program, section};
use bpftime_loader::Object;

/// A program and where it is from.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Its object file.
    pub(crate) path: PathBuf,
    /// The file's path below the folder.
    pub(crate) file: String,
    /// The program, its type guessed if the section does not tell it.
    pub(crate) program: Program,
    /// Whether the name of the section tells the type.
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
pub(crate) fn subjects(folder: &Path) -> (Vec<Subject>, usize) {
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
            let typed_by_section = section::classify(&program.section).is_some();
            if program.prog_type == ProgType::Unspec {
                program.prog_type = ProgType::SocketFilter;
            }
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
