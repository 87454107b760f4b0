# SPDX-License-Identifier: MIT OR 0BSD
"""What the program itself does wrong, to the objects of both ends at once: the
acts of acts.py and the storms of storms.py, with Python's own checks
(-X dev)."""

import json
import os
import sys

from faults import case
from subjects import HERE, start

GROUPS = ('unmade', 'again', 'values', 'sources', 'files', 'callbacks')
NONE = 'no crash, no wrong answer'

def hostile(*words):
    """What hostile.py prints, or nothing if it has crashed itself."""
    process = start([sys.executable, '-X', 'dev',
                     os.path.join(HERE, 'hostile.py'), *words])
    (out, err) = process.communicate()
    if err:
        print(err[-20000:], file=sys.stderr)
    if process.returncode:
        return {}
    return json.loads(out.splitlines()[-1])


def acts(group, step=1):
    """All of a group, or one in *step*."""
    found = hostile(group, str(step))
    good = found and found['acts'] > 0 and \
        not found['crashes'] and not found['wrong']
    return (good, '{acts} acts, {crashes} crashes, {wrong} wrong'.format(
        **found) if found else 'no end')


def storm(name):
    """There have to be answers, and somebody has to have been in the way."""
    found = hostile('storm', name)
    good = found and found['good'] > 50 and found['refused'] > 0 and \
        not found['wrong']
    return (good, '{good} good, {wrong} wrong'.format(**found)
            if found else 'crashed')


@case(NONE, 'python server', quick=True)
def one_act_in_41(kind):
    """Of each of the groups below."""
    outcomes = [acts(group, 41) for group in GROUPS]
    return (all(good for (good, _) in outcomes),
            '; '.join(figure for (good, figure) in outcomes if not good) or
            '{} acts'.format(sum(int(figure.split()[0])
                                 for (_, figure) in outcomes)))


@case(NONE, 'python server')
def unmade(kind):
    """Objects without __init__(), of every class, and all that they do."""
    return acts('unmade')


@case(NONE, 'python server')
def again(kind):
    """A second __init__(), also while the object is in use."""
    return acts('again')


@case(NONE, 'python server')
def values(kind):
    """Values whose every method raises, lies or comes back."""
    return acts('values')


@case(NONE, 'python server')
def sources(kind):
    """Iterators of bodies that change the headers, or turn on what sends
    them."""
    return acts('sources')


@case(NONE, 'python server')
def files(kind):
    """Files and sockets that keep the view, shorten what is behind it, lie
    about what they did, and come back in."""
    return acts('files')


@case(NONE, 'python server')
def callbacks(kind):
    """Hooks, apps and __del__() that come back in; what is kept too long."""
    return acts('callbacks')


@case('each answer its own', 'python client', quick=True)
def shared_connections(kind):
    """Six threads, three connections."""
    return storm('connections')


@case('each answer its own', 'python client')
def closed_connections(kind):
    """Some of the threads close and check what others use."""
    return storm('closing')


@case('each byte once', 'python client')
def shared_bodies(kind):
    """Six threads read one body."""
    return storm('bodies')


@case('each answer its own', 'python server')
def shared_requests(kind):
    """Threads of the app go on with the body of a request that has been
    answered."""
    return storm('requests')
