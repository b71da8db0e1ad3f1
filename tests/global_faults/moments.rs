//! Each kind of write, each quorum killed before, during and after it.

use super::*;

#[derive(Clone, Copy, Debug)]
enum Write {
    /// In front, as those behind it wait until it is sent.
    SetAcl,
    Create,
    Numbered,
    Set,
    CompareAndSet,
    Delete,
    Multi,
    Put,
}

impl Write {
    const ALL: [Write; 8] = [
        Write::SetAcl,
        Write::Create,
        Write::Numbered,
        Write::Set,
        Write::CompareAndSet,
        Write::Delete,
        Write::Multi,
        Write::Put,
    ];

    async fn prepare(conn: &dyn Conn, at: &str) {
        for node in ["", "/set", "/compare", "/put", "/delete", "/acl", "/multi"] {
            conn.create(format!("{at}{node}"), "old", Mode::Persistent).await.unwrap();
        }
    }

    fn call(self, conn: &Arc<dyn Conn>, at: &str) -> BoxFuture<'static, Result<(), Error>> {
        let any = Version::Any;
        match self {
            Write::Create => {
                let options = CreateOptions::from(Mode::Persistent).with_acl(new_acl());
                let answer = conn.create(format!("{at}/create"), "new", options);
                Box::pin(async move { answer.await.map(drop) })
            }
            Write::Numbered => {
                let answer = conn.create(format!("{at}/n-"), "new", Mode::PersistentSequential);
                Box::pin(async move { answer.await.map(drop) })
            }
            Write::Set => {
                let answer = conn.set(format!("{at}/set"), "new", any);
                Box::pin(async move { answer.await.map(drop) })
            }
            Write::CompareAndSet => {
                let answer = conn.set(format!("{at}/compare"), "new", Version::Exact(0));
                Box::pin(async move { answer.await.map(drop) })
            }
            Write::Put => {
                let (conn, path) = (conn.clone(), format!("{at}/put"));
                Box::pin(
                    async move { tree::put(&*conn, path, "new", Mode::Persistent).await.map(drop) },
                )
            }
            Write::Delete => Box::pin(conn.delete(format!("{at}/delete"), any)),
            Write::SetAcl => {
                let answer = conn.set_acl(format!("{at}/acl"), new_acl(), any);
                Box::pin(async move { answer.await.map(drop) })
            }
            Write::Multi => {
                let steps = Multi::new().set(format!("{at}/multi"), "new", any).create(
                    format!("{at}/multi/made"),
                    "",
                    Mode::Persistent,
                );
                let answer = conn.multi(steps);
                Box::pin(async move { answer.await.map(drop) })
            }
        }
    }

    async fn is_there(self, conn: &dyn Conn, at: &str) -> bool {
        let data = async |node: &str| conn.get(format!("{at}{node}")).await.map(|node| node.data);
        match self {
            Write::Create => data("/create").await.is_ok_and(|data| data == "new"),
            Write::Numbered => {
                let names = conn.children(at).await.unwrap().names;
                names.iter().any(|name| name.starts_with("n-"))
            }
            Write::Set => data("/set").await.unwrap() == "new",
            Write::CompareAndSet => data("/compare").await.unwrap() == "new",
            Write::Put => data("/put").await.unwrap() == "new",
            Write::Delete => data("/delete").await.is_err(),
            Write::SetAcl => conn.acl(format!("{at}/acl")).await.unwrap().0 == new_acl(),
            Write::Multi => {
                let made = data("/multi/made").await.is_ok();
                assert_eq!(made, data("/multi").await.unwrap() == "new", "half a multi");
                made
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    Before,
    During,
    After,
}

/// Kills the first as soon as it has carried out all writes, before anybody was told of one.
async fn carried_out(site: &Site, direct: &ZkConn, at: &str) {
    let Site { ensemble, proxy } = site;
    // Time to see the last of them go before an answer comes.
    proxy.delay(Duration::from_millis(150));
    let list = format!("{at}/acl");
    let is_sent = || {
        let log = proxy.log();
        log.iter().any(|one| one.is_request(OpKind::SetAcl) && one.paths.contains(&list))
    };
    soon("the access list", async {
        while !is_sent() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    proxy.black_hole(Direction::ToClient);
    soon("all of them", async {
        for write in Write::ALL {
            while !write.is_there(direct, at).await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    })
    .await;
    ensemble.kill(1);
    proxy.cut();
    proxy.heal();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_that_is_killed_at_any_moment_of_a_write_loses_none() {
    let sites = sites().await;
    let home = Home::new(&sites).await;
    let conn = sites.client(&home);
    let within = |seconds| {
        let limited = Within::new(conn.clone(), Duration::from_secs(seconds));
        Arc::new(limited) as Arc<dyn Conn>
    };
    let direct = sites.direct();
    for killed in 0..3 {
        for moment in [Moment::Before, Moment::During, Moment::After] {
            let what = format!("quorum {} killed {moment:?}", killed + 1);
            let at = home.at(&format!("/{killed}-{moment:?}"));
            Write::prepare(&conn, &at).await;
            let Site { ensemble, proxy } = &sites.0[killed];
            if moment == Moment::Before {
                ensemble.kill(1);
            }
            let limited = within(if moment == Moment::During { 3 } else { 1 });
            let calls = || join_all(Write::ALL.map(|write| write.call(&limited, &at)));
            let answers = match moment {
                Moment::During if killed == 0 => {
                    let kill = carried_out(&sites.0[0], &direct[0], &at);
                    let answers = join(calls(), kill).await.0;
                    proxy.delay(Duration::ZERO);
                    answers
                }
                Moment::During => {
                    // A write has come to the mirror, and nobody hears of it.
                    let swallowed = proxy.bites().swallowed;
                    proxy.swallow_reply(OpKind::Multi);
                    let kill = async {
                        proxy.until(|bites| bites.swallowed > swallowed).await;
                        ensemble.kill(1);
                        proxy.cut();
                    };
                    join(calls(), kill).await.0
                }
                _ => calls().await,
            };
            if moment == Moment::After {
                ensemble.kill(1);
            }
            sites.restart(killed).await;
            settled(&conn).await;
            for (write, answer) in Write::ALL.iter().zip(answers) {
                let kind = answer.map_err(|err| err.kind());
                match (moment, killed) {
                    (Moment::After, _) => assert_eq!(kind, Ok(()), "{what}, {write:?}"),
                    // Whether it was sent, who has not noticed yet cannot know; it was not carried out.
                    (Moment::Before, 0) => {
                        let is_failure =
                            matches!(kind, Err(ErrorKind::NotSent | ErrorKind::OutcomeUnknown));
                        assert!(is_failure, "{what}, {write:?}: {kind:?}");
                        let is_there = write.is_there(&direct[0], &at).await;
                        assert!(!is_there, "{what}, {write:?}");
                    }
                    (Moment::Before, _) => {
                        assert_eq!(kind, Err(ErrorKind::NotMirrored), "{what}, {write:?}");
                    }
                    // It had carried them out.
                    (Moment::During, 0) => {
                        let is_there = write.is_there(&direct[0], &at).await;
                        assert!(is_there, "{what}, {write:?}: {kind:?}");
                        assert_ne!(kind, Err(ErrorKind::NotSent), "{what}, {write:?}");
                    }
                    (Moment::During, _) => {}
                }
                let is_there = write.is_there(&direct[0], &at).await;
                match kind {
                    Ok(()) | Err(ErrorKind::NotMirrored) => {
                        assert!(is_there, "{what}, {write:?}: {kind:?} and not there");
                    }
                    Err(ErrorKind::NotSent) => {
                        assert!(!is_there, "{what}, {write:?}: {kind:?} and there");
                    }
                    Err(ErrorKind::OutcomeUnknown) => {}
                    Err(kind) => panic!("{what}, {write:?}: {kind}"),
                }
                for mirror in &direct[1..] {
                    assert_eq!(write.is_there(mirror, &at).await, is_there, "{what}, {write:?}");
                }
            }
        }
    }
    assert_eq!(diff(&conn, &home.root).await, []);
    conn.close().await.unwrap();
}
