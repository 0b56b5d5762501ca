//! The whole server without its sockets and threads, under one seed: the real store on a simulated disk, the real
//! writer and the real schedule, with callers, receivers, clocks, commits, crashes and restarts in an order that the
//! seed decides. After every step, what can be seen of the invariants in `docs/architecture.md` has to hold.
//!
//! A failure names the command that brings it again. The long form:
//! `TEMPCLOCK_SIMULATION_SEEDS=10000 cargo test --release --test simulation`.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as promised")]

#[path = "simulation/attempts.rs"]
mod attempts;
#[path = "simulation/batches.rs"]
mod batches;
#[path = "simulation/callers.rs"]
mod callers;
#[path = "simulation/dice.rs"]
mod dice;
mod disk;
#[path = "simulation/endpoints.rs"]
mod endpoints;
#[path = "simulation/jobs.rs"]
mod jobs;
#[path = "simulation/model.rs"]
mod model;
#[path = "simulation/process.rs"]
mod process;
#[path = "simulation/pushback.rs"]
mod pushback;
#[path = "simulation/turns.rs"]
mod turns;
#[path = "simulation/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use endpoints::Mood;
use process::Sabotage;
use world::World;

const SEEDS: u64 = 200;
const STEPS: usize = 200;

type Happened = BTreeMap<&'static str, usize>;

fn simulate(seed: u64, sabotage: Option<Sabotage>) -> Result<Happened, String> {
    let mut world = World::new(seed, sabotage)?;
    for _ in 0..=world.dice.below(10) {
        world.create();
    }
    // Most runs see small numbers of many things; some see more than a page of one.
    let burst_at = if world.dice.one_in(20) { world.dice.below(STEPS) } else { STEPS };
    let mut run = || -> Result<(), String> {
        for step in 0..STEPS {
            if step == burst_at {
                world.publish(700);
            }
            match world.dice.below(20) {
                0 | 1 => {
                    let events = world.dice.pick(&[1, 1, 1, 1, 2, 5]);
                    world.publish(events);
                }
                2 | 3 => world.operate(),
                4..=6 => world.commit(false)?,
                7 if world.dice.one_in(12) => world.stop()?,
                7 if world.dice.one_in(12) => world.crash()?,
                _ => world.step_beside_the_writer()?,
            }
        }
        world.is_calm = true;
        for mood in world.moods.values_mut() {
            *mood = Mood::Healthy;
        }
        // What was under way may still switch a subscription off.
        world.run_dry()?;
        world.activate_all();
        world.run_dry()?;
        world.look_at_the_end()
    };
    run()?;
    Ok(world.happened)
}

/// The first seed that fails and how, and what happened in all.
fn simulate_all(seeds: std::ops::Range<u64>, sabotage: Option<Sabotage>) -> (Option<(u64, String)>, Happened) {
    let next = AtomicU64::new(seeds.start);
    let results = Mutex::new((None::<(u64, String)>, Happened::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || results.lock().unwrap().0.is_some() {
                        return;
                    }
                    let result =
                        catch_unwind(|| simulate(seed, sabotage)).unwrap_or_else(|_| Err("a panic".to_owned()));
                    let (failure, happened) = &mut *results.lock().unwrap();
                    match result {
                        Ok(more) => {
                            for (what, count) in more {
                                *happened.entry(what).or_default() += count;
                            }
                        }
                        Err(fault) => *failure = Some((seed, fault)),
                    }
                }
            });
        }
    });
    results.into_inner().unwrap()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    let one = number("TEMPCLOCK_SIMULATION_SEED");
    let seeds = one.map_or(0..number("TEMPCLOCK_SIMULATION_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let (failure, happened) = simulate_all(seeds.clone(), None);
    if let Some((seed, fault)) = failure {
        panic!("{fault}\nagain: TEMPCLOCK_SIMULATION_SEED={seed} cargo test --test simulation no_order");
    }
    println!("{seeds:?}: {happened:?}");
    for what in [
        "publish",
        "conflict",
        "redelivery",
        "deletion",
        "first attempt",
        "retry",
        "delivered",
        "exhausted",
        "pushed back",
        "clock step",
        "stop",
        "crash",
        "crash in a commit",
        "rows taken away",
        "start in order",
        "waits in order",
        "batch",
        "batch again",
        "batch in order",
        "retry of many finished",
        "replay finished",
        "job stopped",
    ] {
        assert!(one.is_some() || happened.contains_key(what), "never came about: {what}");
    }
}

#[test]
fn a_seed_brings_the_same_run_again() {
    assert_eq!(simulate(7, None), simulate(7, None));
}

#[test]
fn what_is_broken_on_purpose_is_found_out() {
    for sabotage in [Sabotage::DropRetries, Sabotage::LieAboutSyncs, Sabotage::EndClaimsEarly] {
        let (failure, _) = simulate_all(0..SEEDS, Some(sabotage));
        assert!(failure.is_some(), "{sabotage:?} would not be noticed");
    }
}
