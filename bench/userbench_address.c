#include "userbench_address.h"

#include "userbench_problem.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>

static void split(struct userbench_address *address, const char *target)
{
    const char *colon = strrchr(target, ':');
    const char *host = target;
    size_t size = colon == NULL ? 0 : (size_t)(colon - target);

    if (size > 2 && host[0] == '[' && host[size - 1] == ']') {
        host++;
        size -= 2;
    }
    if (colon == NULL || size == 0 || size >= sizeof(address->host) || colon[1] == '\0' ||
        strlen(colon + 1) >= sizeof(address->port)) {
        userbench_problem("--target \"%s\": write it as HOST:PORT, such as localhost:50051",
                          target);
    }
    memcpy(address->host, host, size);
    address->host[size] = '\0';
    memcpy(address->port, colon + 1, strlen(colon + 1) + 1);
}

void userbench_address_read(struct userbench_address *address, const char *target)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int error;

    if (target == NULL) {
        userbench_problem("--target is missing: HOST:PORT of the server to measure");
    }
    split(address, target);
    error = getaddrinfo(address->host, address->port, &hints, &found);
    if (error != 0) {
        userbench_problem("--target %s: %s", target, gai_strerror(error));
    }
    memcpy(&address->socket, found->ai_addr, found->ai_addrlen);
    address->size = found->ai_addrlen;
    freeaddrinfo(found);
}
