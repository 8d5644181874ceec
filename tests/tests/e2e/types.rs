//! Types without a binary form of ours, arrays, and what the operator may choose of them.

use connect_tests::compare::{assert_rows, assert_same, difference, source_rows};
use connect_tests::lake::{ENGINES, Engine, Lake};
use connect_tests::not_run;
use connect_tests::postgres::{Database, Server};
use connect_tests::runtime::{Job, OK, SOME_TABLES_FAILED};

/// The Iceberg types of a table's columns, as PyIceberg names them.
fn types(lake: &Lake, table: &str) -> Vec<String> {
    let described = lake.describe(table);
    described["fields"].as_array().unwrap().iter().map(|f| f["type"].as_str().unwrap().to_owned()).collect()
}

/// Every type whose values are the text that the server prints, each with its extremes.
const TEXTS: &[(&str, &[&str])] = &[
    (
        "interval",
        &[
            "'178000000 years'",
            "'-178000000 years'",
            "'1 year -2 mons 3 days -04:05:06.789'",
            "'0'",
            "'2562047788:00:54.775807'",
        ],
    ),
    ("interval(0)", &["'1.5 seconds'"]),
    ("timetz", &["'00:00:00+15:59:59'", "'24:00:00-15:59:59'", "'12:34:56.789-08'"]),
    ("money", &["'92233720368547758.07'", "'-92233720368547758.08'", "0"]),
    ("xml", &["'<a b=\"c\">ü &amp; 😀</a>'", "'text'"]),
    ("bit(3)", &["B'101'"]),
    ("bit varying", &["B''", "B'0000000000000000001'"]),
    ("inet", &["'10.1.2.3'", "'10.1.2.3/8'", "'::ffff:1.2.3.4/128'", "'2001:db8::1/64'"]),
    ("cidr", &["'10.0.0.0/8'", "'::/0'", "'1.2.3.4'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("point", &["'(0.1,-1e300)'", "'(NaN,Infinity)'"]),
    ("line", &["'{1,2,3}'"]),
    ("lseg", &["'[(1,2),(3,4)]'"]),
    ("box", &["'(3,4),(1,2)'"]),
    ("path", &["'[(1,2),(3,4)]'", "'((1,2),(3,4))'"]),
    ("polygon", &["'((0,0),(1,0.3333333333333333),(1,1))'"]),
    ("circle", &["'<(1,2),3>'"]),
    ("tsvector", &["'''a b'':1A,3B c'", "''"]),
    ("tsquery", &["'a & !(b | c:*) <2> d'"]),
    ("int4range", &["'empty'", "'(,)'", "'[1,5]'"]),
    ("numrange", &["'[1.10,2.200)'", "'(-infinity,NaN]'"]),
    ("tstzrange", &["'[2000-01-01 12:00-05,infinity)'", "'(,0044-03-15 12:00Z BC]'"]),
    ("daterange", &["'[2024-02-29,)'"]),
    ("int8multirange", &["'{}'", "'{[1,3),[7,9223372036854775807)}'"]),
    ("pg_lsn", &["'0/0'", "'FFFFFFFF/FFFFFFFF'"]),
    ("regclass", &["'pg_class'", "'public.\"Odd Table\"'", "4294967295"]),
    ("regtype", &["'integer'", "'public.pair'"]),
    ("regproc", &["'pg_catalog.now'"]),
    ("xid8", &["'18446744073709551615'"]),
    ("pg_snapshot", &["'10:20:10,14'"]),
    ("\"char\"", &["'x'", "''"]),
    ("jsonpath", &["'$.a[*] ? (@ > 1)'"]),
    ("tid", &["'(4294967295,65535)'"]),
    ("int2vector", &["'1 2 3'"]),
    ("public.pair", &["'(1,\"a \"\"b\"\", c\")'", "'(,)'", "ROW(2, NULL)"]),
    ("public.nested", &["ROW(ROW(1, 'x')::public.pair, ARRAY[1,NULL], '2000-01-01 00:00-05'::timestamptz)"]),
    ("public.known", &["'(7,seven)'"]),
    ("public.hstore", &["'a=>1, b=>NULL, \"c d\"=>\"\\\"\"'", "''"]),
    ("public.citext", &["'MiXeD ß'"]),
    ("public.ltree", &["'Top.Science.Astronomy'"]),
    ("public.seg_of", &["'[1,3)'"]),
];

/// Makes the table `texts` of them, and `lists` of arrays of them.
pub(crate) fn with_texts(database: &Database) {
    database.sql("CREATE EXTENSION hstore SCHEMA public; CREATE EXTENSION citext SCHEMA public; CREATE EXTENSION ltree SCHEMA public");
    database.sql_as_user(
        "CREATE TABLE \"Odd Table\" (id int);
         CREATE TYPE pair AS (a int, b text); CREATE TYPE nested AS (p pair, l int[], t timestamptz);
         CREATE DOMAIN known AS pair CHECK ((VALUE).a > 0);
         CREATE DOMAIN seg_of AS int4range",
    );
    let mut sql = "SET search_path = public; ".to_owned();
    let columns: Vec<_> = TEXTS.iter().enumerate().map(|(i, (kind, _))| format!("c{i} {kind}")).collect();
    sql += &format!("CREATE TABLE texts (id int PRIMARY KEY, {}); INSERT INTO texts VALUES (0);", columns.join(", "));
    let most = TEXTS.iter().map(|(_, values)| values.len()).max().unwrap();
    for row in 0..most {
        let values: Vec<_> = TEXTS.iter().map(|(_, values)| *values.get(row).unwrap_or(&"NULL")).collect();
        sql += &format!("INSERT INTO texts VALUES ({}, {});", row + 1, values.join(", "));
    }
    // Whoever connects may have other habits.
    sql += "ALTER ROLE app SET datestyle = 'SQL, DMY'; ALTER ROLE app SET intervalstyle = 'sql_standard';
         ALTER ROLE app SET timezone = 'Asia/Kathmandu'; ALTER ROLE app SET extra_float_digits = -5;
         ALTER ROLE app SET bytea_output = 'escape'; ALTER ROLE app SET search_path = public;";
    database.sql(&sql.replace("ALTER ROLE app SET", &format!("ALTER ROLE app IN DATABASE {} SET", database.name)));
    // In arrays too.
    let lists: Vec<_> = columns.iter().map(|c| format!("{c}[]")).collect();
    // An aggregate takes int2vector for an array, and makes one of two dimensions.
    let value = |(i, c): (usize, &String)| match c.ends_with("int2vector") {
        true => "ARRAY[NULL, '1 2 3']::int2vector[]".to_owned(),
        false => format!("array_agg(c{i} ORDER BY id)"),
    };
    let values: Vec<_> = columns.iter().enumerate().map(value).collect();
    database.sql(&format!(
        "SET search_path = public; CREATE TABLE lists (id int PRIMARY KEY, {}); INSERT INTO lists VALUES (0);
         INSERT INTO lists SELECT 1, {} FROM texts; GRANT SELECT ON texts, lists TO app",
        lists.join(", "),
        values.join(", ")
    ));
}

#[test]
fn every_other_type_is_the_text_that_the_server_prints() {
    let database = Server::shared().database();
    with_texts(&database);
    let job = Job::new(&database).source("table.include.list", "public\\.(texts|lists)");
    job.run(&[]).expect(OK);
    let lake = job.lake();
    assert_same(&database, "texts", &lake, "texts");
    assert_same(&database, "lists", &lake, "lists");
    assert!(types(&lake, "texts")[1..].iter().all(|t| t == "string"));
    assert!(types(&lake, "lists")[1..].iter().all(|t| t == "list<string>"));
    let shown = |c: usize| source_rows(&database, "texts").rows[3][c + 1].clone().unwrap();
    assert_eq!(shown(0), "10 mons 3 days -04:05:06.789", "what was compared is what is documented");

    // The twin: one value that differs is found.
    let mut other = source_rows(&database, "texts");
    other.rows[3][1] = other.rows[3][1].take().map(|t| t.replace("789", "788"));
    for engine in ENGINES {
        assert!(difference(&other, &lake.rows(engine, "texts").unwrap()).is_some());
    }
}

/// Makes the table `arrays`, of lists and lists of lists.
pub(crate) fn with_arrays(database: &Database) {
    database.sql_as_user(
        "CREATE TYPE mood AS ENUM ('sad', 'so, \"so\"');
         CREATE DOMAIN price AS numeric(7,2) CHECK (VALUE > 0); CREATE DOMAIN tags AS text[];
         CREATE DOMAIN grid AS int[][];
         CREATE TABLE arrays (id int PRIMARY KEY, b bool[], i2 int2[], i4 int[], i8 bigint[], f4 real[], f8 float8[],
            n numeric(38,4)[], free numeric[], t text[], c char(3)[], by bytea[], u uuid[], d date[], tm time[],
            ts timestamp[], tz timestamptz[], j jsonb[], m mood[], p price[], tg tags, tgs tags[], g grid,
            g2 float8[][], g3 text[][][], bx box[][], required int[] NOT NULL DEFAULT '{}');
         INSERT INTO arrays (id) VALUES (1);
         INSERT INTO arrays VALUES (2, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
            '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
         INSERT INTO arrays VALUES (3, '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}',
            '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}',
            '{NULL}', '{{NULL}}', '{{NULL}}', '{{{NULL}}}', '{{NULL}}', '{NULL}');
         INSERT INTO arrays VALUES (4, '{t,f,NULL}', '{-32768,32767}', '{-2147483648,NULL,2147483647}', '{9223372036854775807}',
            '{NaN,-0,1e-45}', '{NaN,-0,Infinity,5e-324}', '{-9999999999999999999999999999999999.9999,0.0001}', '{NaN,1e60,-0.00}',
            '{\"\",\"NULL\",NULL,\"a,b\",\"{}\",\"\\\"\",\"\\\\\",\" x \",ünï😀}', '{a,ab}', '{\"\\\\x00ff\",\"\\\\x\"}',
            '{00112233-4455-6677-8899-aabbccddeeff,NULL}', '{4713-01-01 BC,5874897-12-31}', '{23:59:59.999999}',
            '{0044-03-15 BC,294246-12-31 23:59:59.999999}', '{2024-03-31 02:30:00+02}', '{null,\"{\\\"a\\\": [1, null]}\"}',
            '{sad,\"so, \\\"so\\\"\"}', '{0.01,99999.99}', '{x,y}', ARRAY['{a,\"b c\"}','{}',NULL]::tags[], '{{1,2},{3,NULL}}',
            '{{1,2,3}}', '{{{a},{b}},{{c},{NULL}}}', '{{(1,1),(0,0);(2,2),(1,1)}}', '{7}')",
    );
}

#[test]
fn arrays_are_lists() {
    let database = Server::shared().database();
    with_arrays(&database);
    let job = Job::new(&database);
    job.run(&[]).expect(OK);
    let lake = job.lake();
    assert_same(&database, "arrays", &lake, "arrays");
    let types = types(&lake, "arrays");
    let some = [1, 7, 8, 12, 16, 21, 22, 23, 24, 25].map(|i| types[i].as_str());
    assert_eq!(
        some,
        [
            "list<boolean>",
            "list<decimal(38, 4)>",
            "list<string>",
            "list<uuid>",
            "list<timestamptz>",
            "list<string>",
            "list<list<int>>",
            "list<list<double>>",
            "list<list<list<string>>>",
            "list<list<string>>",
        ]
    );
    assert_eq!(lake.describe("arrays")["fields"][26]["required"], true);
}

#[test]
fn geometries_are_ewkb() {
    let database = Server::shared().database();
    if database.sql("SELECT count(*) FROM pg_available_extensions WHERE name = 'postgis'") == "0" {
        not_run("PostGIS is not installed");
        return;
    }
    database.sql(
        "CREATE SCHEMA \"g i s\"; CREATE EXTENSION postgis SCHEMA \"g i s\"; SET search_path = \"g i s\";
         CREATE TABLE public.places (id int PRIMARY KEY, g geometry, p geometry(PointZ, 4326), e geography, l geometry[]);
         INSERT INTO public.places VALUES (1, NULL, NULL, NULL, NULL), (2, 'POINT EMPTY', 'SRID=4326;POINT Z (1 2 3.3)', 'POINT(-110 30)',
             ARRAY['SRID=3857;LINESTRING(0 0,1 1)'::geometry]),
             (3, 'SRID=31467;POLYGON((0 0,0 1,1 1,0 0))', NULL, 'LINESTRING(1 2,3 4)', '{}');
         CREATE VIEW public.expected AS SELECT id, ST_AsEWKB(g) AS g, ST_AsEWKB(p) AS p, ST_AsEWKB(e::geometry) AS e, l::text[] AS l
             FROM public.places; GRANT USAGE ON SCHEMA \"g i s\" TO app; GRANT SELECT ON public.places TO app",
    );
    let job = Job::new(&database).source("table.include.list", "public\\.places");
    job.run(&[]).expect(OK);
    let lake = job.lake();
    assert_rows(&source_rows(&database, "expected"), &lake, "places");
    assert_eq!(types(&lake, "places")[1..], ["binary", "binary", "binary", "list<string>"]);
}

#[test]
fn arrays_of_other_dimensions_fail_their_table_or_are_text() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE deep (id int PRIMARY KEY, a int[]); INSERT INTO deep VALUES (1, '{1}'), (2, '{{1}}');
         CREATE TABLE shallow (id int PRIMARY KEY, a int[][]); INSERT INTO shallow VALUES (1, '{1}');
         CREATE TABLE shifted (id int PRIMARY KEY, a int[]); INSERT INTO shifted VALUES (1, '[0:1]={1,2}');
         CREATE TABLE printed (id int PRIMARY KEY, a inet[]); INSERT INTO printed VALUES (1, '[2:2]={::1}');
         CREATE TABLE fine (id int PRIMARY KEY, a int[]); INSERT INTO fine VALUES (1, '{1}')",
    );
    let job = Job::new(&database);
    job.run(&[]).expect(SOME_TABLES_FAILED);
    let lake = job.lake();
    assert_eq!(lake.loaded_tables(), ["fine"]);
    for table in ["deep", "shallow", "shifted", "printed"] {
        let error = lake.status(&format!("public.{table}")).unwrap()["error"].clone();
        assert!(error.contains("column=a") && error.contains("array.handling.mode=text"), "{error}");
    }
    let job = Job::new(&database).source("array.handling.mode", "text");
    job.run(&[]).expect(OK);
    let lake = job.lake();
    let rows = |table| {
        let mut rows = lake.rows(Engine::DuckDb, table).unwrap().rows;
        rows.sort();
        rows.into_iter().map(|mut r| r.remove(1).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(rows("deep"), ["{1}", "{{1}}"]);
    assert_eq!(rows("shifted"), ["[0:1]={1,2}"]);
    assert_eq!(rows("printed"), ["[2:2]={::1}"]);
    assert_eq!(rows("fine"), ["{1}"]);
}

#[test]
fn numbers_as_the_operator_chose() {
    let database = Server::shared().database();
    let sixty = "1234567890".repeat(6);
    database.sql_as_user(&format!(
        "CREATE TABLE numbers (id int PRIMARY KEY, n numeric(20,4), wide numeric(60,2), free numeric, l numeric(5,1)[]);
         INSERT INTO numbers VALUES (1, NULL, NULL, NULL, NULL), (2, 0, -0.5, 12345.678, '{{1.5,NULL}}'),
             (3, -1234567890123456.7891, {big}.99, -{small}, '{{-9999.9}}');
         CREATE VIEW as_text AS SELECT id, n::text, wide::text, free::text, l::text[] FROM numbers;
         CREATE VIEW as_double AS SELECT id, n::float8, wide::float8, free::float8, l::float8[] FROM numbers;
         CREATE VIEW as_decimal AS SELECT id, n, wide::text, free::numeric(38,10), l FROM numbers;
         CREATE VIEW free_double AS SELECT id, n, wide::text, free::float8, l FROM numbers;
         CREATE TABLE odd (id int PRIMARY KEY, free numeric); INSERT INTO odd VALUES (1, 'NaN'), (2, '-Infinity'), (3, {sixty});
         CREATE TABLE huge (id int PRIMARY KEY, free numeric); INSERT INTO huge VALUES (1, 1e400)",
        big = &sixty[..58],
        small = "0.0000000001",
    ));
    let run = |keys: &[(&str, &str)], tables: &str, code| {
        let mut job = Job::new(&database).source("table.include.list", tables);
        for (key, value) in keys {
            job = job.source(key, value);
        }
        job.run(&[]).expect(code);
        job
    };
    let cases = [
        (&[][..], "numbers", ["decimal(20, 4)", "string", "string", "list<decimal(5, 1)>"]),
        (&[("decimal.handling.mode", "string")], "as_text", ["string", "string", "string", "list<string>"]),
        (&[("decimal.handling.mode", "double")], "as_double", ["double", "double", "double", "list<double>"]),
        (
            &[("number.unconstrained", "decimal(38,10)")],
            "as_decimal",
            ["decimal(20, 4)", "string", "decimal(38, 10)", "list<decimal(5, 1)>"],
        ),
        (
            &[("number.unconstrained", "double")],
            "free_double",
            ["decimal(20, 4)", "string", "double", "list<decimal(5, 1)>"],
        ),
    ];
    for (keys, view, expected) in cases {
        let job = run(keys, "public\\.numbers", OK);
        assert_eq!(types(&job.lake(), "numbers")[1..], expected, "{keys:?}");
        assert_rows(&source_rows(&database, view), &job.lake(), "numbers");
    }
    // NaN, infinities and sixty digits have a place in text and in doubles, none in a decimal.
    for mode in ["string", "double"] {
        let job = run(&[("decimal.handling.mode", mode)], "public\\.odd", OK);
        let cast = if mode == "string" { "text" } else { "float8" };
        database.sql_as_user(&format!("CREATE VIEW odd_{mode} AS SELECT id, free::{cast} FROM odd"));
        assert_rows(&source_rows(&database, &format!("odd_{mode}")), &job.lake(), "odd");
    }
    let fails = |keys: &[(&str, &str)], table: &str| {
        let job = Job::new(&database).source("table.include.list", &format!("public\\.{table}"));
        let job = keys.iter().fold(job, |job, (key, value)| job.source(key, value));
        assert_ne!(job.run(&[]).code, Some(OK));
        let error = job.lake().status(&format!("public.{table}")).unwrap()["error"].clone();
        assert!(error.contains("column=free"), "{error}");
    };
    fails(&[("number.unconstrained", "decimal(38,10)")], "odd");
    fails(&[("decimal.handling.mode", "double")], "huge");
}

#[test]
fn infinities_become_null_when_asked() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE ends (id int PRIMARY KEY, d date NOT NULL, t timestamp, z timestamptz, l timestamptz[]);
         INSERT INTO ends VALUES (1, 'infinity', '-infinity', 'infinity', '{infinity,2000-01-01Z,-infinity}'),
             (2, '5874897-12-31', '294247-01-10 04:00:54.775806', '0044-03-15 BC', NULL);
         CREATE VIEW ended AS SELECT id, CASE WHEN id = 2 THEN d END AS d, CASE WHEN id = 2 THEN t END AS t,
             CASE WHEN id = 2 THEN z END AS z, CASE WHEN id = 1 THEN array[NULL, l[2], NULL] END AS l FROM ends;
         CREATE TABLE keyed (d date PRIMARY KEY); INSERT INTO keyed VALUES ('infinity')",
    );
    let job = Job::new(&database).source("infinity.handling.mode", "null");
    job.run(&[]).expect(SOME_TABLES_FAILED);
    let lake = job.lake();
    assert_eq!(lake.loaded_tables(), ["ends"], "a key is not made NULL");
    assert_rows(&source_rows(&database, "ended"), &lake, "ends");
    assert_eq!(lake.describe("ends")["fields"][1]["required"], false);
    assert!(lake.status("public.keyed").unwrap()["error"].contains("column=d"));
}
