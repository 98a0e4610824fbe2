# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trees on several file systems, and the programs that copy and remove them."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time

from bench import ROOT, Image, sh

KINDS = ('ext4', 'xfs', 'btrfs')


class Used:
    """What one run took: seconds of wall and processor time, MiB of memory at most."""

    def __init__(self, wall, cpu, memory):
        self.wall, self.cpu, self.memory = wall, cpu, memory


def used(argv):
    """Run a command that must work; argv may be a text for the shell."""
    argv = ['/bin/sh', '-c', argv] if isinstance(argv, str) else [str(a) for a in argv]
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=errors) as p:
            _, status, usage = os.wait4(p.pid, 0)
            wall = time.perf_counter() - start
            p.returncode = os.waitstatus_to_exitcode(status)
        if p.returncode:
            errors.seek(0)
            raise RuntimeError(f'{" ".join(argv)}: {errors.read().decode()[-500:] or status}')
    return Used(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def drop_caches():
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w', encoding='ascii') as f:
        f.write('3')


class Trees(Image):
    """A file system with the trees that were asked for."""

    def __init__(self, kind, folder, size, corpus):
        super().__init__(kind, os.path.join(folder, kind), size)
        self.kind, self.corpus = kind, corpus

    def path(self, name):
        return os.path.join(self.mnt, name)

    def source(self, name):
        """One of the inputs, made when it is first asked for."""
        path = self.path(name)
        if not os.path.exists(path):
            INPUTS[name](self, path)
            sh('sync', '-f', self.mnt)
        return path


@contextlib.contextmanager
def image_for(b, kind):
    corpus = sh(os.path.join(ROOT, 'tools/corpus'), b.args.corpus).strip()
    image = Trees(kind, b.run, b.args.size, corpus)
    try:
        yield image
    finally:
        image.undo.close()


def make_corpus(image, path):
    sh('cp', '-a', '--reflink=never', image.corpus, path)


def make_files(path, n, size, each):
    """n files of that size, so many in a directory."""
    os.mkdir(path)
    data = os.urandom(size)
    for i in range(n):
        if i % each == 0:
            folder = os.path.join(path, f'{i // each:04}')
            os.mkdir(folder)
        with open(os.path.join(folder, f'{i:06}'), 'wb', buffering=0) as f:
            f.write(data)


INPUTS = {
    'corpus': make_corpus,
    'small': lambda image, path: make_files(path, 200000, 1024, 200),
    'flat': lambda image, path: make_files(path, 100000, 1024, 100000),
    'large': lambda image, path: (os.mkdir(path), [
        sh('dd', 'if=/dev/urandom', f'of={path}/{i}', 'bs=1M', 'count=4096', 'status=none')
        for i in range(4)]),
}


class Engine:
    """The programs, by the name that the report gives them."""

    def __init__(self, build):
        self.engine = os.path.join(build, 'tools/fsbench/engine')
        for program in (self.engine, *map(shutil.which, ('rsync', 'tar', 'cp', 'rm'))):
            if not program or not os.access(program, os.X_OK):
                raise RuntimeError(f'{program or "rsync"} is missing; build first, and run '
                                   'tools/install-deps bench')

    def copies(self, src, dst):
        return {
            'engine': [self.engine, 'copy', src, dst],
            'cp -a': ['cp', '-a', '--reflink=never', src, dst],
            'tar': f"mkdir '{dst}' && tar -C '{src}' --acls --xattrs -cf - . | "
                   f"tar -C '{dst}' --acls --xattrs -xpf -",
            'rsync': ['rsync', '-aHAXS', '--whole-file', f'{src}/', f'{dst}/'],
        }

    def reflinks(self, src, dst):
        return {
            'engine': [self.engine, '--reflink', 'copy', src, dst],
            'cp -a --reflink': ['cp', '-a', '--reflink=always', src, dst],
        }

    def removals(self, dst):
        return {'engine': [self.engine, 'remove', dst], 'rm -rf': ['rm', '-rf', dst]}


def verify(src, dst):
    """Content, mode, owner, times in ns, xattrs, ACLs, link groups: the whole, by another hand."""
    said = sh('rsync', '-aHAXn', '--checksum', '--delete', '--itemize-changes',
              '--modify-window=-1', f'{src}/', f'{dst}/')
    if said:
        raise RuntimeError(f'{dst} is not {src}: {said[:300]}')
