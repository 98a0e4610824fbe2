#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rules of the tree that no compiler checks: who may include whom, headers that compile alone,
licences, sizes, columns. One subcommand each; every violation is a line FILE:LINE: what; exit 1."""

import os
import re
import subprocess
import sys
import tempfile

TOP = ('snap', 'backends', 'fsd', 'client', 'tools', 'tests', 'docs')

# Folder -> what its files may include with quotes, by prefix or exact name. The longest folder
# that matches counts. A family of backends is one small header to everybody else.
FAMILIES = ('backends/pool/pool.h', 'backends/catalog/catalog.h')
MAY_INCLUDE = {
    'snap/base': ('snap/base/',),
    'snap': ('snap/',),
    'backends/pool': ('snap/', 'backends/pool/'),
    'backends/catalog': ('snap/base/', 'backends/catalog/'),
    'fsd/core': ('snap/base/', 'fsd/core/'),
    'fsd/api': ('snap/base/', 'fsd/core/', 'fsd/api/'),
    'fsd/worker': ('snap/', 'fsd/core/', 'fsd/worker/', 'fsd/op/') + FAMILIES,
    'fsd/op': ('snap/', 'fsd/core/', 'fsd/worker/', 'fsd/op/') + FAMILIES,
    'fsd': ('snap/base/', 'fsd/'),
    'client': ('client/',),
    'tools': ('client/fsclient.h', 'tools/'),
    'tools/fsbench': ('client/fsclient.h', 'tools/', 'snap/'),
    'tests': ('',),
    'docs': ('',),
}
# The system's interface to one technology belongs to the folder that wraps it.
ONLY_IN = {
    r'btrfsutil\.h|linux/btrfs': ('backends/pool', 'snap', 'tests'),
    r'sqlite3\.h': ('backends/catalog', 'tests'),
    r'microhttpd\.h': ('fsd/api', 'tests'),
    r'liburing\.h|nfsc/': ('snap', 'backends', 'tests'),
}
# The libraries of the lower layers say what happened by returning it.
SILENT = ('snap', 'backends', 'client')
NOISE = re.compile(r'\b(?:v?syslog|perror|v?printf|puts|putchar|exit|_exit|abort)\s*\('
                   r'|\bfprintf\s*\(\s*std')


def sources(root, suffixes):
    for top in TOP:
        for folder, dirs, names in os.walk(os.path.join(root, top)):
            dirs[:] = sorted(d for d in dirs if not d.startswith(('.', '__')))
            for name in sorted(names):
                if name.endswith(suffixes):
                    yield os.path.relpath(os.path.join(folder, name), root)


def read(root, path):
    with open(os.path.join(root, path), encoding='utf-8') as f:
        return f.read()


def within(path, folder):
    return path.startswith(folder + '/')


def rule(path):
    folders = [f for f in MAY_INCLUDE if within(path, f)]
    return max(folders, key=len) if folders else None


def without_comments(text):
    """The code with comments and strings blanked, lines kept."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"'
    return re.sub(pattern, lambda m: re.sub(r'[^\n]', ' ', m.group()), text, flags=re.S)


def includes(root):
    for path in sources(root, ('.c', '.h')):
        folder = rule(path)
        if folder is None:
            yield f'{path}:1: no rule says what this folder may include'
            continue
        for n, line in enumerate(read(root, path).splitlines(), 1):
            m = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
            if not m:
                continue
            if m.group(1) and not m.group(1).startswith(MAY_INCLUDE[folder]):
                yield f'{path}:{n}: {folder} may not include {m.group(1)}'
            for pattern, allowed in ONLY_IN.items():
                if re.match(pattern, m.group(2) or '') and not any(
                        within(path, a) for a in allowed):
                    yield f'{path}:{n}: {m.group(2)} belongs to {", ".join(allowed)}'


def silence(root):
    for path in sources(root, ('.c',)):
        if not any(within(path, f) for f in SILENT) or '/example' in path:
            continue
        for n, line in enumerate(without_comments(read(root, path)).splitlines(), 1):
            if NOISE.search(line):
                yield f'{path}:{n}: {path.split("/")[0]} neither prints nor exits'


# What names in trees get into: bytes that are no UTF-8, which json_pack() refuses as an "s", and
# the member, or the whole entry of a list, is silently missing.
BYTES = ('path', 'object', 'reason', 'hint', 'dir', 'directory')


