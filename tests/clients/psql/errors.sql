CREATE TABLE customers (customer_id int PRIMARY KEY, full_name text);
SELECT * FROM customer;
SELECT full_nam FROM customers;
SELECT * FORM customers;
SELECT upper(full_name, 1) FROM customers;
SELECT full_name
  FROM customers
 WHERE nosuch = 1;
INSERT INTO customers VALUES (1, 'Ann'), (1, 'Bob');
INSERT INTO customers VALUES (NULL, 'Ann');
SELECT 1/0;
CREATE SOURCE s (a int) WITH (connector = 'kafka', broker = 'localhost:9092', topic = 't', format = 'json');
CREATE MATERIALIZED VIEW ranked AS SELECT sum(DISTINCT customer_id) OVER () FROM customers;
DROP TABLE nosuch;
CREATE VIEW v AS SELECT full_name FROM customers;
DROP TABLE customers;
SET no_such_setting = 1;
