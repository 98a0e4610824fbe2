# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools/test-summary counts what each runner says, and never loses a failure."""

import importlib.machinery
import importlib.util
import json
import os

TOOL = os.path.join(os.path.dirname(__file__), '../../../tools/test-summary')
loader = importlib.machinery.SourceFileLoader('test_summary_tool', TOOL)
spec = importlib.util.spec_from_loader('test_summary_tool', loader)
tool = importlib.util.module_from_spec(spec)
loader.exec_module(tool)

CMOCKA = '''[==========] Running 3 test(s).
[ RUN      ] test_a
[       OK ] test_a
[ RUN      ] test_b
SKIP: needs root
[  SKIPPED ] test_b
what stands between two tests is nobody's reason
[ RUN      ] test_c
[  FAILED  ] test_c
[==========] 3 test(s) run.
[  PASSED  ] 1 test(s).
[  SKIPPED ] 1 test(s), listed below:
[  SKIPPED ] test_b
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] test_c
'''
PYTEST = '''....
FAILED tests/x.py::test_y - assert 1 == 2
SKIPPED [2] tests/x.py:7: needs root
=== 1 failed, 3 passed, 2 skipped in 0.12s ===
'''


def summary(tmp_path, *tests):
    log = tmp_path / 'testlog.json'
    log.write_text(''.join(json.dumps(t) + '\n' for t in tests))
    total = tool.Summary()
    tool.add_log(total, 'plain', str(log))
    return total


def test_summary__counts_the_tests_inside_a_cmocka_program(tmp_path):
    t = summary(tmp_path, {'name': 'fsd:unit / a', 'result': 'FAIL', 'stdout': CMOCKA})
    assert (t.passed, t.failures) == (1, ['plain: a: test_c'])
    assert t.skips == {'needs root': ({'plain': 1}, ['a'])}


def test_summary__counts_each_teardown_that_failed(tmp_path):
    t = summary(tmp_path, {'name': 'a', 'result': 'FAIL', 'stdout': CMOCKA, 'stderr':
                           '[  ERROR   ] --- 1 != 2\n[  ERROR   ] test_d\n[  ERROR   ] test_e\n'})
    assert t.failures == ['plain: a: test_c', 'plain: a: test_d', 'plain: a: test_e']


def test_summary__counts_the_tests_inside_pytest(tmp_path):
    t = summary(tmp_path, {'name': 's', 'result': 'FAIL', 'stdout': PYTEST})
    assert (t.passed, t.failures) == (3, ['plain: s: tests/x.py::test_y'])
    assert t.skips == {'needs root': ({'plain': 2}, ['s'])}


def test_summary__counts_the_crashes_that_were_survived(tmp_path):
    t = summary(tmp_path, {'name': 'c', 'result': 'FAIL', 'stdout':
                           'btrfs clone: 5 crashes survived, 1 broken\n'
                           '  again with: tests/crash/crash.py --operation clone --step 3\n'
                           '90 crashes survived, 2 broken, 12 s\n'})
    assert (t.passed, t.failures) == (90, ['plain: c: --operation clone --step 3', 'plain: c: ?'])


def test_summary__a_crash_behind_passed_tests_is_a_failure(tmp_path):
    t = summary(tmp_path, {'name': 'a', 'result': 'FAIL', 'stdout':
                           '[==========] Running 2 test(s).\n[ RUN      ] x\n[       OK ] x\n'
                           '[ RUN      ] y\n'})
    assert (t.passed, t.failures) == (0, ['plain: a: FAIL'])


def test_summary__a_leak_found_at_exit_is_a_failure(tmp_path):
    t = summary(tmp_path, {'name': 'a', 'result': 'FAIL',
                           'stdout': '[==========] 1 test(s) run.\n[  PASSED  ] 1 test(s).\n'})
    assert (t.passed, t.failures) == (1, ['plain: a: FAIL'])


def test_summary__programs_count_as_one_and_a_missing_log_is_a_failure(tmp_path, capsys):
    t = summary(tmp_path, {'name': 'a', 'result': 'OK', 'stdout': ''},
                {'name': 'b', 'result': 'SKIP', 'stdout': 'no btrfs here\n'},
                {'name': 'd', 'result': 'SKIP', 'stdout': 'SKIP: no btrfs here\n'},
                {'name': 'c', 'result': 'TIMEOUT', 'stdout': ''})
    tool.add_log(t, 'thread', '/no/such/log')
    assert tool.report(t) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[1] == '  no btrfs here (plain 2): b, d'
    assert out[3] == '  plain: c: TIMEOUT'
    assert out[-1] == '1 passed, 2 failed, 2 skipped'


def test_summary__all_good_is_exit_status_0(tmp_path, capsys):
    t = summary(tmp_path, {'name': 'a', 'result': 'OK', 'stdout': ''})
    assert tool.report(t) == 0
    assert capsys.readouterr().out == '1 passed, 0 failed, 0 skipped\n'
