//! Program types of old objects, guessed from names, for surveys of folders.

use std::path::Path;

use bpftime_isa::ProgType;

/// Words in the names of sections and files, and the type that programs there usually have. The
/// first that occurs decides.
const WORDS: &[(&str, ProgType)] = &[
    ("xdp", ProgType::Xdp),
    ("socket", ProgType::SocketFilter),
    ("cgroup/sock", ProgType::CgroupSock),
    ("lwt", ProgType::LwtOut),
    ("tc_", ProgType::SchedCls),
    ("tc/", ProgType::SchedCls),
    ("classifier", ProgType::SchedCls),
    ("ingress", ProgType::SchedCls),
    ("egress", ProgType::SchedCls),
    ("netdev", ProgType::SchedCls),
    ("container", ProgType::SchedCls),
    ("overlay", ProgType::SchedCls),
    ("lxc", ProgType::SchedCls),
    ("tail", ProgType::SchedCls),
];

/// The type that a program in a section of a file most likely has. Without any sign it is a
/// socket filter, as in libbpf's old examples.
pub(super) fn prog_type(file: &Path, section: &str) -> ProgType {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let by_word = |name: &str| {
        let name = name.to_lowercase();
        WORDS
            .iter()
            .find(|(word, _)| name.contains(word))
            .map(|(_, prog_type)| *prog_type)
    };
    by_word(section)
        .or_else(|| by_word(&stem))
        .unwrap_or(ProgType::SocketFilter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_win_over_files() {
        let guess = |file: &str, section| prog_type(Path::new(file), section);
        assert_eq!(guess("a/bpf_xdp.o", "from-netdev"), ProgType::SchedCls);
        assert_eq!(guess("a/bpf_xdp.o", "2/17"), ProgType::Xdp);
        assert_eq!(guess("bpf_lxc.o", "2/1"), ProgType::SchedCls);
        assert_eq!(guess("bpf_host.o", "tc/entry"), ProgType::SchedCls);
        assert_eq!(guess("x_kern.o", "xdp_pass"), ProgType::Xdp);
        assert_eq!(guess("stackok.o", ".text"), ProgType::SocketFilter);
    }
}
