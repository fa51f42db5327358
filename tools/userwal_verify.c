/*
 * verify: the survey of all files, then a start of the log on a trial disk, which tells what userd
 * would do.
 */
#include "common_json.h"
#include "core/snapshot_read.h"
#include "service/user_store.h"
#include "userwal_commands.h"
#include "userwal_engine.h"
#include "userwal_look.h"
#include "userwal_output.h"
#include "userwal_place.h"
#include "userwal_survey.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void print_lsns(const struct userwal_finding *finding)
{
    if (finding->first_lsn == 0) {
        return;
    }
    if (finding->last_lsn < finding->first_lsn) {
        (void)printf("    records: from %" PRIu64 " on; how many is not known\n",
                     finding->first_lsn);
    } else {
        (void)printf("    records: %" PRIu64 " to %" PRIu64 " would be lost\n", finding->first_lsn,
                     finding->last_lsn);
    }
}

static void print_finding(const struct userwal_finding *finding)
{
    (void)printf("%s %s", finding->is_damage ? "DAMAGE" : "note  ", finding->file);
    if (finding->offset != 0) {
        (void)printf(" at offset %" PRIu64, finding->offset);
    }
    if (finding->is_damage) {
        (void)printf(" (rule: %s)", finding->rule);
    }
    (void)printf("\n    what:    %s\n", finding->text);
    print_lsns(finding);
    (void)printf("    to do:   %s\n", finding->todo);
}

static void print_finding_json(const struct userwal_finding *finding)
{
    struct common_json json = {.out = stdout};

    common_json_open(&json, NULL);
    common_json_words(&json, "kind", finding->is_damage ? "damage" : "note");
    common_json_words(&json, "file", finding->file);
    common_json_number(&json, "offset", finding->offset);
    if (finding->is_damage) {
        common_json_words(&json, "rule", finding->rule);
    }
    if (finding->first_lsn != 0) {
        common_json_number(&json, "first_lsn", finding->first_lsn);
    }
    if (finding->first_lsn != 0 && finding->last_lsn >= finding->first_lsn) {
        common_json_number(&json, "last_lsn", finding->last_lsn);
    }
    common_json_words(&json, "what", finding->text);
    common_json_words(&json, "to_do", finding->todo);
    common_json_close(&json);
    common_json_end_line(&json);
}

static void print_findings(const struct userwal_survey *survey, bool as_json)
{
    for (size_t i = 0; i < survey->finding_count; i++) {
        if (as_json) {
            print_finding_json(&survey->findings[i]);
        } else {
            print_finding(&survey->findings[i]);
        }
    }
}

/* What userd would do at start. */
static void print_start(const struct userwal_engine *engine, int result, bool as_json)
{
    const struct wal_stats *stats = &engine->stats;
    struct common_json json = {.out = stdout};

    if (!as_json) {
        if (result != 0) {
            (void)printf("userd would refuse to start: %s\n", engine->problem);
            return;
        }
        (void)printf("userd would start: %" PRIu64 " users, from ",
                     user_store_count(engine->store));
        if (stats->snapshot_lsn != 0) {
            (void)printf("the snapshot at record %" PRIu64 " and ", stats->snapshot_lsn);
        }
        (void)printf("%" PRIu64 " records of the log\n", stats->records_replayed);
        for (size_t i = 0; i < engine->notice_count; i++) {
            (void)printf("    and would say: %s\n", engine->notices[i]);
        }
        return;
    }
    common_json_open(&json, NULL);
    common_json_words(&json, "kind", "start");
    common_json_bool(&json, "would_start", result == 0);
    if (result != 0) {
        common_json_words(&json, "problem", engine->problem);
    } else {
        common_json_number(&json, "users", user_store_count(engine->store));
        common_json_number(&json, "snapshot_lsn", stats->snapshot_lsn);
        common_json_number(&json, "records_replayed", stats->records_replayed);
        common_json_number(&json, "torn_bytes", stats->torn_bytes);
        common_json_bool(&json, "may_have_lost", stats->may_have_lost);
        common_json_open_list(&json, "notices");
        for (size_t i = 0; i < engine->notice_count; i++) {
            common_json_words(&json, NULL, engine->notices[i]);
        }
        common_json_close_list(&json);
    }
    common_json_close(&json);
    common_json_end_line(&json);
}

