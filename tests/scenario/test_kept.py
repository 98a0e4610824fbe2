# SPDX-License-Identifier: LGPL-2.1-or-later
"""What something else has taken the place of: who writes there still is told of."""

import json
import os
import pathlib

import pytest

from conftest import needs_root, wait_for
from outside import host, told, undo_is_over, wait_until_older

pytestmark = needs_root


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


def test_kept__is_told_of_in_the_undo_snapshot_of_its_generation(host):
    """What a restore of paths replaced goes with the tree, and who held it writes there still."""
    host.imported(host.make())
    host.daemon.stop()
    host.daemon.configure(undo_keep='1s')
    host.daemon.start()
    host.done(kind='snapshot', site='shop', name='s')

    def undo_snapshots():
        items = host.daemon.json('snapshot', 'list', 'shop')['items']
        return [s['name'] for s in items if s['kind'] == 'undo']

    with open(host.live() / 'index.php', 'a', encoding='ascii') as held:
        host.done(kind='restore', source='shop@s', site='shop', paths=['index.php'])
        held.write(' and a visitor')
        held.flush()
        for number in (2, 3):
            host.done(kind='generation-create', site='shop')
            host.done(kind='publish', site='shop', generation=number)
        host.done(kind='generation-retire', site='shop', generation=1)
        wait_for(lambda: told(host, 'replaced.late_writes'))
        meta, = host.pool.glob('.fsd/snapshots/*/undo-1/meta.json')
        wait_for(lambda: 'look' not in json.loads(meta.read_text()))
        held.write(' once more')
    undo_is_over(host)
    wait_for(lambda: len(told(host, 'replaced.late_writes')) == 2)
    wait_for(lambda: host.daemon.json('job', 'list', '--state=failed')['items'])
    late = told(host, 'replaced.late_writes')[1]
    kept = pathlib.Path(late['directory'])
    assert late['paths'] == ['index.php'] and undo_snapshots() == ['undo-1']
    assert 'undo-1' in str(kept)
    assert (kept / '0').read_text() == 'index.php old and a visitor once more'
    undo_is_over(host)
    wait_for(lambda: not undo_snapshots())
    assert len(told(host, 'replaced.late_writes')) == 2


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
    wait_until_older(host.live() / 'a/x')  # a time may be finer than the clock it is compared to
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
    assert job['result']['failed'], job['result']
