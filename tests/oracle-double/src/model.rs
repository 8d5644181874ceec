//! What a test says of a database before it starts: users, tables, keys, privileges. Chained calls build it.
//!
//! What must hold: names are as the dictionary has them (upper case unless quoted at creation), and what contradicts
//! itself panics where it is built.

use std::sync::Arc;

use crate::auth::Verifier;
use crate::encode;
use crate::number::Number;
use crate::types::{Moment, Type, Value};
use crate::wire::Write;

/// A system change number.
pub type Scn = u64;

/// A database as it is before it starts.
#[derive(Clone)]
pub struct Model {
    pub(crate) users: Vec<User>,
    pub(crate) tables: Vec<Table>,
    pub(crate) name: String,
    pub(crate) container: String,
    pub(crate) services: Vec<String>,
    pub(crate) role: String,
    pub(crate) open_mode: String,
    pub(crate) scn: Scn,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) charset: String,
    pub(crate) instances: u32,
    pub(crate) log_mode: String,
    /// Whether the redo has what LogMiner needs, and every column of every table.
    pub(crate) supplemental: (bool, bool),
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// A primary database ORCL with the pluggable database ORCLPDB1 that is reached as service `orclpdb1`, and
    /// nothing in it. Its SCN does not fit in 32 bits.
    pub fn new() -> Self {
        Self {
            users: Vec::new(),
            tables: Vec::new(),
            name: "ORCL".into(),
            container: "ORCLPDB1".into(),
            services: vec!["orclpdb1".into()],
            role: "PRIMARY".into(),
            open_mode: "READ WRITE".into(),
            scn: 281_474_976_710_656,
            parameters: vec![("undo_retention".into(), "900".into()), ("db_block_size".into(), "8192".into())],
            charset: "AL32UTF8".into(),
            instances: 1,
            log_mode: "ARCHIVELOG".into(),
            supplemental: (true, false),
        }
    }

    /// Adds a user.
    pub fn user(mut self, user: User) -> Self {
        self.users.push(user);
        self
    }

    /// Adds a table, a view or the like.
    pub fn table(mut self, table: Table) -> Self {
        self.tables.push(table);
        self
    }

    /// A further service name, or SID, that the listener knows.
    pub fn service(mut self, name: &str) -> Self {
        self.services.push(name.into());
        self
    }

    /// It is a physical standby that is open for reading: its open transactions cannot be seen.
    pub fn standby(mut self) -> Self {
        self.role = "PHYSICAL STANDBY".into();
        self.open_mode = "READ ONLY WITH APPLY".into();
        self
    }

    /// The SCN that it starts at.
    pub fn scn(mut self, scn: Scn) -> Self {
        self.scn = scn;
        self
    }

    /// An initialisation parameter, as `v$parameter` has it.
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.retain(|(n, _)| n != name);
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Instances of a cluster (RAC), each with a redo thread.
    pub fn instances(mut self, count: u32) -> Self {
        self.instances = count;
        self
    }

    /// The database keeps no archived logs.
    pub fn without_archive_log(mut self) -> Self {
        self.log_mode = "NOARCHIVELOG".into();
        self
    }

    /// Whether the redo of all tables has what LogMiner needs (without it: it has), and every column (it does not).
    pub fn supplemental_logging(mut self, minimal: bool, all: bool) -> Self {
        self.supplemental = (minimal, all);
        self
    }
}

/// A user.
#[derive(Clone, Debug)]
pub struct User {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) verifier: Verifier,
    pub(crate) system: Vec<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) objects: Vec<(String, String, String)>,
    pub(crate) proxies: Vec<String>,
}

impl User {
    /// A user that may log in, read its own tables and nothing else.
    pub fn new(name: &str, password: &str) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            verifier: Verifier::V12c,
            system: vec!["CREATE SESSION".into()],
            roles: Vec::new(),
            objects: Vec::new(),
            proxies: Vec::new(),
        }
    }

    /// Its password is kept with another verifier.
    pub fn verifier(mut self, verifier: Verifier) -> Self {
        self.verifier = verifier;
        self
    }

    /// Grants a system privilege, such as `SELECT ANY TABLE`.
    pub fn system(mut self, privilege: &str) -> Self {
        self.system.push(privilege.into());
        self
    }

    /// Takes a system privilege away, such as `CREATE SESSION`.
    pub fn without(mut self, privilege: &str) -> Self {
        self.system.retain(|p| p != privilege);
        self
    }

    /// Grants a role. Known is what `SELECT_CATALOG_ROLE` and `DBA` bring.
    pub fn role(mut self, role: &str) -> Self {
        self.roles.push(role.into());
        self
    }

    /// Grants a privilege on an object of `owner`, such as `SELECT` or `FLASHBACK`. Views of the dictionary are
    /// objects of `SYS`: `V_$DATABASE`, `GV_$TRANSACTION`, `DBA_EXTENTS`.
    pub fn grant(mut self, privilege: &str, owner: &str, object: &str) -> Self {
        self.objects.push((privilege.into(), owner.into(), object.into()));
        self
    }

    /// Lets another user connect through: `proxy[user]`.
    pub fn through(mut self, proxy: &str) -> Self {
        self.proxies.push(proxy.into());
        self
    }

    /// All that a bulk load needs: reading any table at any SCN, the dictionary, transactions, extents.
    pub fn reader(self) -> Self {
        self.system("SELECT ANY TABLE").system("FLASHBACK ANY TABLE").role("SELECT_CATALOG_ROLE")
    }
}

