//! What a scenario measures the network itself with: packets by UDP, a transfer by TCP.
//!
//! The swarm is compared with these in the same run, so they do as little as can be done. Each
//! server says `ready` on its output when it listens; each client prints names and values.

pub mod tcp;
pub mod udp;

use std::time::Duration;

use crate::args::Args;

/// Takes a time such as `10ms`.
fn time_option(args: &mut Args, name: &str) -> Result<Option<Duration>, String> {
    let text: Option<String> = args.option(name)?;
    text.map(|text| super::units::time_ns(&text).map(Duration::from_nanos)).transpose()
}

/// Takes the port to listen at.
fn port(mut args: Args) -> Result<u16, String> {
    let port = args.required("PORT")?.parse().map_err(|_| "PORT is a number".to_owned())?;
    args.finish()?;
    Ok(port)
}

/// A time in milliseconds, for printing.
fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
