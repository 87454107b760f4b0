#!/bin/sh
# SPDX-License-Identifier: MIT OR 0BSD
# packages.sh PACKAGE...: sees to it that these Debian packages are there.
# As root it installs those that are missing; otherwise it prints the command
# that would, and fails.  Not on Debian: what is missing will say so itself.
set -eu

command -v dpkg-query >/dev/null 2>&1 || exit 0
missing=
for package in "$@"; do
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
