#include "lib/unit.h"

#include "core/buf.h"
#include "http2/proto_wire.h"
#include "service/user_errors.h"
#include "service/user_request.h"

#include <ctype.h>
#include <errno.h>

/* The rules that hold for every error: its domain, the form of its reason, and that it can be
 * encoded. */
static void check_error(const struct user_error *error)
{
    struct buf encoded = {0};
    const char *reason = error->grpc.reason;

    ck_assert_str_eq(error->grpc.domain, "users.v1");
    ck_assert_uint_gt(strlen(error->grpc.message), 0);
    ck_assert(isupper((unsigned char)reason[0]));
    ck_assert_uint_le(strlen(reason), 63);
    for (size_t i = 0; reason[i] != '\0'; i++) {
        ck_assert(isupper((unsigned char)reason[i]) || reason[i] == '_');
    }
    ck_assert_int_eq(grpc_error_encode(&error->grpc, &encoded), 0);
    ck_assert_uint_gt(buf_size(&encoded), 0);
    buf_deinit(&encoded);
}

static enum grpc_status status_of(enum user_error_kind kind)
{
    static struct user_error error;

    user_error_set(&error, kind);
    check_error(&error);
    return error.grpc.status;
}

/* The statuses are those of the protocol: P17 for what cannot be parsed, the caller's fault for the
 * rest. */
START_TEST(user_errors_have_their_statuses)
{
    ck_assert_int_eq(status_of(USER_ERROR_MALFORMED), GRPC_STATUS_INTERNAL);
    ck_assert_int_eq(status_of(USER_ERROR_TOO_MANY_FIELDS), GRPC_STATUS_INVALID_ARGUMENT);
    ck_assert_int_eq(status_of(USER_ERROR_NUL), GRPC_STATUS_INVALID_ARGUMENT);
    ck_assert_int_eq(status_of(USER_ERROR_ID_MISSING), GRPC_STATUS_INVALID_ARGUMENT);
    ck_assert_int_eq(status_of(USER_ERROR_ID_TOO_LONG), GRPC_STATUS_INVALID_ARGUMENT);
}

END_TEST

/* NOT_FOUND has the text of the guide, and the id in text, metadata and resource. */
START_TEST(user_errors_name_the_user)
{
    struct user_error error;

    user_error_not_found(&error, BYTES_LITERAL("\xc3\xa4-1 and more"));
    check_error(&error);
    ck_assert_int_eq(error.grpc.status, GRPC_STATUS_NOT_FOUND);
    ck_assert_str_eq(error.grpc.message, "User \xc3\xa4-1 and more not found");
    ck_assert_str_eq(error.grpc.reason, "USER_NOT_FOUND");
    ck_assert_str_eq(error.grpc.metadata[0].key, "id");
    ck_assert_str_eq(error.grpc.metadata[0].value, "\xc3\xa4-1 and more");
    ck_assert_str_eq(error.grpc.resource_type, "users.v1.User");
    ck_assert_str_eq(error.grpc.resource_name, "\xc3\xa4-1 and more");
}

END_TEST

/* The longest id fits. */
START_TEST(user_errors_hold_the_longest_id)
{
    struct user_error error;
    char id[USER_ID_BYTES_MAX];

    memset(id, 'x', sizeof(id));
    user_error_not_found(&error, (struct bytes){(const uint8_t *)id, sizeof(id)});
    ck_assert_uint_eq(strlen(error.grpc.message), sizeof(id) + strlen("User  not found"));
    ck_assert_uint_eq(strlen(error.grpc.resource_name), sizeof(id));
}

END_TEST

/* Missing fields have the text of the guide; every bad field is named. */
START_TEST(user_errors_name_bad_fields)
{
    struct user_faults faults = {
        .items = {{"username", "must not be empty"}, {"email", "is odd"}},
        .count = 2,
        .missing = true,
    };
    struct user_error error;

    user_error_fields(&error, &faults);
    check_error(&error);
    ck_assert_int_eq(error.grpc.status, GRPC_STATUS_INVALID_ARGUMENT);
    ck_assert_str_eq(error.grpc.message, "Missing required fields");
    ck_assert_uint_eq(error.grpc.field_count, 2);
    ck_assert_str_eq(error.grpc.fields[1].field, "email");
    ck_assert_str_eq(error.grpc.fields[1].description, "is odd");
    faults.missing = false;
    user_error_fields(&error, &faults);
    check_error(&error);
    ck_assert_str_eq(error.grpc.message, "Invalid user fields");
}

