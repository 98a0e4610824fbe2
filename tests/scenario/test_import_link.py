# SPDX-License-Identifier: LGPL-2.1-or-later
"""Directories become sites and leave a link behind."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

from conftest import checked, needs_root, wait_for
from outside import (Host, aged, aside, content, host, replaced, same, site_json, told,
                     undo_is_over, user, wait_until_older, watched)

pytestmark = needs_root


def test_import_link__of_an_ordinary_user_leaves_late_writes_of_others_aside(user):
    path = user.outside / 'shop'
    user.steps.until('tree.made', {'kind': 'site-import', 'name': 'shop', 'dir': str(path),
                                   'mode': 'link'})
    (path / 'late').write_text('late')
    job = user.steps.go_on()
    aside = user.outside / f'shop.fsd-{job["id"]}'
    assert f'late in {aside}: its owner and group (0:0) cannot' in job['result']['warnings'][0]
    assert [f['path'] for f in job['result']['failed']] == [str(aside)]
    assert (aside / 'late').read_text() == 'late' and not (path / 'late').exists()


def test_import_link__of_a_site_that_goes_does_not_wait_for_ever(host, mount):
    """For what was put aside on a disk that is read-only now: its owner has it in the end."""
    www = mount('ext4', size='64M', name='disk')
    path = host.make('shop', www)
    kept = aside(path, host.imported(path, 'link'))
    site = site_json(host, 'shop')['id']
    host.job(kind='site-delete', site='shop', confirm=True)
    subprocess.run(['mount', '-o', 'remount,ro', str(www)], check=True)
    host.daemon.stop()
    host.daemon.configure(undo_keep='1s')
    wait_for(lambda: time.time_ns() > (kept.stat().st_ctime_ns + 3 * 10**9))
    host.daemon.start()
    wait_for(lambda: not (host.pool / '.fsd/deleted' / site).exists())
    assert 'is given up: ' + str(kept) in host.daemon.log()
    assert (kept / 'index.php').exists() and checked(host.daemon)[0] == 0


def test_import_link__does_not_wait_for_ever_for_one_who_keeps_his_leases(host, lease):
    """What came late and cannot be opened soon is told, and kept where it is: this is done at a
    start as well, before anybody is served."""
    path = host.make()
    host.steps.until('import.exchanged', {'kind': 'site-import', 'name': 'shop', 'dir': str(path),
                                          'mode': 'link'})
    where, = host.outside.glob('shop.fsd-*')
    for name in ('index.php', 'a/x', 'late'):
        (where / name).write_text('late')
        lease(where / name, kept=True)
    job = host.steps.go_on()
    assert job['state'] == 'done' and job['result']['failed'], job
    assert any('holds a lease on it' in f['reason'] for f in job['result']['failed']), job
    assert any(f['path'] == str(where) for f in job['result']['failed']), job
    assert (where / 'late').stat().st_size == 4 and 'parked' not in site_json(host, 'shop')


def test_import_link__exchanges_the_directory_for_a_symlink(host):
    path = host.make()
    before = content(path)
    job = host.imported(path, 'link')
    assert os.readlink(path) == str(host.live())
    assert os.lstat(path).st_uid == 1000
    same(before, path)
    kept = host.outside / f'shop.fsd-{job["id"]}'
    same(before, kept)
    assert job['result']['site']['linked'] == str(path)
    host.done(kind='site-rename', site='shop', name='boutique')
    same(before, path)
    host.daemon.stop()
    host.daemon.start()
    assert kept.exists()
    undo_is_over(host)
    wait_for(lambda: not kept.exists() and 'parked' not in site_json(host, 'boutique'))
    same(before, path)


def test_import_link__gives_nothing_away_but_the_link(host):
    """The owner of DIR's folder puts a file of root's in the place of the new link."""
    path = host.make()
    secret = host.outside / 'secret'
    secret.write_text('secret')
    secret.chmod(0o600)
    host.steps.until('outside.linked', {'kind': 'site-import', 'name': 'shop',
                                        'dir': str(path), 'mode': 'link'})
    link, = host.outside.glob('shop.fsd-*')
    os.rename(secret, link)
    job = host.steps.go_on()
    assert job['state'] == 'done' and 'in the place of' in job['result']['failed'][0]['reason'], job
    assert (link.stat().st_uid, link.read_text()) == (0, 'secret')
    assert path.is_dir() and not path.is_symlink()


def test_import_link__says_what_is_kept_and_until_when(host):
    path = host.make()
    said = host.daemon.fsctl('site', 'import', 'shop', path, '--link').stdout
    kept, = host.outside.glob('shop.fsd-*')
    assert re.search(rf'^what was copied is kept as {kept} until \d{{4}}-', said, re.M), said


def test_import_link__keeps_what_was_written_into_the_old_directory(host):
    """Somebody still holds the directory: a bind mount, a working directory."""
    path = host.make()
    held = os.open(path / 'a', os.O_RDONLY | os.O_DIRECTORY)
    job = host.imported(path, 'link')
    kept = host.outside / f'shop.fsd-{job["id"]}'
    os.close(os.open('order', os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=held))
    os.close(held)
    undo_is_over(host)
    wait_for(lambda: 'parked' not in site_json(host, 'shop'))
    assert (kept / 'a/order').exists() and (kept / 'index.php').exists()
    assert not (host.live() / 'a/order').exists()
    assert told(host, 'import.late_writes') == [
        {'directory': str(kept), 'total': 2, 'paths': ['a', 'a/order']}]
    assert 'still in use' in host.daemon.log() and 'take over what you need' in host.daemon.log()


def test_import_link__goes_on_removing_the_old_directory_after_a_crash(host):
    """What is removed of it changes the times of the rest: that is nobody's writing."""
    path = host.make()
    kept = host.outside / f'shop.fsd-{host.imported(path, "link")["id"]}'
    with host.steps.held('kept.removing') as reached:
        undo_is_over(host)
        reached()
        host.daemon.stop(signal.SIGKILL)
        next(p for p in (kept / 'a').iterdir() if p.is_file()).unlink()
    host.daemon.start()
    wait_for(lambda: not kept.exists() and 'parked' not in site_json(host, 'shop'))
    assert not told(host, 'import.late_writes')


