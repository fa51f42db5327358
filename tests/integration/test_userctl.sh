#!/usr/bin/env bash
# userctl against a real server: every command, every way to fail, both forms of output.

set -uo pipefail
cd "$(dirname "$0")/../.." || exit 70
[ -n "${TEST_TARGET:-}" ] || exec tests/integration/lib/with_server.py "$PWD/tests/integration/$(basename "$0")"

export USERCTL=${USERCTL:-$PWD/build/userctl}
readonly PYTHON=/usr/bin/python3
readonly OUT=$TEST_FOLDER/out ERR=$TEST_FOLDER/err
passed=0
failed=0

# Nothing from outside decides here. What most calls use; single tests say it by options instead.
export NO_COLOR=1 XDG_CONFIG_HOME=$TEST_FOLDER/config
unset USERCTL_CONFIG
export USERCTL_TARGET=$TEST_TARGET USERCTL_CA=$TEST_CA USERCTL_TOKEN_FILE=$TEST_TOKEN_FILE

ok() {
    passed=$((passed + 1))
    echo "ok     $1"
}

not_ok() {
    failed=$((failed + 1))
    echo "FAILED $1: $2"
    sed 's/^/    out: /' "$OUT"
    sed 's/^/    err: /' "$ERR"
}

# runs CODE NAME COMMAND...: the command must end with that code. Output in $OUT and $ERR.
runs() {
    local code=$1 name=$2 status=0
    shift 2
    "$@" >"$OUT" 2>"$ERR" </dev/null || status=$?
    if [ "$status" -eq "$code" ]; then
        ok "$name"
    else
        not_ok "$name" "ended with $status, not $code"
    fi
}

# The last output (or error output) must match a regular expression.
says() {
    if grep -Eq -e "$2" "$1"; then
        ok "  ... says $2"
    else
        not_ok "  ... says $2" "it does not"
    fi
}

says_not() {
    if grep -Eq -e "$2" "$1"; then
        not_ok "  ... does not say $2" "it does"
    else
        ok "  ... does not say $2"
    fi
}

says_nothing() {
    if [ ! -s "$1" ]; then
        ok "  ... and nothing on $(basename "$1")"
    else
        not_ok "  ... and nothing on $(basename "$1")" "but it does"
    fi
}

# A member of the JSON line in $OUT.
field() {
    "$PYTHON" -c 'import json, sys; print(json.loads(sys.stdin.readline())[sys.argv[1]])' "$1" <"$OUT"
}

# The same with the output going to a terminal. `script` merges both outputs.
on_terminal() {
    local line
    printf -v line '%q ' "$@"
    script -qec "$line" /dev/null
}

with_password() {
    local password=$1
    shift
    printf '%s' "$password" | "$@"
}

create() {
    with_password 'correct horse battery' "$USERCTL" create --username "$1" --email "$1@example.com" \
        --password-stdin
}

echo "# the command line"

runs 64 "nothing at all is a usage error" "$USERCTL"
says "$ERR" '^usage: userctl'
says_nothing "$OUT"
runs 0 "--help" "$USERCTL" --help
says "$OUT" '--target HOST:PORT'
says "$OUT" '141 when nobody reads'
says_nothing "$ERR"
runs 0 "help" "$USERCTL" help
for command in get create update delete list watch import sync token; do
    runs 0 "help $command" "$USERCTL" help $command
    cp "$OUT" "$OUT.1"
    runs 0 "$command --help" "$USERCTL" $command --help
    if cmp -s "$OUT" "$OUT.1"; then
        ok "  ... is the same"
    else
        not_ok "  ... is the same" "it differs"
    fi
done
runs 64 "help about nothing" "$USERCTL" help dance
runs 0 "--version" "$USERCTL" --version
says "$OUT" '^userctl [0-9]+\.[0-9]+\.[0-9]+$'
says "$OUT" 'wolfSSL'
runs 64 "an unknown command" "$USERCTL" dance
says "$ERR" "no command 'dance'"
runs 64 "an unknown option" "$USERCTL" get x --dance
runs 64 "an option of another command" "$USERCTL" get x --username y
says "$ERR" "does not go with 'get'"
runs 64 "an option without its value" "$USERCTL" get x --target
runs 64 "a word too many" "$USERCTL" get x y
runs 64 "no ID" "$USERCTL" get
says "$ERR" 'userctl get --help'
runs 64 "no ID to update" "$USERCTL" update --set email=a@b.example
runs 64 "no ID to delete" "$USERCTL" delete
runs 64 "an option twice" "$USERCTL" get x --target a:1 --target b:1
runs 64 "a deadline that is none" "$USERCTL" get x --deadline soon
runs 64 "a deadline of nothing" "$USERCTL" get x --deadline 0s
runs 64 "a target without port" "$USERCTL" get x --target localhost
says "$ERR" 'HOST:PORT'
runs 64 "both token options" "$USERCTL" get x --token a --token-file b
runs 64 "a token file that is not there" "$USERCTL" get x --token-file /nonexistent
says "$ERR" '/nonexistent'
runs 64 "a CA file that is not there" "$USERCTL" get x --ca /nonexistent
says "$ERR" '/nonexistent'
runs 64 "a certificate without its key" "$USERCTL" get x --cert "$TEST_CA"
runs 64 "a token with a line break in it" "$USERCTL" get x --token $'a\nb'

