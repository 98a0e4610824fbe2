# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pools whose storage is slow, away, wrong or comes back, beside one that is well."""

import contextlib
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import uuid

import pytest

from conftest import TIMEOUT, Steps, checked, program


def command(*args):
    subprocess.run([str(a) for a in args], check=True, stdout=subprocess.DEVNULL)


def unplug(where):
    command('umount', where)


def plug(where):
    command('mount', '-o', 'loop', where.with_suffix('.img'), where)


@contextlib.contextmanager
def frozen(where):
    """Whoever writes there sleeps until the end."""
    command('fsfreeze', '-f', where)
    try:
        yield
    finally:
        command('fsfreeze', '-u', where)


def wait_until(what, daemon):
    deadline = time.monotonic() + TIMEOUT
    while not what():
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.02)


def stuck(daemon):
    """Does a thread of the worker sleep where no signal wakes it, twice in a row?"""
    def sleepers():
        found = set()
        for task in pathlib.Path(f'/proc/{daemon.process.pid}/task').iterdir():
            with contextlib.suppress(FileNotFoundError):
                if (task / 'stat').read_text().rpartition(')')[2].split()[0] == 'D':
                    found.add(task.name)
        return found
    first = sleepers()
    time.sleep(0.2)
    return first & sleepers()


def pool(daemon, name='main'):
    return daemon.json('pool', 'show', name)


def test_pools__one_that_is_slow_to_open_keeps_nobody_else_waiting(make_daemon, mount, scratch):
    slow = mount('ext4', size='64M', name='slow')
    daemon = make_daemon({'main': scratch / 'pool', 'slow': slow}).start()
    daemon.stop()
    unplug(slow)
    try:
        daemon.start()
        assert not pool(daemon, 'slow')['online']
    finally:
        plug(slow)
    with frozen(slow):
        wait_until(lambda: stuck(daemon), daemon)
        daemon.fsctl('site', 'create', 'shop', '--pool', 'main')
        daemon.fsctl('snapshot', 'shop@one')
        assert not pool(daemon, 'slow')['online']
    wait_until(lambda: pool(daemon, 'slow')['online'], daemon)
    daemon.fsctl('site', 'create', 'blog', '--pool', 'slow')
    assert daemon.stop() == 0


def test_pool__that_comes_back_on_another_device_goes_on(make_daemon, mount, scratch):
    """As after a failover: the path is the same, the device and the superblock are others."""
    root = mount('ext4', size='64M', name='disk')
    image, other = root.with_suffix('.img'), scratch / 'other.img'
    daemon = make_daemon({'main': root, 'near': scratch / 'pool'}).start()
    daemon.fsctl('site', 'create', 'shop', '--pool', 'main')
    daemon.fsctl('snapshot', 'shop@one')
    command('sync', '-f', root)
    shutil.copy(image, other)
    command('umount', '-l', root)
    refused = daemon.fsctl('snapshot', 'shop@two', check=False)  # a job sees it first
    assert refused.returncode == 1 and 'pool.json is not there' in refused.stderr
    assert not pool(daemon)['online']
    assert 'is its disk mounted' in pool(daemon)['hint']
    refused = daemon.fsctl('snapshot', 'shop@two', check=False)
    assert refused.returncode == 1 and 'pool.json is not there' in refused.stderr
    command('mkfs.ext4', '-q', '-F', image.with_suffix('.new'), '16M')
    command('mount', '-o', 'loop', image.with_suffix('.new'), root)  # not this one
    (root / '.fsd').mkdir()
    (root / '.fsd/pool.json').write_text(json.dumps({'format': 1, 'id': str(uuid.uuid4())}))
    wait_until(lambda: 'another disk is mounted' in (pool(daemon)['hint'] or ''), daemon)
    command('umount', root)
    command('mount', '-o', 'loop', other, root)
    wait_until(lambda: pool(daemon)['online'], daemon)
    daemon.fsctl('snapshot', 'shop@two')
    daemon.fsctl('clone', 'shop@one', 'copy')
    assert (root / 'sites/copy/live').is_dir()
    assert pool(daemon)['reason'] is None and daemon.json('status')['problems'] == []
    kinds = [e['kind'] for e in daemon.http('GET', '/v1/events?limit=100')[1]['items']]
    assert [k for k in kinds if k.startswith('pool.')][-2:] == ['pool.offline', 'pool.online']
    assert daemon.stop() == 0


def test_pool__that_is_offline_at_the_start_is_an_event_too(make_daemon, scratch):
    root, away = scratch / 'pool', scratch / 'away'
    daemon = make_daemon({'main': root, 'near': scratch / 'near'}).start()
    daemon.stop()
    root.rename(away)
    daemon.start()
    away.rename(root)
    wait_until(lambda: pool(daemon)['online'], daemon)
    kinds = [e['kind'] for e in daemon.http('GET', '/v1/events?limit=100')[1]['items']]
    assert kinds == ['pool.offline', 'pool.online']
    assert daemon.log().count('fsd error: pool offline: ') == 1


