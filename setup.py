# SPDX-License-Identifier: MIT OR 0BSD
"""The extension; all else stands in pyproject.toml."""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            'degu._degu',
            sources=sorted(glob('py/src/*.c')),
            include_dirs=['.'],
            depends=['degu.h'] + sorted(glob('py/src/*.h')),
            extra_compile_args=['-pthread', '-fvisibility=hidden'],
            extra_link_args=['-pthread'],
        ),
    ],
)
