CREATE SOURCE orders (order_id bigint, customer text, amount numeric(12,2), ordered_at timestamptz, WATERMARK FOR ordered_at AS ordered_at - INTERVAL '5 seconds')
  WITH (connector = 'generator', kind = 'orders', table = 'orders', events = 10);
CREATE SOURCE payments (payment_id bigint, order_id bigint, amount numeric(12,2), paid_at timestamptz)
  WITH (connector = 'generator', kind = 'orders', table = 'payments', events = 10);
CREATE MATERIALIZED VIEW per_customer AS SELECT customer, count(*) AS n FROM orders GROUP BY customer;
CREATE MATERIALIZED VIEW paid AS SELECT DISTINCT o.customer, p.amount FROM orders o JOIN payments p USING (order_id);
CREATE MATERIALIZED VIEW minutes WITH (retention = '7 days') AS
  SELECT window_end, customer, sum(amount) AS total FROM TUMBLE(orders, ordered_at, INTERVAL '1 minute') GROUP BY window_end, customer;
EXPLAIN per_customer;
EXPLAIN minutes;
CREATE MATERIALIZED VIEW v WITH (retension = '7 days') AS SELECT 1;
CREATE MATERIALIZED VIEW v WITH (retention = 'a week or so') AS SELECT ordered_at FROM orders;
CREATE MATERIALIZED VIEW v WITH (retention = '7 days') AS SELECT customer FROM orders;
CREATE MATERIALIZED VIEW v WITH (retention = '7 days', retention_column = 'customer') AS SELECT customer, ordered_at FROM orders;
SHOW CREATE minutes;
