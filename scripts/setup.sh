#!/bin/sh
# Installs what the build needs and the machine lacks, then runs the command given.
#
#   scripts/setup.sh COMMAND [ARGUMENT...]
#
# Needed: Rust, a C compiler with its headers, make, and m4 (for the GMP and MPFR that are built from
# source). Everything is checked before cargo is called, because without m4 the build fails late.
# What is missing comes from apt: as root, by sudo where it asks for no password, else (m4 only)
# unpacked into target/tools without touching the system. A machine that has everything is left alone.
set -eu
cd "$(dirname "$0")/.."

tools=${CARGO_TARGET_DIR:-target}/tools
case $tools in /*) ;; *) tools=$PWD/$tools ;; esac

say() { printf 'setup: %s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }
die() {
    printf 'setup: error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
    exit 2
}

check_rust() {
    minor=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*"$/\1/p' Cargo.toml)
    if ! has cargo && [ -x "${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo" ]; then
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    if ! has cargo || ! has rustc; then
        die "Rust is not installed (1.$minor or newer is needed)" \
            "install it as https://rustup.rs says, open a new shell, and run this again"
    fi
    version=$(rustc --version) || die "\"rustc --version\" fails" \
        "\"rustup show\" tells which toolchain is active; \"rustup default stable\" installs the current one"
    have=$(printf '%s\n' "$version" | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
    [ -n "$have" ] || die "\"rustc --version\" says \"$version\", which is not understood"
    [ "$have" -ge "$minor" ] || die "Rust 1.$have is too old: 1.$minor or newer is needed" \
        "\"rustup update stable\" installs the current version" \
        "a Rust from the distribution's packages can't be updated so: install https://rustup.rs instead"
}

# Does the compiler find the C library and link a program? Headers come in a package of their own.
compiler_works() {
    has cc || return 1
    probe=$(mktemp -d)
    printf '#include <stdio.h>\nint main(void) { return puts("") == EOF; }\n' >"$probe/probe.c"
    ok=0
    cc -o "$probe/probe" "$probe/probe.c" >/dev/null 2>&1 || ok=1
    rm -rf "$probe"
    return "$ok"
}

m4_works() { [ "$(printf 'define(a,works)a' | m4 2>/dev/null)" = works ]; }

# The Debian names of the packages that are missing.
missing() {
    if ! has cc; then
        echo gcc libc6-dev
    elif ! compiler_works; then
        echo libc6-dev
    fi
    has make || echo make
    m4_works || echo m4
}

# apt_install PREFIX... -- PACKAGE...: as root, with a prefix such as "sudo -n".
apt_install() {
    prefix=
    while [ "$1" != -- ]; do
        prefix="$prefix $1"
        shift
    done
    shift
    say "installing $* by apt-get (needed for the build)"
    # shellcheck disable=SC2086 # the prefix is words
    $prefix apt-get update -q </dev/null >&2 || say "apt-get update failed; trying with the package lists at hand"
    # shellcheck disable=SC2086
    $prefix env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "$@" </dev/null >&2
}

# Without root: the Debian packages of m4 and its library, unpacked into target/tools.
unpack_m4() {
    has apt-get && has dpkg || return 1
    say "unpacking m4 into $tools (the system is left as it is)"
    rm -rf "$tools"
    mkdir -p "$tools/packages" "$tools/root" "$tools/bin" "$tools/apt/lists/partial" "$tools/apt/cache/archives/partial"
    (
        cd "$tools/packages"
        apt-get download -q m4 libsigsegv2 </dev/null >&2 && exit
        say "downloading the package lists into $tools first"
        own="-o Dir::State::lists=$tools/apt/lists -o Dir::Cache=$tools/apt/cache"
        # shellcheck disable=SC2086 # the options are words; apt can't take blanks in them
        apt-get $own update -q </dev/null >&2 && apt-get $own download -q m4 libsigsegv2 </dev/null >&2
    ) || return 1
    for package in "$tools"/packages/*.deb; do
        dpkg -x "$package" "$tools/root" || return 1
    done
    library=$(find "$tools/root" -name 'libsigsegv.so*' | head -n 1)
    # The wrapper finds its files beside itself, so the target folder may move.
    cat >"$tools/bin/m4" <<END
#!/bin/sh
root=\$(dirname "\$0")/../root
LD_LIBRARY_PATH=\$root$(dirname "${library#"$tools/root"}")
export LD_LIBRARY_PATH
exec "\$root/usr/bin/m4" "\$@"
END
    chmod +x "$tools/bin/m4"
    rm -rf "$tools/packages" "$tools/apt"
}

give_up() {
    die "missing for the build: $*" \
        "install it, and run this again:" \
        "Debian, Ubuntu   apt-get install gcc libc6-dev make m4" \
        "Fedora, RHEL     dnf install gcc glibc-devel make m4" \
        "Arch             pacman -S gcc make m4" \
        "openSUSE         zypper install gcc glibc-devel make m4" \
        "Alpine           apk add gcc musl-dev make m4" \
        "macOS            xcode-select --install; brew install m4"
}

check_rust
# The m4 that an earlier run unpacked.
if ! m4_works && [ -x "$tools/bin/m4" ]; then PATH=$tools/bin:$PATH; fi
lacking=$(missing)
if [ -n "$lacking" ]; then
    if has apt-get && [ "$(id -u)" = 0 ]; then
        # shellcheck disable=SC2086 # package names are words
        apt_install -- $lacking || say "apt-get install failed"
    elif has apt-get && has sudo && sudo -n true 2>/dev/null; then
        # shellcheck disable=SC2086
        apt_install sudo -n -- $lacking || say "apt-get install failed"
    fi
    hash -r
    lacking=$(missing)
    if [ "$lacking" = m4 ] && unpack_m4; then
        PATH=$tools/bin:$PATH
        hash -r
        lacking=$(missing)
    fi
    # shellcheck disable=SC2086
    [ -z "$lacking" ] || give_up $lacking
fi
export PATH

# The flags of the make that called (-n, -k, -j, …) are not meant for the make inside the build.
unset MAKEFLAGS MFLAGS MAKELEVEL
[ $# -eq 0 ] || exec "$@"