echo "# create"

runs 0 "create" create ada
says_nothing "$ERR"
says "$OUT" '^\{"id":"[0-9a-f-]{36}","username":"ada","email":"ada@example.com","created_at":"[0-9]{13}","status":"USER_STATUS_ACTIVE","updated_at":"[0-9]{13}","etag":"([^"\\]|\\.)+"\}$'
id=$(field id)
runs 6 "create again" create ADA
says "$ERR" '^userctl: ALREADY_EXISTS: User already exists$'
says "$ERR" 'USER_ALREADY_EXISTS'
says_nothing "$OUT"
printf 'correct horse battery\n' >"$TEST_FOLDER/password"
runs 0 "create with a password file" "$USERCTL" create --username bob --email bob@example.com \
    --password-file "$TEST_FOLDER/password" --request-id r1
first=$(field id)
runs 0 "create with the same request ID" "$USERCTL" create --username bob --email bob@example.com \
    --password-file "$TEST_FOLDER/password" --request-id r1
if [ "$(field id)" = "$first" ]; then
    ok "  ... is the same user"
else
    not_ok "  ... is the same user" "it is another one"
fi
runs 64 "create without names" "$USERCTL" create --password-file "$TEST_FOLDER/password"
runs 64 "create with the password as a word" "$USERCTL" create --username x --email x@example.com \
    --password secret
runs 64 "create without a password" with_password '' "$USERCTL" create --username x \
    --email x@example.com --password-stdin
says "$ERR" 'empty'
runs 64 "create with two sources of the password" "$USERCTL" create --username x \
    --email x@example.com --password-stdin --password-file "$TEST_FOLDER/password"
runs 64 "create with a password file that is not there" "$USERCTL" create --username x \
    --email x@example.com --password-file /nonexistent
runs 64 "create where nobody can be asked" setsid -w "$USERCTL" create --username x \
    --email x@example.com
says "$ERR" '--password-stdin'
runs 3 "create with bad fields" with_password 'short' "$USERCTL" create --username ' ' --email nowhere \
    --password-stdin
says "$ERR" '^userctl: INVALID_ARGUMENT: '
says "$ERR" 'email'
says "$ERR" 'password'

# A terminal of our own, which types the password when it is asked to.
typed() {
    "$PYTHON" - "$@" <<'END'
import os, pty, sys

pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[3], sys.argv[3:])
answers = {b"Password: ": sys.argv[1].encode(), b"The same again: ": sys.argv[2].encode()}
shown = b""
while True:
    try:
        shown += os.read(terminal, 4096)
    except OSError:
        break
    for question in list(answers):
        if question in shown:
            os.write(terminal, answers.pop(question) + b"\n")
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
}

runs 0 "create with a typed password" typed 'typed secret 1' 'typed secret 1' "$USERCTL" create \
    --username typist --email typist@example.com
says "$OUT" '^username +typist'
if grep -q 'typed secret' "$OUT"; then
    not_ok "  ... which is not shown" "it is"
else
    ok "  ... which is not shown"
fi
runs 0 "create with a corrected password" typed $'wrong\x15typed secret 1x\x7f' 'typed secret 1' \
    "$USERCTL" create --username typist2 --email typist2@example.com
runs 64 "create with two different passwords" typed 'typed secret 1' 'typed secret 2' "$USERCTL" \
    create --username typist3 --email typist3@example.com
says "$OUT" 'differ'
runs 1 "create given up with Ctrl-C" typed $'ab\x03' '' "$USERCTL" create --username typist4 \
    --email typist4@example.com

echo "# get"

runs 0 "get" "$USERCTL" get "$id"
says "$OUT" '"username":"ada"'
runs 0 "get with options on both sides" "$USERCTL" --deadline 20s --json get --target "$TEST_TARGET" \
    "$id" --ca "$TEST_CA"
says "$OUT" '"username":"ada"'
runs 0 "get on a terminal" on_terminal "$USERCTL" get "$id"
says "$OUT" '^username +ada'
says "$OUT" '^status +ACTIVE'
says "$OUT" '^created +20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9:.]+ UTC'
runs 0 "get --json on a terminal" on_terminal "$USERCTL" get "$id" --json
says "$OUT" '^\{"id":'
runs 5 "get of nobody" "$USERCTL" get nobody
says "$ERR" '^userctl: NOT_FOUND: User nobody not found$'
says "$ERR" 'USER_NOT_FOUND'
says_nothing "$OUT"
runs 5 "get of a hostile name" "$USERCTL" get $'\e[31mred\u009b'
says "$ERR" "User [?][[]31mred[?]+ not found"
says_not "$ERR" $'\e|\u009b'
runs 3 "get of an ID that is too long" "$USERCTL" get "$(printf 'a%.0s' {1..65})"

echo "# update"

runs 0 "update of one field" "$USERCTL" update "$id" --set email=ada@lovelace.example
says "$OUT" '"email":"ada@lovelace.example"'
says "$OUT" '"username":"ada"'
runs 0 "update of many fields" "$USERCTL" update "$id" --set 'roles=admin,viewer' \
    --set status=suspended --set profile.first_name=Ada --set 'profile.last_name=Lov"e=lace' \
    --set profile.avatar_url=https://example.com/a.png
