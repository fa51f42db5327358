#include "userctl_reflection.h"

#include "common_json.h"
#include "core/clock.h"
#include "core/nearest_name.h"
#include "http2/proto_wire.h"
#include "userctl_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_MS        100 /* a signal is noticed within it */
#define NEAR_STEPS_MAX  4
#define SERVICES_MAX    512
#define NAME_SIZE       128
#define ERROR_NOT_FOUND 5

/* Fields of ServerReflectionRequest and ServerReflectionResponse. */
enum {
    ASK_FILE = 3,
    ASK_SYMBOL = 4,
    ASK_SERVICES = 7,
    TELL_FILES = 4,
    TELL_SERVICES = 6,
    TELL_ERROR = 7,
};

void userctl_reflection_begin(struct userctl_reflection *reflection,
                              const struct userctl_arguments *arguments,
                              struct userd_client *client)
{
    *reflection = (struct userctl_reflection){.arguments = arguments, .client = client};
}

void userctl_reflection_end(struct userctl_reflection *reflection)
{
    if (reflection->call != NULL) {
        userd_call_cancel(reflection->call);
        while (!reflection->is_over && userd_client_run(reflection->client, SLICE_MS) == 0) {
            /* its last callback comes */
        }
    }
    buf_deinit(&reflection->reply);
}

static void on_message(void *context, const void *bytes, size_t size)
{
    struct userctl_reflection *reflection = context;

    buf_clear(&reflection->reply);
    reflection->has_reply = buf_append(&reflection->reply, bytes, size) == 0;
    reflection->was_answered = true;
    if (!reflection->has_reply) {
        userd_call_cancel(reflection->call);
    }
}

static void on_ended(void *context, const struct userd_error *error)
{
    struct userctl_reflection *reflection = context;

    reflection->is_over = true;
    reflection->call = NULL;
    userctl_failure_keep(&reflection->end, error);
}

static int failed(struct userctl_reflection *reflection, const char *problem)
{
    userctl_failure_say("%s", problem);
    reflection->exit_code = (int)USERD_INTERNAL;
    return USERCTL_REFLECTION_E_FAILED;
}

