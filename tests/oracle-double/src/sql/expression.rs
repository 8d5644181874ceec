//! Tokens to expressions, by how tightly their operators bind.

use super::lexer::TokenKind;
use super::parser::{Parsed, Parser, RESERVED};
use super::syntax::{Expr, Operator};
use crate::error::OraError;
use crate::types::{Moment, Value};

impl Parser<'_> {
    /// The loosest: OR.
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        let mut left = self.conjunction()?;
        while self.word("OR") {
            left = binary(Operator::Or, left, self.conjunction()?);
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Parsed<Expr> {
        let mut left = self.negation()?;
        while self.word("AND") {
            left = binary(Operator::And, left, self.negation()?);
        }
        Ok(left)
    }

    fn negation(&mut self) -> Parsed<Expr> {
        if self.word("NOT") { Ok(Expr::Not(Box::new(self.negation()?))) } else { self.comparison() }
    }

    fn comparison(&mut self) -> Parsed<Expr> {
        if self.word("EXISTS") {
            self.expect_symbol("(", 906)?;
            let query = self.query()?;
            self.expect_symbol(")", 907)?;
            return Ok(Expr::Exists(Box::new(query)));
        }
        // A list in front of IN.
        if self.is_symbol("(")
            && let Some(list) = self.list_before_in()
        {
            let negative = self.word("NOT");
            self.expect_word("IN", 936)?;
            self.expect_symbol("(", 906)?;
            let query = self.query()?;
            self.expect_symbol(")", 907)?;
            return Ok(negated(negative, Expr::InQuery(list, Box::new(query))));
        }
        let left = self.additive()?;
        let operator = match self.peek() {
            TokenKind::Symbol("=") => Operator::Equal,
            TokenKind::Symbol("<>" | "!=" | "^=") => Operator::NotEqual,
            TokenKind::Symbol("<") => Operator::Less,
            TokenKind::Symbol("<=") => Operator::LessOrEqual,
            TokenKind::Symbol(">") => Operator::Greater,
            TokenKind::Symbol(">=") => Operator::GreaterOrEqual,
            TokenKind::Word(_) => return self.predicate(left),
            _ => return Ok(left),
        };
        self.at += 1;
        Ok(binary(operator, left, self.additive()?))
    }

    fn list_before_in(&mut self) -> Option<Vec<Expr>> {
        let (from, binds) = (self.at, self.binds.len());
        self.at += 1;
        let mut list = Vec::new();
        while let Ok(expr) = self.additive() {
            list.push(expr);
            if !self.symbol(",") {
                break;
            }
        }
        let not_in = self.symbol(")") && list.len() > 1 && (self.is_word("IN") || self.is_word("NOT"));
        if not_in {
            return Some(list);
        }
        self.at = from;
        self.binds.truncate(binds);
        None
    }

    fn predicate(&mut self, left: Expr) -> Parsed<Expr> {
        if self.word("IS") {
            let negative = self.word("NOT");
            self.expect_word("NULL", 908)?;
            return Ok(negated(negative, Expr::IsNull(Box::new(left))));
        }
        let from = self.at;
        let negative = self.word("NOT");
        if self.word("IN") {
            self.expect_symbol("(", 906)?;
            if self.is_word("SELECT") {
                let query = self.query()?;
                self.expect_symbol(")", 907)?;
                return Ok(negated(negative, Expr::InQuery(vec![left], Box::new(query))));
            }
            let mut list = Vec::new();
            loop {
                list.push(self.additive()?);
                if !self.symbol(",") {
                    break;
                }
            }
            self.expect_symbol(")", 907)?;
            return Ok(negated(negative, Expr::In(Box::new(left), list)));
        }
        if self.word("LIKE") {
            let pattern = Box::new(self.additive()?);
            let escape = if self.word("ESCAPE") { Some(Box::new(self.additive()?)) } else { None };
            return Ok(negated(negative, Expr::Like(Box::new(left), pattern, escape)));
        }
        if self.word("BETWEEN") {
            let low = self.additive()?;
            self.expect_word("AND", 905)?;
            let high = self.additive()?;
            let above = binary(Operator::GreaterOrEqual, left.clone(), low);
            return Ok(negated(negative, binary(Operator::And, above, binary(Operator::LessOrEqual, left, high))));
        }
        self.at = from;
        Ok(left)
    }

    pub(super) fn additive(&mut self) -> Parsed<Expr> {
        let mut left = self.multiplicative()?;
        loop {
            let operator = match self.peek() {
                TokenKind::Symbol("+") => Operator::Add,
                TokenKind::Symbol("-") => Operator::Subtract,
                TokenKind::Symbol("||") => Operator::Concatenate,
                _ => return Ok(left),
            };
            self.at += 1;
            left = binary(operator, left, self.multiplicative()?);
        }
    }

    fn multiplicative(&mut self) -> Parsed<Expr> {
        let mut left = self.primary()?;
        loop {
            let operator = match self.peek() {
                TokenKind::Symbol("*") => Operator::Multiply,
                TokenKind::Symbol("/") => Operator::Divide,
                _ => return Ok(left),
            };
            self.at += 1;
            left = binary(operator, left, self.primary()?);
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let at = self.place();
        if self.symbol("-") {
            return Ok(Expr::Negative(Box::new(self.primary()?)));
        }
        if self.symbol("+") {
            return self.primary();
        }
        if self.symbol("(") {
            if self.is_word("SELECT") {
                let query = self.query()?;
                self.expect_symbol(")", 907)?;
                return Ok(Expr::Scalar(Box::new(query)));
            }
            let inner = self.expression()?;
            self.expect_symbol(")", 907)?;
            return Ok(inner);
        }
        match self.peek().clone() {
            TokenKind::Text(text) => {
                self.at += 1;
                Ok(Expr::Literal(Value::text(text)))
            }
            TokenKind::Number(digits) => {
                self.at += 1;
                digits.parse().map(|n| Expr::Literal(Value::Number(n))).or_else(|_| self.error(1722))
            }
            TokenKind::Bind(name) => {
                self.at += 1;
                let known = self.binds.iter().position(|b| self.in_block && *b == name);
                Ok(Expr::Bind(known.unwrap_or_else(|| {
                    self.binds.push(name);
                    self.binds.len() - 1
                })))
            }
            TokenKind::Word(word) if word == "CASE" => self.case(),
            TokenKind::Word(word) if word == "NULL" => {
                self.at += 1;
                Ok(Expr::Literal(Value::Null))
            }
            TokenKind::Word(word) if ["DATE", "TIMESTAMP"].contains(&word.as_str()) => {
                let TokenKind::Text(text) = self.peek_after(1).clone() else { return self.name(at) };
                self.at += 2;
                let moment = Moment::parse(&text)
                    .ok_or_else(|| OraError::new(1861, "literal does not match format string").at(at))?;
                Ok(Expr::Literal(if word == "DATE" { Value::Date(moment) } else { Value::Timestamp(moment) }))
            }
            TokenKind::Word(word) if RESERVED.contains(&word.as_str()) => self.error(936),
            TokenKind::Word(_) | TokenKind::Quoted(_) => self.name(at),
            _ => self.error(936),
        }
    }

    fn case(&mut self) -> Parsed<Expr> {
        self.at += 1;
        let subject = if self.is_word("WHEN") { None } else { Some(self.expression()?) };
        let mut arms = Vec::new();
        while self.word("WHEN") {
            let when = self.expression()?;
            let when = match &subject {
                Some(subject) => binary(Operator::Equal, subject.clone(), when),
                None => when,
            };
            self.expect_word("THEN", 905)?;
            arms.push((when, self.expression()?));
        }
        let otherwise = if self.word("ELSE") { Some(Box::new(self.expression()?)) } else { None };
        self.expect_word("END", 905)?;
        Ok(Expr::Case(arms, otherwise))
    }

    /// A column, or a function with its arguments.
    fn name(&mut self, at: usize) -> Parsed<Expr> {
        let mut parts = Vec::new();
        loop {
            match self.next() {
                TokenKind::Word(part) | TokenKind::Quoted(part) => parts.push(part),
                _ => return Err(OraError::known(936).at(at)),
            }
            if !self.symbol(".") {
                break;
            }
        }
        if !self.is_symbol("(") {
            let name = parts.pop().unwrap_or_default();
            return Ok(Expr::Column(parts, name, at));
        }
        self.at += 1;
        let name = parts.join(".");
        if name == "COUNT" && self.symbol("*") {
            self.expect_symbol(")", 907)?;
            return Ok(Expr::CountAll);
        }
        let distinct = self.word("DISTINCT");
        // What is in front of or behind an argument of some functions and says nothing here.
        self.word("CONTENT");
        let mut arguments = Vec::new();
        if !self.is_symbol(")") {
            loop {
                arguments.push(self.expression()?);
                if self.word("AS") || self.word("RETURNING") {
                    self.returned_type()?;
                }
                if !self.symbol(",") {
                    break;
                }
            }
        }
        self.expect_symbol(")", 907)?;
        Ok(Expr::Call(name, arguments, distinct, at))
    }

    /// `CLOB`, `VARCHAR2(4000)`.
    fn returned_type(&mut self) -> Parsed<()> {
        if self.identifier().is_none() {
            return self.error(902);
        }
        if self.symbol("(") {
            self.at += 1;
            self.expect_symbol(")", 907)?;
        }
        Ok(())
    }
}

fn binary(operator: Operator, left: Expr, right: Expr) -> Expr {
    Expr::Binary(operator, Box::new(left), Box::new(right))
}

fn negated(negative: bool, expr: Expr) -> Expr {
    if negative { Expr::Not(Box::new(expr)) } else { expr }
}
