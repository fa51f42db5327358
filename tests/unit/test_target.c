#include "lib/unit.h"

#include "client/target.h"

#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static char problem[TARGET_PROBLEM_SIZE];
static struct target target; /* too large for the stack */

struct expected {
    const char *text;
    unsigned count;
    bool is_dns;
    const char *hosts[3];
    const char *ports[3];
    bool is_numeric[3];
};

/* Each form comes apart into hosts, ports and what is an address. */
START_TEST(target_parse_takes_all_forms)
{
    static const struct expected cases[] = {
        {"localhost:50051", 1, false, {"localhost"}, {"50051"}, {false}},
        {"10.1.2.3:1", 1, false, {"10.1.2.3"}, {"1"}, {true}},
        {"[::1]:65535", 1, false, {"::1"}, {"65535"}, {true}},
        {"[::ffff:1.2.3.4]:5", 1, false, {"::ffff:1.2.3.4"}, {"5"}, {true}},
        {"[fe80::1%eth0]:5", 1, false, {"fe80::1%eth0"}, {"5"}, {true}},
        {"users.example.com:443", 1, false, {"users.example.com"}, {"443"}, {false}},
        {"users.example.com.:443", 1, false, {"users.example.com"}, {"443"}, {false}},
        {"USERS_1-a.x9:443", 1, false, {"USERS_1-a.x9"}, {"443"}, {false}},
        {"a:00080", 1, false, {"a"}, {"80"}, {false}},
        {"a:1,10.0.0.1:2,[::1]:3",
         3,
         false,
         {"a", "10.0.0.1", "::1"},
         {"1", "2", "3"},
         {false, true, true}},
        {"a:1,a:1", 2, false, {"a", "a"}, {"1", "1"}, {false, false}},
        {"dns:///users:50051", 1, true, {"users"}, {"50051"}, {false}},
        {"dns:///10.0.0.1:50051", 1, true, {"10.0.0.1"}, {"50051"}, {true}},
        {"dns:///[::1]:50051", 1, true, {"::1"}, {"50051"}, {true}},
        {"ipv4:1.2.3.4:5", 1, false, {"1.2.3.4"}, {"5"}, {true}},
        {"ipv4:1.2.3.4:5,6.7.8.9:10", 2, false, {"1.2.3.4", "6.7.8.9"}, {"5", "10"}, {true, true}},
        {"ipv6:[::1]:5,[2001:db8::7]:8",
         2,
         false,
         {"::1", "2001:db8::7"},
         {"5", "8"},
         {true, true}},
        /* Words that could be schemes are hosts when a port stands behind. */
        {"dns:53", 1, false, {"dns"}, {"53"}, {false}},
        {"xds:53,unix:1", 2, false, {"xds", "unix"}, {"53", "1"}, {false, false}},
        {"ipv4:53", 1, false, {"ipv4"}, {"53"}, {false}},
        {"dns:1,a:2", 2, false, {"dns", "a"}, {"1", "2"}, {false, false}},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct expected *one = &cases[i];
        bool numeric = true;

        ck_assert_msg(target_parse(one->text, problem, &target) == 0, "%s", problem);
        ck_assert_uint_eq(target.count, one->count);
        ck_assert_msg(target.is_dns == one->is_dns, "%s", one->text);
        for (unsigned n = 0; n < one->count; n++) {
            ck_assert_str_eq(target.endpoints[n].host, one->hosts[n]);
            ck_assert_str_eq(target.endpoints[n].port, one->ports[n]);
            ck_assert_msg(target.endpoints[n].is_numeric == one->is_numeric[n], "%s", one->text);
            numeric = numeric && one->is_numeric[n];
        }
        ck_assert(target_is_numeric(&target) == numeric);
    }
}

END_TEST

