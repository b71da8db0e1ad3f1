"""Kazoo's side of the comparisons of lock recipes. `CuratorLocks.java` is Curator's and speaks the same protocol.

    kazoo_locks.py SERVERS [SESSION_MS]

SERVERS is a connect string, SESSION_MS what every session asks for (30000 unless given). A command is one line of
words on standard input, none of which contains a space. Its answer is one line of JSON on standard output, always with
"did", the command's name. In the middle of some commands comes a line with "event" in it: the command stays there until
it reads a line, whatever it says, and goes on. At the end of the input all sessions are closed.

Nobody removes the nodes of a PATH: a caller gives each command a path of its own below a root that it removes itself,
or one path to those that are to meet. All times are measured in here, without the pipe and without connecting. The
first command of a kind is slow, above all in a virtual machine that has not compiled yet: run a small one before.

    version
        "library", "version"
    cycles PATH N
        One client acquires and releases a lock that nobody else wants. "seconds", "per_second"
    handover PATH CLIENTS N
        As many clients, each a session and a thread, pass the lock on N times. From just before the call that releases
        to just after the next acquire: "p50_us", "p99_us", "mean_us", "max_us"; "seconds", "per_second", "overlaps"
    rwlock PATH READERS WRITERS N|SECONDSs
        As many clients of one read-write lock; they end after N acquisitions, or after a time (`3s`). "seconds",
        "reads_per_second", "writes_per_second", "reads", "writes", "max_read_wait_us", "max_write_wait_us", "overlaps"
    barrier PATH PARTIES
        As many clients meet at a double barrier. From the first call of enter to the last return of it "enter_us", from
        the first call of leave to the last return "leave_us"; "seconds"; "early", whose enter returned before all called
    meet PATH PARTIES
        One party of a double barrier whose others are elsewhere. Event "entered" (with "enter_us"), then leave.
        "leave_us"
    set PATH; unset PATH; wait PATH
        A barrier: closes it, opens it, waits until it is open. "seconds"
    contend PATH N FILE [lock|read|write] [PATTERN…]
        One of a mixed fleet; FILE is there already. Event "ready" (with "who") when there is a session. Then N times:
        acquire; `lock` and `write` read the number in FILE, sleep up to 1 ms and write the next one, `read` looks twice
        that it stays; a line is appended to FILE.log: {"who", "kind", "start", "end", "value"}, held from start to end
        in ns of CLOCK_MONOTONIC; release. "seconds", "max_wait_us", "changed" (reads in which the number changed).
        A PATTERN is what stands before the number in names of others that contend too, such as `lock-`.
    hold PATH [lock|read|write] [PATTERN…]
        Event "acquired" (with "node", "wait_us"), then release. "held_us"
    pause-writer PATH FILE [lost|suspended]
        Kazoo only; to be stopped and continued by signals. Event "ready" (with "who"). Takes the lock again and again,
        and while it believes to hold it, appends a line to FILE every 5 ms: {"ns", "pid", "czxid"}, the time in
        CLOCK_BOOTTIME and the czxid of its own node. It believes `is_acquired` until Kazoo's listener says LOST, or
        already at SUSPENDED. Event "running", during which it does so, then it ends. "lines", "acquired", "lost"

"overlaps" counts who found somebody inside whom the lock should have kept out. What fails is answered {"did", "error"};
if threads may still be at work then, the process ends too.
"""

import json
import logging
import math
import os
import queue
import random
import sys
import threading
import time

import kazoo.version
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import CancelledError

SERVERS = sys.argv[1]
SESSION_MS = int(sys.argv[2]) if len(sys.argv) > 2 else 30000
# No command that does without events takes so many seconds, unless something is stuck.
PATIENCE = 300

# Every lost connection would be a line on standard error.
logging.getLogger("kazoo").addHandler(logging.NullHandler())

clients = []


class Stuck(Exception):
    """Threads that cannot be ended are still at work."""


def say(**answer):
    print(json.dumps(answer), flush=True)


def event(did, name, **more):
    say(did=did, event=name, **more)
    sys.stdin.readline()


def sessions(count):
    """The first so many clients of this process; those that are missing connect side by side."""
    started = []
    while len(clients) < count:
        client = KazooClient(hosts=SERVERS, timeout=SESSION_MS / 1000)
        started.append(client.start_async())
        clients.append(client)
    for connected in started:
        if not connected.wait(30):
            raise Stuck(f"no session at {SERVERS} after 30 s")
    return clients[:count]


