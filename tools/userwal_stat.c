/*
 * stat: what a data directory holds, as a table or as one JSON object.
 */
#include "common_json.h"
#include "service/user_record.h"
#include "service/user_store.h"
#include "userwal_commands.h"
#include "userwal_engine.h"
#include "userwal_look.h"
#include "userwal_output.h"
#include "userwal_place.h"
#include "userwal_survey.h"
#include "userwal_user.h"

#include <inttypes.h>

#define TYPES_MAX 4 /* those with names, and 0 for all others */

struct sums {
    uint64_t frames;
    uint64_t marks; /* frames without records */
    uint64_t records;
    uint64_t by_type[TYPES_MAX];
    uint64_t first_lsn; /* of the log; 0 = there is none */
    uint64_t next_lsn;
    uint64_t first_ns;
    uint64_t last_ns;
    uint64_t payload_bytes;
    uint64_t padding_bytes;
    uint64_t leftovers; /* .torn, .bad, .tmp */
};

static int on_frame(void *context, const struct userwal_frame *frame)
{
    struct sums *sums = context;
    struct wal_format_record record = {0};
    size_t offset = 0;

    if (!frame->is_whole) {
        return 0;
    }
    sums->frames++;
    sums->marks += frame->header.record_count == 0;
    sums->records += frame->header.record_count;
    sums->first_ns = sums->first_ns == 0 ? frame->header.realtime_ns : sums->first_ns;
    sums->last_ns = frame->header.realtime_ns;
    while (offset < frame->payload.size &&
           wal_format_get_record(frame->payload, &offset, &record) == 0) {
        sums->by_type[record.type < TYPES_MAX ? record.type : 0]++;
    }
    return 0;
}

static void add_up(const struct userwal_survey *survey, struct sums *sums)
{
    const struct userwal_folder *folder = &survey->folder;

    for (size_t i = 0; i < folder->segment_count; i++) {
        const struct userwal_segment *segment = &survey->segments[i];

        sums->payload_bytes += segment->payload_bytes;
        sums->padding_bytes += segment->padding_bytes;
        if (segment->header_result == 0) {
            sums->next_lsn = segment->next_lsn;
        }
    }
    sums->first_lsn = folder->segment_count > 0 ? folder->segments[0].lsn : 0;
    for (size_t i = 0; i < folder->count; i++) {
        const enum userwal_file_kind kind = folder->files[i].kind;

        sums->leftovers += kind == USERWAL_FILE_BAD || kind == USERWAL_FILE_TORN;
    }
}

static const char *kind_name(enum userwal_file_kind kind)
{
    static const char *const names[] = {
        [USERWAL_FILE_CONTROL] = "control",   [USERWAL_FILE_SNAPSHOT] = "snapshot",
        [USERWAL_FILE_SEGMENT] = "segment",   [USERWAL_FILE_BAD] = "bad snapshot",
        [USERWAL_FILE_TORN] = "torn remains", [USERWAL_FILE_TEMPORARY] = "temporary",
        [USERWAL_FILE_OTHER] = "other",
    };

    return names[kind];
}

/* What is special about a file, in a few words. */
static const char *remark_on(const struct userwal_survey *survey, const struct userwal_file *file,
                             char *out, size_t size)
{
    out[0] = '\0';
    if (file->kind == USERWAL_FILE_SNAPSHOT) {
        const struct userwal_snapshot *snapshot =
            &survey->snapshots[file - survey->folder.snapshots];

        (void)snprintf(out, size, "%s, %" PRIu64 " records",
                       snapshot->is_whole ? "whole" : "DAMAGED", snapshot->record_count);
    } else if (file->kind == USERWAL_FILE_SEGMENT) {
        const struct userwal_segment *segment = &survey->segments[file - survey->folder.segments];

        (void)snprintf(out, size, "%" PRIu64 " records in %" PRIu64 " frames, sync %s%s",
                       segment->record_count, segment->frame_count,
                       segment->header.is_lazy ? "interval" : "always",
                       segment->header_result != 0 ? ", HEADER DAMAGED" : "");
    }
    return out;
}

