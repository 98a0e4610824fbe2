# SPDX-License-Identifier: LGPL-2.1-or-later
"""Jobs that were past their commit point when fsd was killed: the next one tells of them as the one
that did them would have."""

import json
import socket

import pytest

from conftest import needs_root
from outside import Host

pytestmark = needs_root


@pytest.fixture(params=['btrfs', 'ext4'])
def shop(request, make_daemon, mount):
    """A host with the site "shop" and its snapshot "s"."""
    host = Host(make_daemon, mount(request.param), request.param)
    host.imported(host.make())
    host.done(kind='snapshot', site='shop', name='s')
    return host


def request_of(shop, what, nth):
    """A job of this sort, which can be asked for once more by another number."""
    out = str(shop.outside / f'out-{nth}')
    if what == 'eject':
        shop.imported(shop.make(f'in-{nth}'), name=f'given-{nth}')
    return {
        'clone': {'kind': 'clone', 'source': 'shop', 'name': f'new-{nth}'},
        'clone of a snapshot': {'kind': 'clone', 'source': 'shop@s', 'name': f'new-{nth}'},
        'create': {'kind': 'site-create', 'from': 'shop', 'name': f'new-{nth}'},
        'generation': {'kind': 'generation-create', 'site': 'shop'},
        'snapshot': {'kind': 'snapshot', 'site': 'shop', 'name': f's-{nth}'},
        'restore': {'kind': 'restore', 'source': 'shop@s', 'confirm': True},
        'restore of paths': {'kind': 'restore', 'source': 'shop@s', 'paths': ['a'],
                             'confirm': True},
        'restore to': {'kind': 'restore-to', 'source': 'shop@s', 'dir': out},
        'restore of the live tree to': {'kind': 'restore-to', 'source': 'shop', 'dir': out},
        'import': {'kind': 'site-import', 'name': f'new-{nth}', 'dir': str(shop.outside / 'shop')},
        'eject': {'kind': 'site-eject', 'site': f'given-{nth}', 'dir': out, 'confirm': True},
    }[what]


def how(job):
    assert job['state'] == 'done', job
    return job['stats']['method'], job['stats']['consistency']


@pytest.mark.parametrize('step', ['job.ran', 'outcome.put'])
@pytest.mark.parametrize('what', [
    'clone', 'clone of a snapshot', 'create', 'generation', 'snapshot', 'restore',
    'restore of paths', 'restore to', 'restore of the live tree to', 'import', 'eject'])
def test_recovered__job_says_how_it_copied_and_not_how_much(shop, what, step):
    whole = shop.done(**request_of(shop, what, 1))
    assert how(whole)[0]
    assert how(whole)[1] or (what, shop.kind) == ('eject', 'ext4')  # which moves it
    shop.steps.until(step, request_of(shop, what, 2))
    job = shop.steps.restart()
    assert how(job) == how(whole)
    unknown = [job['started'],
               *(job['stats'][n] for n in ('seconds', 'entries', 'bytes', 'bytes_cloned'))]
    assert unknown == [None] * 5
    said = shop.daemon.fsctl('job', 'show', job['id']).stdout
    assert all(word in said for word in how(whole) if word), said


def test_recovered__job_that_copied_nothing_names_no_method(shop):
    for number, request in enumerate(({'kind': 'site-create', 'name': 'empty'},
                                      {'kind': 'publish', 'site': 'shop', 'generation': 2})):
        if number:
            shop.done(kind='generation-create', site='shop')
        shop.steps.until('job.ran', request)
        assert how(shop.steps.restart()) == (None, None)


@pytest.mark.parametrize('what', [
    'clone of a snapshot', 'restore', 'restore of paths', 'restore to'])
def test_recovered__copy_of_something_fuzzy_is_fuzzy(shop, what):
    meta, = (shop.pool / '.fsd/snapshots').glob('*/s/meta.json')
    meta.write_text(json.dumps({**json.loads(meta.read_text()), 'consistency': 'fuzzy'}))
    shop.daemon.fsctl('pool', 'scan')
    shop.steps.until('job.ran', request_of(shop, what, 1))
    job = shop.steps.restart()
    assert how(job)[1] == 'fuzzy'
    said = shop.daemon.fsctl('job', 'wait', job['id']).stdout
    assert ', fuzzy' in said or what == 'restore of paths', said  # which lists the paths


@pytest.mark.parametrize('step', ['copy_out.placed', 'outcome.put'])
def test_recovered__restore_to_says_what_it_left_out(shop, step):
    """That is noted in the one case; nothing is where there is nothing to say."""
    commits = shop.done(**request_of(shop, 'restore of the live tree to', 1))['stats']['commits']
    assert commits == 4, 'the intent, that it has begun, where, the outcome'
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(f'{shop.live().resolve()}/socket')
    shop.steps.until(step, request_of(shop, 'restore of the live tree to', 2))
    job = shop.steps.restart()
    assert job['state'] == 'done'
    assert job['result']['warnings'] == ['not carried over: socket (socket)']
