//! The floor as a whole, on whatever adapter this machine has.

use super::*;
use std::sync::Arc;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(30);

/// y[i] = factor * x[i]; the grid is folded so that one element is one workgroup of 64 at most.
const SCALE: &str = "
struct Params { count: u32, factor: f32, pad0: u32, pad1: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < p.count { y[id.x] = p.factor * x[id.x]; }
}";
const SCALE_BINDINGS: [Binding; 3] =
    [Binding::Params { bytes: 16 }, Binding::Storage(Access::Read), Binding::Storage(Access::Write)];

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    count: u32,
    factor: f32,
    pad: [u32; 2],
}

/// A device of the test's own, so that its counters are its own. `ADVECT_REQUIRE_GPU=1` makes a missing one a failure.
/// A pipeline of a shader of these tests, which stay within their bindings.
fn compile(
    gpu: &Gpu,
    name: &'static str,
    source: &str,
    bindings: &[Binding],
) -> Result<std::sync::Arc<Pipeline>, DeviceError> {
    // SAFETY: the shaders here compare their index with the length that their parameters give, which is that of their buffers.
    unsafe { gpu.pipeline(name, source, bindings) }
}

fn gpu() -> Option<Gpu> {
    let choice = match std::env::var("ADVECT_DEVICE") {
        Ok(text) if text != "cpu" && text != "auto" => text,
        _ => "gpu".to_owned(),
    };
    let Ok(choice) = choice.parse();
    match Device::open(&choice) {
        Ok(Device::Gpu(gpu)) => Some(gpu),
        other => {
            let required = std::env::var("ADVECT_REQUIRE_GPU").is_ok_and(|v| v == "1");
            assert!(!required, "ADVECT_REQUIRE_GPU=1, but: {other:?}");
            eprintln!("NOT RUN: no adapter ({other:?})");
            None
        }
    }
}

/// Everything to run `y = factor * x` twice: x -> y by 2, then y -> z by 3, with parameters at two dynamic offsets.
struct Bench {
    gpu: Gpu,
    x: Buffer,
    z: Buffer,
    list: Vec<Dispatch>,
}

const COUNT: usize = 1000;

fn bench() -> Option<Bench> {
    Some(bench_on(gpu()?))
}

fn bench_on(gpu: Gpu) -> Bench {
    let bytes = 4 * COUNT as u64;
    let stride = gpu.caps().limits.uniform_offset_alignment.max(16);
    let pipeline = compile(&gpu, "scale", SCALE, &SCALE_BINDINGS).unwrap();
    let [x, y, z] = ["x", "y", "z"].map(|label| gpu.create_storage(label, bytes).unwrap());
    let params = gpu.create_uniform("params", u64::from(2 * stride)).unwrap();
    for (i, factor) in [2.0, 3.0].into_iter().enumerate() {
        let block = Params { count: COUNT as u32, factor, pad: [0; 2] };
        gpu.write(&params, i as u64 * u64::from(stride), bytemuck::bytes_of(&block)).unwrap();
    }
    let list = [(&x, &y, 0), (&y, &z, stride)].map(|(from, to, uniform_offset)| {
        let bound = [Bound::whole(&params), Bound::whole(from), Bound::whole(to)];
        let bind_group = gpu.bind_group(&pipeline, &bound).unwrap();
        let grid = [COUNT.div_ceil(64) as u32, 1, 1];
        Dispatch { pipeline: pipeline.clone(), bind_group, uniform_offset, grid, indirect: None }
    });
    Bench { gpu, x, z, list: list.into() }
}

fn ramp() -> Vec<f32> {
    (0..COUNT).map(|i| i as f32).collect()
}

#[test]
fn kernels_run_end_to_end() {
    let Some(gpu) = gpu() else { return };
    let checked = GpuOptions { checked: true, ..GpuOptions::default() };
    let checked = Gpu::open(gpu.report().index, &checked).unwrap();
    runs_end_to_end(bench_on(gpu));
    runs_end_to_end(bench_on(checked));
}

