//! Binds, errors, fetches of any size, and the statements of a bulk load, by every client.

use connect_oracle_double::{
    Cell, Database, Double, Effect, Fault, Kind, Length, Model, Options, Personality, Table, Type, User, Value,
    Verifier,
};
use serde_json::json;

use crate::foreign::{Client, FOREIGN, Outcome, Request, run};
use crate::{BOTH, PASSWORD, model, start};

fn every_client(check: impl Fn(Client, Personality)) {
    for client in FOREIGN.into_iter().chain([Client::Rust]) {
        for personality in BOTH {
            check(client, personality);
        }
    }
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|t| Some((*t).to_owned())).collect()
}

#[test]
fn binds_and_errors() {
    every_client(|client, personality| {
        let double = start(personality);
        let request = Request::new(double.port())
            .bound("SELECT v FROM types WHERE id = :1 AND v LIKE :2", vec![json!(1), json!("h%")])
            .bound("SELECT COUNT(*), MAX(id) FROM types WHERE id > :1", vec![json!(2)])
            .statement("SELECT nosuch FROM types")
            .statement("SELECT 1 FROM nosuch")
            .statement("SELECT 1 FROM")
            .statement("SELECT 1 FROM dual");
        let outcomes = run(client, &request);
        let what = format!("{client:?}, {personality:?}: {outcomes:?}");
        assert_eq!(outcomes[0].rows(), [some(&["h\u{e9}llo"])], "{what}");
        assert_eq!(outcomes[1].rows(), [some(&["2", "4"])], "{what}");
        assert_eq!(outcomes[2].error(), "ORA-00904", "{what}");
        assert_eq!(outcomes[3].error(), "ORA-00942", "{what}");
        assert_eq!(outcomes[4].error(), "ORA-00903", "{what}");
        assert_eq!(outcomes[5].rows(), [some(&["1"])], "{what}");
    });
}

#[test]
fn logins_that_fail() {
    every_client(|client, personality| {
        let double = start(personality);
        let wrong = Request { password: "lion".into(), ..Request::new(double.port()) };
        assert_eq!(run(client, &wrong)[0].error(), "ORA-01017", "{client:?}, {personality:?}");
        let nobody = Request { user: "nobody".into(), ..Request::new(double.port()) };
        assert_eq!(run(client, &nobody)[0].error(), "ORA-01017", "{client:?}, {personality:?}");
        let elsewhere = Request { service: "nowhere".into(), ..Request::new(double.port()) };
        let Outcome::Error(_, message) = &run(client, &elsewhere)[0] else { panic!("{client:?} got in") };
        let known = ["12514", "6001", "518", "nowhere"].iter().any(|part| message.contains(part));
        assert!(known, "{client:?}: {message}");
    });
}

#[test]
fn the_verifier_of_11g_lets_in_who_knows_it() {
    for personality in BOTH {
        let user = User::new("OLD", PASSWORD).verifier(Verifier::V11g);
        let double = Double::start(Model::new().user(user), Options::new(personality)).unwrap();
        let request = |password: &str| Request {
            user: "old".into(),
            password: password.into(),
            ..Request::new(double.port()).statement("SELECT USER FROM dual")
        };
        for client in [Client::Python, Client::Node] {
            assert_eq!(run(client, &request(PASSWORD))[0].rows(), [some(&["OLD"])], "{client:?}");
            assert_eq!(run(client, &request("lion"))[0].error(), "ORA-01017", "{client:?}");
        }
    }
}

