#include "client/client_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_SIZE  16384
#define CONFIG_SIZE 65536

struct driver {
    struct userd_client *client;
    struct load *load;
    bool is_quitting;
    bool input_ended;
    char input[INPUT_SIZE];
    size_t input_size;
};

/* ----------------------------------------------------------------------- words */

const char *words_text(const struct words *words, const char *name, const char *otherwise)
{
    for (size_t i = 0; i < words->count; i++)
        if (strcmp(words->names[i], name) == 0)
            return words->values[i];
    return otherwise;
}

uint64_t words_number(const struct words *words, const char *name, uint64_t otherwise)
{
    const char *text = words_text(words, name, NULL);

    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

/* The line is cut up. */
static void split(char *line, struct words *words)
{
    char *rest = line;

    words->command = strtok_r(line, " ", &rest);
    words->count = 0;
    for (char *word;
         words->count < DRIVER_WORDS_MAX && (word = strtok_r(NULL, " ", &rest)) != NULL;) {
        char *equals = strchr(word, '=');

        if (equals == NULL)
            continue;
        *equals = 0;
        words->names[words->count] = word;
        words->values[words->count++] = equals + 1;
    }
}

/* -------------------------------------------------------------------- commands */

static void check_health(struct driver *driver, const struct words *words)
{
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;
    int status = -1;

    options.timeout_ms = words_number(words, "timeout_ms", 0);
    userd_check_health(driver->client, &options, words_text(words, "service", ""), &status);
    line_open("call");
    line_number("tag", (double)words_number(words, "tag", 0));
    line_text("method", "Check");
    line_number("health", status);
    line_error(userd_client_error(driver->client));
    line_close();
}

static void obey(struct driver *driver, char *line)
{
    struct words words;

    split(line, &words);
    if (words.command == NULL)
        return;
    if (strcmp(words.command, "load") == 0) {
        if (driver->load == NULL)
            driver->load = load_new(driver->client, &words);
    } else if (strcmp(words.command, "stop") == 0) {
        if (driver->load != NULL)
            load_stop(driver->load);
    } else if (strcmp(words.command, "stats") == 0) {
        line_stats(driver->client);
    } else if (strcmp(words.command, "connect") == 0) {
        userd_client_connect(driver->client);
    } else if (strcmp(words.command, "check") == 0) {
        check_health(driver, &words);
    } else if (strcmp(words.command, "quit") == 0) {
        driver->is_quitting = true;
    } else if (!calls_begin(driver->client, &words) && !calls_meddle(&words)) {
        fprintf(stderr, "client-driver: unknown command %s\n", words.command);
    }
}

static void read_input(struct driver *driver)
{
    ssize_t size = read(STDIN_FILENO, driver->input + driver->input_size,
                        sizeof(driver->input) - driver->input_size);
    char *line = driver->input;
    char *end;

    if (size <= 0) {
        driver->input_ended = size == 0 || errno != EINTR;
        driver->is_quitting = driver->input_ended;
        return;
    }
    driver->input_size += (size_t)size;
    while ((end = memchr(line, '\n', driver->input_size - (size_t)(line - driver->input))) !=
           NULL) {
        *end = 0;
        obey(driver, line);
        line = end + 1;
    }
    driver->input_size -= (size_t)(line - driver->input);
    memmove(driver->input, line, driver->input_size);
}

/* ----------------------------------------------------------------------- options */

static char *slurp(const char *path)
{
    static char text[CONFIG_SIZE];
    FILE *file = fopen(path, "r");
    size_t size;

    if (file == NULL)
        return NULL;
    size = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[size] = 0;
    return text;
}

static void set_text(struct userd_client_options *options, const char *name, const char *value)
{
    struct {
        const char *name;
        const char **place;
    } texts[] = {
        {"target", &options->target},           {"ca", &options->ca_file},
        {"cert", &options->cert_file},          {"key", &options->key_file},
        {"server-name", &options->server_name}, {"token", &options->token},
        {"token-file", &options->token_file},   {"user-agent", &options->user_agent},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strcmp(texts[i].name, name) == 0)
            *texts[i].place = value;
}

static void set_number(struct userd_client_options *options, const char *name, uint64_t value)
{
    struct {
        const char *name;
        uint64_t *place;
    } numbers[] = {
        {"timeout-ms", &options->timeout_ms},
        {"connect-timeout-ms", &options->connect_timeout_ms},
        {"keepalive-time-ms", &options->keepalive_time_ms},
        {"keepalive-timeout-ms", &options->keepalive_timeout_ms},
        {"resolve-interval-ms", &options->resolve_interval_ms},
        {"breaker-window-ms", &options->breaker_window_ms},
        {"breaker-cooldown-ms", &options->breaker_cooldown_ms},
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (strcmp(numbers[i].name, name) == 0)
            *numbers[i].place = value;
    if (strcmp(name, "breaker-min-calls") == 0)
        options->breaker_min_calls = (uint32_t)value;
    else if (strcmp(name, "breaker-failure-percent") == 0)
        options->breaker_failure_percent = (uint32_t)value;
    else if (strcmp(name, "breaker-probes") == 0)
        options->breaker_probes = (uint32_t)value;
    else if (strcmp(name, "breaker") == 0)
        options->breaker = value != 0;
    else if (strcmp(name, "max-message") == 0)
        options->max_message = (uint32_t)value;
    else if (strcmp(name, "plaintext") == 0)
        options->plaintext = value != 0;
    else if (strcmp(name, "wait-for-ready") == 0)
        options->wait_for_ready = value != 0;
}

static void read_options(int argc, char **argv, struct userd_client_options *options)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i] + 2;
        const char *value = argv[i + 1];

        set_text(options, name, value);
        set_number(options, name, strtoull(value, NULL, 10));
        if (strcmp(name, "service-config-file") == 0)
            options->service_config = slurp(value);
        else if (strcmp(name, "balancing") == 0)
            options->balancing = strcmp(value, "round_robin") == 0  ? USERD_ROUND_ROBIN
                                 : strcmp(value, "pick_first") == 0 ? USERD_PICK_FIRST
                                                                    : USERD_BALANCING_DEFAULT;
    }
}

