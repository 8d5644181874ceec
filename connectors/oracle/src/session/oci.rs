//! Sessions by ODPI-C on Oracle's client libraries (the crate `oracle`): native network encryption, Kerberos, proxy
//! users, 11g verifiers. What is known of it stays here.
//!
//! It loads the libraries when the first session is opened; without them it fails with DPI-1047. A proxy user is
//! `proxy[user]`. tnsnames.ora and wallet are found by TNS_ADMIN, as those libraries look for them. Not shown against a
//! database: none can be had where this was written.

use std::io::Read;

use oracle::sql_type::{Clob, FromSql, IntervalDS, IntervalYM, Nclob, OracleType, Timestamp, ToSql};
use oracle::{Connection, Connector, Error, ErrorKind};

use super::{Admit, Bind, Cell, Each, Kind, Lob, Printed, Query, Row, Session, Stamp, TOO_LONG, contained};
use crate::config::Endpoint;
use crate::error::{Answer, Failure};

/// Bytes asked of a LOB at a time.
const PIECE: usize = 1 << 20;

struct Oci {
    connection: Connection,
    major_version: u32,
}

/// Opens a session.
pub(super) fn connect(endpoint: &Endpoint) -> Answer<Box<dyn Session>> {
    let mut connector = Connector::new(&*endpoint.user, endpoint.password.expose(), endpoint.connect_string());
    let connection = connector.driver_name("connect-runtime").connect().map_err(failure)?;
    connection.set_call_timeout(endpoint.call_timeout).map_err(failure)?;
    let (version, _) = connection.server_version().map_err(failure)?;
    Ok(Box::new(Oci { connection, major_version: u32::try_from(version.major()).unwrap_or_default() }))
}

impl Session for Oci {
    fn major_version(&self) -> u32 {
        self.major_version
    }

    fn run(&mut self, sql: &str, binds: &[Bind<'_>]) -> Answer<()> {
        let values = values(binds);
        let values: Vec<&dyn ToSql> = values.iter().map(|v| &**v).collect();
        contained(|| self.connection.execute(sql, &values).map(drop).map_err(failure))
    }

    fn query(&mut self, query: &Query<'_>, each: Each<'_>) -> Answer<()> {
        let values = values(query.binds);
        let values: Vec<&dyn ToSql> = values.iter().map(|v| &**v).collect();
        contained(|| {
            let mut statement = self.connection.statement(query.sql);
            statement.fetch_array_size(query.fetch).prefetch_rows(query.fetch).exclude_from_cache();
            if query.locators {
                statement.lob_locator();
            }
            let mut statement = statement.build().map_err(failure)?;
            for row in statement.query(&values).map_err(failure)? {
                each(&mut OciRow(row.map_err(failure)?))?;
            }
            Ok(())
        })
    }

    fn abandon(self: Box<Self>) {
        // The libraries say farewell in their own time when it is dropped.
        let _ = contained(|| {
            drop(self);
            Ok(())
        });
    }
}

fn values<'a>(binds: &'a [Bind<'a>]) -> Vec<Box<dyn ToSql + 'a>> {
    let value = |bind: &'a Bind<'a>| -> Box<dyn ToSql + 'a> {
        match bind {
            Bind::Text(text) => Box::new(*text),
            Bind::Number(number) => Box::new(*number),
        }
    };
    binds.iter().map(value).collect()
}

struct OciRow(oracle::Row);

impl OciRow {
    fn get<T: FromSql>(&self, column: usize) -> Answer<Option<T>> {
        self.0.get::<usize, Option<T>>(column).map_err(failure)
    }
}

impl Row for OciRow {
    fn cell(&self, column: usize, kind: Kind) -> Answer<Cell<'_>> {
        let cell = match kind {
            Kind::Bytes => self.get::<Vec<u8>>(column)?.map(Cell::Taken),
            Kind::Float => self.get::<f32>(column)?.map(Cell::Float),
            Kind::Double => self.get::<f64>(column)?.map(Cell::Double),
            Kind::Bool => self.get::<bool>(column)?.map(Cell::Bool),
            Kind::YearMonth => self.get::<IntervalYM>(column)?.map(|i| Cell::YearMonth(i.years(), i.months())),
            Kind::DaySecond => self
                .get::<IntervalDS>(column)?
                .map(|i| Cell::DaySecond([i.days(), i.hours(), i.minutes(), i.seconds(), i.nanoseconds()])),
            Kind::Vector => return Err(Failure::Value("the driver oci cannot read vectors", None)),
        };
        Ok(cell.unwrap_or(Cell::Null))
    }

