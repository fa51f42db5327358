#include "core/tls_certificate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/*
 * DER is tag, length, content, and content may be such triples again. der_take() cuts one off the
 * front of a run of bytes; everything else here is the grammar of RFC 5280 on top of it:
 *
 *   Certificate = { tbs { [0] version, serial, algorithm, issuer, { notBefore, notAfter }, subject,
 *                         key, [1], [2], [3] { extensions } }, ... }
 *   List        = { tbs { version, algorithm, issuer, thisUpdate, nextUpdate, { revoked },
 *                         [0] { extensions } }, ... }
 *
 * The TLS library has read the same bytes, but its two versions that userd is built with show names
 * in different ways, or not at all. Whatever surprises ends the reading: no certificate.
 */

#define TAG_BOOLEAN          0x01
#define TAG_INTEGER          0x02
#define TAG_OCTETS           0x04
#define TAG_OBJECT           0x06
#define TAG_UTC_TIME         0x17
#define TAG_GENERALIZED_TIME 0x18
#define TAG_SEQUENCE         0x30
#define TAG_NAME_DNS         0x82
#define TAG_NAME_URI         0x86
#define TAG_CONTEXT_0        0xa0
#define TAG_CONTEXT_1        0xa1
#define TAG_CONTEXT_3        0xa3
#define TAG_NONE             0 /* never in DER of these kinds */

#define OBJECT_ALTERNATIVE_NAMES BYTES_LITERAL("\x55\x1d\x11")
#define OBJECT_CONSTRAINTS       BYTES_LITERAL("\x55\x1d\x13")
#define OBJECT_NAME_CONSTRAINTS  BYTES_LITERAL("\x55\x1d\x1e")
#define OBJECT_EXTENDED_USAGE    BYTES_LITERAL("\x55\x1d\x25")
#define OBJECT_CLIENT_AUTH       BYTES_LITERAL("\x2b\x06\x01\x05\x05\x07\x03\x02")
#define OBJECT_ANY_USAGE         BYTES_LITERAL("\x55\x1d\x25\x00")
#define OBJECT_RSA_MD5           BYTES_LITERAL("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04")
#define OBJECT_RSA_SHA1          BYTES_LITERAL("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05")
#define OBJECT_ECDSA_SHA1        BYTES_LITERAL("\x2a\x86\x48\xce\x3d\x04\x01")

static struct bytes skip(struct bytes bytes, size_t size)
{
    return (struct bytes){bytes.data + size, bytes.size - size};
}

/* Cuts one element off the front. Lengths in their shortest form only, tags of one byte. */
static bool der_take(struct bytes *rest, uint8_t *ret_tag, struct bytes *ret_content)
{
    struct bytes left = *rest;
    size_t size;
    uint8_t tag;

    if (left.size < 2 || (left.data[0] & 0x1f) == 0x1f) {
        return false;
    }
    tag = left.data[0];
    size = left.data[1];
    left = skip(left, 2);
    if (size >= 0x80) {
        size_t count = size & 0x7f;

        if (count == 0 || count > 3 || left.size < count || left.data[0] == 0) {
            return false;
        }
        for (size = 0; count > 0; count--) {
            size = size << 8 | left.data[0];
            left = skip(left, 1);
        }
        if (size < 0x80) {
            return false;
        }
    }
    if (left.size < size) {
        return false;
    }
    *ret_tag = tag;
    *ret_content = (struct bytes){left.data, size};
    *rest = skip(left, size);
    return true;
}

static uint8_t der_next_tag(struct bytes rest)
{
    return rest.size > 0 ? rest.data[0] : TAG_NONE;
}

/* Takes an element that must have this tag. */
static bool der_expect(struct bytes *rest, uint8_t tag, struct bytes *ret_content)
{
    uint8_t found;

    return der_next_tag(*rest) == tag && der_take(rest, &found, ret_content);
}

/* Takes an element if it is there and has this tag; false when it is there and broken. */
static bool der_skip_if(struct bytes *rest, uint8_t tag)
{
    struct bytes content;

    return der_next_tag(*rest) != tag || der_expect(rest, tag, &content);
}

