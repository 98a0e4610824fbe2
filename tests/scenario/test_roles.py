# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ordinary users in the groups of the configuration: what they may, and what they are refused."""

import grp
import json
import os
import pwd
import shutil
import subprocess

import pytest

from conftest import BUILD, TIMEOUT, needs_root, program

pytestmark = needs_root

GROUPS = {'admin': 'games', 'operator': 'users', 'viewer': 'news', 'none': 'irc'}  # Debian's
NOBODY = pwd.getpwnam('nobody')


class User:
    """fsctl as an ordinary user; its programs where he can read them."""

    def __init__(self, daemon, role):
        self.daemon, self.gid = daemon, grp.getgrnam(GROUPS[role]).gr_gid
        self.bin = daemon.folder / 'bin'
        if not self.bin.exists():
            self.bin.mkdir()
            for file in (program('tools/fsctl/fsctl'), *BUILD.glob('client/libfsclient.so*')):
                if os.path.isfile(file):
                    shutil.copy(file, self.bin)

    def fsctl(self, *args):
        return subprocess.run(
            [self.bin / 'fsctl', *args], text=True, capture_output=True, timeout=TIMEOUT,
            check=False, cwd='/', user=NOBODY.pw_uid, group=NOBODY.pw_gid, extra_groups=[self.gid],
            env={**os.environ, 'FSD_URL': self.daemon.url(), 'LD_LIBRARY_PATH': str(self.bin)})

    def http(self, path):
        """(status, text) of a request without fsctl."""
        code = ('import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n'
                's.sendall(sys.argv[2].encode())\n'
                'while d := s.recv(65536): sys.stdout.buffer.write(d)')
        request = f'GET {path} HTTP/1.1\r\nHost: fsd\r\nConnection: close\r\n\r\n'
        r = subprocess.run(
            ['/usr/bin/python3', '-c', code, str(self.daemon.socket), request], text=True,
            capture_output=True, timeout=TIMEOUT, check=True, cwd='/', user=NOBODY.pw_uid,
            group=NOBODY.pw_gid, extra_groups=[self.gid])
        head, _, body = r.stdout.partition('\n\n')
        return int(head.split()[1]), body

    def may(self, *args):
        r = self.fsctl(*args)
        assert r.returncode == 0, (args, r)
        return r.stdout

    def job(self, *args):
        return json.loads(self.may('--json', *args))['job']['id']

    def may_not(self, *args, role, needs, about=None):
        """Exit 6, who he is and who may, and no job was made."""
        before = self.look()
        r = self.fsctl('--json', *args)
        assert (r.returncode, r.stdout) == (6, ''), (args, r)
        problem = json.loads(r.stderr)
        assert problem['code'] == 'forbidden', (args, problem)
        assert problem['object'] not in (args[0], '-'.join(args[:2])), (args, problem)
        assert about in (None, problem['object']), (args, problem)
        assert f'has the role {role}' in problem['reason'], (args, problem)
        assert f'needs {needs}' in problem['reason'], (args, problem)
        assert f'the group {GROUPS[needs]} ' in problem['hint'], (args, problem)
        assert self.look() == before, args

    def look(self):
        return [self.daemon.http('GET', path)[1]['items']
                for path in ('/v1/sites', '/v1/snapshots', '/v1/jobs?limit=1000')]


@pytest.fixture
def shop(make_daemon):
    """A daemon with groups, a site, and a snapshot that is held."""
    daemon = make_daemon(**{f'{role}_group': group for role, group in GROUPS.items()
                            if role != 'none'}).start()
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('snapshot', 'shop@a')
    daemon.fsctl('snapshot', 'hold', 'shop@a', '--tag', 'audit')
    return daemon