/// What kind of thing a table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary table.
    Heap,
    /// Rows are kept in the primary key's index and have no physical rowid.
    IndexOrganised,
    /// Rows share blocks with those of other tables of this cluster.
    Clustered(String),
    /// Each session has its own rows: here none.
    Temporary,
    /// Rows come from files.
    External,
    /// Holds a nested table column's rows of this parent.
    Nested {
        /// The table that has the column.
        parent: String,
        /// The column.
        column: String,
    },
    /// A query with a name.
    View(String),
    /// A query whose rows are kept, in a table of the same name.
    MaterialisedView(String),
}

/// A column.
#[derive(Clone, Debug)]
pub(crate) struct ColumnDef {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) nullable: bool,
    pub(crate) comment: Option<String>,
    pub(crate) hidden: bool,
    pub(crate) generated: Option<String>,
    pub(crate) identity: bool,
}

/// A key.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// `P`, `U` or `R`.
    pub(crate) kind: char,
    pub(crate) columns: Vec<String>,
    /// The owner and name of the key that is referred to.
    pub(crate) refers: Option<(String, String)>,
    pub(crate) enabled: bool,
}

/// A partition, or a part of one.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) name: String,
    /// The composite partition that it is a part of.
    pub(crate) parent: Option<String>,
    /// How the partition is bounded, as the dictionary shows it.
    pub(crate) high_value: String,
}

/// Makes the rows of a table from their numbers, cell by cell and on the fly.
pub trait Generator: Send + Sync {
    /// Writes the value of a column (from 0) of a row (from 0).
    fn cell(&self, row: u64, column: usize, out: &mut Cell<'_>);
}

impl<F: Fn(u64, usize, &mut Cell<'_>) + Send + Sync> Generator for F {
    fn cell(&self, row: u64, column: usize, out: &mut Cell<'_>) {
        self(row, column, out);
    }
}

/// Takes one value, which goes straight into the response.
pub struct Cell<'a> {
    pub(crate) out: &'a mut Vec<u8>,
}

impl Cell<'_> {
    /// NULL.
    pub fn null(&mut self) {
        self.out.push(0);
    }

    /// A whole number.
    pub fn int(&mut self, number: i64) {
        self.scaled(number, 0);
    }

    /// `number / 10^scale`.
    pub fn scaled(&mut self, number: i64, scale: i32) {
        // 19 digits always fit.
        let number = Number::new(number.into(), scale).unwrap_or(Number::ZERO);
        self.out.bytes(number.bytes());
    }

    /// A number that is there already.
    pub fn number(&mut self, number: &Number) {
        self.out.bytes(number.bytes());
    }

    /// Text of the database character set.
    pub fn text(&mut self, text: &str) {
        self.out.bytes(text.as_bytes());
    }

    /// Text of up to 252 bytes that is made in place.
    ///
    /// # Panics
    /// When it is longer.
    pub fn formatted(&mut self, text: std::fmt::Arguments<'_>) {
        let at = self.out.len();
        self.out.push(0);
        // Writing into memory does not fail.
        let _ = std::io::Write::write_fmt(self.out, text);
        let length = self.out.len() - at - 1;
        assert!(length <= 252, "{length} bytes of text");
        self.out[at] = length as u8;
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.bytes(bytes);
    }

    /// A date.
    pub fn date(&mut self, moment: &Moment) {
        self.out.bytes(&encode::date(moment));
    }

    /// A timestamp without time zone.
    pub fn timestamp(&mut self, moment: &Moment) {
        encode::timestamp(moment, self.out);
    }

    /// Any other value.
    pub fn value(&mut self, kind: &Type, value: &Value) {
        encode::value(kind, value, self.out);
    }
}

/// A table, or what looks like one.
#[derive(Clone)]
pub struct Table {
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) columns: Vec<ColumnDef>,
    pub(crate) keys: Vec<Key>,
    pub(crate) comment: Option<String>,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) rows: Vec<(Option<String>, Vec<Value>)>,
    pub(crate) synthetic: Option<(u64, Arc<dyn Generator>)>,
    pub(crate) rows_per_block: u32,
    pub(crate) blocks_per_extent: u32,
    pub(crate) analysed: Option<(u64, u64)>,
    pub(crate) logs_all: bool,
}

