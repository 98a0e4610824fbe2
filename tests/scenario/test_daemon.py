# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon as a process: it starts, refuses, reloads, stops, and its two halves go together."""

import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from conftest import TIMEOUT, Steps, needs_root, program, wait_for


def run(*args, **kwargs):
    return subprocess.run([program('fsd/fsd'), *map(str, args)], capture_output=True, text=True,
                          timeout=TIMEOUT, check=False, **kwargs)


def alive(pid):
    try:
        status = pathlib.Path(f'/proc/{pid}/status').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return 'State:\tZ' not in status


def gone(pid):
    deadline = time.monotonic() + TIMEOUT
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_daemon__serves_and_stops_cleanly(daemon):
    status, health = daemon.http('GET', '/healthz')
    assert (status, health) == (200, {'status': 'ok'})
    assert daemon.stop() == 0
    assert not daemon.socket.exists()
    assert daemon.start().http('GET', '/v1/status')[0] == 200
    assert daemon.stop(signal.SIGINT) == 0


def test_daemon__says_stopping_and_answers_the_watchdog(make_daemon, scratch):
    daemon = make_daemon()
    path = scratch / 'manager'
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.bind(str(path))
        manager.settimeout(TIMEOUT)
        daemon.env = {'NOTIFY_SOCKET': str(path), 'WATCHDOG_USEC': '200000'}
        daemon.spawn()
        heard = []
        while heard.count(b'WATCHDOG=1') < 3:
            heard.append(manager.recv(4096))
        assert b'READY=1' in heard
        assert b'STATUS=serving 1 pool' in heard
        daemon.process.send_signal(signal.SIGTERM)
        while b'STOPPING=1' not in manager.recv(4096):
            pass
    assert daemon.stop() == 0


