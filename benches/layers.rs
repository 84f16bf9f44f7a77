//! What each layer costs in time, from the frame header to a pair of links: `cargo bench --bench layers`.
//!
//! A name chooses: `cargo bench --bench layers -- crypto/seal`. The other AEAD backend: `--no-default-features`.

mod cases;
mod pair;

use cases::Case;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::{Duration, Instant};

fn layers(criterion: &mut Criterion) {
    for Case {
        name,
        bytes,
        rounds: prepared,
        make,
    } in cases::all()
    {
        let (layer, operation) = name.split_once('/').expect("layer/operation");
        let mut group = criterion.benchmark_group(layer);
        if let Some(bytes) = bytes {
            group.throughput(Throughput::Bytes(bytes));
        }
        group.bench_function(operation, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                let mut left = rounds;
                while left > 0 {
                    let now = left.min(prepared as u64);
                    // Outside of what is timed.
                    let mut run = make(now as usize);
                    let began = Instant::now();
                    for _ in 0..now {
                        run();
                    }
                    took += began.elapsed();
                    left -= now;
                }
                took
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    targets = layers
}
criterion_main!(benches);
