# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is damaged in a pool: pool check and status find it, and whoever needs it says so."""

import json
import os
import shutil

import pytest

from conftest import Steps, checked
from storage import wait_until


@pytest.mark.parametrize('damage', ['no link', 'bad link', 'no generation', 'no tree'])
def test_site__that_serves_nothing_is_critical_until_it_is_mended(daemon, damage):
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    daemon.fsctl('generation', 'create', 'shop')
    site = daemon.pools['main'] / 'sites/shop'
    hint = 'fsctl publish shop:N'
    daemon.stop()
    if damage == 'no generation':
        (site / 'gen/1').rename(daemon.folder / 'lost')
    elif damage == 'no tree':
        (site / 'gen/1/tree').rename(daemon.folder / 'lost')
    else:
        (site / 'live').unlink()
    if damage == 'bad link':
        (site / 'live').symlink_to('/etc')
    daemon.start()
    wait_until(lambda: checked(daemon)[0] == 2, daemon)
    assert 'critical: shop: its l' in checked(daemon)[1] and hint in checked(daemon)[1]
    for args in (('snapshot', 'shop'), ('clone', 'shop', 'copy'), ('diff', 'shop@a'),
                 ('site', 'show', 'shop', '--measure'), ('restore', 'shop@a', 'x'),
                 ('site', 'eject', 'shop', daemon.folder / 'out', '--yes')):
        r = daemon.fsctl(*args, check=False)
        assert r.returncode == 1 and hint in r.stderr, (args, r)
    assert hint in daemon.fsctl('pool', 'check', 'main', check=False).stdout
    daemon.fsctl('pool', 'scan', 'main')
    daemon.fsctl('site', 'delete', 'shop', '--yes')
    assert checked(daemon)[0] == 0
    daemon.fsctl('undo', daemon.fsctl('job', 'list', '--limit', '1', '-q').stdout.strip())
    assert checked(daemon)[0] == 2
    mended = daemon.json('publish', 'shop:2')['job']
    assert mended['undoable'] is False and mended['result']['retired'] is None
    assert checked(daemon)[0] == 0
    daemon.fsctl('snapshot', 'shop')


def test_pool_check__tells_status_what_differs(daemon):
    daemon.fsctl('site', 'create', 'shop')
    shop = daemon.pools['main'] / 'sites/shop'
    shop.rename(daemon.folder / 'away')
    assert checked(daemon)[0] == 0
    assert daemon.fsctl('pool', 'check', 'main', check=False).returncode == 1
    code, said = checked(daemon)
    assert code == 1 and 'shop' in said, said
    (daemon.folder / 'away').rename(shop)
    assert daemon.fsctl('pool', 'check', 'main').stdout == 'ok\n'
    assert checked(daemon)[0] == 0


@pytest.mark.parametrize('file, reason', [
    ('meta.json', 'meta.json: '),
    ('gen/1/meta.json', 'gen/1: meta.json: '),
    ('gen/1/tree', 'gen/1: no complete tree'),
    ('gen', 'gen/1: missing'),
])
def test_pool_check__sees_a_snapshot_that_lost_a_part(daemon, file, reason):
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    site = daemon.json('site', 'show', 'shop')['id']
    part = daemon.pools['main'] / '.fsd/snapshots' / site / 'a' / file
    away = daemon.folder / 'away'
    part.rename(away)
    for command in ('check', 'scan', 'check'):  # status knows of it, and goes on to
        r = daemon.fsctl('--json', 'pool', command, 'main', check=False)
        if command == 'check':
            assert r.returncode == 1
            problems = json.loads(r.stdout)['problems']
            assert [p['path'] for p in problems] == [f'{site}/a']
            assert problems[0]['reason'].startswith(reason), problems
        code, said = checked(daemon)
        assert code == 1 and f'{site}/a' in said and reason in said, said
    if file.endswith('meta.json'):  # damaged is as bad as missing
        part.write_text('{')
        assert reason in daemon.fsctl('pool', 'check', 'main', check=False).stdout
    else:  # the hint is a way out as well
        daemon.fsctl('snapshot', 'delete', 'shop@a', '--yes')
        assert daemon.fsctl('pool', 'check', 'main').stdout == 'ok\n'
        return
    away.rename(part)
    assert daemon.fsctl('pool', 'check', 'main').stdout == 'ok\n'
    assert checked(daemon)[0] == 0


