//! How a connection begins: the connect packet and what the listener says to it, then what each side can do and how
//! data types are represented.
//!
//! Sources: python-oracledb 26.1.0, `messages/{connect,protocol,data_types}.pyx`, `capabilities.pyx`; node-oracledb
//! 26.0.0 for the zone that a client may send along.

use crate::wire::{Reader, Short, Write};

/// Which server is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personality {
    /// Oracle Database 19c: the classic handshake; a response ends where its parse ends.
    V19c,
    /// Oracle AI Database 26ai (23ai): handshake and login in one exchange, responses are marked at their end.
    V23ai,
}

impl Personality {
    /// The version of the TNS protocol.
    fn protocol(self) -> u16 {
        match self {
            Self::V19c => 318,
            Self::V23ai => 319,
        }
    }

    /// The version of TTC's messages.
    pub(crate) fn fields(self) -> u8 {
        match self {
            Self::V19c => 12,
            Self::V23ai => 24,
        }
    }

    /// The release, as `v$instance` has it.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::V19c => "19.0.0.0.0",
            Self::V23ai => "23.0.0.0.0",
        }
    }

    /// The release and its update.
    pub(crate) fn full_version(self) -> &'static str {
        match self {
            Self::V19c => "19.22.0.0.0",
            Self::V23ai => "23.26.1.0.0",
        }
    }

    /// `BANNER` of `v$version`.
    pub(crate) fn banner(self) -> &'static str {
        match self {
            Self::V19c => "Oracle Database 19c Enterprise Edition Release 19.0.0.0.0 - Production",
            Self::V23ai => "Oracle AI Database 26ai Enterprise Edition Release 23.26.1.0.0 - Production",
        }
    }

    /// The release as a number, in a login's answer.
    pub(crate) fn version_number(self) -> u32 {
        match self {
            Self::V19c => 19 << 24 | 22 << 16,
            Self::V23ai => 23 << 24 | 26 << 16 | 1 << 12,
        }
    }
}

/// What a client asks for.
pub(crate) struct Connect {
    version: u16,
    sdu: u32,
    /// How long the descriptor is; it may come in a packet of its own.
    pub(crate) length: usize,
    /// The descriptor, `(DESCRIPTION=…)`.
    pub(crate) descriptor: Vec<u8>,
}

impl Connect {
    /// Reads the body of a connect packet.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Short> {
        let mut reader = Reader::new(body);
        let version = reader.u16()?;
        reader.skip(4)?;
        let small = u32::from(reader.u16()?);
        reader.skip(8)?;
        let length = usize::from(reader.u16()?);
        // It is counted from the packet's header on.
        let offset = usize::from(reader.u16()?).saturating_sub(8);
        let large = body.get(50..54).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        let sdu = if version >= 315 && offset >= 58 && large > 0 { large } else { small };
        let descriptor = body.get(offset..offset + length).unwrap_or_default().to_vec();
        Ok(Self { version, sdu, length, descriptor })
    }

    /// The value of a key of the descriptor.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.descriptor).to_string();
        let spaceless: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let at = spaceless.to_uppercase().find(&format!("({}=", key.to_uppercase()))? + key.len() + 2;
        let value = &spaceless[at..];
        value.find([')', '(']).map(|end| value[..end].to_owned())
    }

    /// The longest packet that both sides take.
    pub(crate) fn sdu(&self) -> u32 {
        self.sdu.clamp(512, 2 << 20)
    }
}

/// The body of a packet that accepts.
pub(crate) fn accept(connect: &Connect, personality: Personality) -> Vec<u8> {
    /// Login in one exchange, marks at the end of responses.
    const FAST_AUTH: u32 = 0x1000_0000;
    const END_OF_RESPONSE: u32 = 0x0200_0000;
    /// No native network encryption: without it some clients begin to negotiate it.
    const NO_NETWORK_ENCRYPTION: u8 = 0x04;
    let version = connect.version.min(personality.protocol());
    let flags = if version >= 319 { FAST_AUTH | END_OF_RESPONSE } else { 0 };
    let mut body = Vec::new();
    // Version, options (no attention by urgent data), SDU and TDU as far as they fit in 16 bits, byte order.
    let small = connect.sdu().min(0xFFFF) as u16;
    body.u16(version).u16(1).u16(small).u16(small).u16(0x0100);
    // No data in this packet, where it would be, and the flags of both sides.
    body.u16(0).u16(61).u8(0xC0 | 1 | NO_NETWORK_ENCRYPTION).u8(0).put(&[0; 8]);
    body.u32(connect.sdu()).u32(connect.sdu()).u8(0).u32(flags).put(&crate::auth::random::<16>());
    body
}

