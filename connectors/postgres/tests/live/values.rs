//! Values: each as it is, or its table stopped with the column named.

use connect_tests::postgres::{Server, USER};
use connector_api::ErrorKind;

use super::{plan, read, rows, source};

#[tokio::test]
async fn values_arrive_as_they_are() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TYPE mood AS ENUM ('sad', 'very happy');
         CREATE DOMAIN money_like AS numeric(10,2);
         CREATE DOMAIN nested AS money_like CHECK (VALUE > 0);
         CREATE TABLE t (
             a bool, b int2, c int4, d int8, e float4, f float8, g numeric(38,10), h numeric, i numeric(50,2),
             j text, k varchar(10), l char(5), m name, n bytea, o uuid, p date, q time, r timestamp, s timestamptz,
             u json, v jsonb, w mood, x nested, y oid, z numeric(3,5), a1 numeric(4,-2), a2 time(3),
             a3 int GENERATED ALWAYS AS (b + 1) STORED);
         SET timezone = 'America/New_York';
         INSERT INTO t VALUES
             (true, -32768, -2147483648, -9223372036854775808, 'NaN', '-Infinity',
              -9999999999999999999999999999.9999999999, '-0.000', -123456789012345678901234567890123456789012345678.90, '', 'grüß 🎈', 'ab', 'n', '\\x00ff',
              '00112233-4455-6677-8899-aabbccddeeff', '4713-01-01 BC', '00:00', '4713-01-01 00:00 BC',
              '1999-12-31 19:00:00', '{\"b\": 1,  \"a\":[]}', '{\"b\": 1,  \"a\":[]}', 'very happy', 12.3,
              4294967295, 0.00999, 123456, '23:59:59.999'),
             (false, 32767, 2147483647, 9223372036854775807, '-0', '4.9e-324', 0.0000000001, 1e30, 'NaN', E'a\\nb',
              'x', '', '', '', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '5874897-12-31', '23:59:59.999999',
              '294247-01-10 04:00:54.775806', '2000-01-01 00:00:00.000001+00', '1', 'null', 'sad', 1, 0, -0.001, -949,
              '01:02:03.0004');
         INSERT INTO t (b, h) VALUES (1, '-Infinity');
         COMMENT ON TABLE t IS 'all of them'; COMMENT ON COLUMN t.b IS 'small'",
    );
    let source = source(&database, &[]);
    let plan = plan(&*source).await;
    let schema = &plan.tables[0].schema;
    assert_eq!((schema.doc(), schema.columns()[1].doc.as_deref()), (Some("all of them"), Some("small")));
    let types: Vec<_> = schema.columns().iter().map(|c| c.source_type.as_str()).collect();
    assert_eq!(
        types,
        [
            "boolean",
            "smallint",
            "integer",
            "bigint",
            "real",
            "double precision",
            "numeric(38,10)",
            "numeric",
            "numeric(50,2)",
            "text",
            "character varying(10)",
            "character(5)",
            "name",
            "bytea",
            "uuid",
            "date",
            "time without time zone",
            "timestamp without time zone",
            "timestamp with time zone",
            "json",
            "jsonb",
            "public.mood",
            "numeric(10,2)",
            "oid",
            "numeric(3,5)",
            "numeric(4,-2)",
            "time(3) without time zone",
            "integer"
        ]
    );
    let loaded = rows(&*source, &plan, "public", "t").await;
    let first = [
        "true",
        "-32768",
        "-2147483648",
        "-9223372036854775808",
        "NaN",
        "-inf",
        "-9999999999999999999999999999.9999999999",
        "0.000",
        "-123456789012345678901234567890123456789012345678.90",
        "",
        "grüß 🎈",
        "ab   ",
        "n",
        "[0, 255]",
        "00112233445566778899aabbccddeeff",
        "-2440550",
        "0",
        "-210863520000000000",
        "946684800000000",
        "{\"b\": 1,  \"a\":[]}",
        "{\"a\": [], \"b\": 1}",
        "very happy",
        "12.30",
        "4294967295",
        "0.00999",
        "123500",
        "86399999000",
        "-32767",
    ];
    let second = [
        "false",
        "32767",
        "2147483647",
        "9223372036854775807",
        "-0.0",
        "5e-324",
        "0.0000000001",
        "1000000000000000000000000000000",
        "NaN",
        "a\nb",
        "x",
        "     ",
        "",
        "[]",
        "ffffffffffffffffffffffffffffffff",
        "2145042905",
        "86399999999",
        "9223372036854775806",
        "946684800000001",
        "1",
        "null",
        "sad",
        "1.00",
        "0",
        "-0.00100",
        "-900",
        "3723000000",
        "32768",
    ];
    assert_eq!(loaded[0], first);
    assert_eq!(loaded[1], second);
    assert_eq!(loaded[2].iter().filter(|v| *v != "NULL").collect::<Vec<_>>(), ["1", "-Infinity", "2"]);
}

#[tokio::test]
async fn values_without_equivalent_stop_their_table_by_name() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE dates (d date); INSERT INTO dates VALUES ('infinity');
         CREATE TABLE numbers (n numeric(5,2)); INSERT INTO numbers VALUES (1), ('NaN');
         CREATE TABLE stamps (s timestamptz); INSERT INTO stamps VALUES ('-infinity');
         CREATE TABLE times (t time); INSERT INTO times VALUES ('24:00');
         CREATE TABLE good (t time); INSERT INTO good VALUES ('23:00')",
    );
    let source = source(&database, &[]);
    let plan = plan(&*source).await;
    let mut seen = vec![];
    for table in &plan.tables {
        seen.push(match read(&*source, &table.splits[0]).await {
            Ok(_) => format!("{} is read", table.schema.table()),
            Err(e) => format!("{:?} {} {}", e.kind(), e.context("table").unwrap(), e.context("column").unwrap()),
        });
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "Data public.dates d",
            "Data public.numbers n",
            "Data public.stamps s",
            "Data public.times t",
            "public.good is read"
        ]
    );
}

#[tokio::test]
async fn bytes_that_are_not_text_stop_their_table_by_name() {
    let mut database = Server::shared().database();
    let name = format!("{}_ascii", database.name);
    database.sql(&format!(
        "CREATE DATABASE {name} OWNER {USER} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ));
    database.name = name;
    database.sql(&format!("CREATE TABLE t (v text); INSERT INTO t VALUES (E'\\xe9'); GRANT SELECT ON t TO {USER}"));
    let source = source(&database, &[]);
    let plan = plan(&*source).await;
    let error = read(&*source, &plan.tables[0].splits[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("table=public.t, column=v"), "{error:#}");
}
