# SPDX-License-Identifier: LGPL-2.1-or-later
"""The queue of a real daemon: what goes first, and what waiting jobs keep from being deleted."""

import json
import os
import pathlib
import re
import shutil
import signal
import time

import pytest

from conftest import TIMEOUT, Steps, wait_for


@pytest.fixture
def busy(make_daemon):
    """A daemon whose pool runs one job at a time."""
    daemon = make_daemon()
    Steps(daemon)
    daemon.configure(extra='jobs = 1\n')
    return daemon.start()


def ask(daemon, **request):
    status, answer = daemon.http('POST', '/v1/jobs', request)
    assert status == 202, answer
    return answer['job']['id']


def ended(daemon, jobs):
    """These jobs in the order in which they ended, all of them done."""
    for job in jobs:
        daemon.fsctl('job', 'wait', job)
    done = re.findall(r'job done job=(\w+)', daemon.log())
    return [job for job in done if job in jobs]


def test_queue__lets_what_is_urgent_go_first(busy):
    """Each about a site of its own: nothing but the priority decides."""
    names = ('held', 'retired', 'checked', 'compared', 'kept', 'copied', 'copied-too', 'restored')
    for name in names:
        busy.fsctl('site', 'create', name)
        busy.fsctl('snapshot', f'{name}@a')
    busy.fsctl('restore', 'retired@a', '--yes')
    with busy.steps.held('tree.made') as reached:
        ask(busy, kind='snapshot', site='held')
        reached()
        jobs = [ask(busy, **request) for request in (
            {'kind': 'generation-retire', 'site': 'retired', 'generation': 1},
            {'kind': 'check', 'source': 'checked@a'},
            {'kind': 'diff', 'a': 'compared@a'},
            {'kind': 'snapshot', 'site': 'kept'},
            {'kind': 'clone', 'source': 'copied', 'name': 'new'},
            {'kind': 'clone', 'source': 'copied-too@a', 'name': 'newer'},
            {'kind': 'restore', 'source': 'restored@a', 'confirm': True})]
        assert busy.json('status')['jobs'] == {'running': 1, 'queued': len(jobs)}
    retired, checked, compared, kept, copied, copied_too, restored = jobs
    assert ended(busy, jobs) == [restored, copied, copied_too, kept, checked, compared, retired]


def test_queue__publish_of_what_was_deleted_before_it_says_where_to_look(busy):
    busy.fsctl('site', 'create', 'shop')
    busy.fsctl('generation', 'create', 'shop')
    with busy.steps.held('tree.made') as reached:
        ask(busy, kind='snapshot', site='shop')
        reached()
        ask(busy, kind='generation-delete', site='shop', generation=2, confirm=True)
        publish = ask(busy, kind='publish', site='shop', generation=2)
    r = busy.fsctl('job', 'wait', publish, check=False)
    assert r.returncode != 0
    error = busy.json('job', 'show', publish)['error']
    assert error['code'] == 'bad_generation', error
    assert error['hint'].startswith('fsctl generation list shop'), error


def test_undo__of_a_deletion_whose_name_was_given_again_says_how(daemon):
    daemon.fsctl('site', 'create', 'shop')
    (daemon.pools['main'] / 'sites/shop/live/file').write_text('old')
    deleted = daemon.json('site', 'delete', 'shop', '--yes')['job']['id']
    daemon.fsctl('site', 'create', 'shop')
    r = daemon.fsctl('undo', deleted, check=False)
    way, = re.findall(r'hint: fsctl (site undelete .* NEW) brings it back', r.stderr)
    assert r.returncode == 4
    daemon.fsctl(*way.replace('NEW', 'older').split())
    assert (daemon.pools['main'] / 'sites/older/live/file').read_text() == 'old'


