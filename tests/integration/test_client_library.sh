#!/usr/bin/env bash
# The client library as it is installed: what it shows of itself, and programs in C and C++ that are
# compiled with it, shared and static, against a real server.

set -uo pipefail
cd "$(dirname "$0")/../.." || exit 70
unset MAKEFLAGS MAKELEVEL MFLAGS

# Within with_server.py: this file is the command that it runs, with a program and a name for a user.
if [ -n "${TEST_INSTALLED:-}" ]; then
    LD_LIBRARY_PATH=$TEST_INSTALLED exec "$1" "$TEST_TARGET" "$TEST_CA" "$TEST_TOKEN_FILE" "$2"
fi

# The same variant as that of the tests, since it is built already.
variant=()
cc=gcc
cxx=g++
sanitizer=()
case ${USERD_BUILD:-} in
*/asan*) variant+=(SAN=1) && sanitizer=("-fsanitize=address,undefined" -fno-sanitize-recover=all) ;;
*/tsan*) variant+=(SAN=thread) && sanitizer=(-fsanitize=thread) ;;
esac
case ${USERD_BUILD:-} in *-clang*) variant+=(CC=clang) && cc=clang && cxx=clang++ ;; esac
# A wolfSSL that is shared has names that are the program's, too.
shared_wolfssl=()
case ${USERD_BUILD:-} in *-system) variant+=(TLS=system) && shared_wolfssl=(-DUSERD_TEST_SHARES_WOLFSSL) ;; esac
readonly variant sanitizer shared_wolfssl cc cxx PYTHON=${PYTHON:-/usr/bin/python3}

FOLDER=$(mktemp -d)
readonly FOLDER OUT=$FOLDER/out ROOT=$FOLDER/root
readonly LIB=$ROOT/opt/u/lib HEADER=$ROOT/opt/headers/userd/client.h MAP=src/client/libuserd-client.map
readonly WARNINGS=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
export PKG_CONFIG_PATH=$LIB/pkgconfig PKG_CONFIG_SYSROOT_DIR=$ROOT
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
    make --no-print-directory "${variant[@]}" "DESTDIR=$ROOT" PREFIX=/opt/u INCLUDEDIR=/opt/headers "$@"
}

# The functions of the header, of the map, of a library.
declared() {
    grep -o '\buserd_[a-z_]*(' <(sed 's|/\*.*||; /^ \*/d' "$HEADER" | tr '\n' ' ' |
        grep -o 'USERD_API [^;]*;' | sed 's/(.*/(/') | tr -d '(' | sort
}

mapped() {
    sed -n 's/^ *\(userd_[a-z_]*\);.*/\1/p' $MAP | sort
}

shown_by_shared() {
    nm -D --defined-only "$LIB/libuserd-client.so.0" | awk '$2 != "A" { print $3 }' | sort
}

shown_by_static() {
    nm -g --defined-only "$LIB/libuserd-client.a" | awk 'NF == 3 { print $3 }' | sort
}

same() {
    diff <("$1") <("$2")
}

has_many_functions() {
    declared | wc -l
    [ "$(declared | wc -l)" -ge 40 ]
}

# All in one version, and that is no other.
is_versioned() {
    nm -D --defined-only "$LIB/libuserd-client.so.0" | awk '$2 != "A" { print $3 }' |
        { ! grep -v '@@USERD_CLIENT_0$'; }
}

# nm writes the version behind the name.
shown_names() {
    shown_by_shared | sed 's/@.*//'
}

# A declaration stands below a comment, or below another one that shares it.
has_comments() {
    awk '
        /^USERD_API/ {
            if (previous !~ /\*\/$/ && previous !~ /;$/) { print "no comment: " $0; bad = 1 }
        }
        { previous = $0 }
        END { exit bad }' "$HEADER"
}

has_soname() {
    readelf -d "$LIB/libuserd-client.so.0" | grep -q 'soname: \[libuserd-client.so.0\]' &&
        [ "$(readlink "$LIB/libuserd-client.so")" = libuserd-client.so.0 ]
}

needs_no_text_relocations() {
    ! readelf -d "$LIB/libuserd-client.so.0" | grep TEXTREL
}

