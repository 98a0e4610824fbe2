#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kill fsd and cut its power at every step of every operation, and look what is left.

  crash.py [--pool P]... [--operation O]... [--action A]...    every step once
           [--thorough]                                        and every step of every recovery
  crash.py --random 1000 [--seed S] [--pool P]...              random rounds, several jobs at once
  crash.py --pool P --round S:N                                one of them, on a fresh scene
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
import shutil
import sys
import time
import traceback

import state
import store
from daemon import KILL, STOP, Refused
from operations import ALONE, OPERATIONS
from world import POOLS, Broken, World

ROOT = pathlib.Path(__file__).resolve().parents[2]
ACTIONS = ('kill', 'cut', 'api', 'both', 'forget')
# What has a tree's only copy in its hands: it must be found again without the catalog.
FORGET = ('generation-retire',)
SKIPPED = 77  # to meson: skipped
MOST_STEPS = 200
SIDES = 4  # sites besides alpha, for several jobs at once


class Case:
    """One crash: the job's step, what happens there, and at which steps of the recoveries again.
    `pause` instead of a step: so many seconds after the request, wherever fsd is."""

    def __init__(self, pool, operation, step, action, again=(), pause=None, name=None):
        self.pool, self.operation, self.step, self.action = pool, operation, step, action
        self.again, self.pause, self.name = list(again), pause, name
        self.at = []  # names of the steps that were reached

    def __str__(self):
        if self.name:
            return f'--pool {self.pool} --round {self.name}'
        again = f' --again {",".join(map(str, self.again))}' if self.again else ''
        return (f'--pool {self.pool} --operation {self.operation} --step {self.step} '
                f'--action {self.action}{again}')


