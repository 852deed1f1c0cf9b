//! Program types of old objects, guessed from names, for surveys of folders.

use crate::ProgType;

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

/// The type that a program in a section most likely has, where [`classify`](super::classify) says nothing.
///
/// `stem` is the name of its file without folder and extension. Without any sign it is a socket filter,
/// as in libbpf's old examples.
pub fn guess(stem: &str, section: &str) -> ProgType {
    let by_word = |name: &str| {
        let name = name.to_lowercase();
        WORDS
            .iter()
            .find(|(word, _)| name.contains(word))
            .map(|(_, prog_type)| *prog_type)
    };
    by_word(section)
        .or_else(|| by_word(stem))
        .unwrap_or(ProgType::SocketFilter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_win_over_files() {
        assert_eq!(guess("bpf_xdp", "from-netdev"), ProgType::SchedCls);
        assert_eq!(guess("bpf_xdp", "2/17"), ProgType::Xdp);
        assert_eq!(guess("bpf_lxc", "2/1"), ProgType::SchedCls);
        assert_eq!(guess("bpf_host", "tc/entry"), ProgType::SchedCls);
        assert_eq!(guess("x_kern", "xdp_pass"), ProgType::Xdp);
        assert_eq!(guess("stackok", ".text"), ProgType::SocketFilter);
    }
}
