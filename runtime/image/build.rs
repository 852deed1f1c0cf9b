//! Hands the linker script to the linker.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo::rerun-if-changed=image.ld");
    // The host's link (rust-analyzer, clippy) has nothing to do with the image.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        for argument in [
            &format!("-T{folder}/image.ld"),
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
