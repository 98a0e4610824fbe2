# SPDX-License-Identifier: LGPL-2.1-or-later
"""Late writes: a directory is copied, written to, and then its copy takes its place. And what was
kept of it, when undo_keep is over.

Each of these has the daemon for itself: it is held at a step, or started anew."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import time

import state
from daemon import TIMEOUT, Call
from in_place import directory, imported
from operations import Ask, clone_named, new_site, sync

# ---- what is written ----

# Paths of what fill() makes: rewritten in place (a name each, but the pair), replaced, or chmodded.
CHANGED = ('a/page.html', 'index.php', 'link', 'a/private', 'only')
PAIR = ('index.php', 'twin', 'a/third')  # names of one inode, the last a new one
ADDED = ('new', 'a/deep/new', 'dir/inner', 'dir/deep/inner')


def write(tree, path, text):
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_text(f'{path}: {text}')


def write_late(old, only):
    """Every content is of its path, so that one under another's name is seen."""
    for path in ('a/page.html', 'index.php', only, *ADDED):
        write(old, path, f'late, {"x" * 5000}')
    os.link(old / PAIR[0], old / PAIR[2])
    (old / 'link').unlink()
    (old / 'link').symlink_to('a/deep')
    os.chmod(old / 'a/private', 0o600)


def write_both(old, new):
    """Who won is not to be decided: the new tree keeps its own."""
    write(old, 'both', 'late')
    write(new, 'both', 'a visitor')
    write(new, 'a/visitor', 'a visitor')


def content(tree, path):
    p = tree / path
    if p.is_symlink():
        return os.readlink(p)
    return f'{hashlib.blake2b(p.read_bytes(), digest_size=8).hexdigest()} {p.stat().st_mode:o}'


def merged(old, new, where):
    """The fingerprint of what is to come of both, on the file system of `where`."""
    model = where / 'try'
    model.mkdir()
    subprocess.run(['cp', '-a', f'{old}/.', str(model)], check=True)
    for path in ('both', 'a/visitor'):
        if (new / path).exists():
            subprocess.run(['cp', '-a', str(new / path), str(model / path)], check=True)
    fingerprint = state.fingerprint(model)
    shutil.rmtree(model)
    return fingerprint


# ---- a job that is held ----

class Late(Ask):
    """Asked for already, and held behind its copy; it goes on when the crash is armed."""

    def __init__(self, s, ask, step):
        super().__init__(ask.request, ask.change)
        self.control = s.world.daemon.control
        since = self.control.count()
        self.control.hold(step)
        self.call = Call(s.world.daemon, self.request)
        self.control.wait(step, since)

    def begin(self, daemon):
        self.control.hold('')
        return self.call


class Merge:
    """What a late merge has to come to, of `old`'s late writes into `new`; they are written."""

    def __init__(self, s, old, new, only, conflict):
        names = [only if p == 'only' else p for p in (*CHANGED, PAIR[1])]
        self.before = {p: content(new, p) for p in names}
        write_late(old, only)
        if conflict:
            write_both(old, new)
        for fs in (s.world.root, s.world.elsewhere):
            sync(fs)
        self.conflict = conflict

    def check(self, job, work):
        """What was replaced is kept under the name its item gives it, and what is left is told."""
        kept = json.loads((work / 'plan.json').read_text())
        assert kept['done'] and kept['job'] == job['id'], kept
        found = {i['path']: content(work, i['name']) for i in kept['items']}
        assert found == self.before, f'{work} has {found}, not {self.before}'
        names = {i['name'] for i in kept['items']} | {'plan.json', '.fsd-work'}
        assert {e.name for e in work.iterdir()} == names, f'left in {work}: {os.listdir(work)}'
        warnings = [w for w in job['result'].get('warnings', []) if 'both in' in w]
        assert len(warnings) == self.conflict, job['result']


def late_directory(s, elsewhere=False):
    """A directory of fill()'s with what the merge needs; elsewhere: beside the catalog, so that it
    cannot be renamed into a pool."""
    path, _ = directory(s)
    write(path, 'both', 'old')
    if elsewhere:
        there = s.world.elsewhere / path.name
        subprocess.run(['cp', '-a', str(path), str(there)], check=True)
        shutil.rmtree(path)
        path = there
    wait_until_older(path)
    return path


def wait_until_older(path):
    """What is written from now on has a newer ctime than all that is there."""
    newest = max(p.lstat().st_ctime_ns for p in [path, *path.rglob('*')])
    while time.clock_gettime_ns(5) <= newest:  # CLOCK_REALTIME_COARSE
        time.sleep(0.001)


def only_of(tree):
    return next(p.name for p in tree.iterdir() if p.name.startswith('only-'))


# ---- import ----

def import_late(s, path, mode, conflict=True):
    only = only_of(path)

    def change(st, job, name):
        live = s.path(name).resolve()
        aside = f'{path.name}.fsd-{job["id"]}'
        merge.check(job, live / f'.fsd-{job["id"]}')
        assert bool(job['result'].get('failed')) == conflict, job['result']
        linked = str(path) if mode == 'link' else None
        st['pools']['main']['sites'][name] = new_site(tree, linked)
        st['outside'][aside] = st['outside'].pop(path.name)
        if linked:
            st['outside'][path.name] = f'-> {s.path(name)}'

    ask = Late(s, imported(path, mode, change), 'renamed')
    new = s.path(ask.request['name']).resolve()
    merge = Merge(s, path, new, only, conflict)
    tree = merged(path, new, s.world.root)
    s.world.state['outside'][path.name] = state.fingerprint(path)
    return ask


