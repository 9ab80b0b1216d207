#!/usr/bin/env bash
# Runs the .slt files against a real PostgreSQL, which is where their expected values come from, and shows what differs.
#
#   scripts/slt_against_postgres.sh [--write] [FILE.slt …]
#
# Without files it takes all. --write rewrites the expected rows and column types from PostgreSQL's answers (errors stay as
# written); read the diff before committing it. Records under `skipif postgres` are left alone. It starts a throwaway cluster.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${POSTGRES_BIN:-}
[ -n "$bin" ] || bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -x "$bin/initdb" ] || { echo "PostgreSQL's server programs are missing (apt-get install postgresql, or set POSTGRES_BIN)" >&2; exit 1; }

work=$(mktemp -d /tmp/slt-postgres.XXXXXX)
as_owner() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
[ "$(id -u)" != 0 ] || chown postgres "$work"
trap 'as_owner "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

as_owner "$bin/initdb" -D "$work/data" -U postgres -A trust --encoding=UTF8 --locale=C.UTF-8 --lc-collate=C --no-sync >/dev/null
as_owner "$bin/pg_ctl" -D "$work/data" -w -l "$work/log" \
    -o "-c listen_addresses='' -c unix_socket_directories='$work' -c fsync=off -c timezone=UTC" start >/dev/null
export PGHOST=$work PGUSER=postgres PGDATABASE=postgres PSQL=$bin/psql
python3 scripts/slt_postgres.py "$@"
