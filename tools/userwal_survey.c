/*
 * First every file is read, then what was seen is held against the rules at the head of
 * wal_format.c, each segment against the one behind it, the last one against the watermark. The
 * start of the log applies the same rules, but stops at the first breach and does not look at what
 * it has no need of.
 */
#include "userwal_survey.h"

#include "core/disk.h"
#include "core/snapshot_read.h"
#include "userwal_output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TODO_TRUNCATE                                                                              \
    "copy the directory, then restore a backup; without one, 'userwal truncate' says what giving " \
    "up the log from there would lose"
#define TODO_NOTHING "nothing: userd does not need this file"
#define TODO_MARK    "nothing: no record is lost, and userd starts; but have a look at the disk"

/* ---- the list of findings */

/* Returns the new one, or NULL when out of memory. */
static struct userwal_finding *add_finding(struct userwal_survey *survey,
                                           const struct userwal_finding *finding)
{
    size_t count = survey->finding_count;
    struct userwal_finding *findings = survey->findings;

    if ((count & (count - 1)) == 0) { /* 0 and the powers of two: the array is full */
        findings = realloc(findings, (count == 0 ? 1 : count * 2) * sizeof(*findings));
        if (findings == NULL) {
            return NULL;
        }
        survey->findings = findings;
    }
    survey->findings[count] = *finding;
    survey->finding_count++;
    survey->damage_count += finding->is_damage;
    return &survey->findings[count];
}

__attribute__((format(printf, 3, 4))) static int
find(struct userwal_survey *survey, const struct userwal_finding *finding, const char *format, ...)
{
    struct userwal_finding *added = add_finding(survey, finding);
    va_list arguments;
    int size;

    if (added == NULL) {
        return -ENOMEM;
    }
    va_start(arguments, format);
    size = vasprintf(&added->text, format, arguments);
    va_end(arguments);
    if (size < 0) {
        added->text = NULL; /* its content is undefined */
        return -ENOMEM;
    }
    return 0;
}

static struct userwal_finding damage_of(const char *file, const char *rule, const char *todo)
{
    return (struct userwal_finding){.is_damage = true, .file = file, .rule = rule, .todo = todo};
}

static struct userwal_finding remark_of(const char *file, const char *todo)
{
    struct userwal_finding finding = damage_of(file, "none", todo);

    finding.is_damage = false;
    return finding;
}

/* ---- snapshots */

struct reading {
    struct userwal_snapshot *snapshot;
    uint64_t file_size;
};

static int on_begin(void *context, const struct snapshot_format_header *header, uint64_t file_size)
{
    struct reading *reading = context;

    reading->file_size = file_size;
    reading->snapshot->realtime_ns = header->realtime_ns;
    memcpy(reading->snapshot->store_uuid, header->store_uuid, WAL_FORMAT_UUID_SIZE);
    return 0;
}

static int on_record(void *context, const struct wal_record *record)
{
    struct reading *reading = context;

    (void)record;
    reading->snapshot->record_count++;
    return 0;
}

static void on_advanced(void *context, uint64_t bytes)
{
    struct reading *reading = context;

    userwal_progress(reading->snapshot->file->name, bytes, reading->file_size);
}

/* The offset that the words of a problem name; 0 when they name none. */
static uint64_t offset_in(const char *problem)
{
    const char *found = strstr(problem, "offset ");

    return found == NULL ? 0 : strtoull(found + strlen("offset "), NULL, 10);
}

static int read_snapshot(struct disk *disk, struct wal_window *window,
                         struct userwal_survey *survey, size_t index)
{
    struct userwal_snapshot *snapshot = &survey->snapshots[index];
    char problem[WAL_PROBLEM_SIZE];
    struct reading reading = {.snapshot = snapshot};
    const struct snapshot_read read = {
        .disk = disk,
        .window = window,
        .lsn = survey->folder.snapshots[index].lsn,
        .store_uuid = survey->has_uuid ? survey->store_uuid : NULL,
        .begin = on_begin,
        .record = on_record,
        .advanced = on_advanced,
        .context = &reading,
        .problem = problem,
    };
    struct userwal_finding finding;
    int result;

    snapshot->file = &survey->folder.snapshots[index];
    result = snapshot_read(&read);
    snapshot->is_whole = result == 0;
    if (result <= 0) {
        return result;
    }
    finding = damage_of(snapshot->file->name, result == WAL_E_FOREIGN ? "store" : "snapshot",
                        result == WAL_E_FOREIGN
                            ? "move it out of the directory, it does not belong there"
                            : "nothing is lost as long as userd can start without it; take a new "
                              "one, by SIGUSR1 or 'userwal snapshot'");
    finding.offset = offset_in(problem);
    return find(survey, &finding, "%s", problem);
}

