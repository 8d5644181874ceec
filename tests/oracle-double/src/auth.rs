//! Logins: both sides prove that they know the password without saying it, and agree on a key.
//!
//! Source: python-oracledb 26.1.0, `messages/auth.pyx` (12c and 11g verifiers). What must hold: without the password no
//! login succeeds, and the client can tell that the server knew it too.

use std::collections::HashMap;
use std::num::NonZeroU32;

use aes::cipher::block_padding::{NoPadding, Pkcs7};
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ring::digest;
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use ring::rand::{SecureRandom, SystemRandom};

use crate::handshake::Personality;
use crate::wire::{Reader, Short, Write};

/// Rounds of PBKDF2 for a verifier, and for the key of a session.
const VERIFIER_ROUNDS: u32 = 4096;
const SESSION_ROUNDS: u32 = 3;

/// Random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    assert!(SystemRandom::new().fill(&mut bytes).is_ok(), "the system has no random bytes");
    bytes
}

/// How the server keeps a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// Since 12c: PBKDF2 and SHA-512.
    V12c,
    /// 11g's: SHA-1. What an account has whose password was set before 12.1.0.2.
    V11g,
}

impl Verifier {
    /// The number that tells clients which.
    fn number(self) -> u64 {
        match self {
            Self::V12c => 0x4815,
            Self::V11g => 0xB152,
        }
    }
}

/// A password as the server keeps it.
#[derive(Clone)]
pub(crate) struct Secret {
    password: Vec<u8>,
    verifier: Verifier,
    salt: Vec<u8>,
    /// The key that the halves of a session's key are sent under.
    key: Vec<u8>,
}

impl Secret {
    pub(crate) fn new(password: &str, verifier: Verifier) -> Self {
        let password = password.as_bytes().to_vec();
        let (salt, key) = match verifier {
            Verifier::V12c => {
                let salt = random::<16>();
                let speedy = [&salt[..], b"AUTH_PBKDF2_SPEEDY_KEY"].concat();
                let long = derive::<64>(&password, &speedy, VERIFIER_ROUNDS);
                let hash = digest::digest(&digest::SHA512, &[&long[..], &salt].concat());
                (salt.to_vec(), hash.as_ref()[..32].to_vec())
            }
            Verifier::V11g => {
                let salt = random::<10>();
                let data = [&password[..], &salt].concat();
                let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &data);
                (salt.to_vec(), [hash.as_ref(), &[0; 4]].concat())
            }
        };
        Self { password, verifier, salt, key }
    }
}

/// What a client sends to log in.
#[derive(Debug, Default)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) pairs: HashMap<String, String>,
}

impl Login {
    /// Reads either phase after the function's header.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        let has_user = reader.u8()? != 0;
        let length = reader.count()?;
        let _mode = reader.ub()?;
        reader.skip(1)?;
        let count = reader.count()?;
        reader.skip(2)?;
        let user = if has_user && length > 0 { reader.bytes_of(length)? } else { Vec::new() };
        let mut pairs = HashMap::new();
        for _ in 0..count {
            let key = reader.counted_bytes()?;
            let value = reader.counted_bytes()?;
            let _flags = reader.ub()?;
            pairs.insert(lossy(&key), lossy(&value));
        }
        Ok(Self { user: lossy(&user), pairs })
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_string()
}

/// A login under way.
pub(crate) struct Challenge {
    secret: Secret,
    /// The server's half of the key.
    half: Vec<u8>,
    session_salt: [u8; 16],
}

impl Challenge {
    /// Begins one.
    pub(crate) fn new(secret: Secret) -> Self {
        let half = match secret.verifier {
            Verifier::V12c => random::<32>().to_vec(),
            Verifier::V11g => random::<48>().to_vec(),
        };
        Self { secret, half, session_salt: random() }
    }

    /// Writes the answer to the first phase.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let secret = &self.secret;
        let mut pairs = vec![
            ("AUTH_SESSKEY", hex(&encrypt(&secret.key, &self.half)), 1),
            ("AUTH_VFR_DATA", hex(&secret.salt), secret.verifier.number()),
        ];
        if secret.verifier == Verifier::V12c {
            pairs.push(("AUTH_PBKDF2_CSK_SALT", hex(&self.session_salt), 0));
            pairs.push(("AUTH_PBKDF2_VGEN_COUNT", VERIFIER_ROUNDS.to_string(), 0));
            pairs.push(("AUTH_PBKDF2_SDER_COUNT", SESSION_ROUNDS.to_string(), 0));
        }
        pairs.push(("AUTH_GLOBALLY_UNIQUE_DBID\0", hex(&random::<16>()), 0));
        write_pairs(&pairs, out);
    }

    /// Checks the second phase. Gives what proves that the server knew the password, or `None` for a wrong one.
    pub(crate) fn check(&self, login: &Login) -> Option<String> {
        let theirs = decrypt(&self.secret.key, &unhex(login.pairs.get("AUTH_SESSKEY")?)?)?;
        let key = match self.secret.verifier {
            Verifier::V12c => {
                let both = [theirs.get(..32)?, &self.half].concat();
                derive::<32>(hex(&both).as_bytes(), &self.session_salt, SESSION_ROUNDS).to_vec()
            }
            Verifier::V11g => {
                let mixed: Vec<u8> = (16..40).map(|n| Some(theirs.get(n)? ^ self.half[n])).collect::<Option<_>>()?;
                let sum = |part: &[u8]| <md5::Md5 as md5::Digest>::digest(part).to_vec();
                let mut key = [sum(&mixed[..16]), sum(&mixed[16..])].concat();
                key.truncate(24);
                key
            }
        };
        let sent = decrypt(&key, &unhex(login.pairs.get("AUTH_PASSWORD")?)?)?;
        let padding = usize::from(*sent.last()?);
        let password = sent.get(16..sent.len().checked_sub(padding)?)?;
        if password != self.secret.password {
            return None;
        }
        let proof = [&random::<16>()[..], b"SERVER_TO_CLIENT"].concat();
        Some(hex(&encrypt_padded(&key, &proof)))
    }
}

