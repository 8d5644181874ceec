-- TPC-H's lineitem: its columns, types and roughly its value distributions, for the benchmarks. Variables: rows; what is
-- said of the first column (key); and by its number n a row's order, part and quantity.
SELECT setseed(0.42) \g /dev/null
CREATE TABLE lineitem (
    l_orderkey bigint :key, l_partkey int NOT NULL, l_suppkey int NOT NULL, l_linenumber int NOT NULL,
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
SELECT :order, :part, 1 + floor(random() * 10000), 1 + n % 4,
       quantity, (quantity * (900 + random() * 1200))::numeric(15,2), floor(random() * 11) / 100, floor(random() * 9) / 100,
       (ARRAY['N', 'A', 'R'])[1 + floor(random() * 3)], (ARRAY['O', 'F'])[1 + n % 2],
       shipped, shipped + floor(random() * 60)::int - 30, shipped + 1 + floor(random() * 30)::int,
       (ARRAY['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'])[1 + floor(random() * 4)],
       (ARRAY['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'])[1 + floor(random() * 7)],
       convert_from(substring(pool FROM 1 + floor(random() * 60000)::int FOR 10 + floor(random() * 34)::int), 'UTF8')
FROM (
    SELECT n, :quantity AS quantity, date '1992-01-02' + floor(random() * 2526)::int AS shipped
    FROM generate_series(0::bigint, :rows - 1) n
) x, pool;
