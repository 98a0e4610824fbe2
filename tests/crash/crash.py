#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kill fsd and cut its power at every step of every operation, and look what is left.

  crash.py [--pool P]... [--operation O]... [--action A]...    every step once
  crash.py --random 1000 [--seed S] [--pool P]...              random rounds, several jobs at once
  crash.py --pool P --operation O --step N --action A [--again M,...]   one case

Pools are btrfs, copy-btrfs, copy-xfs and copy-ext4. Actions: kill (the worker), api (the api
process alone), both, cut (power cut). After each the daemon is started again, also killed at the
Mth step of its recovery, then pools, catalog and jobs are compared with what was promised: a job is
done and its effect there, or it is not and nothing changed. FSD_BUILD names the build folder.
"""

import argparse
import copy
import os
import pathlib
import random
import sys
import time
import traceback

import store
from daemon import KILL, STOP, Call, Refused
from operations import OPERATIONS
from world import POOLS, Broken, World

ROOT = pathlib.Path(__file__).resolve().parents[2]
ACTIONS = ('kill', 'cut', 'api', 'both')
SKIPPED = 77  # to meson: skipped
MOST_STEPS = 200


class Case:
    """One crash: the job's step, what happens there, and at which steps of the recoveries again."""

    def __init__(self, pool, operation, step, action, again=()):
        self.pool, self.operation, self.step, self.action = pool, operation, step, action
        self.again = list(again)
        self.at = []  # names of the steps that were reached

    def __str__(self):
        again = f' --again {",".join(map(str, self.again))}' if self.again else ''
        return (f'--pool {self.pool} --operation {self.operation} --step {self.step} '
                f'--action {self.action}{again}')


class Runner:
    def __init__(self, world, case):
        self.world, self.daemon, self.case = world, world.daemon, case

    # ---- the crash ----

    def arm(self, steps):
        self.daemon.control.arm(steps, KILL if self.case.action == 'kill' else STOP)

    def stopped(self):
        return self.daemon.state() != 'runs'

    def until_stopped(self, calls):
        """False: all jobs ended and all is swept before the step was reached."""
        while any(c.is_alive() for c in calls):
            for c in calls:
                c.join(0.002)
            if self.stopped():
                return True
        return self.world.settle(self.stopped)

    def strike(self):
        """What was armed for has come: do the rest of it; fsd is gone afterwards."""
        action, daemon = self.case.action, self.daemon
        control = daemon.control
        control.disarm()
        self.case.at.append(control.name(control.count()))
        if action == 'cut':
            self.world.store.freeze('cut')
            daemon.kill()
            self.world.store.cut()
        elif action == 'api' and daemon.state() == 'stopped' and daemon.api_pid():
            daemon.kill_api()
        elif action == 'both' and daemon.api_pid():
            daemon.kill_both()
        else:
            daemon.kill()

    def recover(self):
        """Start again, stopping it at the steps asked for; how many of those were reached."""
        reached = 0
        for steps in [*self.case.again, None]:
            if steps:
                self.arm(steps)
            else:
                self.daemon.control.disarm()
            self.world.started = time.time()
            up = self.daemon.start()
            if not up and not steps:
                raise Broken(['fsd does not start again'])
            if up and not self.world.settle(self.stopped):
                break
            if not steps:
                raise Broken(['fsd ended by itself after its start'])
            reached += 1
            self.strike()
        self.daemon.control.disarm()
        return reached

    # ---- what it came to ----

    def job_of(self, call, note):
        """The job as the catalog has it now, None when it never came to be."""
        found = [j for j in self.daemon.items('/v1/jobs') if j['note'] == note]
        if call.accepted and not found:
            raise Broken([f'job {call.accepted["id"]} was accepted and is lost'])
        return found[0] if found else None

    def loosen(self, ask):
        for pool, site, number in ask.dirty:
            gens = self.world.state['pools'][pool]['sites'][site]['generations']
            gens[number]['tree'] = self.anything()

    @staticmethod
    def anything():
        from state import ANYTHING
        return ANYTHING

    def judge(self, asks, calls):
        """Hold what is there against what the jobs say; the asks that came to nothing."""
        cut = self.case.action == 'cut'
        expected = copy.deepcopy(self.world.state)
        jobs = [self.job_of(c, c.request['note']) for c in calls]
        wrong = []
        for job in jobs:
            if job and job['state'] == 'failed' and job['error']['code'] != 'interrupted':
                wrong.append(f'job {job["kind"]} failed: {job["error"]}')
            elif job and job['state'] not in ('done', 'failed'):
                wrong.append(f'job {job["kind"]} is {job["state"]}')
        if wrong:
            raise Broken(wrong)
        order = sorted(range(len(jobs)), key=lambda i: jobs[i]['finished'] if jobs[i] else '')
        for i in order:
            if jobs[i] and jobs[i]['state'] == 'done':
                asks[i].change(expected, jobs[i])
            if cut:
                for pool, site, number in asks[i].dirty:
                    expected['pools'][pool]['sites'][site]['generations'][number]['tree'] = (
                        self.anything())
        lost = [a for a, j in zip(asks, jobs) if not (j and j['state'] == 'done')]
        self.world.verify(expected, catalog=not any(a.heals for a in lost))
        return lost

    def ask_again(self, lost):
        for ask in lost:
            ask.request.pop('note', None)
            expected = copy.deepcopy(self.world.state)
            job = self.daemon.run(ask.request)
            ask.change(expected, job)
            if self.case.action == 'cut':
                continue_with_dirty(expected, ask)
            self.world.settle()
            self.world.verify(expected)

    # ---- one round ----

    def round(self, asks):
        """False when the step was not reached; Broken when a promise was."""
        world = self.world
        for n, ask in enumerate(asks):
            ask.request['note'] = f'round {time.time_ns()} {n}'
        first = self.daemon.control.count() + 1
        self.arm(self.case.step)
        calls = [Call(self.daemon, ask.request) for ask in asks]
        crashed = self.until_stopped(calls)
        self.daemon.control.disarm()
        self.trace = self.daemon.control.names(first, self.daemon.control.count())
        if crashed:
            self.strike()
            for c in calls:
                c.join()
            self.reached = self.recover()
        for c in calls:
            if isinstance(c.error, Refused):
                raise Broken([f'refused: {c.error}'])
        lost = self.judge(asks, calls)
        if not crashed and lost:
            raise Broken(['the job failed without any crash'])
        self.ask_again(lost)
        return crashed


