# SPDX-License-Identifier: LGPL-2.1-or-later
"""A site imported with --link is renamed: whoever comes by the directory misses nothing."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading

import pytest

from conftest import Steps, checked, ended, needs_root, wait_for

pytestmark = needs_root


class Shop:
    """The site `shop`, whose directory `www/shop` is a link to it."""

    def __init__(self, daemon, pool, outside):
        self.daemon, self.pool, self.outside = daemon, pool, outside
        self.steps = Steps(daemon)
        daemon.start()
        self.folder = outside / 'www'
        self.dir = self.folder / 'shop'
        self.dir.mkdir(parents=True)
        (self.dir / 'index.php').write_text('shop')
        self.done(kind='site-import', name='shop', dir=str(self.dir), mode='link')

    def done(self, **request):
        status, answer = self.daemon.ask(request)
        assert status == 200 and answer['job']['state'] == 'done', answer
        return answer['job']

    def links(self):
        """Of the directory and in sites/: what is no directory."""
        sites = self.pool / 'sites'
        return {p.name: os.readlink(p) for p in [*self.folder.iterdir(), *sites.iterdir()]
                if p.is_symlink()}

    def expect(self, name):
        """All is well by this name, and nothing is left of the way there."""
        assert self.links() == {'shop': str(self.pool / 'sites' / name / 'live')}
        assert [p.name for p in (self.pool / 'sites').iterdir()] == [name]
        assert [s['name'] for s in self.daemon.json('site', 'list')['items']] == [name]
        assert (self.dir / 'index.php').read_text() == 'shop'
        assert checked(self.daemon)[0] == 0

    @contextlib.contextmanager
    def readers(self):
        """Within, two of them read all the time; afterwards, none of them has missed anything."""
        stop, reads, missed = threading.Event(), [], []

        def read():
            while not stop.is_set():
                try:
                    reads.append((self.dir / 'index.php').read_text())
                except OSError as e:
                    missed.append(e)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not missed, f'{len(missed)} of {len(reads)}: {missed[0]}'
        assert reads and set(reads) == {'shop'}


@pytest.fixture(params=['btrfs', 'ext4', 'apart'])
def shop(request, make_daemon, mount):
    """On one file system, or the directory on another than the pool."""
    root = mount('btrfs' if request.param == 'apart' else request.param)
    outside = mount('ext4', name='disk') if request.param == 'apart' else root
    return Shop(make_daemon({'main': root / 'pool'}, import_from=outside), root / 'pool', outside)


@pytest.fixture
def apart(make_daemon, mount):
    root, disk = mount('btrfs'), mount('ext4', name='disk')
    return Shop(make_daemon({'main': root / 'pool'}, import_from=disk), root / 'pool', disk)


RENAME = {'kind': 'site-rename', 'site': 'shop', 'name': 'boutique'}


def test_rename__of_a_linked_site_is_not_noticed_by_readers(shop):
    with shop.readers():
        for n in range(40):
            old, new = ('shop', 'boutique') if n % 2 == 0 else ('boutique', 'shop')
            job = shop.done(kind='site-rename', site=old, name=new)
            assert not job['result'].get('warnings'), job
        shop.done(kind='undo', job=job['id'])
    shop.expect('boutique')


STEPS = ['intent.noted', 'rename.reserved', 'outside.linked', 'rename.prepared', 'renamed',
         'rename.synced', 'rename.relinked', 'rename.dropped', 'job.ran', 'outcome.put']


@pytest.mark.parametrize('step', STEPS)
def test_rename__of_a_linked_site_may_be_killed_anywhere(shop, step):
    with shop.readers():
        shop.steps.until(step, RENAME)
        assert shop.steps.restart()['state'] == 'done'
    shop.expect('boutique')


@pytest.mark.parametrize('step', STEPS[:-2])
def test_rename__under_way_is_nothing_to_worry_about(apart, step):
    apart.steps.until(step, RENAME)
    scan = apart.done(kind='pool-scan', pool='main')['result']
    assert not scan['failed'] and not any(scan['sites'].values()), scan
    assert apart.done(kind='pool-check', pool='main')['result']['problems'] == []
    assert len(apart.daemon.json('site', 'list')['items']) == 1
    assert apart.steps.go_on()['state'] == 'done'
    apart.expect('boutique')


@contextlib.contextmanager
def unmounted(shop, step):
    """Within, fsd was killed there and has started again without the disk of the link."""
    shop.steps.until(step, RENAME)
    shop.daemon.stop(signal.SIGKILL)
    shop.steps.thread.join()
    shop.steps.set_hold('')
    subprocess.run(['umount', shop.outside], check=True)
    shop.folder.mkdir()  # beneath the mount
    shop.daemon.start()
    wait_for(lambda: 'another directory stands in the place' in checked(shop.daemon)[1])
    try:
        yield
    finally:
        shop.folder.rmdir()
        subprocess.run(['mount', '-o', 'loop', f'{shop.outside}.img', shop.outside], check=True)


@pytest.mark.parametrize('step', ['rename.prepared', 'rename.synced', 'rename.relinked'])
def test_rename__that_was_killed_waits_for_the_disk_of_the_link(apart, step):
    """Mounted later than fsd starts: nothing may be decided without it."""
    with unmounted(apart, step):
        pass
    with apart.readers():
        state = ended(apart.daemon)['state']
    assert state == ('failed' if step == 'rename.prepared' else 'done')
    apart.expect('shop' if state == 'failed' else 'boutique')


@pytest.mark.parametrize('step, link', [('rename.prepared', 'boutique'), ('rename.synced', 'shop')])
@pytest.mark.parametrize('canceled', [False, True])
def test_rename__need_not_wait_for_a_disk_that_is_gone_for_good(apart, step, link, canceled):
    with unmounted(apart, step):
        if canceled:
            job = apart.daemon.json('job', 'list')['items'][0]['id']
            apart.daemon.fsctl('job', 'cancel', job, check=False)
        else:
            (apart.pool / 'sites' / link).unlink()
        job = ended(apart.daemon)
        assert sorted(p.name for p in (apart.pool / 'sites').iterdir()) == [
            'shop' if link == 'boutique' else 'boutique']
    assert (job['state'] == 'done') == (link == 'shop')
    assert link == 'boutique' or 'was not changed' in job['result']['warnings'][0]


def test_rename__is_refused_where_the_link_could_not_follow(shop):
    subprocess.run(['chattr', '+i', shop.folder], check=True)
    try:
        with shop.readers():
            status, answer = shop.daemon.ask(RENAME)
    finally:
        subprocess.run(['chattr', '-i', shop.folder], check=True)
    assert status == 200 and answer['job']['state'] == 'failed', answer
    error = answer['job']['error']
    assert error['object'] == f'{shop.dir}.fsd-' + answer['job']['id']
    assert f'{shop.dir} is a link to the site and has to follow' in error['hint']
    shop.expect('shop')
    shop.done(**RENAME)
    shop.expect('boutique')


def test_rename__is_refused_while_the_disk_of_the_link_is_away(apart):
    """It would lead nowhere when it is back."""
    subprocess.run(['umount', apart.outside], check=True)
    try:
        _, answer = apart.daemon.ask(RENAME)
        error = answer['job']['error']
        assert f'mkdir -p {apart.folder}' in error['hint'] and 'mount' in error['hint'], error
    finally:
        subprocess.run(['mount', '-o', 'loop', f'{apart.outside}.img', apart.outside], check=True)
    apart.expect('shop')


def test_rename__of_a_site_whose_link_is_gone_for_good(shop):
    shutil.rmtree(shop.folder)
    _, answer = shop.daemon.ask(RENAME)
    subprocess.run(answer['job']['error']['hint'].rpartition(': ')[2].split(), check=True)
    assert 'was not changed' in shop.done(**RENAME)['result']['warnings'][0]


@pytest.mark.parametrize('canceled', [False, True])
def test_rename__waits_until_nothing_is_in_the_way_of_the_link(shop, canceled):
    shop.steps.until('renamed', RENAME)
    side, = (p for p in shop.folder.iterdir() if p.is_symlink() and p != shop.dir)
    side.unlink()
    side.mkdir()
    shop.steps.set_hold('')
    wait_for(lambda: f'{side}: ' in checked(shop.daemon)[1])
    assert 'remove what is in the way' in checked(shop.daemon)[1]
    assert (shop.dir / 'index.php').read_text() == 'shop'
    if canceled:
        shop.daemon.fsctl('job', 'cancel', shop.daemon.json('job', 'list')['items'][0]['id'],
                          check=False)
    side.rmdir()
    job = ended(shop.daemon)
    shop.steps.thread.join()
    assert job['state'] == 'done', job
    if canceled:
        assert 'leads to no site' in job['result']['warnings'][0]
        assert [p.name for p in (shop.pool / 'sites').iterdir()] == ['boutique']
    else:
        shop.expect('boutique')


@pytest.mark.parametrize('late', [False, True])
def test_rename__leaves_alone_what_stands_in_the_place_of_the_link(shop, late):
    """Late: put there between the last look and the exchange, it is brought back."""
    shop.steps.until('renamed', RENAME)
    if late:
        side, = (p for p in shop.folder.iterdir() if p.is_symlink() and p != shop.dir)
        side.unlink()
        shop.steps.on('rename.prepared')
    shop.dir.rename(shop.folder / 'moved')
    shop.dir.mkdir()
    job = shop.steps.go_on()
    assert 'does not lead to this site' in job['result']['warnings'][0]
    assert shop.dir.is_dir() and os.listdir(shop.dir) == []
    assert sorted(shop.links()) == ['moved']


def test_rename__follows_one_that_was_asked_for_before_it(apart):
    apart.steps.until('rename.prepared', RENAME)
    status, answer = apart.daemon.http('POST', '/v1/jobs', {**RENAME, 'name': 'salon'})
    assert status == 202, answer
    with apart.readers():
        apart.steps.go_on()
        path = f'/v1/jobs/{answer["job"]["id"]}'
        wait_for(lambda: apart.daemon.http('GET', path)[1]['state'] == 'done')
    apart.expect('salon')
    apart.done(kind='undo', job=answer['job']['id'])
    apart.expect('boutique')


def test_sites__a_symlink_is_none(apart):
    (apart.pool / 'sites/alias').symlink_to('shop')
    assert not apart.done(kind='pool-scan', pool='main')['result']['failed']
    assert checked(apart.daemon)[0] == 0
    r = apart.daemon.fsctl('site', 'create', 'alias', check=False)
    assert r.returncode == 4 and f'rm {apart.pool}/sites/alias' in r.stderr, r
