#include "service/admin_sender.h"

#include "core/http_admin.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define UNIX_PREFIX "unix:"

/* Takes the host out of "host", "host:port" or "[v6]:port". False when that is none of them, or the
 * host is too long. */
static bool split_host(const char *text, char *out, size_t room)
{
    bool is_bracketed = text[0] == '[';
    const char *start = is_bracketed ? text + 1 : text;
    size_t size = strcspn(start, is_bracketed ? "]" : ":");
    const char *rest = start + size;

    if (is_bracketed) {
        if (*rest != ']') {
            return false;
        }
        rest++;
    }
    if ((*rest != '\0' && *rest != ':') || size >= room) {
        return false;
    }
    memcpy(out, start, size);
    out[size] = '\0';
    return true;
}

static bool is_address(const char *host)
{
    struct in6_addr address;

    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

/* Could a page that is not ours have made a browser send this name? */
static bool host_is_foreign(const struct admin_sender *sender, const char *value)
{
    char host[NI_MAXHOST];

    if (value == NULL || sender->is_unix) {
        return false; /* no browser leaves it out, or connects to a path */
    }
    if (!split_host(value, host, sizeof(host))) {
        return true;
    }
    return !is_address(host) && strcasecmp(host, "localhost") != 0 &&
           (sender->host[0] == '\0' || strcasecmp(host, sender->host) != 0);
}

/* Does a browser say that a page of another site sends this? */
static bool is_cross_site(const struct http_admin_request *request)
{
    static const char scheme[] = "http://";
    const char *site = http_admin_header(request, "Sec-Fetch-Site");
    const char *origin = http_admin_header(request, "Origin");
    const char *host = http_admin_header(request, "Host");

    if (site != NULL && strcasecmp(site, "none") != 0 && strcasecmp(site, "same-origin") != 0) {
        return true;
    }
    return origin != NULL &&
           (host == NULL || strncasecmp(origin, scheme, sizeof(scheme) - 1) != 0 ||
            strcasecmp(origin + sizeof(scheme) - 1, host) != 0);
}

void admin_sender_init(struct admin_sender *sender, const char *listen, const char *bound)
{
    char host[NI_MAXHOST];

    *sender = (struct admin_sender){
        .is_unix = strncmp(listen, UNIX_PREFIX, sizeof(UNIX_PREFIX) - 1) == 0,
    };
    if (sender->is_unix) {
        return;
    }
    if (!split_host(listen, sender->host, sizeof(sender->host))) {
        sender->host[0] = '\0';
    }
    sender->is_loopback = split_host(bound, host, sizeof(host)) &&
                          (strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0);
}

const char *admin_sender_objection(const struct admin_sender *sender,
                                   const struct http_admin_request *request, bool is_private)
{
    bool is_read = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;

    if ((sender->is_loopback || is_private || !is_read) &&
        host_is_foreign(sender, http_admin_header(request, "Host"))) {
        return "the field Host must be an address, localhost or the host of admin.listen";
    }
    return !is_read && is_cross_site(request) ? "this comes from a page of another site" : NULL;
}
