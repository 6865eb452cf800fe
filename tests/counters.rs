//! What a request costs besides arithmetic: dispatches, submits, uploads, allocations. And that the same request
//! gives the same actions: twice on one device, on another device, and in other company.
//!
//! Tests that need an adapter say NOT RUN where there is none; with ADVECT_REQUIRE_GPU=1 they fail instead.

mod common;

use advect::device::{CounterSnapshot, Device, GpuOptions};
use advect::flow::integrator::Start;
use advect::flow::{Batch, Field, IntegrateOptions, Integrator};
use advect::graph::{Fusion, Graph, Result, Shape, Value};
use advect::kernel::math::Activation;
use advect::nn::{Builder, Conditioning, Inputs, NetworkSpec, ParamStore, TimeInput, mlp, unet1d};
use advect::policy::{ChunkSource, GuidedOptions, PrefixSpec, Previous, SamplerOptions};
use common::{cpu, gpu};
use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[allow(dead_code, reason = "shared with the tests of chunk sources")]
#[path = "chunks/toy.rs"]
mod toy;

/// Counts every allocation of this binary that the gemm crate does not make (it packs operands into fresh memory at
/// every call, which its interface cannot avoid), whichever thread makes it.
struct Counting;

static COUNT: AtomicBool = AtomicBool::new(false);
static OWN: AtomicU64 = AtomicU64::new(0);
static GEMM: AtomicU64 = AtomicU64::new(0);
/// Where one of the counted allocations came from.
static CULPRIT: Mutex<Option<String>> = Mutex::new(None);

thread_local! {
    /// Set while a backtrace is taken, which allocates.
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

impl Counting {
    fn count() {
        if !COUNT.load(Relaxed) || LOOKING.replace(true) {
            return;
        }
        let trace = Backtrace::force_capture().to_string();
        match trace.contains("gemm_") {
            true => GEMM.fetch_add(1, Relaxed),
            false => {
                *CULPRIT.lock().unwrap_or_else(PoisonError::into_inner) = Some(trace);
                OWN.fetch_add(1, Relaxed)
            }
        };
        LOOKING.set(false);
    }
}

// SAFETY: forwards to the system's allocator, which keeps the contract; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time: allocations are counted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const DIM: usize = 32;
const OBS: usize = 20;

/// The velocity network of `advect bench --workload mlp256`, with random weights.
struct Mlp256(NetworkSpec);

impl Mlp256 {
    fn new() -> Mlp256 {
        Mlp256(NetworkSpec::Mlp(mlp::Mlp {
            hidden: vec![256; 3],
            activation: Activation::Silu,
            time: TimeInput::Sinusoidal { dim: 64, scale: 99.0, max_period: 1e4 },
            conditioning: Conditioning::Concat,
        }))
    }

    fn params(&self) -> ParamStore {
        let mut g = Graph::new();
        let a = g.input("a", Shape::matrix(1, DIM)).unwrap();
        let t = g.input("t", Shape::matrix(1, 1)).unwrap();
        let z = g.input("z", Shape::matrix(1, OBS)).unwrap();
        let inputs = Inputs::flat(&g, a, t, z);
        let mut b = Builder::new(&mut g);
        self.0.velocity(&mut b, &inputs).unwrap();
        ParamStore::init(&b.params, 0)
    }
}

impl Field for Mlp256 {
    fn dim(&self) -> usize {
        DIM
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        vec![("obs", OBS)]
    }

    fn velocity(&self, g: &mut Graph, state: Value, time: Value, request: &[Value]) -> Result<Value> {
        let inputs = Inputs::flat(g, state, time, request[0]);
        self.0.velocity(&mut Builder::new(g), &inputs)
    }
}

/// A compiled mlp256 with its weights and one observation per request.
struct Policy {
    integrator: Integrator,
    obs: Vec<f32>,
    out: Vec<f32>,
    trajectory: Option<Vec<f32>>,
}

impl Policy {
    fn new(device: &Device, solver: &str, requests: usize) -> Policy {
        Policy::with(device, solver, Batch { requests, samples: 1 }, false)
    }

    fn with(device: &Device, solver: &str, batch: Batch, trajectory: bool) -> Policy {
        let options = IntegrateOptions { trajectory, ..Default::default() };
        let mut policy = Policy::planned(device, solver, batch, &options);
        let values = (policy.integrator.steps() + 1) * batch.rows() * DIM;
        policy.trajectory = trajectory.then(|| vec![0.0; values]);
        policy
    }

    fn planned(device: &Device, solver: &str, batch: Batch, options: &IntegrateOptions) -> Policy {
        let field = Mlp256::new();
        let store = field.params();
        let solver = solver.parse().unwrap();
        let mut integrator = Integrator::new(device, &field, &store.layout, solver, batch, options).unwrap();
        integrator.set_params(&store.values).unwrap();
        let obs = (0..batch.requests * OBS).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        Policy { integrator, obs, out: vec![0.0; batch.rows() * DIM], trajectory: None }
    }

    fn sample(&mut self, seed: u64) -> &[f32] {
        let start = Start::Noise { seed, request: 0 };
        self.integrator.run(start, &[&self.obs], &mut self.out, self.trajectory.as_deref_mut()).unwrap();
        assert!(self.out.iter().all(|v| v.is_finite()), "the samples are finite");
        &self.out
    }

    /// What one run in steady state costs.
    fn cost(&mut self) -> CounterSnapshot {
        self.sample(1);
        self.sample(2);
        let before = self.integrator.counters();
        self.sample(3);
        self.integrator.counters().since(&before)
    }
}

/// The largest difference of two equally long slices.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn an_euler_step_takes_at_most_five_dispatches() {
    let _alone = alone();
    let Some(device) = gpu() else { return };
    for requests in [1, 64] {
        let [few, many] = ["euler:4", "euler:10"].map(|s| Policy::new(&device, s, requests).cost());
        let per_step = (many.dispatches - few.dispatches) as f64 / 6.0;
        println!("batch {requests}: {per_step} dispatches per Euler step, {} in all for 10", many.dispatches);
        assert!(per_step <= 5.0, "batch {requests}: found {per_step} dispatches per step, needed at most 5");
        let beside = many.dispatches as f64 - 10.0 * per_step;
        assert!(
            beside <= 5.0,
            "batch {requests}: found {beside} dispatches outside the steps, needed at most 5"
        );
    }
}

