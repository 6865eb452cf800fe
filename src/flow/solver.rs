//! Solvers by name: `euler:10`, `rk4:4`, `dopri5:1e-5:1e-6`.

use super::tableau::{self, Tableau};
use super::{FlowError, Result};
use std::fmt;
use std::str::FromStr;

/// How a flow is integrated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Solver {
    /// A fixed number of equal steps (or the steps of a given time grid).
    Fixed {
        /// The method.
        method: FixedMethod,
        /// Steps.
        steps: usize,
    },
    /// Steps that are no ODE solver's: what they are depends on the objective.
    Discrete {
        /// The method.
        method: DiscreteMethod,
        /// Steps.
        steps: usize,
    },
    /// A step size per sample.
    Adaptive {
        /// The method.
        method: AdaptiveMethod,
        /// Relative tolerance.
        rtol: f32,
        /// Absolute tolerance.
        atol: f32,
    },
}

/// The least sum of an adaptive solver's relative and absolute tolerance. A state of size 1, as normalised actions are, is rounded to
/// 6e-8 at each step, and a network's velocity is off by a few times that: a tolerance of eight units in the last place is the least
/// that an estimate of the error can be told from it by.
pub const LEAST_TOLERANCE: f32 = 8.0 * f32::EPSILON;

macro_rules! methods {
    ($(#[$doc:meta])* $ty:ident { $($(#[$vdoc:meta])* $name:ident = $text:literal => $tableau:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $ty { $($(#[$vdoc])* $name),* }

        impl $ty {
            /// All of them.
            pub const ALL: &'static [$ty] = &[$($ty::$name),*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $($ty::$name => $text),* }
            }

            /// Its coefficients.
            pub fn tableau(self) -> &'static Tableau {
                match self { $($ty::$name => &$tableau),* }
            }
        }
    };
}

methods!(
    /// Methods with fixed steps: to add one, add its tableau and its line here.
    FixedMethod {
        /// Euler's method, one evaluation a step.
        Euler = "euler" => tableau::EULER,
        /// Midpoint, two evaluations.
        Midpoint = "midpoint" => tableau::MIDPOINT,
        /// Heun, two evaluations.
        Heun = "heun" => tableau::HEUN,
        /// Classical Runge-Kutta, four evaluations.
        Rk4 = "rk4" => tableau::RK4,
        /// The 3/8 rule, four evaluations.
        Rk438 = "rk4_38" => tableau::RK4_38,
    }
);

methods!(
    /// Methods with an error estimate: to add one, add its tableau and its line here.
    AdaptiveMethod {
        /// Bogacki-Shampine 3(2).
        Bosh3 = "bosh3" => tableau::BOSH3,
        /// Dormand-Prince 5(4).
        Dopri5 = "dopri5" => tableau::DOPRI5,
        /// Tsitouras 5(4).
        Tsit5 = "tsit5" => tableau::TSIT5,
    }
);

/// Samplers that are no solver of an ODE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscreteMethod {
    /// Deterministic denoising (Song 2021).
    Ddim,
    /// Ancestral denoising (Ho 2020).
    Ddpm,
    /// Euler-Maruyama on the stochastic process with the flow's marginals.
    Sde,
}

impl DiscreteMethod {
    /// All of them.
    pub const ALL: &'static [DiscreteMethod] =
        &[DiscreteMethod::Ddim, DiscreteMethod::Ddpm, DiscreteMethod::Sde];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            DiscreteMethod::Ddim => "ddim",
            DiscreteMethod::Ddpm => "ddpm",
            DiscreteMethod::Sde => "sde",
        }
    }
}

impl Solver {
    /// Evaluations of the field for one row of an adaptive solver that tried so many steps: one before the first, then all stages but the
    /// first of each, which the step before has evaluated. None for other solvers.
    pub fn evaluations_of(&self, tried: usize) -> Option<usize> {
        match self {
            Solver::Adaptive { method, .. } => Some(1 + (method.tableau().b.len() - 1) * tried),
            _ => None,
        }
    }

