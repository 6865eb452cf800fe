//! Sampled chunks over the scene, and how they come about.

use super::held_out::{HeldOut, Picked};
use super::modes::Modes;
use super::sampling::Chunks;
use advect::device::Device;
use advect::policy::{Noise, Policy, SamplerOptions};
use advect::report::push_t::{GOAL, WORKSPACE, block_corners, push_t_backdrop};
use advect::report::{Colour, Figure, Flow, LineColour, Scene2d, push_t_scene};

/// Scenes of observations whose samples part most, and of typical ones.
const PARTED: usize = 3;
const TYPICAL: usize = 3;
/// Samples that the flow picture follows.
const FOLLOWED: usize = 64;
/// Times that it shows.
const SHOWN: [f32; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];

/// All pictures with their captions.
pub struct Pictures {
    /// Sampled chunks over the scene.
    pub scenes: Vec<(Figure, String)>,
    /// Panels in time and paths, of one observation.
    pub flow: [(Figure, String); 2],
}

/// Draws them; `chunks` were sampled for `shown`.
pub fn draw(
    device: &Device,
    policy: &Policy,
    held_out: &HeldOut,
    shown: &Picked,
    chunks: &Chunks,
) -> anyhow::Result<Pictures> {
    let spec = &policy.spec;
    let dim = spec.chunk();
    let of = |i: usize| &chunks.actions[i * chunks.samples * dim..][..chunks.samples * dim];
    let modes: Vec<Modes> = (0..shown.windows.len()).map(|i| Modes::find(of(i), dim, spec.horizon)).collect();
    let chosen = choose(held_out, shown, &modes)?;
    let mut scenes = Vec::new();
    for &i in &chosen {
        let (window, found) = (shown.windows[i], &modes[i]);
        let (episode, step) = held_out.place(window)?;
        let time = spec.rate_hz.map_or(String::new(), |hz| format!(" ({:.1} s)", step as f64 / hz));
        let (colour, ways) = match found.two() {
            true => {
                let few = found.minority();
                let text = format!(
                    "two ways, taken by {} and {few} of {} samples",
                    found.of.len() - few,
                    found.of.len()
                );
                (LineColour::Category(found.of.clone()), text)
            }
            false => (LineColour::Along, format!("samples spread by {:.0} px", found.spread)),
        };
        let truth = &shown.chunks[i * dim..][..dim];
        let (truth, samples) = (truth.as_chunks::<2>().0, of(i).as_chunks::<2>().0);
        let scene = match held_out.state(window) {
            Some(state) => push_t_scene(state, truth, samples, spec.horizon, colour),
            None => plain(truth, samples, spec.horizon, colour),
        };
        let scene = zoom(scene, held_out.state(window), truth, samples);
        let title = format!("Sampled chunks, episode {episode}, step {step}");
        scenes.push((scene.title(title).render(), format!("Episode {episode}, step {step}{time}: {ways}.")));
    }
    let flow = flow(device, policy, held_out, shown, chosen[0])?;
    Ok(Pictures { scenes, flow })
}

/// First those whose samples go two ways (the widest apart first), then typical ones, each from another episode.
fn choose(held_out: &HeldOut, shown: &Picked, modes: &[Modes]) -> anyhow::Result<Vec<usize>> {
    let mut order: Vec<usize> = (0..modes.len()).collect();
    // A gap of few pixels makes no choice that a person would see.
    let score = |i: &usize| if modes[*i].two() { 1e6 + modes[*i].spread } else { modes[*i].spread };
    order.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let mut typical: Vec<usize> = (0..modes.len()).collect();
    typical.sort_by(|a, b| modes[*a].spread.total_cmp(&modes[*b].spread));
    // From the middle outwards.
    let middle = typical.len() / 2;
    let mut outwards: Vec<usize> = (0..typical.len()).collect();
    outwards.sort_by_key(|at| at.abs_diff(middle));
    let (mut chosen, mut seen) = (Vec::new(), Vec::new());
    for (candidates, most) in
        [(order, PARTED), (outwards.into_iter().map(|at| typical[at]).collect(), PARTED + TYPICAL)]
    {
        for i in candidates {
            let (episode, _) = held_out.place(shown.windows[i])?;
            if chosen.len() < most && !chosen.contains(&i) && !seen.contains(&episode) {
                chosen.push(i);
                seen.push(episode);
            }
        }
    }
    Ok(chosen)
}

