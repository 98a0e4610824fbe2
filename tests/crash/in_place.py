# SPDX-License-Identifier: LGPL-2.1-or-later
"""Operations on directories outside of the pools, and changes in place."""

import os
import shutil
import subprocess

import operations
import state
from operations import Ask, clone_named, fill, new_site, sync, undo

# ---- import ----


def directory(s, subvolume=False):
    """A new one beneath `outside`, durable and known: its path and fingerprint."""
    name = s.new('dir')
    path = s.world.root / 'outside' / name
    if subvolume:
        subprocess.run(['btrfs', '-q', 'subvolume', 'create', str(path)], check=True)
    else:
        path.mkdir()
    fill(path, next(s.numbers))
    os.chown(path, 1000, 1000)
    sync(s.world.root)
    s.world.state['outside'][name] = state.fingerprint(path)
    return path, s.world.state['outside'][name]


def imported(path, mode, change):
    name = path.name.replace('dir', 'import')
    return Ask({'kind': 'site-import', 'name': name, 'dir': str(path), 'mode': mode,
                'pool': 'main'}, lambda st, job: change(st, job, name))


def import_copy(s, site=None):
    path, tree = directory(s)

    def change(st, job, name):
        st['pools']['main']['sites'][name] = new_site(tree)
    return imported(path, 'copy', change)


def import_move(s, site=None, subvolume=False):
    """By rename where the pool copies, by copy on btrfs: then it is put aside."""
    path, tree = directory(s, subvolume)

    def change(st, job, name):
        st['pools']['main']['sites'][name] = new_site(tree)
        del st['outside'][path.name]
        if s.world.label == 'btrfs' and not subvolume:
            st['outside'][f'{path.name}.fsd-{job["id"]}'] = tree
    return imported(path, 'move', change)


def import_subvolume(s, site=None):
    """By rename on btrfs too."""
    return import_move(s, subvolume=s.world.label == 'btrfs')


def import_link(s, site=None):
    path, tree = directory(s)

    def change(st, job, name):
        st['pools']['main']['sites'][name] = new_site(tree, linked=str(path))
        st['outside'][path.name] = f'-> {s.path(name)}'
        st['outside'][f'{path.name}.fsd-{job["id"]}'] = tree
    return imported(path, 'link', change)


# ---- eject ----

def ejected(s, name, path):
    """Given away where the pool copies, copied on btrfs."""
    moved = s.world.label != 'btrfs'

    def change(st, job):
        pool = st['pools']['main']
        site = pool['sites'].pop(name)
        st['outside'][path.name] = site['generations'][site['live']]['tree']
        site['linked'] = None
        if moved:
            del site['generations'][site['live']]
        if site['generations']:
            site['live'] = max(site['generations'])
            site['generations'][site['live']]['retired'] = False
            pool['deleted'][site['id']] = state.parked(name, site)
    return Ask({'kind': 'site-eject', 'site': name, 'dir': str(path)}, change)


def eject(s, site='alpha'):
    name = s.new('out')
    s.run(clone_named(s, site, name))
    return ejected(s, name, s.world.root / 'outside' / name)


def eject_one_of_two(s, site='alpha'):
    name = s.new('out')
    s.run(clone_named(s, site, name))
    s.run(operations.publish(s, name, s.spare(name)))
    return ejected(s, name, s.world.root / 'outside' / name)


def eject_linked(s, site=None):
    ask = import_link(s)
    s.run(ask)
    name = ask.request['name']
    return ejected(s, name, s.world.root / 'outside' / name.replace('import', 'dir'))


# ---- rename ----


def renamed(s, old, new, path):
    def change(st, job):
        sites = st['pools']['main']['sites']
        sites[new] = sites.pop(old)
        st['outside'][path.name] = f'-> {s.path(new)}'
    return Ask({'kind': 'site-rename', 'site': old, 'name': new}, change,
               visited=path / 'index.php')


def rename_linked(s, site=None):
    """Whoever comes by the directory that was imported is to find the site all the time."""
    ask = import_link(s)
    s.run(ask)
    name = ask.request['name']
    return renamed(s, name, s.new('name'), s.world.root / 'outside' / name.replace('import', 'dir'))


def undo_rename_linked(s, site=None):
    ask = rename_linked(s)
    back = renamed(s, ask.request['name'], ask.request['site'], ask.visited.parent)
    job = s.run(ask)
    return Ask({'kind': 'undo', 'job': job['id']}, back.change, visited=back.visited)


def undelete_linked(s, site=None):
    """By another name, which the directory that was imported is to lead to."""
    ask = rename_linked(s)
    old, new = ask.request['site'], ask.request['name']
    ident = s.site(old)['id']
    s.run(operations.delete(s, old))
    path = ask.visited.parent

    def change(st, job):
        pool = st['pools']['main']
        pool['sites'][new] = pool['deleted'].pop(ident)['site']
        st['outside'][path.name] = f'-> {s.path(new)}'
    return Ask({'kind': 'site-undelete', 'site': ident, 'name': new}, change)


def undelete_unlinked(s, site=None):
    """The directory is by now that of another site, which has the old name."""
    ask = undelete_linked(s)
    ident, new = ask.request['site'], ask.request['name']
    old = s.pool['deleted'][ident]['name']
    s.run(operations.site_create(s, name=old))

    def change(st, job):
        pool = st['pools']['main']
        pool['sites'][new] = pool['deleted'].pop(ident)['site']
        pool['sites'][new]['linked'] = None
    return Ask({'kind': 'site-undelete', 'site': ident, 'name': new}, change)


# ---- restore of paths ----

PATHS = ['a', 'only-1']


def restored(s, site):
    """The fingerprint of the live tree once PATHS are the base snapshot's: tried on a copy."""
    ident, live = s.site(site)['id'], s.path(site)
    base = s.world.pools['main'] / f'.fsd/snapshots/{ident}/base/live'
    copy = s.world.root / 'try'
    copy.mkdir()
    subprocess.run(['cp', '-a', f'{live}/.', str(copy)], check=True)
    for path in PATHS:
        subprocess.run(['rm', '-rf', str(copy / path)], check=True)
        subprocess.run(['cp', '-a', str(base / path), str(copy / path)], check=True)
    fingerprint = state.fingerprint(copy)
    shutil.rmtree(copy)
    return fingerprint


def restore_paths(s, site='alpha'):
    s.write(site, next(s.numbers))
    (s.path(site) / 'only-1').unlink(missing_ok=True)
    sync(s.path(site))
    target = s.site(site)
    target['generations'][target['live']]['tree'] = state.fingerprint(s.path(site))
    tree = restored(s, site)

    def change(st, job):
        target = st['pools']['main']['sites'][site]
        target['generations'][target['live']]['tree'] = tree
    return Ask({'kind': 'restore', 'source': f'{site}@base', 'site': site, 'paths': PATHS}, change)


def undo_paths(s, site='alpha'):
    ask = restore_paths(s, site)
    before = s.live_tree(site)

    def change(st, job):
        target = st['pools']['main']['sites'][site]
        target['generations'][target['live']]['tree'] = before
    return undo(s, ask, change)


OPERATIONS = {f.__name__.replace('_', '-'): f for f in (
    import_copy, import_move, import_subvolume, import_link, eject, eject_one_of_two, eject_linked,
    rename_linked, undo_rename_linked, undelete_linked, undelete_unlinked, restore_paths,
    undo_paths)}
