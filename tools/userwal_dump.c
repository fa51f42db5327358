/*
 * dump: every frame and record as a JSON line, snapshots first. Lines have a `kind`: segment,
 * snapshot, frame, record, and damage where something could not be read. `in_chain` is false for
 * what stands behind damage, which a start of the log would not reach.
 */
#include "common_json.h"
#include "core/snapshot_read.h"
#include "userwal_commands.h"
#include "userwal_output.h"
#include "userwal_place.h"
#include "userwal_survey.h"
#include "userwal_user.h"

#include <errno.h>
#include <string.h>

struct dump {
    const struct userwal_arguments *arguments;
    struct disk *disk;
    struct wal_window window;
    const char *file;
    struct common_json json;
    bool is_in_use; /* by a server, which removes files meanwhile */
    bool is_damaged;
};

static bool is_wanted(const struct dump *dump, uint64_t lsn)
{
    return lsn >= dump->arguments->from && lsn <= dump->arguments->to;
}

static void open_line(struct dump *dump, const char *kind)
{
    common_json_open(&dump->json, NULL);
    common_json_words(&dump->json, "kind", kind);
    common_json_words(&dump->json, "file", dump->file);
}

static void close_line(struct dump *dump)
{
    common_json_close(&dump->json);
    common_json_end_line(&dump->json);
}

static void time_member(struct dump *dump, const char *name, uint64_t realtime_ns)
{
    char text[USERWAL_TIME_SIZE];

    if (realtime_ns != 0) {
        common_json_words(&dump->json, name, userwal_time(realtime_ns, text));
    }
}

static void hex_member(struct dump *dump, const char *name, uint64_t number)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)number);
    common_json_words(&dump->json, name, text);
}

static void put_record(struct dump *dump, const struct wal_record *record)
{
    const char *type = userwal_user_type_name(record->type);

    common_json_number(&dump->json, "lsn", record->lsn);
    if (type != NULL) {
        common_json_words(&dump->json, "type", type);
    } else {
        common_json_number(&dump->json, "type", record->type);
    }
    time_member(dump, "time", record->realtime_ns);
    if (!userwal_user_record(&dump->json, record->type, record->body, dump->arguments->hashes)) {
        common_json_bool(&dump->json, "is_readable", false);
        common_json_number(&dump->json, "bytes", record->body.size);
        dump->is_damaged = true;
    }
}

static void put_damage(struct dump *dump, uint64_t offset, const char *what)
{
    dump->is_damaged = true;
    open_line(dump, "damage");
    common_json_number(&dump->json, "offset", offset);
    common_json_words(&dump->json, "what", what);
    close_line(dump);
}

/* ---- segments */

static bool is_frame_wanted(const struct dump *dump, const struct wal_format_frame *header)
{
    const uint64_t last_lsn = header->record_count == 0
                                  ? header->first_lsn
                                  : header->first_lsn + header->record_count - 1;

    return last_lsn >= dump->arguments->from && header->first_lsn <= dump->arguments->to;
}

static void put_frame(struct dump *dump, const struct userwal_frame *frame)
{
    const struct wal_format_frame *header = &frame->header;

    open_line(dump, "frame");
    common_json_number(&dump->json, "offset", frame->offset);
    common_json_number(&dump->json, "size", frame->size);
    common_json_number(&dump->json, "first_lsn", header->first_lsn);
    common_json_number(&dump->json, "records", header->record_count);
    common_json_number(&dump->json, "durable_lsn", header->durable_lsn);
    if (header->flags != 0) {
        common_json_words(&dump->json, "mark",
                          header->flags == WAL_FORMAT_FRAME_SEAL    ? "SEAL"
                          : header->flags == WAL_FORMAT_FRAME_CLOSE ? "CLOSE"
                                                                    : "unknown");
    }
    time_member(dump, "time", header->realtime_ns);
    common_json_bool(&dump->json, "is_whole", frame->is_whole);
    common_json_bool(&dump->json, "in_chain", frame->is_in_chain);
    close_line(dump);
}

static int on_frame(void *context, const struct userwal_frame *frame)
{
    struct dump *dump = context;
    const struct wal_format_frame *header = &frame->header;
    struct wal_format_record found = {0};
    size_t offset = 0;

    if (!is_frame_wanted(dump, header)) {
        return 0;
    }
    put_frame(dump, frame);
    for (uint32_t i = 0; frame->is_whole && i < header->record_count; i++) {
        const size_t at = offset;
        struct wal_record record = {.realtime_ns = header->realtime_ns};

        if (wal_format_get_record(frame->payload, &offset, &found) != 0) {
            break; /* not of a whole frame */
        }
        record.lsn = header->first_lsn + i;
        record.type = found.type;
        record.body = found.body;
        if (is_wanted(dump, record.lsn)) {
            open_line(dump, "record");
            common_json_number(&dump->json, "offset",
                               frame->offset + WAL_FORMAT_FRAME_HEADER_SIZE + at);
            put_record(dump, &record);
            common_json_bool(&dump->json, "in_chain", frame->is_in_chain);
            close_line(dump);
        }
    }
    return ferror(stdout) != 0 ? -EPIPE : 0;
}

