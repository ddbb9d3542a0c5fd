//! A request's head, taken apart once: path, query, the fields that matter.
//!
//! Percent-encoding is undone once, after the path was split at `/`. Invariant: no segment is
//! empty, `.` or `..`, or has a slash, a backslash or a control character in it.

use std::net::SocketAddr;

use hyper::header::{HeaderMap, HeaderName};
use hyper::{Method, Uri};
use percent_encoding::percent_decode_str;

use super::error::HttpError;
use super::limits::{PARAMETERS_MAX, PATH_LEN_MAX, QUERY_LEN_MAX};

/// A request's head.
#[derive(Debug)]
pub struct Ask {
    /// GET, HEAD, ...
    pub method: Method,
    /// The query's parameters in order, decoded.
    pub query: Vec<(String, String)>,
    /// The header fields.
    pub headers: HeaderMap,
    /// Host and port as the client named them.
    pub authority: Option<String>,
    /// Who is at the other end of the connection.
    pub from: SocketAddr,
    /// The connection is encrypted.
    pub is_tls: bool,
    /// The listener answers on this machine only.
    pub is_loopback: bool,
}

impl Ask {
    /// The first parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A header field's value as text.
    pub fn header(&self, name: impl Into<HeaderName>) -> Option<&str> {
        self.headers.get(name.into()).and_then(|value| value.to_str().ok())
    }

    /// Whether only the head of the answer is wanted.
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Where this server is for the client: scheme, host and port, without a slash at the end.
    pub fn base_url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority.as_deref().unwrap_or("localhost"))
    }
}

/// The path's segments. The root has none.
///
/// # Errors
/// When the path is too long, or breaks the invariant above.
pub fn split_path(uri: &Uri) -> Result<Vec<String>, HttpError> {
    let path = uri.path();
    if path.len() > PATH_LEN_MAX {
        return Err(HttpError::too_long("the path", PATH_LEN_MAX));
    }
    let path = path.strip_prefix('/').ok_or_else(|| HttpError::bad("the path has no slash"))?;
    if path.is_empty() {
        return Ok(Vec::new());
    }
    path.split('/').map(decode_segment).collect()
}

fn decode_segment(raw: &str) -> Result<String, HttpError> {
    let decoded = percent_decode_str(raw).decode_utf8();
    let segment = decoded.map_err(|_| HttpError::bad("the path is not UTF-8"))?.into_owned();
    let is_bad = |c: char| c.is_control() || matches!(c, '/' | '\\');
    if matches!(segment.as_str(), "" | "." | "..") || segment.contains(is_bad) {
        return Err(HttpError::bad("the path has a segment that cannot be"));
    }
    Ok(segment)
}

/// The query's parameters.
///
/// # Errors
/// When the query is too long or not UTF-8.
pub fn split_query(uri: &Uri) -> Result<Vec<(String, String)>, HttpError> {
    let query = uri.query().unwrap_or_default();
    if query.len() > QUERY_LEN_MAX {
        return Err(HttpError::too_long("the query", QUERY_LEN_MAX));
    }
    let pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    if pairs.len() > PARAMETERS_MAX {
        return Err(HttpError::too_long("the query's list of parameters", PARAMETERS_MAX));
    }
    let decode = |raw: &str| {
        let spaced = raw.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().map(|text| text.into_owned());
        decoded.map_err(|_| HttpError::bad("the query is not UTF-8"))
    };
    pairs
        .into_iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<Vec<String>, HttpError> {
        split_path(&text.parse().expect("a URI"))
    }

    #[test]
    fn a_path_is_decoded_once() {
        assert_eq!(path("/").expect("good"), Vec::<String>::new());
        assert_eq!(path("/a/b%20c").expect("good"), ["a", "b c"]);
        assert_eq!(path("/a%252fb").expect("good"), ["a%2fb"]);
    }

    #[test]
    fn no_path_leads_out() {
        for bad in [
            "/..",
            "/a/../b",
            "/a/./b",
            "//a",
            "/a//b",
            "/a/",
            "/%2e%2e/etc",
            "/a%2f..%2fb",
            "/a%5cb",
            "/%00",
            "/a%0ab",
            "/%ff",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
        let long = format!("/{}", "a".repeat(PATH_LEN_MAX - 1));
        assert!(path(&long).is_ok());
        assert!(path(&format!("{long}a")).is_err());
    }

    #[test]
    fn queries_are_pairs() {
        let query = |text: &str| split_query(&text.parse().expect("a URI"));
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(query("/").expect("good"), []);
        let good = query("/?a=1&list&b=x%26y+z&").expect("good");
        assert_eq!(good, [pair("a", "1"), pair("list", ""), pair("b", "x&y z")]);
        assert!(query("/?a=%ff").is_err());
        assert!(query(&format!("/?{}", "a&".repeat(PARAMETERS_MAX))).is_ok());
        assert!(query(&format!("/?{}", "a&".repeat(PARAMETERS_MAX + 1))).is_err());
        assert!(query(&format!("/?{}", "a".repeat(QUERY_LEN_MAX + 1))).is_err());
    }
}