def pack_calls(text):
    """(offset, format, arguments) of each json_pack()."""
    for m in re.finditer(r'\bjson_pack\(', text):
        depth, at, args = 1, m.end(), ['']
        while depth:
            token = re.match(r'"(?:\\.|[^"\\])*"|.', text[at:], re.S).group()
            depth += (token in '([{') - (token in ')]}')
            if token == ',' and depth == 1:
                args.append('')
            elif depth:
                args[-1] += token
            at += len(token)
        args = [a.strip() for a in args]
        yield m.start(), args[0], args[1:]


def pack_strings(form, args):
    """(key, argument) of the members that a json_pack() takes as a string of C."""
    args, key = iter(args), ''
    for colon, kind in re.findall(r'(:?)([sibIfoO])', form.replace(' ', '')):
        arg = next(args, '')
        if colon and kind == 's':
            yield key, arg
        key = arg.strip('"')


def bytes_in_json(root):
    for path in sources(root, ('.c',)):
        if not within(path, 'fsd'):
            continue
        text = read(root, path)
        for at, form, args in pack_calls(text):
            for key, value in pack_strings(form, args):
                if key in BYTES and not value.startswith('"'):
                    line = text.count('\n', 0, at) + 1
                    yield f'{path}:{line}: "{key}" may be of any bytes: json_text() or json_prose()'


def spdx(root):
    extra = ['meson.build', 'meson_options.txt', '.ci/run']
    tools = [f'tools/{n}' for n in sorted(os.listdir(os.path.join(root, 'tools')))
             if '.' not in n and os.path.isfile(os.path.join(root, 'tools', n))]
    suffixes = ('.c', '.h', '.py', '.sh', '.map', 'meson.build')
    for path in list(sources(root, suffixes)) + tools + extra:
        if not os.path.exists(os.path.join(root, path)):
            continue
        head = read(root, path).splitlines()[:2]
        if sum('SPDX-License-Identifier: LGPL-2.1-or-later' in line for line in head) != 1:
            yield f'{path}:1: no SPDX line for LGPL-2.1-or-later'


def sizes(root):
    for path in sources(root, ('.c', '.h')):
        lines = read(root, path).splitlines()
        if len(lines) > 1000:
            yield f'{path}:1000: {len(lines)} lines; over 1000 is too long'


def columns(root):
    """With tabs of 8, in characters. No line is too good for it: strings can be broken, too."""
    for path in [*sources(root, ('.c', '.h', '.py', 'meson.build')), 'meson.build']:
        if not os.path.exists(os.path.join(root, path)):
            continue
        for n, line in enumerate(read(root, path).splitlines(), 1):
            width = len(line.expandtabs(8))
            if width > 100:
                yield f'{path}:{n}: {width} columns; over 100 is too wide'


def names(root):
    """The second test of a name hides the first from pytest."""
    for path in sources(root, ('.py',)):
        seen = set()
        for m in re.finditer(r'^def (test_\w+)', text := read(root, path), re.MULTILINE):
            if m[1] in seen:
                yield f'{path}:{text.count(chr(10), 0, m.start()) + 1}: another {m[1]}'
            seen.add(m[1])


def headers(root, compiler):
    """Each header compiles alone, twice (its guard works), with nothing before it."""
    flags = subprocess.run(
        ['pkg-config', '--cflags', 'jansson', 'libmicrohttpd', 'sqlite3', 'libbtrfsutil'],
        capture_output=True, text=True, check=False).stdout.split()
    with tempfile.TemporaryDirectory() as scratch:
        unit = os.path.join(scratch, 'unit.c')
        for path in sources(root, ('.h',)):
            with open(unit, 'w', encoding='utf-8') as f:
                f.write(f'#include "{path}"\n#include "{path}"\nint unit;\n')
            r = subprocess.run(
                compiler + ['-std=gnu17', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror',
                            '-Wno-unused-function', '-fsyntax-only', f'-I{root}', *flags, unit],
                capture_output=True, text=True, check=False)
            if r.returncode:
                first = next((l for l in r.stderr.splitlines() if 'error' in l), r.stderr)
                yield f'{path}:1: does not compile alone: {first}'


def main():
    what, root, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
    checks = {'includes': includes, 'silence': silence, 'bytes': bytes_in_json, 'spdx': spdx,
              'sizes': sizes, 'columns': columns, 'names': names}
    found = headers(root, rest) if what == 'headers' else checks[what](root)
    count = 0
    for violation in found:
        print(violation)
        count += 1
    return 1 if count else 0


if __name__ == '__main__':
    sys.exit(main())