    /// Euler with `steps` equal steps.
    pub fn euler(steps: usize) -> Solver {
        Solver::Fixed { method: FixedMethod::Euler, steps }
    }

    /// Checks the tolerances of an adaptive solver: finite, not below 0, and not both below what f32 tells apart
    /// ([`LEAST_TOLERANCE`]).
    ///
    /// # Errors
    /// [`FlowError::Solver`].
    pub fn check(&self) -> Result<()> {
        let Solver::Adaptive { rtol, atol, .. } = *self else { return Ok(()) };
        let bad = |reason: String| Err(FlowError::Solver { text: self.to_string(), reason });
        if let Some(wrong) = [rtol, atol].into_iter().find(|t| !t.is_finite() || *t < 0.0) {
            return bad(format!("found the tolerance {wrong:e}, a tolerance is a finite number above 0"));
        }
        match rtol + atol < LEAST_TOLERANCE {
            true => bad(format!(
                "found tolerances of {rtol:e} relative and {atol:e} absolute, together below {LEAST_TOLERANCE:e}: the arithmetic is f32, whose rounding is as large, so that no step size would do"
            )),
            false => Ok(()),
        }
    }

    /// The same method in another number of steps, if it takes fixed steps.
    pub fn with_steps(self, steps: usize) -> Solver {
        match self {
            Solver::Fixed { method, .. } => Solver::Fixed { method, steps },
            other => other,
        }
    }

    /// Evaluations of the field in one pass; `None` for adaptive solvers.
    pub fn evaluations(&self) -> Option<usize> {
        match self {
            Solver::Fixed { method, steps } => Some(method.tableau().b.len() * steps),
            Solver::Discrete { steps, .. } => Some(*steps),
            Solver::Adaptive { .. } => None,
        }
    }
}

impl fmt::Display for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Solver::Fixed { method, steps } => write!(f, "{}:{steps}", method.name()),
            Solver::Discrete { method, steps } => write!(f, "{}:{steps}", method.name()),
            Solver::Adaptive { method, rtol, atol } => write!(f, "{}:{rtol:e}:{atol:e}", method.name()),
        }
    }
}

impl FromStr for Solver {
    type Err = FlowError;

    fn from_str(text: &str) -> Result<Solver> {
        let bad = |reason: String| FlowError::Solver { text: text.into(), reason };
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let numbers: Vec<&str> = parts.collect();
        let steps = || {
            let steps = match numbers.as_slice() {
                [n] => n.parse::<usize>().map_err(|_| bad(format!("{n:?} is not a number of steps")))?,
                _ => return Err(bad("one number of steps follows the name".into())),
            };
            match steps == 0 || steps > 100_000 {
                true => Err(bad(format!("found {steps} steps, needed 1 to 100,000"))),
                false => Ok(steps),
            }
        };
        if let Some(method) = FixedMethod::ALL.iter().find(|m| m.name() == name) {
            return Ok(Solver::Fixed { method: *method, steps: steps()? });
        }
        if let Some(method) = DiscreteMethod::ALL.iter().find(|m| m.name() == name) {
            return Ok(Solver::Discrete { method: *method, steps: steps()? });
        }
        let Some(method) = AdaptiveMethod::ALL.iter().find(|m| m.name() == name) else {
            return Err(bad(format!("unknown solver {name:?}")));
        };
        let tolerance = |n: &str| match n.parse::<f32>() {
            Ok(v) if v.is_finite() && v > 0.0 => Ok(v),
            _ => Err(bad(format!("{n:?} is not a positive tolerance"))),
        };
        let solver = match numbers.as_slice() {
            [rtol] => {
                let rtol = tolerance(rtol)?;
                Solver::Adaptive { method: *method, rtol, atol: 0.1 * rtol }
            }
            [rtol, atol] => {
                Solver::Adaptive { method: *method, rtol: tolerance(rtol)?, atol: tolerance(atol)? }
            }
            _ => return Err(bad("a relative and perhaps an absolute tolerance follow the name".into())),
        };
        match solver.check() {
            Ok(()) => Ok(solver),
            Err(FlowError::Solver { reason, .. }) => Err(bad(reason)),
            Err(other) => Err(other),
        }
    }
}

