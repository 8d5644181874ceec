//! A session: from the connect packet to logoff, one request after the other.
//!
//! What must hold: whatever a client sends, the session ends or answers; a client that breaks a call off is answered
//! as it expects.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::{self, Challenge, Login, Secret, Verifier, Welcome};
use crate::call::Calls;
use crate::error::OraError;
use crate::faults::{Effect, Faults};
use crate::handshake::{self, Connect, Personality};
use crate::packet::{Packet, Packets, kind};
use crate::request::{self, Call, Context, Driver, Piggyback};
use crate::response;
use crate::server::Shared;
use crate::sql::Session as SqlSession;
use crate::wire::{Short, Write};

/// Markers in the middle of a call.
mod marker {
    pub(super) const BREAK: u8 = 1;
    pub(super) const RESET: u8 = 2;
    pub(super) const INTERRUPT: u8 = 3;
}

/// How often a stalled call looks whether the client broke it off.
const LOOK: Duration = Duration::from_millis(20);

/// How long it takes to stop a call that is broken off.
const STOPPING: Duration = Duration::from_millis(20);

/// A session under way.
pub(crate) struct Session {
    packets: Packets,
    shared: Arc<Shared>,
    personality: Personality,
    /// The version of messages that was agreed on.
    fields: u8,
    driver: Driver,
    sequence: u64,
    /// The number that the client gave the call.
    number: u8,
    challenge: Option<(Challenge, String)>,
    calls: Option<Calls>,
    service: String,
    protocol: &'static str,
    id: u32,
}

impl Session {
    /// Serves a connection until it ends.
    pub(crate) fn serve(packets: Packets, shared: Arc<Shared>, id: u32, protocol: &'static str) -> io::Result<()> {
        let personality = shared.personality;
        let service = String::new();
        let (fields, driver, sequence, challenge, calls) = (personality.fields(), Driver::Thin, 0, None, None);
        let number = 0;
        let mut session = Self {
            packets,
            shared,
            personality,
            fields,
            driver,
            sequence,
            number,
            challenge,
            calls,
            service,
            protocol,
            id,
        };
        if session.connect()? { session.requests() } else { Ok(()) }
    }

    /// The listener's part. `false` when the client was refused or sent elsewhere.
    fn connect(&mut self) -> io::Result<bool> {
        let packet = self.packets.read()?;
        if packet.kind != kind::CONNECT {
            return Err(invalid("no connect packet"));
        }
        let mut connect = Connect::read(&packet.body).map_err(|Short| invalid("a short connect packet"))?;
        if connect.descriptor.len() < connect.length {
            // It was too long for the packet and comes in one of its own.
            connect.descriptor = self.packets.read()?.data().unwrap_or_default().to_vec();
        }
        if let Some(code) = self.shared.faults.refusal() {
            self.packets.write(kind::REFUSE, &handshake::refuse(code))?;
            return Ok(false);
        }
        if let Some(target) = self.shared.redirect.as_ref().filter(|_| connect.value("REDIRECTED").is_none()) {
            let descriptor = format!("{target}\0{}", String::from_utf8_lossy(&connect.descriptor));
            self.packets.write(kind::REDIRECT, &handshake::redirect(descriptor.len()))?;
            self.packets.respond(descriptor.as_bytes(), None)?;
            return Ok(false);
        }
        let by_service = connect.value("SERVICE_NAME");
        let named = by_service.clone().or_else(|| connect.value("SID")).unwrap_or_default();
        let known = {
            let state = self.shared.database.read();
            state.model.services.iter().any(|s| s.eq_ignore_ascii_case(&named))
        };
        if !known {
            let code = if by_service.is_some() { 12514 } else { 12505 };
            self.packets.write(kind::REFUSE, &handshake::refuse(code))?;
            return Ok(false);
        }
        self.service = named;
        self.packets.write(kind::ACCEPT, &handshake::accept(&connect, self.personality))?;
        self.packets.large = true;
        self.packets.sdu = connect.sdu() as usize;
        Ok(true)
    }

    fn requests(&mut self) -> io::Result<()> {
        loop {
            let packet = self.packets.read()?;
            match packet.kind {
                kind::MARKER => self.marker(&packet)?,
                kind::DATA => {
                    let Some(data) = packet.data() else { return Ok(()) };
                    if !self.request(data.to_vec())? {
                        return Ok(());
                    }
                }
                other => return Err(invalid(&format!("a packet of kind {other}"))),
            }
        }
    }

