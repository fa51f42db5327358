#include "core/file_watch.h"

#include "core/clock.h"
#include "core/reactor.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * A file is replaced in many ways: written in place, renamed over, or, as Kubernetes does, by a
 * symbolic link somewhere on the way to it that gets another target. So it is not the file that is
 * watched but its way: every folder that decides where the path leads. In folders that hold the
 * file, a symbolic link, or a name that is not there, everything that happens counts; of the other
 * ones only that they are moved or removed.
 *
 *   1. file_watch_set() walks each path, name by name, and puts a watch on each folder before it
 *      looks into it: what changes after the look is told.
 *   2. An event starts the timer. What the events say is not looked at: any of them means that
 *      something may be different. They gather in the kernel meanwhile, so that a busy folder wakes
 *      us up twice a second at most.
 *   3. When no more came until the timer fires, the ways are walked again, for they may be others
 *      now, and the owner is told.
 *
 * What can go wrong: the queue overflows, which is one more event; a folder vanishes during the
 * walk, and the walk is repeated after a while; the system gives no more watches, which the result
 * of file_watch_set() says. Network file systems tell nothing about what other machines do.
 */

#define LINKS_MAX   40  /* on the way of one path; as the kernel has it */
#define PLACES_MAX  256 /* folders */
#define DRAINS_MAX  64  /* buffers read at once */
#define DRAIN_SIZE  4096
#define RETRY_NS    (100 * CLOCK_NS_PER_MS)
#define END_OF_WAY  1
#define EVENTS_SELF (IN_DELETE_SELF | IN_MOVE_SELF)
#define EVENTS_ALL                                                                                 \
    (EVENTS_SELF | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY |               \
     IN_CLOSE_WRITE | IN_ATTRIB)

/* A watched folder. */
struct place {
    int wd;
    bool needed; /* by the walk under way */
};

/* Where a walk stands. It has the room for paths, which is too much for a stack. */
struct walk {
    char at[PATH_MAX];   /* a folder, no symbolic link on the way to it */
    char next[PATH_MAX]; /* what is looked at in it */
    char rest[PATH_MAX]; /* of the path, from there */
    char target[PATH_MAX];
    unsigned links;
};

struct file_watch {
    struct ring_op op;
    struct timer timer; /* always armed, so that moving it needs no memory */
    struct reactor *reactor;
    struct file_watch_options options;
    int fd;
    uint64_t begun_ns; /* first event that was not told yet; 0 = none */
    bool closing;
    unsigned path_count;
    unsigned place_count;
    char *paths[FILE_WATCH_FILES_MAX];
    struct place places[PLACES_MAX];
    struct walk walk;
};

static int watch_place(struct file_watch *watch, const char *folder, uint32_t events)
{
    int wd = inotify_add_watch(watch->fd, folder, events | IN_ONLYDIR | IN_MASK_ADD);

    if (wd < 0) {
        return -errno;
    }
    for (unsigned i = 0; i < watch->place_count; i++) {
        if (watch->places[i].wd == wd) {
            watch->places[i].needed = true;
            return 0;
        }
    }
    if (watch->place_count == PLACES_MAX) {
        (void)inotify_rm_watch(watch->fd, wd); /* it was good a moment ago */
        return -ENOSPC;
    }
    watch->places[watch->place_count++] = (struct place){.wd = wd, .needed = true};
    return 0;
}

/* Takes the next name from the rest. Returns false at the end of the path. */
static bool next_name(struct walk *walk, char name[NAME_MAX + 1])
{
    const char *from = walk->rest + strspn(walk->rest, "/");
    size_t size = strcspn(from, "/");

    if (size == 0 || size > NAME_MAX) {
        return false;
    }
    memcpy(name, from, size);
    name[size] = '\0';
    from += size;
    from += strspn(from, "/");
    memmove(walk->rest, from, strlen(from) + 1);
    return true;
}

