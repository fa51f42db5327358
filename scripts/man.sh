#!/usr/bin/env bash
# Makes the manual pages: from docs/man/*.in, from what the programs say about themselves, and
# userd.ini(5) from the comments of configs/userd.ini and the table of options.
#
#   scripts/man.sh PROGRAM_FOLDER OUT_FOLDER SYSCONFDIR
#
# A line @OPTIONS@ in a page stands for the options of `PROGRAM --help`, @COMMANDS@ for the help of each
# of its commands, and @MANUAL@ for the options in the INI; @SYSCONFDIR@ within a line is filled in.

set -euo pipefail
cd "$(dirname "$0")/.."

readonly PROGRAMS=$1 OUT=$2 SYSCONFDIR=$3
# The newest day on which what the pages are made of changed, so that the same sources give the same page.
DATE=$(LC_ALL=C date -u -d "@$(stat -c %Y docs/man/*.in configs/userd.ini | sort -n | tail -n 1)" '+%B %-d, %Y')
VERSION=$("$PROGRAMS/userd" --version | awk 'NR == 1 { print $2 }')
readonly DATE VERSION

# Text that is to be shown as it stands, line by line.
literal() {
    sed -e 's/\\/\\e/g' -e "s/^[.']/\\\\\&&/" -e 's/-/\\-/g'
}

# options_of PROGRAM: lines `  --name WORD   text` of its help, and those that continue the text, as a list.
options_of() {
    "$PROGRAMS/$1" --help | awk '
        # No line is longer than 78 bytes.
        function flow(text,   at) {
            while (length(text) > 78) {
                for (at = 79; at > 1 && substr(text, at, 1) != " "; at--) { }
                if (at == 1) break
                print substr(text, 1, at - 1)
                text = substr(text, at + 1)
            }
            print text
        }
        /^  -/ {
            at = match(substr($0, 3), /  +/)
            name = substr($0, 3, at - 1); text = substr($0, 3 + at); sub(/^ +/, "", text)
            if (!any++) print ".Bl -tag -width Ds"
            words = split(name, word, " ")
            sub(/^-/, "", word[1])
            printf ".It Fl %s", word[1]
            if (words > 1) printf " Ar %s", word[2]
            print ""
            flow(text)
            inside = 1; next
        }
        inside && /^      / { sub(/^ +/, ""); flow($0); next }
        { inside = 0 }
        END { if (any) print ".El" }' | sed 's/^\.It Fl -\(.*\)/.It Fl \\-\1/'
}

# commands_of PROGRAM: each command with its help.
commands_of() {
    local command
    for command in $("$PROGRAMS/$1" --help | awk '/^commands:/ { on = 1; next } on && /^  / { print $1 } on && !/^  / { exit }'); do
        [ "$command" != help ] || continue
        printf '.Ss %s\n.Bd -literal\n' "$command"
        "$PROGRAMS/$1" "$command" --help | sed -e '/--help. lists the options/d' -e '/^  --version/d' -e '/^  --help/d' |
            awk 'NF { for (; gap > 0; gap--) print ""; print } !NF { gap += lines > 0; if (gap > 1) gap = 1 } { lines++ }' | literal
        echo .Ed
    done
}