fn runs_end_to_end(Bench { gpu, x, z, list }: Bench) {
    gpu.write(&x, 0, bytemuck::cast_slice(&ramp())).unwrap();
    gpu.submit(&[Command::Run(&list[..1]), Command::Run(&list[1..])]).unwrap();
    let mut out = vec![0f32; COUNT];
    gpu.read_slice(&z, 0, &mut out).unwrap();
    assert!(out.iter().enumerate().all(|(i, v)| *v == 6.0 * i as f32), "{:?}", &out[..4]);
    let mut odd = [0u8; 7];
    gpu.read(&z, 8, &mut odd).unwrap();
    assert_eq!(odd, bytemuck::cast_slice::<f32, u8>(&out[2..4])[..7]);
}

/// Submits what waits; its number.
fn submit_uploads(gpu: &Gpu, uploads: &mut Uploads) -> Submission {
    uploads.seal();
    let commands: Vec<_> = uploads.commands().collect();
    let submission = gpu.submit(&commands).unwrap();
    drop(commands);
    uploads.recycle();
    submission
}

#[test]
fn uploads_arrive_in_order_through_memory_that_goes_round() {
    let Some(gpu) = gpu() else { return };
    let x = gpu.create_storage("x", 64).unwrap();
    let mut uploads = gpu.uploads();
    let mut out = [0u32; 16];
    let before = gpu.counters();
    for round in 0..20u32 {
        // The second write covers a part of the first; odd lengths leave gaps in the memory that they pass through.
        assert!(uploads.write(&x, 0, bytemuck::cast_slice(&[round; 16])).unwrap());
        assert!(uploads.write(&x, 8, bytemuck::cast_slice(&[round + 100; 3])).unwrap());
        assert!(!uploads.is_empty());
        let submission = submit_uploads(&gpu, &mut uploads);
        assert!(uploads.is_empty());
        gpu.wait(&submission, WAIT).unwrap();
        gpu.read_slice(&x, 0, &mut out).unwrap();
        let want: Vec<u32> = (0..16).map(|i| if (2..5).contains(&i) { round + 100 } else { round }).collect();
        assert_eq!(out.as_slice(), want);
    }
    let created = gpu.counters().since(&before);
    // One piece that goes round, and the memory of the reads.
    assert_eq!((created.buffers_created, created.bytes_uploaded), (2, 20 * (64 + 12)));
    assert_eq!(created.queue_writes, 0);
}

#[test]
fn uploads_that_find_no_room_say_so() {
    let Some(gpu) = gpu() else { return };
    let large = vec![7u8; 2 << 20];
    let x = gpu.create_storage("x", large.len() as u64).unwrap();
    let mut uploads = gpu.uploads();
    assert!(!uploads.write(&x, 0, &large).unwrap(), "too many bytes");
    assert!(uploads.write(&x, 0, &[]).unwrap());
    assert!(uploads.is_empty());
    assert!(matches!(uploads.write(&x, x.bytes(), &[0; 4]), Err(DeviceError::Range { .. })));
    // As many as one submission takes along.
    let taken = (0..100).take_while(|i| uploads.write(&x, 4 * i, &[*i as u8; 4]).unwrap()).count();
    assert!((4..100).contains(&taken), "{taken}");
    submit_uploads(&gpu, &mut uploads);
    // More than the piece under way holds, while it is away: another one, larger.
    assert!(uploads.write(&x, 0, &large[..1 << 20]).unwrap());
    assert!(!uploads.write(&x, 0, &large[..16]).unwrap(), "it is full");
    submit_uploads(&gpu, &mut uploads);
    let mut out = vec![0u8; 1 << 20];
    gpu.read(&x, 0, &mut out).unwrap();
    assert!(out.iter().all(|b| *b == 7));
    // Never waited for: pieces are away until none is left.
    let mut sent = 0;
    while sent < 100 && uploads.write(&x, 0, &[sent as u8; 4]).unwrap() {
        submit_uploads(&gpu, &mut uploads);
        sent += 1;
    }
    gpu.read(&x, 0, &mut out[..4]).unwrap();
    assert_eq!(out[..4], [sent as u8 - 1; 4]);
}

