# SPDX-License-Identifier: LGPL-2.1-or-later
"""Import and eject: directories become sites and sites directories, by copy, move and link."""

import contextlib
import ctypes
import datetime
import json
import os
import pathlib
import select
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading
import time

import pytest

from conftest import TIMEOUT, Steps, checked, needs_root, program, wait_for

pytestmark = needs_root
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


# ---- by an ordinary user, of what root made ----

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


def test_import__of_an_ordinary_user_tells_whose_owners_the_copy_has_not(user):
    path = user.outside / 'shop'
    os.chown(path / 'a/x', -1, 0)
    os.chown(path / 'a/deep', -1, 0)
    os.lchown(path / 'link', 0, 0)
    r = user.fsctl('site', 'import', 'shop', path)
    told = [line for line in r.stderr.splitlines() if 'warning' in line]
    assert sorted(told) == [f'fsctl: warning: not carried over: {name} (owner or group)'
                            for name in ('a/deep', 'a/x', 'link')]
    live = pathlib.Path(user.fsctl('path', 'shop').stdout.strip())
    assert (live / 'a/x').read_text() == 'a/x'
    assert os.lstat(live / 'link').st_uid == os.stat(live).st_uid != 0
    assert user.fsctl('clone', 'shop', 'copy').stderr == ''
    for number in range(2000):
        (path / f'{number}').touch()
    r = user.fsctl('site', 'import', 'large', path)
    assert 'not carried over: 1' in r.stderr and len(r.stderr.splitlines()) < 200, r.stderr


@pytest.mark.parametrize('mode', ['move', 'link'])
@pytest.mark.parametrize('name', ['a/x', 'link', 'a/deep', '.'])
def test_import__of_an_ordinary_user_keeps_owners_or_changes_nothing(user, mode, name):
    path = user.outside / 'shop'
    os.chown(path / name, -1, 0, follow_symlinks=False)
    before = content(user.outside)
    status, answer = user.ask({'kind': 'site-import', 'name': 'shop', 'dir': str(path),
                               'mode': mode})
    error = answer['job']['error']
    assert status == 200 and error['code'] == 'foreign_owner', answer
    assert error['object'] == (f'{path}: {name}' if name != '.' else str(path))
    uid = path.stat().st_uid
    assert f'({uid}:0)' in error['reason'] and 'without --move or --link' in error['hint'], error
    assert content(user.outside) == before
    assert user.fsctl('site', 'list', '-q').stdout == ''
    assert os.listdir(user.pools['main'] / '.fsd/staging') == []
    os.chown(path / name, -1, path.stat().st_gid if name != '.' else
             pathlib.Path(user.folder).stat().st_gid, follow_symlinks=False)
    job = user.json('site', 'import', 'shop', path, f'--{mode}')['job']
    assert job['state'] == 'done' and not job['result'].get('failed'), job
    assert path.is_symlink() == (mode == 'link')


def test_import_link__of_an_ordinary_user_leaves_late_writes_of_others_aside(user):
    path = user.outside / 'shop'
    user.steps.until('tree.made', {'kind': 'site-import', 'name': 'shop', 'dir': str(path),
                                   'mode': 'link'})
    (path / 'late').write_text('late')
    job = user.steps.go_on()
    aside = user.outside / f'shop.fsd-{job["id"]}'
    assert f'late in {aside}: its owner and group (0:0) cannot' in job['result']['warnings'][0]
    assert [f['path'] for f in job['result']['failed']] == [str(aside)]
    assert (aside / 'late').read_text() == 'late' and not (path / 'late').exists()


def test_eject__of_an_ordinary_user_keeps_owners_or_changes_nothing(user):
    user.fsctl('site', 'import', 'shop', user.outside / 'shop')
    live = pathlib.Path(user.fsctl('path', 'shop').stdout.strip())
    os.chown(live / 'a/x', -1, 0)
    out = user.outside / 'out'
    status, answer = user.ask({'kind': 'site-eject', 'site': 'shop', 'dir': str(out)})
    error = answer['job']['error']
    assert (status, error['code'], error['object']) == (200, 'foreign_owner', 'shop: a/x'), answer
    assert 'fsctl restore --to' in error['hint']
    assert os.listdir(user.outside) == ['shop'] and (live / 'a/x').stat().st_gid == 0
    assert 'a/x (owner or group)' in user.fsctl('restore', 'shop', '--to', out).stderr


# ---- import by copy ----

@pytest.mark.parametrize('mode', ['copy', 'move', 'link'])
def test_import__takes_for_fsds_own_only_what_can_be(host, mode):
    """A name that merely begins like a work directory is the site's, also in what is made of it."""
    path = host.make()
    theirs = ('.fsd-cache/x', '.fsd-1', 'a/.fsd-1m8c7azcv', '.fsd-packages/x',
              'a/.nfs0000000000a1b2c300000001/x')
    (path / '.fsd-cache').mkdir(mode=0o700)
    (path / '.fsd-packages').mkdir(mode=0o700)
    (path / 'a/.nfs0000000000a1b2c300000001').mkdir()
    for name in theirs:
        (path / name).write_text('theirs')
    own = path / '.fsd-1m8c7azcv'
    own.mkdir(mode=0o700)
    (own / 'kept').write_text('for undo')
    (own / '.fsd-work').touch()
    wait_until_older(path)
    job = host.job(kind='site-import', name='shop', dir=str(path), mode=mode)
    assert job['state'] == 'done', job['error']
    wait_until_older(host.live())
    warned, = job['result']['warnings']
    assert own.name in warned
    kept = path
    if mode == 'link' or (mode == 'move' and host.kind == 'btrfs'):
        kept = pathlib.Path(job['result']['failed'][0]['path'])  # not all of it is in the site
    elif mode == 'move':
        kept = host.live()
    assert (kept / own.name / 'kept').read_text() == 'for undo'
    host.done(kind='snapshot', site='shop', name='s')
    for source, name in (('shop', 'copy'), ('shop@s', 'copy-of-s')):
        host.done(kind='clone', source=source, name=name)
        for theirs_too in theirs:
            assert (host.live(name) / theirs_too).read_text() == 'theirs'
        assert not (host.live(name) / own.name).exists()


def test_import__copies_a_directory_and_leaves_it(host):
    path = host.make()
    before, ino = content(path), path.stat().st_ino
    job = host.imported(path)
    assert job['result']['site']['name'] == 'shop' and job['result']['site']['linked'] is None
    assert job['result']['site']['origin'] == str(path)
    same(before, path)
    assert path.stat().st_ino == ino
    same(before, host.live())
    live = host.live()
    assert (live / 'a/x').stat().st_ino == (live / 'a/twin').stat().st_ino
    assert os.lstat(live).st_uid == 1000
    assert job['undoable'] is False
    (live / 'index.php').write_text('changed')
    assert (path / 'index.php').read_text() == 'index.php old'
    if host.kind == 'btrfs':
        assert job['stats']['method'] == 'reflink'


def test_import__plan_says_what_would_happen(host, scratch):
    path, before = host.make(), None
    before = host.look()
    for mode in ('copy', 'move', 'link'):
        status, answer = host.ask(kind='site-import', name='shop', dir=str(path), mode=mode,
                                  dry_run=True)
        assert status == 200 and str(path) in ' '.join(answer['plan']['steps'])
        assert answer['plan']['confirm'] is None
        assert answer['plan']['method'] == ('reflink' if host.kind == 'btrfs' else 'copy')
    assert 'for 7d' in answer['plan']['steps'][-1]
    other = str(host.make('other', scratch))
    answer = host.ask(kind='site-import', name='shop', dir=other, dry_run=True)[1]
    assert answer['plan']['method'] == 'copy'
    shutil.rmtree(other)
    assert host.look() == before


def test_import__takes_what_is_strangely_written(host):
    path = host.make('sh op')
    job = host.imported(f'{host.outside}//./sh op/')
    same(path, host.live())
    assert job['result']['site']['origin'] == str(path)
    raw = os.fsencode(host.outside) + b'/b\xff'
    os.mkdir(raw)
    assert host.job(kind='site-import', name='other',
                    dir='\ufffd' + str(host.outside) + '/b\\xff')['state'] == 'done'


def test_import__while_it_is_written(host):
    """What comes out is whole files of one time or another, and the log says so if not settled."""
    path = host.make()
    stop = threading.Event()

    def write():
        n = 0
        while not stop.is_set():
            (path / 'a' / f'new{n % 50}').write_text(str(n))
            n += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        job = host.imported(path)
    finally:
        stop.set()
        thread.join()
    assert job['stats']['consistency'] in ('settled', 'fuzzy')
    assert (host.live() / 'index.php').read_text() == 'index.php old'


# ---- what is refused ----

def test_import__refuses_what_is_no_directory(host, scratch):
    path = host.make()
    file = host.outside / 'file'
    file.write_text('x')
    os.symlink(path, host.outside / 'sym')
    host.import_refused('not_found', host.outside / 'missing')
    host.import_refused('not_found', host.outside / 'missing/deeper')
    host.import_refused('not_a_directory', file)
    host.import_refused('not_a_directory', file / 'below')
    host.import_refused('is_symlink', host.outside / 'sym')
    host.import_refused('is_symlink', host.outside / 'sym/a')
    host.import_refused('bad_path', f'{path}/../shop')
    host.import_refused('bad_request', 'shop')
    assert host.sites() == []


