//! eBPF helpers over maps, for every engine and for the in-target image.
