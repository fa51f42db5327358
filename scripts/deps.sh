#!/usr/bin/env bash
# Installs what a part of the work needs, through apt, and builds the accelerated wolfSSL.
#
#   scripts/deps.sh [--verify] build|unit|fuzz|test|bench|hostile|browser|check
#
#   build   what compiling userd needs, wolfSSL included
#   unit    build, and the unit test library
#   fuzz    unit, and clang with libFuzzer
#   test    unit, and the foreign clients and servers of the integration tests
#   bench   test, and what measurements compare with; of that, what cannot be had is only told
#   hostile test, and testssl.sh
#   browser test, and a browser with what drives it
#   check   test, fuzz, browser, promtool, and the other tools of `make check`
#
# --verify installs nothing: it names what is missing and exits 1. TLS=system asks for Debian's own
# wolfSSL binary. When nothing is missing the script is silent and takes well under 0.2 s.
#
# wolfSSL: Debian's binary is built without CPU acceleration, so the library is built here from
# Debian's source package of the current stable suite, fetched through apt with apt's own signature
# check. The mirror is the one this system uses already. The result is kept in build/deps under a
# name made of version and flags; build/deps/wolfssl.mk tells the Makefile about it.

set -euo pipefail
cd "$(dirname "$0")/.."

readonly ROOT=$PWD
readonly DEPS=build/deps
readonly LOG=$DEPS/deps.log
readonly TLS=${TLS:-accelerated}

readonly BUILD_PACKAGES="gcc make libc6-dev pkg-config openssl ca-certificates liburing-dev
    libnghttp2-dev libprotobuf-c-dev protobuf-c-compiler libprotobuf-dev grpc-proto libjwt-dev
    libsodium-dev libinih-dev libjansson-dev zlib1g-dev libutf8proc-dev libmicrohttpd-dev"
readonly WOLFSSL_PACKAGES="dpkg-dev autoconf automake libtool patch xz-utils debian-archive-keyring"
readonly UNIT_PACKAGES="check"
readonly TEST_PACKAGES="python3 python3-grpcio python3-protobuf python3-h2 python3-hpack
    python3-prometheus-client python3-yaml python3-seccomp mandoc protobuf-compiler protobuf-compiler-grpc nghttp2-client
    g++ libgrpc++-dev zsh"
# Each of them is missed by one line of a report alone.
readonly BENCH_OPTIONAL_PACKAGES="nghttp2-server linux-perf"
# libFuzzer and clang's sanitizers are in libclang-rt; llvm has the symbolizer for their stack traces.
readonly HOSTILE_PACKAGES="testssl.sh"
readonly FUZZ_PACKAGES="clang libclang-rt-14-dev llvm"
readonly BROWSER_PACKAGES="chromium chromium-driver python3-selenium"
# systemd-analyze looks at the unit; installing systemd starts nothing.
readonly CHECK_PACKAGES="valgrind clang-format clang-tidy cppcheck shellcheck systemd"

# The configuration of our wolfSSL: TLS 1.3, and 1.2 with ECDHE and AEAD only. Part of the cache key.
readonly WOLFSSL_CONFIGURE="--enable-static --disable-shared --with-pic
    --disable-examples --disable-crypttests
    --enable-tls13 --enable-tlsv12 --disable-oldtls
    --enable-sp --enable-sp-asm --enable-alpn --enable-sni --enable-supportedcurves
    --enable-curve25519 --enable-ed25519 --enable-chacha --enable-poly1305 --enable-aesgcm
    --disable-aescbc --disable-dh --disable-des3 --disable-md5 --disable-psk
    --enable-extended-master --enable-crl --enable-ip-alt-name
    --disable-session-ticket --disable-errorqueue --disable-pkcs12 --disable-pwdbased
    --disable-hashdrbg"
readonly WOLFSSL_CPU_X86_64="--enable-aesni --enable-intelasm"
readonly WOLFSSL_CPU_AARCH64="--enable-armasm"
# The verify callback must see good certificates too: it takes the client's name from them.
readonly WOLFSSL_CFLAGS_BUILD="-O2 -g -fPIC -fstack-protector-strong
    -DNO_SESSION_CACHE -DCUSTOM_RAND_GENERATE_BLOCK=wolfssl_random_block
    -DWOLFSSL_ALWAYS_VERIFY_CB -DWOLFSSL_VERIFY_CB_ALL_CERTS"

