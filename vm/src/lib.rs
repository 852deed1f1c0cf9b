//! Interpreter and Cranelift JIT for verified eBPF programs.