@pytest.mark.parametrize('ends', ['killed', 'at a mount'])
def test_import_link__looks_again_before_it_goes_on_removing(host, ends):
    """Whoever writes then may give it any time."""
    z, path = host.make('z'), host.make()
    kept = host.outside / f'shop.fsd-{host.imported(path, "link")["id"]}'
    late = kept / 'a/new'
    if ends == 'at a mount':
        subprocess.run(['mount', '--bind', str(z), str(kept / 'a/deep')], check=True)
        try:
            undo_is_over(host)
            host.daemon.wait_log('cannot remove a directory that import put aside')
        finally:
            subprocess.run(['umount', str(kept / 'a/deep')], check=True)
        assert not (kept / 'index.php').exists()
        host.daemon.stop()
    else:
        with host.steps.held('kept.removing') as reached:
            undo_is_over(host)
            reached()
            host.daemon.stop(signal.SIGKILL)
    late.write_text('late')
    os.utime(late, (1, 1))
    host.daemon.start()
    wait_for(lambda: 'parked' not in site_json(host, 'shop'))
    assert late.read_text() == 'late'
    assert told(host, 'import.late_writes') == [
        {'directory': str(kept), 'total': 1, 'paths': ['a/new']}]


@pytest.mark.parametrize('link', ['its own', 'gone', 'out of reach'])
def test_import_link__leads_to_the_site_that_is_back_by_another_name(host, link):
    folder = host.outside / 'customer'
    path = host.make('shop', folder)
    before = content(path)
    site = host.imported(path, 'link')['result']['site']['id']
    host.job(kind='site-delete', site='shop', confirm=True)
    back = {'kind': 'site-undelete', 'site': site, 'name': 'boutique'}
    plan = host.ask(**back, dry_run=True)[1]['plan']
    assert f'point {path} to it' in plan['steps']
    if link == 'gone':
        path.unlink()
    if link == 'out of reach':
        os.rename(folder, host.outside / 'moved')
    job = host.done(**back)
    said = job['result'].get('warnings', [])
    if link == 'its own':
        assert os.readlink(path) == str(host.live('boutique')) and not said
        same(before, path)
        assert [p.name for p in folder.glob('*')].count('shop') == 1
        assert not list(folder.glob(f'*{job["id"]}'))
        undone = host.done(kind='undo', job=job['id'], confirm=True)
        assert undone['result']['warnings'] == [f'{path} is a symlink to it and will dangle']
    elif link == 'gone':
        assert not path.is_symlink() and f'{path} does not lead to this site' in said[0], said
    else:
        assert 'does not exist; once that is mended, ' in said[0] and 'leads' not in said[0], said
        os.rename(host.outside / 'moved', folder)
        way, = re.findall(r', (ln -sfnT .*) does it', said[0])
        subprocess.run(way.split(), check=True)
        same(before, path)
        host.done(kind='site-rename', site='boutique', name='store1')
        same(before, path)


