/*
 * The steps:
 * 1. The server is asked what the method takes and gives.
 * 2. The call begins. Of a method that takes one message the JSON was made to it before, so that a
 *    mistake costs nothing.
 * 3. Each line, or the whole text, becomes a message; what comes back is printed as it comes.
 * What a google.protobuf.Any holds is asked for when it is met, in either direction.
 */
#include "userctl_call.h"

#include "common_lines.h"
#include "common_output.h"
#include "common_read.h"
#include "core/clock.h"
#include "core/list.h"
#include "core/slurp.h"
#include "userctl_call_words.h"
#include "userctl_decode.h"
#include "userctl_describe.h"
#include "userctl_encode.h"
#include "userctl_failure.h"
#include "userctl_input.h"
#include "userctl_reflection.h"
#include "userctl_session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_MS 100 /* a signal is noticed within it */
#define INPUT_MS 50

struct caller {
    struct userctl_session session;
    struct userctl_schema schema;
    struct userctl_reflection reflection;
    struct userctl_wanted wanted; /* types of what an Any holds */
    const struct userctl_method *method;
    struct userctl_call_words words;
    struct userd_client *client;
    struct userd_call *call; /* NULL once it is over */
    bool is_writable;
    bool is_over;
    bool is_deaf;    /* nobody reads what comes: said at the end */
    int exit_code;   /* of a problem on our side */
    bool is_holding; /* an answer waits for types */
    struct buf held;
    struct userctl_kept_failure end;
};

static void fail_with(struct caller *caller, int exit_code)
{
    if (caller->exit_code == 0) {
        caller->exit_code = exit_code;
    }
    if (caller->call != NULL) {
        userd_call_cancel(caller->call);
    }
}

static void print_line(struct caller *caller, const char *line, size_t size)
{
    (void)fwrite(line, 1, size, stdout);
    (void)fputc('\n', stdout);
    if (fflush(stdout) != 0) {
        caller->is_deaf = true;
        if (caller->call != NULL) {
            userd_call_cancel(caller->call);
        }
    }
}

/* Prints an answer; false when a type within it has to be asked for first. */
static bool show(struct caller *caller, struct bytes answer)
{
    char problem[USERCTL_DECODE_PROBLEM_SIZE] = "out of memory";
    char *line = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&line, &size);
    bool is_good = out != NULL && userctl_decode(&caller->schema, caller->method->output, answer,
                                                 &caller->wanted, out, problem) == 0;

    if (out != NULL && fclose(out) != 0 && is_good) {
        (void)snprintf(problem, sizeof(problem), "out of memory");
        is_good = false;
    }
    if (caller->wanted.name[0] != '\0') {
        free(line);
        return false;
    }
    if (is_good) {
        print_line(caller, line, size);
    } else { /* a piece of a message is none: nothing of it is shown */
        userctl_failure_say("%s", problem);
        fail_with(caller, (int)USERD_INTERNAL);
    }
    free(line);
    return true;
}

/* Nothing can be asked for in here: then the answer is kept, and no other comes before that. */
static void on_message(void *context, const void *bytes, size_t size)
{
    struct caller *caller = context;
    struct bytes answer = {bytes, size};

    if (caller->exit_code != 0 || caller->is_deaf || show(caller, answer)) {
        return;
    }
    if (buf_append(&caller->held, bytes, size) != 0) {
        userctl_failure_say("out of memory");
        fail_with(caller, COMMON_EXIT_SOFTWARE);
        return;
    }
    caller->is_holding = true;
    userd_call_pause(caller->call);
}

static void on_writable(void *context)
{
    struct caller *caller = context;

    caller->is_writable = true;
}

static void on_ended(void *context, const struct userd_error *error)
{
    struct caller *caller = context;

    caller->is_over = true;
    caller->call = NULL;
    userctl_failure_keep(&caller->end, error);
}

/* Asks for the type that was noted; false when none was. What nobody knows stays as it is. */
static bool fetch_wanted(struct caller *caller)
{
    const char *name = userctl_wanted_take(&caller->wanted);

    if (name == NULL) {
        return false;
    }
    if (userctl_reflection_fetch(&caller->reflection, name, &caller->schema) ==
        USERCTL_REFLECTION_E_FAILED) {
        fail_with(caller, caller->reflection.exit_code);
    }
    return caller->exit_code == 0;
}

/* Prints the answer that was kept, once its types are there or nobody knows them. */
static void show_held(struct caller *caller)
{
    while (fetch_wanted(caller) && !show(caller, buf_bytes(&caller->held))) {
        /* one type after the other */
    }
    caller->is_holding = false;
    buf_clear(&caller->held);
    if (caller->call != NULL) {
        userd_call_resume(caller->call);
    }
}

/* A turn of the loop; false when the call can go on no more. */
static bool turn(struct caller *caller, uint64_t timeout_ms)
{
    int ret = userctl_session_turn(caller->client, caller->call, timeout_ms);

    if (ret != 0) {
        caller->exit_code = ret;
        return false;
    }
    if (caller->is_holding) {
        show_held(caller);
    }
    return !caller->is_over;
}

