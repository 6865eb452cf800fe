//! The key that clients show.

use super::ServeError;
use subtle::ConstantTimeEq;

/// Longest key that is taken, bytes.
const MOST: usize = 1024;

/// A secret that every client must know. It is never printed.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key of visible ASCII characters, which is what an HTTP header can carry. White space around it is dropped.
    ///
    /// # Errors
    /// [`ServeError::Config`] if it is empty, too long, or holds other characters.
    pub fn new(text: &str) -> Result<Key, ServeError> {
        let text = text.trim();
        let wrong = |found: String| ServeError::Config {
            what: "the key",
            found,
            needed: format!("1 to {MOST} visible ASCII characters"),
        };
        match text.len() {
            0 => Err(wrong("nothing".into())),
            n if n > MOST => Err(wrong(format!("{n} characters"))),
            _ if !text.bytes().all(|b| b.is_ascii_graphic()) => Err(wrong("other characters".into())),
            _ => Ok(Key(text.as_bytes().to_vec())),
        }
    }

    /// Whether an `Authorization` header shows this key, as `Api-Key KEY` (what openpi-client sends) or `Bearer KEY`. The time
    /// that it takes tells nothing of the key but its length.
    pub fn admits(&self, header: Option<&[u8]>) -> bool {
        let Some(header) = header else { return false };
        let Some(space) = header.iter().position(|b| *b == b' ') else { return false };
        let (scheme, shown) = (&header[..space], header[space..].trim_ascii());
        let known = scheme.eq_ignore_ascii_case(b"Api-Key") || scheme.eq_ignore_ascii_case(b"Bearer");
        known && bool::from(self.0.ct_eq(shown))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemes_show_a_key() {
        let key = Key::new(" s3cret\n").unwrap();
        for header in ["Api-Key s3cret", "Bearer s3cret", "bearer  s3cret ", "api-key s3cret"] {
            assert!(key.admits(Some(header.as_bytes())), "{header}");
        }
        for header in [
            "",
            "s3cret",
            "Basic s3cret",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3cret2",
            "Bearer S3cret",
        ] {
            assert!(!key.admits(Some(header.as_bytes())), "{header}");
        }
        assert!(!key.admits(None));
        assert_eq!(format!("{key:?}"), "Key(..)");
    }

    #[test]
    fn keys_that_no_header_carries_are_refused() {
        for text in ["", " \n", "a b", "schlüssel", &"x".repeat(1025)] {
            assert!(Key::new(text).is_err(), "{text}");
        }
    }
}
