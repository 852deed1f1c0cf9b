//! eBPF maps in memory shared between processes that do not trust each other.
