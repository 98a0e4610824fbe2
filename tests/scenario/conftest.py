# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of the scenarios: a real daemon in a scratch folder of its own.

The programs come from the build folder in FSD_BUILD (meson sets it). Every test ends with its
daemon gone, its file systems unmounted and its folder removed, however it ended.
"""

import contextlib
import fcntl
import json
import mmap
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import pytest

pytest.register_assert_rewrite('outside')
ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('FSD_BUILD', ROOT / 'build')).resolve()
TIMEOUT = 120  # s; for what never takes that long

# A finding of a sanitizer fails its test, whatever else came of it.
SANITIZER = re.compile(r'(Address|Thread|Leak)Sanitizer|runtime error:')

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='needs root')


def program(path):
    file = BUILD / path
    if not file.exists():
        pytest.skip(f'{path} was not built')
    return str(file)


class Daemon:
    """fsd in the foreground. `pools` maps names to paths."""

    def __init__(self, folder, pools=None, **settings):
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / 'run' / 'fsd.sock'
        self.catalog = self.folder / 'lib' / 'catalog.db'
        self.conf = self.folder / 'fsd.conf'
        self.log_file = self.folder / 'fsd.log'
        self.pools = pools or {'main': self.folder / 'pool'}
        self.settings = settings
        self.process = None
        self.steps = None
        self.env = {}
        for pool in self.pools.values():
            pathlib.Path(pool).mkdir(exist_ok=True)
        self.configure()

    def configure(self, extra='', **settings):
        self.settings.update(settings)
        values = {'catalog': self.catalog, 'socket': self.socket, 'api_user': 'nobody',
                  'import_from': self.folder, 'min_free': '0%', **self.settings}
        lines = ['[fsd]'] + [f'{k} = {v}' for k, v in values.items()]
        for name, path in self.pools.items():
            lines += [f'[pool {name}]', f'path = {path}']
        self.conf.write_text('\n'.join(lines) + '\n' + extra)

    def spawn(self, *args):
        """Start without waiting for anything."""
        with open(self.log_file, 'ab') as log:
            self.process = subprocess.Popen(
                [program('fsd/fsd'), '--config', str(self.conf), '--foreground', *args],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.env})
        return self.process

    def start(self):
        """Start, and return when it says READY=1."""
        path = self.folder / 'notify'
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.bind(str(path))
            manager.settimeout(0.1)
            self.env['NOTIFY_SOCKET'] = str(path)
            self.spawn()
            deadline = time.monotonic() + TIMEOUT
            while True:
                try:
                    if b'READY=1' in manager.recv(4096):
                        return self
                except TimeoutError:
                    pass
                if self.process.poll() is not None:
                    raise AssertionError(f'fsd ended {self.process.returncode}: {self.log()}')
                if time.monotonic() > deadline:
                    raise AssertionError(f'fsd is not ready: {self.log()}')

    def start_as(self, user):
        """As an ordinary user, who has all of the folder and is in no group but his own."""
        binary = shutil.copy(program('fsd/fsd'), self.folder)  # the build folder may be root's
        group = pwd.getpwnam(user).pw_gid
        subprocess.run(['chown', '-R', f'{user}:{group}', self.folder], check=True)
        with open(self.log_file, 'wb') as log:
            self.process = subprocess.Popen(
                [binary, '--config', str(self.conf), '--foreground'], stderr=log, user=user,
                group=group, extra_groups=[], env={**os.environ, **self.env})
        return self.wait_serving()

    def wait_serving(self):
        """For one that was spawned: until it answers, and says it is well."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                if self.http('GET', '/healthz')[0] == 200:
                    return self
            except OSError:
                pass
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def stop(self, sig=signal.SIGTERM):
        """End it; the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            status = self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self.process = None
        return status

    def lose_catalog(self):
        """It starts with none."""
        if self.process:
            self.stop()
        for file in self.catalog.parent.glob(f'{self.catalog.name}*'):
            file.unlink()
        self.start()

    def api_pid(self):
        children = pathlib.Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children')
        return int(children.read_text().split()[0])

    def log(self):
        return self.log_file.read_text(errors='replace') if self.log_file.exists() else ''

    def wait_log(self, text, count=1):
        """Until the log says it."""
        deadline = time.monotonic() + TIMEOUT
        while self.log().count(text) < count:
            assert time.monotonic() < deadline, f'never logged "{text}": {self.log()}'
            time.sleep(0.01)

    def url(self):
        return f'unix://{self.socket}'

    def fsctl(self, *args, check=True, **kwargs):
        """Run fsctl; its CompletedProcess, with text."""
        r = subprocess.run([program('tools/fsctl/fsctl'), *map(str, args)], text=True,
                           capture_output=True, timeout=TIMEOUT, check=False,
                           env={**os.environ, 'FSD_URL': self.url()}, **kwargs)
        if check:
            assert r.returncode == 0, f'fsctl {args}: {r.returncode}\n{r.stdout}{r.stderr}'
        return r

    def json(self, *args, **kwargs):
        return json.loads(self.fsctl('--json', *args, **kwargs).stdout)

    def http(self, method, path, body=None):
        """(status, object) of one request, without fsctl."""
        data = b'' if body is None else json.dumps(body).encode()
        head = (f'{method} {path} HTTP/1.1\r\nHost: fsd\r\nConnection: close\r\n'
                f'Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n')
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as s:
            s.settimeout(TIMEOUT)
            s.connect(str(self.socket))
            s.sendall(head.encode() + data)
            answer = b''
            while chunk := s.recv(65536):
                answer += chunk
        head, _, rest = answer.partition(b'\r\n\r\n')
        if b'chunked' in head.lower():
            chunks, rest = rest, b''
            while chunks:
                size, _, chunks = chunks.partition(b'\r\n')
                rest += chunks[:int(size, 16)]
                chunks = chunks[int(size, 16) + 2:]
        try:
            value = json.loads(rest)
        except ValueError:
            value = rest.decode(errors='replace')
        return int(head.split()[1]), value

    def ask(self, request):
        """(status, answer) to a request for a job, with the job as it ended."""
        status, answer = self.http('POST', '/v1/jobs?wait=60', request)
        if status == 202:
            job = answer['job']
            while job['state'] in ('queued', 'running'):
                _, job = self.http('GET', f'/v1/jobs/{job["id"]}?wait=60')
            status, answer = 200, {**answer, 'job': job}
        return status, answer

    def ask_as(self, request, user='nobody', group='nogroup'):
        """The answer to another user's request for a job."""
        body = json.dumps(request).encode()
        code = ('import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n'
                's.sendall(sys.stdin.buffer.read())\n'
                'while d := s.recv(65536): sys.stdout.buffer.write(d)')
        head = (f'POST /v1/jobs?wait=60 HTTP/1.1\r\nHost: fsd\r\nConnection: close\r\n'
                f'Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n').encode()
        r = subprocess.run(['/usr/bin/python3', '-c', code, str(self.socket)], input=head + body,
                           capture_output=True, user=user, group=group, extra_groups=[],
                           check=True, cwd='/')
        return json.loads(r.stdout.partition(b'\r\n\r\n')[2])