def test_daemon__api_has_no_root_no_files_and_no_secrets(daemon):
    pid = daemon.api_pid()
    status = dict(line.split(':\t', 1) for line in
                  pathlib.Path(f'/proc/{pid}/status').read_text().splitlines() if ':\t' in line)
    assert int(status['CapEff'], 16) == 0 and int(status['CapPrm'], 16) == 0
    assert status['NoNewPrivs'] == '1'
    if os.geteuid() != 0:
        return  # its descriptors are nobody's to see
    assert '0' not in status['Uid'].split() and '0' not in status['Gid'].split()
    assert not status['Groups'].strip()
    names = [os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')]
    assert not [n for n in names if 'catalog' in n or str(daemon.folder / 'pool') in n]


def test_daemon__ends_when_its_api_dies(daemon):
    os.kill(daemon.api_pid(), signal.SIGKILL)
    assert daemon.process.wait(TIMEOUT) == 1
    assert 'signal 9' in daemon.log()
    daemon.start()
    assert daemon.http('GET', '/v1/status')[0] == 200


def test_daemon__api_ends_when_the_worker_dies(daemon):
    api = daemon.api_pid()
    daemon.process.kill()
    daemon.process.wait()
    gone(api)
    daemon.start()  # over the socket and the locks that were left
    assert daemon.http('GET', '/v1/status')[0] == 200


def test_daemon__second_one_on_the_same_catalog_is_told_who_is_first(daemon, make_daemon):
    first = daemon.process.pid
    other = daemon.folder / 'other.conf'
    other.write_text(daemon.conf.read_text().replace('fsd.sock', 'other.sock')
                     .replace(str(daemon.folder / 'pool'), str(daemon.folder / 'other')))
    r = run('--config', other, '--foreground')
    assert r.returncode == 1
    assert f'pid {first} ' in r.stderr and 'code=locked' in r.stderr
    assert str(daemon.catalog) in r.stderr
    assert daemon.http('GET', '/v1/status')[0] == 200


def test_daemon__second_one_on_the_same_pool_is_told_who_is_first(daemon):
    first = daemon.process.pid
    other = daemon.folder / 'other.conf'
    other.write_text(daemon.conf.read_text().replace('fsd.sock', 'other.sock')
                     .replace('catalog.db', 'other.db'))
    r = run('--config', other, '--foreground')
    assert r.returncode == 1
    assert f'pid {first} ' in r.stderr and 'code=locked' in r.stderr
    assert str(daemon.folder / 'pool') in r.stderr
    assert not list(daemon.catalog.parent.glob('other.db*')) and 'has stopped' not in r.stderr


def test_daemon__second_one_waits_for_the_first_to_go(daemon, make_daemon):
    second = make_daemon()
    second.env = {}
    second.spawn()
    daemon.stop()
    second.wait_serving()
    assert second.stop() == 0


def test_daemon__socket_of_somebody_else_is_left_alone(make_daemon):
    daemon = make_daemon()
    daemon.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as other:
        other.bind(str(daemon.socket))
        other.listen(1)
        daemon.spawn()
        assert daemon.process.wait(TIMEOUT) == 1
        assert f'process {os.getpid()} listens here' in daemon.log()
        assert daemon.socket.exists()


def refused(daemon):
    return [p['object'] for p in daemon.json('status')['problems'] if p['code'] == 'config_refused']


def test_daemon__reload_follows_what_it_can_and_names_what_it_cannot(daemon):
    daemon.configure(log_level='debug', grace='1h')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log('configuration reloaded')
    daemon.configure(catalog=daemon.folder / 'elsewhere.db')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log('catalog: this cannot change while fsd runs; restart fsd')
    assert refused(daemon) == ['catalog']
    daemon.configure(catalog=daemon.catalog, extra='[pool more]\npath = /nowhere\n')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log('[pool more]: this cannot change while fsd runs; restart fsd')
    assert refused(daemon) == ['[pool more]']
    daemon.conf.write_text('nonsense\n')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log('fsd.conf:1')
    assert refused(daemon) == [f'{daemon.conf}:1']
    daemon.configure()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log('configuration reloaded', 2)
    assert refused(daemon) == []


def test_daemon__reload_changes_what_is_logged(make_daemon):
    daemon = make_daemon(log_level='warning').start()
    daemon.fsctl('site', 'create', 'quiet')
    assert 'fsd serves' not in daemon.log() and 'job done' not in daemon.log()
    daemon.configure(log_level='info')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log('configuration reloaded')
    daemon.fsctl('site', 'create', 'told')
    assert 'site=told' in daemon.log() and 'site=quiet' not in daemon.log()


def wait_running(daemon, count, of):
    """Until so many run, and the rest waits."""
    deadline = time.monotonic() + TIMEOUT
    while (jobs := daemon.json('status')['jobs']) != {'running': count, 'queued': of - count}:
        assert time.monotonic() < deadline, f'{jobs}: {daemon.log()}'
        time.sleep(0.02)


def test_daemon__reload_changes_how_many_jobs_run_at_once(make_daemon):
    daemon = make_daemon(max_jobs=1)
    rules = daemon.folder / 'rules'
    daemon.env['FSD_FAULT_FILE'] = str(rules)
    fault = 'driver = fault\n'
    daemon.configure(extra=fault)
    daemon.start()
    for i in range(5):
        daemon.fsctl('site', 'create', f'site{i}')
    rules.write_text(f'tree_copy 1+ delay {4 * TIMEOUT * 1000}\n')
    for i in range(5):
        daemon.fsctl('snapshot', f'site{i}', '--no-wait')

    def reload(count, extra, **settings):
        daemon.configure(extra=fault + extra, **settings)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_log('configuration reloaded', count)
        wait_running(daemon, count + 1, 5)

    wait_running(daemon, 1, 5)
    reload(1, 'jobs = 2\n', max_jobs=4)
    reload(2, 'jobs = 3\n', max_jobs=4)
    reload(3, 'jobs = 9\n', max_jobs=4)
    daemon.stop(signal.SIGKILL)


def test_daemon__sweeps_what_a_crash_left_in_sites_behind_its_start(make_daemon):
    """But what a job that goes on may still need: not before it has ended."""
    daemon = make_daemon()
    steps = Steps(daemon)
    daemon.configure(extra='jobs = 1\n')
    daemon.start()
    sites = []
    for name in ('busy', 'idle', 'gone'):  # in this order
        daemon.fsctl('site', 'create', name)
        sites.append(pathlib.Path(daemon.json('site', 'show', name)['live']['path']).parent)
    site_id = daemon.json('site', 'show', 'gone')['id']
    daemon.fsctl('site', 'delete', 'gone', '--yes')
    sites[-1] = daemon.pools['main'] / '.fsd/deleted' / site_id

    def left(site):
        return {p.name for p in site.iterdir()} - {'live', 'gen', 'site.json', 'live.txt'}

    with steps.held('tree.made') as reached:
        daemon.fsctl('snapshot', 'busy', '--no-wait')
        reached()
        daemon.fsctl('snapshot', 'busy', '--no-wait')  # goes on at the start
        daemon.stop(signal.SIGKILL)
        for site in sites:
            (site / 'live.9').symlink_to('gen/1/tree')
            (site / 'live.old.8').symlink_to('gen/1/tree')
            (site / '.site.json.new').write_text('{')
            (site / 'live.txt').write_text('not by fsd')
        daemon.start()
        for site in sites[1:]:
            wait_for(lambda site=site: not left(site))
        assert 'live.9' in left(sites[0])
    for site in sites:
        wait_for(lambda site=site: not left(site))
        assert (site / 'live.txt').exists()


def test_daemon__sweeps_kept_links_whatever_comes_after_a_publish(daemon):
    """Another publish when the first one's link is due; a new name."""
    sites = []
    for name in ('twice', 'renamed'):
        daemon.fsctl('site', 'create', name)
        daemon.fsctl('generation', 'create', name)
        daemon.fsctl('publish', f'{name}:2')
    daemon.fsctl('site', 'rename', 'renamed', 'new')
    for name in ('twice', 'new'):
        sites.append(pathlib.Path(daemon.json('site', 'show', name)['live']['path']).parent)

    def links(site):
        return sorted(site.glob('live.old.*'))

    first, = links(sites[0])
    assert links(sites[1])
    wait_for(lambda: time.time() > first.lstat().st_ctime + 1.9)
    daemon.fsctl('publish', 'twice:1')
    for site in sites:
        wait_for(lambda site=site: not links(site))


def test_daemon__sweeps_what_a_crash_left_in_sites_found_by_a_scan(daemon):
    daemon.fsctl('site', 'create', 'shop')
    site = pathlib.Path(daemon.json('site', 'show', 'shop')['live']['path']).parent
    daemon.stop(signal.SIGKILL)
    (site / 'live.9').symlink_to('gen/1/tree')
    daemon.lose_catalog()
    daemon.fsctl('pool', 'scan')
    wait_for(lambda: not (site / 'live.9').is_symlink())


def test_daemon__goes_to_the_background_and_tells_the_truth(make_daemon):
    daemon = make_daemon()
    env = {k: v for k, v in os.environ.items() if k != 'NOTIFY_SOCKET'}
    try:
        r = run('--config', daemon.conf, env=env)  # waits for the end of its output, too
        assert r.returncode == 0, r.stderr
        assert daemon.http('GET', '/v1/status')[0] == 200  # it serves when the command returns
        again = run('--config', daemon.conf, env=env)
        assert again.returncode == 1 and 'code=locked' in again.stderr
    finally:
        lock = daemon.catalog.with_name('catalog.db.lock').read_text()
        pid = int(lock.split('pid=')[1].split()[0])
        os.kill(pid, signal.SIGTERM)
        gone(pid)


@pytest.mark.parametrize('args', [['--nonsense'], ['extra'], ['--config']])
def test_daemon__wrong_arguments_are_exit_2(args):
    r = run(*args)
    assert r.returncode == 2 and 'Usage:' in r.stderr


def test_daemon__configuration_is_checked_without_starting(make_daemon):
    daemon = make_daemon()
    assert run('--config', daemon.conf, '--check-config').returncode == 0
    daemon.configure(extra='[pool]\n')
    r = run('--config', daemon.conf, '--check-config')
    lines = len(daemon.conf.read_text().splitlines())
    assert r.returncode == 2 and f'{daemon.conf}:{lines}: ' in r.stderr
    assert run('--config', daemon.conf, '--foreground').returncode == 2
    for bad, said in (({'api_user': 'nobody-of-this-name'}, 'useradd'),
                      ({'socket': daemon.catalog}, 'are both'),
                      ({'grace': '5'}, 'its unit is missing'), ({'min_free': '10'}, 'percentage')):
        good = {name: daemon.settings.get(name) for name in bad}
        daemon.configure(**bad)
        for how in ('--check-config', '--foreground'):
            r = run('--config', daemon.conf, how)
            if 'api_user' not in bad or os.geteuid() == 0:
                assert r.returncode == 2 and said in r.stderr, (bad, r)
        for name, value in good.items():
            daemon.settings.pop(name) if value is None else daemon.settings.update({name: value})
    daemon.configure(extra='driver = zfs\n')
    lines = len(daemon.conf.read_text().splitlines())
    for how in ('--check-config', '--foreground'):
        r = run('--config', daemon.conf, how)
        assert r.returncode == 2 and '"zfs"' in r.stderr
        assert f'{daemon.conf}:{lines}: [pool main]' in r.stderr
    assert not daemon.catalog.exists()


def test_daemon__refuses_one_directory_as_two_pools(make_daemon):
    """By another path, which the configuration alone does not show."""
    daemon = make_daemon()
    pool = daemon.pools['main']
    pool.mkdir(exist_ok=True)
    other = daemon.folder / 'other'
    other.symlink_to(pool)
    daemon.configure(extra=f'[pool twin]\npath = {other}\n')
    for how in ('--check-config', '--foreground'):
        r = run('--config', daemon.conf, how)
        assert r.returncode == 2 and '[pool main] and [pool twin] are one directory' in r.stderr, r


def test_daemon__the_installed_example_is_a_good_configuration(scratch):
    example = pathlib.Path(__file__).parents[2] / 'tools/systemd/fsd.conf'
    copy = scratch / 'fsd.conf'
    copy.write_text(example.read_text() + '[fsd]\napi_user = nobody\n')
    assert run('--config', copy, '--check-config').returncode == 0


@needs_root
def test_daemon__api_user_that_is_missing_is_named_with_its_remedy(make_daemon):
    daemon = make_daemon(api_user='no-such-user')
    r = run('--config', daemon.conf, '--foreground')
    assert r.returncode == 2
    assert 'no-such-user' in r.stderr and 'useradd --system' in r.stderr


@needs_root
def test_daemon__runs_as_an_ordinary_user(make_daemon):
    daemon = make_daemon().start_as('nobody')
    worker = pathlib.Path(f'/proc/{daemon.process.pid}').stat().st_uid
    api = pathlib.Path(f'/proc/{daemon.api_pid()}/status').read_text().split('Uid:\t')[1].split()
    assert worker != 0 and set(api[:4]) == {str(worker)}
    assert daemon.stop() == 0
