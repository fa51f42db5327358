/*
 * How a call failed, with the memory of its texts; and why a client could not be made.
 */
#include "client/userd_client_internal.h"
#include "http2/grpc_error.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char last_problem[USERD_LAST_PROBLEM_SIZE];

const char *userd_last_problem(void)
{
    return last_problem;
}

void userd_set_last_problem(const char *format, ...)
{
    char text[USERD_LAST_PROBLEM_SIZE]; /* an argument may be the old text */
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    memcpy(last_problem, text, sizeof(text));
}

void userd_problem_clear(struct userd_problem *problem)
{
    problem->backend[0] = '\0';
    problem->fields = (struct bytes){0};
    problem->error = (struct userd_error){
        .size = sizeof(problem->error),
        .message = "",
        .details = "",
        .backend = problem->backend,
        .index = -1,
    };
}

void userd_problem_deinit(struct userd_problem *problem)
{
    buf_deinit(&problem->message);
    buf_deinit(&problem->details);
    buf_deinit(&problem->raw_details);
    buf_deinit(&problem->kept_fields);
}

/* Without memory a text is shorter; the code is what counts. */
static const char *end_text(struct buf *text)
{
    return buf_append(text, "", 1) == 0 ? (const char *)buf_bytes(text).data : "";
}

void userd_problem_set(struct userd_problem *problem, enum userd_code code, enum userd_cause cause,
                       struct bytes message, struct bytes details)
{
    struct userd_error *error = &problem->error;

    buf_clear(&problem->message);
    buf_clear(&problem->details);
    buf_clear(&problem->raw_details);
    (void)buf_append(&problem->message, message.data, message.size);
    grpc_status_clean_text((char *)problem->message.data, buf_size(&problem->message));
    (void)grpc_error_describe(details, &problem->details); /* what it can make of them */
    (void)buf_append(&problem->raw_details, details.data, details.size);
    error->code = code;
    error->cause = cause;
    error->message = end_text(&problem->message);
    error->details = end_text(&problem->details);
    error->raw_details = buf_bytes(&problem->raw_details).data;
    error->raw_details_size = buf_size(&problem->raw_details);
    error->index = userd_error_index(details);
}

void userd_problem_add(struct userd_problem *problem, const char *text)
{
    struct buf *message = &problem->message;

    message->end -= buf_size(message) != 0; /* its NUL */
    if (buf_reserve(message, strlen(text) + sizeof(" ()")) != NULL) {
        (void)buf_append(message, " (", 2); /* there is room */
        (void)buf_append(message, text, strlen(text));
        (void)buf_append(message, ")", 1);
    }
    problem->error.message = end_text(message);
}

void userd_problem_say(struct userd_problem *problem, enum userd_code code, enum userd_cause cause,
                       const char *message)
{
    userd_problem_set(problem, code, cause, bytes_from_text(message), (struct bytes){0});
}

void userd_problem_copy(struct userd_problem *problem, const struct userd_problem *from)
{
    const struct userd_error *error = &from->error;

    userd_problem_clear(problem);
    if (error->code != USERD_OK) {
        userd_problem_set(problem, error->code, error->cause, bytes_from_text(error->message),
                          (struct bytes){error->raw_details, error->raw_details_size});
    }
    (void)snprintf(problem->backend, sizeof(problem->backend), "%s", error->backend);
    buf_clear(&problem->kept_fields);
    (void)buf_append(&problem->kept_fields, from->fields.data, from->fields.size);
    problem->fields = buf_bytes(&problem->kept_fields);
    problem->error.index = error->index;
    problem->error.attempts = error->attempts;
}
