/*
 * The changes of a store driver: what is drawn, reserved, numbered, sent, and told.
 */
#include "lib/store_driver.h"

#include "core/list.h"

#include <stdio.h>
#include <stdlib.h>

#define SKIP_CHANGES (1u << 24) /* numbers left out where some may have been lost */

static uint32_t draw(struct store_driver *driver, uint32_t limit)
{
    return (uint32_t)fake_world_random(driver->world, limit);
}

void store_driver_end_flight(struct store_driver_flight *flight)
{
    user_store_release(flight->driver->store, &flight->change);
    buf_deinit(&flight->record);
    *flight = (struct store_driver_flight){.active = false};
}

static void note_told(struct store_driver *driver, const struct store_driver_flight *flight,
                      uint64_t revision)
{
    const struct user_model_change *change;

    if (revision != flight->lsn || revision != driver->told + 1) {
        store_driver_blame(driver, "changes are told out of order");
        return;
    }
    if (driver->has_failed || fake_disk_is_dead(driver->world->disk)) {
        store_driver_blame(driver, "a change is told after the end of the log");
    }
    change = &driver->model.changes[revision - 1];
    driver->told = revision;
    driver->now.counters = change->counters;
    if (flight->type != USER_RECORD_COUNTERS) {
        driver->now.users[flight->id] = flight->after;
        driver->now.users[flight->id].lsn = revision;
    }
    if (driver->change_told < change->counters.change) {
        driver->change_told = change->counters.change;
    }
    driver->tally.told++;
}

static void on_done(struct commit_mutation *mutation, enum commit_outcome outcome,
                    uint64_t revision)
{
    struct store_driver_flight *flight =
        CONTAINER_OF(mutation, struct store_driver_flight, mutation);
    struct store_driver *driver = flight->driver;

    if (outcome == COMMIT_DONE) {
        note_told(driver, flight, revision);
    } else if (outcome == COMMIT_UNKNOWN) {
        driver->tally.unknown++;
    } else {
        driver->tally.refused++;
        if (flight->lsn != 0 && (driver->never == 0 || flight->lsn < driver->never)) {
            driver->never = flight->lsn;
        }
    }
    store_driver_end_flight(flight);
}

static void submit(struct store_driver *driver, struct store_driver_flight *flight,
                   const struct user_counters *counters)
{
    struct commit_mutation *mutation = &flight->mutation;

    mutation->record = buf_bytes(&flight->record);
    mutation->record_type = flight->type;
    mutation->done = on_done;
    if (flight->type != USER_RECORD_COUNTERS &&
        user_store_plan(driver->store, &flight->change, mutation) != 0) {
        abort();
    }
    flight->submitted = true;
    driver->log->ops->submit(driver->log, mutation);
    flight->lsn = mutation->append.lsn;
    if (flight->lsn == 0) {
        return; /* refused; `done` will say so */
    }
    if (flight->lsn != driver->model.count + 1) {
        store_driver_blame(driver, "the log numbers records with gaps");
        return;
    }
    user_model_add(&driver->model, &(struct user_model_change){.type = flight->type,
                                                               .id = flight->id,
                                                               .after = flight->after,
                                                               .counters = *counters});
}

void store_driver_skip_numbers(struct store_driver *driver)
{
    struct user_counters counters = user_store_skip_changes(driver->store, SKIP_CHANGES);
    struct store_driver_flight *flight = &driver->flights[0];

    *flight = (struct store_driver_flight){
        .driver = driver, .active = true, .type = USER_RECORD_COUNTERS};
    if (user_record_append_counters(&counters, &flight->record) != 0) {
        abort();
    }
    driver->tally.skips++;
    submit(driver, flight, &counters);
}

/* The greatest time of creation that the next user must not fall behind. */
static struct user_counters counters_sent(const struct store_driver *driver)
{
    const struct user_model *model = &driver->model;

    return model->count == 0 ? (struct user_counters){0}
                             : model->changes[model->count - 1].counters;
}