/// A U-Net over 8 steps of 4 numbers; the widest products are large enough to be split over the CPU's threads.
struct Unet(NetworkSpec);

impl Unet {
    fn new(down_dims: Vec<usize>) -> Unet {
        let time = TimeInput::Sinusoidal { dim: 32, scale: 99.0, max_period: 1e4 };
        Unet(NetworkSpec::Unet1d(unet1d::Unet1d {
            down_dims,
            kernel_size: 5,
            groups: 8,
            final_groups: 8,
            time,
            film_scale: true,
        }))
    }

    fn integrator(&self, device: &Device, solver: &str, rows: usize, staging: bool) -> Integrator {
        let mut g = Graph::new();
        let [a, t, z] =
            [("a", DIM), ("t", 1), ("z", OBS)].map(|(n, cols)| g.input(n, Shape::matrix(1, cols)).unwrap());
        let mut b = Builder::new(&mut g);
        self.0.velocity(&mut b, &Unet::inputs(a, t, z)).unwrap();
        let store = ParamStore::init(&b.params, 0);
        let options = IntegrateOptions { staging, ..Default::default() };
        let batch = Batch { requests: rows, samples: 1 };
        let solver = solver.parse().unwrap();
        let mut integrator = Integrator::new(device, self, &store.layout, solver, batch, &options).unwrap();
        integrator.set_params(&store.values).unwrap();
        integrator
    }

    fn inputs(a: Value, t: Value, z: Value) -> Inputs {
        Inputs { a, t, interval: None, z, horizon: 8, action_dim: DIM / 8, history: 1 }
    }
}

impl Field for Unet {
    fn dim(&self) -> usize {
        DIM
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        vec![("obs", OBS)]
    }

    fn velocity(&self, g: &mut Graph, state: Value, time: Value, request: &[Value]) -> Result<Value> {
        self.0.velocity(&mut Builder::new(g), &Unet::inputs(state, time, request[0]))
    }
}