class Runner:
    def __init__(self, world, case):
        self.world, self.daemon, self.case = world, world.daemon, case

    # ---- the crash ----

    def arm(self, steps):
        self.daemon.control.arm(steps, KILL if self.case.action in ('kill', 'forget') else STOP)

    def stopped(self):
        return self.daemon.state() != 'runs'

    def settled(self, wait):
        """Housekeeping goes on when all is settled, and may come to the step even then."""
        reached, control = wait(), self.daemon.control
        last = control.disarm()
        deadline = time.monotonic() + 1
        while last and not reached and control.count() >= last and time.monotonic() < deadline:
            reached = self.stopped()  # most likely it was armed still
        return reached

    def until_stopped(self, calls):
        """False: all jobs ended and all is swept before the step was reached."""
        if self.case.pause is not None:
            time.sleep(self.case.pause)
            return True
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
        self.case.at.append(control.name(control.count()) or 'nothing yet')
        if action == 'cut':
            daemon.hold()
            self.world.store.freeze('cut')
            daemon.kill()
            self.world.store.cut()
        elif action == 'api' and daemon.state() == 'stopped' and daemon.api_pid():
            status = daemon.kill_api()
            if status < 0:
                raise Broken([f'without its api the worker ended by signal {-status}'])
        elif action == 'both' and daemon.api_pid():
            daemon.kill_both()
        else:
            daemon.kill()
            if action == 'forget':
                daemon.forget()
        for ask in self.asks:
            if ask.visited and not ask.visited.exists():
                raise Broken([f'without fsd nobody comes to {ask.visited}'])

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
            if self.case.action == 'forget':  # nobody sweeps sites that are not known yet
                break
            if up and not self.settled(lambda: self.world.settle(self.stopped)):
                break
            if not steps:
                raise Broken(['fsd ended by itself after its start'])
            reached += 1
            self.strike()
        return reached

    # ---- what it came to ----

    def job_of(self, call, note):
        """The job as the catalog has it now, None when it never came to be."""
        found = [j for j in self.daemon.items('/v1/jobs') if j['note'] == note]
        if call.accepted and not found:
            raise Broken([f'job {call.accepted["id"]} was accepted and is lost'])
        return self.daemon.get(f'/v1/jobs/{found[0]["id"]}') if found else None

    def judge(self, asks, calls):
        """Hold what is there against what the jobs say; the asks that came to nothing."""
        cut = self.case.action == 'cut'
        expected = copy.deepcopy(self.world.state)
        jobs = [self.job_of(c, c.request['note']) for c in calls]
        wrong = []
        for job, ask in zip(jobs, asks):
            if job and job['state'] == 'failed' and ask.may_fail:
                continue
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
                self.allow_for_lost_writes(expected, asks[i])
        lost = [a for a, j in zip(asks, jobs)
                if not (j and j['state'] == 'done') and not a.may_fail]
        self.world.verify(expected, catalog=not any(a.heals for a in lost))
        return lost

    def allow_for_lost_writes(self, expected, ask):
        """What was written without fsync may be gone. A job that had got as far as its commit
        has it nevertheless; one that ran, or runs once more, after the cut copies what is left."""
        committed = self.alone and 'rename.synced' in self.trace
        for pool, site, number, written in ask.dirty:
            source = expected['pools'][pool]['sites'][site]['generations'][number]
            left = state.fingerprint(self.world.pools[pool] / 'sites' / site / f'gen/{number}/tree')
            if not committed:
                replace_tree(expected, written, state.OneOf(written, left))
            source['tree'] = left

    def ask_again(self, lost):
        for n, ask in enumerate(lost):
            ask.request.pop('note', None)
            expected = copy.deepcopy(self.world.state)
            job = self.daemon.run(ask.request)
            ask.change(expected, job)
            if self.case.action == 'cut':
                self.allow_for_lost_writes(expected, ask)
            self.world.settle()
            self.world.verify(expected, catalog=not any(a.heals for a in lost[n + 1:]))

    def judge_forgotten(self, ask):
        """Without a catalog nobody knows of the job: all is as before it or as after it."""
        world = self.world
        world.known = {}
        for pool, path in world.pools.items():
            for failed in self.daemon.run({'kind': 'pool-scan', 'pool': pool})['result']['failed']:
                if 'its generation is not in it' not in failed['reason']:
                    raise Broken([f'pool scan: {failed}'])
                shutil.rmtree(path / '.fsd' / 'snapshots' / failed['path'])  # as it advises
        world.settle()
        before, after = world.state, copy.deepcopy(world.state)
        ask.change(after, None)
        expected = before if before == world.look() else after
        world.verify(expected)

    # ---- one round ----

    def round(self, asks):
        """False when the step was not reached; Broken when a promise was."""
        self.asks, self.alone = asks, len(asks) == 1
        self.world.pending = lambda: [p for ask in asks if (p := ask.pending())]
        first = self.daemon.control.count() + 1
        if self.case.step:
            self.arm(self.case.step)
        calls = [ask.begin(self.daemon) for ask in asks]
        crashed = self.settled(lambda: self.until_stopped(calls))
        self.trace = self.daemon.control.names(first, self.daemon.control.count())
        if crashed:
            self.strike()
            for c in calls:
                c.join()
            self.reached = self.recover()
            if self.case.action == 'forget':
                self.judge_forgotten(asks[0])
                self.world.reset()
                return crashed
        for c, ask in zip(calls, asks):
            if isinstance(c.error, Refused) and not ask.may_fail:
                raise Broken([f'refused: {c.error}'])
        lost = self.judge(asks, calls)
        if not crashed and lost:
            raise Broken(['the job failed without any crash'])
        self.ask_again(lost)
        return crashed


def replace_tree(node, old, new):
    for key, value in node.items():
        if key == 'tree' and value == old:
            node[key] = new
        elif isinstance(value, dict):
            replace_tree(value, old, new)


# ---- every step once ----

class Report:
    def __init__(self, verbose):
        self.verbose = verbose
        self.tried = self.rounds = self.failed = 0
        self.started = time.monotonic()

    def broken(self, case, e, log):
        self.failed += 1
        print(f'BROKEN {case}\n  {case.operation}: {case.action} at {" then ".join(case.at)}')
        lines = e.lines if isinstance(e, Broken) else traceback.format_exc().splitlines()
        for line in lines:
            print(f'  {line}')
        for line in log.splitlines()[-12:]:
            print(f'  | {line}')
        print(f'  again with: tests/crash/crash.py {case}', flush=True)

    def passed(self, case):
        self.rounds += 1
        if self.verbose:
            print(f'ok {case}  # {case.operation}: {case.action} at {" then ".join(case.at)}',
                  flush=True)

    def seconds(self):
        return time.monotonic() - self.started


def try_case(world, case, report, make=None):
    """(was the step reached, how many of `again`)."""
    report.tried += 1
    at = world.daemon.log_file.stat().st_size
    runner = Runner(world, case)
    runner.reached = 0
    try:
        chosen = make() if make else [OPERATIONS[case.operation](world.scene)]
        asks = [a for c in chosen for a in (c if isinstance(c, list) else [c])]
        crashed = runner.round(asks)
    except (Broken, AssertionError, OSError, ValueError, KeyError, Refused) as e:
        report.broken(case, e, world.daemon.log()[at:])
        world.reset()
        return bool(case.at), 0
    if crashed:
        report.passed(case)
    return crashed, runner.reached


