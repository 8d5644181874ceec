//! The Rust driver, in this process, with what it gives as the texts that are compared.

use std::time::Duration;

use oracledb::{
    Config, ErrorKind, JsonValue, OracleIntervalDS, OracleIntervalYM, OracleNumber, OracleTimestamp, Row, Vector,
    VectorData,
};

use crate::foreign::{Outcome, Request};

/// Does what a request says.
pub(crate) fn run(request: &Request) -> Vec<Outcome> {
    let host = match request.wallet {
        Some(_) => format!("tcps://localhost:{}", request.port),
        None => format!("127.0.0.1:{}", request.port),
    };
    if request.wallet.is_some() {
        // The driver takes the process's; a second installation changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let connect = || {
        let mut config = Config::default()
            .set_connect_string(&format!("{host}/{}", request.service))?
            .set_credentials(&request.user, &request.password);
        if let Some(wallet) = &request.wallet {
            config = config.set_wallet_location(wallet.to_str().unwrap());
        }
        oracledb::connect(config)
    };
    let connection = match connect() {
        Ok(connection) => connection,
        Err(e) => return vec![problem(&e)],
    };
    if request.timeout > 0 {
        connection.set_call_timeout(Some(Duration::from_millis(request.timeout.into()))).unwrap();
    }
    let statements = request.statements.iter();
    statements.map(|(sql, binds)| statement(&connection, request, sql, binds).unwrap_or_else(|e| problem(&e))).collect()
}

fn statement(
    connection: &oracledb::Connection,
    request: &Request,
    sql: &str,
    binds: &[serde_json::Value],
) -> Result<Outcome, oracledb::Error> {
    let mut builder = connection.statement(sql)?.fetch_array_size(request.rows);
    if request.lobs {
        builder = builder.fetch_lobs();
    }
    let mut statement = builder.build()?;
    let (numbers, texts): (Vec<i64>, Vec<String>) = (
        binds.iter().map(|b| b.as_i64().unwrap_or_default()).collect(),
        binds.iter().map(|b| b.as_str().unwrap_or_default().to_owned()).collect(),
    );
    let values: Vec<&dyn oracledb::ToDbValue> = binds
        .iter()
        .enumerate()
        .map(|(n, bind)| if bind.is_string() { &texts[n] as &dyn oracledb::ToDbValue } else { &numbers[n] })
        .collect();
    if !statement.is_query() {
        statement.execute(&values)?;
        return Ok(Outcome::Rows { columns: Vec::new(), rows: Vec::new() });
    }
    let cursor = statement.query(&values)?;
    let columns: Vec<String> = cursor.columns().iter().map(|c| c.name().to_owned()).collect();
    let kinds: Vec<String> = cursor.columns().iter().map(|c| c.db_type().name().to_owned()).collect();
    let mut rows = Vec::new();
    for row in cursor {
        let mut row = row?;
        rows.push((0..kinds.len()).map(|n| text(&mut row, n, &kinds[n], request.lobs)).collect::<Result<_, _>>()?);
    }
    Ok(Outcome::Rows { columns, rows })
}

fn problem(error: &oracledb::Error) -> Outcome {
    let code = match error.kind() {
        ErrorKind::DbError(e) => format!("ORA-{:05}", e.code()),
        _ => String::new(),
    };
    Outcome::Error(code, error.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn text(row: &mut Row, n: usize, kind: &str, lobs: bool) -> Result<Option<String>, oracledb::Error> {
    Ok(match kind {
        "DB_TYPE_NUMBER" => row.get::<Option<OracleNumber>>(n)?.map(|v| v.to_string()),
        "DB_TYPE_BINARY_FLOAT" => row.get::<Option<f32>>(n)?.map(|v| hex(&v.to_be_bytes())),
        "DB_TYPE_BINARY_DOUBLE" => row.get::<Option<f64>>(n)?.map(|v| hex(&v.to_be_bytes())),
        "DB_TYPE_RAW" | "DB_TYPE_LONG_RAW" => row.get::<Option<Vec<u8>>>(n)?.map(|v| hex(&v)),
        "DB_TYPE_BLOB" if lobs => read(row, n)?.map(|v| hex(&v)),
        "DB_TYPE_BLOB" => row.get::<Option<Vec<u8>>>(n)?.map(|v| hex(&v)),
        "DB_TYPE_CLOB" | "DB_TYPE_NCLOB" if lobs => read(row, n)?.map(|v| String::from_utf8(v).unwrap()),
        "DB_TYPE_BOOLEAN" => row.get::<Option<bool>>(n)?.map(|v| v.to_string()),
        "DB_TYPE_INTERVAL_YM" => row
            .get::<Option<OracleIntervalYM>>(n)?
            .map(|v| (i64::from(v.years()) * 12 + i64::from(v.months())).to_string()),
        "DB_TYPE_INTERVAL_DS" => row.get::<Option<OracleIntervalDS>>(n)?.map(|v| {
            let hours = i128::from(v.days()) * 24 + i128::from(v.hours());
            let seconds = (hours * 60 + i128::from(v.minutes())) * 60 + i128::from(v.seconds());
            (seconds * 1_000_000_000 + i128::from(v.nanoseconds())).to_string()
        }),
        "DB_TYPE_DATE" | "DB_TYPE_TIMESTAMP" | "DB_TYPE_TIMESTAMP_TZ" | "DB_TYPE_TIMESTAMP_LTZ" => {
            row.get::<Option<OracleTimestamp>>(n)?.map(|v| {
                let date = format!("{:04}-{:02}-{:02}", v.year(), v.month(), v.day());
                format!("{date} {:02}:{:02}:{:02}.{:09}", v.hour(), v.minute(), v.second(), v.nanoseconds())
            })
        }
        "DB_TYPE_JSON" => row.get::<Option<JsonValue>>(n)?.map(|v| json(&v).to_string()),
        "DB_TYPE_VECTOR" => row.get::<Option<Vector>>(n)?.map(|v| match v {
            Vector::Dense(VectorData::Float32(values)) => {
                values.iter().map(|v| hex(&v.to_be_bytes())).collect::<Vec<_>>().join(" ")
            }
            _ => panic!("a vector of another kind"),
        }),
        _ => row.get::<Option<String>>(n)?,
    })
}

/// A LOB through its locator.
fn read(row: &mut Row, n: usize) -> Result<Option<Vec<u8>>, oracledb::Error> {
    let Some(mut lob) = row.take::<Option<oracledb::Lob>>(n)? else { return Ok(None) };
    let mut all = Vec::new();
    // In one piece: the driver fails where a piece ends between the halves of a surrogate pair.
    let mut piece = vec![0; 4 << 20];
    loop {
        match std::io::Read::read(&mut lob, &mut piece).unwrap() {
            0 => return Ok(Some(all)),
            n => all.extend_from_slice(&piece[..n]),
        }
    }
}

fn json(value: &JsonValue) -> serde_json::Value {
    match value {
        JsonValue::Null => serde_json::Value::Null,
        JsonValue::Boolean(b) => (*b).into(),
        JsonValue::Number(n) => format!("n:{n}").into(),
        JsonValue::String(text) => text.clone().into(),
        JsonValue::JsonArray(items) => items.iter().map(json).collect(),
        JsonValue::JsonObject(members) => members.iter().map(|(k, v)| (k.clone(), json(v))).collect(),
        _ => panic!("JSON of another kind"),
    }
}
