//! The first words of a connection: encryption asked for and declined, the protocol's version, who is there and with what settings.

use std::collections::BTreeMap;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use engine::SessionParameters;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::{
    Authentication, BackendKeyData, GssEncRequest, NegotiateProtocolVersion, ParameterStatus, SecretKey, SslRequest,
    Startup,
};
use pgwire::messages::{DecodeContext, Message, ProtocolVersion};

use super::socket::Socket;
use crate::error::WireError;
use crate::sqlstate;

/// PostgreSQL's limit for packets before authentication.
const MAX_STARTUP_BYTES: usize = 10_000;
/// One request each for TLS and GSSAPI; a client that asks on and on is not one.
const MAX_ENCRYPTION_REQUESTS: usize = 2;
/// The newest minor version of protocol 3 that is spoken.
const NEWEST_MINOR: u16 = 2;
/// Bytes of a cancel key from protocol 3.2 on; before that there is room for four.
const LONG_KEY_BYTES: usize = 32;

/// What a connection turned out to be.
pub(crate) enum Opening {
    /// A session is wanted.
    Session(Startup),
    /// Another connection's statement is to be cancelled.
    Cancel { process: i32, key: Bytes },
    /// The client has gone, or speaks something else.
    Nothing,
}

/// Reads up to the start-up packet and declines encryption on the way.
pub(crate) async fn open(socket: &mut Socket) -> io::Result<Opening> {
    for _ in 0..=MAX_ENCRYPTION_REQUESTS {
        let Some(packet) = socket.receive_startup(MAX_STARTUP_BYTES).await? else { return Ok(Opening::Nothing) };
        if SslRequest::is_ssl_request_packet(&packet) || GssEncRequest::is_gss_enc_request_packet(&packet) {
            if socket.has_input() {
                // Bytes that came before the answer can't be meant for whoever answers.
                return Ok(Opening::Nothing);
            }
            socket.output.put_u8(b'N');
            socket.flush().await?;
            continue;
        }
        let mut bytes = BytesMut::from(packet);
        let context = DecodeContext::new(ProtocolVersion::PROTOCOL3_2);
        if CancelRequest::is_cancel_request_packet(&bytes) {
            return Ok(match CancelRequest::decode(&mut bytes, &context) {
                Ok(Some(request)) => Opening::Cancel { process: request.pid, key: request.secret_key.to_bytes() },
                Ok(None) | Err(_) => Opening::Nothing,
            });
        }
        let major = u16::from_be_bytes([bytes[4], bytes[5]]);
        let minor = u16::from_be_bytes([bytes[6], bytes[7]]);
        return match Startup::decode(&mut bytes, &context) {
            Ok(Some(startup)) if startup.protocol_number_major == 3 => Ok(Opening::Session(startup)),
            _ => {
                let error = if major == 3 {
                    WireError::new(sqlstate::PROTOCOL_VIOLATION, "invalid startup packet")
                } else {
                    WireError::new(
                        sqlstate::FEATURE_NOT_SUPPORTED,
                        format!(
                            "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{NEWEST_MINOR}"
                        ),
                    )
                };
                socket.send(&error.fatal());
                socket.flush().await?;
                Ok(Opening::Nothing)
            }
        };
    }
    Ok(Opening::Nothing)
}

/// The protocol version to go on with, and the answer to a client that wanted more.
pub(crate) fn negotiate(startup: &Startup) -> (u16, Option<NegotiateProtocolVersion>) {
    let minor = startup.protocol_number_minor;
    // 3.1 was never released.
    let spoken = if minor >= NEWEST_MINOR { NEWEST_MINOR } else { 0 };
    let unknown: Vec<String> = startup.parameters.keys().filter(|name| name.starts_with("_pq_.")).cloned().collect();
    if spoken == minor && unknown.is_empty() {
        return (spoken, None);
    }
    (spoken, Some(NegotiateProtocolVersion::new(i32::from(spoken) | 3 << 16, unknown)))
}

