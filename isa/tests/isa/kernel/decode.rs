//! Every opcode, with each field tried, against what the kernel's verifier takes.