@pytest.mark.parametrize('by', ['import', 'create', 'under way', 'import by another name'])
def test_import_link__stays_with_the_site_that_has_it_by_now(host, by):
    """What a deleted site had is not taken away from anybody, whose visitors come by it."""
    path = host.make('shop')
    site = host.imported(path, 'link')['result']['site']['id']
    host.job(kind='site-delete', site='shop', confirm=True)
    owner, name, imports = 'shop', 'boutique', by.startswith('import')
    if by == 'import by another name':
        owner, name = 'boutique', 'shop'
    if imports:
        path.unlink()
        (host.make('shop') / 'index.php').write_text('new')
        host.imported(path, 'link', name=owner)
    elif by == 'create':
        host.done(kind='site-create', name=owner)
    else:
        host.steps.until('job.ran', {'kind': 'site-create', 'name': owner})
    back = {'kind': 'site-undelete', 'site': site, 'name': name}
    plan = host.ask(**back, dry_run=True)[1]['plan']
    said, = plan['warnings']
    assert f'{path} belongs to what is named {owner} by now: it is left alone' in said
    assert f'point {path} to it' not in plan['steps']
    if by == 'under way':
        host.steps.go_on()
    job = host.done(**back)
    assert job['result']['warnings'] == [said] and job['result']['site']['linked'] is None
    assert os.readlink(path) == str(host.live(owner))
    assert 'linked' not in json.loads((host.live(name).parent / 'site.json').read_text())
    assert host.daemon.json('site', 'show', owner)['linked'] == (str(path) if imports else None)
    # The ways on: back again, which takes nothing from the other, or the command that was told.
    undone = host.job(kind='undo', job=job['id'], confirm=True)
    assert undone['state'] == 'done' and 'warnings' not in undone['result'], undone
    assert os.readlink(path) == str(host.live(owner)) and path.is_dir()
    host.done(kind='undo', job=undone['id'])
    subprocess.run(re.search(r'; (ln -sfnT .*) points it there', said)[1].split(), check=True)
    assert (path / 'index.php').read_text() == 'index.php old'


@pytest.mark.parametrize('step', ['intent.committed', 'job.ran'])
def test_import_link__that_is_given_up_is_told_after_a_crash(host, step):
    path = host.make('shop')
    site = host.imported(path, 'link')['result']['site']['id']
    host.job(kind='site-delete', site='shop', confirm=True)
    host.done(kind='site-create', name='shop')
    host.steps.until(step, {'kind': 'site-undelete', 'site': site, 'name': 'boutique'})
    job = host.steps.restart()
    assert job['state'] == 'done' and job['result']['site']['linked'] is None, job
    said, = job['result']['warnings']
    assert f'{path} belongs to what is named shop by now: it is left alone' in said