static const struct {
    const char *text;
    const char *words[2];
} wrong[] = {
    {"", {"empty", "HOST:PORT"}},
    {"localhost", {"port is missing", "localhost:PORT"}},
    {"localhost:", {"port is missing", "'localhost:'"}},
    {":50051", {"host is missing", "HOST:PORT"}},
    {"localhost:0", {"port '0'", "1 to 65535"}},
    {"localhost:65536", {"port '65536'", "1 to 65535"}},
    {"a:123456", {"port '123456'", "1 to 65535"}},
    {"a:99999999999999999999999", {"port '99", "1 to 65535"}},
    {"a:b", {"port 'b'", "1 to 65535"}},
    {"a:1x", {"port '1x'", "1 to 65535"}},
    {"a:-1", {"port '-1'", "1 to 65535"}},
    {"a:+1", {"port '+1'", "1 to 65535"}},
    {"a:x,b:1", {"port 'x'", "1 to 65535"}},
    {"a: 1", {"blank", "HOST:PORT"}},
    {"a:1, b:2", {"blank", "A:1,B:2"}},
    {"a:1,", {"entry is empty", "A:1,B:2"}},
    {",a:1", {"entry is empty", "A:1,B:2"}},
    {"a:1,,b:1", {"entry is empty", "A:1,B:2"}},
    {"a:1,b", {"port is missing", "b:PORT"}},
    {"a:1;b:2", {"more than one colon", "commas"}},
    {"::1:50051", {"more than one colon", "brackets"}},
    {"2001:db8::1", {"more than one colon", "[::1]:PORT"}},
    {"[::1]", {"port is missing", "[::1]:PORT"}},
    {"[::1]:", {"port is missing", ""}},
    {"[::1]50051", {"port is missing", "[::1]:PORT"}},
    {"[::1:50051", {"bracket is open", "[::1]:PORT"}},
    {"[::1,[::2]:1", {"bracket is open", "[::1]:PORT"}},
    {"[]:1", {"host is missing", ""}},
    {"[::1]:0", {"port '0'", ""}},
    {"[1.2.3.4]:1", {"'1.2.3.4'", "no IPv6 address"}},
    {"[::g]:1", {"'::g'", "no IPv6 address"}},
    {"[name]:1", {"'name'", "no IPv6 address"}},
    {"[fe80::1%]:1", {"'fe80::1%'", "no IPv6 address"}},
    {"[fe80::1%a/b]:1", {"'fe80::1%a/b'", "no IPv6 address"}},
    {"256.1.1.1:1", {"'256.1.1.1'", "no IPv4 address"}},
    {"127.1:1", {"'127.1'", "no IPv4 address"}},
    {"10.0.0.1.:1", {"'10.0.0.1.'", "no IPv4 address"}},
    {"12:1", {"'12'", "no IPv4 address"}},
    {"1.2.3.4.5:1", {"'1.2.3.4.5'", "no IPv4 address"}},
    {"a..b:1", {"'a..b'", "empty part"}},
    {".a:1", {"'.a'", "empty part"}},
    {"a/b:1", {"'a/b'", "'/'"}},
    {"user@host:1", {"'user@host'", "'@'"}},
    {"b\xc3\xbc"
     "cher.example:1",
     {"not ASCII", "xn--"}},
    {"unix:/run/userd.sock", {"scheme 'unix:'", "HOST:PORT"}},
    {"unix:///run/userd.sock", {"scheme 'unix:'", "HOST:PORT"}},
    {"unix-abstract:name", {"scheme 'unix-abstract:'", "HOST:PORT"}},
    {"xds:///users", {"scheme 'xds:'", "dns:///"}},
    {"vsock:1:2", {"scheme 'vsock:'", "HOST:PORT"}},
    {"https://users:443", {"scheme 'https:'", "HOST:PORT"}},
    {"http:users:80", {"scheme 'http:'", "HOST:PORT"}},
    {"other+1://a:1", {"scheme 'other+1:'", "HOST:PORT"}},
    {"dns://8.8.8.8/users:1", {"not supported", "three slashes"}},
    {"dns:/users:1", {"dns:///NAME:PORT", "three slashes"}},
    {"dns:users:1", {"dns:///NAME:PORT", "three slashes"}},
    {"dns:///", {"entry is empty", ""}},
    {"dns:///users", {"port is missing", "users:PORT"}},
    {"dns:///a:1,b:2", {"one name", "A:1,B:2"}},
    {"dns:///a:1,", {"one name", ""}},
    {"ipv4:name:1", {"'name'", "no IPv4 address"}},
    {"ipv4:[::1]:1", {"'[::1]'", "no IPv4 address"}},
    {"ipv4:1.2.3.4", {"port is missing", "1.2.3.4:PORT"}},
    {"ipv4:", {"port is missing", ""}},
    {"ipv6:1.2.3.4:1", {"'1.2.3.4'", "no IPv6 address"}},
    {"ipv6:::1:1", {"more than one colon", "brackets"}},
    {"ipv6:[::1]:1,a:2", {"'a'", "no IPv6 address"}},
};