static const char *end_of(const struct wal_format_control *control)
{
    return control->sequence == 0 ? "unknown: CONTROL is missing or damaged"
           : control->is_clean    ? "closed properly"
                                  : "not closed properly, or in use";
}

static void print_table(const struct userwal_survey *survey, const struct sums *sums,
                        const struct userwal_engine *engine, int start)
{
    const struct wal_format_control *control = &survey->folder.control;
    char uuid[USERWAL_UUID_SIZE] = "unknown";
    char first[USERWAL_TIME_SIZE];
    char last[USERWAL_TIME_SIZE];
    char remark[96];

    if (survey->has_uuid) {
        (void)userwal_folder_uuid(survey->store_uuid, uuid);
    }
    (void)printf("store      %s\nstate      %s\n", uuid, end_of(control));
    (void)printf("durable    up to record %" PRIu64 ", says CONTROL\n", control->durable_lsn);
    if (sums->first_lsn != 0) {
        (void)printf("log        records %" PRIu64 " to %" PRIu64 "\n", sums->first_lsn,
                     sums->next_lsn - 1);
    }
    if (sums->records > 0) {
        (void)printf("written    %s to %s\n", userwal_time(sums->first_ns, first),
                     userwal_time(sums->last_ns, last));
    }
    (void)printf("frames     %" PRIu64 ", %" PRIu64 " of them marks without records\n",
                 sums->frames, sums->marks);
    (void)printf("records    %" PRIu64, sums->records);
    for (uint8_t type = 1; type < TYPES_MAX; type++) {
        (void)printf(", %" PRIu64 " %s", sums->by_type[type], userwal_user_type_name(type));
    }
    (void)printf(", %" PRIu64 " other\n", sums->by_type[0]);
    (void)printf("padding    %" PRIu64 " bytes, beside %" PRIu64 " of frames\n",
                 sums->padding_bytes, sums->payload_bytes);
    if (start == 0) {
        (void)printf("users      %" PRIu64 "\n", user_store_count(engine->store));
    } else {
        (void)printf("users      unknown, userd would refuse to start: %s\n", engine->problem);
    }
    (void)printf("leftovers  %" PRIu64 " files .torn or .bad\n", sums->leftovers);
    (void)printf("damage     %zu findings%s\n\n", survey->damage_count,
                 survey->damage_count == 0 ? "" : ": see 'userwal verify'");
    for (size_t i = 0; i < survey->folder.count; i++) {
        const struct userwal_file *file = &survey->folder.files[i];

        (void)printf("%-13s %12" PRIu64 "  ", kind_name(file->kind), file->size);
        common_json_plain(stdout, bytes_from_text(file->name));
        (void)remark_on(survey, file, remark, sizeof(remark));
        (void)printf("%s%s\n", remark[0] == '\0' ? "" : "  ", remark);
    }
}

static void put_files(struct common_json *json, const struct userwal_survey *survey)
{
    common_json_open_list(json, "files");
    for (size_t i = 0; i < survey->folder.count; i++) {
        const struct userwal_file *file = &survey->folder.files[i];

        common_json_open(json, NULL);
        common_json_words(json, "name", file->name);
        common_json_words(json, "kind", kind_name(file->kind));
        common_json_number(json, "size", file->size);
        if (file->kind == USERWAL_FILE_SNAPSHOT) {
            const struct userwal_snapshot *snapshot =
                &survey->snapshots[file - survey->folder.snapshots];

            common_json_number(json, "lsn", file->lsn);
            common_json_bool(json, "is_whole", snapshot->is_whole);
            common_json_number(json, "records", snapshot->record_count);
        } else if (file->kind == USERWAL_FILE_SEGMENT) {
            const struct userwal_segment *segment =
                &survey->segments[file - survey->folder.segments];

            common_json_number(json, "first_lsn", file->lsn);
            common_json_bool(json, "has_header", segment->header_result == 0);
            common_json_number(json, "frames", segment->frame_count);
            common_json_number(json, "records", segment->record_count);
            common_json_words(json, "sync", segment->header.is_lazy ? "interval" : "always");
        }
        common_json_close(json);
    }
    common_json_close_list(json);
}

