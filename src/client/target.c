#include "client/target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/*
 * Strict on purpose: what is taken for a name goes into :authority and the check of the server's
 * certificate, and a mistyped address that is asked for as a name fails late and says little.
 */

#define LABEL_SIZE_MAX 63
#define NAME_SIZE_MAX  253
#define SHOWN          80 /* bytes of a host in a problem, so that the remedy still fits */
#define DIGITS         "0123456789"
#define LETTERS        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* Which hosts a target's form allows. */
enum form {
    FORM_LIST, /* names and addresses */
    FORM_DNS,  /* one name (or address) */
    FORM_IPV4,
    FORM_IPV6,
};

/* Reading one target. */
struct reading {
    const char *text; /* all of it */
    char *problem;
    enum form form;
};

static const char usage[] = "write HOST:PORT, several as A:1,B:2, or dns:///NAME:PORT";

/* Says what is wrong with the text, after quoting it. Control characters do not reach a terminal.
 */
__attribute__((format(printf, 2, 3))) static int refuse(const struct reading *reading,
                                                        const char *format, ...)
{
    char why[TARGET_PROBLEM_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
    (void)snprintf(reading->problem, TARGET_PROBLEM_SIZE, "target '%.150s%s': %.300s",
                   reading->text, strlen(reading->text) > 150 ? "..." : "", why);
    for (char *c = reading->problem; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            *c = '?';
        }
    }
    return TARGET_E_MALFORMED;
}

/* ------------------------------------------------------------------------------------- one host */

static bool is_ipv4(const char *host)
{
    struct in_addr address;

    return inet_pton(AF_INET, host, &address) == 1;
}

/* Also with a zone behind: fe80::1%eth0. */
static bool is_ipv6(const char *host)
{
    struct in6_addr address;
    char plain[INET6_ADDRSTRLEN];
    size_t size = strcspn(host, "%");
    const char *zone = host + size;

    if (size >= sizeof(plain)) {
        return false;
    }
    memcpy(plain, host, size);
    plain[size] = '\0';
    if (zone[0] == '%' &&
        (zone[1] == '\0' || strspn(zone + 1, DIGITS LETTERS "._-") != strlen(zone + 1))) {
        return false;
    }
    return inet_pton(AF_INET6, plain, &address) == 1;
}

/* No top-level name is a number: such a host was meant as an address, and getaddrinfo() would make
 * some other one of it. */
static bool ends_in_a_number(const char *host)
{
    size_t size = strlen(host);
    size_t start;

    if (size > 0 && host[size - 1] == '.') {
        size--;
    }
    for (start = size; start > 0 && host[start - 1] != '.'; start--) {
    }
    return start < size && strspn(host + start, DIGITS) >= size - start;
}

static int check_name(const struct reading *reading, const char *host)
{
    size_t size = strlen(host);
    size_t plain = strspn(host, DIGITS LETTERS "-_.");

    if (plain < size && (unsigned char)host[plain] >= 0x80) {
        return refuse(reading, "host '%.*s' is not ASCII: write its xn--... form", SHOWN, host);
    }
    if (plain < size) {
        return refuse(reading, "host '%.*s' must not contain '%c': %s", SHOWN, host, host[plain],
                      usage);
    }
    if (size > NAME_SIZE_MAX + (host[size - 1] == '.' ? 1 : 0)) {
        return refuse(reading, "host '%.*s...' is longer than %d characters", SHOWN, host,
                      NAME_SIZE_MAX);
    }
    for (const char *label = host; *label != '\0';) {
        size_t label_size = strcspn(label, ".");

        if (label_size == 0 || label_size > LABEL_SIZE_MAX) {
            return refuse(reading, "host '%.*s' has %s", SHOWN, host,
                          label_size == 0 ? "an empty part between its dots"
                                          : "a part of more than 63 characters");
        }
        label += label_size + (label[label_size] == '.' ? 1 : 0);
    }
    return 0;
}

