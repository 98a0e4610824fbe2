# SPDX-License-Identifier: LGPL-2.1-or-later
"""restore --to: a copy of a source, or of paths of it, in a new directory that no pool knows."""

import json
import os
import pathlib
import shutil
import signal
import threading

import pytest

from conftest import needs_root
from outside import Host, content, same

pytestmark = needs_root


@pytest.fixture(params=['btrfs', 'ext4'])
def shop(request, make_daemon, mount):
    """A host with the site "shop", its snapshot "s", and something newer in the live tree."""
    host = Host(make_daemon, mount(request.param), request.param)
    host.imported(host.make())
    host.done(kind='snapshot', site='shop', name='s')
    host.snapshot = host.daemon.fsctl('path', 'shop@s').stdout.strip()
    (host.live() / 'index.php').write_text('newer')
    (host.live() / 'late').write_text('newer')
    return host


def restored(shop, path, source='shop@s', **more):
    return shop.done(kind='restore-to', source=source, dir=str(path), **more)


def refused(shop, code, path, **more):
    return shop.refused(code, **{'kind': 'restore-to', 'source': 'shop@s', 'dir': str(path),
                                 **more})


@pytest.mark.parametrize('word', ['fuzzy', 'a newer word'])
def test_restore_to__of_a_fuzzy_snapshot_is_fuzzy_after_a_restart_too(shop, word):
    meta = pathlib.Path(shop.snapshot).parents[2] / 'meta.json'
    meta.write_text(json.dumps({**json.loads(meta.read_text()), 'consistency': word}))
    shop.daemon.fsctl('pool', 'scan')
    shop.steps.until('intent.committed', {
        'kind': 'restore-to', 'source': 'shop@s', 'dir': str(shop.outside / 'out')})
    job = shop.steps.restart()
    assert (job['state'], job['stats']['consistency']) == ('done', 'fuzzy'), job
    warnings = job['result'].get('warnings', [])
    assert [w.startswith('shop@s is fuzzy') for w in warnings] == [True] * (word == 'fuzzy')


def left(folder):
    return sorted(os.listdir(folder))


def test_restore_to__copies_whole_sources_and_leaves_the_site_alone(shop):
    live, out = content(shop.live()), shop.outside / 'out'
    job = restored(shop, out)
    same(pathlib.Path(shop.snapshot), out)
    assert job['result'] == {'source': 'shop@s', 'dir': str(out)}
    assert job['site']['name'] == 'shop' and job['undoable'] is False
    assert job['stats']['entries'] > 5
    assert (job['stats']['method'], job['stats']['consistency']) == (  # the snapshot's
        ('reflink', 'atomic') if shop.kind == 'btrfs' else ('copy', 'settled'))
    same(live, shop.live())
    restored(shop, shop.outside / 'now', 'shop')
    restored(shop, shop.outside / 'one', 'shop:1')
    same(live, shop.outside / 'now')
    same(live, shop.outside / 'one')
    assert left(shop.outside) == ['now', 'one', 'out', 'shop']


def test_restore_to__copies_paths_with_the_directories_that_lead_to_them(shop):
    out = shop.outside / 'out'
    job = restored(shop, out, paths=['a/deep', 'link'])
    assert sorted(content(out)) == ['.', 'a', 'a/deep', 'a/deep/z', 'link']
    whole = content(shop.snapshot)
    assert {k: v[:6] for k, v in content(out).items()} == {k: whole[k][:6] for k in content(out)}
    assert job['stats']['entries'] == 4
    raw = '\ufffdb\\xff'
    (pathlib.Path(os.fsdecode(os.fsencode(shop.live()) + b'/b\xff'))).write_text('x')
    restored(shop, shop.outside / 'raw', 'shop', paths=[raw])
    assert os.listdir(os.fsencode(shop.outside / 'raw')) == [b'b\xff']


