//! The shape of tables: partition specs, format versions, properties, codecs and encodings, and the replacement
//! of tables that another program shaped.

use connect_tests::compare::assert_same;
use connect_tests::lake::Pruned;
use connect_tests::postgres::{Database, Server};
use connect_tests::runtime::{Job, OK, SOME_TABLES_FAILED};

/// Columns and the transforms that their types take.
const PARTITIONED: [(&str, &[&str]); 12] = [
    ("flag bool", &["identity"]),
    ("i int", &["identity", "bucket", "truncate"]),
    ("l bigint", &["identity", "bucket", "truncate"]),
    ("n numeric(12,2)", &["identity", "bucket", "truncate"]),
    ("w numeric(38,10)", &["bucket", "truncate"]),
    ("t text", &["identity", "bucket", "truncate"]),
    ("u uuid", &["bucket"]),
    ("raw bytea", &["identity", "bucket", "truncate"]),
    ("d date", &["identity", "bucket", "year", "month", "day"]),
    ("tod time", &["identity", "bucket"]),
    ("wall timestamp", &["identity", "bucket", "year", "month", "day", "hour"]),
    ("inst timestamptz", &["identity", "bucket", "year", "month", "day", "hour"]),
];

/// What is wrong with the answers to a table's filters.
fn misled(table: &str, answers: &[Pruned]) -> Option<String> {
    let wrong = answers.iter().find(|a| a.found != [a.expected; 2] || a.planned > a.files || a.expected == 0);
    // At least one value must lie in fewer files than all: else the partitions told the reader nothing.
    let pruned = answers.iter().any(|a| a.planned < a.files);
    match wrong {
        Some(answer) => Some(format!("{table}: {answer:?}")),
        None => (!pruned).then(|| format!("{table}: no filter reads fewer files: {answers:?}")),
    }
}

#[test]
fn a_wrong_answer_to_a_filter_is_caught() {
    let good = Pruned { value: "1".into(), expected: 2, found: [2, 2], planned: 1, files: 3 };
    assert_eq!(misled("t", std::slice::from_ref(&good)), None);
    for bad in [
        Pruned { found: [1, 2], ..good.clone() },
        Pruned { found: [2, 3], ..good.clone() },
        Pruned { planned: 3, ..good.clone() },
        Pruned { expected: 0, found: [0, 0], ..good.clone() },
    ] {
        assert!(misled("t", std::slice::from_ref(&bad)).is_some(), "{bad:?}");
    }
}

