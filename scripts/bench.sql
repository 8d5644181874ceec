-- The benchmark's tables. Variable: rows, of lineitem.
-- lineitem has TPC-H's columns, types and roughly its value distributions; wide has what makes rows heavy.
SELECT setseed(0.42) \g /dev/null
CREATE TABLE lineitem (
    l_orderkey bigint NOT NULL, l_partkey int NOT NULL, l_suppkey int NOT NULL, l_linenumber int NOT NULL,
    l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL,
    l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL,
    l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL,
    l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL
);
-- Comments are pieces of one text, as TPC-H's generator cuts them: nearly every one differs.
CREATE TEMP TABLE pool AS
SELECT substring(convert_to(string_agg(words[1 + floor(random() * 24)], ' '), 'UTF8') FROM 1 FOR 61000) AS pool
FROM generate_series(1, 12000), string_to_array(
    'furiously carefully quickly slyly blithely ironic final pending express regular special bold even silent unusual '
    || 'deposits requests accounts packages theodolites foxes instructions dependencies ideas', ' ') words;
INSERT INTO lineitem
SELECT 1 + n / 4, 1 + floor(random() * 200000), 1 + floor(random() * 10000), 1 + n % 4,
       quantity, (quantity * (900 + random() * 1200))::numeric(15,2), floor(random() * 11) / 100, floor(random() * 9) / 100,
       (ARRAY['N', 'A', 'R'])[1 + floor(random() * 3)], (ARRAY['O', 'F'])[1 + n % 2],
       shipped, shipped + floor(random() * 60)::int - 30, shipped + 1 + floor(random() * 30)::int,
       (ARRAY['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'])[1 + floor(random() * 4)],
       (ARRAY['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'])[1 + floor(random() * 7)],
       convert_from(substring(pool FROM 1 + floor(random() * 60000)::int FOR 10 + floor(random() * 34)::int), 'UTF8')
FROM (
    SELECT n, 1 + floor(random() * 50) AS quantity, date '1992-01-02' + floor(random() * 2526)::int AS shipped
    FROM generate_series(0, :rows - 1) n
) x, pool;
CREATE TABLE wide (id uuid PRIMARY KEY, amount numeric(20,4), balance numeric, document jsonb, body text, at timestamptz);
INSERT INTO wide
SELECT md5(n::text)::uuid, n / 7.0, random() * 1e9,
       jsonb_build_object('id', n, 'tags', jsonb_build_array(md5(n::text), md5((n + 1)::text)), 'score', random()),
       (SELECT string_agg(md5((n * 1000 + i)::text), ' ') FROM generate_series(1, 20 + n % 200) i), timestamptz '2024-01-01' + n * interval '1 second'
FROM generate_series(1, greatest(:rows / 60, 100)) n;
GRANT SELECT ON lineitem, wide TO app;
-- Many small tables: what a table costs besides its rows.
CREATE SCHEMA small AUTHORIZATION app;
SELECT format('CREATE TABLE small.t%s (id bigint PRIMARY KEY, name text, at timestamptz);
    INSERT INTO small.t%1$s SELECT i, ''name '' || i, now() FROM generate_series(1, 100) i; GRANT SELECT ON small.t%1$s TO app', n)
FROM generate_series(1, 500) n \gexec
