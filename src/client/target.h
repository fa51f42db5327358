/*
 * Where a service is: the text of a target, taken apart. Pure; resolver.h finds the addresses.
 *
 *     host:port            one name or address; a name is asked for again like dns:///
 *     a:1,b:2,[::1]:3      several, each as above
 *     dns:///name:port     a name that stands for all of its addresses
 *     ipv4:1.2.3.4:5,...   addresses (gRPC's spelling); ipv6:[::1]:5,... likewise
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef CLIENT_TARGET_H
#define CLIENT_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define TARGET_HOST_SIZE      256
#define TARGET_PORT_SIZE      6
#define TARGET_ENDPOINTS_MAX  32  /* in one target */
#define TARGET_ADDRESSES_MAX  128 /* that all of them stand for */
#define TARGET_PROBLEM_SIZE   512
#define TARGET_AUTHORITY_SIZE (TARGET_HOST_SIZE + TARGET_PORT_SIZE + 3)

#define TARGET_E_MALFORMED  1 /* none of the forms above */
#define TARGET_E_UNRESOLVED 2 /* the resolver does not know the host */

struct target_endpoint {
    char host[TARGET_HOST_SIZE]; /* a name, or an address without brackets */
    char port[TARGET_PORT_SIZE];
    bool is_numeric; /* an address: nobody has to be asked */
    bool is_whole;   /* a name with a final dot, which `host` has not: it is asked for with it, so
                        no search list is tried; :authority, SNI and certificates have none */
};

/* Some 8 KiB: nothing for the stack. */
struct target {
    struct target_endpoint endpoints[TARGET_ENDPOINTS_MAX];
    unsigned count;
    bool is_dns; /* written as dns:///: its one name stands for all of its addresses */
};

/* One address of a backend, and the name it goes by. */
struct target_address {
    struct sockaddr_storage address;
    socklen_t size;
    uint8_t endpoint; /* whose: its host is the server's name for TLS and :authority */
};

/* Takes a text apart. Returns 0, or TARGET_E_MALFORMED with `problem` (TARGET_PROBLEM_SIZE bytes)
 * filled in and *ret_target untouched. Endpoints that are named twice stay twice. */
int target_parse(const char *text, char *problem, struct target *ret_target);

/* Every endpoint is an address: there is nothing to resolve. */
bool target_is_numeric(const struct target *target);

/* Asks the system's resolver for each endpoint, in order; doubles are left out. BLOCKS: for a
 * pool's thread. Endpoints that nobody knows are skipped when another is known. Returns 0 and the
 * number in *ret_count (at most TARGET_ADDRESSES_MAX, 1 at least), or TARGET_E_UNRESOLVED with
 * `problem`. */
int target_resolve(const struct target *target, struct target_address *ret_addresses,
                   unsigned *ret_count, char *problem);

/* "name:50051" or "[::1]:50051": the :authority of an endpoint, without the zone of an address. */
void target_format_endpoint(const struct target_endpoint *endpoint, char *out, size_t room);

/* "127.0.0.1:50051" or "[::1]:50051" for people. */
void target_format_address(const struct target_address *address, char *out, size_t room);

/* The same place to connect to, whichever endpoint it was found for. */
bool target_address_equal(const struct target_address *a, const struct target_address *b);

#endif
