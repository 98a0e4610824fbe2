# SPDX-License-Identifier: LGPL-2.1-or-later
"""For pytest: every step once on each pool. crash.py says more and reruns single cases."""

import pathlib
import subprocess
import sys

import pytest

CRASH = pathlib.Path(__file__).with_name('crash.py')


@pytest.mark.parametrize('pool', ['btrfs', 'copy-btrfs', 'copy-xfs', 'copy-ext4'])
def test_crash__keeps_every_promise_at_every_step(pool):
    r = subprocess.run([sys.executable, str(CRASH), '--pool', pool], check=False, text=True,
                       capture_output=True, timeout=3600)
    if r.returncode == 77:
        pytest.skip(r.stdout.strip())
    assert r.returncode == 0, r.stdout + r.stderr
