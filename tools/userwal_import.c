/*
 * import: users from JSON lines into a new data directory. Each line is parsed and checked, then
 * goes the way of any change in userd: its names are reserved, the record is planned and logged,
 * many at once; when it is durable the store takes it. A bad line, or a disk that fails, ends it,
 * and what was written is removed again.
 */
#include "common_json.h"
#include "common_lines.h"
#include "core/clock.h"
#include "core/random.h"
#include "service/user_id.h"
#include "service/user_store.h"
#include "userwal_commands.h"
#include "userwal_engine.h"
#include "userwal_line.h"
#include "userwal_output.h"
#include "userwal_sink.h"

#include <inttypes.h>
#include <stdlib.h>

#define IN_FLIGHT_MAX   1024
#define IN_FLIGHT_BYTES ((size_t)8 * 1024 * 1024)

struct import {
    const struct userwal_arguments *arguments;
    struct userwal_engine engine; /* its loop and its store */
    struct userwal_sink sink;
    struct user_id_source ids;
    struct common_lines lines;
    unsigned in_flight;
    size_t bytes_in_flight;
    bool has_failed; /* one of them was not taken */
    uint64_t imported;
    uint64_t skipped;
};

/* One user on its way. */
struct item {
    struct import *import;
    struct user_change change;
    struct commit_mutation mutation;
    struct buf record;
};

static struct user_store *store_of(const struct import *import)
{
    return import->engine.store;
}

static void free_item(struct item *item)
{
    user_store_release(store_of(item->import), &item->change);
    buf_deinit(&item->record);
    free(item);
}

static void on_done(struct commit_mutation *mutation, enum commit_outcome outcome,
                    uint64_t revision)
{
    struct item *item = CONTAINER_OF(mutation, struct item, mutation);
    struct import *import = item->import;

    (void)revision;
    import->in_flight--;
    import->bytes_in_flight -= buf_size(&item->record);
    if (outcome == COMMIT_DONE) {
        import->imported++;
    } else {
        import->has_failed = true;
    }
    free_item(item);
}

/* Turns the loop until at most so many are on their way. */
static int drain(struct import *import, unsigned most)
{
    int result = 0;

    while (result == 0 && (import->in_flight > most || import->bytes_in_flight > IN_FLIGHT_BYTES)) {
        result = userwal_sink_turn(&import->sink);
    }
    if (result == 0) {
        result = userwal_sink_check(&import->sink);
    }
    if (result == 0 && import->has_failed) {
        result = userwal_fail(COMMON_EXIT_IO, "the log did not take a user");
    }
    return result;
}

/* ---- one line */

static const char *problem_of_reserve(int result)
{
    return result == USER_STORE_E_USERNAME_TAKEN ? "username: is taken by a line before"
           : result == USER_STORE_E_EMAIL_TAKEN  ? "email: is taken by a line before"
                                                 : "out of memory";
}

/* What depends on the lines before. NULL when all is fine, with the names reserved. */
static const char *reserve(struct import *import, const struct userwal_line *line,
                           struct item *item)
{
    const struct user_store *store = store_of(import);
    const struct bytes id = line->user.id;
    const struct bytes request_id = line->request_id;
    const struct user_names names = {id, line->user.username, line->user.email, request_id};
    int result;

    if (user_store_find(store, id) != NULL || user_store_change_of_id(store, id) != NULL) {
        return "id: is taken by a line before";
    }
    if (request_id.size > 0 && (user_store_find_request(store, request_id) != NULL ||
                                user_store_change_of_request(store, request_id) != NULL)) {
        return "request_id: is taken by a line before";
    }
    result = user_store_reserve(store_of(import), &item->change, &names);
    return result == 0 ? NULL : problem_of_reserve(result);
}

/* Times are kept, where they can be those of a user that userd has made. */
static const char *check_times(const struct import *import, const struct user *user, int64_t now_ms)
{
    if (user->created_at > now_ms || user->updated_at > now_ms) {
        return "created_at, updated_at: must not lie in the future";
    }
    if (user->created_at != 0 &&
        user->created_at < user_store_counters(store_of(import)).created_at) {
        return "created_at: must not be before that of a line before";
    }
    return NULL;
}

/* Numbers the user and packs the record, as user_write.c does. */
static int plan(struct import *import, struct userwal_line *line, int64_t now_ms, struct item *item)
{
    struct user *user = &line->user;
    struct user_stamp stamp =
        user_store_stamp(store_of(import), user->created_at != 0 ? user->created_at : now_ms);
    struct user_record record = {
        .password_hash = line->password_hash,
        .request_id = line->request_id,
        .sequence = stamp.change,
    };
    struct buf message = {0};
    char etag[USER_ETAG_SIZE];
    int result;

    user->created_at = stamp.created_at;
    user->updated_at = user->updated_at > stamp.created_at ? user->updated_at : stamp.created_at;
    user->status = user->status == USER_STATUS_UNSPECIFIED ? USER_STATUS_ACTIVE : user->status;
    user->etag = (struct bytes){(const uint8_t *)etag, user_record_format_etag(stamp.change, etag)};
    result = user_record_append_user(user, &message);
    if (result == 0) {
        record.message = buf_bytes(&message);
        result = user_record_append(&record, &item->record);
    }
    buf_deinit(&message);
    item->mutation = (struct commit_mutation){
        .record = buf_bytes(&item->record),
        .record_type = USER_RECORD_PUT,
        .done = on_done,
    };
    list_init(&item->mutation.link);
    return result == 0 ? user_store_plan(store_of(import), &item->change, &item->mutation) : result;
}

