# SPDX-License-Identifier: LGPL-2.1-or-later
"""The engine beside the programs that people use today, each run checked."""

import os
import shutil
import statistics

from trees import KINDS, Engine, drop_caches, image_for, used, verify

# The best peer's median over ours, at least.
COPY_GOALS = {('ext4', 'cold'): 2.7, ('xfs', 'cold'): 2.7, ('btrfs', 'cold'): 1.2,
              ('ext4', 'warm'): 1.2, ('xfs', 'warm'): 2.0, ('btrfs', 'warm'): 1.1}
NOT_SLOWER = 1 / 1.05


def turns(rounds, commands, prepare, cleanup):
    """All of them in turn, each round from the other end; the first round does not count."""
    runs = {name: [] for name in commands}
    for i in range(rounds + 1):
        for name in list(commands)[::1 if i % 2 else -1]:
            prepare()
            one = used(commands[name])
            cleanup(i == 0)
            if i:
                runs[name].append(one)
    return runs


def median(runs, what):
    return statistics.median(getattr(r, what) for r in runs)


def add(b, cell, what, runs, least):
    """Our median beside that of the best peer; the others in the note."""
    walls = {name: median(of, 'wall') for name, of in runs.items()}
    ours = walls.pop('engine')
    best = min(walls, key=walls.get)
    note = [f'{name} {wall:.2f} s' for name, wall in sorted(walls.items()) if name != best]
    note.append(f'processor {median(runs["engine"], "cpu"):.2f} s, '
                f'{best} {median(runs[best], "cpu"):.2f} s')
    note.append(f'memory {max(r.memory for r in runs["engine"]):.0f} MiB, '
                f'n {len(runs["engine"])}')
    b.report.add(cell, what, ours, 's', peer=best, theirs=walls[best], least=least,
                 note='; '.join(note))


def copy_on(b, image, name, temperature):
    src, dst = image.source(name), image.path('dst')

    def cleanup(whole):
        if whole:
            verify(src, dst)
        shutil.rmtree(dst)

    prepare = drop_caches if temperature == 'cold' else os.sync
    runs = turns(b.args.rounds, Engine(b.build).copies(src, dst), prepare, cleanup)
    add(b, 'copy', f'{name}, {image.kind}, {temperature}', runs,
        COPY_GOALS.get((image.kind, temperature)) if name == 'corpus' else NOT_SLOWER)


def cell_copy(b):
    """Copies of whole trees within a file system, to return. What the peers are run with keeps as
    much as the engine does."""
    for kind in KINDS:
        with image_for(b, kind) as image:
            for name in b.args.inputs:
                for temperature in ('warm', 'cold'):
                    copy_on(b, image, name, temperature)


def cell_remove(b):
    """Removal of a copy of the corpus."""
    for kind in KINDS:
        with image_for(b, kind) as image:
            src, dst = image.source('corpus'), image.path('dst')

            def prepare():
                used(Engine(b.build).copies(src, dst)['engine'])
                os.sync()

            runs = turns(b.args.rounds, Engine(b.build).removals(dst), prepare, lambda whole: None)
            add(b, 'remove', f'corpus, {kind}, warm', runs, NOT_SLOWER)


def cell_reflink(b):
    """Copies that share their data."""
    for kind in ('xfs', 'btrfs'):
        with image_for(b, kind) as image:
            src, dst = image.source('corpus'), image.path('dst')

            def cleanup(whole):
                if whole:
                    verify(src, dst)
                shutil.rmtree(dst)

            for temperature in ('warm', 'cold'):
                runs = turns(b.args.rounds, Engine(b.build).reflinks(src, dst),
                             drop_caches if temperature == 'cold' else os.sync, cleanup)
                add(b, 'reflink', f'corpus, {kind}, {temperature}', runs, NOT_SLOWER)


CELLS = {'copy': cell_copy, 'remove': cell_remove, 'reflink': cell_reflink}
