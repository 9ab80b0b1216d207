-- The side table of q13.
CREATE TABLE side_input (key BIGINT PRIMARY KEY, value TEXT);
INSERT INTO side_input SELECT i, 'value of ' || i FROM generate_series(0, 9999) AS t(i);