# WOLFSSL_OPTIONS_IGNORE_SYS in WOLFSSL_CFLAGS keeps options.h from repeating this in our code.
readonly WOLFSSL_CPPFLAGS_BUILD="-D_FORTIFY_SOURCE=2 -include $ROOT/scripts/wolfssl_random.h"

say() {
    printf '%s\n' "deps: $*"
}

# A list of words on one line, whatever line breaks it was written with.
flat() {
    echo "$*" | tr -s ' \n' ' '
}

die() {
    printf '%s\n' "deps: $*" >&2
    exit 1
}

# Runs a command with its output in the log, and shows every ten seconds that it is still alive.
run_logged() {
    local started=$SECONDS pid status=0 beats=0
    printf '\n== %s\n' "$*" >>"$LOG"
    "$@" </dev/null >>"$LOG" 2>&1 9>&- &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.2
        beats=$((beats + 1))
        if [ $((beats % 50)) -eq 0 ]; then
            say "  still working, $((SECONDS - started)) s: $(tail -n 1 "$LOG" | tr -d '\r' | cut -c 1-80)"
        fi
    done
    wait "$pid" || status=$?
    return "$status"
}

show_log() {
    printf '%s\n' "---- the end of $LOG" >&2
    tail -n 30 "$LOG" >&2
    printf '%s\n' "----" >&2
}

# The packages of a list that are not installed. One dpkg-query, no apt.
missing_of() {
    # shellcheck disable=SC2048,SC2086 # lists of words on purpose
    {
        dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' $* 2>/dev/null | awk '$1 == "ii" { print $2 }'
        printf -- '--\n'
        printf '%s\n' $*
    } | awk '$1 == "--" { listing = 1; next } !listing { have[$1] = 1; next } !($1 in have) { printf "%s ", $1 }'
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

apt_install() {
    # shellcheck disable=SC2048,SC2086
    run_logged as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 \
        -y -q --no-install-recommends install $*
}

apt_update() {
    run_logged as_root apt-get -q update || { sleep 3 && run_logged as_root apt-get -q update; }
}

install_packages() {
    local packages=$*
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die "run this as root, or install sudo, or install by hand: apt-get install $packages"
    fi
    say "installing through apt (about a minute on a fresh machine): $packages"
    if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -print -quit)" ]; then
        say "  the package lists are empty: apt-get update"
        apt_update || { show_log; die "apt-get update failed twice"; }
    fi
    if ! apt_install "$packages"; then
        say "  that failed; once more with fresh package lists"
        apt_update || { show_log; die "apt-get update failed twice"; }
        apt_install "$packages" || { show_log; die "apt-get install failed"; }
    fi
}

# ---------------------------------------------------------------------------------------- wolfSSL

wolfssl_cpu_flags() {
    case $(uname -m) in
    x86_64) printf '%s' "$WOLFSSL_CPU_X86_64" ;;
    aarch64) printf '%s' "$WOLFSSL_CPU_AARCH64" ;;
    esac
}

wolfssl_key() {
    {
        flat "$WOLFSSL_CONFIGURE" "$(wolfssl_cpu_flags)" "$WOLFSSL_CFLAGS_BUILD"
        cat scripts/wolfssl_random.[ch]
    } | sha256sum | cut -c 1-12
}

# The makefile fragment that this run wants: each kind has its own, so both can be built side by side.
wolfssl_mk() {
    if [ "$TLS" = system ]; then
        echo "$DEPS/wolfssl-system.mk"
    else
        echo "$DEPS/wolfssl.mk"
    fi
}

# Is the fragment there and still right? A fallback counts for a day, then the build is tried again.
wolfssl_ready() {
    local mk
    mk=$(wolfssl_mk)
    [ -f "$mk" ] || return 1
    if grep -q '^WOLFSSL_KIND = system' "$mk"; then
        [ -f /usr/include/wolfssl/ssl.h ] || return 1
        [ "$TLS" = system ] || [ -n "$(find "$mk" -mmin -1440)" ]
    else
        grep -q "^WOLFSSL_KEY = $(wolfssl_key)\$" "$mk" &&
            [ -f "$(sed -n 's/^WOLFSSL_DIR = //p' "$mk")/complete" ]
    fi
}

