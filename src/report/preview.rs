//! Test-only: a sample page with everything on it. To look at it, set `ADVECT_REPORT_PREVIEW` to a folder.

use super::check::well_formed;
use super::push_t::push_t_backdrop;
use super::*;

/// A small generator of repeatable noise; good enough for pictures.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32 + 0.5) / (1 << 24) as f32
    }

    fn normal(&mut self) -> f32 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f32::consts::TAU * self.uniform()).cos()
    }
}

const HORIZON: usize = 16;
const STATES: [[f32; 5]; 6] = [
    [120.0, 390.0, 270.0, 270.0, 1.9],
    [390.0, 140.0, 210.0, 300.0, 0.2],
    [256.0, 440.0, 250.0, 240.0, -0.7],
    [90.0, 110.0, 330.0, 200.0, 2.8],
    [330.0, 390.0, 180.0, 180.0, 4.0],
    [250.0, 120.0, 300.0, 320.0, 0.785],
];

/// Chunks from the agent to one side of the block or the other, and the side of each.
fn chunks(state: [f32; 5], count: usize, noise: &mut Noise) -> (Vec<[f32; 2]>, Vec<usize>) {
    let [x, y, block_x, block_y, _] = state;
    let (dx, dy) = (block_x - x, block_y - y);
    let (mut points, mut modes) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mode = usize::from(noise.uniform() < 0.3);
        let side = if mode == 0 { 1.0 } else { -1.0 };
        let (bend, reach) = (side * (0.32 + 0.06 * noise.normal()), 0.9 + 0.08 * noise.normal());
        for k in 0..HORIZON {
            let s = k as f32 / (HORIZON - 1) as f32;
            let (along, across) = (s * reach, bend * (s * 3.0).sin());
            let jitter = [noise.normal() * 1.2, noise.normal() * 1.2];
            points.push([x + along * dx - across * dy + jitter[0], y + along * dy + across * dx + jitter[1]]);
        }
        modes.push(mode);
    }
    (points, modes)
}

/// Straight flows from noise to `ends` ([samples][horizon]), flat `[times][samples][horizon][2]`.
fn flow_states(times: &[f32], ends: &[[f32; 2]], noise: &mut Noise) -> Vec<f32> {
    let starts: Vec<_> =
        ends.iter().map(|_| [256.0 + 90.0 * noise.normal(), 256.0 + 90.0 * noise.normal()]).collect();
    let bend = |t: f32| t + 0.35 * (std::f32::consts::PI * t).sin() * (1.0 - t);
    let at = |t: f32, i: usize, axis: usize| starts[i][axis] + (ends[i][axis] - starts[i][axis]) * bend(t);
    times.iter().flat_map(|t| (0..ends.len()).flat_map(move |i| [at(*t, i, 0), at(*t, i, 1)])).collect()
}

fn training_section(noise: &mut Noise) -> Section {
    let loss =
        |step: u64, n: f32| 0.02 + 1.1 / (1.0 + step as f32 / 180.0) * (0.25 * n).exp() + 0.004 * n.abs();
    let train: Vec<_> = (0..20_000).step_by(10).map(|s| (s, loss(s, noise.normal()))).collect();
    let held_out = |s: u64| loss(s, 0.1) * 1.08 + 0.00000012 * s.saturating_sub(9000) as f32;
    let validation: Vec<_> = (500..20_000).step_by(1000).map(|s| (s, held_out(s))).collect();
    let decay = |s: u64| 0.5 + 0.5 * (std::f32::consts::PI * s as f32 / 20_000.0).cos();
    let rate: Vec<_> =
        (0..20_000).step_by(50).map(|s| (s, 3e-4 * decay(s) * (s as f32 / 1000.0).min(1.0))).collect();
    let curve = LossCurve::new(&train).validation(&validation).learning_rate(&rate);
    Section::new("Training")
        .tile(Tile::new("0.0312", "validation loss").note("best, at step 17 500"))
        .tile(Tile::new("4.2 min", "training time").note("20 000 steps, batch 256"))
        .tile(Tile::new("1.83 ms", "one request, p99").note("batch 1, 10 Euler steps"))
        .tile(Tile::new("212k", "chunks per second").note("batch 1024"))
        .figure(
            curve.log_y(true).render(),
            "Flow-matching loss. The raw curve shows each column's lowest and highest value.",
        )
}