static bool read_digits(struct bytes *text, unsigned count, int *ret_number)
{
    int number = 0;

    if (text->size < count) {
        return false;
    }
    for (; count > 0; count--) {
        uint8_t digit = text->data[0];

        if (digit < '0' || digit > '9') {
            return false;
        }
        number = number * 10 + (digit - '0');
        *text = skip(*text, 1);
    }
    *ret_number = number;
    return true;
}

/* YYMMDDhhmmssZ (1950 to 2049) or YYYYMMDDhhmmssZ. */
static bool read_time(struct bytes *rest, int64_t *ret_seconds)
{
    bool is_short = der_next_tag(*rest) == TAG_UTC_TIME;
    struct tm when = {0};
    struct bytes text;

    if (!der_expect(rest, is_short ? TAG_UTC_TIME : TAG_GENERALIZED_TIME, &text) ||
        !read_digits(&text, is_short ? 2 : 4, &when.tm_year) ||
        !read_digits(&text, 2, &when.tm_mon) || !read_digits(&text, 2, &when.tm_mday) ||
        !read_digits(&text, 2, &when.tm_hour) || !read_digits(&text, 2, &when.tm_min) ||
        !read_digits(&text, 2, &when.tm_sec) || !bytes_equal(text, BYTES_LITERAL("Z"))) {
        return false;
    }
    if (when.tm_mon < 1 || when.tm_mon > 12 || when.tm_mday < 1 || when.tm_mday > 31 ||
        when.tm_hour > 23 || when.tm_min > 59 || when.tm_sec > 59) {
        return false;
    }
    if (is_short) {
        when.tm_year += when.tm_year < 50 ? 100 : 0;
    } else {
        when.tm_year -= 1900;
    }
    when.tm_mon--;
    *ret_seconds = timegm(&when);
    return true;
}

/* Takes one extension off a list of them. */
static bool read_extension(struct bytes *rest, struct bytes *ret_object, bool *ret_is_critical,
                           struct bytes *ret_value)
{
    struct bytes extension;
    struct bytes flag = {0};

    if (!der_expect(rest, TAG_SEQUENCE, &extension) ||
        !der_expect(&extension, TAG_OBJECT, ret_object)) {
        return false;
    }
    if (der_next_tag(extension) == TAG_BOOLEAN) {
        if (!der_expect(&extension, TAG_BOOLEAN, &flag) || flag.size != 1) {
            return false;
        }
    }
    *ret_is_critical = flag.size == 1 && flag.data[0] != 0;
    return der_expect(&extension, TAG_OCTETS, ret_value) && extension.size == 0;
}

static bool read_alternative_names(struct bytes value, struct tls_certificate *certificate)
{
    struct bytes names;
    struct bytes name;
    uint8_t tag;

    if (!der_expect(&value, TAG_SEQUENCE, &names) || value.size > 0) {
        return false;
    }
    while (names.size > 0) {
        if (!der_take(&names, &tag, &name)) {
            return false;
        }
        if (tag == TAG_NAME_URI && certificate->uri_count++ == 0) {
            certificate->uri = name;
        } else if (tag == TAG_NAME_DNS && certificate->dns_count++ == 0) {
            certificate->dns = name;
        }
    }
    return true;
}

static bool read_extended_usage(struct bytes value, struct tls_certificate *certificate)
{
    struct bytes purposes;
    struct bytes purpose;
    bool is_for_any = false;

    if (!der_expect(&value, TAG_SEQUENCE, &purposes) || value.size > 0) {
        return false;
    }
    while (purposes.size > 0) {
        if (!der_expect(&purposes, TAG_OBJECT, &purpose)) {
            return false;
        }
        if (bytes_equal(purpose, OBJECT_CLIENT_AUTH)) {
            certificate->is_for_clients = true;
        }
        is_for_any = is_for_any || bytes_equal(purpose, OBJECT_ANY_USAGE);
    }
    certificate->is_for_others = !certificate->is_for_clients && !is_for_any;
    return true;
}

