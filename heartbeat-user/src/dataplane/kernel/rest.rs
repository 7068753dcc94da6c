//! The pause after an attachment, in which the link may be down because of it: how long it lasts.

use std::time::{Duration, Instant};

/// The time after an attachment in which the link may be down because of it.
#[derive(Default)]
pub(super) struct Rest(Option<(u32, Instant)>);

impl Rest {
    const LONGEST: Duration = Duration::from_secs(5);

    pub(super) fn begin(&mut self, ifindex: u32, now: Instant) {
        self.0 = Some((ifindex, now));
    }

    pub(super) fn goes_on(&mut self, now: Instant, carrier: impl FnOnce(u32) -> bool) -> bool {
        if let Some((ifindex, since)) = self.0
            && (now.saturating_duration_since(since) >= Self::LONGEST || carrier(ifindex))
        {
            self.0 = None;
        }
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_attachment_others_wait_until_the_carrier_is_back_or_five_seconds() {
        let (now, mut rest) = (Instant::now(), Rest::default());
        let after = |ms| now + Duration::from_millis(ms);
        assert!(!rest.goes_on(now, |_| false));
        rest.begin(7, now);
        assert!(rest.goes_on(after(1), |ifindex| ifindex != 7));
        assert!(!rest.goes_on(after(2), |_| true));
        assert!(!rest.goes_on(after(3), |_| false), "it is over");
        rest.begin(7, now);
        assert!(rest.goes_on(after(4_999), |_| false));
        assert!(!rest.goes_on(after(5_000), |_| false));
    }
}
