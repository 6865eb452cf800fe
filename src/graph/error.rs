//! What can be wrong with a graph or its plan.

use super::Shape;
use crate::device::DeviceError;

/// An error of building, differentiating, planning or running a graph.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Operand shapes do not fit the operation.
    #[error("{op}: found shapes {found}, needed {needed}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The operands' shapes.
        found: String,
        /// The rule.
        needed: &'static str,
    },
    /// A count is not the multiple that a network needs.
    #[error("{network}: found {what} {found}, needed a multiple of {of}")]
    Multiple {
        /// The network.
        network: &'static str,
        /// What was counted.
        what: &'static str,
        /// The count.
        found: usize,
        /// What must divide it.
        of: usize,
    },
    /// An operation has no derivative of this kind.
    #[error("{op}: no {what}")]
    NotDifferentiable {
        /// The operation.
        op: &'static str,
        /// Which derivative was asked for.
        what: &'static str,
    },
    /// A named input, parameter or output does not exist.
    #[error("no {kind} named {name:?}; there are {available}")]
    Unknown {
        /// input, parameter, output, ...
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// The names that exist.
        available: String,
    },
    /// A name is used twice.
    #[error("the {kind} {name:?} is defined twice")]
    Duplicate {
        /// input, parameter, ...
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Data of the wrong length was written or read.
    #[error("{name}: found {found} elements, needed {needed}")]
    Length {
        /// The buffer.
        name: String,
        /// Elements given.
        found: usize,
        /// Elements needed.
        needed: usize,
    },
    /// A plan would need a buffer larger than 2^32 elements or than the device takes.
    #[error("{name}: {elements} elements do not fit a 32-bit index; use a smaller batch")]
    TooLarge {
        /// The buffer.
        name: String,
        /// Elements needed.
        elements: usize,
    },
    /// Memory for the plan could not be had on the host.
    #[error("out of memory: {label} needs {bytes} bytes; a smaller batch needs less")]
    OutOfMemory {
        /// What for.
        label: String,
        /// How much.
        bytes: usize,
    },
    /// The plan needs more memory than the host has free.
    #[error(
        "out of memory: a plan of {need} bytes does not fit the {have} bytes that this machine has free; a smaller batch needs less"
    )]
    HostMemory {
        /// Bytes of the plan's buffers.
        need: u64,
        /// Bytes that the host can still give.
        have: u64,
    },
    /// The planner broke a rule of the executors.
    #[error("the planner made an invalid command ({kernel}): {what}")]
    Plan {
        /// The kernel of the command.
        kernel: &'static str,
        /// The broken rule.
        what: String,
    },
    /// A command would reach past the end of a buffer.
    #[error(
        "a command of kernel '{kernel}' reaches past the end of {buffer}: it needs {needed} elements, there are {extent}"
    )]
    Outside {
        /// The kernel.
        kernel: &'static str,
        /// The buffer: its name, or its number in the program.
        buffer: String,
        /// Its elements.
        extent: usize,
        /// Elements that it would need.
        needed: usize,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl GraphError {
    /// Whether the plan is larger than the device or the host takes: one for fewer rows may fit.
    pub fn is_too_large(&self) -> bool {
        match self {
            GraphError::TooLarge { .. } | GraphError::OutOfMemory { .. } | GraphError::HostMemory { .. } => {
                true
            }
            GraphError::Device(found) => {
                matches!(found, DeviceError::Limit { .. } | DeviceError::OutOfMemory { .. })
            }
            _ => false,
        }
    }
}

pub(crate) fn shape_error(op: &'static str, found: &[Shape], needed: &'static str) -> GraphError {
    let found: Vec<String> = found.iter().map(|s| s.to_string()).collect();
    GraphError::Shape { op, found: found.join(", "), needed }
}