def test_pools__one_that_no_driver_fits_says_what_was_probed(make_daemon, scratch):
    daemon = make_daemon({'main': scratch / 'pool', 'other': scratch / 'other'})
    with open(daemon.conf, 'a') as conf:
        conf.write('driver = btrfs\n')
    daemon.start()
    if (other := pool(daemon, 'other'))['online']:
        pytest.skip('the scratch folder lies on btrfs')
    assert other['reason'].startswith('not btrfs: ')
    assert [line.split(',')[0] for line in other['probe']] == ['btrfs: no', 'copy: yes']
    shown = daemon.fsctl('pool', 'show', 'other').stdout
    for text in (other['reason'], *other['probe'], 'change "driver" in [pool other]'):
        assert text in shown
    refused = daemon.fsctl('site', 'create', 'shop', '--pool', 'other', check=False)
    assert refused.returncode == 1
    assert 'other' in refused.stderr and 'not btrfs' in refused.stderr
    assert 'fsctl pool show other' in refused.stderr
    assert pool(daemon)['probe'] and pool(daemon)['reason'] is None


def test_pool__says_who_chose_its_driver(mount, make_daemon):
    """Trees made by one driver are not another one's: "auto" keeps it, and says so."""
    daemon = make_daemon({'main': mount('btrfs') / 'pool'})
    said = []
    for configured in 'auto', 'auto', 'copy', 'auto', 'btrfs', 'auto':
        daemon.configure(f'driver = {configured}\n')
        daemon.start()
        shown = daemon.json('pool', 'show', 'main')
        assert [line.split()[0] for line in shown['probe'][:2]] == ['btrfs:', 'copy:']
        assert shown['probe'][2] in daemon.fsctl('pool', 'show', 'main').stdout
        assert shown['probe'][2].startswith(f'{shown["driver"]} is ')
        said.append(shown['probe'][2])
        daemon.stop()
    kept = 'is kept, since it served the pool before; "driver" in fsd.conf changes it'
    assert said == ['btrfs is chosen, the first that fits', f'btrfs {kept}',
                    'copy is chosen, as configured', f'copy {kept}',
                    'btrfs is chosen, as configured', f'btrfs {kept}']


@pytest.mark.parametrize('kind', ['btrfs', 'ext4'])
def test_deleted__is_pending_until_its_space_is_back(kind, mount, make_daemon):
    where = mount(kind)
    daemon = make_daemon({'main': where / 'pool'})
    steps = Steps(daemon)
    daemon.start()

    def pending():
        return daemon.json('pool', 'show', 'main')['pending']

    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    assert pending() == 0
    with os.scandir(daemon.fsctl('path', 'shop@a').stdout.strip()):  # somebody is in there
        with steps.held('remove.tree') as reached:
            daemon.fsctl('snapshot', 'delete', 'shop@a', '--yes')
            reached()
            assert pending() >= 1  # its place in the trash, and on btrfs the tree besides
            assert '\npending  ' in daemon.fsctl('pool', 'show', 'main').stdout
        wait_until(lambda: not os.listdir(where / 'pool/.fsd/trash'), daemon)
        assert pending() == (kind == 'btrfs')
    if kind == 'btrfs':  # its cleaner would come in half a minute
        command('btrfs', 'filesystem', 'sync', where)
    wait_until(lambda: pending() == 0, daemon)


def test_pool__that_became_read_only_refuses_changes_and_serves(mount, make_daemon):
    """As the kernel makes it after an error of the storage, with everything still open."""
    where = mount('ext4')
    daemon = make_daemon({'main': where / 'pool'}).start()
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    before = sorted(str(p) for p in (where / 'pool').rglob('*'))
    command('mount', '-o', 'remount,errors=remount-ro', where)
    source = subprocess.check_output(['findmnt', '-no', 'SOURCE', where], text=True)
    device = os.path.basename(source)
    pathlib.Path(f'/sys/fs/ext4/{device.strip()}/trigger_fs_error').write_text('for a test')
    for args in (('snapshot', 'shop@b'), ('clone', 'shop', 'copy'), ('site', 'create', 'new'),
                 ('restore', 'shop@a', '--yes'), ('site', 'rename', 'shop', 'other'),
                 ('snapshot', 'delete', 'shop@a', '--yes'), ('site', 'set', 'shop', 'label.a=b')):
        r = daemon.fsctl(*args, check=False)
        assert r.returncode == 1 and 'ead-only file system' in r.stderr, (args, r)
        assert f'pool main: the file system of the pool at {where}/pool is read-only' in r.stderr, r
    assert daemon.fsctl('diff', 'shop@a', check=False).returncode == 0
    code, said = checked(daemon)
    assert code == 2 and 'critical: main: ' in said and 'is read-only' in said and 'dmesg' in said
    assert [s['name'] for s in daemon.http('GET', '/v1/sites')[1]['items']] == ['shop']
    assert daemon.fsctl('path', 'shop@a').stdout
    assert sorted(str(p) for p in (where / 'pool').rglob('*')) == before


