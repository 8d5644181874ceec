//! The database and the session: `V$` views, parameters, `SYS_CONTEXT`, DUAL.

use super::{Catalog, FLAG, NAME, NUMBER, Rows, Scope, Single, TEXT, number, text};
use crate::sql::Session;
use crate::store::State;
use crate::types::{Length, Type, Value};

/// Users that come with every database.
const MAINTAINED: &[&str] = &["SYS", "SYSTEM", "OUTLN", "DBSNMP", "XDB", "AUDSYS", "CTXSYS", "MDSYS", "WMSYS"];
const DATABASE_ID: i64 = 1_234_567_890;

fn scn(n: u64) -> Value {
    Value::int(n as i64)
}

fn pairs(pairs: &[(&str, &str)]) -> Rows {
    pairs.iter().map(|(name, value)| vec![text(name), text(value)]).collect()
}

pub(super) const VIEWS: &[Single] = &[
    ("DUAL", Scope::Public, &[("DUMMY", Type::Varchar2(Length::Bytes(1)))], |_| vec![vec![text("X")]]),
    (
        "V$DATABASE",
        Scope::Performance,
        &[
            ("DBID", NUMBER),
            ("NAME", NAME),
            ("CREATED", Type::Date),
            ("LOG_MODE", NAME),
            ("OPEN_MODE", NAME),
            ("DATABASE_ROLE", NAME),
            ("SUPPLEMENTAL_LOG_DATA_MIN", NAME),
            ("SUPPLEMENTAL_LOG_DATA_ALL", FLAG),
            ("FORCE_LOGGING", FLAG),
            ("PLATFORM_NAME", NAME),
            ("CURRENT_SCN", NUMBER),
            ("FLASHBACK_ON", NAME),
            ("DB_UNIQUE_NAME", NAME),
            ("CDB", FLAG),
            ("CON_ID", NUMBER),
        ],
        |catalog| {
            let model = &catalog.state.model;
            vec![vec![
                number(DATABASE_ID),
                text(&model.name),
                Value::Date(crate::types::Moment::new(2024, 1, 1, 0, 0, 0)),
                text(&model.log_mode),
                text(&model.open_mode),
                text(&model.role),
                super::yes(model.supplemental.0),
                super::yes(model.supplemental.1),
                text("NO"),
                text("Linux x86 64-bit"),
                scn(catalog.state.scn),
                text("NO"),
                text(&model.name),
                text("YES"),
                number(0),
            ]]
        },
    ),
    ("V$TRANSACTION", Scope::Performance, TRANSACTION.split_at(1).1, |catalog| transactions(catalog, Some(1))),
    ("GV$TRANSACTION", Scope::Performance, TRANSACTION, |catalog| transactions(catalog, None)),
    (
        "V$INSTANCE",
        Scope::Performance,
        &[
            ("INSTANCE_NUMBER", NUMBER),
            ("INSTANCE_NAME", NAME),
            ("HOST_NAME", NAME),
            ("VERSION", NAME),
            ("VERSION_FULL", NAME),
            ("STATUS", NAME),
            ("PARALLEL", FLAG),
            ("THREAD#", NUMBER),
            ("DATABASE_STATUS", NAME),
        ],
        |catalog| {
            let personality = catalog.session.personality;
            vec![vec![
                number(1),
                text(&catalog.state.model.name),
                text("localhost"),
                text(personality.version()),
                text(personality.full_version()),
                text("OPEN"),
                super::yes(catalog.state.model.instances > 1),
                number(1),
                text("ACTIVE"),
            ]]
        },
    ),
    (
        "V$THREAD",
        Scope::Performance,
        &[("THREAD#", NUMBER), ("STATUS", NAME), ("ENABLED", NAME), ("INSTANCE", NAME)],
        |catalog| {
            let threads = 1..=catalog.state.model.instances;
            let name = |n: u32| format!("{}{n}", catalog.state.model.name);
            threads.map(|n| vec![number(n), text("OPEN"), text("PUBLIC"), text(&name(n))]).collect()
        },
    ),
    (
        "V$LOG",
        Scope::Performance,
        &[
            ("GROUP#", NUMBER),
            ("THREAD#", NUMBER),
            ("SEQUENCE#", NUMBER),
            ("BYTES", NUMBER),
            ("ARCHIVED", FLAG),
            ("STATUS", NAME),
            ("FIRST_CHANGE#", NUMBER),
            ("NEXT_CHANGE#", NUMBER),
        ],
        |catalog| {
            let row = |thread: u32| {
                let current = scn(switched(catalog));
                let (n, next) = (number(thread), number(i64::MAX));
                vec![n.clone(), n, number(2), number(200 << 20), text("NO"), text("CURRENT"), current, next]
            };
            (1..=catalog.state.model.instances).map(row).collect()
        },
    ),
    (
        "V$ARCHIVED_LOG",
        Scope::Performance,
        &[
            ("NAME", TEXT),
            ("DEST_ID", NUMBER),
            ("THREAD#", NUMBER),
            ("SEQUENCE#", NUMBER),
            ("FIRST_CHANGE#", NUMBER),
            ("NEXT_CHANGE#", NUMBER),
            ("ARCHIVED", FLAG),
            ("DELETED", FLAG),
            ("STATUS", FLAG),
        ],
        |catalog| {
            let (from, to) = (catalog.state.redo_horizon, switched(catalog));
            let row = |thread: u32| {
                let name = text(&format!("/archive/{thread}_1.arc"));
                let (first, next) = (scn(from), scn(to));
                let (archived, deleted, status) = (text("YES"), text("NO"), text("A"));
                vec![name, number(1), number(thread), number(1), first, next, archived, deleted, status]
            };
            if from < to { (1..=catalog.state.model.instances).map(row).collect() } else { Vec::new() }
        },
    ),
    (
        "V$ARCHIVE_DEST_STATUS",
        Scope::Performance,
        &[("DEST_ID", NUMBER), ("DEST_NAME", NAME), ("STATUS", NAME), ("TYPE", NAME)],
        |catalog| {
            let there = catalog.state.model.log_mode == "ARCHIVELOG";
            let row = vec![number(1), text("LOG_ARCHIVE_DEST_1"), text("VALID"), text("LOCAL")];
            if there { vec![row] } else { Vec::new() }
        },
    ),
    (
        "V$VERSION",
        Scope::Public,
        &[("BANNER", NAME), ("BANNER_FULL", TEXT), ("BANNER_LEGACY", NAME), ("CON_ID", NUMBER)],
        |catalog| {
            let personality = catalog.session.personality;
            let banner = personality.banner();
            let full = format!("{banner}\nVersion {}", personality.full_version());
            vec![vec![text(banner), text(&full), text(banner), number(0)]]
        },
    ),
    (
        "PRODUCT_COMPONENT_VERSION",
        Scope::Public,
        &[("PRODUCT", NAME), ("VERSION", NAME), ("VERSION_FULL", NAME), ("STATUS", NAME)],
        |catalog| {
            let personality = catalog.session.personality;
            let product = personality.banner().split(" Release").next().unwrap_or_default();
            let (version, full) = (text(personality.version()), text(personality.full_version()));
            vec![vec![text(product), version, full, text("Production")]]
        },
    ),
    ("NLS_DATABASE_PARAMETERS", Scope::Public, &[("PARAMETER", NAME), ("VALUE", NAME)], |catalog| {
        pairs(&[
            ("NLS_LANGUAGE", "AMERICAN"),
            ("NLS_TERRITORY", "AMERICA"),
            ("NLS_CHARACTERSET", &catalog.state.model.charset),
            ("NLS_NCHAR_CHARACTERSET", "AL16UTF16"),
            ("NLS_LENGTH_SEMANTICS", "BYTE"),
            ("NLS_RDBMS_VERSION", catalog.session.personality.version()),
        ])
    }),
    ("NLS_SESSION_PARAMETERS", Scope::Public, &[("PARAMETER", NAME), ("VALUE", NAME)], |_| {
        pairs(&[("NLS_LANGUAGE", "AMERICAN"), ("NLS_TERRITORY", "AMERICA"), ("NLS_SORT", "BINARY")])
    }),
    (
        "V$PARAMETER",
        Scope::Performance,
        &[("NUM", NUMBER), ("NAME", NAME), ("TYPE", NUMBER), ("VALUE", TEXT), ("ISDEFAULT", FLAG)],
        |catalog| {
            let parameters = catalog.state.model.parameters.iter().enumerate();
            let row = |(n, (name, value)): (usize, &(String, String))| {
                vec![number(n as i64), text(name), number(2), text(value), text("TRUE")]
            };
            parameters.map(row).collect()
        },
    ),
    (
        "V$UNDOSTAT",
        Scope::Performance,
        &[
            ("BEGIN_TIME", Type::Date),
            ("END_TIME", Type::Date),
            ("UNDOBLKS", NUMBER),
            ("TXNCOUNT", NUMBER),
            ("MAXQUERYLEN", NUMBER),
            ("UNXPSTEALCNT", NUMBER),
            ("SSOLDERRCNT", NUMBER),
            ("NOSPACEERRCNT", NUMBER),
            ("TUNED_UNDORETENTION", NUMBER),
        ],
        |catalog| {
            let date = |minute| Value::Date(crate::types::Moment::new(2026, 11, 20, 12, minute, 0));
            let retention = catalog.state.model.parameters.iter().find(|(name, _)| name == "undo_retention");
            let retention = retention.map_or(900, |(_, value)| value.parse().unwrap_or(900));
            let old = i64::from(catalog.state.undo_horizon > 0);
            vec![vec![
                date(0),
                date(10),
                number(1200),
                number(300),
                number(60),
                number(0),
                number(old),
                number(0),
                number(retention),
            ]]
        },
    ),
    ("V$CONTAINERS", Scope::Performance, CONTAINER, containers),
    ("V$PDBS", Scope::Performance, CONTAINER, containers),
    (
        "ALL_USERS",
        Scope::Public,
        &[
            ("USERNAME", NAME),
            ("USER_ID", NUMBER),
            ("CREATED", Type::Date),
            ("COMMON", FLAG),
            ("ORACLE_MAINTAINED", FLAG),
        ],
        |catalog| {
            let ours = catalog.state.model.users.iter().map(|u| (u.name.as_str(), false));
            let all = MAINTAINED.iter().map(|name| (*name, true)).chain(ours);
            let created = Value::Date(crate::types::Moment::new(2024, 1, 1, 0, 0, 0));
            let row = |(n, (name, theirs)): (usize, (&str, bool))| {
                vec![text(name), number(n as i64), created.clone(), super::yes(theirs), super::y(theirs)]
            };
            all.enumerate().map(row).collect()
        },
    ),
    (
        "USER_PARALLEL_EXECUTE_CHUNKS",
        Scope::Public,
        &[
            ("CHUNK_ID", NUMBER),
            ("TASK_NAME", NAME),
            ("STATUS", NAME),
            ("START_ROWID", Type::Rowid),
            ("END_ROWID", Type::Rowid),
        ],
        |catalog| {
            let chunks = catalog.state.chunks.iter().enumerate();
            let row = |(n, (task, from, to)): (usize, &(String, crate::types::Rowid, crate::types::Rowid))| {
                vec![number(n as i64 + 1), text(task), text("UNASSIGNED"), Value::Rowid(*from), Value::Rowid(*to)]
            };
            chunks.map(row).collect()
        },
    ),
];

