# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was written in a generation after it was retired: found later, in the way of nobody."""

import contextlib
import json
import mmap
import pathlib
import shutil
import signal
import time
from datetime import datetime, timezone

import pytest

from conftest import TIMEOUT, Steps, checked, wait_for


class Shop:
    """A site whose first generation was written to after the switch to the second; the third is
    live."""

    def __init__(self, daemon):
        self.daemon = daemon
        daemon.fsctl('site', 'create', 'shop')
        live = pathlib.Path(daemon.json('site', 'show', 'shop')['live']['path']).resolve()
        for number in (2, 3):
            daemon.fsctl('generation', 'create', 'shop')
            daemon.fsctl('publish', f'shop:{number}')
        self.upload = live / 'upload'
        self.upload.write_text('late')
        self.snapshot = daemon.pools['main'] / '.fsd/snapshots'
        self.request = {'kind': 'generation-retire', 'site': 'shop', 'generation': 1}

    def retire(self):
        return done(self.daemon, **self.request)

    def told(self):
        return [(e['job'], e['data']) for e in
                self.daemon.http('GET', '/v1/events?limit=1000')[1]['items']
                if e['kind'] == 'generation.late_writes']

    def until_told(self):
        wait_for(lambda: self.told() and not self.looks())
        return self.told()

    def looks(self):
        """Is there a note that it has to be looked at?"""
        return any('look' in json.loads(p.read_text()) for p in self.snapshot.glob('*/*/meta.json'))


@pytest.fixture
def shop(make_daemon):
    daemon = make_daemon()
    Steps(daemon)
    return Shop(daemon.start())


def done(daemon, **request):
    """The job, which must not be held up."""
    status, answer = daemon.http('POST', '/v1/jobs', request)
    assert status == 202, answer
    path = f'/v1/jobs/{answer["job"]["id"]}'
    wait_for(lambda: daemon.http('GET', path)[1]['state'] not in ('queued', 'running'))
    job = daemon.http('GET', path)[1]
    assert job['state'] == 'done', job
    return job


def test_retired__holds_up_nobody_who_needs_the_site(shop):
    with shop.daemon.steps.held('retired.look') as reached:
        job = shop.retire()
        reached()
        done(shop.daemon, kind='rollback', site='shop')
        done(shop.daemon, kind='snapshot', site='shop', name='now')
        assert not shop.told()
    late = {'generation': 1, 'snapshot': 'undo-1', 'total': 1, 'paths': ['upload']}
    assert shop.until_told() == [(job['id'], late)]
    assert 'fsctl restore shop@undo-1 PATH' in shop.daemon.log()
    r = shop.daemon.fsctl('publish', 'shop:1', check=False)
    assert r.returncode == 3 and 'hint: fsctl restore shop@undo-1\n' in r.stderr, r
    assert checked(shop.daemon)[0] == 0


@pytest.mark.parametrize('kind', ['btrfs', 'ext4', 'xfs'])
def test_late__stores_into_a_mapped_file_are_told(kind, mount, make_daemon):
    """Into a page that is dirty when the switch comes, stores go on without a trace in ctimes."""
    pool = mount(kind, name='pool')
    daemon = make_daemon(pools={'main': pool})
    Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    live = pool / 'sites/shop/live'
    with contextlib.ExitStack() as stack:
        pages = []
        for name in ('whole', 'path'):
            (live / name).write_bytes(bytes(4096))
            file = stack.enter_context(open(live / name, 'r+b'))
            pages.append(stack.enter_context(mmap.mmap(file.fileno(), 0)))
        daemon.fsctl('snapshot', 'shop@a')
        for page in pages:
            page[0] = 1
        job = done(daemon, kind='restore', source='shop@a', site='shop', paths=['path'])
        pages[1][0] = 2
        pages[0][0] = 2
        done(daemon, kind='restore', source='shop@a', site='shop', confirm=True)
        pages[0][0] = 3
    kept = pool / f'sites/shop/gen/1/tree/.fsd-{job["id"]}'
    plan = json.loads((kept / 'plan.json').read_text())
    entry, = [p for p in kept.iterdir() if p.stat().st_size == 4096]
    assert entry.stat().st_mtime_ns > plan['since']
    done(daemon, kind='generation-retire', site='shop', generation=1)
    wait_for(lambda: [e for e in daemon.http('GET', '/v1/events?limit=1000')[1]['items']
                      if e['kind'] == 'generation.late_writes'
                      and e['data']['paths'] == ['whole']])


