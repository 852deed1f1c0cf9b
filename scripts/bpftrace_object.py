#!/usr/bin/env python3
"""Makes C of what `bpftrace --emit-elf` gives, so that clang makes an object of it that libbpf can open.

Usage: bpftrace_object.py EMITTED.o MAPS >SOURCE.c

EMITTED.o has a section of instructions for each probe, which name maps by their place in MAPS, the lines
that tests/c/bpftrace_maps.c prints. The instructions go into the C as they are, but for those that load
the address of a map.
"""

import re
import struct
import sys

LOAD_64 = 0x18
MAP_FD = 1


def functions(elf: bytes):
    """Names and bytes of the functions."""
    (sections_at,) = struct.unpack_from("<Q", elf, 40)
    size, count, _ = struct.unpack_from("<HHH", elf, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, sections_at + size * i) for i in range(count)]
    for _, kind, _, _, at, length, link, *_ in sections:
        if kind != 2:
            continue
        names = sections[link][4]
        for symbol in range(at, at + length, 24):
            name, info, _, section, value, bytes_ = struct.unpack_from("<IBBHQQ", elf, symbol)
            if info & 15 == 2:
                start = sections[section][4] + value
                text = elf[names + name : elf.index(b"\0", names + name)].decode()
                yield text, elf[start : start + bytes_]


def section_of(probe: str) -> str:
    """The section whose programs libbpf gives the type that bpftrace gives those of the probe."""
    kind, *rest = probe.split(",")[0].split(":")
    if kind in ("BEGIN", "END"):
        return "uprobe"
    if kind in ("kprobe", "kretprobe"):
        return f"{kind}/{re.sub('[^A-Za-z0-9_]', '_', rest[0])}"
    if kind in ("uprobe", "uretprobe", "usdt"):
        return "uretprobe" if kind == "uretprobe" else "uprobe"
    if kind == "tracepoint":
        return f"tp/{rest[0]}/{rest[1]}"
    if kind in ("interval", "profile", "software", "hardware"):
        return "perf_event"
    raise SystemExit(f"a probe of an unknown kind: {probe}")


def main() -> int:
    emitted, maps_path = sys.argv[1:]
    maps = [line.split() for line in open(maps_path)]
    print("#include <linux/types.h>\n#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>")
    for number, (kind, key, value, entries, flags) in enumerate(maps):
        print(
            f"struct {{ __uint(type, {kind}); __uint(key_size, {key}); __uint(value_size, {value}); "
            f'__uint(max_entries, {entries}); __uint(map_flags, {flags}); }} map_{number} SEC(".maps");'
        )
    for number, (probe, code) in enumerate(functions(open(emitted, "rb").read())):
        name = re.sub("[^A-Za-z0-9_]", "_", probe)[:40]
        print(f'SEC("{section_of(probe)}") __attribute__((naked)) int p{number}_{name}(void *context)\n{{\n\tasm volatile(')
        used = set()
        slots = iter(range(0, len(code), 8))
        for at in slots:
            opcode, registers, _, immediate = struct.unpack_from("<BBhi", code, at)
            if opcode == LOAD_64 and registers >> 4 == MAP_FD:
                next(slots)
                used.add(immediate)
                print(f'\t\t"r{registers & 15} = %[map_{immediate}] ll;"')
            elif opcode == LOAD_64:
                low, high = struct.unpack_from("<QQ", code, at)
                next(slots)
                print(f'\t\t".8byte {low:#x}; .8byte {high:#x};"')
            else:
                print(f'\t\t".8byte {struct.unpack_from("<Q", code, at)[0]:#x};"')
        inputs = ", ".join(f'[map_{map_}]"i"(&map_{map_})' for map_ in sorted(used))
        print(f"\t\t: : {inputs});\n}}")
    print('char _license[] SEC("license") = "GPL";')
    return 0


if __name__ == "__main__":
    sys.exit(main())