#[test]
fn fetches_are_of_the_size_that_is_asked_for() {
    every_client(|client, personality| {
        let table = Table::new("APP", "BIG").column("ID", Type::number(10, 0)).column("V", Type::text(50));
        let table = table.synthetic(250, |row: u64, column: usize, out: &mut Cell<'_>| match column {
            0 => out.int(row as i64),
            _ if row.is_multiple_of(3) => out.null(),
            _ => out.formatted(format_args!("row {row}")),
        });
        let model = Model::new().user(User::new("APP", PASSWORD)).table(table);
        let double = Double::start(model, Options::new(personality)).unwrap();
        let mut trips = Vec::new();
        for rows in [1, 7, 1000] {
            let before = double.faults().round_trips();
            let request = Request { rows, ..Request::new(double.port()).statement("SELECT id, v FROM big") };
            let outcome = run(client, &request).remove(0);
            let wanted: Vec<Vec<Option<String>>> =
                (0..250).map(|n| vec![Some(n.to_string()), (n % 3 != 0).then(|| format!("row {n}"))]).collect();
            assert_eq!(outcome.rows(), wanted, "{client:?}, {personality:?}, {rows} rows");
            trips.push(double.faults().round_trips() - before);
        }
        assert!(trips[0] > 240 && trips[0] > 5 * trips[1] && trips[1] > trips[2], "{client:?}: {trips:?}");
    });
}

/// A database with what a load meets.
fn library(personality: Personality) -> (Double, Database) {
    let books = Table::new("LIB", "BOOKS")
        .column("ID", Type::number(9, 0))
        .column("TITLE", Type::Varchar2(Length::Bytes(40)))
        .commented("What it says on the spine")
        .primary_key(&["ID"])
        .comment("Books")
        .layout(2, 4);
    let books = (0..40).fold(books, |t, n| t.row(vec![Value::int(n), Value::text(format!("book {n}"))]));
    let loans = Table::new("LIB", "LOANS").column("AT", Type::Date).column("BOOK", Type::number(9, 0)).not_null();
    let loans =
        loans.foreign_key("LOANS_BOOKS", &["BOOK"], "LIB", "BOOKS_PK").partition("P1", "1").partition("P2", "MAXVALUE");
    let loans = loans.row_in("P1", vec![Value::Null, Value::int(1)]).row_in("P2", vec![Value::Null, Value::int(2)]);
    let pages =
        Table::new("LIB", "PAGES").column("ID", Type::number(9, 0)).primary_key(&["ID"]).kind(Kind::IndexOrganised);
    let view = Table::view("LIB", "OLD_BOOKS", "SELECT id, title FROM books WHERE id < 3");
    let model = Model::new()
        .user(User::new("LIB", PASSWORD))
        .user(User::new("APP", PASSWORD).reader())
        .user(User::new("POOR", PASSWORD).grant("SELECT", "LIB", "BOOKS"))
        .table(books)
        .table(loans)
        .table(pages.row(vec![Value::int(1)]))
        .table(view);
    let double = Double::start(model, Options::new(personality)).unwrap();
    let database = double.database();
    (double, database)
}

fn ask(double: &Double, sql: &str) -> Outcome {
    run(Client::Rust, &Request::new(double.port()).statement(sql)).remove(0)
}

#[test]
fn a_read_as_of_an_scn_sees_what_was_committed_by_then() {
    let (double, database) = library(Personality::V23ai);
    let before = database.scn();
    let mut open = database.begin();
    assert_eq!(open.delete("LIB", "BOOKS", |row| row[0] == Value::int(0)), 1);
    open.insert("LIB", "BOOKS", vec![Value::int(40), Value::text("new")]);
    let count = |scn: u64| {
        let outcome = ask(&double, &format!("SELECT COUNT(*), MIN(id), MAX(id) FROM lib.books AS OF SCN {scn}"));
        outcome.rows()[0].iter().map(|v| v.clone().unwrap()).collect::<Vec<_>>()
    };
    database.tick(5);
    let during = database.scn();
    let started = ask(&double, "SELECT start_scn FROM gv$transaction");
    assert_eq!(started.rows(), [some(&[&before.to_string()])]);
    let committed = open.commit();
    assert_eq!(count(during), ["40", "0", "39"]);
    assert_eq!(count(committed - 1), ["40", "0", "39"]);
    assert_eq!(count(committed), ["40", "1", "40"]);
    assert_eq!(ask(&double, "SELECT start_scn FROM gv$transaction").rows(), [] as [Vec<Option<String>>; 0]);
    let later = format!("SELECT 1 FROM lib.books AS OF SCN {}", committed + 1000);
    assert_eq!(ask(&double, &later).error(), "ORA-08181");
    database.forget_undo_before(committed);
    assert_eq!(ask(&double, &format!("SELECT id FROM lib.books AS OF SCN {during}")).error(), "ORA-01555");
    assert_eq!(count(committed), ["40", "1", "40"]);
    database.truncate("LIB", "BOOKS");
    assert_eq!(ask(&double, &format!("SELECT id FROM lib.books AS OF SCN {committed}")).error(), "ORA-01466");
}

