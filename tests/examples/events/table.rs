//! The table that the events change: what it holds, and what happens to it by chance.

use connect_tests::chance::Chance;

const SEED: u64 = 42;

/// What the table holds while the events go on: of each key its part and quantity, or nothing.
pub(crate) struct Table {
    rows: Vec<Option<std::num::NonZeroU32>>,
    pub(crate) chance: Chance,
    pool: String,
}

/// A change of a row.
pub(crate) struct Change {
    pub(crate) op: char,
    pub(crate) key: u64,
    pub(crate) row: Row,
}

#[derive(Default)]
pub(crate) struct Row {
    pub(crate) numbers: [u64; 3],
    /// Of two decimals.
    pub(crate) amounts: [u64; 4],
    pub(crate) flags: [&'static str; 2],
    pub(crate) days: [u64; 3],
    pub(crate) instruct: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) comment: String,
}

impl Table {
    pub(crate) fn new(rows: u64) -> Self {
        let held = (0..rows).map(|key| packed(1 + key * 7919 % 200_000, 1 + key * 31 % 50));
        let mut chance = Chance(SEED);
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
        let words: Vec<&str> = (0..9000).map(|_| WORDS[chance.below(24) as usize]).collect();
        Self { rows: held.collect(), chance, pool: words.join(" ") }
    }

    pub(crate) fn change(&mut self, mix: &str) -> Change {
        let (op, key) = match (mix, self.chance.below(100)) {
            ("one", _) => ('u', 0),
            ("inserts", _) | ("changes", 60..90) => ('c', self.rows.len() as u64),
            ("changes", 0..60) => ('u', self.existing()),
            ("changes", _) => ('d', self.existing()),
            _ => panic!("no such mix: {mix}"),
        };
        if op == 'd' {
            self.rows[key as usize] = None;
            return Change { op, key, row: Row::default() };
        }
        let mut row = self.row(key);
        if mix == "one" {
            (row.numbers[0], row.amounts[0]) = (1, 100);
        }
        let held = packed(row.numbers[0], row.amounts[0] / 100);
        match self.rows.get_mut(key as usize) {
            Some(there) => *there = held,
            None => self.rows.push(held),
        }
        Change { op, key, row }
    }

    fn existing(&mut self) -> u64 {
        loop {
            let key = self.chance.below(self.rows.len() as u64);
            if self.rows[key as usize].is_some() {
                return key;
            }
        }
    }

    fn row(&mut self, key: u64) -> Row {
        let mut below = |n| self.chance.below(n);
        let (quantity, shipped) = (1 + below(50), 8036 + below(2526));
        let (start, length) = (below(50_000) as usize, 10 + below(34) as usize);
        Row {
            numbers: [1 + below(200_000), 1 + below(10_000), 1 + key % 4],
            amounts: [quantity * 100, quantity * (90_000 + below(120_000)), below(11), below(9)],
            flags: [["N", "A", "R"][below(3) as usize], ["O", "F"][key as usize % 2]],
            days: [shipped, shipped + below(60) - 30, shipped + 1 + below(30)],
            instruct: [
                "DELIVER IN PERSON        ",
                "COLLECT COD              ",
                "NONE                     ",
                "TAKE BACK RETURN         ",
            ][below(4) as usize],
            mode: ["REG AIR   ", "AIR       ", "RAIL      ", "SHIP      ", "TRUCK     ", "MAIL      ", "FOB       "]
                [below(7) as usize],
            comment: self.pool[start..start + length].to_owned(),
        }
    }

    /// Rows; the sums of key × part and of key × quantity.
    pub(crate) fn sums(&self) -> (u64, u128, u128) {
        let (mut count, mut parts, mut quantities) = (0, 0, 0);
        for (key, row) in self.rows.iter().enumerate() {
            if let Some(row) = row {
                count += 1;
                parts += key as u128 * u128::from(row.get() >> 8);
                quantities += key as u128 * u128::from(row.get() & 0xff);
            }
        }
        (count, parts, quantities)
    }
}

fn packed(part: u64, quantity: u64) -> Option<std::num::NonZeroU32> {
    std::num::NonZeroU32::new((part << 8 | quantity) as u32)
}
