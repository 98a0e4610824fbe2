# SPDX-License-Identifier: LGPL-2.1-or-later
"""fsd under the knife: started, armed, asked over its socket, stopped at a step, killed."""

import ctypes
import json
import mmap
import os
import pathlib
import signal
import socket
import struct
import subprocess
import threading
import time

from store import libc

TIMEOUT = 60  # s; nothing here takes that long
PR_SET_PDEATHSIG = 1

# struct step_control of fsd/worker/step.h
CONTROL_HEAD, NAMES, NAME_SIZE = 24, 4096, 24
HOLD = CONTROL_HEAD + NAMES * NAME_SIZE
KILL, STOP = 0, 1


class Refused(Exception):
    """fsd answered a request with a problem."""


class Control:
    """The shared page by which a running fsd is armed."""

    def __init__(self, path):
        self.path = path
        size = HOLD + NAME_SIZE
        with open(path, 'w+b') as f:
            f.truncate(size)
            self.map = mmap.mmap(f.fileno(), size)

    def count(self):
        return struct.unpack_from('=Q', self.map, 0)[0]

    def name(self, n):
        at = CONTROL_HEAD + n % NAMES * NAME_SIZE
        return self.map[at:at + NAME_SIZE].split(b'\0')[0].decode()

    def names(self, first, last):
        return [self.name(n) for n in range(first, last + 1)]

    def arm(self, steps, action):
        """Act at the so-many-th step from now."""
        struct.pack_into('=I', self.map, 16, action)
        struct.pack_into('=Q', self.map, 8, self.count() + steps)

    def disarm(self):
        """The count that it was armed for."""
        last = struct.unpack_from('=Q', self.map, 8)[0]
        struct.pack_into('=Q', self.map, 8, 0)
        return last

    def hold(self, name):
        """Whoever comes to a step of this name stays there; '': nobody any more."""
        self.map[HOLD:] = name.encode().ljust(NAME_SIZE, b'\0')

    def wait(self, name, since):
        """Until this step has come after `since` others."""
        deadline = time.monotonic() + TIMEOUT
        while name not in self.names(since + 1, self.count()):
            assert time.monotonic() < deadline, f'no step {name}'
            time.sleep(0.001)


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)