static void take_final_dot(struct target_endpoint *endpoint)
{
    size_t size = strlen(endpoint->host);

    endpoint->is_whole = size > 0 && endpoint->host[size - 1] == '.';
    if (endpoint->is_whole) {
        endpoint->host[size - 1] = '\0';
    }
}

static int check_host(const struct reading *reading, bool in_brackets,
                      struct target_endpoint *endpoint)
{
    const char *host = endpoint->host;
    int result;

    if (in_brackets) {
        if (!is_ipv6(host)) {
            return refuse(reading, "'%.*s' in brackets is no IPv6 address", SHOWN, host);
        }
        if (reading->form == FORM_IPV4) {
            return refuse(reading, "'[%.*s]' is no IPv4 address: ipv4: takes those alone", SHOWN,
                          host);
        }
        endpoint->is_numeric = true;
        return 0;
    }
    if (reading->form == FORM_IPV6) {
        return refuse(reading, "'%.*s' is no IPv6 address in brackets: write ipv6:[::1]:PORT",
                      SHOWN, host);
    }
    endpoint->is_numeric = is_ipv4(host);
    if (endpoint->is_numeric) {
        return 0;
    }
    if (reading->form == FORM_IPV4 || ends_in_a_number(host)) {
        return refuse(reading,
                      "'%.*s' is no IPv4 address (four numbers from 0 to 255 with dots between)",
                      SHOWN, host);
    }
    result = check_name(reading, host);
    take_final_dot(endpoint);
    return result;
}

/* --------------------------------------------------------------------------------- one endpoint */

static int read_port(const struct reading *reading, const char *text, size_t size,
                     struct target_endpoint *endpoint)
{
    unsigned long port = 0;
    size_t digits = strspn(text, DIGITS);

    if (size == 0) {
        return refuse(reading, "the port is missing behind '%.*s:': %s", SHOWN, endpoint->host,
                      usage);
    }
    for (size_t i = 0; i < size && i < TARGET_PORT_SIZE; i++) {
        port = port * 10 + (unsigned long)(text[i] - '0');
    }
    if (digits < size || size >= TARGET_PORT_SIZE || port == 0 || port > UINT16_MAX) {
        return refuse(reading, "port '%.*s' is no number from 1 to 65535",
                      (int)(size < SHOWN ? size : SHOWN), text);
    }
    (void)snprintf(endpoint->port, sizeof(endpoint->port), "%hu", (unsigned short)port);
    return 0;
}

static int copy_host(const struct reading *reading, const char *text, size_t size,
                     struct target_endpoint *endpoint)
{
    if (size == 0) {
        return refuse(reading, "the host is missing: %s", usage);
    }
    if (size >= TARGET_HOST_SIZE) {
        return refuse(reading, "host '%.*s...' is longer than %d characters", SHOWN, text,
                      NAME_SIZE_MAX);
    }
    memcpy(endpoint->host, text, size);
    endpoint->host[size] = '\0';
    return 0;
}

static int read_bracketed(const struct reading *reading, const char *text, size_t size,
                          struct target_endpoint *endpoint)
{
    const char *bracket = memchr(text, ']', size);
    size_t host_size;
    int result;

    if (bracket == NULL) {
        return refuse(reading, "a bracket is open: write [::1]:PORT");
    }
    host_size = (size_t)(bracket - text) - 1;
    result = copy_host(reading, text + 1, host_size, endpoint);
    if (result != 0) {
        return result;
    }
    if (size < host_size + 3 || bracket[1] != ':') {
        return refuse(reading, "the port is missing: write [%.*s]:PORT", SHOWN, endpoint->host);
    }
    result = check_host(reading, true, endpoint);
    return result != 0 ? result : read_port(reading, bracket + 2, size - host_size - 3, endpoint);
}