@pytest.mark.parametrize('mode', ['copy', 'move', 'link'])
def test_import__refuses_pools_and_the_system(host, mode):
    path = host.make()
    host.imported(path, name='first')
    for inside in ('sites', 'sites/first/gen/1/tree', 'sites/first/gen/1/tree/a', '.fsd'):
        host.import_refused('inside_pool', host.pool / inside, mode=mode)
    host.import_refused('inside_pool', host.pool, mode=mode)
    host.import_refused('holds_pool', host.root, mode=mode)
    for system in ('/', '/etc', '/usr', '/proc', '/proc/self', '/dev', '/sys/kernel', '/tmp',
                   '/var'):
        error = host.ask(kind='site-import', name='shop', dir=system, mode=mode)[1]
        assert error['code'] in ('system_directory', 'holds_pool', 'is_symlink'), (system, error)
    if mode != 'copy':
        host.import_refused('system_directory', '/usr/share/doc', mode=mode)
    assert host.sites() == ['first']


@pytest.mark.parametrize('mode', ['copy', 'move', 'link'])
def test_import__refuses_a_nested_file_system(host, mode):
    path = host.make()
    since = host.steps.count()
    subprocess.run(['mount', '-t', 'tmpfs', 'none', str(path / 'a')], check=True)
    try:
        assert host.import_refused('nested_filesystem', path, mode=mode)['object'] == f'{path}: a'
    finally:
        subprocess.run(['umount', str(path / 'a')], check=True)
    if host.kind == 'btrfs':
        subprocess.run(['btrfs', '-q', 'subvolume', 'create', str(path / 'sub')], check=True)
        refused = host.import_refused('nested_filesystem', path, mode=mode)
        assert refused['object'] == f'{path}: sub'
    if mode != 'move':  # as a rename it is looked at by the driver
        assert 'stage.made' not in host.steps.names(since)
    assert host.sites() == []


@pytest.mark.parametrize('mode', ['move', 'link'])
def test_import__refuses_to_take_away_a_mount(host, mode, mount):
    other = mount('ext4', '200M', 'other')
    host.import_refused('mount_point', other, mode=mode)
    host.imported(other)
    assert os.path.ismount(other)


def test_import__other_peers_only_from_beneath_import_from(host, scratch):
    path, elsewhere = host.make(), host.make('shop', scratch)
    before = host.look()
    answer = host.as_nobody({'kind': 'site-import', 'name': 'shop', 'dir': str(elsewhere)})
    assert answer['code'] == 'outside_import_from', answer
    answer = host.as_nobody({'kind': 'site-import', 'name': 'shop', 'dir': str(host.outside)})
    assert answer['code'] == 'outside_import_from', answer
    os.symlink(scratch, host.outside / 'way-out')
    before = host.look()
    answer = host.as_nobody({'kind': 'site-import', 'name': 'shop',
                             'dir': f'{host.outside}/way-out/shop'})
    assert answer['code'] == 'is_symlink', answer
    assert host.look() == before
    answer = host.as_nobody({'kind': 'site-import', 'name': 'shop', 'dir': str(path)})
    assert answer['job']['state'] == 'done', answer
    answer = host.as_nobody({'kind': 'site-eject', 'site': 'shop', 'dir': str(scratch / 'out')})
    assert answer['code'] == 'outside_import_from', answer
    assert host.imported(elsewhere, name='roots')  # root may


def test_import__refuses_names_and_full_pools(host):
    path = host.make()
    host.imported(path)
    host.import_refused('name_taken', path)
    host.import_refused('reserved_name', path, name='latest')
    host.import_refused('bad_name', path, name='Shop')
    host.import_refused('not_found', path, name='x', pool='nothing')


@pytest.mark.parametrize('what', ['bytes', 'inodes'])
def test_import__full_pool_leaves_nothing(what, make_daemon, mount, scratch):
    small = mount('ext4', '64M', 'small')
    daemon = make_daemon({'main': small / 'pool'}).start()
    path = scratch / 'big'
    path.mkdir()
    if what == 'bytes':
        (path / 'file').write_bytes(os.urandom(80 << 20))
    else:
        for n in range(os.statvfs(small).f_ffree + 1):
            os.mknod(path / str(n))
    size = len(os.listdir(path))
    for mode in ('copy', 'move', 'link'):
        _, answer = daemon.ask({'kind': 'site-import', 'name': 'shop', 'dir': str(path),
                                'mode': mode})
        assert answer['job']['error']['code'] == 'no_space', answer
        assert answer['job']['error']['object'] and answer['job']['error']['hint'], answer
        assert os.listdir(small / 'pool/.fsd/staging') == os.listdir(small / 'pool/sites') == []
        assert len(os.listdir(path)) == size
    if what == 'bytes':
        assert (path / 'file').stat().st_size == 80 << 20


# ---- import by move ----

def test_import_move__is_a_rename_where_it_can_be(host):
    path = host.subvolume() if host.kind == 'btrfs' else host.make()
    before, ino = content(path), (path / 'index.php').stat().st_ino
    job = host.imported(path, 'move')
    assert not path.exists() and os.listdir(host.outside) == []
    same(before, host.live())
    assert (host.live() / 'index.php').stat().st_ino == ino
    assert job['stats']['method'] == 'move'
    assert job['result']['site']['method'] == 'move'
    host.done(kind='snapshot', site='shop', name='s')
    host.done(kind='clone', source='shop@s', name='copy')
    same(before, host.live('copy'))


def test_import_move__copies_compares_and_puts_aside_elsewhere(host, scratch):
    path = elsewhere(host, scratch)
    before = content(path)
    plan = host.ask(kind='site-import', name='shop', dir=str(path), mode='move', dry_run=True)[1]
    assert f'{path}.fsd-JOB for 7d' in plan['plan']['steps'][-1]
    job = host.imported(path, 'move')
    same(before, host.live())
    assert not path.exists()
    kept = aside(path, job)
    assert job['result']['kept']['path'] == str(kept)
    assert job['result']['kept']['until'] > job['result']['site']['created']
    same(before, kept)
    undo_is_over(host)
    wait_for(lambda: not kept.exists() and 'parked' not in site_json(host, 'shop'))
    same(before, host.live())
    # what was read once more to compare it was not copied
    assert job['stats']['entries'] == len(before) - 1  # without the directory itself
    assert job['stats']['method'] == ('reflink' if host.kind == 'btrfs' else 'copy')


def test_import_move__of_a_site_that_goes_takes_what_was_put_aside_along(host, scratch):
    path = elsewhere(host, scratch)
    kept = aside(path, host.imported(path, 'move'))
    site = site_json(host, 'shop')['id']
    assert host.job(kind='site-delete', site='shop', confirm=True)['state'] == 'done'
    assert kept.exists()
    undo_is_over(host)
    wait_for(lambda: not (host.pool / '.fsd/deleted' / site).exists())
    assert not kept.exists()


def test_import_link__of_a_site_that_goes_does_not_wait_for_ever(host, mount):
    """For what was put aside on a disk that is read-only now: its owner has it in the end."""
    www = mount('ext4', size='64M', name='disk')
    path = host.make('shop', www)
    kept = aside(path, host.imported(path, 'link'))
    site = site_json(host, 'shop')['id']
    host.job(kind='site-delete', site='shop', confirm=True)
    subprocess.run(['mount', '-o', 'remount,ro', str(www)], check=True)
    host.daemon.stop()
    host.daemon.configure(undo_keep='1s')
    wait_for(lambda: time.time_ns() > (kept.stat().st_ctime_ns + 3 * 10**9))
    host.daemon.start()
    wait_for(lambda: not (host.pool / '.fsd/deleted' / site).exists())
    assert 'is given up: ' + str(kept) in host.daemon.log()
    assert (kept / 'index.php').exists() and checked(host.daemon)[0] == 0


def test_import__waits_for_who_holds_a_lease_on_a_file(host, lease):
    path = host.make()
    before = content(path)
    given = lease(path / 'index.php')
    host.imported(path)
    same(before, host.live())
    assert given
    lease(host.live() / 'index.php')
    assert host.job(kind='snapshot', site='shop', name='a')['state'] == 'done'
    lease(host.live() / 'index.php')
    (host.live() / 'a/x').write_text('changed')
    job = host.job(kind='diff', a='shop@a', b='shop')
    assert job['state'] == 'done', job['error']
    path = host.make('other')  # it is renamed, and flushed before
    lease(path / 'index.php')
    job = host.imported(path, 'move', name='other')
    assert job['stats']['method'] == ('reflink' if host.kind == 'btrfs' else 'move')


