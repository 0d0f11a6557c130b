use super::*;

/// A conversation that is fed in pieces of `piece` bytes.
struct Talk {
    session: Session,
    piece: usize,
    replies: Vec<u8>,
    mails: Vec<(Envelope, Vec<u8>)>,
    closed: bool,
}

impl Talk {
    fn new(piece: usize) -> Self {
        let session = Session::default();
        Self { session, piece, replies: Vec::new(), mails: Vec::new(), closed: false }
    }

    /// Returns the codes of the replies.
    fn say(&mut self, text: impl AsRef<[u8]>) -> String {
        for piece in text.as_ref().chunks(self.piece) {
            let mut input = piece.iter();
            loop {
                match self.session.receive(&mut input, &mut self.replies) {
                    Step::Read => break,
                    Step::Close => {
                        self.closed = true;
                        break;
                    }
                    Step::Store(envelope, mail) => {
                        self.mails.push((envelope, mail));
                        self.session.stored(&mut self.replies);
                    }
                }
            }
        }
        let replies = String::from_utf8(std::mem::take(&mut self.replies)).unwrap();
        let codes = replies.lines().filter(|line| line.as_bytes()[3] == b' ');
        codes.map(|line| &line[..3]).collect::<Vec<_>>().join(" ")
    }
}

fn greeted() -> Talk {
    let mut talk = Talk::new(usize::MAX);
    assert_eq!(talk.say("EHLO me\r\n"), "250");
    talk
}

const BEGIN: &str = "MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n";

#[test]
fn a_mail_arrives_whole_however_the_bytes_come() {
    for piece in [1, 2, 3, 7, usize::MAX] {
        let mut talk = Talk::new(piece);
        let codes = talk.say(
            "EHLO me\r\nMAIL FROM:<a@x> SIZE=100 BODY=8BITMIME\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\nDATA\r\n\
             Subject: Hi\r\n\r\n..two dots\r\nÄ\r\n.\r\nNOOP\r\nQUIT\r\n",
        );
        assert_eq!(codes, "250 250 250 250 354 250 250 221", "pieces of {piece}");
        let envelope = Envelope { from: "a@x".into(), to: vec!["b@x".into(), "c@x".into()] };
        let mail = "Subject: Hi\r\n\r\n.two dots\r\nÄ\r\n".into();
        assert_eq!(talk.mails, [(envelope, mail)], "pieces of {piece}");
        assert!(talk.closed);
    }
}

#[test]
fn several_mails_in_one_conversation() {
    let mut talk = greeted();
    for text in ["one\r\n", "two\r\n", "three\r\n"] {
        assert_eq!(talk.say(format!("{BEGIN}{text}.\r\n")), "250 250 354 250");
    }
    assert_eq!(talk.mails.len(), 3);
    assert_eq!(talk.mails[2].1, b"three\r\n");
}

#[test]
fn a_dot_in_the_first_line_ends_or_begins_a_mail_too() {
    let mut talk = greeted();
    assert_eq!(talk.say(format!("{BEGIN}.\r\n")), "250 250 354 250");
    assert_eq!(talk.say(format!("{BEGIN}..first\r\n.\r\n")), "250 250 354 250");
    assert_eq!(talk.mails[0].1, b"");
    assert_eq!(talk.mails[1].1, b".first\r\n");
}

#[test]
fn a_bare_line_feed_ends_no_mail() {
    let mut talk = greeted();
    let smuggled = "hi\n.\nMAIL FROM:<evil@x>\r\n.\n\r\n";
    assert_eq!(talk.say(format!("{BEGIN}{smuggled}.\r\n")), "250 250 354 250");
    assert_eq!(talk.mails.len(), 1);
}

