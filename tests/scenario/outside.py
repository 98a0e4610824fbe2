# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of import and eject share: a pool and, on its file system, a folder outside of it."""

import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import struct
import subprocess
import time

import pytest

from conftest import Steps

CLOCK_REALTIME_COARSE = 5  # <linux/time.h>; Python has no name for it


def wait_until_older(path):
    """Until the clock that ctimes come from has passed the file's: what is newer than the start of
    an import counts as written during it."""
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) <= path.stat().st_ctime_ns:
        time.sleep(0.001)


@pytest.fixture(params=['btrfs', 'ext4'])
def host(request, make_daemon, mount):
    """A daemon and, on the file system of its pool, a folder to import from."""
    return Host(make_daemon, mount(request.param), request.param)


class Host:
    def __init__(self, make_daemon, root, kind):
        self.kind, self.root = kind, pathlib.Path(root)
        self.outside = self.root / 'www'
        self.outside.mkdir()
        self.daemon = make_daemon({'main': self.root / 'pool'}, import_from=self.outside,
                                  admin_group='nogroup')
        self.steps = Steps(self.daemon)
        self.daemon.start()
        self.pool = self.root / 'pool'

    def make(self, name='shop', where=None):
        """A directory with a bit of everything."""
        path = (where or self.outside) / name
        (path / 'a' / 'deep').mkdir(parents=True)
        for file in ('index.php', 'a/x', 'a/deep/z'):
            (path / file).write_text(f'{file} old')
        os.link(path / 'a/x', path / 'a/twin')
        os.symlink('a/x', path / 'link')
        os.chown(path / 'a/x', 1000, 1001)
        os.chmod(path / 'a', 0o750)
        os.setxattr(path / 'a/x', 'user.note', b'kept')
        os.chown(path, 1000, 1000)
        wait_until_older(path)
        return path

    def subvolume(self, name='shop'):
        subprocess.run(['btrfs', '-q', 'subvolume', 'create', str(self.outside / name)], check=True)
        subprocess.run(['cp', '-a', f'{self.make("tmp")}/.', str(self.outside / name)], check=True)
        shutil.rmtree(self.outside / 'tmp')
        return self.outside / name

    def live(self, name='shop'):
        return self.pool / 'sites' / name / 'live'

    def ask(self, **request):
        return self.daemon.ask(request)

    def job(self, **request):
        status, answer = self.ask(**request)
        assert status == 200, answer
        return answer['job']

    def done(self, **request):
        job = self.job(**request)
        assert job['state'] == 'done', job['error']
        assert not job['result'].get('failed'), job['result']
        self.clean()
        return job

    def imported(self, path, mode=None, **more):
        more = {'name': 'shop', **more, **({'mode': mode} if mode else {})}
        job = self.done(kind='site-import', dir=str(path), **more)
        wait_until_older(self.live(more['name']))
        return job

    def eject(self, path, **more):
        return self.done(kind='site-eject', site='shop', dir=str(path), **more)

    def clean(self):
        assert os.listdir(self.pool / '.fsd/staging') == []

    def look(self):
        """Everything but what fsd keeps about it."""
        out = {}
        for folder, dirs, files in os.walk(self.root):
            if folder.endswith('/.fsd'):
                dirs[:] = [d for d in dirs if d != 'trash']
                continue
            for name in dirs + files:
                path = os.path.join(folder, name)
                st = os.lstat(path)
                own = folder.startswith(str(self.pool))  # may have been written to and mended
                out[path] = (st.st_ino, st.st_mode, st.st_uid, st.st_size,
                             0 if own else st.st_mtime_ns)
        return out

    def refused(self, code, **request):
        before = self.look()
        status, answer = self.ask(**request)
        error = answer if status >= 400 else answer['job']['error']
        assert error and error['code'] == code, answer
        assert error['object'] and error['reason']
        assert self.look() == before
        self.clean()
        return error

    def import_refused(self, code, path, **more):
        return self.refused(code, **{'kind': 'site-import', 'name': 'shop', 'dir': str(path),
                                     **more})

    def sites(self):
        return [s['name'] for s in self.daemon.http('GET', '/v1/sites')[1]['items']]

    def as_nobody(self, request):
        """The answer to a peer that is an admin of fsd and not root."""
        return self.daemon.ask_as(request)