/* The problem quotes the text and names the wrong part and the remedy; nothing is changed. */
START_TEST(target_parse_refuses_the_rest)
{
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        const char *text = wrong[i].text;

        memset(&target, 0x5a, sizeof(target));
        memset(problem, 'x', sizeof(problem));
        ck_assert_msg(target_parse(text, problem, &target) == TARGET_E_MALFORMED, "'%s' passed",
                      text);
        ck_assert_ptr_nonnull(memchr(problem, '\0', sizeof(problem)));
        for (size_t n = 0; n < 2; n++) {
            ck_assert_msg(wrong[i].words[n] != NULL && strstr(problem, wrong[i].words[n]) != NULL,
                          "no \"%s\" in: %s", wrong[i].words[n], problem);
        }
        ck_assert_msg(strstr(problem, text) != NULL, "no \"%s\" in: %s", text, problem);
        for (size_t n = 0; n < sizeof(target); n++) {
            ck_assert_uint_eq(((const unsigned char *)&target)[n], 0x5a);
        }
    }
}

END_TEST

/* What a terminal would obey is not repeated, and a long text is cut. */
START_TEST(target_problems_are_safe_to_show)
{
    static char text[5000];

    ck_assert_int_eq(target_parse("a\x1b[2J:1", problem, &target), TARGET_E_MALFORMED);
    ck_assert_ptr_null(strchr(problem, 0x1b));
    memset(text, 'a', sizeof(text) - 1);
    ck_assert_int_eq(target_parse(text, problem, &target), TARGET_E_MALFORMED);
    ck_assert_ptr_nonnull(strstr(problem, "longer than 253"));
    memset(text, '1', sizeof(text) - 1);
    memcpy(text, "a:", 2);
    ck_assert_int_eq(target_parse(text, problem, &target), TARGET_E_MALFORMED);
    ck_assert_ptr_nonnull(strstr(problem, "1 to 65535"));
}

END_TEST

/* A name of `size` characters in labels of at most `label`, and a port. */
static const char *name_of(size_t size, size_t label, bool has_dot)
{
    static char text[2 * TARGET_HOST_SIZE];

    for (size_t i = 0; i < size; i++) {
        text[i] = (i + 1) % (label + 1) == 0 ? '.' : 'a';
    }
    (void)snprintf(text + size, sizeof(text) - size, "%s:80", has_dot ? "." : "");
    return text;
}

/* A host that does not fit is refused, not cut; nor does one of its parts. */
START_TEST(target_parse_keeps_the_limits_of_names)
{
    ck_assert_int_eq(target_parse(name_of(253, 63, false), problem, &target), 0);
    ck_assert_uint_eq(strlen(target.endpoints[0].host), 253);
    ck_assert_int_eq(target_parse(name_of(253, 63, true), problem, &target), 0);
    ck_assert_int_eq(target_parse(name_of(254, 62, false), problem, &target), TARGET_E_MALFORMED);
    ck_assert_ptr_nonnull(strstr(problem, "longer than 253"));
    ck_assert_int_eq(target_parse(name_of(255, 62, false), problem, &target), TARGET_E_MALFORMED);
    ck_assert_int_eq(target_parse(name_of(256, 62, false), problem, &target), TARGET_E_MALFORMED);
    ck_assert_int_eq(target_parse(name_of(63, 63, false), problem, &target), 0);
    ck_assert_int_eq(target_parse(name_of(64, 64, false), problem, &target), TARGET_E_MALFORMED);
    ck_assert_ptr_nonnull(strstr(problem, "63 characters"));
}

END_TEST

/* As many entries as may, and one more. */
START_TEST(target_parse_keeps_the_limit_of_entries)
{
    char text[TARGET_ENDPOINTS_MAX * 8];
    size_t size = 0;

    for (unsigned i = 0; i < TARGET_ENDPOINTS_MAX; i++) {
        size +=
            (size_t)snprintf(text + size, sizeof(text) - size, "%sa:%u", i == 0 ? "" : ",", i + 1);
    }
    ck_assert_int_eq(target_parse(text, problem, &target), 0);
    ck_assert_uint_eq(target.count, TARGET_ENDPOINTS_MAX);
    ck_assert_str_eq(target.endpoints[TARGET_ENDPOINTS_MAX - 1].port, "32");
    (void)snprintf(text + size, sizeof(text) - size, ",a:1");
    ck_assert_int_eq(target_parse(text, problem, &target), TARGET_E_MALFORMED);
    ck_assert_ptr_nonnull(strstr(problem, "more than 32 entries"));
}

