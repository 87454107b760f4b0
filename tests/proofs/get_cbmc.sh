#!/bin/sh
# SPDX-License-Identifier: MIT OR 0BSD
# Puts the model checker CBMC on a Debian machine: Debian 13 has the package;
# for Debian 12 that and the libraries it wants are taken from 13, by this
# machine's own set-up of apt, and unpacked in /opt/cbmc, beside the system,
# which stays as it is.  Says what to do where it may not.
set -eu

tools="goto-cc goto-instrument cbmc"
root=/opt/cbmc

all_there() {
    for tool in $tools; do
        command -v "$tool" > /dev/null || return 1
    done
}

unpack_next() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$root"
    # shellcheck source=tests/next_release.sh
    . "$(dirname "$0")/../next_release.sh"
    next_apt_open deb "$work"
    (cd "$work" &&
        next_apt download cbmc minisat libc6 libstdc++6 libgcc-s1 zlib1g)
    for package in "$work"/*.deb; do
        dpkg -x "$package" "$root"
    done
}

# The programs run with the libraries that came with them.
wrap() {
    cat > "/usr/local/bin/$1" << END
#!/bin/sh
lib=\$(echo $root/usr/lib/*-linux-gnu)
loader=\$(ls $root/usr/lib64/ld-linux* \$lib/ld-linux* 2> /dev/null | head -n 1)
exec "\$loader" --library-path "\$lib:$root/usr/lib" $root/usr/bin/$1 "\$@"
END
    chmod 755 "/usr/local/bin/$1"
}

all_there && exit 0
command -v apt-get > /dev/null || exit 0 # prove.py says what is missing
if [ "$(id -u)" -ne 0 ]; then
    echo "CBMC is missing; please run, and then try again:" >&2
    echo "    sudo sh tests/proofs/get_cbmc.sh" >&2
    exit 1
fi
if [ -n "$(apt-cache search --names-only '^cbmc$')" ]; then
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y cbmc
else
    echo "taking CBMC from Debian's next release into $root"
    unpack_next
    for tool in $tools; do
        wrap "$tool"
    done
fi
for tool in $tools; do
    "$tool" --version > /dev/null
done