/* Puts together folder and name, or link's target and rest. */
static int join(char out[PATH_MAX], const char *front, const char *back)
{
    size_t size = strlen(front);
    const char *slash = size > 0 && front[size - 1] == '/' ? "" : "/";
    int joined = snprintf(out, PATH_MAX, "%s%s%s", front, slash, back);

    return joined > 0 && joined < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Puts the target of the link that is next before the rest. */
static int follow_link(struct walk *walk)
{
    ssize_t size = readlink(walk->next, walk->target, sizeof(walk->target) - 1);
    int result;

    if (size < 0) {
        return -errno;
    }
    if (++walk->links > LINKS_MAX) {
        return -ELOOP;
    }
    walk->target[size] = '\0';
    result = join(walk->next, walk->target, walk->rest);
    if (result == 0) {
        memcpy(walk->rest, walk->next, sizeof(walk->rest));
    }
    if (walk->target[0] == '/') {
        memcpy(walk->at, "/", 2);
    }
    return result;
}

/* Goes on by one name. Returns 0 when there may be more of them; END_OF_WAY, found or not; or
 * negative errno. */
static int walk_step(struct file_watch *watch)
{
    struct walk *walk = &watch->walk;
    char name[NAME_MAX + 1];
    struct stat status;
    int result;

    if (!next_name(walk, name)) {
        return END_OF_WAY;
    }
    result = join(walk->next, walk->at, name);
    if (result != 0) {
        return result;
    }
    if (lstat(walk->next, &status) == 0 && S_ISDIR(status.st_mode)) {
        memcpy(walk->at, walk->next, sizeof(walk->at));
        return watch_place(watch, walk->at, EVENTS_SELF);
    }
    result = watch_place(watch, walk->at, EVENTS_ALL);
    if (result != 0) {
        return result;
    }
    if (lstat(walk->next, &status) != 0) {
        return END_OF_WAY; /* it may come */
    }
    if (S_ISLNK(status.st_mode)) {
        return follow_link(walk);
    }
    return S_ISDIR(status.st_mode) ? -ENOTDIR : END_OF_WAY; /* a folder meanwhile: look again */
}

static int walk_path(struct file_watch *watch, const char *path)
{
    struct walk *walk = &watch->walk;
    int size = snprintf(walk->rest, sizeof(walk->rest), "%s", path);
    int result;

    if (size < 0 || (size_t)size >= sizeof(walk->rest)) {
        return -ENAMETOOLONG;
    }
    walk->links = 0;
    (void)snprintf(walk->at, sizeof(walk->at), "%s", path[0] == '/' ? "/" : ".");
    do {
        result = walk_step(watch);
    } while (result == 0);
    return result == END_OF_WAY ? 0 : result;
}

/* Forgets the folders that the walk did not meet. */
static void sweep(struct file_watch *watch)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < watch->place_count; i++) {
        if (watch->places[i].needed) {
            watch->places[kept++] = (struct place){.wd = watch->places[i].wd};
        } else {
            (void)inotify_rm_watch(watch->fd, watch->places[i].wd); /* it may be gone already */
        }
    }
    watch->place_count = kept;
}

/* Did something vanish or appear on the way? */
static bool is_passing(int result)
{
    return result == -ENOENT || result == -ENOTDIR || result == -EINVAL;
}

/* Walks all paths. Returns 0, or the first failure that a later walk would meet again. */
static int walk_all(struct file_watch *watch)
{
    int first = 0;

    for (unsigned i = 0; i < watch->path_count; i++) {
        int result = walk_path(watch, watch->paths[i]);

        if (is_passing(result) && watch->begun_ns == 0) {
            watch->begun_ns = clock_monotonic_ns(watch->reactor->clock); /* look again */
        }
        if (result != 0 && !is_passing(result) && first == 0) {
            first = result;
        }
    }
    sweep(watch);
    return first;
}

/* Reads what the kernel has. Returns whether there was anything. */
static bool drain(struct file_watch *watch)
{
    char events[DRAIN_SIZE];
    bool any = false;

    /* Does not block: the descriptor is non-blocking. */
    for (unsigned i = 0; i < DRAINS_MAX; i++) {
        if (read(watch->fd, events, sizeof(events)) <= 0) {
            break;
        }
        any = true;
    }
    return any;
}