write_mk() {
    cat >"$(wolfssl_mk).new"
    mv "$(wolfssl_mk).new" "$(wolfssl_mk)"
}

write_system_mk() {
    local version
    [ -f /usr/include/wolfssl/ssl.h ] || install_packages libwolfssl-dev
    # shellcheck disable=SC2016
    version=$(dpkg-query -W -f='${Version}' libwolfssl-dev)
    write_mk <<END
WOLFSSL_KIND = system
WOLFSSL_VERSION = $version
WOLFSSL_CFLAGS = -DWOLFSSL_USE_OPTIONS_H
WOLFSSL_LIBS = -lwolfssl
END
}

write_accelerated_mk() {
    local dir=$1
    write_mk <<END
WOLFSSL_KIND = accelerated
WOLFSSL_VERSION = $(cat "$dir/complete")
WOLFSSL_KEY = $(wolfssl_key)
WOLFSSL_DIR = $dir
WOLFSSL_CFLAGS = -DWOLFSSL_USE_OPTIONS_H -DWOLFSSL_OPTIONS_IGNORE_SYS -isystem $dir/include
WOLFSSL_LIBS = $dir/lib/libwolfssl.a -lm -pthread
END
}

# The apt sources of this system, as deb-src lines of the current stable suite: entries whose suite is
# this release (or one of its -updates, -security) with the code name swapped. Reads both formats.
stable_sources() {
    local codename
    # shellcheck disable=SC1091
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] && sed -n 's/\[[^]]*\]//; s/^[[:space:]]*deb[[:space:]]\+//p' "$file"
    done | awk -v from="$codename" '{ print_entry($1, $2) }
        function print_entry(uri, suite) {
            if (suite == from || suite == from "-updates" || suite == from "-security")
                print uri, "stable" substr(suite, length(from) + 1)
        }'
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk -v from="$codename" '
            function flush_stanza(   i, j, u, s, nu, ns) {
                nu = split(uris, u, " "); ns = split(suites, s, " ")
                if (off) nu = 0
                for (i = 1; i <= nu; i++)
                    for (j = 1; j <= ns; j++)
                        if (s[j] == from || s[j] == from "-updates" || s[j] == from "-security")
                            print u[i], "stable" substr(s[j], length(from) + 1)
                uris = ""; suites = ""; off = 0
            }
            /^#/ { next }
            /^[[:space:]]*$/ { flush_stanza(); next }
            tolower($1) == "uris:" { $1 = ""; uris = $0 }
            tolower($1) == "suites:" { $1 = ""; suites = $0 }
            tolower($1) == "enabled:" { off = (tolower($2) == "no") }
            END { flush_stanza() }' "$file"
    done
}

# apt-get with a state folder of our own: the lists of this system are neither used nor changed.
apt_private() {
    local root=$ROOT/$DEPS/apt
    apt-get -q -o "Dir::State=$root/state" -o "Dir::Cache=$root/cache" \
        -o Dir::State::status=/var/lib/dpkg/status -o "Dir::Etc::sourcelist=$root/stable.list" \
        -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root -o Acquire::Retries=2 "$@"
}

fetch_source() {
    local root=$DEPS/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    rm -rf "$root" "$DEPS/source"
    mkdir -p "$root/state/lists/partial" "$root/cache/archives/partial" "$DEPS/source"
    stable_sources | sort -u | sed "s,^,deb-src [signed-by=$keyring] ,; s,\$, main," >"$root/stable.list"
    [ -s "$root/stable.list" ] || { echo "no Debian mirror found in the apt sources" >>"$LOG"; return 1; }
    run_logged apt_private update || { sleep 3 && run_logged apt_private update; } || return 1
    (cd "$DEPS/source" && apt_private source --only-source wolfssl </dev/null) >>"$LOG" 2>&1 || return 1
    # apt-get update succeeds with a warning when a mirror is unreachable; the source tells the truth.
    [ -n "$(find "$DEPS/source" -maxdepth 1 -type d -name 'wolfssl-*')" ]
}

