#!/usr/bin/env python3
"""Holds exported views against DuckDB's answers over the same files.

    millrace bench nexmark --source json-file --path DIR --export OUT
    pip install duckdb; bench/compare.py DIR OUT [QUERY…]

Rows are compared as multisets; a query that differs is shown with the first rows of each side, and the exit code is 1.
"""
import sys
import pathlib

import duckdb

BID = "auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, dateTime TIMESTAMP, extra VARCHAR"
AUCTION = ("id BIGINT, itemName VARCHAR, description VARCHAR, initialBid BIGINT, reserve BIGINT, dateTime TIMESTAMP, "
           "expires TIMESTAMP, seller BIGINT, category BIGINT, extra VARCHAR")
PERSON = ("id BIGINT, name VARCHAR, emailAddress VARCHAR, creditCard VARCHAR, city VARCHAR, state VARCHAR, "
          "dateTime TIMESTAMP, extra VARCHAR")

TEN = "time_bucket(INTERVAL '10 seconds', dateTime, TIMESTAMP '1970-01-01')"
RANKS = """count(*) FILTER (price < 10000), count(*) FILTER (price >= 10000 AND price < 1000000),
    count(*) FILTER (price >= 1000000)"""
DISTINCTS = ", ".join(
    f"count(DISTINCT {column}) {condition}" for column in ("bidder", "auction")
    for condition in ("", "FILTER (price < 10000)", "FILTER (price >= 10000 AND price < 1000000)",
                      "FILTER (price >= 1000000)"))
CHANNEL_ID = "nullif(regexp_extract(url, '(&|^)channel_id=([^&]*)', 2), '')"
VALID = ("SELECT a.*, b.auction, b.bidder, b.price, b.dateTime AS bid_time, b.extra AS bid_extra "
         "FROM auction a JOIN bid b ON a.id = b.auction AND b.dateTime BETWEEN a.dateTime AND a.expires")

# Positions of columns that are compared as numbers with a tolerance: averages, of which each system has its own digits.
AVERAGES = {"q4": [1], "q17": [8]}

QUERIES = {
    "q0": "SELECT auction, bidder, price, dateTime, extra FROM bid",
    "q1": "SELECT auction, bidder, 0.908 * price, dateTime, extra FROM bid",
    "q2": "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    "q3": """SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
             WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')""",
    "q4": f"""SELECT category, avg(final) FROM (SELECT id, category, max(price) AS final FROM ({VALID}) GROUP BY ALL)
              GROUP BY category""",
    "q5": """WITH counted AS (
                 SELECT auction, w, count(*) AS num
                 FROM (SELECT auction, unnest([time_bucket(INTERVAL '2 seconds', dateTime, TIMESTAMP '1970-01-01')
                              - to_seconds(2 * i) FOR i IN range(5)]) AS w FROM bid)
                 GROUP BY auction, w)
             SELECT auction, num FROM counted QUALIFY num = max(num) OVER (PARTITION BY w)""",
    "q7": f"""SELECT auction, price, bidder, dateTime, extra FROM bid
              JOIN (SELECT {TEN} AS start, max(price) AS most FROM bid GROUP BY ALL) ON price = most
              WHERE dateTime BETWEEN start AND start + INTERVAL '10 seconds'""",
    "q8": f"""SELECT p.id, p.name, p.w FROM (SELECT DISTINCT id, name, {TEN} AS w FROM person) p
              JOIN (SELECT DISTINCT seller, {TEN} AS w FROM auction) a ON p.id = a.seller AND p.w = a.w""",
    "q9": f"""SELECT * FROM ({VALID})
              QUALIFY rank() OVER (PARTITION BY id ORDER BY price DESC, bid_time) = 1""",
    "q10": """SELECT auction, bidder, price, dateTime, extra, strftime(dateTime, '%Y-%m-%d'), strftime(dateTime, '%H:%M')
              FROM bid""",
    "q12": f"""SELECT bidder, count(*), {TEN} AS w, w + INTERVAL '10 seconds' FROM bid GROUP BY bidder, w""",
    "q13": "SELECT auction, bidder, price, dateTime, 'value of ' || auction % 10000 FROM bid",
    "q14": """SELECT auction, bidder, 0.908 * price,
                     CASE WHEN hour(dateTime) BETWEEN 8 AND 18 THEN 'dayTime'
                          WHEN hour(dateTime) <= 6 OR hour(dateTime) >= 20 THEN 'nightTime' ELSE 'otherTime' END,
                     dateTime, extra, length(extra) - length(replace(extra, 'c', ''))
              FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000""",
    "q15": f"SELECT strftime(dateTime, '%Y-%m-%d') AS d, count(*), {RANKS}, {DISTINCTS} FROM bid GROUP BY d",
    "q16": f"""SELECT channel, strftime(dateTime, '%Y-%m-%d') AS d, max(strftime(dateTime, '%H:%M')), count(*), {RANKS},
                      {DISTINCTS} FROM bid GROUP BY channel, d""",
    "q17": f"""SELECT auction, strftime(dateTime, '%Y-%m-%d') AS d, count(*), {RANKS}, min(price), max(price), avg(price),
                      sum(price) FROM bid GROUP BY auction, d""",
    "q20": """SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.dateTime, b.extra, a.itemName, a.description,
                     a.initialBid, a.reserve, a.dateTime, a.expires, a.seller, a.category, a.extra
              FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10""",
    "q21": f"""SELECT auction, bidder, price, channel,
                      CASE lower(channel) WHEN 'apple' THEN '0' WHEN 'google' THEN '1' WHEN 'facebook' THEN '2'
                           WHEN 'baidu' THEN '3' ELSE {CHANNEL_ID} END
               FROM bid WHERE {CHANNEL_ID} IS NOT NULL OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')""",
    "q22": """SELECT auction, bidder, price, channel, split_part(url, '/', 4), split_part(url, '/', 5), split_part(url, '/', 6)
              FROM bid""",
}


