//! A mail as it lies in the journal, and the reading of it.

use contracts::Timestamp;
use mail_parser::{HeaderName, MessageParser, PartType};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::session::Envelope;

/// The header that tells which order a mail is about.
const ORDER_ID: HeaderName<'static> = HeaderName::Other(std::borrow::Cow::Borrowed("X-Order-Id"));

/// What a list shows of a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Heading {
    /// The `Message-ID` header, without its angle brackets.
    #[schema(example = "0192f1c4-7d3c-7b5e-9a51-2f1b6c9d8e70@shop.example.com")]
    pub(super) message_id: Option<String>,
    /// The sender by the SMTP envelope.
    #[schema(example = "shop@example.com")]
    pub(super) from: String,
    /// The recipients by the SMTP envelope.
    #[schema(example = json!(["ada@example.com"]))]
    pub(super) to: Vec<String>,
    /// The `Subject` header, decoded.
    pub(super) subject: Option<String>,
    /// When the mail server took it.
    #[schema(value_type = String, format = DateTime)]
    pub(super) received_at: Timestamp,
    /// Bytes, headers included.
    pub(super) size: usize,
    /// The `X-Order-Id` header.
    pub(super) order_id: Option<String>,
}

/// A mail as it is written down.
#[derive(Debug, Serialize)]
pub(super) struct Letter {
    #[serde(flatten)]
    pub(super) heading: Heading,
    content: Content,
}

/// The bytes of a mail, as text that JSON can hold and that a person can read.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Utf8(String),
    /// Bytes that are no UTF-8, each as the character of its number.
    Latin1(String),
}

/// What a mail says.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Body {
    /// The plain text, decoded.
    text: Option<String>,
    /// The HTML, decoded.
    html: Option<String>,
    /// All headers as they came, in their order.
    headers: Vec<Header>,
}

/// One header of a mail as it came.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Header {
    #[schema(example = "Subject")]
    name: String,
    #[schema(example = "Your order")]
    value: String,
}

/// Reads no more of a mail's headers than a [`Heading`] needs.
#[derive(Debug)]
pub(super) struct Clerk(MessageParser);

impl Default for Clerk {
    fn default() -> Self {
        Self(
            MessageParser::new()
                .header_id(HeaderName::MessageId)
                .header_text(HeaderName::Subject)
                .header_text(ORDER_ID)
                .default_header_ignore(),
        )
    }
}

impl Clerk {
    /// Makes the letter of a mail that just came.
    pub(super) fn letter(
        &self,
        envelope: Envelope,
        mail: Vec<u8>,
        received_at: Timestamp,
    ) -> Letter {
        let size = mail.len();
        let read = self.0.parse_headers(&mail);
        let header = |name: HeaderName<'static>| {
            let value = read.as_ref()?.header(name)?.as_text()?.trim();
            Some(value.to_owned())
        };
        let heading = Heading {
            message_id: header(HeaderName::MessageId),
            from: envelope.from,
            to: envelope.to,
            subject: header(HeaderName::Subject),
            received_at,
            size,
            order_id: header(ORDER_ID),
        };
        Letter { heading, content: Content::from(mail) }
    }
}

impl Body {
    /// Reads what is said by a mail, from its line in the journal.
    pub(super) fn read(line: &[u8]) -> Result<Self, serde_json::Error> {
        /// A [`Letter`] without its heading.
        #[derive(Deserialize)]
        struct Line {
            content: Content,
        }
        let mail = serde_json::from_slice::<Line>(line)?.content.into_bytes();
        let Some(message) = MessageParser::default().parse(&mail) else {
            return Ok(Self::default());
        };
        // The parser offers HTML made of text, and text made of HTML: show only what was sent.
        let text = message.text_bodies().find_map(|part| match &part.body {
            PartType::Text(text) => Some(text.to_string()),
            _ => None,
        });
        let html = message.html_bodies().find_map(|part| match &part.body {
            PartType::Html(html) => Some(html.to_string()),
            _ => None,
        });
        let headers = message
            .headers_raw()
            .map(|(name, value)| Header { name: name.to_owned(), value: value.trim().to_owned() });
        Ok(Self { text, html, headers: headers.collect() })
    }
}

impl From<Vec<u8>> for Content {
    fn from(mail: Vec<u8>) -> Self {
        String::from_utf8(mail).map_or_else(
            |error| Self::Latin1(error.into_bytes().into_iter().map(char::from).collect()),
            Self::Utf8,
        )
    }
}

impl Content {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Utf8(text) => text.into_bytes(),
            // Every character came from one byte.
            Self::Latin1(text) => text.chars().filter_map(|char| u8::try_from(char).ok()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(mail: &[u8]) -> Letter {
        let envelope = Envelope { from: "a@b".to_owned(), to: vec!["c@d".to_owned()] };
        Clerk::default().letter(envelope, mail.to_vec(), Timestamp::from_micros(0))
    }

    #[test]
    fn headings_are_decoded() {
        let letter = letter(
            b"Message-ID: <1@shop>\r\nSubject: =?utf-8?B?w4RwZmVs?=\r\nx-order-id:  42 \r\n\r\ntext\r\n",
        );
        assert_eq!(letter.heading.message_id.as_deref(), Some("1@shop"));
        assert_eq!(letter.heading.subject.as_deref(), Some("Äpfel"));
        assert_eq!(letter.heading.order_id.as_deref(), Some("42"));
    }

    #[test]
    fn a_mail_without_headers_is_still_a_mail() {
        for mail in [&b""[..], b"\r\n", b"no headers at all", b"\xff\xfe\x00"] {
            let letter = letter(mail);
            assert_eq!((letter.heading.message_id, letter.heading.size), (None, mail.len()));
        }
    }

    #[test]
    fn every_byte_survives_the_journal() {
        let mail: Vec<u8> = (0..=255).collect();
        let line = serde_json::to_vec(&letter(&mail)).unwrap();
        #[derive(Deserialize)]
        struct Line {
            content: Content,
        }
        let back: Line = serde_json::from_slice(&line).unwrap();
        assert_eq!(back.content.into_bytes(), mail);
        assert_eq!(serde_json::from_slice::<Heading>(&line).unwrap(), letter(&mail).heading);
    }

    #[test]
    fn only_what_was_sent_is_shown() {
        let line = serde_json::to_vec(&letter(b"Subject: Hi\r\n\r\nJust text\r\n")).unwrap();
        let body = Body::read(&line).unwrap();
        assert_eq!((body.text.as_deref(), body.html), (Some("Just text\r\n"), None));
        assert_eq!(body.headers, [Header { name: "Subject".to_owned(), value: "Hi".to_owned() }]);
    }
}