def test_import_link__does_not_wait_for_ever_for_one_who_keeps_his_leases(host, lease):
    """What came late and cannot be opened soon is told, and kept where it is: this is done at a
    start as well, before anybody is served."""
    path = host.make()
    host.steps.until('import.exchanged', {'kind': 'site-import', 'name': 'shop', 'dir': str(path),
                                          'mode': 'link'})
    where, = host.outside.glob('shop.fsd-*')
    for name in ('index.php', 'a/x', 'late'):
        (where / name).write_text('late')
        lease(where / name, kept=True)
    job = host.steps.go_on()
    assert job['state'] == 'done' and job['result']['failed'], job
    assert any('holds a lease on it' in f['reason'] for f in job['result']['failed']), job
    assert any(f['path'] == str(where) for f in job['result']['failed']), job
    assert (where / 'late').stat().st_size == 4 and 'parked' not in site_json(host, 'shop')


def test_import_move__of_what_cannot_be_carried_over_keeps_it(host, scratch):
    path = elsewhere(host, scratch)
    with socket.socket(socket.AF_UNIX) as s:
        cwd = os.getcwd()
        os.chdir(path)
        s.bind('socket')
        os.chdir(cwd)
    job = host.job(kind='site-import', name='shop', dir=str(path), mode='move')
    assert job['state'] == 'done'
    assert [f['path'] for f in job['result']['failed']] == [str(aside(path, job))]
    undo_is_over(host)
    assert (aside(path, job) / 'index.php').exists() and 'parked' not in site_json(host, 'shop')
    assert (host.live() / 'index.php').exists()


def test_import_move__that_fails_beside_a_scan_leaves_nothing_in_the_catalog(host):
    """What is being made stands in sites/ already, and is its job's to record."""
    path = host.subvolume() if host.kind == 'btrfs' else host.make()
    host.steps.until('import.adopting', {'kind': 'site-import', 'name': 'shop',
                                         'dir': str(path), 'mode': 'move'})
    assert os.listdir(host.pool / 'sites') == ['shop']
    scan = host.job(kind='pool-scan', pool='main')
    assert scan['state'] == 'done' and not scan['result']['failed'], scan
    assert host.sites() == []
    path.rename(host.outside / 'away')
    assert host.steps.go_on()['state'] == 'failed'
    assert os.listdir(host.pool / 'sites') == [] and host.sites() == []
    host.imported(host.outside / 'away', 'move')
def test_import_move__tells_what_is_kept_whatever_its_name(host, scratch):
    path = elsewhere(host, scratch)
    os.mknod(path / 'socket', stat.S_IFSOCK | 0o600)
    wait_until_older(path / 'socket')
    path.rename(os.fsdecode(os.fsencode(path.parent) + b'/caf\xe9'))
    r = host.daemon.fsctl('--json', 'site', 'import', 'shop', f'{path.parent}/caf\udce9', '--move',
                          check=False)
    job = json.loads(r.stdout)['job']
    assert r.returncode == 8 and job['state'] == 'done'
    assert [f['path'] for f in job['result']['failed']] == [
        f'\ufffd{path.parent}/caf\\xe9.fsd-{job["id"]}']


def aside(path, job):
    return path.parent / f'{path.name}.fsd-{job["id"]}'


def elsewhere(host, scratch):
    """Where a move cannot be a rename."""
    return host.make('shop', host.outside if host.kind == 'btrfs' else scratch)


def test_import_move__deletes_nothing_when_the_copy_is_bad(host, scratch):
    path = elsewhere(host, scratch)
    before = content(path)
    host.steps.until('tree.made', {'kind': 'site-import', 'name': 'shop',
                                   'dir': str(path), 'mode': 'move'})
    staged = next((host.pool / '.fsd/staging').glob('*/gen/1/tree/a/deep/z'))
    st = staged.stat()
    staged.write_text('a/deep/z bad')
    os.utime(staged, ns=(st.st_atime_ns, st.st_mtime_ns))
    job = host.steps.go_on()
    assert job['error']['code'] == 'verify_failed'
    assert job['error']['object'] == f'{path}: a/deep/z'
    assert 'content' in job['error']['reason'] and job['error']['hint'], job['error']
    same(before, path)
    assert host.sites() == []
    host.clean()


def test_import_move__takes_late_writes_along(host, scratch):
    path = elsewhere(host, scratch)
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'move'})
    if host.kind == 'btrfs':  # that was the attempt by rename; now the copy's
        host.steps.on('tree.made')
        host.steps.on('renamed')
    (path / 'index.php').write_text('late')
    (path / 'a/late').write_text('late')
    job = host.steps.go_on()
    assert job['state'] == 'done' and not job['result'].get('failed')
    assert (host.live() / 'index.php').read_text() == 'late'
    assert (host.live() / 'a/late').read_text() == 'late'
    assert not path.exists() and aside(path, job).exists()


def test_import_move__keeps_what_was_written_after_the_last_look(host, scratch):
    """By somebody who holds a file and a directory of it, between merge and end, and later."""
    path = elsewhere(host, scratch)
    log = os.open(path / 'index.php', os.O_WRONLY | os.O_APPEND)
    held = os.open(path / 'a', os.O_RDONLY | os.O_DIRECTORY)
    host.steps.until('import.merged', {'kind': 'site-import', 'name': 'shop',
                                       'dir': str(path), 'mode': 'move'})
    os.write(log, b' and more')
    os.close(os.open('order', os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=held))
    job = host.steps.go_on()
    assert job['state'] == 'done' and not job['result'].get('failed'), job['result']
    os.write(log, b' still')
    os.close(log)
    os.close(held)
    undo_is_over(host)
    wait_for(lambda: 'parked' not in site_json(host, 'shop'))
    kept = aside(path, job)
    assert (kept / 'index.php').read_text() == 'index.php old and more still'
    assert (kept / 'a/order').exists()
    assert told(host, 'import.late_writes') == [
        {'directory': str(kept), 'total': 3, 'paths': ['a', 'a/order', 'index.php']}]


def replaced(work):
    """What is kept in a work directory."""
    return [p.read_text() for p in work.iterdir() if p.name.isdigit() and p.is_file()]


def told(host, kind):
    return [{**e['data'], 'paths': sorted(e['data']['paths'])}
            for e in host.daemon.http('GET', '/v1/events?limit=100')[1]['items']
            if e['kind'] == kind]


@pytest.mark.parametrize('step', ['import.aside', 'import.merged'])
def test_import_move__killed_behind_the_commit_goes_on(host, scratch, step):
    path = elsewhere(host, scratch)
    before = content(path)
    host.steps.until(step, {'kind': 'site-import', 'name': 'shop',
                            'dir': str(path), 'mode': 'move'})
    job = host.steps.restart()
    assert job['state'] == 'done' and not job['result'].get('failed'), job['result']
    assert not job['result'].get('warnings'), job['result']
    assert [p.name for p in path.parent.glob('shop*')] == [aside(path, job).name]
    assert site_json(host, 'shop')['parked']['path'] == str(aside(path, job))
    same(before, host.live())


@pytest.mark.parametrize('mode, step', [('link', 'import.exchanged'), ('move', 'import.aside')])
def test_import__that_no_job_knows_any_more_is_told_until_it_is_mended(host, scratch, mode, step):
    """Killed, and the catalog lost: only site.json says that not all of it is done."""
    path = elsewhere(host, scratch)
    host.steps.until(step, {'kind': 'site-import', 'name': 'shop', 'dir': str(path), 'mode': mode})
    assert checked(host.daemon)[0] == 0  # the job is at work
    aside, = path.parent.glob('shop.fsd-*')
    (aside / 'index.php').write_text('late')
    host.daemon.stop(signal.SIGKILL)
    host.steps.set_hold('')
    host.daemon.lose_catalog()
    for status, words in ((8, 'pool scan main'), (1, 'pool check main'), (1, 'status --check')):
        r = host.daemon.fsctl(*words.split(), check=False)
        said = r.stdout + r.stderr
        assert r.returncode == status and 'its import was cut short' in said, r
        assert str(path) in said and aside.name[len('shop'):] in said, r
    doc = site_json(host, 'shop')
    noted = doc.pop('import')
    if mode == 'link':
        doc['linked'] = noted['path']
    (host.pool / 'sites/shop/site.json').write_text(json.dumps(doc))
    host.daemon.fsctl('pool', 'scan', 'main')
    host.daemon.fsctl('pool', 'check', 'main')
    assert checked(host.daemon)[0] == 0
    if mode == 'link':
        host.done(kind='site-rename', site='shop', name='boutique')
        assert os.readlink(path) == str(host.live('boutique'))
    assert (aside / 'index.php').read_text() == 'late'


# ---- import by link ----

def test_import_link__exchanges_the_directory_for_a_symlink(host):
    path = host.make()
    before = content(path)
    job = host.imported(path, 'link')
    assert os.readlink(path) == str(host.live())
    assert os.lstat(path).st_uid == 1000
    same(before, path)
    kept = host.outside / f'shop.fsd-{job["id"]}'
    same(before, kept)
    assert job['result']['site']['linked'] == str(path)
    host.done(kind='site-rename', site='shop', name='boutique')
    same(before, path)
    host.daemon.stop()
    host.daemon.start()
    assert kept.exists()
    undo_is_over(host)
    wait_for(lambda: not kept.exists() and 'parked' not in site_json(host, 'boutique'))
    same(before, path)


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


