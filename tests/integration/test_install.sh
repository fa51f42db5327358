#!/usr/bin/env bash
# `make install` and `make uninstall` into a folder, the manual pages, the systemd units.

set -uo pipefail
cd "$(dirname "$0")/../.." || exit 70
unset MAKEFLAGS MAKELEVEL MFLAGS

# The same variant as that of the tests, since it is built already.
variant=()
case ${USERD_BUILD:-} in
*/asan*) variant+=(SAN=1) ;;
*/tsan*) variant+=(SAN=thread) ;;
esac
case ${USERD_BUILD:-} in *-clang*) variant+=(CC=clang) ;; esac
case ${USERD_BUILD:-} in *-system) variant+=(TLS=system) ;; esac
readonly variant

FOLDER=$(mktemp -d)
readonly FOLDER OUT=$FOLDER/out ROOT=$FOLDER/root
readonly UNIT=$ROOT/usr/local/lib/systemd/system/userd.service MAN=$ROOT/usr/local/share/man
trap 'rm -rf "$FOLDER"' EXIT
passed=0
failed=0

# check NAME COMMAND...: the command must succeed; what it says is shown when it does not.
check() {
    local name=$1
    shift
    if "$@" >"$OUT" 2>&1; then
        passed=$((passed + 1))
        echo "ok     $name"
    else
        failed=$((failed + 1))
        echo "FAILED $name"
        sed 's/^/    | /' "$OUT"
    fi
}

make_it() {
    make --no-print-directory "${variant[@]}" "$@"
}

is_refused() {
    ! "$@"
}

# has FILE MODE
has() {
    [ -f "$ROOT/$1" ] && [ "$(stat -c %a "$ROOT/$1")" = "$2" ] && [ -s "$ROOT/$1" ] &&
        ! grep -q '@[A-Z]*@' "$ROOT/$1"
}

has_no_more_than_configuration() {
    [ "$(cd "$ROOT" && find . -type f | sort | xargs)" = "./etc/userd/userd.ini ./etc/userd/userd.ini.new" ]
}

# lints PAGE: mandoc finds nothing, but for pages that are not on this machine.
lints() {
    mandoc -T lint "$1" | grep -v 'referenced manual not found' >"$FOLDER/lint"
    cat "$FOLDER/lint"
    [ ! -s "$FOLDER/lint" ]
}

# Each option stands in the page as an entry of its own.
names_all_options() {
    local name missing=0 count=0
    while IFS=$'\t' read -r name _; do
        count=$((count + 1))
        [ "$name" != auth.jwt_secret ] || continue
        grep -q "^\.It Ic ${name#*.} =" "$MAN/man5/userd.ini.5" || { echo "$name" && missing=1; }
    done < <("$ROOT/usr/local/bin/userd" --print-options)
    echo "$count options"
    [ "$count" -gt 100 ] && [ $missing -eq 0 ]
}

exposure_is_low() {
    systemd-analyze security --offline=true --threshold=15 --no-pager "$UNIT"
}

# As installed, but for the paths, which are in a folder here.
units_are_good() {
    mkdir "$FOLDER/units" &&
        sed "s|/usr/local/bin|$ROOT/usr/local/bin|" "$UNIT" >"$FOLDER/units/userd.service" &&
        cp "${UNIT%.service}.socket" "$FOLDER/units" &&
        MANPATH=$MAN systemd-analyze verify --man="$(command -v man >/dev/null && echo yes || echo no)" \
            "$FOLDER/units/userd.service" "$FOLDER/units/userd.socket" >"$FOLDER/verify" 2>&1
    local status=$?
    grep userd "$FOLDER/verify"
    [ $status -eq 0 ] && ! grep -q userd "$FOLDER/verify"
}

makes_the_user() {
    systemd-sysusers --root="$ROOT" --dry-run >"$FOLDER/users" 2>&1
    grep "Creating user 'userd'" "$FOLDER/users" || { cat "$FOLDER/users" && return 1; }
}

check "make install" make_it install "DESTDIR=$ROOT" SYSTEMD_VERSION=252
for program in userd userctl userwal; do
    check "  ... installs $program, which runs" "$ROOT/usr/local/bin/$program" --version
done
check "  ... no benchmarks" is_refused test -e "$ROOT/usr/local/bin/userbench"
for file in etc/userd/userd.ini usr/local/lib/systemd/system/userd.service \
    usr/local/lib/systemd/system/userd.socket usr/local/lib/sysusers.d/userd.conf \
    usr/local/share/userd/alerts.yml usr/local/share/userd/dashboard.json \
    usr/local/share/bash-completion/completions/userctl usr/local/share/zsh/site-functions/_userctl \
    usr/local/share/userd/seccomp-userd.json usr/local/share/man/man1/userctl.1 \
    usr/local/share/man/man1/userwal.1 usr/local/share/man/man5/userd.ini.5 usr/local/share/man/man8/userd.8; do
    check "  ... installs $file" has "$file" 644
done
for file in lib/libuserd-client.so.0 lib/libuserd-client.so lib/libuserd-client.a \
    lib/pkgconfig/userd-client.pc include/userd/client.h; do
    check "  ... installs $file" test -s "$ROOT/usr/local/$file"
done
check "the unit before systemd 253" grep -qx 'Type=notify' "$UNIT"
check "  ... reloads by a signal" grep -qx 'ExecReload=/bin/kill -HUP $MAINPID' "$UNIT"
check "all options are in userd.ini(5)" names_all_options
for page in "$MAN"/man*/*; do
    if command -v mandoc >/dev/null; then
        check "mandoc likes ${page##*/}" lints "$page"
    else
        echo "SKIPPED: ${page##*/}: mandoc is not there"
    fi
done
if command -v systemd-analyze >/dev/null; then
    check "systemd-analyze verify" units_are_good
    check "systemd-analyze security, 1.5 at most" exposure_is_low
    check "systemd-sysusers makes the user" makes_the_user
else
    echo "SKIPPED: systemd-analyze is not there"
fi

echo "; mine" >>"$ROOT/etc/userd/userd.ini"
check "make install again" make_it install "DESTDIR=$ROOT" SYSTEMD_VERSION=253
check "  ... leaves the configuration alone" grep -qx '; mine' "$ROOT/etc/userd/userd.ini"
check "  ... and puts the new one beside it" cmp configs/userd.ini "$ROOT/etc/userd/userd.ini.new"
check "the unit since systemd 253" grep -qx 'Type=notify-reload' "$UNIT"
check "  ... reloads by itself" is_refused grep -q ExecReload "$UNIT"
check "make uninstall" make_it uninstall "DESTDIR=$ROOT"
check "  ... leaves the configuration and nothing else" has_no_more_than_configuration

check "make install, other folders" make_it install "DESTDIR=$ROOT/b" PREFIX=/usr SYSCONFDIR=/opt/etc
check "  ... of which the unit knows" \
    grep -qx 'ExecStart=/usr/bin/userd --config /opt/etc/userd/userd.ini' "$ROOT/b/usr/lib/systemd/system/userd.service"
check "  ... and the manual" grep -q /opt/etc/userd/userd.ini "$ROOT/b/usr/share/man/man8/userd.8"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
