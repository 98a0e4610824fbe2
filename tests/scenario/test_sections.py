# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pools whose sections in the configuration go, come back, are renamed or exchanged."""

import os
import re
import signal

import pytest

from conftest import Steps, checked, needs_root
from storage import filled, mounted, pool, reading, wait_until
from terminal import Terminal


def start_with(daemon, pools):
    daemon.stop()
    daemon.pools = pools
    daemon.configure()
    daemon.start()


def killed_at(steps, step, request):
    """fsd has ended at a step of the job."""
    steps.until(step, request)
    steps.daemon.stop(signal.SIGKILL)
    steps.set_hold('')


def test_pool__that_lost_its_section_is_a_problem_while_the_catalog_has_a_part_of_it(
        make_daemon, scratch):
    daemon = make_daemon({name: scratch / name for name in ('main', 'old', 'empty')}).start()
    daemon.fsctl('site', 'create', 'shop', '--pool', 'old')
    daemon.fsctl('snapshot', 'shop@a')
    shown = [('site', 'show', 'shop'), ('snapshot', 'list'), ('generation', 'list', 'shop')]
    told = [daemon.json(*command) for command in shown]

    def restart_with(*names):
        start_with(daemon, {name: scratch / name for name in names})
    restart_with('main')
    problem, = daemon.json('status')['problems']
    assert (problem['code'], problem['object']) == ('pool_not_configured', 'old')
    assert '(sites: 1, deleted sites: 0, snapshots: 1, unfinished jobs: 0)' in problem['reason']
    assert f'put back [pool old] with path = {scratch}/old ' in problem['hint']
    assert checked(daemon)[0] == 2
    assert daemon.log().count('fsd error: pool offline: old: the configuration does not') == 1
    assert [daemon.json(*command) for command in shown] == told  # with their paths
    old = pool(daemon, 'old')
    assert (old['path'], old['online'], old['reason']) == (
        str(scratch / 'old'), False, problem['reason'])
    for request in ({'kind': 'snapshot', 'site': 'shop'}, {'kind': 'pool-scan', 'pool': 'old'},
                    {'kind': 'site-create', 'name': 'x', 'pool': 'old'}):
        status, error = daemon.ask(request)
        assert (status, {**error, **problem}) == (503, {**error, 'severity': 'critical'}), request
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log('configuration reloaded')
    daemon.fsctl('site', 'create', 'new')  # in the only pool that is configured
    daemon.fsctl('site', 'delete', 'new', '--yes')

    restart_with('main', 'old')
    assert checked(daemon)[0] == 0
    daemon.fsctl('clone', 'shop', 'new', '--pool', 'main')
    daemon.fsctl('snapshot', 'delete', 'shop@a', '--yes')
    daemon.fsctl('site', 'delete', 'shop', '--yes')
    restart_with('main')
    assert '(sites: 0, deleted sites: 1, snapshots: 0, unfinished jobs: 0)' in checked(daemon)[1]


def test_pool__that_lost_its_section_keeps_its_jobs_in_the_queue(make_daemon, scratch):
    pools = {name: scratch / name for name in ('main', 'old')}
    daemon = make_daemon(pools)
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop', '--pool', 'main')
    daemon.fsctl('snapshot', 'shop@s')
    killed_at(steps, 'intent.committed', {'kind': 'clone', 'source': 'shop@s', 'name': 'copy',
                                          'pool': 'old'})
    start_with(daemon, {'main': scratch / 'main'})
    job = daemon.json('job', 'list')['items'][0]['id']
    assert daemon.json('status')['jobs'] == {'queued': 1, 'running': 0}
    _, error = daemon.ask({'kind': 'site-create', 'name': 'copy', 'pool': 'main'})
    assert (error['code'], error['reason']) == ('name_taken', f'job {job} is making it'), error
    _, error = daemon.ask({'kind': 'snapshot-delete', 'source': 'shop@s', 'confirm': True})
    assert (error['code'], job in error['reason']) == ('has_dependents', True), error
    daemon.fsctl('snapshot', 'shop@t')

    start_with(daemon, pools)
    daemon.fsctl('job', 'wait', job)
    assert daemon.json('job', 'show', job)['state'] == 'done'
    assert daemon.json('site', 'show', 'copy')['pool'] == 'old'
    assert checked(daemon)[0] == 0


def take_away(daemon, away, old):
    """The pool goes, and fsd starts without it."""
    if away == 'disk':
        old.rename(old.with_name('away'))
        old.mkdir()  # its mount point
    start_with(daemon, {name: path for name, path in daemon.pools.items()
                        if away == 'disk' or path != old})