static void put_segment(struct dump *dump, const struct userwal_segment *segment)
{
    char uuid[USERWAL_UUID_SIZE];

    open_line(dump, "segment");
    if (segment->header_result == 0) {
        common_json_number(&dump->json, "first_lsn", segment->header.first_lsn);
        common_json_number(&dump->json, "next_lsn", segment->next_lsn);
        common_json_words(&dump->json, "store_uuid",
                          userwal_folder_uuid(segment->header.store_uuid, uuid));
        hex_member(dump, "epoch", segment->header.epoch);
        common_json_number(&dump->json, "size", segment->header.size);
        common_json_words(&dump->json, "sync", segment->header.is_lazy ? "interval" : "always");
        time_member(dump, "time", segment->header.realtime_ns);
    }
    common_json_number(&dump->json, "end_offset", segment->end_offset);
    common_json_words(&dump->json, "ends_with", userwal_segment_why(segment->why));
    close_line(dump);
}

/* An I/O error, or nothing but a reader who has enough or a file that the server has removed. */
static int fail_reading(const struct dump *dump, int error)
{
    if (error == -EPIPE) {
        return 0;
    }
    if (error == -ENOENT && dump->is_in_use) {
        userwal_say("note: %s was removed meanwhile", dump->file);
        return 0;
    }
    return userwal_fail_errno(error, dump->file);
}

/* The frames come first, as the segment is summed up when it was read. */
static int dump_segment(struct dump *dump, const char *name)
{
    struct userwal_segment segment = {0};
    int result;

    dump->file = name;
    result = userwal_segment_walk(dump->disk, name, &dump->window, on_frame, dump, &segment);
    if (result != 0) {
        return fail_reading(dump, result);
    }
    put_segment(dump, &segment);
    if (segment.header_result != 0 || segment.used_end > segment.end_offset) {
        put_damage(dump, segment.end_offset, userwal_segment_why(segment.why));
    }
    return 0;
}

/* ---- snapshots */

static int on_snapshot_begin(void *context, const struct snapshot_format_header *header,
                             uint64_t file_size)
{
    struct dump *dump = context;
    char uuid[USERWAL_UUID_SIZE];

    open_line(dump, "snapshot");
    common_json_number(&dump->json, "lsn", header->lsn);
    common_json_words(&dump->json, "store_uuid", userwal_folder_uuid(header->store_uuid, uuid));
    common_json_number(&dump->json, "records", header->record_count);
    common_json_number(&dump->json, "size", file_size);
    time_member(dump, "time", header->realtime_ns);
    close_line(dump);
    return 0;
}

static int on_snapshot_record(void *context, const struct wal_record *record)
{
    struct dump *dump = context;

    if (is_wanted(dump, record->lsn)) {
        open_line(dump, "record");
        put_record(dump, record);
        close_line(dump);
    }
    return ferror(stdout) != 0 ? -EPIPE : 0;
}

static int dump_snapshot(struct dump *dump, const char *name, uint64_t lsn)
{
    char problem[WAL_PROBLEM_SIZE];
    const struct snapshot_read read = {
        .disk = dump->disk,
        .window = &dump->window,
        .lsn = lsn,
        .begin = on_snapshot_begin,
        .record = on_snapshot_record,
        .context = dump,
        .problem = problem,
    };
    int result;

    dump->file = name;
    result = snapshot_read(&read);
    if (result > 0) {
        put_damage(dump, 0, problem);
        return 0;
    }
    return result == 0 ? 0 : fail_reading(dump, result);
}

static int dump_folder(struct dump *dump)
{
    struct userwal_folder folder;
    int result = userwal_folder_read(dump->disk, &folder);

    if (result != 0) {
        result = userwal_fail_errno(result, dump->arguments->first);
    }
    for (size_t i = 0; i < folder.snapshot_count && result == 0; i++) {
        result = dump_snapshot(dump, folder.snapshots[i].name, folder.snapshots[i].lsn);
    }
    for (size_t i = 0; i < folder.segment_count && result == 0; i++) {
        result = dump_segment(dump, folder.segments[i].name);
    }
    userwal_folder_deinit(&folder);
    return result;
}

int userwal_dump(const struct userwal_arguments *arguments)
{
    struct dump dump = {.arguments = arguments, .json.out = stdout};
    struct userwal_place place = {0};
    int result = userwal_place_open(arguments->first, NULL, &place);

    if (result != 0) {
        return result;
    }
    dump.disk = place.disk;
    dump.is_in_use = place.is_in_use;
    result = wal_window_init(&dump.window);
    if (result != 0) {
        result = userwal_fail_errno(result, arguments->first);
    } else if (place.kind == USERWAL_PLACE_FOLDER) {
        result = dump_folder(&dump);
    } else if (place.kind == USERWAL_PLACE_SNAPSHOT) {
        result = dump_snapshot(&dump, place.name, place.lsn);
    } else {
        result = dump_segment(&dump, place.name);
    }
    wal_window_deinit(&dump.window);
    userwal_place_close(&place);
    return result == 0 && dump.is_damaged ? COMMON_EXIT_DAMAGED : result;
}
