# SPDX-License-Identifier: LGPL-2.1-or-later
"""What cannot be done is refused with code, object, reason; nothing has changed, nothing is left.

Import has its own (test_import.py), what a disk does that became read-only is with the pools, and
what clients do to a connection with the api's unit tests.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
import time

import pytest

from conftest import TIMEOUT, Steps, checked, needs_root, wait_for
from storage import command, filled, mounted, reading


def look(folder):
    """Everything in a pool but what waits to be removed."""
    out = {}
    for path, dirs, files in os.walk(folder):
        if path.endswith('/.fsd'):
            dirs[:] = [d for d in dirs if d != 'trash']
        for name in dirs + files:
            p = os.path.join(path, name)
            st = os.lstat(p)
            out[p] = (st.st_ino, st.st_mode, st.st_size, st.st_mtime_ns if name in files else 0)
    return out


def records(daemon):
    """What the catalog lists."""
    return {path: daemon.http('GET', path)[1]['items']
            for path in ('/v1/sites', '/v1/sites?deleted=true', '/v1/snapshots')}


class Refusals:
    def __init__(self, daemon, pool):
        self.daemon, self.pool = daemon, pathlib.Path(pool)

    def jobs(self):
        return len(self.daemon.http('GET', '/v1/jobs?limit=1000')[1]['items'])

    def refuse(self, code, job=False, **request):
        """`job`: it was accepted and failed, since only its work shows it."""
        before = look(self.pool), records(self.daemon), self.jobs()
        status, answer = self.daemon.ask(request)
        error = answer['job']['error'] if job and 'job' in answer else answer
        assert error and error.get('code') == code, (request, status, answer)
        assert error['object'] and error['reason'], error
        assert (look(self.pool), records(self.daemon), self.jobs() - job) == before, request
        assert os.listdir(self.pool / '.fsd/staging') == []
        return error


# ---- names ----

def test_names__that_are_bad_taken_reserved_or_missing(daemon):
    r = Refusals(daemon, daemon.folder / 'pool')
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('site', 'create', 'blog')
    daemon.fsctl('snapshot', 'shop@a')
    makers = [{'kind': 'site-create'}, {'kind': 'clone', 'source': 'shop'},
              {'kind': 'site-rename', 'site': 'shop'}]
    for maker in makers:
        for name in ('Shop', '-x', '.x', 'a/b', '../x', '', ' ', 'a b', 'a@b', 'a:b', 'é',
                     'x' * 201):
            r.refuse('bad_name', **maker, name=name)
        r.refuse('bad_request', **maker, name='a\n')
        for name in ('latest', 'snapshot', 'restore', 'site', '2026-11-22'):
            r.refuse('reserved_name', **maker, name=name)
        r.refuse('name_taken', **maker, name='blog')
        r.refuse('name_taken', **maker, name='main')  # sites and pools share one name space
    for name in ('A', 'a/b', '../x', 'x' * 201, ''):
        r.refuse('bad_name', kind='snapshot', site='shop', name=name)
    r.refuse('reserved_name', kind='snapshot', site='shop', name='latest')
    r.refuse('bad_name', kind='snapshot', site='')
    r.refuse('bad_source', kind='clone', source='', name='x')
    r.refuse('name_taken', kind='snapshot', site='shop', name='a')
    for request in ({'kind': 'snapshot', 'site': 'none'}, {'kind': 'site-delete', 'site': 'none'},
                    {'kind': 'site-rename', 'site': 'none', 'name': 'x'},
                    {'kind': 'site-set', 'site': 'none', 'set': {'protected': 'yes'}},
                    {'kind': 'clone', 'source': 'none', 'name': 'x'},
                    {'kind': 'clone', 'source': 'shop@none', 'name': 'x'},
                    {'kind': 'clone', 'source': 'shop:9', 'name': 'x'},
                    {'kind': 'clone', 'source': 'shop', 'name': 'x', 'pool': 'none'},
                    {'kind': 'site-create', 'name': 'x', 'pool': 'none'},
                    {'kind': 'restore', 'source': 'shop@none'},
                    {'kind': 'snapshot-delete', 'source': 'shop@none'},
                    {'kind': 'snapshot-hold', 'source': 'shop@none', 'hold': True},
                    {'kind': 'publish', 'site': 'shop', 'generation': 9},
                    {'kind': 'generation-delete', 'site': 'shop', 'generation': 9},
                    {'kind': 'diff', 'a': 'shop@a', 'b': 'shop@none'},
                    {'kind': 'check', 'source': 'shop@none'},
                    {'kind': 'pool-scan', 'pool': 'none'}):
        r.refuse('not_found', **request)


# ---- documents ----

def test_document__missing_or_damaged_is_named_with_its_path(daemon):
    r = Refusals(daemon, daemon.folder / 'pool')
    daemon.fsctl('site', 'create', 'shop')
    document = r.pool / 'sites/shop/site.json'
    good = document.read_text()
    for text in (None, '{'):
        document.unlink() if text is None else document.write_text(text)
        for request in ({'kind': 'snapshot', 'site': 'shop'},
                        {'kind': 'site-set', 'site': 'shop', 'set': {'label.a': 'b'}}):
            error = r.refuse('not_found' if text is None else 'bad_json', job=True, **request)
            assert error['reason'].startswith('site.json: '), error
            assert str(document) in error['hint'], error
        problems = daemon.json('check', 'shop', check=False)['problems']
        assert problems and problems[0]['reason'].startswith('site.json: '), problems
    document.write_text(good)
    assert daemon.json('check', 'shop') == {'ok': True, 'problems': []}
    daemon.fsctl('snapshot', 'shop')


def many(n, value='v'):
    return {f'label.{i}': value for i in range(n)}


@pytest.mark.parametrize('about', [{'kind': 'site-set', 'site': 'shop'},
                                   {'kind': 'snapshot-set', 'source': 'shop@a'}])
def test_labels__are_never_too_many_to_be_read_again(about, daemon):
    r = Refusals(daemon, daemon.folder / 'pool')
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    r.refuse('too_large', **about, set=many(101))

    def done(labels):
        answer = daemon.ask({**about, 'set': labels})[1]
        assert answer['job']['state'] == 'done', answer
        return answer['job']['id']

    done(many(100, '"' * 200))  # two bytes each in the document
    error = r.refuse('too_large', **about, set={'label.more': 'v'})
    assert error['object'] == about.get('site', 'shop@a') and error['object'] in error['hint']
    done({'label.more': 'v', 'label.1': None, 'label.2': 'v'})
    removed = done({'label.more': None, 'label.3': None})
    done({'label.new': 'v', 'label.newer': 'v'})
    status, error = daemon.http('POST', '/v1/jobs', {'kind': 'undo', 'job': removed})
    assert (status, error['code']) == (413, 'too_large'), error
    daemon.fsctl('snapshot', 'shop@b')


def test_labels__of_jobs_that_wait_together_are_counted_when_they_run(make_daemon):
    daemon = make_daemon()
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    with steps.held('tree.made') as reached:
        daemon.http('POST', '/v1/jobs', {'kind': 'snapshot', 'site': 'shop'})
        reached()
        jobs = [daemon.http('POST', '/v1/jobs', {
            'kind': 'site-set', 'site': 'shop',
            'set': {f'label.{k}{i}': 'v' for i in range(60)}})[1]['job']['id'] for k in 'ab']
    first, second = (daemon.http('GET', f'/v1/jobs/{job}?wait=60')[1] for job in jobs)
    assert first['state'] == 'done' and second['error']['code'] == 'too_large', (first, second)
    assert len(daemon.json('site', 'show', 'shop')['labels']) == 60


def test_holds__are_never_too_many_to_be_read_again(daemon):
    r = Refusals(daemon, daemon.folder / 'pool')
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    document = next(r.pool.glob('.fsd/snapshots/*/a/meta.json'))
    hold = {'kind': 'snapshot-hold', 'source': 'shop@a', 'hold': True}
    doc = json.loads(document.read_text())
    doc['holds'] = [{'tag': str(i), 'reason': '', 'created': 1} for i in range(99)]
    document.write_text(json.dumps(doc))
    daemon.fsctl('pool', 'scan', 'main')
    for tag in 'last', 'last', '1':
        assert daemon.ask({**hold, 'tag': tag})[1]['job']['state'] == 'done'
    error = r.refuse('too_large', **hold, tag='more')
    assert 'fsctl snapshot show shop@a' in error['hint']
    daemon.fsctl('snapshot', 'release', 'shop@a', '--tag', 'last')
    daemon.fsctl('snapshot', 'hold', 'shop@a', '--tag', 'more')


def test_document__that_would_be_too_large_is_not_written(daemon):
    """By whatever made it so: what cannot be read again is lost."""
    r = Refusals(daemon, daemon.folder / 'pool')
    daemon.fsctl('site', 'create', 'shop')
    document = r.pool / 'sites/shop/site.json'
    doc = json.loads(document.read_text())
    doc['labels'] = {'large': 'x' * ((1 << 20) - document.stat().st_size - 60)}
    document.write_text(json.dumps(doc, indent=1))
    error = r.refuse('too_large', job=True, kind='site-set', site='shop',
                     set={'label.a': 'x' * 200})
    assert error['object'] == str(document) and 'labels' in error['hint']
    assert checked(daemon)[0] == 0
    daemon.fsctl('site', 'set', 'shop', 'label.large=', 'label.a=x')
    assert daemon.json('site', 'show', 'shop')['labels'] == {'a': 'x'}


@needs_root
def test_check__names_each_damage_of_a_snapshot(mount, make_daemon):
    where = mount('btrfs')
    daemon = make_daemon({'main': where / 'pool'}).start()
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    folder, = (where / 'pool/.fsd/snapshots').glob('*/a')
    wrapper = folder / 'gen/1'

    def check():
        r = daemon.fsctl('--json', 'check', 'shop@a', check=False)
        answer = json.loads(r.stdout)
        assert r.returncode == (0 if answer['ok'] else 1)
        return [(p['path'], p['reason']) for p in answer['problems']]

    def finds(path, reason):
        (found, said), = check()
        assert found == path and reason in said, (found, said)

    assert check() == []
    command('btrfs', 'property', 'set', '-ts', wrapper / 'tree', 'ro', 'false')
    finds('gen/1', "a snapshot's tree is writable")
    command('btrfs', 'property', 'set', '-ts', wrapper / 'tree', 'ro', 'true')
    for document, path in ((folder / 'site.json', '.'), (folder / 'meta.json', 'meta.json'),
                           (wrapper / 'meta.json', 'gen/1')):
        good = document.read_bytes()
        document.unlink()  # it may be a link of the site's
        for text, reason in ((None, 'No such file'), (b'{', 'json'), (b'[]', 'is missing')):
            if text:
                document.write_bytes(text)
            finds(path, reason)
        document.unlink()
        document.write_bytes(good)
    wrapper.rename(folder / 'away')
    finds('gen/1', 'missing')
    (folder / 'away').rename(wrapper)
    assert check() == []


def test_check__tells_what_cannot_be_read(make_daemon):
    daemon = make_daemon()
    rules = daemon.folder / 'rules'
    daemon.env['FSD_FAULT_FILE'] = str(rules)
    daemon.configure(extra='driver = fault\n')
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    rules.write_text('tree_usage 1+ error EIO\n')
    r = daemon.fsctl('check', 'shop', check=False)
    assert r.returncode == 1 and 'nput/output error' in r.stdout, r


# ---- trees ----

@needs_root
@pytest.mark.parametrize('kind', ['btrfs', 'ext4'])
def test_tree__with_another_file_system_in_it(kind, mount, make_daemon):
    where = mount(kind)
    daemon = make_daemon({'main': where / 'pool'}).start()
    r = Refusals(daemon, where / 'pool')
    daemon.fsctl('site', 'create', 'shop')
    tree = where / 'pool/sites/shop/gen/1/tree'
    (tree / 'sub').mkdir()

    def refuse():
        for request in ({'kind': 'snapshot', 'site': 'shop'},
                        {'kind': 'clone', 'source': 'shop', 'name': 'copy'},
                        {'kind': 'generation-create', 'site': 'shop', 'from': 'shop'}):
            error = r.refuse('nested_filesystem', job=True, **request)
            assert error['object'] == 'shop: sub', error
        problems = daemon.json('check', 'shop', check=False)['problems']
        assert [p['path'] for p in problems] == ['sub'], problems

    with mounted('-t', 'tmpfs', 'none', tree / 'sub'):
        refuse()
    if kind == 'btrfs':
        (tree / 'sub').rmdir()
        command('btrfs', '-q', 'subvolume', 'create', tree / 'sub')
        refuse()
        command('btrfs', '-q', 'subvolume', 'delete', tree / 'sub')
    daemon.fsctl('snapshot', 'shop@a')


# ---- pools ----

@needs_root
@pytest.mark.parametrize('what', ['bytes', 'inodes'])
def test_pool__full_in_the_middle_of_a_copy(what, mount, make_daemon):
    where = mount('ext4', '64M')
    daemon = make_daemon({'main': where / 'pool'}).start()
    r = Refusals(daemon, where / 'pool')
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@old')
    daemon.fsctl('site', 'create', 'gone')
    tree = where / 'pool/sites/shop/live'
    if what == 'bytes':
        for n in range(40):
            (tree / str(n)).write_bytes(os.urandom(1 << 20))
    else:
        for n in range(os.statvfs(where).f_ffree * 2 // 3):
            os.mknod(tree / str(n))
    for request in ({'kind': 'snapshot', 'site': 'shop'},
                    {'kind': 'clone', 'source': 'shop', 'name': 'copy'},
                    {'kind': 'generation-create', 'site': 'shop', 'from': 'shop'}):
        error = r.refuse('no_space', job=True, **request)
        assert ('no inodes are left' in error['reason']) == (what == 'inodes'), error
        assert 'in pool main: delete old snapshots, the oldest are shop@old' in error['hint'], error
        assert 'deleted sites' not in error['hint'], error
    daemon.fsctl('site', 'delete', 'gone', '--yes')
    hint = r.refuse('no_space', job=True, **request)['hint']
    assert 'deleted sites keep their room for undo_keep: fsctl site list --deleted' in hint
    if what == 'inodes':
        with contextlib.suppress(OSError):
            for n in range(os.statvfs(where).f_files):
                os.mknod(tree / f'more{n}')
        hint = r.refuse('no_space', job=True, **request)['hint']
        assert 'no inodes are left in pool main: delete old snapshots' in hint, hint
    for name in os.listdir(tree):
        (tree / name).unlink()
    daemon.fsctl('snapshot', 'shop@a')


def fill(path):
    """Make a file that leaves no block of its file system; its size."""
    at = 0
    with open(path, 'wb') as f:
        for size in (8 << 20, 256 << 10, 1 << 10):
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(f.fileno(), at, size)
                    at += size
    return at


@needs_root
def test_pool__without_room_for_a_document_names_the_site(mount, make_daemon):
    where = mount('ext4', '64M')  # of blocks of 1 KiB
    daemon = make_daemon({'main': where / 'pool'}).start()
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    reasons = set()
    for left in range(16):
        os.truncate(where / 'ballast', fill(where / 'ballast') - (left << 10))
        for request, about in (({'kind': 'site-create', 'name': f'new{left}'}, [f'new{left}']),
                               ({'kind': 'snapshot', 'site': 'shop', 'name': f'b{left}'},
                                ['shop', f'shop@b{left}']),
                               ({'kind': 'clone', 'source': 'shop@a', 'name': f'copy{left}'},
                                [f'copy{left}', 'shop@a']),
                               ({'kind': 'generation-create', 'site': 'shop'}, ['shop'])):
            error = daemon.ask(request)[1]['job']['error']
            if error:
                assert error['code'] == 'no_space' and error['object'] in about, error
                reasons.add(f'{request["kind"]}: {error["reason"].partition(": No space")[0]}')
    assert {'site-create: write site.json', 'site-create: write meta.json',
            'site-create: gen/1/tree: mkdir', 'snapshot: write meta.json',
            'clone: write site.json'} <= reasons, reasons


@contextlib.contextmanager
def least_free(where):
    """A list of the least space that was free within, and that a visitor could still write."""
    done, seen = threading.Event(), []

    def look_on():
        while not done.is_set():
            space = os.statvfs(where)
            seen[:] = [min(seen + [space.f_bavail * space.f_frsize])]
            (where / 'visitor').write_bytes(os.urandom(20000))

    thread = threading.Thread(target=look_on)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


@needs_root
@pytest.mark.parametrize('fs', ['ext4', 'xfs'])
@pytest.mark.parametrize('what', ['large', 'small'])
def test_pool__keeps_min_free_while_a_tree_is_copied(what, fs, mount, make_daemon, scratch):
    where = mount(fs, '400M')
    daemon = make_daemon({'main': where / 'pool'}).start()
    r = Refusals(daemon, where / 'pool')
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@empty')
    tree = where / 'pool/sites/shop/live'
    if what == 'large':
        (tree / 'a').write_bytes(os.urandom(80 << 20))
    else:
        for n in range(2500):
            (tree / f'd{n % 50}').mkdir(exist_ok=True)
            (tree / f'd{n % 50}/{n}').write_bytes(os.urandom(32 << 10))
    daemon.fsctl('snapshot', 'shop@full')
    subprocess.run(['cp', '-a', f'{tree}/.', scratch / 'www'], check=True)
    os.sync()
    space = os.statvfs(where)
    keep = space.f_bavail * space.f_frsize - (40 << 20)  # half of a copy
    daemon.configure(min_free=f'{keep >> 10}K')
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: daemon.json('pool', 'show', 'main')['bytes']['min_free'] == keep >> 10 << 10)
    for request in ({'kind': 'snapshot', 'site': 'shop'},
                    {'kind': 'clone', 'source': 'shop', 'name': 'copy'},
                    {'kind': 'clone', 'source': 'shop@full', 'name': 'copy'},
                    {'kind': 'generation-create', 'site': 'shop', 'from': 'shop'},
                    {'kind': 'site-import', 'name': 'copy', 'dir': str(scratch / 'www')},
                    {'kind': 'restore', 'source': 'shop@full', 'confirm': True}):
        with least_free(where) as least:
            error = r.refuse('below_min_free', job=True, **request)
        assert f'min_free keeps {keep >> 20} MiB' in error['reason'], error
        assert error['reason'].startswith('the copy would leave less than min_free keeps: '), error
        assert 'the oldest are shop@empty' in error['hint'], error
        assert least[0] > keep - (32 << 20), request  # xfs sets space aside for a file that grows
    daemon.fsctl('clone', 'shop@empty', 'copy')


@needs_root
@pytest.mark.parametrize('fs', ['ext4', 'btrfs'])
def test_pool__warns_in_a_plan_of_what_would_bring_it_to_min_free(fs, mount, make_daemon):
    """As far as it was measured, and where a copy takes room."""
    where = mount(fs, '256M')
    daemon = make_daemon({'main': where / 'pool', 'next': where / 'next'}).start()
    daemon.fsctl('site', 'create', 'shop', '--pool', 'main')
    (where / 'pool/sites/shop/live/a').write_bytes(os.urandom(20 << 20))
    requests = ({'kind': 'snapshot', 'site': 'shop'},
                {'kind': 'clone', 'source': 'shop', 'name': 'copy', 'pool': 'next'},
                {'kind': 'generation-create', 'site': 'shop'})

    def warnings():
        return [w for request in requests
                for w in daemon.ask({**request, 'dry_run': True})[1]['plan']['warnings']]

    keep_free(daemon, 'main', 15)
    assert warnings() == []
    daemon.fsctl('site', 'show', 'shop', '--measure')
    said = warnings()
    assert len(said) == (0 if fs == 'btrfs' else 3), said
    for text in said:
        assert re.fullmatch(r'about 20\.0 MiB are to be copied, and 1[45]\.\d MiB are above what '
                            'min_free keeps', text), text
    keep_free(daemon, 'main', 30)
    assert warnings() == []
    assert 'warnings' not in daemon.ask(requests[0])[1]['job']['result']


def keep_free(daemon, pool, room):
    """Set min_free so that the pool has so much room above it; min_free in MiB."""
    os.sync()
    space = os.statvfs(daemon.pools[pool])
    keep = (space.f_bavail * space.f_frsize >> 20) - room
    daemon.configure(min_free=f'{keep}M')
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: daemon.json('pool', 'show', pool)['bytes']['min_free'] == keep << 20)
    return keep


def give_back(pool):
    """Until btrfs has the space of what was deleted."""
    for what in 'filesystem', 'subvolume', 'filesystem':
        command('btrfs', '-q', what, 'sync', pool)


@pytest.fixture
def btrfs(mount, make_daemon, scratch):
    """A pool on btrfs, whose statfs() says nothing of what waits in memory, and one elsewhere."""
    where = mount('btrfs', '1G')
    pools = {'main': where / 'pool', 'other': scratch / 'other'}
    daemon = make_daemon(pools, import_from=f'{where}:{scratch}').start()
    daemon.fsctl('site', 'create', 'shop', '--pool', 'main')
    daemon.fsctl('site', 'create', 'blog', '--pool', 'other')
    return daemon


@needs_root
@pytest.mark.parametrize('what', ['large', 'small'])
def test_pool__on_btrfs_keeps_min_free_while_a_tree_comes_from_elsewhere(what, btrfs, scratch):
    r = Refusals(btrfs, btrfs.pools['main'])
    tree = scratch / 'other/sites/blog/live'
    if what == 'large':
        (tree / 'a').write_bytes(os.urandom(40 << 20))
    else:
        for n in range(700):
            (tree / f'{n}').write_bytes(os.urandom(60 << 10))
    btrfs.fsctl('snapshot', 'blog@full')
    www = shutil.copytree(tree, scratch / 'www')
    keep = keep_free(btrfs, 'main', 20)
    for request in ({'kind': 'clone', 'source': 'blog', 'name': 'copy', 'pool': 'main'},
                    {'kind': 'clone', 'source': 'blog@full', 'name': 'copy', 'pool': 'main'},
                    {'kind': 'generation-create', 'site': 'shop', 'from': 'blog'},
                    {'kind': 'site-import', 'name': 'copy', 'dir': str(www), 'pool': 'main'},
                    {'kind': 'restore', 'source': 'blog@full', 'site': 'shop', 'confirm': True}):
        error = r.refuse('below_min_free', job=True, **request)
        free, kept = map(int, re.findall(r'(\d+) MiB', error['reason']))
        assert kept == keep and keep - 12 <= free < keep, (request, error)
        give_back(r.pool)


@needs_root
def test_pool__on_btrfs_counts_several_copies_into_it_at_once(btrfs, scratch, lease):
    for name in 'one', 'two':
        (scratch / name / 'later').mkdir(parents=True)
        (scratch / name / 'large').write_bytes(os.urandom(30 << 20))
        (scratch / name / 'later/file').touch()
    keep_free(btrfs, 'main', 40)
    lease(scratch / 'one/later/file', kept=True)
    one = {'kind': 'site-import', 'name': 'one', 'dir': str(scratch / 'one'), 'pool': 'main'}
    two = {**one, 'name': 'two', 'dir': str(scratch / 'two')}
    held = btrfs.http('POST', '/v1/jobs', one)[1]['job']['id']
    wait_for(lambda: btrfs.json('job', 'show', held)['progress']['bytes_done'] >= 30 << 20)
    assert btrfs.ask(two)[1]['job']['error']['code'] == 'below_min_free'
    assert btrfs.json('job', 'show', held)['state'] == 'running'
    btrfs.fsctl('job', 'cancel', held)
    wait_for(lambda: btrfs.json('job', 'show', held)['state'] == 'canceled')
    give_back(btrfs.pools['main'])
    assert btrfs.ask(two)[1]['job']['state'] == 'done'


@needs_root
def test_pool__on_btrfs_admits_what_takes_no_room(btrfs, scratch):
    """Shared, sparse, compressed: only what is on the disk counts."""
    pool = btrfs.pools['main']
    shared = pool.parent / 'shared'
    shared.mkdir()
    (shared / 'a').write_bytes(os.urandom(80 << 20))
    for name, size, data in (('sparse', 80, b''), ('zeros', 0, bytes(80 << 20))):
        (scratch / name).mkdir()
        (scratch / name / 'a').write_bytes(data)
        if size:
            os.truncate(scratch / name / 'a', size << 20)
    command('mount', '-o', 'remount,compress-force', pool.parent)
    keep_free(btrfs, 'main', 40)
    for path in shared, scratch / 'sparse', scratch / 'zeros':
        job = btrfs.ask({'kind': 'site-import', 'name': path.name, 'dir': str(path),
                         'pool': 'main'})[1]['job']
        assert job['state'] == 'done', job


@needs_root
def test_pool__keeps_min_free_in_a_job_that_is_run_after_a_restart(mount, make_daemon):
    where = mount('ext4', '128M')
    daemon = make_daemon({'main': where / 'pool'}, min_free='40M')
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    steps.until('intent.committed', {'kind': 'clone', 'source': 'shop', 'name': 'copy'})
    space = os.statvfs(where)
    with open(where / 'ballast', 'wb') as f:
        os.posix_fallocate(f.fileno(), 0, space.f_bavail * space.f_frsize - (20 << 20))
    assert steps.restart()['error']['code'] == 'below_min_free'
    assert os.listdir(where / 'pool/.fsd/staging') == []
    assert os.listdir(where / 'pool/sites') == ['shop']
    (where / 'ballast').unlink()
    daemon.fsctl('clone', 'shop', 'copy')


@needs_root
def test_pool__that_vanishes_under_a_running_daemon(mount, make_daemon, scratch):
    where = mount('ext4', '64M')
    daemon = make_daemon({'main': where / 'pool', 'other': scratch / 'other'}).start()
    for name, pool in (('shop', 'main'), ('blog', 'other')):
        daemon.fsctl('site', 'create', name, '--pool', pool)
    (where / 'pool').rename(where / 'away')
    (where / 'pool').mkdir()  # as an empty mount point
    status, answer = daemon.ask({'kind': 'snapshot', 'site': 'shop'})
    error = answer['job']['error'] if 'job' in answer else answer
    assert error['code'] in ('pool_missing', 'pool_offline'), answer
    assert error['object'] and error['reason'] and 'is its disk mounted?' in error['hint']
    r = Refusals(daemon, where / 'pool')
    for request in ({'kind': 'snapshot', 'site': 'shop'},
                    {'kind': 'clone', 'source': 'shop', 'name': 'copy'},
                    {'kind': 'site-create', 'name': 'new', 'pool': 'main'},
                    {'kind': 'site-delete', 'site': 'shop', 'confirm': True}):
        assert daemon.ask(request)[1]['code'] == 'pool_offline', request
    assert os.listdir(where / 'pool') == []
    assert daemon.json('status')['state'] == 'critical'
    daemon.fsctl('snapshot', 'blog@a')
    (where / 'pool').rmdir()
    (where / 'away').rename(where / 'pool')
    assert os.listdir(r.pool / '.fsd/staging') == []
    deadline = time.monotonic() + TIMEOUT
    while not daemon.json('pool', 'show', 'main')['online']:
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.05)
    daemon.fsctl('snapshot', 'shop@a')


# ---- the catalog ----

def refuses_to_start(daemon, code):
    before = look(daemon.folder / 'pool')
    log = len(daemon.log())
    assert daemon.spawn().wait(TIMEOUT) == 1
    daemon.process = None
    said = daemon.log()[log:]
    assert f'code={code}' in said and str(daemon.catalog) in said, said
    assert 'stopping' not in said, said  # it never ran
    assert look(daemon.folder / 'pool') == before
    assert not daemon.socket.exists()
    return said


@pytest.fixture
def stopped(daemon):
    """One that had a site."""
    daemon.fsctl('site', 'create', 'shop')
    assert daemon.stop() == 0
    return daemon


@pytest.mark.parametrize('damage', ['garbage', 'truncated', 'page', 'foreign', 'directory'])
def test_catalog__that_is_corrupt(stopped, damage):
    good = stopped.catalog.read_bytes()
    if damage == 'garbage':
        bad = b'not a database' * 1000
        stopped.catalog.write_bytes(bad)
    elif damage == 'truncated':
        bad = good[:len(good) // 2]
        stopped.catalog.write_bytes(bad)
    elif damage == 'page':  # the rest is all right
        with contextlib.closing(sqlite3.connect(stopped.catalog)) as db:
            page, = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'pools'").fetchone()
            size, = db.execute('PRAGMA page_size').fetchone()
        bad = good[:(page - 1) * size] + b'\xff' * size + good[page * size:]
        stopped.catalog.write_bytes(bad)
    elif damage == 'foreign':
        stopped.catalog.unlink()
        with contextlib.closing(sqlite3.connect(stopped.catalog)) as db:
            db.execute('CREATE TABLE mine (a)')
        bad = stopped.catalog.read_bytes()
    else:
        stopped.catalog.unlink()
        stopped.catalog.mkdir()
    said = refuses_to_start(stopped, 'catalog_corrupt')
    assert 'pool scan' in said
    if damage == 'directory':
        assert os.listdir(stopped.catalog) == []
        stopped.catalog.rmdir()
    else:
        assert stopped.catalog.read_bytes() == bad
    stopped.catalog.write_bytes(good)
    assert stopped.start().json('site', 'list')['items'][0]['name'] == 'shop'


@pytest.mark.parametrize('suffix', ['', '-wal', '-shm', '-journal'])
def test_catalog__with_a_symlink_planted(stopped, suffix):
    victim = stopped.folder / 'victim'
    link = pathlib.Path(f'{stopped.catalog}{suffix}')
    kept = link.rename(stopped.folder / 'kept') if link.exists() else None
    link.symlink_to(victim)
    said = refuses_to_start(stopped, 'catalog_symlink')
    assert str(link) in said and not victim.exists()
    link.unlink()
    if kept:
        kept.rename(link)
    assert stopped.start().json('site', 'list')['items'][0]['name'] == 'shop'


def test_catalog__that_another_program_holds(daemon):
    r = Refusals(daemon, daemon.folder / 'pool')
    daemon.fsctl('site', 'create', 'shop')
    with contextlib.closing(sqlite3.connect(daemon.catalog, isolation_level=None)) as other:
        other.execute('BEGIN IMMEDIATE')
        for request in ({'kind': 'snapshot', 'site': 'shop'}, {'kind': 'site-create', 'name': 'x'}):
            assert r.refuse('catalog_locked', **request)['hint']
        assert daemon.http('GET', '/v1/sites/shop')[0] == 200  # readers do not wait
        other.execute('ROLLBACK')
    daemon.fsctl('snapshot', 'shop@a')


@needs_root
def test_pool__that_is_full_lets_a_site_go_and_notes_no_old_time_for_it(make_daemon, scratch):
    where = scratch / 'small'
    where.mkdir()
    with mounted('-t', 'tmpfs', '-o', 'size=4m,mode=755', 'none', where):
        daemon = make_daemon(pools={'main': where}).start()
        daemon.fsctl('site', 'create', 'shop')
        document = where / 'sites/shop/site.json'
        old = json.loads(document.read_text()) | {'deleted': 5}  # of a deletion that was undone
        document.write_text(json.dumps(old))
        try:
            with filled(where):
                r = daemon.fsctl('site', 'delete', 'shop', '--yes')
                assert 'the pool is full' in r.stderr, r
                site, = daemon.http('GET', '/v1/sites?deleted=true')[1]['items']
                assert json.loads((where / '.fsd/deleted' / site['id'] / 'site.json')
                                  .read_text()) == old
                assert not site['deleted'].startswith('1970'), site
                daemon.fsctl('undo', daemon.json('job', 'list')['items'][0]['id'])
        finally:
            assert daemon.stop() == 0


@needs_root
def test_catalog__on_a_full_disk(make_daemon, scratch):
    where = scratch / 'small'
    where.mkdir()
    with mounted('-t', 'tmpfs', '-o', 'size=16m,mode=755', 'none', where):
        catalog = where / 'catalog.db'
        daemon = make_daemon(catalog=catalog).start()
        r = Refusals(daemon, scratch / 'pool')
        daemon.fsctl('site', 'create', 'shop')
        try:
            with reading(catalog), filled(where):
                for request in ({'kind': 'snapshot', 'site': 'shop'},
                                {'kind': 'site-create', 'name': 'x'}):
                    assert 'where the catalog is' in r.refuse('no_space', **request)['hint']
                code, said = checked(daemon)
                assert code == 2 and f'critical: {catalog}: ' in said, said
                assert daemon.http('GET', '/v1/sites/shop')[0] == 200
            assert checked(daemon)[0] == 0 and 'cannot write the catalog' in daemon.log()
            daemon.fsctl('snapshot', 'shop@a')
        finally:
            assert daemon.stop() == 0


@needs_root
def test_catalog__on_a_disk_that_fills_up_before_an_outcome_is_recorded(make_daemon, scratch):
    where = scratch / 'small'
    where.mkdir()
    with mounted('-t', 'tmpfs', '-o', 'size=16m,mode=755', 'none', where):
        catalog = where / 'catalog.db'
        daemon = make_daemon(catalog=catalog)
        steps = Steps(daemon)
        daemon.start()
        daemon.fsctl('site', 'create', 'shop')
        (scratch / 'pool/sites/shop/live/file').write_bytes(b'12345')
        daemon.fsctl('snapshot', 'shop@a')
        daemon.fsctl('site', 'create', 'old', '--expires', '1s')
        daemon.fsctl('site', 'set', 'old', 'protected=yes')
        try:
            for request, result in (({'kind': 'site-measure', 'site': 'shop'}, 'site'),
                                    ({'kind': 'snapshot-measure', 'source': 'shop@a'}, 'snapshot'),
                                    ({'kind': 'clone', 'source': 'shop', 'name': 'b'}, 'site'),
                                    ({'kind': 'snapshot', 'site': 'b'}, 'snapshot'),
                                    ({'kind': 'site-rename', 'site': 'b', 'name': 'c'}, 'site'),
                                    ({'kind': 'site-delete', 'site': 'c',
                                      'confirm': True}, 'site'),
                                    ({'kind': 'site-set', 'site': 'old',
                                      'set': {'protected': 'no'}}, 'site')):
                steps.until('outcome.put', request)
                with reading(catalog), filled(where):
                    steps.on('outcome.committed')
                job = steps.go_on()
                assert job['state'] == 'done', job
                if request['kind'].endswith('measure'):
                    counted = job['result'][result]['bytes']
                    assert counted['logical'] == 5 and counted['shared'] == 0, job
                    assert counted['exclusive'] >= 5, job
                    assert job['result'][result]['entries'] == 1, job
                assert set(job['result']) <= {result, 'set', 'warnings'}, job
                assert len(job['result'].get('warnings', [])) <= 1, job
            assert 'cannot record' in daemon.log()
            assert job['result']['warnings'], job
            steps.until('outcome.put', {'kind': 'pool-scan', 'pool': 'main'})
            with reading(catalog), filled(where):
                steps.on('outcome.committed')
            assert steps.go_on()['result']['failed'] == []
            www = scratch / 'www'
            www.mkdir()
            os.mknod(www / 'socket', stat.S_IFSOCK | 0o600)
            steps.until('job.ran', {'kind': 'site-import', 'name': 'imported', 'dir': str(www),
                                    'mode': 'link'})
            with reading(catalog), filled(where):
                steps.set_hold('')
                wait_for(lambda: 'cannot be settled' in daemon.log())
            job = steps.go_on()
            assert job['state'] == 'done' and len(job['result']['failed']) == 1, job
            assert checked(daemon)[0] == 0, checked(daemon)
        finally:
            assert daemon.stop() == 0


# ---- requests ----

def raw(daemon, body, headers=''):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as s:
        s.settimeout(TIMEOUT)
        s.connect(str(daemon.socket))
        with contextlib.suppress(BrokenPipeError):  # refused before all of it was sent
            s.sendall(b'POST /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: '
                      b'application/json\r\nContent-Length: %d\r\n%s\r\n' %
                      (len(body), headers.encode()) + body)
        answer = b''
        with contextlib.suppress(ConnectionResetError):
            while chunk := s.recv(65536):
                answer += chunk
    return int(answer.split()[1]), answer


def test_requests__that_make_no_sense(daemon):
    daemon.fsctl('site', 'create', 'shop')
    pool = daemon.folder / 'pool'
    before = look(pool), records(daemon), Refusals(daemon, pool).jobs()
    good = b'{"kind":"snapshot","site":"shop"}'
    for body in (b'', b'{', b'[]', b'null', b'"snapshot"', good[:-1], good + good, b'\xff' + good,
                 b'{"kind":"snapshot","site":7}', b'{"kind":"snapshot","site":["shop"]}',
                 b'{"kind":"snapshot","site":null}', b'{"kind":["snapshot"],"site":"shop"}',
                 b'{"kind":"snapshot","site":"shop","name":"a\\u0000b"}',
                 b'{"kind":"snapshot","site":"shop","site":"shop"}',
                 b'{"kind":"snapshot","site":"shop","colour":"red"}',
                 b'{"kind":"magic","site":"shop"}', b'{"site":"shop"}',
                 b'{"kind":"snapshot","site":"shop","dry_run":"yes"}',
                 b'{"kind":"snapshot","site":' + b'[' * 100000 + b']' * 100000 + b'}'):
        status, answer = raw(daemon, body)
        assert status == 400 and b'"reason"' in answer, (body[:100], answer)
    assert b'NUL byte' in raw(daemon, b'{"kind":"snapshot","site":"a\\u0000b"}')[1]
    assert raw(daemon, b'{"kind":"snapshot","site":"' + b'x' * (2 << 20) + b'"}')[0] == 413
    for headers in ('Content-Length: 33\r\n', 'Host: y\r\n', 'Idempotency-Key: a\r\n' * 2):
        assert raw(daemon, good, headers)[0] == 400, headers
    assert (look(pool), records(daemon), Refusals(daemon, pool).jobs()) == before
    assert raw(daemon, good)[0] == 202
