//! ELF, BTF, CO-RE and line info: bytes become an unverified program.
