//! What must not reach a device: commands that touch more than their buffers have.

use super::*;
use crate::device::{Cpu, Device};
use crate::graph::Session;
use crate::kernel::binary::{self, BinaryOp};
use crate::kernel::matmul::{self, Epilogue, Form};
use crate::kernel::{View, copy};

const TARGETS: [Target; 2] = [Target::CPU, Target::MINIMAL_GPU];

/// A program that adds two matrices [2, 3] by these views, of buffers with so many elements.
fn sum(target: Target, views: [View; 3], elements: [usize; 3]) -> Result<Plan> {
    let mut program = Program::new(target);
    let (a, b) = (program.resident("a", elements[0])?, program.resident("b", elements[1])?);
    let c = program.resident("c", elements[2])?;
    let [va, vb, vc] = views;
    let command = binary::command(BinaryOp::Add, [1.0, 1.0, 0.0], [2, 3], (a, va), (b, vb), (c, vc));
    program.push(command)?;
    program.finish()
}

#[test]
fn a_view_that_passes_its_buffer_fails_on_every_target() {
    let dense = View::dense(0, 3);
    for target in TARGETS {
        assert!(sum(target.clone(), [dense; 3], [6; 3]).is_ok());
        // Too short by one; an offset; a stride; a stride beyond all numbers; the result.
        let far = View { row_stride: u32::MAX, ..View::dense(u32::MAX as usize, 3) };
        for (views, elements, buffer, needed) in [
            ([dense; 3], [6, 5, 6], "b", 6),
            ([View::dense(1, 3), dense, dense], [6; 3], "a", 7),
            ([dense, View::strided(0, 4), dense], [6; 3], "b", 7),
            ([dense, dense, View::strided(0, 100)], [6; 3], "c", 103),
            ([far, dense, dense], [6; 3], "a", 2 * u32::MAX as usize + 3),
        ] {
            let error = sum(target.clone(), views, elements).unwrap_err();
            let GraphError::Outside { kernel, buffer: named, extent, needed: found } = &error else {
                panic!("{error}")
            };
            assert_eq!((*kernel, found), ("binary", &needed), "{error}");
            assert_eq!(named, &format!("{buffer:?}"));
            assert!(*extent <= 6 && error.to_string().contains("past the end"), "{error}");
        }
    }
}

/// Products are rewritten before they become a plan; temporaries have numbers for names.
#[test]
fn products_and_temporaries_are_checked_too() {
    for target in TARGETS {
        let mut program = Program::new(target.clone());
        let (x, w) = (program.temporary(8 * 64).unwrap(), program.resident("w", 64 * 64 - 1).unwrap());
        let (y, empty) = (program.temporary(8 * 64).unwrap(), program.empty());
        let dense = View::dense(0, 64);
        let size = [8, 64, 64];
        let epilogue = Epilogue::default();
        let product =
            matmul::command(Form::NT, size, (x, dense), (w, dense), (y, dense), &epilogue, empty, &target);
        program.push(product).unwrap();
        assert!(matches!(
            program.clone().finish(),
            Err(GraphError::Outside { needed: 4096, extent: 4095, .. })
        ));
        let mut program = Program::new(target.clone());
        let (from, to) = (program.temporary(4).unwrap(), program.temporary(4).unwrap());
        program
            .push(copy::command([1, 5], 0, 5, (from, View::dense(0, 5)), (to, View::dense(0, 5))))
            .unwrap();
        let error = program.finish().unwrap_err().to_string();
        assert!(error.contains("buffer 0") && error.contains("needs 5 elements, there are 4"), "{error}");
    }
}

#[test]
fn commands_of_other_buffers_and_kernels_are_refused() {
    let mut program = Program::new(Target::CPU);
    let a = program.resident("a", 6).unwrap();
    let dense = View::dense(0, 3);
    let add = |c| binary::command(BinaryOp::Add, [1.0, 1.0, 0.0], [2, 3], (a, dense), (a, dense), (c, dense));
    let error = program.push(add(BufferId(7))).unwrap_err().to_string();
    assert!(error.contains("buffer 7"), "{error}");
    let c = program.resident("c", 6).unwrap();
    let mut short = add(c);
    short.params.pop();
    assert!(program.push(short).is_err());
    let mut other = add(c);
    other.variant = copy::KERNEL.variants[0];
    assert!(program.push(other).is_err(), "another kernel's shader");
    program.push(add(c)).unwrap();
    // A plan's parts are open: what was changed since is found before it runs.
    let device = Device::Cpu(Cpu::with_threads(1).unwrap());
    let plan = program.finish().unwrap();
    assert!(Session::new(&device, plan.clone()).is_ok());
    let changes: [fn(&mut Plan); 4] = [
        |plan| plan.slots[0].elements = 5,
        |plan| plan.commands[0].args[2] = BufferId(99),
        |plan| plan.commands[0].params.clear(),
        |plan| plan.phases[0].range.end = 9,
    ];
    for change in changes {
        let mut changed = plan.clone();
        change(&mut changed);
        assert!(Session::new(&device, changed).is_err());
    }
    let mut session = Session::new(&device, plan).unwrap();
    assert!(session.run(&[1]).is_err() && session.write(BufferId(9), &[0.0]).is_err());
    assert!(session.write_at(BufferId(0), usize::MAX, &[0.0]).is_err());
}
