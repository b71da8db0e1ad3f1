// Curator's side of the comparisons of lock recipes.
//
//     CuratorLocks SERVERS [SESSION_MS]
//
// One line of words in, one line of JSON out:
//
//     version · cycles PATH N · handover PATH CLIENTS N · rwlock PATH READERS WRITERS N|SECONDSs · barrier PATH PARTIES ·
//     meet PATH PARTIES · set|unset|wait PATH · contend PATH N FILE [lock|read|write] [PATTERN…] ·
//     hold PATH [lock|read|write] [PATTERN…]
//
// `kazoo_locks.py` speaks the same protocol, and the comment at its top says what each of them does and answers; only
// `pause-writer` is Kazoo's alone. Here a PATTERN needs an order of children of our own, since Curator's counts every
// child of the directory, and `read` and `write` take none. `install` compiles this and prints how to start it.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.StandardLockInternalsDriver;
import org.apache.curator.retry.ExponentialBackoffRetry;

public final class CuratorLocks {
    /** No command takes longer, unless something is stuck. */
    private static final long PATIENCE_S = 300;
    private static final String WHO = "curator-" + ProcessHandle.current().pid();

    private static final BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
    private static final List<CuratorFramework> clients = new ArrayList<>();
    private static String servers;
    private static int sessionMs = 30000;

    /** Threads that cannot be ended are still at work. */
    private static final class Stuck extends Exception {
        private static final long serialVersionUID = 1;

        Stuck(String why) {
            super(why);
        }
    }

    private interface Task {
        void run() throws Exception;
    }

