# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is asked of fsd, and what it changes: each operation makes what it needs, then says how the
state of the pools has to look when its job is done. (Not done, nothing may have changed.)"""

import copy
import itertools
import json
import os
import uuid

import state
from daemon import Call
from state import ANYTHING, parked
from store import libc

EMPTY = None  # the fingerprint of an empty tree; the world finds it out


class Ask:
    """A request; `change(state, job)` does to the expected state what its job does when done.

    dirty: [(pool, site, generation, fingerprint)] written without fsync before: after a power cut
    they may hold less. heals: the catalog may differ from the pool until the job is done. may_fail:
    another job may take away what this one needs. visited: a file that can be read all the time,
    whether fsd runs or not.
    """

    def __init__(self, request, change, dirty=(), heals=False, may_fail=False, visited=None):
        self.request, self.change, self.heals = request, change, heals
        self.dirty, self.may_fail, self.visited = dirty, may_fail, visited
        request['note'] = uuid.uuid4().hex  # by which its job is found again

    def begin(self, daemon):
        """With the crash armed: the Call."""
        return Call(daemon, self.request)

    def pending(self):
        """What of it goes on when no job does; '' when nothing."""
        return ''


# ---- making trees ----

def fill(tree, seed):
    """A small tree with a bit of everything; another seed changes some of it."""
    (tree / 'a' / 'deep').mkdir(parents=True, exist_ok=True)
    for name, size in (('index.php', 700), ('a/empty', 0), ('a/page.html', 5000),
                       ('a/deep/image', 70000)):
        (tree / name).write_bytes((f'{name} {seed} '.encode() * (size // 8 + 1))[:size])
    (tree / f'only-{seed}').write_text(f'{seed}\n')
    for name, make in (('link', lambda p: p.symlink_to('a/page.html')),
                       ('twin', lambda p: p.hardlink_to(tree / 'index.php'))):
        if not os.path.lexists(tree / name):
            make(tree / name)
    (tree / 'a' / 'private').write_text('secret')
    os.chmod(tree / 'a' / 'private', 0o640)
    os.chown(tree / 'a' / 'private', 1000, 1001)
    os.utime(tree / 'a' / 'page.html', (1000000000 + seed, 1000000000 + seed))


def sync(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc.syncfs(fd)
    finally:
        os.close(fd)


# ---- pieces of the expected state ----

def new_site(tree, linked=None):
    return {'id': ANYTHING, 'live': 1, 'protected': False, 'labels': {}, 'linked': linked,
            'generations': {1: {'tree': tree, 'retired': False}}}


def new_snapshot(tree, live, kind='user'):
    return {'id': ANYTHING, 'live': live, 'kind': kind, 'labels': {}, 'holds': [], 'tree': tree}


def switch(site, number):
    if site['live'] != number:
        site['generations'][site['live']]['retired'] = True
    site['generations'][number]['retired'] = False
    site['live'] = number


# ---- the world the operations act in ----

class Scene:
    """Names for new things, and what the state says about old ones, in pool main."""

    def __init__(self, world):
        self.world = world
        self.numbers = itertools.count(1)

    def new(self, prefix):
        return f'{prefix}{next(self.numbers)}'

    @property
    def pool(self):
        return self.world.state['pools']['main']

    def site(self, name):
        return self.pool['sites'][name]

    def live_tree(self, name):
        site = self.site(name)
        return site['generations'][site['live']]['tree']

    def snapshot(self, site, name):
        return self.pool['snapshots'][f'{self.site(site)["id"]}/{name}']

    def path(self, site, generation=None):
        folder = self.world.pools['main'] / 'sites' / site
        return folder / f'gen/{generation}/tree' if generation else folder / 'live'

    def run(self, ask):
        """Unarmed, as preparation."""
        return self.world.run(ask)

    def write(self, site, seed, generation=None, durable=True):
        """Change a tree as its users do."""
        generation = generation or self.site(site)['live']
        tree = self.path(site, generation)
        fill(tree, seed)
        if durable:
            sync(tree)
        self.site(site)['generations'][generation]['tree'] = state.fingerprint(tree)

    def dirty(self, site):
        return [('main', site, self.site(site)['live'], self.live_tree(site))]

    def spare(self, site):
        """A generation that is not live, made if there is none."""
        others = [n for n in self.site(site)['generations'] if n != self.site(site)['live']]
        if not others:
            return self.run(generation_create(self, site))['result']['generation']['number']
        return others[-1]

    def retired(self, site):
        """A retired one."""
        gens = self.site(site)['generations']
        numbers = [n for n, g in gens.items() if g['retired']]
        if not numbers:
            old = self.site(site)['live']
            self.run(publish(self, site, self.spare(site)))
            return old
        return numbers[0]


# ---- sites ----

def site_create(s, site=None, name=None):
    name = name or s.new('new')

    def change(st, job):
        st['pools']['main']['sites'][name] = new_site(EMPTY)
    return Ask({'kind': 'site-create', 'name': name, 'pool': 'main'}, change)


def site_from(s, kind, source, tree, pool='main', dirty=()):
    name = s.new('copy')
    field = 'from' if kind == 'site-create' else 'source'

    def change(st, job):
        st['pools'][pool]['sites'][name] = new_site(tree)
    return Ask({'kind': kind, 'name': name, 'pool': pool, field: source}, change, dirty)


def site_create_from(s, site='alpha'):
    return site_from(s, 'site-create', f'{site}@base', s.snapshot(site, 'base')['tree'])


def clone_live(s, site='alpha'):
    return site_from(s, 'clone', site, s.live_tree(site))


def clone_dirty(s, site='alpha'):
    s.write(site, next(s.numbers), durable=False)
    return site_from(s, 'clone', site, s.live_tree(site),
                     dirty=s.dirty(site))


def clone_snapshot(s, site='alpha'):
    return site_from(s, 'clone', f'{site}@base', s.snapshot(site, 'base')['tree'])


def clone_generation(s, site='alpha'):
    number = s.spare(site)
    return site_from(s, 'clone', f'{site}:{number}', s.site(site)['generations'][number]['tree'])


def clone_other_pool(s, site='alpha'):
    return site_from(s, 'clone', f'{site}@base', s.snapshot(site, 'base')['tree'], 'other')


def clone_live_other_pool(s, site='alpha'):
    return site_from(s, 'clone', site, s.live_tree(site), 'other')


def site_set(s, site='alpha'):
    value = s.new('v')
    protect = s.new('p')[-1] in '02468'

    def change(st, job):
        target = st['pools']['main']['sites'][site]
        target['labels'] = {**target['labels'], 'round': value}
        target['protected'] = protect
    return Ask({'kind': 'site-set', 'site': site,
                'set': {'label.round': value, 'protected': 'yes' if protect else 'no'}}, change)


def site_rename(s, site='alpha'):
    name = s.new('name')
    victim = s.new('old')
    s.run(clone_named(s, site, victim))

    def change(st, job):
        sites = st['pools']['main']['sites']
        sites[name] = sites.pop(victim)
    return Ask({'kind': 'site-rename', 'site': victim, 'name': name}, change)


def clone_named(s, site, name):
    ask = clone_snapshot(s, site)
    tree = s.snapshot(site, 'base')['tree']
    ask.request['name'] = name
    ask.change = lambda st, job: st['pools']['main']['sites'].update({name: new_site(tree)})
    return ask


def delete(s, name):
    ident = s.site(name)['id']

    def change(st, job):
        pool = st['pools']['main']
        pool['deleted'][ident] = parked(name, pool['sites'].pop(name))
    return Ask({'kind': 'site-delete', 'site': name}, change)


def site_delete(s, site='alpha'):
    victim = s.new('gone')
    s.run(clone_named(s, site, victim))
    return delete(s, victim)


def delete_published(s, site='alpha'):
    """Soon after a publish, whose kept link is still there, and on the disk."""
    ask = site_delete(s, site)
    s.run(generation_create(s, ask.request['site']))
    s.run(publish(s, ask.request['site'], 2))
    sync(s.world.pools['main'])
    return ask


def site_undelete(s, site='alpha'):
    """Of one whose time was over: its document is changed first."""
    victim = s.new('gone')
    s.run(clone_named(s, site, victim))
    ident = s.site(victim)['id']
    s.run(delete(s, victim))
    document = s.world.pools['main'] / '.fsd/deleted' / ident / 'site.json'
    document.write_text(json.dumps({**json.loads(document.read_text()), 'expires': 1}))
    sync(document.parent)
    name = s.new('back')

    def change(st, job):
        pool = st['pools']['main']
        pool['sites'][name] = pool['deleted'].pop(ident)['site']
    return Ask({'kind': 'site-undelete', 'site': ident, 'name': name}, change)


def delete_in_queue(s, site='alpha'):
    """Beside jobs that do theirs before it, or find their site gone."""
    ask = site_delete(s, site)
    victim = ask.request['site']
    s.run(generation_create(s, victim))
    others = [publish(s, victim, 2), snapshot(s, victim), generation_create(s, victim)]
    for other in others:
        other.may_fail = True
    return [ask, *others]


def snapshot_measure(s, site='alpha'):
    return Ask({'kind': 'snapshot-measure', 'source': f'{site}@base'}, lambda st, job: None)


def site_measure(s, site='alpha'):
    return Ask({'kind': 'site-measure', 'site': site}, lambda st, job: None)


# ---- snapshots ----

def snapshot(s, site='alpha', dirty=()):
    name = s.new('snap')
    key = f'{s.site(site)["id"]}/{name}'

    def change(st, job):
        of = st['pools']['main']['sites'][site]
        st['pools']['main']['snapshots'][key] = {
            **new_snapshot(of['generations'][of['live']]['tree'], of['live']),
            'labels': of['labels']}
    return Ask({'kind': 'snapshot', 'site': site, 'name': name}, change, dirty)


def snapshot_dirty(s, site='alpha'):
    s.write(site, next(s.numbers), durable=False)
    return snapshot(s, site, s.dirty(site))


def snapshot_first(s, site='alpha'):
    """Of a site that has none: its folder is made too."""
    name = s.new('fresh')
    s.run(clone_named(s, site, name))
    return snapshot(s, name)


def made_snapshot(s, site):
    ask = snapshot(s, site)
    s.run(ask)
    name = ask.request['name']
    return f'{site}@{name}', f'{s.site(site)["id"]}/{name}'


def snapshot_delete(s, site='alpha'):
    source, key = made_snapshot(s, site)
    return Ask({'kind': 'snapshot-delete', 'source': source},
               lambda st, job: st['pools']['main']['snapshots'].pop(key))


def hold(source, key, tag, on):
    def change(st, job):
        snap = st['pools']['main']['snapshots'][key]
        snap['holds'] = sorted({*snap['holds'], tag} if on else {*snap['holds']} - {tag})
    return Ask({'kind': 'snapshot-hold', 'source': source, 'hold': on, 'tag': tag}, change)


def snapshot_hold(s, site='alpha'):
    source, key = made_snapshot(s, site)
    return hold(source, key, s.new('tag'), True)


def snapshot_release(s, site='alpha'):
    source, key = made_snapshot(s, site)
    s.run(hold(source, key, 'tag', True))
    return hold(source, key, 'tag', False)


def snapshot_set(s, site='alpha'):
    source, key = made_snapshot(s, site)
    value = s.new('v')

    def change(st, job):
        snap = st['pools']['main']['snapshots'][key]
        snap['labels'] = {**snap['labels'], 'round': value}
    return Ask({'kind': 'snapshot-set', 'source': source, 'set': {'label.round': value}}, change)


# ---- generations ----

def generation_create(s, site='alpha', dirty=()):
    tree = s.live_tree(site)

    def change(st, job):
        number = job['result']['generation']['number']
        st['pools']['main']['sites'][site]['generations'][number] = {'tree': tree, 'retired': False}
    return Ask({'kind': 'generation-create', 'site': site}, change, dirty)


def generation_dirty(s, site='alpha'):
    s.write(site, next(s.numbers), durable=False)
    return generation_create(s, site, s.dirty(site))


def generation_delete(s, site='alpha'):
    number = s.run(generation_create(s, site))['result']['generation']['number']
    return Ask({'kind': 'generation-delete', 'site': site, 'generation': number},
               lambda st, job: st['pools']['main']['sites'][site]['generations'].pop(number))


def generation_retire(s, site='alpha'):
    number = s.retired(site)
    key = f'{s.site(site)["id"]}/undo-{number}'
    tree = s.site(site)['generations'][number]['tree']

    def change(st, job):
        pool = st['pools']['main']
        pool['sites'][site]['generations'].pop(number)
        pool['snapshots'][key] = new_snapshot(tree, number, 'undo')
    return Ask({'kind': 'generation-retire', 'site': site, 'generation': number}, change)


def publish(s, site='alpha', number=None):
    number = number or s.spare(site)
    return Ask({'kind': 'publish', 'site': site, 'generation': number},
               lambda st, job: switch(st['pools']['main']['sites'][site], number))


def publish_mend(s, site='alpha'):
    """The link was lost by other hands: publishing mends it, and retires nothing."""
    name = s.new('broken')
    s.run(clone_named(s, site, name))
    (s.world.pools['main'] / 'sites' / name / 'live').unlink()
    sync(s.world.pools['main'])
    s.site(name)['live'] = None
    ask = publish(s, name, 1)
    ask.change = lambda st, job: st['pools']['main']['sites'][name].update({'live': 1})
    ask.heals = True
    return ask


def rollback(s, site='alpha'):
    s.retired(site)
    return Ask({'kind': 'rollback', 'site': site},
               lambda st, job: switch(st['pools']['main']['sites'][site],
                                      job['result']['generation']))


def restore(s, site='alpha'):
    tree = s.snapshot(site, 'base')['tree']

    def change(st, job):
        target = st['pools']['main']['sites'][site]
        number = job['result']['generation']
        target['generations'][number] = {'tree': tree, 'retired': False}
        switch(target, number)
    return Ask({'kind': 'restore', 'source': f'{site}@base', 'site': site}, change)


def restore_to(s, site='alpha'):
    """A copy beside the pools, which nothing in them tells of."""
    name, tree = s.new('out'), s.snapshot(site, 'base')['tree']

    def change(st, job):
        st['outside'][name] = tree
    return Ask({'kind': 'restore-to', 'source': f'{site}@base',
                'dir': str(s.world.root / 'outside' / name)}, change)


# ---- undo ----

def undo(s, ask, change):
    """Of a job that is run first."""
    job = s.run(ask)
    return Ask({'kind': 'undo', 'job': job['id']}, change)


def undo_switch(s, ask, site):
    return undo(s, ask, lambda st, job: switch(st['pools']['main']['sites'][site],
                                               job['result']['generation']))


def undo_restore(s, site='alpha'):
    return undo_switch(s, restore(s, site), site)


def undo_publish(s, site='alpha'):
    return undo_switch(s, publish(s, site), site)


def undo_retiring(s, site='alpha'):
    """Of a publish, while what it retired becomes its undo snapshot: one of both comes first."""
    job = s.run(publish(s, site))
    number = job['result']['retired']
    tree = s.site(site)['generations'][number]['tree']
    key = f'{s.site(site)["id"]}/undo-{number}'

    def retire(st, job):
        st['pools']['main']['sites'][site]['generations'].pop(number)
        st['pools']['main']['snapshots'][key] = new_snapshot(tree, number, 'undo')

    def go_back(st, job):
        target, made = st['pools']['main']['sites'][site], job['result']['generation']
        target['generations'].setdefault(made, {'tree': tree, 'retired': False})
        switch(target, made)
    return [Ask({'kind': 'generation-retire', 'site': site, 'generation': number}, retire,
                may_fail=True),
            Ask({'kind': 'undo', 'job': job['id']}, go_back)]


def undo_rename(s, site='alpha'):
    ask = site_rename(s, site)

    def change(st, job):
        sites = st['pools']['main']['sites']
        sites[ask.request['site']] = sites.pop(ask.request['name'])
    return undo(s, ask, change)


def undo_delete(s, site='alpha'):
    ask = site_delete(s, site)
    name, ident = ask.request['site'], s.site(ask.request['site'])['id']

    def change(st, job):
        pool = st['pools']['main']
        pool['sites'][name] = pool['deleted'].pop(ident)['site']
    return undo(s, ask, change)


def undo_set(s, site='alpha'):
    s.run(site_set(s, site))
    before = {k: copy.deepcopy(s.site(site)[k]) for k in ('labels', 'protected')}
    return undo(s, site_set(s, site),
                lambda st, job: st['pools']['main']['sites'][site].update(copy.deepcopy(before)))


# ---- pools ----

def pool_scan(s, site='alpha'):
    """A site that other hands took away and, next time, brought back."""
    away = s.world.root / 'away'
    sites = s.world.pools['main'] / 'sites'
    parked = list(away.iterdir()) if away.exists() else []
    if parked:
        name = parked[0].name
        os.rename(parked[0], sites / name)
        s.pool['sites'][name] = state.site(sites / name, [])
    else:
        name = s.new('walker')
        s.run(clone_named(s, site, name))
        away.mkdir(exist_ok=True)
        os.rename(sites / name, away / name)
        del s.pool['sites'][name]
    sync(s.world.root)
    return Ask({'kind': 'pool-scan', 'pool': 'main'}, lambda st, job: None, heals=True)


def pool_check(s, site='alpha'):
    return Ask({'kind': 'pool-check', 'pool': 'main'}, lambda st, job: None)


OPERATIONS = {f.__name__.replace('_', '-'): f for f in (
    site_create, site_create_from, clone_live, clone_dirty, clone_snapshot, clone_generation,
    clone_other_pool, clone_live_other_pool, site_set, site_rename, site_delete, site_undelete,
    delete_published, delete_in_queue, site_measure, snapshot, snapshot_first, snapshot_dirty,
    snapshot_delete, snapshot_hold, snapshot_release, snapshot_set, snapshot_measure,
    generation_create, generation_dirty, generation_delete, generation_retire, publish,
    publish_mend, rollback, restore, restore_to, undo_restore, undo_publish, undo_retiring,
    undo_rename, undo_delete, undo_set, pool_scan, pool_check)}

from in_place import OPERATIONS as IN_PLACE  # these stand on what is above
from late import OPERATIONS as ALONE

OPERATIONS.update(IN_PLACE)
OPERATIONS.update(ALONE)