def test_restore_to__refuses_what_restore_refuses_and_where_eject_may_not_write(shop, scratch):
    (shop.outside / 'there').mkdir()
    (shop.outside / 'sym').symlink_to('there')
    refused(shop, 'exists', shop.outside / 'there')
    refused(shop, 'exists', shop.outside / 'sym')
    refused(shop, 'is_symlink', shop.outside / 'sym/out')
    refused(shop, 'not_found', shop.outside / 'missing/out')
    refused(shop, 'inside_pool', shop.pool / 'sites/out')
    refused(shop, 'inside_pool', shop.live().resolve() / 'out')
    refused(shop, 'system_directory', '/etc/fsd-restored')
    refused(shop, 'bad_request', 'out')
    refused(shop, 'bad_path', f'{shop.outside}/../out')
    refused(shop, 'not_found', shop.outside / 'out', source='shop@none')
    refused(shop, 'not_found', shop.outside / 'out', paths=['a', 'late'])
    refused(shop, 'bad_request', shop.outside / 'out', paths=['../x'])
    refused(shop, 'bad_path', shop.outside / 'out', paths=['link/x'])
    refused(shop, 'no_such_part', shop.outside / 'out', only=['data'])
    refused(shop, 'bad_request', shop.outside / 'out', exact=True)
    ask = {'kind': 'restore-to', 'source': 'shop@s'}
    answer = shop.as_nobody({**ask, 'dir': str(scratch / 'out')})
    assert answer['code'] == 'outside_import_from', answer
    assert shop.as_nobody({**ask, 'dir': str(shop.outside / 'out')})['job']['state'] == 'done'


def test_restore_to__operators_may_not(make_daemon, mount):
    host = Host(make_daemon, mount('ext4'), 'ext4')
    host.imported(host.make())
    host.daemon.stop()
    host.daemon.configure(admin_group='root', operator_group='nogroup')
    host.daemon.start()
    answer = host.as_nobody({'kind': 'restore-to', 'source': 'shop',
                             'dir': str(host.outside / 'out')})
    assert answer['code'] == 'forbidden' and left(host.outside) == ['shop']


def test_restore_to__plan_changes_nothing(shop):
    before = shop.look()
    for paths, step in (({}, 'copy shop@s to '),
                        ({'paths': ['a', 'a/x', 'link']}, 'copy 2 paths of')):
        plan = shop.ask(kind='restore-to', source='shop@s', dir=str(shop.outside / 'out'),
                        dry_run=True, **paths)[1]['plan']
        assert plan['steps'][0].startswith(step) and str(shop.outside / 'out') in plan['steps'][0]
        assert plan['confirm'] is None
    assert shop.look() == before
    assert restored(shop, shop.outside / 'out')['stats']['method'] == plan['method']


def test_restore_to__of_a_snapshot_whose_site_is_gone(shop):
    whole = content(shop.snapshot)
    shop.done(kind='site-delete', site='shop', confirm=True)
    restored(shop, shop.outside / 'out')
    same(whole, shop.outside / 'out')


def test_restore_to__the_second_of_two_for_one_directory_fails(shop):
    out, answers = shop.outside / 'out', []
    request = {'kind': 'restore-to', 'dir': str(out)}
    shop.steps.until('copy_out.filled', {**request, 'source': 'shop@s'})
    second = threading.Thread(target=lambda: answers.append(shop.ask(**request, source='shop')))
    second.start()
    assert shop.steps.go_on()['state'] == 'done'
    second.join()
    # refused, or accepted before the first one was done
    error = answers[0][1].get('job', {}).get('error') or answers[0][1]
    assert error['code'] == 'exists', answers
    same(pathlib.Path(shop.snapshot), out)
    assert left(shop.outside) == ['out', 'shop']


def test_restore_to__a_name_that_is_taken_meanwhile_is_left_alone(shop):
    out = shop.outside / 'out'
    shop.steps.until('copy_out.filled', {'kind': 'restore-to', 'source': 'shop@s', 'dir': str(out)})
    out.mkdir()
    (out / 'theirs').write_text('theirs')
    job = shop.steps.go_on()
    assert job['state'] == 'failed' and job['error']['object'] == str(out)
    assert left(shop.outside) == ['out', 'shop'] and left(out) == ['theirs']


