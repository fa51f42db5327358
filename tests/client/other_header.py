#!/usr/bin/env python3
"""The header of another release, made of this one's: other_header.py older|newer <client.h >OUT

Of an older release each struct with a size lacks its last field, of a newer one each has one more,
`later`. Programs that are compiled with these must run with this release's library.
"""

import re
import sys

# Their last field is the one that must be there.
WHOLE = {"userd_watch_events", "userd_stream_events", "userd_raw_events"}

STRUCT = re.compile(r"struct (userd_\w+) \{\n    size_t size;\n.*?^\};\n", re.DOTALL | re.MULTILINE)
LAST_FIELD = re.compile(r"(.*;)[^;]*;\s*\};\n", re.DOTALL)
INIT = re.compile(r"#define USERD_\w+_INIT[ \\\n]+\{[ \\\n]+sizeof\(struct (userd_\w+)\).*?\n    \}\n", re.DOTALL)
LAST_VALUE = re.compile(r"(.*),([^,]*?)([ \\\n]*\}\n)", re.DOTALL)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def change_struct(match: re.Match[str], is_older: bool) -> str:
    text = COMMENT.sub("", match[0])
    if not is_older:
        return text.replace("\n};\n", "\n    const char *later;\n};\n")
    if match[1] in WHOLE:
        return text
    return LAST_FIELD.sub(r"\1\n};\n", text)


def change_init(match: re.Match[str], is_older: bool) -> str:
    if not is_older:
        return LAST_VALUE.sub(r"\1,\2, NULL\3", match[0])
    if match[1] in WHOLE:
        return match[0]
    return LAST_VALUE.sub(r"\1\3", match[0])


def main() -> None:
    is_older = {"older": True, "newer": False}[sys.argv[1]]
    header = sys.stdin.read()
    header, structs = STRUCT.subn(lambda match: change_struct(match, is_older), header)
    header, inits = INIT.subn(lambda match: change_init(match, is_older), header)
    if structs < 14 or inits < 11:
        sys.exit(f"only {structs} structs and {inits} initialisers were found")
    name = "USERD_TEST_OLDER" if is_older else "USERD_TEST_NEWER"
    sys.stdout.write(f"#define {name} 1\n{header}")


if __name__ == "__main__":
    main()