impl Table {
    /// An ordinary table without columns yet.
    pub fn new(owner: &str, name: &str) -> Self {
        Self {
            owner: owner.into(),
            name: name.into(),
            kind: Kind::Heap,
            columns: Vec::new(),
            keys: Vec::new(),
            comment: None,
            partitions: Vec::new(),
            rows: Vec::new(),
            synthetic: None,
            rows_per_block: 100,
            blocks_per_extent: 8,
            analysed: None,
            logs_all: false,
        }
    }

    /// A view.
    pub fn view(owner: &str, name: &str, sql: &str) -> Self {
        Self { kind: Kind::View(sql.into()), ..Self::new(owner, name) }
    }

    /// Makes it another kind of table.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds a column that may be NULL.
    pub fn column(mut self, name: &str, kind: Type) -> Self {
        self.columns.push(ColumnDef {
            name: name.into(),
            kind,
            nullable: true,
            comment: None,
            hidden: false,
            generated: None,
            identity: false,
        });
        self
    }

    fn last(&mut self) -> &mut ColumnDef {
        self.columns.last_mut().unwrap_or_else(|| panic!("{} has no column yet", self.name))
    }

    /// The last column is NOT NULL.
    pub fn not_null(mut self) -> Self {
        self.last().nullable = false;
        self
    }

    /// The last column's comment.
    pub fn commented(mut self, comment: &str) -> Self {
        self.last().comment = Some(comment.into());
        self
    }

    /// The last column is invisible.
    pub fn invisible(mut self) -> Self {
        self.last().hidden = true;
        self
    }

    /// The last column is virtual: an expression. Its value is given with each row.
    pub fn generated(mut self, expression: &str) -> Self {
        self.last().generated = Some(expression.into());
        self
    }

    /// The last column is `GENERATED AS IDENTITY`.
    pub fn identity(mut self) -> Self {
        self.last().identity = true;
        self
    }

    /// The table's comment.
    pub fn comment(mut self, comment: &str) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// The primary key, named `{table}_PK`; its columns are NOT NULL from here on.
    pub fn primary_key(mut self, columns: &[&str]) -> Self {
        for column in self.columns.iter_mut().filter(|c| columns.contains(&c.name.as_str())) {
            column.nullable = false;
        }
        let name = format!("{}_PK", self.name);
        self.key(&name, 'P', columns, None)
    }

    /// A unique key.
    pub fn unique(self, name: &str, columns: &[&str]) -> Self {
        self.key(name, 'U', columns, None)
    }

    /// A foreign key that refers to a key of `owner`.
    pub fn foreign_key(self, name: &str, columns: &[&str], owner: &str, key: &str) -> Self {
        self.key(name, 'R', columns, Some((owner.into(), key.into())))
    }

    /// The last key is disabled.
    pub fn disabled(mut self) -> Self {
        if let Some(key) = self.keys.last_mut() {
            key.enabled = false;
        }
        self
    }

    fn key(mut self, name: &str, kind: char, columns: &[&str], refers: Option<(String, String)>) -> Self {
        for column in columns {
            assert!(self.columns.iter().any(|c| c.name == *column), "{}: no column {column}", self.name);
        }
        let columns = columns.iter().map(|c| (*c).to_owned()).collect();
        self.keys.push(Key { name: name.into(), kind, columns, refers, enabled: true });
        self
    }

    /// Adds a partition with its bound (`TO_DATE('…')`, `'EU', 'US'`): a segment of its own.
    pub fn partition(mut self, name: &str, high_value: &str) -> Self {
        let high_value = high_value.into();
        self.partitions.push(Partition { name: name.into(), parent: None, high_value });
        self
    }

    /// Adds a part of a composite partition: a segment of its own.
    pub fn subpartition(mut self, partition: &str, name: &str, high_value: &str) -> Self {
        let parent = Some(partition.into());
        self.partitions.push(Partition { name: name.into(), parent, high_value: high_value.into() });
        self
    }

    /// Adds a row that was committed before the database starts. It goes into the first partition.
    pub fn row(mut self, values: Vec<Value>) -> Self {
        self.rows.push((None, values));
        self
    }

    /// Adds a row to a partition or a part of one.
    pub fn row_in(mut self, partition: &str, values: Vec<Value>) -> Self {
        self.rows.push((Some(partition.into()), values));
        self
    }

    /// So many rows that are made as they are read; nothing can be changed in them.
    pub fn synthetic(mut self, rows: u64, generator: impl Generator + 'static) -> Self {
        self.synthetic = Some((rows, Arc::new(generator)));
        self
    }

    /// How rows lie in blocks and blocks in extents.
    pub fn layout(mut self, rows_per_block: u32, blocks_per_extent: u32) -> Self {
        (self.rows_per_block, self.blocks_per_extent) = (rows_per_block.max(1), blocks_per_extent.max(1));
        self
    }

    /// What the optimizer knows: rows, and bytes of a row on average. Without it: nothing.
    pub fn analysed(mut self, rows: u64, bytes: u64) -> Self {
        self.analysed = Some((rows, bytes));
        self
    }

    /// Its redo has every column.
    pub fn supplemental_logging(mut self) -> Self {
        self.logs_all = true;
        self
    }
}