#[test]
fn commands_out_of_order_are_refused() {
    let mut talk = Talk::new(usize::MAX);
    assert_eq!(talk.say("MAIL FROM:<a@x>\r\n"), "503");
    assert_eq!(talk.say("HELO me\r\n"), "250");
    assert_eq!(talk.say("RCPT TO:<b@x>\r\n"), "503");
    assert_eq!(talk.say("DATA\r\n"), "503");
    assert_eq!(talk.say("MAIL FROM:<a@x>\r\nDATA\r\nMAIL FROM:<a@x>\r\n"), "250 503 503");
    assert_eq!(talk.say("RSET\r\nRCPT TO:<b@x>\r\n"), "250 503");
    assert_eq!(talk.say(format!("{BEGIN}hi\r\n.\r\n")), "250 250 354 250");
}

#[test]
fn malformed_commands_are_refused_and_the_next_one_is_understood() {
    let mut talk = greeted();
    let cases = [
        ("NONSENSE\r\n", "500"),
        ("\r\n", "500"),
        ("EHLO\r\n", "501"),
        ("MAIL FROM\r\n", "501"),
        ("MAIL FROM:a@x\r\n", "501"),
        ("MAIL FROM:<a@x> SIZE=x\r\n", "501"),
        ("MAIL FROM:<a@x> COLOUR=red\r\n", "555"),
        ("RCPT TO:<>\r\n", "503"),
        ("AUTH PLAIN AGEAYg==\r\n", "502"),
        ("STARTTLS\r\n", "502"),
        ("\u{0}\u{1}\u{2}\r\n", "500"),
    ];
    for (command, code) in cases {
        assert_eq!(talk.say(command), code, "{command:?}");
        assert_eq!(talk.say("NOOP\r\n"), "250", "after {command:?}");
    }
}

#[test]
fn a_line_that_is_too_long_is_skipped_to_its_end() {
    for piece in [100, 8192, usize::MAX] {
        let mut talk = Talk::new(piece);
        let long = "x".repeat(20_000);
        assert_eq!(talk.say(format!("NOOP {long}\r\nNOOP\r\n")), "500 250", "pieces of {piece}");
    }
}

#[test]
fn a_mail_that_is_too_large_is_refused_and_the_next_one_is_taken() {
    for piece in [8192, usize::MAX] {
        let mut talk = Talk::new(piece);
        talk.say("EHLO me\r\n");
        let line = format!("{}\r\n", "x".repeat(998));
        let too_large = line.repeat(LARGEST_MAIL / line.len() + 1);
        assert_eq!(talk.say(format!("{BEGIN}{too_large}.\r\n")), "250 250 354 552");
        assert_eq!(talk.say(format!("{BEGIN}hi\r\n.\r\n")), "250 250 354 250");
        assert_eq!(talk.mails.len(), 1);
        assert_eq!(talk.say("MAIL FROM:<a@x> SIZE=1048577\r\n"), "552");
        let largest = line.repeat(LARGEST_MAIL / line.len());
        assert_eq!(talk.say(format!("{BEGIN}{largest}.\r\n")), "250 250 354 250");
    }
}

#[test]
fn too_many_recipients_are_refused_one_by_one() {
    let mut talk = greeted();
    talk.say("MAIL FROM:<a@x>\r\n");
    for _ in 0..MOST_RECIPIENTS {
        assert_eq!(talk.say("RCPT TO:<b@x>\r\n"), "250");
    }
    assert_eq!(talk.say("RCPT TO:<c@x>\r\n"), "452");
    assert_eq!(talk.say("DATA\r\nhi\r\n.\r\n"), "354 250");
    assert_eq!(talk.mails[0].0.to.len(), MOST_RECIPIENTS);
}

#[test]
fn a_client_that_talks_nonsense_is_shown_the_door() {
    let mut talk = greeted();
    for _ in 0..MOST_ERRORS {
        assert_eq!(talk.say("NONSENSE\r\n"), "500");
    }
    assert_eq!(talk.say("NONSENSE\r\n"), "500 421");
    assert!(talk.closed);
}