/// Who connects, from the start-up packet.
pub(crate) fn session_parameters(startup: &Startup) -> Result<SessionParameters, WireError> {
    let parameter = |name: &str| startup.parameters.get(name).filter(|value| !value.is_empty());
    let user = parameter("user")
        .ok_or_else(|| {
            WireError::new(sqlstate::INVALID_AUTHORIZATION, "no PostgreSQL user name specified in startup packet")
        })?
        .clone();
    if let Some(replication) = parameter("replication")
        && !matches!(replication.as_str(), "false" | "off" | "no" | "0")
    {
        return Err(WireError::new(sqlstate::FEATURE_NOT_SUPPORTED, "replication connections are not supported")
            .with_hint("use SUBSCRIBE TO or a sink to follow changes"));
    }
    let mut settings = BTreeMap::new();
    for (name, value) in &startup.parameters {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => settings.extend(options(value)?),
            name if name.starts_with("_pq_.") => {}
            name => {
                settings.insert(name.to_ascii_lowercase(), value.clone());
            }
        }
    }
    Ok(SessionParameters { database: parameter("database").unwrap_or(&user).clone(), user, settings })
}

/// `-c name=value` and `--name=value`, with blanks and backslashes escaped by a backslash.
fn options(text: &str) -> Result<Vec<(String, String)>, WireError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character.is_ascii_whitespace() {
            words.extend(word.take());
        } else {
            let character = if character == '\\' { characters.next().unwrap_or('\\') } else { character };
            word.get_or_insert_default().push(character);
        }
    }
    words.extend(word);

    let invalid = |word: &str| {
        WireError::new("22023", format!("invalid command-line argument in connection options: {word}"))
            .with_hint("settings are given as -c name=value")
    };
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let assignment = if word == "-c" {
            words.next().ok_or_else(|| invalid(&word))?
        } else if let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            rest.to_owned()
        } else {
            return Err(invalid(&word));
        };
        let (name, value) = assignment.split_once('=').ok_or_else(|| invalid(&assignment))?;
        settings.push((name.replace('-', "_").to_ascii_lowercase(), value.to_owned()));
    }
    Ok(settings)
}

/// A cancel key that can't be guessed, as long as the protocol version has room for.
pub(crate) fn cancel_key(minor: u16) -> io::Result<Vec<u8>> {
    let mut key = vec![0; if minor >= 2 { LONG_KEY_BYTES } else { 4 }];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    Ok(key)
}

/// Welcomes a session: authentication is done, these are its settings, this is how to cancel it.
pub(crate) fn welcome(socket: &mut Socket, parameters: Vec<(String, String)>, process: i32, key: Vec<u8>) {
    socket.send(&Authentication::Ok);
    for (name, value) in parameters {
        socket.send(&ParameterStatus::new(name, value));
    }
    socket.send(&BackendKeyData::new(process, SecretKey::Bytes(Bytes::from(key))));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(minor: u16, parameters: &[(&str, &str)]) -> Startup {
        let mut startup = Startup::new();
        startup.protocol_number_minor = minor;
        startup.parameters = parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        startup
    }

    #[test]
    fn versions_are_negotiated_down() {
        assert!(matches!(negotiate(&startup(0, &[])), (0, None)));
        assert!(matches!(negotiate(&startup(2, &[])), (2, None)));
        let (minor, answer) = negotiate(&startup(9999, &[("_pq_.x", "1")]));
        assert_eq!(minor, 2);
        let answer = answer.expect("it asked for too much");
        assert_eq!(answer.newest_minor_protocol, 196_610);
        assert_eq!(answer.unsupported_options, ["_pq_.x"]);
        assert_eq!(negotiate(&startup(1, &[])).0, 0);
    }

    #[test]
    fn settings_come_by_name_and_by_options() {
        let packet = startup(
            0,
            &[
                ("user", "u"),
                ("application_name", "psql"),
                ("options", r"-c statement_timeout=5s --search-path=a\ b -cTimeZone=UTC"),
            ],
        );
        let parameters = session_parameters(&packet).expect("it is well formed");
        assert_eq!((parameters.user.as_str(), parameters.database.as_str()), ("u", "u"));
        let settings: Vec<(&str, &str)> =
            parameters.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            settings,
            [("application_name", "psql"), ("search_path", "a b"), ("statement_timeout", "5s"), ("timezone", "UTC")]
        );
    }

    #[test]
    fn what_can_not_be_served_is_refused() {
        let code =
            |parameters: &[(&str, &str)]| session_parameters(&startup(0, parameters)).err().map(|error| error.code);
        assert_eq!(code(&[("database", "d")]), Some("28000"));
        assert_eq!(code(&[("user", "u"), ("replication", "database")]), Some("0A000"));
        assert_eq!(code(&[("user", "u"), ("replication", "false")]), None);
        assert_eq!(code(&[("user", "u"), ("options", "-B 12")]), Some("22023"));
    }
}
