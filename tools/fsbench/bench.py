# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the cells share: a btrfs image, an fsd of its own on it, and processes that are timed."""

import contextlib
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
GB = 1 << 30


def sh(*argv, **kwargs):
    """Run a command that must work; its standard output."""
    r = subprocess.run([str(a) for a in argv], check=False, text=True, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, **kwargs)
    if r.returncode:
        raise RuntimeError(f'{" ".join(map(str, argv))}: {r.stderr.strip() or r.returncode}')
    return r.stdout


def timed(argv):
    """Wall seconds of one process, from before it is spawned until it is reaped."""
    argv = [str(a) for a in argv]
    with tempfile.TemporaryFile() as errors:
        actions = [(os.POSIX_SPAWN_OPEN, 0, '/dev/null', os.O_RDONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 1, '/dev/null', os.O_WRONLY, 0),
                   (os.POSIX_SPAWN_DUP2, errors.fileno(), 2)]
        start = time.perf_counter()
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        _, status, _ = os.wait4(pid, 0)
        seconds = time.perf_counter() - start
        if status:
            errors.seek(0)
            raise RuntimeError(f'{" ".join(argv)}: {errors.read().decode().strip() or status}')
    return seconds


def cpu_of_children():
    """Seconds of processor time of all children that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=90):
        super().__init__('localhost', timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def call(conn, method, path, body=None):
    """One request on a kept connection: status and parsed answer."""
    conn.request(method, path, body=None if body is None else json.dumps(body),
                 headers={'Content-Type': 'application/json'} if body is not None else {})
    answer = conn.getresponse()
    data = answer.read()
    return answer.status, json.loads(data) if data else None


class Daemon:
    """One fsd with a configuration of its own."""

    def __init__(self, bench, catalog, pool, driver):
        self.bench = bench
        self.catalog, self.pool = catalog, pool
        self.socket = os.path.join(bench.run, 'fsd.sock')
        self.config = os.path.join(bench.run, 'fsd.conf')
        self.log = os.path.join(bench.run, 'fsd.log')
        self.pid = None
        self.driver = driver

    def configure(self):
        with open(self.config, 'w', encoding='utf-8') as f:
            f.write(f'[fsd]\ncatalog = {self.catalog}\nsocket = {self.socket}\napi_user = nobody\n'
                    f'min_free = 1%\n\n[pool bench]\npath = {self.pool}\ndriver = {self.driver}\n')

    def start(self):
        """Seconds until the daemon says that it is ready."""
        self.configure()
        path = os.path.join(self.bench.run, 'notify')
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        notify.bind(path)
        notify.settimeout(60)
        log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [(os.POSIX_SPAWN_OPEN, 0, '/dev/null', os.O_RDONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 1, '/dev/null', os.O_WRONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 2, self.log, log, 0o600)]
        argv = [self.bench.fsd, '--config', self.config, '--foreground']
        begin = time.perf_counter()
        self.pid = os.posix_spawn(argv[0], argv, {**os.environ, 'NOTIFY_SOCKET': path},
                                  file_actions=actions)
        try:
            while b'READY=1' not in notify.recv(4096):
                pass
        except TimeoutError as e:
            raise RuntimeError(f'fsd did not become ready; its log:\n{self.log_tail()}') from e
        finally:
            notify.close()
        return time.perf_counter() - begin

    def log_tail(self):
        with open(self.log, encoding='utf-8', errors='replace') as f:
            return f.read()[-2000:]

    def stop(self):
        if self.pid is None:
            return
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        self.pid = None

    def pids(self):
        """The worker and its children; threads that end meanwhile are passed over."""
        pids = [self.pid]
        for task in os.listdir(f'/proc/{self.pid}/task'):
            with contextlib.suppress(FileNotFoundError), open(
                    f'/proc/{self.pid}/task/{task}/children', encoding='ascii') as f:
                pids += map(int, f.read().split())
        return pids

    def pss(self):
        total = 0
        for pid in self.pids():
            with open(f'/proc/{pid}/smaps_rollup', encoding='ascii') as f:
                total += sum(int(l.split()[1]) for l in f if l.startswith('Pss:'))
        return total / 1024

    def cpu(self):
        """Seconds of processor time that both processes' threads of now have used."""
        total = 0
        for pid in self.pids():
            for task in os.listdir(f'/proc/{pid}/task'):
                with contextlib.suppress(FileNotFoundError), open(
                        f'/proc/{pid}/task/{task}/schedstat', encoding='ascii') as f:
                    total += int(f.read().split()[0])
        return total / 1e9

    def threads(self):
        total = 0
        for pid in self.pids():
            with contextlib.suppress(FileNotFoundError):
                total += len(os.listdir(f'/proc/{pid}/task'))
        return total

    def connect(self):
        return UnixConnection(self.socket)


