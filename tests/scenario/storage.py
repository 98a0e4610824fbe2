# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of pools share."""

import subprocess
import time

from conftest import TIMEOUT


def command(*args):
    subprocess.run([str(a) for a in args], check=True, stdout=subprocess.DEVNULL)


def unplug(where):
    command('umount', where)


def plug(where):
    command('mount', '-o', 'loop', where.with_suffix('.img'), where)


def wait_until(what, daemon):
    deadline = time.monotonic() + TIMEOUT
    while not what():
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.02)


def pool(daemon, name='main'):
    return daemon.json('pool', 'show', name)