def test_undelete__that_comes_second_says_what_the_first_has_done(make_daemon):
    daemon = make_daemon()
    steps = Steps(daemon)
    daemon.start()
    gone = []
    for _ in range(2):
        daemon.fsctl('site', 'create', 'shop')
        gone.append(daemon.json('site', 'show', 'shop')['id'])
        daemon.fsctl('site', 'delete', 'shop', '--yes')
    first, second = gone
    steps.until('renamed', {'kind': 'site-undelete', 'site': first, 'name': 'a'})
    late = ask(daemon, kind='site-undelete', site=first, name='b')
    steps.go_on()
    daemon.fsctl('job', 'wait', late, check=False)
    error = daemon.json('job', 'show', late)['error']
    assert (error['code'], error['object']) == ('exists', 'a'), error
    assert 'is back already' in error['reason'] and 'site rename a NEW' in error['hint'], error
    daemon.fsctl('site', 'delete', 'a', '--yes')
    steps.until('renamed', {'kind': 'site-undelete', 'site': first, 'name': 'shop'})
    r = daemon.fsctl('site', 'undelete', second, check=False)
    assert r.returncode == 4 and 'is making it' in r.stderr and 'pool scan' not in r.stderr, r
    steps.go_on()
    r = daemon.fsctl('site', 'undelete', second, check=False)
    assert r.returncode == 4 and f'fsctl site undelete {second} NEW' in r.stderr, r
    daemon.fsctl('site', 'undelete', second, 'other')


def test_undo__of_an_expiry_lasts(daemon):
    """The time that was over is not over again at housekeeping's next look."""
    def deleted(name):
        sites = daemon.json('site', 'list', '--deleted')['items']
        return next((s['deleted_by'] for s in sites if s['name'] == name), None)

    def expire(name):
        daemon.fsctl('site', 'create', name, '--expires', '1s')
        time.sleep(1)
        daemon.stop()
        daemon.start()  # when it looks for what has expired
        deadline = time.monotonic() + TIMEOUT
        while not deleted(name):
            assert time.monotonic() < deadline, daemon.log()
            time.sleep(0.02)

    expire('shop')
    job = deleted('shop')
    plan = daemon.json('undo', job, '--dry-run')['plan']['steps']
    assert re.fullmatch('take away its expires, .*, which is over', plan[1]), plan
    r = daemon.fsctl('undo', job)
    assert re.search('warning: it does not expire any more: its time was over at 2.*; fsctl site '
                     'set shop expires=TIME', r.stderr), r
    assert daemon.json('site', 'show', 'shop')['expires'] is None
    expire('other')  # it would be looked at after the one that was over before
    assert daemon.fsctl('site', 'list', '-q').stdout == 'shop\n'
    kinds = [j['kind'] for j in daemon.json('job', 'list', '--site', 'shop')['items']]
    assert kinds == ['undo', 'site-delete', 'site-create'], kinds
    # One whose time is still to come keeps it.
    daemon.fsctl('site', 'set', 'shop', 'expires=1h')
    job = daemon.json('site', 'delete', 'shop', '--yes')['job']['id']
    assert daemon.fsctl('undo', job).stderr == ''
    assert daemon.json('site', 'show', 'shop')['expires']


def test_undo__that_would_delete_is_refused(daemon):
    """It puts back all or nothing, and no time that is over."""
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    undo = {}
    for noun, name in (('site', 'shop'), ('snapshot', 'shop@a')):
        daemon.fsctl(noun, 'set', name, 'expires=2s', 'label.x=old')
        done = daemon.json(noun, 'set', name, 'expires=never', 'label.x=new')
        undo[noun, name] = done['job']['id']
    # In time it puts back what is left.
    soon = daemon.json('site', 'set', 'shop', 'expires=1h')['job']['id']
    daemon.fsctl('site', 'set', 'shop', 'expires=never')
    hour = daemon.json('job', 'show', soon)['result']['site']['expires']
    last = daemon.json('job', 'list', '--limit', '1')['items'][0]['id']
    set_back = daemon.json('undo', last)['job']['result']['site']['expires']
    assert set_back >= hour, (hour, set_back)
    daemon.fsctl('site', 'set', 'shop', 'expires=never')
    time.sleep(2)
    for (noun, name), job in undo.items():
        for extra in ((), ('--dry-run',)):
            r = daemon.fsctl('--json', 'undo', job, *extra, check=False)
            assert (r.returncode, r.stdout) == (4, '') and '"code": "expired"' in r.stderr, r
            assert f'fsctl job show {job} ' in r.stderr, r
            assert f'fsctl {noun} delete {name}' in r.stderr, r
        now = daemon.json(noun, 'show', name)
        assert now['expires'] is None and now['labels'] == {'x': 'new'}, now


