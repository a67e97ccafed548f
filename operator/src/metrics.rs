//! The metrics of a role, in the formats that Prometheus reads.
//!
//! Values are computed at each scrape from what the role knows already ([`series`]): a scrape runs
//! no program and sends no request. Counters and histograms are observed where the event happens.

pub mod series;

use std::borrow::Cow;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use series::{Gauge, Scrape, Value};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics, which current scrapers accept.
    OpenMetrics,
    /// Prometheus' older format, for programs that do not accept OpenMetrics, such as `promtool
    /// check metrics`.
    Prometheus,
}

impl Format {
    /// Returns the media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Time for which a text is served again: clients that scrape more often cost no more.
const LIFETIME: Duration = Duration::from_secs(1);

const BUILD: Gauge<2> = Gauge::new(
    "flexlvm_build_info",
    "Version and role of the process; always 1.",
    ["version", "role"],
);

/// The metrics of one role. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    rendered: Arc<Mutex<Option<RenderedText>>>,
}

/// A text that was served.
struct RenderedText {
    format: Format,
    time: Instant,
    text: Arc<str>,
}

/// Computes samples at each scrape.
struct Computed<F>(F);

impl<F> Debug for Computed<F> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Computed").finish_non_exhaustive()
    }
}

impl<F> Collector for Computed<F>
where
    F: Fn(&mut Scrape<'_>) -> fmt::Result + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Scrape::new(encoder))
    }
}

impl Metrics {
    /// Creates the metrics of a controller.
    #[must_use]
    pub fn of_controller() -> Self {
        Self::new(Registry::default(), "controller")
    }

    /// Creates the metrics of an agent; all have the label `node`.
    #[must_use]
    pub fn of_agent(node: &str) -> Self {
        let label = (Cow::Borrowed("node"), Cow::Owned(node.to_owned()));
        Self::new(Registry::with_labels([label].into_iter()), "agent")
    }

    fn new(registry: Registry, role: &'static str) -> Self {
        let metrics = Self {
            registry: Arc::new(Mutex::new(registry)),
            rendered: Arc::default(),
        };
        metrics.compute(move |scrape| {
            let version = env!("CARGO_PKG_VERSION");
            scrape.gauge(&BUILD, [([version, role], Value::ONE)])
        });
        metrics
    }

    /// Registers counters and histograms.
    pub(crate) fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut lock(&self.registry));
    }

    /// Registers samples that are computed at each scrape.
    pub(crate) fn compute<F>(&self, samples: F)
    where
        F: Fn(&mut Scrape<'_>) -> fmt::Result + Send + Sync + 'static,
    {
        self.register(|registry| registry.register_collector(Box::new(Computed(samples))));
    }

    /// Returns all samples, at most a second old.
    ///
    /// # Errors
    /// Never, as long as each sample can be formatted.
    pub fn text(&self, format: Format) -> Result<Arc<str>, fmt::Error> {
        let mut rendered = lock(&self.rendered);
        if let Some(last) = &*rendered
            && last.format == format
            && last.time.elapsed() < LIFETIME
        {
            return Ok(last.text.clone());
        }
        let mut samples = String::new();
        let registry = lock(&self.registry);
        match format {
            Format::OpenMetrics => text::encode(&mut samples, &registry)?,
            Format::Prometheus => prometheus_text::encode(&mut samples, &registry)?,
        }
        let text: Arc<str> = samples.into();
        *rendered = Some(RenderedText {
            format,
            time: Instant::now(),
            text: text.clone(),
        });
        Ok(text)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests;