def test_publish__waits_a_second_for_leases_at_most(mount, make_daemon, lease):
    """And tells too much rather than too little then: what was written shortly before as well."""
    pool = mount('ext4', name='pool')
    daemon = make_daemon(pools={'main': pool})
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    done(daemon, kind='generation-create', site='shop')
    file = (pool / 'sites/shop/live').resolve() / 'file'
    file.write_text('x')
    lease(file, kept=True)
    done(daemon, kind='publish', site='shop', generation=2)
    meta = json.loads((pool / 'sites/shop/gen/1/meta.json').read_text())
    assert meta['retired'] < file.stat().st_ctime_ns


def test_undo__by_an_undo_snapshot_asks_nothing_in_its_plan_either(daemon):
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    job = done(daemon, kind='restore', source='shop@a', site='shop', confirm=True)
    done(daemon, kind='generation-retire', site='shop', generation=1)
    (daemon.pools['main'] / 'sites/shop/live/new').write_text('x')
    plan = daemon.fsctl('undo', job['id'], '--dry-run').stdout
    assert 'shop@undo-1' in plan and 'asks' not in plan, plan
    daemon.fsctl('undo', job['id'])


def killed_at(shop, step):
    with shop.daemon.steps.held(step) as reached:
        shop.daemon.http('POST', '/v1/jobs', shop.request)
        reached()
        shop.daemon.stop(signal.SIGKILL)
    shop.daemon.start()


@pytest.mark.parametrize('step', ['retire.moved', 'retire.sealed', 'outcome.committed',
                                  'retired.look', 'retired.told'])
def test_retired__is_told_though_fsd_was_killed(shop, step):
    killed_at(shop, step)
    # Where it dies between the telling and the end of the note, twice.
    times = 2 if step == 'retired.told' else 1
    assert [late['paths'] for _, late in shop.until_told()] == [['upload']] * times


def test_retired__is_told_though_the_catalog_was_lost(shop):
    shop.daemon.fsctl('snapshot', 'shop@a')
    with shop.daemon.steps.held('retired.look') as reached:
        shop.retire()
        reached()
        shop.daemon.stop(signal.SIGKILL)
    shop.daemon.lose_catalog()
    shop.daemon.fsctl('pool', 'scan', 'main')
    shop.daemon.fsctl('snapshot', 'delete', 'shop@a', '--yes')  # that wakes housekeeping
    assert [late['paths'] for _, late in shop.until_told()] == [['upload']]


def test_retired__look_ends_with_fsd_and_begins_anew(shop):
    with shop.daemon.steps.held('retired.look') as reached:
        shop.retire()
        reached()
        shop.daemon.process.send_signal(signal.SIGTERM)
        wait_for(lambda: 'fsd is stopping' in shop.daemon.log())
    assert shop.daemon.process.wait(TIMEOUT) == 0
    assert shop.looks()
    shop.daemon.start()
    assert [late['paths'] for _, late in shop.until_told()] == [['upload']]


def test_retired__that_cannot_be_looked_at_is_a_problem(shop, scratch):
    with shop.daemon.steps.held('retired.look') as reached:
        shop.retire()
        reached()
        shop.daemon.stop(signal.SIGKILL)
    tree, = shop.snapshot.glob('*/undo-1/gen/1/tree')
    tree.rename(scratch / 'away')
    shop.daemon.start()
    wait_for(lambda: 'cannot be found' in checked(shop.daemon)[1])
    shutil.move(scratch / 'away', tree)
    shop.daemon.stop()
    shop.daemon.start()
    assert [late['paths'] for _, late in shop.until_told()] == [['upload']]
    assert checked(shop.daemon)[0] == 0


def test_retired__that_is_deleted_meanwhile_is_none(shop):
    with shop.daemon.steps.held('retired.look') as reached:
        shop.retire()
        reached()
        done(shop.daemon, kind='snapshot-delete', source='shop@undo-1', confirm=True)
    shop.daemon.stop()  # the look ends first
    shop.daemon.start()
    assert not shop.told()
    assert checked(shop.daemon)[0] == 0 and 'cannot' not in shop.daemon.log()


