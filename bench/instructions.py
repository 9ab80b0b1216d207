#!/usr/bin/env python3
"""Counts the instructions of `millrace bench micro` under callgrind, and compares them with the recorded ones.

usage: bench/instructions.py [--record] [--pieces PREFIX,...] MILLRACE

Instructions don't depend on what else the machine does, so a difference is the code's (or the compiler's: the version that the record was
made with stands in its first line). Fails if a piece takes more than 10 % more than recorded, or is not recorded.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

RECORD = pathlib.Path(__file__).with_name("instructions.txt")
# A piece may take so much more than recorded: seeds of hash tables and addresses move it by a few parts in a thousand.
ALLOWED = 1.10
COUNTED, MEASURED = "bench::micro::counted*", "bench::micro::measured*"


def total(path):
    """The instructions in one dump."""
    lines = (line.split() for line in path.open(errors="replace") if line.startswith(("totals:", "summary:")))
    return max(int(words[1]) for words in lines)


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
        return {name: total(dump) for name, dump in zip(names, dumps)}


def recorded():
    lines = [line.split() for line in RECORD.read_text().splitlines() if line and not line.startswith("#")]
    return {name: int(instructions) for name, instructions in lines}


def record(found, compiler):
    lines = [f"# {compiler}, release profile: instructions of each piece; bench/instructions.py --record MILLRACE writes it."]
    lines += [f"{name:<34}{instructions:>14}" for name, instructions in found.items()]
    RECORD.write_text("\n".join(lines) + "\n")


def compare(found, before):
    failed = []
    for name, instructions in found.items():
        was = before.get(name)
        worse = was is None or instructions > was * ALLOWED
        change = "new" if was is None else f"{instructions / max(was, 1) - 1:+.1%}"
        print(f"{name:<34}{instructions:>14}{change:>9}{'  WORSE' if worse else ''}")
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
        for name, instructions in found.items():
            print(f"{name:<34}{instructions:>14}")
        print(f"{RECORD.name} is not there: nothing to compare with. bench/instructions.py --record MILLRACE writes it.", file=sys.stderr)
        return
    failed = compare(found, recorded())
    if failed:
        print(f"more than {ALLOWED - 1:.0%} worse than recorded, or not recorded: {', '.join(failed)}\n"
              "If that is the price of something, write it anew: bench/instructions.py --record MILLRACE", file=sys.stderr)
        sys.exit(1)


main()
