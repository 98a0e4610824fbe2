# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks into trees for a plan or a question: beside everything else, few at once, for somebody."""

import json
import os
import pwd
import socket

import pytest

from conftest import TIMEOUT, Steps, needs_root

ALL, EACH = 8, 3  # fsd/worker/surveys.c
NOBODY = pwd.getpwnam('nobody')


class Request:
    """A request for a restore's plan that waits for its answer."""

    def __init__(self, daemon, uid=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.socket.settimeout(TIMEOUT)
        if uid is not None:
            os.setegid(NOBODY.pw_gid)
            os.seteuid(uid)
        try:
            self.socket.connect(str(daemon.socket))
        finally:
            if uid is not None:
                os.seteuid(0)
                os.setegid(0)
        body = json.dumps({'kind': 'restore', 'source': 'shop@a', 'dry_run': True})
        self.socket.sendall((f'POST /v1/jobs HTTP/1.1\r\nHost: fsd\r\nConnection: close\r\n'
                             'Content-Type: application/json\r\n'
                             f'Content-Length: {len(body)}\r\n\r\n{body}').encode())

    def answer(self):
        text = b''
        while chunk := self.socket.recv(65536):
            text += chunk
        self.socket.close()
        head, _, body = text.partition(b'\r\n\r\n')
        return int(head.split()[1]), json.loads(body)


class Looks:
    """A daemon in which every look stays at its beginning."""

    def __init__(self, daemon):
        self.steps = Steps(daemon)
        self.daemon = daemon.start()
        daemon.fsctl('site', 'create', 'shop')
        daemon.fsctl('snapshot', 'shop@a')
        (daemon.pools['main'] / 'sites/shop/live/new').write_text('new')

    def begin(self, uid=None):
        since = self.steps.count()
        request = Request(self.daemon, uid)
        self.steps.wait('survey', since)
        return request


@pytest.fixture
def looks(make_daemon):
    return Looks(make_daemon(log_level='debug'))


def test_survey__holds_up_nobody_else(looks):
    with looks.steps.held('survey'):
        requests = [looks.begin() for _ in range(ALL)]
        assert looks.daemon.http('GET', '/v1/sites')[0] == 200
        assert looks.daemon.ask({'kind': 'snapshot', 'site': 'shop'})[0] == 200
        status, problem = Request(looks.daemon).answer()
        assert (status, problem['code']) == (429, 'too_many')
        assert problem['hint']
    for request in requests:
        status, answer = request.answer()
        assert status == 200 and '1 new' in ' '.join(answer['plan']['warnings'])
    assert Request(looks.daemon).answer()[0] == 200
    assert not os.listdir(looks.daemon.pools['main'] / '.fsd/staging')


@needs_root
def test_survey__of_one_user_leaves_room_for_others(make_daemon):
    looks = Looks(make_daemon(operator_group='nogroup'))
    with looks.steps.held('survey'):
        requests = [looks.begin(NOBODY.pw_uid) for _ in range(EACH)]
        assert Request(looks.daemon, NOBODY.pw_uid).answer()[1]['code'] == 'too_many'
        requests.append(looks.begin())
    for request in requests:
        assert request.answer()[0] == 200


def test_survey__ends_when_nobody_waits_for_it(looks):
    with looks.steps.held('survey'):
        requests = [looks.begin() for _ in range(ALL)]
        for request in requests[1:]:
            request.socket.close()
        looks.daemon.wait_log('survey canceled', ALL - 1)
    assert requests[0].answer()[0] == 200


def test_survey__does_not_keep_the_daemon_from_stopping(looks):
    with looks.steps.held('survey'):
        request = looks.begin()
        looks.daemon.process.terminate()
    assert looks.daemon.stop() == 0
    request.socket.close()
    assert not os.listdir(looks.daemon.pools['main'] / '.fsd/staging')


def test_measure__tells_at_most_what_a_number_can_hold(make_daemon, mount):
    """A few sparse files have more bytes than there are numbers."""
    daemon = make_daemon({'main': mount('xfs') / 'pool'}).start()
    daemon.fsctl('site', 'create', 'shop')
    most = 2**63 - 1
    for name in 'abc':
        with open(daemon.pools['main'] / 'sites/shop/live' / name, 'wb') as f:
            f.truncate(most - 4096)
    shown = daemon.json('site', 'show', 'shop', '--measure')
    assert shown['bytes']['logical'] == most, shown
    job = daemon.json('snapshot', 'shop')['job']
    assert job['stats']['bytes'] == most, job