class Image:
    """A file system of its own."""

    def __init__(self, kind, mnt, size):
        self.mnt = mnt
        with contextlib.ExitStack() as undo:
            os.mkdir(mnt)
            with open(f'{mnt}.img', 'wb') as f:
                f.truncate(size * GB)
            undo.callback(os.unlink, f'{mnt}.img')
            sh(f'mkfs.{kind}', '-q', f'{mnt}.img')
            # Without direct I/O every dirty page would be dirty twice.
            self.loop = sh('losetup', '--find', '--show', '--direct-io=on', f'{mnt}.img').strip()
            undo.callback(sh, 'losetup', '--detach', self.loop)
            sh('mount', '-o', 'noatime', self.loop, mnt)
            undo.callback(sh, 'umount', mnt)
            self.undo = undo.pop_all()


class Bench:
    """The image, the daemon on it and what the cells share."""

    def __init__(self, args, report):
        self.args = args
        self.build = os.path.abspath(args.build)
        self.fsd = os.path.join(self.build, 'fsd/fsd')
        self.fsctl = os.path.join(self.build, 'tools/fsctl/fsctl')
        self.fill = os.path.join(self.build, 'tests/unit/catalog/fill_catalog')
        self.btrfs = shutil.which('btrfs')
        self.report = report
        self.undo = contextlib.ExitStack()
        self.daemon = None
        self.number = 0

    def __enter__(self):
        for program in (self.fsd, self.fsctl, self.fill):
            if not os.access(program, os.X_OK):
                sys.exit(f'fsbench: {program} is missing; build first (meson setup build; '
                         'ninja -C build)')
        self.run = tempfile.mkdtemp(prefix='fsbench.', dir=self.args.work)
        self.undo.callback(shutil.rmtree, self.run, ignore_errors=True)
        os.chmod(self.run, 0o755)
        try:
            self.mount()
        except BaseException:
            self.undo.close()
            raise
        return self

    def __exit__(self, *_):
        self.undo.close()

    def mount(self):
        image = Image('btrfs', os.path.join(self.run, 'mnt'), self.args.size)
        self.undo.callback(image.undo.close)
        self.mnt, self.loop = image.mnt, image.loop
        self.pool = os.path.join(self.mnt, 'pool')
        self.peer = os.path.join(self.mnt, 'peer')
        sh(self.btrfs, 'subvolume', 'create', self.pool)
        os.mkdir(self.peer)

    def remount(self):
        """Nothing of the image is in memory afterwards; no daemon may be on it."""
        sh('umount', self.mnt)
        sh('mount', '-o', 'noatime', self.loop, self.mnt)

    def written(self):
        """Bytes that were written to the image since it was mounted."""
        with open(f'/sys/block/{os.path.basename(self.loop)}/stat', encoding='ascii') as f:
            return int(f.read().split()[6]) * 512

    def started(self):
        """The daemon, with the corpus as its site `corpus`."""
        if self.daemon:
            return self.daemon
        corpus = sh(os.path.join(ROOT, 'tools/corpus'), self.args.corpus).strip()
        self.daemon = Daemon(self, os.path.join(self.run, 'catalog.db'), self.pool, 'btrfs')
        self.undo.callback(self.daemon.stop)
        self.daemon.start()
        self.ctl('site', 'create', 'corpus')
        sh('cp', '-a', '--reflink=never', f'{corpus}/.', self.live('corpus'))
        sh('sync', '-f', self.mnt)
        return self.daemon

    def live(self, site):
        return os.path.realpath(os.path.join(self.pool, 'sites', site, 'live'))

    def large(self):
        """The site `large`: ten times the corpus."""
        self.ctl('site', 'create', 'large')
        for i in range(10):
            sh('cp', '-a', '--reflink=always', self.live('corpus'),
               os.path.join(self.live('large'), str(i)))
        sh('sync', '-f', self.mnt)

    def ctl_argv(self, *args):
        return [self.fsctl, '--url', f'unix://{self.daemon.socket}', *args]

    def ctl(self, *args):
        return sh(*self.ctl_argv(*args, '--yes', '--json'))

    def next(self):
        self.number += 1
        return f'b{self.number:06}'

    # The commands that are compared, each a whole process.

    def snapshot(self, site='corpus'):
        return timed(self.ctl_argv('--quiet', 'snapshot', f'{site}@{self.next()}'))

    def clone(self, site='corpus'):
        return timed(self.ctl_argv('--quiet', 'clone', site, self.next()))

    def peer_argv(self, *flags, site='corpus'):
        return [self.btrfs, 'subvolume', 'snapshot', *flags, self.live(site),
                os.path.join(self.peer, self.next())]

    def peer_snapshot(self, *flags, site='corpus'):
        return timed(self.peer_argv(*flags, site=site))

    def peer_reflink(self):
        return timed([shutil.which('cp'), '-a', '--reflink=always', self.live('corpus'),
                      os.path.join(self.peer, self.next())])

    def turns(self, *measures):
        """All measures in turn, each round from the other end; the first three do not count."""
        values = [[] for _ in measures]
        for i in range(self.args.pairs + 3):
            for measure, kept in list(zip(measures, values))[::1 if i % 2 else -1]:
                kept.append(measure())
        return [kept[3:] for kept in values]
