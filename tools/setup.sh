# shellcheck shell=sh
# setup.sh - sourced by ./start and ./check: packages and builds.
#
# The caller has changed into the repository and sets `yes` (1 = ask nothing). Everything here can
# run again at any time: what is installed or built stays.

# shellcheck disable=SC2034 # both are read by the callers
packages_build='meson ninja-build pkg-config gcc libc6-dev libjansson-dev libinih-dev
libutf8proc-dev libxxhash-dev libzstd-dev zlib1g-dev liblzma-dev libssl-dev libedit-dev
libpcre2-dev'
# shellcheck disable=SC2034
packages_test='python3'

# Where colour and moving lines are welcome.
is_terminal() { [ -t 2 ] && [ "${TERM:-dumb}" != dumb ]; }

say() { printf '%s\n' "$*" >&2; }

# step NUMBER NAME TEXT SECONDS: one finished step of the screen.
step() { printf '[%s] %-9s %-76s %4d s\n' "$1" "$2" "$3" "$4" >&2; }

is_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null)" = 'ii ' ]
}

# The packages among "$@" that are missing, on one line.
missing_packages() {
    for package in "$@"; do
        is_installed "$package" || printf '%s ' "$package"
    done
}

# What the download would cost, in apt's words; empty if apt cannot say.
download_size() {
    LC_ALL=C apt-get install --assume-no --no-install-recommends "$@" 2>/dev/null |
        sed -n 's/^Need to get \(.*\) of archives.*/\1/p'
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@" >&2
}

# Is there an index to install from? apt-cache knows no candidate without one.
lists_empty() {
    ! LC_ALL=C apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'
}

# need_packages PACKAGE...: installs what is missing, or says how and ends with 69.
need_packages() {
    if ! command -v dpkg-query >/dev/null 2>&1; then
        say "note: this is no Debian; the build needs the equivalents of: $*"
        return 0
    fi
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    line="apt-get install --no-install-recommends $missing"
    if [ "$(id -u)" != 0 ]; then
        say "error: packages are missing, and only root may install them"
        say "  fix: sudo $line"
        exit 69
    fi
    # From here on $missing is split into words on purpose.
    # shellcheck disable=SC2086
    set -- $missing
    lists_empty "$1" && { apt-get -q update >&2 || true; }
    # shellcheck disable=SC2154 # set by the caller
    if [ "$yes" != 1 ] && [ -t 0 ] && is_terminal; then
        printf 'Install %s(%s)? [Y/n] ' "$missing" "$(download_size "$@")" >&2
        read -r answer || answer=n
        case $answer in
        '' | [yY]*) ;;
        *)
            say "nothing installed; by hand: $line"
            exit 69
            ;;
        esac
    fi
    # Lists that are older than the mirror name files that are gone: look again once.
    apt_install "$@" || { apt-get -q update >&2 && apt_install "$@"; } || {
        say "error: the packages could not be installed"
        say "  fix: $line"
        exit 69
    }
}

# What a configuration depends on: this very folder, and the versions of the packages.
fingerprint() {
    printf '%s\n' "$PWD"
    # shellcheck disable=SC2086
    dpkg-query -W -f='${Package} ${Version} ${db:Status-Abbrev}\n' $packages_build $packages_test \
        2>/dev/null || true # it fails when one of them is not installed
}

# configure FOLDER [MESON-OPTION...]: a build folder that fits this tree and these packages. A new
# package is looked for again; a folder that belongs to another place begins anew.
configure() {
    folder=$1
    shift
    again=''
    if [ -f "$folder/build.ninja" ] && [ "$(head -n 1 "$folder/.fits" 2>/dev/null)" = "$PWD" ]; then
        [ "$(fingerprint)" = "$(cat "$folder/.fits")" ] && return 0
        again=--reconfigure
    else
        rm -rf "$folder"
    fi
    meson setup $again "$folder" "$@" >"$folder.log" 2>&1 || {
        cat "$folder.log" >&2
        rm -rf "$folder" "$folder.log"
        return 1
    }
    mv "$folder.log" "$folder/setup.log"
    fingerprint >"$folder/.fits"
}

cpus() { nproc 2>/dev/null || echo 2; }

# compile FOLDER LABEL [TARGET...]: builds, with a moving line on a terminal; the log is kept.
compile() {
    folder=$1
    label=$2
    shift 2
    log=$folder/build.log
    if is_terminal; then
        { NINJA_STATUS='%f/%t files ' ninja -C "$folder" -j "$(cpus)" "$@" 2>&1
            echo $? >"$folder/.result"; } | tee "$log" | while IFS= read -r line; do
            case $line in
            [0-9]*/*' files '*) printf '\r%s %s\033[K' "$label" "${line%% files*} files" >&2 ;;
            esac
        done
        printf '\r\033[K' >&2
    else
        ninja -C "$folder" -j "$(cpus)" "$@" >"$log" 2>&1
        echo $? >"$folder/.result"
    fi
    [ "$(cat "$folder/.result")" = 0 ] && return 0
    # The failing command and what the compiler said about it.
    sed -n '/^FAILED/,$p' "$log" | head -n 60 >&2
    say "error: the build failed; everything the compiler said is in $log"
    return 1
}
