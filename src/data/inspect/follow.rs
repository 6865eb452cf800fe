//! How the state follows the action: whether the recorded action is the state itself, and how many steps later the state
//! gets there.

use serde::Serialize;

use super::rows::{Episode, Rows};

/// Most steps that are looked ahead.
const AHEAD: usize = 15;
/// Most rows that are compared.
const ROWS: usize = 20_000;
/// Most pairs of an action and an observation dimension that are tried where names do not say which belong together.
const PAIRS: usize = 4096;
/// Delays at which they are tried.
const LAGS: [usize; 4] = [0, 1, 2, 4];
/// Least rows that are compared: of a few, everything may be a number apart.
const LEAST: usize = 16;

/// How well actions and later states agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Following {
    /// Pairs of an action dimension and the observation dimension that is its state.
    pub pairs: Vec<[usize; 2]>,
    /// Steps after which the state is closest to the action.
    pub lag: usize,
    /// Mean distance then, in standard deviations of the actions.
    pub distance: f64,
    /// The same without a delay.
    pub distance_now: f64,
}

/// Looks for the delay; None where no observation dimension is like an action.
pub fn following(rows: &Rows<'_>, names: [Option<&[String]>; 2]) -> Option<Following> {
    let stds: Vec<f64> = (0..rows.action_dim).map(|d| spread(rows, d)).collect();
    let moving = |pair: &[usize; 2]| stds[pair[0]] > 0.0;
    let pairs: Vec<[usize; 2]> =
        named(names).unwrap_or_else(|| nearest(rows, &stds)).into_iter().filter(moving).collect();
    if pairs.is_empty() {
        return None;
    }
    let distance = |lag: usize| {
        let each = pairs.iter().filter_map(|pair| apart(rows, *pair, lag).map(|d| d / stds[pair[0]]));
        let all: Vec<f64> = each.collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let distances: Vec<f64> = (0..=AHEAD).map_while(distance).collect();
    let lag = (0..distances.len()).min_by(|&a, &b| distances[a].total_cmp(&distances[b]))?;
    // Half a deviation apart says nothing about which state an action means.
    (distances[lag] < 0.5).then(|| Following {
        pairs,
        lag,
        distance: distances[lag],
        distance_now: distances[0],
    })
}

/// An action dimension that is an observation dimension plus a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offset {
    /// The action dimension.
    pub action: usize,
    /// The observation dimension.
    pub obs: usize,
    /// What is added, in the data's units.
    pub offset: f64,
    /// Standard deviation of what is added.
    pub spread: f64,
}

/// Action dimensions that are a state plus the same number everywhere: of the same name, or else where nothing but the number is
/// between the two.
pub fn offsets(rows: &Rows<'_>, names: [Option<&[String]>; 2]) -> Vec<Offset> {
    let stds: Vec<f64> = (0..rows.action_dim).map(|d| spread(rows, d)).collect();
    let by_name = named(names);
    let column = |o: usize| spread_of(&rows.obs, rows.obs_dim, o, rows.count);
    let states: Vec<f64> = (0..rows.obs_dim).map(column).collect();
    let mut found = Vec::new();
    if by_name.is_none() && rows.action_dim * rows.obs_dim > PAIRS {
        return found;
    }
    for (d, &std) in stds.iter().enumerate().filter(|(_, std)| **std > 0.0) {
        let candidates: Vec<usize> = match &by_name {
            Some(pairs) => pairs.iter().filter(|pair| pair[0] == d).map(|pair| pair[1]).collect(),
            None => (0..rows.obs_dim).collect(),
        };
        // A number apart, they move as far; what hardly moves beside its own size is no state of this action.
        let moves = |o: &usize| (0.5 * std..2.0 * std).contains(&states[*o]);
        let each = candidates.into_iter().filter(moves).flat_map(|o| LAGS.map(|lag| (o, lag)));
        let between = |(o, lag)| difference(rows, [d, o], lag).map(|(mean, spread)| (o, mean, spread));
        let all: Vec<(usize, f64, f64)> = each.filter_map(between).collect();
        // A state that is the action itself some steps later has no offset, whatever a motion at one speed looks like.
        if all.iter().any(|(_, mean, spread)| mean.abs() < 0.05 * std && *spread < 0.2 * std) {
            continue;
        }
        let best = all.into_iter().min_by(|a, b| a.2.total_cmp(&b.2));
        if let Some((obs, offset, spread)) = best
            && spread < 0.1 * std
            && offset.abs() > 10.0 * spread
            && offset.abs() > 0.1 * std
        {
            found.push(Offset { action: d, obs, offset, spread });
        }
    }
    found
}

/// The rows that have a later one within their episode, spread over the data; none where these are few, or few of all there are.
fn compared(rows: &Rows<'_>, lag: usize) -> impl Iterator<Item = usize> {
    let stride = rows.count.div_ceil(ROWS).max(1);
    let with_later = move |episode: &Episode| episode.rows.start..episode.rows.end.saturating_sub(lag);
    let count: usize = rows.episodes.iter().map(|episode| with_later(episode).len()).sum();
    let enough = count >= LEAST && 2 * count >= rows.count;
    let episodes = if enough { rows.episodes.as_slice() } else { &[] };
    episodes.iter().flat_map(move |episode| with_later(episode).step_by(stride))
}

