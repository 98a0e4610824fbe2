# SPDX-License-Identifier: LGPL-2.1-or-later
"""Directories become sites, by copy and by move."""

import contextlib
import ctypes
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading

import pytest

from conftest import TIMEOUT, checked, needs_root, program, wait_for
from outside import (aside, content, elsewhere, host, same, site_json, told, undo_is_over, user,
                     wait_until_older)

pytestmark = needs_root


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