static int open_stream(struct userctl_reflection *reflection)
{
    static const struct userd_raw_events events = {
        .size = sizeof(events), .message = on_message, .ended = on_ended};
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;

    /* The stream stands for all questions; each of them has the time of a call. */
    options.timeout_ms = USERD_NO_TIMEOUT;
    reflection->is_over = false;
    reflection->call = userd_start_raw(
        reflection->client, &options,
        reflection->is_alpha ? "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
                             : "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        &events, reflection);
    if (reflection->call == NULL) {
        userctl_failure_say("the call cannot be begun: %s", userd_last_problem());
        reflection->exit_code = (int)USERD_INTERNAL;
        return USERCTL_REFLECTION_E_FAILED;
    }
    return 0;
}

/* The time for one question: that of a call with one answer. */
static uint64_t patience_ns(const struct userctl_arguments *arguments)
{
    return arguments->deadline_ns != 0 && arguments->deadline_ns != USERCTL_NO_DEADLINE
               ? arguments->deadline_ns
               : arguments->unary_deadline_ns;
}

static int too_late(struct userctl_reflection *reflection, uint64_t patience)
{
    const struct userd_error error = {
        .code = USERD_DEADLINE_EXCEEDED,
        .cause = USERD_CAUSE_DEADLINE,
        .message = reflection->text,
        .details = "",
        .backend = "",
    };

    userd_call_cancel(reflection->call);
    (void)snprintf(reflection->text, sizeof(reflection->text),
                   "%s did not answer reflection within %u.%03u s", reflection->arguments->target,
                   (unsigned)(patience / CLOCK_NS_PER_S),
                   (unsigned)(patience % CLOCK_NS_PER_S / CLOCK_NS_PER_MS));
    reflection->exit_code = userctl_failure(reflection->arguments, &error);
    return USERCTL_REFLECTION_E_FAILED;
}

/* The stream is over before it was asked to be. */
static int stream_ended(struct userctl_reflection *reflection)
{
    struct userd_error *error = &reflection->end.error;

    if (userctl_session_interrupted != 0) {
        reflection->exit_code = (int)USERD_CANCELLED;
        return USERCTL_REFLECTION_E_FAILED;
    }
    if (error->code == USERD_OK) {
        return failed(reflection, "the server ended the stream of reflection");
    }
    if (error->code == USERD_UNIMPLEMENTED) {
        userctl_failure_say("UNIMPLEMENTED: this server offers no reflection, and so nobody can "
                            "tell what its messages look like");
        (void)fputs("hint: userd has it with reflection.enabled = yes in its configuration\n",
                    stderr);
        reflection->exit_code = (int)USERD_UNIMPLEMENTED;
    } else {
        reflection->exit_code = userctl_failure(reflection->arguments, error);
    }
    return USERCTL_REFLECTION_E_FAILED;
}

static int wait_for_reply(struct userctl_reflection *reflection)
{
    const uint64_t patience = patience_ns(reflection->arguments);
    const uint64_t start_ns = clock_monotonic_ns(clock_system());

    while (!reflection->has_reply && !reflection->is_over) {
        int ret = userctl_session_turn(reflection->client, reflection->call, SLICE_MS);

        if (ret != 0) {
            reflection->exit_code = ret;
            return USERCTL_REFLECTION_E_FAILED;
        }
        if (userctl_session_interrupted == 0 &&
            clock_monotonic_ns(clock_system()) - start_ns >= patience) {
            return too_late(reflection, patience);
        }
    }
    return 0;
}

/* One question and its answer, which is in `reply`. */
static int ask(struct userctl_reflection *reflection, uint32_t number, const char *text)
{
    struct buf request = {0};
    int ret = reflection->call == NULL ? open_stream(reflection) : 0;

    if (ret == 0 && proto_wire_append_bytes(&request, number, bytes_from_text(text)) != 0) {
        ret = failed(reflection, "out of memory");
    }
    reflection->has_reply = false;
    if (ret == 0) {
        (void)userd_raw_send(reflection->call, buf_bytes(&request).data, buf_size(&request));
        ret = wait_for_reply(reflection);
    }
    buf_deinit(&request);
    if (ret != 0 || reflection->has_reply) {
        return ret;
    }
    if (reflection->end.error.code == USERD_UNIMPLEMENTED && !reflection->is_alpha &&
        !reflection->was_answered) {
        reflection->is_alpha = true;
        return USERCTL_REFLECTION_E_UNKNOWN; /* asked again */
    }
    return stream_ended(reflection);
}

/* The part of the reply with that number; false when there is none. */
static bool part_of(const struct userctl_reflection *reflection, uint32_t number,
                    struct bytes *ret_part)
{
    struct bytes rest = buf_bytes(&reflection->reply);
    struct proto_wire_field field;
    bool found = false;

    while (proto_wire_read(&rest, &field) == 0) {
        if (field.number == number && field.type == PROTO_WIRE_BYTES) {
            *ret_part = field.bytes;
            found = true;
        }
    }
    return found;
}

/* An error within the stream, which goes on. */
static int error_told(struct userctl_reflection *reflection, struct bytes error)
{
    struct proto_wire_field field;
    struct bytes message = {(const uint8_t *)"", 0};
    uint64_t code = 0;

    while (proto_wire_read(&error, &field) == 0) {
        if (field.number == 1 && field.type == PROTO_WIRE_VARINT) {
            code = field.value;
        } else if (field.number == 2 && field.type == PROTO_WIRE_BYTES) {
            message = field.bytes;
        }
    }
    if (code == ERROR_NOT_FOUND) {
        return USERCTL_REFLECTION_E_UNKNOWN;
    }
    (void)fprintf(stderr, "userctl: %s: ", userd_code_name((int)code));
    common_json_plain(stderr, message);
    (void)fputc('\n', stderr);
    reflection->exit_code =
        code == 0 || code > USERD_UNAUTHENTICATED ? (int)USERD_UNKNOWN : (int)code;
    return USERCTL_REFLECTION_E_FAILED;
}

/* Asks, in the older way if it must, and gives the part of the answer that was wanted. */
static int ask_for(struct userctl_reflection *reflection, uint32_t number, const char *text,
                   uint32_t wanted, struct bytes *ret_part)
{
    struct bytes error;
    int ret = ask(reflection, number, text);

    if (ret == USERCTL_REFLECTION_E_UNKNOWN) {
        ret = ask(reflection, number, text);
    }
    if (ret != 0) {
        return ret;
    }
    if (part_of(reflection, TELL_ERROR, &error)) {
        return error_told(reflection, error);
    }
    return part_of(reflection, wanted, ret_part)
               ? 0
               : failed(reflection, "the server's answer is none that reflection knows");
}

static int add_files(struct userctl_reflection *reflection, struct bytes files,
                     struct userctl_schema *schema)
{
    char problem[USERCTL_SCHEMA_PROBLEM_SIZE];
    struct proto_wire_field field;

    while (proto_wire_read(&files, &field) == 0) {
        if (field.number == 1 && field.type == PROTO_WIRE_BYTES &&
            userctl_schema_add(schema, field.bytes, problem) != 0) {
            return failed(reflection, problem);
        }
    }
    return 0;
}

/* An import that the server does not have: nothing is known of it, but it is missing no more. */
static int add_stub(struct userctl_reflection *reflection, const char *name,
                    struct userctl_schema *schema)
{
    char problem[USERCTL_SCHEMA_PROBLEM_SIZE];
    struct buf file = {0};
    int ret = 0;

    if (proto_wire_append_bytes(&file, 1, bytes_from_text(name)) != 0) {
        ret = failed(reflection, "out of memory");
    } else if (userctl_schema_add(schema, buf_bytes(&file), problem) != 0) {
        ret = failed(reflection, problem);
    }
    buf_deinit(&file);
    return ret;
}

static int add_imports(struct userctl_reflection *reflection, struct userctl_schema *schema)
{
    const char *missing;
    int ret = 0;

    while (ret == 0 && (missing = userctl_schema_missing(schema)) != NULL) {
        struct bytes files;

        ret = ask_for(reflection, ASK_FILE, missing, TELL_FILES, &files);
        if (ret == 0) {
            ret = add_files(reflection, files, schema);
        }
        if (ret == USERCTL_REFLECTION_E_UNKNOWN ||
            (ret == 0 && userctl_schema_missing(schema) == missing)) {
            ret = add_stub(reflection, missing, schema);
        }
    }
    return ret;
}

int userctl_reflection_fetch(struct userctl_reflection *reflection, const char *symbol,
                             struct userctl_schema *schema)
{
    struct bytes files;
    int ret = ask_for(reflection, ASK_SYMBOL, symbol, TELL_FILES, &files);

    if (ret == 0) {
        ret = add_files(reflection, files, schema);
    }
    if (ret == 0) {
        ret = add_imports(reflection, schema);
    }
    if (ret == 0 && userctl_schema_link(schema) != 0) {
        ret = failed(reflection, "out of memory");
    }
    return ret;
}

int userctl_reflection_services(struct userctl_reflection *reflection,
                                void (*take)(void *context, struct bytes name), void *context)
{
    struct proto_wire_field service;
    struct proto_wire_field name;
    struct bytes list;
    int ret = ask_for(reflection, ASK_SERVICES, "*", TELL_SERVICES, &list);

    while (ret == 0 && proto_wire_read(&list, &service) == 0) {
        struct bytes rest = service.bytes;

        while (service.type == PROTO_WIRE_BYTES && proto_wire_read(&rest, &name) == 0) {
            if (name.number == 1 && name.type == PROTO_WIRE_BYTES) {
                take(context, name.bytes);
            }
        }
    }
    return ret;
}

struct offering {
    struct nearest_name *nearest;
    char (*names)[NAME_SIZE];
    size_t count;
};

static void offer(void *context, struct bytes name)
{
    struct offering *offering = context;
    char *kept;

    if (offering->count == SERVICES_MAX || name.size >= NAME_SIZE) {
        return;
    }
    kept = offering->names[offering->count++];
    memcpy(kept, name.data, name.size);
    kept[name.size] = '\0';
    nearest_name_offer(offering->nearest, bytes_from_text(kept));
}

int userctl_reflection_unknown(struct userctl_reflection *reflection, const char *symbol)
{
    struct nearest_name nearest;
    struct offering offering = {.nearest = &nearest, .names = calloc(SERVICES_MAX, NAME_SIZE)};
    int ret = 0;

    nearest_name_begin(&nearest, bytes_from_text(symbol), NEAR_STEPS_MAX);
    if (offering.names != NULL) {
        ret = userctl_reflection_services(reflection, offer, &offering);
    }
    if (ret == USERCTL_REFLECTION_E_FAILED) { /* that is what is wrong, and it has been said */
        free(offering.names);
        return reflection->exit_code;
    }
    if (nearest.name.data != NULL && nearest.steps != 0) {
        (void)fputs("userctl: NOT_FOUND: the server has no '", stderr);
        common_json_plain(stderr, bytes_from_text(symbol));
        (void)fputs("'; did you mean '", stderr);
        common_json_plain(stderr, nearest.name);
        (void)fputs("'?\n", stderr);
    } else {
        (void)fputs("userctl: NOT_FOUND: the server has no '", stderr);
        common_json_plain(stderr, bytes_from_text(symbol));
        (void)fputs("'\nhint: 'userctl describe' lists its services\n", stderr);
    }
    free(offering.names);
    return (int)USERD_NOT_FOUND;
}