    /// A client that breaks a call off is told that it broke; then it resets, and so does the server, and the call ends
    /// with ORA-01013.
    fn marker(&mut self, packet: &Packet) -> io::Result<()> {
        match packet.body.get(2) {
            Some(&(marker::BREAK | marker::INTERRUPT)) => {
                self.shared.faults.saw_break();
                // As long as a server takes to stop what it does. An answer sooner than JDBC's thread that broke the call
                // off has noted so is one that its other thread waits on for ever.
                std::thread::sleep(STOPPING);
                self.packets.write(kind::MARKER, &[1, 0, marker::BREAK])
            }
            _ => {
                self.packets.write(kind::MARKER, &[1, 0, marker::RESET])?;
                let mut out = Vec::new();
                self.end(Some(&OraError::known(1013)), &mut out);
                self.respond(out, None)
            }
        }
    }

    /// Reads a request whole and answers it. `false` at the end of the session.
    fn request(&mut self, mut data: Vec<u8>) -> io::Result<bool> {
        let (piggybacks, call, number) = loop {
            let none = Default::default();
            let binds = self.calls.as_ref().map_or(&none, |calls| &calls.bind_types);
            match request::read(&data, &Context { fields: self.fields, binds }) {
                Ok(read) => break read,
                Err(Short) => {
                    let more = self.packets.read()?;
                    if more.kind == kind::MARKER {
                        self.marker(&more)?;
                        return Ok(true);
                    }
                    data.extend_from_slice(more.data().unwrap_or_default());
                }
            }
        };
        self.number = number;
        let latency = self.shared.faults.saw_round_trip();
        if !latency.is_zero() && self.stall(latency, |_| false)? {
            return Ok(true);
        }
        for piggyback in piggybacks {
            if let Some(calls) = &mut self.calls {
                match piggyback {
                    Piggyback::CloseCursors(cursors) => calls.close(&cursors),
                    Piggyback::SetSchema(schema) => calls.session.schema = schema,
                    Piggyback::Other => {}
                }
            }
        }
        self.answer(call)
    }

    fn answer(&mut self, call: Call) -> io::Result<bool> {
        let mut out = Vec::new();
        let mut cut = None;
        match call {
            Call::Protocol(driver) => {
                self.driver = driver;
                handshake::protocol(self.personality, &mut out);
            }
            Call::DataTypes(types) => {
                self.agree(&types);
                types.answer(&mut out);
            }
            Call::FastAuth(driver, types, login) => {
                self.driver = driver;
                self.agree(&types);
                handshake::protocol(self.personality, &mut out);
                types.answer(&mut out);
                self.first_phase(&login, &mut out);
            }
            Call::AuthOne(login) => self.first_phase(&login, &mut out),
            Call::AuthTwo(login) => self.second_phase(&login, &mut out),
            Call::Logoff => {
                response::status(self.next(), &mut out);
                self.respond(out, None)?;
                return Ok(false);
            }
            Call::Simple => response::status(self.next(), &mut out),
            Call::Version => {
                response::version(self.personality, &mut out);
                self.logged_in(&mut out);
            }
            Call::Unknown(function) => {
                let error = OraError::new(3120, format!("two-task conversion routine: function {function}"));
                self.end(Some(&error), &mut out);
            }
            call => {
                if self.calls.is_none() {
                    self.end(Some(&OraError::new(1012, "not logged on")), &mut out);
                    return self.respond(out, None).map(|()| true);
                }
                let effect = self.calls.as_mut().and_then(|calls| calls.effect(&call));
                match effect {
                    Some(Effect::Error(code)) => {
                        self.end(Some(&OraError::known(code)), &mut out);
                        return self.respond(out, None).map(|()| true);
                    }
                    Some(Effect::Stall(time)) if self.stall(time, Faults::are_cleared)? => return Ok(true),
                    Some(Effect::Cut(bytes)) => cut = Some(bytes),
                    _ => {}
                }
                let ending = self.ending();
                if let Some(calls) = &mut self.calls {
                    calls.answer(call, &ending, &mut out);
                    if let Some(Effect::CutAfterRows(rows)) = effect {
                        cut = Some(calls.cut_after(rows, out.len()));
                    }
                }
            }
        }
        self.respond(out, cut).map(|()| true)
    }