# Where it has no wolfSSL of its own, that of the program keeps the program's allocator.
leaves_the_allocator_alone() {
    ! nm -D --undefined-only "$LIB/libuserd-client.so.0" | grep wolfSSL_SetAllocators &&
        if [ "${#shared_wolfssl[@]}" -ne 0 ]; then
            ! nm -g --undefined-only "$LIB/libuserd-client.a" | grep wolfSSL_SetAllocators
        fi
}

# Without what only this tree has.
names_what_is_installed() {
    pkg-config --static --libs userd-client && ! pkg-config --static --libs userd-client | grep -q build/
}

# Who compiles with the shared library needs nothing that this one is made with.
names_no_other_package() {
    env -u PKG_CONFIG_PATH "PKG_CONFIG_LIBDIR=$LIB/pkgconfig" pkg-config --cflags --libs userd-client
}

# shellcheck disable=SC2046 # flags are words on purpose
compile_shared() {
    $cc -std=c11 "${WARNINGS[@]}" "${sanitizer[@]}" "${shared_wolfssl[@]}" tests/client/installed.c -o "$FOLDER/shared" \
        $(pkg-config --cflags --libs userd-client)
}

# compile_other older|newer: a program of another release, for this one's library.
# shellcheck disable=SC2046
compile_other() {
    mkdir -p "$FOLDER/headers-$1/userd" &&
        "$PYTHON" tests/client/other_header.py "$1" <"$HEADER" >"$FOLDER/headers-$1/userd/client.h" &&
        $cc -std=c11 "${WARNINGS[@]}" "${sanitizer[@]}" "${shared_wolfssl[@]}" "-I$FOLDER/headers-$1" tests/client/installed.c \
            -o "$FOLDER/$1" $(pkg-config --libs userd-client)
}

# -l would take the shared one where both are.
# shellcheck disable=SC2046
compile_static() {
    $cc -std=c11 "${WARNINGS[@]}" "${sanitizer[@]}" "${shared_wolfssl[@]}" tests/client/installed.c -o "$FOLDER/static" \
        $(pkg-config --static --cflags --libs userd-client | sed 's/-luserd-client/-l:libuserd-client.a/') &&
        ! ldd "$FOLDER/static" | grep userd-client
}

# shellcheck disable=SC2046
compile_cxx() {
    $cxx -std=c++17 "${WARNINGS[@]}" "${sanitizer[@]}" tests/client/installed.cc -o "$FOLDER/cxx" \
        $(pkg-config --cflags --libs userd-client)
}

# The header by itself, as the first thing a program includes.
stands_alone() {
    local language
    for language in c:c99 c:c11 c:gnu17 c++:c++11 c++:c++17 c++:c++20; do
        $cxx -x "${language%:*}" -std="${language#*:}" "${WARNINGS[@]}" -fsyntax-only -I"${HEADER%/userd/*}" \
            -include userd/client.h /dev/null || return 1
    done
}

leaves_nothing() {
    make_it uninstall && (cd "$ROOT" && ! find . ! -type d | grep .)
}

check "make install-library" make_it install-library
check "the map names what the header declares" same declared mapped
check "  ... and that is all of it" has_many_functions
check "the shared library shows that and nothing else" same mapped shown_names
check "  ... with a version" is_versioned
check "  ... under its soname" has_soname
check "  ... and can be shared" needs_no_text_relocations
check "the static library shows the same" same mapped shown_by_static
check "each function has a comment" has_comments
check "the header stands alone in C and C++" stands_alone
check "  ... and a wolfSSL that is shared keeps its allocator" leaves_the_allocator_alone
check "pkg-config names what is installed" names_what_is_installed
check "  ... and no package beside it" names_no_other_package
check "a C program, shared" compile_shared
check "a C program, static" compile_static
check "a C++17 program" compile_cxx
check "a C program of an older release, whose structs are shorter" compile_other older
check "a C program of a newer release, whose structs are longer" compile_other newer
for program in shared static cxx older newer; do
    check "  ... runs ($program)" env TEST_INSTALLED="$LIB" "$PYTHON" tests/integration/lib/with_server.py \
        "$0" "$FOLDER/$program" "$program"
done
check "make uninstall leaves nothing" leaves_nothing

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