def test_pool__that_is_read_only_at_the_start_is_left_to_be_copied_by_hand(mount, make_daemon):
    where = mount('ext4', size='64M')
    daemon = make_daemon({'main': where}).start()
    daemon.fsctl('site', 'create', 'shop')
    (where / 'sites/shop/live/order').write_text('42')
    snapshot = daemon.json('snapshot', 'shop@a')['job']['result']['snapshot']
    daemon.stop()
    command('mount', '-o', 'remount,ro', where)
    daemon.start()
    code, said = checked(daemon)
    assert code == 2 and 'Read-only file system' in said
    assert 'docs/operations.md, "A pool is read-only", says how' in said
    assert 'says how' in daemon.fsctl('diff', 'shop@a', check=False).stderr
    assert daemon.fsctl('snapshot', 'list', '-q').stdout == 'shop@a\n'
    kept = where / '.fsd/snapshots' / snapshot['site']['id'] / 'a'
    assert '"site_name": "shop"' in (kept / 'meta.json').read_text()
    for tree in (where / 'sites/shop/live', kept / 'live'):
        assert (tree / 'order').read_text() == '42'
    command('mount', '-o', 'remount,rw', where)
    wait_until(lambda: checked(daemon)[0] == 0, daemon)
    daemon.fsctl('snapshot', 'shop@b')


def test_pool__that_is_nearly_full_takes_nothing_new(mount, make_daemon, scratch):
    root = mount('ext4', size='64M')
    daemon = make_daemon({'main': root, 'far': scratch / 'far'})
    daemon.start()
    (scratch / 'www').mkdir()
    daemon.fsctl('site', 'create', 'far1', '--pool', 'far')
    daemon.fsctl('snapshot', 'far1@oldest')
    daemon.fsctl('site', 'create', 'boutique', '--pool', 'main')
    (root / 'sites/boutique/live/index.php').write_text('one')
    daemon.fsctl('snapshot', 'boutique@held')
    daemon.fsctl('snapshot', 'hold', 'boutique@held')
    daemon.fsctl('snapshot', 'boutique@one')
    daemon.fsctl('site', 'rename', 'boutique', 'shop')
    assert checked(daemon)[0] == 0
    os.posix_fallocate(fd := os.open(root / 'ballast', os.O_WRONLY | os.O_CREAT), 0, 48 << 20)
    os.close(fd)
    daemon.configure(min_free='30M')
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: checked(daemon)[0] == 1, daemon)
    assert 'min_free keeps' in checked(daemon)[1] and 'fsctl snapshot list' in checked(daemon)[1]
    for refused in (('snapshot', 'shop@two'), ('clone', 'shop', 'copy'),
                    ('clone', 'shop@one', 'copy'),
                    ('site', 'create', 'copy', '--from', 'shop'),
                    ('site', 'create', 'copy', '--pool', 'main'),
                    ('clone', 'far1', 'copy', '--pool', 'main'),
                    ('generation', 'create', 'shop'),
                    ('generation', 'create', 'shop', '--from', 'far1'),
                    ('site', 'import', 'copy', scratch / 'www', '--pool', 'main'),
                    ('restore', 'shop@one', '--yes')):
        r = daemon.fsctl('--json', *refused, check=False)
        assert r.returncode == 5 and '"code": "below_min_free"' in r.stderr, refused
        # What it is to be made from is not to be deleted for it.
        named = 'the oldest are shop@one: fsctl snapshot delete' in r.stderr
        assert named == ('shop@one' not in refused), (refused, r)
    assert [s['name'] for s in daemon.json('site', 'list')['items']] == ['far1', 'shop']
    (root / 'sites/shop/live/order').write_text('a visitor')
    daemon.fsctl('snapshot', 'delete', 'shop@one', '--yes')
    daemon.fsctl('site', 'delete', 'shop', '--yes')
    (root / 'ballast').unlink()
    wait_until(lambda: checked(daemon)[0] == 0, daemon)
    daemon.fsctl('site', 'create', 'copy', '--pool', 'main')


def test_pool__that_is_nearly_full_names_the_retired_generations(mount, make_daemon, scratch):
    """Where trees are copied each of them is a whole site."""
    root = mount('ext4', size='64M')
    daemon = make_daemon({'main': root, 'far': scratch / 'far'})
    daemon.start()
    for site, pool_name in ('far1', 'far'), ('gone', 'main'), ('shop', 'main'), ('small', 'main'):
        daemon.fsctl('site', 'create', site, '--pool', pool_name)
        daemon.fsctl('generation', 'create', site)
        daemon.fsctl('publish', f'{site}:2')
    daemon.fsctl('site', 'delete', 'gone', '--yes')
    (root / 'sites/shop/live/film').write_bytes(os.urandom(4 << 20))
    daemon.fsctl('generation', 'create', 'shop')
    daemon.fsctl('generation', 'create', 'shop')
    daemon.fsctl('publish', 'shop:3')
    daemon.fsctl('site', 'show', 'shop', '--measure')
    os.posix_fallocate(fd := os.open(root / 'ballast', os.O_WRONLY | os.O_CREAT), 0, 28 << 20)
    os.close(fd)
    daemon.configure(min_free='30M')
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: checked(daemon)[0] == 1, daemon)
    retired = ('delete retired generations, small:1, shop:1 (its site has 4 MiB), '
               'shop:2 (its site has 4 MiB)')
    for site, said in ('small', retired), ('shop', retired.replace('small:1, ', '') + ', small:1'):
        r = daemon.fsctl('snapshot', f'{site}@a', check=False)
        assert f'{said}: fsctl generation delete; deleted sites' in r.stderr, r
    for source, other in ('shop:1', 'shop:2'), ('shop:2', 'shop:1'):
        r = daemon.fsctl('restore', source, '--yes', check=False)
        assert f'generations, {other} (its site has 4 MiB), small:1: fsctl' in r.stderr, r
    daemon.fsctl('generation', 'delete', 'shop:2', '--yes')
    daemon.fsctl('generation', 'delete', 'shop:1', '--yes')
    (root / 'ballast').unlink()
    wait_until(lambda: checked(daemon)[0] == 0, daemon)
    daemon.fsctl('snapshot', 'small@a')
    (root / 'ballast').write_bytes(os.urandom(28 << 20))
    r = daemon.fsctl('snapshot', 'shop@a', check=False)
    assert ('delete retired generations, small:1: fsctl generation delete, or old snapshots, the '
            'oldest are small@a: fsctl snapshot delete; deleted sites') in r.stderr, r


