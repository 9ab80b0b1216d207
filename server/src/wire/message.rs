//! Messages from clients. They come from strangers: each is taken apart within its own frame with every length checked (pgwire's decoders
//! trust the counts in a Bind and replace bytes that aren't UTF-8, so only its backend messages and start-up packets are used).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use bytes::{Buf, Bytes};

use crate::decode::utf8;
use crate::encode::Format;
use crate::error::WireError;
use crate::sqlstate;

/// A message of the query phase.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    /// Simple protocol.
    Query(String),
    /// Prepare a statement.
    Parse {
        /// Empty: the unnamed one.
        statement: String,
        text: String,
        /// Types of the first parameters; 0 leaves one open.
        type_oids: Vec<u32>,
    },
    /// Give a statement parameters.
    Bind(Bind),
    /// Ask for a shape.
    Describe(Target),
    /// Run a portal.
    Execute {
        portal: String,
        /// 0: all.
        max_rows: usize,
    },
    /// Forget a statement or portal.
    Close(Target),
    /// Send what is waiting.
    Flush,
    /// The end of a pipeline.
    Sync,
    /// Goodbye.
    Terminate,
    /// A part of a COPY that failed or was never begun: ignored, as the protocol says.
    Copy,
    /// The old function call protocol.
    FunctionCall { oid: u32 },
    /// A password, which nobody asked for.
    Password,
}

/// See [`Message::Bind`].
#[derive(Debug, PartialEq)]
pub(crate) struct Bind {
    pub(crate) portal: String,
    pub(crate) statement: String,
    pub(crate) parameter_formats: Vec<Format>,
    pub(crate) parameters: Vec<Option<Bytes>>,
    pub(crate) result_formats: Vec<Format>,
}

/// What Describe and Close are about.
#[derive(Debug, PartialEq)]
pub(crate) enum Target {
    Statement(String),
    Portal(String),
}

/// A message with its type, not yet taken apart.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) body: Bytes,
}

impl Frame {
    /// Whether a failure in it skips everything up to the next Sync.
    pub(crate) fn is_extended(&self) -> bool {
        is_extended(self.kind)
    }

    /// Takes it apart.
    pub(crate) fn decode(self) -> Result<Message, WireError> {
        let mut body = Body(self.body);
        let message = match self.kind {
            b'Q' => Message::Query(body.string()?),
            b'P' => {
                let statement = body.string()?;
                let text = body.string()?;
                let count = body.count()?;
                let type_oids = (0..count).map(|_| body.u32()).collect::<Result<_, _>>()?;
                Message::Parse { statement, text, type_oids }
            }
            b'B' => Message::Bind(body.bind()?),
            b'D' => Message::Describe(body.target()?),
            b'E' => {
                let portal = body.string()?;
                // Negative means all, as 0 does.
                let max_rows = usize::try_from(body.u32()? as i32).unwrap_or(0);
                Message::Execute { portal, max_rows }
            }
            b'C' => Message::Close(body.target()?),
            b'H' => Message::Flush,
            b'S' => Message::Sync,
            b'X' => Message::Terminate,
            b'F' => return Ok(Message::FunctionCall { oid: body.u32()? }),
            b'd' | b'c' | b'f' => return Ok(Message::Copy),
            b'p' => return Ok(Message::Password),
            other => {
                return Err(WireError::new(
                    sqlstate::PROTOCOL_VIOLATION,
                    format!("invalid frontend message type {other}"),
                ));
            }
        };
        if body.0.has_remaining() {
            return Err(invalid_format());
        }
        Ok(message)
    }
}

/// Whether messages of this type belong to the extended query protocol.
pub(crate) fn is_extended(kind: u8) -> bool {
    matches!(kind, b'P' | b'B' | b'D' | b'E' | b'C' | b'H')
}

fn invalid_format() -> WireError {
    WireError::new(sqlstate::PROTOCOL_VIOLATION, "invalid message format")
}

/// The rest of a message's body.
struct Body(Bytes);

impl Body {
    fn u32(&mut self) -> Result<u32, WireError> {
        self.0.try_get_u32().map_err(|_| invalid_format())
    }

    /// Counts are unsigned: there may be 65,535 parameters.
    fn count(&mut self) -> Result<usize, WireError> {
        self.0.try_get_u16().map(usize::from).map_err(|_| invalid_format())
    }

    fn take(&mut self, length: usize) -> Result<Bytes, WireError> {
        if length > self.0.remaining() {
            return Err(invalid_format());
        }
        Ok(self.0.split_to(length))
    }

