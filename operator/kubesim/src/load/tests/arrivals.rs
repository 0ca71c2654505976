//! How messages arrive: their number and their moments, whoever looks how often.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::load::arrivals::{STEP, Stream, Train, normal, poisson};
use crate::load::{ArrivalProcess, Between, InvalidRate, Rate, Spread};

fn trains(process: &ArrivalProcess, seed: u64, seconds: u64) -> Vec<Train> {
    let mut stream = Stream::new(process, seed, 0).unwrap();
    (0..seconds).map(|_| stream.next()).collect()
}

fn total(process: &ArrivalProcess, seed: u64, seconds: u64) -> u64 {
    trains(process, seed, seconds).iter().map(|train| train.count).sum()
}

#[test]
fn even_messages_arrive_where_the_running_sum_passes_a_whole_number() {
    let two = trains(&ArrivalProcess::constant(2.0), 0, 2);
    assert_eq!(two[0], Train { first: STEP / 2, spacing: STEP / 2, count: 2 });
    assert_eq!(two[1], Train { first: STEP + STEP / 2, spacing: STEP / 2, count: 2 });

    let tenth = trains(&ArrivalProcess::constant(0.1), 0, 30);
    let seen: Vec<_> = tenth.iter().filter(|train| train.count > 0).map(|train| train.first).collect();
    assert_eq!(seen, [10 * STEP, 20 * STEP, 30 * STEP]);
}

#[test]
fn every_train_stays_within_its_second() {
    for rate in [0.3, 1.0, 2.5, 7.0, 999.0, 12_345.678, 1e6] {
        for spread in [Spread::Even, Spread::Poisson] {
            let process = ArrivalProcess { rate: Rate::Constant { per_second: rate }, spread };
            for (second, train) in trains(&process, 5, 50).iter().enumerate() {
                let start = second as u64 * STEP;
                if train.count > 0 {
                    assert!(train.first > start && train.last() <= start + STEP, "{rate} {spread:?} {train:?}");
                }
            }
        }
    }
}

#[test]
fn expected_messages_of_a_rate_as_a_table() {
    let points = vec![(0.0, 10.0), (10.0, 20.0), (20.0, 0.0)];
    let trace = |between, repeat| Rate::Trace { points: points.clone(), between, repeat };
    let daily = |sharpness| Rate::Daily { low: 10.0, high: 30.0, period: 86_400.0, peak_at: 43_200.0, sharpness };
    let bursts = Rate::Bursts { low: 1.0, high: 11.0, every: 60.0, lasts: 10.0, first_at: 30.0 };
    let table: Vec<(&str, Rate, f64, f64, f64)> = vec![
        ("nothing", Rate::Silent, 0.0, 1e6, 0.0),
        ("constant", Rate::Constant { per_second: 3.0 }, 10.0, 20.0, 30.0),
        ("trickle", Rate::Trickle { every: 20.0 }, 0.0, 100.0, 5.0),
        ("before the first burst", bursts.clone(), 0.0, 30.0, 30.0),
        ("half a burst", bursts.clone(), 30.0, 35.0, 55.0),
        ("one whole round", bursts.clone(), 30.0, 90.0, 160.0),
        ("across the end of a burst", bursts, 38.0, 42.0, 24.0),
        ("a step trace holds the earlier value", trace(Between::Step, false), 0.0, 20.0, 300.0),
        ("a line trace is a trapezium", trace(Between::Line, false), 0.0, 20.0, 250.0),
        ("the middle of a line", trace(Between::Line, false), 5.0, 10.0, 87.5),
        ("after the last point its value holds", trace(Between::Line, false), 20.0, 30.0, 0.0),
        ("a trace that repeats", trace(Between::Line, true), 20.0, 60.0, 500.0),
        ("a valley", daily(1), 0.0, 1.0, 10.0),
        ("a peak", daily(4), 43_199.5, 43_200.5, 30.0),
        ("a sum", Rate::Sum(vec![Rate::Constant { per_second: 1.0 }, Rate::Trickle { every: 2.0 }]), 0.0, 4.0, 6.0),
    ];
    for (what, rate, from, to, expected) in table {
        let got = rate.compile().unwrap().expected(from, to);
        assert!((got - expected).abs() < 1e-3, "{what}: {got} instead of {expected}");
    }
    // A sine of mean 20 over its whole period, asked second by second.
    let curve = daily(1).compile().unwrap();
    let day: f64 = (0..86_400).map(|second| curve.expected(f64::from(second), f64::from(second) + 1.0)).sum();
    assert!((day - 20.0 * 86_400.0).abs() < 1e-3, "{day}");
}

