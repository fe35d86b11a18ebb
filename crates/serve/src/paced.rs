//! A connection that gives up on whoever does not read.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream that has to take what is written within `patience`, from the first byte until it is
/// flushed, or so much was taken: a byte now and then does not start the time again.
pub(crate) struct Paced<S> {
    stream: S,
    patience: Duration,
    /// While something is not flushed.
    until: Option<Pin<Box<Sleep>>>,
    /// Bytes since the time began.
    taken: usize,
}

impl<S> Paced<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, until: None, taken: 0 }
    }

    fn late(&mut self, cx: &mut Context<'_>) -> Result<()> {
        let patience = self.patience;
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(patience)));
        match until.as_mut().poll(cx) {
            Poll::Ready(()) => Err(Error::new(ErrorKind::TimedOut, "the answer is not read")),
            Poll::Pending => Ok(()),
        }
    }

    /// An answer, or many in a row, may be longer than any time is for: each piece has its own.
    fn took(&mut self, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.taken = self.taken.saturating_add(bytes);
        }
        if self.taken >= PIECE
            && let Some(until) = &mut self.until
        {
            self.taken = 0;
            until.as_mut().reset(Instant::now() + self.patience);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.late(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.took(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.late(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.took(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.until.is_some() {
            self.late(cx)?;
        }
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        (self.until, self.taken) = (None, 0);
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.late(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Bytes that have to be taken within a time.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// Takes so many bytes at a time.
    struct Narrow(usize);

    impl AsyncWrite for Narrow {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
            Poll::Ready(Ok(bytes.len().min(self.0)))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn write(stream: &mut Paced<Narrow>) -> Result<usize> {
        poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, &[0; PIECE])).await
    }

    #[tokio::test]
    async fn who_takes_a_byte_now_and_then_is_given_up() {
        let mut stream = Paced::new(Narrow(1), Duration::from_millis(100));
        for _ in 0..100 {
            if let Err(error) = write(&mut stream).await {
                return assert_eq!(error.kind(), ErrorKind::TimedOut);
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("it was never given up");
    }

    #[tokio::test]
    async fn who_keeps_reading_is_not_given_up_though_there_is_always_more() {
        let mut stream = Paced::new(Narrow(PIECE / 2), Duration::from_millis(400));
        for _ in 0..20 {
            write(&mut stream).await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
    }

    #[tokio::test]
    async fn the_time_of_one_answer_is_not_that_of_the_next() {
        let mut stream = Paced::new(Narrow(1), Duration::from_millis(400));
        for _ in 0..3 {
            write(&mut stream).await.unwrap();
            poll_fn(|cx| Pin::new(&mut stream).poll_flush(cx)).await.unwrap();
            sleep(Duration::from_millis(200)).await;
        }
    }
}
