//! The mail server, and a connection to it.

use anyhow::{Context as _, bail};
use lettre::transport::smtp::{
    self,
    authentication::{Credentials, DEFAULT_MECHANISMS},
    client::{AsyncSmtpConnection, TlsParameters},
    commands::{Data, Mail, Rcpt},
    extension::{ClientId, Extension, MailBodyParameter, MailParameter},
};
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use url::Url;

use super::{Error, Letter};

/// The registered ports of submission with TLS from the start, of submission, and of plain SMTP.
const SUBMISSIONS_PORT: u16 = 465;
const SUBMISSION_PORT: u16 = 587;
const SMTP_PORT: u16 = 25;

/// How a connection is encrypted.
enum Encryption {
    None,
    /// From the first byte on.
    Tls(TlsParameters),
    /// By STARTTLS; a server that doesn't know it is not used.
    StartTls(TlsParameters),
}

/// The mail server: where it is, and how one gets in.
pub(super) struct Server {
    host: String,
    port: u16,
    encryption: Encryption,
    credentials: Option<Credentials>,
    hello: ClientId,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Server {
    /// The server of a URL, as lettre reads them: `smtps://`, `smtp://…?tls=required`, `smtp://`.
    pub(super) fn new(url: &Url, hello: &str) -> anyhow::Result<Self> {
        let host = url.host_str().context("the URL names no host")?;
        // IPv6 addresses stand in brackets in URLs, and nowhere else.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = url.query_pairs().find(|(key, _)| key == "tls").map(|(_, value)| value);
        let (encryption, port) = match (url.scheme(), tls.as_deref()) {
            ("smtps", None) => {
                (Encryption::Tls(TlsParameters::new(host.clone())?), SUBMISSIONS_PORT)
            }
            ("smtp", Some("required")) => {
                (Encryption::StartTls(TlsParameters::new(host.clone())?), SUBMISSION_PORT)
            }
            ("smtp", None) => (Encryption::None, SMTP_PORT),
            _ => bail!("the URL is none of smtps://host, smtp://host?tls=required and smtp://host"),
        };
        let credentials = match url.password() {
            Some(password) => Some(Credentials::new(decode(url.username())?, decode(password)?)),
            None if url.username().is_empty() => None,
            None => bail!("the URL has a user name and no password"),
        };
        let hello = ClientId::Domain(hello.to_owned());
        Ok(Self { host, port: url.port().unwrap_or(port), encryption, credentials, hello })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Connects, encrypts and logs in. Whatever the server refuses here is no fault of any mail.
    pub(super) async fn connect(&self) -> Result<Connection, Error> {
        self.try_connect()
            .await
            .map(Connection)
            .map_err(|error| Error::Unavailable(error.to_string()))
    }

    async fn try_connect(&self) -> anyhow::Result<AsyncSmtpConnection> {
        let mut connection = match &self.encryption {
            Encryption::Tls(tls) => {
                let address = (self.host.as_str(), self.port);
                AsyncSmtpConnection::connect_tokio1(
                    address,
                    None,
                    &self.hello,
                    Some(tls.clone()),
                    None,
                )
                .await?
            }
            Encryption::None => self.connect_plainly().await?,
            Encryption::StartTls(tls) => {
                let mut connection = self.connect_plainly().await?;
                connection.starttls(tls.clone(), &self.hello).await?;
                connection
            }
        };
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    async fn connect_plainly(&self) -> anyhow::Result<AsyncSmtpConnection> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // A mail ends in a small packet of its own, which would wait for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        Ok(AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await?)
    }
}

fn decode(text: &str) -> anyhow::Result<String> {
    let text = percent_decode_str(text).decode_utf8();
    Ok(text.context("the URL's user name or password is not UTF-8")?.into_owned())
}

/// A connection to the mail server. Dropping it closes it, whatever is under way.
pub(super) struct Connection(AsyncSmtpConnection);

impl Connection {
    /// Announces a mail. When this fails, the server certainly doesn't have the mail.
    pub(super) async fn begin(&mut self, letter: &Letter) -> Result<(), Error> {
        let mut parameters = Vec::new();
        if letter.is_international() {
            if !self.0.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(Error::International);
            }
            parameters.push(MailParameter::SmtpUtfEight);
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        self.0.command(Mail::new(Some(letter.from.clone()), parameters)).await.map_err(failure)?;
        Ok(())
    }

    /// Says who gets the mail that was announced, and that its text comes next.
    pub(super) async fn address(&mut self, letter: &Letter) -> Result<(), Error> {
        self.0.command(Rcpt::new(letter.to.clone(), Vec::new())).await.map_err(failure)?;
        self.0.command(Data).await.map_err(failure)?;
        Ok(())
    }

    /// Hands the mail over. Unless the server accepts or refuses it, it may or may not have it.
    pub(super) async fn finish(&mut self, letter: &Letter) -> Result<(), Error> {
        match self.0.message(&letter.bytes).await.map_err(failure) {
            Ok(_) => Ok(()),
            Err(Error::Broken(reason)) => Err(Error::Unknown(reason)),
            Err(error) => Err(error),
        }
    }
}

/// What of an error may be told.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn failure(error: smtp::Error) -> Error {
    if let Some(code) = error.status() {
        let said = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        Error::Refused { code: code.into(), detail: enhanced(&said) }
    } else if error.is_response() {
        Error::Broken("its answer is no SMTP".to_owned())
    } else {
        Error::Broken(error.to_string())
    }
}

/// The enhanced status code (RFC 3463) that an answer begins with.
fn enhanced(said: &str) -> Option<String> {
    let word = said.split_whitespace().next()?;
    let mut numbers = word.split('.');
    let is_code =
        numbers.by_ref().take(3).filter(|number| number.parse::<u16>().is_ok()).count() == 3;
    (is_code && numbers.next().is_none() && word.len() <= 9).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> anyhow::Result<Server> {
        Server::new(&url.parse()?, "shop.example.com")
    }

    #[test]
    fn urls_say_where_and_how() {
        for (url, host, port) in [
            ("smtp://127.0.0.1:2525", "127.0.0.1", 2525),
            ("smtp://mail.example.com", "mail.example.com", 25),
            ("smtp://mail.example.com?tls=required", "mail.example.com", 587),
            ("smtps://ada:p%40ss@mail.example.com", "mail.example.com", 465),
            ("smtp://[::1]:2525", "::1", 2525),
        ] {
            let server = server(url).unwrap();
            assert_eq!((server.host(), server.port()), (host, port), "{url}");
            assert!(!format!("{server:?}").contains("p@ss"));
        }
    }

    #[test]
    fn urls_that_say_nothing_useful_are_refused() {
        for url in [
            "http://mail.example.com",
            "smtp://mail.example.com?tls=maybe",
            "smtp://ada@mail.example.com",
            "smtp:mail",
        ] {
            assert!(server(url).is_err(), "{url}");
        }
    }

    #[test]
    fn of_an_answer_only_the_codes_are_told() {
        assert_eq!(enhanced("5.1.1 <ada@example.com>: no such user").as_deref(), Some("5.1.1"));
        assert_eq!(enhanced("ada@example.com: no such user"), None);
        assert_eq!(enhanced("1.2.3.4 is blocked"), None);
    }
}