def bring_back(daemon, away, old):
    if away == 'disk':
        old.rmdir()
        old.with_name('away').rename(old)
    else:
        start_with(daemon, {**daemon.pools, 'old': old})
    wait_until(lambda: pool(daemon, 'old')['online'], daemon)


def assert_not_begun(daemon, job):
    job = daemon.json('job', 'show', job)
    assert (job['state'], job['started']) == ('canceled', None), job
    assert job['error']['reason'] == 'canceled before it started'


@pytest.mark.parametrize('away', ['section', 'disk'])
def test_job__of_a_pool_that_is_away_can_be_canceled(make_daemon, scratch, away):
    daemon = make_daemon({name: scratch / name for name in ('main', 'old')})
    steps = Steps(daemon)
    daemon.start()
    killed_at(steps, 'intent.committed', {'kind': 'site-create', 'name': 'shop', 'pool': 'old'})
    take_away(daemon, away, scratch / 'old')
    job = daemon.json('job', 'list')['items'][0]['id']
    for _ in range(2):
        assert 'is settled once that is online' in daemon.fsctl('job', 'cancel', job).stdout
        assert daemon.json('job', 'show', job)['error']['code'] == 'canceled'
        daemon.stop()
        daemon.start()
    # It may have begun, or be past its commit point: its name is not given to another one.
    _, error = daemon.ask({'kind': 'site-create', 'name': 'shop', 'pool': 'main'})
    assert (error['code'], job in error['reason']) == ('name_taken', True), error
    bring_back(daemon, away, scratch / 'old')
    assert daemon.fsctl('job', 'wait', job, check=False).returncode != 0
    assert daemon.json('job', 'show', job)['state'] == 'canceled'
    assert daemon.json('status')['jobs'] == {'queued': 0, 'running': 0}
    daemon.fsctl('site', 'create', 'shop', '--pool', 'main')
    assert checked(daemon)[0] == 0


def test_job__of_a_pool_that_is_away_lets_its_source_go_when_it_is_canceled(make_daemon, scratch):
    daemon = make_daemon({name: scratch / name for name in ('main', 'old')})
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop', '--pool', 'main')
    daemon.fsctl('snapshot', 'shop@s')
    killed_at(steps, 'intent.committed', {'kind': 'clone', 'source': 'shop@s', 'name': 'copy',
                                          'pool': 'old'})
    take_away(daemon, 'disk', scratch / 'old')
    job = daemon.json('job', 'list')['items'][0]['id']
    _, error = daemon.ask({'kind': 'snapshot-delete', 'source': 'shop@s', 'confirm': True})
    assert error['code'] == 'has_dependents', error
    daemon.fsctl('job', 'cancel', job)
    listing = Terminal(daemon, 'job', 'list')
    assert listing.end() == 0 and re.search(f'{job} .* queued, canceled ', listing.seen)
    told = daemon.fsctl('job', 'wait', job, '--timeout', '1', check=False).stderr
    assert 'canceled while pool old was offline' in told, told
    daemon.stop()
    daemon.start()
    daemon.fsctl('snapshot', 'delete', 'shop@s', '--yes')
    bring_back(daemon, 'disk', scratch / 'old')
    assert_not_begun(daemon, job)
    assert daemon.json('site', 'list')['items'][0]['name'] == 'shop'
    assert checked(daemon)[0] == 0


@needs_root
def test_job__of_a_pool_that_is_away_is_what_it_was_where_its_cancel_finds_no_room(
        make_daemon, scratch):
    where = scratch / 'small'
    where.mkdir()
    with mounted('-t', 'tmpfs', '-o', 'size=16m,mode=755', 'none', where):
        catalog = where / 'catalog.db'
        daemon = make_daemon({name: scratch / name for name in ('main', 'old')}, catalog=catalog)
        steps = Steps(daemon)
        daemon.start()
        try:
            daemon.fsctl('site', 'create', 'shop', '--pool', 'main')
            daemon.fsctl('snapshot', 'shop@s')
            killed_at(steps, 'intent.committed', {'kind': 'clone', 'source': 'shop@s',
                                                  'name': 'copy', 'pool': 'old'})
            take_away(daemon, 'disk', scratch / 'old')
            job = daemon.json('job', 'list')['items'][0]['id']
            with reading(catalog), filled(where):
                refused = daemon.fsctl('job', 'cancel', job, check=False)
                assert 'full' in refused.stderr, refused
            _, error = daemon.ask({'kind': 'snapshot-delete', 'source': 'shop@s',
                                   'confirm': True})
            assert (error['code'], job in error['reason']) == ('has_dependents', True), error
            bring_back(daemon, 'disk', scratch / 'old')
            daemon.fsctl('job', 'wait', job)
            assert daemon.json('site', 'show', 'copy')['pool'] == 'old'
        finally:
            assert daemon.stop() == 0


