#include "client/target.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_port(const char *text)
{
    size_t size = strlen(text);
    long number = strtol(text, NULL, 10);

    return size >= 1 && size < TARGET_PORT_SIZE && strspn(text, "0123456789") == size &&
           number >= 1 && number <= 65535;
}

/* Finds the host in the text, and the colon before the port; NULL when there is none. */
static const char *find_colon(const char *text, const char **ret_host, size_t *ret_size)
{
    const char *colon;

    if (text[0] == '[') {
        const char *bracket = strchr(text, ']');

        if (bracket == NULL || bracket[1] != ':') {
            return NULL;
        }
        *ret_host = text + 1;
        *ret_size = (size_t)(bracket - text) - 1;
        return bracket + 1;
    }
    colon = strchr(text, ':');
    /* A second colon is an IPv6 address without its brackets: where would the port begin? */
    if (colon == NULL || strchr(colon + 1, ':') != NULL) {
        return NULL;
    }
    *ret_host = text;
    *ret_size = (size_t)(colon - text);
    return colon;
}

int target_parse(const char *text, char *problem, struct target *ret_target)
{
    const char *host;
    const char *colon;
    size_t size;

    colon = find_colon(text, &host, &size);
    if (colon == NULL || size == 0 || size >= TARGET_HOST_SIZE || !is_port(colon + 1)) {
        (void)snprintf(problem, TARGET_PROBLEM_SIZE,
                       "'%.300s' is not HOST:PORT (an IPv6 address stands in brackets)", text);
        return TARGET_E_MALFORMED;
    }
    *ret_target = (struct target){0};
    memcpy(ret_target->host, host, size);
    memcpy(ret_target->port, colon + 1, strlen(colon + 1));
    return 0;
}

int target_resolve(struct target *target, char *problem)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int error;

    target->count = 0;
    error = getaddrinfo(target->host, target->port, &hints, &found);
    if (error != 0) {
        (void)snprintf(problem, TARGET_PROBLEM_SIZE, "cannot resolve '%s': %s", target->host,
                       gai_strerror(error));
        return TARGET_E_UNRESOLVED;
    }
    for (const struct addrinfo *one = found; one != NULL; one = one->ai_next) {
        if (target->count == TARGET_ADDRESSES_MAX) {
            break;
        }
        memcpy(&target->addresses[target->count], one->ai_addr, one->ai_addrlen);
        target->sizes[target->count] = one->ai_addrlen;
        target->count++;
    }
    freeaddrinfo(found);
    return 0;
}

void target_format_address(const struct target *target, unsigned index, char *out, size_t room)
{
    char host[NI_MAXHOST];

    if (getnameinfo((const struct sockaddr *)&target->addresses[index], target->sizes[index], host,
                    sizeof(host), NULL, 0, NI_NUMERICHOST) != 0) {
        (void)snprintf(out, room, "%s:%s", target->host, target->port);
        return;
    }
    (void)snprintf(out, room, strchr(host, ':') == NULL ? "%s:%s" : "[%s]:%s", host, target->port);
}
