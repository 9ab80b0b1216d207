#!/usr/bin/env python3
"""Counts the instructions and allocations of `millrace bench micro` under callgrind, and compares them with the recorded ones.

usage: bench/instructions.py [--record] [--pieces PREFIX,...] MILLRACE

Instructions don't depend on what else the machine does, so a difference is the code's (or the compiler's: the version that the record was
made with stands in its first line). Fails if a piece takes more than 10 % more of either than recorded, or is not recorded.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

RECORD = pathlib.Path(__file__).with_name("instructions.txt")
# A piece may take so much more than recorded: seeds of hash tables and addresses move it by a few parts in a thousand.
ALLOWED = 1.10
# Few allocations are no percentage.
ALLOWED_ALLOCATIONS = 64
COUNTED, MEASURED = "bench::micro::counted*", "bench::micro::measured*"
ALLOCATES = re.compile(r"^(mi_malloc|mi_malloc_aligned|mi_zalloc|mi_zalloc_aligned|mi_calloc|mi_realloc_aligned|mi_realloc"
                       r"|mi_heap_malloc_aligned|malloc|calloc|realloc|posix_memalign)$")


def totals(path):
    """Instructions and calls of allocating functions in one dump."""
    names, instructions, allocations, callee = {}, 0, 0, ""
    for line in path.open(errors="replace"):
        if line.startswith(("fn=", "cfn=")):
            # `cfn=(12) name` the first time, `cfn=(12)` from then on.
            kind, rest = line.rstrip("\n").split("=", 1)
            number, _, name = rest.partition(")")
            names.setdefault(number, name.strip())
            callee = names[number] if kind == "cfn" else callee
        elif line.startswith("calls=") and ALLOCATES.match(callee):
            allocations += int(line[6:].split()[0])
        elif line.startswith(("totals:", "summary:")):
            instructions = max(instructions, int(line.split()[1]))
    return instructions, allocations


def measure(millrace, pieces):
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory, "out")
        command = ["valgrind", "--tool=callgrind", "--collect-atstart=no", f"--toggle-collect={COUNTED}",
                   f"--dump-after={MEASURED}", f"--callgrind-out-file={out}", millrace, "bench", "micro"]
        if pieces:
            command += ["--pieces", pieces]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        names = [line.split()[0] for line in done.stdout.splitlines() if line.endswith(" ms")]
        dumps = [out.with_name(f"out.{number}") for number in range(1, len(names) + 1)]
        missing = [dump.name for dump in dumps if not dump.exists()]
        if missing:
            sys.exit(f"callgrind has not written {', '.join(missing)}: is {MEASURED} a function of {millrace}?")
        return {name: totals(dump) for name, dump in zip(names, dumps)}


def recorded():
    lines = [line.split() for line in RECORD.read_text().splitlines() if line and not line.startswith("#")]
    return {name: (int(instructions), int(allocations)) for name, instructions, allocations in lines}


def record(found, compiler):
    lines = [f"# {compiler}: piece, instructions, allocations; bench/instructions.py --record MILLRACE writes it."]
    lines += [f"{name:<34}{instructions:>14}{allocations:>10}" for name, (instructions, allocations) in found.items()]
    RECORD.write_text("\n".join(lines) + "\n")


def compare(found, before):
    failed = []
    for name, (instructions, allocations) in found.items():
        if name not in before:
            print(f"{name:<34}{instructions:>14}{'new':>9}{allocations:>10}")
            failed.append(name)
            continue
        was, were = before[name]
        worse = instructions > was * ALLOWED or allocations > were * ALLOWED + ALLOWED_ALLOCATIONS
        print(f"{name:<34}{instructions:>14}{instructions / max(was, 1) - 1:>+9.1%}{allocations:>10}"
              f"{allocations / max(were, 1) - 1:>+9.1%}{'  WORSE' if worse else ''}")
        if worse:
            failed.append(name)
    return failed


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("millrace")
    arguments.add_argument("--record", action="store_true", help="write what was found to bench/instructions.txt")
    arguments.add_argument("--pieces", help="only pieces that begin with one of these")
    arguments = arguments.parse_args()
    found = measure(arguments.millrace, arguments.pieces)
    if arguments.record:
        compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
        record({**(recorded() if RECORD.exists() and arguments.pieces else {}), **found}, compiler)
    if not RECORD.exists():
        for name, (instructions, allocations) in found.items():
            print(f"{name:<34}{instructions:>14}{allocations:>10}")
        print(f"{RECORD.name} is not there: nothing to compare with. bench/instructions.py --record MILLRACE writes it.", file=sys.stderr)
        return
    failed = compare(found, recorded())
    if failed:
        print(f"more than {ALLOWED - 1:.0%} worse than recorded, or not recorded: {', '.join(failed)}\n"
              "If that is the price of something, write it anew: bench/instructions.py --record MILLRACE", file=sys.stderr)
        sys.exit(1)


main()