/// Where the current log of every thread begins: at the SCN that the database started with, while that is not forgotten.
fn switched(catalog: &Catalog<'_>) -> u64 {
    catalog.state.model.scn.max(catalog.state.redo_horizon)
}

const CONTAINER: &[(&str, Type)] = &[("CON_ID", NUMBER), ("DBID", NUMBER), ("NAME", NAME), ("OPEN_MODE", NAME)];

fn containers(catalog: &Catalog<'_>) -> Rows {
    let model = &catalog.state.model;
    vec![vec![number(3), number(DATABASE_ID), text(&model.container), text(&model.open_mode)]]
}

const TRANSACTION: &[(&str, Type)] = &[
    ("INST_ID", NUMBER),
    ("XIDUSN", NUMBER),
    ("XIDSLOT", NUMBER),
    ("XIDSQN", NUMBER),
    ("STATUS", NAME),
    ("START_SCNB", NUMBER),
    ("START_SCNW", NUMBER),
    ("START_SCN", NUMBER),
];

/// Open transactions, of an instance or of all. A standby has none.
fn transactions(catalog: &Catalog<'_>, instance: Option<u32>) -> Rows {
    if catalog.state.model.role != "PRIMARY" {
        return Vec::new();
    }
    let open = catalog.state.transactions.iter().filter(|(_, t)| instance.is_none_or(|i| i == t.instance));
    let rows = open.map(|(id, t)| {
        let (low, high) = (t.start_scn & 0xFFFF_FFFF, t.start_scn >> 32);
        let mut row =
            vec![number(5), number(*id as i64), number(100), text("ACTIVE"), scn(low), scn(high), scn(t.start_scn)];
        if instance.is_none() {
            row.insert(0, number(t.instance));
        }
        row
    });
    rows.collect()
}

