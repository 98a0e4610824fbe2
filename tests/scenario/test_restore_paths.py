# SPDX-License-Identifier: LGPL-2.1-or-later
"""Restore of chosen paths: what comes back, what stays, what is refused, and undo."""

import ctypes
import json
import os
import pathlib
import subprocess
import threading
import time

import pytest

from conftest import TIMEOUT, needs_root


@pytest.fixture(params=['btrfs', 'ext4', 'xfs'])
def shop(request, make_daemon, mount):
    """A daemon with the site "shop" and its snapshot "s"."""
    return Shop(make_daemon({'main': mount(request.param) / 'pool'}).start(), request.param)


class Shop:
    def __init__(self, daemon, kind):
        self.daemon = daemon
        self.kind = kind
        self.pool = pathlib.Path(daemon.pools['main'])
        daemon.fsctl('site', 'create', 'shop')
        self.live = self.pool / 'sites/shop/live'
        for name in ('index.php', 'a/x', 'a/y', 'a/deep/z', 'other'):
            self.write(name, 'old')
        os.symlink('a', self.live / 'link')
        os.chown(self.live / 'a/x', 1000, 1001)
        os.chmod(self.live / 'a/x', 0o640)
        os.chmod(self.live / 'a', 0o750)
        os.setxattr(self.live / 'a/x', 'user.note', b'kept')
        daemon.fsctl('snapshot', 'shop@s')

    def write(self, name, text):
        path = self.live / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(self, name):
        path = self.live / name
        return path.read_text() if os.path.lexists(path) else None

    def ask(self, **request):
        return self.daemon.ask(request)

    def job(self, **request):
        status, answer = self.ask(**request)
        assert status == 200, answer
        return answer['job']

    def restore(self, *paths, **more):
        job = self.job(kind='restore', paths=list(paths), **{'source': 'shop@s', **more})
        assert job['state'] == 'done', job['error']
        return job

    def undo(self, job, **more):
        return self.job(kind='undo', job=job['id'], **more)

    def refused(self, code, *paths, **more):
        """Nothing is changed and nothing left, not even a job."""
        before, jobs = self.look(), len(self.jobs())
        request = {'source': 'shop@s', **more}
        status, answer = self.ask(kind='restore', paths=list(paths), **request)
        assert (status >= 400, answer['code']) == (True, code), answer
        assert self.look() == before and len(self.jobs()) == jobs
        return answer

    def jobs(self):
        return self.daemon.http('GET', '/v1/jobs')[1]['items']

    def look(self):
        """Every entry of the live tree with what `ls -l` shows of it, and what staging holds."""
        out = {}
        for folder, dirs, files in os.walk(self.live):
            for name in dirs + files:
                path = os.path.join(folder, name)
                st = os.lstat(path)
                out[path] = (st.st_ino, st.st_mode, st.st_uid, st.st_size, st.st_mtime_ns,
                             st.st_ctime_ns)
        out['staging'] = os.listdir(self.pool / '.fsd/staging')
        return out

    def kept(self):
        return sorted(p.name for p in self.live.iterdir() if p.name.startswith('.fsd-'))


def changes(job):
    return {p['path']: p['change'] for p in job['result']['paths']}


def test_restore_paths__what_is_kept_for_undo_is_not_measured(shop):
    """It is no part of the tree: the next snapshot has as many entries."""
    shop.write('a/x', 'new' * 5000)
    shop.restore('a')
    assert [name for name in os.listdir(shop.live) if name.startswith('.fsd-')]
    site = shop.daemon.json('site', 'show', 'shop', '--measure')
    snapshot = shop.daemon.json('snapshot', 'show', 'shop@s', '--measure')
    assert site['entries'] == snapshot['entries'], (site, snapshot)
    assert site['bytes']['logical'] == snapshot['bytes']['logical'], (site, snapshot)


def test_restore_paths__what_is_kept_for_undo_is_not_counted_in_copies(shop):
    """Taken out of a snapshot of the tree, it is nothing that was copied."""
    shop.restore('a')
    stats = shop.job(kind='clone', source='shop', name='copy')['stats']
    entries = shop.daemon.json('site', 'show', 'copy', '--measure')['entries']
    assert stats['entries'] == (0 if stats['method'] == 'snapshot' else entries), stats