static bool read_constraints(struct bytes value, struct tls_certificate *certificate)
{
    struct bytes constraints;
    struct bytes flag;

    if (!der_expect(&value, TAG_SEQUENCE, &constraints) || value.size > 0) {
        return false;
    }
    if (der_next_tag(constraints) == TAG_BOOLEAN) {
        if (!der_expect(&constraints, TAG_BOOLEAN, &flag) || flag.size != 1) {
            return false;
        }
        certificate->is_authority = flag.data[0] != 0;
    }
    return true;
}

/* { [0] { { base ... } ... }, [1] likewise }: names permitted, and names excluded. */
static bool read_name_constraints(struct bytes value, struct tls_certificate *certificate)
{
    struct bytes constraints;
    struct bytes subtrees;
    struct bytes subtree;
    uint8_t tag;

    if (!der_expect(&value, TAG_SEQUENCE, &constraints) || value.size > 0) {
        return false;
    }
    while (constraints.size > 0) {
        if (!der_take(&constraints, &tag, &subtrees) ||
            (tag != TAG_CONTEXT_0 && tag != TAG_CONTEXT_1)) {
            return false;
        }
        while (subtrees.size > 0) {
            if (!der_expect(&subtrees, TAG_SEQUENCE, &subtree)) {
                return false;
            }
            certificate->limits_uris =
                certificate->limits_uris || der_next_tag(subtree) == TAG_NAME_URI;
        }
    }
    return true;
}

static bool read_certificate_extensions(struct bytes extensions,
                                        struct tls_certificate *certificate)
{
    struct bytes object;
    struct bytes value;
    bool is_critical;
    bool has_names = false;

    while (extensions.size > 0) {
        bool is_good = read_extension(&extensions, &object, &is_critical, &value);

        if (is_good && bytes_equal(object, OBJECT_ALTERNATIVE_NAMES)) {
            is_good = !has_names && read_alternative_names(value, certificate);
            has_names = true;
        } else if (is_good && bytes_equal(object, OBJECT_CONSTRAINTS)) {
            is_good = read_constraints(value, certificate);
        } else if (is_good && bytes_equal(object, OBJECT_EXTENDED_USAGE)) {
            is_good = read_extended_usage(value, certificate);
        } else if (is_good && bytes_equal(object, OBJECT_NAME_CONSTRAINTS)) {
            is_good = read_name_constraints(value, certificate);
        }
        if (!is_good) {
            return false;
        }
    }
    return true;
}

/* The part of a certificate, or of a list, that is signed. */
static bool open_signed_part(struct bytes der, struct bytes *ret_part)
{
    struct bytes outer;

    return der_expect(&der, TAG_SEQUENCE, &outer) && der.size == 0 &&
           der_expect(&outer, TAG_SEQUENCE, ret_part);
}

/* Extensions stand in a sequence in an explicit tag, last of all; none is fine, too. */
static bool open_extensions(struct bytes *part, uint8_t tag, struct bytes *ret_extensions)
{
    struct bytes wrapper;

    *ret_extensions = (struct bytes){0};
    if (part->size == 0) {
        return true;
    }
    return der_expect(part, tag, &wrapper) && part->size == 0 &&
           der_expect(&wrapper, TAG_SEQUENCE, ret_extensions) && wrapper.size == 0;
}

static bool algorithm_is_weak(struct bytes algorithm)
{
    struct bytes object;

    return !der_expect(&algorithm, TAG_OBJECT, &object) || bytes_equal(object, OBJECT_RSA_MD5) ||
           bytes_equal(object, OBJECT_RSA_SHA1) || bytes_equal(object, OBJECT_ECDSA_SHA1);
}