/// Time embedding, step encoder and every block's scale and shift are computed for all solver steps before the loop.
#[test]
fn a_unet_step_leaves_time_and_observation_out() {
    let _alone = alone();
    let net = Unet::new(vec![16, 32]);
    let obs: Vec<f32> = (0..2 * OBS).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    for (name, device) in [("cpu", Some(cpu())), ("gpu", gpu())] {
        let Some(device) = device else { continue };
        let mut samples = Vec::new();
        let per_step = [true, false].map(|staging| {
            let [few, many] = ["euler:2", "euler:6"].map(|solver| {
                let mut integrator = net.integrator(&device, solver, 2, staging);
                let mut out = vec![0.0; 2 * DIM];
                let before = integrator.counters();
                integrator.run(Start::Noise { seed: 3, request: 0 }, &[&obs], &mut out, None).unwrap();
                let dispatched = integrator.counters().since(&before).dispatches as usize;
                samples.push(out);
                let plan = integrator.plan();
                let steps = plan.dispatches(plan.phase("steps").unwrap());
                (if name == "cpu" { steps } else { dispatched }, plan.flops)
            });
            ((many.0 - few.0) as f64 / 4.0, (many.1 - few.1) / 4.0)
        });
        let [(with, flops), (without, all)] = per_step;
        println!("{name}: {with} kernels and {flops} operations per step staged, {without} and {all} not");
        // 2 x 8 convolutions of unfold, product and norm; three residual ones; down; up with its skip; output with the step.
        assert_eq!(with, (3 * 16 + 3 + 2 + 5 + 4) as f64, "{name}");
        assert!(without >= with + 12.0, "{name}: {with} staged, {without} not");
        // Per step and sample: the products of condition and step encoder are gone.
        let films = 2.0 * 2.0 * ((32 + OBS) * 2 * (4 * 16 + 4 * 32)) as f64;
        let encoder = 2.0 * (32 * 128 + 128 * 32) as f64;
        let ahead = flops_of_times(4) / 4.0;
        assert_eq!(all - (flops - ahead), films + encoder, "{name}");
        assert!(apart(&samples[1], &samples[3]) < 1e-4, "{name}: staged or not, the same samples");
    }
}

/// What a plan's operations grow by with the times of `steps` more steps: their parts of conditions and step encoder.
fn flops_of_times(steps: usize) -> f64 {
    steps as f64 * 2.0 * (32 * 128 + 128 * 32 + 32 * 2 * (4 * 16 + 4 * 32)) as f64
}

#[test]
fn a_sampling_pass_is_one_submit() {
    let _alone = alone();
    let Some(device) = gpu() else { return };
    for requests in [1, 64] {
        let cost = Policy::new(&device, "euler:10", requests).cost();
        assert_eq!(
            cost.submits, 1,
            "batch {requests}: noise, solver steps and read-back share one submit: {cost:?}"
        );
    }
}

#[test]
fn a_long_pass_begins_while_the_rest_is_recorded() {
    let _alone = alone();
    let passes = [0, 8, 64].map(|dispatches| {
        let mut options = GpuOptions::default();
        options.head_start = Some(dispatches);
        let device = common::gpu_with(&options)?;
        let options = IntegrateOptions { fusion: Fusion::Layers, ..Default::default() };
        let mut policy = Policy::planned(&device, "euler:10", Batch { requests: 3, samples: 1 }, &options);
        Some((policy.cost(), bits(policy.sample(4))))
    });
    let [Some((whole, samples)), Some(in_parts), Some(short)] = passes else { return };
    assert!((25..=64).contains(&whole.dispatches), "{whole:?}");
    // 8, 16, and the rest of at most 32 or 64; 64 are not worth a part.
    let parts = if whole.dispatches > 56 { 4 } else { 3 };
    assert_eq!(whole.submits, 1);
    let mut wanted = whole;
    wanted.submits = parts;
    assert_eq!(in_parts, (wanted, samples.clone()));
    assert_eq!(short, (whole, samples));
}

#[test]
fn steady_state_creates_nothing_and_uploads_only_inputs() {
    let _alone = alone();
    let Some(device) = gpu() else { return };
    for (solver, requests) in [("euler:10", 1), ("euler:10", 64), ("rk4:4", 7)] {
        let cost = Policy::new(&device, solver, requests).cost();
        let made =
            cost.buffers_created + cost.pipelines_created + cost.bind_groups_created + cost.bytes_allocated;
        assert_eq!(made, 0, "{solver}, batch {requests}: a run in steady state creates nothing: {cost:?}");
        assert_eq!(cost.queue_writes, 0, "{solver}, batch {requests}: inputs ride in the submit: {cost:?}");
        // The observations, and 16 words that name the noise.
        let inputs = 4 * (requests * OBS + 16) as u64;
        assert!(
            cost.bytes_uploaded <= inputs,
            "{solver}, batch {requests}: needed at most {inputs} bytes up: {cost:?}"
        );
        let result = 4 * (requests * DIM) as u64;
        assert_eq!(
            cost.bytes_read_back, result,
            "{solver}, batch {requests}: only the actions come back: {cost:?}"
        );
    }
}

