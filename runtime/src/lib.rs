//! Sessions: the bpf() broker, the program registry, injection.