#[test]
fn ranges_of_rowids_tile_a_table() {
    let (double, database) = library(Personality::V19c);
    let extents = ask(
        &double,
        "SELECT e.relative_fno, e.block_id, e.blocks, o.data_object_id FROM dba_extents e JOIN all_objects o \
         ON o.owner = e.owner AND o.object_name = e.segment_name WHERE e.owner = 'LIB' AND e.segment_name = 'BOOKS' \
         ORDER BY e.relative_fno, e.block_id",
    );
    let extents = extents.rows().to_vec();
    assert_eq!(extents.len(), 5, "{extents:?}");
    let mut bounds: Vec<String> = extents[1..]
        .iter()
        .map(|row| {
            let [file, block, _, object] = <[Option<String>; 4]>::try_from(row.clone()).unwrap().map(Option::unwrap);
            format!("DBMS_ROWID.ROWID_CREATE(1, {object}, {file}, {block}, 0)")
        })
        .collect();
    bounds.insert(0, "CHARTOROWID('AAAAAAAAAAAAAAAAAA')".into());
    let mut ids = Vec::new();
    for (n, from) in bounds.iter().enumerate() {
        let to = bounds.get(n + 1).map_or(String::new(), |to| format!(" AND ROWID < {to}"));
        let sql = format!("SELECT id, ROWIDTOCHAR(ROWID) FROM lib.books WHERE ROWID >= {from}{to}");
        let part = ask(&double, &sql);
        assert_eq!(part.rows().len(), 8, "{sql}");
        ids.extend(part.rows().iter().map(|row| row[0].clone().unwrap().parse::<i64>().unwrap()));
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..40).collect::<Vec<_>>());
    let rowids = database.rows("LIB", "BOOKS", database.scn());
    let one = ask(&double, &format!("SELECT id FROM lib.books WHERE ROWID = '{}'", rowids[17].0));
    assert_eq!(one.rows(), [some(&["17"])]);
}