/// `steps + 1` equally spaced times from 0 to 1.
pub fn even_times(steps: usize) -> Vec<f64> {
    (0..=steps).map(|i| i as f64 / steps as f64).collect()
}

/// Checks that a grid has at least two finite times and is strictly monotone.
pub fn check_times(times: &[f64]) -> Result<()> {
    let bad = |reason: String| Err(FlowError::Times { reason });
    if times.len() < 2 {
        return bad(format!("found {} times, needed at least 2", times.len()));
    }
    if let Some(t) = times.iter().find(|t| !t.is_finite()) {
        return bad(format!("found the time {t}"));
    }
    let sign = (times[1] - times[0]).signum();
    match times.windows(2).find(|w| (w[1] - w[0]) * sign <= 0.0) {
        Some(w) => bad(format!("found {} after {}, needed strictly rising or falling times", w[1], w[0])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solvers_read_back() {
        for text in [
            "euler:10",
            "midpoint:5",
            "heun:5",
            "rk4:4",
            "rk4_38:1",
            "bosh3:1e-3:1e-4",
            "dopri5:1e-5:1e-6",
            "tsit5:1e-2:1e-2",
            "ddim:10",
            "ddpm:100",
            "sde:50",
        ] {
            let solver: Solver = text.parse().unwrap();
            assert_eq!(solver.to_string(), text);
        }
        assert_eq!("dopri5:1e-5".parse::<Solver>().unwrap().to_string().split(':').count(), 3);
    }

    #[test]
    fn bad_solvers_say_why() {
        for text in [
            "",
            "euler",
            "euler:0",
            "euler:-1",
            "euler:1:2",
            "rk5:3",
            "dopri5",
            "dopri5:0",
            "dopri5:nan",
            "tsit5:1e-3:x",
            "dopri5:1e-9",
            "tsit5:1e-7",
            "bosh3:1e-7:1e-7",
            "dopri5:1e-20:1e-12",
        ] {
            let e = text.parse::<Solver>().unwrap_err().to_string();
            assert!(e.contains("needed euler:N"), "{e}");
        }
    }

    #[test]
    fn tolerances_below_the_reach_of_f32_are_refused_by_name() {
        let error = "dopri5:1e-9".parse::<Solver>().unwrap_err().to_string();
        assert!(error.contains("1e-9 relative") && error.contains("f32"), "{error}");
        // One of the two within reach is enough: the other says little then.
        for text in ["dopri5:1e-6", "dopri5:1e-9:1e-5", "tsit5:1e-5:1e-9"] {
            assert!(text.parse::<Solver>().is_ok(), "{text}");
        }
        let adaptive = |rtol, atol| Solver::Adaptive { method: AdaptiveMethod::Dopri5, rtol, atol };
        for (rtol, atol) in [(0.0, 0.0), (f32::NAN, 1e-3), (-1e-3, 1e-2), (1e-8, 1e-8)] {
            assert!(matches!(adaptive(rtol, atol).check(), Err(FlowError::Solver { .. })), "{rtol} {atol}");
        }
    }

    #[test]
    fn grids_are_monotone() {
        assert!(check_times(&[0.0, 0.2, 1.0]).is_ok() && check_times(&[1.0, 0.0]).is_ok());
        for bad in [&[0.0][..], &[0.0, 0.0], &[0.0, 0.5, 0.4], &[0.0, f64::NAN]] {
            assert!(check_times(bad).is_err());
        }
    }
}
