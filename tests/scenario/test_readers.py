# SPDX-License-Identifier: LGPL-2.1-or-later
"""Readers in tight loops while a real daemon makes generations and publishes them, job by job."""

import os
import re
import subprocess

import pytest

from conftest import TIMEOUT, program

PUBLISHES = 100
# Between generations that are there already; in full 100000 (CONTRIBUTING.md).
SWITCHES = int(os.environ.get('FSD_PUBLISHES', '200'))


class Readers:
    """test_readers --watch: one reader of each way, until it is left."""

    def __init__(self, site):
        self.process = subprocess.Popen([program('tests/readers/test_readers'), '--watch',
                                         str(site)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == 'reading\n'

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def told(self):
        """{way: (pages, switches, errors, mixtures)}, and all of it as text."""
        text, _ = self.process.communicate(timeout=TIMEOUT)
        assert self.process.returncode == 0
        return {line.split(':')[0]: tuple(map(int, re.findall(r'(\d+) [a-z]+', line)[:4]))
                for line in text.splitlines()}, text


def write_page(tree, mark):
    subprocess.run([program('tests/readers/test_readers'), '--write', str(tree), str(mark)],
                   check=True)


@pytest.mark.parametrize('kind', ['btrfs', 'xfs', 'ext4'])
def test_publish__shows_readers_of_a_daemon_no_error_and_no_mixture(kind, mount, make_daemon):
    pool = mount(kind) / 'pool'
    daemon = make_daemon({'main': pool}).start()
    site = pool / 'sites' / 'shop'
    daemon.fsctl('site', 'create', 'shop')
    write_page(site / 'live', 1)
    with Readers(site) as readers:
        for _ in range(PUBLISHES):
            made = daemon.json('generation', 'create', 'shop')['job']['result']
            number = made['generation']['number']
            write_page(site / f'gen/{number}/tree', number)
            daemon.fsctl('publish', f'shop:{number}')
        told, text = readers.told()
    print(f'{kind}: {PUBLISHES} publishes\n{text}')
    no_error(told, text)


def no_error(told, text):
    assert set(told) == {'opened', 'resolved', 'by path'}, text
    for pages, switches, errors, mixtures in told.values():
        assert pages and switches and errors == mixtures == 0, text


@pytest.mark.parametrize('kind', ['btrfs', 'xfs', 'ext4'])
def test_publish__back_and_forth_shows_readers_no_error_and_no_mixture(kind, mount, make_daemon):
    """One job after the other, without a pause; what readers hold open is never taken away."""
    pool = mount(kind) / 'pool'
    daemon = make_daemon({'main': pool}).start()
    site = pool / 'sites' / 'shop'
    daemon.fsctl('site', 'create', 'shop')
    daemon.fsctl('generation', 'create', 'shop')
    for number in (1, 2):
        write_page(site / f'gen/{number}/tree', number)
    with Readers(site) as readers:
        for i in range(SWITCHES):
            request = {'kind': 'publish', 'site': 'shop', 'generation': 2 - i % 2}
            status, answer = daemon.ask(request)
            assert (status, answer['job']['state']) == (200, 'done'), answer
        told, text = readers.told()
    print(f'{kind}: {SWITCHES} publishes\n{text}')
    no_error(told, text)
