#!/bin/sh
# SPDX-License-Identifier: MIT OR 0BSD
# packages.sh PACKAGE...: sees to it that these Debian packages are there.
# As root it installs those that are missing; otherwise it prints the command
# that would, and fails.  Not on Debian: what is missing will say so itself.
# Names differ between releases: -N- stands for the version of their gcc, and of
# ONE/OTHER that is taken which there is.
set -eu

command -v dpkg-query >/dev/null 2>&1 || exit 0
gcc=$(dpkg-query -W -f '${Package}\n' 'gcc-*-base' 2>/dev/null |
    sed -n 's/^gcc-\([0-9]*\)-base$/\1/p' | sort -n | tail -1)

# The name that this release has for it.
name() {
    for one in $(echo "$1" | sed "s/-N-/-$gcc-/" | tr / ' '); do
        ! apt-cache show "$one" >/dev/null 2>&1 || break
    done
    echo "$one"
}

missing=
for package in "$@"; do
    case $package in
    */* | *-N-*)
        # Where there are no lists yet, there are no names.
        [ "$(id -u)" -ne 0 ] || apt-cache show gcc >/dev/null 2>&1 ||
            apt-get update -qq
        package=$(name "$package") ;;
    esac
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
        grep -q ' installed$' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "missing Debian packages; please run, and then try again:" >&2
    echo "    sudo apt-get install -y$missing" >&2
    exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# Lists that are out of date, or not there at all, are fetched once.
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends $missing
}
