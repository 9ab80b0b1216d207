"""psycopg3.py PORT: parameters and results in both formats, prepared statements, errors, transactions, server-side cursors."""

import datetime as dt
import decimal
import sys
import uuid

import psycopg
from psycopg.rows import dict_row

PORT = sys.argv[1]
DSN = f"host=127.0.0.1 port={PORT} user=tests dbname=millrace"
UID = uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
UTC = dt.timezone.utc

VALUES = [
    ("boolean", True),
    ("smallint", -32768),
    ("integer", 2147483647),
    ("bigint", -9223372036854775808),
    ("real", 1.5),
    ("double precision", 0.1),
    ("double precision", float("inf")),
    ("numeric(20,5)", decimal.Decimal("-123456789.12345")),
    ("numeric(12,2)", decimal.Decimal("0.05")),
    ("text", "é 'quoted' \\ \u20ac"),
    ("varchar(10)", "short"),
    ("bytea", b"\x00\xff\\"),
    ("date", dt.date(2024, 2, 29)),
    ("date", dt.date(1, 1, 1)),
    ("time", dt.time(23, 59, 59, 999999)),
    ("timestamp", dt.datetime(2024, 2, 29, 12, 34, 56, 789000)),
    ("timestamptz", dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ("interval", dt.timedelta(days=3, hours=4, seconds=5, microseconds=6)),
    ("uuid", UID),
    ("integer[]", [1, None, 3]),
    ("text[]", ["a", 'b "c"', None, ""]),
]


def types(connection):
    """Each type as a column, a parameter and a result, with text and binary results."""
    for number, (sql_type, value) in enumerate(VALUES):
        table = f"types_{number}"
        connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, v {sql_type})")
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                parameter = "%b" if binary else "%t"
                cursor.execute(f"INSERT INTO {table} VALUES (%s, {parameter}) RETURNING v", (int(binary), value))
                assert cursor.fetchone() == (value,), (sql_type, binary, value)
                cursor.execute(f"SELECT v FROM {table} WHERE id = %s", (int(binary),))
                found = cursor.fetchone()[0]
                assert found == value, (sql_type, binary, found, value)
                cursor.execute(f"INSERT INTO {table} VALUES (%s, {parameter}) RETURNING v", (2 + int(binary), None))
                assert cursor.fetchone() == (None,)
        connection.execute(f"DROP TABLE {table}")


def queries(connection):
    connection.execute("CREATE TABLE sales (id bigint PRIMARY KEY, region text, amount numeric(10,2), at timestamptz)")
    connection.execute(
        "CREATE MATERIALIZED VIEW totals AS SELECT region, count(*) AS n, sum(amount) AS total FROM sales GROUP BY region"
    )
    with connection.cursor() as cursor:
        rows = [(i, f"r{i % 3}", decimal.Decimal(i) / 4, dt.datetime(2026, 1, 1, tzinfo=UTC)) for i in range(300)]
        cursor.executemany("INSERT INTO sales VALUES (%s, %s, %s, %s)", rows)
    # The view has it as soon as INSERT has returned, and a point query by the group's key finds it.
    query = "SELECT n, total FROM totals WHERE region = %s"
    for _ in range(10):
        for region in range(3):
            row = connection.execute(query, (f"r{region}",), prepare=True).fetchone()
            expected = sum((r[2] for r in rows if r[1] == f"r{region}"), decimal.Decimal(0))
            assert row == (100, expected), row
    assert connection.execute(query, ("nosuch",), prepare=True).fetchone() is None
    many = connection.execute("SELECT id FROM sales WHERE id = ANY(%s) ORDER BY id", ([5, 7, 999],)).fetchall()
    assert many == [(5,), (7,)], many
    limited = connection.execute("SELECT id FROM sales ORDER BY id LIMIT %s OFFSET %s", (2, 10)).fetchall()
    assert limited == [(10,), (11,)], limited
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SELECT region, max(id) AS last FROM sales GROUP BY region ORDER BY region LIMIT 1")
        assert cursor.fetchone() == {"region": "r0", "last": 297}
        assert cursor.description[1].name == "last"