def test_import_link__follows_where_another_pool_has_the_old_name(make_daemon, mount):
    root = mount('ext4')
    other = root / 'other'
    host = Host(make_daemon, root, 'ext4')
    host.daemon.stop()
    host.daemon.pools['other'] = other
    other.mkdir()
    host.daemon.configure()
    host.daemon.start()
    path = host.make('shop')
    before = content(path)
    site = host.imported(path, 'link', pool='main')['result']['site']['id']
    host.job(kind='site-delete', site='shop', confirm=True)
    host.done(kind='site-create', name='shop', pool='other')
    job = host.done(kind='site-undelete', site=site, name='boutique')
    assert 'warnings' not in job['result'] and job['result']['site']['linked'] == str(path), job
    assert os.readlink(path) == str(host.live('boutique'))
    same(before, path)


def test_import_link__is_only_touched_while_it_is_the_sites_own(host, scratch):
    """The folder of the link belongs to others: what they put in its way is left alone."""
    rename = {'kind': 'site-rename', 'site': 'shop', 'name': 'boutique'}
    folder = host.outside / 'customer'
    path = host.make('shop', folder)
    host.imported(path, 'link')
    precious = scratch / 'precious'
    precious.mkdir()
    os.symlink(os.readlink(path), precious / 'shop')
    os.rename(folder, host.outside / 'moved')
    os.symlink(precious, folder)
    assert 'has to follow' in host.refused('is_symlink', **rename)['hint']
    assert os.readlink(precious / 'shop') == str(host.live())
    folder.unlink()
    os.rename(host.outside / 'moved', folder)
    path.unlink()
    os.symlink('/elsewhere', path)
    host.done(**rename)
    assert os.readlink(path) == '/elsewhere'
    host.refused('exists', kind='site-eject', site='boutique', dir=str(path))
    host.done(kind='site-eject', site='boutique', dir=str(host.outside / 'out'))
    assert os.readlink(path) == '/elsewhere'


def test_import_link__is_one_exchange(host):
    """At no time there is nothing at the path: the link comes before the directory goes."""
    path = host.make()
    host.steps.until('import.linked', {'kind': 'site-import', 'name': 'shop', 'dir': str(path),
                                       'mode': 'link'})
    with watched(host.outside) as seen:
        host.steps.on('import.exchanged')
        job = host.steps.go_on()
        aside = f'shop.fsd-{job["id"]}'
        assert seen() == [('from', aside), ('to', 'shop'), ('from', 'shop'), ('to', aside)]


def test_import_link__readers_never_miss_a_file(host):
    path = host.make()
    stop, reads = threading.Event(), []

    def read():
        while not stop.is_set():
            reads.append((path / 'a/deep/z').read_text() == 'a/deep/z old')

    thread = threading.Thread(target=read)
    thread.start()
    try:
        host.imported(path, 'link')
    finally:
        stop.set()
        thread.join()
    assert reads and all(reads)


