//! Series whose samples are computed at each scrape: name, help and labels as constants.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, GaugeValueEncoder};
use prometheus_client::metrics::MetricType;

/// A gauge with this number of labels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauge<const LABELS: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; LABELS],
}

impl<const LABELS: usize> Gauge<LABELS> {
    /// Describes a gauge. The name ends with its unit, the help is a sentence.
    pub(crate) const fn new(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; LABELS],
    ) -> Self {
        Self { name, help, labels }
    }
}

/// The value of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    /// A count or a size.
    Integer(u64),
    /// A ratio or a time.
    Float(f64),
}

impl Value {
    /// The value of series whose labels are the information.
    pub(crate) const ONE: Self = Self::Integer(1);
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Integer(value.try_into().unwrap_or(u64::MAX))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Integer(value.into())
    }
}

impl EncodeGaugeValue for Value {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => EncodeGaugeValue::encode(value, encoder),
            Self::Float(value) => EncodeGaugeValue::encode(value, encoder),
        }
    }
}

/// A scrape: receives the samples of one series after the other.
pub(crate) struct Scrape<'a>(DescriptorEncoder<'a>);

impl<'a> Scrape<'a> {
    pub(crate) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Writes the samples of a gauge, each with the values of its labels. No two may have the same
    /// values.
    pub(crate) fn gauge<'v, const LABELS: usize>(
        &mut self,
        gauge: &Gauge<LABELS>,
        samples: impl IntoIterator<Item = ([&'v str; LABELS], Value)>,
    ) -> fmt::Result {
        let mut metric =
            self.0
                .encode_descriptor(gauge.name, gauge.help, None, MetricType::Gauge)?;
        for (values, value) in samples {
            if LABELS == 0 {
                metric.encode_gauge(&value)?;
                continue;
            }
            let labels: Vec<_> = gauge.labels.into_iter().zip(values).collect();
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Writes the one sample of a gauge without labels.
    pub(crate) fn value(&mut self, gauge: &Gauge<0>, value: impl Into<Value>) -> fmt::Result {
        self.gauge(gauge, [([], value.into())])
    }
}