static int read_snapshots(struct disk *disk, struct wal_window *window,
                          struct userwal_survey *survey, const char **ret_file)
{
    int result = 0;

    for (size_t i = 0; i < survey->folder.snapshot_count && result == 0; i++) {
        *ret_file = survey->folder.snapshots[i].name;
        result = read_snapshot(disk, window, survey, i);
        if (result == 0 && survey->snapshots[i].is_whole) {
            survey->base_lsn = survey->snapshots[i].file->lsn;
            if (!survey->has_uuid) {
                survey->has_uuid = true;
                memcpy(survey->store_uuid, survey->snapshots[i].store_uuid, WAL_FORMAT_UUID_SIZE);
            }
        }
    }
    return result;
}

/* ---- segments */

static int read_segments(struct disk *disk, struct wal_window *window, userwal_frame_fn each,
                         void *context, struct userwal_survey *survey, const char **ret_file)
{
    const struct userwal_folder *folder = &survey->folder;
    int result = 0;

    for (size_t i = 0; i < folder->segment_count && result == 0; i++) {
        *ret_file = folder->segments[i].name;
        userwal_progress("reading segment", i + 1, folder->segment_count);
        result = userwal_segment_walk(disk, folder->segments[i].name, window, each, context,
                                      &survey->segments[i]);
        if (result == 0 && survey->segments[i].header_result == 0 && !survey->has_uuid) {
            survey->has_uuid = true;
            memcpy(survey->store_uuid, survey->segments[i].header.store_uuid, WAL_FORMAT_UUID_SIZE);
        }
    }
    return result;
}

bool userwal_survey_first_segment(const struct userwal_survey *survey, size_t *ret_index)
{
    bool is_found = false;

    for (size_t i = 0; i < survey->folder.segment_count; i++) {
        if (survey->folder.segments[i].lsn <= survey->base_lsn + 1) {
            *ret_index = i;
            is_found = true;
        }
    }
    return is_found;
}

static void witness(struct userwal_survey *survey, uint64_t lsn)
{
    survey->witnessed = lsn > survey->witnessed ? lsn : survey->witnessed;
}

static void collect_witnesses(struct userwal_survey *survey)
{
    const struct userwal_folder *folder = &survey->folder;

    witness(survey, folder->control.durable_lsn);
    for (size_t i = 0; i < folder->snapshot_count; i++) {
        witness(survey, folder->snapshots[i].lsn);
    }
    for (size_t i = 0; i < folder->segment_count; i++) {
        const struct userwal_segment *segment = &survey->segments[i];

        witness(survey, folder->segments[i].lsn - 1);
        if (segment->header_result == 0) {
            witness(survey, segment->next_lsn - 1);
            witness(survey, segment->later_proves ? segment->later_last_lsn : 0);
        }
    }
}

static bool is_needed(const struct userwal_survey *survey, size_t index)
{
    size_t first = 0;

    return !userwal_survey_first_segment(survey, &first) || index >= first;
}

static const char *todo_of(const struct userwal_survey *survey, size_t index)
{
    return is_needed(survey, index) ? TODO_TRUNCATE : TODO_NOTHING;
}

/* Of a segment whose header is no good: nothing else is known. False when it is good. */
static bool judge_header(struct userwal_survey *survey, size_t index, int *ret_result)
{
    const struct userwal_file *file = &survey->folder.segments[index];
    const struct userwal_segment *segment = &survey->segments[index];
    struct userwal_finding finding = damage_of(file->name, "header", todo_of(survey, index));
    bool is_last = index + 1 == survey->folder.segment_count;

    finding.first_lsn = file->lsn;
    finding.last_lsn = is_last ? survey->witnessed : file[1].lsn - 1;
    if (segment->header_result == WAL_FORMAT_E_NEWER) {
        finding.rule = "version";
        finding.todo = "use a userwal as new as the userd that wrote it";
        *ret_result = find(survey, &finding, "written by a newer version");
    } else if (segment->header_result != 0) {
        *ret_result = find(survey, &finding, "both copies of the segment's header are damaged");
    } else if (segment->header.first_lsn != file->lsn) {
        *ret_result = find(survey, &finding, "its header says that it begins with record %" PRIu64,
                           segment->header.first_lsn);
    } else if (memcmp(segment->header.store_uuid, survey->store_uuid, WAL_FORMAT_UUID_SIZE) != 0) {
        finding.rule = "store";
        finding.todo = "move it out of the directory, it does not belong there";
        *ret_result = find(survey, &finding, "belongs to another store");
    } else {
        return false;
    }
    return true;
}

