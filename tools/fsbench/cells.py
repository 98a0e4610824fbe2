# SPDX-License-Identifier: LGPL-2.1-or-later
"""The benchmarks. Each cell_NAME(bench) adds its rows to bench.report; its docstring is the text
above them."""

import contextlib
import http.client
import json
import math
import multiprocessing
import os
import queue
import selectors
import shutil
import socket
import statistics
import subprocess
import time

from bench import GB, Daemon, UnixConnection, call, cpu_of_children, sh, timed
from report import percentile, spread

MS = 1000
MB = 1 << 20


def costs(b, cell, kind, args):
    """Flushes and commits of one operation, as its job tells them (tests/unit/worker/test_cost.c
    holds the job to it)."""
    status, answer = call(b.daemon.connect(), 'POST', '/v1/jobs?wait=60', {'kind': kind, **args})
    job = (answer or {}).get('job', {})
    if status != 200 or job.get('state') != 'done':
        raise RuntimeError(f'{kind}: {status} {answer}')
    b.report.add(cell, 'flushes in the pool', job['stats']['syncs'], '', most=8)
    b.report.add(cell, 'catalog commits', job['stats']['commits'], '', most=2)


def cell_snapshot(b):
    """`fsctl snapshot` of the corpus, the whole process, and `btrfs subvolume snapshot` in turn."""
    b.started()
    ours, theirs = b.turns(b.snapshot, lambda: b.peer_snapshot('-r'))
    b.report.pair('snapshot', 'fsctl snapshot', ours, 'btrfs subvolume snapshot -r', theirs,
                  most_ratio=5)
    costs(b, 'snapshot', 'snapshot', {'site': 'corpus'})


def cell_clone(b):
    """`fsctl clone` of the corpus, the whole process, in turn with `btrfs subvolume snapshot`; and
    beside what a clone costs where there are no subvolumes."""
    b.started()
    ours, theirs = b.turns(b.clone, b.peer_snapshot)
    b.report.pair('clone', 'fsctl clone', ours, 'btrfs subvolume snapshot', theirs, most_ratio=5)
    b.report.pair('clone', 'fsctl clone', ours, 'cp -a --reflink=always',
                  [b.peer_reflink() for _ in range(3)])
    costs(b, 'clone', 'clone', {'source': 'corpus', 'name': b.next()})


def cell_large(b):
    """The same for a tree ten times larger, and for the corpus, in turn. A btrfs snapshot adds a
    reference to each child of the tree's root node (at most 493; 5 for the corpus, 51 for ten of
    it), so btrfs itself is not quite independent of the size: what fsd adds to btrfs is told by
    itself."""
    b.started()
    b.large()
    for name, ours, flags in (('snapshot', b.snapshot, ('-r',)), ('clone', b.clone, ())):
        large, small, theirs_large, theirs_small = b.turns(
            lambda m=ours: m('large'), ours,
            lambda f=flags: b.peer_snapshot(*f, site='large'),
            lambda f=flags: b.peer_snapshot(*f))
        b.report.pair('large', f'btrfs alone, for {name}: 10 x the corpus', theirs_large,
                      'the corpus', theirs_small)
        b.report.pair('large', f'fsctl {name}: 10 x the corpus', large, 'the corpus', small,
                      most_ratio=1.2)
        own = [statistics.median(a) - statistics.median(t)
               for a, t in ((large, theirs_large), (small, theirs_small))]
        b.report.add('large', f'fsctl {name} beyond btrfs: 10 x the corpus', own[0] * MS, 'ms',
                     peer='the corpus', theirs=own[1] * MS, most_ratio=1.2)


# ---- a neighbour ----

def dirty():
    with open('/proc/meminfo', encoding='ascii') as f:
        return next(int(l.split()[1]) * 1024 for l in f if l.startswith('Dirty:'))


def neighbour(path):
    """Keep more than 1 GiB of dirty data in one file, for ever."""
    chunk = os.urandom(16 * MB)
    with open(path, 'wb', buffering=0) as f:
        while True:
            if dirty() > 1.25 * GB:
                time.sleep(0.002)
                continue
            if f.tell() > 3 * GB:
                f.seek(0)
            f.write(chunk)


