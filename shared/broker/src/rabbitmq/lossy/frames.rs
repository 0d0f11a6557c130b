//! AMQP frames, as far as they have strings that must be UTF-8.

/// A frame is its kind, its channel (2 bytes), its payload's length (4), the payload, and an end (1).
const HEAD: usize = 7;
const END: usize = 1;
/// The kinds of frames that are looked into: methods, and the properties of messages.
const METHOD: u8 = 1;
const PROPERTIES: u8 = 2;
/// A longer frame is none that a broker sends, and is passed on as it is.
const MAX_FRAME: usize = 1 << 20;
/// Tables and lists within others are followed this far. Those below are passed on as bytes: reading them takes a frame of the stack
/// for each level, and lapin's would overflow.
const MAX_DEPTH: u32 = 32;
/// What was read and not passed on.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// How many bytes at the beginning may be passed on.
    clean: usize,
    /// How many bytes after these belong to a frame that isn't looked into.
    untouched: usize,
}

impl Frames {
    pub(super) fn add(&mut self, read: &[u8]) {
        self.bytes.extend_from_slice(read);
        loop {
            let passing = self.untouched.min(self.bytes.len() - self.clean);
            self.clean += passing;
            self.untouched -= passing;
            let rest = &mut self.bytes[self.clean..];
            let Some((kind, length)) = head(rest) else { return };
            if !matches!(kind, METHOD | PROPERTIES) || length > MAX_FRAME {
                self.untouched = HEAD + length + END;
                continue;
            }
            let Some(payload) = rest.get_mut(HEAD..HEAD + length) else { return };
            let mut fields = Fields { rest: payload };
            // What can't be followed to its end is lapin's to judge.
            let _ = if kind == METHOD { fields.method() } else { fields.properties() };
            self.untouched = HEAD + length + END;
        }
    }

    pub(super) fn take(&mut self, into: &mut [u8]) -> usize {
        let taken = self.clean.min(into.len());
        into[..taken].copy_from_slice(&self.bytes[..taken]);
        self.bytes.drain(..taken);
        self.clean -= taken;
        taken
    }

    /// What is left when there is no more to come.
    pub(super) fn take_rest(&mut self, into: &mut [u8]) -> usize {
        self.clean = self.bytes.len();
        self.take(into)
    }
}

/// The kind and the length of the frame that begins here.
fn head(bytes: &[u8]) -> Option<(u8, usize)> {
    let [kind, _, _, a, b, c, d] = *bytes.first_chunk::<HEAD>()?;
    Some((kind, u32::from_be_bytes([a, b, c, d]) as usize))
}

/// The fields of a payload that were not looked at.
struct Fields<'p> {
    rest: &'p mut [u8],
}

/// None when the payload ends too early, or has something unknown in it.
type Followed = Option<()>;

impl<'p> Fields<'p> {
    fn take(&mut self, count: usize) -> Option<&'p mut [u8]> {
        let (taken, rest) = std::mem::take(&mut self.rest).split_at_mut_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn skip(&mut self, count: usize) -> Followed {
        self.take(count).map(drop)
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn long(&mut self) -> Option<usize> {
        self.take(4)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize)
    }

    fn short_string(&mut self) -> Followed {
        let length = *self.take(1)?.first()?;
        make_utf8(self.take(length.into())?);
        Some(())
    }

    /// Those methods that tell of a message: `basic.return`, `basic.deliver`, `basic.get-ok`.
    fn method(&mut self) -> Followed {
        match (self.short()?, self.short()?) {
            (60, 50) => self.skip(2)?,
            (60, 60) => {
                self.short_string()?;
                self.skip(9)?;
                return self.short_string().and_then(|()| self.short_string());
            }
            (60, 71) => {
                self.skip(9)?;
                return self.short_string().and_then(|()| self.short_string());
            }
            _ => return Some(()),
        }
        self.short_string()?;
        self.short_string()?;
        self.short_string()
    }

    /// Class, weight and body size; flags; and those of the fourteen properties that the flags, from the highest bit on, say are there.
    fn properties(&mut self) -> Followed {
        self.skip(12)?;
        let flags = self.short()?;
        // s: short string, t: table, 1 and 8: a number of bytes.
        for (bit, kind) in (2..16).rev().zip(b"sst11ssss8ssss") {
            if flags & (1 << bit) == 0 {
                continue;
            }
            match kind {
                b's' => self.short_string()?,
                b't' => self.table(0)?,
                bytes => self.skip(usize::from(bytes - b'0'))?,
            }
        }
        Some(())
    }

    fn table(&mut self, depth: u32) -> Followed {
        let length = self.long()?;
        let mut entries = Fields { rest: self.take(length)? };
        while !entries.rest.is_empty() {
            entries.short_string()?;
            entries.value(depth)?;
        }
        Some(())
    }