def test_job__that_was_canceled_while_its_pool_had_another_name_is_settled(make_daemon, scratch):
    """Under the new name the pool was never online."""
    daemon = make_daemon({name: scratch / name for name in ('main', 'old')})
    steps = Steps(daemon)
    daemon.start()
    killed_at(steps, 'renamed', {'kind': 'site-create', 'name': 'shop', 'pool': 'old'})
    pools = dict(daemon.pools)
    daemon.pools = {'main': scratch / 'main', 'new': scratch / 'old'}
    take_away(daemon, 'disk', scratch / 'old')
    job = daemon.json('job', 'list')['items'][0]['id']
    daemon.fsctl('job', 'cancel', job)
    daemon.stop()
    daemon.pools = pools
    daemon.configure()
    daemon.start()
    bring_back(daemon, 'disk', scratch / 'old')
    assert daemon.json('job', 'show', job)['state'] == 'done'  # it was past its commit point
    assert daemon.json('site', 'show', 'shop')['pool'] == 'old'
    assert checked(daemon)[0] == 0


@pytest.mark.parametrize('away, step, state', [('section', 'import.adopted', 'done'),
                                               ('disk', 'import.adopting', 'canceled')])
def test_job__that_was_canceled_while_its_pool_was_away_is_settled_when_it_is_back(
        make_daemon, scratch, away, step, state):
    daemon = make_daemon({name: scratch / name for name in ('main', 'old')})
    steps = Steps(daemon)
    daemon.start()
    (scratch / 'dir').mkdir()
    (scratch / 'dir/file').write_text('x')
    killed_at(steps, step, {'kind': 'site-import', 'name': 'shop', 'dir': str(scratch / 'dir'),
                            'mode': 'move', 'pool': 'old'})
    take_away(daemon, away, scratch / 'old')
    job = daemon.json('job', 'list')['items'][0]['id']
    daemon.fsctl('job', 'cancel', job)
    bring_back(daemon, away, scratch / 'old')
    assert daemon.json('job', 'show', job)['state'] == state
    if state == 'done':
        assert (scratch / 'old/sites/shop/live/file').read_text() == 'x'
    else:
        assert (scratch / 'dir/file').read_text() == 'x'
        assert not (scratch / 'old/sites/shop').exists()
    assert checked(daemon)[0] == 0


@pytest.mark.parametrize('restart', [False, True])
def test_job__that_was_canceled_behind_another_one_is_not_judged_by_what_that_has_not_done_yet(
        make_daemon, scratch, restart):
    daemon = make_daemon({name: scratch / name for name in ('main', 'old')}, max_jobs=1)
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop', '--pool', 'old')
    daemon.fsctl('snapshot', 'shop@s')
    steps.until('job.ran', {'kind': 'site-create', 'name': 'busy', 'pool': 'main'})
    hold, release = (daemon.http('POST', '/v1/jobs', {
        'kind': 'snapshot-hold', 'source': 'shop@s', 'hold': held,
        'confirm': True})[1]['job']['id'] for held in (True, False))
    daemon.stop(signal.SIGKILL)
    steps.set_hold('')
    take_away(daemon, 'disk', scratch / 'old')
    daemon.fsctl('job', 'cancel', release)
    if restart:
        daemon.stop()
        daemon.start()
    bring_back(daemon, 'disk', scratch / 'old')
    daemon.fsctl('job', 'wait', hold)
    daemon.fsctl('job', 'wait', release, check=False)
    assert_not_begun(daemon, release)
    assert len(daemon.json('snapshot', 'show', 'shop@s')['holds']) == 1
    assert checked(daemon)[0] == 0


def test_pool__that_was_retired_frees_its_name(make_daemon, scratch):
    daemon = make_daemon({name: scratch / name for name in 'ab'}).start()
    daemon.fsctl('site', 'create', 'shop', '--pool', 'a')
    daemon.fsctl('site', 'create', 'blog', '--pool', 'b')
    first = pool(daemon, 'b')['id']
    daemon.configure(undo_keep='0s')
    daemon.fsctl('site', 'delete', 'blog', '--yes')
    start_with(daemon, daemon.pools)
    wait_until(lambda: not daemon.json('site', 'list', '--deleted')['items'], daemon)

    start_with(daemon, {'a': scratch / 'a'})
    assert checked(daemon)[0] == 0
    (scratch / 'new').mkdir()
    start_with(daemon, {'a': scratch / 'a', 'b': scratch / 'new'})
    assert pool(daemon, 'b')['online'] and pool(daemon, 'b')['id'] != first
    start_with(daemon, {'a': scratch / 'a'})
    start_with(daemon, {'b': scratch / 'a'})  # the section of a, which is called b now
    assert daemon.json('site', 'show', 'shop')['pool'] == 'b'
    assert checked(daemon)[0] == 0


