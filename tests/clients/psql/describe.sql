CREATE TABLE people (id bigint PRIMARY KEY, name text NOT NULL, city varchar(20) DEFAULT 'Oslo', born date, pay numeric(10,2));
CREATE VIEW adults AS SELECT id, name FROM people WHERE born < DATE '2000-01-01';
CREATE MATERIALIZED VIEW by_city AS SELECT city, count(*) AS n, sum(pay) AS pay FROM people GROUP BY city;
CREATE INDEX by_city_n ON by_city (n);
\d
\dt
\dv
\dm
\di
\d people
\d adults
\d by_city
\dn
\z people
DESCRIBE by_city_n;
SELECT current_schema, current_user, session_user, current_catalog, current_role;