#[test]
fn replay_creates_nothing_and_counters_are_exact() {
    let Some(Bench { gpu, x, z, list }) = bench() else { return };
    let before = gpu.counters();
    assert_eq!((before.buffers_created, before.pipelines_created, before.bind_groups_created), (4, 1, 2));
    let size = |n: u64| n.next_multiple_of(16);
    let stride = u64::from(gpu.caps().limits.uniform_offset_alignment.max(16));
    assert_eq!(before.bytes_allocated, 3 * size(4 * COUNT as u64) + size(2 * stride));
    assert_eq!(before.bytes_uploaded, 32);

    let bytes = 4 * COUNT as u64;
    let mut back = gpu.readback(bytes).unwrap();
    let warm = gpu.counters();
    assert_eq!(warm.since(&before).buffers_created, 1);
    let mut out = vec![0f32; COUNT];
    for round in 1..=10 {
        let input: Vec<f32> = ramp().iter().map(|v| v * round as f32).collect();
        gpu.write(&x, 0, bytemuck::cast_slice(&input)).unwrap();
        let commands = [Command::Run(&list), back.copy(&z, 0, 0, bytes)];
        let submission = gpu.submit(&commands).unwrap();
        back.fetch(&submission, bytemuck::cast_slice_mut(&mut out), WAIT).unwrap();
        assert_eq!(out[7], 42.0 * round as f32);
    }
    let expected = CounterSnapshot {
        dispatches: 20,
        submits: 10,
        bytes_uploaded: 10 * bytes,
        queue_writes: 10,
        bytes_read_back: 10 * bytes,
        ..Default::default()
    };
    assert_eq!(gpu.counters().since(&warm), expected);

    drop(back);
    let warm = gpu.counters();
    gpu.read_slice(&z, 0, &mut out).unwrap();
    assert_eq!(gpu.counters().since(&warm).buffers_created, 0, "the pool gave the staging memory again");
    assert!(compile(&gpu, "scale", SCALE, &SCALE_BINDINGS).is_ok());
    assert_eq!(gpu.counters().since(&warm).pipelines_created, 0);
}

#[test]
fn readbacks_can_be_polled() {
    let Some(Bench { gpu, x, .. }) = bench() else { return };
    gpu.write(&x, 0, bytemuck::cast_slice(&ramp())).unwrap();
    let mut back = gpu.readback(16).unwrap();
    let mut out = [0f32; 4];
    let idle = back.finish(bytemuck::cast_slice_mut(&mut out), WAIT);
    assert!(matches!(idle, Err(DeviceError::State { .. })));
    let submission = gpu.submit(&[back.copy(&x, 16, 0, 16)]).unwrap();
    back.start(&submission, 16).unwrap();
    assert!(matches!(back.start(&submission, 16), Err(DeviceError::State { .. })));
    let from = std::time::Instant::now();
    while !back.is_ready().unwrap() {
        assert!(from.elapsed() < WAIT);
        std::thread::yield_now();
    }
    back.finish(bytemuck::cast_slice_mut(&mut out), Duration::ZERO).unwrap();
    assert_eq!(out, [4.0, 5.0, 6.0, 7.0]);
    gpu.submit(&[Command::Clear(&x)]).unwrap();
    gpu.read_slice(&x, 16, &mut out).unwrap();
    assert_eq!(out, [0.0; 4]);
    drop(back);
    // A readback dropped in mid-transfer must not disturb the next.
    let mut lost = gpu.readback(16).unwrap();
    let submission = gpu.submit(&[lost.copy(&x, 0, 0, 16)]).unwrap();
    lost.start(&submission, 16).unwrap();
    drop(lost);
    gpu.read_slice(&x, 0, &mut out).unwrap();
    gpu.wait_all(WAIT).unwrap();
}