def test_pool__that_has_nothing_yet_is_not_made_anew_in_its_mount_point(make_daemon, scratch):
    daemon = make_daemon({name: scratch / name for name in 'ab'}).start()
    daemon.stop()
    (scratch / 'b').rename(scratch / 'away')
    (scratch / 'b').mkdir()
    daemon.start()
    [problem] = daemon.json('status')['problems']
    assert 'is its disk mounted?' in problem['hint'] and '"Retiring a pool"' in problem['hint']
    assert os.listdir(scratch / 'b') == []
    start_with(daemon, {'a': scratch / 'a'})  # as it says there
    start_with(daemon, {name: scratch / name for name in 'ab'})
    assert pool(daemon, 'b')['online']
    assert checked(daemon)[0] == 0


def test_pool__under_another_name_is_not_made_anew_in_its_mount_point(make_daemon, scratch):
    """Its sites and jobs wait for its disk, and follow."""
    old = scratch / 'old'
    daemon = make_daemon({'main': scratch / 'main', 'old': old})
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop', '--pool', 'old')
    known = pool(daemon, 'old')['id']
    killed_at(steps, 'intent.committed', {'kind': 'snapshot', 'site': 'shop', 'name': 'a'})
    old.rename(scratch / 'away')
    old.mkdir()
    start_with(daemon, {'main': scratch / 'main', 'new': old})
    assert os.listdir(old) == []
    [problem] = daemon.json('status')['problems']
    assert (problem['code'], problem['object']) == ('pool_offline', 'new')
    assert 'the catalog knows pool old, but its pool.json is not there' in problem['reason']
    assert 'is its disk mounted?' in problem['hint'] and '[pool old]' in problem['hint']
    assert daemon.ask({'kind': 'snapshot', 'site': 'shop'})[1]['code'] == 'pool_offline'
    assert daemon.json('site', 'show', 'shop')['live']['path'] == str(old / 'sites/shop/live')
    assert daemon.json('job', 'list')['items'][0]['state'] == 'queued'
    assert daemon.json('status')['jobs']['queued'] == 1

    old.rmdir()
    (scratch / 'away').rename(old)
    wait_until(lambda: daemon.json('job', 'list')['items'][0]['state'] == 'done', daemon)
    assert daemon.json('site', 'show', 'shop')['pool'] == 'new'
    assert [s['pool'] for s in daemon.json('snapshot', 'list')['items']] == ['new']
    assert pool(daemon, 'new')['id'] == known
    assert checked(daemon)[0] == 0


def test_pools__whose_paths_were_exchanged_are_told_apart(make_daemon, scratch):
    daemon = make_daemon({name: scratch / name for name in 'ab'}).start()
    for name in 'ab':
        daemon.fsctl('site', 'create', f'of-{name}', '--pool', name)
    ids = {name: pool(daemon, name)['id'] for name in 'ab'}
    start_with(daemon, {'a': scratch / 'b', 'b': scratch / 'a'})
    for name, other in 'ab', 'ba':
        shown = pool(daemon, name)
        assert not shown['online'] and shown['id'] is None, shown
        assert shown['reason'] == (f'this is pool {other} ({ids[other]}), '
                                   f'the catalog expects pool {name} ({ids[name]})')
        assert 'its own path again' in shown['hint'] and 'lost' not in shown['hint']

    start_with(daemon, {name: scratch / name for name in 'ab'})
    assert checked(daemon)[0] == 0
    start_with(daemon, {'c': scratch / 'a', 'b': scratch / 'b'})  # by way of a third name
    start_with(daemon, {'c': scratch / 'a', 'a': scratch / 'b'})
    start_with(daemon, {'b': scratch / 'a', 'a': scratch / 'b'})
    assert {s['name']: s['pool'] for s in daemon.json('site', 'list')['items']} == {
        'of-a': 'b', 'of-b': 'a'}
    assert checked(daemon)[0] == 0


