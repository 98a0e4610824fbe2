# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sites become directories."""

import datetime
import json
import os
import pathlib
import subprocess
import threading

import pytest

from conftest import TIMEOUT, needs_root, wait_for
from outside import (content, host, replaced, same, site_json, told, undo_is_over, user,
                     wait_until_older, watched)

pytestmark = needs_root


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
    wait_for(lambda: told(host, 'replaced.late_writes'))
    late, = told(host, 'replaced.late_writes')
    assert late['paths'] == ['a', 'a/order']
    assert (pathlib.Path(late['directory']) / '0/order').exists()


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
    kept = host.pool / '.fsd/deleted' / site / 'gen/1/tree'
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
    wait_for(lambda: not (host.pool / '.fsd/deleted' / site).exists())
    assert len(told(host, 'eject.late_writes')) == 1


def test_eject__keeps_and_tells_what_was_written_into_a_retired_generation(host):
    """Who still held the tree that was live before goes on writing there."""
    host.imported(host.make())
    held = os.open(host.live() / 'index.php', os.O_WRONLY | os.O_APPEND)
    host.done(kind='generation-create', site='shop')
    host.done(kind='publish', site='shop', generation=2)
    site = host.eject(host.outside / 'out')['result']['site']['id']
    kept = host.pool / '.fsd/deleted' / site

    def looked():
        return json.loads((kept / 'site.json').read_text())['ejected'].get('since')

    for text in (b' and a visitor', b' once more'):
        os.write(held, text)
        before = looked()
        undo_is_over(host)
        wait_for(lambda: looked() != before)
    os.close(held)
    late = {'directory': str(kept / 'gen/1/tree'), 'total': 1, 'paths': ['index.php']}
    assert told(host, 'eject.late_writes') == [late, late]
    assert 'were written in it after it was retired' in host.daemon.log()
    assert (kept / 'gen/1/tree/index.php').read_text() == (
        'index.php old and a visitor once more')
    undo_is_over(host)
    wait_for(lambda: not kept.exists())


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


def test_eject__says_what_is_not_in_the_directory(host, scratch):
    """Somebody else has written the same file there by then."""
    host.imported(host.make())
    host.steps.until('copy_out.placed', {'kind': 'site-eject', 'site': 'shop',
                                         'dir': str(scratch / 'out')})
    site = site_json(host, 'shop')['id']
    (host.live() / 'index.php').write_text('late')
    (scratch / 'out/index.php').write_text('of others')
    job = host.steps.go_on()
    failed, = job['result']['failed']
    assert failed['path'] == str(scratch / 'out')
    assert f'.fsd/deleted/{site} until undo_keep is over' in failed['reason']
    assert (host.pool / '.fsd/deleted' / site / 'gen/1/tree/index.php').read_text() == 'late'
    assert (scratch / 'out/index.php').read_text() == 'of others'


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
    host.done(kind='generation-create', site='shop')  # 3, which is being built and never was live
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