/* Rule (a). */
static int judge_middle(struct userwal_survey *survey, size_t index)
{
    const struct userwal_segment *segment = &survey->segments[index];
    const uint64_t successor_lsn = survey->folder.segments[index + 1].lsn;
    struct userwal_finding finding = damage_of(segment->name, "a", todo_of(survey, index));

    finding.offset = segment->end_offset;
    finding.first_lsn = segment->next_lsn;
    finding.last_lsn = successor_lsn - 1;
    if (segment->next_lsn != successor_lsn) {
        return find(survey, &finding,
                    "whole frames end before record %" PRIu64 ", at %s, but the next segment "
                    "begins with record %" PRIu64,
                    segment->next_lsn, userwal_segment_why(segment->why), successor_lsn);
    }
    if (segment->used_end > segment->end_offset) {
        finding.last_lsn = finding.first_lsn = 0;
        if (segment->why == USERWAL_END_ZEROS) {
            finding.todo = TODO_MARK;
            return find(survey, &finding,
                        "behind its last record there are zeros where a mark had been, and then "
                        "something else");
        }
        return find(survey, &finding, "behind its last record there is %s",
                    userwal_segment_why(segment->why));
    }
    return 0;
}

/* Rules (b) and (c), and what is no damage. */
static int judge_last(struct userwal_survey *survey, size_t index)
{
    const struct userwal_segment *segment = &survey->segments[index];
    struct userwal_finding finding = damage_of(segment->name, "c", TODO_TRUNCATE);
    struct userwal_finding remark = remark_of(segment->name, "nothing: the next start does it");

    remark.offset = finding.offset = segment->end_offset;
    finding.first_lsn = segment->next_lsn;
    finding.last_lsn = survey->witnessed;
    if (segment->later_proves) {
        return find(survey, &finding,
                    "record %" PRIu64 " should begin here, but there is %s; frames behind it, from "
                    "offset %" PRIu64 " (record %" PRIu64 ") on, prove that it had been durable",
                    segment->next_lsn, userwal_segment_why(segment->why), segment->later_offset,
                    segment->later_first_lsn);
    }
    if (segment->why == USERWAL_END_PLACE || segment->why == USERWAL_END_RECORDS) {
        finding.rule = "frame";
        return find(survey, &finding, "record %" PRIu64 " should begin here, but there is %s",
                    segment->next_lsn, userwal_segment_why(segment->why));
    }
    if (survey->witnessed >= segment->next_lsn) {
        finding.rule = "b";
        return find(survey, &finding,
                    "whole frames end before record %" PRIu64 ", at %s, but CONTROL or a snapshot "
                    "proves that record %" PRIu64 " was durable",
                    segment->next_lsn, userwal_segment_why(segment->why), survey->witnessed);
    }
    if (segment->used_end > segment->end_offset) {
        return find(survey, &remark,
                    "%" PRIu64 " bytes of an unfinished write stand behind record %" PRIu64
                    "; a crash leaves such a tail, nothing in it was acknowledged as durable, and "
                    "the next start moves it to a .torn file",
                    segment->used_end - segment->end_offset, segment->next_lsn - 1);
    }
    return 0;
}

static int judge_segment(struct userwal_survey *survey, size_t index)
{
    int result = 0;

    if (judge_header(survey, index, &result)) {
        return result;
    }
    return index + 1 < survey->folder.segment_count ? judge_middle(survey, index)
                                                    : judge_last(survey, index);
}

/* ---- the folder as a whole */