/// Fewest allocations in one of several runs, the gemm crate's apart. The fewest, because the test harness and the thread
/// pool's queues (one block per some dozens of jobs) allocate now and then on their own account.
fn allocations(mut run: impl FnMut()) -> (u64, u64) {
    run();
    run();
    let once = |_| {
        let (own, gemm) = (OWN.load(Relaxed), GEMM.load(Relaxed));
        COUNT.store(true, Relaxed);
        run();
        COUNT.store(false, Relaxed);
        (OWN.load(Relaxed) - own, GEMM.load(Relaxed) - gemm)
    };
    (0..6).map(once).min().unwrap_or((0, 0))
}

// Elsewhere a release build has no symbols that a backtrace could name the gemm crate by.
#[cfg(target_os = "linux")]
#[test]
fn the_cpu_allocates_nothing_in_steady_state() {
    let _alone = alone();
    let device = cpu();
    println!("on {}", device.describe());
    let mut failures = Vec::new();
    for (solver, requests) in [
        ("euler:10", 1),
        ("euler:10", 7),
        ("euler:10", 64),
        ("rk4:4", 300),
        ("dopri5:1e-3", 1),
        ("dopri5:1e-3", 40),
    ] {
        let mut policy = Policy::new(&device, solver, requests);
        let (own, gemm) = allocations(|| {
            policy.sample(1);
        });
        println!("{solver}, batch {requests}: {own} allocations per run, and {gemm} inside gemm");
        if own > 0 {
            let culprit = CULPRIT.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
            failures.push(format!(
                "{solver}, batch {requests}: {own} allocations in steady state, one of them:\n{culprit}"
            ));
        }
    }
    // Products split over the threads: 2 x 512 x 2560 operations for each of 4 rows.
    let net = Unet::new(vec![64, 512]);
    for rows in [1, 3] {
        let mut integrator = net.integrator(&device, "euler:2", rows, true);
        let (obs, mut out) = (vec![0.3; rows * OBS], vec![0.0; rows * DIM]);
        let (own, gemm) = allocations(|| {
            integrator.run(Start::Noise { seed: 1, request: 0 }, &[&obs], &mut out, None).unwrap();
        });
        println!("U-Net, batch {rows}: {own} allocations per run, and {gemm} inside gemm");
        if own > 0 {
            let culprit = CULPRIT.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
            failures.push(format!("U-Net, batch {rows}: {own} allocations, one of them:\n{culprit}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let _alone = alone();
    let devices = [Some(cpu()), gpu()];
    for device in devices.iter().flatten() {
        for requests in [1, 7, 200] {
            let mut policy = Policy::new(device, "euler:10", requests);
            let first = bits(policy.sample(5));
            let other = bits(policy.sample(6));
            assert_eq!(
                first,
                bits(policy.sample(5)),
                "{}: batch {requests}, same session",
                device.describe()
            );
            assert_ne!(first, other, "{}: another seed is other noise", device.describe());
            let again = bits(Policy::new(device, "euler:10", requests).sample(5));
            assert_eq!(first, again, "{}: batch {requests}, a new session", device.describe());
        }
    }
}

#[test]
fn cpu_and_gpu_agree_on_noise_and_samples() {
    let _alone = alone();
    let Some(device) = gpu() else { return };
    for batch in [
        Batch { requests: 1, samples: 1 },
        Batch { requests: 3, samples: 5 },
        Batch { requests: 130, samples: 1 },
    ] {
        let [mut a, mut b] = [&cpu(), &device].map(|d| Policy::with(d, "euler:10", batch, true));
        let away = apart(a.sample(9), b.sample(9));
        let [a, b] = [&a, &b].map(|p| &p.trajectory.as_ref().expect("compiled in")[..batch.rows() * DIM]);
        let noise = apart(a, b);
        println!("{batch:?}: noise {noise:.1e} apart, samples {away:.1e}");
        assert!(noise <= 2e-6, "{batch:?}: found noise {noise:.2e} apart, needed at most 2e-6");
        assert!(away <= 1e-4, "{batch:?}: found samples {away:.2e} apart, needed at most 1e-4");
    }
}

#[test]
fn a_sample_does_not_depend_on_its_company() {
    let _alone = alone();
    let device = cpu();
    let all = Policy::new(&device, "euler:10", 300).sample(4).to_vec();
    // Row r has noise r and observation r in every batch that holds it.
    for requests in [1, 2, 3, 15, 16, 17, 64, 129, 257] {
        let away = apart(Policy::new(&device, "euler:10", requests).sample(4), &all[..requests * DIM]);
        println!("first {requests} of 300: {away:.1e} apart");
        assert!(away <= 1e-5, "batch {requests}: found {away:.2e} apart from batch 300, needed at most 1e-5");
    }
}

const ROBOTS: usize = 7;

/// What a chunk source is told and where its chunks go.
struct Robots {
    obs: Vec<f32>,
    keys: Vec<advect::policy::NoiseKey>,
    previous: Vec<f32>,
    chunks: Vec<f32>,
}

impl Robots {
    fn new(chunk: usize) -> Robots {
        Robots {
            obs: toy::observations(ROBOTS),
            keys: toy::keys(ROBOTS, 1),
            previous: vec![0.1; ROBOTS * chunk],
            chunks: vec![0.0; ROBOTS * chunk],
        }
    }

    fn sample(&mut self, source: &mut dyn ChunkSource) {
        let told = Previous { chunk: &self.previous, delay: &[2; ROBOTS], left: &[6; ROBOTS] };
        source.sample(&self.obs, &self.keys, Some(&told), &mut self.chunks).unwrap();
    }
}

/// A policy with a prefix, which plain and guided samplers sample too.
fn toy_policy() -> advect::policy::Policy {
    let prefix = Some(PrefixSpec { max_delay: 3 });
    toy::policy(&advect::train::RunConfig { prefix, ..toy::config() }, 0)
}

#[test]
fn a_pass_for_robots_is_one_submit_and_creates_nothing() {
    let _alone = alone();
    let Some(device) = gpu() else { return };
    let policy = toy_policy();
    let (chunk, horizon) = (policy.spec.chunk(), policy.spec.horizon);
    let mut robots = Robots::new(chunk);
    let mut plain = policy.sampler(&device, ROBOTS, 1, &SamplerOptions::default()).unwrap();
    let mut guided = policy.guided_sampler(&device, ROBOTS, &GuidedOptions::new(4)).unwrap();
    let mut prefix = policy.prefix_sampler(&device, ROBOTS, &SamplerOptions::default()).unwrap();
    let mut check = |name: &str,
                     words: usize,
                     source: &mut dyn ChunkSource,
                     now: &dyn Fn() -> CounterSnapshot| {
        (0..2).for_each(|_| robots.sample(source));
        let before = now();
        robots.sample(source);
        let cost = now().since(&before);
        println!("{name}: {cost:?}");
        assert_eq!(cost.submits, 1, "{name}: {cost:?}");
        let made =
            cost.buffers_created + cost.pipelines_created + cost.bind_groups_created + cost.bytes_allocated;
        assert_eq!(made, 0, "{name}: a pass in steady state creates nothing: {cost:?}");
        assert_eq!(cost.queue_writes, 0, "{name}: inputs ride in the submit: {cost:?}");
        // Observations, noise keys, what the source is told, and the 16 words of the state.
        let up = 4 * (ROBOTS * (6 + 4 + words) + 16) as u64;
        assert!(cost.bytes_uploaded <= up, "{name}: needed at most {up} bytes up: {cost:?}");
    };
    // The counters are the device's.
    let twin = policy.sampler(&device, 1, 1, &SamplerOptions::default()).unwrap();
    let now = || twin.counters();
    check("plain", 0, &mut plain, &now);
    check("guided", 2 * chunk, &mut guided, &now);
    check("prefix", chunk + horizon, &mut prefix, &now);
}

#[cfg(target_os = "linux")]
#[test]
fn robots_cost_the_cpu_no_allocation() {
    let _alone = alone();
    let (device, policy) = (cpu(), toy_policy());
    let mut robots = Robots::new(policy.spec.chunk());
    let options = SamplerOptions::default();
    let sources: [(&str, Box<dyn ChunkSource>); 3] = [
        ("plain", Box::new(policy.sampler(&device, ROBOTS, 1, &options).unwrap())),
        ("guided", Box::new(policy.guided_sampler(&device, ROBOTS, &GuidedOptions::new(4)).unwrap())),
        ("prefix", Box::new(policy.prefix_sampler(&device, ROBOTS, &options).unwrap())),
    ];
    for (name, mut source) in sources {
        let (own, gemm) = allocations(|| robots.sample(source.as_mut()));
        println!("{name}: {own} allocations per pass, and {gemm} inside gemm");
        let culprit = CULPRIT.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        assert_eq!(own, 0, "{name}: allocations in steady state, one of them:\n{culprit}");
    }
}