@pytest.mark.parametrize('damage', ['document', 'generation'])
def test_status__forgets_a_damaged_snapshot_that_is_deleted(daemon, damage):
    for site in ('shop', 'blog'):
        daemon.fsctl('site', 'create', site)
        daemon.fsctl('snapshot', f'{site}@a')
    for path in (daemon.pools['main'] / '.fsd/snapshots').glob('*/a'):
        if damage == 'document':
            (path / 'meta.json').write_text('{')
        else:
            shutil.rmtree(path / 'gen')
    daemon.fsctl('pool', 'check', 'main', check=False)
    daemon.fsctl('snapshot', 'delete', 'shop@a', '--yes')
    left = {p['object'] for p in daemon.json('status')['problems']}
    assert left == {daemon.json('site', 'show', 'blog')['id'] + '/a'}
    daemon.fsctl('snapshot', 'delete', 'blog@a', '--yes')
    assert checked(daemon)[0] == 0


@pytest.mark.parametrize('mend', ['restore', 'delete'])
@pytest.mark.parametrize('damage, code', [('foreign tree', 'no_tree'), ('no tree', 'bad_live')])
def test_status__follows_a_damaged_site_through_jobs(make_daemon, mount, damage, code, mend):
    root = mount('btrfs')
    daemon = make_daemon({'main': root / 'pool'}).start()
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    live = root / 'pool/sites/shop/gen/1'
    (live / 'tree').rename(root / 'lost')
    if damage == 'foreign tree':
        (live / 'tree').mkdir()
    daemon.fsctl('pool', 'check', 'main', check=False)
    daemon.fsctl('site', 'rename', 'shop', 'mall')
    daemon.fsctl('site', 'set', 'mall', 'label.a=b')
    problem, = daemon.json('status')['problems']
    assert (problem['object'], problem['code']) == ('mall', code)
    if mend == 'delete':
        daemon.fsctl('site', 'delete', 'mall', '--yes')
    else:
        daemon.fsctl('restore', 'mall@a', '--yes')
        daemon.fsctl('generation', 'delete', 'mall:1', '--yes')  # it is as it was
    assert checked(daemon)[0] == 0


def test_status__tells_of_a_damaged_document_until_its_site_is_deleted(daemon):
    daemon.fsctl('site', 'create', 'shop')
    (daemon.pools['main'] / 'sites/shop/gen/1/meta.json').write_text('{')
    daemon.fsctl('pool', 'check', 'main', check=False)
    assert 'gen/1: meta.json: ' in checked(daemon)[1]
    r = daemon.fsctl('site', 'delete', 'shop', '--yes')
    assert r.stdout.startswith('site shop deleted') and not r.stderr, r
    assert checked(daemon)[0] == 0
    daemon.fsctl('site', 'undelete', 'shop')
    code, said = checked(daemon)
    assert code == 2 and 'shop: meta.json: ' in said, said


@pytest.mark.parametrize('part', ['gen', 'gen/1/tree'])
def test_snapshot__without_its_tree_is_named_by_what_needs_it(daemon, part):
    daemon.fsctl('site', 'create', 'shop')
    (daemon.pools['main'] / 'sites/shop/live/file').touch()
    daemon.fsctl('snapshot', 'shop@a')
    site = daemon.json('site', 'show', 'shop')['id']
    shutil.rmtree(daemon.pools['main'] / '.fsd/snapshots' / site / 'a' / part)
    for command in (('clone', 'shop@a', 'copy'), ('restore', 'shop@a', '--yes'),
                    ('restore', 'shop@a', 'file', '--yes'), ('diff', 'shop@a'),
                    ('restore', 'shop@a', '--to', daemon.folder / 'out'),
                    ('restore', 'shop@a', '--dry-run'),
                    ('snapshot', 'show', 'shop@a', '--measure')):
        r = daemon.fsctl(*command, check=False)
        assert r.returncode == 1, (command, r)
        assert 'shop@a: its generation 1 has no tree' in r.stderr, (command, r.stderr)
        assert 'hint: fsctl check shop@a' in r.stderr, (command, r.stderr)
    assert 'gen/1: ' in daemon.fsctl('check', 'shop@a', check=False).stdout


