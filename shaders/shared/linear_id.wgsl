// Linear workgroup index: grids of more than 65,535 workgroups are folded into x and y by `kernel::call::fold`.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.x + group.y * groups.x;
}
