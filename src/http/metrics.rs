//! Counters of the server, and how Prometheus reads them. No name of a repository is in them.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::answer::Head;
use super::call::Call;
use super::error::HttpError;
use super::routes::ROUTES;

/// Answers are counted by the first digit of their status.
const CLASSES: usize = 5;

/// The counters.
pub struct Metrics {
    /// By route and class of status.
    answers: Vec<[AtomicU64; CLASSES]>,
    /// Answers to requests that no route fits.
    pub unrouted: AtomicU64,
    /// Bytes of requests' bodies.
    pub bytes_in: AtomicU64,
    /// Bytes of answers' bodies.
    pub bytes_out: Arc<AtomicU64>,
    /// Connections that were taken.
    pub connections: AtomicU64,
    /// Connections that were sent away because there were too many.
    pub connections_refused: AtomicU64,
    /// Requests that were sent away because there were too many.
    pub requests_refused: AtomicU64,
    /// Connections that are open.
    pub connections_open: Gauge,
    /// Requests that are being answered.
    pub requests_open: Gauge,
    /// Packs on their way.
    pub packs_open: Gauge,
}

impl Metrics {
    /// Counters for so many routes, at zero.
    pub fn new(route_count: usize) -> Self {
        Self {
            answers: (0..route_count).map(|_| Default::default()).collect(),
            unrouted: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: Arc::default(),
            connections: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            requests_refused: AtomicU64::new(0),
            connections_open: Gauge::default(),
            requests_open: Gauge::default(),
            packs_open: Gauge::default(),
        }
    }

    /// Counts an answer of the route with this index in the table.
    pub fn answered(&self, route: usize, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES) - 1;
        if let Some(count) = self.answers.get(route).and_then(|classes| classes.get(class)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All requests that were answered.
    pub fn answer_count(&self) -> u64 {
        self.answers.iter().flatten().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// A number that somebody else counts.
pub struct Series {
    /// Its name, without what all begin with.
    pub name: &'static str,
    /// What it counts.
    pub doc: &'static str,
    /// It only grows.
    pub is_counter: bool,
    /// What it is now.
    pub value: u64,
}

/// Tells the numbers of somebody else. May block for a moment.
pub type MoreSeries = dyn Fn() -> Vec<Series> + Send + Sync;

/// How many of something there are now.
#[derive(Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// One more, until the answer is dropped.
    pub fn enter(&self) -> Entered {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(self.0.clone())
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts until it is dropped.
pub struct Entered(Arc<AtomicU64>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `GET /metrics`.
pub(super) fn show(call: &mut Call<'_>) -> Result<(), HttpError> {
    let metrics = &call.shared.metrics;
    let mut text = String::new();
    family(&mut text, "requests_total", "counter", "Requests answered, by route and status class.");
    for (route, classes) in ROUTES.iter().zip(&metrics.answers) {
        for (index, count) in classes.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                let (method, pattern, class) = (route.method.as_str(), route.pattern, index + 1);
                let service = route.service.map(|name| format!("?service={name}"));
                let service = service.unwrap_or_default();
                let labels = format!(
                    "method=\"{method}\",route=\"{pattern}{service}\",status=\"{class}xx\""
                );
                line(&mut text, "requests_total", &labels, count);
            }
        }
    }
    let counters = [
        ("requests_unrouted_total", "Requests for no route.", &metrics.unrouted),
        ("requests_refused_total", "Requests sent away: too many.", &metrics.requests_refused),
        ("body_in_bytes_total", "Bytes of request bodies.", &metrics.bytes_in),
        ("body_out_bytes_total", "Bytes of answers' bodies.", &metrics.bytes_out),
        ("connections_total", "Connections taken.", &metrics.connections),
        ("connections_refused_total", "Connections refused.", &metrics.connections_refused),
    ];
    for (name, doc, counter) in counters {
        family(&mut text, name, "counter", doc);
        line(&mut text, name, "", counter.load(Ordering::Relaxed));
    }
    let gauges = [
        ("connections", "Connections open now.", metrics.connections_open.count()),
        ("requests", "Requests being answered now.", metrics.requests_open.count()),
        ("packs", "Packs on their way now.", metrics.packs_open.count()),
        ("uptime_seconds", "Since the start.", call.shared.started.elapsed().as_secs()),
        ("repositories", "Repositories.", call.store().repos().list()?.len() as u64),
    ];
    for (name, doc, value) in gauges {
        family(&mut text, name, "gauge", doc);
        line(&mut text, name, "", value);
    }
    let more = call.shared.more_series.get().map(|more| more()).unwrap_or_default();
    for Series { name, doc, is_counter, value } in more {
        family(&mut text, name, if is_counter { "counter" } else { "gauge" }, doc);
        line(&mut text, name, "", value);
    }
    family(&mut text, "store_bytes", "gauge", "Bytes on the disk by column family.");
    for (name, len) in call.store().family_lens()? {
        line(&mut text, "store_bytes", &format!("family=\"{name}\""), len);
    }
    call.out.whole(Head::ok("text/plain; version=0.0.4; charset=utf-8").fresh(), text);
    Ok(())
}

fn family(text: &mut String, name: &str, kind: &str, doc: &str) {
    let _ = writeln!(text, "# HELP mega_store_{name} {doc}\n# TYPE mega_store_{name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: u64) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(text, "mega_store_{name}{labels} {value}");
}