static void plan(struct store_driver *driver, struct store_driver_flight *flight)
{
    const int64_t now_ms = (int64_t)(clock_realtime_ns(&driver->world->clock) / CLOCK_NS_PER_MS);
    const struct user_stamp stamp = user_store_stamp(driver->store, now_ms);
    const struct user_model_user *before = &driver->now.users[flight->id];
    struct user_model_user *after = &flight->after;
    struct user_counters counters = counters_sent(driver);

    if (stamp.change <= driver->change_told || stamp.change <= counters.change) {
        store_driver_blame(driver, "a number is given twice");
    }
    after->change = stamp.change;
    after->updated_at = now_ms;
    if (after->exists && !before->exists) {
        if (stamp.created_at < counters.created_at) {
            store_driver_blame(driver, "the time of creation goes back");
        }
        after->created_at = stamp.created_at;
        after->sequence = stamp.change;
        counters.created_at = stamp.created_at;
    }
    counters.change = stamp.change;
    user_model_build(flight->id, after, flight->type, &flight->record);
    submit(driver, flight, &counters);
}

/* What becomes of a user next. */
static void draw_image(struct store_driver *driver, struct store_driver_flight *flight)
{
    struct user_model_user *after = &flight->after;

    *after = driver->now.users[flight->id];
    flight->type = USER_RECORD_PUT;
    if (after->exists && draw(driver, 5) == 0) {
        *after = (struct user_model_user){.exists = false};
        flight->type = USER_RECORD_DELETE;
        return;
    }
    if (!after->exists) {
        *after = (struct user_model_user){.exists = true};
        after->username = draw(driver, USER_MODEL_NAMES);
        after->email = draw(driver, USER_MODEL_NAMES);
        /* Never used twice: what answers a second one is the service's matter. */
        after->request =
            draw(driver, 3) == 0 ? 0 : 1 + (uint32_t)driver->model.count * 32 + flight->id;
    } else if (draw(driver, 4) == 0) {
        after->username = draw(driver, USER_MODEL_NAMES);
    }
    after->roles = draw(driver, 4);
    after->status = (int32_t)draw(driver, 4);
    after->salt = draw(driver, 1000000);
    after->size = draw(driver, draw(driver, 10) == 0 ? driver->size_max : driver->size_usual);
}

static bool is_flying(const struct store_driver *driver, unsigned id)
{
    for (unsigned i = 0; i < STORE_DRIVER_FLYING_MAX; i++) {
        const struct store_driver_flight *flight = &driver->flights[i];

        if (flight->active && flight->type != USER_RECORD_COUNTERS && flight->id == id) {
            return true;
        }
    }
    return false;
}

/* Its names are reserved, if they are to be had. */
static void take_off(struct store_driver *driver, struct store_driver_flight *flight)
{
    const unsigned id = draw(driver, USER_MODEL_IDS);
    struct user_names names = {.id = user_model_id(id)};
    char request[32];

    if (is_flying(driver, id)) {
        return;
    }
    *flight = (struct store_driver_flight){.driver = driver, .id = id};
    draw_image(driver, flight);
    if (flight->after.exists) {
        names.username = user_model_name(flight->after.username);
        names.email = user_model_name(flight->after.email);
        if (!driver->now.users[id].exists && flight->after.request != 0) {
            (void)snprintf(request, sizeof(request), "request%u", flight->after.request);
            names.request_id = bytes_from_text(request);
        }
    }
    flight->active = user_store_reserve(driver->store, &flight->change, &names) == 0;
}

void store_driver_change(struct store_driver *driver)
{
    struct store_driver_flight *flight = &driver->flights[draw(driver, STORE_DRIVER_FLYING_MAX)];

    if (flight->submitted) {
        return;
    }
    if (!flight->active) {
        take_off(driver, flight);
        if (draw(driver, 4) == 0) {
            return; /* its password is hashed, say */
        }
    }
    if (flight->active) {
        plan(driver, flight);
    }
}