def import_link_late(s, site=None):
    return import_late(s, late_directory(s), 'link')


def import_move_late(s, site=None):
    return import_late(s, late_directory(s, elsewhere=True), 'move')


# ---- eject ----

def eject_late(s, site='alpha'):
    """To where a rename does not lead."""
    name = s.new('out')
    path = s.world.elsewhere / name
    s.run(clone_named(s, site, name))
    live = s.path(name)
    write(live, 'both', 'old')
    sync(live)
    s.site(name)['generations'][1]['tree'] = state.fingerprint(live)
    wait_until_older(live.resolve())
    only = only_of(live)

    def change(st, job):
        pool = st['pools']['main']
        beside = f'{name}.fsd-{job["id"]}'
        merge.check(job, path.parent / beside)
        assert len(job['result'].get('failed', [])) == 1, job['result']  # the conflict
        gone = pool['sites'].pop(name)
        pool['deleted'][gone['id']] = state.parked(name, gone)
        st['outside'].update({name: tree, beside: state.ANYTHING})

    ask = Late(s, Ask({'kind': 'site-eject', 'site': name, 'dir': str(path)}, change),
               'copy_out.placed')
    merge = Merge(s, live, path, only, True)
    tree = merged(live, path, s.world.elsewhere)
    s.site(name)['generations'][1]['tree'] = state.fingerprint(live)
    return ask


# ---- what was kept, when its time is over ----

class Restarted(Ask):
    """fsd is started with undo_keep over; the job, of another site, is there to see that it serves.
    pending: is there something left that has to go, or to be told?"""

    def __init__(self, s, pending, change):
        super().__init__({'kind': 'site-measure', 'site': 'beta'}, change)
        self.pending = pending
        s.world.daemon.stop()
        s.world.daemon.configure('undo_keep = 1s')
        end = time.time() + 1.1
        while time.time() <= end:
            time.sleep(0.01)

    def begin(self, daemon):
        daemon.start()
        return Call(daemon, self.request)


def ended(s, ask):
    """Go on without a crash: the job."""
    call = ask.begin(s.world.daemon)
    call.join(TIMEOUT)
    ask.change(s.world.state, call.ended)
    s.world.adopt()
    return call.ended


def told(s):
    return {(e['kind'], e['data']['directory']) for e in s.world.daemon.items('/v1/events')
            if e['kind'].endswith('.late_writes')}


def kept(s):
    """A site that was imported, and its late writes merged: its name, what was put aside, the work
    directory."""
    s.world.reset()  # also undo_keep
    ask = import_late(s, late_directory(s), 'link', conflict=False)
    job = ended(s, ask)['id']
    name = ask.request['name']
    return (name, pathlib.Path(f'{ask.request["dir"]}.fsd-{job}'),
            s.path(name).resolve() / f'.fsd-{job}')


def is_parked(s, site):
    return 'parked' in state.load(s.path(site).parent / 'site.json')


def kept_swept(s, site=None):
    name, aside, work = kept(s)
    del s.world.state['outside'][aside.name]

    def pending():
        left = [str(p) for p in [aside, *work.parent.glob('.fsd-*')] if p.exists()]
        return left or (is_parked(s, name) and f'"parked" of {name}')
    return Restarted(s, pending, lambda st, job: None)


def kept_written(s, site=None):
    """Somebody still held both, and wrote into them: they are told, and stay; the work directory
    for another undo_keep, which may be over after a crash more."""
    name, aside, work = kept(s)
    plan = json.loads((work / 'plan.json').read_text())
    taken = next(i['name'] for i in plan['items'] if i['path'] == 'a/page.html')
    wait_until_older(work)
    write(aside, 'later', 'later')
    (work / taken).write_text('later')
    sync(s.world.root)
    s.world.state['outside'][aside.name] = state.fingerprint(aside)

    def pending():
        return (is_parked(s, name) and f'"parked" of {name}') or (
            work.exists() and 'looked' not in state.load(work / 'plan.json') and str(work))

    def change(st, job):
        assert {('import.late_writes', str(aside)), ('replaced.late_writes', str(work))} <= told(s)
    return Restarted(s, pending, change)


def kept_ejected(s, site='alpha'):
    """The same of a site that was ejected by copy, with what it alone has."""
    s.world.reset()  # also undo_keep
    ask = eject_late(s, site)
    site = s.site(ask.request['site'])['id']
    ended(s, ask)
    folder = s.world.pools['main'] / '.fsd/deleted' / site

    def is_told():
        return ('eject.late_writes', str(folder / 'gen/1/tree')) in told(s)

    def pending():
        return not is_told() and str(folder)

    def change(st, job):
        assert is_told()
        if not folder.exists():
            del st['pools']['main']['deleted'][site]
    return Restarted(s, pending, change)


OPERATIONS = {f.__name__.replace('_', '-'): f for f in (
    import_link_late, import_move_late, eject_late, kept_swept, kept_written, kept_ejected)}
