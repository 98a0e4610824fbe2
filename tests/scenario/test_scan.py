# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pool read into the catalog: after that was lost, after copies were made, beside jobs."""

import datetime
import json
import pathlib
import shutil
import time
import uuid

import pytest

from conftest import Steps, checked
from storage import command, plug, pool, unplug


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
