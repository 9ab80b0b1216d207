"""asyncpg_client.py PORT: asyncpg knows binary only; parameters, results, prepared statements, cursors, errors."""

import asyncio
import datetime as dt
import decimal
import sys
import uuid

import asyncpg

PORT = int(sys.argv[1])
UTC = dt.timezone.utc

VALUES = [
    ("boolean", False),
    ("smallint", 7),
    ("integer", -2147483648),
    ("bigint", 9007199254740993),
    ("real", -0.25),
    ("double precision", 1e300),
    ("numeric(20,5)", decimal.Decimal("10000.00001")),
    ("numeric(12,2)", decimal.Decimal("-0.01")),
    ("text", "naïve \u20ac"),
    ("varchar(10)", ""),
    ("bytea", b"\x00\x01"),
    ("date", dt.date(1969, 12, 31)),
    ("time", dt.time(0, 0, 0, 1)),
    ("timestamp", dt.datetime(2024, 2, 29, 12, 34, 56, 789001)),
    ("timestamptz", dt.datetime(2024, 2, 29, 12, 34, 56, tzinfo=UTC)),
    ("interval", dt.timedelta(days=1, microseconds=-1)),
    ("uuid", uuid.UUID(int=1)),
    ("json", '{"k": [1, null]}'),
    ("jsonb", '{"k": [1, null]}'),
    ("bigint[]", [1, None, -3]),
    ("text[]", ["x", None, ""]),
]


async def main():
    connection = await asyncpg.connect(host="127.0.0.1", port=PORT, user="tests", database="millrace")
    for number, (sql_type, value) in enumerate(VALUES):
        table = f"binary_{number}"
        await connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, v {sql_type})")
        await connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", 1, value)
        await connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", 2, None)
        found = await connection.fetchval(f"SELECT v FROM {table} WHERE id = $1", 1)
        assert found == value, (sql_type, found, value)
        assert await connection.fetchval(f"SELECT v FROM {table} WHERE id = $1", 2) is None
        await connection.execute(f"DROP TABLE {table}")

    await connection.execute("CREATE TABLE numbers (n int PRIMARY KEY, name text)")
    await connection.executemany("INSERT INTO numbers VALUES ($1, $2)", [(n, f"name {n}") for n in range(500)])
    statement = await connection.prepare("SELECT name FROM numbers WHERE n = $1")
    assert [p.name for p in statement.get_parameters()] == ["int4"]
    assert [a.name for a in statement.get_attributes()] == ["name"]
    for n in (0, 250, 499):
        assert await statement.fetchval(n) == f"name {n}"
    assert await statement.fetchval(500) is None

    # A cursor fetches in portions, across the portal's row limit.
    async with connection.transaction():
        seen = [record["n"] async for record in connection.cursor("SELECT n FROM numbers ORDER BY n", prefetch=70)]
    assert seen == list(range(500))

    try:
        await connection.fetch("SELECT * FROM nosuch")
    except asyncpg.UndefinedTableError as error:
        assert error.sqlstate == "42P01"
    else:
        raise AssertionError("there is no such table")

    async with connection.transaction():
        await connection.execute("DELETE FROM numbers WHERE n >= $1", 10)
    assert await connection.fetchval("SELECT count(*) FROM numbers") == 10
    await connection.close()
    print("asyncpg: fine")


asyncio.run(main())
