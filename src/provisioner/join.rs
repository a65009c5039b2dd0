//! Two pieces of work at the same time on the one thread.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Both results, when both are there: what was sent is always waited for.
pub async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(move |context| {
        if first.is_none()
            && let Poll::Ready(result) = one.as_mut().poll(context)
        {
            first = Some(result);
        }
        if second.is_none()
            && let Poll::Ready(result) = other.as_mut().poll(context)
        {
            second = Some(result);
        }
        match (first.take(), second.take()) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            (one, other) => {
                (first, second) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn each_waits_while_the_other_works() {
        let (sender, mut receiver) = (std::cell::Cell::new(0), Vec::new());
        crate::standin::in_time(async {
            let waits = async {
                while sender.get() < 3 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                "seen"
            };
            let works = async {
                for step in 1..=3 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    sender.set(step);
                }
                "done"
            };
            receiver.push(super::both(waits, works).await);
        });
        assert_eq!(receiver, [("seen", "done")]);
    }
}