static bool open_call(struct caller *caller)
{
    static const struct userd_raw_events events = {
        .size = sizeof(events), .message = on_message, .writable = on_writable, .ended = on_ended};
    const struct userctl_arguments *arguments = caller->session.arguments;
    bool is_stream = caller->method->client_streams || caller->method->server_streams;
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;

    options.timeout_ms = userctl_session_timeout_ms(arguments);
    if (arguments->deadline_ns == 0 && !is_stream) {
        options.timeout_ms = arguments->unary_deadline_ns / CLOCK_NS_PER_MS;
    }
    options.token = caller->words.token;
    options.metadata = caller->words.metadata;
    options.metadata_count = caller->words.header_count;
    caller->call = userd_start_raw(caller->client, &options, caller->words.path, &events, caller);
    if (caller->call == NULL) {
        userctl_failure_say("the call cannot be begun: %s", userd_last_problem());
        caller->exit_code = (int)USERD_INVALID_ARGUMENT;
    }
    return caller->call != NULL;
}

static bool send_message(struct caller *caller, struct bytes message)
{
    for (;;) {
        int ret;

        if (caller->call == NULL) {
            return false;
        }
        caller->is_writable = false;
        ret = userd_raw_send(caller->call, message.data, message.size);
        if (ret == 0) {
            return true;
        }
        if (ret != USERD_FULL) {
            return false; /* its end tells why */
        }
        while (!caller->is_writable && turn(caller, SLICE_MS)) {
            /* until there is room, or no call */
        }
    }
}

/* JSON to a message. `line` 0 = it is the only one. */
static bool make_message(struct caller *caller, struct bytes json, uint64_t line, struct buf *out)
{
    char problem[USERCTL_ENCODE_PROBLEM_SIZE];

    do {
        buf_clear(out);
        if (userctl_encode(&caller->schema, caller->method->input, json, &caller->wanted, out,
                           problem) == 0) {
            return true;
        }
    } while (fetch_wanted(caller));
    if (caller->exit_code != 0) { /* what went wrong has been said */
        return false;
    }
    if (line == 0) {
        userctl_failure_say("the request is no %s: %s", caller->method->input_name, problem);
    } else {
        userctl_failure_say("line %" PRIu64 " is no %s: %s", line, caller->method->input_name,
                            problem);
    }
    (void)fprintf(stderr, "hint: 'userctl describe %s' shows what it has\n",
                  caller->method->input_name);
    fail_with(caller, (int)USERD_INVALID_ARGUMENT);
    return false;
}

static bool send_line(struct caller *caller, struct bytes line, uint64_t number)
{
    struct buf message = {.is_secret = true};
    bool is_sent =
        make_message(caller, line, number, &message) && send_message(caller, buf_bytes(&message));

    buf_deinit(&message);
    return is_sent;
}

/* The lines of a text on the command line. */
static void send_text(struct caller *caller, const char *text)
{
    for (uint64_t number = 1; *text != '\0'; number++) {
        struct bytes line = {(const uint8_t *)text, strcspn(text, "\n")};

        if (!common_lines_is_blank(line) && !send_line(caller, line, number)) {
            return;
        }
        text += line.size + (text[line.size] == '\n');
    }
}

static void send_lines(struct caller *caller, struct common_lines *lines)
{
    struct bytes line;
    int ret;

    while (!caller->is_over && userctl_session_interrupted == 0) {
        ret = common_lines_next(lines, &line);
        if (ret == 0) {
            if (!common_lines_is_blank(line) && !send_line(caller, line, lines->number)) {
                return;
            }
        } else if (ret == COMMON_LINES_E_WAIT) {
            if (!turn(caller, INPUT_MS)) {
                return;
            }
        } else if (ret == COMMON_LINES_E_END) {
            return;
        } else {
            userctl_failure_say("line %" PRIu64 ": %s", lines->number,
                                ret > 0 ? "it is longer than 256 KiB" : strerror(-ret));
            fail_with(caller, (int)USERD_INVALID_ARGUMENT);
            return;
        }
    }
}

/* Where the request comes from: NULL = it is text on the command line, in *ret_text. */
static const char *source_of(const struct caller *caller, const char **ret_text)
{
    const char *request = caller->session.arguments->request;

    if (request == NULL) {
        *ret_text = "{}";
        return caller->method->client_streams ? "-" : NULL;
    }
    *ret_text = request;
    if (strcmp(request, "-") == 0) {
        return request;
    }
    return request[0] == '@' ? request + 1 : NULL;
}

static int cannot_read(const struct caller *caller, const char *path, int error)
{
    return userctl_arguments_refuse(caller->session.arguments, "cannot read %s: %s", path,
                                    error > 0 ? "it is too large" : strerror(-error));
}

static void send_stream(struct caller *caller)
{
    const char *text;
    const char *path = source_of(caller, &text);
    struct common_lines lines;
    int ret;

    if (path == NULL) {
        send_text(caller, text);
        return;
    }
    ret = common_lines_open(path, &lines);
    if (ret != 0) {
        fail_with(caller, cannot_read(caller, path, ret));
        return;
    }
    send_lines(caller, &lines);
    common_lines_close(&lines);
}