def source(table, columns, directory):
    types = ", ".join("{}: '{}'".format(*column.split(" ")) for column in columns.split(", "))
    return f"""CREATE VIEW {table} AS SELECT * FROM read_json('{directory}/{table}/*.jsonl', format = 'newline_delimited',
               columns = {{{types}}})"""


def compare(connection, query, exported):
    expected = connection.execute(f"DESCRIBE {QUERIES[query]}").fetchall()
    averages = AVERAGES.get(query, [])
    types = [row[1] for row in expected]
    names = [f"c{i}" for i in range(len(types))]
    cast = ["round(c{0}::DOUBLE, 3)".format(i) if i in averages else f"c{i}" for i in range(len(types))]
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in zip(names, types))
    connection.execute(f"""CREATE OR REPLACE TEMP TABLE ours AS SELECT {', '.join(cast)} FROM
        read_csv('{exported}', header = true, columns = {{{columns}}}, nullstr = '\\N', parallel = false)""")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE theirs AS SELECT {', '.join(cast)} FROM ({QUERIES[query]}) t({', '.join(names)})")
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("ours", "theirs")]
    only = [connection.execute(f"SELECT * FROM {a} EXCEPT ALL SELECT * FROM {b} LIMIT 3").fetchall()
            for a, b in (("ours", "theirs"), ("theirs", "ours"))]
    same = counts[0] == counts[1] and not any(only)
    print(f"{query:<5}{counts[0]:>10} rows, {'as in DuckDB' if same else f'DuckDB has {counts[1]}'}")
    for side, rows in zip(("Millrace", "DuckDB"), only):
        for row in rows:
            print(f"      only in {side}: {row}")
    return same


def main():
    directory, exported = map(pathlib.Path, sys.argv[1:3])
    connection = duckdb.connect()
    for table, columns in (("bid", BID), ("auction", AUCTION), ("person", PERSON)):
        connection.execute(source(table, columns, directory))
    wanted = sys.argv[3:] or [query for query in QUERIES if (exported / f"{query}.csv").exists()]
    results = [compare(connection, query, exported / f"{query}.csv") for query in wanted]
    sys.exit(0 if results and all(results) else 1)


main()