def test_import_link__gives_nothing_away_but_the_link(host):
    """The owner of DIR's folder puts a file of root's in the place of the new link."""
    path = host.make()
    secret = host.outside / 'secret'
    secret.write_text('secret')
    secret.chmod(0o600)
    host.steps.until('outside.linked', {'kind': 'site-import', 'name': 'shop',
                                        'dir': str(path), 'mode': 'link'})
    link, = host.outside.glob('shop.fsd-*')
    os.rename(secret, link)
    job = host.steps.go_on()
    assert job['state'] == 'done' and 'in the place of' in job['result']['failed'][0]['reason'], job
    assert (link.stat().st_uid, link.read_text()) == (0, 'secret')
    assert path.is_dir() and not path.is_symlink()


def test_import_link__says_what_is_kept_and_until_when(host):
    path = host.make()
    said = host.daemon.fsctl('site', 'import', 'shop', path, '--link').stdout
    kept, = host.outside.glob('shop.fsd-*')
    assert re.search(rf'^what was copied is kept as {kept} until \d{{4}}-', said, re.M), said


def test_import_link__keeps_what_was_written_into_the_old_directory(host):
    """Somebody still holds the directory: a bind mount, a working directory."""
    path = host.make()
    held = os.open(path / 'a', os.O_RDONLY | os.O_DIRECTORY)
    job = host.imported(path, 'link')
    kept = host.outside / f'shop.fsd-{job["id"]}'
    os.close(os.open('order', os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=held))
    os.close(held)
    undo_is_over(host)
    wait_for(lambda: 'parked' not in site_json(host, 'shop'))
    assert (kept / 'a/order').exists() and (kept / 'index.php').exists()
    assert not (host.live() / 'a/order').exists()
    assert told(host, 'import.late_writes') == [
        {'directory': str(kept), 'total': 2, 'paths': ['a', 'a/order']}]
    assert 'still in use' in host.daemon.log() and 'take over what you need' in host.daemon.log()


def test_import_link__goes_on_removing_the_old_directory_after_a_crash(host):
    """What is removed of it changes the times of the rest: that is nobody's writing."""
    path = host.make()
    kept = host.outside / f'shop.fsd-{host.imported(path, "link")["id"]}'
    with host.steps.held('kept.removing') as reached:
        undo_is_over(host)
        reached()
        host.daemon.stop(signal.SIGKILL)
        next(p for p in (kept / 'a').iterdir() if p.is_file()).unlink()
    host.daemon.start()
    wait_for(lambda: not kept.exists() and 'parked' not in site_json(host, 'shop'))
    assert not told(host, 'import.late_writes')


@pytest.mark.parametrize('ends', ['killed', 'at a mount'])
def test_import_link__looks_again_before_it_goes_on_removing(host, ends):
    """Whoever writes then may give it any time."""
    z, path = host.make('z'), host.make()
    kept = host.outside / f'shop.fsd-{host.imported(path, "link")["id"]}'
    late = kept / 'a/new'
    if ends == 'at a mount':
        subprocess.run(['mount', '--bind', str(z), str(kept / 'a/deep')], check=True)
        try:
            undo_is_over(host)
            host.daemon.wait_log('cannot remove a directory that import put aside')
        finally:
            subprocess.run(['umount', str(kept / 'a/deep')], check=True)
        assert not (kept / 'index.php').exists()
        host.daemon.stop()
    else:
        with host.steps.held('kept.removing') as reached:
            undo_is_over(host)
            reached()
            host.daemon.stop(signal.SIGKILL)
    late.write_text('late')
    os.utime(late, (1, 1))
    host.daemon.start()
    wait_for(lambda: 'parked' not in site_json(host, 'shop'))
    assert late.read_text() == 'late'
    assert told(host, 'import.late_writes') == [
        {'directory': str(kept), 'total': 1, 'paths': ['a/new']}]


@pytest.mark.parametrize('link', ['its own', 'gone', 'out of reach'])
def test_import_link__leads_to_the_site_that_is_back_by_another_name(host, link):
    folder = host.outside / 'customer'
    path = host.make('shop', folder)
    before = content(path)
    site = host.imported(path, 'link')['result']['site']['id']
    host.job(kind='site-delete', site='shop', confirm=True)
    back = {'kind': 'site-undelete', 'site': site, 'name': 'boutique'}
    plan = host.ask(**back, dry_run=True)[1]['plan']
    assert f'point {path} to it' in plan['steps']
    if link == 'gone':
        path.unlink()
    if link == 'out of reach':
        os.rename(folder, host.outside / 'moved')
    job = host.done(**back)
    said = job['result'].get('warnings', [])
    if link == 'its own':
        assert os.readlink(path) == str(host.live('boutique')) and not said
        same(before, path)
        assert [p.name for p in folder.glob('*')].count('shop') == 1
        assert not list(folder.glob(f'*{job["id"]}'))
        undone = host.done(kind='undo', job=job['id'], confirm=True)
        assert undone['result']['warnings'] == [f'{path} is a symlink to it and will dangle']
    elif link == 'gone':
        assert not path.is_symlink() and f'{path} does not lead to this site' in said[0], said
    else:
        assert 'does not exist; once that is mended, ' in said[0] and 'leads' not in said[0], said
        os.rename(host.outside / 'moved', folder)
        way, = re.findall(r', (ln -sfnT .*) does it', said[0])
        subprocess.run(way.split(), check=True)
        same(before, path)
        host.done(kind='site-rename', site='boutique', name='store1')
        same(before, path)


@pytest.mark.parametrize('by', ['import', 'create', 'under way', 'import by another name'])
def test_import_link__stays_with_the_site_that_has_it_by_now(host, by):
    """What a deleted site had is not taken away from anybody, whose visitors come by it."""
    path = host.make('shop')
    site = host.imported(path, 'link')['result']['site']['id']
    host.job(kind='site-delete', site='shop', confirm=True)
    owner, name, imports = 'shop', 'boutique', by.startswith('import')
    if by == 'import by another name':
        owner, name = 'boutique', 'shop'
    if imports:
        path.unlink()
        (host.make('shop') / 'index.php').write_text('new')
        host.imported(path, 'link', name=owner)
    elif by == 'create':
        host.done(kind='site-create', name=owner)
    else:
        host.steps.until('job.ran', {'kind': 'site-create', 'name': owner})
    back = {'kind': 'site-undelete', 'site': site, 'name': name}
    plan = host.ask(**back, dry_run=True)[1]['plan']
    said, = plan['warnings']
    assert f'{path} belongs to what is named {owner} by now: it is left alone' in said
    assert f'point {path} to it' not in plan['steps']
    if by == 'under way':
        host.steps.go_on()
    job = host.done(**back)
    assert job['result']['warnings'] == [said] and job['result']['site']['linked'] is None
    assert os.readlink(path) == str(host.live(owner))
    assert 'linked' not in json.loads((host.live(name).parent / 'site.json').read_text())
    assert host.daemon.json('site', 'show', owner)['linked'] == (str(path) if imports else None)
    # The ways on: back again, which takes nothing from the other, or the command that was told.
    undone = host.job(kind='undo', job=job['id'], confirm=True)
    assert undone['state'] == 'done' and 'warnings' not in undone['result'], undone
    assert os.readlink(path) == str(host.live(owner)) and path.is_dir()
    host.done(kind='undo', job=undone['id'])
    subprocess.run(re.search(r'; (ln -sfnT .*) points it there', said)[1].split(), check=True)
    assert (path / 'index.php').read_text() == 'index.php old'


@pytest.mark.parametrize('step', ['intent.committed', 'job.ran'])
def test_import_link__that_is_given_up_is_told_after_a_crash(host, step):
    path = host.make('shop')
    site = host.imported(path, 'link')['result']['site']['id']
    host.job(kind='site-delete', site='shop', confirm=True)
    host.done(kind='site-create', name='shop')
    host.steps.until(step, {'kind': 'site-undelete', 'site': site, 'name': 'boutique'})
    job = host.steps.restart()
    assert job['state'] == 'done' and job['result']['site']['linked'] is None, job
    said, = job['result']['warnings']
    assert f'{path} belongs to what is named shop by now: it is left alone' in said


def test_import_link__follows_where_another_pool_has_the_old_name(make_daemon, mount):
    root = mount('ext4')
    other = root / 'other'
    host = Host(make_daemon, root, 'ext4')
    host.daemon.stop()
    host.daemon.pools['other'] = other
    other.mkdir()
    host.daemon.configure()
    host.daemon.start()
    path = host.make('shop')
    before = content(path)
    site = host.imported(path, 'link', pool='main')['result']['site']['id']
    host.job(kind='site-delete', site='shop', confirm=True)
    host.done(kind='site-create', name='shop', pool='other')
    job = host.done(kind='site-undelete', site=site, name='boutique')
    assert 'warnings' not in job['result'] and job['result']['site']['linked'] == str(path), job
    assert os.readlink(path) == str(host.live('boutique'))
    same(before, path)