def test_pool_check__that_is_canceled_leaves_what_status_knew(make_daemon):
    daemon = make_daemon()
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    for path in (daemon.pools['main'] / '.fsd/snapshots').glob('*/a/gen'):
        shutil.rmtree(path)
    daemon.fsctl('pool', 'check', 'main', check=False)
    known = daemon.json('status')['problems']
    assert [p['code'] for p in known] == ['no_tree']
    steps.until('scan.look', {'kind': 'pool-check', 'pool': 'main'})
    job = daemon.http('GET', '/v1/jobs?limit=1')[1]['items'][0]['id']
    assert daemon.http('POST', f'/v1/jobs/{job}/cancel')[0] == 202
    assert steps.go_on()['state'] == 'canceled'
    assert daemon.json('status')['problems'] == known


def test_pool_check__leaves_room_in_status_for_other_things(daemon):
    daemon.fsctl('site', 'create', 'shop')
    for i in range(12):
        daemon.fsctl('snapshot', f'shop@s{i}')
    for path in (daemon.pools['main'] / '.fsd/snapshots').glob('*/*/gen'):
        shutil.rmtree(path)
    r = daemon.fsctl('--json', 'pool', 'check', 'main', check=False)
    assert len(json.loads(r.stdout)['problems']) == 12
    problems = daemon.json('status')['problems']
    assert [p['code'] for p in problems] == 10 * ['no_tree'] + ['more_damaged']
    assert problems[-1]['reason'].startswith('2 more ')


def test_pool_check__sees_a_live_generation_without_its_document(daemon):
    daemon.fsctl('site', 'create', 'shop')
    part = daemon.pools['main'] / 'sites/shop/gen/1/meta.json'
    part.rename(daemon.folder / 'away')
    r = daemon.fsctl('pool', 'check', 'main', check=False)
    assert r.returncode == 1 and r.stdout.startswith('shop: gen/1: meta.json: '), r.stdout
    code, said = checked(daemon)
    assert code == 1 and 'gen/1: meta.json: ' in said, said
    (daemon.folder / 'away').rename(part)
    daemon.fsctl('pool', 'scan', 'main')
    assert checked(daemon)[0] == 0


def break_part(part, damage):
    if damage == 'missing':
        part.rename(part.parent / f'{part.name}.away')
    else:
        shutil.copy2(part, part.parent / f'{part.name}.away')
        part.write_text('{')


def problems_of(daemon):
    """What pool check says, as path: reason; status knows the same."""
    r = daemon.fsctl('--json', 'pool', 'check', 'main', check=False)
    found = {p['path']: p['reason'] for p in json.loads(r.stdout)['problems']}
    assert r.returncode == (1 if found else 0)
    known = {p['object']: f'{p["reason"]}: {p["hint"]}' for p in daemon.json('status')['problems']}
    assert known == found
    return found