fn page() -> Page {
    let mut noise = Noise(7);
    let mut scenes = Vec::new();
    for (index, state) in STATES.into_iter().enumerate() {
        let (samples, modes) = chunks(state, 64, &mut noise);
        let (demonstration, _) = chunks(state, 1, &mut noise);
        let colour = if index == 5 { LineColour::Category(modes) } else { LineColour::Along };
        let scene = push_t_scene(state, &demonstration, &samples, HORIZON, colour);
        scenes.push((scene.render(), format!("Held-out episode {}, frame {}", 3 + index, 12 * index + 5)));
    }
    let times: Vec<f32> = (0..=10).map(|i| i as f32 / 10.0).collect();
    let (ends, modes) = chunks(STATES[0], 64, &mut noise);
    let states = flow_states(&times, &ends, &mut noise);
    let shown = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
    let chunk_flow = Flow::chunks(&times, &states, 64, HORIZON).expect("a fitting shape");
    let chunk_flow = chunk_flow.backdrop(push_t_backdrop(STATES[0])).animated(true);
    let moons: Vec<_> = (0..600)
        .map(|i| {
            let (angle, side) = (std::f32::consts::PI * noise.uniform(), (i % 2) as f32);
            let (x, y) = (angle.cos() + side, angle.sin() * (1.0 - 2.0 * side) + 0.5 * side);
            [160.0 * (x + 0.06 * noise.normal()) + 170.0, 160.0 * (y + 0.06 * noise.normal()) + 210.0]
        })
        .collect();
    let points = flow_states(&times, &moons, &mut noise);
    let moon_modes: Vec<usize> = (0..600).map(|i| i % 2).collect();
    let flow = Flow::points(&times, &points, 600).expect("a fitting shape");
    let devices = [
        DeviceInfo {
            name: "Sample GPU".into(),
            backend: "Vulkan".into(),
            driver: "570.86".into(),
            threads: None,
        },
        DeviceInfo {
            name: "Sample CPU".into(),
            backend: "CPU".into(),
            threads: Some(16),
            ..Default::default()
        },
    ];
    let stage = |stage: &str, ms, p99, rate| StageTime {
        stage: stage.into(),
        ms,
        p99_ms: Some(p99),
        chunks_per_s: rate,
    };
    let stages = [
        stage("load and plan", 48.2, 55.0, None),
        stage("request, batch 1", 1.41, 1.83, Some(709.0)),
        stage("request, batch 64", 1.92, 2.4, Some(33_333.0)),
        stage("request, batch 1024", 4.83, 5.1, Some(212_008.0)),
    ];
    Page::new("Push-T: flow-matching policy, run 7")
        .subtitle("Optimal-transport path, 1-D U-Net, 16-step chunks; six held-out states, 64 samples each.")
        .section(training_section(&mut noise))
        .section(
            Section::new("Sampled chunks")
                .text("What the policy proposes, over what the person did.")
                .figures(scenes),
        )
        .section(
            Section::new("From noise to action")
                .text("Whole chunks, and where their last step travels.")
                .figure_row([
                    (chunk_flow.multiples(&shown), "64 chunks, coloured by time along the chunk"),
                    (chunk_flow.paths(), "Last chunk step"),
                ])
                .figure_row([
                    (flow.multiples(&shown), "600 points"),
                    (flow.clone().modes(&moon_modes).paths(), "Paths by mode"),
                ])
                .figure(chunk_flow.modes(&modes).multiples(&[0.0, 0.5, 1.0]), "By mode"),
        )
        .section(timing_section("Timing", &devices, &stages))
        .section(
            Section::new("Configuration")
                .pairs([
                    ("objective", "cfm"),
                    ("seed", "42"),
                    ("chunk", "16 steps of 0.1 s"),
                    ("parameters", "1.2M"),
                ])
                .code(
                    "advect train pusht.toml --steps 20000\nadvect sample --checkpoint run7/ema.safetensors",
                ),
        )
        .footer("Sample page: every number on it is made up.")
}

#[test]
fn a_full_page_is_well_formed_small_and_deterministic() {
    let html = page().to_html();
    well_formed(&html);
    assert!(!html.contains("http"));
    assert!(html.len() < 2_000_000, "{} bytes", html.len());
    assert_eq!(html, page().to_html());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = std::env::var_os("ADVECT_REPORT_PREVIEW").map_or(folder.path().to_owned(), Into::into);
    page().write(folder.join("new/report.html")).expect("a page on disk");
    assert_eq!(std::fs::read_to_string(folder.join("new/report.html")).expect("the page"), html);
}