def test_import_link__is_only_touched_while_it_is_the_sites_own(host, scratch):
    """The folder of the link belongs to others: what they put in its way is left alone."""
    rename = {'kind': 'site-rename', 'site': 'shop', 'name': 'boutique'}
    folder = host.outside / 'customer'
    path = host.make('shop', folder)
    host.imported(path, 'link')
    precious = scratch / 'precious'
    precious.mkdir()
    os.symlink(os.readlink(path), precious / 'shop')
    os.rename(folder, host.outside / 'moved')
    os.symlink(precious, folder)
    assert 'has to follow' in host.refused('is_symlink', **rename)['hint']
    assert os.readlink(precious / 'shop') == str(host.live())
    folder.unlink()
    os.rename(host.outside / 'moved', folder)
    path.unlink()
    os.symlink('/elsewhere', path)
    host.done(**rename)
    assert os.readlink(path) == '/elsewhere'
    host.refused('exists', kind='site-eject', site='boutique', dir=str(path))
    host.done(kind='site-eject', site='boutique', dir=str(host.outside / 'out'))
    assert os.readlink(path) == '/elsewhere'


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


def test_import_link__is_one_exchange(host):
    """At no time there is nothing at the path: the link comes before the directory goes."""
    path = host.make()
    host.steps.until('import.linked', {'kind': 'site-import', 'name': 'shop', 'dir': str(path),
                                       'mode': 'link'})
    with watched(host.outside) as seen:
        host.steps.on('import.exchanged')
        job = host.steps.go_on()
        aside = f'shop.fsd-{job["id"]}'
        assert seen() == [('from', aside), ('to', 'shop'), ('from', 'shop'), ('to', aside)]


def test_import_link__readers_never_miss_a_file(host):
    path = host.make()
    stop, reads = threading.Event(), []

    def read():
        while not stop.is_set():
            reads.append((path / 'a/deep/z').read_text() == 'a/deep/z old')

    thread = threading.Thread(target=read)
    thread.start()
    try:
        host.imported(path, 'link')
    finally:
        stop.set()
        thread.join()
    assert reads and all(reads)


def test_import_link__brings_over_what_was_written_meanwhile(host):
    """The copy is held up between the site's commit and the exchange; the old directory and the new
    one are both written to."""
    path = host.make()
    for name in ('late', 'both', 'gone', 'theirs'):
        (path / name).write_text('old')
    wait_until_older(path / 'theirs')
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    live = host.live()
    assert not os.path.islink(path)
    (path / 'late').write_text('late')
    (path / 'a/new').write_text('new')
    (path / 'dir').mkdir()
    (path / 'dir/inner').write_text('new')
    (path / 'both').write_text('old one')
    (live / 'both').write_text('new one')
    (path / 'gone').unlink()
    (live / 'theirs').write_text('new one')
    (live / 'added').write_text('new one')
    path.chmod(0o700)
    job = host.steps.go_on()
    assert job['state'] == 'done', job['error']
    assert os.readlink(path) == str(live)
    read = {p: (live / p).read_text() for p in ('late', 'a/new', 'dir/inner', 'both', 'gone',
                                                'theirs', 'added')}
    assert read == {'late': 'late', 'a/new': 'new', 'dir/inner': 'new', 'both': 'new one',
                    'gone': 'old', 'theirs': 'new one', 'added': 'new one'}
    warnings = ' '.join(job['result']['warnings'])
    assert 'both in' in warnings and 'gone in' in warnings
    assert f". in {path}.fsd-{job['id']}: the directory's owner, mode" in warnings, warnings
    assert 'theirs' not in warnings and 'late in' not in warnings
    # What was replaced may be held by somebody: it is kept, like what a restore of paths replaces.
    assert [n for n in os.listdir(live) if n.startswith('.fsd-')] == [f'.fsd-{job["id"]}']
    assert 'old' in replaced(live / f'.fsd-{job["id"]}')
    kept = pathlib.Path(job['result']['failed'][0]['path'])
    assert kept == host.outside / f'shop.fsd-{job["id"]}'
    undo_is_over(host)
    assert (kept / 'both').read_text() == 'old one' and 'parked' not in site_json(host, 'shop')


def test_import_link__leaves_a_directory_that_was_replaced(host):
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    os.rename(path, host.outside / 'away')
    path.mkdir()
    job = host.steps.go_on()
    assert job['state'] == 'done'
    assert [f['path'] for f in job['result']['failed']] == [str(path)]
    assert job['result']['site']['linked'] is None
    assert path.is_dir() and not path.is_symlink()
    assert sorted(os.listdir(host.outside)) == ['away', 'shop']


def test_import_link__gives_back_what_an_exchange_took_out(host):
    """A visitor writes into the live tree between the look at it and the exchange, and the daemon
    is killed before it could see that."""
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'index.php').write_text('late')
    host.steps.on('late.staged')
    (host.live() / 'a/new').write_text('a visitor')
    os.rename(host.live() / 'a/new', host.live() / 'index.php')
    host.steps.on('late.exchanged')
    assert (host.live() / 'index.php').read_text() == 'late'
    job = host.steps.restart()
    assert job['state'] == 'done', job['error']
    assert (host.live() / 'index.php').read_text() == 'a visitor'
    assert any('index.php in' in w for w in job['result']['warnings'])
    assert not [n for n in os.listdir(host.live()) if n.startswith('.fsd-')]


def test_import_link__brings_over_what_has_the_size_and_time_of_the_copy(host):
    """As packages and rsync -t give them: only the ctime says that the file is another one."""
    path = host.make()
    os.utime(path / 'index.php', ns=(10**18, 10**18))
    old = (path / 'index.php').read_text()
    wait_until_older(path)
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    new = old.upper()
    (path / 'new').write_text(new)
    os.utime(path / 'new', ns=(10**18, 10**18))
    os.rename(path / 'new', path / 'index.php')
    job = host.steps.go_on()
    assert job['state'] == 'done' and not job['result'].get('failed'), job['result']
    assert old != new and (host.live() / 'index.php').read_text() == new


def test_import_link__replaces_no_directory_of_the_new_tree(host):
    """One that became a symlink in the old tree: visitors write below it in the new one."""
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    os.rename(path / 'a', host.outside / 'disk')
    os.symlink(host.outside / 'disk', path / 'a')
    host.steps.on('import.exchanged')
    (host.live() / 'a/deep/upload').write_text('a visitor')
    job = host.steps.go_on()
    assert job['state'] == 'done', job['error']
    assert (host.live() / 'a/deep/upload').read_text() == 'a visitor'
    assert any('a in' in w and 'directory in the copy' in w for w in job['result']['warnings'])
    assert job['result']['failed'] and 'parked' not in site_json(host, 'shop')


def test_import_link__killed_in_a_merge_gives_no_file_the_content_of_another(host):
    """One late write is in place, the next one waits for it."""
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'a/deep/z').write_text('z, late')
    (path / 'index.php').write_text('index, late')
    for step in ('late.staged', 'late.exchanged', 'late.staged'):
        host.steps.on(step)
    job = host.steps.restart()
    assert job['state'] == 'done' and not job['result'].get('failed'), job
    assert (host.live() / 'a/deep/z').read_text() == 'z, late'
    assert (host.live() / 'index.php').read_text() == 'index, late'
    kept = host.live() / f'.fsd-{job["id"]}'
    assert sorted(p.read_text() for p in kept.iterdir() if p.name.isdigit()) == [
        'a/deep/z old', 'index.php old']


def test_import_link__killed_while_the_work_directory_is_made_keeps_it_out_of_the_site(host):
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'index.php').write_text('late')
    host.steps.on('work.made')
    job = host.steps.restart()
    assert job['state'] == 'done', job
    assert (host.live() / f'.fsd-{job["id"]}/0').read_text() == 'index.php old'
    host.done(kind='clone', source='shop', name='copy')
    assert not list(host.live('copy').glob('.fsd-*'))


@pytest.mark.parametrize('kill_at', [(), ('late.staged', 'late.exchanged', 'late.put')])
def test_import_link__brings_all_names_of_a_file_over_as_one(host, kill_at):
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'a/x').write_text('late')
    os.link(path / 'a/x', path / 'third')
    for step in kill_at:
        host.steps.on(step)
    job = host.steps.restart() if kill_at else host.steps.go_on()
    assert job['state'] == 'done' and not job['result'].get('failed'), job['result']
    names = [host.live() / name for name in ('a/x', 'a/twin', 'third')]
    assert [p.read_text() for p in names] == 3 * ['late']
    assert len({p.stat().st_ino for p in names}) == 1 and names[0].stat().st_nlink == 3
    kept = [p for p in (host.live() / f'.fsd-{job["id"]}').iterdir() if p.name.isdigit()]
    assert [p.read_text() for p in kept] == 2 * ['a/x old']


def test_import_link__tells_what_is_written_to_a_file_that_a_late_write_replaced(host):
    """Somebody opened the copy before the later one came: he goes on writing into what was taken
    out."""
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'index.php').write_text('late')
    host.steps.on('late.staged')
    held = os.open(host.live() / 'index.php', os.O_WRONLY | os.O_APPEND)
    job = host.steps.go_on()
    assert job['state'] == 'done' and not job['result'].get('failed'), job['result']
    assert (host.live() / 'index.php').read_text() == 'late'
    os.write(held, b' and a visitor')
    os.close(held)
    undo_is_over(host)
    wait_for(lambda: told(host, 'replaced.late_writes'))
    kept = host.live().resolve() / f'.fsd-{job["id"]}'
    assert told(host, 'replaced.late_writes') == [
        {'directory': str(kept), 'total': 1, 'paths': ['index.php']}]
    assert (kept / '0').read_text() == 'index.php old and a visitor'
    undo_is_over(host)
    wait_for(lambda: not kept.exists())