def test_viewer__looks_and_changes_nothing(shop):
    viewer = User(shop, 'viewer')
    for args in (('status',), ('site', 'list'), ('site', 'show', 'shop'), ('snapshot', 'list'),
                 ('job', 'list'), ('pool', 'show', 'main'), ('path', 'shop'), ('diff', 'shop@a'),
                 ('check', 'shop@a')):
        viewer.may(*args)
    job = json.loads(shop.fsctl('--json', 'job', 'list').stdout)['items'][0]['id']
    for args in (('snapshot', 'shop'), ('clone', 'shop', 'copy'), ('site', 'create', 'new'),
                 ('restore', 'shop@a', '--yes'), ('snapshot', 'hold', 'shop@a'),
                 ('site', 'set', 'shop', 'label.a=b'), ('undo', job), ('job', 'cancel', job),
                 ('pool', 'check', 'main')):
        viewer.may_not(*args, role='viewer', needs='operator')
    viewer.may_not('site', 'delete', 'shop', '--yes', role='viewer', needs='admin')
    viewer.may_not('site', 'set', 'shop', 'protected=no', role='viewer', needs='admin')


def test_operator__makes_and_restores_but_takes_nothing_away(shop, scratch):
    operator = User(shop, 'operator')
    operator.may('snapshot', 'shop@mine', '--expires', '1h')
    operator.may('clone', 'shop', 'copy', '--expires', '1h')
    operator.may('restore', 'shop@a', '--yes')
    operator.may('pool', 'check', 'main')
    for args in (('site', 'delete', 'shop', '--yes'), ('site', 'rename', 'shop', 'other'),
                 ('snapshot', 'delete', 'shop@a', '--yes'),
                 ('generation', 'delete', 'shop:1', '--yes'),
                 ('site', 'eject', 'shop', f'{scratch}/out'),
                 ('site', 'import', 'new', f'{scratch}/bin'),
                 ('restore', 'shop@a', '--to', f'{scratch}/out'), ('pool', 'scan', 'main')):
        operator.may_not(*args, role='operator', needs='admin')


def test_operator__leaves_a_site_what_a_rollback_goes_back_to(shop):
    operator = User(shop, 'operator')
    operator.may('generation', 'create', 'shop')
    operator.may('publish', 'shop:2')
    answer = shop.ask_as({'kind': 'generation-retire', 'site': 'shop', 'generation': 1},
                         group=GROUPS['operator'])
    assert answer.get('code') == 'forbidden' and 'needs admin' in answer['reason'], answer
    operator.may('rollback', 'shop')


def test_operator__has_nothing_deleted_by_housekeeping(shop):
    operator = User(shop, 'operator')
    shop.fsctl('site', 'set', 'shop', 'expires=1h')
    shop.fsctl('snapshot', 'set', 'shop@a', 'expires=1h')
    operator.may('site', 'set', 'shop', 'expires=never', 'label.a=b')
    kept = [operator.job('snapshot', 'set', 'shop@a', 'expires=never'),
            operator.job('snapshot', 'hold', 'shop@a'),
            operator.job('site', 'set', 'shop', 'protected=yes')]
    refused = [('snapshot', 'release', 'shop@a'),
               ('snapshot', 'release', 'shop@a', '--tag', 'audit'),
               ('snapshot', 'set', 'shop@a', 'expires=1s'), ('site', 'set', 'shop', 'expires=1s'),
               ('site', 'set', 'shop', 'protected=no'),
               ('site', 'set', 'shop', 'protected=no', 'expires=1s')]
    for args in (*refused, *(('undo', job) for job in kept)):
        about = args[1 if args[0] == 'undo' else 2]  # as it was typed
        operator.may_not(*args, role='operator', needs='admin', about=about)
        operator.may_not(*args, '--dry-run', role='operator', needs='admin', about=about)
    assert shop.json('site', 'show', 'shop')['protected'] is True
    assert shop.json('snapshot', 'show', 'shop@a')['holds'] == ['audit', 'default']
    for args in refused:
        User(shop, 'admin').may(*args)


def test_stranger__may_know_that_fsd_is_well(shop):
    stranger = User(shop, 'none')
    for args in (('status',), ('site', 'list'), ('path', 'shop'), ('diff', 'shop@a')):
        stranger.may_not(*args, role='none', needs='viewer')
    stranger.may_not('snapshot', 'shop', role='none', needs='operator')
    stranger.may_not('snapshot', 'release', 'shop@a', role='none', needs='admin')
    assert stranger.http('/healthz') == (200, '{"status":"ok"}')
    assert stranger.http('/metrics')[0] == 403
    assert User(shop, 'viewer').http('/metrics')[0] == 200