def continue_with_dirty(expected, ask):
    """After a cut the copy is of what the cut left of the source, whatever that is."""
    from state import ANYTHING
    if not ask.dirty:
        return

    def loosen(node):
        for key, value in node.items():
            if key == 'tree':
                node[key] = ANYTHING
            elif isinstance(value, dict):
                loosen(value)
    loosen(expected)


# ---- every step once ----

class Report:
    def __init__(self, verbose):
        self.verbose = verbose
        self.rounds = self.failed = 0
        self.started = time.monotonic()

    def broken(self, case, e, log):
        self.failed += 1
        print(f'BROKEN {case}\n  at: {" then ".join(case.at)}')
        lines = e.lines if isinstance(e, Broken) else traceback.format_exc().splitlines()
        for line in lines:
            print(f'  {line}')
        for line in log.splitlines()[-12:]:
            print(f'  | {line}')
        print(f'  again with: tests/crash/crash.py {case}', flush=True)

    def passed(self, case):
        self.rounds += 1
        if self.verbose:
            print(f'ok {case}  # {" then ".join(case.at)}', flush=True)

    def seconds(self):
        return time.monotonic() - self.started


def try_case(world, case, report, asks=None):
    """(was the step reached, how many of `again`)."""
    at = world.daemon.log_file.stat().st_size
    runner = Runner(world, case)
    runner.reached = 0
    try:
        if asks is None:
            asks = [OPERATIONS[case.operation](world.scene)]
        crashed = runner.round(asks)
    except (Broken, AssertionError, OSError, ValueError, KeyError, Refused) as e:
        report.broken(case, e, world.daemon.log()[at:])
        world.reset()
        return True, 0
    if crashed:
        report.passed(case)
    return crashed, runner.reached


def every_step(world, operation, actions, report, chains):
    for action in actions:
        world.reset()
        for step in range(1, MOST_STEPS):
            case = Case(world.label, operation, step, action)
            crashed, _ = try_case(world, case, report)
            if not crashed:
                break
    if chains:
        every_recovery(world, operation, report)


def every_recovery(world, operation, report):
    """Killed at a step, then again at the first step of the recovery, the second of the next..."""
    world.reset()
    for step in range(1, MOST_STEPS):
        case = Case(world.label, operation, step, 'kill', range(1, 12))
        crashed, reached = try_case(world, case, report)
        if not crashed:
            break


def systematic(args, program):
    report = Report(args.verbose)
    operations = args.operation or list(OPERATIONS)
    for label in args.pool or POOLS:
        world = World(label, program)
        try:
            before = report.rounds
            if args.step:
                world.reset()
                case = Case(label, operations[0], args.step, args.action[0],
                            [int(n) for n in args.again.split(',')] if args.again else [])
                if not try_case(world, case, report)[0]:
                    print(f'{case}: the operation has fewer steps')
                continue
            for operation in operations:
                first = report.rounds
                every_step(world, operation, args.action or ACTIONS[:2], report, not args.action)
                print(f'{label} {operation}: {report.rounds - first} crashes', flush=True)
            print(f'{label}: {report.rounds - before} crashes survived, {world.daemon.starts} starts')
        finally:
            world.close()
    print(f'{report.rounds} crashes survived, {report.failed} broken, {report.seconds():.0f} s')
    return 1 if report.failed else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument('--pool', action='append', choices=POOLS)
    p.add_argument('--operation', action='append', choices=OPERATIONS)
    p.add_argument('--action', action='append', choices=ACTIONS)
    p.add_argument('--step', type=int)
    p.add_argument('--again', help='steps of the recoveries to strike at, as 1,2')
    p.add_argument('--random', type=int, metavar='ROUNDS')
    p.add_argument('--seed', type=int)
    p.add_argument('--verbose', action='store_true')
    args = p.parse_args()
    program = pathlib.Path(os.environ.get('FSD_BUILD', ROOT / 'build')) / 'fsd' / 'fsd'
    try:
        store.enter_namespace()
        return systematic(args, str(program))
    except store.Unavailable as e:
        print(f'skipped: {e}')
        return SKIPPED


if __name__ == '__main__':
    sys.exit(main())