static void print_json(const struct userwal_survey *survey, const struct sums *sums,
                       const struct userwal_engine *engine, int start)
{
    const struct wal_format_control *control = &survey->folder.control;
    struct common_json json = {.out = stdout};
    char text[USERWAL_UUID_SIZE + USERWAL_TIME_SIZE];

    common_json_open(&json, NULL);
    if (survey->has_uuid) {
        common_json_words(&json, "store_uuid", userwal_folder_uuid(survey->store_uuid, text));
    } else {
        common_json_null(&json, "store_uuid");
    }
    common_json_bool(&json, "is_clean", control->is_clean);
    common_json_bool(&json, "may_have_lost", control->may_have_lost);
    common_json_number(&json, "durable_lsn", control->durable_lsn);
    common_json_number(&json, "first_lsn", sums->first_lsn);
    common_json_number(&json, "last_lsn", sums->next_lsn == 0 ? 0 : sums->next_lsn - 1);
    common_json_number(&json, "snapshot_lsn", survey->base_lsn);
    common_json_number(&json, "frames", sums->frames);
    common_json_number(&json, "marks", sums->marks);
    common_json_number(&json, "records", sums->records);
    common_json_open(&json, "records_by_type");
    for (uint8_t type = 1; type < TYPES_MAX; type++) {
        common_json_number(&json, userwal_user_type_name(type), sums->by_type[type]);
    }
    common_json_number(&json, "other", sums->by_type[0]);
    common_json_close(&json);
    common_json_words(&json, "first_time", userwal_time(sums->first_ns, text));
    common_json_words(&json, "last_time", userwal_time(sums->last_ns, text));
    common_json_number(&json, "frame_bytes", sums->payload_bytes);
    common_json_number(&json, "padding_bytes", sums->padding_bytes);
    if (start == 0) {
        common_json_number(&json, "users", user_store_count(engine->store));
    } else {
        common_json_null(&json, "users");
        common_json_words(&json, "problem", engine->problem);
    }
    common_json_number(&json, "damage", survey->damage_count);
    put_files(&json, survey);
    common_json_close(&json);
    common_json_end_line(&json);
}

static int stat_folder(const struct userwal_arguments *arguments, struct userwal_engine *engine,
                       struct userwal_place *place)
{
    struct userwal_look look;
    struct sums sums = {0};
    int result = userwal_look(place, engine, on_frame, &sums, sizeof(sums), &look);

    if (result == 0) {
        add_up(&look.survey, &sums);
        if (arguments->json) {
            print_json(&look.survey, &sums, engine, look.start);
        } else {
            print_table(&look.survey, &sums, engine, look.start);
        }
        result = look.survey.damage_count > 0 || look.start != 0 ? COMMON_EXIT_DAMAGED : 0;
    }
    userwal_look_deinit(&look);
    return result;
}

int userwal_stat(const struct userwal_arguments *arguments)
{
    struct userwal_engine engine;
    struct userwal_place place = {0};
    int result = userwal_engine_init(&engine);

    if (result != 0) {
        return result;
    }
    result = userwal_place_open(arguments->first, &engine.reactor, &place);
    if (result == 0 && place.kind != USERWAL_PLACE_FOLDER) {
        result = userwal_fail(COMMON_EXIT_USAGE, "%s: is no directory; see 'userwal verify'",
                              arguments->first);
    } else if (result == 0) {
        result = stat_folder(arguments, &engine, &place);
    }
    userwal_place_close(&place);
    userwal_engine_deinit(&engine);
    return result;
}
