-- The load benchmark's tables. Variable: rows, of lineitem. wide has what makes rows heavy.
\set key 'NOT NULL'
\set order '1 + n / 4'
\set part '1 + floor(random() * 200000)'
\set quantity '1 + floor(random() * 50)'
\i scripts/lineitem.sql
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
