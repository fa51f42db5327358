/* Many calls, many at once. */
#include "client/client_driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 128

struct load_call {
    struct load *load;
    struct userd_call *call;
    bool is_open;
    bool is_write;
    double began_ms;
    char name[NAME_SIZE]; /* of the user */
};

struct load {
    struct userd_client *client;
    struct load_call *slots;
    size_t in_flight;
    size_t open;
    uint64_t calls; /* 0 = until it is stopped */
    uint64_t begun;
    uint64_t ok;
    uint64_t failed;
    uint64_t rate; /* a second; 0 = as fast as answers come */
    uint64_t writes;
    double began_ms;
    bool is_stopped;
    bool is_over;
    char id[NAME_SIZE];
    char prefix[NAME_SIZE / 2];
};

struct load *load_new(struct userd_client *client, const struct words *words)
{
    struct load *load = calloc(1, sizeof(*load));

    if (load == NULL)
        return NULL;
    load->client = client;
    load->calls = words_number(words, "calls", 0);
    load->in_flight = (size_t)words_number(words, "in_flight", 8);
    load->rate = words_number(words, "rate", 0);
    load->writes = words_number(words, "writes", 0);
    load->began_ms = driver_now_ms();
    snprintf(load->id, sizeof(load->id), "%s", words_text(words, "id", "shared"));
    snprintf(load->prefix, sizeof(load->prefix), "%s", words_text(words, "prefix", "load"));
    if (load->in_flight > DRIVER_IN_FLIGHT_MAX)
        load->in_flight = DRIVER_IN_FLIGHT_MAX;
    load->slots = calloc(load->in_flight, sizeof(*load->slots));
    if (load->slots == NULL) {
        free(load);
        return NULL;
    }
    return load;
}

static void on_done(void *context, const struct userd_error *error, const struct userd_user *user)
{
    struct load_call *call = context;
    struct load *load = call->load;
    bool is_right =
        user != NULL && strcmp(call->is_write ? user->username : user->id, call->name) == 0;

    call->is_open = false;
    load->open--;
    if (error->code == USERD_OK && is_right)
        load->ok++;
    else
        load->failed++;
    line_open("call");
    line_text("method", call->is_write ? "CreateUser" : "GetUser");
    line_text("name", call->name);
    line_number("took_ms", driver_now_ms() - call->began_ms);
    if (user != NULL)
        line_text("username", user->username);
    line_error(error);
    if (error->code != USERD_OK) /* of an answer's head every server of Node sends it */
        line_number("date", userd_call_metadata(call->call, "date", 0) != NULL);
    if (error->code == USERD_OK && !is_right)
        line_text("wrong", user == NULL ? "no user" : user->username);
    line_close();
}

static bool begin(struct load *load, struct load_call *slot)
{
    struct userd_call *call;

    slot->load = load;
    slot->is_write = load->writes > 0 && load->begun % load->writes == load->writes - 1;
    slot->began_ms = driver_now_ms();
    if (slot->is_write) {
        char email[NAME_SIZE + 16];
        struct userd_new_user user = {.size = sizeof(user),
                                      .username = slot->name,
                                      .email = email,
                                      .password = "correct horse"};

        snprintf(slot->name, sizeof(slot->name), "%s%llu", load->prefix,
                 (unsigned long long)load->begun);
        snprintf(email, sizeof(email), "%s@example.com", slot->name);
        call = userd_start_create_user(load->client, NULL, &user, on_done, slot);
    } else {
        memcpy(slot->name, load->id, sizeof(slot->name));
        call = userd_start_get_user(load->client, NULL, load->id, on_done, slot);
    }
    if (call == NULL) {
        fprintf(stderr, "client-driver: a call cannot be begun: %s\n", strerror(errno));
        return false;
    }
    slot->call = call;
    slot->is_open = true;
    load->open++;
    load->begun++;
    return true;
}

/* How many calls may have begun by now. */
static uint64_t due(const struct load *load)
{
    uint64_t all = load->calls == 0 ? UINT64_MAX : load->calls;
    uint64_t by_rate;

    if (load->rate == 0)
        return all;
    by_rate = 1 + (uint64_t)((driver_now_ms() - load->began_ms) * (double)load->rate / 1000);
    return by_rate < all ? by_rate : all;
}

uint64_t load_step(struct load *load)
{
    uint64_t may = due(load);
    double next_ms;

    for (size_t i = 0; i < load->in_flight && !load->is_stopped && load->begun < may; i++)
        if (!load->slots[i].is_open && !begin(load, &load->slots[i]))
            load->is_stopped = true;
    if (load->calls > 0 && load->begun == load->calls)
        load->is_stopped = true;
    if (load->is_stopped && load->open == 0 && !load->is_over) {
        load->is_over = true;
        line_open("load");
        line_number("begun", (double)load->begun);
        line_number("ok", (double)load->ok);
        line_number("failed", (double)load->failed);
        line_close();
    }
    if (load->rate == 0 || load->is_stopped || load->open == load->in_flight)
        return UINT64_MAX;
    next_ms = load->began_ms + (double)load->begun * 1000 / (double)load->rate - driver_now_ms();
    return next_ms < 0 ? 0 : (uint64_t)next_ms + 1;
}

void load_stop(struct load *load)
{
    load->is_stopped = true;
}

bool load_is_over(const struct load *load)
{
    return load->is_over;
}

void load_free(struct load *load)
{
    if (load != NULL)
        free(load->slots);
    free(load);
}
