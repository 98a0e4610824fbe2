# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pools whose storage is slow, away, wrong, full or comes back, beside one that is well."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import uuid

import pytest

from conftest import Steps, checked
from storage import command, plug, pool, unplug, wait_until


@contextlib.contextmanager
def frozen(where):
    """Whoever writes there sleeps until the end."""
    command('fsfreeze', '-f', where)
    try:
        yield
    finally:
        command('fsfreeze', '-u', where)


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