    /// A value with its type before it: <https://www.rabbitmq.com/amqp-0-9-1-errata#section_3>.
    fn value(&mut self, depth: u32) -> Followed {
        let kind = self.take(1)?.first_mut()?;
        if depth >= MAX_DEPTH && matches!(kind, b'A' | b'F') {
            *kind = b'x';
        }
        match *kind {
            b't' | b'b' | b'B' => self.skip(1),
            b's' | b'u' | b'U' => self.skip(2),
            b'I' | b'i' | b'f' => self.skip(4),
            b'D' => self.skip(5),
            b'l' | b'L' | b'd' | b'T' => self.skip(8),
            b'S' | b'x' => {
                let length = self.long()?;
                self.skip(length)
            }
            b'A' => {
                let length = self.long()?;
                let mut items = Fields { rest: self.take(length)? };
                while !items.rest.is_empty() {
                    items.value(depth + 1)?;
                }
                Some(())
            }
            b'F' => self.table(depth + 1),
            b'V' => Some(()),
            _ => None,
        }
    }
}

/// Makes question marks of the bytes that are not UTF-8.
fn make_utf8(mut text: &mut [u8]) {
    while let Err(error) = std::str::from_utf8(text) {
        let from = error.valid_up_to();
        let to = error.error_len().map_or(text.len(), |length| from + length);
        text[from..to].fill(b'?');
        text = &mut text[to..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Vec<u8> {
        let mut string = vec![u8::try_from(bytes.len()).unwrap()];
        string.extend_from_slice(bytes);
        string
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1], &length[..], payload, &[0xce]].concat()
    }

    /// Content type, headers, delivery mode and message id.
    fn properties(key: &[u8], id: &[u8]) -> Vec<u8> {
        let entry = [string(key), b"S\0\0\0\x02\xff\xfe".to_vec()].concat();
        let nested = [string(b"in"), b"F".to_vec(), long(&entry)].concat();
        let flags = (1_u16 << 15 | 1 << 13 | 1 << 12 | 1 << 7).to_be_bytes();
        let fields = [&flags[..], &string(b"text/plain"), &long(&nested), &[2], &string(id)];
        frame(PROPERTIES, &[&[0; 12], &fields.concat()[..]].concat())
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    fn deliver(tag: &[u8], key: &[u8]) -> Vec<u8> {
        let method = [0, 60, 0, 60];
        let parts = [&method[..], &string(tag), &[0; 9], &string(b"ex"), &string(key)];
        frame(METHOD, &parts.concat())
    }

    /// What comes out when it is read in pieces of `piece` bytes.
    fn read(bytes: &[u8], piece: usize) -> Vec<u8> {
        let (mut frames, mut out) = (Frames::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            frames.add(piece);
            let mut into = [0; 5];
            loop {
                match frames.take(&mut into) {
                    0 => break,
                    taken => out.extend_from_slice(&into[..taken]),
                }
            }
        }
        out
    }

    #[test]
    fn what_is_not_utf_8_becomes_question_marks_and_the_rest_stays() {
        let body = frame(3, b"\xff\xfe\xff");
        let sent = [
            deliver(b"tag", b"a\xff"),
            properties(b"k\xc3", b"\xff\xfe"),
            body.clone(),
            properties("ü".as_bytes(), b"id"),
        ];
        let expected = [
            deliver(b"tag", b"a?"),
            properties(b"k?", b"??"),
            body,
            properties("ü".as_bytes(), b"id"),
        ];
        for piece in [1, 3, 7, 1_000] {
            assert_eq!(read(&sent.concat(), piece), expected.concat(), "{piece}");
        }
    }

    /// Lists within lists in a header.
    fn nested(levels: u32) -> Vec<u8> {
        let mut value = b"V".to_vec();
        for _ in 0..levels {
            value = [b"A".to_vec(), long(&value)].concat();
        }
        let entry = [string(b"key"), value].concat();
        let flags = (1_u16 << 13).to_be_bytes();
        frame(PROPERTIES, &[&[0; 12], &flags[..], &long(&entry)].concat())
    }

    #[test]
    fn what_is_nested_too_deeply_becomes_bytes() {
        assert_eq!(read(&nested(MAX_DEPTH), 1_000), nested(MAX_DEPTH));
        let deep = nested(20_000);
        let followed = read(&deep, 1_000);
        let changed: Vec<_> =
            deep.iter().zip(&followed).filter(|(sent, read)| sent != read).collect();
        assert_eq!((changed, followed.len()), (vec![(&b'A', &b'x')], deep.len()));
    }

    #[test]
    fn what_cannot_be_followed_is_passed_on() {
        let mut broken = properties(b"key", b"\xff");
        // The table says that it is longer than the frame.
        broken[HEAD + 12 + 2 + 11] = 0x7f;
        for bytes in [broken, b"AMQP\0\0\x09\x01".to_vec(), frame(METHOD, &[0, 60, 0, 60, 200])] {
            assert_eq!(read(&bytes, 4), bytes);
        }
    }
}
