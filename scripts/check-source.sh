#!/usr/bin/env bash
# The rules of this source tree that no compiler knows.
#
#   scripts/check-source.sh COMPILER FLAG...   check the tree; the flags let a header compile alone
#   scripts/check-source.sh --self-test        plant each kind of violation and see that it is caught
#
# Prints one line per violation, `file:line: [rule] what to do`, and a closing line. Exit 1 when
# there was any. The tables below are the rules; an exception stands there with its reason.

set -uo pipefail
cd "$(dirname "$0")/.." || exit 70

# Which folders a folder may include: itself and what stands to its right.
readonly FOLDERS='
core     core
http2    http2 core
service  service http2 core
client   client userd http2 core
'

# Who may include a third-party header: a pattern of the header, then patterns of files.
readonly THIRD_PARTY='
liburing.h      src/core/ring.c
wolfssl/*       src/core/tls.c src/core/tls_context.c src/core/tls_clients.c src/core/tls_pem.c src/core/tls_memory.c src/core/signature.c
nghttp2/*       src/http2/h2_session_engine.c bench/userbench_hpack.c
jwt.h           src/service/token.c
jansson.h       src/service/token_parse.c src/service/token_claims.c src/service/token_jwks.c src/client/service_config*.c tools/common_read.c tools/userctl_encode* tests/fuzz/fuzz_userctl_json.c
sodium.h        src/service/password.c src/service/page_token.c src/core/random.c src/core/digest.c src/core/secret.c src/core/signature.c
ini.h           src/core/ini.c
utf8proc.h      src/service/user_fold.c
zlib.h          src/http2/grpc_gzip.c
microhttpd.h    src/core/http_admin.c
pthread.h       src/core/workpool.c src/core/tls_memory.c src/client/userd_client_thread.c
malloc.h        src/core/memory.c
userd/client.h  src/client/*.c src/client/*.h tools/* bench/*
*.pb-c.h        src/service/*.c src/client/*.c tools/*.c
protobuf-c/*    src/service/*.c src/client/*.c tools/*.c
'

# Headers of C and the system: everybody may include these.
readonly SYSTEM_HEADERS=' assert ctype dirent errno fcntl float getopt inttypes limits locale math netdb poll sched
signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings sysexits
termios time unistd nmmintrin immintrin x86intrin cpuid endian byteswap arpa/inet netinet/in netinet/tcp
sys/auxv sys/epoll sys/eventfd sys/file sys/inotify sys/ioctl sys/mman sys/prctl sys/random sys/resource
sys/signalfd sys/socket sys/stat sys/statvfs sys/syscall sys/sysmacros sys/time sys/timerfd sys/types
sys/uio sys/un sys/utsname sys/wait linux/fs linux/io_uring linux/falloc linux/time_types
arm_acle '

# Calls that may not be made: the call, what to use instead, then patterns of files where it is right.
# Lines for src/ and tools/ alike; `src:` at the front limits a line to src/.
readonly BANNED='
strcpy|memcpy or snprintf with a size
strcat|buf_append or snprintf with a size
sprintf|snprintf
vsprintf|vsnprintf
strtok|strcspn, or strtok_r
atoi|strtol with its error checks
atol|strtol with its error checks
gets|fgets
rand|random_bytes of core/random.h
srand|random_bytes of core/random.h
localtime|gmtime_r
gmtime|gmtime_r
sleep|a timer of core/timer.h
usleep|a timer of core/timer.h
nanosleep|a timer of core/timer.h
alloca|an arena, or a fixed array
src:time|core/clock.h|src/core/clock.c
src:gettimeofday|core/clock.h|src/core/clock.c
src:clock_gettime|core/clock.h|src/core/clock.c
src:read|core/disk.h or ring_recv: it blocks|src/core/disk*.c src/core/file_watch.c src/core/slurp.c src/core/signals.c src/core/workpool.c
src:write|core/disk.h or ring_send: it blocks|src/core/disk*.c src/core/log.c src/core/process_guard.c src/core/workpool.c src/service/page_token.c src/client/userd_client_wake.c
src:pread|core/disk.h: it blocks|src/core/disk*.c src/core/memory.c
src:pwrite|core/disk.h: it blocks|src/core/disk*.c
src:fsync|core/disk.h: it blocks|src/core/disk*.c src/core/directory.c src/service/page_token.c
src:fdatasync|core/disk.h: it blocks|src/core/disk*.c
'
# Why these: slurp.c reads small files, directory.c makes folders and page_token.c its key at start-up; log.c writes a line to
# stderr; process_guard.c one byte to /proc; memory.c reads a file there that does not block; signals.c, file_watch.c, workpool.c and userd_client_wake.c read and write descriptors that cannot block (signalfd, inotify, eventfd).

# Sources without a unit test of their own name, each with what tests them instead. Parts of them, app_start.c
# beside app.c, go with them.
readonly UNTESTED='
src/service/app.c      the composition: every integration test
'

readonly FILE_LINES_MAX=800
readonly FUNCTION_LINES_MAX=70

violations=0
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

report() {
    printf '%s: [%s] %s\n' "$1" "$2" "$3"
    violations=$((violations + 1))
}

# Reports each line `file:line<tab>message` of the standard input under a rule.
report_lines() {
    local where message
    while IFS=$'\t' read -r where message; do
        report "$where" "$1" "$message"
    done
}

matches_any() {
    local name=$1 pattern
    shift
    for pattern in "$@"; do
        # shellcheck disable=SC2053 # patterns on purpose
        [[ $name == $pattern ]] && return 0
    done
    return 1
}

c_files() {
    find "$@" -name '*.[ch]' 2>/dev/null | sort
}

# Every line of every source without comments and with empty strings, as `file:line<tab>code`. A line
# comment of C++ becomes the word @LINE_COMMENT.
strip_sources() {
    # shellcheck disable=SC2046 # our file names have no spaces
    set -- $(c_files include src tools tests bench examples)
    [ $# -eq 0 ] || awk '
        FNR == 1 { in_comment = 0 }
        {
            rest = $0; code = ""
            if (rest ~ /^[ \t]*#[ \t]*include/) { print FILENAME ":" FNR "\t" rest; next }
            while (rest != "") {
                if (in_comment) {
                    at = index(rest, "*/")
                    if (at == 0) break
                    rest = substr(rest, at + 2); in_comment = 0; code = code " "; continue
                }
                if (!match(rest, /\/\*|\/\/|"|\047/)) { code = code rest; break }
                mark = substr(rest, RSTART, RLENGTH)
                code = code substr(rest, 1, RSTART - 1)
                rest = substr(rest, RSTART + RLENGTH)
                if (mark == "/*") { in_comment = 1; continue }
                if (mark == "//") { code = code "@LINE_COMMENT"; break }
                if (mark == "\"") {
                    match(rest, /^([^"\\]|\\.)*"/)
                    code = code "\"\""
                } else {
                    match(rest, /^([^\047\\]|\\.)*\047/)
                    code = code "0"
                }
                if (RLENGTH < 0) break
                rest = substr(rest, RLENGTH + 1)
            }
            print FILENAME ":" FNR "\t" code
        }' "$@" >"$WORK/code"
    [ -f "$WORK/code" ] || : >"$WORK/code"
    # Every include as: file:line, file, kind (" or <), header.
    awk -F '\t' '$2 ~ /^[ \t]*#[ \t]*include/ {
        split($1, at, ":"); text = $2; sub(/^[^"<]*/, "", text)
        kind = substr(text, 1, 1); text = substr(text, 2); sub(/[">].*/, "", text)
        print $1 "\t" at[1] "\t" kind "\t" text }' "$WORK/code" >"$WORK/includes"
}

check_folders() {
    local where file kind header folder other allowed
    while IFS=$'\t' read -r where file kind header; do
        [[ $kind == '"' && $file == src/*/* ]] || continue
        folder=${file#src/}
        folder=${folder%%/*}
        other=${header%%/*}
        allowed=$(awk -v folder="$folder" '$1 == folder { $1 = ""; print }' <<<"$FOLDERS")
        [[ " $allowed " == *" $other "* ]] ||
            report "$where" folder "$folder/ may include only:$allowed; not \"$header\""
    done <"$WORK/includes"
}

check_third_party() {
    local where file kind header pattern allowed known
    while IFS=$'\t' read -r where file kind header; do
        [[ $kind == '<' && ($file == src/* || $file == tools/*) ]] || continue
        [[ $SYSTEM_HEADERS != *[[:space:]]"${header%.h}"[[:space:]]* ]] || continue
        known=no
        while read -r pattern allowed; do
            # shellcheck disable=SC2053
            [[ -n $pattern && $header == $pattern ]] || continue
            known=yes
            # shellcheck disable=SC2086
            set -f && set -- $allowed && set +f
            matches_any "$file" "$@" ||
                report "$where" third-party "<$header> belongs to $allowed alone: call that instead"
            break
        done <<<"$THIRD_PARTY"
        [ $known = yes ] ||
            report "$where" third-party "<$header> is new: give it one file in the table of check-source.sh"
    done <"$WORK/includes"
}

# tsort names the members of a loop on lines of its own.
check_cycles() {
    local loop
    loop=$(awk -F '\t' '$3 == "\"" { print $2, "src/" $4 }' "$WORK/includes" | tsort 2>&1 >/dev/null |
        sed -n 's/^tsort: \(src\/.*\)/\1/p' | tr '\n' ' ')
    [ -z "$loop" ] || report "${loop%% *}:1" cycle "these include each other: $loop"
}

# One compiler run per header, several at a time; the empty file only includes it.
check_headers_alone() {
    local header flags=("$@")
    [ ${#flags[@]} -ne 0 ] || return 0
    # shellcheck disable=SC2016 # the inner shell expands
    c_files include src tools | grep '\.h$' | xargs -r -P "$(nproc)" -I HEADER sh -c '
        header=$1 && shift && out=$2 && shift 2
        printf "#include \"%s\"\n" "$header" | "$@" -x c -fsyntax-only - >"$out/alone.$$" 2>&1 ||
            printf "%s:1\tdoes not compile alone: %s\n" "$header" \
                "$(grep -m 1 error "$out/alone.$$")" >>"$out/alone"
        ' sh HEADER -- "$WORK" "${flags[@]}" -I.
    # Who uses the public ones may write C++.
    c_files include | xargs -r -I HEADER g++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -x c++ -fsyntax-only \
        -Iinclude -include HEADER /dev/null >"$WORK/alone.cpp" 2>&1 ||
        printf 'include:1\tis no C++17: %s\n' "$(grep -m 1 error "$WORK/alone.cpp")" >>"$WORK/alone"
    [ ! -f "$WORK/alone" ] || report_lines header-alone <"$WORK/alone"
}

check_sizes() {
    local file lines
    while read -r file; do
        lines=$(wc -l <"$file")
        [ "$lines" -le $FILE_LINES_MAX ] ||
            report "$file:1" file-size "$lines lines, at most $FILE_LINES_MAX: split it by reason to exist"
    done < <(c_files include src tools tests bench examples)
    # The function brace stands in column 0, as does the one that closes it.
    report_lines function-size < <(awk -F '\t' -v most=$FUNCTION_LINES_MAX '
        { split($1, at, ":") }
        $2 ~ /^\{/ { start = at[2] }
        $2 ~ /^\}/ && start {
            lines = at[2] - start - 1
            if (lines > most) printf "%s:%d\t%d lines, at most %d: split it\n", at[1], start, lines, most
            start = 0
        }' "$WORK/code")
}

# One pass over the code for the whole table.
check_calls() {
    report_lines call < <(awk -F '\t' -v table="$BANNED" '
        function is_allowed(file, patterns,   n, i, list) {
            n = split(patterns, list, " ")
            for (i = 1; i <= n; i++) {
                gsub(/[.]/, "[.]", list[i]); gsub(/[*]/, "[^/]*", list[i])
                if (file ~ "^" list[i] "$") return 1
            }
            return 0
        }
        BEGIN {
            rows = split(table, row, "\n")
            for (i = 1; i <= rows; i++) {
                if (row[i] == "") continue
                split(row[i], field, "|"); name = field[1]
                scope[++count] = (name ~ /^src:/) ? "^src/" : "^(src|tools)/"
                sub(/^src:/, "", name)
                call[count] = name; instead[count] = field[2]; allowed[count] = field[3]
                any = any (any == "" ? "" : "|") name
            }
            any = "(^|[^A-Za-z0-9_>.])(" any ")[ ]*[(]"
        }
        $2 ~ any {
            split($1, at, ":")
            for (i = 1; i <= count; i++)
                if (at[1] ~ scope[i] && $2 ~ "(^|[^A-Za-z0-9_>.])" call[i] "[ ]*[(]" &&
                    !is_allowed(at[1], allowed[i]))
                    print $1 "\t" call[i] "(): use " instead[i]
        }' "$WORK/code")
}

check_comments() {
    report_lines line-comment < <(awk -F '\t' '$2 ~ /@LINE_COMMENT/ {
        print $1 "\tcomments are /* ... */" }' "$WORK/code")
    # shellcheck disable=SC2046
    set -- $(c_files include src tools tests bench examples)
    [ $# -eq 0 ] || report_lines todo < <(awk '
        /(^|[^A-Za-z_])(TODO|FIXME|XXX)([^A-Za-z_]|$)/ && !/(TODO|FIXME|XXX)\(#[0-9]+\)/ {
            print FILENAME ":" FNR "\tdo it, or name its issue: TODO(#12)" }' "$@")
}

# A part of a module, conn_send.c beside conn.c, may be tested by what tests the module.
is_tested() {
    local module file
    module=$(basename "$1" .c)
    while :; do
        file=${1%/*}/$module.c
        if [ -f "$file" ]; then
            [ ! -f "tests/unit/test_$module.c" ] || return 0
            ! awk -v f="$file" '$1 == f { found = 1 } END { exit !found }' <<<"$UNTESTED" || return 0
        fi
        [[ $module == *_* ]] || return 1
        module=${module%_*}
    done
}

check_unit_tests() {
    local file
    while read -r file; do
        is_tested "$file" ||
            report "$file:1" untested "no tests/unit/test_$(basename "$file")"
    done < <(c_files src/core src/http2 src/service src/client | grep '\.c$')
}

# The option table and the annotated configuration name the same options. A row of the table begins
# with MACRO(LIVE, section, key or START in place of LIVE; those that only the environment may set are
# not in the file. There a key may be commented out: `#key = value`. The rows of [policy] are not options.
check_options() {
    local table=src/service/config_table.c manual=configs/userd.ini
    if [ ! -f $table ] || [ ! -f $manual ]; then
        [ ! -f $table ] || report "$table:1" options "$manual is missing"
        [ ! -f $manual ] || report "$manual:1" options "$table is missing"
        return
    fi
    awk '/config_options\[\] = / { inside = 1 }
        inside { text = text " " $0 }
        /^};/ { inside = 0 }
        END {
            row = "[A-Z]+[(](LIVE|START), *[a-z0-9_]+, *[a-z0-9_]+[,)]"
            while (match(text, row)) {
                name = substr(text, RSTART, RLENGTH); text = substr(text, RSTART + RLENGTH)
                tail = match(text, row) ? substr(text, 1, RSTART - 1) : text
                sub(/^[A-Z]+[(][A-Z]+, */, "", name); sub(/, */, ".", name); sub(/[,)]$/, "", name)
                if (tail !~ /environment_only = true/) print name
            }
        }' $table | sort -u >"$WORK/table"
    awk '/^\[/ { section = $1; gsub(/[][]/, "", section); next }
        section != "policy" && /^#?[a-z0-9_]+[ \t]*=/ {
            key = $0; sub(/^#/, "", key); sub(/[ \t]*=.*/, "", key); print section "." key }' $manual |
        sort -u >"$WORK/manual"
    report_lines options < <(comm -23 "$WORK/table" "$WORK/manual" |
        sed "s,^,$manual:1\tdoes not document ,"
        comm -13 "$WORK/table" "$WORK/manual" | sed "s,^,$manual:1\tdocuments what does not exist: ,")
}

check_all() {
    violations=0
    rm -f "$WORK"/*
    strip_sources
    check_folders
    check_third_party
    check_cycles
    check_headers_alone "$@"
    check_sizes
    check_calls
    check_comments
    check_unit_tests
    check_options
}

# ----------------------------------------------------------------------------------------- self-test

# A small tree that breaks no rule.
plant_clean_tree() {
    rm -rf "$TREE"
    mkdir -p "$TREE"/{src/{core,http2,service,client},tools,tests/unit,configs}
    cd "$TREE" || exit 70
    printf '#ifndef CORE_A_H\n#define CORE_A_H\n\nint a_sum(int left, int right);\n\n#endif\n' >src/core/a.h
    printf '#include "core/a.h"\n\n#include <stdint.h>\n\n/* It strcpy()s nothing. */\nint a_sum(int left, int right)\n{\n    return left + right; /* "//" */\n}\n' >src/core/a.c
    printf '#include "core/a.h"\nconst char *h = "strcpy(a, b); // \\"";\n' >src/http2/h.c
    printf '#include "core/a.h"\nconst struct o config_options[] = {\n    TEXT(LIVE, log, level),\n    {ROW(START, log,\n     format)},\n    {ROW(LIVE, log, key), .environment_only = true},\n};\n' >src/service/config_table.c
    printf '[log]\nlevel = info\n#format = text\n' >configs/userd.ini
    touch tests/unit/test_{a,h,config_table}.c
}

# expect RULE: the last planted violation is reported under that rule, and nothing else is.
expect() {
    local found compiler=()
    [ "$1" != header-alone ] || compiler=(gcc -Isrc)
    check_all "${compiler[@]}" >"$TREE.out" 2>&1
    found=$(sed -n 's/.*: \[\([a-z-]*\)\].*/\1/p' "$TREE.out" | sort -u | tr '\n' ' ')
    planted=$((planted + 1))
    if [ "$found" != "${1:+$1 }" ]; then
        echo "self-test: planted '${1:-nothing}', found '$found':"
        sed 's/^/    /' "$TREE.out"
        missed=$((missed + 1))
    fi
    plant_clean_tree
}

self_test() {
    local planted=0 missed=0 call
    TREE=$(mktemp -d)
    trap 'rm -rf "$WORK" "$TREE" "$TREE.out"' EXIT
    plant_clean_tree
    expect ''
    echo '#include "http2/h.h"' >>src/core/a.c && touch src/http2/h.h && expect folder
    echo '#include "client/c.h"' >>src/service/config_table.c && touch src/client/c.h && expect folder
    echo '#include "service/s.h"' >>src/client/c.c && touch src/service/s.h tests/unit/test_c.c && expect folder
    echo '#include <liburing.h>' >>src/http2/h.c && expect third-party
    echo '#include <wolfssl/ssl.h>' >>src/core/a.c && expect third-party
    echo '#include <users/v1/users.pb-c.h>' >>src/http2/h.c && expect third-party
    echo '#include <pthread.h>' >>src/core/a.h && expect third-party
    echo '#include <curl/curl.h>' >>src/core/a.c && expect third-party
    sed -i '2a #include "core/b.h"' src/core/a.h && printf '#ifndef B\n#define B\n#include "core/a.h"\n#endif\n' >src/core/b.h && expect cycle
    echo 'struct b { uint64_t x; };' >src/core/b.h && expect header-alone
    printf ';\n%.0s' {1..801} >>src/core/a.c && expect file-size
    { printf 'int b(void)\n{\n' && printf '    ;\n%.0s' {1..71} && printf '}\n'; } >>src/core/a.c && expect function-size
    { printf 'int b(void)\n{\n' && printf '    ;\n%.0s' {1..70} && printf '}\n'; } >>src/core/a.c && expect ''
    for call in strcpy strcat sprintf strtok atoi gets rand localtime sleep alloca time clock_gettime \
        read write fsync fdatasync pread pwrite; do
        printf 'int b(int x)\n{\n    return %s(x);\n}\n' $call >>src/core/a.c && expect call
    done
    echo 'int b = disk->read(1) + my_read(2) + wal.write(3);' >>src/core/a.c && expect ''
    echo 'int b; // no' >>src/core/a.c && expect line-comment
    echo '/* FIXME later */' >>src/core/a.c && expect todo
    echo '/* TODO(#12): later */' >>src/core/a.c && expect ''
    touch src/core/untested.c && expect untested
    touch src/core/untested_part.c tests/unit/test_untested.c && expect untested
    touch src/core/a_part.c && expect ''
    touch src/service/app.c src/service/app_part.c && expect ''
    echo 'size = 1' >>configs/userd.ini && expect options
    echo '[log]' >configs/userd.ini && expect options
    rm configs/userd.ini && expect options
    echo "check-source self-test: $planted cases, $missed wrong"
    [ $missed -eq 0 ]
}

if [ "${1:-}" = --self-test ]; then
    self_test
else
    check_all "$@"
    echo "check-source: $(c_files include src tools tests bench examples | wc -l) files, $violations violations"
    [ $violations -eq 0 ]
fi