def test_import_link__brings_over_what_was_written_meanwhile(host):
    """The copy is held up between the site's commit and the exchange; the old directory and the new
    one are both written to."""
    path = host.make()
    for name in ('late', 'both', 'gone', 'theirs'):
        (path / name).write_text('old')
    wait_until_older(path / 'theirs')
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    live = host.live()
    assert not os.path.islink(path)
    (path / 'late').write_text('late')
    (path / 'a/new').write_text('new')
    (path / 'dir').mkdir()
    (path / 'dir/inner').write_text('new')
    (path / 'both').write_text('old one')
    (live / 'both').write_text('new one')
    (path / 'gone').unlink()
    (live / 'theirs').write_text('new one')
    (live / 'added').write_text('new one')
    path.chmod(0o700)
    job = host.steps.go_on()
    assert job['state'] == 'done', job['error']
    assert os.readlink(path) == str(live)
    read = {p: (live / p).read_text() for p in ('late', 'a/new', 'dir/inner', 'both', 'gone',
                                                'theirs', 'added')}
    assert read == {'late': 'late', 'a/new': 'new', 'dir/inner': 'new', 'both': 'new one',
                    'gone': 'old', 'theirs': 'new one', 'added': 'new one'}
    warnings = ' '.join(job['result']['warnings'])
    assert 'both in' in warnings and 'gone in' in warnings
    assert f". in {path}.fsd-{job['id']}: the directory's owner, mode" in warnings, warnings
    assert 'theirs' not in warnings and 'late in' not in warnings
    # What was replaced may be held by somebody: it is kept, like what a restore of paths replaces.
    assert [n for n in os.listdir(live) if n.startswith('.fsd-')] == [f'.fsd-{job["id"]}']
    assert 'old' in replaced(live / f'.fsd-{job["id"]}')
    kept = pathlib.Path(job['result']['failed'][0]['path'])
    assert kept == host.outside / f'shop.fsd-{job["id"]}'
    undo_is_over(host)
    assert (kept / 'both').read_text() == 'old one' and 'parked' not in site_json(host, 'shop')


def test_import_link__leaves_a_directory_that_was_replaced(host):
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    os.rename(path, host.outside / 'away')
    path.mkdir()
    job = host.steps.go_on()
    assert job['state'] == 'done'
    assert [f['path'] for f in job['result']['failed']] == [str(path)]
    assert job['result']['site']['linked'] is None
    assert path.is_dir() and not path.is_symlink()
    assert sorted(os.listdir(host.outside)) == ['away', 'shop']


def test_import_link__gives_back_what_an_exchange_took_out(host):
    """A visitor writes into the live tree between the look at it and the exchange, and the daemon
    is killed before it could see that."""
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'index.php').write_text('late')
    host.steps.on('late.looked')
    (host.live() / 'a/new').write_text('a visitor')
    os.rename(host.live() / 'a/new', host.live() / 'index.php')
    host.steps.on('late.exchanged')
    assert (host.live() / 'index.php').read_text() == 'late'
    job = host.steps.restart()
    assert job['state'] == 'done', job['error']
    assert (host.live() / 'index.php').read_text() == 'a visitor'
    assert any('index.php in' in w for w in job['result']['warnings'])
    assert not [n for n in os.listdir(host.live()) if n.startswith('.fsd-')]


def test_import_link__brings_over_what_has_the_size_and_time_of_the_copy(host):
    """As packages and rsync -t give them: only the ctime says that the file is another one."""
    path = host.make()
    os.utime(path / 'index.php', ns=(10**18, 10**18))
    old = (path / 'index.php').read_text()
    wait_until_older(path)
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    new = old.upper()
    (path / 'new').write_text(new)
    os.utime(path / 'new', ns=(10**18, 10**18))
    os.rename(path / 'new', path / 'index.php')
    job = host.steps.go_on()
    assert job['state'] == 'done' and not job['result'].get('failed'), job['result']
    assert old != new and (host.live() / 'index.php').read_text() == new


def test_import_link__replaces_no_directory_of_the_new_tree(host):
    """One that became a symlink in the old tree: visitors write below it in the new one."""
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    os.rename(path / 'a', host.outside / 'disk')
    os.symlink(host.outside / 'disk', path / 'a')
    host.steps.on('import.exchanged')
    (host.live() / 'a/deep/upload').write_text('a visitor')
    job = host.steps.go_on()
    assert job['state'] == 'done', job['error']
    assert (host.live() / 'a/deep/upload').read_text() == 'a visitor'
    assert any('a in' in w and 'directory in the copy' in w for w in job['result']['warnings'])
    assert job['result']['failed'] and 'parked' not in site_json(host, 'shop')