#[test]
fn the_dictionary_is_that_of_the_model() {
    for personality in BOTH {
        let (double, _) = library(personality);
        let rows = |sql: &str| ask(&double, sql).rows().to_vec();
        let tables =
            rows("SELECT table_name, partitioned, iot_type FROM all_tables WHERE owner = 'LIB' ORDER BY table_name");
        assert_eq!(tables[0], [Some("BOOKS".into()), Some("NO".into()), None]);
        assert_eq!(tables[1], [Some("LOANS".into()), Some("YES".into()), None]);
        assert_eq!(tables[2], [Some("PAGES".into()), Some("NO".into()), Some("IOT".into())]);
        let columns = rows(
            "SELECT column_name, data_type, data_length, data_precision, nullable, char_used FROM all_tab_columns \
             WHERE owner = 'LIB' AND table_name = 'OLD_BOOKS' ORDER BY column_id",
        );
        assert_eq!(columns[1][..3], some(&["TITLE", "VARCHAR2", "40"])[..]);
        assert_eq!(columns[1][5], Some("B".into()));
        let keys = rows(
            "SELECT c.constraint_name, c.constraint_type, k.column_name, c.r_constraint_name FROM all_constraints c, \
             all_cons_columns k WHERE c.owner = k.owner AND c.constraint_name = k.constraint_name \
             AND c.owner = 'LIB' AND c.constraint_type <> 'C' ORDER BY 1",
        );
        assert_eq!(keys.len(), 3, "{keys:?}");
        assert_eq!(keys[1], some(&["LOANS_BOOKS", "R", "BOOK", "BOOKS_PK"]));
        let objects = rows(
            "SELECT subobject_name, data_object_id FROM all_objects WHERE owner = 'LIB' AND object_name = 'LOANS' \
             AND object_type LIKE 'TABLE%' ORDER BY 1 NULLS FIRST",
        );
        assert_eq!(objects[0], [None, None]);
        assert_eq!(objects[1][0], Some("P1".into()));
        assert!(objects[1][1].is_some());
        assert_eq!(rows("SELECT book FROM lib.loans PARTITION (p2)"), [some(&["2"])]);
        assert_eq!(rows("SELECT title FROM lib.old_books WHERE id = 2"), [some(&["book 2"])]);
        assert_eq!(rows("SELECT COUNT(*) FROM all_col_comments WHERE comments LIKE 'What%'"), [some(&["1"])]);
        let database = rows("SELECT database_role, open_mode FROM v$database");
        assert_eq!(database, [some(&["PRIMARY", "READ WRITE"])]);
    }
}

#[test]
fn privileges_are_missed_as_on_a_real_server() {
    let (double, database) = library(Personality::V19c);
    let poor = |sql: &str| {
        let request = Request { user: "poor".into(), ..Request::new(double.port()).statement(sql) };
        run(Client::Rust, &request).remove(0)
    };
    assert_eq!(poor("SELECT COUNT(*) FROM lib.books").rows(), [some(&["40"])]);
    assert_eq!(poor(&format!("SELECT 1 FROM lib.books AS OF SCN {}", database.scn())).error(), "ORA-01031");
    assert_eq!(poor("SELECT 1 FROM lib.loans").error(), "ORA-00942");
    assert_eq!(poor("SELECT current_scn FROM v$database").error(), "ORA-00942");
    assert_eq!(poor("SELECT 1 FROM dba_extents").error(), "ORA-00942");
    assert_eq!(poor("SELECT COUNT(*) FROM all_tables").rows(), [some(&["1"])]);
    database.alter_user("POOR", |u| u.grant("FLASHBACK", "LIB", "BOOKS").grant("SELECT", "SYS", "V_$DATABASE"));
    assert_eq!(poor("SELECT COUNT(*) FROM v$database").rows(), [some(&["1"])]);
    assert_eq!(poor(&format!("SELECT COUNT(*) FROM lib.books AS OF SCN {}", database.scn())).rows(), [some(&["40"])]);
}

#[test]
fn chunks_of_a_table_are_made_by_the_package() {
    let (double, _) = library(Personality::V23ai);
    let request = Request::new(double.port())
        .bound("BEGIN DBMS_PARALLEL_EXECUTE.CREATE_TASK(:1); END;", vec![json!("T")])
        .bound(
            "BEGIN DBMS_PARALLEL_EXECUTE.CREATE_CHUNKS_BY_ROWID(:1, :2, :3, FALSE, :4); END;",
            vec![json!("T"), json!("LIB"), json!("BOOKS"), json!(2)],
        )
        .statement(
            "SELECT COUNT(*), COUNT(DISTINCT start_rowid) FROM user_parallel_execute_chunks WHERE task_name = 'T'",
        )
        .bound("BEGIN DBMS_PARALLEL_EXECUTE.DROP_TASK(:1); END;", vec![json!("T")])
        .statement("SELECT COUNT(*) FROM user_parallel_execute_chunks")
        .statement("BEGIN nosuch.procedure; END;");
    let outcomes = run(Client::Rust, &request);
    assert_eq!(outcomes[2].rows(), [some(&["10", "10"])], "{outcomes:?}");
    assert_eq!(outcomes[4].rows(), [some(&["0"])]);
    assert_eq!(outcomes[5].error(), "ORA-06550");
}

