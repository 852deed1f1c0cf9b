#!/usr/bin/env python3
"""Writes the BPF objects that are embedded in executables (libbpf skeletons) to a folder.

Usage: extract-objects.py FOLDER FILE...

An object is found by its ELF header (64-bit, little-endian, relocatable, for the BPF machine), and
ends where the last of its sections or its section headers end. What does not look like one is left
out. Files are named after the executable, and numbered where it has several.
"""

import pathlib
import struct
import sys

# Start of an ELF header up to e_version: e_type 1 is ET_REL, e_machine 247 is EM_BPF.
MAGIC = b"\x7fELF\x02\x01\x01"
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SHT_NOBITS = 8


def object_length(data: bytes, start: int) -> int | None:
    """Bytes of the object that starts there, or None if none does."""
    if start + HEADER.size > len(data):
        return None
    fields = HEADER.unpack_from(data, start)
    _, kind, machine, _, _, _, table, _, _, _, _, entry, count, _ = fields
    if (kind, machine, entry) != (1, 247, SECTION.size) or count == 0:
        return None
    end = table + count * entry
    if start + end > len(data):
        return None
    for index in range(count):
        section = SECTION.unpack_from(data, start + table + index * entry)
        _, section_type, _, _, offset, size, _, _, _, _ = section
        if section_type != SHT_NOBITS:
            end = max(end, offset + size)
    return end if start + end <= len(data) else None


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for name in sys.argv[2:]:
        path = pathlib.Path(name)
        data = path.read_bytes()
        found, at = 0, data.find(MAGIC)
        while at >= 0:
            length = object_length(data, at)
            if length is not None:
                suffix = f".{found}" if found else ""
                (folder / f"{path.name}{suffix}.bpf.o").write_bytes(data[at : at + length])
                found += 1
            at = data.find(MAGIC, at + (length or 1))
        total += found
    print(f"{total} objects from {len(sys.argv) - 2} files", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