/// Makes the table `rows` and copies of it, and a job that partitions each copy another way: the job, and the
/// copies' names with the column that each is partitioned by.
pub(crate) fn partitioned(database: &Database) -> (Job, Vec<(String, &'static str)>) {
    let columns: Vec<&str> = PARTITIONED.iter().map(|(column, _)| *column).collect();
    database.sql_as_user(&format!(
        "CREATE TABLE rows (id int PRIMARY KEY, {});
         INSERT INTO rows SELECT n, n % 2 = 0, n * 7 - 20, n * 7000000000 - 20000000000, n * 3.5 - 20, n * 1e20 - 3e20,
            (ARRAY['é/ü=%', '', 'a b', '..', '汉字汉字汉', 'null'])[1 + n % 6] || CASE n % 3 WHEN 0 THEN '' ELSE repeat('x', n) END,
            md5((n % 9)::text)::uuid, decode(md5((n % 7)::text), 'hex'), date '1969-11-20' + n * 11, time '00:00' + n * interval '1 hour 1 second',
            timestamp '1969-12-31 21:30' + n * interval '40 minutes', timestamptz '1969-12-31 21:30Z' + n * interval '31 days'
         FROM generate_series(1, 20) n;
         INSERT INTO rows (id) VALUES (21), (22)",
        columns.join(", ")
    ));
    let mut job = Job::new(database);
    let mut tables = Vec::new();
    for (column, transforms) in PARTITIONED {
        let column = column.split(' ').next().unwrap();
        for transform in transforms {
            let table = format!("{column}_by_{transform}");
            let by = match *transform {
                "bucket" => format!("bucket({column}, 5)"),
                "truncate" => format!("truncate({column}, 3)"),
                "identity" => column.to_owned(),
                other => format!("{other}({column})"),
            };
            database.sql_as_user(&format!("CREATE TABLE {table} AS SELECT * FROM rows"));
            job = job.sink(&format!("iceberg.table.{table}.partition-by"), &by);
            tables.push((table, column));
        }
    }
    // Two fields, by the default; the narrow truncation of a wide decimal makes a partition of every row.
    (job.sink("iceberg.tables.default-partition-by", "bucket(id, 3), flag"), tables)
}

#[test]
fn every_partition_transform_is_read_back_and_prunes() {
    let database = Server::shared().database();
    let (job, tables) = partitioned(&database);
    job.run(&[]).expect(OK);
    let lake = job.lake();
    assert_same(&database, "rows", &lake, "rows");
    assert!(lake.storage("rows")["spec"].as_str().unwrap().contains("id_bucket"), "{}", lake.storage("rows")["spec"]);
    for (table, column) in &tables {
        assert_same(&database, "rows", &lake, table);
        assert_eq!(misled(table, &lake.pruning(table, column)), None);
    }
}

#[test]
fn a_table_that_cannot_be_partitioned_so_is_refused_by_name() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE fine (id int, at date); INSERT INTO fine VALUES (1, '2024-02-29'), (2, NULL);
         CREATE TABLE other (id int, half float8); CREATE TABLE lacks (id int)",
    );
    let job = Job::new(&database)
        .sink("iceberg.tables.default-partition-by", "day(at)")
        .sink("iceberg.table.public.other.partition-by", "half");
    let outcome = job.run(&[]).expect(SOME_TABLES_FAILED);
    outcome.says(&["public.other", "column=half", "public.lacks", "column=at"]);
    let lake = job.lake();
    assert_eq!(lake.loaded_tables(), ["fine"]);
    assert_same(&database, "fine", &lake, "fine");
}

#[test]
fn a_replacement_takes_the_configured_shape_whatever_the_table_was() {
    let database = Server::shared().database();
    let names = ["v1", "v2", "v3"];
    for name in names {
        // The column that the foreign table is partitioned by is gone.
        database.sql_as_user(&format!(
            "CREATE TABLE {name} (id bigint PRIMARY KEY, day date);
             INSERT INTO {name} SELECT n, date '2024-01-01' + n % 3 FROM generate_series(1, 100) n"
        ));
    }
    let job = Job::new(&database)
        .sink("iceberg.table.v2.partition-by", "day")
        .sink("iceberg.table.v3.partition-by", "bucket(id, 2)");
    let lake = job.lake();
    for (name, format) in names.into_iter().zip(1..) {
        lake.write_foreign(name, format);
    }
    job.run(&[]).expect(SOME_TABLES_FAILED).says(&["--no-resume"]);
    job.run(&["--no-resume"]).expect(OK);
    for (name, format, files) in [("v1", 2, 1), ("v2", 2, 3), ("v3", 3, 2)] {
        assert_same(&database, name, &lake, name);
        let (described, storage) = (lake.describe(name), lake.storage(name));
        assert_eq!(described["format-version"], format, "{name}");
        assert_eq!(described["properties"]["owner"], "another", "{name}");
        assert_eq!(described["files"].as_array().unwrap().len(), files, "{name}");
        assert_eq!((&storage["sorted"], &storage["rows-before"]), (&false.into(), &3.into()), "{name}");
    }
    assert_eq!(misled("v2", &lake.pruning("v2", "day")), None);
    // Once more, with another spec: what is partitioned by neither is replaced as well.
    let job = job.sink("iceberg.table.v2.partition-by", "");
    job.run(&["--no-resume"]).expect(OK);
    assert_same(&database, "v2", &lake, "v2");
    assert_eq!(lake.storage("v2")["rows-before"], 100);
}