def test_kept__is_told_of_who_sets_the_time_of_what_he_wrote(host):
    """As rsync --inplace, unzip or an FTP server do."""
    host.imported(host.make())
    host.done(kind='snapshot', site='shop', name='s')
    with open(host.live() / 'index.php', 'a') as held:
        before = os.stat(held.fileno())
        host.done(kind='restore', source='shop@s', site='shop', paths=['index.php'])
        held.write(' and a visitor')
        held.flush()
        os.utime(held.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
    undo_is_over(host)
    wait_for(lambda: told(host, 'replaced.late_writes'))


def test_kept__is_told_of_who_sets_the_time_while_others_are_still_replaced(host):
    site = host.make()
    (site / 'about.php').write_text('about')
    host.imported(site)
    host.done(kind='snapshot', site='shop', name='s')
    for name in ('about.php', 'index.php'):
        (host.live() / name).write_text('changed')
    with open(host.live() / 'about.php', 'a') as held:
        before = os.stat(held.fileno())
        host.steps.until('change.placed', {
            'kind': 'restore', 'source': 'shop@s', 'site': 'shop',
            'paths': ['about.php', 'index.php']})
        itself = pathlib.Path(f'/proc/self/fd/{held.fileno()}')
        wait_until_older(itself)
        held.write(' and a visitor')
        held.flush()
        os.utime(held.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
        wait_until_older(itself)
        assert host.steps.go_on()['state'] == 'done'
    undo_is_over(host)
    wait_for(lambda: told(host, 'replaced.late_writes'))


@pytest.mark.parametrize('kind, step', [('restore', 'change.placed'), ('import', 'late.exchanged')])
def test_kept__is_told_of_who_sets_the_time_after_a_crash(host, kind, step):
    path = host.make()
    if kind == 'import':
        host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop', 'dir': str(path),
                                     'mode': 'link'})
        held = open(host.live() / 'index.php', 'a', encoding='ascii')
        (path / 'index.php').write_text('late')
        host.steps.on(step)
    else:
        host.imported(path)
        host.done(kind='snapshot', site='shop', name='s')
        (host.live() / 'index.php').write_text('changed')
        held = open(host.live() / 'index.php', 'a', encoding='ascii')
        host.steps.until(step, {'kind': 'restore', 'source': 'shop@s', 'site': 'shop',
                                'paths': ['index.php']})
    with held:
        before = os.stat(held.fileno())
        assert host.steps.restart()['state'] == 'done'
        wait_until_older(pathlib.Path(f'/proc/self/fd/{held.fileno()}'))
        held.write(' and a visitor')
        held.flush()
        os.utime(held.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
    undo_is_over(host)
    wait_for(lambda: told(host, 'replaced.late_writes'))


def test_kept__goes_with_all_names_of_a_file_when_nobody_writes(host):
    """Each rename of one moves the ctime of them all."""
    host.imported(host.make())
    host.done(kind='snapshot', site='shop', name='s')
    (host.live() / 'a/x').write_text('changed')  # its twin, too
    host.steps.until('change.placed', {
        'kind': 'restore', 'source': 'shop@s', 'site': 'shop', 'paths': ['a/twin', 'a/x']})
    wait_until_older(host.live() / 'a/twin')
    job = host.steps.go_on()
    assert job['state'] == 'done' and not job['result'].get('failed'), job
    kept = host.live().resolve() / f'.fsd-{job["id"]}'
    assert (kept / '0').samefile(kept / '1')
    undo_is_over(host)
    wait_for(lambda: not kept.exists())
    assert not told(host, 'replaced.late_writes')


def test_kept__is_told_before_it_is_noted_as_told(host):
    """A crash in between tells twice rather than never."""
    host.imported(host.make())
    host.done(kind='snapshot', site='shop', name='s')
    held = os.open(host.live() / 'index.php', os.O_WRONLY | os.O_APPEND)
    job = host.done(kind='restore', source='shop@s', site='shop', paths=['index.php'])
    wait_until_older(host.live() / f'.fsd-{job["id"]}/plan.json')
    os.write(held, b' and a visitor')
    os.close(held)
    with host.steps.held('meta.stored') as noted:
        undo_is_over(host)
        noted()
        assert told(host, 'replaced.late_writes')


def aged(host, site, ago):
    """What import put aside counts as put there so many seconds ago; fsd is stopped."""
    file = host.pool / 'sites' / site / 'site.json'
    doc = json.loads(file.read_text())
    since = doc['parked']['since']
    doc['parked']['since'] = time.time_ns() - ago * 10**9
    file.write_text(json.dumps(doc))
    return since


def test_import_link__finds_what_was_put_aside_when_its_disk_comes_later(host, mount):
    """At a start whose sweep comes before the mount; that it has come is seen at another site."""
    www = mount('ext4', size='64M', name='disk')
    path = host.make('shop', www)
    job = host.imported(path, 'link')
    kept = aside(path, job)
    host.imported(host.make('zoo'), 'link', name='zoo')
    host.daemon.stop()
    since = aged(host, 'shop', 5400)
    aged(host, 'zoo', 5400)
    subprocess.run(['umount', str(www)], check=True)
    try:
        host.daemon.configure(undo_keep='1h')
        host.daemon.start()
        wait_for(lambda: 'parked' not in site_json(host, 'zoo'))
    finally:
        subprocess.run(['mount', '-o', 'loop', str(www) + '.img', str(www)], check=True)
    assert kept.exists() and 'parked' in site_json(host, 'shop')
    host.daemon.stop()
    doc = site_json(host, 'shop')
    doc['parked']['since'] = since
    (host.pool / 'sites/shop/site.json').write_text(json.dumps(doc))
    undo_is_over(host)
    wait_for(lambda: not kept.exists() and 'parked' not in site_json(host, 'shop'))


@pytest.mark.parametrize('what', ['it', 'its folder'])
def test_import_link__forgets_what_was_put_aside_when_its_owner_removed_it(host, what):
    folder = host.outside / 'customer'
    path = host.make('shop', folder)
    kept = aside(path, host.imported(path, 'link'))
    host.daemon.stop()
    aged(host, 'shop', 3 * 3600 if what == 'its folder' else 5400)
    shutil.rmtree(folder if what == 'its folder' else kept)
    host.daemon.configure(undo_keep='1h')
    host.daemon.start()
    wait_for(lambda: 'parked' not in site_json(host, 'shop'))
    assert ('is given up' in host.daemon.log()) == (what == 'its folder')


@pytest.mark.parametrize('kind', ['link', 'move', 'eject'])
def test_late_writes__are_told_after_a_crash_at_the_very_end(host, scratch, kind):
    """Everything is done, but the outcome is not recorded yet."""
    path = host.make(where=scratch if kind == 'move' else None)
    if kind == 'eject':
        host.imported(path)
        old, new = host.live(), scratch / 'out'
        host.steps.until('copy_out.placed', {'kind': 'site-eject', 'site': 'shop', 'dir': str(new)})
    else:
        old, new = path, host.live()
        host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop', 'dir': str(old),
                                     'mode': kind})
    (old / 'index.php').write_text('old one')
    (new / 'index.php').write_text('new one')
    host.steps.on('outcome.put')
    job = host.steps.restart()
    assert job['state'] == 'done', job
    assert any('index.php in' in w for w in job['result']['warnings']), job['result']
    assert bool(job['result'].get('failed')) == (kind != 'eject')


# ---- eject ----

def test_eject__gives_back_a_plain_directory(host):
    path = host.make()
    before = content(path)
    host.imported(path)
    host.done(kind='snapshot', site='shop', name='s')
    out = host.outside / 'out'
    plan = host.ask(kind='site-eject', site='shop', dir=str(out), dry_run=True)[1]['plan']
    assert str(out) in plan['steps'][0] and 'snapshots stay' in plan['steps'][-1]
    job = host.eject(out)
    same(before, out)
    assert job['result']['dir'] == str(out) and job['stats']['method'] == plan['method']
    assert host.sites() == [] and os.listdir(host.pool / 'sites') == []
    assert len(host.daemon.http('GET', '/v1/snapshots')[1]['items']) == 1
    if host.kind == 'btrfs':
        r = subprocess.run(['btrfs', 'subvolume', 'show', str(out)], check=False,
                           capture_output=True)
        assert r.returncode != 0  # a plain directory
        assert host.job(kind='undo', job=job['id'])['state'] == 'done'
        same(before, host.live())
        same(before, out)
    else:
        assert job['undoable'] is False
        assert host.ask(kind='undo', job=job['id'])[1]['code'] == 'nothing_to_undo'
        host.imported(out, 'move')
        same(before, host.live())


