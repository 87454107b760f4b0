# SPDX-License-Identifier: MIT OR 0BSD
"""What a hostile or careless program does to Degu's objects from inside.

    hostile.py GROUP [STEP]     every STEPth act of a group of acts.py
    hostile.py storm NAME       threads that share by error, see storms.py

Prints the outcome as JSON.  Each act has a process of its own, forked off this
one: whatever it raises is good, but that the interpreter finds itself at fault
(SystemError), a wrong answer, a crash or no end are not.
"""

import gc
import json
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(os.path.dirname(HERE), 'py'))

LIMIT = 60  # seconds for one act
(RETURNED, RAISED, WRONG, AT_FAULT) = (0, 10, 11, 12)
NAMES = {RETURNED: 'returned', RAISED: 'raised', WRONG: 'wrong',
         AT_FAULT: 'SystemError'}


class Wrong(BaseException):
    """An answer, or a part of one, that belongs to somebody else."""


def settle(act):
    """How it ended, in the process that is its own."""
    faults = []
    sys.unraisablehook = lambda told: faults.append(told.exc_value)
    try:
        act()
        code = RETURNED
    except Wrong as wrong:
        print('wrong:', wrong, file=sys.stderr, flush=True)
        return WRONG
    except BaseException as error:
        faults.append(error)
        code = RAISED
        error.__traceback__ = None
    gc.collect()
    for fault in faults:
        if isinstance(fault, (SystemError, Wrong)):
            print(type(fault), fault.args, file=sys.stderr, flush=True)
            return AT_FAULT
    return code


def run(act):
    """(how it ended, what it printed)"""
    file = os.memfd_create('output')
    pid = os.fork()
    if pid == 0:
        signal.alarm(LIMIT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        try:
            code = settle(act)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with os.fdopen(file) as output:
        output.seek(0)
        text = output.read()
    if code < 0:
        return (signal.Signals(-code).name, text)
    return (NAMES.get(code, 'exit code {}'.format(code)), text)


def run_all(acts):
    """The figures, and for each act that did not end well a line and what it
    printed."""
    found = {'acts': 0, 'raised': 0, 'wrong': 0, 'crashes': 0}
    for (name, act) in acts:
        (ending, text) = run(act)
        found['acts'] += 1
        if ending in found:
            found[ending] += 1
        if ending not in ('returned', 'raised'):
            found['crashes'] += ending != 'wrong'
            print('{}: {}\n{}'.format(name, ending, text[-5000:]),
                  file=sys.stderr, flush=True)
    return found


def main(group, name='1'):
    if group == 'storm':
        import storms

        return storms.STORMS[name]()
    import acts

    every = list(acts.GROUPS[group]())
    gc.collect()
    gc.freeze()  # a child's collector has the child's own to look at
    return run_all(every[::int(name)])


if __name__ == '__main__':
    # The modules of acts import this one.
    sys.modules['hostile'] = sys.modules['__main__']
    print(json.dumps(main(*sys.argv[1:])))
