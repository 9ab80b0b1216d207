CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'one'), (2, NULL), (3, 'three') RETURNING id, v;
UPDATE t SET v = 'two' WHERE id = 2;
DELETE FROM t WHERE id > 5;
INSERT INTO t VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING *;
\x
SELECT * FROM t ORDER BY id LIMIT 2;
\x
BEGIN;
DELETE FROM t;
SELECT count(*) FROM t;
ROLLBACK;
SELECT count(*) FROM t;
PREPARE by_id (int) AS SELECT v FROM t WHERE id = $1;
EXECUTE by_id (3);
DEALLOCATE by_id;
SHOW server_version;
SET timezone = 'America/New_York';
SELECT TIMESTAMPTZ '2024-07-01 12:00:00Z';
\gdesc
SELECT set_config('timezone', 'Asia/Tokyo', false);
SELECT TIMESTAMPTZ '2024-07-01 12:00:00Z';
SELECT set_config('statement_timout', '1s', false);
SELECT 2147483647 + 1;