# Chained by hand: inside a condition the shell does not stop at the first failure by itself.
compile_source() {
    local source=$1 dir=$2
    # shellcheck disable=SC2046,SC2086 # flags are words on purpose
    cd "$source" &&
        autoreconf -fi &&
        CC=gcc CPPFLAGS="$WOLFSSL_CPPFLAGS_BUILD" CFLAGS="$(flat "$WOLFSSL_CFLAGS_BUILD")" \
            ./configure --prefix="$ROOT/$dir" \
            $WOLFSSL_CONFIGURE $(wolfssl_cpu_flags) &&
        make -j"$(nproc)" src/libwolfssl.la &&
        make install-libLTLIBRARIES install-nobase_includeHEADERS &&
        cd "$ROOT" &&
        gcc $WOLFSSL_CFLAGS_BUILD $WOLFSSL_CPPFLAGS_BUILD -c scripts/wolfssl_random.c -o "$dir/wolfssl_random.o" &&
        ar rs "$dir/lib/libwolfssl.a" "$dir/wolfssl_random.o" &&
        rm -r "$dir/wolfssl_random.o" "$dir/lib/libwolfssl.la"
}

build_wolfssl() {
    local source version dir
    dir=$(find "$DEPS" -maxdepth 1 -type d -name "wolfssl-*-$(wolfssl_key)" -print -quit)
    if [ -n "$dir" ] && [ -f "$dir/complete" ]; then
        write_accelerated_mk "$dir"
        return
    fi
    say "building wolfSSL with CPU acceleration from Debian's source package (about two minutes, once)"
    say "  fetching the source of the current stable suite through apt"
    fetch_source || return 1
    source=$(find "$DEPS/source" -maxdepth 1 -type d -name 'wolfssl-*' -print -quit)
    version=$(dpkg-parsechangelog -l "$source/debian/changelog" -S Version)
    dir=$DEPS/wolfssl-$version-$(wolfssl_key)
    rm -rf "$dir"
    say "  compiling wolfSSL $version"
    run_logged compile_source "$source" "$dir" || return 1
    echo "$version" >"$dir/complete"
    rm -rf "$DEPS/source" "$DEPS/apt"
    write_accelerated_mk "$dir"
    say "  wolfSSL is in $dir"
}

# Debian's binary instead of our own build, said so that nobody can miss it.
fall_back() {
    show_log
    say "WARNING: the accelerated wolfSSL could not be built; the log above tells why."
    say "WARNING: using Debian's libwolfssl instead: TLS will be several times slower and use more"
    say "WARNING: memory. userd says so at its start. The build is tried again tomorrow, or at once"
    say "WARNING: after 'rm $(wolfssl_mk)'."
    write_system_mk
}

provide_wolfssl() {
    local missing
    if [ "$TLS" = system ]; then
        write_system_mk
        return
    fi
    missing=$(missing_of "$WOLFSSL_PACKAGES")
    [ -z "$missing" ] || install_packages "$missing"
    build_wolfssl || fall_back
}

# ------------------------------------------------------------------------------------ npm packages

readonly NPM_MANIFEST=tests/integration/js/package.json

npm_ready() {
    [ ! -f "$NPM_MANIFEST" ] || cmp -s "$NPM_MANIFEST" build/node_modules/.installed-for
}

install_npm() {
    say "installing the npm packages of the JavaScript tests (some seconds)"
    mkdir -p build
    cp "$NPM_MANIFEST" build/package.json
    if ! run_logged npm --prefix build install --no-package-lock --no-audit --no-fund --ignore-scripts; then
        sleep 3
        run_logged npm --prefix build install --no-package-lock --no-audit --no-fund --ignore-scripts ||
            { show_log; die "npm install failed"; }
    fi
    cp "$NPM_MANIFEST" build/node_modules/.installed-for
}

# ---------------------------------------------------------------------------------------- promtool

# Debian has it in the package of the Prometheus server, which would be started when it is installed.
# So the package is fetched through apt, and this one program taken out of it.
readonly PROMTOOL=$DEPS/promtool/promtool

promtool_ready() {
    [ -x "$PROMTOOL" ]
}