static int judge_control(struct userwal_survey *survey)
{
    static const char *const names[2] = {WAL_FORMAT_CONTROL_A, WAL_FORMAT_CONTROL_B};
    const struct userwal_folder *folder = &survey->folder;
    struct userwal_finding finding =
        damage_of(names[0], "control",
                  "'userwal truncate' makes it anew, and says what nobody can vouch for any more");
    bool has_data = folder->segment_count + folder->snapshot_count > 0;
    int result = 0;

    for (int i = 0; i < 2 && result == 0 && folder->control.sequence != 0; i++) {
        struct userwal_finding remark = remark_of(names[i], "nothing: the next start does it");

        if (folder->control_states[i] != USERWAL_CONTROL_WHOLE) {
            result = find(survey, &remark, "%s; the other one counts, the next start renews both",
                          folder->control_states[i] == USERWAL_CONTROL_MISSING ? "is missing"
                                                                               : "is not whole");
        }
    }
    if (folder->control_states[0] == USERWAL_CONTROL_NEWER ||
        folder->control_states[1] == USERWAL_CONTROL_NEWER) {
        finding.rule = "version";
        finding.todo = "use a userwal as new as the userd that wrote it";
        return find(survey, &finding, "%s or %s was written by a newer version", names[0],
                    names[1]);
    }
    if (result == 0 && folder->controls_differ) {
        finding.rule = "store";
        finding.todo = "move the one away that was copied from elsewhere: userd starts with the "
                       "other one alone";
        return find(survey, &finding, "%s and %s belong to different stores", names[0], names[1]);
    }
    if (result == 0 && folder->control.sequence == 0 && has_data) {
        result = find(survey, &finding,
                      "neither %s nor %s is whole: nothing says how far the log should reach",
                      names[0], names[1]);
    }
    return result;
}

/* Is there a segment that holds what comes behind the base? */
static int judge_base(struct userwal_survey *survey)
{
    const struct userwal_folder *folder = &survey->folder;
    struct userwal_finding finding = damage_of("(no segment)", "base", TODO_TRUNCATE);
    size_t first = 0;

    if (userwal_survey_first_segment(survey, &first) || survey->witnessed == 0) {
        return 0;
    }
    finding.first_lsn = survey->base_lsn + 1;
    finding.last_lsn = folder->segment_count > 0 ? folder->segments[0].lsn - 1 : survey->witnessed;
    if (survey->base_lsn == 0) {
        finding.todo = "restore a backup: 'userwal restore'";
    }
    return find(survey, &finding, "no segment holds record %" PRIu64 ", which comes behind %s",
                finding.first_lsn,
                survey->base_lsn == 0 ? "nothing: no snapshot is whole"
                                      : "the newest whole snapshot");
}

static int judge(struct userwal_survey *survey)
{
    int result;

    collect_witnesses(survey);
    result = judge_control(survey);
    if (result == 0) {
        result = judge_base(survey);
    }
    for (size_t i = 0; i < survey->folder.segment_count && result == 0; i++) {
        result = judge_segment(survey, i);
    }
    return result;
}

static int allocate(struct userwal_survey *survey)
{
    const struct userwal_folder *folder = &survey->folder;

    survey->segments = calloc(folder->segment_count + 1, sizeof(*survey->segments));
    survey->snapshots = calloc(folder->snapshot_count + 1, sizeof(*survey->snapshots));
    return survey->segments == NULL || survey->snapshots == NULL ? -ENOMEM : 0;
}

int userwal_survey_read(struct disk *disk, userwal_frame_fn each, void *context,
                        struct userwal_survey *ret_survey, const char **ret_file)
{
    struct userwal_survey *survey = ret_survey;
    struct wal_window window = {0};
    int result;

    *survey = (struct userwal_survey){0};
    *ret_file = "the directory";
    result = userwal_folder_read(disk, &survey->folder);
    if (result == 0) {
        result = allocate(survey);
    }
    if (result == 0) {
        result = wal_window_init(&window);
    }
    if (survey->folder.control.sequence != 0 && !survey->folder.controls_differ) {
        survey->has_uuid = true;
        memcpy(survey->store_uuid, survey->folder.control.store_uuid, WAL_FORMAT_UUID_SIZE);
    }
    if (result == 0) {
        result = read_snapshots(disk, &window, survey, ret_file);
    }
    if (result == 0) {
        result = read_segments(disk, &window, each, context, survey, ret_file);
    }
    wal_window_deinit(&window);
    userwal_progress_clear();
    return result == 0 ? judge(survey) : result;
}

void userwal_survey_excuse(struct userwal_survey *survey)
{
    for (size_t i = 0; i < survey->finding_count; i++) {
        struct userwal_finding *finding = &survey->findings[i];

        if (finding->is_damage && strcmp(finding->todo, TODO_TRUNCATE) == 0) {
            finding->todo = TODO_MARK;
            finding->first_lsn = finding->last_lsn = 0;
        }
    }
}

void userwal_survey_deinit(struct userwal_survey *survey)
{
    userwal_folder_deinit(&survey->folder);
    free(survey->segments);
    free(survey->snapshots);
    for (size_t i = 0; i < survey->finding_count; i++) {
        free(survey->findings[i].text);
    }
    free(survey->findings);
    *survey = (struct userwal_survey){0};
}
