//! The one thread that moves packets: from the hosts' devices into the network and back, in time.
//!
//! Time is `CLOCK_MONOTONIC`; the thread sleeps in `ppoll` until a packet comes or is due. While
//! packets flow it wakes once in [`QUANTUM`] and takes all there is: at most that much is added to
//! a packet's way, twice, and two cores carry more than 100 MB/s.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fabric::Fabric;
use super::sys;

/// Between two looks at the devices while packets flow.
const QUANTUM: Duration = Duration::from_micros(100);
/// Packets taken from one device before the others have their turn.
const BATCH_LEN: usize = 256;
/// A read takes one packet, which is never longer than the device's MTU.
const PACKET_LEN_MAX: usize = 65_536;

/// What the control changes while packets move.
pub struct State {
    /// The network.
    pub fabric: Fabric,
    /// Packets that a host's kernel did not take.
    pub unwritten_count: u64,
    /// Devices by the hosts' indices.
    devices: Vec<File>,
}

/// The running emulator. Its thread ends with this.
pub struct Emulator {
    state: Arc<Mutex<State>>,
    wake: PipeWriter,
}

impl Emulator {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, when there are no threads or descriptors left.
    pub fn start(fabric: Fabric) -> io::Result<Self> {
        let (reader, wake) = io::pipe()?;
        let state = Arc::new(Mutex::new(State { fabric, unwritten_count: 0, devices: Vec::new() }));
        let shared = Arc::clone(&state);
        std::thread::Builder::new().name("emulator".to_owned()).spawn(move || {
            sys::hurry();
            // A lab whose packets stand still would look like one whose links are cut.
            let ended = catch_unwind(AssertUnwindSafe(|| run(&shared, &reader)));
            if !matches!(ended, Ok(Ok(()))) {
                eprintln!("netlab: the emulator has failed: {ended:?}");
                std::process::exit(1);
            }
        })?;
        Ok(Self { state, wake })
    }

    /// Stops the packets while the network is looked at or changed.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Connects the device of the next host.
    ///
    /// # Errors
    /// The system's, when the thread has gone.
    pub fn connect(&self, device: File) -> io::Result<()> {
        self.state().devices.push(device);
        (&self.wake).write_all(&[1])
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(state: &Mutex<State>, mut wake: &PipeReader) -> io::Result<()> {
    let start = Instant::now();
    let mut buffer = vec![0; PACKET_LEN_MAX];
    loop {
        let (moved_any, fds, next_ns) = {
            let mut state = lock(state);
            let moved_any = state.step(start, &mut buffer)?;
            let fds = state.devices.iter().map(AsRawFd::as_raw_fd).collect::<Vec<RawFd>>();
            (moved_any, fds, state.fabric.next_due_ns())
        };
        if moved_any {
            sys::wait_readable(&[], Some(QUANTUM))?;
            continue;
        }
        let wait = next_ns.map(|next| Duration::from_nanos(next).saturating_sub(start.elapsed()));
        // Devices never go while the process lives, so these descriptors stay open.
        let watched: Vec<RawFd> = std::iter::once(wake.as_raw_fd()).chain(fds).collect();
        let is_woken = sys::wait_readable(&watched, wait)?.first() == Some(&true);
        if is_woken && wake.read(&mut [0])? == 0 {
            return Ok(()); // The lab has ended.
        }
    }
}

impl State {
    /// Takes what the hosts have sent and hands over what is due. Says whether there was any.
    fn step(&mut self, start: Instant, buffer: &mut [u8]) -> io::Result<bool> {
        let mut moved_any = false;
        for (host, mut device) in self.devices.iter().enumerate() {
            for _ in 0..BATCH_LEN {
                match device.read(buffer) {
                    Ok(len) => {
                        moved_any = true;
                        let packet = buffer.get(..len).unwrap_or_default();
                        self.fabric.enter(nanos(start), host, packet);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        let Self { fabric, unwritten_count, devices } = self;
        fabric.advance(nanos(start), &mut |to, packet| {
            moved_any = true;
            let written = devices.get(to).map(|mut device| device.write(packet));
            *unwritten_count += u64::from(!matches!(written, Some(Ok(_))));
        });
        Ok(moved_any)
    }
}

fn nanos(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