def content(path):
    """Names, types, owners, times, bytes, links: what a good copy has too."""
    out, inodes = {}, {}
    for folder, dirs, files in os.walk(path):
        for name in dirs + files:
            p = os.path.join(folder, name)
            rel = os.path.relpath(p, path)
            st = os.lstat(p)
            what = (os.readlink(p) if os.path.islink(p) else
                    pathlib.Path(p).read_bytes() if os.path.isfile(p) else None)
            inodes.setdefault(st.st_ino, rel)
            out[rel] = (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, what,
                        os.listxattr(p, follow_symlinks=False), inodes[st.st_ino])
    st = os.stat(path)
    out['.'] = (st.st_mode, st.st_uid, st.st_gid)
    return out


def same(a, b):
    """Directories are walked in any order: which name of an inode comes first does not matter."""
    a, b = content(a) if not isinstance(a, dict) else a, content(b)
    assert a.keys() == b.keys()
    for k in a:
        assert a[k][:6] == b[k][:6], k


@pytest.fixture(params=['btrfs', 'ext4'])
def user(request, make_daemon, mount, scratch):
    """A daemon of nobody's; its `outside`, where no rename can move from, has a tree."""
    daemon = make_daemon({'main': mount(request.param) / 'pool'}, import_from=scratch / 'www')
    daemon.outside = scratch / 'www'
    (daemon.outside / 'shop/a/deep').mkdir(parents=True)
    for name in ('index.php', 'a/x', 'a/twin', 'a/deep/z'):
        (daemon.outside / 'shop' / name).write_text(name)
    os.symlink('a/x', daemon.outside / 'shop/link')
    Steps(daemon)
    return daemon.start_as('nobody')


def aside(path, job):
    return path.parent / f'{path.name}.fsd-{job["id"]}'


def elsewhere(host, scratch):
    """Where a move cannot be a rename."""
    return host.make('shop', host.outside if host.kind == 'btrfs' else scratch)


def replaced(work):
    """What is kept in a work directory."""
    return [p.read_text() for p in work.iterdir() if p.name.isdigit() and p.is_file()]


def told(host, kind):
    return [{**e['data'], 'paths': sorted(e['data']['paths'])}
            for e in host.daemon.http('GET', '/v1/events?limit=100')[1]['items']
            if e['kind'] == kind]


def site_json(host, name):
    return json.loads((host.pool / 'sites' / name / 'site.json').read_text())


def undo_is_over(host):
    """Start the daemon anew, with all that was kept for undo kept long enough."""
    host.daemon.stop()
    host.daemon.configure(undo_keep='1s')
    end = time.time_ns() + 10**9
    while time.time_ns() <= end:
        time.sleep(0.01)
    host.daemon.start()


@contextlib.contextmanager
def watched(folder):
    """Yields a function: what was moved, made and removed in there, in its order, as it is told."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = {0x40: 'from', 0x80: 'to', 0x100: 'made', 0x200: 'removed'}  # <sys/inotify.h>
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert fd >= 0 and libc.inotify_add_watch(fd, bytes(folder), sum(words)) >= 0

    def seen():
        data, events = os.read(fd, 65536), []
        while data:
            mask, size = struct.unpack_from('4xI4xI', data)
            name = data[16:16 + size].rstrip(b'\0').decode()
            events.append((words[mask & 0xfff], name))
            data = data[16 + size:]
        return events

    try:
        yield seen
    finally:
        os.close(fd)


def aged(host, site, ago):
    """What import put aside counts as put there so many seconds ago; fsd is stopped."""
    file = host.pool / 'sites' / site / 'site.json'
    doc = json.loads(file.read_text())
    since = doc['parked']['since']
    doc['parked']['since'] = time.time_ns() - ago * 10**9
    file.write_text(json.dumps(doc))
    return since
