# SPDX-License-Identifier: MIT OR 0BSD
"""Sizes: of the source, of programs that only parse, of the public structs.

    size.py DIRECTORY      CC is taken from the environment
"""

import os
import re
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FLAGS = ['-Os', '-ffunction-sections', '-fdata-sections',
         '-fno-asynchronous-unwind-tables', '-Wl,--gc-sections', '-w',
         '-I' + ROOT]
STRUCTS = ('degu_str', 'degu_field', 'degu_fields', 'degu_request',
           'degu_response', 'degu_chunk', 'degu_conn', 'degu_body',
           'degu_address', 'degu_socket', 'degu_session', 'degu_slot',
           'degu_server', 'degu_client')


def compiler():
    return shlex.split(os.environ.get('CC', 'cc'))


def source_lines():
    with open(ROOT + '/degu.h') as file:
        lines = file.read().splitlines()
    # The include guard of the declarations ends before the implementation.
    end = next(i for (i, line) in enumerate(lines, 1)
               if re.match(r'#endif /\* DEGU_H \*/', line))
    print('degu.h: {} lines of declarations, {} of implementation'.format(
        end, len(lines) - end))
    folder = ROOT + '/py/src'
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name)) as file:
            print('py/src/{}: {} lines'.format(name, len(file.readlines())))


def text_and_data(directory, parse):
    program = directory + '/size_{}'.format(parse)
    subprocess.run(compiler() + FLAGS + ['-DPARSE={}'.format(parse),
                                         HERE + '/size.c', '-o', program],
                   check=True)
    out = subprocess.run(['size', program], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    return [int(word) for word in out.splitlines()[1].split()[:2]]


def programs(directory):
    (text, data) = text_and_data(directory, 0)
    for (parse, what) in ((1, 'parses requests'), (2, 'parses responses too'),
                          (3, 'parses and formats both')):
        (more, moreover) = text_and_data(directory, parse)
        print('a program that {}: {} bytes of code and constants, {} of data '
              'more than an empty one'.format(what, more - text,
                                              moreover - data))


def structs(directory):
    source = directory + '/structs.c'
    with open(source, 'w') as file:
        file.write('#include "degu.h"\n#include <stdio.h>\nint main(void)\n{\n')
        for name in STRUCTS:
            file.write('    printf("sizeof({0}) = %zu\\n", sizeof({0}));\n'
                       .format(name))
        file.write('    return 0;\n}\n')
    subprocess.run(compiler() + ['-I' + ROOT, source, '-o',
                                 directory + '/structs'], check=True)
    subprocess.run([directory + '/structs'], check=True)


if __name__ == '__main__':
    source_lines()
    sys.stdout.flush()
    programs(sys.argv[1])
    sys.stdout.flush()
    structs(sys.argv[1])
