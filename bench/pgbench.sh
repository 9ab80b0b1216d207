#!/usr/bin/env bash
# Point queries beside PostgreSQL: pgbench's select-only statement, prepared, over the same rows, one server after the other in
# alternating runs.  usage: bench/pgbench.sh MILLRACE [CLIENTS…]     ROWS, SECONDS and ROUNDS by environment
#
# Needs PostgreSQL's server programs and pgbench; both servers listen on the loopback interface, with data in temporary directories.
set -euo pipefail
millrace=$(realpath "$1"); shift
clients=("${@:-1}"); [ $# -gt 0 ] || clients=(1 16 64)
rows=${ROWS:-100000} seconds=${SECONDS_PER_RUN:-10} rounds=${ROUNDS:-3}
programs=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
directory=$(mktemp -d -t millrace-pgbench-XXXXXX)
pids=()
finish() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$directory"; }
trap finish EXIT

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
theirs=$(port) ours=$(port)

as_postgres=()
if [ "$(id -u)" = 0 ]; then chown postgres "$directory"; chmod 755 "$directory"; as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups); fi
"${as_postgres[@]}" "$programs/initdb" -D "$directory/postgres" -A trust -U bench >/dev/null
"${as_postgres[@]}" "$programs/postgres" -D "$directory/postgres" -p "$theirs" -h 127.0.0.1 -k "$directory" \
    -c shared_buffers=512MB -c max_connections=200 > "$directory/postgres.log" 2>&1 &
pids+=($!)
"$millrace" server --data-dir "$directory/millrace" --sql-addr "127.0.0.1:$ours" --http-addr 127.0.0.1:0 > "$directory/millrace.log" 2>&1 &
pids+=($!)

sql() { psql -X -q -h 127.0.0.1 -p "$1" -U bench -d "$2" "${@:3}"; }
await() { for _ in $(seq 100); do sql "$1" "$2" -c 'SELECT 1' >/dev/null 2>&1 && return; sleep 0.1; done; echo "no server at port $1" >&2; cat "$directory"/*.log >&2; exit 1; }
await "$theirs" postgres; await "$ours" bench
for server in "$theirs postgres" "$ours bench"; do
    read -r at database <<< "$server"
    sql "$at" "$database" -c 'CREATE TABLE pgbench_accounts (aid integer PRIMARY KEY, bid integer, abalance integer, filler char(84))' \
        -c "INSERT INTO pgbench_accounts SELECT i, 1, i % 1000, '' FROM generate_series(1, $rows) AS g(i)"
done
sql "$theirs" postgres -c 'VACUUM ANALYZE pgbench_accounts'

# What `pgbench -S` runs, with the number of rows given instead of asked for.
printf '\\set aid random(1, %s)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n' "$rows" > "$directory/select.sql"
run() { # run NAME PORT DATABASE CLIENTS
    local log="$directory/log" out
    rm -f "$log".*
    out=$(pgbench -n -M prepared -f "$directory/select.sql" -h 127.0.0.1 -p "$2" -U bench -c "$4" -j 2 -T "$seconds" -l --log-prefix="$log" \
        --sampling-rate=0.1 "$3" 2>"$directory/pgbench.err") || { cat "$directory/pgbench.err" >&2; exit 1; }
    local tps p99
    tps=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<< "$out")
    p99=$(cat "$log".* | awk '{ print $3 }' | sort -n | awk '{ a[NR] = $1 } END { print a[int(NR * 0.99)] / 1000 }')
    printf '%-12s%10s%12.0f%12s\n' "$1" "$4" "$tps" "$p99"
}
printf '%-12s%10s%12s%12s\n' server clients tps 'p99 ms'
for count in "${clients[@]}"; do
    for _ in $(seq "$rounds"); do
        run PostgreSQL "$theirs" postgres "$count"
        run Millrace "$ours" bench "$count"
    done
done
