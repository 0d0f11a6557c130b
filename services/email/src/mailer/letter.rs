//! A mail in its envelope: the bytes that the mail server gets.

use lettre::{
    Address,
    address::AddressError,
    message::{
        Mailbox, Message, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};
use url::Host;
use uuid::Uuid;

use super::Error;
use crate::mail::Mail;

/// A mail, ready to be sent.
#[derive(Clone)]
pub struct Letter {
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) bytes: Vec<u8>,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a letter of {} bytes", self.bytes.len())
    }
}

impl Letter {
    pub(super) fn new(from: &Mailbox, mail: &Mail, message_id: Uuid) -> Result<Self, Error> {
        let to = address(&mail.address).map_err(Error::Address)?;
        let envelope = lettre::address::Envelope::new(Some(from.email.clone()), vec![to.clone()])
            .map_err(Error::Compose)?;
        let message = Message::builder()
            .envelope(envelope)
            .from(from.clone())
            .to(Mailbox::new(mail.name.clone(), to.clone()))
            .subject(mail.subject.clone())
            .message_id(Some(format!("<{message_id}@{}>", from.email.domain())))
            .raw_header(header("X-Order-Id", mail.key.order_id.to_string()))
            // Nobody's out-of-office notice is to answer this (RFC 3834).
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()))
            .multipart(
                MultiPart::alternative()
                    .singlepart(SinglePart::plain(mail.text.clone()))
                    .singlepart(SinglePart::html(mail.html.clone())),
            )
            .map_err(Error::Compose)?;
        Ok(Self { from: from.email.clone(), to, bytes: message.formatted() })
    }

    /// Whether the mail server must know SMTPUTF8 to take it.
    pub(super) fn is_international(&self) -> bool {
        !AsRef::<str>::as_ref(&self.to).is_ascii() || !AsRef::<str>::as_ref(&self.from).is_ascii()
    }

    /// The mail as it travels.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// The address to send to. A domain beyond ASCII is written as the DNS has it, which every mail server takes.
fn address(text: &str) -> Result<Address, AddressError> {
    if text.chars().any(char::is_control) {
        return Err(AddressError::InvalidInput);
    }
    let address: Address = text.parse()?;
    if address.domain().is_ascii() {
        return Ok(address);
    }
    match Host::parse(address.domain()) {
        Ok(Host::Domain(domain)) => Address::new(address.user(), domain),
        _ => Err(AddressError::InvalidDomain),
    }
}

#[cfg(test)]
mod tests {
    use lettre::message::Mailbox;

    use super::*;
    use crate::mail::{Key, Kind};

    fn letter(address: &str, name: Option<&str>) -> Result<String, Error> {
        let from: Mailbox = "The Shop <orders@shop.example.com>".parse().unwrap();
        let key = Key { order_id: Uuid::from_u128(7), kind: Kind::Receipt };
        let mail = Mail {
            key,
            address: address.to_owned(),
            name: name.map(|name| crate::mail::one_line(name, 80)),
            subject: "Your receipt".to_owned(),
            text: "Hello".to_owned(),
            html: "<p>Hello</p>".to_owned(),
        };
        let letter = Letter::new(&from, &mail, Uuid::from_u128(1))?;
        Ok(String::from_utf8(letter.bytes).unwrap())
    }

    fn headers(letter: &str) -> Vec<&str> {
        letter.split_once("\r\n\r\n").unwrap().0.split("\r\n").collect()
    }

    #[test]
    fn the_headers_say_which_message_and_which_order() {
        let letter = letter("ada@example.com", Some("Ada")).unwrap();
        for header in [
            "To: Ada <ada@example.com>",
            "From: \"The Shop\" <orders@shop.example.com>",
            "Message-ID: <00000000-0000-0000-0000-000000000001@shop.example.com>",
            "X-Order-Id: 00000000-0000-0000-0000-000000000007",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
        ] {
            assert!(headers(&letter).contains(&header), "{header:?} is missing in {letter}");
        }
        assert!(headers(&letter).iter().any(|header| header.starts_with("Date: ")));
        assert!(letter.contains("Content-Type: text/plain; charset=utf-8"));
        assert!(letter.contains("Content-Type: text/html; charset=utf-8"));
    }

    #[test]
    fn a_name_can_add_no_header() {
        let plain = headers(&letter("ada@example.com", None).unwrap()).len();
        for name in [
            "Eve\r\nBcc: all@example.com",
            "Eve\nX: y",
            "Eve\r",
            "\" <x@example.com>, \"",
            "Eve <x@example.com>, Bob",
            "=?utf-8?q?Eve=0D=0ABcc=3A_x?=",
        ] {
            let letter = letter("ada@example.com", Some(name)).unwrap();
            assert!(
                headers(&letter)
                    .iter()
                    .all(|header| !header.starts_with("Bcc") && !header.starts_with("X:"))
            );
            let parsed = mail_parser::MessageParser::default().parse(&letter).unwrap();
            let to = parsed.to().unwrap().as_list().unwrap();
            assert_eq!(to.len(), 1, "{name:?} made more of one recipient: {letter}");
            assert_eq!(to[0].address(), Some("ada@example.com"), "{name:?}");
            assert!(headers(&letter).len() <= plain + 1, "{letter}");
        }
    }

    #[test]
    fn a_name_beyond_ascii_is_encoded() {
        let letter = letter("ada@example.com", Some("Zoë 山田")).unwrap();
        assert!(letter.is_ascii());
        let parsed = mail_parser::MessageParser::default().parse(&letter).unwrap();
        assert_eq!(parsed.to().unwrap().first().unwrap().name(), Some("Zoë 山田"));
    }

    #[test]
    fn an_address_that_is_none_is_refused_for_good() {
        for address in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@exa mple.com",
            "ada@example.com\r\nRCPT TO:<x@example.com>",
            "ada@example.com>\r\nDATA",
            "\"a\r\nb\"@example.com",
            "a@b@example.com",
            "ada@example.com, bob@example.com",
        ] {
            let error = letter(address, None).unwrap_err();
            assert!(error.is_permanent(), "{address:?}: {error}");
            assert!(
                !format!("{:#}", anyhow::Error::from(error)).contains("example"),
                "{address:?}"
            );
        }
    }

    #[test]
    fn a_domain_beyond_ascii_is_written_as_the_dns_has_it() {
        let letter = letter("ada@bücher.example", None).unwrap();
        assert!(headers(&letter).contains(&"To: ada@xn--bcher-kva.example"), "{letter}");
    }
}
