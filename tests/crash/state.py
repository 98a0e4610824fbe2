# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is there: on disk, in the catalog, and how that differs from what should be.

The state of a pool is plain data, {'sites': {NAME: site}, 'deleted': {ID: parked},
'snapshots': {ID/NAME: snapshot}, 'outside': {...}}, with a fingerprint for every tree, so that
"nothing was lost, nothing finished was undone, nothing half-made was left" is one comparison.
"""

import datetime
import hashlib
import json
import os
import pathlib
import stat


class Anything:
    """Equal to everything: what cannot be foretold (ids, trees that were written without fsync)."""

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __repr__(self):
        return 'ANYTHING'


ANYTHING = Anything()


class OneOf:
    def __init__(self, *values):
        self.values = values

    def __eq__(self, other):
        return other in self.values

    def __hash__(self):
        return 0

    def __repr__(self):
        return ' or '.join(map(str, self.values))


def fingerprint(tree):
    """Of all names, types, owners, times, contents beneath a directory, but for what fsd keeps in
    it for undo."""
    sums = hashlib.blake2b(digest_size=12)
    count = 0

    def entry(e, path):
        st = e.stat(follow_symlinks=False)
        sums.update(f'{path}\0{st.st_mode:o} {st.st_uid} {st.st_gid} {st.st_nlink}'.encode())
        if stat.S_ISREG(st.st_mode):
            with open(e.path, 'rb') as f:
                sums.update(f'{st.st_size} {st.st_mtime_ns}'.encode() + f.read())
        elif stat.S_ISLNK(st.st_mode):
            sums.update(os.readlink(e.path).encode())

    def walk(folder, prefix):
        nonlocal count
        for e in sorted(os.scandir(folder), key=lambda e: e.name):
            if e.name.startswith('.fsd-'):
                continue
            count += 1
            entry(e, prefix + e.name)
            if e.is_dir(follow_symlinks=False):
                walk(e.path, f'{prefix}{e.name}/')

    walk(tree, '')
    return f'{count}:{sums.hexdigest()}'


def load(path):
    return json.loads(path.read_text())


def live_of(folder):
    """The generation that is live, None without a link."""
    if not os.path.lexists(folder / 'live'):
        return None
    target = os.readlink(folder / 'live')
    gen, number, tree = target.split('/')
    assert (gen, tree) == ('gen', 'tree') and (folder / 'live').is_dir(), f'{folder}: {target}'
    return int(number)


def generations(folder, live):
    out = {}
    for gen in (folder / 'gen').iterdir():
        number, meta = int(gen.name), load(gen / 'meta.json')
        assert meta['number'] == number, f'{gen}: meta.json is of {meta["number"]}'
        out[number] = {'tree': fingerprint(gen / 'tree'),
                       # the mark of a publish that came to nothing does not count
                       'retired': number != live and 'retired' in meta}
        left = {e.name for e in gen.iterdir()} - {'tree', 'meta.json'}
        assert not left, f'{gen}: left behind: {left}'
    return out


def site(folder, links):
    meta = load(folder / 'site.json')
    live = live_of(folder)
    for e in folder.iterdir():
        if e.name.startswith('live.'):
            links.append(e)
        else:
            assert e.name in ('live', 'gen', 'site.json'), f'left behind: {e}'
    return {'id': meta['id'], 'live': live, 'protected': meta.get('protected', False),
            'labels': meta.get('labels', {}), 'linked': meta.get('linked'),
            'generations': generations(folder, live)}


def parked(name, its_site, when=ANYTHING):
    return {'name': name, 'when': when, 'site': its_site}


def deleted(folder, links):
    """With what a rebuilt catalog gets from here: the time in milliseconds, as the API has it."""
    meta = load(folder / 'site.json')
    # The time of one that was ejected is renewed, for a moment in the catalog alone.
    when = ANYTHING if 'ejected' in meta else meta['deleted'] // 10**6
    return parked(meta['name'], site(folder, links), when)


def snapshot(folder):
    meta = load(folder / 'meta.json')
    live = live_of(folder)
    gens = generations(folder, live)
    names = {e.name for e in folder.iterdir()}
    assert names == {'live', 'gen', 'site.json', 'meta.json'}, f'{folder}: {names}'
    assert list(gens) == [live], f'{folder}: generations {list(gens)}, live {live}'
    assert load(folder / 'site.json')['id'] == folder.parent.name, f'{folder}: another site.json'
    return {'id': meta['id'], 'live': live, 'kind': meta['kind'], 'labels': meta.get('labels', {}),
            'holds': sorted(h['tag'] for h in meta.get('holds', [])), 'tree': gens[live]['tree']}


def folders(path):
    return sorted(p for p in path.iterdir() if not p.name.startswith('.')) if path.exists() else []


def pool_state(path, links):
    """Of one pool; `links` receives every live.* that stands about."""
    control = path / '.fsd'
    return {
        'sites': {p.name: site(p, links) for p in folders(path / 'sites')},
        'deleted': {p.name: deleted(p, links) for p in folders(control / 'deleted')},
        'snapshots': {f'{p.name}/{s.name}': snapshot(s)
                      for p in folders(control / 'snapshots') for s in folders(p)},
    }


def outside_state(paths):
    """Directories that are imported from and ejected to, in any of these."""
    return {p.name: f'-> {os.readlink(p)}' if p.is_symlink() else fingerprint(p)
            for path in paths for p in folders(path)}


def disk_state(outside, pools, links):
    state = {name: pool_state(pathlib.Path(path), links) for name, path in pools.items()}
    return {'pools': state, 'outside': outside_state(outside)}


# ---- the catalog, as the API tells it ----

def milliseconds(text):
    return round(datetime.datetime.fromisoformat(text.replace('Z', '+00:00')).timestamp() * 1000)


def catalog_site(daemon, s):
    out = {'id': s['id'], 'live': s['live']['generation'], 'protected': s['protected'],
           'labels': s['labels'], 'linked': s['linked'], 'generations': ANYTHING}
    if not s['deleted']:  # of those the API lists no generations
        gens = daemon.get(f'/v1/sites/{s["id"]}/generations')['items']
        out['generations'] = {g['number']: {'tree': ANYTHING, 'retired': g['retired'] is not None}
                              for g in gens}
    return out


def catalog_state(daemon, pools):
    out = {name: {'sites': {}, 'deleted': {}, 'snapshots': {}} for name in pools}
    for s in daemon.items('/v1/sites'):
        out[s['pool']]['sites'][s['name']] = catalog_site(daemon, s)
    for s in daemon.items('/v1/sites?deleted=true'):
        if s['deleted']:
            out[s['pool']]['deleted'][s['id']] = parked(
                s['name'], catalog_site(daemon, s), milliseconds(s['deleted']))
    for s in daemon.items('/v1/snapshots'):
        out[s['pool']]['snapshots'][f'{s["site"]["id"]}/{s["name"]}'] = {
            'id': s['id'], 'live': s['generation'], 'kind': s['kind'], 'labels': s['labels'],
            'holds': sorted(s['holds']), 'tree': ANYTHING}
    return out


# ---- comparing ----

def differences(expected, found, path=''):
    """Lines that say where they differ."""
    if not (isinstance(expected, dict) and isinstance(found, dict)):
        return [] if expected == found else [f'{path}: expected {expected}, found {found}']
    out = []
    for key in sorted({*expected, *found}, key=str):
        where = f'{path}/{key}' if path else str(key)
        if key not in found:
            out.append(f'{where}: missing')
        elif key not in expected:
            out.append(f'{where}: should not be there')
        else:
            out += differences(expected[key], found[key], where)
    return out