    fn string(&mut self) -> Result<String, WireError> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(invalid_format)?;
        let bytes = self.take(end)?;
        self.0.advance(1);
        Ok(utf8(&bytes)?.to_owned())
    }

    fn formats(&mut self) -> Result<Vec<Format>, WireError> {
        let count = self.count()?;
        (0..count)
            .map(|_| match self.0.try_get_i16() {
                Ok(0) => Ok(Format::Text),
                Ok(1) => Ok(Format::Binary),
                Ok(code) => Err(WireError::new("22023", format!("unsupported format code: {code}"))),
                Err(_) => Err(invalid_format()),
            })
            .collect()
    }

    fn target(&mut self) -> Result<Target, WireError> {
        let kind = self.0.try_get_u8().map_err(|_| invalid_format())?;
        let name = self.string()?;
        match kind {
            b'S' => Ok(Target::Statement(name)),
            b'P' => Ok(Target::Portal(name)),
            _ => Err(invalid_format()),
        }
    }

    fn bind(&mut self) -> Result<Bind, WireError> {
        let portal = self.string()?;
        let statement = self.string()?;
        let parameter_formats = self.formats()?;
        let count = self.count()?;
        let mut parameters = Vec::new();
        for _ in 0..count {
            let length = self.u32()? as i32;
            parameters.push(match usize::try_from(length) {
                Ok(length) => Some(self.take(length)?),
                Err(_) if length == -1 => None,
                Err(_) => return Err(invalid_format()),
            });
        }
        let result_formats = self.formats()?;
        Ok(Bind { portal, statement, parameter_formats, parameters, result_formats })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(kind: u8, body: &'static [u8]) -> Result<Message, WireError> {
        Frame { kind, body: Bytes::from_static(body) }.decode()
    }

    #[test]
    fn messages_are_taken_apart() {
        assert_eq!(decode(b'Q', b"select 1\0"), Ok(Message::Query("select 1".into())));
        assert_eq!(
            decode(b'P', b"s\0select $1\0\0\x01\0\0\0\x17"),
            Ok(Message::Parse { statement: "s".into(), text: "select $1".into(), type_oids: vec![23] })
        );
        assert_eq!(
            decode(b'B', b"\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\0"),
            Ok(Message::Bind(Bind {
                portal: String::new(),
                statement: "s".into(),
                parameter_formats: vec![Format::Binary],
                parameters: vec![Some(Bytes::from_static(b"x")), None],
                result_formats: vec![],
            }))
        );
        assert_eq!(decode(b'E', b"p\0\0\0\0\x0a"), Ok(Message::Execute { portal: "p".into(), max_rows: 10 }));
        assert_eq!(decode(b'D', b"Ss\0"), Ok(Message::Describe(Target::Statement("s".into()))));
    }

    #[test]
    fn a_broken_message_is_an_error_and_not_a_panic() {
        let broken: [(u8, &'static [u8]); 8] = [
            (b'Q', b"no end"),
            (b'Q', b"a\0b"),
            (b'P', b"s\0select 1\0\0\x05"),
            (b'B', b"\0s\0\0\0\0\x01\x7f\xff\xff\xffx"),
            (b'B', b"\0s\0\xff\xff"),
            (b'D', b"Zs\0"),
            (b'E', b"p\0"),
            (b'?', b""),
        ];
        for (kind, body) in broken {
            assert_eq!(decode(kind, body).map_err(|error| error.code), Err("08P01"), "{}", kind as char);
        }
        assert_eq!(decode(b'Q', b"\xff\0").map_err(|error| error.code), Err("22021"));
    }

    proptest::proptest! {
        /// Whatever it holds, a frame is a message or an error with a code.
        #[test]
        fn whatever_bytes_a_frame_holds_it_is_a_message_or_an_error(
            kind in proptest::prop_oneof![proptest::sample::select(b"QPBDECHSXFdcfp".to_vec()), proptest::num::u8::ANY],
            body in proptest::collection::vec(proptest::prop_oneof![
                4 => proptest::sample::select(vec![0_u8, 1, 2, 0xff, 0x7f, b's', b'S', b'P']),
                1 => proptest::num::u8::ANY,
            ], 0..80),
        ) {
            if let Err(error) = (Frame { kind, body: Bytes::from(body) }).decode() {
                proptest::prop_assert_eq!(error.code.len(), 5);
            }
        }
    }
}
