//! Tokens to a tree, with the server's own errors where that fails: statements and queries. What they are made of is in
//! `expression`.

use super::lexer::{Token, TokenKind, tokens};
use super::syntax::{Expr, From, Item, Join, Order, Query, Source, Statement};
use crate::error::OraError;
use crate::types::Value;

pub(super) type Parsed<T> = Result<T, OraError>;

/// Words that end an expression or a table's alias.
pub(super) const RESERVED: &[&str] = &[
    "FROM",
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "FETCH",
    "OFFSET",
    "UNION",
    "ON",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "CROSS",
    "AND",
    "OR",
    "NOT",
    "AS",
    "SAMPLE",
    "PARTITION",
    "SUBPARTITION",
    "IS",
    "IN",
    "LIKE",
    "BETWEEN",
    "THEN",
    "ELSE",
    "END",
    "WHEN",
    "ASC",
    "DESC",
    "NULLS",
    "FOR",
    "CONNECT",
    "START",
    "SELECT",
    "WITH",
    "BY",
];

/// Parses a statement. Also gives the names of its binds: in SQL each time that one occurs, in a block each once.
pub(crate) fn parse(sql: &str) -> Parsed<(Statement, Vec<String>)> {
    let mut parser = Parser { sql, tokens: tokens(sql)?, at: 0, binds: Vec::new(), in_block: false };
    let statement = parser.statement()?;
    Ok((statement, parser.binds))
}

