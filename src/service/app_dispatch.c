#include "service/access.h"
#include "service/app_internal.h"
#include "service/app_options.h"
#include "service/embedded.h"
#include "service/health.h"
#include "service/observe.h"
#include "service/overload.h"
#include "service/policy.h"
#include "service/rate_limit.h"
#include "service/reflection.h"
#include "service/user_service.h"

#include <string.h>
#include <sysexits.h>

/* What calls there are, and what each of them passes before its handler runs. */

#define METHODS_MAX (USER_SERVICE_METHOD_COUNT + HEALTH_METHOD_COUNT + REFLECTION_METHOD_COUNT)

static int make_reflection(struct app *app)
{
    struct reflection_options options = app_options_reflection(app->config);

    options.descriptors = embedded_descriptors;
    return reflection_new(&app->reactor, &options, &app->reflection) == 0
               ? EX_OK
               : app_fail(app, EX_SOFTWARE, "out of memory");
}

static int build_methods(struct app *app)
{
    struct grpc_method rows[METHODS_MAX];
    unsigned count = 0;

    user_service_methods(app->users, rows);
    count += USER_SERVICE_METHOD_COUNT;
    health_methods(app->health, rows + count);
    count += HEALTH_METHOD_COUNT;
    if (app->reflection != NULL) {
        reflection_methods(app->reflection, rows + count);
        count += REFLECTION_METHOD_COUNT;
    }
    if (grpc_method_table_init(&app->methods, rows, count) != 0) {
        return app_fail(app, EX_SOFTWARE, "out of memory");
    }
    app->methods_are_built = true;
    if (app->reflection != NULL && reflection_list(app->reflection, &app->methods) != 0) {
        return app_fail(app, EX_SOFTWARE, "out of memory");
    }
    return EX_OK;
}

static int make_access(struct app *app)
{
    struct access_options options = app_options_access(app->config);
    struct policy *policy = NULL;
    int exit_code;

    if (access_new(&options, &app->log, &app->access) != 0) {
        return app_fail(app, EX_SOFTWARE, "out of memory");
    }
    exit_code = app_parts_policy(app->config, &app->methods, app->problem, &policy);
    if (exit_code == EX_OK) {
        access_set_policy(app->access, policy);
    }
    return exit_code;
}

static void on_memory(void *context, bool are_calls_refused)
{
    health_set_short(context, are_calls_refused);
}

static int make_stages(struct app *app)
{
    struct overload_options overload = app_options_overload(app->config);
    int result = overload_new(&app->reactor, app->pool, &overload, &app->overload);

    if (result != 0) {
        return app_fail(app, EX_SOFTWARE, "overload: %s", strerror(-result));
    }
    overload_watch_memory(app->overload, on_memory, app->health);
    if (observe_new(&app->methods, &app->log, &app->observe) != 0) {
        return app_fail(app, EX_SOFTWARE, "out of memory");
    }
    observe_set_access(app->observe, (enum access_log_choice)app->config->log_access,
                       app->config->log_access_sample);
    app->auth.verifier = app->verifier;
    app->auth.log = &app->log;
    app_options_auth(app->config, &app->auth);
    return make_access(app);
}

/* The stages every call passes, in this order: each costs more than those before it. */
static void order_stages(struct app *app)
{
    app->stages[0] = observe_stage(app->observe);
    app->stages[1] = overload_stage(app->overload);
    app->stages[2] = rate_limit_address_stage(app->rate_limit);
    app->stages[3] = auth_stage(&app->auth);
    app->stages[4] = rate_limit_identity_stage(app->rate_limit);
    app->stages[5] = access_stage(app->access);
    app->dispatch = (struct grpc_dispatch){
        .methods = &app->methods,
        .stages = app->stages,
        .stage_count = APP_STAGE_COUNT,
    };
}

int app_build_dispatch(struct app *app)
{
    int exit_code = app->config->reflection_enabled ? make_reflection(app) : EX_OK;

    if (exit_code == EX_OK) {
        exit_code = build_methods(app);
    }
    if (exit_code == EX_OK) {
        exit_code = make_stages(app);
    }
    if (exit_code == EX_OK) {
        order_stages(app);
    }
    return exit_code;
}
