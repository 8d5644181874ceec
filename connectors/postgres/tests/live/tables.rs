//! Tables: what is found, selected and refused.

use connect_tests::postgres::{Server, USER};
use connector_api::{ErrorKind, TablePlan};

use super::{plan, rows, source};

#[tokio::test]
async fn any_identifier() {
    let database = Server::shared().database();
    database.sql_as_user(
        r#"CREATE SCHEMA "My ""s.c;h"; CREATE TABLE "My ""s.c;h"."ta.b'le 🎈 %" ("SELECT" int, "a""b\c" int, "ä.ö" int);
           INSERT INTO "My ""s.c;h"."ta.b'le 🎈 %" VALUES (1, 2, 3);
           CREATE TABLE "T" (id int); INSERT INTO "T" VALUES (1);
           CREATE TABLE t (id int, gone int); ALTER TABLE t DROP COLUMN gone; INSERT INTO t VALUES (2)"#,
    );
    let source = source(&database, &[]);
    let plan = plan(&*source).await;
    let odd = (r#"My "s.c;h"#, "ta.b'le 🎈 %");
    assert_eq!(rows(&*source, &plan, odd.0, odd.1).await, [["1", "2", "3"]]);
    let table = plan.tables.iter().find(|t| t.schema.table().name() == odd.1).unwrap();
    let names: Vec<_> = table.schema.columns().iter().map(|c| c.name()).collect();
    assert_eq!(names, ["SELECT", r#"a"b\c"#, "ä.ö"]);
    assert_eq!(rows(&*source, &plan, "public", "T").await, [["1"]]);
    assert_eq!(rows(&*source, &plan, "public", "t").await, [["2"]]);
}

#[tokio::test]
async fn selects_tables_and_columns_and_finds_keys() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE orders (x text, b int, a int, note text, PRIMARY KEY (a, b) INCLUDE (note));
         CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id);
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
         CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
         INSERT INTO parted VALUES (1, 'a'), (11, 'b');
         CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent);
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2);
         CREATE VIEW seen AS SELECT 1; CREATE SCHEMA other; CREATE TABLE other.t (id int)",
    );
    let names = async |keys: &[(&str, &str)]| -> Vec<String> {
        source(&database, keys).tables().await.unwrap().tables.iter().map(ToString::to_string).collect()
    };
    let all = ["other.t", "public.child", "public.orders", "public.parent", "public.parted"];
    assert_eq!(names(&[]).await, all);
    assert_eq!(names(&[("schema.exclude.list", "public")]).await, ["other.t"]);
    assert_eq!(names(&[("table.include.list", "public\\.par.*,other\\.t")]).await, [all[0], all[3], all[4]]);
    assert_eq!(names(&[("table.filter", "par%")]).await, [all[3], all[4]]);

    let keys = [("column.exclude.list", "public\\.orders\\.x,public\\.parted\\.v")];
    let source = source(&database, &keys);
    let plan = plan(&*source).await;
    let orders = plan.tables.iter().find(|t| t.schema.table().name() == "orders").unwrap();
    let key: Vec<_> = orders.schema.key().iter().map(|k| orders.schema.columns()[*k].name()).collect();
    assert_eq!((key, orders.schema.columns().len()), (vec!["a", "b"], 3));
    assert_eq!(rows(&*source, &plan, "public", "parted").await, [["1"], ["11"]]);
    assert_eq!(rows(&*source, &plan, "public", "parent").await, [["1"]], "without what inherits");
    assert_eq!(rows(&*source, &plan, "public", "child").await, [["2"]]);
}

/// A log does not name rows by a primary key where another index is the replica identity, and a deferrable key may be
/// of several rows in between.
#[tokio::test]
async fn a_key_is_what_the_log_tells_rows_by() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE plain (a int, b int NOT NULL, c int NOT NULL, PRIMARY KEY (a), UNIQUE (c, b));
         CREATE TABLE whole (LIKE plain INCLUDING INDEXES); ALTER TABLE whole REPLICA IDENTITY FULL;
         CREATE TABLE indexed (LIKE plain INCLUDING INDEXES);
         ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_c_b_key;
         CREATE TABLE late (a int PRIMARY KEY DEFERRABLE, b int);
         CREATE TABLE keyless (LIKE plain); CREATE UNIQUE INDEX named ON keyless (b) INCLUDE (c);
         ALTER TABLE keyless REPLICA IDENTITY USING INDEX named;
         CREATE TABLE whole_parts (a int, b int NOT NULL, PRIMARY KEY (a), UNIQUE (b, a)) PARTITION BY RANGE (a);
         CREATE TABLE parts_1 PARTITION OF whole_parts FOR VALUES FROM (0) TO (9);
         ALTER TABLE whole_parts REPLICA IDENTITY USING INDEX whole_parts_b_a_key",
    );
    let plan = plan(&*source(&database, &[])).await;
    let key = |table: &TablePlan| -> String {
        let names = table.schema.key().iter().map(|column| table.schema.columns()[*column].name());
        format!("{} {}", table.schema.table().name(), names.collect::<Vec<_>>().join(","))
    };
    let mut keys: Vec<String> = plan.tables.iter().map(key).collect();
    keys.sort();
    assert_eq!(keys, ["indexed c,b", "keyless b", "late ", "plain a", "whole a", "whole_parts a"]);
}

#[tokio::test]
async fn refuses_by_name_and_loads_the_rest() {
    let database = Server::shared().database();
    database.sql_as_user(
        "CREATE TABLE good (id int); CREATE TABLE bare (); CREATE TABLE keyed (id int PRIMARY KEY, v int)",
    );
    // Not the program's own tables.
    database.sql(&format!(
        "CREATE TABLE public.secret (id int); CREATE SCHEMA closed; CREATE TABLE closed.t (id int);
         GRANT SELECT ON closed.t TO {USER}; CREATE TABLE policed (id int); GRANT SELECT ON policed TO {USER};
         ALTER TABLE policed ENABLE ROW LEVEL SECURITY"
    ));
    let source = source(&database, &[("column.exclude.list", "public\\.keyed\\.id")]);
    let plan = plan(&*source).await;
    assert_eq!(plan.tables.iter().map(|t| t.schema.table().to_string()).collect::<Vec<_>>(), ["public.good"]);
    assert!(plan.refused.iter().all(|(_, e)| e.kind() == ErrorKind::Data));
    let without_remedy = |e: &connector_api::Error| {
        let shown = e.to_string();
        shown.split_once(", remedy=").map_or(shown.clone(), |(before, _)| format!("{before}]"))
    };
    let refused: Vec<_> = plan.refused.iter().map(|(_, e)| without_remedy(e)).collect();
    assert_eq!(
        refused,
        [
            "no USAGE privilege on the table's schema [table=closed.t]",
            "the table has no columns [table=public.bare]",
            "a column of the key is left out by the column lists [table=public.keyed, column=id]",
            "row-level security would hide rows of the table from this user [table=public.policed]",
            "no SELECT privilege on the table [table=public.secret]",
        ]
    );
}
