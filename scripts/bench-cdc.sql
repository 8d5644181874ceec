-- The table of the benchmark of change data capture: lineitem with a key of one number. Variable: rows. A row's part and
-- quantity follow from its key: the generator of events (tests/examples/events/) knows them.
\set key 'PRIMARY KEY'
\set order n
\set part '1 + n * 7919 % 200000'
\set quantity '1 + n * 31 % 50'
\i scripts/lineitem.sql
GRANT SELECT ON lineitem TO app;