def test_pool__that_is_nearly_full_can_go_back_where_that_costs_nothing(mount, make_daemon):
    root = mount('btrfs')
    daemon = make_daemon({'main': root}).start()
    daemon.fsctl('site', 'create', 'shop')
    (root / 'sites/shop/live/index.php').write_text('one')
    daemon.fsctl('snapshot', 'shop@one')
    (root / 'sites/shop/live/index.php').write_text('hacked')
    daemon.stop()
    daemon.configure(min_free='99%')
    daemon.start()
    assert daemon.fsctl('generation', 'create', 'shop', check=False).returncode == 5
    job = daemon.json('restore', 'shop@one', '--yes')['job']['id']
    assert (root / 'sites/shop/live/index.php').read_text() == 'one'
    daemon.fsctl('undo', job)
    assert (root / 'sites/shop/live/index.php').read_text() == 'hacked'


def test_pools__that_are_not_this_ones(mount, make_daemon, scratch):
    """Somebody's directory, another installation's pool, and one that is away."""
    mine = scratch / 'mine'
    daemon = make_daemon({'main': mine}).start()
    daemon.fsctl('site', 'create', 'shop')
    daemon.stop()
    mine.rename(scratch / 'away')
    daemon.pools['other'] = other = scratch / 'other'
    other.mkdir()
    (other / 'holiday.jpg').touch()
    daemon.pools['deep'] = scratch / 'nobody/made/this'
    daemon.configure()
    daemon.start()
    assert not mine.exists() and os.listdir(other) == ['holiday.jpg']
    code, said = checked(daemon)
    assert code == 2 and 'is its disk mounted' in said and 'holds "holiday.jpg"' in said
    assert 'name an empty directory in [pool other]' in said
    assert 'make the folder above it' in said and '[pool deep]' in said
    daemon.stop()
    # Another installation's, by the same name and at the same path.
    (folder := scratch / 'theirs').mkdir()
    theirs = make_daemon({'main': mine}, folder)
    theirs.start().fsctl('site', 'create', 'theirs')
    theirs.stop()
    daemon.start()
    assert 'one of the two was made anew' in checked(daemon)[1]
    assert daemon.fsctl('site', 'list', '-q').stdout == 'shop\n'
    assert not (mine / 'sites/shop').exists()


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


def test_scan__names_snapshots_by_their_sites(daemon):
    for name in ('shop', 'gone'):
        daemon.fsctl('site', 'create', name)
        daemon.fsctl('snapshot', f'{name}@a')
    daemon.stop()
    shutil.rmtree(daemon.pools['main'] / 'sites/gone')
    daemon.lose_catalog()
    found = daemon.json('pool', 'scan', 'main')['job']['result']['snapshots']['added']
    assert sorted(found) == ['gone@a', 'shop@a']
    for source in found:
        daemon.fsctl('snapshot', 'show', source)


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


def test_pool__of_any_path_says_where_trees_are(make_daemon, scratch):
    daemon = make_daemon()
    path = os.fsencode(scratch) + b'/caf\xe9'
    os.mkdir(path)
    daemon.conf.write_bytes(daemon.conf.read_bytes().replace(os.fsencode(scratch) + b'/pool', path))
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    told = [daemon.json('site', 'show', 'shop')['live']['path'],
            daemon.json('snapshot', 'show', 'shop@a')['path'],
            daemon.json('generation', 'list', 'shop')['items'][0]['path']]
    root = f'\ufffd{scratch}/caf\\xe9'
    assert told[0] == f'{root}/sites/shop/live' and told[2] == f'{root}/sites/shop/gen/1/tree'
    assert told[1].startswith(f'{root}/.fsd/snapshots/')