class Daemon:
    """`folder` survives power cuts; catalog and pools do not."""

    def __init__(self, program, folder, catalog, pools, settings=()):
        self.program, self.folder = program, pathlib.Path(folder)
        self.socket = self.folder / 'run' / 'fsd.sock'
        self.log_file = self.folder / 'fsd.log'
        self.control = Control(self.folder / 'control')
        self.process = None
        self.starts = 0
        (self.folder / 'run').mkdir(exist_ok=True)
        self.catalog, self.pools, self.settings = catalog, pools, settings
        self.configure()
        notify = self.folder / 'notify'
        notify.unlink(missing_ok=True)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.manager.bind(str(notify))
        self.manager.settimeout(0.01)
        self.env = {**os.environ, 'NOTIFY_SOCKET': str(notify),
                    'FSD_STEP_CONTROL': str(self.control.path)}

    def configure(self, *more):
        """The settings it has at its next start: the usual ones and these."""
        lines = ['[fsd]', f'catalog = {self.catalog}', f'socket = {self.socket}',
                 'api_user = nobody', 'min_free = 0%', *self.settings, *more]
        for name, (path, driver) in self.pools.items():
            lines += [f'[pool {name}]', f'path = {path}', f'driver = {driver}']
        (self.folder / 'fsd.conf').write_text('\n'.join(lines) + '\n')

    def close(self):
        if self.process:
            self.kill()
        self.manager.close()
        self.control.map.close()

    # ---- the process ----

    def spawn(self):
        self.starts += 1
        while self.heard(socket.MSG_DONTWAIT):
            pass
        with open(self.log_file, 'ab') as log:
            self.process = subprocess.Popen(
                [self.program, '--config', str(self.folder / 'fsd.conf'), '--foreground'],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                preexec_fn=die_with_parent)

    def heard(self, flags=0):
        try:
            return self.manager.recv(4096, flags)
        except (TimeoutError, BlockingIOError):
            return b''

    def state(self):
        """'runs', 'stopped' (by itself, at a step) or 'ended'."""
        process = self.process  # a request's thread may ask while it is reaped
        try:
            r = process and os.waitid(os.P_PID, process.pid,
                                      os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return 'ended'
        if r is None:
            return 'runs' if process else 'ended'
        return 'stopped' if r.si_code == os.CLD_STOPPED else 'ended'

    def start(self):
        """Until it is ready (True) or the step it was armed for came first (False)."""
        self.spawn()
        deadline = time.monotonic() + TIMEOUT
        while b'READY=1' not in self.heard():
            if self.state() != 'runs':
                return False
            assert time.monotonic() < deadline, 'fsd is not ready'
        return self.state() == 'runs'

    def api_pid(self):
        children = pathlib.Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children')
        pids = children.read_text().split()
        return int(pids[0]) if pids else None

    def reap(self):
        """Wait for the end of a worker that was killed or ends by itself."""
        status = self.process.wait(TIMEOUT)
        self.process = None
        return status

    def kill(self):
        """The worker; the api goes with it."""
        api = self.api_pid() if self.state() != 'ended' else None
        self.process.kill()
        self.reap()
        self.wait_gone(api)

    def hold(self):
        """Stop the worker where it is: what it promised after the power went does not count."""
        if self.state() == 'runs':
            self.process.send_signal(signal.SIGSTOP)
            while self.state() == 'runs':
                time.sleep(0.001)

    def kill_api(self):
        """The api alone; the worker, stopped or not, has to end by itself."""
        api = self.api_pid()
        os.kill(api, signal.SIGKILL)
        if self.state() == 'stopped':
            self.process.send_signal(signal.SIGCONT)
        return self.reap()

    def kill_both(self):
        os.kill(self.api_pid(), signal.SIGKILL)
        self.kill()

    def forget(self):
        """The catalog is lost."""
        for path in self.catalog.parent.glob(self.catalog.name + '*'):
            path.unlink()

    @staticmethod
    def wait_gone(pid):
        deadline = time.monotonic() + TIMEOUT
        while pid and os.path.exists(f'/proc/{pid}/exe'):
            assert time.monotonic() < deadline, 'the api process outlived the worker'
            time.sleep(0.001)

    def stop(self):
        self.process.terminate()
        return self.reap()

    def log(self):
        return self.log_file.read_text(errors='replace') if self.log_file.exists() else ''

    # ---- requests ----

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        s.settimeout(0.01)
        s.connect(str(self.socket))
        return s

    def read_all(self, s):
        answer = b''
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                chunk = s.recv(65536)
                if not chunk:
                    return answer
                answer += chunk
            except TimeoutError:
                if self.state() != 'runs':
                    raise ConnectionError('fsd is gone') from None
                assert time.monotonic() < deadline, 'fsd does not answer'

    def http(self, method, path, body=None):
        """(status, object). ConnectionError where fsd goes in the middle."""
        data = b'' if body is None else json.dumps(body).encode()
        head = (f'{method} {path} HTTP/1.1\r\nHost: fsd\r\nConnection: close\r\n'
                f'Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n')
        with self.connect() as s:
            s.sendall(head.encode() + data)
            answer = self.read_all(s)
        head, end, rest = answer.partition(b'\r\n\r\n')
        fields = head.decode().lower().split('\r\n')
        length = [int(f.split(':')[1]) for f in fields if f.startswith('content-length:')]
        if not end or (length and len(rest) < length[0]):
            raise ConnectionError('the answer ended early')
        if 'transfer-encoding: chunked' in fields:
            rest = unchunk(rest)
        return int(fields[0].split()[1]), json.loads(rest)

    def get(self, path):
        status, value = self.http('GET', path)
        assert status == 200, f'GET {path}: {status} {value}'
        return value

    def items(self, path):
        """A whole list, page by page."""
        items, cursor = [], ''
        sep = '&' if '?' in path else '?'
        while True:
            page = self.get(f'{path}{sep}limit=1000{cursor}')
            items += page['items']
            if not page['next']:
                return items
            cursor = f'&cursor={page["next"]}'

    def submit(self, request):
        """The job that was accepted."""
        status, value = self.http('POST', '/v1/jobs', {'confirm': True, **request})
        if status not in (200, 202):
            raise Refused(f'{request}: {status} {value}')
        return value['job']

    def wait(self, job):
        while job['state'] in ('queued', 'running'):
            job = self.get(f'/v1/jobs/{job["id"]}?wait=20')
        return job

    def run(self, request):
        """A job that has to be done: its object."""
        job = self.wait(self.submit(request))
        assert job['state'] == 'done', f'{request} came to {job["state"]}: {job["error"]}'
        return job


def unchunk(chunks):
    out = b''
    while chunks:
        size, _, chunks = chunks.partition(b'\r\n')
        out += chunks[:int(size, 16)]
        chunks = chunks[int(size, 16) + 2:]
    return out


class Call(threading.Thread):
    """One request in the background: `accepted` and `ended` are its job as far as it came."""

    def __init__(self, daemon, request):
        super().__init__(daemon=True)
        self.daemon_, self.request = daemon, request
        self.accepted = self.ended = self.error = None
        self.start()

    def run(self):
        try:
            self.accepted = self.daemon_.submit(self.request)
            self.ended = self.daemon_.wait(self.accepted)
        except (OSError, ValueError) as e:  # fsd went away
            self.error = e
        except Exception as e:  # a refusal: never expected
            self.error = e
