//! Where things are.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is in a workspace")
}

/// The folder with the test vectors that others made, or `None`, with the reason printed, where
/// it is not there.
pub fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("BPFTIME_VECTORS")
        .map_or_else(|| workspace().join("../shared/vectors"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!(
        "skipped: no vectors in {} (set BPFTIME_VECTORS)",
        folder.display()
    );
    None
}