END_TEST

/* The first path is named unless it is too long to be of use. */
START_TEST(user_errors_name_the_path)
{
    static const uint8_t long_path[1000] = {'x'};
    struct user_faults faults = {0};
    struct user_error error;

    user_faults_add_path(&faults, BYTES_LITERAL("pasword"), "is odd");
    user_faults_add_path(&faults, BYTES_LITERAL("second"), "is odd too");
    user_error_fields(&error, &faults);
    check_error(&error);
    ck_assert_int_eq(error.grpc.status, GRPC_STATUS_INVALID_ARGUMENT);
    ck_assert_uint_eq(error.grpc.field_count, 2);
    ck_assert_str_eq(error.grpc.fields[0].field, "update_mask");
    ck_assert_str_eq(error.grpc.fields[1].description, "is odd too");
    ck_assert_uint_eq(error.grpc.metadata_count, 1);
    ck_assert_str_eq(error.grpc.metadata[0].value, "pasword");
    faults = (struct user_faults){0};
    user_faults_add_path(&faults, (struct bytes){long_path, sizeof(long_path)}, "is odd");
    user_error_fields(&error, &faults);
    check_error(&error);
    ck_assert_uint_eq(error.grpc.field_count, 1);
    ck_assert_uint_eq(error.grpc.metadata_count, 0);
}

END_TEST

/* Of several kinds of faults the gravest gives the reason; the path is told whatever it is. */
START_TEST(user_errors_choose_a_reason)
{
    struct user_faults faults = {.items = {{"email", "is odd"}}, .count = 1};
    struct user_error error;

    user_error_fields(&error, &faults);
    ck_assert_str_eq(error.grpc.reason, "INVALID_FIELDS");
    faults.missing = true;
    user_error_fields(&error, &faults);
    ck_assert_str_eq(error.grpc.reason, "MISSING_FIELDS");
    user_faults_add_path(&faults, BYTES_LITERAL("x"), "is odd");
    user_error_fields(&error, &faults);
    ck_assert_str_eq(error.grpc.reason, "INVALID_UPDATE_MASK");
    user_faults_add_nul(&faults, "username");
    user_error_fields(&error, &faults);
    check_error(&error);
    ck_assert_str_eq(error.grpc.reason, "NUL_IN_TEXT");
    ck_assert_str_eq(error.grpc.metadata[0].key, "path");
    ck_assert_uint_eq(error.grpc.field_count, 3);
}

END_TEST

static struct user_write example(enum user_write_kind kind, const struct user_patch *patch)
{
    return (struct user_write){
        .kind = kind,
        .id = BYTES_LITERAL("id-1"),
        .draft = {.username = BYTES_LITERAL("Anna"), .email = BYTES_LITERAL("a@b")},
        .patch = patch,
    };
}

/* Every outcome of a write has its status, and RetryInfo where trying again is safe and may help.
 */
