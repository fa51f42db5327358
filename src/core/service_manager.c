#include "core/service_manager.h"

#include "core/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A datagram is a list of lines NAME=value. The order of what is noted never needs to be kept: a
 * manager that missed "ready" before "reloading" gets the "ready" after it, and one that is told
 * of the end needs neither. Only the beginning of a reload and its end are two datagrams: of two
 * states in one, the manager would take one.
 */

#define MESSAGE_SIZE (SERVICE_MANAGER_STATUS_SIZE + 256)

enum {
    READY,
    RELOADING,
    STOPPING,
    ALIVE,
    EXTEND,
    FAILED,
    STATUS,
};

/* Reads a number out of the environment. False when it is none. */
static bool read_number(const char *text, uint64_t *ret_number)
{
    char *end;

    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    *ret_number = strtoull(text, &end, 10);
    return *end == '\0' && errno == 0;
}

/* The watchdog is ours unless it names another process: then we have its environment by descent. */
static int read_watchdog(struct service_manager *manager, const char *us_text, const char *pid_text)
{
    uint64_t us = 0;
    uint64_t pid = (uint64_t)getpid();

    if ((us_text != NULL && !read_number(us_text, &us)) ||
        (pid_text != NULL && !read_number(pid_text, &pid)) || us > UINT64_MAX / CLOCK_NS_PER_US) {
        return SERVICE_MANAGER_E_WATCHDOG;
    }
    if (pid == (uint64_t)getpid()) {
        manager->watchdog_ns = us * CLOCK_NS_PER_US;
    }
    return 0;
}

/* A path, or "@name" for one in the abstract namespace, which has no NUL at its end. */
static int read_address(struct service_manager *manager, const char *text)
{
    const size_t size = strlen(text);
    const size_t head = offsetof(struct sockaddr_un, sun_path);

    if ((text[0] != '/' && text[0] != '@') || size < 2 ||
        size >= sizeof(manager->address.sun_path)) {
        return SERVICE_MANAGER_E_ADDRESS;
    }
    manager->address.sun_family = AF_UNIX;
    memcpy(manager->address.sun_path, text, size);
    manager->address_size = (socklen_t)(head + size + 1);
    if (text[0] == '@') {
        manager->address.sun_path[0] = '\0';
        manager->address_size--;
    }
    return 0;
}

static int open_from(struct service_manager *manager)
{
    const char *address = getenv("NOTIFY_SOCKET");
    int result;

    if (address == NULL || address[0] == '\0') {
        return 0;
    }
    result = read_address(manager, address);
    if (result != 0) {
        return result;
    }
    manager->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (manager->fd < 0) {
        return -errno;
    }
    return read_watchdog(manager, getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"));
}

int service_manager_open(struct service_manager *manager)
{
    int result;

    *manager = (struct service_manager){.fd = -1};
    result = open_from(manager);
    (void)unsetenv("NOTIFY_SOCKET"); /* these names are good, so it cannot fail */
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    return result;
}

bool service_manager_is_there(const struct service_manager *manager)
{
    return manager->fd >= 0;
}

static void note(struct service_manager *manager, unsigned what)
{
    manager->due |= 1U << what;
}

static void forget(struct service_manager *manager, unsigned what)
{
    manager->due &= ~(1U << what);
}

static bool is_due(const struct service_manager *manager, unsigned what)
{
    return (manager->due & 1U << what) != 0;
}

void service_manager_ready(struct service_manager *manager)
{
    note(manager, READY);
}

void service_manager_reloading(struct service_manager *manager, uint64_t now_ns)
{
    manager->reload_us = now_ns / CLOCK_NS_PER_US;
    note(manager, RELOADING);
    forget(manager, READY); /* another follows */
}

void service_manager_stopping(struct service_manager *manager)
{
    note(manager, STOPPING);
    forget(manager, READY);
    forget(manager, RELOADING);
}

void service_manager_alive(struct service_manager *manager)
{
    note(manager, ALIVE);
}

void service_manager_extend(struct service_manager *manager, uint64_t ns)
{
    manager->extend_us = ns / CLOCK_NS_PER_US;
    note(manager, EXTEND);
}

void service_manager_failed(struct service_manager *manager, int error)
{
    manager->error = error;
    note(manager, FAILED);
}

/* What was cut may have lost a part of its last character, and managers take UTF-8 alone. */
static void mend_end(char *text)
{
    size_t size = strlen(text);

    while (size > 0 && (text[size - 1] & 0x80) != 0) {
        text[--size] = '\0';
    }
}

void service_manager_status(struct service_manager *manager, const char *format, ...)
{
    char text[SERVICE_MANAGER_STATUS_SIZE];
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (size >= (int)sizeof(text)) {
        mend_end(text);
    }
    for (char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == '\x7f') {
            *at = ' ';
        }
    }
    if (strcmp(text, manager->status) != 0) {
        memcpy(manager->status, text, sizeof(text));
        note(manager, STATUS);
    }
}

struct message {
    char text[MESSAGE_SIZE];
    size_t size;
};

__attribute__((format(printf, 2, 3))) static void add(struct message *message, const char *format,
                                                      ...)
{
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = vsnprintf(message->text + message->size, sizeof(message->text) - message->size, format,
                     arguments);
    va_end(arguments);
    if (size > 0 && (size_t)size < sizeof(message->text) - message->size) {
        message->size += (size_t)size;
    }
}

static int send_message(struct service_manager *manager, const struct message *message)
{
    const struct sockaddr *address = (const struct sockaddr *)&manager->address;
    ssize_t size = sendto(manager->fd, message->text, message->size, MSG_DONTWAIT | MSG_NOSIGNAL,
                          address, manager->address_size);

    return size < 0 ? -errno : 0;
}

/* All but the beginning of a reload. */
static void compose(const struct service_manager *manager, struct message *message)
{
    if (is_due(manager, READY)) {
        add(message, "READY=1\n");
    }
    if (is_due(manager, STOPPING)) {
        add(message, "STOPPING=1\n");
    }
    if (is_due(manager, ALIVE)) {
        add(message, "WATCHDOG=1\n");
    }
    if (is_due(manager, EXTEND)) {
        add(message, "EXTEND_TIMEOUT_USEC=%" PRIu64 "\n", manager->extend_us);
    }
    if (is_due(manager, FAILED)) {
        add(message, "ERRNO=%d\n", manager->error);
    }
    if (is_due(manager, STATUS)) {
        add(message, "STATUS=%s\n", manager->status);
    }
}

int service_manager_flush(struct service_manager *manager)
{
    struct message message = {.size = 0};
    int result = 0;

    if (!service_manager_is_there(manager)) {
        manager->due = 0;
        return 0;
    }
    if (is_due(manager, RELOADING)) {
        add(&message, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n", manager->reload_us);
        result = send_message(manager, &message);
        if (result != 0) {
            return result;
        }
        forget(manager, RELOADING);
        message.size = 0;
    }
    if (manager->due != 0) {
        compose(manager, &message);
        result = send_message(manager, &message);
    }
    if (result == 0) {
        manager->due = 0;
    }
    return result;
}

void service_manager_close(struct service_manager *manager)
{
    if (manager->fd >= 0) {
        (void)close(manager->fd); /* nothing can be lost in it */
        manager->fd = -1;
    }
}
