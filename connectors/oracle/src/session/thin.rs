//! Sessions by Oracle's own driver in Rust: what is known of it stays here.
//!
//! Taken from its source (26.0.0-beta.5): it blocks; a read time-out is its call time-out; closing asks the server and
//! waits; a CLOB is read in units of UTF-16, and a piece that ends within a pair of surrogates fails without moving
//! on; TIMESTAMP WITH TIME ZONE comes as UTC. It has no proxy authentication.

use std::cell::Cell;
use std::io::{self, Read};
use std::time::Duration;

use oracledb::{
    Config, Connection, Cursor, Error, ErrorKind, FromDbValue, OracleIntervalDS, OracleIntervalYM, OracleNumber,
    OracleTimestamp, ToDbValue, Vector, VectorData,
};

use super::{Admit, Bind, Cell as Value, Each, Kind, Lob, Printed, Query, Row, Session, Stamp, TOO_LONG, contained};
use crate::config::Endpoint;
use crate::error::{Answer, Failure};

/// How long a session that is given up may take to say so.
const FAREWELL: Duration = Duration::from_millis(500);
/// Bytes asked of a LOB at a time.
const PIECE: usize = 1 << 20;

struct Thin {
    connection: Connection,
}

/// Opens a session.
pub(super) fn connect(endpoint: &Endpoint) -> Answer<Box<dyn Session>> {
    let mut config = Config::default()
        .set_credentials(&endpoint.user, endpoint.password.expose())
        .set_driver_name("connect-runtime")
        .set_program("connect-runtime")
        .map_err(failure)?
        .set_transport_connect_timeout(Some(endpoint.connect_timeout));
    if let Some(directory) = &endpoint.tns_admin {
        config = config.set_config_dir(directory);
    }
    if let Some(wallet) = &endpoint.wallet {
        config = config.set_wallet_location(wallet.as_str()).set_wallet_password(endpoint.wallet_password.expose());
    }
    // The driver's TLS takes the process's choice, which is open where two providers are linked.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = config.set_connect_string(&endpoint.connect_string()).map_err(failure)?;
    // An account without a verifier of 12c makes it panic, after the server has named the verifiers.
    let connection = contained(|| oracledb::connect(config).map_err(failure)).map_err(|e| match e {
        Failure::Driver(cause) if cause.to_string().contains("panicked") => {
            let what = format!("logon denied: the account may have only an 11g verifier ({cause})");
            Failure::server(1017, what)
        }
        other => other,
    })?;
    connection.set_call_timeout(endpoint.call_timeout).map_err(failure)?;
    Ok(Box::new(Thin { connection }))
}

impl Session for Thin {
    fn major_version(&self) -> u32 {
        self.connection.version().map_or(0, |v| u32::try_from(v.0).unwrap_or(0))
    }