def test_queue__hurries_what_stands_in_the_way_of_something_urgent(busy):
    """Else a viewer's question, or housekeeping, held up a restore while others ask for clones."""
    for name in ('held', 'shop', 'other'):
        busy.fsctl('site', 'create', name)
        busy.fsctl('snapshot', f'{name}@a')
    busy.fsctl('restore', 'shop@a', '--yes')
    with busy.steps.held('tree.made') as reached:
        ask(busy, kind='snapshot', site='held')
        reached()
        jobs = [ask(busy, **request) for request in (
            {'kind': 'clone', 'source': 'other', 'name': 'new'},
            {'kind': 'diff', 'a': 'shop@a'},
            {'kind': 'generation-retire', 'site': 'shop', 'generation': 1},
            {'kind': 'clone', 'source': 'other', 'name': 'newer'},
            {'kind': 'restore', 'source': 'shop@a', 'confirm': True})]
        assert busy.json('status')['jobs'] == {'running': 1, 'queued': len(jobs)}
    copied, compared, retired, copied_too, restored = jobs
    assert ended(busy, jobs) == [compared, retired, restored, copied, copied_too]


def test_queue__lets_those_run_together_that_only_read(make_daemon):
    """And whoever changes the site after them, and reads it after that.

    Who reads a snapshot does not read the site: the writer need not wait for it."""
    daemon = make_daemon(max_jobs=16)
    steps = Steps(daemon)
    daemon.configure(extra='jobs = 16\n')
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')

    def wait_for_jobs(running, queued):
        deadline = time.monotonic() + TIMEOUT
        while (jobs := daemon.json('status')['jobs']) != {'running': running, 'queued': queued}:
            assert time.monotonic() < deadline, jobs
            time.sleep(0.01)

    with steps.held('tree.made'):
        readers = [ask(daemon, **request) for request in (
            {'kind': 'clone', 'source': 'shop', 'name': 'one'},
            {'kind': 'clone', 'source': 'shop', 'name': 'two'},
            {'kind': 'snapshot', 'site': 'shop'})]
        beside = [ask(daemon, kind='clone', source='shop@a', name=name)
                  for name in ('three', 'four')]
        wait_for_jobs(running=5, queued=0)
        writer = ask(daemon, kind='site-set', site='shop', set={'label.a': 'b'})
        after = ask(daemon, kind='clone', source='shop', name='five')
        beside.append(ask(daemon, kind='clone', source='shop@a', name='six'))
        wait_for_jobs(running=6, queued=2)
    assert ended(daemon, [*readers, writer, after])[-2:] == [writer, after]
    assert sorted(ended(daemon, beside)) == sorted(beside)


def test_snapshot__that_a_job_needs_is_not_deleted(busy):
    busy.fsctl('site', 'create', 'shop')
    busy.fsctl('snapshot', 'shop@a')
    with busy.steps.held('tree.made') as reached:
        job = ask(busy, kind='clone', source='shop@a', name='copy')
        reached()
        waits = ask(busy, kind='clone', source='shop@a', name='copy-too')
        for extra in ((), ('--dry-run',)):
            r = busy.fsctl('--json', 'snapshot', 'delete', 'shop@a', '--yes', *extra, check=False)
            assert (r.returncode, r.stdout) == (4, '') and '"code": "has_dependents"' in r.stderr, r
            assert f'job {job} needs it' in r.stderr and f'fsctl job wait {job}' in r.stderr, r
        busy.fsctl('job', 'cancel', waits)
    busy.fsctl('job', 'wait', job)
    busy.fsctl('snapshot', 'delete', 'shop@a', '--yes')
    assert busy.fsctl('site', 'list', '-q').stdout == 'copy\nshop\n'


def test_cancel__asked_for_again_is_what_it_was(busy):
    """The first answer may have been lost."""
    busy.fsctl('site', 'create', 'shop')
    with busy.steps.held('tree.made') as reached:
        ask(busy, kind='snapshot', site='shop')
        reached()
        job = ask(busy, kind='clone', source='shop', name='copy')
        for _ in range(2):
            status, answer = busy.http('POST', f'/v1/jobs/{job}/cancel')
            assert (status, answer['job']['state']) == (202, 'canceled'), answer
    assert re.search(rf'canceled before it started .*job={job} .*ms=0.0', busy.log())


def test_cancel__of_what_runs_leaves_nothing(busy):
    busy.fsctl('site', 'create', 'shop')
    pool = busy.pools['main']

    def look():
        return sorted(str(p) for folder in ('sites', '.fsd/snapshots', '.fsd/staging')
                      for p in (pool / folder).rglob('*'))

    for request in ({'kind': 'clone', 'source': 'shop', 'name': 'copy'},
                    {'kind': 'snapshot', 'site': 'shop', 'name': 'copy'},
                    {'kind': 'generation-create', 'site': 'shop'}):
        before = look()
        with busy.steps.held('stage.made') as reached:
            job = ask(busy, **request)
            reached()
            assert os.listdir(pool / '.fsd/staging') == [job]
            status, answer = busy.http('POST', f'/v1/jobs/{job}/cancel')
            assert (status, answer['job']['state']) == (202, 'running'), answer
        assert busy.fsctl('job', 'wait', job, check=False).returncode == 1
        assert busy.json('job', 'show', job)['state'] == 'canceled'
        assert look() == before
        status, answer = busy.ask(request)  # its name is free
        assert answer['job']['state'] == 'done', answer