#[test]
fn spinning_ends_when_it_is_done_and_when_its_time_is_up() {
    let Some(Bench { gpu, x, .. }) = bench() else { return };
    let long = Duration::from_secs(600);
    let mut back = gpu.readback(16).unwrap();
    gpu.write(&x, 0, bytemuck::cast_slice(&ramp())).unwrap();
    let submission = gpu.submit(&[back.copy(&x, 16, 0, 16)]).unwrap();
    back.start(&submission, 16).unwrap();
    // Polling alone brings the bytes: nothing slept.
    assert!(gpu.spin_for(long, || back.has_arrived()).unwrap());
    let mut out = [0f32; 4];
    back.finish(bytemuck::cast_slice_mut(&mut out), Duration::ZERO).unwrap();
    assert_eq!(out, [4.0, 5.0, 6.0, 7.0]);
    let begun = std::time::Instant::now();
    assert!(!gpu.spin_for(Duration::from_millis(2), || false).unwrap());
    assert!(Duration::from_millis(2) <= begun.elapsed() && begun.elapsed() < WAIT);
    assert!(!gpu.spin_for(Duration::ZERO, || false).unwrap());
    // A software adapter's threads are the processor's.
    assert!(!gpu.report().is_software() || !gpu.spin(long, || false).unwrap());
}

#[test]
fn grids_come_from_device_memory_too() {
    let Some(Bench { gpu, x, z, mut list }) = bench() else { return };
    gpu.write(&x, 0, bytemuck::cast_slice(&ramp())).unwrap();
    let buffer = gpu.create_indirect("grid", 28).unwrap();
    gpu.write(&buffer, 16, bytemuck::cast_slice(&[2u32, 1, 1])).unwrap();
    list[1].indirect = Some(Indirect { buffer: buffer.clone(), offset: 16 });
    gpu.submit(&[Command::Run(&list)]).unwrap();
    let mut out = vec![0f32; COUNT];
    gpu.read_slice(&z, 0, &mut out).unwrap();
    assert!(out.iter().enumerate().all(|(i, v)| *v == if i < 128 { 6.0 * i as f32 } else { 0.0 }));
    list[1].indirect = Some(Indirect { buffer, offset: 24 });
    assert!(matches!(gpu.submit(&[Command::Run(&list)]), Err(DeviceError::Range { .. })));
}

#[test]
fn bind_groups_are_shared() {
    let Some(Bench { gpu, x, z, .. }) = bench() else { return };
    let params = gpu.create_uniform("params", 16).unwrap();
    let one = compile(&gpu, "scale", SCALE, &SCALE_BINDINGS).unwrap();
    let source = SCALE.replace("p.factor * x", "p.factor + x");
    let two = compile(&gpu, "shift", &source, &SCALE_BINDINGS).unwrap();
    let mut cache = BindGroupCache::new(&gpu);
    let before = gpu.counters();
    let bound = [Bound::whole(&params), Bound::whole(&x), Bound::whole(&z)];
    let (a, b) = (cache.get(&one, &bound).unwrap(), cache.get(&two, &bound).unwrap());
    assert!(Arc::ptr_eq(&a, &b), "equal bindings share a layout, and so a bind group");
    let part = [Bound::whole(&params), Bound::part(&x, 0, 64), Bound::whole(&z)];
    assert!(!Arc::ptr_eq(&a, &cache.get(&one, &part).unwrap()));
    let made = gpu.counters().since(&before);
    assert_eq!((made.bind_groups_created, made.bind_groups_reused), (2, 1));
}