extract_promtool() {
    (cd "$1" && apt-get -q -o APT::Sandbox::User=root download prometheus) &&
        dpkg-deb --fsys-tarfile "$1"/prometheus_*.deb | tar -x -C "$1" --strip-components=3 ./usr/bin/promtool
}

provide_promtool() {
    local dir=${PROMTOOL%/*}
    say "fetching promtool through apt (20 MB)"
    rm -rf "$dir"
    mkdir -p "$dir"
    run_logged extract_promtool "$dir" || { apt_update && run_logged extract_promtool "$dir"; } ||
        { show_log; die "promtool could not be had"; }
    rm "$dir"/prometheus_*.deb
}

# ------------------------------------------------------------------------- what measurements may miss

readonly OPTIONAL_TRIED=$DEPS/optional-tried

# perf is of use only where the kernel has it.
bench_optional() {
    local package
    for package in $BENCH_OPTIONAL_PACKAGES; do
        [ "$package" != linux-perf ] || [ -e /proc/sys/kernel/perf_event_paranoid ] || continue
        echo "$package"
    done
}

# What could not be had is tried again the next day.
optional_ready() {
    [ -z "$(missing_of "$(bench_optional)")" ] || [ -n "$(find "$OPTIONAL_TRIED" -mmin -1440 2>/dev/null)" ]
}

provide_optional() {
    local package
    for package in $(missing_of "$(bench_optional)"); do
        say "installing through apt: $package"
        apt_install "$package" || { apt_update && apt_install "$package"; } ||
            say "WARNING: $package could not be had: what needs it will not be measured"
    done
    touch "$OPTIONAL_TRIED"
}

# -------------------------------------------------------------------------------------------- main

# Everything a part needs from apt.
packages_of() {
    case $1 in
    build) echo "$BUILD_PACKAGES" ;;
    unit) echo "$BUILD_PACKAGES $UNIT_PACKAGES" ;;
    fuzz) echo "$BUILD_PACKAGES $UNIT_PACKAGES $FUZZ_PACKAGES" ;;
    test)
        echo "$BUILD_PACKAGES $UNIT_PACKAGES $TEST_PACKAGES"
        command -v node >/dev/null || echo nodejs
        command -v npm >/dev/null || echo npm
        ;;
    bench) echo "$(packages_of test) valgrind" ;;
    hostile) echo "$(packages_of test) $HOSTILE_PACKAGES" ;;
    browser) echo "$(packages_of test) $BROWSER_PACKAGES" ;;
    check) echo "$(packages_of browser) $FUZZ_PACKAGES $CHECK_PACKAGES" ;;
    esac
}

main() {
    local verify=no part missing npm=no promtool=no optional=no
    if [ "${1:-}" = --verify ]; then
        verify=yes
        shift
    fi
    part=${1:-}
    case $part in
    build | unit | fuzz) ;;
    test | hostile | browser) npm=yes ;;
    bench)
        npm=yes
        optional=yes
        ;;
    check)
        npm=yes
        promtool=yes
        ;;
    *) die "usage: scripts/deps.sh [--verify] build|unit|fuzz|test|bench|hostile|browser|check" ;;
    esac

    missing=$(missing_of "$(packages_of "$part")")
    if [ -z "$missing" ] && wolfssl_ready && { [ $npm = no ] || npm_ready; } &&
        { [ $promtool = no ] || promtool_ready; } && { [ $optional = no ] || optional_ready; }; then
        return
    fi
    if [ $verify = yes ]; then
        wolfssl_ready || missing="${missing}wolfSSL($TLS) "
        die "missing: ${missing}(run 'make deps' to install; see scripts/deps.sh for what and why)"
    fi

    mkdir -p "$DEPS"
    exec 9>"$DEPS/lock"
    flock 9
    : >"$LOG"
    missing=$(missing_of "$(packages_of "$part")")
    [ -z "$missing" ] || install_packages "$missing"
    wolfssl_ready || provide_wolfssl
    [ $npm = no ] || npm_ready || install_npm
    [ $promtool = no ] || promtool_ready || provide_promtool
    [ $optional = no ] || optional_ready || provide_optional
    say "everything that '$part' needs is there"
}

main "$@"
