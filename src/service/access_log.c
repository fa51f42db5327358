#include "service/access_log.h"

#include "core/clock.h"
#include "core/log.h"
#include "http2/grpc_call.h"
#include "http2/grpc_method.h"

#include <stdio.h>
#include <stdlib.h>

#define TRACE_ID_SIZE    32
#define TRACE_ID_OFFSET  3  /* behind the version, "00-" */
#define TRACEPARENT_SIZE 55 /* of version 00; later ones may be longer */

/* Foreign texts are shown as far as they are of a sensible length. */
#define PATH_SHOWN     128
#define AGENT_SHOWN    96
#define ATTEMPTS_SHOWN 16

/* What a line tells of the head beside the path. */
struct note {
    char trace_id[TRACE_ID_SIZE + 1]; /* "" = it has none */
    char attempts[ATTEMPTS_SHOWN];
    char user_agent[AGENT_SHOWN];
};

void access_log_init(struct access_log *access, struct log *log)
{
    *access = (struct access_log){.log = log, .choice = ACCESS_LOG_OFF, .sample = 1};
}

static bool is_hex(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!((text.data[i] >= '0' && text.data[i] <= '9') ||
              (text.data[i] >= 'a' && text.data[i] <= 'f'))) {
            return false;
        }
    }
    return true;
}

static bool is_zero(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] != '0') {
            return false;
        }
    }
    return true;
}

bool access_log_trace_id(struct bytes traceparent, struct bytes *ret_id)
{
    const uint8_t *text = traceparent.data;
    const bool is_first_version =
        traceparent.size >= 2 && bytes_equal((struct bytes){text, 2}, BYTES_LITERAL("00"));
    struct bytes id;

    if (traceparent.size < TRACEPARENT_SIZE ||
        (is_first_version && traceparent.size != TRACEPARENT_SIZE) ||
        (traceparent.size > TRACEPARENT_SIZE && text[TRACEPARENT_SIZE] != '-') ||
        !is_hex((struct bytes){text, 2}) ||
        bytes_equal((struct bytes){text, 2}, BYTES_LITERAL("ff")) || text[2] != '-' ||
        text[TRACE_ID_OFFSET + TRACE_ID_SIZE] != '-') {
        return false;
    }
    id = (struct bytes){text + TRACE_ID_OFFSET, TRACE_ID_SIZE};
    if (!is_hex(id) || is_zero(id)) {
        return false;
    }
    *ret_id = id;
    return true;
}

/* What is off costs nothing. */
static bool is_off(const struct access_log *access)
{
    return access->log == NULL ||
           (access->choice == ACCESS_LOG_OFF && access->log->level > LEVEL_DEBUG);
}

static const char *show(struct bytes text, char *out, size_t room)
{
    const size_t size = text.size < room ? text.size : room - 1;

    if (size > 0) {
        memcpy(out, text.data, size);
    }
    out[size] = '\0';
    return out;
}

/* Of the head, as long as it is there; no bytes when there is no such field. */
static struct bytes find_value(const struct grpc_call *call, const char *name)
{
    const struct grpc_metadata_field *field = grpc_head_find(&call->head, name);

    return field != NULL ? field->value : (struct bytes){0};
}

static void read_note(const struct grpc_call *call, struct note *note)
{
    struct bytes id = {0};

    (void)access_log_trace_id(find_value(call, "traceparent"), &id);
    (void)show(id, note->trace_id, sizeof(note->trace_id));
    (void)show(find_value(call, "grpc-previous-rpc-attempts"), note->attempts,
               sizeof(note->attempts));
    (void)show(call->head.user_agent, note->user_agent, sizeof(note->user_agent));
}

void access_log_begin(const struct access_log *access, const struct grpc_call *call, void **slot)
{
    if (is_off(access) || call->method == NULL || call->method->kind == GRPC_METHOD_UNARY) {
        return; /* the head of a unary call is still there at its end */
    }
    *slot = malloc(sizeof(struct note));
    if (*slot != NULL) {
        read_note(call, *slot);
    }
}

struct choice {
    enum log_level level;
    uint64_t sample; /* so many calls it stands for */
};

static void write_line(const struct access_log *access, const struct choice *choice,
                       const struct grpc_call *call, uint64_t taken_ns, const struct note *note)
{
    const char *attempts = note->attempts;
    char path[PATH_SHOWN];

    log_event(access->log, choice->level, "call",
              FIELD_TEXT("method", show(call->head.path, path, sizeof(path))),
              FIELD_TEXT("status", grpc_status_name((int)call->status)),
              FIELD_NUMBER("us", taken_ns / CLOCK_NS_PER_US),
              FIELD_TEXT("caller", call->caller == NULL ? "" : call->caller),
              FIELD_TEXT("peer", call->host->peer == NULL ? "" : call->host->peer),
              FIELD_TEXT("trace_id", note->trace_id),
              FIELD_TEXT("previous_attempts", attempts[0] == '\0' ? "0" : attempts),
              FIELD_TEXT("user_agent", note->user_agent), FIELD_NUMBER("sample", choice->sample));
}

/* Whether this call gets a line, and which. */
static bool is_chosen(struct access_log *access, const struct grpc_call *call,
                      struct choice *ret_choice)
{
    *ret_choice = (struct choice){.level = LEVEL_INFO, .sample = 1};
    if (access->log->level <= LEVEL_DEBUG) {
        ret_choice->level = LEVEL_DEBUG;
        return true;
    }
    if (call->status != GRPC_STATUS_OK) {
        return access->choice != ACCESS_LOG_OFF;
    }
    if (access->choice != ACCESS_LOG_ALL || ++access->unsampled < access->sample) {
        return false;
    }
    access->unsampled = 0;
    ret_choice->sample = access->sample;
    return true;
}

void access_log_end(struct access_log *access, const struct grpc_call *call, uint64_t taken_ns,
                    void **slot)
{
    struct choice choice;
    struct note note;

    if (!is_off(access) && is_chosen(access, call, &choice)) {
        if (*slot == NULL) {
            read_note(call, &note);
        }
        write_line(access, &choice, call, taken_ns, *slot != NULL ? *slot : &note);
    }
    free(*slot);
    *slot = NULL;
}