def test_scan__leaves_a_second_site_of_one_name_alone(make_daemon, scratch):
    """As after a lost catalog, when names were given again before the pools were scanned."""
    daemon = make_daemon({'main': scratch / 'pool', 'two': scratch / 'two'}).start()
    daemon.fsctl('site', 'create', 'shop', '--pool', 'main')
    daemon.stop()
    for file in daemon.catalog.parent.iterdir():
        file.unlink()
    daemon.start()
    for name in ('main', 'two'):
        r = daemon.fsctl('site', 'create', 'shop', '--pool', name, check=False)
        assert r.returncode == 4 and 'pool main has a directory' in r.stderr, r
        assert 'fsctl pool scan main' in r.stderr
    (scratch / 'pool/sites/shop').rename(scratch / 'kept')
    daemon.fsctl('site', 'create', 'shop', '--pool', 'two')
    (scratch / 'kept').rename(scratch / 'pool/sites/shop')
    hint = 'fsctl site rename shop NEW, or this directory; then fsctl pool scan main'
    r = daemon.fsctl('pool', 'scan', 'main', check=False)
    assert hint in r.stdout + r.stderr, r
    code, said = checked(daemon)
    assert code == 1 and 'pool two has the site of this name' in said and hint in said
    assert [site['pool'] for site in daemon.json('site', 'list')['items']] == ['two']
    daemon.fsctl('site', 'rename', 'shop', 'shop2')
    daemon.fsctl('pool', 'scan', 'main')
    assert [site['pool'] for site in daemon.json('site', 'list')['items']] == ['main', 'two']
    assert checked(daemon)[0] == 0


def rebuild_catalog(daemon):
    daemon.lose_catalog()
    daemon.fsctl('pool', 'scan')


def test_scan__of_a_copied_site_leads_to_one_that_works(mount, make_daemon, scratch):
    """On btrfs the copy's tree is a plain directory, which an id of its own makes no site of."""
    root = mount('btrfs') / 'pool'
    daemon = make_daemon({'main': root}).start()
    daemon.fsctl('site', 'create', 'shop')
    (root / 'sites/shop/live/index.php').write_text('one')
    command('cp', '-a', root / 'sites/shop', root / 'sites/copy')
    said = daemon.fsctl('pool', 'check', 'main', check=False).stdout
    assert 'uuidgen' not in said and 'not a subvolume, so it cannot be a site here' in said, said
    assert 'move it out of the pool, then fsctl site import NEW DIR/gen/1/tree' in said, said
    doc = json.loads((root / 'sites/copy/site.json').read_text())
    doc['id'] = str(uuid.uuid4())
    (root / 'sites/copy/site.json').write_text(json.dumps(doc))
    daemon.fsctl('pool', 'scan', 'main')
    plain = 'its tree is a plain directory, not a subvolume'
    said = daemon.fsctl('pool', 'check', 'main', check=False).stdout
    assert said.startswith(f'copy: {plain}: copy the tree out of the pool and import it'), said
    said = daemon.fsctl('check', 'copy', check=False).stdout
    assert said == f'gen/1: {plain}\n'
    r = daemon.fsctl('snapshot', 'copy@a', check=False)
    assert 'hint: copy the tree out of the pool and import it: fsctl site import' in r.stderr, r
    command('mv', root / 'sites/copy', scratch / 'copy')
    daemon.fsctl('pool', 'scan', 'main')
    daemon.fsctl('site', 'import', 'new', scratch / 'copy/gen/1/tree')
    daemon.fsctl('snapshot', 'new@a')
    assert daemon.fsctl('pool', 'check', 'main').stdout == 'ok\n'
    daemon.stop()
    daemon.configure('driver = copy\n')
    daemon.start()
    command('cp', '-a', root / 'sites/shop', root / 'sites/copy')
    assert 'uuidgen' in daemon.fsctl('pool', 'check', 'main', check=False).stdout


def test_scan__lets_a_deleted_site_be_had_back(daemon):
    """Though the deletion's job, which could be undone, went with the catalog."""
    def deleted():
        return daemon.http('GET', '/v1/sites?deleted=true')[1]['items']

    daemon.fsctl('site', 'create', 'shop')
    pool = daemon.pools['main']
    (pool / 'sites/shop/live/order').write_text('42')
    ident = daemon.json('site', 'delete', 'shop', '--yes')['job']['result']['site']['id']
    noted = json.loads((pool / '.fsd/deleted' / ident / 'site.json').read_text())
    before, = deleted()
    rebuild_catalog(daemon)
    assert deleted() == [{**before, 'deleted_by': None}]
    for name in (ident, 'shop'):
        r = daemon.fsctl('path', name, check=False)
        assert r.returncode == 3 and f'fsctl site undelete {name} brings it back' in r.stderr, r
    r = daemon.fsctl('site', 'undelete', 'shop', '--dry-run')
    assert 'bring back shop, deleted at 20' in r.stdout and deleted(), r.stdout
    daemon.fsctl('site', 'create', 'shop')
    r = daemon.fsctl('site', 'undelete', 'shop', check=False)
    assert r.returncode == 4 and f'fsctl site undelete {ident} NEW' in r.stderr, r
    assert daemon.fsctl('site', 'undelete', ident, 'old', '--quiet').stdout == 'old\n'
    assert (pool / 'sites/old/live/order').read_text() == '42' and not deleted()
    assert 'deleted' in noted and 'deleted' not in json.loads(
        (pool / 'sites/old/site.json').read_text())
    # The other one, by its name.
    daemon.fsctl('site', 'delete', 'shop', '--yes')
    for _ in range(2):
        daemon.fsctl('site', 'create', 'twice')
        daemon.fsctl('site', 'delete', 'twice', '--yes')
    r = daemon.fsctl('site', 'undelete', 'twice', check=False)
    assert r.returncode == 4 and '2 deleted sites had this name' in r.stderr, r
    assert all(site['id'] in r.stderr for site in deleted() if site['name'] == 'twice')
    r = daemon.fsctl('site', 'undelete', 'shop')
    assert r.stdout.startswith('site shop is back'), r.stdout
    r = daemon.fsctl('site', 'undelete', 'shop', check=False)
    assert r.returncode == 3 and 'there is no such deleted site' in r.stderr, r


