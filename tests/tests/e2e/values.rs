//! Values: each type at its extremes arrives exactly, or its table is refused with the column named.

use connect_tests::compare::assert_same;
use connect_tests::postgres::{Database, Server};
use connect_tests::runtime::{Job, OK, SOME_TABLES_FAILED};

/// Makes the tables `kinds`, each type with a form of ours at its extremes, and `domains`.
pub(crate) fn with_kinds(database: &Database) {
    let nines = "9".repeat(38);
    let sixty = format!("-{}.{}", "1234567890".repeat(6), "0".repeat(30));
    database.sql_as_user(&format!(
        r#"CREATE TYPE mood AS ENUM ('so-so', 'très bien', '😀', '');
        CREATE DOMAIN price AS numeric(12,2) NOT NULL CHECK (VALUE >= 0);
        CREATE DOMAIN bargain AS price CHECK (VALUE < 10);
        CREATE TABLE kinds (id int PRIMARY KEY, b bool, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision,
            n numeric(12,2), n38 numeric(38,0), n3838 numeric(38,38), negative numeric(5,-2), small numeric(2,5),
            free numeric, wide numeric(60,30), t text, v varchar(10), c char(5), nm name, raw bytea, u uuid,
            d date, tod time, wall timestamp, inst timestamptz, inst0 timestamptz(0), j json, jb jsonb, m mood, o oid);
        CREATE TABLE domains (id bigint PRIMARY KEY, p price, q bargain);
        INSERT INTO domains VALUES (1, 0, 9.99), (2, 9999999999.99, 0.01);
        -- Nothing but NULLs, and the plainest values.
        INSERT INTO kinds (id) VALUES (1);
        INSERT INTO kinds VALUES (2, false, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', '', '', '', '', '00000000-0000-0000-0000-000000000000',
            '1970-01-01', '00:00', '1970-01-01', '1970-01-01Z', '1970-01-01Z', '0', '0', '', 0);
        -- The largest and the smallest.
        INSERT INTO kinds VALUES (3, true, 32767, 2147483647, 9223372036854775807, '3.4028235e38', '1.7976931348623157e308',
            9999999999.99, {nines}, 0.{nines}, 99999e2, 0.00099, {nines}{nines}.{nines}, {thirty}.{thirty}, repeat('x', 1000000), '0123456789',
            'abcde', repeat('n', 63), decode(repeat('00ff', 100000), 'hex'), 'ffffffff-ffff-ffff-ffff-ffffffffffff',
            '5874897-12-31', '23:59:59.999999', '294246-12-31 23:59:59.999999', '294246-12-31 23:59:59.999999Z',
            '2000-02-29 23:59:59Z', '{{"a": [1, 2.50, null]}}', '{{"a": [1, 2.50, null], "z": "\u00e9"}}', '😀', 4294967295);
        INSERT INTO kinds VALUES (4, true, -32768, -2147483648, -9223372036854775808, '-3.4028235e38', '-1.7976931348623157e308',
            -9999999999.99, -{nines}, -0.{nines}, -99999e2, -0.00099, {sixty}, -{thirty}.{thirty}, E'\u0001\t\n\r\\ "quoted" ''x''', 'ünïcödé😀', ' a',
            'n', '\xdeadbeef', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '4713-01-01 BC', '00:00:00.000001',
            '4713-11-24 00:00:00 BC', '4713-11-24 00:00:00Z BC', '0001-01-01 00:00:00Z BC', '"text"', '[]', 'très bien', 1);
        -- Special values.
        INSERT INTO kinds (id, f4, f8, free, t, c, wall, inst, j) VALUES
            (5, 'NaN', 'NaN', 'NaN', '👩‍👩‍👧‍👦 汉字 עברית', 'é', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999Z', E'{{ "spaces" :\n 1 , "spaces": 2}}'),
            (6, 'Infinity', 'Infinity', 'Infinity', 'NULL', '\N', '0001-12-31 BC', '2024-03-31 02:30:00+02', 'null'),
            (7, '-Infinity', '-Infinity', '-Infinity', '\N', '   ', '9999-12-31 23:59:59.999999', '1883-11-18 12:00:00-07:52:58', '1e400'),
            (8, '-0', '-0', 1.10000, ' ', NULL, NULL, NULL, NULL), (9, '1e-45', '5e-324', 0.000, NULL, NULL, NULL, NULL, NULL),
            (10, '0.1', '0.1', '1e-50', NULL, NULL, NULL, NULL, NULL);"#,
        thirty = "9".repeat(30),
    ));
}

#[test]
fn every_type_round_trips() {
    let database = Server::shared().database();
    with_kinds(&database);
    let job = Job::new(&database);
    job.run(&[]).expect(OK);
    let lake = job.lake();
    assert_same(&database, "kinds", &lake, "kinds");
    assert_same(&database, "domains", &lake, "domains");

    let described = lake.describe("kinds");
    let types: Vec<_> = described["fields"].as_array().unwrap().iter().map(|f| f["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        [
            "int",
            "boolean",
            "int",
            "int",
            "long",
            "float",
            "double",
            "decimal(12, 2)",
            "decimal(38, 0)",
            "decimal(38, 38)",
            "decimal(7, 0)",
            "decimal(5, 5)",
            "string",
            "string",
            "string",
            "string",
            "string",
            "string",
            "binary",
            "uuid",
            "date",
            "time",
            "timestamp",
            "timestamptz",
            "timestamptz",
            "string",
            "string",
            "string",
            "long",
        ]
    );
}

#[test]
fn a_value_without_a_place_fails_its_table_alone_and_is_named() {
    let database = Server::shared().database();
    let cases = [
        ("forever", "d date", "'infinity'"),
        ("eternal", "at timestamptz", "'-infinity'"),
        ("never", "wall timestamp", "'infinity'"),
        ("midnight", "tod time", "'24:00'"),
        ("nan", "n numeric(5,2)", "'NaN'"),
        ("beyond", "wall timestamp", "'294276-12-31 23:59:59.999999'"),
    ];
    for (table, column, value) in cases {
        database.sql_as_user(&format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, {column}); INSERT INTO {table} VALUES (1, NULL), (2, {value})"
        ));
    }
    database.sql_as_user("CREATE TABLE fine (id int PRIMARY KEY); INSERT INTO fine VALUES (1)");
    let job = Job::new(&database);
    let outcome = job.run(&[]).expect(SOME_TABLES_FAILED);
    let lake = job.lake();
    assert_same(&database, "fine", &lake, "fine");
    assert_eq!(lake.loaded_tables(), ["fine"]);
    for (table, column, _) in cases {
        let column = column.split(' ').next().unwrap();
        let status = lake.status(&format!("public.{table}")).unwrap_or_else(|| panic!("{table} has no status"));
        assert_eq!(status["load_status"], "failed", "{status:?}");
        assert!(status["error"].contains(&format!("column={column}")), "{status:?}");
        assert!(outcome.output.contains(&format!("public.{table}")), "{}", outcome.output);
    }
}