def test_eject__leaves_out_what_fsd_kept_for_undo(host):
    host.imported(host.make())
    host.done(kind='snapshot', site='shop', name='s')
    (host.live() / 'index.php').write_text('a visitor')
    restored = host.done(kind='restore', source='shop@s', paths=['index.php'])
    out, beside = host.outside / 'out', host.outside / f'out.fsd-{restored["id"]}'
    plan = host.ask(kind='site-eject', site='shop', dir=str(out), dry_run=True)[1]['plan']
    job = host.eject(out)
    assert not [n for n in os.listdir(out) if n.startswith('.fsd-')]
    # The tree itself went away: what a visitor wrote is beside it. A copy leaves it in the site.
    said = f'{out}.fsd-JOB' in ' '.join(plan['steps']), beside.name in ' '.join(
        job['result'].get('warnings', []))
    if host.kind == 'btrfs':
        assert said == (False, False) and not beside.exists()
    else:
        assert said == (True, True) and (beside / '0').read_text() == 'a visitor'


def test_eject__looks_into_what_was_kept_for_undo_before_it_goes(host, scratch):
    host.imported(host.make())
    host.done(kind='snapshot', site='shop', name='s')
    held = os.open(host.live() / 'a', os.O_RDONLY | os.O_DIRECTORY)
    host.done(kind='restore', source='shop@s', paths=['a'])
    host.eject(scratch / 'out')
    os.close(os.open('order', os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=held))
    os.close(held)
    undo_is_over(host)
    wait_for(lambda: told(host, 'eject.late_writes'))
    assert told(host, 'eject.late_writes')[0]['paths'] == ['a', 'a/order']


@pytest.mark.parametrize('kind', ['site-eject', 'restore-to'])
def test_copy_out__is_what_was_made_or_nothing(host, scratch, kind):
    """The owner of DIR's parent puts something of his own in the place of what is being filled."""
    host.imported(host.make())
    host.done(kind='snapshot', site='shop', name='s')
    request = {'site': 'shop'} if kind == 'site-eject' else {'source': 'shop@s'}
    host.steps.until('copy_out.filled', {'kind': kind, **request, 'dir': str(scratch / 'out')})
    side, = scratch.glob('out.fsd-*')
    os.rename(side, scratch / 'stolen')
    side.mkdir()
    (side / 'f').write_text('theirs')
    job = host.steps.go_on()
    assert job['state'] == 'failed' and job['error']['code'] == 'source_changed', job
    assert (side / 'f').read_text() == 'theirs' and not (scratch / 'out').exists()
    assert (host.live() / 'index.php').exists()


def test_eject__to_another_file_system_is_a_copy_and_can_be_undone(host, scratch):
    path = host.make()
    host.imported(path)
    job = host.eject(scratch / 'out')
    same(path, scratch / 'out')
    assert job['result']['site']['deleted']
    host.done(kind='undo', job=job['id'])
    same(path, host.live())


def test_eject__leaves_the_site_when_the_copy_is_bad(host, scratch):
    host.imported(host.make())
    before = content(host.live())
    host.steps.until('copy_out.filled', {'kind': 'site-eject', 'site': 'shop',
                                      'dir': str(scratch / 'out')})
    copied = next(scratch.glob('out.fsd-*')) / 'a/deep/z'
    st = copied.stat()
    copied.write_text('a/deep/z bad')
    os.utime(copied, ns=(st.st_atime_ns, st.st_mtime_ns))
    job = host.steps.go_on()
    assert job['error']['code'] == 'verify_failed'
    assert job['error']['object'] == 'shop: a/deep/z'
    same(before, host.live())
    assert not list(scratch.glob('out*'))
    host.clean()


def test_eject__takes_late_writes_along(host, scratch):
    host.imported(host.make())
    host.steps.until('copy_out.placed', {'kind': 'site-eject', 'site': 'shop',
                                      'dir': str(scratch / 'out')})
    (host.live() / 'index.php').write_text('late')
    (host.live() / 'a/late').write_text('late')
    (host.live() / 'a/x').write_text('late')
    (scratch / 'out/a/x').write_text('new')
    job = host.steps.go_on()
    assert job['state'] == 'done', job['error']
    assert (scratch / 'out/index.php').read_text() == 'late'
    assert (scratch / 'out/a/late').read_text() == 'late'
    assert (scratch / 'out/a/x').read_text() == 'new'
    assert 'a/x in shop' in ' '.join(job['result']['warnings'])
    assert not list(scratch.glob('out/.fsd-*'))
    # What was replaced may be held by somebody.
    assert 'index.php old' in replaced(scratch / f'out.fsd-{job["id"]}')
    assert f'out.fsd-{job["id"]}' in ' '.join(job['result']['warnings'])
    # What could not be brought over is only there, and told before it goes.
    undo_is_over(host)
    wait_for(lambda: told(host, 'eject.late_writes'))
    assert 'a/x' in told(host, 'eject.late_writes')[0]['paths']


def test_eject__keeps_and_tells_what_was_written_into_the_site_since(host, scratch):
    """Somebody still holds the tree that was copied."""
    host.imported(host.make())
    held = os.open(host.live() / 'a', os.O_RDONLY | os.O_DIRECTORY)
    ejected = host.eject(scratch / 'out')['result']['site']
    site = ejected['id']

    def noted():
        document = json.loads((host.pool / '.fsd/deleted' / site / 'site.json').read_text())
        return document['deleted'] // 10**6  # the API has milliseconds

    def told_by_api(site):
        when = datetime.datetime.fromisoformat(site['deleted'].replace('Z', '+00:00'))
        return round(when.timestamp() * 1000)

    first = noted()
    os.close(os.open('order', os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=held))
    os.close(held)
    kept = host.pool / '.fsd/deleted' / site / 'live'
    undo_is_over(host)
    wait_for(lambda: told(host, 'eject.late_writes'))
    assert told(host, 'eject.late_writes') == [
        {'directory': str(kept), 'total': 2, 'paths': ['a', 'a/order']}]
    assert (kept / 'a/order').exists() and not (scratch / 'out/a/order').exists()
    assert 'it is kept' in host.daemon.log() and str(scratch / 'out') in host.daemon.log()
    # Told once, it goes when undo_keep is over anew.
    assert first == told_by_api(ejected)
    wait_for(lambda: noted() > first)
    assert noted() == told_by_api(host.daemon.http('GET', '/v1/sites?deleted=true')[1]['items'][0])
    undo_is_over(host)
    wait_for(lambda: not kept.parent.exists())
    assert len(told(host, 'eject.late_writes')) == 1


def test_eject__whose_late_writes_cannot_be_brought_over_keeps_them(host, scratch):
    host.imported(host.make())
    host.steps.until('copy_out.placed', {'kind': 'site-eject', 'site': 'shop',
                                         'dir': str(scratch / 'out')})
    site = site_json(host, 'shop')['id']
    (host.live() / 'late').write_text('late')
    wait_until_older(host.live())
    running = host.daemon.http('GET', '/v1/jobs?limit=1')[1]['items'][0]['id']
    (scratch / f'out/.fsd-{running}').write_text('in the way')
    job = host.steps.go_on()
    assert job['state'] == 'done' and job['result']['failed'], job
    undo_is_over(host)
    wait_for(lambda: told(host, 'eject.late_writes'))
    assert 'late' in told(host, 'eject.late_writes')[0]['paths']
    assert (host.pool / '.fsd/deleted' / site / 'live/late').read_text() == 'late'


def test_eject__is_told_before_its_time_begins_anew(host, scratch):
    host.imported(host.make())
    held = os.open(host.live() / 'a', os.O_RDONLY | os.O_DIRECTORY)
    host.eject(scratch / 'out')
    os.close(os.open('order', os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=held))
    os.close(held)
    with host.steps.held('meta.stored') as noted:
        undo_is_over(host)
        noted()
        assert told(host, 'eject.late_writes')


def test_eject__by_rename_cannot_be_undone_after_a_crash_at_its_end_either(host):
    host.imported(host.make())
    host.steps.until('outcome.put', {'kind': 'site-eject', 'site': 'shop',
                                     'dir': str(host.outside / 'out')})
    job = host.steps.restart()
    moved = host.kind != 'btrfs'
    assert job['state'] == 'done' and (job['stats']['method'] == 'move') == moved, job
    if moved:
        host.refused('nothing_to_undo', kind='undo', job=job['id'])
    else:
        host.done(kind='undo', job=job['id'])


def test_eject__keeps_a_site_that_cannot_be_looked_at_and_says_so(host, scratch):
    host.imported(host.make())
    site = host.eject(scratch / 'out')['result']['site']['id']
    kept = host.pool / '.fsd/deleted' / site
    (kept / 'live').unlink()
    undo_is_over(host)
    wait_for(lambda: site in host.daemon.fsctl('status', '--check', check=False).stdout)
    assert kept.exists()
    assert str(kept) in host.daemon.fsctl('status', check=False).stdout


def test_eject__takes_the_place_of_its_own_link(host):
    path = host.make()
    before = content(path)
    linked = host.imported(path, 'link')
    host.eject(path)
    assert path.is_dir() and not path.is_symlink()
    same(before, path)
    assert sorted(os.listdir(host.outside)) == ['shop', f'shop.fsd-{linked["id"]}']


