#include "userctl_table.h"

#define FOR(command) COMMON_ARGUMENTS_FOR(USERCTL_##command)
#define FOR_ALL      COMMON_ARGUMENTS_FOR_ALL
#define FOR_FILES    (FOR(IMPORT) | FOR(SYNC))
#define FOR_WATCHES  (FOR(WATCH) | FOR(HEALTH))
#define FOR_USERS    (FOR(GET) | FOR(CREATE) | FOR(UPDATE) | FOR(DELETE) | FOR(LIST) | FOR(WATCH))
/* The commands that call a server, and those whose output has two forms. */
#define FOR_CALLS                                                                                  \
    (COMMON_ARGUMENTS_FOR_OVERVIEW | FOR_USERS | FOR_FILES | FOR(HEALTH) | FOR(CALL) |             \
     FOR(DESCRIBE))
#define FOR_OUTPUTS                                                                                \
    (COMMON_ARGUMENTS_FOR_OVERVIEW | FOR_USERS | FOR_FILES | FOR(HEALTH) | FOR(CALL) | FOR(TARGETS))
#define OPTION(name)  [USERCTL_OPTION_##name]
#define COMMAND(name) [USERCTL_##name]

static const struct common_command commands[USERCTL_COMMAND_COUNT] = {
    COMMAND(GET) = {"get", "ID", 0, 1, "show a user", NULL},
    COMMAND(
        CREATE) = {"create", "", 0, 0, "create a user",
                   "The password is asked for on the terminal unless --password-stdin or\n"
                   "--password-file says where it comes from. One line end after it is dropped.\n"},
    COMMAND(UPDATE) =
        {"update", "ID", 0, 1, "change fields of a user",
         "Fields: username, email, status (ACTIVE, INACTIVE, SUSPENDED), roles (comma-separated),\n"
         "profile.first_name, profile.last_name, profile.avatar_url. An empty value clears a "
         "field.\n"
         "Without --mask exactly the fields given with --set change.\n"},
    COMMAND(DELETE) = {"delete", "ID", 0, 1, "delete a user", NULL},
    COMMAND(LIST) =
        {"list", "", 0, 0, "list users in the order of their creation",
         "Shows one page, and says when there is more. The filter is one of AIP-160, such as\n"
         "'status = SUSPENDED AND roles:admin' or 'email = \"*@example.com\"'.\n"
         "A walk through all pages stays on one backend.\n"
         "On a terminal long values are cut to fit it; --json shows them whole.\n"},
    COMMAND(WATCH) =
        {"watch", "ID", 0, 1, "show a user now and after each change",
         "Ends when the user is deleted, when the server refuses it, or with Ctrl-C. When the\n"
         "connection is lost it says so and connects again, unless --no-reconnect is given; then\n"
         "the user is shown as it is by then. There is no deadline unless --deadline gives one.\n"},
    COMMAND(IMPORT) =
        {"import", "FILE", 0, 1, "create users from JSON lines",
         "Each line of FILE (- is standard input) is one CreateUserRequest:\n"
         "  {\"username\":\"ada\",\"email\":\"ada@example.com\",\"password\":\"...\","
         "\"request_id\":\"ada-1\"}\n"
         "A line that fails is reported, as a JSON line with its number, and the others go on.\n"
         "With a request_id of its own on each line the import may be repeated safely: what went "
         "in\n"
         "before is answered again and not created twice.\n"
         "The exit code is 0 when all went in, else the status of the first failure.\n"},
    COMMAND(SYNC) =
        {"sync", "FILE", 0, 1, "create or replace users from JSON lines",
         "Each line of FILE (- is standard input) is one User, as 'userctl list --json' prints "
         "it.\n"
         "A user whose id is known is replaced; one without id is created. The first user that "
         "the\n"
         "server refuses ends it: its line is reported, and those before it are in.\n"},
    COMMAND(HEALTH) =
        {"health", "[SERVICE]", 0, 1, "ask whether the server is well",
         "Without SERVICE the server as a whole is asked about. The exit code is 0 only when the\n"
         "answer is SERVING, and 14 when it is another; 5 when no such service is known.\n"
         "--watch shows each change, until Ctrl-C.\n"},
    COMMAND(CALL) =
        {"call", "METHOD [JSON]", 0, 2, "call any method, with JSON",
         "METHOD is /package.Service/Method; what its messages look like the server tells by "
         "reflection.\n"
         "JSON is the request, - reads it from standard input, @FILE from a file. A method that "
         "takes\n"
         "one message gets the whole of it ({} if not given); one that takes a stream gets a "
         "message\n"
         "for each line (standard input if not given). Each answer is one line of JSON.\n"
         "  userctl call /users.v1.UserService/GetUser '{\"id\":\"...\"}'\n"
         "  userctl call --list          the services, or the methods of one\n"},
    COMMAND(DESCRIBE) =
        {"describe", "[SYMBOL]", 0, 1, "show a service, method, message or enum",
         "By its full name, as in a proto file: users.v1.User. Without a name, all services.\n"},
    COMMAND(TOKEN) =
        {"token", "", 0, 0, "print a token for development",
         "Signs an HS256 token with the secret that the server has as auth.jwt_secret_file.\n"},
    COMMAND(TARGETS) =
        {"targets", "", 0, 0, "list the targets of the configuration file",
         "The file is ~/.config/userctl.ini (in $XDG_CONFIG_HOME), or that of --config:\n"
         "  [default]\n"
         "  target = production\n"
         "  [target production]\n"
         "  target = dns:///users.example:50051\n"
         "  ca = users-ca.pem\n"
         "  token_file = ~/.config/users-token\n"
         "Keys of a target: target, ca, cert, key, server_name, token_file, plaintext (yes, no),\n"
         "deadline (of calls with one answer), lb.\n"
         "Files are relative to that of the configuration; others may not be able to read a key\n"
         "or token. Options win over all of it. --on NAME takes nothing of the environment; the\n"
         "target of [default] does, and counts only when nobody names a server.\n"},
    COMMAND(
        COMPLETION) = {"completion", "bash|zsh", 0, 1, "print what makes a shell complete userctl",
                       "  source <(userctl completion bash)\n"
                       "  userctl completion zsh >~/.zfunc/_userctl     # a folder of $fpath\n"},
    COMMAND(HELP) = {"help", USERCTL_VALUE_COMMAND, 0, 1, "show help about a command", NULL},
};