/// The samples of one observation on their way from noise to action, in physical units.
fn flow(
    device: &Device,
    policy: &Policy,
    held_out: &HeldOut,
    shown: &Picked,
    i: usize,
) -> anyhow::Result<[(Figure, String); 2]> {
    let spec = &policy.spec;
    let (dim, request) = (spec.chunk(), spec.request());
    let options = SamplerOptions { trajectory: true, ..SamplerOptions::default() };
    let mut sampler = policy.sampler(device, 1, FOLLOWED, &options)?;
    let times: Vec<f32> = {
        let steps = sampler.integrator().steps();
        (0..=steps).map(|k| k as f32 / steps as f32).collect()
    };
    let mut actions = vec![0.0; FOLLOWED * dim];
    let noise = Noise::Seed { seed: spec.provenance.seed, request: 2 };
    let path = sampler.sample_trajectory(&shown.obs[i * request..][..request], noise, &mut actions)?;
    // From [samples, times, chunk] to [times, samples, chunk].
    let at = |time: usize, sample: usize| &path[(sample * times.len() + time) * dim..][..dim];
    let states: Vec<f32> =
        (0..times.len()).flat_map(|t| (0..FOLLOWED).flat_map(move |s| at(t, s).iter().copied())).collect();
    let modes = Modes::find(&actions, dim, spec.horizon);
    let mut flow = Flow::chunks(&times, &states, FOLLOWED, spec.horizon)?.animated(true);
    if modes.two() {
        flow = flow.modes(&modes.of);
    }
    if let Some(state) = held_out.state(shown.windows[i]) {
        flow = flow.backdrop(push_t_backdrop(state));
    }
    let colours = if modes.two() { "coloured by where it ends" } else { "coloured by time along the chunk" };
    Ok([
        (flow.multiples(&SHOWN), format!("{FOLLOWED} whole chunks of one observation, {colours}.")),
        (flow.paths(), "The way of each chunk's last action (dots run from t = 0 to t = 1).".into()),
    ])
}

/// Shows a square with block, goal, agent and all chunks in it, and a little room; never less than half the workspace, so
/// that the scenes stay comparable.
fn zoom(scene: Scene2d, state: Option<[f32; 5]>, truth: &[[f32; 2]], samples: &[[f32; 2]]) -> Scene2d {
    let Some([x, y, block @ ..]) = state else { return scene };
    let corners = [block_corners(block), block_corners(GOAL)].concat();
    let (low, high) = bounds(corners.iter().chain(truth).chain(samples).chain(&[[x, y]]));
    let side = (0..2).map(|a| high[a] - low[a] + 40.0).fold(WORKSPACE / 2.0, f32::max).min(WORKSPACE);
    let low = [0, 1].map(|a| (low[a] / 2.0 + high[a] / 2.0 - side / 2.0).clamp(0.0, WORKSPACE - side));
    scene.extent(low, low.map(|v| v + side))
}

fn bounds<'a>(points: impl Iterator<Item = &'a [f32; 2]>) -> ([f32; 2], [f32; 2]) {
    let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
    for point in points {
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    (low, high)
}

/// Chunks without a scene.
fn plain(truth: &[[f32; 2]], samples: &[[f32; 2]], horizon: usize, colour: LineColour) -> Scene2d {
    let (low, high) = bounds(truth.iter().chain(samples));
    let room = [0, 1].map(|a| (high[a] - low[a]).max(1e-3) * 0.08);
    let scene = Scene2d::new(
        "Sampled chunks",
        [low[0] - room[0], low[1] - room[1]],
        [high[0] + room[0], high[1] + room[1]],
    );
    scene
        .lines(samples, horizon, colour, 1.6, 0.5)
        .lines(truth, truth.len(), LineColour::One(Colour::INK), 2.0, 1.0)
        .key_path(Colour::INK, "demonstrated")
}