says "$OUT" '"roles":\["admin","viewer"\],"status":"USER_STATUS_SUSPENDED","profile":\{"first_name":"Ada","last_name":"Lov\\"e=lace","avatar_url":"https://example.com/a.png"\}'
runs 0 "update on a terminal" on_terminal "$USERCTL" update "$id" --set username=Ada
says "$OUT" '^roles +admin, viewer'
says "$OUT" '^first name +Ada'
says "$OUT" '^status +SUSPENDED'
runs 0 "update that clears a field" "$USERCTL" update "$id" --set roles=
if grep -q roles "$OUT"; then
    not_ok "  ... clears it" "it does not"
else
    ok "  ... clears it"
fi
runs 0 "update with a mask of its own" "$USERCTL" update "$id" --set email=other@example.com \
    --set profile.first_name=Grace --mask profile
says "$OUT" '"email":"ada@lovelace.example"'
says "$OUT" '"profile":\{"first_name":"Grace"\}'
etag=$(field etag)
runs 0 "update with the present etag" "$USERCTL" update "$id" --set roles=x --etag "$etag"
runs 10 "update with a stale etag" "$USERCTL" update "$id" --set roles=y --etag "$etag"
says "$ERR" '^userctl: ABORTED: '
says "$ERR" '^hint: .*etag'
runs 3 "update with an unknown path" "$USERCTL" update "$id" --set roles=y --mask shoe_size
says "$ERR" 'shoe_size'
runs 5 "update of nobody" "$USERCTL" update nobody --set roles=y
runs 6 "update to a taken name" "$USERCTL" update "$id" --set username=BOB
runs 64 "update of nothing" "$USERCTL" update "$id"
says "$ERR" '--set'
runs 64 "update with an unknown field" "$USERCTL" update "$id" --set shoe_size=44
runs 64 "update with an unknown status" "$USERCTL" update "$id" --set status=asleep
runs 64 "update of a field twice" "$USERCTL" update "$id" --set roles=a --set roles=b
runs 64 "update without a value" "$USERCTL" update "$id" --set roles

echo "# delete"

runs 10 "delete with a stale etag" "$USERCTL" delete "$id" --etag "$etag"
runs 0 "delete" "$USERCTL" delete "$id"
says "$OUT" '^\{"success":true\}$'
runs 5 "delete again" "$USERCTL" delete "$id"
says "$ERR" "^userctl: NOT_FOUND: User $id not found\$"
runs 0 "delete on a terminal" on_terminal "$USERCTL" delete "$first"
says "$OUT" "^deleted $first"

echo "# import"

# A file of that name in the folder of this test, from lines.
file() {
    printf '%s\n' "${@:2}" >"$TEST_FOLDER/$1"
}

# counts NUMBER WHAT: so many lines are in $OUT.
counts() {
    if [ "$(wc -l <"$OUT")" -eq "$1" ]; then
        ok "  ... $1 $2"
    else
        not_ok "  ... $1 $2" "there are $(wc -l <"$OUT")"
    fi
}

# Every line of a file is JSON.
is_json_lines() {
    if "$PYTHON" -c 'import json, sys
for line in open(sys.argv[1]): json.loads(line)' "$1" 2>>"$ERR"; then
        ok "  ... as JSON lines"
    else
        not_ok "  ... as JSON lines" "they are not"
    fi
}

printf '{"username":"list%d","email":"list%d@list.example","password":"correct horse","request_id":"list-%d"}\n' \
    1 1 1 2 2 2 3 3 3 4 4 4 5 5 5 >"$TEST_FOLDER/five"
readonly LIST_EXAMPLE='email = "*@list.example"'

runs 0 "import" "$USERCTL" import "$TEST_FOLDER/five"
says "$ERR" '^imported 5 users in [0-9]+\.[0-9] s, 0 failed$'
says_nothing "$OUT"
runs 0 "import again with the same request IDs" "$USERCTL" import "$TEST_FOLDER/five" --json
says "$ERR" '^imported 5 users'
counts 5 "users are shown"
is_json_lines "$OUT"
runs 0 "  ... and are there once" "$USERCTL" list --filter "$LIST_EXAMPLE"
counts 5 "users"

file mixed '{"username":"mixed1","email":"mixed1@example.com","password":"correct horse"}' '' \
    '{"username":"LIST1","email":"mixed2@example.com","password":"correct horse"}' \
    '{"username":"mixed3","email":"nowhere","password":"correct horse"}' \
    '{"username":"mixed4","email":"mixed4@example.com","requestId":"m4","password":"correct horse"}'
