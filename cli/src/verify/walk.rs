//! The files that are meant by paths on the command line.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A file to judge, or a folder in which there is none or that could not be listed.
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// It was not named, but found in a folder that was.
    pub(super) in_folder: bool,
    /// Why there is no file.
    pub(super) error: Option<String>,
}

/// Files that were named, and all objects below folders that were, sorted within each.
///
/// Links to folders are not followed, and only regular files are opened.
pub(super) fn files(paths: &[PathBuf]) -> Vec<Found> {
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut found = below(path);
            if found.is_empty() {
                found.push(Found {
                    path: path.clone(),
                    in_folder: true,
                    error: Some(format!("there are no BPF objects below {}", path.display())),
                });
            }
            found.sort_by(|a, b| a.path.cmp(&b.path));
            all.append(&mut found);
        } else {
            all.push(Found {
                path: path.clone(),
                in_folder: false,
                error: None,
            });
        }
    }
    all
}

fn below(root: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                found.push(unlisted(&folder, &error));
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    found.push(unlisted(&folder, &error));
                    break;
                }
            };
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if fs::metadata(&path).is_ok_and(|file| file.is_file()) && is_object(&path) {
                found.push(Found {
                    path,
                    in_folder: true,
                    error: None,
                });
            }
        }
    }
    found
}

fn unlisted(folder: &Path, error: &std::io::Error) -> Found {
    Found {
        path: folder.to_path_buf(),
        in_folder: true,
        error: Some(format!("cannot list {}: {error}", folder.display())),
    }
}

/// Whether a file is meant to be a BPF object: by its name, or by the start of its contents.
fn is_object(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "o") || is_bpf_elf(path).unwrap_or(false)
}

/// ELF for the BPF machine (`e_machine`, a 16-bit number at offset 18).
fn is_bpf_elf(path: &Path) -> std::io::Result<bool> {
    const EM_BPF: u16 = 247;
    let mut start = [0; 20];
    File::open(path)?.read_exact(&mut start)?;
    let machine = u16::from_le_bytes([start[18], start[19]]);
    Ok(start.starts_with(b"\x7fELF") && machine == EM_BPF)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn folders_are_searched_in_order_and_only_for_objects() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::create_dir_all(root.join("b/c")).expect("a folder");
        for name in ["z.o", "b/c/y.o", "b/x.o", "README", "b/plain"] {
            fs::write(root.join(name), "no ELF file").expect("a file");
        }
        let mut elf = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xf7\0";
        fs::write(root.join("a"), elf).expect("a file");
        elf[18] = 62;
        fs::write(root.join("native"), elf).expect("a file");
        // A loop, a dangling link, a link to a device: none may be followed or read.
        symlink(root, root.join("b/loop")).expect("a link");
        symlink(root.join("nothing"), root.join("dangling.o")).expect("a link");
        symlink("/dev/zero", root.join("zero.o")).expect("a link");
        let found = files(&[root.to_path_buf()]);
        let names: Vec<_> = found
            .iter()
            .map(|found| {
                found
                    .path
                    .strip_prefix(root)
                    .expect("below")
                    .display()
                    .to_string()
            })
            .collect();
        assert_eq!(names, ["a", "b/c/y.o", "b/x.o", "z.o"]);
        assert!(
            found
                .iter()
                .all(|found| found.in_folder && found.error.is_none())
        );
    }

    #[test]
    fn files_that_are_named_are_taken_as_they_are() {
        let named = [PathBuf::from("/nowhere/at/all"), PathBuf::from("x.txt")];
        let found = files(&named);
        assert!(found.iter().map(|found| &found.path).eq(&named));
        assert!(found.iter().all(|found| !found.in_folder));
    }
}