END_TEST

static struct target_address addresses[TARGET_ADDRESSES_MAX];

static unsigned resolve(const char *text)
{
    unsigned count = 77;

    ck_assert_msg(target_parse(text, problem, &target) == 0, "%s", problem);
    ck_assert_msg(target_resolve(&target, addresses, &count, problem) == 0, "%s", problem);
    return count;
}

/* Addresses stand for themselves, in order, doubles once, and are shown as they are written. */
START_TEST(target_resolve_finds_addresses)
{
    static const char *const shown[] = {"127.0.0.1:50051", "[::1]:50051", "127.0.0.1:50052"};
    char text[TARGET_AUTHORITY_SIZE];

    ck_assert_uint_eq(
        resolve("127.0.0.1:50051,[::1]:50051,127.0.0.1:50051,[0::1]:50051,127.0.0.1:50052"), 3);
    for (unsigned i = 0; i < 3; i++) {
        target_format_address(&addresses[i], text, sizeof(text));
        ck_assert_str_eq(text, shown[i]);
    }
    ck_assert_uint_eq(addresses[0].endpoint, 0);
    ck_assert_uint_eq(addresses[1].endpoint, 1);
    ck_assert_uint_eq(addresses[2].endpoint, 4);
    ck_assert_uint_eq(addresses[0].size, sizeof(struct sockaddr_in));
    ck_assert_uint_eq(addresses[1].size, sizeof(struct sockaddr_in6));
}

END_TEST

/* A name stands for what the system knows, and what nobody knows is skipped beside it. */
START_TEST(target_resolve_asks_for_names)
{
    unsigned count = resolve("userd.invalid:1,localhost:50051");
    char text[TARGET_AUTHORITY_SIZE];

    ck_assert_uint_ge(count, 1);
    for (unsigned i = 0; i < count; i++) {
        target_format_address(&addresses[i], text, sizeof(text));
        ck_assert_msg(strcmp(text, "127.0.0.1:50051") == 0 || strcmp(text, "[::1]:50051") == 0,
                      "localhost is %s", text);
        ck_assert_uint_eq(addresses[i].endpoint, 1);
    }
}

END_TEST

/* A name that no resolver may know (RFC 6761) is an outcome of its own, and is named. */
START_TEST(target_resolve_reports_unknown_hosts)
{
    unsigned count = 77;

    ck_assert_int_eq(target_parse("userd.invalid:1", problem, &target), 0);
    ck_assert_int_eq(target_resolve(&target, addresses, &count, problem), TARGET_E_UNRESOLVED);
    ck_assert_ptr_nonnull(strstr(problem, "'userd.invalid'"));
    ck_assert_uint_eq(count, 0);
}

END_TEST

/* What the system's resolver was asked, and what it is to say; else it is the system's. */
static bool is_faked;
static bool has_own_loopback; /* the name has no address but with all families */
static unsigned question_count;
static char asked_name[TARGET_HOST_SIZE + 1];
static int asked_flags;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret_found)
{
    int (*system_s)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    question_count++;
    (void)snprintf(asked_name, sizeof(asked_name), "%s", name);
    asked_flags = hints->ai_flags;
    *(void **)&system_s = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!is_faked) {
        return system_s(name, service, hints, ret_found);
    }
    return has_own_loopback && (hints->ai_flags & AI_ADDRCONFIG) != 0
               ? EAI_NONAME
               : system_s("::1", service, &(const struct addrinfo){.ai_socktype = SOCK_STREAM},
                          ret_found);
}

/* Only families that this machine has are asked for, but of names that may be its own, and of
 * addresses; and a final dot goes to the resolver, and nowhere else. */