#[test]
fn statements_are_written_down_and_faults_counted() {
    let double = start(Personality::V23ai);
    double.faults().add(Fault::on("from types", Effect::Error(1555)).at_execution().after(1));
    let outcomes = run(
        Client::Rust,
        &Request::new(double.port()).statement("SELECT id FROM types").statement("SELECT id FROM types"),
    );
    assert_eq!(outcomes[0].rows().len(), 4);
    assert_eq!(outcomes[1].error(), "ORA-01555");
    assert_eq!(double.faults().statements(), ["SELECT id FROM types", "SELECT id FROM types"]);
    assert_eq!(double.faults().struck(), 1);
}

#[test]
fn a_listener_may_send_clients_elsewhere() {
    let there = start(Personality::V19c);
    let here = Double::over(there.database(), Options::new(Personality::V19c).redirect_to(there.port())).unwrap();
    for client in FOREIGN.into_iter().chain([Client::Rust]) {
        let before = there.faults().sessions();
        let outcome = run(client, &Request::new(here.port()).statement("SELECT 1 FROM dual")).remove(0);
        assert_eq!(outcome.rows(), [some(&["1"])], "{client:?}");
        assert_eq!(there.faults().sessions(), before + 1, "{client:?}");
        assert_eq!(here.faults().sessions(), 0, "{client:?}");
    }
}

