//! Reading what other programs have published, whatever it is.
//!
//! AMQP has UTF-8 in its short strings, and RabbitMQ passes on any bytes that it was given. lapin (4.12) takes a frame with others for
//! an error of the connection: one message with such a property ends every connection that it is delivered on, for ever. So what
//! comes from the broker passes through here first, and such bytes become question marks. A message's body is never touched.

mod frames;

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_rs::{Runtime, Tokio, traits::Reactor, util::RuntimeParts};
use futures_util::{
    Stream,
    io::{AsyncRead, AsyncWrite},
};
use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties,
    tcp::{AMQPUriTcpExt as _, OwnedTLSConfig},
    uri::AMQPUri,
};

use frames::Frames;

/// Bytes that are read at a time at most.
const CHUNK: usize = 16 * 1024;

/// Connects to a broker.
pub(super) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
) -> lapin::Result<Connection> {
    let tokio = Runtime::tokio_current();
    let runtime = Runtime::new(RuntimeParts::new(Tokio::current(), LossyTokio(Tokio::current())));
    let connect = async move |uri: AMQPUri, _: Runtime<_>| {
        let tls = OwnedTLSConfig::default();
        let stream = uri.connect_with_config_async(tls.as_ref(), &tokio).await;
        Ok(AsyncTcpStream::Plain(Lossy::new(stream?)))
    };
    Connection::connector(uri, runtime, connect, properties).await
}

/// Tokio, for lapin. It exists for the type of its streams, which [`connect`] opens.
#[derive(Debug, Clone)]
struct LossyTokio(Tokio);

type TcpStream = Lossy<AsyncTcpStream<<Tokio as Reactor>::TcpStream>>;

impl Reactor for LossyTokio {
    type TcpStream = TcpStream;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<TcpStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, period: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(period)
    }

    fn tcp_connect_addr(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// A stream from a broker whose short strings are UTF-8.
#[derive(Debug)]
pub(super) struct Lossy<S> {
    stream: S,
    frames: Frames,
}

impl<S> Lossy<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, frames: Frames::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lossy<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, frames } = &mut *self;
        loop {
            let taken = frames.take(into);
            if taken > 0 || into.is_empty() {
                return Poll::Ready(Ok(taken));
            }
            let mut chunk = [0; CHUNK];
            match ready!(Pin::new(&mut *stream).poll_read(context, &mut chunk))? {
                0 => return Poll::Ready(Ok(frames.take_rest(into))),
                read => frames.add(&chunk[..read]),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lossy<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}