runs 6 "import with lines that fail" "$USERCTL" import "$TEST_FOLDER/mixed"
says "$ERR" '^\{"line":3,"status":"ALREADY_EXISTS","message":"User already exists","details":\["reason: USER_ALREADY_EXISTS","domain: users.v1"(,"[^"]*")*\]\}$'
says_not "$ERR" 'index|u000a'
grep '^{' "$ERR" >"$TEST_FOLDER/errors"
is_json_lines "$TEST_FOLDER/errors"
says "$ERR" '^\{"line":4,"status":"INVALID_ARGUMENT",.*email'
says "$ERR" '^imported 2 users in .* 2 failed$'
file malformed '{"username":"bad1","email":"bad1@example.com","password":"correct horse"}' \
    '{"username":"bad2","shoe_size":44}' '{"password":"hush hush" x}' '["a"]' 'hush' \
    '{"username":3}' '{"request_id":"a","requestId":"a"}' '{"email":"a","email":"b"}' \
    '{"username":"hush\u0000"}' '{"hush\u0000":1}' '{"password":"hush\uD800\u0041"}' \
    $'{"password":"hush\xff"}' '{"password":"hush' '{"password":hush}' '{"email":1e999}' \
    '{"username":"bad8","email":"bad8@example.com","password":"correct horse"}'
runs 3 "import with malformed lines" "$USERCTL" import "$TEST_FOLDER/malformed" \
    --errors "$TEST_FOLDER/errors"
says "$ERR" '^imported 2 users in .* 14 failed$'
cp "$TEST_FOLDER/errors" "$OUT"
counts 14 "lines failed"
is_json_lines "$OUT"
says "$OUT" '^\{"line":2,"status":"INVALID_ARGUMENT","message":"there is no field .shoe_size."\}$'
says "$OUT" '^\{"line":3,.*no JSON'
says "$OUT" '^\{"line":4,.*no JSON object'
says "$OUT" '^\{"line":6,.*username'
says "$OUT" '^\{"line":7,.*request_id.* twice'
says "$OUT" '^\{"line":8,.*twice'
says "$OUT" '^\{"line":9,.*a text holds U\+0000, which is not allowed \(column [0-9]+\)"\}$'
says "$OUT" '^\{"line":10,.*a text holds U\+0000, which is not allowed'
says "$OUT" '^\{"line":11,.*no JSON: it is malformed'
says "$OUT" '^\{"line":12,.*no JSON: this is not UTF-8'
says "$OUT" '^\{"line":13,.*no JSON: it ends too early'
says "$OUT" '^\{"line":14,.*no JSON: it is malformed'
says "$OUT" '^\{"line":15,.*a number is too large'
says_not "$OUT" 'JSON_|uD800|0xff|near'
file euros "{\"$("$PYTHON" -c 'print("\u20ac" * 60)')\":1}"
runs 3 "import with a long name that is no field" "$USERCTL" import "$TEST_FOLDER/euros" \
    --errors "$TEST_FOLDER/errors2"
is_json_lines "$TEST_FOLDER/errors2"
if grep -q hush "$OUT"; then
    not_ok "  ... without a word of the line" "it shows one"
else
    ok "  ... without a word of the line"
fi
file unknown '{"username":"odd1","email":"odd1@example.com","password":"correct horse","shoe_size":44}'
runs 3 "import --strict" "$USERCTL" import "$TEST_FOLDER/malformed" --strict
says "$ERR" ' 2 failed$'
runs 0 "import --ignore-unknown" "$USERCTL" import "$TEST_FOLDER/unknown" --ignore-unknown
runs 0 "import from standard input, with DOS lines and no last line end" with_password \
    $'{"username":"dos1","email":"dos1@example.com","password":"correct horse"}\r\n\r\n{"username":"dos2","email":"dos2@example.com","password":"correct horse"}' \
    "$USERCTL" import -
says "$ERR" '^imported 2 users'
"$PYTHON" -c 'print("{\"username\":\"" + "x" * 300000 + "\"}")' >"$TEST_FOLDER/long"
echo '{"username":"long2","email":"long2@example.com","password":"correct horse"}' >>"$TEST_FOLDER/long"
runs 3 "import with a line that is too long" "$USERCTL" import "$TEST_FOLDER/long"
says "$ERR" '"line":1,.*256 KiB'
says "$ERR" '^imported 1 users'
runs 0 "import on a terminal" on_terminal "$USERCTL" import "$TEST_FOLDER/five"
says "$OUT" '\] +[0-9]+%  [0-9]+ users  [0-9]+/s'
says "$OUT" 'imported 5 users'
file marked $'\xef\xbb\xbf{"username":"marked","email":"marked@example.com","password":"correct horse"}'
runs 0 "import of a file with a byte order mark" "$USERCTL" import "$TEST_FOLDER/marked"
says "$ERR" '^imported 1 users'
closed_input() {
    timeout 60 "$USERCTL" import - <&-
}
runs 74 "import from a standard input that is closed" closed_input
says "$ERR" '^userctl: cannot read -: Bad file descriptor'
runs 0 "import of nothing" "$USERCTL" import /dev/null
says "$ERR" '^imported 0 users'
runs 64 "import without a file" "$USERCTL" import
runs 64 "import of a file that is not there" "$USERCTL" import /nonexistent
says "$ERR" '/nonexistent'
runs 74 "import of a folder" "$USERCTL" import "$TEST_FOLDER"
runs 64 "import with failures to nowhere" "$USERCTL" import "$TEST_FOLDER/five" --errors /nonexistent/x
runs 6 "import with failures to a full disk" "$USERCTL" import "$TEST_FOLDER/mixed" --errors /dev/full
says "$ERR" 'cannot write /dev/full'
runs 16 "import without a token" env USERCTL_TOKEN_FILE= "$USERCTL" import "$TEST_FOLDER/five"
says "$ERR" '^userctl: UNAUTHENTICATED: '
says "$ERR" '5 not answered: none of them is in$'
runs 16 "import with a bad token" "$USERCTL" import "$TEST_FOLDER/five" --token forged
says "$ERR" '5 not answered: none of them is in$'