/// `SYS_CONTEXT(namespace, name)`.
pub(crate) fn context(state: &State, session: &Session, namespace: &str, name: &str) -> Value {
    if namespace != "USERENV" {
        return Value::Null;
    }
    let model = &state.model;
    Value::text(match name {
        "SESSION_USER" | "CURRENT_USER" => session.user.clone(),
        "PROXY_USER" => session.proxy.clone().unwrap_or_default(),
        "CURRENT_SCHEMA" => session.schema.clone(),
        "CON_NAME" | "PDB_NAME" => session.container.clone(),
        "CON_ID" => "3".into(),
        "DB_NAME" | "DB_UNIQUE_NAME" | "INSTANCE_NAME" => model.name.clone(),
        "DATABASE_ROLE" => model.role.clone(),
        "SERVICE_NAME" => session.service.clone(),
        "SERVER_HOST" | "HOST" => "localhost".into(),
        "INSTANCE" => "1".into(),
        "SID" | "SESSIONID" => session.id.to_string(),
        "NETWORK_PROTOCOL" => session.protocol.into(),
        "AUTHENTICATION_METHOD" => "PASSWORD".into(),
        "CLIENT_PROGRAM_NAME" | "MODULE" => session.program.clone(),
        "LANGUAGE" => format!("AMERICAN_AMERICA.{}", model.charset),
        _ => return Value::Null,
    })
}
