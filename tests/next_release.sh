# SPDX-License-Identifier: MIT OR 0BSD
# For other scripts, which read this: apt as this machine is set up, but for
# Debian's next release and in a directory of its own, so that the system stays
# as it is.  What it gets is verified by apt as ever.
#
#   next_apt_open TYPES DIRECTORY   TYPES: deb, deb-src or both
#   next_apt WORD...                apt-get with them

next=trixie

# The lines of apt's sources that name this release, for the next one; not its
# security archive, whose suites have other names.
next_sources() {
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        to=$next_work/parts/$(basename "$file")
        case $file in
        *.sources)
            awk -v RS= -v ORS='\n\n' -v name="$VERSION_CODENAME" \
                '!/security/ && $0 ~ "Suites:.* " name' "$file" |
                sed "s/^Suites:.*/Suites: $next/
                     s/^Types:.*/Types: $next_types/" > "$to" ;;
        *.list)
            if [ -f "$file" ]; then
                sed -n "/security/d
                        s/^deb \(.*\) $VERSION_CODENAME /deb \1 $next /p" \
                    "$file" | while read -r _ rest; do
                    for type in $next_types; do
                        echo "$type $rest"
                    done
                done > "$to"
            fi ;;
        esac
    done
}

next_apt() {
    apt-get -qq -o Dir::Etc::SourceList=/dev/null \
        -o Dir::Etc::SourceParts="$next_work/parts" \
        -o Dir::State::Lists="$next_work/lists" \
        -o Dir::Cache::Archives="$next_work/archives" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Sandbox::User=root "$@"
}

next_apt_open() {
    next_types=$1
    next_work=$2
    . /etc/os-release
    mkdir -p "$next_work/parts" "$next_work/lists/partial" \
        "$next_work/archives/partial"
    next_sources
    next_apt update
}
