//! Starts a server on a port, for foreign clients: `serve 19c|23ai [port]`. It ends with its standard input.
//!
//! User `APP` has the password `tiger`; `APP.TYPES` has a column of each type, `APP.BIG` a million rows.

use std::io::{Read as _, Write as _};

use connect_oracle_double::{Cell, Double, Model, Options, Personality, Table, Type, User};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let personality = match arguments.next().as_deref() {
        Some("19c") => Personality::V19c,
        _ => Personality::V23ai,
    };
    let port = arguments.next().and_then(|p| p.parse().ok()).unwrap_or(0);
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
        .table(connect_oracle_double::every_type("APP", personality));
    let double = Double::start(model.table(big), Options::new(personality).port(port))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", double.port())?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
