#include "userctl_failure.h"

#include "common_json.h"
#include "http2/proto_wire.h"
#include "userctl_terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WAIT_LABEL "retry after: "

/* Parts of messages by which a cause is known, in any case of letters, and what to try then. */
struct known_text {
    const char *part;
    const char *hint;
};

static const char *hint_of(const struct known_text *texts, size_t count, const char *message)
{
    for (size_t i = 0; i < count; i++) {
        if (strcasestr(message, texts[i].part) != NULL) {
            return texts[i].hint;
        }
    }
    return "";
}

#define HINT_OF(texts, message) hint_of(texts, sizeof(texts) / sizeof((texts)[0]), message)

static const char *connect_hint(const struct userctl_arguments *arguments, const char *message)
{
    static const struct known_text texts[] = {
        {"resolve", "nobody knows that name: is it spelled right? --target HOST:PORT or "
                    "USERCTL_TARGET names the server"},
        {"HTTP/2 within", "something listens there and says nothing: is it userd, and does it want "
                          "TLS? --target HOST:PORT names the server"},
        {"TLS within", "something listens there and says nothing of TLS: is it userd? a server "
                       "without TLS needs --plaintext"},
        {"timed out", "nothing answers there: a firewall may be in the way, or the address is "
                      "wrong (--target HOST:PORT)"},
        {"No route", "there is no way to that address: is the network up? --target HOST:PORT names "
                     "the server"},
        {"unreachable", "there is no way to that address: is the network up? --target HOST:PORT "
                        "names the server"},
    };
    const char *hint = HINT_OF(texts, message);

    if (hint[0] != '\0') {
        return hint;
    }
    return arguments->target_name != NULL
               ? "is userd running there? 'userctl targets' shows the address that is configured"
               : "is userd running there? --target HOST:PORT or USERCTL_TARGET names the server";
}

static const char *tls_hint(const char *message)
{
    static const struct known_text texts[] = {
        {"signer", "--ca FILE or USERCTL_CA must name who signed the server's certificate; the "
                   "present file does not"},
        {"self-signed", "--ca FILE or USERCTL_CA must name who signed the server's certificate; "
                        "the present file does not"},
        {"mismatch", "the server's certificate is for another name than the host of the target: "
                     "--server-name HOST gives the one that it is for"},
        {"date", "the server's certificate has expired, or a clock is wrong: 'openssl x509 -dates' "
                 "shows its time"},
        {"not TLS", "the server speaks no TLS on that port: --plaintext if that is meant"},
        {"version number", "the server speaks no TLS on that port: --plaintext if that is meant"},
        {"record layer", "the server speaks no TLS on that port: --plaintext if that is meant"},
        {"unknown record", "the server speaks no TLS on that port: --plaintext if that is meant"},
        {"HTTP", "the server speaks no TLS on that port: --plaintext if that is meant"},
        {"alert", "the server refused this client: it may want a certificate (--cert and --key)"},
    };
    const char *hint = HINT_OF(texts, message);

    return hint[0] != '\0'
               ? hint
               : "--ca FILE or USERCTL_CA names who vouches for the server; the certificate must "
                 "hold the host of --target, and the server must speak TLS on that port";
}

static const char *token_hint(const struct userctl_arguments *arguments,
                              const struct userd_error *error)
{
    if (arguments->token == NULL && arguments->token_file == NULL) {
        return "--token-file FILE or USERCTL_TOKEN_FILE gives a token; 'userctl token' makes one "
               "for development";
    }
    if (strstr(error->details, "TOKEN_EXPIRED") != NULL) {
        return arguments->token_file != NULL
                   ? "the token has expired: put a fresh one into the token file"
                   : "the token has expired: --token needs a fresh one";
    }
    return "the token may have expired or be signed with another secret";
}

/* The wait that the server asks for, "1500 ms"; of size 0 when it names none. Other lines hold
 * texts of the server's choice: only a line of this form is one. */
static struct bytes wait_of(const char *details)
{
    const size_t label = sizeof(WAIT_LABEL) - 1;

    while (*details != '\0') {
        size_t size = strcspn(details, "\n");

        if (size > label && strncmp(details, WAIT_LABEL, label) == 0) {
            const char *wait = details + label;
            size_t digits = strspn(wait, "0123456789");

            if (digits > 0 && size - label == digits + 3 && memcmp(wait + digits, " ms", 3) == 0) {
                return (struct bytes){(const uint8_t *)wait, digits + 3};
            }
        }
        details += size + (details[size] == '\n');
    }
    return (struct bytes){(const uint8_t *)"", 0};
}