def test_restore_to__a_canceled_one_leaves_nothing(shop):
    many = shop.live() / 'many'
    many.mkdir()
    for size in (1000, 4000, 16000):  # until one is still at work when its cancel comes
        for n in range(size):
            (many / str(n)).write_text('x')
        job = shop.daemon.http('POST', '/v1/jobs', {
            'kind': 'restore-to', 'source': 'shop', 'dir': str(shop.outside / 'out')})[1]['job']
        shop.daemon.http('POST', f'/v1/jobs/{job["id"]}/cancel')
        job = shop.daemon.http('GET', f'/v1/jobs/{job["id"]}?wait=60')[1]
        if job['state'] == 'canceled' and job['started']:
            break
        shutil.rmtree(shop.outside / 'out', ignore_errors=True)
    assert job['state'] == 'canceled', job
    assert left(shop.outside) == ['shop']


def test_restore_to__out_of_a_full_pool_and_onto_a_full_disk(make_daemon, mount):
    small, tiny = mount('ext4', '64M', 'small'), mount('ext4', '16M', 'tiny')
    daemon = make_daemon({'main': small / 'pool'}).start()
    daemon.fsctl('site', 'create', 'shop')
    live = small / 'pool/sites/shop/live'
    (live / 'file').write_bytes(os.urandom(20 << 20))
    r = daemon.fsctl('restore', 'shop', '--to', tiny / 'out', check=False)
    assert r.returncode == 5 and 'No space left' in r.stderr, r
    assert left(tiny) == ['lost+found']
    with pytest.raises(OSError):
        with open(live / 'filler', 'wb', buffering=0) as f:
            while f.write(bytes(1 << 20)):
                pass
    out = daemon.folder / 'out'
    assert daemon.fsctl('restore', 'shop', 'file', '--to', out, '--quiet').stdout == f'{out}\n'
    assert (out / 'file').read_bytes() == (live / 'file').read_bytes()


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_restore_to__is_run_again_after_a_crash(shop):
    out = shop.outside / 'out'
    shop.steps.until('copy_out.filled', {'kind': 'restore-to', 'source': 'shop@s', 'dir': str(out)})
    shop.daemon.stop(signal.SIGKILL)
    shop.steps.thread.join()
    assert left(shop.outside) != ['shop']
    shop.steps.set_hold('')
    shop.daemon.start()
    job = shop.daemon.http('GET', '/v1/jobs')[1]['items'][0]
    job = shop.daemon.http('GET', f'/v1/jobs/{job["id"]}?wait=60')[1]
    assert job['state'] == 'done', job
    same(pathlib.Path(shop.snapshot), out)
    assert left(shop.outside) == ['out', 'shop']


def test_restore_to__command_line(shop, scratch):
    daemon = shop.daemon
    r = daemon.fsctl('restore', 'shop@s', 'a', '--to', 'out', cwd=scratch)
    assert r.stdout.startswith(f'shop@s copied to {scratch}/out ('), r.stdout
    assert not r.stderr and sorted(os.listdir(scratch / 'out')) == ['a']
    assert daemon.json('restore', 'shop@s', '--to', scratch / 'j')['job']['result'] == {
        'source': 'shop@s', 'dir': str(scratch / 'j')}
    for option in (['--exact'], ['--site', 'shop']):
        r = daemon.fsctl('restore', 'shop@s', '--to', scratch / 'x', *option, check=False)
        assert r.returncode == 2
        assert f'{option[0]}: this option makes no sense with --to' in r.stderr
    r = daemon.fsctl('restore', 'shop@s', '--to', scratch / 'j', check=False)
    assert r.returncode == 4 and f'{scratch}/j: there is something of this name' in r.stderr
