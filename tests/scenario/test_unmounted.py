# SPDX-License-Identifier: LGPL-2.1-or-later
"""fsd was killed at work on a directory whose disk is mounted later than fsd starts, or never."""

import contextlib
import os
import signal
import subprocess

import pytest

from conftest import Steps, checked, ended, needs_root, wait_for

pytestmark = needs_root


class Host:
    """The site `shop` in a pool; `www` on a disk of its own, with the directory `old`."""

    def __init__(self, daemon, disk):
        self.daemon, self.disk = daemon, disk
        self.steps = Steps(daemon)
        daemon.start()
        self.www = disk / 'www'
        self.old = self.www / 'old'
        self.old.mkdir(parents=True)
        (self.old / 'index.php').write_text('shop')
        status, answer = daemon.ask(self.imported('shop', 'copy'))
        assert status == 200 and answer['job']['state'] == 'done', answer

    def imported(self, name, mode):
        return {'kind': 'site-import', 'name': name, 'dir': str(self.old), 'mode': mode}

    def request(self, what):
        new = str(self.www / 'new')
        return {'eject': {'kind': 'site-eject', 'site': 'shop', 'dir': new},
                'restore-to': {'kind': 'restore-to', 'source': 'shop', 'dir': new},
                'link': self.imported('linked', 'link'),
                'move': self.imported('moved', 'move')}[what]

    @contextlib.contextmanager
    def unmounted(self, what, step):
        """Within, fsd was killed there and has started again without the disk."""
        self.steps.until(step, self.request(what))
        self.daemon.stop(signal.SIGKILL)
        self.steps.thread.join()
        self.steps.set_hold('')
        subprocess.run(['umount', self.disk], check=True)
        try:
            self.daemon.start()
            wait_for(lambda: 'mount what held it' in checked(self.daemon)[1])
            assert self.last()['state'] == 'running'
            yield
        finally:
            subprocess.run(['mount', '-o', 'loop', f'{self.disk}.img', self.disk], check=True)

    def last(self):
        newest = self.daemon.json('job', 'list')['items'][0]
        return self.daemon.json('job', 'show', newest['id'])

    def ended(self):
        return ended(self.daemon)

    def sites(self):
        return sorted(s['name'] for s in self.daemon.json('site', 'list')['items'])


@pytest.fixture
def host(make_daemon, mount):
    root, disk = mount('btrfs'), mount('ext4', name='disk')
    return Host(make_daemon({'main': root / 'pool'}, import_from=disk), disk)


def names(host):
    return sorted(p.name for p in host.www.iterdir())


@pytest.mark.parametrize('what', ['eject', 'restore-to'])
@pytest.mark.parametrize('step', ['copy_out.made', 'copy_out.filled', 'copy_out.placed'])
def test_unmounted__waits_and_decides_when_the_disk_is_there(host, what, step):
    with host.unmounted(what, step):
        pass
    job, placed = host.ended(), step == 'copy_out.placed'
    assert job['state'] == ('done' if placed else 'failed'), job
    assert names(host) == (['new', 'old'] if placed else ['old'])
    assert not placed or (host.www / 'new/index.php').read_text() == 'shop'
    assert host.sites() == ([] if what == 'eject' and placed else ['shop'])


@pytest.mark.parametrize('what, step', [
    ('link', 'renamed'), ('link', 'outside.linked'), ('link', 'import.exchanged'),
    ('link', 'import.merged'), ('move', 'renamed'), ('move', 'import.aside')])
def test_unmounted__import_goes_on_when_the_disk_is_there(host, what, step):
    (host.old / 'late').write_text('late')
    with host.unmounted(what, step):
        pass
    job, name = host.ended(), 'linked' if what == 'link' else 'moved'
    assert job['state'] == 'done' and not job['result'].get('failed'), job
    assert names(host) == sorted([f'old.fsd-{job["id"]}', *(['old'] if what == 'link' else [])])
    live = host.daemon.json('site', 'show', name)['live']['path']
    assert sorted(os.listdir(live)) == ['index.php', 'late']
    assert what == 'move' or sorted(os.listdir(host.old)) == ['index.php', 'late']


@pytest.mark.parametrize('what, step, state', [
    ('eject', 'copy_out.placed', 'canceled'), ('restore-to', 'copy_out.filled', 'canceled'),
    ('link', 'renamed', 'done'), ('link', 'import.exchanged', 'done'),
    ('move', 'import.aside', 'done')])
def test_unmounted__a_job_is_canceled_whose_disk_is_gone_for_good(host, what, step, state):
    with host.unmounted(what, step):
        before = host.last()['id']
        r = host.daemon.fsctl('job', 'cancel', before, check=False)
        assert r.returncode == (4 if state == 'done' else 0), r  # 4: it ended otherwise
        job = host.ended()
        assert job['id'] == before and job['state'] == state, job
        if state == 'canceled':
            assert f'{host.www}/new' in job['error']['hint'], job
        else:
            fault, = job['result']['failed']
            assert fault['path'] == str(host.old) and f'DIR.fsd-{before}' in fault['reason'], job
        made = {'link': ['linked'], 'move': ['moved']}.get(what, [])
        assert host.sites() == [*made, 'shop']
        linked = host.daemon.json('site', 'show', [*made, 'shop'][0]).get('linked')
        assert linked == (str(host.old) if what == 'link' else None)


def test_unmounted__another_disk_in_its_place_is_not_taken_for_it(host, mount):
    """Their roots have the same inode."""
    other = mount('ext4', name='other')
    host.www = host.disk
    host.steps.until('copy_out.placed', host.request('restore-to'))
    host.daemon.stop(signal.SIGKILL)
    host.steps.thread.join()
    host.steps.set_hold('')
    subprocess.run(['umount', host.disk], check=True)
    subprocess.run(['mount', '--bind', other, host.disk], check=True)
    try:
        host.daemon.start()
        wait_for(lambda: 'another directory stands in the place' in checked(host.daemon)[1])
    finally:
        subprocess.run(['umount', host.disk], check=True)
        subprocess.run(['mount', '-o', 'loop', f'{host.disk}.img', host.disk], check=True)
    assert host.ended()['state'] == 'done'


def test_unmounted__what_had_not_begun_just_fails(host):
    """Its directory was taken away while it waited for its turn."""
    host.steps.until('renamed', {'kind': 'site-rename', 'site': 'shop', 'name': 'other'})
    status, answer = host.daemon.http('POST', '/v1/jobs', host.request('restore-to'))
    assert status == 202 and answer['job']['state'] == 'queued', answer
    host.www.rename(host.disk / 'away')
    host.steps.go_on()
    assert host.ended()['state'] == 'failed'
