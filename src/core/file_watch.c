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
 * A folder that may be gone through but not read (mode 0711) cannot be watched. Of a path with such
 * a one on its way the file itself is remembered, as stat() shows it, and looked at again from time
 * to time; a difference counts as an event does.
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

/* A path to watch, and when that cannot be done on all of its way: what stood there last. */
struct way {
    char *path;
    bool is_hidden;
    bool was_there;
    struct stat seen;
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
    unsigned way_count;
    unsigned place_count;
    struct way ways[FILE_WATCH_FILES_MAX];
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

/* The same, and a folder that hides what is in it makes the whole way hidden. */
static int watch_if_readable(struct file_watch *watch, struct way *way, uint32_t events)
{
    int result = watch_place(watch, watch->walk.at, events);

    if (result == -EACCES) {
        way->is_hidden = true;
        return 0;
    }
    return result;
}

/* Goes on by one name. Returns 0 when there may be more of them; END_OF_WAY, found or not; or
 * negative errno. */
static int walk_step(struct file_watch *watch, struct way *way)
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
        return watch_if_readable(watch, way, EVENTS_SELF);
    }
    result = watch_if_readable(watch, way, EVENTS_ALL);
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

static int walk_path(struct file_watch *watch, struct way *way)
{
    struct walk *walk = &watch->walk;
    int size = snprintf(walk->rest, sizeof(walk->rest), "%s", way->path);
    int result;

    if (size < 0 || (size_t)size >= sizeof(walk->rest)) {
        return -ENAMETOOLONG;
    }
    walk->links = 0;
    (void)snprintf(walk->at, sizeof(walk->at), "%s", way->path[0] == '/' ? "/" : ".");
    way->is_hidden = false;
    do {
        result = walk_step(watch, way);
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

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Remembers what stands at the end of a hidden way. Returns whether it is something else than
 * before. */
static bool look_at(struct way *way)
{
    const bool was_there = way->was_there;
    const struct stat before = way->seen;

    way->was_there = stat(way->path, &way->seen) == 0;
    if (!way->was_there || !was_there) {
        return way->was_there != was_there;
    }
    return way->seen.st_dev != before.st_dev || way->seen.st_ino != before.st_ino ||
           way->seen.st_size != before.st_size ||
           !is_same_time(&way->seen.st_mtim, &before.st_mtim) ||
           !is_same_time(&way->seen.st_ctim, &before.st_ctim);
}

/* Returns whether something is different at the end of any hidden way. */
static bool look_at_hidden(struct file_watch *watch)
{
    bool any = false;

    for (unsigned i = 0; i < watch->way_count; i++) {
        if (watch->ways[i].is_hidden && look_at(&watch->ways[i])) {
            any = true;
        }
    }
    return any;
}

/* Walks all paths. Returns 0, or the first failure that a later walk would meet again. */
static int walk_all(struct file_watch *watch)
{
    int first = 0;

    for (unsigned i = 0; i < watch->way_count; i++) {
        int result = walk_path(watch, &watch->ways[i]);

        if (is_passing(result) && watch->begun_ns == 0) {
            watch->begun_ns = clock_monotonic_ns(watch->reactor->clock); /* look again */
        }
        if (result != 0 && !is_passing(result) && first == 0) {
            first = result;
        }
    }
    sweep(watch);
    (void)look_at_hidden(watch); /* what comes after this counts */
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

/* Waits for events to settle, or until it is time to look at what is hidden; else for ever. */
static void start_waiting(struct file_watch *watch)
{
    uint64_t delay_ns = UINT64_MAX;

    for (unsigned i = 0; i < watch->way_count; i++) {
        if (watch->ways[i].is_hidden) {
            delay_ns = watch->options.look_ns;
        }
    }
    start_timer(watch, watch->begun_ns != 0 ? watch->options.settle_ns : delay_ns);
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

/* Either the events have settled, or it is time to look at what is hidden, or to try again what did
 * not go. */
static void on_timer(struct timer *timer)
{
    struct file_watch *watch = CONTAINER_OF(timer, struct file_watch, timer);
    const bool has_begun = watch->begun_ns != 0;
    const uint64_t age_ns = watch->reactor->now_ns - watch->begun_ns;
    const bool is_different = look_at_hidden(watch);

    if (has_begun && (drain(watch) || is_different) && age_ns < watch->options.patience_ns) {
        start_timer(watch, watch->options.settle_ns);
        return;
    }
    watch->begun_ns = !has_begun && is_different ? watch->reactor->now_ns : 0;
    if (has_begun) {
        (void)walk_all(watch); /* what fails now was said, or is the system's own trouble */
    }
    start_waiting(watch);
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
    for (unsigned i = 0; i < watch->way_count; i++) {
        free(watch->ways[i].path);
    }
    watch->way_count = 0;
}

int file_watch_set(struct file_watch *watch, const char *const *paths, unsigned count)
{
    int result;

    assert(count <= FILE_WATCH_FILES_MAX && !watch->closing);
    free_paths(watch);
    for (unsigned i = 0; i < count; i++) {
        watch->ways[i] = (struct way){.path = strdup(paths[i])};
        if (watch->ways[i].path == NULL) {
            return -ENOMEM;
        }
        watch->way_count++;
    }
    result = walk_all(watch);
    if (watch->op.pending) {
        start_waiting(watch);
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