def test_recovery__keeps_the_order_in_which_changes_were_asked_for(busy):
    """What the last one asks for holds when the daemon comes back, but not after the first."""
    busy.fsctl('site', 'create', 'shop')
    busy.fsctl('site', 'set', 'shop', 'label.stage=old')
    with busy.steps.held('tree.made') as reached:
        ask(busy, kind='snapshot', site='shop')
        reached()
        jobs = [ask(busy, kind='site-set', site='shop', set={'label.stage': value})
                for value in ('new', 'old')]
        busy.stop(signal.SIGKILL)
    busy.start()
    assert ended(busy, jobs) == jobs
    assert busy.json('site', 'show', 'shop')['labels'] == {'stage': 'old'}


def test_recovery__waits_for_no_deletion(busy):
    """Half a tree may take minutes to delete: fsd serves meanwhile."""
    busy.fsctl('site', 'create', 'shop')
    busy.fsctl('snapshot', 'shop@a')
    with busy.steps.held('tree.made') as reached:
        job = ask(busy, kind='clone', source='shop@a', name='copy')
        reached()
        busy.stop(signal.SIGKILL)
    with busy.steps.held('remove.tree') as reached:
        busy.start()
        reached()
        assert busy.json('job', 'show', job)['error']['code'] == 'interrupted'
        busy.fsctl('snapshot', 'shop@b')


def test_undo__puts_back_what_was_there_when_the_job_ran(busy):
    """Not what was there when it was asked for: jobs before it in the queue have changed that."""
    busy.fsctl('site', 'create', 'shop')
    busy.fsctl('snapshot', 'shop@a')
    busy.fsctl('site', 'set', 'shop', 'label.x=0')
    with busy.steps.held('tree.made') as reached:
        ask(busy, kind='snapshot', site='shop')
        reached()
        ask(busy, kind='site-set', site='shop', set={'label.x': '1'})
        last = ask(busy, kind='site-set', site='shop', set={'label.x': '2'})
        ask(busy, kind='snapshot-hold', source='shop@a', hold=True, tag='t', note='first')
        again = ask(busy, kind='snapshot-hold', source='shop@a', hold=True, tag='t', note='second')
    busy.fsctl('job', 'wait', last)
    busy.fsctl('job', 'wait', again)
    assert busy.json('job', 'show', last)['result']['set'] == [
        {'key': 'label.x', 'from': '1', 'to': '2'}]
    busy.fsctl('undo', last)
    assert busy.json('site', 'show', 'shop')['labels'] == {'x': '1'}

    def holds():
        meta, = (busy.pools['main'] / '.fsd/snapshots').glob('*/a/meta.json')
        return [(h['tag'], h['reason']) for h in json.loads(meta.read_text()).get('holds', [])]
    assert holds() == [('t', 'second')]
    busy.fsctl('undo', again)
    assert holds() == [('t', 'first')]
    released = busy.json('snapshot', 'release', 'shop@a', '--tag', 't')['job']['id']
    assert holds() == []
    busy.fsctl('undo', released, '--note', 'a note of the undo itself')
    assert holds() == [('t', 'first')]


def test_queue__makes_a_generation_beside_a_snapshot(make_daemon):
    """It takes minutes where the pool copies, and changes nothing that is there."""
    daemon = make_daemon()
    steps = Steps(daemon)
    daemon.start().fsctl('site', 'create', 'shop')
    with steps.held('tree.made') as reached:
        jobs = [ask(daemon, kind='generation-create', site='shop')]
        reached()
        since = steps.count()
        jobs += [ask(daemon, kind='generation-create', site='shop')]
        steps.wait('tree.made', since)
        since = steps.count()
        jobs += [ask(daemon, kind='snapshot', site='shop')]
        steps.wait('tree.made', since)
    assert sorted(ended(daemon, jobs)) == sorted(jobs)
    assert daemon.fsctl('generation', 'list', 'shop', '-q').stdout.split() == [
        'shop:1', 'shop:2', 'shop:3']