/* `text` is one entry of the list, `size` bytes. */
static int read_endpoint(const struct reading *reading, const char *text, size_t size,
                         struct target_endpoint *endpoint)
{
    const char *colon = memchr(text, ':', size);
    size_t host_size = colon == NULL ? size : (size_t)(colon - text);
    int result;

    memset(endpoint, 0, sizeof(*endpoint));
    if (size == 0) {
        return refuse(reading, "an entry is empty: %s", usage);
    }
    if (strcspn(text, " \t\r\n") < size) {
        return refuse(reading, "it has a blank: %s", usage);
    }
    if (text[0] == '[') {
        return read_bracketed(reading, text, size, endpoint);
    }
    /* Of an IPv6 address without its brackets: where would the port begin? */
    if (colon != NULL && memchr(colon + 1, ':', size - host_size - 1) != NULL) {
        return refuse(reading,
                      "'%.*s' has more than one colon: an IPv6 address stands in brackets, "
                      "[::1]:PORT, and a list has commas",
                      (int)(size < SHOWN ? size : SHOWN), text);
    }
    result = copy_host(reading, text, host_size, endpoint);
    if (result == 0 && colon == NULL) {
        result = refuse(reading, "the port is missing: write %.*s:PORT", SHOWN, endpoint->host);
    }
    if (result == 0) {
        result = check_host(reading, false, endpoint);
    }
    return result != 0 ? result : read_port(reading, colon + 1, size - host_size - 1, endpoint);
}

/* ----------------------------------------------------------------------------------- the target */

/* Schemes that other gRPC clients know, or that people write; each is told what to do instead. */
static int refuse_scheme(const struct reading *reading, const char *scheme, size_t size)
{
    return refuse(reading,
                  "scheme '%.*s:' is not supported: write HOST:PORT, dns:///NAME:PORT, "
                  "ipv4:ADDRESS:PORT or ipv6:[ADDRESS]:PORT",
                  (int)(size < SHOWN ? size : SHOWN), scheme);
}

static bool is_foreign_scheme(const char *scheme, size_t size)
{
    static const char *const names[] = {"unix", "unix-abstract", "vsock", "xds",  "passthrough",
                                        "http", "https",         "grpc",  "grpcs"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == size && memcmp(names[i], scheme, size) == 0) {
            return true;
        }
    }
    return false;
}

/* What stands behind "dns:". */
static int read_dns(struct reading *reading, const char *rest, const char **ret_rest)
{
    if (strncmp(rest, "///", 3) == 0) {
        reading->form = FORM_DNS;
        *ret_rest = rest + 3;
        return 0;
    }
    if (strncmp(rest, "//", 2) == 0) {
        return refuse(reading, "a DNS server of its own (dns://SERVER/NAME) is not supported: "
                               "write dns:///NAME:PORT, with three slashes");
    }
    if (rest[0] == '/' || (strchr(rest, ':') != NULL && strchr(rest, ',') == NULL)) {
        return refuse(reading, "write dns:///NAME:PORT, with three slashes");
    }
    return 0; /* a host of this name */
}

/* Takes the scheme off. A word before a colon may be a host too, as in "xds:50051". */
static int read_scheme(struct reading *reading, const char **ret_rest)
{
    const char *text = reading->text;
    size_t size = strspn(text, DIGITS LETTERS "+-.");
    const char *rest = text + size + 1;

    *ret_rest = text;
    reading->form = FORM_LIST;
    if (size == 0 || text[size] != ':') {
        return 0;
    }
    if (size == 3 && memcmp(text, "dns", 3) == 0) {
        return read_dns(reading, rest, ret_rest);
    }
    if (size == 4 && (memcmp(text, "ipv4", 4) == 0 || memcmp(text, "ipv6", 4) == 0) &&
        strspn(rest, DIGITS) != strlen(rest)) {
        reading->form = text[3] == '4' ? FORM_IPV4 : FORM_IPV6;
        *ret_rest = rest;
        return 0;
    }
    if (rest[0] == '/' ||
        (is_foreign_scheme(text, size) && strspn(rest, DIGITS) != strcspn(rest, ","))) {
        return refuse_scheme(reading, text, size);
    }
    return 0;
}

