#!/usr/bin/env python3
"""Compares verdicts over a folder of objects, ours with the kernel's.

Usage: corpus_table.py FOLDER OURS.csv KERNEL.tsv

OURS is what `bpftime verify --format csv` prints, KERNEL what tests/c/kernel_verdicts.c prints.
Differences come first, then totals for each folder below FOLDER, then times.
"""

import collections
import csv
import os
import sys


def group(folder: str, name: str) -> str:
    """The folder directly below that a file is in."""
    first, *rest = os.path.relpath(name, folder).split(os.sep)
    return first if rest else "."


def main() -> int:
    folder, ours_path, kernel_path = sys.argv[1:]
    kernel = {}
    with open(kernel_path, newline="", errors="replace") as table:
        for line in table:
            name, program, _, verdict, _, message = line.rstrip("\n").split("\t", 5)
            kernel[name, program] = verdict, message
    totals = collections.Counter()
    missed = collections.Counter()
    times, memory = [], 0
    with open(ours_path, newline="") as table:
        for row in csv.DictReader(table):
            name, program = row["file_name"], row["prog_name"]
            accepted = row["verdict"] == "success"
            verdict, message = kernel.get((name, program), ("unknown", ""))
            where = group(folder, name)
            totals[where, verdict, accepted] += 1
            title = f"{os.path.relpath(name, folder)} {program}"
            if verdict == "accept" and not accepted:
                missed[row["code"]] += 1
                print(f"missed\t{title}\t{row['code']}\tslot {row['slot']}")
            if verdict == "reject" and accepted:
                print(f"accepted, but the kernel rejects\t{title}\t{message}")
            if row["duration"]:
                times.append(int(row["duration"]))
                memory = max(memory, int(row["mem_peak_bytes"]))
    print()
    folders = sorted({where for where, _, _ in totals})
    print("folder\tkernel accepts\tand so do we\tkernel rejects\tand so do we\tno verdict of the kernel\tof these we accept")
    for where in [*folders, None]:
        def count(verdicts: tuple[str, ...], ours: tuple[bool, ...] = (True, False)) -> int:
            return sum(
                number
                for (folder_name, verdict, accepted), number in totals.items()
                if where in (None, folder_name) and verdict in verdicts and accepted in ours
            )

        none = ("unloadable", "unknown")
        print(
            "all" if where is None else where,
            count(("accept",)), count(("accept",), (True,)),
            count(("reject",)), count(("reject",), (False,)),
            count(none), count(none, (True,)),
            sep="\t",
        )
    for code, number in missed.most_common():
        print(f"missed\t{number}\t{code}")
    if times:
        times.sort()
        print(
            f"{len(times)} verdicts in {sum(times) / 1e6:.3f} s, median {times[len(times) // 2]} us, "
            f"most {times[-1] / 1e3:.1f} ms and {memory / 1024:.0f} KiB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