def threads_of(daemon):
    return len(os.listdir(f'/proc/{daemon.process.pid}/task'))


def test_stop__cuts_a_job_short_that_goes_on_at_the_next_start(make_daemon):
    """So that a stop need not wait for the end of a long copy."""
    idle = 31
    daemon = make_daemon(max_jobs=1 + idle)
    steps = Steps(daemon)
    daemon.start()
    daemon.fsctl('site', 'create', 'shop')
    pool = daemon.pools['main']
    (pool / 'sites/shop/live/index.php').write_text('one')
    with steps.held('stage.made') as reached:
        job = ask(daemon, kind='clone', source='shop', name='copy')
        reached()
        threads = threads_of(daemon)
        daemon.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + TIMEOUT
        while threads_of(daemon) > threads - idle:  # those that have no job were told, so all were
            assert time.monotonic() < deadline
            time.sleep(0.001)
    assert daemon.stop() == 0
    assert os.listdir(pool / 'sites') == ['shop'] and os.listdir(pool / '.fsd/staging') == []
    daemon.start()
    assert ended(daemon, [job]) == [job]
    assert (pool / 'sites/copy/live/index.php').read_text() == 'one'
    kinds = [e['kind'] for e in daemon.json('job', 'log', job)['items']]
    assert kinds == ['job.queued', 'job.done']


def retired_site(daemon):
    """shop, with generations 1 and 2 retired and 3 live, each with a file that says which it is;
    the job that retired 1."""
    live = daemon.pools['main'] / 'sites/shop/live'
    daemon.fsctl('site', 'create', 'shop')
    (live / 'file').write_text('1')
    jobs = []
    for number in (2, 3):
        daemon.fsctl('generation', 'create', 'shop')
        jobs.append(daemon.json('publish', f'shop:{number}')['job']['id'])
        (live / 'file').write_text(str(number))
    return live / 'file', jobs[0]


def back_to_1(daemon, job, how):
    request = {'undo': {'kind': 'undo', 'job': job},
               'rollback': {'kind': 'rollback', 'site': 'shop', 'generation': 1},
               'publish': {'kind': 'publish', 'site': 'shop', 'generation': 1}}[how]
    return ask(daemon, **request)


@pytest.mark.parametrize('how', ('undo', 'rollback', 'publish'))
@pytest.mark.parametrize('step', ('stage.made', 'retire.moved'))
def test_going_back__beside_a_retirement_publishes_what_that_makes(busy, step, how):
    file, switched = retired_site(busy)
    with busy.steps.held(step) as reached:
        retired = ask(busy, kind='generation-retire', site='shop', generation=1)
        reached()
        job = back_to_1(busy, switched, how)
        queued = ask(busy, kind='generation-create', site='shop')
    assert ended(busy, [retired, job, queued]) == [retired, job, queued]
    assert file.read_text() == '1'
    done = busy.json('job', 'show', job)
    assert (done['result']['generation'], done['result']['retired']) == (4, 3)
    assert any('shop@undo-1' in w for w in done['result']['warnings']), done
    assert busy.json('job', 'show', queued)['result']['generation']['number'] == 5
    busy.fsctl('undo', job)
    assert file.read_text() == '3'


@pytest.mark.parametrize('how', ('undo', 'rollback', 'publish'))
def test_going_back__behind_a_retirement_that_came_to_nothing_publishes_the_generation(busy, how):
    file, switched = retired_site(busy)
    with busy.steps.held('tree.made') as reached:
        ask(busy, kind='snapshot', site='shop')
        reached()
        retired = ask(busy, kind='generation-retire', site='shop', generation=1)
        job = back_to_1(busy, switched, how)
        busy.fsctl('job', 'cancel', retired)
    busy.fsctl('job', 'wait', job)
    assert file.read_text() == '1'
    assert file.resolve().parent.parent.name == '1'
    assert 'warnings' not in busy.json('job', 'show', job)['result']


def test_snapshot__that_going_back_needs_is_not_deleted(busy):
    """Neither is what a retirement will only make."""
    file, switched = retired_site(busy)
    with busy.steps.held('retire.moved') as reached:
        retired = ask(busy, kind='generation-retire', site='shop', generation=1)
        reached()
        job = back_to_1(busy, switched, 'undo')
        with busy.steps.held('tree.made') as copied:
            copied()
            r = busy.fsctl('snapshot', 'delete', 'shop@undo-1', '--yes', check=False)
            assert r.returncode == 4 and f'job {job} needs it' in r.stderr, r
    assert ended(busy, [retired, job]) == [retired, job]
    assert file.read_text() == '1'


