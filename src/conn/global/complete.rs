//! Noting that a mirror is complete.

use super::admin::change;
use super::identity::Identity;
use super::quorum::Quorum;
use super::status::QuorumStatus;
use super::{GlobalConn, who};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};

impl GlobalConn {
    /// Notes that mirror `number` has all that the first holds, if both are still who they were when
    /// `seen` was: a repair of the whole tree that began after it ended with nothing left to do.
    ///
    /// # Errors
    ///
    /// `WrongQuorum` when one of them is another by now, or was not right then; `NotSent` and the like
    /// when one does not answer.
    pub(crate) async fn completed(
        &self,
        number: usize,
        seen: &[QuorumStatus],
    ) -> Result<(), Error> {
        const VERB: &str = "complete";
        let shared = &*self.shared;
        let deadline = Deadline::after(shared.options.wait);
        let changed = |quorum: &Quorum| {
            Error::new(VERB, "", ErrorKind::WrongQuorum).with_detail(format!(
                "the identity of {quorum} has changed meanwhile; look at {}, and repair it again",
                quorum.remedy.status()
            ))
        };
        let then = |number: usize| {
            let status = seen.iter().find(|status| status.number == number);
            status.filter(|status| status.wrong.is_none())?.identity.as_ref().ok()
        };
        let Some(mirror) = shared.mirrors.iter().find(|mirror| mirror.quorum.number == number)
        else {
            return Err(Error::new(VERB, "", ErrorKind::BadArguments)
                .with_detail(format!("there is no mirror {number}")));
        };
        let told = |quorum: &Quorum, err: Error| quorum.told(err).during(VERB);
        let now = who::is(shared, &mirror.quorum, deadline).await;
        let (own, version) = now.map_err(|err| told(&mirror.quorum, err))?;
        let first = who::first(shared, deadline).await;
        let first = first.map_err(|err| told(&shared.first, err))?;
        if !then(1).is_some_and(|before| before.is(&first)) {
            return Err(changed(&shared.first));
        }
        if !then(number).is_some_and(|before| before.is(&own)) {
            return Err(changed(&mirror.quorum));
        }
        if own.complete {
            return Ok(());
        }
        let after = Identity { complete: true, ..own.clone() };
        change(shared, &mirror.quorum, &own, &after, version, VERB, deadline).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conn::global::{GlobalOptions, Promotion};
    use crate::conn::{Conn, ConnExt as _, MemoryQuorum};
    use crate::node::Mode;
    use crate::tree;

    fn set(quorums: &[MemoryQuorum]) -> GlobalConn {
        let conns = quorums.iter().map(|quorum| Arc::new(quorum.connect()) as Arc<dyn Conn>);
        GlobalConn::new(conns, GlobalOptions::default())
    }

    /// A set whose second quorum has come back empty, and was let in.
    async fn incomplete() -> (Vec<MemoryQuorum>, GlobalConn) {
        let quorums: Vec<_> = (0..3).map(|_| MemoryQuorum::new()).collect();
        let conn = set(&quorums);
        conn.init().await.unwrap();
        let_in(&quorums, &conn).await;
        (quorums, conn)
    }

    async fn let_in(quorums: &[MemoryQuorum], conn: &GlobalConn) {
        tree::remove_all(&quorums[1].connect(), "/zkcells").await.unwrap();
        conn.init().await.unwrap();
    }

    async fn is_complete(conn: &GlobalConn) -> bool {
        conn.status().await[1].identity.as_ref().unwrap().complete
    }

    #[tokio::test]
    async fn a_mirror_is_complete_when_that_is_noted_and_takes_writes_before_and_after() {
        let (_quorums, conn) = incomplete().await;
        conn.create("/a", "", Mode::Persistent).await.unwrap();
        let seen = conn.status().await;
        assert!(!is_complete(&conn).await);
        conn.completed(2, &seen).await.unwrap();
        assert!(is_complete(&conn).await);
        // Noted twice is noted once, and nobody's writes are refused for it.
        conn.completed(2, &seen).await.unwrap();
        conn.create("/b", "", Mode::Persistent).await.unwrap();
        conn.promote(2).await.unwrap();
    }

    #[tokio::test]
    async fn a_mirror_that_was_emptied_meanwhile_is_not_complete() {
        let (quorums, conn) = incomplete().await;
        let seen = conn.status().await;
        let_in(&quorums, &conn).await;
        let err = conn.completed(2, &seen).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        assert!(!is_complete(&conn).await);
    }

    #[tokio::test]
    async fn a_mirror_of_another_first_is_not_complete() {
        let (quorums, conn) = incomplete().await;
        let seen = conn.status().await;
        let word = Promotion::default().though_incomplete();
        conn.promote_with(3, &word).await.unwrap();
        assert_eq!(conn.completed(2, &seen).await.unwrap_err().kind(), ErrorKind::WrongQuorum);
        let [first, second, third] = &quorums[..] else { panic!("three quorums") };
        let new = set(&[third.clone(), second.clone(), first.clone()]);
        assert!(!is_complete(&new).await);
        assert_eq!(conn.completed(9, &seen).await.unwrap_err().kind(), ErrorKind::BadArguments);
    }
}