static void print_end(const struct userwal_survey *survey, bool is_whole, bool as_json)
{
    struct common_json json = {.out = stdout};

    if (!as_json) {
        (void)printf("%s: %zu segments, %zu snapshots\n", is_whole ? "whole" : "DAMAGED",
                     survey->folder.segment_count, survey->folder.snapshot_count);
        return;
    }
    common_json_open(&json, NULL);
    common_json_words(&json, "kind", "result");
    common_json_bool(&json, "is_whole", is_whole);
    common_json_number(&json, "segments", survey->folder.segment_count);
    common_json_number(&json, "snapshots", survey->folder.snapshot_count);
    common_json_close(&json);
    common_json_end_line(&json);
}

static int verify_folder(const struct userwal_arguments *arguments, struct userwal_engine *engine,
                         struct userwal_place *place)
{
    struct userwal_look look;
    int result = userwal_look(place, engine, NULL, NULL, 0, &look);

    if (result == 0) {
        bool is_whole = look.survey.damage_count == 0 && look.start == 0;

        if (look.start == 0) {
            userwal_survey_excuse(&look.survey);
        }
        print_findings(&look.survey, arguments->json);
        print_start(engine, look.start, arguments->json);
        print_end(&look.survey, is_whole, arguments->json);
        result = look.start < 0 ? userwal_engine_exit_code(look.start)
                 : is_whole     ? 0
                                : COMMON_EXIT_DAMAGED;
    }
    userwal_look_deinit(&look);
    return result;
}

/* A single file says less: what it should be followed by is not known. */
static int verify_segment(const struct userwal_arguments *arguments,
                          const struct userwal_place *place)
{
    struct userwal_segment segment = {0};
    char text[160];
    struct userwal_finding finding = {
        .file = place->name, .rule = "c", .todo = "see the directory", .text = text};
    struct wal_window window = {0};
    int result = wal_window_init(&window);

    if (result == 0) {
        result = userwal_segment_walk(place->disk, place->name, &window, NULL, NULL, &segment);
    }
    wal_window_deinit(&window);
    if (result != 0) {
        return userwal_fail_errno(result, place->name);
    }
    (void)snprintf(text, sizeof(text), "whole frames end before record %" PRIu64 ", at %s",
                   segment.next_lsn, userwal_segment_why(segment.why));
    finding.offset = segment.end_offset;
    finding.first_lsn = segment.next_lsn;
    finding.last_lsn = segment.later_last_lsn;
    finding.is_damage = segment.used_end > segment.end_offset;
    if (arguments->json) {
        print_finding_json(&finding);
    } else if (finding.is_damage) {
        print_finding(&finding);
    } else {
        (void)printf("whole: a segment of %" PRIu64 " records, from %" PRIu64 " on\n",
                     segment.record_count, segment.header.first_lsn);
    }
    return finding.is_damage ? COMMON_EXIT_DAMAGED : 0;
}

static int verify_snapshot(const struct userwal_arguments *arguments, struct userwal_engine *engine,
                           const struct userwal_place *place)
{
    struct common_json json = {.out = stdout};
    int result = userwal_engine_load_snapshot(engine, place->disk, place->lsn);
    const uint64_t users = user_store_count(engine->store);

    if (!arguments->json) {
        if (result == 0) {
            (void)printf("whole: a snapshot of %" PRIu64 " users, after record %" PRIu64 "\n",
                         users, place->lsn);
        } else {
            (void)printf("DAMAGE %s\n", engine->problem);
        }
    } else {
        common_json_open(&json, NULL);
        common_json_words(&json, "kind", "snapshot");
        common_json_bool(&json, "is_whole", result == 0);
        common_json_number(&json, "lsn", place->lsn);
        if (result == 0) {
            common_json_number(&json, "users", users);
        } else {
            common_json_words(&json, "problem", engine->problem);
        }
        common_json_close(&json);
        common_json_end_line(&json);
    }
    return result == 0 ? 0 : userwal_engine_exit_code(result);
}

int userwal_verify(const struct userwal_arguments *arguments)
{
    struct userwal_engine engine;
    struct userwal_place place = {0};
    int result = userwal_engine_init(&engine);

    if (result != 0) {
        return result;
    }
    result = userwal_place_open(arguments->first, &engine.reactor, &place);
    if (result == 0) {
        switch (place.kind) {
        case USERWAL_PLACE_FOLDER:
            result = verify_folder(arguments, &engine, &place);
            break;
        case USERWAL_PLACE_SEGMENT:
            result = verify_segment(arguments, &place);
            break;
        case USERWAL_PLACE_SNAPSHOT:
            result = verify_snapshot(arguments, &engine, &place);
            break;
        }
    }
    userwal_place_close(&place);
    userwal_engine_deinit(&engine);
    return result;
}