def test_pools__may_pass_their_names_on(make_daemon, scratch):
    """That of b is free only once it has that of a."""
    daemon = make_daemon({name: scratch / name for name in 'ab'})
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop', '--pool', 'a')
    killed_at(steps, 'intent.committed', {'kind': 'site-create', 'name': 'blog', 'pool': 'b'})
    start_with(daemon, {'a': scratch / 'b', 'c': scratch / 'a'})
    wait_until(lambda: pool(daemon, 'a')['online'], daemon)
    wait_until(lambda: daemon.json('job', 'list')['items'][0]['state'] == 'done', daemon)
    assert [(s['name'], s['pool']) for s in daemon.json('site', 'list')['items']] == [
        ('blog', 'a'), ('shop', 'c')]
    assert checked(daemon)[0] == 0


def test_pool__takes_its_unfinished_jobs_along_under_another_name(make_daemon, scratch):
    """And while its section is gone, status says that there are some."""
    daemon = make_daemon({name: scratch / name for name in ('main', 'old')})
    steps = Steps(daemon)
    daemon.start()
    killed_at(steps, 'intent.committed', {'kind': 'site-create', 'name': 'shop', 'pool': 'old'})
    daemon.pools = {'main': scratch / 'main'}
    daemon.configure()
    daemon.start()
    status, said = checked(daemon)
    assert status == 2 and 'snapshots: 0, unfinished jobs: 1)' in said
    daemon.stop()
    daemon.pools = {'main': scratch / 'main', 'new': scratch / 'old'}
    daemon.configure()
    daemon.start()
    wait_until(lambda: daemon.json('job', 'list')['items'][0]['state'] == 'done', daemon)
    assert daemon.json('site', 'show', 'shop')['pool'] == 'new'
    assert checked(daemon)[0] == 0


@pytest.fixture
def moving(make_daemon, scratch):
    """One with a site and its snapshot in the pool "old"; moving.until() and then moving.rename()
    leave a job that was asked for before that pool became "new"."""
    daemon = make_daemon({name: scratch / name for name in ('main', 'old')})
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop', '--pool', 'old')
    (scratch / 'old/sites/shop/live/page').write_text('as it was')
    daemon.fsctl('snapshot', 'shop@s')
    (scratch / 'old/sites/shop/live/page').write_text('now')

    def rename():
        daemon.pools = {'main': scratch / 'main', 'new': scratch / 'old'}
        daemon.configure()
    steps.rename = rename
    return steps


@pytest.mark.parametrize('request_', [
    {'kind': 'clone', 'source': 'shop@s', 'name': 'two', 'pool': 'main'},
    {'kind': 'clone', 'source': 'shop', 'name': 'two', 'pool': 'main'},
    {'kind': 'restore', 'source': 'shop@s', 'confirm': True},
    {'kind': 'restore', 'source': 'shop@s', 'paths': ['page'], 'confirm': True},
    {'kind': 'restore-to', 'source': 'shop@s', 'dir': '@/copy'},
    {'kind': 'diff', 'a': 'shop@s'},
    {'kind': 'check', 'source': 'shop@s'},
    {'kind': 'snapshot-measure', 'source': 'shop@s'}], ids=lambda r: r['kind'])
def test_pool__under_another_name_has_what_jobs_were_to_read(moving, scratch, request_):
    if 'dir' in request_:
        request_ = {**request_, 'dir': str(scratch / 'copy')}
    moving.until('intent.committed', request_)
    moving.rename()
    job = moving.restart()
    assert (job['kind'], job['state'], job['error']) == (request_['kind'], 'done', None)
    made = {'clone': 'main/sites/two/live/page', 'restore': 'old/sites/shop/live/page',
            'restore-to': 'copy/page'}.get(request_['kind'])
    if made:
        what = 'now' if request_.get('source') == 'shop' else 'as it was'
        assert (scratch / made).read_text() == what
    assert checked(moving.daemon)[0] == 0


def test_pool__under_another_name_is_scanned_once_at_a_time(moving):
    moving.until('intent.committed', {'kind': 'pool-scan', 'pool': 'old'})
    moving.rename()
    daemon = moving.daemon
    daemon.stop(signal.SIGKILL)
    moving.thread.join()
    with moving.held('scan.look') as wait:
        daemon.start()
        wait()
        _, answer = daemon.http('POST', '/v1/jobs', {'kind': 'pool-scan', 'pool': 'new'})
        second = answer['job']['id']
        # Whatever may run goes before this one, which is less urgent.
        assert daemon.ask({'kind': 'snapshot', 'site': 'shop'})[0] == 200
        assert daemon.http('GET', f'/v1/jobs/{second}')[1]['state'] == 'queued'
    daemon.fsctl('job', 'wait', second)
    assert [j['state'] for j in daemon.json('job', 'list')['items'][:3]] == ['done'] * 3
