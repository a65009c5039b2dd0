//! A door between the wrapper and the API server: open, held, or shut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::support::*;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Door {
    /// Everything passes.
    Open,
    /// Connections are taken and nothing passes until the door is opened.
    Held,
    /// Connections are closed, those that are there too.
    Shut,
}

/// The door, at a port of its own.
pub struct Gate {
    state: Arc<AtomicU8>,
    port: u16,
}

const TICK: Duration = Duration::from_millis(10);

impl Gate {
    pub fn new(door: Door) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let port = listener.local_addr().expect("address").port();
        let state = Arc::new(AtomicU8::new(door as u8));
        let server = bed("BENCH_SERVER").trim_start_matches("https://").to_owned();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, state) = (server.clone(), Arc::clone(&shared));
                std::thread::spawn(move || pass(client, &server, &state));
            }
        });
        Self { state, port }
    }

    pub fn set(&self, door: Door) {
        self.state.store(door as u8, Ordering::SeqCst);
    }

    /// The API server's address for those who come through the door.
    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

fn pass(client: TcpStream, server: &str, state: &Arc<AtomicU8>) {
    while state.load(Ordering::SeqCst) == Door::Held as u8 {
        std::thread::sleep(TICK);
    }
    if state.load(Ordering::SeqCst) == Door::Shut as u8 {
        return;
    }
    let Ok(upstream) = TcpStream::connect(server) else { return };
    let pairs =
        [(&client, &upstream), (&upstream, &client)].map(|(from, to)| (from.try_clone(), to.try_clone()));
    for (from, to) in pairs {
        let (Ok(from), Ok(to)) = (from, to) else { return };
        let state = Arc::clone(state);
        std::thread::spawn(move || copy(from, to, &state));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, state: &AtomicU8) {
    let _ = from.set_read_timeout(Some(TICK));
    let mut chunk = [0; 16 * 1024];
    while state.load(Ordering::SeqCst) != Door::Shut as u8 {
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => {
                while state.load(Ordering::SeqCst) == Door::Held as u8 {
                    std::thread::sleep(TICK);
                }
                if to.write_all(&chunk[..read]).is_err() {
                    break;
                }
            }
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