def errors(connection):
    for sql, state in [
        ("SELECT * FROM nosuch", "42P01"),
        ("SELECT nosuch FROM sales", "42703"),
        ("SELEC 1", "42601"),
        ("SELECT 1/0", "22012"),
        ("INSERT INTO sales VALUES (1)", "23505"),
    ]:
        try:
            connection.execute(sql)
        except psycopg.Error as error:
            assert error.sqlstate == state, (sql, error.sqlstate, str(error))
        else:
            raise AssertionError(f"{sql} should have failed")
    try:
        connection.execute("SELECT amount, nosuch FROM sales")
    except psycopg.Error as error:
        assert error.diag.statement_position == "16", error.diag.statement_position
        assert 'column "nosuch" does not exist' in error.diag.message_primary


def transactions():
    with psycopg.connect(DSN) as connection:
        connection.execute("INSERT INTO sales VALUES (1000, 'tx', 1, now())")
        assert connection.info.transaction_status.name == "INTRANS"
        assert connection.execute("SELECT count(*) FROM sales WHERE id = 1000").fetchone() == (1,)
        connection.rollback()
        assert connection.execute("SELECT count(*) FROM sales WHERE id = 1000").fetchone() == (0,)
        connection.execute("INSERT INTO sales VALUES (1001, 'tx', 1, now())")
        connection.commit()
        assert connection.execute("SELECT n FROM totals WHERE region = 'tx'").fetchone() == (1,)
        try:
            connection.execute("SELECT nosuch")
        except psycopg.Error:
            pass
        try:
            connection.execute("SELECT 1")
        except psycopg.errors.InFailedSqlTransaction:
            pass
        else:
            raise AssertionError("a failed transaction takes no statements")
        connection.rollback()


def subscription():
    """SUBSCRIBE sends what is there, then changes as they commit."""
    with psycopg.connect(DSN, autocommit=True) as writer, psycopg.connect(DSN, autocommit=True) as reader:
        cursor = reader.cursor()
        stream = cursor.stream("SUBSCRIBE TO totals")
        first = [next(stream) for _ in range(4)]
        assert len(first) == 4, first
        writer.execute("INSERT INTO sales VALUES (2000, 'live', 7, now())")
        row = next(stream)
        assert "live" in row, row
        stream.close()


def emit_changes():
    """A query that filters and computes is followed as a relation is."""
    with psycopg.connect(DSN, autocommit=True) as writer, psycopg.connect(DSN, autocommit=True) as reader:
        writer.execute("CREATE TABLE followed (id int PRIMARY KEY, v int)")
        writer.execute("INSERT INTO followed VALUES (1, 10), (2, 20)")
        stream = reader.cursor().stream("SELECT id, v * 2 AS double FROM followed WHERE v > 10 EMIT CHANGES")
        assert next(stream)[1:] == (1, 2, 40)
        writer.execute("INSERT INTO followed VALUES (3, 5), (4, 30)")
        assert next(stream)[1:] == (1, 4, 60)
        writer.execute("DELETE FROM followed WHERE id = 2")
        assert next(stream)[1:] == (-1, 2, 40)
        stream.close()
        stream = reader.cursor().stream("SELECT v > 10 AS big, count(*) AS n FROM followed GROUP BY 1 EMIT CHANGES")
        assert {next(stream)[1:] for _ in range(2)} == {(1, False, 2), (1, True, 1)}
        writer.execute("DELETE FROM followed WHERE id = 4")
        assert next(stream)[1:] == (-1, True, 1)
        stream.close()


def named_cursors():
    """A cursor of the server, whose portal the driver describes."""
    with psycopg.connect(DSN) as connection, connection.cursor(name="numbers") as cursor:
        cursor.itersize = 3
        cursor.execute("SELECT generate_series(1, 10) AS n")
        assert [column.name for column in cursor.description] == ["n"]
        assert [n for (n,) in cursor] == list(range(1, 11))


with psycopg.connect(DSN, autocommit=True) as main:
    types(main)
    queries(main)
    errors(main)
transactions()
subscription()
emit_changes()
named_cursors()
print("psycopg 3: fine")
