//! A message that has to come on: whoever sends one has a place that others wait for.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use longshore_common::{
    code::{Code, Coded},
    wire::to_status,
};
use tokio::time::{Instant, Sleep};
use tonic::{Status, body::Body};

/// What has to come, and within which time, again and again until the message is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub bytes: usize,
    pub within: Duration,
}

impl Pace {
    /// The slowest line that is worth a place: 2 KiB a second, with time for one that was lost to come back.
    pub const SLOWEST: Pace = Pace { bytes: 64 * 1024, within: Duration::from_secs(30) };
}

/// What is left of a message.
pub(super) struct Paced {
    body: Body,
    pace: Pace,
    /// When the time is over in which so many bytes have to come.
    over: Pin<Box<Sleep>>,
    /// Bytes that came in it.
    came: usize,
}

impl Paced {
    pub fn over(body: Body, pace: Pace) -> Self {
        Self { body, pace, over: Box::pin(tokio::time::sleep(pace.within)), came: 0 }
    }
}

impl hyper::body::Body for Paced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if let Some(Ok(frame)) = &frame {
                self.came += frame.data_ref().map_or(0, Bytes::len);
            }
            return Poll::Ready(frame);
        }
        while self.over.as_mut().poll(cx).is_ready() {
            if self.came < self.pace.bytes {
                return Poll::Ready(Some(Err(to_status(&too_slow(self.pace)))));
            }
            self.came = 0;
            let next = Instant::now() + self.pace.within;
            self.over.as_mut().reset(next);
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn too_slow(Pace { bytes, within }: Pace) -> Coded {
    let message = format!(
        "fewer than {bytes} bytes of this message came within {} s, and others wait for its place; try again over a faster \
         line",
        within.as_secs()
    );
    Coded::new(Code::C01, message)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use longshore_common::wire::from_status;

    use super::*;

    /// Says what it has at once, and then nothing.
    struct Stalls(VecDeque<&'static [u8]>);

    impl hyper::body::Body for Stalls {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            match self.0.pop_front() {
                Some(data) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))),
                None => Poll::Pending,
            }
        }
    }

    async fn next(paced: &mut Paced) -> Option<Result<Bytes, Coded>> {
        let frame =
            std::future::poll_fn(|cx| hyper::body::Body::poll_frame(Pin::new(&mut *paced), cx)).await?;
        Some(
            frame.map(|frame| frame.into_data().expect("no trailers")).map_err(|status| from_status(&status)),
        )
    }

    #[tokio::test]
    async fn what_stalls_is_given_up_and_what_was_said_before_is_heard() {
        let pace = Pace { bytes: 8, within: Duration::from_millis(5) };
        // As much as has to come in one stretch of time, and none in the next.
        let said = [&b"four"[..], &b"more"[..]];
        let mut paced = Paced::over(Body::new(Stalls(VecDeque::from(said))), pace);
        for piece in said {
            assert_eq!(next(&mut paced).await, Some(Ok(Bytes::from_static(piece))));
        }
        let given_up = next(&mut paced).await.expect("no end").unwrap_err();
        assert!(given_up.code == Code::C01 && given_up.message.contains("fewer than 8 bytes"), "{given_up}");
    }

    #[tokio::test]
    async fn what_has_ended_has_ended() {
        let mut paced = Paced::over(Body::empty(), Pace::SLOWEST);
        assert_eq!(next(&mut paced).await, None);
    }
}
