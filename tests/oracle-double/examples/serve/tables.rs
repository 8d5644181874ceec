//! What the load is measured with: TPC-H's lineitem, rows of kilobytes, and LOBs.

use connect_oracle_double::{Cell, Json, Length, Moment, Number, Personality, Table, Type, Value};

/// Rows of a block; a block's extent is 1 MiB of the segment as the dictionary has it.
const ROWS_PER_BLOCK: u32 = 60;
const BLOCKS_PER_EXTENT: u32 = 128;

/// All of them: so many rows of LINEITEM, and as many bytes of the others as a load's memory must be shown with.
pub(crate) fn all(rows: u64, release: Personality) -> Vec<Table> {
    let mut all = vec![lineitem(rows), wide((rows / 20).max(1)), notes(), pictures()];
    if release == Personality::V23ai {
        all.push(documents());
    }
    all
}

/// A number that looks random, the same for the same place.
fn random(row: u64, salt: u64) -> u64 {
    let mut z = row.wrapping_add(salt << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Text of which comments are pieces, as TPC-H's generator cuts them.
fn pool() -> String {
    const WORDS: [&str; 24] = [
        "furiously",
        "carefully",
        "quickly",
        "slyly",
        "blithely",
        "ironic",
        "final",
        "pending",
        "express",
        "regular",
        "special",
        "bold",
        "even",
        "silent",
        "unusual",
        "deposits",
        "requests",
        "accounts",
        "packages",
        "theodolites",
        "foxes",
        "instructions",
        "dependencies",
        "ideas",
    ];
    (0..12_000).map(|n| WORDS[(random(n, 99) % 24) as usize]).collect::<Vec<_>>().join(" ")
}

/// Whole numbers or hundredths as they are sent, made once.
fn numbers(of: impl Iterator<Item = i64>, scale: i32) -> Vec<Number> {
    of.map(|n| Number::new(n.into(), scale).unwrap_or(Number::ZERO)).collect()
}

/// TPC-H's columns and roughly its values, as `scripts/lineitem.sql` has them.
fn lineitem(rows: u64) -> Table {
    let price = Type::number(15, 2);
    let table = Table::new("APP", "LINEITEM")
        .column("L_ORDERKEY", Type::number(18, 0))
        .column("L_PARTKEY", Type::number(9, 0))
        .column("L_SUPPKEY", Type::number(9, 0))
        .column("L_LINENUMBER", Type::number(9, 0))
        .column("L_QUANTITY", price)
        .column("L_EXTENDEDPRICE", price)
        .column("L_DISCOUNT", price)
        .column("L_TAX", price)
        .column("L_RETURNFLAG", Type::Char(Length::Bytes(1)))
        .column("L_LINESTATUS", Type::Char(Length::Bytes(1)))
        .column("L_SHIPDATE", Type::Date)
        .column("L_COMMITDATE", Type::Date)
        .column("L_RECEIPTDATE", Type::Date)
        .column("L_SHIPINSTRUCT", Type::Char(Length::Bytes(25)))
        .column("L_SHIPMODE", Type::Char(Length::Bytes(10)))
        .column("L_COMMENT", Type::text(44));
    let (small, hundredths) = (numbers(0..10_001, 0), numbers(0..5_100, 2));
    let days: Vec<_> = (0..2_700).map(|day| Moment::from_epoch_seconds(694_310_400 + day * 86_400)).collect();
    let pool = pool();
    let cells = move |row: u64, column: usize, out: &mut Cell<'_>| {
        let n = random(row, column as u64);
        let shipped = || (random(row, 10) % 2_526) as usize + 30;
        match column {
            0 => out.int((row / 4 * 8 + row % 4) as i64),
            1 => out.int((n % 2_000_000) as i64 + 1),
            2 => out.number(&small[(n % 10_000) as usize + 1]),
            3 => out.number(&small[(row % 4) as usize + 1]),
            4 => out.number(&hundredths[(n % 50) as usize * 100 + 100]),
            5 => out.scaled(((random(row, 4) % 50 + 1) * (90_000 + n % 120_000)) as i64, 2),
            6 => out.number(&hundredths[(n % 11) as usize]),
            7 => out.number(&hundredths[(n % 9) as usize]),
            8 => out.text(["N", "A", "R"][(n % 3) as usize]),
            9 => out.text(["O", "F"][(row % 2) as usize]),
            10 => out.date(&days[shipped()]),
            11 => out.date(&days[shipped() + (n % 60) as usize - 30]),
            12 => out.date(&days[shipped() + 1 + (n % 30) as usize]),
            13 => out.text(
                [
                    "DELIVER IN PERSON        ",
                    "COLLECT COD              ",
                    "NONE                     ",
                    "TAKE BACK RETURN         ",
                ][(n % 4) as usize],
            ),
            14 => out.text(
                ["REG AIR   ", "AIR       ", "RAIL      ", "SHIP      ", "TRUCK     ", "MAIL      ", "FOB       "]
                    [(n % 7) as usize],
            ),
            _ => {
                let from = (n % 60_000) as usize;
                out.text(&pool[from..from + 10 + (n >> 32) as usize % 34]);
            }
        }
    };
    table.layout(ROWS_PER_BLOCK, BLOCKS_PER_EXTENT).analysed(rows, 140).synthetic(rows, cells)
}

/// Rows of 0.3 to 12 kB in three columns of text.
fn wide(rows: u64) -> Table {
    let text = || Type::Varchar2(Length::Bytes(4000));
    let table = Table::new("APP", "WIDE").column("ID", Type::number(18, 0)).column("A", text());
    let pool = pool();
    let cells = move |row: u64, column: usize, out: &mut Cell<'_>| match column {
        0 => out.int(row as i64),
        _ => {
            let n = random(row, column as u64);
            let from = (n % 60_000) as usize;
            out.text(&pool[from..from + 100 + (n >> 32) as usize % 3_900]);
        }
    };
    let table = table.column("B", text()).column("C", text());
    table.layout(1, BLOCKS_PER_EXTENT).analysed(rows, 6_200).synthetic(rows, cells)
}