class Steps:
    """Hold up the thread of a daemon, not started yet, that comes to a named step: struct
    step_control of fsd/worker/step.h."""

    HEAD, NAMES, NAME_SIZE = 24, 4096, 24
    HOLD = HEAD + NAMES * NAME_SIZE

    def __init__(self, daemon):
        self.daemon = daemon
        daemon.steps = self
        path = daemon.folder / 'steps'
        with open(path, 'w+b') as f:
            f.truncate(self.HOLD + self.NAME_SIZE)
            self.map = mmap.mmap(f.fileno(), 0)
        daemon.env['FSD_STEP_CONTROL'] = str(path)

    def count(self):
        return struct.unpack_from('=Q', self.map, 0)[0]

    def set_hold(self, name):
        self.map[self.HOLD:] = name.encode().ljust(self.NAME_SIZE, b'\0')

    def names(self, since):
        """Of the steps that have come after `since` others."""
        at = [self.HEAD + n % self.NAMES * self.NAME_SIZE
              for n in range(since + 1, self.count() + 1)]
        return [self.map[i:i + self.NAME_SIZE].rstrip(b'\0').decode() for i in at]

    def wait(self, name, since):
        """Until this step has come after `since` others."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            if name in self.names(since):
                return
            assert time.monotonic() < deadline, f'no step {name}: {self.daemon.log()}'
            time.sleep(0.001)

    def restart(self):
        """Kill the daemon where it is held, and start it again; the job as it ended then."""
        self.daemon.stop(signal.SIGKILL)
        self.thread.join()
        self.set_hold('')
        self.daemon.start()
        newest = self.daemon.http('GET', '/v1/jobs?limit=1')[1]['items'][0]
        return self.daemon.http('GET', f'/v1/jobs/{newest["id"]}?wait=60')[1]

    @contextlib.contextmanager
    def held(self, name):
        """Within, whoever comes to this step stays there; a function that waits for it."""
        since = self.count()
        self.set_hold(name)
        try:
            yield lambda: self.wait(name, since)
        finally:
            self.set_hold('')

    def until(self, name, request):
        """Ask, and return with the job held at the first step of this name."""
        self.answer = []
        self.thread = threading.Thread(target=self.ask, args=(request,))
        since = self.count()
        self.set_hold(name)
        self.thread.start()
        self.wait(name, since)

    def ask(self, request):
        with contextlib.suppress(OSError, IndexError):  # the daemon may be killed meanwhile
            self.answer.append(self.daemon.ask(request))

    def on(self, name):
        """To the next step of this name."""
        since = self.count()
        self.set_hold(name)
        self.wait(name, since)

    def go_on(self):
        """Until the job has ended; the job."""
        self.set_hold('')
        self.thread.join()
        status, answer = self.answer[0]
        assert status == 200, answer
        return answer['job']


def wait_for(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def checked(daemon):
    """fsctl status --check: what a monitor sees."""
    r = daemon.fsctl('status', '--check', check=False)
    return r.returncode, r.stdout


def ended(daemon):
    """The last job, once there is nothing to worry about and it has been recorded."""
    wait_for(lambda: checked(daemon)[0] == 0)
    job = daemon.json('job', 'list')['items'][0]['id']
    daemon.fsctl('job', 'wait', job, check=False)
    return daemon.json('job', 'show', job)


@pytest.fixture
def scratch():
    """A folder of its own, removed afterwards; others may pass through it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix='fsd-scenario.'))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def mount(scratch):
    """mount('btrfs', size='1G'): a file system of its own from an image; the path."""
    mounts = []

    def make(kind, size='1G', name=None):
        if os.geteuid() != 0:
            pytest.skip('needs root to mount')
        where = scratch / (name or f'{kind}{len(mounts)}')
        image = scratch / f'{where.name}.img'
        where.mkdir()
        with open(image, 'wb') as f:
            f.truncate(int(size[:-1]) << {'M': 20, 'G': 30}[size[-1]])
        mkfs = {'btrfs': ['mkfs.btrfs', '-q'], 'xfs': ['mkfs.xfs', '-q'],
                'ext4': ['mkfs.ext4', '-q', '-F']}[kind]
        subprocess.run([*mkfs, str(image)], check=True, stdout=subprocess.DEVNULL)
        r = subprocess.run(['mount', '-o', 'loop', str(image), str(where)], check=False,
                           capture_output=True, text=True)
        if r.returncode:
            pytest.skip(f'cannot mount {kind}: {r.stderr.strip()}')
        mounts.append(where)
        return where

    yield make
    for where in reversed(mounts):
        subprocess.run(['umount', str(where)], check=True)