START_TEST(target_resolve_asks_for_what_can_be_reached)
{
    static const struct {
        const char *text;
        const char *name;
        bool is_of_families;
    } cases[] = {
        {"users.example:1", "users.example", true},
        {"users.example.:1", "users.example.", true},
        {"dns:///users.example.:1", "users.example.", true},
        {"localhost:1", "localhost", false},
        {"LocalHost.:1", "LocalHost.", false},
        {"a.localhost:1", "a.localhost", false},
        {"alocalhost:1", "alocalhost", true},
        {"localhost.example:1", "localhost.example", true},
        {"[::1]:1", "::1", false},
    };

    is_faked = true;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        question_count = 0;
        ck_assert_uint_eq(resolve(cases[i].text), 1);
        ck_assert_uint_eq(question_count, 1);
        ck_assert_str_eq(asked_name, cases[i].name);
        ck_assert_msg(((asked_flags & AI_ADDRCONFIG) != 0) == cases[i].is_of_families, "%s",
                      cases[i].text);
    }
    has_own_loopback = true;
    question_count = 0;
    ck_assert_uint_eq(resolve("users.example:1"), 1);
    ck_assert_uint_eq(question_count, 2);
}

END_TEST

/* No target has no address either. */
START_TEST(target_resolve_of_nothing_fails)
{
    unsigned count = 77;

    memset(&target, 0, sizeof(target));
    ck_assert(target_is_numeric(&target));
    ck_assert_int_eq(target_resolve(&target, addresses, &count, problem), TARGET_E_UNRESOLVED);
    ck_assert_uint_eq(count, 0);
}

END_TEST

/* As :authority: brackets where they belong, no zone, and cut to the room. */
START_TEST(target_formats_endpoints)
{
    static const char *const cases[][2] = {
        {"dns:///name:1", "name:1"},
        {"1.2.3.4:65535", "1.2.3.4:65535"},
        {"[::1]:1", "[::1]:1"},
        {"[fe80::1%lo]:1", "[fe80::1]:1"},
        {"users.example.:1", "users.example:1"},
    };
    char text[TARGET_AUTHORITY_SIZE];

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ck_assert_int_eq(target_parse(cases[i][0], problem, &target), 0);
        target_format_endpoint(&target.endpoints[0], text, sizeof(text));
        ck_assert_str_eq(text, cases[i][1]);
    }
    ck_assert_int_eq(target_parse("[::1]:1", problem, &target), 0);
    target_format_endpoint(&target.endpoints[0], text, 4);
    ck_assert_str_eq(text, "[::");
    ck_assert_int_eq(target_parse(name_of(253, 63, true), problem, &target), 0);
    target_format_endpoint(&target.endpoints[0], text, sizeof(text));
    ck_assert_str_eq(text, name_of(253, 63, false));
}

END_TEST

/* Family, port, address and zone count; whose it is does not. */
START_TEST(target_addresses_are_compared)
{
    struct target_address v4;
    struct target_address v6;
    struct target_address other;

    ck_assert_uint_eq(resolve("127.0.0.1:1,127.0.0.1:2,127.0.0.2:1,[::1]:1,[::1]:2,[::2]:1"), 6);
    for (unsigned i = 0; i < 6; i++) {
        for (unsigned n = 0; n < 6; n++) {
            ck_assert(target_address_equal(&addresses[i], &addresses[n]) == (i == n));
        }
    }
    v4 = addresses[0];
    v4.endpoint = 7;
    ck_assert(target_address_equal(&v4, &addresses[0]));
    v6 = addresses[3];
    ((struct sockaddr_in6 *)&v6.address)->sin6_flowinfo = 9;
    ck_assert(target_address_equal(&v6, &addresses[3]));
    ((struct sockaddr_in6 *)&v6.address)->sin6_scope_id = 9;
    ck_assert(!target_address_equal(&v6, &addresses[3]));
    memset(&other, 0, sizeof(other));
    target_format_address(&other, problem, sizeof(problem));
    ck_assert_str_eq(problem, "(unknown address)");
    ck_assert(target_address_equal(&other, &other));
}

END_TEST

UNIT_MAIN("target", target_parse_takes_all_forms, target_parse_refuses_the_rest,
          target_problems_are_safe_to_show, target_parse_keeps_the_limits_of_names,
          target_parse_keeps_the_limit_of_entries, target_resolve_finds_addresses,
          target_resolve_asks_for_names, target_resolve_reports_unknown_hosts,
          target_resolve_asks_for_what_can_be_reached, target_resolve_of_nothing_fails,
          target_formats_endpoints, target_addresses_are_compared)