def test_restore_paths__brings_back_what_was_asked_for_and_nothing_else(shop):
    shop.write('a/x', 'new')
    shop.write('a/y', 'new')
    (shop.live / 'index.php').unlink()
    job = shop.restore('a/x', 'index.php')
    assert changes(job) == {'a/x': 'M', 'index.php': '+'}
    assert job['result']['site']['name'] == 'shop'
    assert (shop.read('a/x'), shop.read('index.php'), shop.read('a/y')) == ('old', 'old', 'new')
    st = (shop.live / 'a/x').stat()
    assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (1000, 1001, 0o640)
    assert os.getxattr(shop.live / 'a/x', 'user.note') == b'kept'
    assert shop.kept() == [f'.fsd-{job["id"]}']
    st = (shop.live / shop.kept()[0]).stat()
    assert (st.st_uid, st.st_mode & 0o7777) == (os.geteuid(), 0o700)
    assert os.listdir(shop.pool / '.fsd/staging') == []


def test_restore_paths__exchanges_a_directory_whole(shop):
    shop.write('a/deep/z', 'new')
    shop.write('a/added', 'new')
    assert changes(shop.restore('a')) == {'a': 'M'}
    assert shop.read('a/deep/z') == 'old' and shop.read('a/added') is None
    assert (shop.live / 'a').stat().st_mode & 0o7777 == 0o750
    diff = shop.job(kind='diff', a='shop@s', b='shop')
    assert {i['path'] for i in diff['result']['items']} <= {'.'}  # times included


def test_restore_paths__changes_the_type_of_what_is_there(shop):
    subprocess.run(['rm', '-r', str(shop.live / 'a'), str(shop.live / 'link')], check=True)
    shop.write('a', 'now a file')
    shop.write('link/inner', 'now a directory')
    job = shop.restore('a', 'link')
    assert shop.read('a/deep/z') == 'old' and os.readlink(shop.live / 'link') == 'a'
    shop.undo(job)
    assert shop.read('a') == 'now a file' and shop.read('link/inner') == 'now a directory'


def test_restore_paths__makes_missing_parents_with_nothing_but_the_path(shop):
    subprocess.run(['rm', '-r', str(shop.live / 'a')], check=True)
    job = shop.restore('a/deep/z', 'a/y')
    assert changes(job) == {'a/deep/z': '+', 'a/y': '+'}
    found = sorted(str(p.relative_to(shop.live / 'a')) for p in (shop.live / 'a').rglob('*'))
    assert found == ['deep', 'deep/z', 'y']
    assert (shop.live / 'a').stat().st_mode & 0o7777 == 0o750
    shop.undo(job)
    assert not (shop.live / 'a').exists()


def test_restore_paths__takes_a_path_once_however_often_it_is_named(shop):
    shop.write('a/x', 'new')
    job = shop.restore('a/x', 'a', 'a/deep', 'a')
    assert changes(job) == {'a': 'M'}


def test_restore_paths__reads_generations_and_other_sites(shop):
    shop.job(kind='generation-create', site='shop')
    shop.job(kind='publish', site='shop', generation=2)
    shop.write('a/x', 'new')
    assert shop.job(kind='restore', source='shop:1', paths=['a/x'])['state'] == 'done'
    assert shop.read('a/x') == 'old'
    shop.job(kind='clone', source='shop@s', name='copy')
    (shop.pool / 'sites/copy/live/a/x').write_text('of the copy')
    assert shop.job(kind='restore', source='copy', site='shop', paths=['a/x'])['state'] == 'done'
    assert shop.read('a/x') == 'of the copy'


def test_restore_paths__plan_changes_nothing(shop):
    (shop.live / 'a/x').unlink()
    before = shop.look()
    status, answer = shop.ask(kind='restore', source='shop@s', paths=['a/x', 'a/y'], dry_run=True)
    assert status == 200
    assert answer['plan']['steps'] == ['add a/x', 'replace a/y']
    assert answer['plan']['confirm'] is None
    assert shop.look() == before


def test_restore_paths__tells_of_newer_files_that_go_with_a_directory(shop):
    shop.write('a/new', 'uploaded since')
    told = 'a: files and directories that shop@s does not have (1) go with what is replaced; ' \
           'undo brings them back'
    answer = shop.ask(kind='restore', source='shop@s', paths=['a'], dry_run=True)[1]
    assert answer['plan']['warnings'] == [told]
    job = shop.job(kind='restore', source='shop@s', paths=['a'])
    assert job['result']['warnings'] == [told]
    assert not (shop.live / 'a/new').exists()
    assert shop.job(kind='undo', job=job['id'])['state'] == 'done'
    assert shop.read('a/new') == 'uploaded since'