/// Writes the answer to the second phase: what the client should know of its session.
pub(crate) fn welcome(proof: &str, session: &Welcome<'_>, out: &mut Vec<u8>) {
    let number = |n: u32| n.to_string();
    let name = session.database;
    let pairs = [
        ("AUTH_VERSION_STRING", "- Production".to_owned(), 0),
        ("AUTH_VERSION_SQL", "26".into(), 0),
        ("AUTH_XACTION_TRAITS", "3".into(), 0),
        ("AUTH_VERSION_NO", number(session.personality.version_number()), 0),
        ("AUTH_VERSION_STATUS", "0".into(), 0),
        ("AUTH_CAPABILITY_TABLE", String::new(), 0),
        ("AUTH_LAST_LOGIN", String::new(), 0),
        ("AUTH_SVR_RESPONSE", proof.to_owned(), 0),
        ("AUTH_SESSION_ID", number(session.id), 0),
        ("AUTH_SERIAL_NUM", number(session.id + 1000), 0),
        ("AUTH_INSTANCE_NO", "1".into(), 0),
        ("AUTH_DB_ID", "1234567890\0".into(), 0),
        ("AUTH_USER_ID", "110".into(), 0),
        ("AUTH_SC_DBUNIQUE_NAME", name.to_owned(), 0),
        ("AUTH_SC_INSTANCE_NAME", name.to_owned(), 0),
        ("AUTH_SC_SERVER_HOST", "localhost".into(), 0),
        ("AUTH_SC_SERVICE_NAME", session.service.to_owned(), 0),
        ("AUTH_SC_DB_DOMAIN", String::new(), 0),
        ("AUTH_DBNAME", session.container.to_owned(), 0),
        ("AUTH_MAX_OPEN_CURSORS", "300".into(), 0),
        ("AUTH_SC_REAL_DBUNIQUE_NAME", name.to_owned(), 0),
        ("AUTH_NLS_LXLAN", "AMERICAN".into(), 0),
        ("AUTH_NLS_LXCTERRITORY", "AMERICA".into(), 0),
        ("AUTH_NLS_LXCCURRENCY", "$".into(), 0),
        ("AUTH_NLS_LXCISOCURR", "AMERICA".into(), 0),
        ("AUTH_NLS_LXCNUMERICS", ".,".into(), 0),
        ("AUTH_NLS_LXCDATEFM", "DD-MON-RR".into(), 0),
        ("AUTH_NLS_LXCDATELANG", "AMERICAN".into(), 0),
        ("AUTH_NLS_LXCSORT", "BINARY".into(), 0),
        ("AUTH_MAX_IDEN_LENGTH", "128".into(), 0),
    ];
    write_pairs(&pairs, out);
}

/// What a client is told when it has logged in.
pub(crate) struct Welcome<'a> {
    pub(crate) personality: Personality,
    pub(crate) id: u32,
    /// `DB_UNIQUE_NAME`.
    pub(crate) database: &'a str,
    /// The pluggable database.
    pub(crate) container: &'a str,
    pub(crate) service: &'a str,
}

fn write_pairs(pairs: &[(&str, String, u64)], out: &mut Vec<u8>) {
    out.u8(8).count(pairs.len());
    for (key, value, flags) in pairs {
        out.counted_bytes(key.as_bytes()).counted_bytes(value.as_bytes()).ub(*flags);
    }
}

fn derive<const N: usize>(secret: &[u8], salt: &[u8], rounds: u32) -> [u8; N] {
    let mut key = [0; N];
    pbkdf2::derive(PBKDF2_HMAC_SHA512, NonZeroU32::new(rounds).unwrap_or(NonZeroU32::MIN), salt, secret, &mut key);
    key
}

/// AES by the length of the key: 24 bytes or 32.
fn encrypt(key: &[u8], plain: &[u8]) -> Vec<u8> {
    match key.try_into() {
        Ok(key) => cbc::Encryptor::<aes::Aes256>::new(key, &[0; 16].into()).encrypt_padded_vec::<NoPadding>(plain),
        Err(_) => encryptor_192(key).encrypt_padded_vec::<NoPadding>(plain),
    }
}

fn encrypt_padded(key: &[u8], plain: &[u8]) -> Vec<u8> {
    match key.try_into() {
        Ok(key) => cbc::Encryptor::<aes::Aes256>::new(key, &[0; 16].into()).encrypt_padded_vec::<Pkcs7>(plain),
        Err(_) => encryptor_192(key).encrypt_padded_vec::<Pkcs7>(plain),
    }
}

fn encryptor_192(key: &[u8]) -> cbc::Encryptor<aes::Aes192> {
    let mut exact = [0; 24];
    exact.copy_from_slice(key);
    cbc::Encryptor::new(&exact.into(), &[0; 16].into())
}

/// `None` when it is not a whole number of blocks.
fn decrypt(key: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    match key.try_into() {
        Ok(key) => cbc::Decryptor::<aes::Aes256>::new(key, &[0; 16].into()).decrypt_padded_vec::<NoPadding>(secret),
        Err(_) => {
            let exact: [u8; 24] = key.try_into().ok()?;
            cbc::Decryptor::<aes::Aes192>::new(&exact.into(), &[0; 16].into()).decrypt_padded_vec::<NoPadding>(secret)
        }
    }
    .ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