#[test]
fn a_rate_that_cannot_be_used_is_refused_with_the_field_named() {
    let bursts = |every, lasts| Rate::Bursts { low: 0.0, high: 1.0, every, lasts, first_at: 0.0 };
    let trace = |points: Vec<(f64, f64)>, repeat| Rate::Trace { points, between: Between::Step, repeat };
    for (rate, words) in [
        (Rate::Constant { per_second: -1.0 }, "per_second"),
        (Rate::Constant { per_second: f64::NAN }, "per_second"),
        (Rate::Constant { per_second: f64::INFINITY }, "per_second"),
        (Rate::Trickle { every: 0.0 }, "every"),
        (bursts(10.0, 11.0), "lasts"),
        (bursts(0.0, 0.0), "every"),
        (trace(vec![], false), "points"),
        (trace(vec![(1.0, 1.0)], true), "at least two"),
        (trace(vec![(1.0, 1.0), (1.0, 2.0)], false), "point 1"),
        (Rate::Sum(vec![Rate::Silent, Rate::Constant { per_second: 2e9 }]), "per_second"),
        (Rate::Daily { low: 5.0, high: 1.0, period: 60.0, peak_at: 0.0, sharpness: 1 }, "high"),
        (Rate::Daily { low: 0.0, high: 1.0, period: 60.0, peak_at: 0.0, sharpness: 0 }, "sharpness"),
    ] {
        let refused: InvalidRate = rate.validate().unwrap_err();
        assert!(refused.to_string().contains(words), "{rate:?}: {refused}");
    }
}

#[test]
fn poisson_numbers_have_the_mean_and_variance_of_their_distribution() {
    let mut random = SmallRng::seed_from_u64(9);
    for mean in [0.05, 0.7, 3.0, 20.0, 63.9, 64.0, 500.0, 1e6] {
        let count = 40_000_u32;
        let drawn: Vec<f64> = (0..count).map(|_| poisson(mean, &mut random) as f64).collect();
        let average = drawn.iter().sum::<f64>() / f64::from(count);
        let variance = drawn.iter().map(|x| (x - average).powi(2)).sum::<f64>() / f64::from(count);
        let error = 5.0 * (mean / f64::from(count)).sqrt();
        assert!((average - mean).abs() < error, "mean {mean}: {average}");
        assert!(
            (variance / mean - 1.0).abs() < 0.06 + 5.0 * (1.0 / (f64::from(count) * mean)).sqrt(),
            "{mean} {variance}"
        );
    }
    let normals: Vec<f64> = (0..40_000).map(|_| normal(&mut random)).collect();
    let average = normals.iter().sum::<f64>() / 40_000.0;
    assert!(average.abs() < 0.025 && normals.iter().all(|x| x.is_finite()));
}

#[test]
fn the_same_seed_gives_the_same_messages_and_another_seed_others() {
    let process = ArrivalProcess::poisson(Rate::Constant { per_second: 5.0 });
    assert_eq!(trains(&process, 1, 600), trains(&process, 1, 600));
    assert_ne!(trains(&process, 1, 600), trains(&process, 2, 600));
    let mean = total(&process, 3, 10_000) as f64 / 10_000.0;
    assert!((mean - 5.0).abs() < 0.12, "{mean}");
}

#[test]
fn a_trickle_by_chance_comes_at_any_moment_of_a_second() {
    let process = ArrivalProcess::poisson(Rate::Trickle { every: 10.0 });
    let offsets: Vec<u64> =
        trains(&process, 4, 20_000).iter().filter(|train| train.count == 1).map(|train| train.first % STEP).collect();
    assert!(offsets.len() > 1_500);
    for quarter in 0..4 {
        let inside = offsets.iter().filter(|&&offset| offset / (STEP / 4) == quarter).count() as f64;
        assert!((inside / offsets.len() as f64 - 0.25).abs() < 0.05, "quarter {quarter}: {inside}");
    }
}

#[test]
fn a_process_survives_being_written_down() {
    let process = ArrivalProcess::poisson(Rate::Sum(vec![
        Rate::Trickle { every: 3.0 },
        Rate::Trace { points: vec![(0.0, 1.0), (5.0, 2.0)], between: Between::Line, repeat: true },
    ]));
    let text = serde_json::to_string(&process).unwrap();
    assert_eq!(serde_json::from_str::<ArrivalProcess>(&text).unwrap(), process);
    assert!(serde_json::from_str::<ArrivalProcess>(&text.replace("every", "evry")).is_err());
}