static void wait_hint(const struct userd_error *error, char *out)
{
    struct bytes wait = wait_of(error->details);

    if (wait.size != 0) {
        (void)snprintf(out, USERCTL_HINT_SIZE, "too many calls: try again after %.*s",
                       (int)wait.size, (const char *)wait.data);
    } else if (strstr(error->details, "RATE_LIMIT") != NULL ||
               strcasestr(error->message, "rate limit") != NULL) {
        (void)snprintf(out, USERCTL_HINT_SIZE, "too many calls: try again in a while");
    }
}

static const char *deadline_hint(const struct userctl_arguments *arguments)
{
    return arguments->has_deadline ? "a longer --deadline gives the call more time"
                                   : "--deadline 30s gives the call more time";
}

static const char *answer_hint(const struct userctl_arguments *arguments,
                               const struct userd_error *error)
{
    /* Of a method that may be anybody's, nobody knows what its codes are about. */
    bool is_any = arguments->command == USERCTL_CALL || arguments->command == USERCTL_DESCRIBE;

    switch (error->code) {
    case USERD_UNAUTHENTICATED:
        return token_hint(arguments, error);
    case USERD_PERMISSION_DENIED:
        return is_any ? "" : "the token has no role that may do this";
    case USERD_ABORTED:
        return is_any ? "" : "the user has changed since: get it again, and use its present etag";
    case USERD_UNIMPLEMENTED:
        return is_any ? "the server knows no such method; 'userctl describe' lists its services"
                      : "this server may be another one, or older than this userctl";
    case USERD_UNAVAILABLE:
        return arguments->command == USERCTL_HEALTH
                   ? "the server cannot take it now: try again in a while"
                   : "the server cannot take it now: try again in a while; 'userctl health' asks "
                     "it";
    case USERD_DEADLINE_EXCEEDED:
        return deadline_hint(arguments);
    case USERD_OK:
    case USERD_CANCELLED:
    case USERD_UNKNOWN:
    case USERD_INVALID_ARGUMENT:
    case USERD_NOT_FOUND:
    case USERD_ALREADY_EXISTS:
    case USERD_RESOURCE_EXHAUSTED:
    case USERD_FAILED_PRECONDITION:
    case USERD_OUT_OF_RANGE:
    case USERD_INTERNAL:
    case USERD_DATA_LOSS:
        break;
    }
    return "";
}

/* Somebody listens there, who takes what we say in plain text for nonsense. */
static bool is_speechless(const char *message)
{
    return strstr(message, "does the server want TLS") != NULL ||
           strstr(message, "before it said anything of HTTP/2") != NULL;
}

static const char *cause_hint(const struct userctl_arguments *arguments,
                              const struct userd_error *error)
{
    bool is_asked_end =
        arguments->command == USERCTL_WATCH || (arguments->watch && arguments->deadline_ns != 0);

    switch (error->cause) {
    case USERD_CAUSE_CONNECT:
        return arguments->plaintext && is_speechless(error->message)
                   ? "does the server want TLS on that port? then leave out --plaintext"
                   : connect_hint(arguments, error->message);
    case USERD_CAUSE_TLS:
        return tls_hint(error->message);
    case USERD_CAUSE_LOST:
        return arguments->plaintext
                   ? "does the server want TLS on that port? then leave out --plaintext"
                   : "the server's log tells why it ended the connection";
    case USERD_CAUSE_DEADLINE:
        return is_asked_end ? "" : deadline_hint(arguments);
    case USERD_CAUSE_BREAKER:
        return "calls failed too often, and the next ones are not even tried for a while: see what "
               "is wrong with the server ('userctl health'), then try again";
    case USERD_CAUSE_ANSWER:
    case USERD_CAUSE_REFUSED:
    case USERD_CAUSE_CANCELLED:
    case USERD_CAUSE_MEMORY:
    case USERD_CAUSE_CALLER:
        break;
    }
    return answer_hint(arguments, error);
}

void userctl_failure_hint(const struct userctl_arguments *arguments,
                          const struct userd_error *error, char *out)
{
    const char *hint = cause_hint(arguments, error);

    (void)snprintf(out, USERCTL_HINT_SIZE, "%s", hint);
    if (hint[0] == '\0' && error->code == USERD_RESOURCE_EXHAUSTED) {
        wait_hint(error, out);
    }
}

static void print_details(const char *details)
{
    while (*details != '\0') {
        size_t size = strcspn(details, "\n");

        (void)fputs("    ", stderr);
        common_json_plain(stderr, (struct bytes){(const uint8_t *)details, size});
        (void)fputc('\n', stderr);
        details += size + (details[size] == '\n');
    }
}

