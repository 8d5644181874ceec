//! Starts a server on a port, for foreign clients and for measurements: `serve 19c|23ai [port [rows]]`. It prints its
//! port, then for each line of its standard input how many round trips it has served, and ends with its input.
//!
//! User `APP` has the password `tiger`; `APP.TYPES` has a column of each type, `APP.BIG` a million rows; with `rows`,
//! `APP.LINEITEM` has so many, and `APP.WIDE`, `APP.NOTES`, `APP.PICTURES` and, in 23ai, `APP.DOCUMENTS` are there.

mod tables;

use std::io::{BufRead as _, Write as _};

use connect_oracle_double::{Cell, Double, Model, Options, Personality, Table, Type, User};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let personality = match arguments.next().as_deref() {
        Some("19c") => Personality::V19c,
        _ => Personality::V23ai,
    };
    let mut number = || arguments.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let (port, rows) = (number(), number());
    let big = Table::new("APP", "BIG").column("ID", Type::number(10, 0)).column("NAME", Type::text(100));
    let big = big.column("AMOUNT", Type::number(12, 2)).synthetic(
        1_000_000,
        |row: u64, column: usize, out: &mut Cell<'_>| match column {
            0 => out.int(row as i64),
            1 if row.is_multiple_of(7) => out.null(),
            1 => out.formatted(format_args!("name-{row}")),
            _ => out.scaled(row as i64, 2),
        },
    );
    let model = Model::new()
        .user(User::new("APP", "tiger").reader())
        .table(connect_oracle_double::every_type("APP", personality))
        .table(big);
    let model = if rows > 0 { tables::all(rows, personality).into_iter().fold(model, Model::table) } else { model };
    let double = Double::start(model, Options::new(personality).port(port as u16))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", double.port())?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        line?;
        writeln!(out, "{}", double.faults().round_trips())?;
        out.flush()?;
    }
    Ok(())
}
