//! A network between a client and a server on this machine that a test can cut, slow down, or let go silent.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// How often a connection looks at what has become of the network.
const LOOK: Duration = Duration::from_millis(20);

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// All bytes arrive.
    Whole,
    /// Connections are reset, and new ones too.
    Cut,
    /// Connections stay open and new ones are taken, but no byte arrives: neither side is told.
    Silent,
}

/// Takes connections on a port of its own and hands their bytes on.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    network: AtomicU8,
    /// Time that each piece of data takes, in milliseconds.
    delay_ms: AtomicU64,
    /// Connections of an earlier generation are reset.
    generation: AtomicU64,
    ended: AtomicBool,
}

impl State {
    fn network(&self) -> Network {
        match self.network.load(Ordering::Acquire) {
            0 => Network::Whole,
            1 => Network::Cut,
            _ => Network::Silent,
        }
    }
}

impl Proxy {
    /// To a port of this machine, whether anybody listens there yet or not.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            network: AtomicU8::new(0),
            delay_ms: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let accepting = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.ended.load(Ordering::Acquire) {
                    return;
                }
                let Ok(client) = client else { continue };
                if accepting.network() == Network::Cut {
                    continue;
                }
                let state = accepting.clone();
                std::thread::spawn(move || connect(client, port, &state));
            }
        });
        Self { address, state }
    }

    /// Where it takes connections.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The network becomes this. Connections outlive silence, as they do in TCP when it is short.
    pub fn set(&self, network: Network) {
        if network == Network::Cut {
            self.state.generation.fetch_add(1, Ordering::AcqRel);
        }
        self.state.network.store(network as u8, Ordering::Release);
    }

    /// All connections are reset; new ones are made as the network allows.
    pub fn reset(&self) {
        self.state.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Each piece of data takes so long from now on, one after the other.
    pub fn delay(&self, time: Duration) {
        self.state.delay_ms.store(u64::try_from(time.as_millis()).unwrap(), Ordering::Release);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Release);
        self.reset();
        // Its thread looks up when somebody comes.
        drop(TcpStream::connect(self.address));
    }
}

fn connect(client: TcpStream, port: u16, state: &Arc<State>) {
    let generation = state.generation.load(Ordering::Acquire);
    while state.network() == Network::Silent && state.generation.load(Ordering::Acquire) == generation {
        std::thread::sleep(LOOK);
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let state = state.clone();
        std::thread::spawn(move || pump(from, to, generation, &state));
    }
}

/// Hands bytes on until one side ends or the connection is reset.
fn pump(mut from: TcpStream, mut to: TcpStream, generation: u64, state: &State) {
    let mut bytes = vec![0; 64 << 10];
    let is_whole = || state.generation.load(Ordering::Acquire) == generation && !state.ended.load(Ordering::Acquire);
    if from.set_read_timeout(Some(LOOK)).is_err() || to.set_nodelay(true).is_err() {
        return;
    }
    while is_whole() {
        let read = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        std::thread::sleep(Duration::from_millis(state.delay_ms.load(Ordering::Acquire)));
        while state.network() == Network::Silent && is_whole() {
            std::thread::sleep(LOOK);
        }
        if !is_whole() || to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // It may be closed already.
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}