    fn run(&mut self, sql: &str, binds: &[Bind<'_>]) -> Answer<()> {
        let values = values(binds);
        let values: Vec<&dyn ToDbValue> = values.iter().map(|v| &**v).collect();
        contained(|| self.connection.execute(sql, &values).map(drop).map_err(failure))
    }

    fn query(&mut self, query: &Query<'_>, each: Each<'_>) -> Answer<()> {
        contained(|| {
            let cursor = self.cursor(query).map_err(failure)?;
            let nulls = vec![Cell::new(false); cursor.columns().len()];
            for row in cursor {
                each(&mut ThinRow { row: row.map_err(failure)?, nulls: &nulls })?;
            }
            Ok(())
        })
    }

    fn abandon(self: Box<Self>) {
        // Dropping it asks the server, which may be what has failed.
        let _ = contained(|| {
            let _ = self.connection.set_call_timeout(Some(FAREWELL));
            drop(self);
            Ok(())
        });
    }
}

impl Thin {
    fn cursor(&self, query: &Query<'_>) -> Result<Cursor, Error> {
        let values = values(query.binds);
        let values: Vec<&dyn ToDbValue> = values.iter().map(|v| &**v).collect();
        let statement = self.connection.statement(query.sql)?.fetch_array_size(query.fetch).prefetch_rows(query.fetch);
        let statement = if query.locators { statement.fetch_lobs() } else { statement };
        statement.exclude_from_cache().build()?.query(&values)
    }
}

fn values<'a>(binds: &'a [Bind<'a>]) -> Vec<Box<dyn ToDbValue + 'a>> {
    let value = |bind: &Bind<'a>| -> Box<dyn ToDbValue + 'a> {
        match *bind {
            Bind::Text(text) => Box::new(text),
            Bind::Number(number) => Box::new(number),
        }
    };
    binds.iter().map(value).collect()
}

struct ThinRow<'a> {
    row: oracledb::Row,
    /// The columns that had a NULL so far.
    nulls: &'a [Cell<bool>],
}

impl ThinRow<'_> {
    /// The value of a type of the driver's, if it is not NULL.
    fn get<'a, T>(&'a self, column: usize) -> Answer<Option<T>>
    where
        Option<T>: FromDbValue<'a>,
    {
        self.row.get::<Option<T>>(column).map_err(failure)
    }

    /// The same, looked at where the driver puts it: within an `Option` it would be a copy. A NULL is an error then, which
    /// may take a trace of the stack; so it is asked for so until the column has one.
    #[inline]
    fn look<'a, T, R>(&'a self, column: usize, look: impl FnOnce(&T) -> R) -> Answer<Option<R>>
    where
        T: FromDbValue<'a>,
    {
        let Some(null) = self.nulls.get(column) else {
            return Err(Failure::Unexpected("fewer columns than asked for"));
        };
        if null.get() {
            return Ok(self.get::<T>(column)?.map(|value| look(&value)));
        }
        match self.row.get::<T>(column) {
            Ok(ref value) => Ok(Some(look(value))),
            Err(e) if matches!(e.kind(), ErrorKind::ValueWasNull) => {
                null.set(true);
                Ok(None)
            }
            Err(e) => Err(failure(e)),
        }
    }
}