    fn agree(&mut self, types: &handshake::DataTypes) {
        self.fields = self.personality.fields().min(types.fields);
        self.packets.marks_the_end = self.personality == Personality::V23ai && types.wants_end_of_response;
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn ending(&mut self) -> response::Ending {
        response::Ending { fields: self.fields, sequence: self.next(), call: self.number }
    }

    fn end(&mut self, error: Option<&OraError>, out: &mut Vec<u8>) {
        let ending = self.ending();
        ending.write(error, &response::End::default(), out);
    }

    fn respond(&mut self, mut out: Vec<u8>, cut: Option<usize>) -> io::Result<()> {
        if self.packets.marks_the_end {
            out.u8(29);
        }
        self.packets.respond(&out, cut)
    }

    /// Waits, at most until it may go on. `true` when the client broke the call off meanwhile, or has gone.
    fn stall(&mut self, time: Duration, goes_on: fn(&Faults) -> bool) -> io::Result<bool> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || goes_on(&self.shared.faults) {
                return Ok(false);
            }
            if self.packets.comes_within(left.min(LOOK))? {
                let packet = self.packets.read()?;
                if packet.kind == kind::MARKER {
                    self.marker(&packet)?;
                    return Ok(true);
                }
                return Err(invalid("a request before the answer to the last one"));
            }
        }
    }

    /// The first half of a login. A user that does not exist is found out in the second only.
    fn first_phase(&mut self, login: &Login, out: &mut Vec<u8>) {
        let (proxy, _) = names(&login.user);
        let secret = self.shared.database.read().secrets.get(&proxy).cloned();
        let secret = secret.unwrap_or_else(|| Secret::new("\0 nobody knows this", Verifier::V12c));
        let challenge = Challenge::new(secret);
        challenge.write(out);
        self.challenge = Some((challenge, login.user.clone()));
        self.logged_in(out);
    }

    fn logged_in(&mut self, out: &mut Vec<u8>) {
        match self.personality {
            Personality::V23ai => self.end(None, out),
            Personality::V19c => response::status(self.next(), out),
        }
    }

    fn second_phase(&mut self, login: &Login, out: &mut Vec<u8>) {
        let checked = self.challenge.take().and_then(|(challenge, user)| Some((challenge.check(login)?, user)));
        let Some((proof, user)) = checked else {
            let mut error = OraError::known(1017);
            if self.personality == Personality::V23ai {
                error.message = "invalid credential or not authorized; logon denied".into();
            }
            return self.end(Some(&error), out);
        };
        let (connecting, target) = names(&user);
        let target = login.pairs.get("PROXY_CLIENT_NAME").map(|n| unquoted(n)).or(target);
        let state = self.shared.database.read();
        let user = target.clone().unwrap_or_else(|| connecting.clone());
        let refused = match state.user(&user) {
            None => Some(OraError::known(1017)),
            Some(u) if target.is_some() && !u.proxies.contains(&connecting) => {
                Some(OraError::new(28150, format!("proxy not authorized to connect as client {user}")))
            }
            Some(u) if !crate::dictionary::may_connect(u) => {
                Some(OraError::new(1045, format!("user {user} lacks CREATE SESSION privilege; logon denied")))
            }
            Some(_) => None,
        };
        let (database, container) = (state.model.name.clone(), state.model.container.clone());
        drop(state);
        if let Some(error) = refused {
            return self.end(Some(&error), out);
        }
        let welcome = Welcome {
            personality: self.personality,
            id: self.id,
            database: &database,
            container: &container,
            service: &self.service,
        };
        auth::welcome(&proof, &welcome, out);
        let session = SqlSession {
            id: self.id,
            user: user.clone(),
            proxy: target.map(|_| connecting),
            schema: user,
            service: self.service.clone(),
            time_zone: 0,
            protocol: self.protocol,
            personality: self.personality,
            container,
            program: login.pairs.get("SESSION_CLIENT_DRIVER_NAME").cloned().unwrap_or_default(),
        };
        let mut calls = Calls::new(session, self.driver, self.shared.clone());
        if let Some(sql) = login.pairs.get("AUTH_ALTER_SESSION") {
            calls.alter_session(sql.trim_end_matches('\0'));
        }
        self.calls = Some(calls);
        self.shared.faults.saw_session();
        self.logged_in(out);
    }
}

/// `proxy[user]` as two names; without brackets there is only the first.
fn names(user: &str) -> (String, Option<String>) {
    match user.split_once('[') {
        Some((proxy, rest)) => (unquoted(proxy), Some(unquoted(rest.trim_end_matches(']')))),
        None => (unquoted(user), None),
    }
}

/// A name as the dictionary has it.
fn unquoted(name: &str) -> String {
    match name.strip_prefix('"').and_then(|n| n.strip_suffix('"')) {
        Some(inner) => inner.to_owned(),
        None => name.to_uppercase(),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
