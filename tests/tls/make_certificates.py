# SPDX-License-Identifier: MIT OR 0BSD
"""Makes a folder with every certificate and key that the TLS tests need, good
and bad ones, with the openssl command alone.

    make_certificates.py DIRECTORY [--verbose]

DIRECTORY must not exist.  Beside NAME.pem (the certificate, and its chain)
there is NAME.key, and NAME.pin with the SHA-256 of its public key in hex;
IDENTITIES lists the names.  AUTHORITIES are there as NAME.pem; folders/NAME
holds one of them under the name that ca_path looks for.  bad/ holds files that
no program can use.
"""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

LIMIT = 60  # seconds for one run of openssl
OPENSSL = 'openssl'

AUTHORITIES = ('server-authority', 'client-authority', 'foreign-authority')

# Key by its name: how it is made.  Leaves share them, as making them is what
# takes the time.
RSA = ('-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048')
KEYS = {
    'server-authority': RSA,
    'client-authority': RSA,
    'foreign-authority': RSA,
    'intermediate': RSA,
    'server': RSA,
    'client': RSA,
    'other': RSA,
    'short': ('-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024'),
    'p256': ('-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'),
    'ed25519': ('-algorithm', 'ED25519'),
}

GOOD_NAMES = 'DNS:localhost,IP:127.0.0.1,IP:::1'
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = (-HOUR, 30 * DAY)
PAST = (-30 * DAY, -DAY)
FUTURE = (DAY, 30 * DAY)


class Identity:
    """A leaf: who signs it, whose key it has, what it is for, when."""

    def __init__(self, signer, key, use, names=None, when=NOW, chain=(),
                 common_name=None):
        self.signer = signer
        self.key = key
        self.use = use
        self.names = names
        self.when = when
        self.chain = chain
        self.common_name = common_name


def _server(signer='server-authority', key='server', use='serverAuth',
            names=GOOD_NAMES, **more):
    return Identity(signer, key, use, names, **more)


def _client(signer='client-authority', key='client', use='clientAuth', **more):
    return Identity(signer, key, use, **more)


# A signer of None signs itself.
IDENTITIES = {
    'server': _server(),
    'server-other': _server(key='other'),
    'server-self-signed': _server(None),
    'server-foreign': _server('foreign-authority'),
    'server-expired': _server(when=PAST),
    'server-not-yet': _server(when=FUTURE),
    'server-wrong-purpose': _server(use='clientAuth'),
    'server-short': _server(key='short'),
    'server-wrong-name': _server(names='DNS:other.example'),
    'server-device': _server(names='DNS:device-7.example'),
    'server-wrong-address': _server(names='DNS:localhost,IP:192.0.2.1'),
    'server-name-only': _server(names='DNS:localhost'),
    'server-common-name': _server(names=None, common_name='localhost'),
    'server-p256': _server(key='p256'),
    'server-ed25519': _server(key='ed25519'),
    'client': _client(),
    'client-other': _client(key='other'),
    'client-self-signed': _client(None),
    'client-foreign': _client('foreign-authority'),
    'client-by-server-authority': _client('server-authority'),
    'client-expired': _client(when=PAST),
    'client-not-yet': _client(when=FUTURE),
    'client-wrong-purpose': _client(use='serverAuth'),
    'client-short': _client(key='short'),
    'client-p256': _client(key='p256'),
    'client-ed25519': _client(key='ed25519'),
    'client-chain': _client('intermediate', chain=('intermediate',)),
    'client-chain-missing': _client('intermediate'),
}
# The certificate of one, and a key file that has the public half of its key
# and the private half of another: what somebody has who only saw the
# certificate.
STOLEN = {'server-stolen': 'server', 'client-stolen': 'client'}

CONFIG = """\
[req]
distinguished_name = nothing
prompt = no
[nothing]
[ca]
default_ca = one
[one]
database = index.txt
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
copy_extensions = none
[any]
commonName = supplied
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
subjectKeyIdentifier = hash
"""