#[test]
fn time_is_measured_on_the_device() {
    let Some(Bench { gpu, list, .. }) = bench() else { return };
    if !gpu.caps().timestamps {
        assert!(matches!(Timer::new(&gpu), Err(DeviceError::Missing { .. })));
        return;
    }
    let mut timer = Timer::new(&gpu).unwrap();
    for commands in [&[Command::Run(&list)][..], &[]] {
        let submission = gpu.submit_timed(commands, &mut timer).unwrap();
        assert!(matches!(gpu.submit_timed(commands, &mut timer), Err(DeviceError::State { .. })));
        gpu.wait(&submission, WAIT).unwrap();
        let ns = timer.nanoseconds(WAIT).unwrap();
        assert!((0.0..1e10).contains(&ns), "{ns} ns");
    }
}

#[test]
fn wrong_shaders_are_typed_errors() {
    let Some(gpu) = gpu() else { return };
    for (name, source) in [
        ("no-wgsl", "this is no shader"),
        ("no-type", "@compute @workgroup_size(1) fn main() { let x: f32 = 1u; }"),
        ("no-main", "@compute @workgroup_size(1) fn other() { }"),
    ] {
        match compile(&gpu, name, source, &[]) {
            Err(DeviceError::Shader { variant, message }) => {
                assert_eq!(variant, name);
                assert!(!message.is_empty());
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let missing = compile(&gpu, "unbound", SCALE, &SCALE_BINDINGS[..2]);
    assert!(matches!(missing, Err(DeviceError::Shader { .. })), "{missing:?}");
    compile(&gpu, "scale", SCALE, &SCALE_BINDINGS).unwrap();
    let clash = compile(&gpu, "scale", "another", &SCALE_BINDINGS).unwrap_err();
    assert_eq!(clash, DeviceError::VariantClash { variant: "scale", what: "source" });
    assert_eq!(gpu.counters().pipelines_created, 1);
    gpu.check().unwrap();
}

#[test]
fn wrong_bindings_are_typed_errors() {
    let Some(Bench { gpu, x, z, mut list }) = bench() else { return };
    let pipeline = list[0].pipeline.clone();
    let params = gpu.create_uniform("params", 16).unwrap();
    let p = Bound::whole(&params);
    let few = gpu.bind_group(&pipeline, &[p, Bound::whole(&x)]);
    assert!(matches!(few, Err(DeviceError::Bindings { .. })), "{few:?}");
    let alias = gpu.bind_group(&pipeline, &[p, Bound::whole(&x), Bound::whole(&x)]);
    assert!(matches!(alias, Err(DeviceError::Bindings { .. })), "{alias:?}");
    let past = gpu.bind_group(&pipeline, &[p, Bound::part(&x, 0, 1 << 20), Bound::whole(&z)]);
    assert!(matches!(past, Err(DeviceError::Range { .. })), "{past:?}");
    let usage = gpu.bind_group(&pipeline, &[Bound::whole(&x), Bound::whole(&x), Bound::whole(&z)]);
    assert!(matches!(usage, Err(DeviceError::Validation { .. })), "{usage:?}");

    let most = gpu.caps().limits.workgroups_per_dimension;
    list[0].grid = [1, most + 1, 1];
    match gpu.submit(&[Command::Run(&list)]) {
        Err(DeviceError::Limit { need, have, .. }) => {
            assert_eq!((need, have), (u64::from(most) + 1, most.into()))
        }
        other => panic!("{other:?}"),
    }
    list[0].grid = [1, 1, 1];
    list[0].uniform_offset = 1 << 20;
    let offset = gpu.submit(&[Command::Run(&list)]);
    assert!(matches!(offset, Err(DeviceError::Validation { .. })), "{offset:?}");
    list[0].uniform_offset = 0;
    let submission = gpu.submit(&[Command::Run(&list)]).expect("the device survives a refused submission");
    gpu.wait(&submission, WAIT).unwrap();
}

#[test]
fn sizes_are_checked_before_the_driver_sees_them() {
    let Some(gpu) = gpu() else { return };
    let limits = gpu.caps().limits;
    match gpu.create_storage("weights", limits.max_buffer_bytes.saturating_add(1)) {
        Err(DeviceError::Limit { what, need, have }) => {
            assert!(what.contains("weights"), "{what}");
            assert_eq!((need, have), (limits.max_buffer_bytes + 1, limits.max_buffer_bytes));
        }
        other => panic!("{other:?}"),
    }
    for bytes in [limits.max_buffer_bytes.saturating_add(1), u64::MAX] {
        if bytes > limits.max_buffer_bytes {
            let uniform = gpu.create_uniform("u", bytes);
            assert!(matches!(uniform, Err(DeviceError::Limit { .. })), "{uniform:?}");
            assert!(matches!(gpu.readback(bytes), Err(DeviceError::Limit { .. })));
        }
    }
    assert_eq!(gpu.counters(), CounterSnapshot::default());

    let small = gpu.create_storage("small", 17).unwrap();
    assert_eq!(small.bytes(), 32);
    assert!(matches!(gpu.write(&small, 28, &[0; 8]), Err(DeviceError::Range { .. })));
    assert!(matches!(gpu.write(&small, 2, &[0; 4]), Err(DeviceError::Alignment { .. })));
    assert!(matches!(gpu.write(&small, 0, &[0; 3]), Err(DeviceError::Alignment { .. })));
    assert!(matches!(gpu.read(&small, u64::MAX, &mut [0; 4]), Err(DeviceError::Range { .. })));
    assert!(matches!(gpu.read(&small, 0, &mut [0; 33]), Err(DeviceError::Range { .. })));
    let odd = gpu.upload("odd", &[1u8, 2, 3, 4, 5]).unwrap();
    let mut out = [9u8; 6];
    gpu.read(&odd, 0, &mut out).unwrap();
    assert_eq!(out, [1, 2, 3, 4, 5, 0]);
}

#[test]
fn errors_outside_scopes_are_kept_and_nothing_panics() {
    let Some(gpu) = gpu() else { return };
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::STORAGE;
    let desc = wgpu::BufferDescriptor { label: Some("bad"), size: 4, usage, mapped_at_creation: false };
    let _ = gpu.inner.device.create_buffer(&desc);
    assert!(matches!(gpu.check(), Err(DeviceError::Validation { .. })));
    gpu.check().expect("it is handed out once");
    let scoped = gpu.scoped("bad", |device| device.create_buffer(&desc));
    assert!(matches!(scoped, Err(DeviceError::Validation { .. })), "{scoped:?}");
    gpu.check().expect("the scope kept it");
}

#[test]
fn a_destroyed_device_is_lost_everywhere() {
    for through_us in [true, false] {
        let Some(Bench { gpu, x, z, list }) = bench() else { return };
        let mut out = [0f32; 4];
        let mut back = gpu.readback(16).unwrap();
        let submission = gpu.submit(&[Command::Run(&list), back.copy(&z, 0, 0, 16)]).unwrap();
        if through_us {
            gpu.destroy();
        } else {
            // The loss is known only to wgpu until a callback runs, as when a driver resets.
            gpu.inner.device.destroy();
            let late = gpu.submit(&[Command::Run(&list)]);
            if let Ok(late) = late {
                let error = gpu.wait(&late, WAIT).unwrap_err();
                assert!(error.is_lost(), "{error:?}");
            }
        }
        let lost = |result: Result<(), DeviceError>| {
            assert!(result.as_ref().is_err_and(DeviceError::is_lost), "{result:?}")
        };
        lost(gpu.wait(&submission, WAIT));
        lost(gpu.wait_all(WAIT));
        lost(gpu.poll().map(drop));
        lost(gpu.check());
        lost(gpu.write(&x, 0, &[0; 4]));
        lost(gpu.read_slice(&z, 0, &mut out));
        lost(back.fetch(&submission, bytemuck::cast_slice_mut(&mut out), WAIT));
        lost(gpu.submit(&[Command::Run(&list)]).map(drop));
        lost(gpu.create_storage("late", 16).map(drop));
        lost(compile(&gpu, "late", SCALE, &SCALE_BINDINGS).map(drop));
        let bound = [Bound::whole(&x), Bound::whole(&x), Bound::whole(&z)];
        lost(gpu.bind_group(&list[0].pipeline, &bound).map(drop));
        gpu.destroy();
    }
}

#[test]
fn a_device_lost_unnoticed_fails_softly() {
    // No submission of ours between the loss and these calls: each must survive on its own.
    let Some(Bench { gpu, x, z, .. }) = bench() else { return };
    let mut back = gpu.readback(16).unwrap();
    let submission = gpu.submit(&[back.copy(&x, 0, 0, 16)]).unwrap();
    gpu.inner.device.destroy();
    let _ = gpu.write(&x, 0, &[0; 4]);
    let _ = gpu.create_storage("late", 64);
    let mut out = [0u8; 16];
    let error = back.fetch(&submission, &mut out, WAIT).unwrap_err();
    assert!(error.is_lost(), "{error:?}");
    let error = gpu.read(&z, 0, &mut out).unwrap_err();
    assert!(error.is_lost(), "{error:?}");
}

#[test]
fn threads_share_a_device() {
    let Some(gpu) = gpu() else { return };
    std::thread::scope(|scope| {
        for t in 0..4u32 {
            let gpu = gpu.clone();
            scope.spawn(move || {
                for round in 0..8u32 {
                    let data: Vec<u32> = (0..256).map(|i| i * 31 + t * 7 + round).collect();
                    let buffer = gpu.upload("data", &data).unwrap();
                    compile(&gpu, "scale", SCALE, &SCALE_BINDINGS).unwrap();
                    let mut out = vec![0u32; 256];
                    gpu.read_slice(&buffer, 0, &mut out).unwrap();
                    assert_eq!(out, data);
                }
            });
        }
    });
}

#[test]
fn vulkan_opens_without_its_checks() {
    for adapter in gpu::adapters() {
        let info = adapter.get_info();
        let descriptor =
            wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..wgpu::DeviceDescriptor::default() };
        match vulkan::unchecked(&adapter, &descriptor) {
            Some(opened) => drop(opened.unwrap_or_else(|error| panic!("{}: {error}", info.name))),
            None => assert_ne!(info.backend, wgpu::Backend::Vulkan, "{}", info.name),
        }
    }
}

#[test]
fn devices_open_by_every_kind_of_choice() {
    let reports = enumerate();
    for report in &reports {
        eprintln!("{} -> {}", report.describe(), report.auto.reason);
        let json = serde_json::to_value(report).unwrap();
        assert_eq!(json["index"], report.index);
    }
    assert!(reports.iter().filter(|r| r.auto.taken).count() <= 1);
    let Ok(cpu) = "cpu".parse();
    assert!(Device::open(&cpu).unwrap().describe().starts_with("cpu"));
    let auto = Device::open(&DeviceChoice::Auto).unwrap();
    assert!(auto.gpu().is_none_or(|gpu| !gpu.caps().software), "auto never takes software");
    let Ok(unknown) = "no such device".parse();
    assert!(matches!(Device::open(&unknown), Err(DeviceError::UnknownDevice { .. })));
    let late = Gpu::open(reports.len(), &GpuOptions::default());
    assert!(matches!(late, Err(DeviceError::UnknownDevice { .. })));
    let coop = GpuOptions { cooperative_matrix: true, ..GpuOptions::default() };
    for report in &reports {
        match Gpu::open(report.index, &coop) {
            Ok(gpu) => assert!(!gpu.caps().cooperative_matrix.is_empty()),
            Err(error) => assert!(matches!(error, DeviceError::Missing { .. }), "{error}"),
        }
    }
}
