//! Logging in: SCRAM-SHA-256 (bound to the TLS channel where there is one), md5 and clear-text passwords.
//!
//! Works on message bodies; knows no socket. The password leaves its wrapper only here.

use bytes::BytesMut;
use connector_api::{Error, Secret};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::frontend;

use super::tls::Channel;
use crate::error::Failure;

/// The state of one login.
pub(super) struct Login<'a> {
    user: &'a str,
    password: &'a Secret,
    channel: Channel,
    scram: Option<ScramSha256>,
}

impl<'a> Login<'a> {
    pub(super) fn new(user: &'a str, password: &'a Secret, channel: Channel) -> Self {
        Self { user, password, channel, scram: None }
    }

    /// Answers the body of an `Authentication…` message into `out`; `true` once the server is satisfied.
    pub(super) fn answer(&mut self, body: &[u8], out: &mut BytesMut) -> Result<bool, Failure> {
        let Some((kind, rest)) = body.split_first_chunk::<4>() else {
            return Err(Failure::Protocol("an authentication message without a kind"));
        };
        match i32::from_be_bytes(*kind) {
            0 if self.scram.is_some() => Err(Failure::Protocol("the server did not prove that it knows the password")),
            0 => Ok(true),
            3 => self.password()?.write(|p| frontend::password_message(p, out)),
            5 => {
                let salt = *rest.first_chunk::<4>().ok_or(Failure::Protocol("an md5 request without salt"))?;
                let user = self.user.as_bytes();
                self.password()?.write(|p| frontend::password_message(md5_hash(user, p, salt).as_bytes(), out))
            }
            10 => {
                let (mechanism, binding) = self.mechanism(rest)?;
                let scram = ScramSha256::new(self.password()?.0, binding);
                frontend::sasl_initial_response(mechanism, scram.message(), out)?;
                self.scram = Some(scram);
                Ok(false)
            }
            11 => {
                let scram = self.scram.as_mut().ok_or(Failure::Protocol("SASL went on before it began"))?;
                scram.update(rest).map_err(|_| Failure::Protocol("a wrong SCRAM challenge"))?;
                frontend::sasl_response(scram.message(), out)?;
                Ok(false)
            }
            12 => {
                let mut scram = self.scram.take().ok_or(Failure::Protocol("SASL ended before it began"))?;
                scram.finish(rest).map_err(|_| Failure::Protocol("a wrong SCRAM proof of the server"))?;
                Ok(false)
            }
            7..=9 => Err(unsupported("Kerberos, GSSAPI or SSPI")),
            _ => Err(unsupported("unknown")),
        }
    }

    /// The strongest of the mechanisms that the server offers.
    fn mechanism(&self, offered: &[u8]) -> Result<(&'static str, ChannelBinding), Failure> {
        let offers = |name: &str| offered.split(|b| *b == 0).any(|m| m == name.as_bytes());
        match (&self.channel, offers(SCRAM_SHA_256_PLUS), offers(SCRAM_SHA_256)) {
            // Somebody between us took the TLS away.
            (Channel::Plain, true, _) => {
                Err(Failure::Protocol("SCRAM-SHA-256-PLUS was offered on a connection without TLS"))
            }
            (Channel::Tls { end_point: Some(end_point) }, true, _) => {
                Ok((SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(end_point.clone())))
            }
            // Said in the exchange that is proven: a server that did offer it then sees that it was kept from us.
            (Channel::Tls { end_point: Some(_) }, false, true) => Ok((SCRAM_SHA_256, ChannelBinding::unrequested())),
            (_, _, true) => Ok((SCRAM_SHA_256, ChannelBinding::unsupported())),
            _ => Err(unsupported("SASL without SCRAM-SHA-256")),
        }
    }

    fn password(&self) -> Result<Password<'a>, Failure> {
        match self.password.expose().as_bytes() {
            [] => {
                Err(Failure::Stopped(Error::fatal("the server asks for a password and database.password is not set")))
            }
            password => Ok(Password(password)),
        }
    }
}

struct Password<'a>(&'a [u8]);

impl Password<'_> {
    fn write(&self, message: impl FnOnce(&[u8]) -> std::io::Result<()>) -> Result<bool, Failure> {
        message(self.0).map_err(|_| {
            Failure::Stopped(Error::fatal("database.password holds a zero byte, which PostgreSQL does not take"))
        })?;
        Ok(false)
    }
}

fn unsupported(method: &'static str) -> Failure {
    Failure::Stopped(
        Error::fatal("the server asks for an authentication method that is not supported; use scram-sha-256")
            .with("method", method),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str, body: &[u8]) -> Result<(bool, Vec<u8>), Failure> {
        let (secret, mut out) = (Secret::new(password), BytesMut::new());
        Login::new("md5_user", &secret, Channel::Plain).answer(body, &mut out).map(|done| (done, out.to_vec()))
    }

    /// The mechanism and the beginning of the exchange.
    fn check_binding(end_point: Option<&[u8]>, offered: &str) -> String {
        let (secret, mut out) = (Secret::new("x"), BytesMut::new());
        let channel = Channel::Tls { end_point: end_point.map(<[u8]>::to_vec) };
        Login::new("u", &secret, channel).answer(format!("\0\0\0\x0a{offered}\0").as_bytes(), &mut out).unwrap();
        let text = String::from_utf8_lossy(&out[5..]).into_owned();
        let (mechanism, rest) = text.split_once('\0').unwrap();
        format!("{mechanism} {}", rest.chars().skip(4).take(3).collect::<String>())
    }

    #[test]
    fn binds_to_the_channel_where_it_can() {
        let both = "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0";
        assert_eq!(check_binding(Some(b"hash"), both), "SCRAM-SHA-256-PLUS p=t");
        assert_eq!(check_binding(Some(b"hash"), "SCRAM-SHA-256\0"), "SCRAM-SHA-256 y,,");
        assert_eq!(check_binding(None, both), "SCRAM-SHA-256 n,,");
        let plain = check("x", format!("\0\0\0\x0a{both}\0").as_bytes());
        assert!(matches!(plain, Err(Failure::Protocol(_))));
    }

    #[test]
    fn answers_what_is_asked() {
        assert!(matches!(check("", &[0, 0, 0, 0]), Ok((true, out)) if out.is_empty()));
        assert!(matches!(check("secret", &[0, 0, 0, 3]), Ok((false, out)) if out == b"p\0\0\0\x0bsecret\0"));
        let md5 = check("password", &[0, 0, 0, 5, 0x2a, 0x3d, 0x8f, 0xe0]);
        assert!(matches!(md5, Ok((false, out)) if out[5..] == *b"md562af4dd09bbb41884907a838a3233294\0"));
        assert!(matches!(check("x", b"\0\0\0\x0aSCRAM-SHA-256\0\0"), Ok((false, _))));
    }

    #[test]
    fn refuses_the_rest() {
        for body in [&b"\0\0\0\x07"[..], b"\0\0\0\x0aPLAIN\0\0", b"\0\0\0\x63"] {
            assert!(matches!(check("x", body), Err(Failure::Stopped(_))), "{body:?}");
        }
        for body in [&b""[..], b"\0\0\0\x05\x01", b"\0\0\0\x0bchallenge", b"\0\0\0\x0cproof"] {
            assert!(matches!(check("x", body), Err(Failure::Protocol(_))), "{body:?}");
        }
        assert!(matches!(check("", &[0, 0, 0, 3]), Err(Failure::Stopped(_))), "no password");
    }
}