/// The statements of a bulk load, each in the words of the source.
#[test]
fn the_statements_of_a_load_are_answered() {
    for personality in BOTH {
        let (double, database) = library(personality);
        database.alter_user("APP", |u| u.grant("EXECUTE", "SYS", "DBMS_FLASHBACK"));
        let parts = "object_type IN ('TABLE', 'TABLE PARTITION', 'TABLE SUBPARTITION')";
        let statements = [
            "ALTER SESSION SET TIME_ZONE = '+00:00'".to_owned(),
            "ALTER SESSION DISABLE PARALLEL QUERY".into(),
            "ALTER SESSION SET CONTAINER = \"ORCLPDB1\"".into(),
            "SELECT SYS_CONTEXT('USERENV', 'CON_NAME'), SYS_CONTEXT('USERENV', 'SESSION_USER') FROM dual".into(),
            "SELECT dbid, name, database_role, open_mode FROM v$database".into(),
            "SELECT DBMS_FLASHBACK.GET_SYSTEM_CHANGE_NUMBER FROM dual".into(),
            "SELECT username FROM all_users WHERE oracle_maintained = 'Y'".into(),
            "SELECT owner, table_name, partitioned, temporary, iot_type, nested, cluster_name, secondary, num_rows, blocks, \
             avg_row_len FROM all_tables"
                .into(),
            "SELECT owner, view_name FROM all_views".into(),
            "SELECT table_name, column_name, data_type, data_type_owner, data_length, data_precision, data_scale, nullable, \
             column_id, char_used, char_length FROM all_tab_columns WHERE owner = 'LIB'"
                .into(),
            "SELECT table_name, comments FROM all_tab_comments WHERE owner = 'LIB' AND comments IS NOT NULL".into(),
            "SELECT table_name, column_name, comments FROM all_col_comments WHERE owner = 'LIB' AND comments IS NOT NULL".into(),
            "SELECT table_name, constraint_name FROM all_constraints WHERE owner = 'LIB' AND constraint_type = 'P' \
             AND status = 'ENABLED' AND validated = 'VALIDATED'"
                .into(),
            "SELECT table_name, constraint_name, column_name, position FROM all_cons_columns WHERE owner = 'LIB'".into(),
            format!("SELECT object_name, subobject_name, data_object_id FROM all_objects WHERE owner = 'LIB' AND {parts}"),
            "SELECT segment_name, partition_name, relative_fno, block_id, blocks, bytes FROM dba_extents WHERE owner = 'LIB' \
             AND segment_type IN ('TABLE', 'TABLE PARTITION', 'TABLE SUBPARTITION')"
                .into(),
            "SELECT ROWIDTOCHAR(ROWID) FROM \"LIB\".\"BOOKS\" SAMPLE BLOCK (99.000000)".into(),
            format!("SELECT MAX(DBMS_LOB.GETLENGTH(\"TITLE\")) FROM \"LIB\".\"BOOKS\" AS OF SCN {}", database.scn()),
            format!("SELECT 1 FROM \"LIB\".\"BOOKS\" AS OF SCN {} WHERE ROWNUM <= 1", database.scn()),
            "SELECT privilege FROM session_privs".into(),
            "SELECT role FROM session_roles".into(),
            "SELECT tuned_undoretention, ssolderrcnt, nospaceerrcnt FROM v$undostat".into(),
            "SELECT value FROM nls_database_parameters WHERE parameter = 'NLS_CHARACTERSET'".into(),
            "SELECT name, cdb, log_mode, supplemental_log_data_min, supplemental_log_data_all FROM v$database".into(),
            "SELECT thread#, first_change# FROM v$log".into(),
            // Debezium's connector, as far as it comes here.
            "SELECT NLS_CHARSET_ID(VALUE) FROM NLS_DATABASE_PARAMETERS WHERE PARAMETER = 'NLS_CHARACTERSET'".into(),
            "SELECT status, type FROM v$archive_dest_status WHERE dest_name = 'LOG_ARCHIVE_DEST_1'".into(),
            "SELECT thread#, MIN(first_change#) FROM v$archived_log WHERE status = 'A' GROUP BY thread#".into(),
        ];
        let request = statements.iter().fold(Request::new(double.port()), |r, sql| r.statement(sql));
        for (sql, outcome) in statements.iter().zip(run(Client::Rust, &request)) {
            let rows = outcome.rows();
            assert!(!rows.is_empty() || sql.starts_with("ALTER"), "{sql}: no rows");
        }
        let none = [
            "SELECT start_scn FROM gv$transaction",
            "SELECT owner, table_name FROM all_external_tables",
            "SELECT owner, mview_name FROM all_mviews",
            "SELECT 1 FROM v$undostat WHERE 1 = 0",
            "SELECT owner, table_name FROM all_log_groups WHERE log_group_type = 'ALL COLUMN LOGGING'",
            "SELECT DISTINCT owner, table_name FROM all_tab_columns WHERE data_type IN ('LONG', 'LONG RAW')",
            "SELECT grantee, table_schema, table_name, privilege FROM all_tab_privs WHERE privilege IN ('SELECT', 'READ')",
        ];
        for sql in none {
            assert_eq!(ask(&double, sql).rows(), [] as [Vec<Option<String>>; 0], "{sql}");
        }
    }
}

#[test]
fn xml_and_json_are_text_by_their_functions() {
    let xml = Table::new("APP", "X").column("X", Type::Xml).row(vec![Value::text("<a>\u{e9}</a>")]);
    let double = Double::start(model(Personality::V23ai).table(xml), Options::new(Personality::V23ai)).unwrap();
    for client in FOREIGN.into_iter().chain([Client::Rust]) {
        let request = Request::new(double.port())
            .statement("SELECT XMLSERIALIZE(CONTENT \"X\" AS CLOB) FROM x")
            .statement("SELECT JSON_SERIALIZE(\"J\" RETURNING CLOB) FROM types WHERE id = 3");
        let outcomes = run(client, &request);
        assert_eq!(outcomes[0].rows(), [some(&["<a>\u{e9}</a>"])], "{client:?}");
        assert_eq!(outcomes[1].rows(), [some(&["[]"])], "{client:?}");
    }
}