static bool make_single(struct caller *caller, struct buf *out)
{
    const char *text;
    const char *path = source_of(caller, &text);
    char *content;
    size_t size;
    bool is_made;
    int ret;

    if (path == NULL) {
        return make_message(caller, bytes_from_text(text), 0, out);
    }
    ret = userctl_input_read(path, USERCTL_ENCODE_SIZE_MAX, &content, &size);
    if (ret != 0) {
        caller->exit_code = ret == -EINTR ? (int)USERD_CANCELLED : cannot_read(caller, path, ret);
        return false;
    }
    is_made = make_message(caller, (struct bytes){(const uint8_t *)content, size}, 0, out);
    slurp_free(content, size);
    return is_made;
}

/* The rest of the answers. Returns the exit code. */
static int finish(struct caller *caller)
{
    if (caller->call != NULL && caller->exit_code == 0 && !caller->is_deaf) {
        (void)userd_call_finish(caller->call);
    }
    while (!caller->is_over && turn(caller, SLICE_MS)) {
        /* its end comes, by itself or after a cancel */
    }
    if (caller->exit_code != 0 || caller->is_deaf) {
        return caller->exit_code;
    }
    if (userctl_session_interrupted != 0) {
        return (int)USERD_CANCELLED;
    }
    return caller->end.error.code == USERD_OK
               ? 0
               : userctl_failure(caller->session.arguments, &caller->end.error);
}

static int make_call(struct caller *caller)
{
    struct buf message = {.is_secret = true};

    if (caller->method->client_streams) {
        if (!open_call(caller)) {
            return caller->exit_code;
        }
        send_stream(caller);
        return finish(caller);
    }
    if (!make_single(caller, &message) || !open_call(caller)) {
        buf_deinit(&message);
        return caller->exit_code;
    }
    (void)send_message(caller, buf_bytes(&message)); /* what fails, ends it */
    buf_deinit(&message);
    return finish(caller);
}

/* Fills in the method. Returns 0 or the exit code. */
static int find_method(struct caller *caller, struct userctl_reflection *reflection,
                       const char *name)
{
    const struct userctl_symbol *symbol;
    int ret = userctl_reflection_fetch(reflection, caller->words.service, &caller->schema);

    if (ret == USERCTL_REFLECTION_E_FAILED) {
        return reflection->exit_code;
    }
    symbol = ret == 0 ? userctl_schema_find(&caller->schema, caller->words.service) : NULL;
    if (symbol == NULL || symbol->service == NULL) {
        return userctl_reflection_unknown(reflection, caller->words.service);
    }
    caller->method = userctl_schema_method(symbol->service, name);
    if (caller->method == NULL) {
        userctl_failure_say("NOT_FOUND: %s has no method of that name; it has:", symbol->name);
        for (size_t i = 0; i < symbol->service->method_count; i++) {
            (void)fputs("    ", stderr);
            userctl_describe_method(stderr, &symbol->service->methods[i]);
        }
        return (int)USERD_NOT_FOUND;
    }
    if (caller->method->input == NULL || caller->method->output == NULL) {
        userctl_failure_say("the server does not describe the messages of that method");
        return (int)USERD_INTERNAL;
    }
    (void)snprintf(caller->words.path, sizeof(caller->words.path), "/%s/%s", caller->words.service,
                   name);
    return 0;
}

static int use_call(struct userctl_session *session, struct userd_client *client)
{
    struct caller *caller = CONTAINER_OF(session, struct caller, session);
    const char *name = "";
    int ret = userctl_call_words_read(session->arguments, &caller->words, &name);

    caller->client = client;
    if (ret != 0) {
        return ret;
    }
    userctl_schema_init(&caller->schema);
    userctl_reflection_begin(&caller->reflection, session->arguments, client);
    ret = find_method(caller, &caller->reflection, name);
    userctl_reflection_end(&caller->reflection);
    if (ret == 0) {
        ret = make_call(caller);
        userctl_reflection_end(&caller->reflection); /* it may have been asked again */
    }
    buf_deinit(&caller->held);
    userctl_schema_deinit(&caller->schema);
    return ret;
}

int userctl_call_run(const struct userctl_arguments *arguments)
{
    struct caller *caller;
    int ret;

    if (arguments->list) {
        return userctl_describe_run(arguments);
    }
    ret = userctl_session_need(arguments, "which method? /package.Service/Method is missing");
    if (ret != 0) {
        return ret;
    }
    caller = calloc(1, sizeof(*caller));
    if (caller == NULL) {
        userctl_failure_say("out of memory");
        return COMMON_EXIT_SOFTWARE;
    }
    caller->session = (struct userctl_session){.arguments = arguments, .use = use_call};
    common_read_begin();
    userctl_session_catch_signals();
    ret = userctl_session_run(&caller->session);
    free(caller);
    return ret;
}
