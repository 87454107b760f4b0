# SPDX-License-Identifier: MIT OR 0BSD
"""Plays every case of tests/vectors/tls.txt against the C ends and the Python
ends, and prints what came of them as a table.

    matrix.py [--ends c,python] [--only TEXT] [--sanitize] [--jobs N]

--only plays the cases with TEXT in their names; --sanitize builds the C ends
with ASan and UBSan, which find memory that is left.  tests/vectors/README.md
tells what a case says.  The last line counts the rows.
"""

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, 'tests', 'vectors')]

import make_certificates  # noqa: E402
import peer  # noqa: E402
import vectors  # noqa: E402

CC = shlex.split(os.environ.get('CC', 'cc'))
SANITIZE = ['-O1', '-g', '-fsanitize=address,undefined',
            '-fno-sanitize-recover=all', '-fno-omit-frame-pointer']
WAIT = 20  # seconds for any one thing to happen
LANGUAGES = ('c', 'python')
PROFILES = ('1.2', '1.3')

# What an end is set up with if the case says nothing else.
STANDARD = {
    'server': {'certificate': 'server', 'authority': 'client-authority'},
    'client': {'certificate': 'client', 'authority': 'server-authority'},
}


class Wrong(Exception):
    """Something is not as the case says."""


# ------------------------------------------------------------------ the cases

class Case:
    """A case as it is for one profile and one language."""

    def __init__(self, vector, profile, language):
        self.name = vector.name
        self.side = vector.kind[1]
        self.profile = profile
        self.language = language
        self.lines = dict(vector.wants)

    def get(self, key, default=None):
        """The values of the line that is the most particular."""
        names = ['{} {} {}'.format(key, self.language, self.profile),
                 '{} {}'.format(key, self.language),
                 '{} {}'.format(key, self.profile), key]
        if self.language == 'python' and sys.version_info < (3, 13):
            names.insert(0, key + ' old-python')
        for name in names:
            if name in self.lines:
                return [value.decode() if isinstance(value, bytes) else value
                        for value in self.lines[name]]
        return default

    def word(self, key, default=None):
        values = self.get(key)
        return values[0] if values else default

    def pairs(self, key):
        return dict(word.split('=', 1) for word in self.get(key, [])
                    if '=' in word)


KEYS = {'profile', 'ours', 'peer', 'friend', 'meanwhile', 'held', 'warns',
        'refuses', 'at', 'error', 'says', 'gets', 'calls', 'connections',
        'not', 'without'}
QUALIFIERS = {*LANGUAGES, *PROFILES, 'old-python'}


def plan(languages, only):
    """A Case for each row of the table."""
    cases = []
    for vector in vectors.cases('tls.txt'):
        for (key, _) in vector.wants:
            words = key.split(' ')
            if words[0] not in KEYS or \
                    set(words[1:]) - QUALIFIERS:
                raise ValueError('{}:{}: what is {!r}?'.format(
                    vector.file, vector.line, key))
        if only not in vector.name:
            continue
        profiles = dict(vector.wants).get('profile', PROFILES)
        cases += [Case(vector, profile, language) for profile in profiles
                  for language in languages]
    return cases


# ------------------------------------------------------------- what they need

class Workshop:
    """The certificates, and the ends ready to run."""

    def __init__(self, folder, sanitize):
        self.certificates = os.path.join(folder, 'certificates')
        self.sanitize = sanitize
        self.commands = {
            'c': [os.path.join(folder, 'ends')],
            'python': [sys.executable, '-X', 'dev', '-W', 'error',
                       os.path.join(HERE, 'ends.py')],
        }

    def prepare(self, languages):
        steps = [lambda: make_certificates.make(self.certificates)]
        if 'c' in languages:
            steps.append(self._build_c)
        if 'python' in languages:
            steps.append(self._build_extension)
        with ThreadPoolExecutor(len(steps)) as pool:
            for future in [pool.submit(step) for step in steps]:
                future.result()

    def _build_c(self):
        flags = SANITIZE if self.sanitize else ['-O1', '-g']
        subprocess.run(
            [*CC, '-Wall', '-Wextra', *flags, HERE + '/ends.c', '-o',
             self.commands['c'][0], '-lssl', '-lcrypto', '-pthread'],
            check=True, timeout=300)

    def _build_extension(self):
        subprocess.run([sys.executable, ROOT + '/tests/build_extension.py',
                        ROOT + '/py/degu'], check=True, timeout=300,
                       cwd=ROOT, stdout=subprocess.DEVNULL)

    def file(self, name, suffix):
        """An identity's file, or one that is named with its suffix."""
        if '.' not in name:
            name += suffix
        return os.path.join(self.certificates, name)

    def words(self, case):
        """The settings of the end that is tested, for its command line."""
        given = case.pairs('ours')
        settings = {**STANDARD[case.side], 'profile': case.profile, **given}
        settings.setdefault('key', settings['certificate'])
        words = []
        for (name, value) in settings.items():
            if value == 'none' and name in ('certificate', 'authority', 'key'):
                continue
            if name in ('certificate', 'authority'):
                value = self.file(value, '.pem')
            elif name == 'key':
                value = self.file(value, '.key')
            elif name == 'folder':
                value = os.path.join(self.certificates, value)
            if name == 'pin':
                words += ['pin=' + self.pin(one) for one in value.split(',')]
            else:
                words.append('{}={}'.format(name, value))
        return words

    def pin(self, name):
        with open(self.file(name, '.pin'), encoding='ascii') as file:
            return file.read()

    def settings(self, case, **more):
        return peer.Settings(certificates=self.certificates,
                             profile=case.profile, **more)


