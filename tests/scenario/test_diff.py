# SPDX-License-Identifier: LGPL-2.1-or-later
"""What fsctl diff and the plan of a restore call a change, and what they read for it."""

import os
import time

import pytest

MTIME = 499162500  # what npm gives every file
REALTIME_COARSE = 5  # clock_gettime(2): the clock of ctimes


def write(path, text):
    """As a package manager does: a new file in the old one's place, with a time of its choice."""
    path.parent.mkdir(exist_ok=True)
    new = path.with_name('.new')
    new.write_text(text)
    os.utime(new, (MTIME, MTIME))
    os.rename(new, path)


def settle(path):
    """Until the clock of ctimes has gone on: what is changed in one tick with a copy is read."""
    until = path.stat().st_ctime + 2 * time.clock_getres(REALTIME_COARSE)
    while time.clock_gettime(REALTIME_COARSE) <= until:
        time.sleep(0.001)


@pytest.fixture(params=('btrfs', 'ext4'))
def shop(request, make_daemon, mount):
    """A site with a library of many files, in a pool that makes snapshots, or copies."""
    pool = mount(request.param) / 'pool'
    daemon = make_daemon({'main': pool}).start()
    daemon.fsctl('site', 'create', 'shop')
    daemon.live = pool / 'sites/shop/live'
    for n in range(50):
        write(daemon.live / f'lib/{n}.js', f'{n} version-1')
    (daemon.live / 'index').write_text('one')
    daemon.walks = request.param != 'btrfs'
    settle(daemon.live / 'index')
    return daemon


def files(daemon, *args):
    """What a diff says of files: directories have other times as soon as anything happens."""
    lines = daemon.fsctl('diff', *args).stdout.splitlines()
    return [x for x in lines if x not in ('m .', 'm lib')]


def assert_equal(daemon, *args):
    """No difference, and no file was read to find that."""
    assert files(daemon, *args) == []
    job = daemon.http('GET', '/v1/jobs?limit=1')[1]['items'][0]
    assert (job['kind'], job['stats']['bytes']) == ('diff', 0)


def test_diff__sees_what_kept_its_size_and_times(shop):
    shop.fsctl('snapshot', 'shop@a')
    assert_equal(shop, 'shop@a')
    write(shop.live / 'lib/1.js', '1 version-2')
    assert files(shop, 'shop@a') == ['M lib/1.js']
    assert files(shop, 'shop', 'shop@a') == ['M lib/1.js']
    plan = shop.json('restore', 'shop@a', '--dry-run')['plan']
    assert any(w.startswith('1 changed and 0 new') for w in plan['warnings']), plan
    assert '1 changed and 0 new' in plan['confirm']


def test_diff__of_what_was_restored_reads_what_was_changed_since(shop):
    """Its files are all newer than those of the snapshot."""
    shop.fsctl('snapshot', 'shop@a')
    write(shop.live / 'lib/1.js', '1 version-2')
    settle(shop.live / 'lib/1.js')
    shop.fsctl('restore', 'shop@a', '--yes')
    assert_equal(shop, 'shop@a')
    for args in (('shop:1', 'shop'), ('shop', 'shop:1')):
        assert files(shop, *args) == ['M lib/1.js']
    write(shop.live / 'lib/2.js', '2 version-2')
    assert files(shop, 'shop@a') == ['M lib/2.js']
    assert files(shop, 'shop:1', 'shop') == ['M lib/1.js', 'M lib/2.js']
    shop.fsctl('snapshot', 'shop@b')
    assert_equal(shop, 'shop@b')
    # as a snapshot the first generation is what it was
    assert shop.ask({'kind': 'generation-retire', 'site': 'shop', 'generation': 1})[0] == 200
    assert files(shop, 'shop@undo-1') == ['M lib/1.js', 'M lib/2.js']


def test_diff__of_a_clone_sees_what_was_changed_on_either_side(shop):
    shop.fsctl('snapshot', 'shop@a')
    for source, name in (('shop', 'fresh'), ('shop@a', 'old'), ('shop@a', 'older')):
        shop.fsctl('clone', source, name)
    live = {name: shop.live.parents[1] / name / 'live'
            for name in ('shop', 'fresh', 'old', 'older')}
    for pair in (('shop', 'fresh'), ('fresh', 'shop'), ('old', 'older'), ('shop@a', 'old'),
                 ('old', 'shop@a'), ('shop', 'old')):
        assert_equal(shop, *pair)
    write(live['shop'] / 'lib/1.js', '1 version-2')
    write(live['fresh'] / 'lib/2.js', '2 version-2')
    write(live['old'] / 'lib/3.js', '3 version-2')
    for one, other, changed in (('shop', 'fresh', (1, 2)), ('shop', 'old', (1, 3)),
                                ('fresh', 'old', (2, 3)), ('old', 'older', (3,))):
        for pair in ((one, other), (other, one)):
            assert files(shop, *pair) == [f'M lib/{n}.js' for n in changed]


def test_diff__sees_a_directory_that_took_the_place_of_another(shop):
    """What is in it kept its ctimes too."""
    other = shop.live / 'other'
    for n in range(50):
        write(other / f'{n}.js', f'{n} version-{1 + (n == 7)}')
    for name in ('lib', 'other'):
        os.utime(shop.live / name, (MTIME, MTIME))
    shop.fsctl('snapshot', 'shop@a')
    os.rename(shop.live / 'lib', shop.live / 'away')
    os.rename(other, shop.live / 'lib')
    os.rename(shop.live / 'away', other)
    assert files(shop, 'shop@a') == (
        ['M lib/7.js', 'M other/7.js'] if shop.walks else ['R other -> lib', 'R lib -> other'])