def test_import_link__killed_in_a_merge_gives_no_file_the_content_of_another(host):
    """One late write is in place, the next one waits for it."""
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'a/deep/z').write_text('z, late')
    (path / 'index.php').write_text('index, late')
    for step in ('late.staged', 'late.exchanged', 'late.staged'):
        host.steps.on(step)
    job = host.steps.restart()
    assert job['state'] == 'done' and not job['result'].get('failed'), job
    assert (host.live() / 'a/deep/z').read_text() == 'z, late'
    assert (host.live() / 'index.php').read_text() == 'index, late'
    kept = host.live() / f'.fsd-{job["id"]}'
    assert sorted(p.read_text() for p in kept.iterdir() if p.name.isdigit()) == [
        'a/deep/z old', 'index.php old']


def test_import_link__killed_while_the_work_directory_is_made_keeps_it_out_of_the_site(host):
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'index.php').write_text('late')
    host.steps.on('work.made')
    job = host.steps.restart()
    assert job['state'] == 'done', job
    assert (host.live() / f'.fsd-{job["id"]}/0').read_text() == 'index.php old'
    host.done(kind='clone', source='shop', name='copy')
    assert not list(host.live('copy').glob('.fsd-*'))


@pytest.mark.parametrize('kill_at', [(), ('late.staged', 'late.exchanged', 'late.put')])
def test_import_link__brings_all_names_of_a_file_over_as_one(host, kill_at):
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'a/x').write_text('late')
    os.link(path / 'a/x', path / 'third')
    for step in kill_at:
        host.steps.on(step)
    job = host.steps.restart() if kill_at else host.steps.go_on()
    assert job['state'] == 'done' and not job['result'].get('failed'), job['result']
    names = [host.live() / name for name in ('a/x', 'a/twin', 'third')]
    assert [p.read_text() for p in names] == 3 * ['late']
    assert len({p.stat().st_ino for p in names}) == 1 and names[0].stat().st_nlink == 3
    kept = [p for p in (host.live() / f'.fsd-{job["id"]}').iterdir() if p.name.isdigit()]
    assert [p.read_text() for p in kept] == 2 * ['a/x old']


def test_import_link__keeps_no_part_of_a_late_write_that_finds_no_room(make_daemon, mount):
    host = Host(make_daemon, mount('ext4', '256M'), 'ext4')
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'uploads').mkdir()
    for i in range(8):
        (path / f'uploads/{i}').write_bytes(os.urandom(4 << 20))
    (path / 'index.php').write_text('late')
    rest = os.statvfs(host.root)
    with open(host.root / 'full', 'wb') as f:
        os.posix_fallocate(f.fileno(), 0, (rest.f_bavail * rest.f_frsize) - (12 << 20))
    job = host.steps.go_on()
    assert job['state'] == 'done' and job['result']['failed'], job['result']
    assert any('uploads' in w and 'No space' in w for w in job['result']['warnings'])
    kept = host.live() / f'.fsd-{job["id"]}'
    assert sorted(os.listdir(kept)) == ['.fsd-work', '0', 'plan.json']
    assert (kept / '0').read_text() == 'index.php old'
    assert (host.live() / 'index.php').read_text() == 'late'
    assert not (host.live() / 'uploads').exists()


def test_import_link__killed_at_its_end_says_all_the_same_what_it_brought_over(host):
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'index.php').write_text('late')
    host.steps.on('late.put')
    host.steps.on('intent.noted')
    job = host.steps.restart()
    assert job['state'] == 'done' and not job['result'].get('failed'), job
    assert job['result']['warnings'] == [
        '1 paths that were written meanwhile were brought over']


def test_import_link__brings_over_each_name_of_a_file_that_became_two(host):
    """Putting the first in place moves the ctime of what is at the second."""
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    for name in ('a/x', 'a/twin'):
        (path / 'new').write_text(f'{name} late')
        os.rename(path / 'new', path / name)
    job = host.steps.go_on()
    assert job['state'] == 'done' and not job['result'].get('failed'), job['result']
    assert [(host.live() / name).read_text() for name in ('a/x', 'a/twin')] == [
        'a/x late', 'a/twin late']