START_TEST(user_errors_cover_every_outcome)
{
    static const struct {
        enum user_write_outcome outcome;
        enum grpc_status status;
        bool has_retry;
    } rows[] = {
        {USER_WRITE_NOT_FOUND, GRPC_STATUS_NOT_FOUND, false},
        {USER_WRITE_STALE, GRPC_STATUS_ABORTED, false},
        {USER_WRITE_USERNAME_TAKEN, GRPC_STATUS_ALREADY_EXISTS, false},
        {USER_WRITE_EMAIL_TAKEN, GRPC_STATUS_ALREADY_EXISTS, false},
        {USER_WRITE_TOO_MANY_USERS, GRPC_STATUS_RESOURCE_EXHAUSTED, false},
        {USER_WRITE_CROWDED, GRPC_STATUS_ABORTED, true},
        {USER_WRITE_HASH_FULL, GRPC_STATUS_RESOURCE_EXHAUSTED, true},
        {USER_WRITE_NO_MEMORY, GRPC_STATUS_RESOURCE_EXHAUSTED, true},
        {USER_WRITE_CANCELLED, GRPC_STATUS_CANCELLED, false},
        {USER_WRITE_CONFLICT, GRPC_STATUS_ABORTED, true},
        {USER_WRITE_UNKNOWN, GRPC_STATUS_UNKNOWN, false},
        {USER_WRITE_NOT_SENT, GRPC_STATUS_UNAVAILABLE, true},
        {USER_WRITE_LOG_FULL, GRPC_STATUS_UNAVAILABLE, true},
        {USER_WRITE_LOG_SLOW, GRPC_STATUS_UNAVAILABLE, true},
        {USER_WRITE_NO_SPACE, GRPC_STATUS_RESOURCE_EXHAUSTED, true},
        {USER_WRITE_TOO_LARGE, GRPC_STATUS_INVALID_ARGUMENT, false},
    };
    struct user_write write = example(USER_WRITE_CREATE, NULL);
    struct user_error error;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        user_error_of_write(&error, &write, rows[i].outcome);
        check_error(&error);
        ck_assert_int_eq(error.grpc.status, rows[i].status);
        ck_assert_int_eq(error.grpc.retry_delay_ms > 0, rows[i].has_retry);
    }
    user_error_of_write(&error, &write, USER_WRITE_UNKNOWN);
    ck_assert_str_eq(error.grpc.message, "commit outcome unknown");
}

END_TEST

/* An error that tells of a limit counts it, however it came about; the others count nothing. */
START_TEST(user_errors_count_limits)
{
    static const struct {
        enum user_error_kind kind;
        enum limits_hit_reason limit;
    } rows[] = {
        {USER_ERROR_TOO_MANY_FIELDS, LIMITS_HIT_FIELDS},
        {USER_ERROR_TOO_MANY_USERS, LIMITS_HIT_USERS},
        {USER_ERROR_HASH_FULL, LIMITS_HIT_HASH_QUEUE},
        {USER_ERROR_TOO_MANY_MESSAGES, LIMITS_HIT_STREAM_MESSAGES},
    };
    const struct user_write write = example(USER_WRITE_CREATE, NULL);
    struct limits_hit hits = {{0}};
    struct user_error error;
    uint64_t total = 0;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        user_error_set(&error, rows[i].kind);
        user_error_count(&error, &hits);
        ck_assert_uint_eq(hits.counts[rows[i].limit], 1);
    }
    user_error_of_write(&error, &write, USER_WRITE_HASH_FULL);
    user_error_count(&error, &hits);
    ck_assert_uint_eq(hits.counts[LIMITS_HIT_HASH_QUEUE], 2);
    user_error_of_request(&error, USER_REQUEST_E_TOO_MANY, NULL);
    user_error_count(&error, &hits);
    ck_assert_uint_eq(hits.counts[LIMITS_HIT_FIELDS], 2);
    user_error_set(&error, USER_ERROR_NO_MEMORY);
    user_error_count(&error, &hits);
    user_error_not_found(&error, BYTES_LITERAL("x"));
    user_error_count(&error, &hits);
    for (unsigned i = 0; i < LIMITS_HIT_COUNT; i++) {
        total += hits.counts[i];
    }
    ck_assert_uint_eq(total, 6);
}

END_TEST

/* ALREADY_EXISTS has the text of the guide, and names the kind and the value that was asked for. */
START_TEST(user_errors_name_what_is_taken)
{
    struct user_patch patch = {
        .user = {.username = BYTES_LITERAL("Berta"), .email = BYTES_LITERAL("b@c")}};
    struct user_write create = example(USER_WRITE_CREATE, NULL);
    struct user_write update = example(USER_WRITE_UPDATE, &patch);
    struct user_error error;

    user_error_of_write(&error, &create, USER_WRITE_USERNAME_TAKEN);
    ck_assert_str_eq(error.grpc.message, "User already exists");
    ck_assert_str_eq(error.grpc.resource_type, "users.v1.User");
    ck_assert_str_eq(error.grpc.resource_name, "username/Anna");
    ck_assert_str_eq(error.grpc.metadata[0].value, "username");
    ck_assert_str_eq(error.grpc.metadata[1].value, "Anna");
    user_error_of_write(&error, &update, USER_WRITE_EMAIL_TAKEN);
    ck_assert_str_eq(error.grpc.resource_name, "email/b@c");
}

