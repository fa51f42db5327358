#include "userbench_address.h"

#include "userbench_problem.h"

#include <netdb.h>
#include <stdbool.h>
#include <string.h>

static bool split(struct userbench_address *address, const char *target)
{
    size_t size = strlen(target); /* of the host */
    const char *host = target;
    const char *port;

    while (size > 0 && target[size - 1] != ':') {
        size--;
    }
    port = target + size;
    size -= size > 0; /* the colon */
    if (size > 2 && host[0] == '[' && host[size - 1] == ']') {
        host++;
        size -= 2;
    }
    if (size == 0 || size >= sizeof(address->host) || port[0] == '\0' ||
        strlen(port) >= sizeof(address->port)) {
        return false;
    }
    memcpy(address->host, host, size);
    address->host[size] = '\0';
    memcpy(address->port, port, strlen(port) + 1);
    return true;
}

void userbench_address_read(struct userbench_address *address, const char *target)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int error;

    if (!split(address, target)) {
        userbench_problem("--target \"%s\": write it as HOST:PORT, such as localhost:50051",
                          target);
    }
    error = getaddrinfo(address->host, address->port, &hints, &found);
    if (error != 0) {
        userbench_problem("--target %s: %s", target, gai_strerror(error));
    }
    memcpy(&address->socket, found->ai_addr, found->ai_addrlen);
    address->size = found->ai_addrlen;
    freeaddrinfo(found);
}