def test_import_link__replaces_nothing_that_is_written_while_the_late_one_waits(host):
    """Its size is as it was, and so is its time: whoever wrote has set it back."""
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'index.php').write_text('late')
    host.steps.on('late.staged')
    live = host.live() / 'index.php'
    before = live.stat()
    wait_until_older(live)
    live.write_text(live.read_text().upper())
    os.utime(live, ns=(before.st_atime_ns, before.st_mtime_ns))
    job = host.steps.go_on()
    assert live.read_text() == 'INDEX.PHP OLD'
    assert any('index.php' in w and 'so was the copy' in w for w in job['result']['warnings']), job
    aside, = host.outside.glob('shop.fsd-*')
    assert (aside / 'index.php').read_text() == 'late'
    host.clean()


def test_import_link__tells_what_is_written_to_a_file_that_a_late_write_replaced(host):
    """Somebody opened the copy before the later one came: he goes on writing into what was taken
    out."""
    path = host.make()
    host.steps.until('renamed', {'kind': 'site-import', 'name': 'shop',
                                 'dir': str(path), 'mode': 'link'})
    (path / 'index.php').write_text('late')
    host.steps.on('late.staged')
    held = os.open(host.live() / 'index.php', os.O_WRONLY | os.O_APPEND)
    job = host.steps.go_on()
    assert job['state'] == 'done' and not job['result'].get('failed'), job['result']
    assert (host.live() / 'index.php').read_text() == 'late'
    os.write(held, b' and a visitor')
    os.close(held)
    undo_is_over(host)
    wait_for(lambda: told(host, 'replaced.late_writes'))
    kept = host.live().resolve() / f'.fsd-{job["id"]}'
    assert told(host, 'replaced.late_writes') == [
        {'directory': str(kept), 'total': 1, 'paths': ['index.php']}]
    assert (kept / '0').read_text() == 'index.php old and a visitor'
    undo_is_over(host)
    wait_for(lambda: not kept.exists())


def test_import_link__finds_what_was_put_aside_when_its_disk_comes_later(host, mount):
    """At a start whose sweep comes before the mount; that it has come is seen at another site."""
    www = mount('ext4', size='64M', name='disk')
    path = host.make('shop', www)
    job = host.imported(path, 'link')
    kept = aside(path, job)
    host.imported(host.make('zoo'), 'link', name='zoo')
    host.daemon.stop()
    since = aged(host, 'shop', 5400)
    aged(host, 'zoo', 5400)
    subprocess.run(['umount', str(www)], check=True)
    try:
        host.daemon.configure(undo_keep='1h')
        host.daemon.start()
        wait_for(lambda: 'parked' not in site_json(host, 'zoo'))
    finally:
        subprocess.run(['mount', '-o', 'loop', str(www) + '.img', str(www)], check=True)
    assert kept.exists() and 'parked' in site_json(host, 'shop')
    host.daemon.stop()
    doc = site_json(host, 'shop')
    doc['parked']['since'] = since
    (host.pool / 'sites/shop/site.json').write_text(json.dumps(doc))
    undo_is_over(host)
    wait_for(lambda: not kept.exists() and 'parked' not in site_json(host, 'shop'))


@pytest.mark.parametrize('what', ['it', 'its folder'])
def test_import_link__forgets_what_was_put_aside_when_its_owner_removed_it(host, what):
    folder = host.outside / 'customer'
    path = host.make('shop', folder)
    kept = aside(path, host.imported(path, 'link'))
    host.daemon.stop()
    aged(host, 'shop', 3 * 3600 if what == 'its folder' else 5400)
    shutil.rmtree(folder if what == 'its folder' else kept)
    host.daemon.configure(undo_keep='1h')
    host.daemon.start()
    wait_for(lambda: 'parked' not in site_json(host, 'shop'))
    assert ('is given up' in host.daemon.log()) == (what == 'its folder')