#[test]
fn format_version_3_numbers_its_rows() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, n::text FROM generate_series(1, 70) n",
    );
    let job = Job::new(&database)
        .sink("iceberg.tables.auto-create-props.format-version", "3")
        .sink("iceberg.tables.auto-create-props.owner", "shop")
        .sink("iceberg.table.t.partition-by", "bucket(id, 4)");
    job.run(&[]).expect(OK);
    let lake = job.lake();
    assert_same(&database, "t", &lake, "t");
    let numbers = |lake: &connect_tests::lake::Lake| {
        let storage = lake.storage("t");
        ["first-row-id", "added-rows", "next-row-id"].map(|name| storage[name].as_u64().unwrap())
    };
    assert_eq!(numbers(&lake), [0, 70, 70]);
    assert_eq!(lake.describe("t")["format-version"], 3);
    assert_eq!(lake.describe("t")["properties"]["owner"], "shop");
    job.run(&["--no-resume"]).expect(OK);
    assert_same(&database, "t", &lake, "t");
    assert_eq!(numbers(&lake), [70, 70, 140], "numbers are never used again");
    assert_eq!(misled("t", &lake.pruning("t", "id")), None);
}

/// The codecs that a table may be compressed with.
pub(crate) const CODECS: [&str; 5] = ["zstd", "snappy", "gzip", "lz4", "uncompressed"];

/// Makes a table `t` that takes every encoding.
pub(crate) fn with_every_encoding(database: &Database) {
    // Numbers that grow, jump and lie at both ends; texts that repeat and that do not; NULLs in runs and strewn.
    database.sql_as_user(
        "CREATE TABLE t AS SELECT n AS id, (n % 2 * 2 - 1) * (9223372036854775807 - n / 2) AS ends, (random() * 2e9 - 1e9)::int AS random,
            CASE WHEN n % 3 = 0 THEN NULL ELSE n::smallint END AS strewn, CASE WHEN n < 900 THEN NULL ELSE n END AS late,
            n % 7 AS few, n % 7 * 1000 AS apart, (random() * 1e10)::numeric(15,2) AS price, (n * 1e30)::numeric(38,2) AS wide, random() AS half,
            random()::real AS single, md5(n::text) AS text, (ARRAY['ab', 'é', NULL])[1 + n % 3] AS word, md5(n::text)::uuid AS uuid,
            decode(md5(n::text), 'hex') AS raw, n % 5 = 0 AS flag, date '2000-01-01' + n AS day, time '00:00' + n * interval '1 ms' AS tod,
            timestamptz '2000-01-01Z' + n * n * interval '1 s' AS at, repeat(md5(n::text), n % 40) AS long
         FROM generate_series(1, 3000) n",
    );
}

#[test]
fn every_codec_and_encoding_is_read_back() {
    let database = Server::shared().database();
    with_every_encoding(&database);
    for codec in CODECS {
        let job = Job::new(&database).sink("iceberg.tables.auto-create-props.write.parquet.compression-codec", codec);
        job.run(&[]).expect(OK);
        let lake = job.lake();
        assert_same(&database, "t", &lake, "t");
        let storage = lake.storage("t");
        let expected = if codec == "lz4" { "LZ4".to_owned() } else { codec.to_uppercase() };
        // Numbers that are packed as tightly as they can be are left as they are.
        let codecs = storage["codecs"].as_array().unwrap();
        assert!(codecs.iter().any(|c| *c == expected), "{codecs:?}");
        assert!(codecs.iter().all(|c| *c == expected || *c == "UNCOMPRESSED"), "{codecs:?}");
        assert_eq!(lake.describe("t")["properties"]["write.parquet.compression-codec"], codec);
        let encoded = |column: &str, encoding: &str| {
            storage["encodings"][column].as_array().unwrap().iter().any(|e| *e == encoding)
        };
        for column in ["id", "ends", "random", "strewn", "few", "price", "day", "tod", "at"] {
            assert!(encoded(column, "DELTA_BINARY_PACKED"), "{column}: {}", storage["encodings"]);
        }
        for column in ["apart", "word"] {
            assert!(encoded(column, "RLE_DICTIONARY"), "{column}: {}", storage["encodings"]);
        }
        for column in ["text", "half", "uuid", "raw", "wide", "flag"] {
            assert!(
                encoded(column, "PLAIN") && !encoded(column, "RLE_DICTIONARY"),
                "{column}: {}",
                storage["encodings"]
            );
        }
    }
}