# ended NAME CODE PID: that process ends with that code.
ended() {
    local status=0
    wait "$3" || status=$?
    if [ "$status" -eq "$2" ]; then
        ok "$1"
    else
        not_ok "$1" "ended with $status, not $2"
    fi
}

# next_line FD NAME PATTERN: the next line from a program that goes on must match.
next_line() {
    : >"$OUT"
    if read -r -t 60 line <&"$1" && printf '%s\n' "$line" >"$OUT" && [[ $line =~ $3 ]]; then
        ok "$2"
    else
        not_ok "$2" "it does not say $3"
    fi
}

mkfifo "$TEST_FOLDER/slow"
coproc IMPORT { exec "$USERCTL" import "$TEST_FOLDER/slow" --json 2>"$TEST_FOLDER/slow.err"; }
pid=$IMPORT_PID
exec {slow}>"$TEST_FOLDER/slow"
echo '{"username":"slow1","email":"slow1@example.com","password":"correct horse"}' >&"$slow"
next_line "${IMPORT[0]}" "import from a file that grows" '"username":"slow1"'
kill -INT "$pid"
ended "import is interrupted" 1 "$pid"
exec {slow}>&-
cp "$TEST_FOLDER/slow.err" "$ERR"
says "$ERR" 'interrupted$'
says "$ERR" '^imported 1 users'

echo "# list"

runs 0 "list of one page" "$USERCTL" list --page-size 2 --filter "$LIST_EXAMPLE"
counts 2 "users"
says "$OUT" '"username":"list1"'
says "$ERR" '^2 of 5 users shown; --all shows the rest$'
runs 0 "list of all pages" "$USERCTL" list --page-size 2 --filter "$LIST_EXAMPLE" --all
counts 5 "users"
is_json_lines "$OUT"
says_nothing "$ERR"
if [ "$(grep -o '"username":"list[0-9]"' "$OUT" | tr -dc 0-9)" = 12345 ]; then
    ok "  ... in the order of their creation"
else
    not_ok "  ... in the order of their creation" "they are not"
fi
runs 0 "list on a terminal" on_terminal "$USERCTL" list --filter "$LIST_EXAMPLE"
says "$OUT" '^ID +USERNAME +EMAIL +STATUS +ROLES +CREATED'
says "$OUT" '^[0-9a-f-]{36}  list1     list1@list\.example  ACTIVE            20[0-9]{2}-.* UTC'
runs 0 "list --json on a terminal" on_terminal "$USERCTL" list --filter "$LIST_EXAMPLE" --json
says "$OUT" '^\{"id":'
long_name=$("$PYTHON" -c 'print("é" * 41)')
long_email=$("$PYTHON" -c 'print("a" * 60 + "@" + ("b" * 60 + ".") * 3 + "example")')
file wide "{\"username\":\"$long_name\",\"email\":\"$long_email\",\"roles\":[\"$(printf 'r%.0s' {1..30})\",\"$(printf 's%.0s' {1..30})\"]}"
runs 0 "sync of a user with long values" "$USERCTL" sync "$TEST_FOLDER/wide"
runs 0 "list of long values on a terminal" on_terminal "$USERCTL" list --filter "email = \"$long_email\""
says "$OUT" '^[0-9a-f-]{36}  (é){39}…  a{39}…  ACTIVE     r{30}, s{7}…  20'
says "$OUT" '^ID {36}USERNAME {34}EMAIL {37}STATUS     ROLES {37}CREATED'
runs 0 "list of long values as JSON" "$USERCTL" list --filter "email = \"$long_email\""
says "$OUT" "\"email\":\"$long_email\""
runs 0 "list of nobody" "$USERCTL" list --filter 'username = nobody'
says_nothing "$OUT"
says_nothing "$ERR"
runs 0 "list of nobody on a terminal" on_terminal "$USERCTL" list --filter 'username = nobody'
says "$OUT" '^no users'
runs 0 "list without a filter" "$USERCTL" list
says "$OUT" '^\{"id":'
runs 3 "list with a filter that is none" "$USERCTL" list --filter 'username = = x'
says "$ERR" '^userctl: INVALID_ARGUMENT: '
says_nothing "$OUT"
runs 64 "list with a page size that is none" "$USERCTL" list --page-size many
runs 64 "list with a page size of nothing" "$USERCTL" list --page-size 0
runs 64 "list with a word" "$USERCTL" list x

echo "# watch"

