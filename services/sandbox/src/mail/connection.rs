//! One client's connection: moves the bytes, stores the mails, and misbehaves as the faults say.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::session::{Envelope, Session, Step};
use crate::Sandbox;

/// How long a client may be silent, or leave replies unread.
const IDLE: Duration = Duration::from_secs(60);

const GREETING: &[u8] = b"220 sandbox ESMTP\r\n";
const UNAVAILABLE: &[u8] = b"421 Service not available\r\n";
const IDLE_TOO_LONG: &[u8] = b"421 Idle for too long\r\n";

/// What becomes of a mail.
enum Delivery {
    Stored,
    Refused,
    /// Kept, but nobody is told.
    AnswerLost,
    Unavailable,
}

/// Talks to one client until it leaves, is silent for too long, or the sandbox stops.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn talk(mut stream: TcpStream, sandbox: &Sandbox) -> io::Result<()> {
    // Replies are small and each is waited for.
    stream.set_nodelay(true)?;
    if sandbox.faults.mail().down {
        return send(&mut stream, UNAVAILABLE).await;
    }
    send(&mut stream, GREETING).await?;
    let mut session = Session::default();
    let (mut buffer, mut replies) = (vec![0; 8 * 1024], Vec::new());
    loop {
        let reading = timeout(IDLE, stream.read(&mut buffer));
        let read = match sandbox.shutdown.run_until_cancelled(reading).await {
            None => return send(&mut stream, UNAVAILABLE).await,
            Some(Err(_)) => return send(&mut stream, IDLE_TOO_LONG).await,
            Some(Ok(read)) => read?,
        };
        let input = &buffer[..read];
        if input.is_empty() {
            return Ok(());
        }
        let go_on = process(&mut session, input, &mut replies, sandbox).await;
        send(&mut stream, &replies).await?;
        if !go_on {
            return stream.shutdown().await;
        }
        replies.clear();
    }
}

/// Returns whether the conversation goes on after the replies are sent.
async fn process(
    session: &mut Session,
    input: &[u8],
    replies: &mut Vec<u8>,
    sandbox: &Sandbox,
) -> bool {
    if sandbox.faults.mail().down {
        replies.extend_from_slice(UNAVAILABLE);
        return false;
    }
    let mut input = input.iter();
    loop {
        match session.receive(&mut input, replies) {
            Step::Read => return true,
            Step::Close => return false,
            Step::Store(envelope, mail) => match deliver(envelope, mail, sandbox).await {
                Delivery::Stored => session.stored(replies),
                Delivery::Refused => session.refused(replies),
                Delivery::AnswerLost => return false,
                Delivery::Unavailable => {
                    replies.extend_from_slice(UNAVAILABLE);
                    return false;
                }
            },
        }
    }
}

async fn deliver(envelope: Envelope, mail: Vec<u8>, sandbox: &Sandbox) -> Delivery {
    let faults = sandbox.faults.mail();
    let waited = sandbox.shutdown.run_until_cancelled(tokio::time::sleep(faults.latency())).await;
    if waited.is_none() {
        return Delivery::Unavailable;
    }
    if faults.fails() {
        return Delivery::Refused;
    }
    if let Err(error) = sandbox.mailbox.store(envelope, mail) {
        tracing::error!(%error, "can't keep a mail");
        return Delivery::Refused;
    }
    if faults.loses_answer() { Delivery::AnswerLost } else { Delivery::Stored }
}

async fn send(stream: &mut TcpStream, replies: &[u8]) -> io::Result<()> {
    timeout(IDLE, stream.write_all(replies)).await?
}