@pytest.mark.parametrize('part, damage, reason', [
    ('meta.json', 'bad', 'gen/1: meta.json: '),
    ('meta.json', 'missing', 'gen/1: meta.json: '),
    ('tree', 'missing', 'gen/1: no complete tree: '),
    ('', 'missing', 'gen/1: missing: '),
])
def test_pool_check__sees_a_retired_generation_that_lost_a_part(daemon, part, damage, reason):
    daemon.fsctl('site', 'create', 'shop')
    for number in (2, 3):
        daemon.fsctl('generation', 'create', 'shop')
        daemon.fsctl('publish', f'shop:{number}')
    assert problems_of(daemon) == {}
    lost = daemon.pools['main'] / 'sites/shop/gen/1' / part
    break_part(lost, damage)
    (path, told), = problems_of(daemon).items()
    assert path == 'shop:1' and told.startswith(reason), told
    assert f'{daemon.pools["main"]}/sites/shop' in told
    lost.with_name(f'{lost.name}.away').rename(lost)
    assert problems_of(daemon) == {}
    break_part(lost, damage)
    other = daemon.pools['main'] / 'sites/shop/gen/2' / part
    break_part(other, damage)
    assert set(problems_of(daemon)) == {'shop:1', 'shop:2'}
    other.with_name(f'{other.name}.away').rename(other)
    daemon.fsctl('generation', 'delete', 'shop:1', '--yes')  # the hint is a way out as well
    assert checked(daemon)[0] == 0
    assert problems_of(daemon) == {}


@pytest.mark.parametrize('part, damage, of, reason', [
    ('site.json', 'bad', '', 'site.json: '),
    ('site.json', 'missing', '', 'site.json: '),
    ('live', 'missing', '', 'its link "live" is missing: '),
    ('gen/2', 'missing', '', 'its live generation 2 is missing: '),
    ('gen/2/tree', 'missing', '', 'its live generation 2 has no tree: '),
    ('gen/2/meta.json', 'bad', '', 'gen/2: meta.json: '),
    ('gen/1/tree', 'missing', ':1', 'gen/1: no complete tree: '),
])
def test_pool_check__sees_a_deleted_site_that_lost_a_part(daemon, part, damage, of, reason):
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('generation', 'create', 'shop')
    daemon.fsctl('publish', 'shop:2')
    site = daemon.json('site', 'show', 'shop')['id']
    daemon.fsctl('site', 'delete', 'shop', '--yes')
    assert problems_of(daemon) == {}
    lost = daemon.pools['main'] / '.fsd/deleted' / site / part
    break_part(lost, damage)
    (path, told), = problems_of(daemon).items()
    assert path == f'{site}{of}' and told.startswith(reason), told
    lost.with_name(f'{lost.name}.away').rename(lost)
    daemon.fsctl('site', 'undelete', 'shop')
    assert checked(daemon)[0] == 0


def test_pool_check__leaves_out_a_generation_that_jobs_take_away(make_daemon):
    daemon = make_daemon()
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    for _ in range(3):
        daemon.fsctl('generation', 'create', 'shop')
    tree = daemon.pools['main'] / 'sites/shop/gen/3/tree'
    steps.until('scan.generation', {'kind': 'pool-check', 'pool': 'main'})
    daemon.fsctl('generation', 'delete', 'shop:2', '--yes')
    shutil.rmtree(tree)
    problem, = steps.go_on()['result']['problems']
    assert problem['path'] == 'shop:3'


def test_pool_check__that_is_canceled_among_generations_leaves_what_status_knew(make_daemon):
    daemon = make_daemon()
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('generation', 'create', 'shop')
    shutil.rmtree(daemon.pools['main'] / 'sites/shop/gen/2/tree')
    assert set(problems_of(daemon)) == {'shop:2'}
    known = daemon.json('status')['problems']
    steps.until('scan.generation', {'kind': 'pool-check', 'pool': 'main'})
    job = daemon.http('GET', '/v1/jobs?limit=1')[1]['items'][0]['id']
    assert daemon.http('POST', f'/v1/jobs/{job}/cancel')[0] == 202
    assert steps.go_on()['state'] == 'canceled'
    assert daemon.json('status')['problems'] == known


def test_pool_check__names_what_has_no_proper_name(daemon):
    os.mkdir(os.fsencode(daemon.pools['main'] / 'sites') + b'/caf\xe9')
    r = daemon.fsctl('--json', 'pool', 'check', 'main', check=False)
    assert r.returncode == 1
    assert [p['path'] for p in json.loads(r.stdout)['problems']] == ['\ufffdcaf\\xe9']
