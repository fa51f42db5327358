/*
 * export: the users are read into a store as at a start of userd, then printed in their order.
 */
#include "common_json.h"
#include "service/user_entry.h"
#include "service/user_order.h"
#include "service/user_store.h"
#include "userwal_commands.h"
#include "userwal_engine.h"
#include "userwal_look.h"
#include "userwal_output.h"
#include "userwal_place.h"
#include "userwal_user.h"

#include <stdio.h>

static int print_user(const struct user_entry *entry, bool with_passwords)
{
    struct common_json json = {.out = stdout};
    struct user user;
    int result = user_record_read_user(user_entry_message(entry), &user);

    if (result != 0) {
        return result; /* not of what is stored */
    }
    common_json_open(&json, NULL);
    userwal_user_members(&json, &user);
    if (with_passwords && user_entry_password_hash(entry).size > 0) {
        common_json_text(&json, "password_hash", user_entry_password_hash(entry));
    }
    if (with_passwords && user_entry_request_id(entry).size > 0) {
        common_json_text(&json, "request_id", user_entry_request_id(entry));
    }
    common_json_close(&json);
    common_json_end_line(&json);
    return 0;
}

static int print_users(const struct userwal_engine *engine, bool with_passwords)
{
    const struct user_order *order = user_store_order(engine->store);
    struct user_order_cursor cursor = user_order_after(order, 0);
    const uint64_t count = user_store_count(engine->store);
    const struct user_entry *entry;
    uint64_t done = 0;
    int result = 0;

    while (result == 0 && ferror(stdout) == 0 &&
           (entry = user_order_next(order, &cursor)) != NULL) {
        result = print_user(entry, with_passwords);
        userwal_progress("users", ++done, count);
    }
    return result == 0 ? 0 : userwal_fail_errno(result, "a stored user");
}

static int load(const struct userwal_arguments *arguments, struct userwal_engine *engine,
                struct userwal_place *place)
{
    int result;

    if (place->kind == USERWAL_PLACE_SEGMENT) {
        return userwal_fail(COMMON_EXIT_USAGE,
                            "%s: a segment alone is not the whole state; see 'userwal dump'",
                            arguments->first);
    }
    result = place->kind == USERWAL_PLACE_FOLDER
                 ? userwal_look_start(place, engine)
                 : userwal_engine_load_snapshot(engine, place->disk, place->lsn);
    if (result != 0) {
        return userwal_fail(userwal_engine_exit_code(result), "nothing is exported: %s%s",
                            engine->problem,
                            place->is_in_use ? " (a server is writing there: try again)" : "");
    }
    for (size_t i = 0; i < engine->notice_count; i++) {
        userwal_say("note: %s", engine->notices[i]);
    }
    return 0;
}

int userwal_export(const struct userwal_arguments *arguments)
{
    struct userwal_engine engine;
    struct userwal_place place = {0};
    int result = userwal_engine_init(&engine);

    if (result != 0) {
        return result;
    }
    result = userwal_place_open(arguments->first, &engine.reactor, &place);
    if (result == 0) {
        result = load(arguments, &engine, &place);
    }
    if (result == 0) {
        result = print_users(&engine, arguments->hashes);
    }
    userwal_place_close(&place);
    userwal_engine_deinit(&engine);
    return result;
}