def beside_neighbour(b, other):
    for name, measure, flags in (('snapshot', b.snapshot, ('-r',)), ('clone', b.clone, ())):
        written = []

        def beside(run, kept=None):
            # The kernel may just have written it all out: only what ran beside the load counts.
            while dirty() < GB:
                if not other.is_alive():
                    raise RuntimeError('the neighbour ended: the image is too small?')
                time.sleep(0.01)
            before = b.written()
            seconds = run()
            if kept is not None:
                kept.append(b.written() - before)
            return seconds

        ours, theirs = b.turns(lambda m=measure, w=written: beside(m, w),
                               lambda f=flags: beside(lambda: b.peer_snapshot(*f)))
        b.report.pair('neighbour', f'fsctl {name}', ours, 'btrfs subvolume snapshot', theirs,
                      most=50)
        b.report.add('neighbour', f'fsctl {name}, 95th percentile', percentile(ours, 95) * MS,
                     'ms', peer='btrfs', theirs=percentile(theirs, 95) * MS, most=50)
        b.report.add('neighbour', f'written to the disk by one {name}, median',
                     statistics.median(written) / MB, 'MiB', most=16,
                     note=f'max {max(written) / MB:.1f}')


def cell_neighbour(b):
    """While another process keeps more than 1 GiB of dirty data in the same file system. What the
    disk receives during an operation shows that no flush of it carries the neighbour's data; it is
    more where the kernel's own writing falls into one."""
    b.started()
    path = os.path.join(b.mnt, 'neighbour')
    other = multiprocessing.Process(target=neighbour, args=(path,), daemon=True)
    other.start()
    try:
        beside_neighbour(b, other)
    finally:
        other.kill()
        other.join()
        os.unlink(path)


# ---- a large catalog ----

def fill(b, daemon):
    """The catalog, and the pool that it describes."""
    daemon.start()  # makes the pool
    daemon.stop()
    with open(os.path.join(daemon.pool, '.fsd/pool.json'), encoding='utf-8') as f:
        pool_id = json.load(f)['id']
    os.unlink(daemon.catalog)
    sh(b.fill, daemon.catalog, pool_id, 'bench', daemon.pool, 10000, 100000)


