# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was measured, what it was held against, and where: on the terminal, as Markdown, as JSON."""

import json
import math
import os
import platform
import statistics
import subprocess
import time

GB = 1 << 30


def percentile(values, p):
    """The smallest value that p percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * p / 100) - 1)]


def spread(values, factor=1000):
    return (f'min {min(values) * factor:.2f}, p90 {percentile(values, 90) * factor:.2f}, '
            f'max {max(values) * factor:.2f}, n {len(values)}')


def first_line(*argv, default='unknown'):
    try:
        r = subprocess.run(argv, check=False, text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        return default
    return r.stdout.strip().split('\n')[0] if r.returncode == 0 and r.stdout else default


class Row:
    """One number, beside the peer's where there is one. A goal is on the value, on its ratio to the
    peer's, or (least) on how many times as fast it is."""

    def __init__(self, cell, what, value, unit, *, peer=None, theirs=None, most=None,
                 most_ratio=None, least=None, note=''):
        self.cell, self.what, self.value, self.unit = cell, what, value, unit
        self.peer, self.theirs, self.note = peer, theirs, note
        self.most, self.most_ratio, self.least = most, most_ratio, least

    @property
    def ratio(self):
        return self.value / self.theirs if self.theirs else None

    @property
    def verdict(self):
        if self.least is not None:
            return 'PASS' if self.theirs >= self.least * self.value else 'FAIL'
        if self.most is None and self.most_ratio is None:
            return ''
        value, most = ((self.value, self.most) if self.most is not None
                       else (self.ratio, self.most_ratio))
        return 'PASS' if value <= most else 'FAIL'

    def texts(self):
        """Value, peer, ratio, goal."""
        unit = f' {self.unit}' if self.unit else ''
        goal = ''
        if self.most is not None:
            goal = f'at most {self.most:g}{unit}'
        elif self.most_ratio is not None:
            goal = f'at most {self.most_ratio:g} x'
        elif self.least is not None:
            goal = f'at least {self.least:.3g} x as fast'
        ratio = f'{self.ratio:.2f} x' if self.ratio else ''
        if self.least is not None:
            ratio = f'{1 / self.ratio:.2f} x as fast'
        return (f'{self.value:.2f}{unit}' if self.unit else f'{self.value:g}',
                f'{self.peer}: {self.theirs:.2f}{unit}' if self.peer else '',
                ratio, goal)

    def print(self):
        value, peer, ratio, goal = self.texts()
        rest = ', '.join(t for t in (peer, ratio, goal and f'goal {goal}', self.note) if t)
        rest = f' ({rest})' if rest else ''
        print(f'{self.verdict:4} {self.cell:9} {self.what}: {value}{rest}', flush=True)

    def data(self):
        return {'cell': self.cell, 'what': self.what, 'value': self.value, 'unit': self.unit,
                'peer': self.peer, 'peer_value': self.theirs, 'ratio': self.ratio,
                'most': self.most, 'most_ratio': self.most_ratio, 'least': self.least,
                'verdict': self.verdict, 'note': self.note}


def where(root, build):
    """The machine and the program: names and their texts."""
    with open('/proc/cpuinfo', encoding='utf-8') as f:
        model = next((l.split(':')[1].strip() for l in f if l.startswith('model name')), '?')
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / GB
    commit = first_line('git', '-C', root, 'rev-parse', '--short', 'HEAD')
    if first_line('git', '-C', root, 'status', '--porcelain', '--untracked-files=no', '--', '.',
                  ':!docs/benchmarks.md', default=''):
        commit += ' and changes'
    kind = 'unknown'
    try:
        with open(os.path.join(build, 'meson-info/intro-buildoptions.json'), encoding='utf-8') as f:
            options = {o['name']: o['value'] for o in json.load(f)}
        kind = f'{options["buildtype"]}, sanitizers: {options["b_sanitize"]}'
    except (OSError, KeyError, ValueError):
        pass
    return {
        'machine': f'{os.cpu_count()} x {model}, {memory:.0f} GiB of memory',
        'kernel': f'Linux {platform.release()}, '
                  f'{first_line("btrfs", "--version")}',
        'load before': f'{os.getloadavg()[0]:.1f}',
        'commit': commit,
        'build': kind,
        'date': time.strftime('%Y-%m-%d', time.gmtime()),
    }


class Report:
    """All rows, in their cells."""

    def __init__(self, command, facts):
        self.command, self.facts = command, facts
        self.rows, self.titles = [], {}
        for name, text in {**facts, 'command': command}.items():
            print(f'{name:11} {text}')

    def title(self, cell, text):
        self.titles[cell] = text

    def add(self, *args, **kwargs):
        self.rows.append(Row(*args, **kwargs))
        self.rows[-1].print()

    def pair(self, cell, what, ours, peer, theirs, **kwargs):
        """Medians of two that took turns, in ms."""
        self.add(cell, what, statistics.median(ours) * 1000, 'ms', peer=peer,
                 theirs=statistics.median(theirs) * 1000, note=spread(ours), **kwargs)

    def missed(self):
        return [r for r in self.rows if r.verdict == 'FAIL']

    def write_json(self, path):
        with open(path, 'w', encoding='utf-8') as f:
            json.dump({'command': self.command, **self.facts,
                       'rows': [r.data() for r in self.rows]}, f, indent=1)

    def write_markdown(self, path, seconds):
        lines = ['# Benchmarks', '',
                 'Written by the command below; it measures fsd beside its peer in one run, so the',
                 'ratios say more than the times. Medians, whole processes where a command is '
                 'named.',
                 '', '| | |', '| --- | --- |']
        facts = {**self.facts, 'command': f'`{self.command}`', 'took': f'{seconds:.0f} s',
                 'goals missed': f'{len(self.missed())} of '
                                 f'{sum(1 for r in self.rows if r.verdict)}'}
        lines += [f'| {name} | {text} |' for name, text in facts.items()]
        for cell in dict.fromkeys(r.cell for r in self.rows):
            lines += ['', f'## {cell}', '', self.titles.get(cell, ''), '',
                      '| what | fsd | peer | ratio | goal | | |',
                      '| --- | --- | --- | --- | --- | --- | --- |']
            lines += ['| ' + ' | '.join((r.what, *r.texts(), r.verdict, r.note)) + ' |'
                      for r in self.rows if r.cell == cell]
        with open(path, 'w', encoding='utf-8') as f:
            f.write('\n'.join(lines) + '\n')
