"""expressions.py PORT [--write]: the name, type, type modifier and value of what each expression of expressions.txt answers.

The golden file expressions.json is PostgreSQL's answer (--write, against a PostgreSQL). Expressions in GAPS are known to differ, each with its
reason; one that no longer differs is reported too, so that the list stays true.
"""

import json
import os
import re
import sys

import psycopg

import fixture

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "expressions.json")
# Their values differ from run to run, or say which server it is.
VOLATILE = ("now()", "current_", "version", "gen_random_uuid", "age(")

GAPS = {
    "select b'101'": "bit strings",
    "select 5::money": "money",
}


# SQL leaves it open which row these give: what they are called and their types count.
ANY_ROW = re.compile(r"from orders( o)?( where [^=]*)? (limit|fetch first) 1|^table orders$", re.IGNORECASE)


def ask(connection, sql):
    result = connection.pgconn.exec_(sql.encode())
    if result.error_message:
        return {"sql": sql, "error": (result.error_field(67) or b"").decode()}
    columns = [[result.fname(i).decode(), result.ftype(i), result.fmod(i)] for i in range(result.nfields)]
    value = lambda i: result.get_value(0, i)
    row = [None if value(i) is None else value(i).decode() for i in range(result.nfields)] if result.ntuples else []
    open_row = any(v in sql for v in VOLATILE) or ANY_ROW.search(sql)
    return {"sql": sql, "columns": columns, "row": None if open_row else row}


def main():
    port, write = sys.argv[1], "--write" in sys.argv
    host, user = os.environ.get("PGHOST", "127.0.0.1"), os.environ.get("PGUSER", "tests")
    connection = psycopg.connect(f"host={host} port={port} user={user} dbname={os.environ.get('PGDATABASE', 'millrace')}", autocommit=True)
    for statement in fixture.statements():
        connection.execute(statement)
    with open(os.path.join(HERE, "expressions.txt"), encoding="utf-8") as file:
        expressions = [line for line in file.read().split("\n") if line]
    answers = [ask(connection, sql) for sql in expressions]
    if write:
        with open(GOLDEN, "w", encoding="utf-8") as file:
            file.write("[\n" + ",\n".join(json.dumps(a, ensure_ascii=False) for a in answers) + "\n]\n")
        return
    with open(GOLDEN, encoding="utf-8") as file:
        golden = {g["sql"]: g for g in json.load(file)}
    for sql in filter(ANY_ROW.search, golden):
        golden[sql]["row"] = None
    wrong = 0
    for answer in answers:
        sql, same = answer["sql"], answer == golden[answer["sql"]]
        if same and sql in GAPS:
            wrong += 1
            print(f"{sql}\n  is right now: take it off the list of gaps")
        elif not same and sql not in GAPS:
            wrong += 1
            print(f"{sql}\n  PostgreSQL {golden[sql]}\n  Millrace   {answer}")
    print(f"{len(answers)} expressions asked, {len(GAPS)} known gaps, {wrong} wrong")
    sys.exit(1 if wrong else 0)


main()