/* Of these kinds the library has made lines. */
static bool is_told(struct bytes type)
{
    static const char *const told[] = {"ErrorInfo", "BadRequest", "ResourceInfo",
                                       "PreconditionFailure", "RetryInfo"};

    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
        char name[64];

        (void)snprintf(name, sizeof(name), "type.googleapis.com/google.rpc.%s", told[i]);
        if (bytes_equal(type, bytes_from_text(name))) {
            return true;
        }
    }
    return false;
}

/* Adds a line about a detail of another kind: which one it is. */
static void add_other(struct bytes any, char *out, size_t room)
{
    struct bytes type = {(const uint8_t *)"", 0};
    size_t used = strlen(out);
    struct proto_wire_field part;
    size_t size = 0;
    int more;

    while (proto_wire_read(&any, &part) == 0) {
        if (part.number == 1 && part.type == PROTO_WIRE_BYTES) {
            type = part.bytes;
        } else if (part.number == 2 && part.type == PROTO_WIRE_BYTES) {
            size = part.bytes.size;
        }
    }
    if (is_told(type)) {
        return;
    }
    more = snprintf(out + used, room - used, "%sdetail: %.*s (%zu bytes)", used == 0 ? "" : "\n",
                    (int)(type.size < 256 ? type.size : 256), (const char *)type.data, size);
    if (more < 0 || (size_t)more >= room - used) {
        out[used] = '\0'; /* a piece of a line is none */
    }
}

/* Adds lines about the details that the library has made none of. */
static void add_others(const struct userd_error *error, char *out, size_t room)
{
    struct bytes status = {error->raw_details, error->raw_details_size};
    struct proto_wire_field detail;

    while (status.size > 0 && proto_wire_read(&status, &detail) == 0) {
        if (detail.number == 3 && detail.type == PROTO_WIRE_BYTES) {
            add_other(detail.bytes, out, room);
        }
    }
}

/* Which backend it was says nothing new when there is one, and it is named by the target. */
static void print_backend(const struct userctl_arguments *arguments,
                          const struct userd_error *error)
{
    bool is_plain = strcmp(error->backend, arguments->target) == 0;

    if (error->backend[0] == '\0' || (is_plain && error->attempts < 2)) {
        return;
    }
    (void)fprintf(stderr, "    %sbackend: ", userctl_style(stderr, USERCTL_STYLE_FAINT));
    common_json_plain(stderr, bytes_from_text(error->backend));
    if (error->attempts > 1) {
        (void)fprintf(stderr, ", after %u attempts", error->attempts);
    }
    (void)fprintf(stderr, "%s\n", userctl_style_end(stderr));
}

int userctl_failure(const struct userctl_arguments *arguments, const struct userd_error *error)
{
    char hint[USERCTL_HINT_SIZE];
    char others[1024] = "";

    (void)fprintf(stderr, "%suserctl: %s%s: ", userctl_style(stderr, USERCTL_STYLE_BAD),
                  userd_code_name((int)error->code), userctl_style_end(stderr));
    common_json_plain(stderr, bytes_from_text(error->message));
    (void)fputc('\n', stderr);
    print_details(error->details);
    add_others(error, others, sizeof(others));
    print_details(others);
    print_backend(arguments, error);
    userctl_failure_hint(arguments, error, hint);
    if (hint[0] != '\0') {
        (void)fprintf(stderr, "%shint:%s ", userctl_style(stderr, USERCTL_STYLE_HINT),
                      userctl_style_end(stderr));
        common_json_plain(stderr, bytes_from_text(hint));
        (void)fputc('\n', stderr);
    }
    return (int)error->code;
}

void userctl_failure_keep(struct userctl_kept_failure *kept, const struct userd_error *error)
{
    (void)snprintf(kept->message, sizeof(kept->message), "%s", error->message);
    (void)snprintf(kept->details, sizeof(kept->details), "%s", error->details);
    (void)snprintf(kept->backend, sizeof(kept->backend), "%s", error->backend);
    kept->error = *error;
    kept->error.message = kept->message;
    kept->error.details = kept->details;
    kept->error.backend = kept->backend;
    kept->error.raw_details = NULL;
    kept->error.raw_details_size = 0;
    add_others(error, kept->details, sizeof(kept->details));
}

void userctl_failure_say(const char *format, ...)
{
    va_list values;

    (void)fprintf(stderr, "%suserctl:%s ", userctl_style(stderr, USERCTL_STYLE_BAD),
                  userctl_style_end(stderr));
    va_start(values, format);
    (void)vfprintf(stderr, format, values);
    va_end(values);
    (void)fputc('\n', stderr);
}