/* --------------------------------------------------------------------- the loop */

/* What begins a call comes last before the waiting: userd_client_next_ms() knows of it. */
static int turn(struct driver *driver)
{
    struct pollfd fds[2] = {{.fd = driver->input_ended ? -1 : STDIN_FILENO, .events = POLLIN},
                            {.fd = userd_client_fd(driver->client), .events = POLLIN}};
    int result = userd_client_run(driver->client, 0);
    uint64_t wait_ms = UINT64_MAX;
    uint64_t next_ms;

    if (result != 0) {
        fprintf(stderr, "client-driver: the loop failed: %s\n", strerror(-result));
        return result;
    }
    line_breaker_changes(driver->client);
    if (driver->load != NULL) {
        wait_ms = load_step(driver->load);
        if (load_is_over(driver->load)) {
            load_free(driver->load);
            driver->load = NULL;
        }
    }
    fflush(stdout);
    next_ms = userd_client_next_ms(driver->client);
    wait_ms = next_ms < wait_ms ? next_ms : wait_ms;
    if (poll(fds, 2, wait_ms > 60000 ? 60000 : (int)wait_ms) > 0 && fds[0].revents != 0)
        read_input(driver);
    return 0;
}

int main(int argc, char **argv)
{
    struct userd_client_options options = USERD_CLIENT_OPTIONS_INIT;
    static struct driver driver;
    int result;

    signal(SIGPIPE, SIG_IGN);
    read_options(argc, argv, &options);
    result = userd_client_new(&options, &driver.client);
    line_open("ready");
    line_number("result", result);
    if (result != 0)
        line_text("problem", userd_last_problem());
    line_close();
    fflush(stdout);
    if (result != 0)
        return 2;
    while (!driver.is_quitting && result == 0)
        result = turn(&driver);
    userd_client_free(driver.client);
    load_free(driver.load);
    fflush(stdout);
    return result == 0 ? 0 : 1;
}
