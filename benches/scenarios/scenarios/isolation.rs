//! Healthy endpoints alone, then the same beside sick ones: the difference is what the sick ones cost their neighbours.

use std::time::Duration;

use super::{Bench, at_most, complete, ratio};
use crate::Result;
use crate::receiver::{Behaviour, Group};
use crate::report::{Row, System};
use crate::server::Settings;
use crate::stand::{Load, Speaks, Stand};

const HEALTHY: &str = "healthy";
const SICK: &str = "sick";
/// Events a second for each endpoint.
const RATE: f64 = 50.0;
/// Longer than one attempt may take: what waits behind a hanging endpoint comes late, and is not taken for lost.
const PATIENCE: Duration = Duration::from_secs(35);

/// One beside twenty, fifty beside fifty.
pub fn hanging(bench: &Bench) -> Vec<Row> {
    bench.server_alone("hanging endpoints", |system| {
        // Longer than the time limit of an attempt, so that its end and what follows are in the measurement.
        let seconds = bench.pick(40.0, 8.0);
        let mut rows = pair(system, seconds, (1, 20), Behaviour::Hanging, "hanging")?;
        rows.extend(pair(system, seconds, (50, 50), Behaviour::Hanging, "hanging")?);
        Ok(rows)
    })
}

/// Fifty beside fifty.
pub fn failing(bench: &Bench) -> Vec<Row> {
    bench.server_alone("failing endpoints", |system| {
        pair(system, bench.pick(20.0, 8.0), (50, 50), Behaviour::Failing, "answering 500")
    })
}

fn pair(
    system: &System,
    seconds: f64,
    (healthy, sick): (usize, usize),
    behaviour: Behaviour,
    name: &str,
) -> Result<Vec<Row>> {
    let alone = beside(system, seconds.min(15.0), vec![Group::new(HEALTHY, Behaviour::Healthy, healthy)])?;
    let groups = vec![Group::new(HEALTHY, Behaviour::Healthy, healthy), Group::new(SICK, behaviour, sick)];
    let mut both = beside(system, seconds, groups)?;
    let p99 = |row: &Row| row.arrive.map(|arrive| arrive.p99);
    both.targets = vec![at_most("p99 to alone", ratio(p99(&both), p99(&alone)), 2.0)];
    both.targets.extend(complete(&both));
    Ok(vec![
        alone.named(&format!("{healthy} healthy alone, 50/s each ({name})"), system),
        both.named(&format!("{healthy} healthy + {sick} {name}, 50/s each"), system),
    ])
}

/// The figures of the healthy ones.
fn beside(system: &System, seconds: f64, groups: Vec<Group>) -> Result<Row> {
    let ill = groups.iter().any(|group| group.name == SICK);
    let mut stand = Stand::new(system, groups, Speaks::Http, &Settings::default())?;
    stand.warm_up(HEALTHY, 50)?;
    // From the first event on: the time until the server has learnt who is ill is when it is most at risk.
    let other = if ill { Some(stand.drive(SICK, Load::paced(RATE, seconds + 5.0))?) } else { None };
    let row = stand.measure(HEALTHY, Load::paced(RATE, seconds), PATIENCE)?;
    if let Some(other) = other {
        other.stop()?;
    }
    Ok(row)
}