# The options of userd.ini: a paragraph of comment, and the options under it, become entries of a list; the
# facts come from the table. Indented lines of a comment are shown as they stand.
manual() {
    "$PROGRAMS/userd" --print-options | awk -F '\t' '
        function escape(text) { gsub(/\\/, "\\e", text); gsub(/-/, "\\-", text); return text }
        # Sentences begin on lines of their own, and no line is longer than 78 bytes.
        function flow(text,   word, count, i, line) {
            count = split(text, word, " "); line = ""
            for (i = 1; i <= count; i++) {
                if (line != "" && length(line) + 1 + length(word[i]) > 74) { put(line); line = "" }
                line = line (line == "" ? "" : " ") word[i]
                if (word[i] ~ /[.?!]["\x27)]*$/) { put(line); line = "" }
            }
            if (line != "") put(line)
        }
        function put(line) { if (line ~ /^[.\x27]/) printf "\\&"; print escape(line) }
        function end_text() { if (text != "") flow(text); text = "" }
        function end_literal() { if (in_literal) print ".Ed"; in_literal = 0 }
        function begin_list() { if (!in_list) print ".Bl -tag -width Ds"; in_list = 1 }
        function end_list() { if (in_list) print ".El"; in_list = 0 }
        # What was gathered of comments, as text.
        function put_comments(   i, line, paragraph) {
            paragraph = 0
            for (i = 1; i <= comments; i++) {
                line = comment[i]
                if (line ~ /^  / || line ~ /^userd --config/) {
                    end_text()
                    if (!in_literal) print ".Bd -literal"
                    in_literal = 1
                    put(line)
                } else if (line == "") {
                    end_text(); end_literal()
                    if (i < comments && comment[i + 1] !~ /^  / && comment[i + 1] !~ /^userd --config/) print ".Pp"
                } else {
                    end_literal()
                    text = text (text == "" ? "" : " ") line
                }
            }
            end_text(); end_literal(); comments = 0
        }
        function facts(name,   row) {
            if (!(name in kind)) { printf "man.sh: %s is no option\n", name >"/dev/stderr"; exit 1 }
            row = kind[name] == "choice" || kind[name] == "bool" ? "One of " range[name] : "A " kind[name]
            if (kind[name] ~ /^a/) row = "An " kind[name]
            if (kind[name] == "addresses") row = "Addresses"
            gsub(/\|/, ", ", row)
            if (kind[name] == "number" || kind[name] == "size") {
                low = range[name]; high = low; sub(/\.\..*/, "", low); sub(/.*\.\./, "", high)
                row = row ", " low " to " high (unit[name] == "" ? "" : " " unit[name])
            }
            flow(row "; taken " (live[name] == "reload" ? "at SIGHUP." : "at the start."))
            seen[name] = 1
        }
        FILENAME == "-" {
            kind[$1] = $2; range[$1] = $4; unit[$1] = $5; live[$1] = $6; help[$1] = $7; next
        }
        /^\[/ {
            if (section == "") { put_comments() }
            end_list()
            section = $0; gsub(/[][]/, "", section)
            print ".Ss Section " section
            comments = 0; keys = 0
            next
        }
        /^;/ { line = $0; sub(/^; ?/, "", line); comment[++comments] = line; next }
        /^#/ && section == "policy" { comment[++comments] = "  " substr($0, 2); next }
        /^#/ { key[++keys] = substr($0, 2); next }
        # An empty line ends a block: comments with options under them, or alone.
        /^$/ { block() }
        END { block(); end_list()
              for (name in kind) if (!(name in seen) && name != "auth.jwt_secret") {
                  printf "man.sh: configs/userd.ini does not have %s\n", name >"/dev/stderr"; exit 1 } }
        function block(   i, name) {
            if (keys == 0) {
                if (comments > 0) { end_list(); if (begun[section]++) print ".Pp"; put_comments() }
                return
            }
            begin_list()
            for (i = 1; i <= keys; i++) {
                name = key[i]; sub(/ *=.*/, "", name)
                line = key[i]; sub(/ *= */, " = ", line); sub(/ = $/, " =", line)
                print ".It Ic " escape(line)
                if (i == keys) { put_comments(); print ".Pp" }
                facts(section "." name)
            }
            keys = 0
        }' - configs/userd.ini
}

# page NAME: docs/man/NAME.in, filled in.
page() {
    local program=${1%%.*} line
    while IFS= read -r line; do
        case $line in
        @OPTIONS@) options_of "$program" ;;
        @COMMANDS@) commands_of "$program" ;;
        @MANUAL@) manual ;;
        *) printf '%s\n' "$line" ;;
        esac
    done <"docs/man/$1.in" | sed -e "s|@SYSCONFDIR@|$SYSCONFDIR|g" -e "s|@DATE@|$DATE|" -e "s|@VERSION@|$VERSION|" >"$OUT/$1.new"
    mv "$OUT/$1.new" "$OUT/$1"
}

mkdir -p "$OUT"
for input in docs/man/*.in; do
    page "$(basename "$input" .in)"
done