@pytest.mark.parametrize('noted', [None, 5])
def test_scan__of_a_deleted_site_knows_when_though_nothing_or_an_old_time_is_noted(daemon, noted):
    """Where the pool is full, a deletion is not noted, and an older one may be: of 1970 here."""
    daemon.fsctl('site', 'create', 'shop')
    ident = daemon.json('site', 'delete', 'shop', '--yes')['job']['result']['site']['id']
    document = daemon.pools['main'] / '.fsd/deleted' / ident / 'site.json'
    text = json.loads(document.read_text())
    when = text.pop('deleted') / 1e9
    document.write_text(json.dumps(text | ({'deleted': noted} if noted else {})))
    rebuild_catalog(daemon)
    site, = daemon.http('GET', '/v1/sites?deleted=true')[1]['items']
    seen = datetime.datetime.fromisoformat(site['deleted']).timestamp()
    assert abs(seen - when) < 3600 and seen <= time.time(), (seen, when)


def test_scan__after_a_pool_was_made_in_an_empty_mount_point(mount, make_daemon):
    """The way out that docs/operations.md has."""
    where = mount('ext4', size='64M')
    daemon = make_daemon({'main': where}).start()
    daemon.fsctl('site', 'create', 'shop')
    daemon.stop()
    unplug(where)
    try:
        rebuild_catalog(daemon)
        assert daemon.json('site', 'list')['items'] == [] and pool(daemon)['online']
        daemon.stop()
    finally:
        plug(where)
    daemon.start()
    code, said = checked(daemon)
    assert code == 2 and 'the catalog expects' in said
    assert 'docs/operations.md, "The catalog is lost", says the way out' in said
    daemon.stop()
    unplug(where)
    try:
        (where / 'sites').rmdir()
        shutil.rmtree(where / '.fsd')
    finally:
        plug(where)
    rebuild_catalog(daemon)
    assert daemon.fsctl('site', 'list', '-q').stdout == 'shop\n' and checked(daemon)[0] == 0


def test_scan__rebuilds_a_lost_catalog_as_it_was(daemon):
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('site', 'set', 'shop', 'label.owner=anna', 'protected=yes', 'expires=7d')
    daemon.fsctl('snapshot', 'shop@a', '--expires', '7d')
    daemon.fsctl('snapshot', 'set', 'shop@a', 'label.release=2.1')
    daemon.fsctl('snapshot', 'hold', 'shop@a', '--tag', 'audit')
    daemon.fsctl('snapshot', 'shop@b')
    daemon.fsctl('restore', 'shop@a', '--yes')
    daemon.fsctl('site', 'create', 'gone')
    daemon.fsctl('snapshot', 'gone@last')
    daemon.fsctl('site', 'delete', 'gone', '--yes')

    def look():
        lists = ('/v1/sites', '/v1/snapshots', '/v1/sites/shop/generations',
                 '/v1/sites?deleted=true')
        *there, (deleted,) = [daemon.http('GET', path)[1]['items'] for path in lists]
        return *there, {**deleted, 'deleted_by': None}  # jobs are gone

    before = look()
    assert before[1][0]['labels'] == {'owner': 'anna', 'release': '2.1'}
    assert before[1][0]['holds'] == ['audit']
    rebuild_catalog(daemon)
    assert look() == before
    assert daemon.fsctl('snapshot', 'list', '--label', 'release=2.1', '-q').stdout == 'shop@a\n'


def test_scan__keeps_nobody_else_waiting(make_daemon):
    """What is written meanwhile is read again, or recorded by whoever wrote it."""
    daemon = make_daemon()
    steps = Steps(daemon)
    daemon.start()
    for name in ('shop', 'blog'):
        daemon.fsctl('site', 'create', name)
    sites = daemon.pools['main'] / 'sites'
    (sites / 'blog').rename(sites / 'moved')
    steps.until('scan.batch', {'kind': 'pool-scan', 'pool': 'main'})
    status, answer = daemon.ask({'kind': 'snapshot', 'site': 'shop', 'name': 'meanwhile'})
    assert status == 200, answer
    job = steps.go_on()
    assert job['result']['sites'] == {'added': ['moved'], 'removed': ['blog'], 'changed': []}
    assert [site['name'] for site in daemon.json('site', 'list')['items']] == ['moved', 'shop']
    assert daemon.json('snapshot', 'show', 'shop@meanwhile')['name'] == 'meanwhile'
    assert daemon.fsctl('status', '--check').returncode == 0


def test_scan__leaves_a_snapshot_that_is_being_made_to_its_job(make_daemon):
    daemon = make_daemon()
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    steps.until('renamed', {'kind': 'snapshot', 'site': 'shop', 'name': 'a'})
    assert len(list((daemon.pools['main'] / '.fsd/snapshots').glob('*/a'))) == 1
    scan = daemon.json('pool', 'scan', 'main')['job']['result']
    assert scan['snapshots']['added'] == [] and scan['failed'] == []
    assert daemon.json('snapshot', 'list', 'shop')['items'] == []
    assert steps.go_on()['result']['snapshot']['name'] == 'a'
    assert [s['name'] for s in daemon.json('snapshot', 'list', 'shop')['items']] == ['a']


