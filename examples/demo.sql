-- What `millrace demo` runs. By hand: have topics `orders` and `payments` on a broker at localhost:9092, then
--   psql -h 127.0.0.1 -p 6565 -f examples/demo.sql

-- Events, as they come. Two seconds of disorder are normal here, so the watermark stays five behind.
CREATE SOURCE orders (
    order_id   BIGINT,
    customer   TEXT,
    product    TEXT,
    amount     NUMERIC(12,2),
    ordered_at TIMESTAMPTZ,
    WATERMARK FOR ordered_at AS ordered_at - INTERVAL '5 seconds'
) WITH (connector = 'kafka', brokers = 'localhost:9092', topic = 'orders', format = 'json');

CREATE SOURCE payments (
    order_id BIGINT,
    method   TEXT,
    paid     NUMERIC(12,2),
    paid_at  TIMESTAMPTZ
) WITH (connector = 'kafka', brokers = 'localhost:9092', topic = 'payments', format = 'json');

-- A windowed view: it changes with every order.
CREATE MATERIALIZED VIEW revenue_per_minute AS
SELECT window_start, customer, count(*) AS orders, sum(amount) AS revenue
FROM TUMBLE(orders, ordered_at, INTERVAL '1 minute')
GROUP BY window_start, customer;

-- A view over that view.
CREATE MATERIALIZED VIEW top_customers AS
SELECT customer, sum(orders) AS orders, sum(revenue) AS revenue, max(revenue) AS best_minute
FROM revenue_per_minute
GROUP BY customer;

-- A join of two streams, and an index, so that one order is found without a scan.
CREATE MATERIALIZED VIEW paid_orders AS
SELECT o.order_id, o.customer, o.product, o.amount, p.method, p.paid_at
FROM orders o JOIN payments p ON p.order_id = o.order_id;

CREATE INDEX paid_orders_by_order ON paid_orders (order_id);

-- And back out: every change of top_customers, exactly once, keyed by customer.
CREATE SINK customer_totals FROM top_customers
WITH (connector = 'kafka', brokers = 'localhost:9092', topic = 'customer-totals', format = 'json');
