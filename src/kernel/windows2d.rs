//! Windows over images: those of a convolution or a pool; mirrors `shaders/shared/windows2d.wgsl`.

use super::cost::covered;
use super::unfold1d::Windows;
use bytemuck::{Pod, Zeroable};

/// The windows of a sample [height, width]: every window along the height with every one along the width, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows2d {
    /// Along the height: its steps are the image's rows.
    pub height: Windows,
    /// Along the width: its steps are the image's columns.
    pub width: Windows,
}

impl Windows2d {
    /// Windows of an image [height, width]; the kernel, the stride and the padding are given in the same order.
    pub const fn new(
        size: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Windows2d {
        let [height, width] = [0, 1];
        Windows2d {
            height: Windows {
                steps: size[height],
                kernel: kernel[height],
                stride: stride[height],
                padding: padding[height],
            },
            width: Windows {
                steps: size[width],
                kernel: kernel[width],
                stride: stride[width],
                padding: padding[width],
            },
        }
    }

    /// Windows of a sample; 0 where the kernel is larger than the padded sample or a number is out of range.
    pub const fn count(&self) -> usize {
        self.height.count() * self.width.count()
    }

    /// Pixels of a sample.
    pub const fn pixels(&self) -> usize {
        self.height.steps * self.width.steps
    }

    /// Pixels of a window.
    pub const fn kernel(&self) -> usize {
        self.height.kernel * self.width.kernel
    }

    /// Whether every number is small enough that sums and products of a few of them cannot overflow.
    pub(crate) fn in_range(&self) -> bool {
        let small = |w: &Windows| [w.steps, w.kernel, w.stride, w.padding].iter().all(|n| *n < 1 << 16);
        small(&self.height) && small(&self.width)
    }
}

/// Mirrors `Windows2d` in `shaders/shared/windows2d.wgsl`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct WindowParams {
    pub(super) samples: u32,
    pub(super) channels: u32,
    height: u32,
    width: u32,
    rows: u32,
    cols: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    padding_h: u32,
    padding_w: u32,
}

impl WindowParams {
    pub(super) fn new([samples, channels]: [usize; 2], w: &Windows2d) -> WindowParams {
        let (h, w) = (&w.height, &w.width);
        WindowParams {
            samples: samples as u32,
            channels: channels as u32,
            height: h.steps as u32,
            width: w.steps as u32,
            rows: h.count() as u32,
            cols: w.count() as u32,
            kernel_h: h.kernel as u32,
            kernel_w: w.kernel as u32,
            stride_h: h.stride as u32,
            stride_w: w.stride as u32,
            padding_h: h.padding as u32,
            padding_w: w.padding as u32,
        }
    }

    /// Pixels of a sample.
    pub(super) fn pixels(&self) -> usize {
        self.height as usize * self.width as usize
    }

    /// What a twin needs of it.
    pub(super) fn grid(&self) -> Grid {
        let n = |v: u32| v as usize;
        Grid {
            size: [n(self.height), n(self.width)],
            count: [n(self.rows), n(self.cols)],
            kernel: [n(self.kernel_h), n(self.kernel_w)],
            stride: [n(self.stride_h), n(self.stride_w)],
            padding: [n(self.padding_h), n(self.padding_w)],
        }
    }
}

/// The windows as a twin walks over them; height first.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub(super) size: [usize; 2],
    pub(super) count: [usize; 2],
    pub(super) kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
}

impl Grid {
    /// Of a sample: places of windows within it, and pixels that some window covers.
    pub(super) fn inside_and_covered(&self) -> [usize; 2] {
        let along = |a: usize| {
            covered([self.size[a], self.count[a], self.kernel[a], self.stride[a], self.padding[a]])
        };
        let ([h_inside, h], [w_inside, w]) = (along(0), along(1));
        [h_inside * w_inside, h * w]
    }

    /// Calls `f(place, row)` for every place of window `i` (counted over all samples), in order: the row of the pixels
    /// [samples * height * width] that it covers, `None` outside the image.
    #[inline(always)]
    pub(super) fn covered(&self, i: usize, mut f: impl FnMut(usize, Option<usize>)) {
        let [rows, cols] = self.count;
        let (s, window) = (i / (rows * cols), [i / cols % rows, i % cols]);
        let along = |axis: usize, k: usize| {
            let at = (window[axis] * self.stride[axis] + k).checked_sub(self.padding[axis])?;
            (at < self.size[axis]).then_some(at)
        };
        for a in 0..self.kernel[0] {
            let r = along(0, a);
            for b in 0..self.kernel[1] {
                let pixel = match (r, along(1, b)) {
                    (Some(r), Some(q)) => Some((s * self.size[0] + r) * self.size[1] + q),
                    _ => None,
                };
                f(a * self.kernel[1] + b, pixel);
            }
        }
    }

    /// Calls `f(place, window)` for every window (counted over all samples) that covers pixel `i` of the rows
    /// [samples * height * width], by the place where it does, in order.
    #[inline(always)]
    pub(super) fn covering(&self, i: usize, mut f: impl FnMut(usize, usize)) {
        let [height, width] = self.size;
        let (s, pixel) = (i / (height * width), [i / width % height, i % width]);
        let along = |axis: usize, k: usize| {
            let at = (pixel[axis] + self.padding[axis]).checked_sub(k)?;
            let window = at / self.stride[axis];
            (window * self.stride[axis] == at && window < self.count[axis]).then_some(window)
        };
        for a in 0..self.kernel[0] {
            let Some(u) = along(0, a) else { continue };
            for b in 0..self.kernel[1] {
                if let Some(v) = along(1, b) {
                    f(a * self.kernel[1] + b, (s * self.count[0] + u) * self.count[1] + v);
                }
            }
        }
    }
}