impl Row for ThinRow<'_> {
    fn cell(&self, column: usize, kind: Kind) -> Answer<Value<'_>> {
        let cell = match kind {
            Kind::Bytes => self.get::<&[u8]>(column)?.map(Value::Bytes),
            Kind::Float => self.get::<f32>(column)?.map(Value::Float),
            Kind::Double => self.get::<f64>(column)?.map(Value::Double),
            Kind::Bool => self.get::<bool>(column)?.map(Value::Bool),
            Kind::YearMonth => {
                self.get::<OracleIntervalYM>(column)?.map(|i| Value::YearMonth(i.years(), i.months().into()))
            }
            Kind::DaySecond => self.get::<OracleIntervalDS>(column)?.map(|i| {
                let parts = [i.days(), i.hours().into(), i.minutes().into(), i.seconds().into(), i.nanoseconds()];
                Value::DaySecond(parts)
            }),
            Kind::Vector => match self.get::<Vector>(column)? {
                None => None,
                Some(vector) => Some(Value::Vector(elements(vector)?)),
            },
        };
        Ok(cell.unwrap_or(Value::Null))
    }

    fn number(&self, column: usize, out: &mut Printed) -> Answer<bool> {
        match self.look(column, |number: &OracleNumber| out.print(number))? {
            Some(false) => Err(Failure::Value(TOO_LONG, None)),
            there => Ok(there.is_some()),
        }
    }

    fn text(&self, column: usize, out: &mut Vec<u8>) -> Answer<bool> {
        match self.row.get::<Option<&str>>(column) {
            Ok(Some(text)) => out.extend_from_slice(text.as_bytes()),
            Ok(None) => return Ok(false),
            // A ROWID is no string to the driver, but it prints as one.
            Err(_) => match self.get::<String>(column)? {
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    fn stamp(&self, column: usize, out: &mut Stamp) -> Answer<bool> {
        let there = self.look(column, |t: &OracleTimestamp| {
            out.year = t.year().into();
            (out.month, out.day) = (t.month(), t.day());
            (out.hour, out.minute, out.second, out.nanos) = (t.hour(), t.minute(), t.second(), t.nanoseconds());
            // What has a zone comes as UTC.
            out.offset = 0;
        })?;
        Ok(there.is_some())
    }

    fn lob(&mut self, column: usize, cap: u64, admit: Admit<'_>, out: &mut Vec<u8>) -> Answer<Lob> {
        let Some(mut lob) = self.row.take::<Option<oracledb::Lob>>(column).map_err(failure)? else {
            return Ok(Lob::Null);
        };
        let size = lob.get_size().map_err(failure)? as u64;
        // Of a CLOB it is characters: no fewer bytes.
        if size > cap {
            return Ok(Lob::TooLong(size));
        }
        admit(size)?;
        let (start, mut piece) = (out.len(), vec![0; PIECE.min(3 * size as usize + 3)]);
        loop {
            let read = match lob.read(&mut piece) {
                // The piece ended within a pair of surrogates: one unit less does not.
                Err(e) if e.kind() == io::ErrorKind::InvalidData && piece.len() > 6 => {
                    let shorter = piece.len() - 3;
                    lob.read(&mut piece[..shorter])
                }
                read => read,
            };
            match read.map_err(of_lob)? {
                0 => return Ok(Lob::Read),
                n => out.extend_from_slice(&piece[..n]),
            }
            let length = (out.len() - start) as u64;
            if length > cap {
                return Ok(Lob::TooLong(length));
            }
        }
    }
}

fn elements(vector: Vector) -> Answer<Vec<f64>> {
    let dense = match vector {
        Vector::Dense(data) => data,
        Vector::Sparse(sparse) => {
            let mut all = vec![0.0; sparse.num_dimensions()];
            for (at, value) in sparse.indices().iter().zip(numbers(sparse.values())?) {
                *all.get_mut(*at).ok_or(Failure::Value("a vector beyond its dimensions", None))? = value;
            }
            return Ok(all);
        }
    };
    numbers(&dense)
}

fn numbers(data: &VectorData) -> Answer<Vec<f64>> {
    Ok(match data {
        VectorData::Float32(v) => v.iter().map(|e| f64::from(*e)).collect(),
        VectorData::Float64(v) => v.clone(),
        VectorData::Int8(v) => v.iter().map(|e| f64::from(*e)).collect(),
        VectorData::Binary(_) => return Err(Failure::Value("a vector of bits has no numbers", None)),
    })
}

/// What an error of reading a LOB is: of the server's errors only the text is left.
fn of_lob(e: io::Error) -> Failure {
    let text = e.to_string();
    let code = text.split("ORA-").nth(1).and_then(|rest| rest.get(..5)).and_then(|digits| digits.parse().ok());
    match code {
        Some(code) => Failure::server(code, text),
        None if e.kind() == io::ErrorKind::InvalidData => {
            Failure::Value("text that is not in the character set of its column", Some(e.into()))
        }
        None => Failure::Lost(e.into()),
    }
}

/// What the driver's error is.
fn failure(e: Error) -> Failure {
    use ErrorKind as K;
    let code = match e.kind() {
        K::DbError(e) => return Failure::server(u32::try_from(e.code()).unwrap_or_default(), e.message()),
        K::InvalidServiceName(..) => Some(12514),
        K::InvalidSid(..) => Some(12505),
        K::TnsAliasNotFound(..) => Some(12154),
        K::ListenerRefusedConnection(_, _, _, code) => u32::try_from(*code).ok(),
        _ => None,
    };
    if let Some(code) = code {
        return Failure::server(code, e.to_string());
    }
    // The driver's error is no std error; its text holds its causes.
    let text = e.to_string();
    // An untrusted server does not become trusted by asking again.
    if text.contains("invalid peer certificate") {
        let remedy = "the server's authority must be public or in ewallet.pem of database.wallet.location, and its \
                      certificate made out to database.hostname; of a wallet with a client's key the driver thin takes \
                      no authorities";
        return Failure::Setup(format!("{text}: {remedy}").into());
    }
    match e.kind() {
        K::CallTimeoutExceeded
        | K::DeadConnection
        | K::NotConnected
        | K::StreamOperation
        | K::UnableToRecover
        | K::UnexpectedRefuse(_)
        | K::OutOfData => Failure::Lost(text.into()),
        K::InvalidConnectString(..)
        | K::InvalidDescriptorNode(..)
        | K::InvalidNetworkName(_)
        | K::InvalidRedirect(_)
        | K::IfileCycleDetected(..)
        | K::NoConfigDir
        | K::NoConnectString
        | K::NoCredentials
        | K::ParseError(..)
        | K::PemFileOperation
        | K::ServerVersionNotSupported
        | K::TlsOperation
        | K::WalletPasswordMissingOrInvalid(..)
        | K::WalletPrivateKeyInvalid(_)
        | K::WalletUnreadable(_) => Failure::Setup(text.into()),
        K::InvalidEncodedString => {
            Failure::Value("text that is not in the character set of its column", Some(text.into()))
        }
        K::InvalidEncodedVector | K::UnsupportedVectorFormat(_) | K::UnsupportedVectorVersion(_) => {
            Failure::Value("a vector that the driver cannot read", Some(text.into()))
        }
        K::UnsupportedConversion(..) | K::UnsupportedDbType(_) => {
            Failure::Value("a value of another type than its column's", Some(text.into()))
        }
        _ => Failure::Driver(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use connect_oracle_double::{Double, Model, Options, Personality, Table, Type, User, Value as Stored};
    use connector_api::ConnectorConfig as _;

    use super::*;
    use crate::config::OracleConfig;

    fn session(double: &Double) -> Box<dyn Session> {
        let url = format!("127.0.0.1:{}/orclpdb1", double.port());
        let keys = [("database.url", url.as_str()), ("database.user", "app"), ("database.password", "tiger")];
        let keys = [("topic.prefix", "x"), ("snapshot.mode", "initial_only")].into_iter().chain(keys);
        let raw = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let config = OracleConfig::from_values(&OracleConfig::definition().parse(&raw).0).unwrap();
        connect(&config.endpoint).unwrap()
    }

    /// What it may take is asked before the first piece of it is.
    #[test]
    fn a_lob_is_not_read_before_it_is_admitted() {
        let table = Table::new("APP", "T").column("ID", Type::number(9, 0)).column("C", Type::Clob);
        let row = |id| vec![Stored::int(id), Stored::text("x".repeat(300_000))];
        let model = Model::new().user(User::new("APP", "tiger").reader()).table(table.row(row(1)).row(row(2)));
        let double = Double::start(model, Options::new(Personality::V23ai)).unwrap();
        let mut session = session(&double);
        let query = Query { sql: "SELECT \"C\" FROM \"APP\".\"T\"", binds: &[], fetch: 10, locators: true };
        let mut rows = 0;
        session
            .query(&query, &mut |row| {
                rows += 1;
                let (mut out, mut asked) = (vec![], vec![]);
                let refused = rows == 1;
                let mut admit = |length| {
                    asked.push((length, double.faults().round_trips()));
                    if refused { Err(Failure::Unexpected("no room")) } else { Ok(()) }
                };
                let read = row.lob(0, 1 << 20, &mut admit, &mut out);
                let trips = double.faults().round_trips();
                match (read, &asked[..]) {
                    (Err(_), [(300_000, before)]) if refused => assert!(*before == trips && out.is_empty()),
                    (Ok(Lob::Read), [(300_000, before)]) => assert!(*before < trips && out.len() == 300_000),
                    other => panic!("{other:?} {}", out.len()),
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(rows, 2);
    }
}
