//! A server on an engine in memory, and a client that speaks the protocol byte by byte.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use engine::{Engine, Settings};
use server::{Server, ServerSettings};
use tokio::runtime::Runtime;

/// A running server; stops when it is dropped.
pub struct Running {
    runtime: Runtime,
    server: Option<Server>,
    engine: Engine,
    pub sql_addr: SocketAddr,
    pub http_addr: SocketAddr,
}

impl Running {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut ServerSettings)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let engine = Engine::open(Settings { workers: 1, ..Settings::default() }).unwrap();
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut settings = ServerSettings { sql_addr: free, http_addr: free, ..ServerSettings::default() };
        change(&mut settings);
        let server = runtime.block_on(Server::start(engine.clone(), settings)).unwrap();
        let (sql_addr, http_addr) = (server.sql_addr(), server.http_addr());
        Self { runtime, server: Some(server), engine, sql_addr, http_addr }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.sql_addr, &[])
    }

    /// Shuts the server down, as SIGTERM does.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
            self.runtime.block_on(self.engine.shutdown()).unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A message from the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub kind: char,
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an error or notice.
    pub fn field(&self, code: char) -> Option<String> {
        self.body
            .split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&(code as u8)))
            .map(|field| String::from_utf8(field[1..].to_vec()).unwrap())
    }

    /// The values of a DataRow; NULL is `None`.
    pub fn values(&self) -> Vec<Option<String>> {
        assert_eq!(self.kind, 'D');
        let mut rest = &self.body[2..];
        let mut values = Vec::new();
        while !rest.is_empty() {
            let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
            rest = &rest[4..];
            values.push(usize::try_from(length).ok().map(|length| {
                let (value, after) = rest.split_at(length);
                rest = after;
                String::from_utf8_lossy(value).into_owned()
            }));
        }
        values
    }

    /// A short form: `T`, `D 1|a`, `C SELECT 1`, `E 42P01 P8`, `Z I`.
    pub fn brief(&self) -> String {
        let text = || String::from_utf8_lossy(&self.body).trim_end_matches('\0').to_owned();
        match self.kind {
            'C' | 'Z' => format!("{} {}", self.kind, text()),
            'D' => {
                let values: Vec<String> =
                    self.values().into_iter().map(|value| value.unwrap_or_else(|| "NULL".into())).collect();
                format!("D {}", values.join("|"))
            }
            'E' => {
                let position = self.field('P').map(|position| format!(" P{position}")).unwrap_or_default();
                format!("E {}{position}", self.field('C').unwrap())
            }
            't' => {
                let types: Vec<String> = self.body[2..]
                    .chunks(4)
                    .map(|oid| u32::from_be_bytes(oid.try_into().unwrap()).to_string())
                    .collect();
                format!("t {}", types.join(","))
            }
            kind => kind.to_string(),
        }
    }
}

/// What several messages say in short, notices and settings left out.
pub fn brief(messages: &[Message]) -> Vec<String> {
    messages.iter().filter(|message| !matches!(message.kind, 'N' | 'S')).map(Message::brief).collect()
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    pub process: i32,
    pub key: Vec<u8>,
    pub parameters: Vec<(String, String)>,
}

impl Client {
    pub fn connect(address: SocketAddr, settings: &[(&str, &str)]) -> Self {
        let mut client = Self::raw(address);
        client.startup(196_608, settings);
        let messages = client.until('Z');
        for message in messages {
            match message.kind {
                'K' => {
                    client.process = i32::from_be_bytes(message.body[..4].try_into().unwrap());
                    client.key = message.body[4..].to_vec();
                }
                'S' => {
                    let mut words =
                        message.body.split(|byte| *byte == 0).map(|word| String::from_utf8(word.to_vec()).unwrap());
                    client.parameters.push((words.next().unwrap(), words.next().unwrap()));
                }
                _ => {}
            }
        }
        client
    }

    /// Without a word said.
    pub fn raw(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream, process: 0, key: Vec::new(), parameters: Vec::new() }
    }

    pub fn startup(&mut self, version: i32, settings: &[(&str, &str)]) {
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in [("user", "postgres"), ("database", "demo")].iter().chain(settings) {
            body.extend(name.bytes().chain([0]).chain(value.bytes()).chain([0]));
        }
        body.push(0);
        self.send_raw(&[&((body.len() + 4) as i32).to_be_bytes()[..], &body].concat());
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn read_raw(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Whether the server has hung up.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }

    pub fn receive(&mut self) -> Message {
        let header = self.read_raw(5);
        let length = i32::from_be_bytes(header[1..].try_into().unwrap()) as usize;
        Message { kind: header[0] as char, body: self.read_raw(length - 4) }
    }

    /// Messages up to one of this kind.
    pub fn until(&mut self, kind: char) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self.receive();
            messages.push(message.clone());
            if message.kind == kind {
                return messages;
            }
        }
    }

    /// A simple query's answer in short.
    pub fn query(&mut self, text: &str) -> Vec<String> {
        brief(&self.messages(text))
    }

    /// A simple query's answer.
    pub fn messages(&mut self, text: &str) -> Vec<Message> {
        self.send_raw(&query(text));
        self.until('Z')
    }

    /// Sends a pipeline and reads up to its ReadyForQuery.
    pub fn pipeline(&mut self, messages: &[Vec<u8>]) -> Vec<String> {
        self.send_raw(&messages.concat());
        brief(&self.until('Z'))
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &((body.len() + 4) as i32).to_be_bytes(), body].concat()
}

fn string(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).collect()
}

pub fn query(text: &str) -> Vec<u8> {
    message(b'Q', &string(text))
}

pub fn parse(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    let types = types.iter().flat_map(|oid| oid.to_be_bytes());
    let count = (types.clone().count() / 4) as i16;
    let body: Vec<u8> = [string(name), string(text), count.to_be_bytes().to_vec(), types.collect()].concat();
    message(b'P', &body)
}

/// Parameters in text form; results in one format (0 text, 1 binary).
pub fn bind(portal: &str, statement: &str, parameters: &[Option<&str>], result_format: i16) -> Vec<u8> {
    let mut body = [string(portal), string(statement), 0_i16.to_be_bytes().to_vec()].concat();
    body.extend((parameters.len() as i16).to_be_bytes());
    for parameter in parameters {
        match parameter {
            Some(text) => {
                body.extend((text.len() as i32).to_be_bytes());
                body.extend(text.bytes());
            }
            None => body.extend((-1_i32).to_be_bytes()),
        }
    }
    body.extend([0, 1]);
    body.extend(result_format.to_be_bytes());
    message(b'B', &body)
}

pub fn describe_statement(name: &str) -> Vec<u8> {
    message(b'D', &[b"S".to_vec(), string(name)].concat())
}

pub fn execute(portal: &str, limit: i32) -> Vec<u8> {
    message(b'E', &[string(portal), limit.to_be_bytes().to_vec()].concat())
}

pub fn close_statement(name: &str) -> Vec<u8> {
    message(b'C', &[b"S".to_vec(), string(name)].concat())
}

pub fn flush() -> Vec<u8> {
    message(b'H', &[])
}

pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

pub fn any(kind: u8, body: &[u8]) -> Vec<u8> {
    message(kind, body)
}
