# SPDX-License-Identifier: LGPL-2.1-or-later
"""The checks of check_source.py see what they are there to see."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import check_source  # noqa: E402

SPDX = '/* SPDX-License-Identifier: LGPL-2.1-or-later */\n'


@pytest.fixture
def tree(tmp_path):
    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return str(tmp_path)

    (tmp_path / 'tools').mkdir()
    return write


@pytest.mark.parametrize('path,include', [
    ('snap/a.c', '"backends/pool/pool.h"'),
    ('snap/base/a.c', '"snap/copy.h"'),
    ('backends/pool/a.c', '"backends/catalog/catalog.h"'),
    ('backends/catalog/a.c', '"fsd/core/log.h"'),
    ('fsd/api/a.c', '"fsd/worker/worker.h"'),
    ('fsd/worker/a.c', '"backends/pool/btrfs.h"'),
    ('fsd/worker/a.c', '<sqlite3.h>'),
    ('fsd/op/a.c', '<btrfsutil.h>'),
    ('client/a.c', '"snap/base/err.h"'),
    ('tools/fsctl/a.c', '"client/internal.h"'),
    ('elsewhere/a.c', '"x.h"'),
])
def test_includes__wrong_direction_is_seen(tree, path, include):
    root = tree(path, f'{SPDX}#include {include}\n')
    if path.startswith('elsewhere'):
        assert not list(check_source.includes(root))  # outside of the tree's folders
    else:
        assert [v.split(': ')[0] for v in check_source.includes(root)] == [f'{path}:2']


def test_includes__right_direction_passes(tree):
    tree('fsd/worker/a.c', '#include "backends/pool/pool.h"\n#include "fsd/op/op.h"\n')
    root = tree('tests/a.c', '#include "backends/pool/btrfs.h"\n')
    assert not list(check_source.includes(root))


def test_silence__printing_libraries_are_seen(tree):
    tree('snap/a.c', '/* printf("x") */\nconst char *s = "exit(1)";\nsnprintf(b, 1, "");\n')
    root = tree('backends/pool/a.c', '\nprintf("x");\n')
    assert [v.split(': ')[0] for v in check_source.silence(root)] == ['backends/pool/a.c:2']


def test_bytes__strings_of_c_in_json_are_seen(tree):
    root = tree('fsd/op/a.c', """
json_pack("{s:o,s:{s:s, s:I}}", "path", json_text(f(a, b)), "x", "reason", e.reason, "n", 1);
json_pack("[{s:s,s:o}]", "kind", kind, "reason", json_prose(e.reason));
json_pack("{s:s?}",
          "hint", "a literal, (of ours)");
v = json_pack("{s:i,s:s}", "format", 1, "object",
              name);
""")
    assert [v.split(': ')[0] for v in check_source.bytes_in_json(root)] == ['fsd/op/a.c:2',
                                                                            'fsd/op/a.c:6']


def test_columns__wide_lines_are_seen(tree):
    tree('snap/a.c', '\t' * 12 + 'abcd\n' + '\t' * 12 + 'abcde\n')
    tree('tests/a.py', "'" + '\u00e9' * 98 + "'\n" + '#' * 101 + '\n')
    tree('docs/a.md', 'x' * 101)
    root = tree('meson.build', '\n\n' + 'x' * 101)
    assert [v.split(';')[0] for v in check_source.columns(root)] == [
        'snap/a.c:2: 101 columns', 'tests/a.py:2: 101 columns', 'meson.build:3: 101 columns']


def test_names__second_test_of_a_name_is_seen(tree):
    root = tree('tests/test_a.py', 'def test_a():\n    pass\n\n\ndef test_b():\n    pass\n\n\n'
                                   'def test_a():\n    pass\n')
    assert list(check_source.names(root)) == ['tests/test_a.py:9: another test_a']


def test_spdx__missing_line_is_seen(tree):
    tree('snap/a.c', SPDX)
    root = tree('tools/run', '#!/bin/sh\necho\n')
    assert [v.split(': ')[0] for v in check_source.spdx(root)] == ['tools/run:1']


def test_headers__one_that_needs_another_is_seen(tree):
    tree('snap/good.h', '#ifndef G\n#define G\n#include <stddef.h>\n'
                        'struct g { size_t n; };\n#endif\n')
    root = tree('snap/bad.h', '#ifndef B\n#define B\nstruct b { size_t n; };\n#endif\n')
    assert [v.split(': ')[0] for v in check_source.headers(root, ['cc'])] == ['snap/bad.h:1']