def run(*arguments, cwd=None, data=None):
    """What openssl prints."""
    done = subprocess.run(
        [OPENSSL, *arguments], cwd=cwd, timeout=LIMIT,
        input=b'' if data is None else data,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        raise RuntimeError('openssl {}: {}'.format(
            ' '.join(arguments), done.stderr.decode('utf-8', 'replace')))
    return done.stdout


def write(path, data, mode=0o600):
    """A new file; a private one, if nothing else is said."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode),
              'wb') as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def _stamp(when):
    return (datetime.now(timezone.utc) + when).strftime('%Y%m%d%H%M%SZ')


class Folder:
    """The folder in the making; `work` is for what nobody needs after it."""

    def __init__(self, path, work):
        self.path = path
        self.work = work

    def file(self, name):
        return os.path.join(self.path, name)

    def key_of(self, name):
        return os.path.join(self.work, name + '.key')

    def make_key(self, name):
        run('genpkey', *KEYS[name], '-out', self.key_of(name))

    def _config(self, name, more):
        folder = os.path.join(self.work, name)
        os.mkdir(folder)
        write(folder + '/index.txt', b'')
        write(folder + '/openssl.cnf', (CONFIG + more).encode())
        return folder

    def make_authority(self, name):
        folder = self._config(name, '')
        run('req', '-x509', '-new', '-config', 'openssl.cnf', '-extensions',
            'authority', '-key', self.key_of(name), '-subj', '/CN=' + name,
            '-days', '30', '-out', self.file(name + '.pem'), cwd=folder)

    def sign(self, name, identity, section):
        """PEM.  Each has a database of its own, so that many can be made at
        a time."""
        lines = ''
        if identity.use:
            lines += 'extendedKeyUsage = {}\n'.format(identity.use)
        if identity.names:
            lines += 'subjectAltName = {}\n'.format(identity.names)
        if identity.signer:
            lines += 'authorityKeyIdentifier = keyid\n'
        folder = self._config(name, lines)
        key = self.key_of(identity.key)
        run('req', '-new', '-config', 'openssl.cnf', '-key', key, '-out',
            'request.pem', '-subj', '/CN=' + (identity.common_name or name),
            cwd=folder)
        if identity.signer:
            signer = ('-cert', self.file(identity.signer + '.pem'),
                      '-keyfile', self.key_of(identity.signer))
        else:
            signer = ('-selfsign', '-keyfile', key)
        (start, end) = identity.when
        run('ca', '-batch', '-notext', '-config', 'openssl.cnf', *signer,
            '-extensions', section, '-startdate', _stamp(start), '-enddate',
            _stamp(end), '-in', 'request.pem', '-out', 'signed.pem',
            cwd=folder)
        return read(folder + '/signed.pem')

    def make_intermediate(self):
        identity = Identity('client-authority', 'intermediate', None)
        write(self.file('intermediate.pem'),
              self.sign('intermediate', identity, 'authority'))

    def make_leaf(self, name):
        identity = IDENTITIES[name]
        chain = self.sign(name, identity, 'leaf')
        for link in identity.chain:
            chain += read(self.file(link + '.pem'))
        write(self.file(name + '.pem'), chain)
        write(self.file(name + '.key'), read(self.key_of(identity.key)))
        public = run('pkey', '-in', self.key_of(identity.key), '-pubout',
                     '-outform', 'DER')
        write(self.file(name + '.pin'),
              hashlib.sha256(public).hexdigest().encode())

    def make_stolen(self, name):
        owner = STOLEN[name]
        shutil.copy(self.file(owner + '.pem'), self.file(name + '.pem'))
        shutil.copy(self.file(owner + '.pin'), self.file(name + '.pin'))
        write(self.file(name + '.key'), mismatched_key(
            self.key_of(owner), self.key_of('other')))

    def make_folder(self, authority):
        """What ca_path may be."""
        folder = self.file('folders/' + authority)
        os.makedirs(folder)
        shutil.copy(self.file(authority + '.pem'), folder)
        run('rehash', folder)

    def make_bad_files(self):
        os.mkdir(self.file('bad'))
        good = read(self.file('server.pem'))
        key = read(self.file('server.key'))
        files = {
            'empty.pem': b'',
            'text.pem': b'There is no certificate in here.\n',
            'malformed.pem': b'-----BEGIN CERTIFICATE-----\n'
                             b'bm90IGEgY2VydGlmaWNhdGU=\n'
                             b'-----END CERTIFICATE-----\n',
            'cut.pem': good[:len(good) // 2],
            'der.pem': run('x509', '-outform', 'DER', data=good),
            # The leaf is good, what should be its chain is not.
            'broken-chain.pem': good + good[:len(good) // 2],
            'empty.key': b'',
            'malformed.key': b'-----BEGIN PRIVATE KEY-----\n'
                             b'bm90IGEgcHJpdmF0ZSBrZXk=\n'
                             b'-----END PRIVATE KEY-----\n',
            'cut.key': key[:len(key) // 2],
            'der.key': run('pkey', '-outform', 'DER', data=key),
            'encrypted.key': run('pkcs8', '-topk8', '-passout', 'pass:secret',
                                 data=key),
        }
        for (name, data) in files.items():
            write(self.file('bad/' + name), data)
        for name in ('folder.pem', 'folder.key'):
            os.mkdir(self.file('bad/' + name))
        write(self.file('bad/group.key'), key, 0o640)
        write(self.file('bad/others.key'), key, 0o604)
        write(self.file('bad/unreadable.key'), key, 0)
        write(self.file('bad/unreadable.pem'), good, 0)


def _numbers(path):
    """The integers of an RSA key: version, n, e, d, p, q, dp, dq, qinv."""
    text = run('rsa', '-in', path, '-traditional')
    listing = run('asn1parse', data=text).decode('ascii')
    return [int(digits, 16)
            for digits in re.findall(r'INTEGER\s*:([0-9A-F]+)', listing)]


def _der(tag, content):
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, 'big')
    return bytes([tag, 128 + len(length)]) + length + content


def mismatched_key(public, private):
    """PEM of an RSA key that has n and e of one and the rest of another."""
    numbers = _numbers(public)[:3] + _numbers(private)[3:]
    content = b''.join(
        _der(2, number.to_bytes(number.bit_length() // 8 + 1, 'big'))
        for number in numbers)
    text = base64.encodebytes(_der(0x30, content))
    return (b'-----BEGIN RSA PRIVATE KEY-----\n' + text +
            b'-----END RSA PRIVATE KEY-----\n')


def make(path):
    """Makes all of it; the folder is whole when it is there."""
    made = tempfile.mkdtemp(prefix='.making.',
                            dir=os.path.dirname(os.path.abspath(path)))
    work = tempfile.mkdtemp(prefix='degu-certificates.')
    try:
        folder = Folder(made, work)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # In this order, as one needs what the one before it made.
            for (step, names) in (
                    (folder.make_key, KEYS),
                    (folder.make_authority, AUTHORITIES),
                    (lambda unused: folder.make_intermediate(), (None,)),
                    (folder.make_leaf, IDENTITIES),
                    (folder.make_stolen, STOLEN),
                    (folder.make_folder, AUTHORITIES)):
                list(pool.map(step, names))
        folder.make_bad_files()
        os.rename(made, path)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main(arguments):
    verbose = '--verbose' in arguments
    paths = [word for word in arguments if word != '--verbose']
    if len(paths) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    make(paths[0])
    if verbose:
        for name in sorted(os.listdir(paths[0])):
            print(name)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
