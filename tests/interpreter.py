# SPDX-License-Identifier: MIT OR 0BSD
"""Runs pytest, with the arguments given, in a sub-interpreter: from CPython
3.13 on one that has a GIL of its own.

What is for the main interpreter alone is refused in conftest.py, with a reason
that pytest lists.
"""

import sys

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

RUN = '''
import sys
sys.path[:] = {path!r}
sys.argv[1:] = {arguments!r}
import os
os.environ['DEGU_ISOLATED'] = '1'
import pytest
status = pytest.main()
sys.stdout.flush()
assert status == 0, status
'''


def main():
    code = RUN.format(path=sys.path[1:], arguments=sys.argv[1:])
    if hasattr(interpreters, 'new_config'):
        number = interpreters.create(interpreters.new_config(
            'isolated', allow_fork=True, allow_exec=True,
            allow_daemon_threads=True))
    else:
        # hypothesis needs datetime, which 3.12 has not without its main GIL.
        number = interpreters.create(isolated=False)
    failed = interpreters.run_string(number, code)
    interpreters.destroy(number)
    if failed is not None:
        print(failed)
    return failed is not None


if __name__ == '__main__':
    sys.exit(main())
