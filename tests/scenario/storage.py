# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of pools share."""

import contextlib
import sqlite3
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


@contextlib.contextmanager
def mounted(*args):
    command('mount', *args)
    try:
        yield
    finally:
        command('umount', args[-1])


@contextlib.contextmanager
def reading(catalog):
    """While somebody reads, the catalog's log grows instead of being written from its beginning."""
    with contextlib.closing(sqlite3.connect(catalog, isolation_level=None)) as reader:
        reader.execute('BEGIN')
        reader.execute('SELECT count(*) FROM sqlite_schema').fetchall()
        yield


@contextlib.contextmanager
def filled(where):
    rest = where / 'rest'
    with contextlib.suppress(OSError), open(rest, 'wb', buffering=0) as file:
        while file.write(b'x' * 4096):
            pass
    try:
        yield
    finally:
        rest.unlink()
