# SPDX-License-Identifier: MIT OR 0BSD
"""The extension, and the version, which degu.h has; all else stands in
pyproject.toml."""

import os
import re
from glob import glob

from setuptools import Extension, setup

with open('degu.h') as header:
    VERSION = re.search(
        r'^#define DEGU_VERSION_STRING "(.+)"$', header.read(), re.M
    )[1]

setup(
    version=VERSION,
    ext_modules=[
        Extension(
            'degu._degu',
            sources=sorted(glob('py/src/*.c')),
            include_dirs=['.'],
            depends=['degu.h'] + sorted(glob('py/src/*.h')),
            extra_compile_args=[
                '-pthread', '-fvisibility=hidden', '-fno-plt',
                # Python's own flags may ask for less, and yours for what
                # you like.
                *([] if 'CFLAGS' in os.environ else ['-O3']),
            ],
            extra_link_args=['-pthread'],
        ),
    ],
)
