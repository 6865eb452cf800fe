// Windows2d: the windows of a convolution or pool over images; mirrors WindowParams in src/kernel/windows2d.rs. There are
// rows x cols windows a sample; window (u, v) covers rows u stride_h - padding_h .. + kernel_h of the image and columns
// v stride_w - padding_w .. + kernel_w. What lies before an image wraps around and is too large.
struct Windows2d {
    samples: u32,
    channels: u32,
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