def every_step(world, operation, actions, report, chains, sparse):
    """`chains`: the recoveries after every so many steps; 0: none. sparse: each action only at one
    step of four, another one on each pool."""
    for slot, action in enumerate(actions):
        world.reset()
        for step in own_share(world, 4 if sparse else 1, slot):
            case = Case(world.label, operation, step, action)
            crashed, _ = try_case(world, case, report)
            if not crashed:
                break
    if chains:
        every_recovery(world, operation, report, chains)


def own_share(world, by, slot=0):
    """Every so many steps; where it is four, the four pools come to all of them."""
    return range(1 + (list(POOLS).index(world.label) + slot) % by, MOST_STEPS, by)


def default_actions(operation, sparse):
    """sparse: the api alone for one operation, both processes for the next."""
    actions = ['kill', 'cut', 'api', 'both']
    if sparse:
        del actions[2 + list(OPERATIONS).index(operation) % 2]
    return actions + ['forget'] * (operation in FORGET)


def every_recovery(world, operation, report, by):
    """Killed at a step, then again at the first step of the recovery, the second of the next..."""
    world.reset()
    for step in own_share(world, by):
        case = Case(world.label, operation, step, 'kill', range(1, 12))
        crashed, _ = try_case(world, case, report)
        if not crashed:
            break


# ---- random rounds ----

def random_case(label, name):
    """(what happens, which operations at once on which sites), all from the round's name."""
    rng = random.Random(f'{label} {name}')
    sites = rng.sample(['alpha', *(f'side{n}' for n in range(SIDES))], rng.randint(1, SIDES))
    chosen = [(rng.choice([o for o in OPERATIONS if o not in ALONE]), site) for site in sites]
    action = rng.choices(['kill', 'cut', 'api', 'both', 'any'], [35, 35, 10, 5, 15])[0]
    again = [rng.randint(1, 15) for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 3]))]
    step, pause = rng.randint(1, 12 * len(sites)), None
    if action == 'any':
        action, step, pause = 'cut', None, rng.uniform(0, 0.06)
    operation = ', '.join(f'{o} of {s}' for o, s in chosen)
    return Case(label, operation, step, action, again, pause, name), chosen


def random_round(world, name, report):
    case, chosen = random_case(world.label, name)
    try_case(world, case, report, lambda: [OPERATIONS[o](world.scene, s) for o, s in chosen])


def random_rounds(args, program):
    report = Report(args.verbose)
    seed = args.seed if args.seed is not None else int(time.time())
    worlds = []
    try:
        for label in args.pool or POOLS:
            worlds.append(World(label, program, SIDES))
        print(f'seed {seed}', flush=True)
        for n in range(args.random):
            world = worlds[n % len(worlds)]
            if n // len(worlds) % 25 == 0:  # what was made before would only slow things down
                world.reset()
            random_round(world, f'{seed}:{n}', report)
        if args.round:
            worlds[0].reset()
            random_round(worlds[0], args.round, report)
        starts = sum(w.daemon.starts for w in worlds)
    finally:
        for world in worlds:
            world.close()
    print(f'{report.tried} rounds, {report.rounds} crashes survived, {report.failed} broken, '
          f'{starts} starts, {report.seconds():.0f} s')
    return 1 if report.failed else 0


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
                every_step(world, operation,
                           args.action or default_actions(operation, args.sparse), report,
                           0 if args.action else 1 if args.thorough else 8 if args.sparse else 4,
                           args.sparse)
                print(f'{label} {operation}: {report.rounds - first} crashes', flush=True)
            print(f'{label}: {report.rounds - before} crashes survived, '
                  f'{world.daemon.starts} starts')
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
    p.add_argument('--sparse', action='store_true', help='one step of four, by action and pool')
    p.add_argument('--thorough', action='store_true', help='every step of every recovery')
    p.add_argument('--random', type=int, metavar='ROUNDS', default=0)
    p.add_argument('--round', metavar='SEED:N')
    p.add_argument('--seed', type=int)
    p.add_argument('--verbose', action='store_true')
    args = p.parse_args()
    program = pathlib.Path(os.environ.get('FSD_BUILD', ROOT / 'build')) / 'fsd' / 'fsd'
    try:
        store.enter_namespace()
        run = random_rounds if args.random or args.round else systematic
        return run(args, str(program))
    except store.Unavailable as e:
        print(f'skipped: {e}')
        return SKIPPED


if __name__ == '__main__':
    sys.exit(main())
