//! Butcher tableaus of the explicit Runge-Kutta methods.

/// An explicit method: stage i is at t + c_i h and x + h sum_j a_ij k_j; the step is x + h sum_i b_i k_i.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tableau {
    /// Stage times.
    pub c: &'static [f64],
    /// Stage coefficients; row i has i entries.
    pub a: &'static [&'static [f64]],
    /// Weights.
    pub b: &'static [f64],
    /// Weights of the error estimate (b minus the embedded method's); empty for a fixed-step method.
    pub error: &'static [f64],
    /// Order of the higher method.
    pub order: u32,
}

/// Euler.
pub const EULER: Tableau = Tableau { c: &[0.0], a: &[&[]], b: &[1.0], error: &[], order: 1 };
/// The midpoint method.
pub const MIDPOINT: Tableau =
    Tableau { c: &[0.0, 0.5], a: &[&[], &[0.5]], b: &[0.0, 1.0], error: &[], order: 2 };
/// Heun's method (explicit trapezoid).
pub const HEUN: Tableau = Tableau { c: &[0.0, 1.0], a: &[&[], &[1.0]], b: &[0.5, 0.5], error: &[], order: 2 };
/// The classical method of order 4.
pub const RK4: Tableau = Tableau {
    c: &[0.0, 0.5, 0.5, 1.0],
    a: &[&[], &[0.5], &[0.0, 0.5], &[0.0, 0.0, 1.0]],
    b: &[1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0],
    error: &[],
    order: 4,
};
/// The 3/8 rule (what torchdiffeq calls rk4).
pub const RK4_38: Tableau = Tableau {
    c: &[0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0],
    a: &[&[], &[1.0 / 3.0], &[-1.0 / 3.0, 1.0], &[1.0, -1.0, 1.0]],
    b: &[0.125, 0.375, 0.375, 0.125],
    error: &[],
    order: 4,
};
/// Bogacki and Shampine's 3(2) pair.
pub const BOSH3: Tableau = Tableau {
    c: &[0.0, 0.5, 0.75, 1.0],
    a: &[&[], &[0.5], &[0.0, 0.75], &[2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0]],
    b: &[2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0, 0.0],
    error: &[2.0 / 9.0 - 7.0 / 24.0, 1.0 / 3.0 - 0.25, 4.0 / 9.0 - 1.0 / 3.0, -0.125],
    order: 3,
};
/// Dormand and Prince's 5(4) pair.
pub const DOPRI5: Tableau = Tableau {
    c: &[0.0, 0.2, 0.3, 0.8, 8.0 / 9.0, 1.0, 1.0],
    a: &[
        &[],
        &[0.2],
        &[3.0 / 40.0, 9.0 / 40.0],
        &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
        &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
        &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
        &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
    ],
    b: &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0, 0.0],
    error: &[
        35.0 / 384.0 - 5179.0 / 57600.0,
        0.0,
        500.0 / 1113.0 - 7571.0 / 16695.0,
        125.0 / 192.0 - 393.0 / 640.0,
        -2187.0 / 6784.0 + 92097.0 / 339200.0,
        11.0 / 84.0 - 187.0 / 2100.0,
        -1.0 / 40.0,
    ],
    order: 5,
};
/// Tsitouras' 5(4) pair (2011).
pub const TSIT5: Tableau = Tableau {
    c: &[0.0, 0.161, 0.327, 0.9, 0.980_025_540_904_509_7, 1.0, 1.0],
    a: &[
        &[],
        &[0.161],
        &[-0.008_480_655_492_356_989, 0.335_480_655_492_357],
        &[2.897_153_057_105_493, -6.359_448_489_975_075, 4.362_295_432_869_582],
        &[5.325_864_828_439_257, -11.748_883_564_062_83, 7.495_539_342_889_836, -0.092_495_066_361_755_25],
        &[
            5.861_455_442_946_42,
            -12.920_969_317_847_11,
            8.159_367_898_576_159,
            -0.071_584_973_281_401,
            -0.028_269_050_394_068_383,
        ],
        &[
            0.096_460_766_818_065_23,
            0.01,
            0.479_889_650_414_499_6,
            1.379_008_574_103_742,
            -3.290_069_515_436_081,
            2.324_710_524_099_774,
        ],
    ],
    b: &[
        0.096_460_766_818_065_23,
        0.01,
        0.479_889_650_414_499_6,
        1.379_008_574_103_742,
        -3.290_069_515_436_081,
        2.324_710_524_099_774,
        0.0,
    ],
    error: &[
        -0.001_780_011_052_226,
        -0.000_816_434_459_657,
        0.007_880_878_010_262,
        -0.144_711_007_173_263,
        0.582_357_165_452_555,
        -0.458_082_105_929_187,
        1.0 / 66.0,
    ],
    order: 5,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tableaus_are_consistent() {
        for t in [EULER, MIDPOINT, HEUN, RK4, RK4_38, BOSH3, DOPRI5, TSIT5] {
            assert!((t.b.iter().sum::<f64>() - 1.0).abs() < 1e-12, "weights sum to one");
            assert!(t.error.iter().sum::<f64>().abs() < 1e-12, "error weights sum to zero: {:?}", t.error);
            for (i, row) in t.a.iter().enumerate() {
                assert_eq!(row.len(), i);
                assert!((row.iter().sum::<f64>() - t.c[i]).abs() < 1e-12, "row {i} sums to c");
            }
            // sum b c = 1/2 and sum b c^2 = 1/3 for orders of at least 2 and 3.
            let moment = |p: i32| t.b.iter().zip(t.c).map(|(b, c)| b * c.powi(p)).sum::<f64>();
            if t.order >= 2 {
                assert!((moment(1) - 0.5).abs() < 1e-12);
            }
            if t.order >= 3 {
                assert!((moment(2) - 1.0 / 3.0).abs() < 1e-12);
            }
            if t.order >= 5 {
                assert!((moment(4) - 0.2).abs() < 1e-10);
            }
        }
    }
}