/// The body of a packet that refuses with an ORA- number.
pub(crate) fn refuse(code: u32) -> Vec<u8> {
    let text = format!("(DESCRIPTION=(TMP=)(VSNNUM=0)(ERR={code})(ERROR_STACK=(ERROR=(CODE={code})(EMFI=4))))");
    let mut body = Vec::new();
    body.u8(34).u8(0).u16(text.len() as u16).put(text.as_bytes());
    body
}

/// The body of a packet that sends a client elsewhere.
pub(crate) fn redirect(length: usize) -> Vec<u8> {
    (length as u16).to_be_bytes().to_vec()
}

/// A protocol message: who the server is and what it can do.
pub(crate) fn protocol(personality: Personality, out: &mut Vec<u8>) {
    out.u8(1).u8(6).u8(0).put(b"x86_64/Linux 2.4.xx\0");
    let [low, high] = (crate::encode::UTF8 as u16).to_le_bytes();
    // The character set, the lowest byte first; flags; no elements.
    out.u8(low).u8(high).u8(1).u16(0);
    // How the server's C types are laid out. Of use to clients is only the national character set in it.
    let mut layout = [0_u8; 64];
    layout[6 + 3..6 + 5].copy_from_slice(&(crate::encode::UTF16 as u16).to_be_bytes());
    out.u16(layout.len() as u16).put(&layout);
    let compiled = compiled(personality);
    out.u8(compiled.len() as u8).put(&compiled);
    let runtime = [2, 1, 0, 1, 0x18, 0, 0x7f];
    out.u8(runtime.len() as u8).put(&runtime);
}

/// What the server was compiled to do, by the place of each capability.
fn compiled(personality: Personality) -> [u8; 51] {
    let mut all = [1_u8; 51];
    all[0] = 6; // Version of SQL.
    all[4] = 0xEF; // Logins of every version.
    all[5] = 0x0F;
    all[7] = personality.fields();
    all[15] = 0x7F; // Fast bit vectors, status at the end of calls, indicators with return codes.
    all[16] = 0xFF;
    all[17] = 3; // Version of data descriptions.
    all[18] = 16;
    all[19] = 3;
    all[20] = 3;
    all[23] = 0xFF; // LOBs of all kinds, with lengths of eight bytes.
    all[25] = 0xFF;
    all[26] = 0xFF;
    all[28] = 13;
    all[31] = 0xFF;
    all[33] = 6;
    all[34] = 12; // The newest function.
    all[35] = 0xF6;
    all[36] = 9;
    all[37] = 0x7F; // Chunks of more than a byte's length.
    all[38] = 5;
    all[39] = 15;
    all[40] = 0xFF; // Notifications, boundaries of requests.
    all[41] = 13;
    all[42] = 11; // Data of LOBs that comes along.
    all[43] = 0;
    all[44..].copy_from_slice(&[0xFF, 0, 0, 0, 0, 0, 0]);
    all
}

/// What a client says of how it represents data.
#[derive(Default)]
pub(crate) struct DataTypes {
    /// The version of TTC's messages that it speaks.
    pub(crate) fields: u8,
    /// It looks for the mark at a response's end.
    pub(crate) wants_end_of_response: bool,
    /// It sends a time zone of eleven bytes, and expects one.
    pub(crate) zone: bool,
}

impl DataTypes {
    /// Reads a data types message after its first byte.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        // Two character sets and flags, then what was compiled in.
        reader.skip(5)?;
        let compiled = reader.bytes()?;
        let fields = compiled.get(7).copied().unwrap_or_default();
        let wants_end_of_response = compiled.get(40).is_some_and(|flags| flags & 0x20 != 0);
        let runtime = reader.bytes()?;
        let zone = runtime.get(1) == Some(&1);
        if zone {
            reader.skip(11)?;
        }
        while reader.u16()? != 0 {
            // What it is converted to and how that is represented, unless it is not converted.
            if reader.u16()? != 0 {
                reader.skip(4)?;
            }
        }
        Ok(Self { fields, wants_end_of_response, zone })
    }

    /// Writes the server's answer.
    pub(crate) fn answer(&self, out: &mut Vec<u8>) {
        out.u8(2);
        if self.zone {
            out.put(&[0x80, 0, 0, 0, 60, 60, 60, 0x80, 0, 0, 0]);
        }
        const REPRESENTATIONS: &[(u16, u16)] = &[
            (1, 1),
            (2, 10),
            (8, 1),
            (12, 10),
            (23, 1),
            (24, 1),
            (96, 1),
            (112, 1),
            (113, 1),
            (180, 1),
            (181, 1),
            (231, 1),
        ];
        for (number, representation) in REPRESENTATIONS {
            out.u16(*number).u16(*number).u16(*representation).u16(0);
        }
        out.u16(0);
    }
}
