"""Runs .slt files through psql and compares, or with --write fills in, their expected values; see slt_against_postgres.sh."""

import glob
import os
import re
import subprocess
import sys

PSQL = os.environ.get("PSQL", "psql")
INTEGERS = {"smallint", "integer", "bigint", "oid"}
REALS = {"real", "double precision", "numeric"}
TEXTS = {"text", "character varying", "character", "name"}


class Record:
    """One statement or query of a file: lines[start:end] is its text, rows[0]:rows[1] its expected rows."""

    def __init__(self, start, head, conditions):
        self.start, self.head, self.conditions = start, head, conditions
        self.sql, self.rows = [], None

    def skipped(self):
        return any(
            (kind == "skipif" and label == "postgres") or (kind == "onlyif" and label not in ("postgres", "adhoc"))
            for kind, label in self.conditions
        )


def parse(lines):
    records, conditions, i = [], [], 0
    while i < len(lines):
        words = lines[i].split()
        if not words or words[0].startswith("#"):
            i += 1
        elif words[0] in ("skipif", "onlyif"):
            conditions.append((words[0], words[1]))
            i += 1
        elif words[0] in ("statement", "query"):
            record = Record(i, words, conditions)
            conditions = []
            i += 1
            while i < len(lines) and lines[i].strip() and lines[i].strip() != "----":
                record.sql.append(lines[i])
                i += 1
            if i < len(lines) and lines[i].strip() == "----":
                first = i = i + 1
                while i < len(lines) and lines[i].strip():
                    i += 1
                record.rows = (first, i)
            records.append(record)
        else:
            sys.exit(f"line {i + 1}: {lines[i]!r} is not understood")
    return records


def ask(records, database):
    """Every answer as (sqlstate, message, rows, types), from one psql session."""
    script = ["\\set ON_ERROR_STOP off"]
    for n, record in enumerate(records):
        if record.skipped():
            continue
        sql = "\n".join(record.sql)
        script += [f"\\echo @@begin {n}", sql, ";", f"\\echo @@end {n} :SQLSTATE :LAST_ERROR_MESSAGE"]
        if record.head[0] == "query" and re.match(r"\s*(select|with|values|table|insert|update|delete)\b", sql, re.I):
            script += [f"\\echo @@types {n}", sql, "\\gdesc", "\\echo @@done"]
    command = [PSQL, "-X", "-q", "-A", "-t", "-F", "\x1f", "-R", "\x1e\n", "-P", "null=NULL", "-d", database]
    run = subprocess.run(command, input="\n".join(script), capture_output=True, text=True, check=True)
    answers, number, buffer = {}, None, []
    for line in run.stdout.split("\n"):
        if line.startswith("@@begin "):
            number, buffer = int(line.split()[1]), []
        elif line.startswith("@@end "):
            _, _, state, *message = line.split(" ", 3)
            text = "\n".join(buffer)
            rows = [row.split("\x1f") for row in text.split("\x1e\n")] if text else []
            if rows and rows[-1] and rows[-1][-1].endswith("\x1e"):
                rows[-1][-1] = rows[-1][-1][:-1]
            answers[number] = [state, message[0] if message else "", rows, None]
        elif line.startswith("@@types "):
            buffer = []
        elif line.startswith("@@done"):
            types = [row.split("\x1f")[1] for row in "\n".join(buffer).replace("\x1e", "").split("\n") if "\x1f" in row]
            answers[number][3] = types
        else:
            buffer.append(line)
    return answers


def cell(text):
    text = " ".join(text.split())
    return text if text else "(empty)"


def letter(sql_type):
    base = re.sub(r"\(.*\)", "", sql_type)
    return "I" if base in INTEGERS else "R" if base in REALS else "T" if base in TEXTS else "?"


def check(path, write):
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    if "# only: millrace" in lines:
        return 0, []
    records = parse(lines)
    database = "slt_" + re.sub(r"\W", "_", os.path.basename(path)[:-4])
    subprocess.run([PSQL, "-X", "-q", "-c", f"CREATE DATABASE {database}"], check=True)
    answers, problems, edits = ask(records, database), [], []
    for n, record in enumerate(records):
        if n not in answers:
            continue
        state, message, rows, types = answers[n]
        where, sql = f"{path}:{record.start + 1}", " ".join(" ".join(record.sql).split())
        failed = state != "00000"
        if "error" in record.head[:2]:
            pattern = " ".join(record.head[2:])
            code = re.fullmatch(r"\(([0-9A-Z]{5})\)", pattern)
            matches = state == code[1] if code else re.search(pattern, message)
            if not failed:
                problems.append(f"{where}: no error\n    {sql}")
            elif not matches:
                problems.append(f"{where}: {state} {message}\n    {sql}")
            continue
        if failed:
            problems.append(f"{where}: {state} {message}\n    {sql}")
            continue
        if record.head[0] != "query":
            continue
        actual = [" ".join(cell(value) for value in row) for row in rows]
        sort = "rowsort" in record.head
        if sort:
            actual = [" ".join(cell(value) for value in row) for row in sorted(rows)]
        letters = "".join(letter(t) for t in types) if types else record.head[1]
        if write:
            edits.append((record, letters, actual))
            continue
        expected = [" ".join(line.split()) for line in lines[slice(*record.rows)]] if record.rows else []
        if expected != actual or letters != record.head[1]:
            shown = lambda kind, rows: "".join(f"\n    {kind} {row}" for row in rows)
            problems.append(f"{where}: {record.head[1]} here, {letters} there\n    {sql}{shown('-', expected)}{shown('+', actual)}")
    if write:
        for record, letters, actual in reversed(edits):
            end = record.rows[1] if record.rows else record.start + 1 + len(record.sql)
            head = " ".join(["query", letters, *record.head[2:]])
            lines[record.start : end] = [head, *record.sql, "----", *actual]
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
    return len(answers), problems


def main():
    arguments = sys.argv[1:]
    write = "--write" in arguments
    paths = [a for a in arguments if a != "--write"] or sorted(glob.glob("tests/sqllogictest/**/*.slt", recursive=True))
    asked, wrong = 0, 0
    for path in paths:
        count, problems = check(path, write)
        asked, wrong = asked + count, wrong + len(problems)
        print("\n".join(problems), end="\n" if problems else "")
    print(f"{asked} records of {len(paths)} files asked, {wrong} differ")
    sys.exit(1 if wrong else 0)


main()
