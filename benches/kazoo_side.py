"""Kazoo's side of `trees`: one command a line on standard input, one answer a line on standard output.

A command is {"do": name, …}; its answer is {"result": number of nodes, "seconds": time}, the time without the pipe. Each
is written as one who knows Kazoo would write it. Those that end in `_async` keep some thousand requests under way.
"""

import json
import sys
import time

import kazoo.version
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

# So many requests are under way in the asynchronous variants: more make Kazoo no faster.
AT_ONCE = 2000

clients = {}


def connect(cells):
    """One client for each cell, as one process would have."""
    for cell, hosts in cells.items():
        clients[cell] = KazooClient(hosts=hosts, timeout=30)
        clients[cell].start(timeout=15)
    return len(clients)


def client_of(path):
    return clients[path.split("/")[2]]


def resolve(leaf):
    """What /zk/*/vt/tablets/*/<leaf> names: a listing per cell, then one look per tablet. No leaf, no look."""
    found = []
    for cell, client in sorted(clients.items()):
        top = f"/zk/{cell}/vt/tablets"
        for name in sorted(client.get_children(top)):
            if not leaf:
                found.append(f"{top}/{name}")
            elif client.exists(f"{top}/{name}/{leaf}"):
                found.append(f"{top}/{name}/{leaf}")
    return len(found)


def resolve_async(leaf):
    found = []
    for cell, client in sorted(clients.items()):
        top = f"/zk/{cell}/vt/tablets"
        paths = [f"{top}/{name}/{leaf}" for name in sorted(client.get_children(top))]
        answers = pipelined(client.exists_async, paths)
        found.extend(path for path, answer in zip(paths, answers) if answer.get())
    return len(found)


def walk(path):
    """Every node below `path`, one listing for each."""
    client = client_of(path)
    found, left = [], [path]
    while left:
        top = left.pop()
        try:
            below = [f"{top}/{name}" for name in client.get_children(top)]
        except NoNodeError:
            continue
        found.extend(below)
        left.extend(below)
    return len(found)


def walk_async(path):
    client = client_of(path)
    found, level = [], [path]
    while level:
        answers = pipelined(client.get_children_async, level)
        level = [f"{top}/{name}" for top, names in zip(level, answers) for name in names.get()]
        found.extend(level)
    return len(found)


def remove(path):
    """Kazoo's own recursive delete, which does not say how many nodes there were."""
    client_of(path).delete(path, recursive=True)
    return 0


def create(path, directories, leaves, data):
    """A tree of two levels: `path` by ensure_path, all below it by create, parents first."""
    client = client_of(path)
    client.ensure_path(path)
    value = data.encode()
    for directory in range(directories):
        top = f"{path}/{directory:03}"
        client.create(top, b"")
        for leaf in range(leaves):
            client.create(f"{top}/{leaf:03}", value)
    return directories * (leaves + 1)


def create_async(path, directories, leaves, data):
    client = client_of(path)
    client.ensure_path(path)
    value = data.encode()
    tops = [f"{path}/{directory:03}" for directory in range(directories)]
    nodes = [f"{top}/{leaf:03}" for top in tops for leaf in range(leaves)]
    made = pipelined(client.create_async, tops)
    made += pipelined(lambda path: client.create_async(path, value), nodes)
    return sum(1 for answer in made if answer.get())


def pipelined(call, paths):
    answers = []
    for path in paths:
        if len(answers) >= AT_ONCE:
            answers[-AT_ONCE].wait()
        answers.append(call(path))
    for answer in answers[-AT_ONCE:]:
        answer.wait()
    return answers


def version():
    return kazoo.version.__version__


COMMANDS = {
    command.__name__: command
    for command in (version, connect, resolve, resolve_async, walk, walk_async, create, create_async, remove)
}

for line in sys.stdin:
    command = json.loads(line)
    try:
        start = time.perf_counter()
        result = COMMANDS[command.pop("do")](**command)
        answer = {"result": result, "seconds": time.perf_counter() - start}
    except Exception as why:
        answer = {"error": f"{type(why).__name__}: {why}"}
    print(json.dumps(answer), flush=True)

for client in clients.values():
    client.stop()
    client.close()