def together(tasks, patience=PATIENCE):
    """Runs each in a thread of its own, from the same moment on; answers how many seconds the last took."""
    gate = threading.Barrier(len(tasks) + 1)
    done = queue.Queue()

    def run(task):
        gate.wait()
        try:
            task()
            done.put(None)
        except Exception as why:
            done.put(why)

    for task in tasks:
        threading.Thread(target=run, args=(task,), daemon=True).start()
    gate.wait()
    start = time.monotonic()
    for _ in tasks:
        try:
            failure = done.get(timeout=max(0, start + patience - time.monotonic()))
        except queue.Empty:
            raise Stuck(f"not done after {patience} s") from None
        if failure:
            # The others may wait for this one for ever.
            raise Stuck(f"{type(failure).__name__}: {failure}")
    return time.monotonic() - start


def recipe(client, path, kind, patterns=()):
    make = {"lock": client.Lock, "read": client.ReadLock, "write": client.WriteLock}[kind]
    return make(path, f"kazoo-{os.getpid()}", extra_lock_patterns=patterns)


def us(ns):
    return round(ns / 1000, 1)


def rank(ordered, part):
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


class Inside:
    """Who is in there now, by the clock of this process."""

    def __init__(self):
        self.mutex = threading.Lock()
        self.readers = self.writers = self.overlaps = 0

    def enter(self, writes):
        with self.mutex:
            if self.writers or (writes and self.readers):
                self.overlaps += 1
            self.writers += writes
            self.readers += not writes

    def exit(self, writes):
        with self.mutex:
            self.writers -= writes
            self.readers -= not writes


def version():
    return {"library": "kazoo", "version": kazoo.version.__version__}


def cycles(path, count):
    count = int(count)
    # One object for all cycles: a new one each time would look for the directory, this one looks for its own node.
    lock = recipe(*sessions(1), path, "lock")
    start = time.monotonic()
    for _ in range(count):
        lock.acquire()
        lock.release()
    seconds = time.monotonic() - start
    return {"seconds": seconds, "per_second": count / seconds}


def handover(path, members, count):
    count = int(count)
    took, inside = [], Inside()
    # Read and written under the lock only.
    released = None

    def pass_on(lock):
        nonlocal released
        while True:
            lock.acquire()
            now = time.monotonic_ns()
            inside.enter(True)
            over = len(took) >= count
            if not over and released is not None:
                took.append(now - released)
            inside.exit(True)
            released = time.monotonic_ns()
            lock.release()
            if over:
                return

    tasks = [
        lambda lock=recipe(client, path, "lock"): pass_on(lock) for client in sessions(int(members))
    ]
    seconds = together(tasks)
    took.sort()
    return {
        "p50_us": us(rank(took, 0.5)),
        "p99_us": us(rank(took, 0.99)),
        "mean_us": us(sum(took) / len(took)),
        "max_us": us(took[-1]),
        "seconds": seconds,
        "per_second": count / seconds,
        "overlaps": inside.overlaps,
    }


def rwlock(path, readers, writers, limit):
    readers, writers = int(readers), int(writers)
    all_clients = sessions(readers + writers)
    # A limit of time, or of acquisitions.
    for_a_time = limit.endswith("s")
    until = time.monotonic() + float(limit[:-1]) if for_a_time else math.inf
    most = math.inf if for_a_time else int(limit)
    inside, mutex = Inside(), threading.Lock()
    done, longest = {False: 0, True: 0}, {False: 0, True: 0}

    def work(lock, writes):
        while time.monotonic() < until and done[False] + done[True] < most:
            start = time.monotonic_ns()
            lock.acquire()
            waited = time.monotonic_ns() - start
            inside.enter(writes)
            with mutex:
                done[writes] += 1
                longest[writes] = max(longest[writes], waited)
            inside.exit(writes)
            lock.release()

    tasks = []
    for n, client in enumerate(all_clients):
        lock = recipe(client, path, "read" if n < readers else "write")
        tasks.append(lambda lock=lock, writes=n >= readers: work(lock, writes))
    seconds = together(tasks)
    return {
        "seconds": seconds,
        "reads_per_second": done[False] / seconds,
        "writes_per_second": done[True] / seconds,
        "reads": done[False],
        "writes": done[True],
        "max_read_wait_us": us(longest[False]),
        "max_write_wait_us": us(longest[True]),
        "overlaps": inside.overlaps,
    }


def barrier(path, parties):
    parties = int(parties)
    enter, entered, leave, left = [], [], [], []
    # Nobody leaves before all are in, as on Curator's side.
    all_in = threading.Barrier(parties)

    def pass_through(barrier):
        enter.append(time.monotonic_ns())
        barrier.enter()
        entered.append(time.monotonic_ns())
        # What Kazoo caught in `enter` and kept to itself.
        if not barrier.participating:
            raise RuntimeError("not entered")
        all_in.wait()
        leave.append(time.monotonic_ns())
        barrier.leave()
        left.append(time.monotonic_ns())

    tasks = []
    for n, client in enumerate(sessions(parties)):
        own = client.DoubleBarrier(path, parties, identifier=f"kazoo-{os.getpid()}-{n}")
        tasks.append(lambda own=own: pass_through(own))
    seconds = together(tasks)
    return {
        "enter_us": us(max(entered) - min(enter)),
        "leave_us": us(max(left) - min(leave)),
        "seconds": seconds,
        "early": sum(1 for moment in entered if moment < max(enter)),
    }