def test_pool__with_a_strangers_folder_among_the_snapshots_is_served(daemon):
    """A name longer than any id of a site, with a document that reads like one of fsd's."""
    pool = pathlib.Path(next(iter(daemon.pools.values())))
    strange = pool / '.fsd/snapshots' / ('x' * 245) / 'one'
    strange.mkdir(parents=True)
    (strange / 'meta.json').write_text(
        '{"format": 1, "id": "6f6a0e6c-0000-4000-8000-000000000000"}')
    daemon.stop()
    daemon.start()
    daemon.json('pool', 'scan')
    assert strange.exists()


@pytest.mark.parametrize('kind', ['btrfs', 'xfs', 'ext4'])
def test_pool__that_is_full_to_the_last_block_can_be_emptied(make_daemon, mount, kind):
    where = mount(kind, size='400M')
    daemon = make_daemon({'main': where / 'pool'}, min_free='0%').start()
    for name in ('shop', 'blog'):
        daemon.fsctl('site', 'create', name)
        for _ in range(2):
            daemon.fsctl('generation', 'create', name)
    for size in (1 << 20, 4096, 1):
        with contextlib.suppress(OSError), open(where / f'filler{size}', 'wb', buffering=0) as f:
            while True:
                f.write(bytes(size))
    for i in range(10**6):
        try:
            (where / f'small{i}').write_bytes(bytes(100))
        except OSError:
            break
    daemon.fsctl('generation', 'delete', 'shop:2', '--yes')
    daemon.fsctl('site', 'delete', 'blog', '--yes')
    assert daemon.fsctl('site', 'list', '-q').stdout == 'shop\n'


@pytest.mark.parametrize('kind', ('btrfs', 'ext4'))
def test_snapshot__has_documents_of_its_own(make_daemon, mount, kind):
    """An editor that writes in place, or a bad block, damages one of them."""
    root = mount(kind)
    daemon = make_daemon({'main': root / 'pool'}).start()
    daemon.fsctl('site', 'create', 'shop')
    site = root / 'pool/sites/shop'
    # one that fits beside its inode, one that does not
    for n, label in enumerate(('x', 'x' * 200)):
        daemon.fsctl('site', 'set', 'shop', *(f'label.l{i}={label}' for i in range(20)))
        daemon.fsctl('snapshot', f'shop@s{n}')
        path = daemon.fsctl('path', f'shop@s{n}').stdout.strip()
        copy = pathlib.Path(path).parents[2]
        for name in ('site.json', 'gen/1/meta.json'):
            good = (site / name).read_text()
            assert (site / name).stat().st_nlink == (copy / name).stat().st_nlink == 1
            with open(site / name, 'r+') as f:
                f.write('damaged')
            assert (copy / name).read_text() == good
            (site / name).write_bytes((copy / name).read_bytes())  # as operations.md says
    daemon.fsctl('site', 'set', 'shop', 'label.l0=')
    assert daemon.fsctl('check', 'shop').returncode == 0


# ---- the trash ----

def trash(where):
    return os.listdir(where / 'pool/.fsd/trash')


def subvolumes(where):
    return subprocess.run(['btrfs', 'subvolume', 'list', where], check=True, text=True,
                          capture_output=True).stdout.splitlines()


@pytest.mark.parametrize('driver', ['btrfs', 'copy'])
def test_trash__with_subvolumes_of_a_site_s_users_is_emptied(driver, mount, make_daemon):
    """Making one needs no privilege, and snapshots of one's own are read-only."""
    where = mount('btrfs')
    daemon = make_daemon({'main': where / 'pool'})
    daemon.configure(f'driver = {driver}\n')
    daemon.start()
    assert f'{driver} is chosen, as configured' in daemon.fsctl('pool', 'show', 'main').stdout
    before = subvolumes(where)
    daemon.fsctl('site', 'create', 'shop')
    live = where / 'pool/sites/shop/gen/1/tree'
    os.chown(live, 1000, 1000)
    (live / 'kept').write_text('by root')
    run = ['setpriv', '--reuid=1000', '--regid=1000', '--clear-groups', 'btrfs', '-q', 'subvolume']
    for args in ('create', 'a'), ('create', 'a/b'), ('snapshot', '-r', 'a', 'a/b/snap'):
        subprocess.run([*run, *args], cwd=live, check=True)
    command('btrfs', '-q', 'subvolume', 'create', live / 'a/b/of root')
    daemon.fsctl('site', 'delete', 'shop', '--yes')
    daemon.stop()
    daemon.configure(f'driver = {driver}\n', undo_keep='0s')
    daemon.start()
    wait_until(lambda: subvolumes(where) == before, daemon)
    wait_until(lambda: trash(where) == [], daemon)
    assert checked(daemon)[0] == 0