/* Sends one user on its way. NULL, or what is wrong with it. */
static const char *send_user(struct import *import, struct userwal_line *line)
{
    const uint64_t now_ns = clock_realtime_ns(clock_system());
    const int64_t now_ms = (int64_t)(now_ns / CLOCK_NS_PER_MS);
    const char *problem = check_times(import, &line->user, now_ms);
    struct item *item = problem == NULL ? calloc(1, sizeof(*item)) : NULL;
    char id[USER_ID_SIZE];

    if (item == NULL) {
        return problem == NULL ? "out of memory" : problem;
    }
    item->import = import;
    if (line->user.id.size == 0) {
        user_id_next(&import->ids, (uint64_t)now_ms, id);
        line->user.id = bytes_from_text(id);
    }
    problem = reserve(import, line, item);
    if (problem == NULL && plan(import, line, now_ms, item) != 0) {
        problem = "out of memory";
    }
    if (problem != NULL) {
        free_item(item);
        return problem;
    }
    import->in_flight++;
    import->bytes_in_flight += buf_size(&item->record);
    userwal_sink_submit(&import->sink, &item->mutation);
    return NULL;
}

static void report_line(const struct import *import, const char *problem)
{
    struct common_json json = {.out = stdout};

    if (!import->arguments->json) {
        userwal_progress_clear();
        (void)fprintf(stderr, "userwal: line %" PRIu64 ": ", import->lines.number);
        common_json_plain(stderr, bytes_from_text(problem)); /* it may name an unknown field */
        (void)fputc('\n', stderr);
        return;
    }
    common_json_open(&json, NULL);
    common_json_words(&json, "kind", "bad_line");
    common_json_number(&json, "line", import->lines.number);
    common_json_words(&json, "problem", problem);
    common_json_close(&json);
    common_json_end_line(&json);
}

static int bad_line(struct import *import, const char *problem)
{
    report_line(import, problem);
    import->skipped++;
    return import->arguments->skip_bad ? 0 : COMMON_EXIT_DAMAGED;
}

static int import_line(struct import *import, struct bytes text)
{
    char buffer[USERWAL_LINE_PROBLEM_SIZE];
    const char *problem = buffer;
    struct userwal_line line;

    if (common_lines_is_blank(text)) {
        return 0;
    }
    if (userwal_line_read(text, buffer, &line) == 0) {
        problem = send_user(import, &line);
    }
    userwal_line_deinit(&line);
    if (problem != NULL) {
        return bad_line(import, problem);
    }
    userwal_progress("users", import->imported, 0);
    return drain(import, IN_FLIGHT_MAX - 1);
}

static int import_lines(struct import *import)
{
    struct bytes line;
    int result = 0;

    while (result == 0) {
        int found = common_lines_next(&import->lines, &line);

        if (found == COMMON_LINES_E_END) {
            break;
        }
        if (found == COMMON_LINES_E_WAIT) {
            common_lines_wait(&import->lines);
        } else if (found == COMMON_LINES_E_TOO_LONG) {
            result = bad_line(import, "the line is longer than 256 KiB");
        } else {
            result = found == 0 ? import_line(import, line)
                                : userwal_fail_errno(found, "reading the lines");
        }
    }
    return result;
}

static void print_result(const struct import *import, int exit_code)
{
    const bool is_done = exit_code == 0 && !import->arguments->dry_run;
    struct common_json json = {.out = stdout};

    if (!import->arguments->json) {
        (void)printf("%" PRIu64 " users imported, %" PRIu64 " lines were bad%s\n",
                     exit_code == 0 ? import->imported : 0, import->skipped,
                     is_done ? "" : "; nothing was written");
        return;
    }
    common_json_open(&json, NULL);
    common_json_words(&json, "kind", "result");
    common_json_bool(&json, "is_done", is_done);
    common_json_number(&json, "imported", exit_code == 0 ? import->imported : 0);
    common_json_number(&json, "bad_lines", import->skipped);
    common_json_close(&json);
    common_json_end_line(&json);
}

static int import_all(struct import *import)
{
    const struct userwal_arguments *arguments = import->arguments;
    int result =
        userwal_sink_open(&import->sink, arguments->first, &import->engine, arguments->dry_run);
    int other;

    if (result != 0) {
        return result;
    }
    result = import_lines(import);
    other = drain(import, 0);
    result = result == 0 ? other : result;
    other = userwal_sink_close(&import->sink, result == 0, import->imported);
    return result == 0 ? other : result;
}

static int run(struct import *import)
{
    int result = userwal_engine_init(&import->engine);

    if (result != 0) {
        return result;
    }
    import->ids.random = random_system();
    common_read_begin();
    result = import_all(import);
    userwal_progress_clear();
    if (result == 0 || result == COMMON_EXIT_DAMAGED) {
        print_result(import, result);
    }
    userwal_engine_deinit(&import->engine);
    return result;
}

int userwal_import(const struct userwal_arguments *arguments)
{
    const char *path = arguments->second == NULL ? "-" : arguments->second;
    struct import import = {.arguments = arguments};
    int result = common_lines_open(path, &import.lines);

    if (result != 0) {
        return userwal_fail_errno(result, path);
    }
    result = run(&import);
    common_lines_close(&import.lines);
    return result;
}