def all_of_disk(shop, key):
    return [json.loads(p.read_text())[key] for p in shop.snapshot.glob('*/*/meta.json')]


def all_of(shop, key):
    return [s[key] for s in shop.daemon.json('snapshot', 'list', 'shop')['items']]


def test_retired__does_not_expire_before_it_was_looked_at(shop):
    shop.daemon.stop()
    shop.daemon.configure(undo_keep='1s')
    shop.daemon.start()
    with shop.daemon.steps.held('retired.look') as reached:
        shop.retire()
        done(shop.daemon, kind='snapshot', site='shop', name='next', expires='1s')
        reached()
        wait_for(lambda: all(expires < datetime.now(timezone.utc)
                             for expires in map(datetime.fromisoformat, all_of(shop, 'expires'))))
        shop.daemon.stop(signal.SIGKILL)
        shop.daemon.start()  # which looks for what has expired
        wait_for(lambda: 'next' not in all_of(shop, 'name'))
        assert all_of(shop, 'name') == ['undo-1']
    assert [late['paths'] for _, late in shop.until_told()] == [['upload']]


def test_retired__is_kept_for_who_is_told_of_it_after_its_time(shop):
    """fsd was down for longer than undo_keep."""
    shop.daemon.stop()
    shop.daemon.configure(undo_keep='1s')
    shop.daemon.start()
    with shop.daemon.steps.held('retired.look') as reached:
        shop.retire()
        reached()
        shop.daemon.stop(signal.SIGKILL)
    expires, = all_of_disk(shop, 'expires')
    wait_for(lambda: time.time_ns() > expires)
    shop.daemon.configure(undo_keep='1d')
    shop.daemon.start()
    shop.until_told()
    assert all_of_disk(shop, 'expires')[0] > expires + 10**9 * 3600
    shop.daemon.stop()
    shop.daemon.start()
    assert all_of(shop, 'name') == ['undo-1']


def test_retired__of_a_site_that_is_gone_is_told_with_what_brings_it_back(shop):
    with shop.daemon.steps.held('retired.look') as reached:
        shop.retire()
        reached()
        shop.daemon.fsctl('site', 'delete', 'shop', '--yes')
    shop.until_told()
    said, = (line for line in shop.daemon.log().splitlines() if 'was still in use' in line)
    name, = all_of(shop, 'name')
    assert f'fsctl clone shop@{name} NAME' in said, said
    shop.daemon.fsctl('clone', f'shop@{name}', 'again')


def restarted_when_over(shop):
    """fsd looks at its start for what has expired, and undo-1 has by then."""
    wait_for(lambda: all(expires < datetime.now(timezone.utc)
                         for expires in map(datetime.fromisoformat, all_of(shop, 'expires'))))
    shop.daemon.stop()
    shop.daemon.start()


@pytest.mark.parametrize('fs', [None, 'btrfs'])
def test_retired__is_looked_at_once_more_before_it_expires(fs, mount, make_daemon):
    """Who holds a file of it open writes on, whatever is read-only since."""
    daemon = make_daemon({'main': mount(fs) / 'pool'} if fs else None, undo_keep='1s')
    Steps(daemon)
    shop = Shop(daemon.start())
    with open(shop.upload, 'a', encoding='ascii') as held:
        shop.retire()
        shop.until_told()
        held.write('later')
    tree, = shop.snapshot.glob('*/undo-1/gen/1/tree')
    restarted_when_over(shop)
    wait_for(lambda: len(shop.told()) == 2)
    wait_for(lambda: shop.daemon.json('job', 'list')['items'][0]['state'] == 'failed')
    job = shop.daemon.json('job', 'show', shop.daemon.json('job', 'list')['items'][0]['id'])
    assert 'shop@undo-1' in job['error']['object'], job
    assert 'first: upload' in job['error']['reason'], job
    assert all_of(shop, 'name') == ['undo-1'] and (tree / 'upload').read_text() == 'latelater'
    restarted_when_over(shop)
    wait_for(lambda: all_of(shop, 'name') == [])
    assert len(shop.told()) == 2 and checked(shop.daemon)[0] == 0