/// What is left of a statement's tokens, and its binds so far.
pub(super) struct Parser<'a> {
    sql: &'a str,
    tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) binds: Vec<String>,
    pub(super) in_block: bool,
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> &TokenKind {
        &self.tokens[self.at.min(self.tokens.len() - 1)].kind
    }

    pub(super) fn peek_after(&self, count: usize) -> &TokenKind {
        &self.tokens[(self.at + count).min(self.tokens.len() - 1)].kind
    }

    pub(super) fn place(&self) -> usize {
        self.tokens[self.at.min(self.tokens.len() - 1)].at
    }

    pub(super) fn next(&mut self) -> TokenKind {
        let kind = self.peek().clone();
        self.at += 1;
        kind
    }

    pub(super) fn error<T>(&self, code: u32) -> Parsed<T> {
        Err(OraError::known(code).at(self.place()))
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), TokenKind::Word(w) if w == word)
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), TokenKind::Symbol(s) if *s == symbol)
    }

    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    /// All of these words, or none is taken.
    fn words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(n, w)| matches!(self.peek_after(n), TokenKind::Word(t) if t == w));
        self.at += if found { words.len() } else { 0 };
        found
    }

    pub(super) fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_symbol(&mut self, symbol: &str, code: u32) -> Parsed<()> {
        if self.symbol(symbol) { Ok(()) } else { self.error(code) }
    }

    pub(super) fn expect_word(&mut self, word: &str, code: u32) -> Parsed<()> {
        if self.word(word) { Ok(()) } else { self.error(code) }
    }

    /// An identifier, quoted or not; `None` when there is none.
    pub(super) fn identifier(&mut self) -> Option<String> {
        let found = match self.peek() {
            TokenKind::Word(word) if !RESERVED.contains(&word.as_str()) => word.clone(),
            TokenKind::Quoted(name) => name.clone(),
            _ => return None,
        };
        self.at += 1;
        Some(found)
    }

    fn statement(&mut self) -> Parsed<Statement> {
        if self.is_word("SELECT") || self.is_symbol("(") {
            let query = self.query()?;
            self.end()?;
            return Ok(Statement::Query(Box::new(query)));
        }
        if self.words(&["ALTER", "SESSION"]) {
            return self.alter_session();
        }
        if self.word("BEGIN") || self.word("DECLARE") {
            return self.block();
        }
        // Of no consequence where sessions change nothing: what follows them is not read.
        let idle = self.words(&["SET", "TRANSACTION"]) || self.words(&["LOCK", "TABLE"]);
        if idle || self.word("COMMIT") || self.word("ROLLBACK") || self.word("SAVEPOINT") {
            return Ok(Statement::Nothing);
        }
        self.error(900)
    }

    fn end(&mut self) -> Parsed<()> {
        if self.is_symbol(";") {
            return self.error(911);
        }
        if matches!(self.peek(), TokenKind::End) { Ok(()) } else { self.error(933) }
    }

    /// `SET name = value …`, or anything that is enabled or disabled.
    fn alter_session(&mut self) -> Parsed<Statement> {
        let mut set = Vec::new();
        if !self.word("SET") {
            return Ok(Statement::AlterSession(set));
        }
        while let Some(name) = self.identifier() {
            self.expect_symbol("=", 927)?;
            let value = match self.next() {
                TokenKind::Word(value)
                | TokenKind::Quoted(value)
                | TokenKind::Text(value)
                | TokenKind::Number(value) => value,
                _ => return self.error(2248),
            };
            set.push((name, value));
        }
        Ok(Statement::AlterSession(set))
    }

    /// `BEGIN package.procedure(argument, …); END;`, or one without a call that is known.
    fn block(&mut self) -> Parsed<Statement> {
        self.in_block = true;
        if self.word("NULL") {
            return Ok(Statement::Block(None));
        }
        let mut name = String::new();
        while let Some(part) = self.identifier() {
            name.push_str(&part);
            if self.symbol(".") {
                name.push('.');
            }
        }
        let mut arguments = Vec::new();
        if self.symbol("(") && !self.symbol(")") {
            loop {
                // An argument may be named.
                if matches!(self.peek_after(1), TokenKind::Symbol("=>")) {
                    self.at += 2;
                }
                arguments.push(self.expression()?);
                if !self.symbol(",") {
                    break;
                }
            }
            self.expect_symbol(")", 6550)?;
        }
        Ok(Statement::Block(Some((name, arguments))))
    }

    pub(super) fn query(&mut self) -> Parsed<Query> {
        let mut query = self.query_block()?;
        if self.words(&["UNION", "ALL"]) {
            query.union = Some(Box::new(self.query_block()?));
        }
        if self.words(&["ORDER", "BY"]) {
            loop {
                let expr = self.expression()?;
                let descending = self.word("DESC");
                if !descending {
                    self.word("ASC");
                }
                let nulls_first = match self.words(&["NULLS", "FIRST"]) {
                    true => true,
                    false => !self.words(&["NULLS", "LAST"]) && descending,
                };
                query.order.push(Order { expr, descending, nulls_first });
                if !self.symbol(",") {
                    break;
                }
            }
        }
        if self.word("OFFSET") {
            query.offset = Some(self.additive()?);
            let _ = self.word("ROWS") || self.word("ROW");
        }
        if self.word("FETCH") {
            let _ = self.word("FIRST") || self.word("NEXT");
            query.limit = Some(match self.is_word("ROW") || self.is_word("ROWS") {
                true => Expr::Literal(Value::int(1)),
                false => self.additive()?,
            });
            let _ = self.word("ROWS") || self.word("ROW");
            self.expect_word("ONLY", 933)?;
        }
        Ok(query)
    }

    fn query_block(&mut self) -> Parsed<Query> {
        if self.symbol("(") {
            let query = self.query()?;
            self.expect_symbol(")", 907)?;
            return Ok(query);
        }
        self.expect_word("SELECT", 928)?;
        let distinct = self.word("DISTINCT") || self.word("UNIQUE");
        let mut items = Vec::new();
        loop {
            items.push(self.item()?);
            if !self.symbol(",") {
                break;
            }
        }
        self.expect_word("FROM", 923)?;
        let mut from = vec![self.source(Join::Cross)?];
        loop {
            if self.symbol(",") || self.words(&["CROSS", "JOIN"]) {
                from.push(self.source(Join::Cross)?);
                continue;
            }
            let left = self.words(&["LEFT", "JOIN"]) || self.words(&["LEFT", "OUTER", "JOIN"]);
            if !left && !self.word("JOIN") && !self.words(&["INNER", "JOIN"]) {
                break;
            }
            let mut source = self.source(Join::Cross)?;
            self.expect_word("ON", 905)?;
            let on = self.expression()?;
            source.join = if left { Join::Left(on) } else { Join::Inner(on) };
            from.push(source);
        }
        let filter = if self.word("WHERE") { Some(self.expression()?) } else { None };
        let mut group = Vec::new();
        if self.words(&["GROUP", "BY"]) {
            loop {
                group.push(self.expression()?);
                if !self.symbol(",") {
                    break;
                }
            }
        }
        let having = if self.word("HAVING") { Some(self.expression()?) } else { None };
        let (order, offset, limit, union) = (Vec::new(), None, None, None);
        Ok(Query { distinct, items, from, filter, group, having, order, offset, limit, union })
    }

    fn item(&mut self) -> Parsed<Item> {
        if self.symbol("*") {
            return Ok(Item::All(None));
        }
        if let (TokenKind::Word(name) | TokenKind::Quoted(name), TokenKind::Symbol("."), TokenKind::Symbol("*")) =
            (self.peek().clone(), self.peek_after(1), self.peek_after(2))
        {
            self.at += 3;
            return Ok(Item::All(Some(name)));
        }
        let from = self.place();
        let expr = self.expression()?;
        let text = self.sql[from..self.place()].trim_end();
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_uppercase();
        self.word("AS");
        let alias = self.identifier();
        Ok(Item::One { expr, alias, text })
    }

    fn source(&mut self, join: Join) -> Parsed<From> {
        if self.symbol("(") {
            let query = self.query()?;
            self.expect_symbol(")", 907)?;
            let alias = self.identifier();
            return Ok(From { source: Source::Query(Box::new(query)), alias, join });
        }
        let at = self.place();
        let Some(mut name) = self.identifier() else { return self.error(903) };
        let mut owner = None;
        if self.symbol(".") {
            owner = Some(name);
            name = match self.identifier() {
                Some(name) => name,
                None => return self.error(903),
            };
        }
        let (mut partition, mut sample, mut scn) = (None, None, None);
        if self.word("PARTITION") || self.word("SUBPARTITION") {
            self.expect_symbol("(", 906)?;
            partition = self.identifier();
            self.expect_symbol(")", 907)?;
        }
        if self.word("SAMPLE") {
            self.word("BLOCK");
            self.expect_symbol("(", 906)?;
            let TokenKind::Number(percent) = self.next() else { return self.error(1722) };
            sample = percent.parse::<f64>().ok().filter(|p| (0.000_001..100.0).contains(p));
            if sample.is_none() {
                return Err(OraError::new(30562, "SAMPLE percentage must be in the range [0.000001,100)"));
            }
            self.expect_symbol(")", 907)?;
        }
        if self.words(&["AS", "OF", "SCN"]) {
            scn = Some(self.additive()?);
        }
        let alias = self.identifier();
        Ok(From { source: Source::Table { owner, name, partition, sample, scn, at }, alias, join })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(sql: &str, code: u32) {
        assert_eq!(parse(sql).map_err(|e| e.code).unwrap_err(), code, "{sql}");
    }

    #[test]
    fn what_is_no_statement_is_refused_in_oracles_words() {
        refused("selct 1 from dual", 900);
        refused("select 1 dual", 923);
        refused("select 1 from dual where", 936);
        refused("select 1 from dual x y", 933);
        refused("select 1 from dual;", 911);
        refused("select (1 from dual", 907);
        refused("select a from t sample block (100)", 30562);
    }

    #[test]
    fn binds_count_each_time_in_sql_and_once_in_a_block() {
        let (_, binds) = parse("select :b, :1 from t as of scn :a where x in (:B, :1)").unwrap();
        assert_eq!(binds, ["B", "1", "A", "B", "1"]);
        let (_, binds) = parse("begin p(:a, :b, :a); end;").unwrap();
        assert_eq!(binds, ["A", "B"]);
    }

    #[test]
    fn the_statements_of_a_load_are_understood() {
        for sql in [
            "SELECT \"A\", XMLSERIALIZE(CONTENT \"X\" AS CLOB), JSON_SERIALIZE(\"J\" RETURNING CLOB) \
             FROM \"O\".\"T\" AS OF SCN :1 WHERE ROWID >= CHARTOROWID(:2) AND ROWID < CHARTOROWID(:3)",
            "SELECT ROWIDTOCHAR(ROWID) FROM \"O\".\"T\" SAMPLE BLOCK (0.000100)",
            "select * from t partition (p1) as of scn 5 x where x.a is not null or not (b like 'a%' escape '\\')",
            "select a, count(*) from t group by a having count(*) > 1 order by 2 desc nulls last, a \
             offset 5 rows fetch next 10 rows only",
            "select e.a from x e, y o left join z on z.b = o.b where (e.a, o.b) in (select a, b from t)",
            "select case when a between 1 and 2 then 'x' else 'y' end from dual where exists (select 1 from dual)",
            "BEGIN DBMS_PARALLEL_EXECUTE.CREATE_CHUNKS_BY_ROWID(:1, :2, :3, FALSE, :4); END;",
            "ALTER SESSION SET TIME_ZONE='+00:00' NLS_SORT = BINARY",
            "ALTER SESSION DISABLE PARALLEL QUERY",
        ] {
            assert!(parse(sql).is_ok(), "{sql}: {:?}", parse(sql).err());
        }
    }
}
