#!/bin/sh
# SPDX-License-Identifier: MIT OR 0BSD
# Puts the model checker CBMC on a Debian machine: Debian 13 has the package;
# for Debian 12 that and the libraries it wants are taken from 13, by this
# machine's own set-up of apt, and unpacked in /opt/cbmc, beside the system,
# which stays as it is.  Says what to do where it may not.
set -eu

tools="goto-cc goto-instrument cbmc"
next=trixie
root=/opt/cbmc

all_there() {
    for tool in $tools; do
        command -v "$tool" > /dev/null || return 1
    done
}

# The lines of apt's sources, for the next release and without its security
# archive, whose suites have other names.
next_sources() {
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        to=$work/parts/$(basename "$file")
        case $file in
        *.sources)
            awk -v RS= -v ORS='\n\n' '!/security/' "$file" |
                sed "s/^Suites:.*/Suites: $next/" > "$to" ;;
        *.list)
            if [ -f "$file" ]; then
                sed -n "/security/d; /$VERSION_CODENAME-/d
                        s/$VERSION_CODENAME/$next/p" "$file" > "$to"
            fi ;;
        esac
    done
}

next_apt() {
    apt-get -qq -o Dir::Etc::SourceList=/dev/null \
        -o Dir::Etc::SourceParts="$work/parts" \
        -o Dir::State::Lists="$work/lists" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Sandbox::User=root "$@"
}

unpack_next() {
    . /etc/os-release
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/parts" "$work/lists/partial" "$root"
    next_sources
    next_apt update
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
