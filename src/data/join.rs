//! Several data sets as one.

use super::episodes::{EpisodeArrays, Episodes};
use super::error::DataError;
use super::inputs::ObsInput;

impl Episodes {
    /// Appends the episodes of several data sets, in the order given; each comes with a name for errors. Whether episodes
    /// succeeded is known only if every data set says. Names of values that only some state count for all.
    ///
    /// # Errors
    /// [`DataError::Disagree`] if dimensions, named inputs, names of values or rates differ, [`DataError::NoEpisodes`] if
    /// there is no data set.
    pub fn join(parts: Vec<(String, Episodes)>) -> Result<Episodes, DataError> {
        let mut parts = parts.into_iter();
        let Some((first, start)) = parts.next() else {
            return Err(DataError::NoEpisodes { what: "data sets".into() });
        };
        let mut all = start.into_arrays();
        for (name, part) in parts {
            let part = part.into_arrays();
            agree(&first, &all, &name, &part)?;
            all.obs.extend(part.obs);
            all.action.extend(part.action);
            all.lengths.extend(part.lengths);
            all.success = match (all.success, part.success) {
                (Some(mut all), Some(part)) => {
                    all.extend(part);
                    Some(all)
                }
                _ => None,
            };
            all.obs_names = all.obs_names.or(part.obs_names);
            all.action_names = all.action_names.or(part.action_names);
        }
        Episodes::from_arrays(all)
    }
}

/// The first thing in which two data sets differ that must not.
pub(super) fn agree(
    first: &str,
    a: &EpisodeArrays,
    second: &str,
    b: &EpisodeArrays,
) -> Result<(), DataError> {
    let rate = |fps: Option<f64>| fps.map_or("not said".to_string(), |fps| fps.to_string());
    let inputs = |arrays: &EpisodeArrays| {
        let lone = ObsInput::state(arrays.obs_dim);
        let inputs = if arrays.obs_inputs.is_empty() { &lone } else { &arrays.obs_inputs };
        let each: Vec<_> = inputs.iter().map(|i| format!("{} ({})", i.name, i.dim)).collect();
        each.join(", ")
    };
    let names = |names: &Option<Vec<String>>, other: &Option<Vec<String>>| match (names, other) {
        (Some(names), Some(_)) => names.join(", "),
        _ => String::new(),
    };
    for (what, left, right) in [
        ("values of an observation", a.obs_dim.to_string(), b.obs_dim.to_string()),
        ("values of an action", a.action_dim.to_string(), b.action_dim.to_string()),
        ("observation inputs", inputs(a), inputs(b)),
        ("fps", rate(a.fps), rate(b.fps)),
        (
            "names of the observation's values",
            names(&a.obs_names, &b.obs_names),
            names(&b.obs_names, &a.obs_names),
        ),
        (
            "names of the action's values",
            names(&a.action_names, &b.action_names),
            names(&b.action_names, &a.action_names),
        ),
    ] {
        if left != right {
            let (first, second) = (first.into(), second.into());
            return Err(DataError::Disagree { what, first, second, left, right });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::episodes::tests::sample;
    use super::*;

    fn join(change: impl FnOnce(&mut EpisodeArrays)) -> Result<Episodes, DataError> {
        let mut other = sample();
        change(&mut other);
        let part = |arrays| Episodes::from_arrays(arrays).unwrap();
        Episodes::join(vec![("a".into(), part(sample())), ("b".into(), part(other))])
    }

    #[test]
    fn episodes_are_appended() {
        let all = join(|b| {
            b.lengths = vec![8];
            b.success = Some(vec![false]);
            b.obs_names = None;
            b.action_names = Some(vec!["x".into()]);
        })
        .unwrap();
        assert_eq!(all.lengths(), [3, 1, 4, 8]);
        assert_eq!(all.success(), Some(&[true, false, true, false][..]));
        assert_eq!((all.steps(), all.obs()[16..18].to_vec()), (16, vec![0.0, 0.0]));
        assert_eq!(all.obs_names().unwrap(), ["x", "y"]);
        assert_eq!(all.action_names().unwrap(), ["x"]);
        assert_eq!(join(|b| b.success = None).unwrap().success(), None);
        assert!(matches!(Episodes::join(vec![]), Err(DataError::NoEpisodes { .. })));
    }

    #[test]
    fn what_differs_is_named() {
        let fault = |change: fn(&mut EpisodeArrays)| join(change).unwrap_err().to_string();
        assert_eq!(fault(|b| b.fps = Some(30.0)), "fps differs between data sets: 10 in a, 30 in b");
        assert!(fault(|b| b.fps = None).ends_with("10 in a, not said in b"));
        let text = fault(|b| {
            b.obs_dim = 1;
            b.obs.truncate(8);
            b.obs_names = None;
        });
        assert_eq!(text, "values of an observation differs between data sets: 2 in a, 1 in b");
        let text = fault(|b| {
            let input = |name: &str| ObsInput { name: name.into(), dim: 1 };
            b.obs_inputs = vec![input("p"), input("q")];
        });
        assert!(text.ends_with("observation/state (2) in a, p (1), q (1) in b"), "{text}");
        assert!(fault(|b| b.obs_names = Some(vec!["x".into(), "z".into()])).contains("x, y in a, x, z in b"));
    }
}