create watched >"$OUT"
id=$(field id)
coproc WATCH { exec "$USERCTL" watch "$id" 2>"$TEST_FOLDER/watch.err"; }
pid=$WATCH_PID
exec {watch}<&"${WATCH[0]}"
next_line "$watch" "watch shows the present user" '^\{"id":.*"username":"watched".*"status":"USER_STATUS_ACTIVE"'
"$USERCTL" update "$id" --set status=suspended >/dev/null
next_line "$watch" "  ... and each change" '"status":"USER_STATUS_SUSPENDED"'
"$USERCTL" delete "$id" >/dev/null
next_line "$watch" "  ... and its end" '"status":"USER_STATUS_DELETED"'
ended "watch ends with the user" 0 "$pid"
exec {watch}<&-
cp "$TEST_FOLDER/watch.err" "$ERR"
says_nothing "$ERR"

create watched >"$OUT"
id=$(field id)
coproc WATCH { exec "$USERCTL" watch "$id" 2>"$TEST_FOLDER/watch.err"; }
pid=$WATCH_PID
exec {watch}<&"${WATCH[0]}"
next_line "$watch" "watch again" '"username":"watched"'
kill -INT "$pid"
ended "watch ends with Ctrl-C" 0 "$pid"
exec {watch}<&-
cp "$TEST_FOLDER/watch.err" "$ERR"
says_nothing "$ERR"

# Whoever reads what a watch shows may go away.
coproc WATCH { exec "$USERCTL" watch "$id" 2>"$TEST_FOLDER/watch.err"; }
pid=$WATCH_PID
exec {watch}<&"${WATCH[0]}"
eval "exec ${WATCH[0]}<&-"
next_line "$watch" "watch for a while" '"username":"watched"'
exec {watch}<&-
"$USERCTL" update "$id" --set roles=seen >/dev/null
ended "watch ends with its reader" 141 "$pid"
cp "$TEST_FOLDER/watch.err" "$ERR"
says_nothing "$ERR"

