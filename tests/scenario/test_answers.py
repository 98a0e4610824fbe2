# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a real daemon answers is what docs/openapi.yaml says: every path, every kind of job."""

import json
import os
import pathlib
import re
import shutil
import socket
import sys
import time

import pytest

from conftest import ROOT, TIMEOUT, Steps, needs_root

sys.path.insert(0, str(ROOT / 'tests' / 'unit' / 'api'))
from openapi import Document, load  # noqa: E402

DOC = Document(load(ROOT / 'docs' / 'openapi.yaml'))
MAPPING = DOC.root['components']['schemas']['JobRequest']['discriminator']['mapping']


class Api:
    """Requests whose answers are held to the document."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.asked = set()

    def operation(self, method, path):
        for template, item in DOC.root['paths'].items():
            pattern = '^' + re.sub(r'{\w+}', '[^/]+', template) + '$'
            if re.match(pattern, path.partition('?')[0]) and method.lower() in item:
                self.asked.add((template, method.lower()))
                return item[method.lower()]
        raise KeyError(path)

    def ask(self, method, path, body=None, status=200):
        got, value = self.daemon.http(method, path, body)
        responses = self.operation(method, path)['responses']
        response = DOC.follow(responses.get(str(got), responses['default']))
        content = next(iter(response['content'].values()))
        assert DOC.check(content['schema'], value, f'{method} {path}') == []
        assert got == status, value
        return value

    def get(self, path, status=200):
        return self.ask('GET', path, status=status)

    def job(self, kind, state='done', **args):
        """A job that ends so; its result."""
        self.asked.add(kind)
        request = {'kind': kind, **args}
        schema = DOC.at(MAPPING[kind])
        assert DOC.check(schema, request, 'request') == []
        status, value = self.daemon.ask(request)
        assert status == 200, value
        answer = DOC.at('#/components/schemas/JobAnswer')
        assert DOC.check(answer, value, kind) == []
        job = value['job']
        assert job['state'] == state, job['error']
        assert job['kind'] == kind
        if state == 'done':
            assert DOC.check(DOC.at(schema['x-fsd-result']), job['result'], kind + '.result') == []
        self.last = job['id']
        return job['result']

    def refuse(self, status, code, kind, **args):
        problem = self.ask('POST', '/v1/jobs', {'kind': kind, **args}, status=status)
        assert problem['code'] == code
        return problem


@pytest.fixture
def api(daemon):
    return Api(daemon)


def fill(result, **files):
    for name, text in files.items():
        pathlib.Path(result['site']['live']['path'], name).write_text(text)


def test_answers__are_what_the_document_says(api, scratch):
    shop = api.job('site-create', name='shop', note='the first')
    fill(shop, index='one', other='two')
    api.job('site-set', site='shop', set={'label.color': 'blue', 'expires': '7d'})
    api.job('site-set', site='shop', set={'label.color': None, 'expires': 'never'})
    api.job('site-measure', site='shop')
    api.job('snapshot', site='shop', name='before')
    measured = api.job('snapshot-measure', source='shop@before')['snapshot']
    assert measured['entries'] and measured['bytes']['logical']
    assert api.refuse(400, 'bad_source', 'snapshot-measure', source='shop')['object'] == 'shop'
    api.job('snapshot-set', source='shop@before', set={'label.keep': 'yes', 'expires': '1w'})
    api.job('snapshot-hold', source='shop@before', hold=True, tag='release')
    api.refuse(409, 'held', 'snapshot-delete', source='shop@before', confirm=True)
    api.job('snapshot-hold', source='shop@before', hold=False, tag='release')
    fill(shop, index='three')
    for name in ('before', 'latest'):
        api.get(f'/v1/sites/shop/snapshots/{name}')
    assert api.job('diff', a='shop@before')['counts']['M'] == 1
    api.get(f'/v1/jobs/{api.last}/changes')
    api.job('check', source='shop@before')
    api.job('clone', source='shop@before', name='copy', expires='1d')
    api.job('restore', source='shop@before', confirm=True)
    api.job('undo', job=api.last)
    api.job('restore', source='shop@before', paths=['index'])
    made = api.job('generation-create', site='shop')
    number = made['generation']['number']
    api.job('publish', site='shop', generation=number)
    api.job('rollback', site='shop')
    api.job('generation-retire', site='shop', generation=number)
    made = api.job('generation-create', site='shop', **{'from': 'shop@before'})
    api.job('generation-delete', site='shop', generation=made['generation']['number'],
            confirm=True)
    api.get('/v1/sites/shop/generations')
    api.job('site-rename', site='copy', name='staging')
    gone = api.job('site-delete', site='staging', confirm=True)
    api.get('/v1/sites?deleted=true')
    api.get('/v1/sites/' + gone['site']['id'])
    api.job('site-undelete', site=gone['site']['id'], name='staging2')
    api.job('pool-scan', pool='main')
    api.job('pool-check', pool='main')
    (scratch / 'tree').mkdir()
    (scratch / 'tree' / 'file').write_text('x')
    api.job('site-import', name='imported', dir=str(scratch / 'tree'))
    api.job('site-eject', site='imported', dir=str(scratch / 'ejected'), confirm=True)
    api.job('restore-to', source='shop@latest', dir=str(scratch / 'copied'))
    api.job('snapshot-delete', source='shop@before', confirm=True)

    plan = api.ask('POST', '/v1/jobs', {'kind': 'clone', 'source': 'shop', 'name': 'x',
                                        'dry_run': True})
    assert plan['plan']['steps']
    api.refuse(428, 'confirmation_needed', 'site-delete', site='shop')
    api.refuse(409, 'name_taken', 'site-create', name='shop')
    api.refuse(404, 'not_found', 'clone', source='nothing', name='x')
    api.refuse(400, 'reserved_name', 'site-create', name='restore')

    for path in ('/healthz', '/metrics', '/v1/status', '/v1/sites', '/v1/sites?limit=1',
                 '/v1/sites/shop', '/v1/snapshots', '/v1/snapshots?site=shop', '/v1/jobs',
                 '/v1/jobs?state=done&limit=3', '/v1/jobs?undoable=true&limit=2',
                 f'/v1/jobs/{api.last}?wait=1',
                 f'/v1/jobs/{api.last}/log', '/v1/pools', '/v1/pools/main',
                 '/v1/path?source=shop', '/v1/events?limit=1000'):
        api.get(path)
    for path in ('/v1/sites/none', '/v1/sites/shop/snapshots/none', '/v1/jobs/1', '/v1/pools/none',
                 '/v1/path?source=none', '/v1/sites?pool=none', '/v1/jobs?site=none',
                 '/v1/snapshots?site=none', '/v1/sites/none/generations', '/v1/jobs/1/changes',
                 f'/v1/jobs/{api.last}/changes'):
        api.get(path, status=404)
    for path in ('/v1/snapshots?cursor=none', '/v1/snapshots?cursor=1.none', '/v1/jobs?cursor=none',
                 '/v1/jobs?state=none', '/v1/sites?limit=0', '/v1/sites?deleted=perhaps',
                 '/v1/sites?colour=red', '/v1/events?after=-1'):
        api.get(path, status=400)
    api.ask('POST', f'/v1/jobs/{api.last}/cancel', status=409)

    paths = {(p, m) for p, item in DOC.root['paths'].items() for m in item}
    assert paths - api.asked == set()
    assert set(MAPPING) - api.asked == set()


def test_snapshots__page_goes_on_behind_one_that_was_deleted(api):
    api.job('site-create', name='shop')
    for name in 'abc':
        api.job('snapshot', site='shop', name=name)
    page = api.get('/v1/snapshots?limit=2')
    assert [s['name'] for s in page['items']] == ['a', 'b']
    api.job('snapshot-delete', source='shop@b', confirm=True)
    page = api.get('/v1/snapshots?cursor=' + page['next'])
    assert [s['name'] for s in page['items']] == ['c']
    assert page['next'] is None


def test_jobs__list_has_neither_what_was_asked_nor_what_came_of_it(api):
    api.job('site-create', name='shop')
    item, = api.get('/v1/jobs')['items']
    whole = api.get(f'/v1/jobs/{api.last}')
    assert whole.pop('args') == {'name': 'shop'} and whole.pop('result')['site']['name'] == 'shop'
    assert item == whole
    assert 'site-create' in api.daemon.fsctl('job', 'list').stdout


def pages(api, path, limit=1000):
    """Each page of a list, one after the other."""
    cursor = ''
    while cursor is not None:
        page = api.get(f'{path}?limit={limit}' + (f'&cursor={cursor}' if cursor else ''))
        yield page['items']
        cursor = page['next']


def test_lists__page_ends_when_it_has_grown_large(api):
    labels = {f'label.{"k" * 100}{n}': 'v' * 200 for n in range(90)}
    names = [f'shop{n}' for n in range(80)]
    for name in names:
        api.job('site-create', name=name)
        api.job('site-set', site=name, set=labels)
    found = list(pages(api, '/v1/sites'))
    assert max(len(json.dumps(page)) for page in found) < 3 << 19
    assert sorted(site['name'] for page in found for site in page) == sorted(names)
    assert sorted(api.daemon.fsctl('site', 'list', '--quiet').stdout.split()) == sorted(names)


def many_changes(api, count=2300, name='file'):
    api.job('site-create', name='shop')
    site = api.job('snapshot', site='shop', name='empty')['snapshot']['site']['name']
    for n in range(count):
        (api.daemon.pools['main'] / f'sites/{site}/live/{name}{n}').touch()
    return api.job('diff', a='shop@empty')


def test_diff__of_many_files_is_read_in_pages(api):
    beside = set(api.daemon.catalog.parent.iterdir())
    result = many_changes(api)
    assert len(result['items']) == 100 and result['truncated'] and result['counts']['+'] == 2300
    found = list(pages(api, f'/v1/jobs/{api.last}/changes'))
    assert [len(page) for page in found] == [1000, 1000, 301]  # and the directory's time
    assert found[0][:100] == result['items']
    assert {c['path'] for page in found for c in page} == {'.', *(f'file{n}' for n in range(2300))}
    for cursor in ('0', '5', '-1', 'x', '5x', '99999999999999999999'):
        api.get(f'/v1/jobs/{api.last}/changes?cursor={cursor}', status=400)
    listed = api.daemon.json('diff', 'shop@empty')
    assert sorted(i['path'] for i in listed['items']) == sorted(c['path'] for p in found for c in p)
    assert listed['counts']['+'] == 2300 and listed['truncated'] is False
    assert len(api.daemon.fsctl('diff', 'shop@empty').stdout.splitlines()) == 2301
    job = api.daemon.fsctl('diff', 'shop@empty', '--no-wait', '--quiet').stdout.strip()
    assert len(api.daemon.fsctl('job', 'wait', job).stdout.splitlines()) == 2301
    assert set(api.daemon.catalog.parent.iterdir()) == beside


def test_diff__first_changes_are_left_after_a_restart(api):
    result = many_changes(api)
    first = api.get(f'/v1/jobs/{api.last}/changes')
    api.daemon.stop()
    api.daemon.start()
    assert api.get(f'/v1/jobs/{api.last}')['result'] == result
    for cursor in ('', '?cursor=' + first['next']):
        refused = api.get(f'/v1/jobs/{api.last}/changes{cursor}', status=404)
        assert refused['code'] == 'not_kept' and refused['hint'], refused
    r = api.daemon.fsctl('job', 'wait', api.last)
    assert len(r.stdout.splitlines()) == 100 and 'only the first 100 of 2301' in r.stderr
    assert api.daemon.fsctl('job', 'wait', api.last, '--json').stdout


@needs_root
def test_diff__takes_no_room_that_the_catalog_needs(make_daemon, mount):
    disk = mount('ext4', '64M', name='disk')
    api = Api(make_daemon(catalog=disk / 'catalog.db').start())
    many_changes(api, name='x' * 230)  # half a megabyte
    changes = f'/v1/jobs/{api.last}/changes'
    space = os.statvfs(disk)
    fill = disk / 'fill'
    with open(fill, 'wb') as f:
        os.posix_fallocate(f.fileno(), 0, space.f_bavail * space.f_frsize - (256 << 10))
    _, answer = api.daemon.ask({'kind': 'diff', 'a': 'shop@empty'})
    error = answer['job']['error']
    assert error['code'] == 'no_space' and error['object'] == str(disk / 'catalog.db'), error
    assert f'df {disk}/catalog.db' in error['hint']
    assert api.get(changes, status=404)['code'] == 'not_kept'  # it made room
    fill.unlink()
    assert len(api.daemon.fsctl('diff', 'shop@empty').stdout.splitlines()) == 2301


def test_answers__of_a_pool_that_is_offline_are_what_the_document_says(make_daemon, scratch):
    daemon = make_daemon().start()
    api = Api(daemon)
    api.job('site-create', name='shop')
    daemon.stop()
    (scratch / 'pool').rename(scratch / 'pool.away')
    (scratch / 'pool').mkdir()
    daemon.start()
    assert api.get('/v1/status')['state'] == 'critical'
    api.get('/v1/pools')
    api.get('/v1/sites')
    api.refuse(503, 'pool_offline', 'snapshot', site='shop')
    daemon.stop()


def test_answers__accepted_jobs_have_a_location_that_leads_to_them(daemon):
    body = json.dumps({'kind': 'site-create', 'name': 'shop'}).encode()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(daemon.socket))
        s.sendall(b'POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
                  b'Connection: close\r\nContent-Length: %d\r\n\r\n' % len(body) + body)
        answer = b''
        while chunk := s.recv(65536):
            answer += chunk
    assert answer.startswith(b'HTTP/1.1 202 ')
    location = re.search(rb'\r\nLocation: (\S+)\r\n', answer).group(1).decode()
    status, job = daemon.http('GET', location + '?wait=60')
    assert (status, job['state']) == (200, 'done')


def metrics(daemon):
    """Name and labels of each number, and the number."""
    status, text = daemon.http('GET', '/metrics')
    assert status == 200
    return {name: int(value) for name, value in
            (line.rsplit(' ', 1) for line in text.splitlines() if line[0] != '#')}


def test_metrics__count_sites_jobs_and_pools(make_daemon, scratch):
    daemon = make_daemon({'main': scratch / 'pool'})
    steps = Steps(daemon)
    daemon.pools['away'] = scratch / 'nobody/made/this'
    daemon.configure()
    daemon.start()
    for name in ('shop', 'blog', 'gone'):
        daemon.fsctl('site', 'create', name, '--pool', 'main')
    daemon.fsctl('site', 'delete', 'gone', '--yes')
    (scratch / 'pool/sites/blog/site.json').write_text('{')
    for _ in range(2):
        assert daemon.ask({'kind': 'snapshot', 'site': 'blog'})[1]['job']['state'] == 'failed'
    steps.until('stage.made', {'kind': 'snapshot', 'site': 'shop'})
    daemon.http('POST', '/v1/jobs', {'kind': 'site-set', 'site': 'shop', 'set': {'label.a': 'b'}})
    during = metrics(daemon)
    job = daemon.http('GET', '/v1/jobs?state=running')[1]['items'][0]['id']
    daemon.http('POST', f'/v1/jobs/{job}/cancel')
    assert steps.go_on()['state'] == 'canceled'
    daemon.fsctl('snapshot', 'shop')
    after = metrics(daemon)
    assert (during['fsd_jobs_running'], during['fsd_jobs_queued']) == (1, 1)
    assert (after['fsd_jobs_running'], after['fsd_jobs_queued']) == (0, 0)
    assert after['fsd_sites'] == 2
    ended = [after[f'fsd_jobs_total{{state="{s}"}}'] for s in ('done', 'failed', 'canceled')]
    assert ended == [6, 2, 1]
    assert after['fsd_pool_online{pool="main"}'] == 1 and after['fsd_pool_online{pool="away"}'] == 0
    space = os.statvfs(scratch)
    assert after['fsd_pool_bytes_total{pool="main"}'] == space.f_blocks * space.f_frsize
    for name in ('bytes_total', 'bytes_free', 'inodes_total', 'inodes_free'):
        assert (f'fsd_pool_{name}{{pool="main"}}' in after) == bool(
            name.startswith('bytes') or space.f_files)
        assert f'fsd_pool_{name}{{pool="away"}}' not in after


def test_metrics__leave_out_inodes_where_they_are_not_limited(make_daemon, mount):
    now = metrics(make_daemon({'main': mount('btrfs'), 'fixed': mount('ext4', '64M')}).start())
    assert [name for name in now if 'inodes' in name] == [
        'fsd_pool_inodes_total{pool="fixed"}', 'fsd_pool_inodes_free{pool="fixed"}']
    assert 'fsd_pool_bytes_free{pool="main"}' in now


class Stream:
    def __init__(self, daemon, headers=b''):
        self.data = b''
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(daemon.socket))
        self.socket.sendall(b'GET /v1/events HTTP/1.1\r\nHost: x\r\n'
                            b'Accept: text/event-stream\r\n' + headers + b'\r\n')
        self.read_until(b': fsd\n\n')

    def read_until(self, text):
        """Everything so far; a sign of life instead means that it does not come."""
        while text not in self.data:
            assert b': alive' not in self.data, self.data
            self.data += self.socket.recv(4096)
        return self.data

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def test_events__stream_tells_of_a_job_and_resumes(daemon):
    with Stream(daemon) as stream:
        daemon.fsctl('site', 'create', 'shop')
        data = stream.read_until(b'event: job.done\n')
    first = re.search(rb'id: (\d+)\nevent: job.queued\ndata: (\{.*\})\n\n', data)
    assert DOC.check(DOC.at('#/components/schemas/Event'), json.loads(first.group(2))) == []
    with Stream(daemon, b'Last-Event-ID: ' + first.group(1) + b'\r\n') as stream:
        data = stream.read_until(b'event: job.done\n')
    assert b'event: job.queued' not in data


def test_events__tell_what_was_written_in_a_retired_generation(api):
    old = api.job('site-create', name='shop')['site']['live']['path']
    old = pathlib.Path(old).resolve()
    made = api.job('generation-create', site='shop')
    api.job('publish', site='shop', generation=made['generation']['number'])
    for n in range(120):
        (old / f'upload{n}').write_text('late')
    result = api.job('generation-retire', site='shop', generation=1)
    api.daemon.wait_log('120 paths were written')
    api.daemon.stop()  # it may still be at it
    api.daemon.start()
    event, = [e for e in api.get('/v1/events?limit=100')['items']
              if e['kind'] == 'generation.late_writes']
    data = event['data']
    assert (event['job'], event['site']['id'], data['snapshot'], data['total'],
            len(data['paths'])) == (
        api.last, result['snapshot']['site']['id'], 'undo-1', 120, 100)


def test_events__stream_goes_on_behind_a_page_that_ended_early(api):
    live = pathlib.Path(api.job('site-create', name='shop')['site']['live']['path'])
    deep = '/'.join('d' * 250 for _ in range(14))
    for number in range(2, 7):
        old = live.resolve()
        (old / deep).mkdir(parents=True)
        api.job('generation-create', site='shop')
        api.job('publish', site='shop', generation=number)
        for n in range(100):
            (old / deep / f'late{n}').touch()
        api.job('generation-retire', site='shop', generation=number - 1)
        shutil.rmtree(live.resolve() / ('d' * 250))
    deadline = time.monotonic() + TIMEOUT
    while sum(e['kind'] == 'generation.late_writes'
              for e in api.daemon.json('event', 'list')['items']) < 5:
        assert time.monotonic() < deadline, api.daemon.log()
        time.sleep(0.02)
    assert api.get('/v1/events?limit=1000')['next'] is not None
    api.job('snapshot', site='shop')
    with Stream(api.daemon, b'Last-Event-ID: 0\r\n') as stream:
        data = stream.read_until(b'"job":"%s","data":{}}' % api.last.encode())
    assert data.count(b'event: generation.late_writes\n') == 5


def test_events__stream_of_a_daemon_that_just_began_tells_nothing_old(daemon):
    daemon.fsctl('site', 'create', 'shop')
    daemon.stop()
    daemon.start()
    with Stream(daemon) as stream:
        job = daemon.json('site', 'create', 'blog')['job']['id']
        data = stream.read_until(b'event: job.done\n')
    assert set(re.findall(rb'"job":"(\w+)"', data)) == {job.encode()}