static void start_timer(struct file_watch *watch, uint64_t delay_ns)
{
    (void)reactor_start_timer(watch->reactor, &watch->timer, delay_ns); /* has its place */
}

static void on_readable(struct ring_op *op, const struct ring_event *event);

static void wait_for_events(struct file_watch *watch)
{
    watch->op.done = on_readable;
    if (ring_poll(watch->reactor->ring, &watch->op, watch->fd, POLLIN) < 0) {
        start_timer(watch, RETRY_NS);
    }
}

static void let_go(struct file_watch *watch)
{
    reactor_stop_timer(watch->reactor, &watch->timer);
    if (watch->fd >= 0) {
        (void)close(watch->fd); /* nothing was written to it */
        watch->fd = -1;
    }
}

static void on_readable(struct ring_op *op, const struct ring_event *event)
{
    struct file_watch *watch = CONTAINER_OF(op, struct file_watch, op);

    (void)event; /* whatever woke us, reading tells what is there */
    if (watch->closing) {
        let_go(watch);
        return;
    }
    if (!drain(watch)) {
        wait_for_events(watch);
        return;
    }
    if (watch->begun_ns == 0) {
        watch->begun_ns = watch->reactor->now_ns;
    }
    start_timer(watch, watch->options.settle_ns);
}

/* Either the events have settled, or it is time to try again what did not go. */
static void on_timer(struct timer *timer)
{
    struct file_watch *watch = CONTAINER_OF(timer, struct file_watch, timer);
    bool has_begun = watch->begun_ns != 0;
    uint64_t age_ns = watch->reactor->now_ns - watch->begun_ns;

    if (has_begun && drain(watch) && age_ns < watch->options.patience_ns) {
        start_timer(watch, watch->options.settle_ns);
        return;
    }
    watch->begun_ns = 0;
    start_timer(watch, UINT64_MAX);
    if (has_begun) {
        (void)walk_all(watch); /* what fails now was said, or is the system's own trouble */
    }
    if (watch->begun_ns != 0) {
        start_timer(watch, watch->options.settle_ns);
    }
    if (!watch->op.pending) {
        wait_for_events(watch);
    }
    if (has_begun) {
        watch->options.changed(watch->options.context);
    }
}

int file_watch_new(struct reactor *reactor, const struct file_watch_options *options,
                   struct file_watch **ret_watch)
{
    struct file_watch *watch = calloc(1, sizeof(*watch));
    int result;

    if (watch == NULL) {
        return -ENOMEM;
    }
    watch->reactor = reactor;
    watch->options = *options;
    watch->timer.fire = on_timer;
    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->fd < 0) {
        result = -errno;
        free(watch);
        return result;
    }
    result = reactor_start_timer(reactor, &watch->timer, UINT64_MAX);
    if (result != 0) {
        let_go(watch);
        free(watch);
        return result;
    }
    wait_for_events(watch);
    *ret_watch = watch;
    return 0;
}

static void free_paths(struct file_watch *watch)
{
    for (unsigned i = 0; i < watch->path_count; i++) {
        free(watch->paths[i]);
    }
    watch->path_count = 0;
}

int file_watch_set(struct file_watch *watch, const char *const *paths, unsigned count)
{
    int result;

    assert(count <= FILE_WATCH_FILES_MAX && !watch->closing);
    free_paths(watch);
    for (unsigned i = 0; i < count; i++) {
        watch->paths[i] = strdup(paths[i]);
        if (watch->paths[i] == NULL) {
            return -ENOMEM;
        }
        watch->path_count++;
    }
    result = walk_all(watch);
    if (watch->begun_ns != 0 && watch->op.pending) {
        start_timer(watch, watch->options.settle_ns);
    }
    return result;
}

void file_watch_close(struct file_watch *watch)
{
    if (watch == NULL || watch->closing) {
        return;
    }
    watch->closing = true;
    reactor_stop_timer(watch->reactor, &watch->timer);
    if (watch->op.pending) {
        ring_cancel(watch->reactor->ring, &watch->op);
    } else {
        let_go(watch);
    }
}

void file_watch_free(struct file_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    assert(watch->fd < 0 && !watch->op.pending);
    free_paths(watch);
    free(watch);
}