/// Mean and standard deviation of action(t) - state(t + lag) over rows spread over the data.
fn difference(rows: &Rows<'_>, [d, o]: [usize; 2], lag: usize) -> Option<(f64, f64)> {
    let (mut sum, mut squares, mut n) = (0.0, 0.0, 0usize);
    let mut first = None;
    for row in compared(rows, lag) {
        let x = f64::from(rows.action[row * rows.action_dim + d]);
        let difference = x - f64::from(rows.obs[(row + lag) * rows.obs_dim + o]);
        let off = difference - *first.get_or_insert(difference);
        sum += off;
        squares += off * off;
        n += 1;
    }
    let count = n as f64;
    let variance = (squares / count - (sum / count).powi(2)).max(0.0);
    first.map(|first| (first + sum / count, variance.sqrt()))
}

/// Dimensions of the same name; None where there are none.
fn named([obs, action]: [Option<&[String]>; 2]) -> Option<Vec<[usize; 2]>> {
    let (obs, action) = (obs?, action?);
    // A name that stands for several values says nothing.
    let once = |names: &[String], name: &String| names.iter().filter(|other| *other == name).count() == 1;
    let place = |name: &String| {
        let unique = once(obs, name) && once(action, name);
        obs.iter().position(|other| other == name).filter(|_| unique)
    };
    let pairs: Vec<_> = action.iter().enumerate().filter_map(|(d, name)| Some([d, place(name)?])).collect();
    (!pairs.is_empty()).then_some(pairs)
}

/// For each action dimension the observation dimension that is nearest to it some steps later.
fn nearest(rows: &Rows<'_>, stds: &[f64]) -> Vec<[usize; 2]> {
    if rows.action_dim * rows.obs_dim > PAIRS {
        return Vec::new();
    }
    let mut pairs = Vec::new();
    for (d, std) in stds.iter().enumerate() {
        let places = (0..rows.obs_dim).flat_map(|o| LAGS.map(|lag| (o, lag)));
        let apart = |(o, lag)| apart(rows, [d, o], lag).map(|distance| (distance, o));
        let best = places.filter_map(apart).min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, o)) = best.filter(|(distance, _)| *distance < 0.5 * std) {
            pairs.push([d, o]);
        }
    }
    pairs
}

/// Mean |action(t) - state(t + lag)| over rows spread over the data; None where few rows have one so much later.
fn apart(rows: &Rows<'_>, [d, o]: [usize; 2], lag: usize) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0usize);
    for row in compared(rows, lag) {
        let difference = rows.action[row * rows.action_dim + d] - rows.obs[(row + lag) * rows.obs_dim + o];
        if difference.is_finite() {
            sum += f64::from(difference.abs());
            n += 1;
        }
    }
    (n > 0).then(|| sum / n as f64)
}

/// Standard deviation of an action dimension.
fn spread(rows: &Rows<'_>, d: usize) -> f64 {
    spread_of(&rows.action, rows.action_dim, d, rows.count)
}

/// Standard deviation of a column of rows [T, dim].
fn spread_of(data: &[f32], dim: usize, column: usize, count: usize) -> f64 {
    let values = || {
        let all = data.iter().skip(column).step_by(dim).take(count);
        all.filter(|x| x.is_finite()).map(|&x| f64::from(x))
    };
    let n = values().count().max(1) as f64;
    let mean = values().sum::<f64>() / n;
    (values().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two episodes of a wave; the second observation dimension is the action `lag` steps before.
    fn wave(lag: usize) -> (Vec<f32>, Vec<f32>) {
        let value = |t: i64| (t as f32 * 0.1).sin() * 3.0;
        let action: Vec<f32> = (0..400).map(|t| value(t % 200)).collect();
        let obs =
            (0..400).flat_map(|t| [((t * 7) % 13) as f32 * 10.0, value(t % 200 - lag as i64)]).collect();
        (obs, action)
    }

    fn two_episodes<'a>(obs: &'a [f32], action: &'a [f32], obs_dim: usize) -> Rows<'a> {
        let episode = |number: usize| Episode { rows: 200 * number..200 * (number + 1), number, set: 0 };
        Rows {
            obs: obs.into(),
            action: action.into(),
            obs_dim,
            action_dim: 1,
            count: 400,
            episodes: vec![episode(0), episode(1)],
            sets: vec![],
        }
    }

    #[test]
    fn the_delay_is_found_without_names() {
        for lag in [0, 1, 4] {
            let (obs, action) = wave(lag);
            let rows = two_episodes(&obs, &action, 2);
            let found = following(&rows, [None, None]).unwrap();
            assert_eq!((found.pairs.as_slice(), found.lag), (&[[0, 1]][..], lag));
            assert!(found.distance < 1e-6);
        }
    }

    #[test]
    fn strangers_do_not_follow() {
        let (obs, action) = wave(0);
        let noise: Vec<f32> = (0..400).map(|t| 50.0 + ((t * 31) % 17) as f32).collect();
        let rows = two_episodes(&noise, &action, 1);
        assert_eq!(following(&rows, [None, None]), None);
        let still = vec![1.0; 400];
        let rows = two_episodes(&obs, &still, 2);
        assert_eq!(following(&rows, [None, None]), None);
    }
}
