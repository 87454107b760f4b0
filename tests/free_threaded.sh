#!/bin/sh
# SPDX-License-Identifier: MIT OR 0BSD
# Sees to it that there is a CPython without a GIL, and prints where: the one
# that is on the path, or that was built here before, or one that is built now
# in DIRECTORY from Debian's source of python3.13, as neither Debian 12 nor 13
# has a package of it.  That takes about five minutes.
#
#   free_threaded.sh DIRECTORY PACKAGE...   packages that the build needs
set -eu

here=$(dirname "$0")
directory=$1
shift
for python in python3.14t python3.13t "$directory/python/bin/python3.13t"; do
    if command -v "$python"; then
        exit 0
    fi
done
if ! command -v apt-get > /dev/null; then
    echo 'no CPython without a GIL: put a python3.13t on the path' >&2
    exit 1
fi
sh "$here/packages.sh" "$@" >&2
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
work=$(mktemp -d)
echo 'getting and building the source of python3.13, without a GIL' >&2
built=
trap '[ "$built" ] || tail -n 40 "$work/log" >&2; rm -rf "$work"' EXIT

build() {
    # shellcheck source=tests/next_release.sh
    . "$here/next_release.sh"
    next_apt_open deb-src "$work/apt"
    mkdir "$work/build"
    cd "$work"
    # apt has verified it: the signed index has the sums of all its files.
    next_apt source --download-only python3.13
    # Debian's patches are for a layout of directories that has no such one.
    dpkg-source --no-check --skip-patches -x ./*.dsc source
    cd build
    ../source/configure -q --disable-gil --disable-test-modules \
        --prefix="$directory/python"
    nice make -s -j2
    make -s altinstall ENSUREPIP=no DESTDIR="$work/root"
    rm -rf "$directory/python"
    mv "$work/root$directory/python" "$directory/python"
}

build > "$work/log" 2>&1
built=yes
echo "$directory/python/bin/python3.13t"
