#include "http2/grpc_dispatch.h"

#include <assert.h>
#include <stdio.h>

/*
 * The order is what matters here: every stage, then the verdict that a method is unknown (so that
 * who may not call anything learns nothing), then the handler once the message is there.
 *
 * A stage that fails the call does so from inside its `begin`, which makes the call finished while
 * the loop over the stages still runs. Their ends wait until that loop is left.
 *
 * A call that a stage makes wait is left where it is: that stage begins once more when it says so.
 *
 * A call that ends before any stage began has none whose end is due: those that want to see every
 * call are told that they have missed one.
 */

#define NAME_SHOWN_MAX 128 /* bytes of a foreign name in a message */
#define TEXT_SIZE      512

/* Keeps as much of a foreign name as is shown. */
static void show(char out[NAME_SHOWN_MAX + 1], struct bytes name)
{
    size_t size = name.size < NAME_SHOWN_MAX ? name.size : NAME_SHOWN_MAX;

    if (size > 0) {
        memcpy(out, name.data, size);
    }
    out[size] = '\0';
}

static void run_ends(const struct grpc_dispatch *dispatch, struct grpc_call *call)
{
    while (call->stages_begun > 0) {
        const struct grpc_stage *stage = &dispatch->stages[--call->stages_begun];

        if (stage->end != NULL) {
            stage->end(stage->context, call);
        }
    }
}

/* From this stage on, until one fails the call or makes it wait. */
static void run_begins(const struct grpc_dispatch *dispatch, struct grpc_call *call, unsigned first)
{
    assert(dispatch->stage_count <= GRPC_STAGES_MAX);
    call->in_stages = true;
    for (unsigned i = first; i < dispatch->stage_count && !call->waits; i++) {
        const struct grpc_stage *stage = &dispatch->stages[i];

        call->stages_begun = (uint8_t)(i + 1);
        if (!stage->begin(stage->context, call)) {
            assert(!grpc_call_is_wanted(call)); /* the stage has failed it */
            break;
        }
    }
    call->in_stages = false;
    if (!grpc_call_is_wanted(call)) {
        run_ends(dispatch, call);
    }
}

/* Texts of grpc-go (P1); the path was found well formed before. */
static void fail_unknown(const struct grpc_dispatch *dispatch, struct grpc_call *call)
{
    struct bytes path = call->head.path;
    const uint8_t *slash = memrchr(path.data, '/', path.size);
    char service[NAME_SHOWN_MAX + 1];
    char method[NAME_SHOWN_MAX + 1];
    char text[TEXT_SIZE];
    struct grpc_error error = {
        .status = GRPC_STATUS_UNIMPLEMENTED, .message = text, .domain = "grpc"};

    show(service, (struct bytes){path.data + 1, (size_t)(slash - path.data) - 1});
    show(method, (struct bytes){slash + 1, path.size - (size_t)(slash - path.data) - 1});
    grpc_error_add_metadata(&error, "service", service);
    if (call->method != NULL) {
        error.reason = "METHOD_NOT_IMPLEMENTED";
        (void)snprintf(text, sizeof(text), "method %s not implemented", method);
        grpc_error_add_metadata(&error, "method", method);
    } else if (grpc_method_service_is_known(dispatch->methods, path)) {
        error.reason = "UNKNOWN_METHOD";
        (void)snprintf(text, sizeof(text), "unknown method %s for service %s", method, service);
        grpc_error_add_metadata(&error, "method", method);
    } else {
        error.reason = "UNKNOWN_SERVICE";
        (void)snprintf(text, sizeof(text), "unknown service %s", service);
    }
    grpc_call_fail(call, &error);
}

static bool is_implemented(const struct grpc_method *method)
{
    if (method == NULL) {
        return false;
    }
    return grpc_method_streams_requests(method) ? method->open != NULL : method->handler != NULL;
}

static void run_stages(const struct grpc_dispatch *dispatch, struct grpc_call *call, unsigned first)
{
    run_begins(dispatch, call, first);
    if (grpc_call_is_wanted(call) && !call->waits && !is_implemented(call->method)) {
        fail_unknown(dispatch, call);
    }
}

void grpc_dispatch_head(const struct grpc_dispatch *dispatch, struct grpc_call *call)
{
    call->method = grpc_method_find(dispatch->methods, call->head.path);
    run_stages(dispatch, call, 0);
}

void grpc_dispatch_proceed(const struct grpc_dispatch *dispatch, struct grpc_call *call)
{
    assert(call->stages_begun > 0);
    run_stages(dispatch, call, call->stages_begun - 1U);
}

void grpc_dispatch_opened(const struct grpc_dispatch *dispatch, struct grpc_call *call)
{
    (void)dispatch;
    call->method->open(call->method->service, call);
}

void grpc_dispatch_request(const struct grpc_dispatch *dispatch, struct grpc_call *call,
                           struct bytes message)
{
    (void)dispatch;
    assert(call->method != NULL);
    assert(call->method->handler != NULL);
    call->method->handler(call->method->service, call, message);
}

static void run_missed(const struct grpc_dispatch *dispatch, struct grpc_call *call)
{
    for (unsigned i = 0; i < dispatch->stage_count; i++) {
        const struct grpc_stage *stage = &dispatch->stages[i];

        if (stage->missed != NULL) {
            stage->missed(stage->context, call);
        }
    }
}

void grpc_dispatch_finished(const struct grpc_dispatch *dispatch, struct grpc_call *call)
{
    if (call->in_stages) {
        return; /* they still begin: who runs them sees that the call has ended */
    }
    if (call->stages_begun == 0) {
        run_missed(dispatch, call);
    } else {
        run_ends(dispatch, call);
    }
}
