//! Families and samples in the form that the crate `prometheus` encodes.
//!
//! Promises: one call is one family, named `wa_sidecar_` and what the caller said.
//! Must not know: what is counted.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::counters::{DURATION_BUCKETS_US, Durations};

/// Labels and a value.
pub type Sample = (Vec<LabelPair>, f64);

pub fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    pairs.iter().map(pair).collect()
}

/// A family's only sample.
pub fn one(value: f64) -> [Sample; 1] {
    [(Vec::new(), value)]
}

/// One sample for each value of a label.
pub fn by<'a>(label: &str, values: impl IntoIterator<Item = (&'a str, f64)>) -> Vec<Sample> {
    values
        .into_iter()
        .map(|(text, value)| (labels(&[(label, text)]), value))
        .collect()
}

#[derive(Default)]
pub struct Page(pub Vec<MetricFamily>);

impl Page {
    pub fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
        let metric = |(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_gauge(gauge);
            metric.set_label(labels);
            metric
        };
        self.family(name, help, MetricType::GAUGE, samples.into_iter().map(metric).collect());
    }

    pub fn counter(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
        let metric = |(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = Metric::from_label(labels);
            metric.set_counter(counter);
            metric
        };
        self.family(
            name,
            help,
            MetricType::COUNTER,
            samples.into_iter().map(metric).collect(),
        );
    }

    /// The sum of several threads' durations, in seconds.
    pub fn histogram<'a>(&mut self, name: &str, help: &str, parts: impl Iterator<Item = &'a Durations>) {
        let (mut counts, mut count, mut sum_us) = ([0; DURATION_BUCKETS_US.len()], 0, 0);
        for part in parts {
            counts
                .iter_mut()
                .zip(&part.buckets)
                .for_each(|(sum, bucket)| *sum += bucket.get());
            count += part.over.get();
            sum_us += part.sum_us.get();
        }
        count += counts.iter().sum::<u64>();
        let mut cumulative = 0;
        let bucket = |(of_bucket, us)| {
            cumulative += of_bucket;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(us as f64 / 1e6);
            bucket.set_cumulative_count(cumulative);
            bucket
        };
        // The encoder adds the bucket `+Inf` from the sample count.
        let buckets = counts.into_iter().zip(DURATION_BUCKETS_US).map(bucket).collect();
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum_us as f64 / 1e6);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.family(name, help, MetricType::HISTOGRAM, vec![metric]);
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        let mut family = MetricFamily::default();
        family.set_name(format!("wa_sidecar_{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}
