//! Random tables over all types with random values, against what the server itself prints. The seed is
//! printed; `CONNECT_TESTS_SEED` replays it.

use connect_tests::chance::Chance;
use connect_tests::compare::{assert_same, difference, source_rows};
use connect_tests::lake::ENGINES;
use connect_tests::postgres::{Database, Server};
use connect_tests::runtime::{Job, OK};

/// Values by chance.
pub(crate) struct Random(Chance);

impl Random {
    fn next(&mut self) -> u64 {
        self.0.next()
    }

    fn below(&mut self, n: usize) -> usize {
        self.0.below(n as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A whole number of any size up to so many bits, both signs.
    fn whole(&mut self, bits: u32) -> i64 {
        let value = (self.next() >> (64 - bits)) as i64 >> self.below(bits as usize);
        if self.below(2) == 0 { -value } else { value }
    }

    fn digits(&mut self, most: usize) -> String {
        (0..1 + self.below(most)).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }

    fn text(&mut self) -> String {
        const CHARACTERS: &[&str] = &[
            "a", "B", " ", "'", "\"", "\\", ",", "{", "}", "(", ")", "NULL", "\n", "\t", "é", "汉", "😀", "0", "-",
            ";", "\u{1}",
        ];
        (0..self.below(12)).map(|_| *self.pick(CHARACTERS)).collect()
    }
}

/// A type, its extremes, and how to make any other value of it (the text that its input function takes).
struct Kind {
    name: &'static str,
    extremes: &'static [&'static str],
    any: fn(&mut Random) -> String,
}

fn day(r: &mut Random) -> String {
    format!("{:04}-{:02}-{:02}", 1 + r.below(9999), 1 + r.below(12), 1 + r.below(28))
}

fn time(r: &mut Random) -> String {
    format!("{:02}:{:02}:{:02}.{:06}", r.below(24), r.below(60), r.below(60), r.below(1_000_000))
}

fn decimal(r: &mut Random, whole: usize, places: usize) -> String {
    let sign = *r.pick(&["", "-"]);
    format!("{sign}{}.{}", r.digits(whole), r.digits(places))
}

fn hex(r: &mut Random, bytes: usize) -> String {
    (0..bytes).map(|_| format!("{:02x}", r.below(256))).collect()
}

const KINDS: &[Kind] = &[
    Kind { name: "boolean", extremes: &["t", "f"], any: |r| r.pick(&["t", "f"]).to_string() },
    Kind { name: "smallint", extremes: &["-32768", "32767"], any: |r| r.whole(15).to_string() },
    Kind { name: "integer", extremes: &["-2147483648", "2147483647"], any: |r| r.whole(31).to_string() },
    Kind {
        name: "bigint",
        extremes: &["-9223372036854775808", "9223372036854775807"],
        any: |r| r.whole(63).to_string(),
    },
    Kind { name: "oid", extremes: &["0", "4294967295"], any: |r| r.below(1 << 32).to_string() },
    Kind {
        name: "real",
        extremes: &["NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38"],
        any: |r| format!("{}e{}", decimal(r, 2, 6), r.below(60) as i32 - 30),
    },
    Kind {
        name: "double precision",
        extremes: &["NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308"],
        any: |r| format!("{}e{}", decimal(r, 2, 16), r.below(500) as i32 - 250),
    },
    Kind { name: "numeric(9,4)", extremes: &["99999.9999", "-99999.9999", "0"], any: |r| decimal(r, 5, 4) },
    Kind { name: "numeric(18,0)", extremes: &["999999999999999999"], any: |r| r.whole(59).to_string() },
    Kind {
        name: "numeric(38,10)",
        extremes: &["9999999999999999999999999999.9999999999", "-9999999999999999999999999999.9999999999"],
        any: |r| decimal(r, 28, 10),
    },
    Kind { name: "numeric(60,20)", extremes: &["0.00000000000000000001"], any: |r| decimal(r, 40, 20) },
    Kind {
        name: "numeric",
        extremes: &["NaN", "Infinity", "-Infinity", "-0.000", "1e100", "1e-100"],
        any: |r| decimal(r, 60, 60),
    },
    Kind { name: "text", extremes: &["", "NULL", "\\N", "{}"], any: Random::text },
    Kind { name: "character varying(40)", extremes: &[""], any: Random::text },
    Kind { name: "character(40)", extremes: &["", " "], any: Random::text },
    Kind { name: "name", extremes: &[""], any: |r| r.text().chars().take(15).collect() },
    Kind {
        name: "bytea",
        extremes: &["\\x", "\\x00ff"],
        any: |r| {
            format!("\\x{}", {
                let n = r.below(40);
                hex(r, n)
            })
        },
    },
    Kind { name: "uuid", extremes: &["00000000-0000-0000-0000-000000000000"], any: |r| hex(r, 16) },
    Kind { name: "date", extremes: &["4713-01-01 BC", "5874897-12-31", "1970-01-01"], any: day },
    Kind { name: "time without time zone", extremes: &["00:00:00", "23:59:59.999999"], any: time },
    Kind {
        name: "timestamp without time zone",
        extremes: &["4713-11-24 00:00:00 BC", "294246-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"],
        any: |r| format!("{} {}", day(r), time(r)),
    },
    Kind {
        name: "timestamp with time zone",
        extremes: &["4713-11-24 00:00:00Z BC", "294246-12-31 23:59:59.999999Z"],
        any: |r| format!("{} {}{:+03}:{:02}", day(r), time(r), r.below(31) as i32 - 15, r.below(60)),
    },
    Kind { name: "json", extremes: &["null", "{ }"], any: |r| format!("[{}, \"é\"]", r.whole(60)) },
    Kind {
        name: "jsonb",
        extremes: &["null", "{}"],
        any: |r| format!("{{\"b\": {}, \"a\": [1.50, null]}}", r.whole(60)),
    },
    Kind { name: "public.mood", extremes: &["", "so \"so\""], any: |r| r.pick(&["", "so \"so\"", "😀"]).to_string() },
    Kind { name: "public.price", extremes: &["0.01"], any: |r| format!("{}.5", r.below(100_000)) },
    Kind {
        name: "interval",
        extremes: &["178000000 years", "-1 mon 1 day"],
        any: |r| format!("{} mons {} days {}", r.whole(20), r.whole(20), time(r)),
    },
    Kind {
        name: "time with time zone",
        extremes: &["24:00:00-15:59:59"],
        any: |r| format!("{}{:+03}", time(r), r.below(31) as i32 - 15),
    },
    Kind { name: "money", extremes: &["-92233720368547758.08"], any: |r| decimal(r, 9, 2) },
    Kind { name: "xml", extremes: &["<a/>"], any: |r| format!("<a b=\"{}\">é</a>", r.whole(30)) },
    Kind { name: "bit(5)", extremes: &["00000"], any: |r| format!("{:05b}", r.below(32)) },
    Kind { name: "bit varying", extremes: &[""], any: |r| format!("{:b}", r.next()) },
    Kind {
        name: "inet",
        extremes: &["::", "255.255.255.255"],
        any: |r| format!("10.{}.{}.1/{}", r.below(256), r.below(256), r.below(33)),
    },
    Kind { name: "cidr", extremes: &["0.0.0.0/0"], any: |r| format!("10.{}.0.0/16", r.below(256)) },
    Kind { name: "macaddr8", extremes: &["00:00:00:00:00:00:00:00"], any: |r| hex(r, 8) },
    Kind {
        name: "point",
        extremes: &["(NaN,Infinity)"],
        any: |r| format!("({},{})", decimal(r, 3, 16), decimal(r, 3, 16)),
    },
    Kind { name: "box", extremes: &["(1,1),(0,0)"], any: |r| format!("({},{}),(0,0)", r.below(99), r.below(99)) },
    Kind { name: "tsvector", extremes: &[""], any: |r| format!("'w {}':{}A x", r.below(99), 1 + r.below(99)) },
    Kind {
        name: "numrange",
        extremes: &["empty", "(,)"],
        any: |r| {
            let n = r.below(1000);
            format!("[{n}.10,{}]", n + 1)
        },
    },
    Kind { name: "tstzrange", extremes: &["(,)"], any: |r| format!("[{} 00:00Z,infinity)", day(r)) },
    Kind {
        name: "int4multirange",
        extremes: &["{}"],
        any: |r| {
            let n = r.below(1000);
            format!("{{[{n},{}),[{},)}}", n + 1, n + 9)
        },
    },
    Kind {
        name: "pg_lsn",
        extremes: &["FFFFFFFF/FFFFFFFF"],
        any: |r| format!("{:X}/{:X}", r.below(1 << 32), r.below(1 << 32)),
    },
    Kind { name: "public.pair", extremes: &["(,)"], any: |r| format!("({},\"a b\")", r.whole(30)) },
];

fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// One value as SQL: NULL, an extreme or any other; in arrays of the given shape.
fn value(kind: &Kind, shape: &[usize], r: &mut Random) -> String {
    match shape {
        [] if r.below(6) == 0 => "NULL".into(),
        [] if !kind.extremes.is_empty() && r.below(4) == 0 => literal(r.pick::<&str>(kind.extremes)),
        [] => literal(&(kind.any)(r)),
        [n, inner @ ..] => {
            let members: Vec<_> = (0..*n).map(|_| value(kind, inner, r)).collect();
            format!("ARRAY[{}]", members.join(","))
        }
    }
}

/// Makes a table of random columns with random rows.
fn table(name: &str, kinds: &[&Kind], rows: usize, r: &mut Random) -> String {
    let columns: Vec<_> = kinds.iter().map(|kind| (*kind, *r.pick(&[0, 0, 0, 1, 1, 2]))).collect();
    let declared: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(i, (kind, depth))| format!("c{i} {}{}", kind.name, "[]".repeat(*depth)))
        .collect();
    let mut sql = format!("CREATE TABLE {name} (id int PRIMARY KEY, {});\n", declared.join(", "));
    for row in 0..rows {
        let values = columns.iter().map(|(kind, depth)| match depth {
            0 => value(kind, &[], r),
            _ if r.below(8) == 0 => "NULL".into(),
            _ if r.below(8) == 0 => "'{}'".into(),
            depth => {
                let shape: Vec<_> = (0..*depth).map(|_| 1 + r.below(3)).collect();
                format!("{}::{}{}", value(kind, &shape, r), kind.name, "[]".repeat(*depth))
            }
        });
        sql += &format!("INSERT INTO {name} VALUES ({row}, {});\n", values.collect::<Vec<_>>().join(", "));
    }
    sql
}

