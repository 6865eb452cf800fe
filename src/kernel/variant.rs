//! The typed table of WGSL variants that build.rs expands and validates.

#![allow(clippy::all)]

pub use crate::device::Access;

/// What a variant needs that not every device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Subgroup operations.
    Subgroups,
    /// `f16` in shaders, and matrix units of the variant's shape.
    MatrixUnits,
}

/// One expanded, naga-validated compute shader.
#[derive(Debug)]
pub struct Variant {
    /// Unique name, `<kernel>_<choices>`.
    pub name: &'static str,
    /// The kernel (file stem) it belongs to.
    pub kernel: &'static str,
    /// Storage bindings 1, 2, ...: `Read` or `ReadWrite`, as the WGSL declares them.
    pub bindings: &'static [Access],
    /// Bytes of the uniform parameter struct at binding 0.
    pub params_bytes: u32,
    /// Invocations per workgroup in x, y, z.
    pub workgroup: [u32; 3],
    /// Bytes of workgroup memory.
    pub shared_bytes: u32,
    /// What else it needs.
    pub needs: &'static [Need],
    /// Template constants of this variant.
    pub constants: &'static [(&'static str, u32)],
    /// Expanded WGSL.
    pub source: &'static str,
}

impl Variant {
    /// A template constant, for compile-time checks against the Rust grid; panics at compile time if unknown.
    pub const fn constant(&self, name: &str) -> u32 {
        let mut i = 0;
        while i < self.constants.len() {
            let (a, b) = (self.constants[i].0.as_bytes(), name.as_bytes());
            if a.len() == b.len() {
                let mut j = 0;
                while j < a.len() && a[j] == b[j] {
                    j += 1;
                }
                if j == a.len() {
                    return self.constants[i].1;
                }
            }
            i += 1;
        }
        panic!("no such template constant")
    }
}

include!(concat!(env!("OUT_DIR"), "/variants.rs"));