@pytest.fixture
def lease():
    """lease(path): held until somebody else opens the file, and given up then, as a file server
    does, unless it is `kept`; how often."""
    held, given, to_the_end = [], [], []

    def give_up(*_):
        while held:
            given.append(held.pop())
            os.close(given[-1])

    def take(path, kept=False):
        fd = os.open(path, os.O_RDWR)
        (to_the_end if kept else held).append(fd)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        return given

    before = signal.signal(signal.SIGIO, give_up)
    yield take
    signal.signal(signal.SIGIO, before)
    for fd in held + to_the_end:
        os.close(fd)


@pytest.fixture
def make_daemon(scratch, mount):
    """make_daemon(pools, setting=value...): daemons that are ended with the test, before its file
    systems go (hence `mount`)."""
    made = []

    def make(pools=None, folder=scratch, **settings):
        made.append(Daemon(folder, pools, **settings))
        return made[-1]

    yield make
    for daemon in made:
        if daemon.steps:
            daemon.steps.set_hold('')
        if daemon.process and daemon.process.poll() is None:
            daemon.stop()
    for daemon in made:
        print(f'{daemon.log_file}:\n{daemon.log()[-20000:]}')  # shown when the test failed
        assert not SANITIZER.search(daemon.log()), daemon.log()


@pytest.fixture
def daemon(make_daemon):
    """One that runs, with a pool in a plain directory."""
    return make_daemon().start()