    fn number(&self, column: usize, out: &mut Printed) -> Answer<bool> {
        match self.get::<String>(column)? {
            None => Ok(false),
            Some(text) if out.print(&text) => Ok(true),
            Some(_) => Err(Failure::Value(TOO_LONG, None)),
        }
    }

    fn text(&self, column: usize, out: &mut Vec<u8>) -> Answer<bool> {
        Ok(self.get::<String>(column)?.map(|text| out.extend_from_slice(text.as_bytes())).is_some())
    }

    fn stamp(&self, column: usize, out: &mut Stamp) -> Answer<bool> {
        let small = |part: u32| u8::try_from(part).unwrap_or(u8::MAX);
        let Some(t) = self.get::<Timestamp>(column)? else { return Ok(false) };
        *out = Stamp {
            year: t.year(),
            month: small(t.month()),
            day: small(t.day()),
            hour: small(t.hour()),
            minute: small(t.minute()),
            second: small(t.second()),
            nanos: t.nanosecond(),
            offset: t.tz_offset(),
        };
        Ok(true)
    }

    fn lob(&mut self, column: usize, cap: u64, admit: Admit<'_>, out: &mut Vec<u8>) -> Answer<Lob> {
        let value = self.0.sql_values().get(column).ok_or(Failure::Unexpected("fewer columns than asked for"))?;
        let lob: Option<Box<dyn Read>> = match value.oracle_type().map_err(failure)? {
            OracleType::CLOB => self.get::<Clob>(column)?.map(|lob| Box::new(lob) as _),
            OracleType::NCLOB => self.get::<Nclob>(column)?.map(|lob| Box::new(lob) as _),
            _ => self.get::<oracle::sql_type::Blob>(column)?.map(|lob| Box::new(lob) as _),
        };
        let Some(mut lob) = lob else { return Ok(Lob::Null) };
        let (start, mut piece) = (out.len(), vec![0; PIECE]);
        loop {
            match lob.read(&mut piece).map_err(|e| Failure::Lost(e.into()))? {
                0 => return Ok(Lob::Read),
                n => out.extend_from_slice(&piece[..n]),
            }
            let length = (out.len() - start) as u64;
            if length > cap {
                return Ok(Lob::TooLong(length));
            }
            admit(length)?;
        }
    }
}

/// What the driver's error is.
fn failure(e: Error) -> Failure {
    if let Some(of_server) = e.db_error().filter(|_| e.kind() == ErrorKind::OciError) {
        return Failure::server(u32::try_from(of_server.code()).unwrap_or_default(), of_server.message());
    }
    match e.kind() {
        // DPI-1047: no client libraries. DPI-1067: the call time-out. DPI-1010, 1080: not connected any more.
        ErrorKind::DpiError if e.to_string().contains("DPI-1047") => Failure::Setup(e.into()),
        ErrorKind::DpiError if ["DPI-1067", "DPI-1010", "DPI-1080"].iter().any(|c| e.to_string().contains(c)) => {
            Failure::Lost(e.into())
        }
        ErrorKind::OutOfRange | ErrorKind::InvalidTypeConversion | ErrorKind::ParseError => {
            Failure::Value("a value of another type than its column's", Some(e.into()))
        }
        _ => Failure::Driver(e.into()),
    }
}