/* Into `endpoints`, or into nothing when that is NULL. */
static int read_list(const struct reading *reading, const char *list,
                     struct target_endpoint *endpoints, unsigned *ret_count)
{
    struct target_endpoint one;
    unsigned count = 0;

    for (const char *entry = list;;) {
        size_t size = strcspn(entry, ",");
        int result;

        if (count == TARGET_ENDPOINTS_MAX) {
            return refuse(reading, "it has more than %d entries", TARGET_ENDPOINTS_MAX);
        }
        if (count == 1 && reading->form == FORM_DNS) {
            return refuse(reading, "dns:/// takes one name: list several as A:1,B:2");
        }
        result = read_endpoint(reading, entry, size, endpoints == NULL ? &one : &endpoints[count]);
        if (result != 0) {
            return result;
        }
        count++;
        if (entry[size] == '\0') {
            *ret_count = count;
            return 0;
        }
        entry += size + 1;
    }
}

int target_parse(const char *text, char *problem, struct target *ret_target)
{
    struct reading reading = {.text = text};
    const char *list;
    unsigned count;
    int result;

    reading.problem = problem;
    if (text[0] == '\0') {
        return refuse(&reading, "it is empty: %s", usage);
    }
    result = read_scheme(&reading, &list);
    if (result == 0) {
        /* Once for the problems alone: a refused text changes nothing. */
        result = read_list(&reading, list, NULL, &count);
    }
    if (result != 0) {
        return result;
    }
    memset(ret_target, 0, sizeof(*ret_target));
    ret_target->is_dns = reading.form == FORM_DNS;
    return read_list(&reading, list, ret_target->endpoints, &ret_target->count);
}