# ------------------------------------------------------------------- the ends

class End:
    """A process of ends.c or ends.py, and the lines that it has printed."""

    def __init__(self, workshop, case, arguments):
        self.folder = workshop.certificates + os.sep
        env = dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'py'))
        # Compiling the package each time would take the most of the time.
        env.pop('PYTHONDONTWRITEBYTECODE', None)
        prefix = without_privileges() if case.get('without') else []
        self.process = subprocess.Popen(
            [*prefix, *workshop.commands[case.language], *arguments], env=env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors='replace')
        self.lines = []
        self.taken = 0
        self.errors = ''
        self.changed = threading.Condition()
        self.ended = False
        self.threads = [threading.Thread(target=target, daemon=True)
                        for target in (self._read, self._read_errors)]
        for thread in self.threads:
            thread.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip().replace(self.folder, ''))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _read_errors(self):
        self.errors = self.process.stderr.read()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join(WAIT)
        self.process.stdout.close()
        self.process.stderr.close()

    def take(self, count):
        """The next lines, as many; fewer at the end of all or of patience."""
        with self.changed:
            self.changed.wait_for(
                lambda: self.ended or len(self.lines) - self.taken >= count,
                WAIT)
            taken = self.lines[self.taken:self.taken + count]
            self.taken += len(taken)
        return taken

    def rest(self):
        """All lines up to the end of the process, which must come well."""
        try:
            status = self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            raise Wrong('does not end') from None
        for thread in self.threads:
            thread.join(WAIT)
        if status or self.errors:
            raise Wrong('ended with {}: {}'.format(status,
                                                   self.errors[-2000:]))
        if self.lines[-1:] != ['done']:
            raise Wrong('is not done: {}'.format(self.lines[-3:]))
        return self.lines[self.taken:-1]

    def stop(self):
        self.process.stdin.close()
        return self.rest()

    def descriptors(self):
        return len(os.listdir('/proc/{}/fd'.format(self.process.pid)))

    def held(self, script):
        """The script, for it to be over before the process goes on."""
        def play(*arguments):
            self.process.send_signal(signal.SIGSTOP)
            try:
                # It is stopped once the kernel says so.
                os.waitid(os.P_PID, self.process.pid,
                          os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                return script(*arguments)
            finally:
                self.process.send_signal(signal.SIGCONT)

        return play

    def settles_at(self, count):
        """Closing takes a moment that announces itself in no way."""
        deadline = time.monotonic() + WAIT
        while self.descriptors() != count:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True


def without_privileges():
    """A command that takes from root what lets it read every file."""
    if os.geteuid():
        return []
    if not shutil.which('setpriv'):
        raise peer.NotToBeHad('root can read every file, and no setpriv')
    return ['setpriv', '--bounding-set', '-dac_override,-dac_read_search']


# ------------------------------------------------------------------- the rows

# What an end prints with an error's name behind it.
STEPS = ('open', 'dial', 'connect', 'handshake', 'request', 'body', 'close')

class Row:
    """What came of a case."""

    def __init__(self, case):
        self.case = case
        self.refuses = case.word('refuses', '')
        self.error = self.said = ''
        self.calls = self.on = self.left = '-'
        self.wrong = []
        self.skipped = None

    def check(self, good, text):
        if not good:
            self.wrong.append(text)
        return good

    def check_events(self, lines, wants):
        """Are these lines, by their first words, what should be said?"""
        good = len(lines) == len(wants) and all(
            (line + ' ').startswith(want + ' ')
            for (line, want) in zip(lines, wants))
        return self.check(good, 'expected {}, got {}'.format(wants, lines))

    def tell(self, lines):
        """Notes for the table the first error in these lines."""
        for line in lines:
            (step, _, rest) = line.partition(' ')
            (name, _, text) = rest.partition(' ')
            if step in STEPS and not name.startswith(('OK', 'TLSv')):
                (self.error, self.said) = (name, text)
                break

    def check_says(self, line):
        """What an error is told with."""
        text = self.case.word('says', '')
        self.check(text in line, 'expected {!r} in {!r}'.format(text, line))

    def title(self):
        return '{} {} {}'.format(self.case.name, self.case.profile,
                                 self.case.language)

    def cells(self):
        verdict = 'not played' if self.skipped else \
            'FAILED' if self.wrong else 'passed'
        return (self.case.name, self.case.profile,
                '{} {}'.format(self.case.language, self.case.side),
                self.refuses, self.error, self.calls, self.on, self.left,
                verdict, self.said)


# ------------------------------------------------------------- playing servers

def wanted_of_server(case):
    """What the case makes a server print."""
    (at, error) = (case.word('at'), case.word('error'))
    if at == 'handshake':
        # Python's servers have no codes for it, but a reason in their log.
        return ['handshake ' + error if case.language == 'c' else 'handshake']
    is_plain = 'plain' in case.pairs('ours')
    wants = [] if is_plain else ['connect']
    wants += ['called'] * int(case.word('calls', '0'))
    if at == 'body':
        # Which an app does not catch; a peer's fault has no traceback.
        wants.append('body ' + error)
    wants.append('close ' + (error or 'OK'))
    return wants * int(case.word('connections', '1'))


def befriend(row, end, address, settings):
    """Is a good client served as it should be?"""
    is_plain = 'plain' in row.case.pairs('ours')
    script = 'plain' if is_plain else 'https'
    outcome = peer.CLIENTS[script](address, settings)
    good = row.check(outcome == ('200 cut' if is_plain else '200 end'),
                     'a good client gets ' + outcome)
    wants = ['called', 'close OK'] if is_plain else \
        ['connect', 'called', 'close OK']
    return row.check_events(end.take(len(wants)), wants) and good


def play_server(row, workshop):
    case = row.case
    with End(workshop, case, ['server', *workshop.words(case)]) as end:
        (opened,) = end.take(1) or ('',)
        if case.get('warns'):
            row.check_events([opened], ['log WARNING ' + case.word('warns')])
            (opened,) = end.take(1) or ('',)
        if case.word('at') == 'open':
            row.tell([opened])
            row.check_says(opened)
            if row.check_events([opened], ['open ' + case.word('error')]):
                row.check_events(end.rest(), [])
            return
        (line,) = end.take(1) or ('',)
        if opened != 'open OK' or not line.startswith('listening '):
            raise Wrong('does not listen: {} {}'.format(opened, line))
        (host, port) = line[10:].rsplit(':', 1)
        serve(row, workshop, end, (host, int(port)))
        row.check_events(end.stop(), [])


def serve(row, workshop, end, address):
    """A good client, the case's, and a good one again."""
    case = row.case
    friend = workshop.settings(case, certificate=case.word('friend', 'client'))
    before = end.descriptors()
    if not befriend(row, end, address, friend):
        raise Wrong('it did not work from the start')
    settings = workshop.settings(case, **case.pairs('peer'))
    with ThreadPoolExecutor(1) as pool:
        script = peer.CLIENTS[case.word('peer')]
        if case.get('held'):
            script = end.held(script)
        future = pool.submit(script, address, settings)
        if case.get('meanwhile'):
            row.check(settings.dialled.wait(WAIT), 'nobody dials')
            row.check(befriend(row, end, address, friend) and
                      not future.done(), 'nobody else is served meanwhile')
        outcome = future.result()
    row.check(outcome == case.word('gets'), 'the client gets {!r}, not '
              '{!r}'.format(outcome, case.word('gets')))
    wants = wanted_of_server(case)
    lines = end.take(len(wants))
    row.check_events(lines, wants)
    found = [line.split(' ') for line in lines]
    row.tell(lines)
    if case.word('at') == 'handshake' and case.language == 'python':
        row.check(case.get('says'), 'the case does not tell what a log says')
        (row.error, row.said) = ('(log)', lines[0][10:] if lines else '')
    row.check_says(' '.join(lines))
    calls = sum(words[0] == 'called' for words in found)
    row.calls = '{} x'.format(calls) if calls else 'not called'
    row.on = 'yes' if befriend(row, end, address, friend) else 'NO'
    row.left = 'nothing' if end.settles_at(before) else '{} of {}'.format(
        end.descriptors(), before)
    row.check(row.left == 'nothing', 'descriptors are left: ' + row.left)


# ------------------------------------------------------------- playing clients

GOOD = ['connect OK', 'request OK', 'status 200', 'body OK']


def wanted_of_client(case):
    """What the case makes a client print."""
    (at, error) = (case.word('at'), case.word('error'))
    steps = {'connect': 0, 'request': 1, 'body': 3, None: 4}
    wants = GOOD[:steps[at]]
    if at:
        wants.append('{} {}'.format(at, error))
    return ['open OK'] + wants * int(case.pairs('ours').get('times', '1'))


def play_client(row, workshop):
    case = row.case
    if case.word('at') == 'open':
        with End(workshop, case, ['client', '127.0.0.1:1',
                                  *workshop.words(case)]) as end:
            lines = end.rest()
            row.tell(lines)
            row.check_events(lines, ['open ' + case.word('error')])
            row.check_says(' '.join(lines))
        return
    settings = workshop.settings(case, **case.pairs('peer'))
    friend = workshop.settings(case, certificate=case.word('friend', 'server'))
    is_plain = 'plain' in case.pairs('ours')
    with peer.listen(case.word('peer'), settings) as listener, \
            peer.Listener('friend' if is_plain else 'https', friend) as good:
        arguments = ['client', '{}:{}'.format(*listener.address),
                     *workshop.words(case),
                     'again={}:{}'.format(*good.address)]
        with End(workshop, case, arguments) as end:
            lines = end.rest()
    outcome = ' / '.join(listener.outcomes)
    row.check(outcome == case.word('gets'), 'the server gets {!r}, not '
              '{!r}'.format(outcome, case.word('gets')))
    judge_client(row, lines)


def judge_client(row, lines):
    case = row.case
    if 'again' not in lines:
        raise Wrong('did not get to its second server: {}'.format(lines))
    middle = lines.index('again')
    (ours, again, left) = (lines[:middle], lines[middle + 1:-1], lines[-1])
    row.check_events(ours, wanted_of_client(case))
    row.check_says(' '.join(ours))
    row.tell(ours)
    row.on = 'yes' if row.check_events(again, GOOD) else 'NO'
    row.left = 'nothing' if left == 'left 0' else left
    row.check(left == 'left 0', 'descriptors: ' + left)


# -------------------------------------------------------------------- the table

HEADINGS = ('case', 'TLS', 'end', 'refuses', 'error', 'app', 'goes on',
            'left', '', 'what it says')
WIDTHS = (44, 3, 13, 7, 24, 10, 7, 7, 10, 60)


def show_line(cells):
    print('  '.join(cell[:width].ljust(width) for (cell, width)
                    in zip(cells, WIDTHS)).rstrip(), flush=True)


def show_end(rows, seconds):
    """What stands under the table; 0 if all is well."""
    reasons = {}
    for row in rows:
        if row.skipped:
            reasons.setdefault(row.skipped, []).append(row.title())
    print('\nNot played:' if reasons else '')
    for (reason, titles) in reasons.items():
        print('  {}: {}'.format(reason, ', '.join(titles)))
    for row in rows:
        for text in row.wrong:
            print('FAILED {}: {}'.format(row.title(), ' '.join(text.split())))
    failed = sum(bool(row.wrong) for row in rows)
    skipped = sum(bool(row.skipped) for row in rows)
    print('{} rows in {:.0f} s, {} of them not played'.format(
        len(rows), seconds, skipped))
    print('{} passed, {} failed'.format(len(rows) - failed - skipped, failed))
    return 1 if failed or len(rows) == skipped else 0


def play(case, workshop):
    row = Row(case)
    if case.get('not'):
        row.skipped = case.word('not')
        return row
    try:
        {'server': play_server, 'client': play_client}[case.side](
            row, workshop)
    except peer.NotToBeHad as reason:
        row.skipped = 'not to be had here: {}'.format(reason)
    except Exception as error:
        row.wrong.append('{}: {}'.format(type(error).__name__, error))
    return row


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--ends', default=','.join(LANGUAGES))
    parser.add_argument('--only', default='')
    parser.add_argument('--sanitize', action='store_true')
    parser.add_argument('--jobs', type=int, default=3 * os.cpu_count())
    given = parser.parse_args(arguments)
    started = time.monotonic()
    languages = given.ends.split(',')
    cases = plan(languages, given.only)
    folder = tempfile.mkdtemp(prefix='degu-matrix.')
    try:
        workshop = Workshop(folder, given.sanitize)
        workshop.prepare(languages)
        rows = []
        show_line(HEADINGS)
        with ThreadPoolExecutor(given.jobs) as pool:
            for row in pool.map(lambda case: play(case, workshop), cases):
                rows.append(row)
                show_line(row.cells())
    finally:
        shutil.rmtree(folder)
    return show_end(rows, time.monotonic() - started)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