# A way to the server that can be cut: relays one connection until its standard input ends.
coproc RELAY { exec "$PYTHON" -c 'import os, select, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
here = listener.accept()[0]
there = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
other = {here: there, there: here}
while True:
    ready = select.select([here, there, sys.stdin], [], [])[0]
    if sys.stdin in ready:
        break
    for one in ready:
        other[one].sendall(one.recv(65536))' "${TEST_TARGET##*:}" 2>/dev/null; }
relay=$RELAY_PID
read -r relay_port <&"${RELAY[0]}"
exec {cut}>&"${RELAY[1]}"
eval "exec ${RELAY[1]}>&-"
exec {lost}< <(exec "$USERCTL" watch "$id" --no-reconnect --target "localhost:$relay_port" \
    2>"$TEST_FOLDER/watch.err"
    )
pid=$!
next_line "$lost" "watch over a relay" '"username":"watched"'
exec {cut}>&-
wait "$relay"
ended "watch --no-reconnect ends with the connection" 14 "$pid"
exec {lost}<&-
cp "$TEST_FOLDER/watch.err" "$ERR"
says "$ERR" '^userctl: UNAVAILABLE: '
says "$ERR" 'connection is lost'

runs 4 "watch with a deadline" on_terminal "$USERCTL" watch "$id" --deadline 300ms
says "$OUT" '^20[0-9]{2}-.* UTC  ACTIVE +watched  watched@example\.com'
runs 5 "watch of nobody" "$USERCTL" watch nobody
says "$ERR" '^userctl: NOT_FOUND: '
runs 64 "watch without an ID" "$USERCTL" watch

echo "# sync"

file sync '{"id":"sync-1","username":"sync1","email":"sync1@sync.example","roles":["admin","x"],"status":"USER_STATUS_INACTIVE","profile":{"firstName":"S"},"createdAt":"5","updatedAt":6.0}' \
    '{"username":"sync2","email":"sync2@sync.example","status":1,"roles":null}'
runs 0 "sync" "$USERCTL" sync "$TEST_FOLDER/sync"
says "$ERR" '^synced 2 users in [0-9]+\.[0-9] s, 0 failed$'
says_nothing "$OUT"
runs 0 "  ... which are there" "$USERCTL" get sync-1
says "$OUT" '"username":"sync1","email":"sync1@sync.example",.*"roles":\["admin","x"\],"status":"USER_STATUS_INACTIVE","profile":\{"first_name":"S"\}'
file sync '{"id":"sync-1","username":"sync1","email":"sync1@sync.example"}'
runs 0 "sync that replaces" "$USERCTL" sync "$TEST_FOLDER/sync" --json
says "$OUT" '^\{"id":"sync-1","username":"sync1","email":"sync1@sync.example","created_at":"[0-9]+","status":"USER_STATUS_INACTIVE","updated_at"'
"$USERCTL" list --all --filter 'email = "*@sync.example"' >"$TEST_FOLDER/sync"
runs 0 "sync of what list shows" "$USERCTL" sync "$TEST_FOLDER/sync"
says "$ERR" '^synced 2 users'
file sync '{"id":"sync-3","username":"sync3","email":"sync3@sync.example"}' '' \
    '{"id":"sync-4","username":"sync1","email":"sync4@sync.example"}' \
    '{"id":"sync-5","username":"sync5","email":"sync5@sync.example"}'
runs 6 "sync with a user that is refused" "$USERCTL" sync "$TEST_FOLDER/sync"
says "$ERR" '^\{"line":3,"status":"ALREADY_EXISTS",'
says "$ERR" '^userctl: line 3 ends it:$'
says "$ERR" '^synced 1 users in .* 1 failed'
runs 0 "  ... after one that is not" "$USERCTL" get sync-3
file sync '{"id":"sync-6","username":"sync6","email":"sync6@sync.example","status":"ASLEEP"}' \
    '{"id":"sync-6","created_at":"soon"}' '{"roles":[1]}' '{"profile":{"shoe_size":44}}' '{"profile":1}'
runs 3 "sync with malformed lines" "$USERCTL" sync "$TEST_FOLDER/sync"
says "$ERR" '"line":1,.*status'
says "$ERR" '"line":2,.*created_at'
says "$ERR" '"line":3,.*roles'
says "$ERR" '"line":4,.*shoe_size'
says "$ERR" '"line":5,.*profile'
says "$ERR" ' 5 failed$'
runs 64 "sync without a file" "$USERCTL" sync

# More than one stream takes.
"$PYTHON" -c 'for i in range(50001):
    print("{\"id\":\"many-%d\",\"username\":\"many%d\",\"email\":\"many%d@many.example\"}" % (i, i, i))' \
    >"$TEST_FOLDER/many"
runs 0 "sync of many on a terminal" on_terminal "$USERCTL" sync "$TEST_FOLDER/many"
says "$OUT" 'synced 50001 users'
says "$OUT" '\] +[1-9][0-9]?%  [1-9][0-9]* users  [1-9][0-9]*/s  ETA [0-9]+:[0-9]{2}'
runs 0 "  ... which are listed" "$USERCTL" list --all --deadline 30s --filter 'email = "*@many.example"'
counts 50001 "users"

# Its reader goes away after the first of many pages.
list_head() {
    "$USERCTL" list --all | head -1
    return "${PIPESTATUS[0]}"
}
runs 141 "list ends with its reader" list_head
counts 1 "user"
says_nothing "$ERR"

echo "# tokens"

USERCTL_TOKEN_FILE='' runs 16 "no token" "$USERCTL" get nobody
says "$ERR" '^userctl: UNAUTHENTICATED: No authentication token provided$'
says "$ERR" '^hint: .*--token-file'
runs 16 "a bad token" "$USERCTL" get nobody --token forged
says "$ERR" '^userctl: UNAUTHENTICATED: Invalid authentication token$'
says "$ERR" '^hint: .*expired'
runs 0 "token" "$USERCTL" token --secret-file "$TEST_SECRET" --sub me --roles admin,viewer --ttl 10m
says "$OUT" '^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$'
token=$(cat "$OUT")
runs 5 "which the server takes" "$USERCTL" get nobody --token "$token"
runs 5 "from standard input too" with_password "$token" "$USERCTL" get nobody --token-file -
"$PYTHON" - "$token" >"$OUT" <<'END'
import base64, json, sys
payload = sys.argv[1].split(".")[1]
claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
print(claims["sub"], claims["roles"], claims["exp"] - claims["iat"])
END
says "$OUT" '^me .*admin.*viewer.* 600$'
runs 64 "token without secret" "$USERCTL" token --sub me
runs 64 "token without subject" "$USERCTL" token --secret-file "$TEST_SECRET"
runs 64 "token with a secret that is not there" "$USERCTL" token --secret-file /nonexistent --sub me
echo short >"$TEST_FOLDER/short"
runs 64 "token with a short secret" "$USERCTL" token --secret-file "$TEST_FOLDER/short" --sub me
says "$ERR" '32'
runs 64 "token with a certificate as secret" "$USERCTL" token --secret-file "$TEST_CA" --sub me

echo "# the way to the server"

runs 14 "nobody listens" "$USERCTL" get x --target 127.0.0.1:1
says "$ERR" '^userctl: UNAVAILABLE: cannot connect to 127.0.0.1:1'
says "$ERR" 'Connection refused'
says "$ERR" '^hint: .*--target'
runs 14 "an unknown host" "$USERCTL" get x --target userd.invalid:50051
says "$ERR" 'userd.invalid'
says "$ERR" '^hint: '
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$TEST_FOLDER/other.key" \
    -out "$TEST_FOLDER/other.pem" -subj /CN=other -days 30 2>/dev/null
runs 14 "a CA that signed nothing here" "$USERCTL" get x --ca "$TEST_FOLDER/other.pem"
says "$ERR" '^userctl: UNAVAILABLE: .*TLS'
says "$ERR" '^hint: --ca'
runs 14 "a host that the certificate does not name" "$USERCTL" get x \
    --target "127.0.0.2:${TEST_TARGET##*:}"
runs 14 "plain text to a server with TLS" "$USERCTL" get x --plaintext
says "$ERR" '^hint: .*--plaintext'

end_peer() {
    kill "$1"
    wait "$1" 2>/dev/null
}

# A server that takes connections and says nothing.
coproc SILENT { "$PYTHON" -c 'import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()'; }
read -r silent_port <&"${SILENT[0]}"
runs 4 "a server that says nothing" "$USERCTL" get x --target "127.0.0.1:$silent_port" --deadline 200ms
says "$ERR" '^userctl: DEADLINE_EXCEEDED: '
says "$ERR" '^hint: .*--deadline'
end_peer "$SILENT_PID"

# One that ends every connection at once, with a reason.
coproc LEAVING { "$PYTHON" -c 'import socket, struct, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def leave():
    while True:
        client = listener.accept()[0]
        client.sendall(b"\0\0\0\4\0\0\0\0\0" + b"\0\0\x0c\7\0\0\0\0\0" + struct.pack(">II", 0, 11) + b"busy")
        while client.recv(65536):
            pass
threading.Thread(target=leave, daemon=True).start()
sys.stdin.read()'; }
read -r leaving_port <&"${LEAVING[0]}"
runs 14 "a server that leaves at once" "$USERCTL" import "$TEST_FOLDER/five" --plaintext \
    --target "127.0.0.1:$leaving_port"
says "$ERR" '^userctl: UNAVAILABLE: (127.0.0.1:[0-9]+: )?the server ends the connection \(HTTP/2 error 11, busy\)$'
says "$ERR" '5 not answered: none of them is in$'
end_peer "$LEAVING_PID"

# One that knows no method.
coproc BARE { "$PYTHON" -c 'import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
client = listener.accept()[0]
client.sendall(b"\0\0\0\4\0\0\0\0\0")
while b"list5" not in client.recv(65536):
    pass
def field(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
head = b"\x88" + field(b"content-type", b"application/grpc") + field(b"grpc-status", sys.argv[1].encode())
client.sendall(len(head).to_bytes(3, "big") + b"\1\5\0\0\0\1" + head)
client.recv(65536)
sys.stdin.read()' 12; }
read -r bare_port <&"${BARE[0]}"
runs 12 "a server that knows no such call" "$USERCTL" import "$TEST_FOLDER/five" --plaintext \
    --target "127.0.0.1:$bare_port"
says "$ERR" '5 not answered: none of them is in$'
end_peer "$BARE_PID"

# One that takes everything slowly and answers nothing: no progress is made. In the end it leaves.
coproc SINK { "$PYTHON" -c 'import socket, struct, sys, time
listener = socket.create_server(("127.0.0.1", 0))
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
print(listener.getsockname()[1], flush=True)
client = listener.accept()[0]
client.sendall(b"\0\0\6\4\0\0\0\0\0" + struct.pack(">HI", 4, 2**31 - 1) +
               b"\0\0\4\x08\0\0\0\0\0" + struct.pack(">I", 2**31 - 65536))
taken = 0
while taken < 12 * 1024 * 1024:
    taken += len(client.recv(1024 * 1024, socket.MSG_WAITALL))
    time.sleep(0.05)
client.close()
sys.stdin.read()'; }
read -r sink_port <&"${SINK[0]}"
"$PYTHON" -c 'for i in range(40000):
    print("{\"username\":\"%s\",\"email\":\"e\"}" % ("x" * 400))' >"$TEST_FOLDER/heavy"
runs 14 "a server that answers nothing, on a terminal" on_terminal "$USERCTL" import \
    "$TEST_FOLDER/heavy" --plaintext --target "127.0.0.1:$sink_port"
says "$OUT" '\]   0%  0 users  0/s  0 failed'
says_not "$OUT" '[1-9]%|ETA'
says "$OUT" 'not answered: they may or may not be in'
end_peer "$SINK_PID"

# One that grants every window and reads nothing. Ctrl-C ends the program soon all the same.
coproc STUCK { "$PYTHON" -c 'import fcntl, socket, struct, sys, termios, time
listener = socket.create_server(("127.0.0.1", 0))
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
print(listener.getsockname()[1], flush=True)
client = listener.accept()[0]
client.sendall(b"\0\0\6\4\0\0\0\0\0" + struct.pack(">HI", 4, 2**31 - 1) +
               b"\0\0\4\x08\0\0\0\0\0" + struct.pack(">I", 2**31 - 65536))
waiting = [-1, 0]  # bytes in the socket: no more of them, and so the other side is stuck
while waiting[-1] == 0 or waiting[-1] != waiting[-2]:
    time.sleep(0.5)
    waiting.append(struct.unpack("i", fcntl.ioctl(client, termios.FIONREAD, b"\0" * 4))[0])
print("stuck", flush=True)
sys.stdin.read()'; }
read -r stuck_port <&"${STUCK[0]}"
"$USERCTL" import "$TEST_FOLDER/heavy" --plaintext --target "127.0.0.1:$stuck_port" 2>"$ERR" &
pid=$!
read -r -t 60 <&"${STUCK[0]}"
started=$SECONDS
kill -INT "$pid"
ended "a server that reads nothing, and Ctrl-C" 1 "$pid"
: >"$OUT"
if [ $((SECONDS - started)) -le 8 ]; then
    ok "  ... does not wait for it"
else
    not_ok "  ... does not wait for it" "it took $((SECONDS - started)) s"
fi
end_peer "$STUCK_PID"

echo "# output that cannot be written"

create carol >"$OUT"
id=$(field id)
full_disk() {
    "$USERCTL" get "$id" >/dev/full
}
runs 74 "a full disk" full_disk
says "$ERR" 'cannot write'

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
