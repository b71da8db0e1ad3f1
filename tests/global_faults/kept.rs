//! What was acknowledged is on every mirror at once: after random faults nobody repairs, the first is
//! lost, and a mirror takes its place.

use super::*;

/// How many nodes, each with a writer of its own.
const NODES: usize = 6;

/// What may be at a node, as its only writer was told; `None` where it is deleted.
#[derive(Debug, Default)]
struct Told {
    /// Since the last write that was acknowledged.
    may_be: Vec<Option<String>>,
    /// Of writes of which nobody knows: they may come at any time.
    perhaps: Vec<Option<String>>,
    done: usize,
}

impl Told {
    fn note(&mut self, wanted: Option<String>, answer: Result<(), Error>) {
        match answer.map_err(|err| err.kind()) {
            Ok(()) => {
                self.may_be = vec![wanted];
                self.done += 1;
            }
            // It stands on the first, and who knows where else.
            Err(ErrorKind::NotMirrored) => self.may_be.push(wanted),
            Err(ErrorKind::NotSent | ErrorKind::NoNode | ErrorKind::NodeExists) => {}
            Err(_) => self.perhaps.push(wanted),
        }
    }

    fn allows(&self, found: &Option<String>) -> bool {
        self.may_be.contains(found) || self.perhaps.contains(found)
    }
}

/// Writes to one node until it is told to end.
async fn write(
    client: &Mortal,
    node: &str,
    is_over: &std::sync::atomic::AtomicBool,
    mut random: fastrand::Rng,
) -> Told {
    let mut told = Told { may_be: vec![None], ..Told::default() };
    let mut number = 0;
    while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
        number += 1;
        let data = number.to_string();
        let (wanted, answer) = match random.u32(..4) {
            0 => (None, client.delete(node, Version::Any).await),
            1 => {
                let create = client.create(node, &data, Mode::Persistent).await;
                (Some(data), create.map(drop))
            }
            _ => {
                let set = client.set(node, &data, Version::Any).await;
                (Some(data), set.map(drop))
            }
        };
        told.note(wanted, answer);
    }
    told
}

/// What a quorum holds at a node.
async fn found(conn: &dyn Conn, node: &str) -> Option<String> {
    conn.sync(node).await.unwrap();
    match conn.get(node).await {
        Ok(node) => Some(String::from_utf8(node.data.to_vec()).unwrap()),
        Err(err) if err.kind() == ErrorKind::NoNode => None,
        Err(err) => panic!("{err}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_random_faults_and_the_loss_of_the_first_a_mirror_has_all_that_was_acknowledged() {
    let sites = sites().await;
    let home = Home::new(&sites).await;
    let mut random = random("kept");
    let seconds = std::env::var("ZKCELLS_SECONDS").map_or(6, |text| text.parse().unwrap());
    let clients: Vec<_> =
        (0..NODES).map(|_| Mortal::new(sites.client(&home), Duration::from_millis(1500))).collect();
    let nodes: Vec<String> = (0..NODES).map(|number| home.at(&format!("/{number}"))).collect();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (mut broken, mut deaths) = (Broken::default(), 0);
    let writers = clients.iter().zip(&nodes).map(|(client, node)| {
        let random = random.fork();
        write(client, node, &is_over, random)
    });
    let writers: Vec<_> = writers.collect();
    let faults = async {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            break_something(&sites, &mut random, &mut broken).await;
            if random.u32(..4) == 0 {
                clients[random.usize(..NODES)].dies(sites.client(&home));
                deaths += 1;
            }
            tokio::time::sleep(Duration::from_millis(random.u64(20..200))).await;
        }
        // Whoever dies in the end knows of what a mirror lacks, and takes it with him.
        let lost = &sites.0[1 + random.usize(..2)].proxy;
        lost.refuse();
        lost.cut();
        tokio::time::sleep(Duration::from_millis(random.u64(100..700))).await;
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let (told, ()) = join(join_all(writers), faults).await;
    // Nobody pays what is owed, and nobody repairs.
    drop(clients);
    sites.mend().await;
    let direct = sites.direct();
    for (node, told) in nodes.iter().zip(&told) {
        for (index, quorum) in direct.iter().enumerate() {
            let found = found(quorum, node).await;
            let number = index + 1;
            assert!(told.allows(&found), "{node} on quorum {number}: {found:?}, {told:?}");
        }
    }
    sites.wipe(0).await;
    let ops = sites.client(&home);
    let chosen = match ops.promote(2).await {
        Ok(_) => 1,
        Err(err) if err.kind() == ErrorKind::WrongQuorum => match ops.promote(3).await {
            Ok(_) => 2,
            // Each has what the other has not, in writes that nobody acknowledged.
            Err(err) if err.kind() == ErrorKind::WrongQuorum => {
                let word = zkcells::Promotion::default().though_behind();
                ops.promote_with(2, &word).await.unwrap();
                1
            }
            Err(err) => panic!("{err}"),
        },
        Err(err) => panic!("{err}"),
    };
    let new = sites.client_of(&[chosen, 3 - chosen, 0], home.options());
    for (node, told) in nodes.iter().zip(&told) {
        let found = found(&*new, node).await;
        assert!(told.allows(&found), "{node} on the new first: {found:?}, {told:?}");
    }
    let done: usize = told.iter().map(|told| told.done).sum();
    let open: usize = told.iter().map(|told| told.may_be.len() - 1 + told.perhaps.len()).sum();
    println!("kept: {seconds} s, {broken}, {deaths} clients dead; {done} writes, {open} open");
    assert!(done > 50 && broken.total() > 3, "{done} writes, {broken}");
    new.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_have_on_their_way_at_once_is_the_same_on_all_quorums_in_the_end() {
    let sites = sites().await;
    let home = Home::new(&sites).await;
    let mut random = random("on their way");
    let clients = [sites.client(&home), sites.client(&home)];
    let mut done = 0;
    for round in 0..rounds(60, 2000) {
        // Later ones would hide what is amiss with these.
        let node = |number: usize| home.at(&format!("/{round}-{number}"));
        let nodes = [node(0), node(1), node(2)];
        let calls: Vec<Pending<()>> = (0..random.usize(2..12))
            .map(|_| {
                let client = &clients[random.usize(..1 + round % 2)];
                let node = &nodes[random.usize(..nodes.len())];
                let data = random.u32(..2).to_string();
                match random.u32(..6) {
                    0..2 => client.create(node, data, Mode::Persistent).and_then(|_| Ok(())),
                    2..4 => client.delete(node, Version::Any),
                    4 => client.set(node, data, Version::Any).and_then(|_| Ok(())),
                    _ => {
                        let acl = [Acl::open(), new_acl()][random.usize(..2)].clone();
                        client.set_acl(node, acl, Version::Any).and_then(|_| Ok(()))
                    }
                }
            })
            .collect();
        if random.u32(..8) == 0 {
            sites.0[random.usize(1..3)].proxy.cut();
        }
        done += join_all(calls).await.into_iter().filter(Result::is_ok).count();
    }
    for client in &clients {
        settled(client).await;
    }
    println!("on their way: {done} writes");
    assert!(done > 50, "{done}");
    assert_eq!(diff(&clients[0], &home.root).await, []);
    for client in clients {
        client.close().await.unwrap();
    }
}
