//! How many steps each episode has: as lengths, or as where episodes end.

use super::ENDS;
use super::archive::Archive;
use crate::data::error::DataError;

impl Archive<'_> {
    /// Steps of each episode, and what should be said of how they were found. Diffusion policy keeps the row after each episode's
    /// last; such ends cannot be taken for lengths, since they add up to more rows than there are.
    pub fn episodes(&mut self, array: &str, rows: usize) -> Result<(Vec<usize>, Option<String>), DataError> {
        let absent = !self.npz.array_names().any(|name| name == array);
        let ends = self.npz.array_names().any(|name| name == ENDS);
        let array = if absent && ends { ENDS } else { array };
        let found = self.lengths(array)?;
        let rising = found.windows(2).all(|pair| pair[0] < pair[1]);
        if found.len() > 1 && found[0] > 0 && rising && found.last() == Some(&rows) {
            let starts = std::iter::once(&0).chain(&found);
            let lengths = found.iter().zip(starts).map(|(end, start)| end - start).collect();
            let note = format!(
                "'{array}' holds where episodes end, not how long they are: lengths are the differences"
            );
            return Ok((lengths, Some(note)));
        }
        // The last rows themselves, which is one less.
        let other = found.iter().try_fold(0usize, |sum, n| sum.checked_add(*n)) != Some(rows);
        if found.len() > 1 && rising && other && rows > 0 && found.last() == Some(&(rows - 1)) {
            let starts = std::iter::once(0).chain(found.iter().map(|last| last + 1));
            let lengths = found.iter().zip(starts).map(|(last, start)| last + 1 - start).collect();
            let note = format!(
                "'{array}' holds each episode's last row, not how many it has: lengths are the differences"
            );
            return Ok((lengths, Some(note)));
        }
        Ok((found, None))
    }

    pub fn lengths(&mut self, array: &str) -> Result<Vec<usize>, DataError> {
        let values = self.optional_vector(array)?.ok_or_else(|| self.missing(array))?;
        let whole = |(episode, value): (usize, f64)| {
            // 2^53 is where f64 stops telling integers apart; no data set comes near.
            if value.fract() == 0.0 && (0.0..9.0e15).contains(&value) {
                return Ok(value as usize);
            }
            let what = format!("{array} of episode {episode}");
            Err(DataError::Value { what, found: value.to_string(), needed: "a whole number of steps" })
        };
        values.into_iter().enumerate().map(whole).collect()
    }
}