static bool read_certificate(struct bytes der, struct tls_certificate *certificate)
{
    struct bytes part;
    struct bytes ignored;
    struct bytes algorithm;
    struct bytes validity;
    struct bytes extensions;

    if (!open_signed_part(der, &part) || !der_skip_if(&part, TAG_CONTEXT_0) ||
        !der_expect(&part, TAG_INTEGER, &ignored) || !der_expect(&part, TAG_SEQUENCE, &algorithm) ||
        !der_expect(&part, TAG_SEQUENCE, &certificate->issuer) ||
        !der_expect(&part, TAG_SEQUENCE, &validity) ||
        !read_time(&validity, &certificate->not_before_s) ||
        !read_time(&validity, &certificate->not_after_s) || validity.size > 0 ||
        !der_expect(&part, TAG_SEQUENCE, &certificate->subject) ||
        !der_expect(&part, TAG_SEQUENCE, &ignored)) {
        return false;
    }
    certificate->is_weak = algorithm_is_weak(algorithm);
    /* Unique identifiers, [1] and [2], went out of use with version 2: they are no extensions. */
    return open_extensions(&part, TAG_CONTEXT_3, &extensions) &&
           read_certificate_extensions(extensions, certificate);
}

int tls_certificate_read(struct bytes der, struct tls_certificate *ret_certificate)
{
    struct tls_certificate certificate = {0};

    if (!read_certificate(der, &certificate)) {
        return -EBADMSG;
    }
    *ret_certificate = certificate;
    return 0;
}

bool tls_certificate_may_sign_clients(const struct tls_certificate *authority)
{
    return !authority->is_for_others && !authority->limits_uris;
}

static bool read_crl(struct bytes der, struct tls_crl *crl)
{
    struct bytes part;
    struct bytes ignored;
    struct bytes extensions;
    uint8_t tag;

    if (!open_signed_part(der, &part) || !der_skip_if(&part, TAG_INTEGER) ||
        !der_expect(&part, TAG_SEQUENCE, &ignored) ||
        !der_expect(&part, TAG_SEQUENCE, &crl->issuer) || !read_time(&part, &crl->this_update_s)) {
        return false;
    }
    tag = der_next_tag(part);
    crl->has_next_update = tag == TAG_UTC_TIME || tag == TAG_GENERALIZED_TIME;
    if (crl->has_next_update && !read_time(&part, &crl->next_update_s)) {
        return false;
    }
    if (!der_skip_if(&part, TAG_SEQUENCE) || !open_extensions(&part, TAG_CONTEXT_0, &extensions)) {
        return false;
    }
    while (extensions.size > 0) {
        bool is_critical;

        if (!read_extension(&extensions, &ignored, &is_critical, &ignored)) {
            return false;
        }
        crl->has_critical_extension = crl->has_critical_extension || is_critical;
    }
    return true;
}

int tls_crl_read(struct bytes der, struct tls_crl *ret_crl)
{
    struct tls_crl crl = {0};

    if (!read_crl(der, &crl)) {
        return -EBADMSG;
    }
    *ret_crl = crl;
    return 0;
}

/* No blanks, nothing that could look like the end of a text or of a line in a log. */
static bool is_printable(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] <= ' ' || name.data[i] >= 0x7f) {
            return false;
        }
    }
    return true;
}

/* Names of hosts are the same in either case; rules are compared byte by byte. */
static void put_lower(char *text, struct bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        text[i] = (char)name.data[i];
        if (text[i] >= 'A' && text[i] <= 'Z') {
            text[i] = (char)((unsigned char)text[i] | 0x20);
        }
    }
}

const char *tls_certificate_identity(const struct tls_certificate *certificate, char *text)
{
    bool is_uri = certificate->uri_count > 0;
    struct bytes name = is_uri ? certificate->uri : certificate->dns;

    if (certificate->uri_count > 1) {
        return "the client's certificate has several URI names";
    }
    if (!is_uri && certificate->dns_count != 1) {
        return certificate->dns_count == 0 ? "the client's certificate has no URI or DNS name"
                                           : "the client's certificate has several DNS names";
    }
    if (name.size == 0 || name.size > TLS_IDENTITY_MAX - 4 || !is_printable(name)) {
        return "the name in the client's certificate is empty, too long or not printable ASCII";
    }
    memcpy(text, is_uri ? "uri:" : "dns:", 4);
    if (is_uri) {
        memcpy(text + 4, name.data, name.size);
    } else {
        put_lower(text + 4, name);
    }
    text[4 + name.size] = '\0';
    return NULL;
}