static const struct common_option options[USERCTL_OPTION_COUNT] = {
    OPTION(TARGET) = {"target", "HOST:PORT", FOR_CALLS,
                      "server, or A,B, or dns:///NAME:PORT; USERCTL_TARGET; "
                      "else " USERCTL_DEFAULT_TARGET},
    OPTION(ON) = {"on", USERCTL_VALUE_TARGET, FOR_CALLS,
                  "a target of the configuration file; see 'userctl targets --help'"},
    OPTION(CONFIG) = {"config", USERCTL_VALUE_FILE, FOR_CALLS | FOR(TARGETS),
                      "configuration file; USERCTL_CONFIG; ~/.config/userctl.ini if not given"},
    OPTION(LB) = {"lb", "round_robin|pick_first", FOR_CALLS,
                  "how calls are spread; round_robin for several addresses; "
                  "list and describe stay on one"},
    OPTION(CA) = {"ca", USERCTL_VALUE_FILE, FOR_CALLS,
                  "PEM, who may vouch for the server; USERCTL_CA; the system's if not given"},
    OPTION(CERT) = {"cert", USERCTL_VALUE_FILE, FOR_CALLS,
                    "PEM certificate of this client, with --key"},
    OPTION(KEY) = {"key", USERCTL_VALUE_FILE, FOR_CALLS, "PEM key of this client"},
    OPTION(SERVER_NAME) =
        {"server-name", "HOST", FOR_CALLS,
         "that the server's certificate is for; the host of the target if not given"},
    OPTION(PLAINTEXT) = {"plaintext", NULL, FOR_CALLS,
                         "no TLS, for a server with tls.enabled = no"},
    OPTION(TOKEN) = {"token", "TOKEN", FOR_CALLS,
                     "bearer token (others on this machine may see it)"},
    OPTION(TOKEN_FILE) = {"token-file", USERCTL_VALUE_FILE, FOR_CALLS,
                          "file with the bearer token; USERCTL_TOKEN_FILE"},
    OPTION(DEADLINE) = {"deadline", "TIME", FOR_CALLS,
                        "time for a call, such as 500ms, 5s, 1m; 5s, but for streams none"},
    OPTION(JSON) = {"json", NULL, FOR_OUTPUTS,
                    "JSON lines; so it is anyway when output is no terminal"},
    OPTION(COLOR) = {"color", "auto|always|never", FOR_ALL,
                     "auto: on a terminal, unless NO_COLOR is set or TERM is dumb"},
    OPTION(HELP) = {"help", NULL, FOR_ALL, "this text, or after a command, help about it"},
    OPTION(VERSION) = {"version", NULL, FOR_ALL, "version and libraries"},
    OPTION(USERNAME) = {"username", "NAME", FOR(CREATE), "required"},
    OPTION(EMAIL) = {"email", "ADDRESS", FOR(CREATE), "required"},
    OPTION(PASSWORD_STDIN) = {"password-stdin", NULL, FOR(CREATE),
                              "read the password from standard input"},
    OPTION(PASSWORD_FILE) = {"password-file", USERCTL_VALUE_FILE, FOR(CREATE),
                             "read the password from a file"},
    OPTION(REQUEST_ID) = {"request-id", "ID", FOR(CREATE),
                          "makes a retry safe: the same ID again gets the first answer"},
    OPTION(SET) = {"set", "FIELD=VALUE", FOR(UPDATE), "new value; may be repeated"},
    OPTION(MASK) = {"mask", "FIELDS", FOR(UPDATE),
                    "comma-separated fields to take; * is all of them"},
    OPTION(ETAG) = {"etag", "ETAG", FOR(UPDATE) | FOR(DELETE),
                    "only if the user has not changed since"},
    OPTION(FILTER) = {"filter", "FILTER", FOR(LIST), "only the users that match"},
    OPTION(PAGE_SIZE) = {"page-size", "N", FOR(LIST), "users on a page"},
    OPTION(ALL) = {"all", NULL, FOR(LIST), "all pages"},
    OPTION(NO_RECONNECT) = {"no-reconnect", NULL, FOR_WATCHES, "end when the connection is lost"},
    OPTION(ERRORS) = {"errors", USERCTL_VALUE_FILE, FOR_FILES,
                      "write failures there, not on standard error"},
    OPTION(STRICT) = {"strict", NULL, FOR_FILES, "stop at the first line that is malformed"},
    OPTION(IGNORE_UNKNOWN) = {"ignore-unknown", NULL, FOR_FILES,
                              "leave out fields that nobody knows"},
    OPTION(WATCH) = {"watch", NULL, FOR(HEALTH), "go on, and show each change"},
    OPTION(HEADER) = {"header", "NAME:VALUE", FOR(CALL), "metadata to send; may be repeated"},
    OPTION(LIST) = {"list", NULL, FOR(CALL), "list the services, or the methods of one"},
    OPTION(SECRET_FILE) = {"secret-file", USERCTL_VALUE_FILE, FOR(TOKEN),
                           "the shared secret; required"},
    OPTION(SUB) = {"sub", "NAME", FOR(TOKEN), "whom the token is for; required"},
    OPTION(ROLES) = {"roles", "R1,R2", FOR(TOKEN), "roles that the token gives"},
    OPTION(ISSUER) = {"issuer", "NAME", FOR(TOKEN), "when the server wants one"},
    OPTION(AUDIENCE) = {"audience", "NAME", FOR(TOKEN), "when the server wants one"},
    OPTION(TTL) = {"ttl", "TIME", FOR(TOKEN), "how long it is good for; 1h"},
};

const struct common_arguments_table userctl_table = {
    .program = "userctl",
    .commands = commands,
    .command_count = USERCTL_COMMAND_COUNT,
    .options = options,
    .option_count = USERCTL_OPTION_COUNT,
    .help_option = USERCTL_OPTION_HELP,
};
