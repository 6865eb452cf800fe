//! Dynamic time warping (Sakoe and Chiba 1978).

/// Mean distance of matched points: the least sum of |a_i - b_j| over all monotone matchings that begin at both starts, end at both
/// ends and go on by one point in a, in b, or in both, divided by the number of matches. 0 only where both are the same path, at
/// whatever speed; infinite if one is empty.
pub fn dynamic_time_warping(a: &[[f32; 2]], b: &[[f32; 2]]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return f64::INFINITY;
    }
    // (sum, matches) of the best matching that ends at (i, j), row by row.
    let mut above: Vec<(f64, usize)> = Vec::new();
    for p in a {
        let mut row: Vec<(f64, usize)> = Vec::with_capacity(b.len());
        for (j, q) in b.iter().enumerate() {
            let distance = (f64::from(p[0]) - f64::from(q[0])).hypot(f64::from(p[1]) - f64::from(q[1]));
            let diagonal = j.checked_sub(1).and_then(|j| above.get(j));
            let before = [diagonal, above.get(j), row.last()];
            let best = before.into_iter().flatten().min_by(|x, y| x.0.total_cmp(&y.0));
            let (sum, matches) = best.copied().unwrap_or((0.0, 0));
            row.push((sum + distance, matches + 1));
        }
        above = row;
    }
    above.last().map_or(f64::INFINITY, |(sum, matches)| sum / *matches as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distances() {
        let line: Vec<[f32; 2]> = (0..5).map(|i| [i as f32, 0.0]).collect();
        assert_eq!(dynamic_time_warping(&line, &line), 0.0);
        // The same path at another speed, or begun later, costs nothing.
        let slow: Vec<[f32; 2]> = line.iter().flat_map(|p| [*p, *p, *p]).collect();
        assert_eq!(dynamic_time_warping(&line, &slow), 0.0);
        let late = [vec![line[0]; 4], line.clone()].concat();
        assert_eq!(dynamic_time_warping(&late, &line), 0.0);
        // Aside by 2 everywhere.
        let aside: Vec<[f32; 2]> = line.iter().map(|p| [p[0], 2.0]).collect();
        assert_eq!(dynamic_time_warping(&line, &aside), 2.0);
        // One point against three at distances 1, 2 and 3.
        assert_eq!(dynamic_time_warping(&[[0.0, 0.0]], &[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]), 2.0);
        // A series shifted by one step: all but the two ends match, at a cost of 1 each.
        let shifted: Vec<[f32; 2]> = line.iter().map(|p| [p[0] + 1.0, 0.0]).collect();
        assert_eq!(dynamic_time_warping(&line, &shifted), 2.0 / 6.0);
        assert_eq!(dynamic_time_warping(&[], &line), f64::INFINITY);
    }
}
