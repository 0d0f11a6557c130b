//! The server's half of an SMTP conversation (RFC 5321), without I/O: bytes in, replies and mails out.

use std::slice::Iter;

use smtp_proto::{
    Error, Request,
    request::receiver::{DataReceiver, DummyDataReceiver, LineReceiver, MAX_LINE_LENGTH},
};

use super::LARGEST_MAIL;

/// How many recipients one mail may have.
const MOST_RECIPIENTS: usize = 100;
/// How many refused commands a client may send before it is shown the door.
const MOST_ERRORS: u32 = 20;

/// What a mail came in: the addresses of the conversation, not those of its headers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    /// Empty for a mail that must not be answered.
    pub(super) from: String,
    pub(super) to: Vec<String>,
}

/// What the caller of [`Session::receive`] has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send the replies and read on.
    Read,
    /// Store this mail, report with [`Session::stored`] or [`Session::refused`], and call again with the rest of the input.
    Store(Envelope, Vec<u8>),
    /// Send the replies and close.
    Close,
}

/// One client's conversation.
#[derive(Default)]
pub(super) struct Session {
    state: State,
    line: LineReceiver<()>,
    greeted: bool,
    from: Option<String>,
    to: Vec<String>,
    errors: u32,
}

#[derive(Default)]
enum State {
    #[default]
    Command,
    Data(DataReceiver, Vec<u8>),
    /// The rest of a mail that is too large.
    Discard(DummyDataReceiver),
}

impl Session {
    /// Takes what the client sent, up to the end of a mail, and appends the replies. The rest stays in `input`.
    pub(super) fn receive(&mut self, input: &mut Iter<'_, u8>, replies: &mut Vec<u8>) -> Step {
        while !input.as_slice().is_empty() {
            let step = match &mut self.state {
                State::Command => self.command(input, replies),
                State::Data(..) => self.data(input, replies),
                State::Discard(rest) => {
                    if rest.ingest(input) {
                        self.too_large(replies);
                    }
                    None
                }
            };
            if let Some(step) = step {
                return step;
            }
        }
        Step::Read
    }

    /// The mail is kept.
    pub(super) fn stored(&mut self, replies: &mut Vec<u8>) {
        reply(replies, "250 Kept");
    }

    /// The mail isn't kept; the client may try again.
    pub(super) fn refused(&mut self, replies: &mut Vec<u8>) {
        reply(replies, "451 Not kept, try again later");
    }

    fn data(&mut self, input: &mut Iter<'_, u8>, replies: &mut Vec<u8>) -> Option<Step> {
        let State::Data(receiver, mail) = &mut self.state else { return None };
        let complete = receiver.ingest(input, mail);
        match (complete, mail.len() > LARGEST_MAIL) {
            (false, false) => None,
            (false, true) => {
                self.state = State::Discard(DummyDataReceiver::new_data(receiver));
                None
            }
            (true, true) => {
                self.too_large(replies);
                None
            }
            (true, false) => {
                let mail = std::mem::take(mail);
                self.state = State::default();
                Some(Step::Store(self.take_envelope(), mail))
            }
        }
    }

    fn too_large(&mut self, replies: &mut Vec<u8>) {
        self.state = State::default();
        self.take_envelope();
        reply(replies, "552 The mail is larger than 1 MiB");
    }

    fn take_envelope(&mut self) -> Envelope {
        Envelope { from: self.from.take().unwrap_or_default(), to: std::mem::take(&mut self.to) }
    }

    fn command(&mut self, input: &mut Iter<'_, u8>, replies: &mut Vec<u8>) -> Option<Step> {
        if !self.line.ingest(input) {
            return None;
        }
        let mut line = std::mem::take(&mut self.line.buf);
        let (text, step) = if line.len() < MAX_LINE_LENGTH {
            line.push(b'\n');
            // Line by line: the parser would go on into the next line after some of the malformed ones.
            match Request::parse(&mut line.iter()) {
                Ok(request) => self.obey(request.into_owned()),
                Err(error) => (refusal(&error), None),
            }
        } else {
            ("500 The line is too long", None)
        };
        line.clear();
        self.line.buf = line;
        reply(replies, text);
        self.errors += u32::from(text.starts_with('5'));
        if self.errors > MOST_ERRORS {
            reply(replies, "421 Too many errors");
            return Some(Step::Close);
        }
        step
    }

    fn obey(&mut self, request: Request<String>) -> (&'static str, Option<Step>) {
        match request {
            Request::Ehlo { .. } => {
                self.greet();
                (EHLO, None)
            }
            Request::Helo { .. } => {
                self.greet();
                ("250 sandbox", None)
            }
            Request::Mail { from } => (self.sender(from.address, from.size), None),
            Request::Rcpt { to } => (self.recipient(to.address), None),
            Request::Data => (self.begin_data(), None),
            Request::Rset => {
                self.take_envelope();
                ("250 Forgotten", None)
            }
            Request::Noop { .. } => ("250 Done", None),
            Request::Vrfy { .. } => ("252 Send and see", None),
            Request::Help { .. } => ("214 See RFC 5321", None),
            Request::Quit => ("221 Bye", Some(Step::Close)),
            // Its data would follow at once, and must not be taken for commands.
            Request::Bdat { .. } => ("502 Not offered", Some(Step::Close)),
            _ => ("502 Not offered", None),
        }
    }

    fn greet(&mut self) {
        self.greeted = true;
        self.take_envelope();
    }

    fn sender(&mut self, from: String, size: usize) -> &'static str {
        if !self.greeted {
            return "503 Say EHLO first";
        }
        if self.from.is_some() {
            return "503 One sender per mail";
        }
        if size > LARGEST_MAIL {
            return "552 The mail is larger than 1 MiB";
        }
        self.from = Some(from);
        "250 Go on"
    }

    fn recipient(&mut self, to: String) -> &'static str {
        if self.from.is_none() {
            return "503 Say MAIL FROM first";
        }
        if to.is_empty() {
            return "553 The recipient is no address";
        }
        if self.to.len() == MOST_RECIPIENTS {
            return "452 Too many recipients";
        }
        self.to.push(to);
        "250 Go on"
    }

    fn begin_data(&mut self) -> &'static str {
        if self.to.is_empty() {
            return "503 Say RCPT TO first";
        }
        let (mut receiver, mut mail) = (DataReceiver::new(), Vec::new());
        // The receiver looks for the dot after a line's end, and the first line of a mail has none before it: show it
        // the one of DATA itself.
        receiver.ingest(&mut b"\r\n".iter(), &mut mail);
        mail.clear();
        self.state = State::Data(receiver, mail);
        "354 End with a dot on a line of its own"
    }
}

/// What the server offers; 1048576 is [`LARGEST_MAIL`].
const EHLO: &str =
    "250-sandbox\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 1048576";

fn refusal(error: &Error) -> &'static str {
    match error {
        Error::UnknownCommand => "500 Unknown command",
        Error::InvalidSenderAddress => "553 The sender is no address",
        Error::InvalidRecipientAddress => "553 The recipient is no address",
        Error::UnsupportedParameter { .. } => "555 Unknown parameter",
        _ => "501 Syntax error",
    }
}

fn reply(replies: &mut Vec<u8>, text: &str) {
    replies.extend_from_slice(text.as_bytes());
    replies.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
