-- A small shop: 10,000 customers, 500 products, 50,000 orders, 150,000 order lines.
SELECT setseed(0.42) \g /dev/null
CREATE TYPE order_state AS ENUM ('placed', 'paid', 'shipped', 'returned');
CREATE TABLE customers (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    email varchar(120) NOT NULL,
    password_hash bytea NOT NULL,
    preferences jsonb,
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE customers IS 'People who ordered at least once';
COMMENT ON COLUMN customers.preferences IS 'Free-form; what the app stores';
CREATE TABLE products (id int PRIMARY KEY, sku uuid NOT NULL, title text NOT NULL, price numeric(10,2) NOT NULL, weight real);
CREATE TABLE orders (
    id bigint PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers,
    state order_state NOT NULL,
    ordered_on date NOT NULL,
    note text
);
CREATE TABLE order_lines (
    order_id bigint REFERENCES orders,
    line int,
    product_id int NOT NULL REFERENCES products,
    quantity smallint NOT NULL,
    amount numeric(12,2) NOT NULL,
    PRIMARY KEY (order_id, line)
);
CREATE TABLE audit_log (at timestamptz, what text);

INSERT INTO customers
SELECT n, 'Customer ' || n, 'customer' || n || '@example.com', decode(md5(n::text), 'hex'),
       CASE WHEN n % 3 = 0 THEN jsonb_build_object('newsletter', n % 2 = 0, 'language', (ARRAY['de', 'en', 'fr'])[1 + n % 3]) END,
       timestamptz '2020-01-01' + random() * interval '5 years'
FROM generate_series(1, 10000) n;
INSERT INTO products
SELECT n, md5('product' || n)::uuid, 'Product ' || n, (1 + random() * 200)::numeric(10,2), CASE WHEN n % 10 > 0 THEN random() * 20 END
FROM generate_series(1, 500) n;
INSERT INTO orders
SELECT n, 1 + floor(random() * 10000), (enum_range(NULL::order_state))[1 + floor(random() * 4)],
       date '2024-01-01' + floor(random() * 600)::int, CASE WHEN n % 7 = 0 THEN 'Please ring twice – thank you ☂' END
FROM generate_series(1, 50000) n;
INSERT INTO order_lines
SELECT o, l, p.id, q, p.price * q
FROM (SELECT o, l, 1 + floor(random() * 500)::int AS product, 1 + floor(random() * 5)::int AS q
      FROM generate_series(1, 50000) o, generate_series(1, 5) l WHERE l <= 1 + o % 5) x
JOIN products p ON p.id = x.product;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO app;
ANALYZE;