def test_restore_paths__refuses_what_is_no_path_of_the_source(shop):
    assert shop.refused('not_found', 'a/x', 'a/gone')['object'] == 'a/gone'
    shop.refused('not_found', 'index.php/below')
    shop.refused('bad_path', 'link/x')
    shop.refused('bad_source', 'a/x', source='shop:1')
    for path in ('/etc/passwd', '../x', 'a/../x', '.', '', 'a//x', 'a/./x'):
        shop.refused('bad_request', path)
    shop.refused('bad_path', 'n' * 256)


def test_restore_paths__refuses_what_is_fsds_own_and_nothing_that_is_called_so(shop):
    names = ('.fsd-1m8c7azcv/x', '.fsd-packages/x', 'a/.nfs0000000000a1b2c300000001/x')
    for name in names:
        shop.write(name, 'old')
    (shop.live / '.fsd-packages').chmod(0o700)
    shop.write('a/x', 'new')
    job = shop.restore('a/x')
    own = f'.fsd-{job["id"]}'
    shop.job(kind='snapshot', site='shop', name='with')
    for name in names:
        shop.write(name, 'new')
    if shop.kind == 'btrfs':
        for path in (own, f'{own}/plan.json'):
            assert shop.refused('bad_path', path, source='shop@with')['object'] == path
    else:
        shop.refused('not_found', own, source='shop@with')
    shop.restore(*names, source='shop@with')
    assert [shop.read(name) for name in names] == ['old'] * 3


def test_restore_paths__says_what_has_the_name_it_needs(shop):
    """A job's id is the time in ms: who wants to be in the way makes those of the next seconds."""
    shop.write('a/x', 'new')
    now = time.time_ns() // 10**6
    for ms in range(now, now + 20000):
        (shop.live / f'.fsd-{crockford(ms)}').write_text('theirs')
    job = shop.job(kind='restore', source='shop@s', paths=['a/x'])
    assert (job['state'], job['error']['code']) == ('failed', 'in_the_way'), job
    assert job['error']['object'] == f'.fsd-{job["id"]}' and 'remove it' in job['error']['hint']
    assert shop.read('a/x') == 'new' and shop.read(f'.fsd-{job["id"]}') == 'theirs'


def crockford(n):
    digits = '0123456789abcdefghjkmnpqrstvwxyz'
    return (crockford(n >> 5) if n >> 5 else '') + digits[n & 31]


def test_restore_paths__refuses_what_stands_in_the_way(shop):
    subprocess.run(['rm', '-r', str(shop.live / 'a')], check=True)
    shop.write('a', 'a file')
    assert shop.refused('in_the_way', 'a/x')['object'] == 'a'
    (shop.live / 'a').unlink()
    os.symlink('/tmp', shop.live / 'a')
    assert shop.refused('in_the_way', 'a/x')['object'] == 'a'


@needs_root
def test_restore_paths__refuses_another_file_system_in_the_way(shop):
    subprocess.run(['mount', '-t', 'tmpfs', 'none', str(shop.live / 'a')], check=True)
    try:
        shop.refused('nested_filesystem', 'a/x')
        shop.refused('nested_filesystem', 'a')
    finally:
        subprocess.run(['umount', str(shop.live / 'a')], check=True)
    subprocess.run(['mount', '--bind', str(shop.live / 'a/deep'), str(shop.live / 'a')], check=True)
    try:
        shop.refused('nested_filesystem', 'a/x')
        shop.refused('nested_filesystem', 'a')
    finally:
        subprocess.run(['umount', str(shop.live / 'a')], check=True)


def test_restore_paths__undo_and_its_undo_are_exact(shop):
    shop.write('a/x', 'new')
    shop.write('a/added', 'new')
    (shop.live / 'index.php').unlink()
    before = shop.look()
    job = shop.restore('a', 'index.php')
    undone = shop.undo(job)
    assert undone['state'] == 'done', undone['error']
    assert changes(undone) == {'a': 'M', 'index.php': '-'}
    after = shop.look()
    for path, seen in before.items():
        renamed = path == str(shop.live / 'a')  # that is a change of status, and of nothing else
        assert path == 'staging' or after[path][:5 if renamed else 6] == seen[:5 if renamed else 6]
    assert shop.read('index.php') is None and shop.read('a/added') == 'new'
    again = shop.undo(undone)
    assert changes(again) == {'a': 'M', 'index.php': '+'}
    assert shop.read('a/x') == 'old' and shop.read('a/added') is None
    assert shop.ask(kind='undo', job=job['id'])[1]['code'] == 'already_undone'
    assert shop.undo(again)['state'] == 'done'
    assert shop.read('a/x') == 'new'


