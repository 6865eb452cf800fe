use super::*;
use crate::kernel::{Arg, TwinCx};
use std::time::Instant;
fn run(label: &str, form: Form, [m, n, k]: [usize; 3], threads: usize, ep: &Epilogue) {
    let (a_s, b_s) = match form {
        Form::NN => ((m, k), (k, n)),
        Form::NT => ((m, k), (n, k)),
        Form::TN => ((k, m), (k, n)),
    };
    let a = vec![0.5f32; a_s.0 * a_s.1];
    let b = vec![0.25f32; b_s.0 * b_s.1];
    let bias = vec![0.1f32; n];
    let mut c = vec![0f32; m * n];
    let dummy = vec![0f32; 4];
    let ids = [0, 1, 2, 3, 4].map(BufferId);
    let cmd = command(
        form,
        [m, n, k],
        (ids[0], View::dense(0, a_s.1)),
        (ids[1], View::dense(0, b_s.1)),
        (ids[4], View::dense(0, n)),
        ep,
        ids[3],
        &Target::CPU,
    );
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let mut best = f64::MAX;
    let mut bare = f64::MAX;
    pool.install(|| {
        let reps: usize;
        let cx = TwinCx { threads, ..TwinCx::SERIAL };
        reps = (2e7 / (2.0 * (m * n * k) as f64)).clamp(1.0, 60.0) as usize;
        for _ in 0..(6e10 / (2.0 * (m * n * k * reps) as f64)).clamp(8.0, 400.0) as usize {
            let t = Instant::now();
            for _ in 0..reps {
                let mut args =
                    [Arg::Read(&a), Arg::Read(&b), Arg::Read(&bias), Arg::Read(&dummy), Arg::Write(&mut c)];
                (cmd.kernel.twin)(&cmd.params, &mut args, &cx);
            }
            best = best.min(t.elapsed().as_secs_f64() / reps as f64);
            let (ar, ac) = if form == Form::TN { (1, a_s.1 as isize) } else { (a_s.1 as isize, 1) };
            let (br, bc) = if form == Form::NT { (1, b_s.1 as isize) } else { (b_s.1 as isize, 1) };
            let t = Instant::now();
            for _ in 0..reps {
                unsafe {
                    gemm::gemm(
                        m,
                        n,
                        k,
                        c.as_mut_ptr(),
                        1,
                        n as isize,
                        false,
                        a.as_ptr(),
                        ac,
                        ar,
                        b.as_ptr(),
                        bc,
                        br,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        if threads == 1 {
                            gemm::Parallelism::None
                        } else {
                            gemm::Parallelism::Rayon(threads)
                        },
                    );
                }
            }
            bare = bare.min(t.elapsed().as_secs_f64() / reps as f64);
        }
    });
    let gf = 2.0 * (m * n * k) as f64 * 1e-9;
    println!(
        "{label:10} {form:?} {m}x{n}x{k} t{threads}: {:9.2} us {:7.1} GF/s | gemm crate {:9.2} us {:7.1} GF/s",
        best * 1e6,
        gf / best,
        bare * 1e6,
        gf / bare
    );
}
#[test]
#[ignore]
fn bench() {
    let silu = Epilogue { bias: Some((BufferId(2), 0)), act: Activation::Silu, ..Epilogue::default() };
    let none = Epilogue::default();
    for m in [1, 2, 3, 4, 8] {
        run("silu", Form::NT, [m, 256, 256], 1, &silu);
        run("bare", Form::NT, [m, 256, 256], 1, &none);
    }
    run("bare", Form::NT, [1, 1024, 1024], 1, &none);
    run("bare", Form::NT, [1, 1024, 1024], 2, &none);
    for m in [16, 32, 64, 96, 128, 192, 256, 512] {
        for t in [1, 2] {
            run("bare", Form::NT, [m, 256, 256], t, &none);
        }
    }
    run("bare", Form::NT, [64, 256, 32], 1, &none);
    run("bare", Form::NT, [64, 32, 256], 1, &none);
    for m in [1, 2, 4, 8, 16, 32, 64] {
        run("bare", Form::NN, [m, 256, 256], 1, &none);
    }
    for t in [1, 2] {
        for form in [Form::NN, Form::NT, Form::TN] {
            run("bare", form, [256, 384, 384], t, &none);
            run("bare", form, [384, 384, 256], t, &none);
            run("bare", form, [1024, 1024, 1024], t, &none);
            run("bare", form, [4096, 256, 256], t, &none);
        }
    }
    for form in [Form::TN] {
        for k in [1, 4, 16, 32, 64] {
            run("bare", form, [256, 256, k], 1, &none);
        }
    }
}