/// CLOBs of 1 to 60 kB, which come within their rows.
fn notes() -> Table {
    let (table, pool) =
        (Table::new("APP", "NOTES").column("ID", Type::number(9, 0)).column("NOTE", Type::Clob), pool());
    let row = |id: u64| {
        let length = 1_000 + (random(id, 1) % 59_000) as usize;
        vec![Value::int(id as i64), Value::text(&pool[..length])]
    };
    (0..2_000).map(row).fold(table.layout(1, BLOCKS_PER_EXTENT).analysed(2_000, 100), Table::row)
}

/// BLOBs of up to 16 MiB, which are read one by one.
fn pictures() -> Table {
    let table = Table::new("APP", "PICTURES").column("ID", Type::number(9, 0)).column("PICTURE", Type::Blob);
    let row = |id: u64| {
        let length = if id.is_multiple_of(4) { 16 << 20 } else { 100 << 10 };
        let words = (0..length / 8).flat_map(|n| random(n, id).to_be_bytes());
        vec![Value::int(id as i64), Value::Bytes(words.collect())]
    };
    (0..16).map(row).fold(table.layout(1, 8).analysed(16, 100), Table::row)
}

/// JSON of 3 MB, whose length is known when it is read, in eight parts at least.
fn documents() -> Table {
    let table = Table::new("APP", "DOCUMENTS").column("ID", Type::number(9, 0)).column("DOCUMENT", Type::Json);
    let text = pool().repeat(40);
    let row = |id: u64| {
        let from = (random(id, 1) % 50_000) as usize;
        vec![Value::int(id as i64), Value::Json(Box::new(Json::Text(text[from..from + 3_000_000].into())))]
    };
    (0..64).map(row).fold(table.layout(1, 8).analysed(64, 100), Table::row)
}
