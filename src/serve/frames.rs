//! Where a stream of WebSocket frames (RFC 6455, section 5.2) stands. The protocol's library hands over whole messages only, and
//! answers pings in between; a client that sends the first half of a message and then pings for ever would seem alive. Whoever
//! holds the socket looks at the frames' headers instead, and skips what they carry.

use std::time::Instant;

/// The longest header: two bytes, a length of eight, a mask of four.
const HEADER: usize = 14;

/// What a client's bytes so far end in.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    /// Bytes of a header that is not whole.
    have: usize,
    /// Bytes that the frame still lacks.
    payload: u64,
    /// Whether the frame ends its message, and whether it is part of one (and not a ping, pong or close).
    last: bool,
    data: bool,
    /// Whether frames of a message came and its last did not.
    open: bool,
    /// Bytes of the unfinished message.
    held: u64,
    /// When what is unfinished began.
    since: Option<Instant>,
}

impl Frames {
    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let n = self.payload.min(bytes.len() as u64);
                bytes = &bytes[n as usize..];
                self.payload -= n;
                if self.data {
                    self.held += n;
                }
                if self.payload == 0 {
                    self.end();
                }
                continue;
            }
            self.since.get_or_insert_with(Instant::now);
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == self.needed() {
                self.begin();
            }
        }
    }

    /// When what is unfinished began: a message, or a frame.
    pub fn unfinished_since(&self) -> Option<Instant> {
        self.since
    }

    /// Bytes of the unfinished message.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Bytes of the header, as far as what is there says.
    fn needed(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.header[1] & 0x80 != 0 { 4 } else { 0 }
    }

    /// A header is whole.
    fn begin(&mut self) {
        self.last = self.header[0] & 0x80 != 0;
        self.data = self.header[0] & 0x08 == 0;
        let long = |width: usize| self.header[2..2 + width].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        self.payload = match self.header[1] & 0x7f {
            126 => long(2),
            127 => long(8),
            short => short.into(),
        };
        self.have = 0;
        if self.payload == 0 {
            self.end();
        }
    }

    /// A frame is whole.
    fn end(&mut self) {
        if self.data {
            self.open = !self.last;
        }
        if !self.open {
            self.since = None;
            self.held = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame.
    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut out = vec![first];
        match payload {
            0..=125 => out.push(0x80 | payload as u8),
            126..=0xffff => {
                out.push(0x80 | 126);
                out.extend((payload as u16).to_be_bytes());
            }
            _ => {
                out.push(0x80 | 127);
                out.extend((payload as u64).to_be_bytes());
            }
        }
        out.extend([1, 2, 3, 4]);
        out.resize(out.len() + payload, 0x81);
        out
    }

    #[test]
    fn messages_end_where_they_do_however_they_are_cut() {
        let (binary, ping) = (0x82, 0x89);
        let (begin, middle, end) = (0x02, 0x00, 0x80);
        // Each frame, and whether something is unfinished after it.
        let frames = [
            (frame(binary, 0), false),
            (frame(binary, 100), false),
            (frame(binary, 1000), false),
            (frame(binary, 70_000), false),
            (frame(ping, 5), false),
            (frame(begin, 300), true),
            (frame(ping, 0), true),
            (frame(ping, 125), true),
            (frame(middle, 0), true),
            (frame(end, 2), false),
        ];
        for piece in [1, 3, 7, 1 << 20] {
            let mut state = Frames::default();
            for (n, (bytes, unfinished)) in frames.iter().enumerate() {
                for part in bytes.chunks(piece) {
                    state.feed(part);
                }
                assert_eq!(state.unfinished_since().is_some(), *unfinished, "frame {n}, pieces of {piece}");
                assert_eq!(state.held() > 0, *unfinished, "frame {n}");
            }
        }
        let mut state = Frames::default();
        state.feed(&frame(binary, 1000)[..500]);
        assert!(state.unfinished_since().is_some() && state.held() == 500 - 8);
        // The rest, and the start of the next one.
        state.feed(&frame(binary, 1000)[500..]);
        assert_eq!((state.unfinished_since(), state.held()), (None, 0));
        state.feed(&[0x82]);
        assert!(state.unfinished_since().is_some());
    }
}