# ---- progress ----

NONE = (0, 0, 0, 0)


@pytest.fixture
def copying(make_daemon, mount):
    """A daemon that copies whatever it makes, and may import from another file system."""
    daemon = make_daemon(import_from=mount('ext4', '64M'))
    daemon.steps = Steps(daemon)
    daemon.configure(extra='driver = copy\n')
    return daemon.start()


def fill(folder, files):
    """So many files of 100 bytes in a new directory."""
    folder.mkdir()
    for n in range(files):
        (folder / f'f{n}').write_bytes(b'x' * 100)


def wait_until_settled(folder):
    """Until it is too old to be copied again: two ticks (snap/settle.c), of at most 10 ms."""
    wait_for(lambda: time.time_ns() > folder.stat().st_ctime_ns + 30_000_000)


def progress(daemon):
    """(entries done, of, bytes done, of) of the newest job."""
    job = daemon.http('GET', '/v1/jobs?limit=1')[1]['items'][0]
    return tuple(job['progress'][key] for key in
                 ('entries_done', 'entries_total', 'bytes_done', 'bytes_total'))


@pytest.mark.parametrize('mode, times', [('copy', 1), ('move', 2)])
def test_progress__of_an_import_is_of_all_that_was_counted_before(copying, mode, times):
    """A move reads all of it again. What came meanwhile is copied, and is not more than all."""
    steps, www = copying.steps, pathlib.Path(copying.settings['import_from']) / 'www'
    www.mkdir()
    fill(www / 'a', 200)
    wait_until_settled(www / 'a')
    steps.until('stage.made',
                {'kind': 'site-import', 'dir': str(www), 'name': 'shop', 'mode': mode})
    assert progress(copying) == (0, 201 * times, 0, 20000 * times)
    if mode == 'copy':
        fill(www / 'b', 10)
    steps.on('tree.made')
    assert progress(copying) == (201, 201 * times, 20000, 20000 * times)
    steps.on('meta.stored')
    assert progress(copying) == (201 * times, 201 * times, 20000 * times, 20000 * times)
    job = steps.go_on()
    assert job['progress'] is None
    assert job['stats']['entries'] == (212 if mode == 'copy' else 201)


def test_progress__of_a_copy_that_counted_nothing_has_no_total(copying):
    steps = copying.steps
    copying.fsctl('site', 'create', 'shop')
    live = pathlib.Path(copying.pools['main']) / 'sites/shop/live'
    for n in range(3):
        fill(live / f'd{n}', 10 * (n + 1))
    wait_until_settled(live / 'd2')
    steps.until('stage.made', {'kind': 'clone', 'source': 'shop', 'name': 'new'})
    assert progress(copying) == NONE
    steps.on('tree.made')
    assert progress(copying) == (63, 0, 6000, 0)
    assert steps.go_on()['stats']['entries'] == 63
    copying.fsctl('snapshot', 'shop@a')
    for n in range(3):
        shutil.rmtree(live / f'd{n}')
    steps.until('change.staged', {'kind': 'restore', 'source': 'shop@a',
                                  'paths': ['d0', 'd1', 'd2'], 'confirm': True})
    assert progress(copying) == (11, 0, 1000, 0)
    steps.on('change.durable')
    assert progress(copying) == (63, 0, 6000, 0)
    assert steps.go_on()['stats']['entries'] == 63


def test_progress__of_a_check_is_of_entries(copying):
    """Nothing holds it while it counts, but whenever it is looked at, nothing has gone back."""
    copying.fsctl('site', 'create', 'shop')
    live = pathlib.Path(copying.pools['main']) / 'sites/shop/live'
    for n in range(20):
        fill(live / f'd{n}', 200)
    since, seen = copying.steps.count(), [(0, 0)]
    with copying.steps.held('job.ran') as reached:
        job = ask(copying, kind='check', source='shop')
        while 'job.ran' not in copying.steps.names(since):
            now = copying.http('GET', f'/v1/jobs/{job}')[1]['progress']
            if now:  # it waits for a thread at first
                seen.append((now['entries_total'], now['entries_done']))
        reached()
        assert progress(copying) == (4020, 4020, 0, 0)
    assert seen == sorted(seen) and {total for total, _ in seen} <= {0, 4020}
    assert ended(copying, [job]) == [job]