bool target_is_numeric(const struct target *target)
{
    for (unsigned i = 0; i < target->count; i++) {
        if (!target->endpoints[i].is_numeric) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------------------------ resolving */

static bool is_known(const struct target_address *addresses, unsigned count,
                     const struct target_address *address)
{
    for (unsigned i = 0; i < count; i++) {
        if (target_address_equal(&addresses[i], address)) {
            return true;
        }
    }
    return false;
}

static void take_addresses(const struct addrinfo *found, unsigned endpoint,
                           struct target_address *addresses, unsigned *count)
{
    for (; found != NULL && *count < TARGET_ADDRESSES_MAX; found = found->ai_next) {
        struct target_address *address = &addresses[*count];

        if (found->ai_family != AF_INET && found->ai_family != AF_INET6) {
            continue;
        }
        memset(address, 0, sizeof(*address));
        memcpy(&address->address, found->ai_addr, found->ai_addrlen);
        address->size = found->ai_addrlen;
        address->endpoint = (uint8_t)endpoint;
        if (!is_known(addresses, *count, address)) {
            (*count)++;
        }
    }
}

static void tell_unresolved(const struct target_endpoint *endpoint, int error, int system_error,
                            char *problem)
{
    const char *cause = error == EAI_SYSTEM ? strerror(system_error) : gai_strerror(error);

    (void)snprintf(problem, TARGET_PROBLEM_SIZE, "cannot resolve '%s': %s%s", endpoint->host, cause,
                   error == EAI_AGAIN ? " (is the DNS server reachable?)"
                                      : " (is the name right, and known here?)");
}

/* Both of its families are on this machine, whatever its other interfaces have. */
static bool is_loopback_name(const char *name)
{
    static const char loopback[] = "localhost";
    size_t size = strlen(name);
    size_t start = size - (sizeof(loopback) - 1);

    return size >= sizeof(loopback) - 1 && strcasecmp(name + start, loopback) == 0 &&
           (start == 0 || name[start - 1] == '.');
}

static bool is_unknown(int error)
{
    return error == EAI_NONAME || error == EAI_NODATA || error == EAI_ADDRFAMILY;
}

/* Addresses of a family that this machine has no address of cannot be reached, and are not asked
 * for: each would cost a backend that always fails. But a name may stand for its own loopback
 * address, which does not count as one it has: then everything is asked for. */
static int ask(const struct target_endpoint *endpoint, struct addrinfo **ret_found)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    char name[TARGET_HOST_SIZE + 1];
    int error;

    (void)snprintf(name, sizeof(name), "%s%s", endpoint->host, endpoint->is_whole ? "." : "");
    if (endpoint->is_numeric) {
        hints.ai_flags |= AI_NUMERICHOST;
    } else if (!is_loopback_name(endpoint->host)) {
        hints.ai_flags |= AI_ADDRCONFIG;
    }
    error = getaddrinfo(name, endpoint->port, &hints, ret_found);
    if (is_unknown(error) && (hints.ai_flags & AI_ADDRCONFIG) != 0) {
        hints.ai_flags &= ~AI_ADDRCONFIG;
        error = getaddrinfo(name, endpoint->port, &hints, ret_found);
    }
    return error;
}

int target_resolve(const struct target *target, struct target_address *ret_addresses,
                   unsigned *ret_count, char *problem)
{
    bool has_problem = false;

    *ret_count = 0;
    for (unsigned i = 0; i < target->count; i++) {
        const struct target_endpoint *endpoint = &target->endpoints[i];
        struct addrinfo *found = NULL;
        int error = ask(endpoint, &found);

        if (error == 0) {
            take_addresses(found, i, ret_addresses, ret_count);
            freeaddrinfo(found);
        } else if (!has_problem) {
            tell_unresolved(endpoint, error, errno, problem);
            has_problem = true;
        }
    }
    if (*ret_count > 0) {
        return 0;
    }
    if (!has_problem) {
        (void)snprintf(problem, TARGET_PROBLEM_SIZE,
                       "cannot resolve '%s': the answer has no IPv4 or IPv6 address",
                       target->count == 0 ? "" : target->endpoints[0].host);
    }
    return TARGET_E_UNRESOLVED;
}

/* ---------------------------------------------------------------------------------- as a text */

void target_format_endpoint(const struct target_endpoint *endpoint, char *out, size_t room)
{
    int size = (int)strcspn(endpoint->host, "%");

    (void)snprintf(out, room, strchr(endpoint->host, ':') == NULL ? "%.*s:%s" : "[%.*s]:%s", size,
                   endpoint->host, endpoint->port);
}

void target_format_address(const struct target_address *address, char *out, size_t room)
{
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];

    if (getnameinfo((const struct sockaddr *)&address->address, address->size, host, sizeof(host),
                    port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        (void)snprintf(out, room, "(unknown address)");
        return;
    }
    (void)snprintf(out, room, strchr(host, ':') == NULL ? "%s:%s" : "[%s]:%s", host, port);
}

bool target_address_equal(const struct target_address *a, const struct target_address *b)
{
    if (a->address.ss_family != b->address.ss_family) {
        return false;
    }
    if (a->address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *left = (const struct sockaddr_in6 *)&a->address;
        const struct sockaddr_in6 *right = (const struct sockaddr_in6 *)&b->address;

        return left->sin6_port == right->sin6_port && left->sin6_scope_id == right->sin6_scope_id &&
               memcmp(&left->sin6_addr, &right->sin6_addr, sizeof(left->sin6_addr)) == 0;
    }
    if (a->address.ss_family == AF_INET) {
        const struct sockaddr_in *left = (const struct sockaddr_in *)&a->address;
        const struct sockaddr_in *right = (const struct sockaddr_in *)&b->address;

        return left->sin_port == right->sin_port && left->sin_addr.s_addr == right->sin_addr.s_addr;
    }
    return a->size == b->size && memcmp(&a->address, &b->address, a->size) == 0;
}
