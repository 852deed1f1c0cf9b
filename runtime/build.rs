//! Builds the in-target image, a freestanding program for `x86_64-unknown-none`, and hands its
//! file to `include_bytes!`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let own = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let root = own.parent().expect("the crate is in a workspace");
    let image = own.join("image");
    // All that the image is made of; cargo looks at folders as a whole.
    for source in ["abi/src", "abi/Cargo.toml", "maps/src", "maps/Cargo.toml"] {
        watch(&root.join(source));
    }
    for source in ["vm/helpers/src", "vm/helpers/Cargo.toml"] {
        watch(&root.join(source));
    }
    for source in ["src", "build.rs", "image.ld", "Cargo.toml", "Cargo.lock"] {
        watch(&image.join(source));
    }
    let target_dir = out.join("image");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .current_dir(&image)
        .args([
            "build",
            "--release",
            "--locked",
            "--target",
            "x86_64-unknown-none",
        ])
        .arg("--target-dir")
        .arg(&target_dir);
    // The image is built in one way only, whatever this crate is being built for.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let kept = matches!(name.as_str(), "CARGO_HOME" | "CARGO_NET_OFFLINE");
        if (name.starts_with("CARGO") && !kept)
            || matches!(
                name.as_str(),
                "RUSTFLAGS"
                    | "RUSTC_WRAPPER"
                    | "RUSTC_WORKSPACE_WRAPPER"
                    | "RUSTDOCFLAGS"
                    | "TARGET"
            )
        {
            build.env_remove(name);
        }
    }
    let status = build.status().expect("cargo runs");
    assert!(
        status.success(),
        "the in-target image does not build; it needs `rustup target add x86_64-unknown-none`"
    );
    let file = target_dir.join("x86_64-unknown-none/release/bpftime-image");
    println!("cargo::rustc-env=BPFTIME_IMAGE={}", file.display());
}

fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
