# SPDX-License-Identifier: LGPL-2.1-or-later
"""fsctl against a real daemon: what it makes, prints, asks and exits with."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import TIMEOUT, Steps, program
from terminal import Terminal


@pytest.fixture
def shop(make_daemon):
    """A daemon with a site of three files."""
    daemon = make_daemon()
    Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    tree = live(daemon, 'shop')
    (tree / 'a').mkdir()
    for name in ('index.php', 'a/one', 'a/two'):
        (tree / name).write_text(name)
    return daemon


def live(daemon, source):
    return pathlib.Path(daemon.fsctl('path', source).stdout.rstrip('\n'))


def fails(daemon, code, *args, **kwargs):
    """It exits with `code`, leaves its output empty, and says why; the text."""
    r = daemon.fsctl(*args, check=False, **kwargs)
    assert r.returncode == code, r.stderr
    assert r.stdout == ''
    if '--json' in args:
        problem = json.loads(r.stderr)
        assert {'code', 'title', 'object', 'reason', 'hint'} <= problem.keys()
        return problem
    assert r.stderr.startswith('fsctl: ')
    return r.stderr


# ---- the everyday round ----

def test_cli__snapshot_damage_diff_restore_undo(shop):
    r = shop.fsctl('snapshot', 'shop@before')
    assert r.stdout.startswith('snapshot shop@before taken (') and r.stderr == ''
    tree = live(shop, 'shop')
    (tree / 'index.php').write_text('hacked')
    (tree / 'a/two').unlink()
    (tree / 'new').write_text('x')
    assert {'M index.php', '- a/two', '+ new'} <= set(
        shop.fsctl('diff', 'shop@before').stdout.splitlines())
    assert shop.fsctl('diff', 'shop@before', '--exit-code', check=False).returncode == 1
    for path in ('new', 'a/two', 'a/'):  # in one of both is enough
        assert shop.fsctl('diff', 'shop@before', '--', path).stdout
    assert 'shop@before nor shop has such a path' in fails(shop, 3, 'diff', 'shop@before', '--',
                                                           'a', 'nwe')
    listed = shop.json('diff', 'shop@before')
    assert listed['next'] is None
    assert {'change': '+', 'path': 'new', 'from': None} in listed['items']
    assert [i['path'] for i in shop.json('diff', 'shop@before', 'a/two')['items']] == ['a/two']

    assert 'say --yes' in fails(shop, 2, 'restore', 'shop@before')
    assert (tree / 'new').exists()
    job = shop.json('restore', 'shop@before', '--yes')['job']
    assert job['state'] == 'done' and job['result']['generation'] == 2
    assert (live(shop, 'shop') / 'index.php').read_text() == 'index.php'
    assert shop.fsctl('diff', 'shop@before', '--exit-code').stdout == ''

    assert 'generation 1 is live' in shop.fsctl('undo', job['id']).stdout
    assert (live(shop, 'shop') / 'index.php').read_text() == 'hacked'


def test_cli__the_diff_of_a_path_says_where_it_went_and_came_from(mount, make_daemon):
    daemon = make_daemon({'main': mount('btrfs')}).start()
    daemon.fsctl('site', 'create', 'shop')
    tree = live(daemon, 'shop')
    for name in ('old', 'other'):
        (tree / name).write_text(name)
    daemon.fsctl('snapshot', 'shop@a')
    (tree / 'old').rename(tree / 'new')
    (tree / 'other').write_text('changed')
    moved = {'change': 'R', 'path': 'new', 'from': 'old'}
    assert moved in daemon.json('diff', 'shop@a')['items']
    for path in ('old', 'new'):
        assert daemon.json('diff', 'shop@a', '--', path)['items'] == [moved]
    back = {'change': 'R', 'path': 'old', 'from': 'new'}
    assert daemon.json('diff', 'shop', 'shop@a', '--', 'new')['items'] == [back]


def test_cli__quiet_prints_what_the_next_command_takes(shop):
    name = shop.fsctl('snapshot', 'shop', '--quiet').stdout.rstrip('\n')
    assert re.fullmatch(r'shop@\d{8}t\d{6}z', name)
    assert shop.fsctl('clone', name, 'copy', '-q').stdout == 'copy\n'
    assert shop.fsctl('site', 'list', '-q').stdout == 'copy\nshop\n'
    assert shop.fsctl('snapshot', 'list', '-q').stdout == f'{name}\n'
    assert shop.fsctl('generation', 'create', 'shop', '-q').stdout == 'shop:2\n'
    (live(shop, 'shop:2') / 'index.php').write_text('second')
    assert shop.fsctl('publish', 'shop:2', '-q').stdout == ''
    assert (live(shop, 'shop') / 'index.php').read_text() == 'second'
    shop.fsctl('rollback', 'shop')
    assert (live(shop, 'shop') / 'index.php').read_text() == 'index.php'
    assert [g['number'] for g in shop.json('generation', 'list', 'shop')['items']] == [1, 2]


def generations(daemon):
    """Three of them, each with its number in index.php, published one after the other; the jobs."""
    (live(daemon, 'shop') / 'index.php').write_text('1')
    jobs = []
    for number in ('2', '3'):
        daemon.fsctl('generation', 'create', 'shop')
        (live(daemon, f'shop:{number}') / 'index.php').write_text(number)
        jobs.append(daemon.json('publish', f'shop:{number}')['job'])
    return jobs


def test_cli__rollback_goes_to_the_one_before_or_to_the_one_that_is_named(shop):
    def read():
        return (live(shop, 'shop') / 'index.php').read_text()

    jobs = generations(shop)
    assert [(j['result']['generation'], j['result']['retired']) for j in jobs] == [(2, 1), (3, 2)]
    job = shop.json('rollback', 'shop')['job']
    assert read() == '2' and (job['result']['generation'], job['result']['retired']) == (2, 3)
    shop.fsctl('undo', job['id'])
    assert read() == '3'
    job = shop.json('rollback', 'shop:1')['job']
    assert read() == '1' and (job['result']['generation'], job['result']['retired']) == (1, 3)
    assert [(g['number'], g['live'], bool(g['retired']))
            for g in shop.json('generation', 'list', 'shop')['items']] == [
                (1, True, False), (2, False, True), (3, False, True)]
    for args in (('publish', 'shop:1'), ('rollback', 'shop:1')):
        assert 'generation 1 is live' in fails(shop, 4, *args)
    for args in (('publish', 'shop:9'), ('rollback', 'shop:9')):
        assert 'no generation 9' in fails(shop, 3, *args)
    shop.fsctl('clone', 'shop', 'copy')
    assert 'no generation was live before' in fails(shop, 3, 'rollback', 'copy')


def test_cli__undo_of_a_publish_works_when_its_generation_is_a_snapshot_by_now(shop):
    jobs = generations(shop)
    assert shop.ask({'kind': 'generation-retire', 'site': 'shop', 'generation': 1})[0] == 200
    undone = shop.json('undo', jobs[0]['id'])['job']
    assert (live(shop, 'shop') / 'index.php').read_text() == '1'
    shop.fsctl('undo', undone['id'])
    assert (live(shop, 'shop') / 'index.php').read_text() == '3'
    shop.fsctl('snapshot', 'delete', 'shop@undo-1', '--yes')
    job = shop.json('job', 'show', jobs[0]['id'])
    assert job['undone_by'] == undone['id']
    assert f'job {undone["id"]} has undone it' in fails(shop, 4, 'undo', jobs[0]['id'])


def test_cli__a_generation_without_its_tree_is_not_published(shop):
    shop.fsctl('generation', 'create', 'shop')
    tree = live(shop, 'shop:2')
    tree.rename(tree.with_name('away'))
    assert 'generation 2 has no complete tree' in fails(shop, 3, 'publish', 'shop:2')
    assert (live(shop, 'shop') / 'index.php').read_text() == 'index.php'
    check = shop.fsctl('check', 'shop:2', check=False)
    assert check.returncode == 1 and 'no complete tree' in check.stdout
    assert [g['retired'] for g in shop.json('generation', 'list', 'shop')['items']] == [None, None]


def test_cli__a_deleted_generation_is_gone_and_its_number_is_not_given_again(shop):
    shop.fsctl('generation', 'create', 'shop')
    tree = live(shop, 'shop:2')
    assert 'generation 1 is live' in fails(shop, 4, 'generation', 'delete', 'shop:1', '--yes')
    assert 'no generation 7' in fails(shop, 3, 'generation', 'delete', 'shop:7', '--yes')
    job = shop.json('generation', 'delete', 'shop:2', '--yes')['job']
    assert not tree.parent.exists() and job['undoable'] is False
    assert 'is gone' in fails(shop, 4, 'undo', job['id'])
    assert shop.fsctl('generation', 'create', 'shop', '-q').stdout == 'shop:3\n'
    shop.steps.until('stage.made', {'kind': 'generation-create', 'site': 'shop'})
    waiting = [shop.http('POST', '/v1/jobs', request)[1]['job']['id'] for request in (
        {'kind': 'publish', 'site': 'shop', 'generation': 3},
        {'kind': 'generation-delete', 'site': 'shop', 'generation': 3, 'confirm': True})]
    shop.steps.go_on()
    shop.fsctl('job', 'wait', waiting[0])
    assert 'generation 3 is live' in fails(shop, 4, 'job', 'wait', waiting[1])
    assert (live(shop, 'shop') / 'index.php').read_text() == 'index.php'


def test_cli__a_snapshot_is_restored_into_another_site(shop):
    shop.fsctl('clone', 'shop', 'copy')
    (live(shop, 'copy') / 'index.php').write_text('copy')
    (live(shop, 'shop') / 'index.php').write_text('shop')
    shop.fsctl('snapshot', 'shop@a')
    (live(shop, 'shop') / 'index.php').write_text('later')
    job = shop.json('restore', 'shop@a', '--site', 'copy', '--yes')['job']
    assert (live(shop, 'copy') / 'index.php').read_text() == 'shop'
    assert (live(shop, 'shop') / 'index.php').read_text() == 'later'
    assert job['result']['site']['name'] == 'copy'
    shop.fsctl('undo', job['id'])
    assert (live(shop, 'copy') / 'index.php').read_text() == 'copy'
    shop.fsctl('restore', 'shop', 'index.php', '--site', 'copy')  # what is live, of another one
    assert (live(shop, 'copy') / 'index.php').read_text() == 'later'


def test_cli__chosen_paths_are_restored_without_a_question(shop):
    shop.fsctl('snapshot', 'shop@before')
    tree = live(shop, 'shop')
    (tree / 'index.php').write_text('hacked')
    (tree / 'a/one').write_text('kept')
    assert 'M index.php\n' in shop.fsctl('restore', 'shop@before', 'index.php').stdout
    assert (tree / 'index.php').read_text() == 'index.php'
    assert (tree / 'a/one').read_text() == 'kept'


def test_cli__plans_change_nothing(shop):
    before = shop.json('job', 'list')['items']
    for args in (('snapshot', 'shop@x'), ('clone', 'shop', 'new'), ('site', 'delete', 'shop'),
                 ('site', 'rename', 'shop', 'other'), ('generation', 'create', 'shop')):
        assert 'nothing was changed' in shop.fsctl(*args, '--dry-run').stdout
        plan = shop.json(*args, '-n')['plan']
        assert plan['kind'] and plan['steps']
    assert 'walk the live tree' in shop.fsctl('site', 'show', 'shop', '--measure', '-n').stdout
    assert shop.json('site', 'show', 'shop', '--measure', '-n')['plan']['kind'] == 'site-measure'
    assert shop.json('job', 'list')['items'] == before
    site = shop.json('site', 'list')['items'][0]
    assert site['name'] == 'shop' and site['bytes'] is None


def test_cli__a_plan_counts_what_was_measured_and_nothing_else(shop):
    shop.fsctl('snapshot', 'shop@s')
    (live(shop, 'shop') / 'later').write_text('later')
    shop.fsctl('site', 'show', 'shop', '--measure')
    plan = shop.json('clone', 'shop', 'new', '-n')['plan']
    assert plan['entries'] == 5
    assert plan['measured_at'] == shop.json('site', 'show', 'shop')['bytes']['measured_at']
    plan = shop.json('clone', 'shop@s', 'new', '-n')['plan']
    assert plan['entries'] == 0 and plan['measured_at'] is None
    out = live(shop, 'shop').parents[5] / 'out'
    assert shop.json('restore', 'shop@s', '--to', out, '-n')['plan']['measured_at'] is None
    measured = shop.json('snapshot', 'show', 'shop@s', '--measure')['bytes']['measured_at']
    plan = shop.json('restore', 'shop@s', '--to', out, '-n')['plan']
    assert plan['entries'] == 4 and plan['measured_at'] == measured


def test_cli__the_plan_of_a_cancel_stops_nothing(shop):
    shop.steps.until('job.ran', {'kind': 'snapshot', 'site': 'shop', 'name': 'a'})
    job = shop.json('job', 'list')['items'][0]['id']
    shown = shop.fsctl('job', 'cancel', job, '--dry-run').stdout
    assert shown.startswith('nothing was changed')
    assert f'stop job {job}, the snapshot of shop' in shown
    assert shop.json('job', 'cancel', job, '-n')['job']['state'] == 'running'
    assert shop.steps.go_on()['state'] == 'done'
    assert 'has already ended' in fails(shop, 4, 'job', 'cancel', job, '-n')


def test_cli__properties_labels_and_holds(shop):
    r = shop.fsctl('site', 'set', 'shop', 'protected=yes', 'label.customer=acme', 'label.x=1')
    assert ('\n  protected       no -> yes\n  label.customer  none -> acme\n'
            '  label.x         none -> 1\n') in r.stdout
    r = shop.fsctl('site', 'set', 'shop', 'label.x=', 'protected=yes', 'expires=7d')
    assert re.search(r'\n  protected  yes, as it was\n  expires    never -> 2\S+ \S+\n'
                     r'  label.x    1 -> none\n', r.stdout)
    job = shop.json('job', 'show', shop.json('job', 'list', '--limit', '1')['items'][0]['id'])
    assert {'key': 'label.x', 'from': '1', 'to': None} in job['result']['set']
    assert '\n  label.x    none -> 1\n' in shop.fsctl('undo', job['id']).stdout
    shop.fsctl('site', 'set', 'shop', 'label.x=')
    site = shop.json('site', 'show', 'shop')
    assert site['protected'] is True and site['labels'] == {'customer': 'acme'}
    assert shop.fsctl('site', 'list', '--label', 'customer=acme', '-q').stdout == 'shop\n'
    assert shop.fsctl('site', 'list', '--label', 'customer=other', '-q').stdout == ''
    assert 'protected' in fails(shop, 4, 'site', 'delete', 'shop', '--yes')

    shop.fsctl('snapshot', 'shop@one', '--expires', '7d')
    assert '\n  label.y  none -> 2\n' in shop.fsctl('snapshot', 'set', 'shop@one',
                                                   'label.y=2').stdout
    shop.fsctl('snapshot', 'hold', 'shop@one', '--tag', 'audit')
    snapshot = shop.json('snapshot', 'show', 'shop@one')
    assert snapshot['hold'] is True and snapshot['holds'] == ['audit'] and snapshot['expires']
    held = fails(shop, 4, 'snapshot', 'delete', 'shop@one', '--yes', '--json')
    assert held['code'] == 'held' and '--tag audit' in held['hint']
    # Nobody shall believe that a wrong tag has released it.
    assert 'has the tag default' in fails(shop, 3, 'snapshot', 'release', 'shop@one')
    shop.fsctl('snapshot', 'release', 'shop@one', '--tag', 'audit')
    shop.fsctl('snapshot', 'delete', 'shop@one', '--yes')
    assert shop.json('snapshot', 'list', 'shop')['items'] == []


def test_cli__what_has_expired_is_deleted_unless_it_is_held_or_protected(shop):
    for name in ('new', 'kept', 'late'):
        shop.fsctl('clone', 'shop', name, '--expires', '1h' if name == 'late' else '1s')
    shop.fsctl('site', 'create', 'empty', '--expires', '1s')
    shop.fsctl('site', 'set', 'kept', 'protected=yes')
    for name in ('a', 'held', 'late'):
        shop.fsctl('snapshot', f'shop@{name}', '--expires', '1h' if name == 'late' else '1s')
    shop.fsctl('snapshot', 'hold', 'shop@held')
    shop.fsctl('snapshot', 'shop@stays')
    for site in shop.json('site', 'list')['items']:
        assert (site['expires'] is None) == (site['name'] == 'shop'), site
    shop.stop()
    end = time.time_ns() + 10**9
    while time.time_ns() <= end:
        time.sleep(0.01)
    shop.start()  # which looks at once, and then each minute
    deadline = time.monotonic() + TIMEOUT
    while shop.fsctl('site', 'list', '-q').stdout.split() != ['kept', 'late', 'shop'] or \
            shop.fsctl('snapshot', 'list', '-q').stdout.split() != ['shop@held', 'shop@late',
                                                                    'shop@stays']:
        assert time.monotonic() < deadline, shop.log()
        time.sleep(0.02)
    deleted = shop.json('site', 'list', '--deleted')['items']
    assert sorted(site['name'] for site in deleted) == ['empty', 'new']
    back = shop.fsctl('undo', next(s['deleted_by'] for s in deleted if s['name'] == 'new'))
    assert 'new' in back.stdout and 'does not expire any more' in back.stderr
    assert (live(shop, 'new') / 'index.php').exists()
    assert shop.json('site', 'show', 'new')['expires'] is None  # else it went within a minute
    shop.fsctl('site', 'delete', 'late', '--yes')
    late = next(s for s in shop.json('site', 'list', '--deleted')['items'] if s['name'] == 'late')
    assert shop.fsctl('undo', late['deleted_by']).stderr == ''
    assert shop.json('site', 'show', 'late')['expires']
    deletions = [j for j in shop.json('job', 'list')['items'] if j['kind'].endswith('-delete')]
    assert [j['note'] for j in deletions if j['actor'] == 'fsd'] == ['expired'] * 3


def test_cli__says_that_what_is_not_kept_any_more_will_be_deleted(shop):
    """Its time was over long before: nobody thinks of it."""
    shop.fsctl('clone', 'shop', 'kept', '--expires', '1h')
    shop.fsctl('site', 'set', 'kept', 'protected=yes')
    shop.fsctl('snapshot', 'shop@held', '--expires', '1h')
    for tag in ('one', 'two'):
        shop.fsctl('snapshot', 'hold', 'shop@held', '--tag', tag)
    unprotect = ('site', 'set', 'kept', 'protected=no')
    release = [('snapshot', 'release', 'shop@held', '--tag', tag) for tag in ('one', 'two')]
    for change in (unprotect, *release):
        assert 'will be deleted' not in shop.fsctl(*change, '--dry-run').stdout
    shop.stop()
    for file in (shop.pools['main'] / 'sites/kept/site.json',
                 *shop.pools['main'].glob('.fsd/snapshots/*/held/meta.json')):
        file.write_text(json.dumps(json.loads(file.read_text()) | {'expires': 1}))
    shop.start()
    shop.fsctl('pool', 'scan', 'main')
    assert 'will be deleted' not in shop.fsctl(*release[0], '--dry-run').stdout
    assert shop.fsctl(*release[0]).stderr == ''
    assert shop.fsctl('site', 'set', 'kept', 'label.a=b').stderr == ''
    for change, keep in ((unprotect, 'site set kept'), (release[1], 'snapshot set shop@held')):
        said = 'deleted within a minute or so: its time was over at 1970-'
        assert said in shop.fsctl(*change, '--dry-run').stdout
        answer = shop.fsctl(*change).stderr
        assert said in answer and f'fsctl {keep} expires=never' in answer, answer


def test_cli__plan_of_an_undo_says_what_will_be_set_to_what(shop):
    shop.fsctl('site', 'set', 'shop', 'label.old=1')
    job = shop.json('site', 'set', 'shop', 'protected=yes', 'expires=7d', 'label.x=y',
                    'label.old=2')['job']['id']
    plan = shop.fsctl('undo', job, '--dry-run').stdout
    for step in ('set protected=no', 'set expires=never', 'remove label.x', 'set label.old=1'):
        assert f'{step}\n' in plan, plan
    shop.fsctl('undo', job)
    site = shop.json('site', 'show', 'shop')
    assert (site['protected'], site['expires'], site['labels']) == (False, None, {'old': '1'})


def test_cli__undo_of_a_hold_leaves_one_that_was_there_before(shop):
    """A script that holds what it holds already must not become the way to lose the hold."""
    def holds():
        return shop.json('snapshot', 'show', 'shop@a')['holds']

    shop.fsctl('snapshot', 'shop@a')
    first = shop.json('snapshot', 'hold', 'shop@a', '--tag', 'audit')['job']
    again = shop.json('snapshot', 'hold', 'shop@a', '--tag', 'audit')['job']
    shop.fsctl('undo', again['id'])
    assert holds() == ['audit']
    shop.fsctl('undo', first['id'])
    assert holds() == []
    released = shop.json('undo', shop.json('snapshot', 'hold', 'shop@a')['job']['id'])['job']
    assert holds() == []
    shop.fsctl('undo', released['id'])
    assert holds() == ['default']
    labeled = shop.json('snapshot', 'set', 'shop@a', 'label.a=1', 'expires=1d')['job']
    shop.fsctl('undo', labeled['id'])
    snapshot = shop.json('snapshot', 'show', 'shop@a')
    assert snapshot['labels'] == {} and snapshot['expires'] is None


def test_cli__snapshots_are_called_by_what_leads_to_them(shop):
    def listed(*args):
        return shop.fsctl('snapshot', 'list', *args, '--quiet').stdout.split()

    shop.fsctl('snapshot', 'shop@a')
    first = live(shop, 'shop@a')
    shop.fsctl('site', 'rename', 'shop', 'laden')
    assert listed() == ['laden@a'] and live(shop, 'laden@a') == first
    # The old name leads there until somebody else has it.
    assert live(shop, 'shop@a') == first and listed('shop') == ['laden@a']
    assert 'laden@a held' in shop.fsctl('snapshot', 'hold', 'shop@a').stdout
    undo = shop.json('job', 'list', '--limit', '1')['items'][0]['id']
    assert 'laden@a is held no more' in shop.fsctl('undo', undo).stdout
    # As a SOURCE too, everywhere alike.
    (live(shop, 'laden') / 'index.php').write_text('hacked')
    for source in ('shop@a', 'shop@latest', 'laden@a'):
        assert shop.fsctl('diff', source).stdout == 'M index.php\n'
        assert 'laden@a' in shop.fsctl('restore', source, '-n').stdout
    shop.fsctl('restore', 'shop@a', '--yes')
    assert shop.json('site', 'show', 'laden')['origin'] == 'laden@a'
    shop.fsctl('site', 'create', 'shop')
    shop.fsctl('snapshot', 'shop@a')
    assert listed() == ['laden@a', 'shop@a'] and live(shop, 'shop@a') != first
    # Of a site that was deleted by the name it had then, or by its id where another has it.
    by_id = f'{shop.json("site", "show", "laden")["id"]}@a'
    shop.fsctl('site', 'delete', 'laden', '--yes')
    assert listed() == ['laden@a', 'shop@a'] and live(shop, 'laden@a') == first
    shop.fsctl('clone', 'laden@a', 'laden')
    assert listed() == [by_id, 'shop@a'] and live(shop, by_id) == first
    shop.fsctl('site', 'delete', 'shop', '--yes')
    assert listed() == [by_id, 'shop@a'] and live(shop, by_id) == first


def test_cli__a_name_means_the_snapshots_of_one_site_and_the_hint_leads_to_the_others(shop):
    def gone(name, snapshot):
        shop.fsctl('snapshot', f'{name}@{snapshot}')
        ident = shop.json('site', 'show', name)['id']
        shop.fsctl('site', 'delete', name, '--yes')
        return ident

    def listed(*args):
        return shop.fsctl('snapshot', 'list', *args, '--quiet').stdout.split()

    def refused(source, leads_to):
        error = fails(shop, 3, 'path', source, '--json')
        assert error['code'] == 'not_found' and error['object'] == source, error
        assert error['hint'].startswith(f'{leads_to} is of a site that had this name'), error
        assert 'fsctl site list --deleted' in error['hint'] and live(shop, leads_to)

    first = gone('shop', 'one')
    assert listed('shop') == ['shop@one']
    shop.fsctl('site', 'create', 'shop')
    # In the shadow of a new site.
    assert listed('shop') == [] and listed() == [f'{first}@one']
    for source in ('shop@one', 'shop@latest', 'shop@2099-11-22T03:00:00Z'):
        refused(source, f'{first}@one')
    # Of two that were deleted the name means the last.
    second = gone('shop', 'two')
    assert listed('shop') == ['shop@two'] and listed() == [f'{first}@one', 'shop@two']
    refused('shop@one', f'{first}@one')
    shop.fsctl('snapshot', 'delete', 'shop@two', '--yes')
    assert listed('shop') == ['shop@one'] and live(shop, 'shop@one')
    # One without snapshots stands in nobody's way.
    for args in (('restore', f'{first}@one', '--yes'), ('diff', f'{first}@one')):
        error = fails(shop, 3, *args, '--json')
        assert (error['code'], error['object']) == ('site_deleted', 'shop@one'), error
        assert error['hint'].startswith(f'fsctl site undelete {first} brings it back; '), error
    assert second in shop.fsctl('site', 'list', '--deleted').stdout
    shop.fsctl('site', 'create', 'blog')
    shop.fsctl('site', 'delete', 'blog', '--yes')
    for args in (('snapshot', 'list', 'blog'), ('site', 'show', 'blog'), ('snapshot', 'blog'),
                 ('clone', 'blog@one', 'copy')):
        error = fails(shop, 3, *args, '--json')
        assert error['code'] == 'site_deleted' and '--deleted' in error['hint'], (args, error)

    def restart_until(what):
        shop.stop()
        time.sleep(1)
        shop.start()  # when it looks for what is over
        deadline = time.monotonic() + TIMEOUT
        while not what():
            assert time.monotonic() < deadline, shop.log()
            time.sleep(0.02)

    # When the sites are forgotten, ids and names still lead there, and what expires does.
    shop.configure(undo_keep='1s')
    restart_until(lambda: not shop.json('site', 'list', '--deleted')['items'])
    assert live(shop, f'{first}@one') == live(shop, 'shop@one')
    assert listed('shop') == listed(first) == ['shop@one']
    for args, leads_to in (
            (('restore', 'shop@latest', '--yes'), 'fsctl clone shop@one NEW makes'),
            (('restore', f'{first}@one', 'a', '--yes'), 'fsctl clone shop@one NEW makes'),
            (('diff', 'shop@latest'), 'say what to compare it with: fsctl diff shop@one B')):
        error = fails(shop, 3, *args, '--json')
        assert (error['code'], error['object'], error['reason']) == (
            'not_found', 'shop@one', 'its site is gone'), error
        assert error['hint'].startswith(leads_to), error
    for name in ('new', '0' * 8 + first[8:]):  # an id is no name
        error = fails(shop, 3, 'restore', 'shop@latest', '--site', name, '--yes', '--json')
        assert (error['code'], error['object']) == ('not_found', name), error
        assert error['hint'].startswith('fsctl clone shop@one new makes') == (name == 'new'), error
    shop.fsctl('clone', 'shop@one', 'new')
    shop.fsctl('diff', 'shop@one', 'new')
    shop.fsctl('snapshot', 'set', f'{first}@one', 'expires=1s')
    restart_until(lambda: not listed())
    assert fails(shop, 3, 'snapshot', 'list', 'shop', '--json')['code'] == 'not_found'


def now():
    """As a SOURCE takes it, with a time before and after that is another one."""
    time.sleep(0.002)
    at = time.clock_gettime_ns(time.CLOCK_REALTIME) // 10**6
    time.sleep(0.002)
    return f'{time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at // 1000))}.{at % 1000:03}Z'


def test_cli__each_form_of_a_source_is_the_tree_it_names(shop):
    def write(source, text):
        (live(shop, source) / 'index.php').write_text(text)

    def read(source):
        return (live(shop, source) / 'index.php').read_text()

    early = now()
    write('shop', 'one')
    shop.fsctl('snapshot', 'shop@one')
    between = now()
    write('shop', 'two')
    shop.fsctl('snapshot', 'shop@two')
    write('shop', 'live')
    shop.fsctl('generation', 'create', 'shop')
    write('shop:2', 'other')
    site = shop.json('site', 'show', 'shop')['id']
    sources = {'shop': 'live', 'shop:1': 'live', 'shop:2': 'other', 'shop@one': 'one',
               'shop@two': 'two', 'shop@latest': 'two', f'shop@{between}': 'one',
               f'shop@{now()}': 'two', f'{site}@latest': 'two'}
    for n, (source, text) in enumerate(sources.items()):
        assert read(source) == text, source
        shop.fsctl('clone', source, f'clone{n}')
        assert read(f'clone{n}') == text, source
        named = shop.json('site', 'show', f'clone{n}')['origin']
        assert named == (f'shop@{text}' if '@' in source else source)
        shop.fsctl('site', 'create', f'site{n}', '--from', source)
        assert read(f'site{n}') == text, source
        made = shop.fsctl('generation', 'create', 'shop', '--from', source, '-q').stdout.strip()
        assert read(made) == text, source
        assert shop.json('generation', 'list', 'shop')['items'][-1]['origin'] == named
        out = shop.folder / f'out{n}'
        shop.fsctl('restore', source, '--to', out)
        assert (out / 'index.php').read_text() == text, source
        if source != 'shop':
            changed = shop.fsctl('diff', source, '--exit-code', check=False).returncode
            assert changed == (text != 'live'), source
        assert shop.fsctl('diff', 'shop@one', source, '--exit-code', check=False).returncode == (
            text != 'one'), source
    for n, (source, text) in enumerate(sources.items()):
        if '@' in source:
            job = shop.json('restore', source, '--yes')['job']['id']
            assert read('shop') == text, source
            shop.fsctl('undo', job)
            assert read('shop') == 'live'
    for source in (f'shop@{early}', 'shop@three', 'shop:99', 'clone0@latest', f'clone0@{now()}'):
        fails(shop, 3, 'path', source)
        fails(shop, 3, 'clone', source, 'none')


def test_cli__a_time_as_it_is_shown_is_that_snapshots(shop):
    """Shown without the nanoseconds it has: what was cut off must not make it the one before."""
    shop.fsctl('snapshot', 'shop@one')
    tree = live(shop, 'shop@one')
    screen = Terminal(shop, 'snapshot', 'list', 'shop')
    assert screen.end() == 0
    shown = re.search(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d', screen.seen).group()
    exact = shop.json('snapshot', 'show', 'shop@one')['time']
    for text in (exact, exact[:-2] + 'Z', exact[:-5] + 'Z', exact[:-8] + 'Z', shown, shown[:-3],
                 shown[:10]):
        assert live(shop, f'shop@{text}') == tree, text
    assert shop.http('GET', f'/v1/sites/shop/snapshots/{exact[:10]}')[1]['name'] == 'one'


def test_cli__the_latest_snapshot_is_none_of_what_was_retired(shop):
    """Else who had restored the latest one would get back what he had restored it for."""
    shop.fsctl('snapshot', 'shop@good')
    (live(shop, 'shop') / 'index.php').write_text('hacked')
    shop.fsctl('restore', 'shop@latest', '--yes')
    assert shop.ask({'kind': 'generation-retire', 'site': 'shop', 'generation': 1})[0] == 200
    assert shop.fsctl('snapshot', 'list', 'shop', '-q').stdout == 'shop@good\nshop@undo-1\n'
    for source in ('shop@latest', f'shop@{now()}'):
        assert (live(shop, source) / 'index.php').read_text() == 'index.php', source
    assert (live(shop, 'shop@undo-1') / 'index.php').read_text() == 'hacked'
    shop.fsctl('snapshot', 'delete', 'shop@good', '--yes')
    fails(shop, 3, 'path', 'shop@latest')


def test_cli__measuring_counts_first(shop):
    assert shop.json('site', 'show', 'shop')['bytes'] is None
    assert shop.json('site', 'show', 'shop', '--measure')['bytes']['logical'] > 0
    shop.fsctl('snapshot', 'shop@m')
    assert not shop.json('snapshot', 'show', 'shop@m')['bytes']
    shown = shop.json('snapshot', 'show', 'shop@m', '--measure')
    assert shown['bytes']['logical'] > 0 and shown['entries'] == 4
    assert shop.json('snapshot', 'list', 'shop')['items'][-1]['bytes'] == shown['bytes']


def test_cli__import_and_eject_take_relative_directories(daemon, scratch):
    (scratch / 'www' / 'a').mkdir(parents=True)
    (scratch / 'www' / 'a' / 'file').write_text('x')
    assert daemon.fsctl('site', 'import', 'shop', 'www', cwd=scratch).stdout.startswith(
        'site shop imported (')
    assert (live(daemon, 'shop') / 'a/file').read_text() == 'x'
    daemon.fsctl('site', 'eject', 'shop', '../out', cwd=scratch / 'www')
    assert (scratch / 'out/a/file').read_text() == 'x'
    assert 'no such directory' in fails(daemon, 3, 'site', 'import', 'shop', 'nothing',
                                        cwd=scratch)


def test_cli__the_plan_of_a_deletion_says_what_stays_and_what_dangles(shop):
    (shop.folder / 'www').mkdir()
    shop.fsctl('site', 'import', 'linked', shop.folder / 'www', '--link')
    for name in ('a', 'b'):
        shop.fsctl('snapshot', f'linked@{name}')
    plan = shop.json('site', 'delete', 'linked', '-n')['plan']
    assert plan['steps'] == ['park linked for undo, then delete it',
                             'its snapshots stay until they are deleted: 2']
    assert plan['warnings'] == [f'{shop.folder}/www is a symlink to it and will dangle']
    shop.fsctl('site', 'delete', 'linked', '--yes')
    assert live(shop, 'linked@a').is_dir() and live(shop, 'linked@latest') == live(shop, 'linked@b')
    shop.fsctl('clone', 'linked@a', 'again')
    shop.fsctl('snapshot', 'delete', 'linked@a', '--yes')
    assert [s['name'] for s in shop.json('snapshot', 'list', 'linked')['items']] == ['b']
    plan = shop.json('site', 'delete', 'shop', '-n')['plan']
    assert len(plan['steps']) == 1 and plan['warnings'] == []


def test_cli__deleted_sites_are_listed_with_what_brings_them_back(shop):
    def listed():
        return shop.json('site', 'list', '--deleted')['items'][0]

    shop.fsctl('site', 'delete', 'shop', '--yes')
    first = listed()
    shop.ask({'kind': 'site-undelete', 'site': first['id']})
    assert shop.json('site', 'show', 'shop')['kept_until'] is None
    job = shop.json('site', 'delete', 'shop', '--yes')['job']
    assert job['result']['site']['deleted_by'] is None  # not the deletion before
    site = listed()
    assert site['deleted'] < site['kept_until'] and site['deleted_by'] == job['id']
    screen = Terminal(shop, 'site', 'list', '--deleted')
    assert screen.end() == 0
    assert re.match(r'NAME +POOL +DELETED +KEPT UNTIL +BACK BY\b.*\r\nshop +main +20\S+ \S+ +20\S+ '
                    rf'\S+ fsctl undo {site["deleted_by"]}\b', screen.seen)
    shop.fsctl('undo', site['deleted_by'])
    # What was given away as it was is no longer fsd's to bring back.
    shop.fsctl('generation', 'create', 'shop')
    shop.fsctl('site', 'eject', 'shop', shop.folder / 'out')
    assert listed()['name'] == 'shop' and listed()['deleted_by'] is None
    screen = Terminal(shop, 'site', 'list', '--deleted')
    assert screen.end() == 0 and 'fsctl site undelete shop' in screen.seen
    assert shop.fsctl('site', 'undelete', 'shop', '-q').stdout == 'shop\n'


def test_cli__a_deleted_site_comes_back_by_another_name_where_its_own_is_taken(shop):
    gone = shop.json('site', 'delete', 'shop', '--yes')['job']
    site = gone['result']['site']['id']
    shop.fsctl('site', 'create', 'shop')
    assert 'shop' in fails(shop, 4, 'undo', gone['id'])
    _, answer = shop.ask({'kind': 'site-undelete', 'site': site, 'name': 'back'})
    back = answer['job']
    assert back['result']['site']['name'] == 'back' and back['result']['site']['id'] == site
    assert (live(shop, 'back') / 'index.php').read_text() == 'index.php'
    assert os.listdir(live(shop, 'shop')) == []
    assert 'say --yes' in fails(shop, 2, 'undo', back['id'])
    assert 'site back deleted (' in shop.fsctl('undo', back['id'], '--yes').stdout
    fails(shop, 3, 'path', 'back')
    deleted, = shop.json('site', 'list', '--deleted')['items']
    assert (deleted['name'], deleted['id']) == ('back', site)
    shop.fsctl('undo', deleted['deleted_by'])
    assert (live(shop, 'back') / 'index.php').read_text() == 'index.php'


# ---- errors ----

def test_cli__a_source_where_a_site_stands_is_told_the_sites_name(shop):
    for *command, source in (('snapshot', 'shop:2'), ('site', 'show', 'shop@latest'),
                             ('generation', 'list', 'shop@latest')):
        told = fails(shop, 2, *command, source)
        assert f"{source}: a site's name is expected" in told and 'hint: the site is shop\n' in told
    assert 'expected' not in fails(shop, 2, 'site', 'show', 'shop@')


def test_cli__a_directory_where_a_source_stands_is_told_the_import(shop):
    folder = shop.folder / 'here'
    folder.mkdir()
    for command in (('site', 'create', 'new', '--from', folder), ('clone', './here', 'new'),
                    ('diff', folder, 'shop'), ('path', folder)):
        told = fails(shop, 2, *command)
        assert 'hint: fsctl site import NEW DIR makes a site of a directory\n' in told
    assert 'import' not in fails(shop, 2, 'clone', 'shop@a/b', 'new')
    shop.fsctl('site', 'import', 'new', folder)


def test_cli__a_path_that_is_none_of_a_tree_is_told_where_it_begins(shop):
    shop.fsctl('snapshot', 'shop@s')
    for path in ('/a/two', './a/two', 'a/../index.php', 'a//two'):
        for command in (('restore', 'shop@s', path), ('diff', 'shop@s', '--', path)):
            told = fails(shop, 2, *command)
            assert f"paths: '{path}' is not a relative path" in told
            assert 'hint: write it from the root of the tree, as in wp-content/uploads\n' in told
    shop.fsctl('restore', 'shop@s', 'a/two')


def test_cli__exit_codes_of_refusals(shop):
    assert 'no such' in fails(shop, 3, 'snapshot', 'nope')
    assert fails(shop, 3, 'site', 'show', 'nope', '--json')['code'] == 'not_found'
    fails(shop, 3, 'path', 'shop@nope')
    fails(shop, 3, 'job', 'show', '1m0000000')
    fails(shop, 2, 'job', 'show', 'nonsense!')
    fails(shop, 4, 'site', 'create', 'shop')
    fails(shop, 2, 'site', 'create', 'latest')
    assert 'as in store-1; fsctl(1)' in fails(shop, 2, 'site', 'create', 'store')
    fails(shop, 2, 'site', 'create', '../x')
    fails(shop, 2, 'snapshot', 'shop@')
    fails(shop, 2, 'snapshot', 'delete', 'shop', '--yes')
    fails(shop, 2, 'clone', 'shop', 'new', '--method', 'magic')
    fails(shop, 2, 'snapshot', 'shop', '--expires', 'soon')
    shop.stop()
    assert 'not running' in fails(shop, 7, 'status')
    assert fails(shop, 7, 'status', '--check', '--json')['code'] == 'unreachable'


def test_cli__status_is_for_people_and_for_monitors(shop):
    r = shop.fsctl('status', '--check')
    assert re.match(r'fsd \S+: ok, since ', r.stdout)
    assert shop.json('status')['state'] == 'ok'


# ---- lists ----

def test_cli__lists_page_and_stop(daemon):
    for i in range(5):
        daemon.fsctl('site', 'create', f's{i}', '--no-wait')
    deadline = time.monotonic() + TIMEOUT
    while len(daemon.json('site', 'list')['items']) < 5:
        assert time.monotonic() < deadline
    first = daemon.json('site', 'list', '--limit', '2')
    assert [s['name'] for s in first['items']] == ['s0', 's1'] and first['next']
    rest = daemon.json('site', 'list', '--cursor', first['next'])
    assert [s['name'] for s in rest['items']] == ['s2', 's3', 's4'] and rest['next'] is None
    lines = daemon.fsctl('site', 'list').stdout.splitlines()
    assert [line.split('\t')[:2] for line in lines] == [[f's{i}', 'main'] for i in range(5)]


def test_cli__jobs_are_listed_with_their_notes_and_logs(shop):
    shop.fsctl('snapshot', 'shop', '--note', 'before the üpdate')
    fails(shop, 2, 'snapshot', 'shop', '--note', 'an \x1b[31mescape')
    job = shop.json('job', 'list', '--site', 'shop', '--limit', '1')['items'][0]
    assert job['note'] == 'before the üpdate'
    assert 'before the üpdate' in shop.fsctl('job', 'list').stdout
    kinds = [e['kind'] for e in shop.json('job', 'log', job['id'])['items']]
    assert kinds[0] == 'job.queued' and kinds[-1] == 'job.done'
    assert shop.fsctl('job', 'wait', job['id'], '-q').stdout.startswith('shop@')
    fails(shop, 4, 'job', 'cancel', job['id'])


def test_cli__jobs_that_can_be_undone_are_listed(shop):
    shop.fsctl('site', 'set', 'shop', 'label.a=1')
    shop.fsctl('site', 'set', 'shop', 'label.a=2')
    first, second = [j['id'] for j in shop.json('job', 'list')['items'][1::-1]]
    shop.fsctl('snapshot', 'shop')
    shop.fsctl('check', 'shop')
    newest = ['job', 'list', '--site', 'shop', '--undoable', '--limit', '1']
    assert shop.fsctl(*newest, '-q').stdout == second + '\n'
    page = shop.json(*newest)
    assert shop.json(*newest, '--cursor', page['next'])['items'][0]['id'] == first
    assert shop.json('job', 'list', '--undoable', '--state', 'failed')['items'] == []
    shop.fsctl('undo', second)
    assert second not in shop.fsctl('job', 'list', '--undoable', '-q').stdout


@pytest.fixture
def writer():
    """writer(file...): somebody who appends to files all the time."""
    stop, threads = threading.Event(), []

    def write(path):
        with open(path, 'ab', buffering=0) as f:
            while not stop.is_set():
                f.write(b'+')

    def start(*paths):
        for path in paths:
            threads.append(threading.Thread(target=write, args=(path,)))
            threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()


def test_cli__a_copy_says_which_paths_kept_changing_and_what_it_left_out(make_daemon, writer):
    daemon = make_daemon()
    daemon.configure(extra='driver = copy\n')
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    tree = live(daemon, 'shop')
    (tree / 'cold').write_text('cold')
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(f'{tree}/socket')
    job = daemon.json('snapshot', 'shop')['job']
    assert job['result']['snapshot']['consistency'] == 'settled'
    assert job['result']['warnings'] == ['not carried over: socket (socket)']
    writer(tree / 'hot', tree / 'log')
    deadline = time.monotonic() + TIMEOUT
    while True:  # for once a writer may have slept long enough
        r = daemon.fsctl('snapshot', 'shop')
        if r.stderr.count('kept changing') == 2:
            break
        assert time.monotonic() < deadline, r
    job = daemon.json('job', 'show', daemon.json('job', 'list', '--limit', '1')['items'][0]['id'])
    assert job['result']['snapshot']['consistency'] == 'fuzzy'
    assert sorted(job['result']['warnings']) == [
        'kept changing while it was copied: hot', 'kept changing while it was copied: log',
        'not carried over: socket (socket)']
    assert 'kept changing while it was copied: hot\n' in r.stderr
    fuzzy = f'shop@{job["result"]["snapshot"]["name"]}'

    def unsettled():
        listed = daemon.json('snapshot', 'show', fuzzy)['unsettled']
        return listed['total'], sorted(listed['paths'])
    assert unsettled() == (2, ['hot', 'log'])
    assert 'unsettled paths  ' in daemon.fsctl('snapshot', 'show', fuzzy).stdout
    # And so is what is made from it.
    for command in (('clone', fuzzy, 'copy'), ('restore', fuzzy, '--yes')):
        for asked in ((*command, '--dry-run'), command):
            r = daemon.fsctl(*asked)
            said = r.stdout + r.stderr
            assert said.count(f'{fuzzy} is fuzzy: fsctl snapshot show {fuzzy} ') == 1, said
    daemon.fsctl('generation', 'create', 'shop', '--from', fuzzy)
    assert 'shop:3 is fuzzy: ' in daemon.fsctl('publish', 'shop:3', '--dry-run').stdout
    assert ' fuzzy ' in daemon.fsctl('clone', 'shop:3', 'other').stdout.replace(',', ' ')
    assert daemon.json('site', 'show', 'copy')['consistency'] == 'fuzzy'
    assert daemon.json('site', 'show', 'shop')['consistency'] == 'fuzzy'
    daemon.lose_catalog()
    daemon.fsctl('pool', 'scan')
    assert unsettled() == (2, ['hot', 'log'])


def test_cli__names_of_files_cannot_drive_a_terminal(shop):
    shop.fsctl('snapshot', 'shop@before')
    tree = os.fsencode(live(shop, 'shop'))
    for name in (b'esc\x1b[31m', b'line\nfeed', b'bytes\xff', 'schön'.encode(), b'back\\slash'):
        with open(tree + b'/' + name, 'w', encoding='ascii'):
            pass
    lines = [line for line in shop.fsctl('diff', 'shop@before').stdout.splitlines()
             if line.startswith('+')]
    assert sorted(lines) == sorted(['+ "esc\\033[31m"', '+ "line\\nfeed"', '+ "bytes\\377"',
                                    '+ schön', '+ "back\\\\slash"'])
    shop.fsctl('snapshot', 'shop@odd')
    os.unlink(tree + b'/bytes\xff')
    shop.fsctl('restore', 'shop@odd', os.fsdecode(b'bytes\xff'))
    assert os.path.exists(tree + b'/bytes\xff')


@pytest.mark.parametrize('source', ['shop@2026-13-30', 'shop@0000-01-01', 'shop@LATEST'])
def test_cli__names_an_impossible_snapshot_as_it_was_typed(shop, source):
    for command in (('snapshot', 'show', source), ('clone', source, 'copy')):
        r = shop.fsctl(*command, check=False)
        assert r.returncode == 2 and f'{source}: ' in r.stderr, r.stderr


def test_cli__times_without_a_zone_are_local(shop):
    shop.fsctl('snapshot', 'shop@one')
    later = time.gmtime(time.time() + 60)
    zone = {**os.environ, 'FSD_URL': shop.url(), 'TZ': 'XYZ-05:30'}  # 5:30 h east of UTC

    def show(moment):
        return subprocess.run([program('tools/fsctl/fsctl'), 'snapshot', 'show', '-q',
                               'shop@' + moment], env=zone, capture_output=True, text=True,
                              timeout=TIMEOUT, check=False)

    # UTC read as local time is hours before the snapshot was taken.
    assert show(time.strftime('%Y-%m-%dT%H:%M:%S', later)).returncode == 3
    local = time.gmtime(time.time() + 60 + 5.5 * 3600)
    assert show(time.strftime('%Y-%m-%dT%H:%M:%S', local)).stdout == 'shop@one\n'
    assert show(time.strftime('%Y-%m-%dT%H:%M:%SZ', later)).stdout == 'shop@one\n'


def test_cli__events_are_followed_over_a_restart(shop):
    last = shop.json('event', 'list')['items'][-1]['id']
    with subprocess.Popen([program('tools/fsctl/fsctl'), 'event', 'follow', '--json', '--after',
                           last], env={**os.environ, 'FSD_URL': shop.url()}, text=True,
                          stdout=subprocess.PIPE) as follow:
        def until(kind):
            for line in follow.stdout:
                event = json.loads(line)
                seen.append(event['id'])
                if event['kind'] == kind:
                    return event

        seen = []
        try:
            shop.fsctl('snapshot', 'shop')
            assert until('job.done')
            shop.stop()
            shop.start()
            shop.fsctl('snapshot', 'shop')
            assert until('job.done')
        finally:
            follow.send_signal(signal.SIGINT)
            follow.wait(TIMEOUT)
    assert len(seen) == len(set(seen))


def test_cli__events_are_followed_over_the_loss_of_the_catalog(shop):
    last = shop.json('event', 'list')['items'][-1]['id']
    with subprocess.Popen([program('tools/fsctl/fsctl'), 'event', 'follow', '--json', '--after',
                           last], env={**os.environ, 'FSD_URL': shop.url()}, text=True,
                          stdout=subprocess.PIPE) as follow:
        try:
            made = shop.json('snapshot', 'shop')['job']['id']
            seen = [json.loads(follow.stdout.readline()) for _ in range(2)]
            assert {event['job'] for event in seen} == {made}
            shop.stop()
            for file in shop.catalog.parent.glob('catalog.db*'):
                file.unlink()
            shop.start()
            shop.fsctl('pool', 'scan')
            listed = shop.json('event', 'list')['items']
            assert listed
            assert shop.json('event', 'list', '--after', seen[-1]['id'])['items'] == listed
            assert [json.loads(follow.stdout.readline()) for _ in listed] == listed
        finally:
            follow.send_signal(signal.SIGINT)
            follow.wait(TIMEOUT)


def test_cli__following_events_of_an_fsd_that_stays_away_ends_with_where_to_go_on(shop):
    last = shop.json('event', 'list')['items'][-1]['id']
    with subprocess.Popen([program('tools/fsctl/fsctl'), 'event', 'follow', '--json', '--after',
                           last], env={**os.environ, 'FSD_URL': shop.url()}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as follow:
        shop.fsctl('snapshot', 'shop')
        seen = [json.loads(follow.stdout.readline())['id']]
        shop.stop()
        seen += [json.loads(line)['id'] for line in follow.stdout]
        err = follow.stderr.read()
    assert follow.returncode == 7
    assert f'fsctl event follow --after {seen[-1]}' in err, err


# ---- on a terminal ----

def clone_of(daemon):
    """fsctl as a script runs it, cloning shop."""
    return subprocess.Popen([program('tools/fsctl/fsctl'), 'clone', 'shop', 'copy'], text=True,
                            env={**os.environ, 'FSD_URL': daemon.url()}, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def clones(daemon):
    return [j for j in daemon.json('job', 'list')['items'] if j['kind'] == 'clone']


def test_cli__a_bar_shows_the_progress_of_a_long_job(shop):
    with shop.steps.held('tree.made'):
        screen = Terminal(shop, 'clone', 'shop', 'copy')
        assert screen.wait_for(r'\rclone shop .*\d entries'), screen.seen
    assert screen.end() == 0
    # The last thing done to the bar is to take it away.
    assert re.search(r'\r\x1b\[Ksite copy made \(.*\)\r\n$', screen.seen), screen.seen


def test_cli__interrupting_a_wait_leaves_the_job_running(shop):
    with shop.steps.held('tree.made'):
        screen = Terminal(shop, 'clone', 'shop', 'copy')
        assert screen.wait_for(r'\d entries')
        screen.type('\x03')
        assert screen.end() == 130
    job = re.search(r'job (\S+) goes on', screen.seen).group(1)
    assert f'"fsctl job wait {job}"' in screen.seen and f'"fsctl job cancel {job}"' in screen.seen
    assert shop.fsctl('job', 'wait', job).stdout.startswith('site copy made')


def test_cli__says_where_its_job_is_when_fsd_goes_away(shop):
    with shop.steps.held('tree.made') as reached:
        script = clone_of(shop)
        reached()
        job = clones(shop)[0]['id']
        screen = Terminal(shop, 'job', 'wait', job)
        assert screen.wait_for(r'\d entries')
        shop.stop(signal.SIGKILL)
        out, err = script.communicate(timeout=TIMEOUT)
        assert screen.end() == 7
    assert (script.returncode, out) == (7, '')
    assert 'fsd went away, and is not back' in err and '"fsctl job list"' in err
    assert f'; what became of job {job} is not known' in screen.seen
    assert f'"fsctl job wait {job}"' in screen.seen
    shop.start()
    assert 'in the middle of this job' in shop.fsctl('job', 'wait', job, check=False).stderr


def test_cli__interrupting_before_the_answer_finds_the_job(shop):
    """In a script the first exchange waits for the end: the job is found by its key."""
    with shop.steps.held('stage.made') as reached, clone_of(shop) as p:
        reached()
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=TIMEOUT)
        assert p.returncode == 130 and out == ''
        job = re.search(r'job (\S+) goes on', err).group(1)
        assert len(clones(shop)) == 1
        r = shop.fsctl('job', 'cancel', job, '--no-wait')
        assert r.stdout == f'job {job} is being stopped\n'
    assert 'canceled before its end' in fails(shop, 1, 'job', 'wait', job)
    fails(shop, 3, 'site', 'show', 'copy')


def threads_of(daemon):
    return len(os.listdir(f'/proc/{daemon.process.pid}/task'))


def test_cli__a_wait_survives_a_restart_of_the_daemon(shop):
    with shop.steps.held('stage.made') as reached, clone_of(shop) as p:
        reached()
        threads = threads_of(shop)
        shop.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + TIMEOUT
        while threads_of(shop) == threads:  # its stop has not come to the jobs
            assert time.monotonic() < deadline
            time.sleep(0.001)
        shop.steps.set_hold('')
        assert shop.stop() == 0
        shop.start()
        out, err = p.communicate(timeout=TIMEOUT)
    assert p.returncode == 0, err
    assert out.startswith('site copy made')
    assert len(clones(shop)) == 1


def test_cli__a_person_is_asked_before_a_whole_restore(shop):
    shop.fsctl('snapshot', 'shop@before')
    (live(shop, 'shop') / 'index.php').write_text('hacked')
    screen = Terminal(shop, 'restore', 'shop@before')
    assert screen.wait_for(r'\? .*\[y/N\] $')
    screen.type('\n')
    assert screen.end() == 2
    assert (live(shop, 'shop') / 'index.php').read_text() == 'hacked'
    screen = Terminal(shop, 'restore', 'shop@before')
    assert screen.wait_for(r'\[y/N\] $')
    screen.type('y\n')
    assert screen.end() == 0
    assert (live(shop, 'shop') / 'index.php').read_text() == 'index.php'


def test_cli__the_question_before_a_restore_counts_what_goes_back(shop):
    assert 'shop@latest' in fails(shop, 2, 'restore', 'shop', '--yes')
    assert 'say what to compare it with' in fails(shop, 2, 'diff', 'shop')
    shop.fsctl('snapshot', 'shop@before')
    assert shop.json('restore', 'shop@before', '-n')['plan']['warnings'] == []
    tree = live(shop, 'shop')
    (tree / 'index.php').write_text('hacked')
    (tree / 'a/two').unlink()
    (tree / 'new').mkdir()
    (tree / 'new/file').touch()
    plan = shop.json('restore', 'shop@before', '-n')['plan']
    assert plan['warnings'] == ['2 changed and 2 new files and directories go back']
    assert plan['confirm'].startswith('Restore all of shop from shop@before? 2 changed and 2 new')
    assert 'say --yes' in fails(shop, 2, 'restore', 'shop@before')


def test_cli__a_site_is_deleted_by_typing_its_name(shop):
    screen = Terminal(shop, 'site', 'delete', 'shop')
    assert screen.wait_for('to delete it: ')
    screen.type('yes\n')
    assert screen.end() == 2
    screen = Terminal(shop, 'site', 'delete', 'shop')
    assert screen.wait_for('to delete it: ')
    screen.type('shop\n')
    assert screen.end() == 0
    fails(shop, 3, 'site', 'show', 'shop')
    job = re.search(r'"fsctl undo (\S+)"', screen.seen).group(1)
    shop.fsctl('undo', job)
    assert (live(shop, 'shop') / 'index.php').read_text() == 'index.php'


def test_cli__tables_have_heads_only_on_a_terminal(shop):
    screen = Terminal(shop, 'site', 'list')
    assert screen.end() == 0
    assert re.match(r'NAME +POOL +LIVE .*\r\nshop +main +1 ', screen.seen)
    assert shop.fsctl('site', 'list').stdout.startswith('shop\tmain\t1\t')


def test_cli__tables_say_what_found_no_room(shop):
    """A long name does not take the room of all that there is to know."""
    name = 'www.' + 9 * 'verylong-' + 'example.com'
    shop.fsctl('site', 'create', name)
    shop.fsctl('snapshot', f'{name}@a')
    shop.fsctl('snapshot', 'hold', f'{name}@a', '--tag', 'audit')

    def lines(*words):
        screen = Terminal(shop, *words, columns=80)
        assert screen.end() == 0
        out = [line for line in screen.seen.split('\r\n') if line]
        assert all(len(line) <= 80 for line in out), out
        return out
    head, *jobs = lines('job', 'list')
    assert head.split()[:4] == ['JOB', 'KIND', 'ABOUT', 'STATE'] and head.endswith(' …')
    assert all(' done' in job for job in jobs) and re.search(r'verylong.*… done', jobs[0])
    head, snapshot = lines('snapshot', 'list')
    assert 'HELD' in head and head.endswith(' …') and ' audit ' in snapshot
    # All of it where there is room.
    shop.fsctl('site', 'delete', name, '--yes')
    assert not lines('site', 'list')[0].endswith('…')


# ---- many at once ----

@pytest.fixture
def folders(daemon, scratch):
    """Directories to import, one with a space in its name."""
    paths = [scratch / 'www' / name for name in ('one', 'two', 'the third')]
    for path in paths:
        path.mkdir(parents=True)
        (path / 'index.php').write_text(path.name)
    return paths


def test_cli__imports_what_a_list_names(daemon, folders, scratch):
    names = scratch / 'list'
    names.write_text('# the sites\n\n' + ''.join(
        f'{path.name[-3:].strip()}\t {path}\n' for path in folders))
    plan = daemon.fsctl('site', 'import', '--list', names, '--dry-run').stdout
    assert plan.count('nothing was changed') == 3
    done = daemon.fsctl('site', 'import', '--list', names)
    assert done.stdout.count(' imported ') == 3
    for name, path in zip(('one', 'two', 'ird'), folders):
        assert (live(daemon, name) / 'index.php').read_text() == path.name
    # Again: all are there.
    r = daemon.fsctl('site', 'import', '--list', names, check=False)
    assert r.returncode == 4 and r.stderr.count('a site of this name exists') == 3, r


def test_cli__imports_the_rest_of_a_list_where_one_fails(daemon, folders):
    text = f'one {folders[0]}\nlost /nowhere/at/all\ntwo {folders[1]}'
    r = daemon.fsctl('site', 'import', '--list', '-', '--json', check=False, input=text)
    assert r.returncode == 8 and '/nowhere/at/all' in r.stderr, r
    items = json.loads(r.stdout)['items']
    assert [i['job']['result']['site']['name'] for i in items] == ['one', 'two']


@pytest.mark.parametrize('words, said', [
    ((), 'NAME and DIR, or --list'), (('one',), 'DIR is missing'),
    (('one', '/tmp', '--list', '-'), 'in the place of'),
    (('--list', '-'), 'line 2 of - is not "NAME DIR"'),
])
def test_cli__refuses_a_list_that_cannot_be_meant(daemon, folders, words, said):
    r = daemon.fsctl('site', 'import', *words, check=False, input=f'one {folders[0]}\ntwo \n')
    assert r.returncode == 2 and said in r.stderr, r
    assert daemon.fsctl('site', 'list', '-q').stdout == ''
