//! What keeps web pages away: a page may send requests to 127.0.0.1 through its reader's browser.
//!
//! A page that gives its own name the address 127.0.0.1 sends that name as Host: a listener on
//! loopback answers only to names of this machine. A page can post forms and plain text anywhere
//! without asking: no route takes those types, and what a route takes a browser asks leave for
//! first, which is never given.

use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;

use super::ask::Ask;
use super::error::HttpError;
use super::table::{Route, Verb};

/// Refuses a request to a loopback listener under another name.
///
/// # Errors
/// 403.
pub fn check_host(ask: &Ask) -> Result<(), HttpError> {
    if !ask.is_loopback || ask.authority.as_deref().is_some_and(is_this_machine) {
        return Ok(());
    }
    let message = "this address answers only to 127.0.0.1, localhost and [::1]";
    Err(HttpError::new(StatusCode::FORBIDDEN, "host", message)
        .hint("a proxy in front of it has to set Host to 127.0.0.1"))
}

/// Whether `host[:port]` names this machine. The port is not looked at: a tunnel may have another,
/// and a page cannot forge the name.
fn is_this_machine(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    is_loopback || host.eq_ignore_ascii_case("localhost")
}

/// Refuses a POST whose body is not of a type that the route takes.
///
/// # Errors
/// 415.
pub fn check_type(ask: &Ask, route: &Route) -> Result<(), HttpError> {
    if route.method != Verb::Post {
        return Ok(());
    }
    let sent = ask.header(CONTENT_TYPE).unwrap_or_default();
    let sent = sent.split(';').next().unwrap_or_default().trim();
    if route.takes.iter().any(|taken| taken.eq_ignore_ascii_case(sent)) {
        return Ok(());
    }
    let message = format!("this takes {}, not '{}'", route.takes.join(" or "), sent.escape_debug());
    Err(HttpError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for good in ["127.0.0.1:8417", "localhost:1", "LOCALHOST", "[::1]:8417", "127.1.2.3"] {
            assert!(is_this_machine(good), "{good}");
        }
        for bad in [
            "",
            "[::1",
            "evil.example",
            "127.0.0.1.evil.example:8417",
            "localhost.evil:80",
            "[::2]:1",
            "10.0.0.1",
            "1.1.1.1:127",
        ] {
            assert!(!is_this_machine(bad), "{bad}");
        }
    }
}