@pytest.mark.parametrize('change', ['top', 'below', 'added', 'removed', 'gone', 'mode', 'replaced'])
def test_restore_paths__undo_refuses_what_changed_since(shop, change):
    for name in ('a/x', 'a/deep/z', 'index.php'):
        shop.write(name, 'new')
    job = shop.restore('a', 'index.php')
    live = shop.live
    {'top': lambda: shop.write('index.php', 'late'),
     'below': lambda: shop.write('a/deep/z', 'late'),
     'added': lambda: shop.write('a/deep/more', 'late'),
     'removed': lambda: (live / 'a/deep/z').unlink(),
     'gone': lambda: (live / 'index.php').unlink(),
     'mode': lambda: os.chmod(live / 'a/x', 0o600),
     'replaced': lambda: (shop.write('tmp', 'late'), os.rename(live / 'tmp', live / 'index.php')),
     }[change]()
    before = shop.look()
    status, answer = shop.ask(kind='undo', job=job['id'])
    error = answer if status >= 400 else answer['job']['error']
    assert error['code'] == 'changed_since', answer
    assert error['reason'].split()[0].isdigit()
    assert shop.look() == before
    program, *args = error['hint'].removesuffix(' takes them back all the same').split()
    assert program == 'fsctl' and '--discard-since' in args
    shop.daemon.fsctl(*args)
    assert shop.read('a/x') == shop.read('a/deep/z') == shop.read('index.php') == 'new'


def test_restore_paths__undo_of_an_older_one_under_a_newer_is_refused(shop):
    shop.write('index.php', 'new')
    first, second = shop.restore('index.php'), shop.restore('index.php')
    assert shop.ask(kind='undo', job=first['id'])[1]['code'] == 'changed_since'
    shop.undo(second)
    # its entry was taken out and put back: most file systems keep no trace that nobody changed it
    status, answer = shop.ask(kind='undo', job=first['id'])
    if status != 200:
        assert answer['code'] == 'changed_since'
        assert shop.undo(first, discard_since=True)['state'] == 'done'
    assert shop.read('index.php') == 'new'
    shop.job(kind='generation-create', site='shop')
    third = shop.restore('other')
    shop.job(kind='publish', site='shop', generation=2)
    assert shop.ask(kind='undo', job=third['id'])[1]['code'] == 'changed_since'
    shop.job(kind='rollback', site='shop')
    assert shop.undo(third)['state'] == 'done'


def test_restore_paths__what_was_kept_is_not_in_copies_and_goes_in_time(shop):
    shop.write('a/x', 'new')
    job = shop.restore('a/x')
    shop.job(kind='clone', source='shop', name='copy')
    assert not list((shop.pool / 'sites/copy/live').glob('.fsd-*'))
    diff = shop.job(kind='diff', a='shop@s', b='shop')
    assert not [i for i in diff['result']['items'] if '.fsd-' in i['path']]
    foreign = shop.live / '.fsd-theirs'
    foreign.mkdir(mode=0o755)
    shop.daemon.stop()
    shop.daemon.start()
    assert shop.undo(shop.undo(job))['state'] == 'done'  # still there after a restart
    shop.daemon.stop()
    plan = shop.live / f'.fsd-{job["id"]}' / 'plan.json'
    doc = json.loads(plan.read_text())
    doc['done'] -= 8 * 86400 * 10**9  # a week is undo_keep
    plan.write_text(json.dumps(doc))
    shop.daemon.start()
    wait_until(lambda: shop.kept() == ['.fsd-theirs'])
    job = shop.jobs()[0]
    assert shop.ask(kind='undo', job=job['id'])[1]['code'] == 'nothing_to_undo'
    assert shop.read('a/x') == 'old'


def wait_until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@needs_root
def test_restore_paths__what_cannot_go_is_no_part_of_the_site(shop):
    """Something is mounted in what was replaced: the rest of it goes."""
    job = shop.restore('a')
    kept = shop.live / f'.fsd-{job["id"]}'
    where = (kept / '0/deep').resolve()
    subprocess.run(['mount', '-t', 'tmpfs', 'none', str(where)], check=True)
    try:
        undo_is_over(shop)
        wait_until(lambda: told(shop))  # it is newer
        undo_is_over(shop)
        shop.daemon.wait_log('cannot remove what was kept for undo')
        assert not (where.parent / 'x').exists()
    finally:
        where, = [p / '0/deep' for p in shop.live.resolve().glob('.fsd-*')]
        subprocess.run(['umount', str(where)], check=True)
    assert shop.kept() == [f'.fsd-gone-{job["id"]}']
    shop.job(kind='clone', source='shop', name='copy')
    assert not list((shop.pool / 'sites/copy/live').glob('.fsd-*'))
    shop.daemon.stop()
    shop.daemon.start()
    wait_until(lambda: not shop.kept())


