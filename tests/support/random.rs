//! Random input that can be had again, and how much of it a run wants.

/// A source of random numbers. It prints its seed, which `ZKCELLS_SEED` gives to another run.
pub fn random(test: &str) -> fastrand::Rng {
    let seed = match std::env::var("ZKCELLS_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    println!("{test}: ZKCELLS_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// How many rounds to go: few, or with `ZKCELLS_LONG=n` n times as many as a long run wants.
pub fn rounds(short: usize, long: usize) -> usize {
    match std::env::var("ZKCELLS_LONG") {
        Ok(times) => long * times.parse::<usize>().unwrap(),
        Err(_) => short,
    }
}
