# SPDX-License-Identifier: LGPL-2.1-or-later
"""A daemon over pools whose power can be cut, and what is known about them."""

import contextlib
import copy
import pathlib
import sqlite3
import time

import operations
import state
from daemon import Daemon, TIMEOUT
from state import differences
from store import Store

# label -> (file system, pool driver)
POOLS = {'btrfs': ('btrfs', 'btrfs'), 'copy-btrfs': ('btrfs', 'copy'), 'copy-xfs': ('xfs', 'copy'),
         'copy-ext4': ('ext4', 'copy')}


class Broken(Exception):
    """A promise was not kept: what, as lines."""

    def __init__(self, lines):
        super().__init__('\n'.join(lines))
        self.lines = lines


class World:
    def __init__(self, label, program, sides=0):
        self.label, self.sides = label, sides
        file_system, driver = POOLS[label]
        self.store = Store(file_system)
        self.root = self.store.pool
        self.elsewhere = self.store.cat / 'outside'  # of another file system
        self.pools = {'main': self.root / 'main', 'other': self.root / 'other'}
        self.daemon = None
        self.pending = list  # what else goes on, as texts
        try:
            self.daemon = Daemon(program, self.store.state, self.store.cat / 'catalog.db',
                                 {name: (path, driver) for name, path in self.pools.items()},
                                 [f'import_from = {self.root / "outside"}'])
            self.scene = operations.Scene(self)
            self.make()
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.daemon:
            self.daemon.close()
        self.store.close()

    # ---- the scene every operation starts from ----

    def make(self):
        s = self.scene
        (self.root / 'outside').mkdir()
        self.elsewhere.mkdir()
        self.begin()
        self.state = self.look()
        self.daemon.run({'kind': 'site-create', 'name': 'alpha', 'pool': 'main'})
        operations.EMPTY = state.fingerprint(s.path('alpha', 1))
        self.state = self.look()
        s.write('alpha', 1)
        base = operations.snapshot(s, 'alpha')
        base.request['name'] = 'base'
        self.daemon.run(base.request)
        self.state = self.look()
        number = self.run(operations.generation_create(s))['result']['generation']['number']
        s.write('alpha', 2, number)
        self.run(operations.publish(s, 'alpha', number))
        self.run(operations.clone_named(s, 'alpha', 'beta'))
        self.run(operations.snapshot(s, 'beta'))
        for n in range(self.sides):  # for rounds with several jobs at once
            name = f'side{n}'
            self.run(operations.clone_named(s, 'alpha', name))
            base = operations.snapshot(s, name)
            base.request['name'] = 'base'
            self.daemon.run(base.request)
            self.state = self.look()
        self.verify(self.state)
        self.template = copy.deepcopy(self.state)
        self.daemon.stop()
        self.store.save('template')

    def reset(self):
        """Back to the scene's beginning, whatever happened."""
        if self.daemon.process:
            self.daemon.kill()
        self.store.drop('cut')
        self.store.load('template')
        self.daemon.configure()
        self.state = copy.deepcopy(self.template)
        self.begin()

    def begin(self):
        self.daemon.control.disarm()
        self.daemon.control.hold('')
        self.pending = list
        assert self.daemon.start(), f'fsd did not start: {self.daemon.log()[-3000:]}'
        self.known = {}  # job -> how it ended, once told
        self.started = time.time()

    def look(self, links=None):
        return state.disk_state([self.root / 'outside', self.elsewhere], self.pools,
                                [] if links is None else links)

    def run(self, ask):
        """Preparation: a job that must be done, taken over into what is expected."""
        job = self.daemon.run(ask.request)
        ask.change(self.state, job)
        self.adopt()
        return job

    def adopt(self):
        """What could not be foretold (ids) becomes known."""
        found = self.look()
        wrong = differences(self.state, found)
        if wrong:
            raise Broken(['without any crash:', *wrong])
        self.state = found

    # ---- promises ----

    def settle(self, stopped=lambda: False):
        """Until all jobs have ended and the trash is empty. True when `stopped` said so first."""
        deadline = time.monotonic() + TIMEOUT
        wait = 0.001
        while not stopped():
            try:
                busy = self.busy()
            except OSError:
                busy = True
                if self.daemon.state() == 'ended':
                    return True
            if not busy:
                return stopped()
            if time.monotonic() > deadline:
                raise Broken(['jobs, trash or what is kept never end',
                              *map(str, [*self.unfinished(), *self.pending(), *self.strays()]),
                              f'last steps: {self.last_steps()}'])
            time.sleep(wait)
            wait = min(2 * wait, 0.05)
        return True

    def last_steps(self):
        control = self.daemon.control
        return control.names(max(1, control.count() - 40), control.count())

    def unfinished(self):
        return [(j['id'], j['kind'], j['state']) for j in self.daemon.items('/v1/jobs')
                if j['state'] in ('queued', 'running')]

    def busy(self):
        return (self.leftovers('trash') or self.unfinished() or self.looks() or self.pending()
                or self.strays())

    def looks(self):
        """Retired generations that are still to be looked into: only the catalog tells the end."""
        try:
            with contextlib.closing(sqlite3.connect(f'file:{self.daemon.catalog}?mode=ro',
                                                    uri=True)) as c:
                return c.execute('SELECT id FROM snapshots WHERE look <> 0').fetchall()
        except sqlite3.Error as e:
            return [e]

    def strays(self):
        """What fsd looks for in each site behind its start."""
        sites = [site for path in map(pathlib.Path, self.pools.values())
                 for site in [*path.glob('sites/*'), *path.glob('.fsd/deleted/*')]]
        return [p for site in sites for p in [*site.glob('live.*'), *site.glob('.site.json.new')]
                if not self.fresh(p)]

    def leftovers(self, folder):
        return [str(e) for path in self.pools.values()
                for e in (pathlib.Path(path) / '.fsd' / folder).glob('*')]

    def verify(self, expected, catalog=True):
        """Compare; what is found becomes what is known."""
        links = []
        try:
            found = self.look(links)
        except (AssertionError, OSError, ValueError) as e:
            raise Broken([f'the pool is damaged: {type(e).__name__}: {e}']) from e
        wrong = differences(expected, found)
        wrong += [f'left in staging: {p}' for p in self.leftovers('staging')]
        wrong += [f'stray link: {p}' for p in links if not self.fresh(p)]
        if catalog:
            wrong += self.check_catalog(found)
        wrong += self.check_jobs()
        if wrong:
            raise Broken(wrong)
        self.state = found

    def check_catalog(self, found):
        told = state.catalog_state(self.daemon, self.pools)
        wrong = [f'catalog: {line}' for line in differences(told, found['pools'])]
        for name in self.pools:
            result = self.daemon.run({'kind': 'pool-check', 'pool': name})['result']
            wrong += [f'pool check: {p}' for p in result['problems']]
        return wrong

    def fresh(self, link):
        """Kept by a publish since the start: swept a few seconds after it, perhaps just now."""
        try:
            made = link.lstat().st_ctime
        except FileNotFoundError:
            return True
        return made >= self.started - 0.1 and link.name.startswith('live.old.')

    def check_jobs(self):
        """No job that had ended may change its mind."""
        jobs = {j['id']: j['state'] for j in self.daemon.items('/v1/jobs')}
        wrong = [f'job {j} was {was}, now {jobs.get(j)}' for j, was in self.known.items()
                 if jobs.get(j) != was]
        self.known.update(jobs)
        return wrong
