# SPDX-License-Identifier: MIT OR 0BSD
"""Peers that are no Debian package, or not in the form that is needed: they are
fetched into build/bench, once.  What cannot be had is Missing.
"""

import functools
import os
import subprocess
import sys
import tarfile
import tempfile

from contest import BUILD, Missing, say

# picohttpparser has no package of its own; the source of this one has it, as
# it is, and so each build of it can be made.
PICO_CARRIER = 'gunicorn-h1c'
LLHTTP = '/usr/share/llhttp'  # Debian's node-llhttp


def attempt(why, *command):
    done = subprocess.run(command, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)
    if done.returncode:
        raise Missing(why)


@functools.cache
def venv():
    """A Python that has Debian's packages, and in which pip may install."""
    folder = os.path.join(BUILD, 'venv')
    python = os.path.join(folder, 'bin', 'python')
    if not os.path.exists(os.path.join(folder, 'bin', 'pip')):
        say('making a virtual environment')
        attempt('no virtual environment could be made', sys.executable, '-m',
                'venv', '--system-site-packages', folder)
    return python


def has_module(name, python=sys.executable):
    return not subprocess.run([python, '-c', 'import ' + name],
                              stderr=subprocess.DEVNULL).returncode


def need_module(name):
    if not has_module(name):
        raise Missing('{} is not installed'.format(name))


@functools.cache
def granian():
    """A Python that has it."""
    python = venv()
    if not has_module('granian', python):
        say('installing granian')
        attempt('pip could not install granian', python, '-m', 'pip',
                'install', '-q', 'granian')
    return python


@functools.cache
def picohttpparser():
    """The directory that it is in."""
    folder = os.path.join(BUILD, 'picohttpparser')
    if not os.path.exists(folder):
        say('getting picohttpparser')
        with tempfile.TemporaryDirectory() as tmp:
            attempt('pip could not get its source', venv(), '-m', 'pip',
                    'download', '-q', '--no-deps', '--no-binary', PICO_CARRIER,
                    '-d', tmp, PICO_CARRIER)
            (sdist,) = os.listdir(tmp)
            with tarfile.open(os.path.join(tmp, sdist)) as archive:
                take_pico(archive, folder)
    return folder


def take_pico(archive, folder):
    found = {os.path.basename(name): archive.extractfile(name).read()
             for name in archive.getnames()
             if os.path.basename(name) in ('picohttpparser.c',
                                           'picohttpparser.h')}
    if len(found) != 2:
        raise Missing('its source is not where it was')
    os.makedirs(folder)
    for (name, data) in found.items():
        with open(os.path.join(folder, name), 'wb') as file:
            file.write(data)


def llhttp():
    """(flags and sources, libraries) to build with it."""
    sources = [os.path.join(LLHTTP, name)
               for name in ('api.c', 'http.c', 'llhttp.c')]
    if all(os.path.exists(source) for source in sources):
        return ('-I/usr/share/include/llhttp', *sources), ()
    if os.path.exists('/usr/include/llhttp.h'):
        return (), ('-lllhttp',)
    raise Missing('llhttp is not installed')