def forget(path):
    """Drop a file from the page cache."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def starts(b, daemon, n, cold):
    seconds = []
    for _ in range(n):
        if cold:
            b.remount()
            forget(daemon.catalog)
        seconds.append(daemon.start())
        daemon.stop()
    b.report.add('catalog', f'start until ready, {"cold" if cold else "warm"}',
                 statistics.median(seconds) * MS, 'ms', most=1000, note=spread(seconds))


def page_of_sites(b, daemon):
    argv = b.ctl_argv('site', 'list', '--json', '--limit', '1000')
    items = json.loads(sh(*argv))['items']
    if len(items) != 1000:
        raise RuntimeError(f'a page of 1,000 sites has {len(items)}')
    pages = [timed(argv)]
    theirs = []
    before = daemon.cpu() + cpu_of_children()
    for _ in range(b.args.pairs):
        pages.append(timed(argv))
    cpu = (daemon.cpu() + cpu_of_children() - before) / b.args.pairs
    sqlite = shutil.which('sqlite3')
    if sqlite:
        theirs = [timed([sqlite, '-json', '-readonly', daemon.catalog,
                         'SELECT * FROM sites WHERE deleted = 0 ORDER BY name LIMIT 1000'])
                  for _ in range(b.args.pairs)]
    b.report.add('catalog', 'fsctl site list --json, 1,000 sites', statistics.median(pages) * MS,
                 'ms', peer='sqlite3 -json, the table alone' if theirs else None,
                 theirs=statistics.median(theirs) * MS if theirs else None, most=100,
                 note=spread(pages))
    b.report.add('catalog', 'the same, processor time of fsctl and both daemons', cpu * MS, 'ms')


def cell_catalog(b):
    """A catalog of 10,000 sites and 100,000 snapshots, and the pool that it describes, on btrfs by
    the copy driver. Cold: the image was mounted anew, and the catalog dropped from memory."""
    if b.daemon:
        b.daemon.stop()
    pool = os.path.join(b.mnt, 'big')
    os.mkdir(pool)
    daemon = Daemon(b, os.path.join(b.run, 'big.db'), pool, 'copy')
    kept, b.daemon = b.daemon, daemon
    b.undo.callback(daemon.stop)
    fill(b, daemon)
    starts(b, daemon, 3, cold=True)
    starts(b, daemon, 5, cold=False)
    daemon.start()
    most, until = 0, time.perf_counter() + 10  # fsd compares pool and catalog behind the start
    while time.perf_counter() < until:
        most = max(most, daemon.pss())
        time.sleep(0.05)
    b.report.add('catalog', 'memory after the start, at most (PSS, both processes)', most, 'MiB',
                 most=40)
    page_of_sites(b, daemon)
    sh(*b.ctl_argv('snapshot', 'list', '--json'))
    b.report.add('catalog', 'memory after a list of 100,000 (PSS, both processes)', daemon.pss(),
                 'MiB', most=40)
    problems = call(daemon.connect(), 'GET', '/v1/status')[1]['problems']
    b.report.add('catalog', 'differences found between pool and catalog', len(problems), '',
                 most=0, note=str(problems[:1] or ''))
    daemon.stop()
    b.daemon = kept
    if kept:
        kept.start()


# ---- many clients ----

CLIENTS, EACH = 10, 20


def queue_clones(socket_path, client, results):
    """Queue clones, then wait for each; one result a clone: (state, job or what went wrong)."""
    conn = UnixConnection(socket_path)
    jobs = []
    try:
        for i in range(EACH):
            jobs.append(call(conn, 'POST', '/v1/jobs', {'kind': 'clone', 'source': 'corpus',
                                                        'name': f'q{client}-{i}'}))
        for status, answer in jobs:
            if status not in (200, 202):
                results.put(('refused', answer))
                continue
            job = answer['job']
            while job['state'] in ('queued', 'running'):
                _, job = call(conn, 'GET', f'/v1/jobs/{job["id"]}?wait=60')
            results.put((job['state'], job))
    except (OSError, http.client.HTTPException, KeyError) as e:
        results.put(('error', repr(e)))


REQUESTS = ('/v1/status', '/v1/sites/corpus', '/v1/sites?limit=20', '/v1/jobs?limit=20')


def ask(socket_path, stop, results):
    conn = UnixConnection(socket_path)
    took = []
    while not stop.is_set():
        start, status = time.perf_counter(), None
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, _ = call(conn, 'GET', REQUESTS[len(took) % len(REQUESTS)])
        took.append(time.perf_counter() - start if status == 200 else math.inf)
        time.sleep(0.001)
    results.put(took)


def peer_clones(b):
    """As many snapshots by as many processes; seconds."""
    start = time.perf_counter()
    clients = [subprocess.Popen(['sh', '-ec', 'while [ $# -gt 0 ]; do "$1" subvolume snapshot '
                                 '"$2" "$3"; shift 3; done', 'sh',
                                 *sum(([b.btrfs, *b.peer_argv()[-2:]] for _ in range(EACH)), [])],
                                stdout=subprocess.DEVNULL) for _ in range(CLIENTS)]
    if any([c.wait() for c in clients]):
        raise RuntimeError('btrfs subvolume snapshot failed')
    return time.perf_counter() - start


def run_clones(daemon, results):
    """Seconds, what became of each clone, and the most threads seen."""
    clients = [multiprocessing.Process(target=queue_clones, args=(daemon.socket, i, results))
               for i in range(CLIENTS)]
    start = time.perf_counter()
    for c in clients:
        c.start()
    most, states = 0, []
    while len(states) < CLIENTS * EACH and (not results.empty() or
                                            any(c.is_alive() for c in clients)):
        with contextlib.suppress(queue.Empty):
            states.append(results.get(timeout=0.02))
        most = max(most, daemon.threads())
    seconds = time.perf_counter() - start
    for c in clients:
        c.join()
    return seconds, states, most


def cell_queue(b):
    """10 clients queue 200 clones; meanwhile another client asks one thing after the other (status,
    a site, a page of sites, a page of jobs)."""
    daemon = b.started()
    latencies, stop = multiprocessing.Queue(), multiprocessing.Event()
    idle = daemon.threads()
    other = multiprocessing.Process(target=ask, args=(daemon.socket, stop, latencies))
    other.start()
    seconds, states, most = run_clones(daemon, multiprocessing.Queue())
    stop.set()
    took = latencies.get(timeout=60)
    other.join()
    bad = [s for s in states if s[0] != 'done']
    b.report.add('queue', '200 clones by 10 clients', seconds, 's',
                 peer='btrfs subvolume snapshot by 10 processes', theirs=peer_clones(b))
    b.report.add('queue', 'clones that failed or are missing',
                 len(bad) + CLIENTS * EACH - len(states), '', most=0,
                 note=str(bad[0]) if bad else '')
    b.report.add('queue', 'other requests meanwhile, median', statistics.median(took) * MS, 'ms')
    b.report.add('queue', 'other requests meanwhile, 99th percentile', percentile(took, 99) * MS,
                 'ms', most=50, note=f'n {len(took)}, max {max(took) * MS:.1f}')
    b.report.add('queue', 'threads of all processes, at most', most, '', most=idle,
                 note='goal: as many as when idle')


# ---- waiting ----

def wait_for(b, daemon, job, undo, ready):
    """1,000 clients that wait for one job."""
    request = (f'GET /v1/jobs/{job}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n').encode()
    for _ in range(1000):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        undo.callback(s.close)
        s.connect(daemon.socket)
        s.sendall(request)
        ready.register(s, selectors.EVENT_READ)
    time.sleep(2)  # until all of them wait
    before = daemon.cpu()
    time.sleep(b.args.wait)
    return daemon.cpu() - before, len(ready.select(0))


def answers(ready):
    """How many of the clients are answered within a minute."""
    start, n = time.perf_counter(), 0
    while n < 1000 and time.perf_counter() - start < 60:
        for key, _ in ready.select(1):
            n += key.fileobj.recv(65536).startswith(b'HTTP/1.1 200')
            ready.unregister(key.fileobj)
    return n


def cell_waiting(b):
    """1,000 clients wait for a job that does not move, since its file system is frozen; processor
    time of both processes, beside that of the same time with no client at all."""
    daemon = b.started()
    before = daemon.cpu()
    time.sleep(b.args.wait)
    idle = daemon.cpu() - before
    with contextlib.ExitStack() as undo, selectors.DefaultSelector() as ready:
        conn = daemon.connect()
        sh('fsfreeze', '--freeze', b.mnt)
        thaw = undo.enter_context(contextlib.ExitStack())
        thaw.callback(sh, 'fsfreeze', '--unfreeze', b.mnt)
        status, answer = call(conn, 'POST', '/v1/jobs', {'kind': 'snapshot', 'site': 'corpus'})
        if status != 202:
            raise RuntimeError(f'the job was answered with {status}: {answer}')
        cpu, early = wait_for(b, daemon, answer['job']['id'], undo, ready)
        thaw.close()
        start = time.perf_counter()
        n = answers(ready)
        b.report.add('waiting', f'processor time within {b.args.wait} s', cpu * MS, 'ms',
                     peer='without clients', theirs=idle * MS, most=b.args.wait,
                     note='goal: a thousandth of one processor')
        b.report.add('waiting', 'answered before the job moved', early, '', most=0)
        b.report.add('waiting', 'clients without an answer when it ended', 1000 - n, '', most=0)
        b.report.add('waiting', 'all answered after', (time.perf_counter() - start) * MS, 'ms')
        b.report.add('waiting', 'memory with 1,000 clients (PSS)', daemon.pss(), 'MiB', most=40)


CELLS = {name.removeprefix('cell_'): f for name, f in list(globals().items())
         if name.startswith('cell_')}
