#include "http2/grpc_admission.h"

#include "core/random.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

/*
 * Limits that only count in all let one peer use them up, and keep everybody else out at no cost.
 * So each has its counterpart by address, which is looked at first:
 *
 *   - Connections: in all, and per address.
 *   - Handshakes in progress: in all, and per address. When they are used up in all, whoever has
 *     most of them makes room: the oldest handshake of the address with most of them is dropped,
 *     unless the newcomer's address has as many itself. Honest handshakes take milliseconds, so the
 *     oldest ones are those of peers that are silent on purpose.
 *   - Handshakes begun per second: in all, and half of that per address. Addresses that have gone
 *     are not remembered; these are counted in a few shares, which of them by a secret hash.
 *
 * Connections without TLS have no handshake. Unix sockets have no address and no limit of their
 * own.
 */

#define KEY_DATA_SIZE 8

/* One that has connections. */
struct grpc_address {
    uint8_t key[KEY_DATA_SIZE + 1]; /* of an IPv4 address the first four, then its length */
    uint32_t guest_count;
    uint32_t handshake_count;
};

static struct bytes address_key(const void *value)
{
    const struct grpc_address *address = value;

    return (struct bytes){address->key, sizeof(address->key)};
}

/* Fills the key. False for peers without an address. */
static bool read_address(const struct sockaddr_storage *peer, uint8_t key[KEY_DATA_SIZE + 1])
{
    static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    memset(key, 0, KEY_DATA_SIZE + 1);
    if (peer->ss_family == AF_INET) {
        memcpy(&in, peer, sizeof(in));
        memcpy(key, &in.sin_addr, 4);
        key[KEY_DATA_SIZE] = 4;
        return true;
    }
    if (peer->ss_family != AF_INET6) {
        return false;
    }
    memcpy(&in6, peer, sizeof(in6));
    if (memcmp(&in6.sin6_addr, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        memcpy(key, in6.sin6_addr.s6_addr + sizeof(mapped_prefix), 4);
        key[KEY_DATA_SIZE] = 4;
    } else {
        memcpy(key, &in6.sin6_addr, KEY_DATA_SIZE);
        key[KEY_DATA_SIZE] = 16;
    }
    return true;
}

static void fill_buckets(struct grpc_admission *admission, uint64_t now_ns)
{
    uint32_t rate = admission->limits.handshake_rate;
    uint32_t share = rate / 2 + rate % 2;
    size_t i;

    h2_bucket_init(&admission->rate, rate, rate, now_ns);
    for (i = 0; i < GRPC_ADMISSION_SHARES; i++) {
        h2_bucket_init(&admission->shares[i], share, share, now_ns);
    }
}

void grpc_admission_init(struct grpc_admission *admission,
                         const struct grpc_admission_limits *limits, uint64_t now_ns)
{
    struct hash_seed seed;

    *admission = (struct grpc_admission){.limits = *limits};
    random_fill(random_system(), &seed, sizeof(seed));
    map_init(&admission->addresses, address_key, seed);
    list_init(&admission->handshakes);
    fill_buckets(admission, now_ns);
}

void grpc_admission_deinit(struct grpc_admission *admission)
{
    assert(admission->guest_count == 0);
    assert(admission->handshake_count == 0);
    assert(list_is_empty(&admission->handshakes));
    assert(admission->addresses.count == 0);
    map_deinit(&admission->addresses);
}

void grpc_admission_set_limits(struct grpc_admission *admission,
                               const struct grpc_admission_limits *limits, uint64_t now_ns)
{
    bool has_new_rate = admission->limits.handshake_rate != limits->handshake_rate;

    admission->limits = *limits;
    if (has_new_rate) {
        fill_buckets(admission, now_ns);
    }
}

static bool is_reached(uint32_t count, uint32_t limit)
{
    return limit != 0 && count >= limit;
}

/* Takes the place of one handshake begun. */
static bool take_rate(struct grpc_admission *admission, struct bytes key, uint64_t now_ns)
{
    size_t share = map_hash(&admission->addresses, key) % GRPC_ADMISSION_SHARES;

    return (key.size == 0 || h2_bucket_take(&admission->shares[share], now_ns)) &&
           h2_bucket_take(&admission->rate, now_ns);
}

/* The oldest handshake of the address that has most of them, if it has more than `own_count`. */
static struct grpc_guest *find_victim(struct grpc_admission *admission, uint32_t own_count)
{
    struct grpc_guest *victim = NULL;
    struct list *link;

    for (link = admission->handshakes.next; link != &admission->handshakes; link = link->next) {
        struct grpc_guest *guest = CONTAINER_OF(link, struct grpc_guest, link);

        if (guest->address != NULL && guest->address->handshake_count > own_count) {
            own_count = guest->address->handshake_count;
            victim = guest;
        }
    }
    return victim;
}

/* Judges a peer with a handshake. Returns the limit it meets, or LIMITS_HIT_COUNT. */
static enum limits_hit_reason judge_handshake(struct grpc_admission *admission, struct bytes key,
                                              const struct grpc_address *address, uint64_t now_ns,
                                              struct grpc_guest **ret_victim)
{
    const struct grpc_admission_limits *limits = &admission->limits;
    uint32_t own_count = address != NULL ? address->handshake_count : 0;

    *ret_victim = NULL;
    if (is_reached(own_count, limits->max_handshakes_per_ip)) {
        return LIMITS_HIT_HANDSHAKES_PER_IP;
    }
    if (!take_rate(admission, key, now_ns)) {
        return LIMITS_HIT_HANDSHAKE_RATE;
    }
    if (is_reached(admission->handshake_count, limits->max_handshakes)) {
        *ret_victim = find_victim(admission, own_count);
        return *ret_victim == NULL ? LIMITS_HIT_HANDSHAKES : LIMITS_HIT_COUNT;
    }
    return LIMITS_HIT_COUNT;
}

/* The address, made when it is new. NULL when out of memory. */
static struct grpc_address *get_address(struct grpc_admission *admission, struct bytes key,
                                        struct grpc_address *known)
{
    struct grpc_address *address = known != NULL ? known : calloc(1, sizeof(*address));

    if (known == NULL && address != NULL) {
        memcpy(address->key, key.data, sizeof(address->key));
        if (map_insert(&admission->addresses, address) != 0) {
            free(address);
            return NULL;
        }
    }
    return address;
}

static int refuse(enum limits_hit_reason reason, struct grpc_admission_verdict *ret_verdict)
{
    *ret_verdict = (struct grpc_admission_verdict){.reason = reason};
    return GRPC_ADMISSION_E_REFUSED;
}

int grpc_admission_enter(struct grpc_admission *admission, const struct sockaddr_storage *peer,
                         bool has_handshake, uint64_t now_ns, struct grpc_guest *ret_guest,
                         struct grpc_admission_verdict *ret_verdict)
{
    uint8_t key_data[KEY_DATA_SIZE + 1];
    struct bytes key = {key_data, read_address(peer, key_data) ? sizeof(key_data) : 0};
    struct grpc_address *address = key.size > 0 ? map_find(&admission->addresses, key) : NULL;
    enum limits_hit_reason reason = LIMITS_HIT_COUNT;
    struct grpc_guest *victim = NULL;

    if (is_reached(admission->guest_count, admission->limits.max_connections)) {
        return refuse(LIMITS_HIT_CONNECTIONS, ret_verdict);
    }
    if (address != NULL &&
        is_reached(address->guest_count, admission->limits.max_connections_per_ip)) {
        return refuse(LIMITS_HIT_CONNECTIONS_PER_IP, ret_verdict);
    }
    if (has_handshake) {
        reason = judge_handshake(admission, key, address, now_ns, &victim);
    }
    if (reason != LIMITS_HIT_COUNT) {
        return refuse(reason, ret_verdict);
    }
    if (key.size > 0) {
        address = get_address(admission, key, address);
        if (address == NULL) {
            return -ENOMEM;
        }
        address->guest_count++;
        address->handshake_count += has_handshake;
    }
    admission->guest_count++;
    admission->handshake_count += has_handshake;
    if (victim != NULL) {
        grpc_admission_settle(admission, victim);
    }
    *ret_guest = (struct grpc_guest){.address = address, .is_shaking = has_handshake};
    list_init(&ret_guest->link);
    *ret_verdict = (struct grpc_admission_verdict){.evicted = victim};
    return 0;
}

void grpc_admission_seat(struct grpc_admission *admission, struct grpc_guest *guest)
{
    list_init(&guest->link);
    if (guest->is_shaking) {
        list_push_back(&admission->handshakes, &guest->link);
    }
}

void grpc_admission_settle(struct grpc_admission *admission, struct grpc_guest *guest)
{
    if (!guest->is_shaking) {
        return;
    }
    guest->is_shaking = false;
    admission->handshake_count--;
    if (guest->address != NULL) {
        guest->address->handshake_count--;
    }
    list_remove(&guest->link);
}

void grpc_admission_leave(struct grpc_admission *admission, struct grpc_guest *guest)
{
    struct grpc_address *address = guest->address;

    grpc_admission_settle(admission, guest);
    admission->guest_count--;
    if (address != NULL && --address->guest_count == 0) {
        (void)map_remove(&admission->addresses, address_key(address));
        free(address);
    }
    guest->address = NULL;
}

struct bytes grpc_admission_address(const struct grpc_guest *guest)
{
    return guest->address != NULL ? address_key(guest->address) : (struct bytes){0};
}
