# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools/quickstart in a copy of the source, as root and an ordinary user: what a newcomer sees."""

import os
import pathlib
import pwd
import re
import shutil
import subprocess

import pytest

from conftest import needs_root

SOURCE = pathlib.Path(__file__).parents[2]
NOBODY = pwd.getpwnam('nobody')
STEPS = ['import WordPress', 'snapshot', 'clone', 'damage', 'diff', 'restore', 'undo']


def generated(folder, names):
    """Builds and a demo of the working copy, which a newcomer has not got."""
    if pathlib.Path(folder) != SOURCE:
        return []
    return [n for n in names if n.startswith('build') or n in ('demo', '.git')]


class Newcomer:
    def __init__(self, folder, user):
        self.tree, self.user = folder / 'fsd', user
        shutil.copytree(SOURCE, self.tree, symlinks=True, ignore=generated)
        if self.is_other():
            folder.chmod(0o755)
            subprocess.run(['chown', '-R', f'{NOBODY.pw_uid}:{NOBODY.pw_gid}', self.tree],
                           check=True)

    def is_other(self):
        return self.user == 'user' and os.geteuid() == 0

    def run(self, *args):
        who = {'user': NOBODY.pw_uid, 'group': NOBODY.pw_gid, 'extra_groups': []} \
            if self.is_other() else {}
        r = subprocess.run(['tools/quickstart', *args], cwd=self.tree, text=True, check=False,
                           capture_output=True, env={**os.environ, 'HOME': str(self.tree)}, **who)
        assert r.returncode == 0, r.stdout + r.stderr
        return r.stdout

    def mounts(self):
        return [line for line in pathlib.Path('/proc/self/mounts').read_text().splitlines()
                if str(self.tree) in line]


@pytest.fixture(params=[pytest.param('root', marks=needs_root), 'user'])
def newcomer(request, scratch):
    return Newcomer(scratch, request.param)


def test_quickstart__shows_the_price_of_each_step_twice_and_leaves_nothing(newcomer):
    for _ in range(2):
        said = newcomer.run()
        priced = re.findall(r'^(\S.*?) +\d+\.\d ms +-?[\d.]+(?:[KMG]iB|B)?$', said, re.M)
        assert len(priced) == len(STEPS), said
        assert all(line.startswith(step) for line, step in zip(priced, STEPS)), priced
        assert f'The pool is {"btrfs" if newcomer.user == "root" else "a plain directory"}' in said
        assert re.search(r'^M\s+index.php', said, re.M) and 'wp-content/shell.php' in said, said
        assert not newcomer.mounts() and not (newcomer.tree / 'demo/pool').exists()
        assert not (newcomer.tree / 'demo/fsd.pid').exists()


def test_quickstart__keeps_the_daemon_where_it_is_told_to(newcomer):
    try:
        said = newcomer.run('--keep')
        url = re.search(r'export FSD_URL=(\S+)', said).group(1)
        listed = subprocess.run([newcomer.tree / 'demo/bin/fsctl', 'site', 'list', '-q'], text=True,
                                check=True, capture_output=True, env={**os.environ, 'FSD_URL': url})
        assert listed.stdout.split() == ['staging', 'wordpress']
    finally:
        newcomer.run('--stop')
    assert not newcomer.mounts()
