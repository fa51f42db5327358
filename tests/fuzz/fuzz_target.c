/*
 * Any text as target: a mistake is told in a problem that is safe to show and changes nothing; what
 * was accepted is made of hosts and ports that are safe in :authority, and each endpoint, written
 * again, is the same.
 */
#include "client/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static struct target target;
static struct target again;

static void check_problem(const char *problem)
{
    must(memchr(problem, '\0', TARGET_PROBLEM_SIZE) != NULL && problem[0] != '\0');
    for (; *problem != '\0'; problem++) {
        must((unsigned char)*problem >= ' ' && *problem != 0x7f);
    }
    must(again.count == 77);
}

static void check_endpoint(const struct target_endpoint *endpoint)
{
    char text[TARGET_AUTHORITY_SIZE];
    char problem[TARGET_PROBLEM_SIZE];
    char *end;
    long port = strtol(endpoint->port, &end, 10);

    must(*end == '\0' && port >= 1 && port <= 65535);
    must(endpoint->host[0] != '\0' && memchr(endpoint->host, '\0', sizeof(endpoint->host)) != NULL);
    must(strpbrk(endpoint->host, " \t\r\n\"/@[],?#\\") == NULL);
    (void)snprintf(text, sizeof(text), strchr(endpoint->host, ':') == NULL ? "%s:%s" : "[%s]:%s",
                   endpoint->host, endpoint->port);
    must(target_parse(text, problem, &again) == 0);
    must(again.count == 1 && !again.is_dns);
    must(strcmp(again.endpoints[0].host, endpoint->host) == 0);
    must(strcmp(again.endpoints[0].port, endpoint->port) == 0);
    must(again.endpoints[0].is_numeric == endpoint->is_numeric);
    target_format_endpoint(endpoint, text, sizeof(text));
    must(text[strlen(text) - 1] == endpoint->port[strlen(endpoint->port) - 1]);
}

/* Addresses alone can be resolved without asking anybody; a zone may not be there. */
static void check_resolving(void)
{
    static struct target_address addresses[TARGET_ADDRESSES_MAX];
    char problem[TARGET_PROBLEM_SIZE];
    char text[TARGET_AUTHORITY_SIZE];
    unsigned count = 0;
    int result = target_resolve(&target, addresses, &count, problem);

    must(result == (count > 0 ? 0 : TARGET_E_UNRESOLVED) && count <= target.count);
    for (unsigned i = 0; i < count; i++) {
        must(addresses[i].endpoint < target.count);
        target_format_address(&addresses[i], text, sizeof(text));
        must(strchr(text, ':') != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char problem[TARGET_PROBLEM_SIZE];
    char *text = malloc(size + 1);

    must(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    memset(problem, 'x', sizeof(problem));
    again.count = 77;
    if (target_parse(text, problem, &again) != 0) {
        check_problem(problem);
    } else {
        target = again;
        must(target.count >= 1 && target.count <= TARGET_ENDPOINTS_MAX);
        must(!target.is_dns || target.count == 1);
        for (unsigned i = 0; i < target.count; i++) {
            check_endpoint(&target.endpoints[i]);
        }
        if (target_is_numeric(&target)) {
            check_resolving();
        }
    }
    free(text);
    return 0;
}
