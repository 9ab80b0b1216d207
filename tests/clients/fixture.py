"""The table that the client scripts use, in SQL that PostgreSQL and Millrace both take."""

DROP = "DROP TABLE IF EXISTS orders CASCADE"
CREATE = """CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, amount numeric(12,2), status varchar(20) DEFAULT 'open',
  placed_at timestamp NOT NULL, flag boolean, d date, t time, iv interval, uid uuid, raw bytea, r real, dp double precision, si smallint, i int)"""


def rows():
    """A hundred INSERTs' worth of values, the same every time."""
    for g in range(1, 101):
        yield (
            f"({g}, {1 + g % 20}, {g * 1.5:.2f}, 'open', timestamp '2026-01-01 00:00:00.25' + interval '{g} minutes', {g % 2 == 0}, "
            "'2024-01-01', '10:00', '1 day 02:03:04', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\\xdeadbeef', 1.5, 2.5, 3, 4)"
        )


def statements():
    return [DROP, CREATE, "INSERT INTO orders VALUES " + ", ".join(rows())]