def test_restore_paths__keeps_and_tells_what_is_written_into_what_was_replaced(shop):
    """Somebody stands in the directory, and has the file open."""
    held = os.open(shop.live / 'a', os.O_RDONLY | os.O_DIRECTORY)
    log = os.open(shop.live / 'index.php', os.O_WRONLY | os.O_APPEND)
    job = shop.restore('a', 'index.php')
    kept = (shop.live / f'.fsd-{job["id"]}').resolve()
    wait_until(lambda: time.time_ns() > (kept / 'plan.json').stat().st_mtime_ns + 10**7)
    os.write(log, b' since')
    os.close(os.open('order', os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=held))
    os.close(log)
    os.close(held)
    undo_is_over(shop)
    wait_until(lambda: told(shop))
    event, = told(shop)
    assert event['directory'] == str(kept)
    assert sorted(event['paths']) == ['a', 'a/order', 'index.php']
    assert shop.undo(job)['state'] == 'done'  # it is all there still
    assert shop.read('a/order') == '' and shop.read('index.php') == 'old since'


def told(shop):
    return [e['data'] for e in shop.daemon.http('GET', '/v1/events?limit=100')[1]['items']
            if e['kind'] == 'replaced.late_writes']


def undo_is_over(shop):
    shop.daemon.stop()
    shop.daemon.configure(undo_keep='1s')
    end = time.time_ns() + 10**9
    wait_until(lambda: time.time_ns() > end)
    shop.daemon.start()


@needs_root
def test_restore_paths__takes_no_directory_of_the_sites_users_for_its_own(shop):
    """A planted plan, or a work directory that is a symlink, is never read."""
    shop.write('a/x', 'new')
    job = shop.restore('a/x')
    name = f'.fsd-{job["id"]}'
    os.rename(shop.live / name, shop.live / 'moved')
    (shop.live / name).mkdir()
    os.chown(shop.live / name, 1000, 1000)
    subprocess.run(['cp', str(shop.live / 'moved/plan.json'), str(shop.live / name)], check=True)
    assert shop.ask(kind='undo', job=job['id'])[1]['code'] == 'nothing_to_undo'
    subprocess.run(['rm', '-r', str(shop.live / name)], check=True)
    os.symlink('moved', shop.live / name)
    assert shop.ask(kind='undo', job=job['id'])[1]['code'] == 'nothing_to_undo'
    os.unlink(shop.live / name)
    os.rename(shop.live / 'moved', shop.live / name)
    assert shop.undo(job)['state'] == 'done'
    assert shop.read('a/x') == 'new'


def test_restore_paths__stays_in_the_tree_while_directories_are_swapped(shop, scratch):
    """The site's users replace a parent by a symlink to elsewhere, as fast as they can."""
    outside = scratch / 'outside'
    outside.mkdir()
    (outside / 'x').write_text('precious')
    os.symlink(outside, shop.live / 'swap')
    stop, swaps = threading.Event(), []

    def swap():
        while not stop.is_set():
            exchange(shop.live / 'a', shop.live / 'swap')
            swaps.append(1)

    thread = threading.Thread(target=swap)
    thread.start()
    done = 0
    try:
        rounds = 0
        while rounds < 100 or not done or len(swaps) <= 1000:
            rounds += 1
            status, answer = shop.ask(kind='restore', source='shop@s', paths=['a/x'])
            assert status == 200 or answer['code'] == 'in_the_way', answer
            done += status == 200
    finally:
        stop.set()
        thread.join()
    assert (outside / 'x').read_text() == 'precious'
    assert os.listdir(outside) == ['x']
    assert os.listdir(shop.pool / '.fsd/staging') == []


def exchange(a, b):
    if ctypes.CDLL(None, use_errno=True).renameat2(-100, bytes(a), -100, bytes(b), 2) != 0:
        raise OSError(ctypes.get_errno(), 'exchange')


def test_restore_paths__thousands_at_once(shop):
    names = [f'many/{n:04}' for n in range(3000)]
    for name in names:
        shop.write(name, 'old')
    shop.job(kind='snapshot', site='shop', name='t')
    for name in names:
        (shop.live / name).write_text('new')
    job = shop.job(kind='restore', source='shop@t', paths=names)
    assert job['state'] == 'done', job['error']
    assert len(job['result']['paths']) == 3000
    assert {shop.read(n) for n in names} == {'old'}
    assert shop.undo(job)['state'] == 'done'
    assert {shop.read(n) for n in names} == {'new'}
    shop.refused('too_large', *[f'{n}{"x" * 80}' for n in names * 2])