def meet(path, parties):
    own = sessions(1)[0].DoubleBarrier(path, int(parties), identifier=f"kazoo-{os.getpid()}")
    start = time.monotonic_ns()
    own.enter()
    if not own.participating:
        raise RuntimeError("not entered")
    event("meet", "entered", enter_us=us(time.monotonic_ns() - start))
    start = time.monotonic_ns()
    own.leave()
    return {"leave_us": us(time.monotonic_ns() - start)}


def set_barrier(path):
    return timed(sessions(1)[0].Barrier(path).create)


def unset_barrier(path):
    return timed(sessions(1)[0].Barrier(path).remove)


def wait_barrier(path):
    return timed(sessions(1)[0].Barrier(path).wait)


def timed(call):
    start = time.monotonic()
    call()
    return {"seconds": time.monotonic() - start}


def number_in(file):
    with open(file, encoding="ascii") as input:
        return int(input.read() or 0)


def contend(path, count, file, kind="lock", *patterns):
    who = f"kazoo-{os.getpid()}"
    lock = recipe(*sessions(1), path, kind, patterns)
    longest = changed = 0
    event("contend", "ready", who=who)
    start = time.monotonic()
    for _ in range(int(count)):
        asked = time.monotonic_ns()
        lock.acquire()
        held = time.monotonic_ns()
        longest = max(longest, held - asked)
        try:
            value = number_in(file)
            time.sleep(random.random() / 1000)
            if kind == "read":
                changed += number_in(file) != value
            else:
                value += 1
                with open(file, "w", encoding="ascii") as output:
                    output.write(f"{value}\n")
            line = {"who": who, "kind": kind, "start": held, "end": time.monotonic_ns(), "value": value}
            with open(f"{file}.log", "a", encoding="ascii") as log:
                log.write(json.dumps(line) + "\n")
        finally:
            lock.release()
    return {"seconds": time.monotonic() - start, "max_wait_us": us(longest), "changed": changed}


def hold(path, kind="lock", *patterns):
    lock = recipe(*sessions(1), path, kind, patterns)
    asked = time.monotonic_ns()
    lock.acquire()
    held = time.monotonic_ns()
    event("hold", "acquired", node=lock.node, wait_us=us(held - asked))
    held_for = time.monotonic_ns() - held
    lock.release()
    return {"held_us": us(held_for)}


def pause_writer(path, file, until="lost"):
    ends = {"lost": [KazooState.LOST], "suspended": [KazooState.LOST, KazooState.SUSPENDED]}[until]
    (client,) = sessions(1)
    lock = recipe(client, path, "lock")
    in_doubt, over = threading.Event(), threading.Event()
    done = {"lines": 0, "acquired": 0, "lost": 0}

    def listen(state):
        if state in ends:
            in_doubt.set()

    def write():
        out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        while not over.is_set():
            try:
                lock.acquire()
            except CancelledError:
                break
            # In this order: a session that ended before took the node with it, one that ends later says so.
            in_doubt.clear()
            stat = client.retry(client.exists, f"{path}/{lock.node}")
            if stat:
                done["acquired"] += 1
                while lock.is_acquired and not in_doubt.is_set() and not over.is_set():
                    ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
                    line = {"ns": ns, "pid": os.getpid(), "czxid": stat.czxid}
                    os.write(out, (json.dumps(line) + "\n").encode())
                    done["lines"] += 1
                    time.sleep(0.005)
                done["lost"] += in_doubt.is_set()
            lock.release()
        os.close(out)

    def end():
        event("pause-writer", "running")
        over.set()
        # Not the one that is held, but one that is waited for.
        lock.cancel()

    client.add_listener(listen)
    event("pause-writer", "ready", who=f"kazoo-{os.getpid()}")
    # The caller says how long.
    together([write, end], threading.TIMEOUT_MAX)
    client.remove_listener(listen)
    return done


COMMANDS = {
    "version": version,
    "cycles": cycles,
    "handover": handover,
    "rwlock": rwlock,
    "barrier": barrier,
    "meet": meet,
    "set": set_barrier,
    "unset": unset_barrier,
    "wait": wait_barrier,
    "contend": contend,
    "hold": hold,
    "pause-writer": pause_writer,
}

for words in map(str.split, iter(sys.stdin.readline, "")):
    if not words:
        continue
    name, *arguments = words
    try:
        if name not in COMMANDS:
            raise ValueError("no such command")
        say(did=name, **COMMANDS[name](*arguments))
    except Exception as why:
        say(did=name, error=f"{type(why).__name__}: {why}")
        if isinstance(why, Stuck):
            os._exit(1)

for client in clients:
    client.stop()
    client.close()