/// By chance; the seed that repeats it is in `CONNECT_TESTS_SEED`, or printed.
#[expect(clippy::print_stdout, reason = "a failed test shows what it printed: the seed that repeats it")]
pub(crate) fn random() -> Random {
    let seed = match std::env::var("CONNECT_TESTS_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64,
    };
    println!("CONNECT_TESTS_SEED={seed}");
    Random(Chance(seed))
}

/// Makes tables of random columns with random rows: every type in one or another, and some again, but for those
/// whose names begin so. Gives the tables' names.
pub(crate) fn with_random_tables(database: &Database, r: &mut Random, without: &[&str]) -> Vec<String> {
    let mut sql = "SET search_path = public; SET timezone = 'UTC';
        CREATE TYPE mood AS ENUM ('', 'so \"so\"', '😀'); CREATE DOMAIN price AS numeric(9,2) CHECK (VALUE > 0);
        CREATE TYPE pair AS (a int, b text);\n"
        .to_owned();
    let all: Vec<&Kind> = KINDS.iter().filter(|k| !without.iter().any(|prefix| k.name.starts_with(prefix))).collect();
    let mut tables = vec![];
    for (n, kinds) in all.chunks(9).enumerate() {
        let mut kinds = kinds.to_vec();
        kinds.extend((0..3).map(|_| *r.pick(&all)));
        sql += &table(&format!("random_{n}"), &kinds, 25, r);
        tables.push(format!("random_{n}"));
    }
    database.sql_as_user(&sql);
    tables
}

#[test]
fn random_tables_arrive_value_by_value() {
    let mut r = random();
    let database = Server::shared().database();
    let tables = with_random_tables(&database, &mut r, &[]);
    let job = Job::new(&database).source("batch.size", "7");
    job.run(&[]).expect(OK);
    let lake = job.lake();
    for table in &tables {
        assert_same(&database, table, &lake, table);
    }

    // The twin: any one value that is another is found, by either reader.
    let mut broken = source_rows(&database, &tables[0]);
    let (row, column) = (r.below(broken.rows.len()), r.below(broken.columns.len()));
    let cell = &mut broken.rows[row][column];
    *cell = match cell.take() {
        None => Some(String::new()),
        Some(text) => Some(text + "'"),
    };
    for engine in ENGINES {
        let found = difference(&broken, &lake.rows(engine, &tables[0]).unwrap());
        assert!(found.is_some(), "{engine:?} did not see a wrong value in row {row}, column {column}");
    }
}