def test_eject__that_is_undone_says_that_its_directory_is_not_the_site(host, scratch):
    path = host.make(where=scratch)
    host.imported(path, 'link')
    job = host.eject(path)
    said = [f'{path}, to which it was ejected, stays a plain directory: it is not linked to the '
            'site']
    assert host.ask(kind='undo', job=job['id'], dry_run=True)[1]['plan']['warnings'] == said
    undone = host.done(kind='undo', job=job['id'])
    assert undone['result']['warnings'] == said
    assert undone['result']['site']['linked'] is None and not path.is_symlink()
    host.done(kind='site-delete', site='shop', confirm=True)
    undone = host.done(kind='site-undelete', site='shop')
    assert 'warnings' not in undone['result'], undone


def test_eject__takes_the_place_of_its_own_link_by_one_exchange(host):
    path = host.make()
    host.imported(path, 'link')
    ready = 'copy_out.filled' if host.kind == 'btrfs' else 'eject.released'
    host.steps.until(ready, {'kind': 'site-eject', 'site': 'shop', 'dir': str(path)})
    with watched(host.outside) as seen:
        host.steps.on('copy_out.placed')
        aside = f'shop.fsd-{host.steps.go_on()["id"]}'
        assert seen()[:4] == [('from', aside), ('to', 'shop'), ('from', 'shop'), ('to', aside)]


def test_eject__readers_of_the_link_never_miss_a_file(host):
    path = host.make()
    host.imported(path, 'link')
    stop, read_once = threading.Event(), threading.Event()
    gaps, found = 0, True

    def read():
        nonlocal gaps, found
        while not stop.is_set():
            before = found
            found = (path / 'a/deep/z').exists()
            gaps += before and not found
            read_once.set()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert read_once.wait(TIMEOUT)
        host.eject(path)
    finally:
        stop.set()
        thread.join()
    # A tree that is moved out is gone from where the link leads before it takes the link's place.
    assert gaps <= (0 if host.kind == 'btrfs' else 1)
    assert (path / 'a/deep/z').exists()


def test_eject__parks_other_generations_whole(host):
    path = host.make()
    host.imported(path)
    host.done(kind='generation-create', site='shop')
    host.done(kind='publish', site='shop', generation=2)
    (host.live() / 'index.php').write_text('of 2')
    job = host.eject(host.outside / 'out')
    assert (host.outside / 'out/index.php').read_text() == 'of 2'
    site = job['result']['site']['id']
    if host.kind == 'btrfs':
        host.done(kind='site-undelete', site=site)
        assert (host.live() / 'index.php').read_text() == 'of 2'
        return
    warning, = host.done(kind='site-undelete', site=site)['result']['warnings']
    assert f'became {host.outside / "out"}: generation 1 is live' in warning
    assert (host.live() / 'index.php').read_text() == 'index.php old'
    host.done(kind='site-delete', site='shop', confirm=True)
    assert 'warnings' not in host.done(kind='site-undelete', site=site)['result']
    host.done(kind='generation-create', site='shop')
    host.done(kind='publish', site='shop', generation=3)
    host.eject(host.outside / 'again')
    undo_is_over(host)
    wait_for(lambda: not (host.pool / '.fsd/deleted' / site).exists())


def test_eject__plan_says_what_no_undo_takes_back(host, scratch):
    host.imported(host.make())
    for path, undoable in ((host.outside / 'out', host.kind == 'btrfs'), (scratch / 'out', True)):
        _, answer = host.ask(kind='site-eject', site='shop', dir=str(path), dry_run=True)
        steps = ' '.join(answer['plan']['steps'])
        assert ('which no undo takes back' in steps) != undoable, steps


def test_eject__refuses(host):
    path = host.make()
    host.imported(path)
    eject = {'kind': 'site-eject', 'site': 'shop'}
    out = str(host.outside / 'out')
    host.refused('exists', **eject, dir=str(path))
    os.symlink('/nowhere', host.outside / 'sym')
    host.refused('exists', **eject, dir=str(host.outside / 'sym'))
    host.refused('not_found', **eject, dir=out + '/deeper')
    host.refused('inside_pool', **eject, dir=str(host.pool / 'sites/x'))
    host.refused('inside_pool', **eject, dir=str(host.live() / 'x').replace('live', 'gen/1/tree'))
    host.refused('system_directory', **eject, dir='/etc/x')
    host.refused('is_symlink', **eject, dir=str(host.outside / 'sym/x'))
    host.refused('bad_path', **eject, dir=out + '/../y')
    host.refused('not_found', kind='site-eject', site='nothing', dir=out)
    host.done(kind='site-set', site='shop', set={'protected': 'yes'})
    host.refused('protected', **eject, dir=out)


@contextlib.contextmanager
def dead_mount(where):
    """A file system whose server takes requests and answers none; yields what is readable when it
    has one."""
    where.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    fuse = os.open('/dev/fuse', os.O_RDWR | os.O_CLOEXEC)
    try:
        options = f'fd={fuse},rootmode=40755,user_id=0,group_id=0'.encode()
        if libc.mount(b'dead', bytes(where), b'fuse', 0, options) < 0:
            pytest.skip(f'cannot mount FUSE: {os.strerror(ctypes.get_errno())}')
        try:
            # <linux/fuse.h>: FUSE_INIT comes first, and only after its answer come the others
            unique, = struct.unpack_from('8xQ', os.read(fuse, 1 << 20))
            os.write(fuse, struct.pack('<IiQII56x', 80, 0, unique, 7, 31))
            yield fuse
        finally:
            libc.umount2(bytes(where), 2)  # MNT_DETACH
    finally:
        os.close(fuse)  # who waits for an answer has ENOTCONN


def test_import__refuses_what_lies_in_a_directory_that_a_job_names(host):
    alias = host.root / 'alias'
    alias.symlink_to(host.outside)
    host.daemon.stop()
    host.daemon.configure(import_from=f'{host.outside}:{alias}')
    host.daemon.start()
    host.imported(host.make('other'), name='other')
    path = host.make()
    host.steps.until('tree.made', {'kind': 'site-import', 'name': 'shop', 'dir': str(path),
                                   'mode': 'link'})
    at_work = host.daemon.http('GET', '/v1/jobs?limit=1')[1]['items'][0]['id']
    for request in ({'kind': 'site-import', 'name': 'new', 'dir': f'{path}/a', 'mode': 'link'},
                    {'kind': 'site-import', 'name': 'new', 'dir': f'{alias}/shop/a'},
                    {'kind': 'site-import', 'name': 'new', 'dir': str(host.outside)},
                    {'kind': 'site-eject', 'site': 'other', 'dir': f'{path}/a/out'},
                    {'kind': 'restore-to', 'source': 'other', 'dir': f'{path}/a/out'}):
        for dry_run in (True, False):
            status, error = host.daemon.http('POST', '/v1/jobs', {**request, 'dry_run': dry_run})
            assert (status, error.get('code')) == (409, 'busy'), (request, error)
            assert at_work in error['reason'] and str(path) in error['reason']
    assert host.steps.go_on()['state'] == 'done'
    assert sorted(os.listdir(host.live())) == ['a', 'index.php', 'link']


def test_import__of_any_name_is_known_as_taken_after_a_crash(host):
    path = host.make()
    raw = os.fsencode(path.parent) + b'/caf\xe9'
    path.rename(os.fsdecode(raw))
    text = f'\ufffd{path.parent}/caf\\xe9'
    request = {'kind': 'site-import', 'dir': text}
    host.steps.until('tree.made', {**request, 'name': 'first'})
    waits = host.daemon.http('POST', '/v1/jobs', {**request, 'name': 'second'})[1]['job']['id']
    host.daemon.stop(signal.SIGKILL)
    host.steps.thread.join()
    since = host.steps.count()
    host.daemon.start()
    host.steps.wait('tree.made', since)
    status, error = host.daemon.http('POST', '/v1/jobs', {'kind': 'site-import', 'name': 'third',
                                                          'dir': f'{text}/a'})
    assert (status, error.get('code')) == (409, 'busy') and waits in error['reason'], error


def test_import__from_storage_that_does_not_answer_keeps_nobody_waiting(make_daemon, scratch):
    www = scratch / 'www'
    www.mkdir()
    daemon = make_daemon(import_from=www).start()
    clients = []
    with contextlib.ExitStack() as mounts:
        for i in range(3):
            server = mounts.enter_context(dead_mount(www / f'dead{i}'))
            clients.append(subprocess.Popen(
                [program('tools/fsctl/fsctl'), 'site', 'import', f's{i}', www / f'dead{i}/shop'],
                env={**os.environ, 'FSD_URL': daemon.url()}, stderr=subprocess.PIPE, text=True))
            if i < 2:
                assert select.select([server], [], [], TIMEOUT)[0], daemon.log()  # it is in there
        daemon.fsctl('site', 'create', 'blog')
        daemon.fsctl('snapshot', 'blog@a')
        assert [c.poll() for c in clients] == [None] * 3
    for client in clients:
        assert client.wait(TIMEOUT) != 0
        said = client.stderr.read()
        assert 'dead' in said and 'shop' in said, said
        client.stderr.close()
