//! Hands the linker script to the linker.

fn main() {
    println!("cargo::rerun-if-changed=image.ld");
    // The host's link (rust-analyzer, clippy) has nothing to do with the image.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        for argument in [
            // The linker runs in this folder. A whole path would be kept from another checkout that
            // used the same target folder.
            "-Timage.ld",
            "-pie",
            "--no-dynamic-linker",
            "--no-undefined",
            "--orphan-handling=error",
            "-z",
            "text",
            "-z",
            "norelro",
        ] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