END_TEST

/* ABORTED by an etag says which precondition failed. */
START_TEST(user_errors_explain_a_stale_etag)
{
    struct user_write write = example(USER_WRITE_DELETE, NULL);
    struct user_error error;

    user_error_of_write(&error, &write, USER_WRITE_STALE);
    ck_assert_str_eq(error.grpc.reason, "ETAG_MISMATCH");
    ck_assert_str_eq(error.grpc.message, "User id-1 was changed meanwhile");
    ck_assert_str_eq(error.grpc.precondition_type, "ETAG");
    ck_assert_str_eq(error.grpc.precondition_subject, "id-1");
    ck_assert_ptr_nonnull(error.grpc.precondition_text);
}

END_TEST

/* What a sync asked for and cannot have is named as sent. */
START_TEST(user_errors_name_what_a_sync_asked_for)
{
    const struct user user = {.username = BYTES_LITERAL("Berta"), .email = BYTES_LITERAL("b@x")};
    struct user_write write = example(USER_WRITE_SYNC, NULL);
    struct user_error error;

    write.user = &user;
    user_error_of_write(&error, &write, USER_WRITE_USERNAME_TAKEN);
    check_error(&error);
    ck_assert_str_eq(error.grpc.resource_name, "username/Berta");
    user_error_of_write(&error, &write, USER_WRITE_EMAIL_TAKEN);
    ck_assert_str_eq(error.grpc.resource_name, "email/b@x");
    user_error_add_index(&error, 99999);
    check_error(&error);
    ck_assert_uint_eq(error.grpc.metadata_count, 3);
    ck_assert_str_eq(error.grpc.metadata[2].key, "index");
    ck_assert_str_eq(error.grpc.metadata[2].value, "99999");
}

END_TEST

/* What readers of requests say, and the limit of a stream. */
START_TEST(user_errors_cover_requests)
{
    static const struct {
        int result;
        enum grpc_status status;
        const char *reason;
    } rows[] = {
        {-EBADMSG, GRPC_STATUS_INTERNAL, "MALFORMED_MESSAGE"},
        {-ENOMEM, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY"},
        {USER_REQUEST_E_TOO_MANY, GRPC_STATUS_INVALID_ARGUMENT, "TOO_MANY_FIELDS"},
        {USER_REQUEST_E_NUL, GRPC_STATUS_INVALID_ARGUMENT, "NUL_IN_TEXT"},
        {USER_REQUEST_E_TOO_LARGE, GRPC_STATUS_INVALID_ARGUMENT, "USER_TOO_LARGE"},
        {USER_REQUEST_E_FAULTS, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_FIELDS"},
    };
    const struct user_faults faults = {.items = {{"email", "is odd"}}, .count = 1};
    struct user_error error;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        user_error_of_request(&error, rows[i].result, &faults);
        check_error(&error);
        ck_assert_int_eq(error.grpc.status, rows[i].status);
        ck_assert_str_eq(error.grpc.reason, rows[i].reason);
    }
    user_error_set(&error, USER_ERROR_TOO_MANY_MESSAGES);
    check_error(&error);
    ck_assert_int_eq(error.grpc.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
}

END_TEST

UNIT_MAIN("user_errors", user_errors_have_their_statuses, user_errors_name_the_user,
          user_errors_hold_the_longest_id, user_errors_name_bad_fields, user_errors_name_the_path,
          user_errors_choose_a_reason, user_errors_cover_every_outcome, user_errors_count_limits,
          user_errors_name_what_is_taken, user_errors_explain_a_stale_etag,
          user_errors_name_what_a_sync_asked_for, user_errors_cover_requests)