    public static void main(String[] args) throws Exception {
        servers = args[0];
        if (args.length > 1) {
            sessionMs = Integer.parseInt(args[1]);
        }
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.trim().split("\\s+");
            if (words[0].isEmpty()) {
                continue;
            }
            try {
                answer(words[0], run(words[0], Arrays.copyOfRange(words, 1, words.length)));
            } catch (Exception why) {
                answer(words[0], new Object[] {"error", why.getClass().getSimpleName() + ": " + why.getMessage()});
                if (why instanceof Stuck) {
                    Runtime.getRuntime().halt(1);
                }
            }
        }
        for (CuratorFramework client : clients) {
            client.close();
        }
    }

    private static Object[] run(String name, String[] args) throws Exception {
        switch (name) {
            case "version":
                return version();
            case "cycles":
                return cycles(args[0], Integer.parseInt(args[1]));
            case "handover":
                return handover(args[0], Integer.parseInt(args[1]), Integer.parseInt(args[2]));
            case "rwlock":
                return rwlock(args[0], Integer.parseInt(args[1]), Integer.parseInt(args[2]), args[3]);
            case "barrier":
                return barrier(args[0], Integer.parseInt(args[1]));
            case "meet":
                return meet(args[0], Integer.parseInt(args[1]));
            case "set":
                return timed(new DistributedBarrier(sessions(1).get(0), args[0])::setBarrier);
            case "unset":
                return timed(new DistributedBarrier(sessions(1).get(0), args[0])::removeBarrier);
            case "wait":
                return timed(new DistributedBarrier(sessions(1).get(0), args[0])::waitOnBarrier);
            case "contend":
                return contend(args[0], Integer.parseInt(args[1]), Path.of(args[2]), kind(args, 3), patterns(args, 4));
            case "hold":
                return hold(args[0], kind(args, 1), patterns(args, 2));
            default:
                throw new IllegalArgumentException("no such command");
        }
    }

    private static Object[] version() throws IOException {
        String where = "/META-INF/maven/org.apache.curator/curator-recipes/pom.properties";
        Properties properties = new Properties();
        try (InputStream found = InterProcessMutex.class.getResourceAsStream(where)) {
            if (found != null) {
                properties.load(found);
            }
        }
        return new Object[] {"library", "curator", "version", properties.getProperty("version", "unknown")};
    }

    private static Object[] cycles(String path, int count) throws Exception {
        InterProcessMutex lock = new InterProcessMutex(sessions(1).get(0), path);
        long start = System.nanoTime();
        for (int n = 0; n < count; n++) {
            lock.acquire();
            lock.release();
        }
        double seconds = seconds(start);
        return new Object[] {"seconds", seconds, "per_second", count / seconds};
    }

    private static Object[] handover(String path, int members, int count) throws Exception {
        Inside inside = new Inside();
        // Both are touched under the lock only; they are of a kind that shows every thread what the last one wrote.
        List<Long> took = Collections.synchronizedList(new ArrayList<>(count));
        AtomicLong released = new AtomicLong();
        List<Task> tasks = new ArrayList<>();
        for (CuratorFramework client : sessions(members)) {
            InterProcessMutex lock = new InterProcessMutex(client, path);
            tasks.add(() -> {
                boolean over = false;
                while (!over) {
                    lock.acquire();
                    long now = System.nanoTime();
                    inside.enter(true);
                    over = took.size() >= count;
                    if (!over && released.get() != 0) {
                        took.add(now - released.get());
                    }
                    inside.exit(true);
                    released.set(System.nanoTime());
                    lock.release();
                }
            });
        }
        double seconds = together(tasks);
        Collections.sort(took);
        double mean = took.stream().mapToLong(Long::longValue).average().orElse(0);
        return new Object[] {
            "p50_us", us(rank(took, 0.5)), "p99_us", us(rank(took, 0.99)), "mean_us", us(mean),
            "max_us", us(took.get(took.size() - 1)), "seconds", seconds, "per_second", count / seconds,
            "overlaps", inside.overlaps,
        };
    }

    private static Object[] rwlock(String path, int readers, int writers, String limit) throws Exception {
        List<CuratorFramework> all = sessions(readers + writers);
        // A limit of time, or of acquisitions.
        boolean timed = limit.endsWith("s");
        double time = timed ? Double.parseDouble(limit.substring(0, limit.length() - 1)) : PATIENCE_S;
        long most = timed ? Long.MAX_VALUE : Long.parseLong(limit);
        Inside inside = new Inside();
        AtomicLong reads = new AtomicLong(), writes = new AtomicLong();
        AtomicLong longestRead = new AtomicLong(), longestWrite = new AtomicLong();
        long begin = System.nanoTime();
        List<Task> tasks = new ArrayList<>();
        for (int n = 0; n < all.size(); n++) {
            boolean isWriter = n >= readers;
            InterProcessReadWriteLock both = new InterProcessReadWriteLock(all.get(n), path);
            InterProcessLock lock = isWriter ? both.writeLock() : both.readLock();
            tasks.add(() -> {
                while (seconds(begin) < time && reads.get() + writes.get() < most) {
                    long start = System.nanoTime();
                    lock.acquire();
                    long waited = System.nanoTime() - start;
                    inside.enter(isWriter);
                    (isWriter ? writes : reads).incrementAndGet();
                    (isWriter ? longestWrite : longestRead).accumulateAndGet(waited, Math::max);
                    inside.exit(isWriter);
                    lock.release();
                }
            });
        }
        double seconds = together(tasks);
        return new Object[] {
            "seconds", seconds, "reads_per_second", reads.get() / seconds, "writes_per_second", writes.get() / seconds,
            "reads", reads.get(), "writes", writes.get(), "max_read_wait_us", us(longestRead.get()),
            "max_write_wait_us", us(longestWrite.get()), "overlaps", inside.overlaps,
        };
    }

    private static Object[] barrier(String path, int parties) throws Exception {
        List<Long> enter = Collections.synchronizedList(new ArrayList<>());
        List<Long> entered = Collections.synchronizedList(new ArrayList<>());
        List<Long> leave = Collections.synchronizedList(new ArrayList<>());
        List<Long> left = Collections.synchronizedList(new ArrayList<>());
        // Nobody leaves before all are in: a party that counts the members after others left would wait for ever.
        CyclicBarrier allIn = new CyclicBarrier(parties);
        List<Task> tasks = new ArrayList<>();
        for (CuratorFramework client : sessions(parties)) {
            DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(client, path, parties);
            tasks.add(() -> {
                enter.add(System.nanoTime());
                barrier.enter();
                entered.add(System.nanoTime());
                allIn.await();
                leave.add(System.nanoTime());
                barrier.leave();
                left.add(System.nanoTime());
            });
        }
        double seconds = together(tasks);
        long lastCall = Collections.max(enter);
        return new Object[] {
            "enter_us", us(Collections.max(entered) - Collections.min(enter)),
            "leave_us", us(Collections.max(left) - Collections.min(leave)),
            "seconds", seconds, "early", entered.stream().filter(moment -> moment < lastCall).count(),
        };
    }

    private static Object[] meet(String path, int parties) throws Exception {
        DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(sessions(1).get(0), path, parties);
        long start = System.nanoTime();
        barrier.enter();
        event("meet", "entered", "enter_us", us(System.nanoTime() - start));
        long leave = System.nanoTime();
        barrier.leave();
        return new Object[] {"leave_us", us(System.nanoTime() - leave)};
    }

    private static Object[] timed(Task call) throws Exception {
        long start = System.nanoTime();
        call.run();
        return new Object[] {"seconds", seconds(start)};
    }

    private static Object[] contend(String path, int count, Path file, String kind, List<String> patterns)
            throws Exception {
        InterProcessLock lock = recipe(path, kind, patterns);
        Path logFile = Path.of(file + ".log");
        long longest = 0;
        int changed = 0;
        event("contend", "ready", "who", WHO);
        long start = System.nanoTime();
        for (int n = 0; n < count; n++) {
            long asked = System.nanoTime();
            lock.acquire();
            long held = System.nanoTime();
            longest = Math.max(longest, held - asked);
            try {
                long value = numberIn(file);
                TimeUnit.NANOSECONDS.sleep(ThreadLocalRandom.current().nextInt(1_000_000));
                if (kind.equals("read")) {
                    changed += numberIn(file) == value ? 0 : 1;
                } else {
                    value++;
                    Files.writeString(file, value + "\n");
                }
                // On Linux nanoTime is CLOCK_MONOTONIC, and so compares with the times of other processes.
                String line = json("who", WHO, "kind", kind, "start", held, "end", System.nanoTime(), "value", value);
                Files.writeString(logFile, line + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            } finally {
                lock.release();
            }
        }
        return new Object[] {"seconds", seconds(start), "max_wait_us", us(longest), "changed", changed};
    }

    private static Object[] hold(String path, String kind, List<String> patterns) throws Exception {
        InterProcessLock lock = recipe(path, kind, patterns);
        long asked = System.nanoTime();
        lock.acquire();
        long held = System.nanoTime();
        event("hold", "acquired", "node", nodeOf(path), "wait_us", us(held - asked));
        long heldFor = System.nanoTime() - held;
        lock.release();
        return new Object[] {"held_us", us(heldFor)};
    }

    /** The last child of `path` that belongs to our session: a recipe does not tell the name of its node. */
    private static String nodeOf(String path) throws Exception {
        CuratorFramework client = sessions(1).get(0);
        long session = client.getZookeeperClient().getZooKeeper().getSessionId();
        for (String child : client.getChildren().forPath(path)) {
            var stat = client.checkExists().forPath(path + "/" + child);
            if (stat != null && stat.getEphemeralOwner() == session) {
                return child;
            }
        }
        return "";
    }

    private static InterProcessLock recipe(String path, String kind, List<String> patterns) throws Exception {
        CuratorFramework client = sessions(1).get(0);
        if (kind.equals("lock")) {
            return patterns.isEmpty()
                ? new InterProcessMutex(client, path)
                : new InterProcessMutex(client, path, new ForeignNames(patterns));
        }
        if (!patterns.isEmpty()) {
            throw new IllegalArgumentException("this library's read-write lock takes no names of others");
        }
        InterProcessReadWriteLock both = new InterProcessReadWriteLock(client, path);
        return kind.equals("write") ? both.writeLock() : both.readLock();
    }

    /** Orders by the number after any of the given names or Curator's own; children without one come last. */
    private static final class ForeignNames extends StandardLockInternalsDriver {
        private final List<String> names;

        ForeignNames(List<String> names) {
            this.names = names;
        }

        @Override
        public String fixForSorting(String child, String lockName) {
            StringBuilder any = new StringBuilder(Pattern.quote(lockName));
            names.forEach(name -> any.append('|').append(Pattern.quote(name)));
            Matcher matcher = Pattern.compile("(?:" + any + ")(\\d{10})$").matcher(child);
            return matcher.find() ? matcher.group(1) : "~" + child;
        }
    }

    /** Who is in there now, by the clock of this process. */
    private static final class Inside {
        private int readers, writers;
        private int overlaps;

        synchronized void enter(boolean writes) {
            if (writers > 0 || (writes && readers > 0)) {
                overlaps++;
            }
            if (writes) {
                writers++;
            } else {
                readers++;
            }
        }

        synchronized void exit(boolean writes) {
            if (writes) {
                writers--;
            } else {
                readers--;
            }
        }
    }

    /** The first so many clients of this process; those that are missing connect side by side. */
    private static List<CuratorFramework> sessions(int count) throws Exception {
        List<CuratorFramework> started = new ArrayList<>();
        while (clients.size() < count) {
            CuratorFramework client =
                CuratorFrameworkFactory.newClient(servers, sessionMs, 15000, new ExponentialBackoffRetry(50, 10));
            client.start();
            started.add(client);
            clients.add(client);
        }
        for (CuratorFramework client : started) {
            if (!client.blockUntilConnected(30, TimeUnit.SECONDS)) {
                throw new Stuck("no session at " + servers + " after 30 s");
            }
        }
        return clients.subList(0, count);
    }

    /** Runs each in a thread of its own, from the same moment on; answers how many seconds the last took. */
    private static double together(List<Task> tasks) throws Exception {
        CountDownLatch gate = new CountDownLatch(1);
        LinkedBlockingQueue<String> done = new LinkedBlockingQueue<>();
        for (Task task : tasks) {
            Thread thread = new Thread(() -> {
                try {
                    gate.await();
                    task.run();
                    done.add("");
                } catch (Exception why) {
                    done.add(why.getClass().getSimpleName() + ": " + why.getMessage());
                }
            });
            thread.setDaemon(true);
            thread.start();
        }
        long start = System.nanoTime();
        gate.countDown();
        for (int n = 0; n < tasks.size(); n++) {
            long left = TimeUnit.SECONDS.toNanos(PATIENCE_S) - (System.nanoTime() - start);
            String failure = done.poll(left, TimeUnit.NANOSECONDS);
            if (failure == null) {
                throw new Stuck("not done after " + PATIENCE_S + " s");
            }
            if (!failure.isEmpty()) {
                // The others may wait for this one for ever.
                throw new Stuck(failure);
            }
        }
        return seconds(start);
    }

    private static String kind(String[] args, int at) {
        String kind = args.length > at ? args[at] : "lock";
        if (!List.of("lock", "read", "write").contains(kind)) {
            throw new IllegalArgumentException("'" + kind + "' is not lock, read or write");
        }
        return kind;
    }

    private static List<String> patterns(String[] args, int from) {
        return args.length > from ? List.of(Arrays.copyOfRange(args, from, args.length)) : List.of();
    }

    private static long numberIn(Path file) throws IOException {
        String text = Files.readString(file).trim();
        return text.isEmpty() ? 0 : Long.parseLong(text);
    }

    private static double seconds(long start) {
        return (System.nanoTime() - start) / 1e9;
    }

    private static double us(double ns) {
        return Math.round(ns / 100) / 10.0;
    }

    private static long rank(List<Long> ordered, double part) {
        return ordered.get(Math.max(0, (int) Math.ceil(part * ordered.size()) - 1));
    }

    private static void answer(String did, Object[] rest) {
        List<Object> pairs = new ArrayList<>(List.of("did", did));
        pairs.addAll(Arrays.asList(rest));
        System.out.println(json(pairs.toArray()));
        System.out.flush();
    }

    private static void event(String did, String name, Object... more) throws IOException {
        List<Object> pairs = new ArrayList<>(List.of("event", name));
        pairs.addAll(Arrays.asList(more));
        answer(did, pairs.toArray());
        input.readLine();
    }

    private static String json(Object... pairs) {
        StringBuilder text = new StringBuilder("{");
        for (int n = 0; n < pairs.length; n += 2) {
            text.append(n > 0 ? ", " : "").append(quoted(pairs[n])).append(": ");
            text.append(pairs[n + 1] instanceof Number ? pairs[n + 1].toString() : quoted(pairs[n + 1]));
        }
        return text.append('}').toString();
    }

    private static String quoted(Object value) {
        StringBuilder text = new StringBuilder("\"");
        for (char c : String.valueOf(value).toCharArray()) {
            if (c == '"' || c == '\\') {
                text.append('\\').append(c);
            } else if (c < ' ') {
                text.append(String.format("\\u%04x", (int) c));
            } else {
                text.append(c);
            }
        }
        return text.append('"').toString();
    }
}