def test_trash__goes_on_behind_what_cannot_be_removed_and_names_it(mount, make_daemon):
    """On btrfs the oldest, which is in the way, is met first."""
    where = mount('btrfs')
    daemon = make_daemon({'main': where / 'pool'}).start()
    for site in 'shop', 'blog':
        daemon.fsctl('site', 'create', site)
    daemon.fsctl('generation', 'create', 'shop')
    daemon.fsctl('snapshot', 'blog@a')
    sub = where / 'pool/sites/shop/gen/2/tree/sub dir'
    sub.mkdir()
    command('mount', '-t', 'tmpfs', 'none', sub)
    try:
        daemon.fsctl('generation', 'delete', 'shop:2', '--yes')
        wait_until(lambda: checked(daemon)[0] == 1, daemon)
        [stuck] = trash(where)
        daemon.fsctl('snapshot', 'delete', 'blog@a', '--yes')
        wait_until(lambda: trash(where) == [stuck], daemon)
        [problem] = daemon.json('status')['problems']
        assert problem['object'] == str(where / 'pool/.fsd/trash' / stuck)
        assert f"umount '{where}/pool/.fsd/trash/{stuck}/tree/sub dir'" in problem['hint']
        assert daemon.log().count('cannot empty') == 1
    finally:
        command('umount', *where.glob('pool/**/sub dir'))
    wait_until(lambda: trash(where) == [], daemon)
    assert checked(daemon)[0] == 0


def test_trash__that_is_being_emptied_keeps_no_pool_waiting(make_daemon, scratch):
    """And no pool is opened anew under whoever still removes something in it."""
    pools = {name: scratch / name for name in ('main', 'near')}
    daemon = make_daemon(pools)
    steps = Steps(daemon)
    daemon.start()

    def take_away(name):
        pools[name].rename(scratch / 'away')
        wait_until(lambda: not pool(daemon, name)['online'], daemon)

    daemon.fsctl('site', 'create', 'shop', '--pool', 'main')
    daemon.fsctl('snapshot', 'shop@a')
    with steps.held('remove.tree') as reached:
        daemon.fsctl('snapshot', 'delete', 'shop@a', '--yes')
        reached()
        take_away('main')
        shutil.copytree(scratch / 'away', pools['main'], symlinks=True)  # as on another device
        shutil.move(scratch / 'away', scratch / 'old')
        take_away('near')  # main has been looked at since
        (scratch / 'away').rename(pools['near'])
        wait_until(lambda: pool(daemon, 'near')['online'], daemon)
        assert not pool(daemon)['online']
    wait_until(lambda: pool(daemon)['online'], daemon)
    wait_until(lambda: os.listdir(pools['main'] / '.fsd/trash') == [], daemon)
    daemon.fsctl('snapshot', 'shop@b')
    assert list((pools['main'] / '.fsd/snapshots').glob('*/b'))
    assert daemon.json('status')['problems'] == []
    assert daemon.stop() == 0


def start_with(daemon, pools):
    daemon.stop()
    daemon.pools = pools
    daemon.configure()
    daemon.start()


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
    steps.until('intent.committed', {'kind': 'clone', 'source': 'shop@s', 'name': 'copy',
                                     'pool': 'old'})
    daemon.stop(signal.SIGKILL)
    steps.set_hold('')
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


@pytest.mark.parametrize('away', ['section', 'disk'])
def test_job__of_a_pool_that_is_away_can_be_canceled(make_daemon, scratch, away):
    daemon = make_daemon({name: scratch / name for name in ('main', 'old')})
    steps = Steps(daemon)
    daemon.start()
    steps.until('intent.committed', {'kind': 'site-create', 'name': 'shop', 'pool': 'old'})
    daemon.stop(signal.SIGKILL)
    steps.set_hold('')
    take_away(daemon, away, scratch / 'old')
    job = daemon.json('job', 'list')['items'][0]['id']
    with subprocess.Popen([program('tools/fsctl/fsctl'), 'job', 'wait', job], text=True,
                          env={**os.environ, 'FSD_URL': daemon.url()}) as wait:
        assert daemon.fsctl('job', 'cancel', job).stdout == f'job {job} is canceled\n'
        assert wait.wait(TIMEOUT) != 0
    assert daemon.json('status')['jobs'] == {'queued': 0, 'running': 0}
    daemon.fsctl('site', 'create', 'shop', '--pool', 'main')
    bring_back(daemon, away, scratch / 'old')
    assert daemon.json('job', 'show', job)['state'] == 'canceled'
    assert daemon.json('site', 'show', 'shop')['pool'] == 'main'
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
    steps.until(step, {'kind': 'site-import', 'name': 'shop', 'dir': str(scratch / 'dir'),
                       'mode': 'move', 'pool': 'old'})
    daemon.stop(signal.SIGKILL)
    steps.set_hold('')
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
    steps.until('intent.committed', {'kind': 'snapshot', 'site': 'shop', 'name': 'a'})
    daemon.stop(signal.SIGKILL)
    steps.set_hold('')
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
    steps.until('intent.committed', {'kind': 'site-create', 'name': 'blog', 'pool': 'b'})
    daemon.stop(signal.SIGKILL)
    steps.set_hold('')
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
    steps.until('intent.committed', {'kind': 'site-create', 'name': 'shop', 'pool': 'old'})
    daemon.stop(signal.SIGKILL)
    steps.set_hold('')
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
