use super::*;
use proptest::prelude::*;

/// The least cost over all pairings.
fn brute_force(cost: &[f32], n: usize) -> f64 {
    fn least(cost: &[f32], n: usize, row: usize, taken: u32) -> f64 {
        if row == n {
            return 0.0;
        }
        let open = (0..n).filter(|j| taken & (1 << j) == 0);
        open.map(|j| f64::from(cost[row * n + j]) + least(cost, n, row + 1, taken | 1 << j))
            .fold(f64::INFINITY, f64::min)
    }
    least(cost, n, 0, 0)
}

/// Whether it is a permutation whose duals prove it optimal.
fn certify(cost: &[f32], n: usize, a: &Assignment) -> std::result::Result<(), String> {
    let mut seen = vec![false; n];
    for j in &a.columns {
        if std::mem::replace(&mut seen[*j as usize], true) {
            return Err(format!("column {j} is taken twice"));
        }
    }
    let size = cost.iter().fold(1.0, |m, c| f64::max(m, f64::from(c.abs())));
    let slack = 1e-11 * size * n as f64;
    for i in 0..n {
        for j in 0..n {
            let reduced = f64::from(cost[i * n + j]) - a.rows[i] - a.cols[j];
            if reduced < -slack || (a.columns[i] as usize == j && reduced.abs() > slack) {
                return Err(format!("reduced cost {reduced} at ({i}, {j}), slack {slack}"));
            }
        }
    }
    let duals: f64 = a.rows.iter().chain(&a.cols).sum();
    if (duals - a.cost).abs() > slack * n as f64 {
        return Err(format!("duals add up to {duals}, the costs to {}", a.cost));
    }
    Ok(())
}

fn square(
    n: std::ops::RangeInclusive<usize>,
    cost: BoxedStrategy<f32>,
) -> impl Strategy<Value = (usize, Vec<f32>)> {
    n.prop_flat_map(move |n| (Just(n), prop::collection::vec(cost.clone(), n * n)))
}

proptest! {
    #[test]
    fn small_problems_agree_with_brute_force((n, cost) in square(1..=7, (-10.0f32..10.0).boxed())) {
        let a = assign(&cost, n).unwrap();
        prop_assert!((a.cost - brute_force(&cost, n)).abs() < 1e-5);
        prop_assert_eq!(certify(&cost, n, &a), Ok(()));
    }

    /// Few different costs: ties everywhere.
    #[test]
    fn ties_are_solved((n, cost) in square(1..=7, (0i8..3).prop_map(f32::from).boxed())) {
        let a = assign(&cost, n).unwrap();
        prop_assert_eq!(a.cost, brute_force(&cost, n));
        prop_assert_eq!(certify(&cost, n, &a), Ok(()));
    }

    #[test]
    fn large_problems_are_proved_by_their_duals((n, cost) in square(8..=90, (-1e3f32..1e3).boxed())) {
        let a = assign(&cost, n).unwrap();
        prop_assert_eq!(certify(&cost, n, &a), Ok(()));
        prop_assert_eq!(&assign(&cost, n).unwrap(), &a);
    }

    #[test]
    fn large_problems_with_ties_too((n, cost) in square(8..=90, (0i8..6).prop_map(f32::from).boxed())) {
        prop_assert_eq!(certify(&cost, n, &assign(&cost, n).unwrap()), Ok(()));
    }

    /// Costs over many orders of magnitude, as a large weight on the conditions makes them.
    #[test]
    fn costs_of_all_sizes((n, cost) in square(1..=60, (-8f32..8.0).prop_map(|e| 10f32.powf(e)).boxed())) {
        prop_assert_eq!(certify(&cost, n, &assign(&cost, n).unwrap()), Ok(()));
    }
}

#[test]
fn trivial_sizes() {
    let one = assign(&[-3.5], 1).unwrap();
    assert_eq!((one.columns, one.cost), (vec![0], -3.5));
    assert!(assign(&[], 0).unwrap().columns.is_empty());
    let all_equal = assign(&[2.0; 81], 9).unwrap();
    assert_eq!(certify(&[2.0; 81], 9, &all_equal), Ok(()));
    assert_eq!(all_equal.cost, 18.0);
}

/// cost(i, j) = i j punishes greed: the best pairing reverses the columns, and the paths are long.
#[test]
fn a_hard_structured_problem() {
    let n = 128;
    let cost: Vec<f32> = (0..n * n).map(|e| ((e / n) * (e % n)) as f32).collect();
    let a = assign(&cost, n).unwrap();
    assert_eq!(certify(&cost, n, &a), Ok(()));
    assert!(a.columns.iter().enumerate().all(|(i, j)| i + *j as usize == n - 1));
}

#[test]
fn what_is_no_cost_matrix_is_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        match assign(&[0.0, 1.0, 2.0, bad], 2) {
            Err(FlowError::Cost { row: 1, col: 1, found }) => assert_eq!(found.to_bits(), bad.to_bits()),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(assign(&[0.0; 5], 2), Err(FlowError::Length { found: 5, .. })));
}
