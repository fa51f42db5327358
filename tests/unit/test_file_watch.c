#include "lib/unit.h"

#include "core/clock.h"
#include "core/file_watch.h"
#include "core/reactor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTLE_NS   (20 * CLOCK_NS_PER_MS)
#define PATIENCE_NS (200 * CLOCK_NS_PER_MS)
#define LOOK_NS     (30 * CLOCK_NS_PER_MS)
#define NOBODY      65534

static struct reactor reactor;
static struct file_watch *watch;
static char folder[32];
static unsigned told;
static bool close_when_told;

static void on_changed(void *context)
{
    ck_assert_ptr_eq(context, &told);
    told++;
    if (close_when_told) {
        file_watch_close(watch);
    }
}

/* A path in the test's folder; good until four more were asked for. */
static const char *in_folder(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    (void)snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...)
{
    char command[512];
    va_list arguments;
    int size = snprintf(command, sizeof(command), "cd %s && ", folder);

    va_start(arguments, format);
    (void)vsnprintf(command + size, sizeof(command) - (size_t)size, format, arguments);
    va_end(arguments);
    ck_assert_msg(system(command) == 0, "%s", command);
}

static void open_loop(void)
{
    struct ring_options options = {.entries = 8};
    char problem[RING_PROBLEM_SIZE] = "";

    told = 0;
    close_when_told = false;
    (void)snprintf(folder, sizeof(folder), "/tmp/file_watch.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_msg(reactor_init(&reactor, &options, clock_system(), NULL, problem) == 0, "%s",
                  problem);
}

static int open_watch(void)
{
    struct file_watch_options options = {
        .settle_ns = SETTLE_NS,
        .patience_ns = PATIENCE_NS,
        .look_ns = LOOK_NS,
        .changed = on_changed,
        .context = &told,
    };

    return file_watch_new(&reactor, &options, &watch);
}

/* A watch on one file of the folder. */
static void open_on(const char *name)
{
    const char *path = in_folder(name);

    ck_assert_int_eq(open_watch(), 0);
    ck_assert_int_eq(file_watch_set(watch, &path, 1), 0);
}

static void close_all(void)
{
    file_watch_close(watch);
    file_watch_close(watch);
    while (ring_pending_count(reactor.ring) > 0) {
        ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    }
    file_watch_free(watch);
    reactor_deinit(&reactor);
    ck_assert_int_eq(chdir("/"), 0);
    shell("rm -rf %s", folder);
}

/* Turns the loop until something was told, and then until nothing more is under way. */
static void await_told(void)
{
    unsigned before = told;

    while (told == before) {
        ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    }
}

/* Turns the loop for a few times the settling time; nothing may be told. */
static void assert_silent(void)
{
    unsigned before = told;
    uint64_t end_ns = clock_monotonic_ns(clock_system()) + 4 * SETTLE_NS;

    while (clock_monotonic_ns(clock_system()) < end_ns) {
        ck_assert_int_eq(reactor_turn(&reactor, SETTLE_NS), 0);
    }
    ck_assert_uint_eq(told, before);
}

/* What a file's content, name or rights can change by is told, once each. */
START_TEST(file_watch_tells_changes)
{
    open_loop();
    shell("echo one >file");
    open_on("file");
    assert_silent();
    shell("echo two >file");
    await_told();
    shell("echo three >new && mv new file");
    await_told();
    shell("chmod 600 file");
    await_told();
    shell("rm file");
    await_told();
    shell("echo four >file");
    await_told();
    assert_silent();
    ck_assert_uint_eq(told, 5);
    close_all();
}

END_TEST

/* Many events in a row are told once, when they are over. */
START_TEST(file_watch_waits_until_it_settles)
{
    open_loop();
    open_on("file");
    shell("for i in 1 2 3 4 5 6 7 8; do echo $i >file; done");
    await_told();
    assert_silent();
    ck_assert_uint_eq(told, 1);
    close_all();
}

END_TEST

/* Where events never end they are told all the same, after a while. */
START_TEST(file_watch_is_not_put_off_for_ever)
{
    uint64_t begin_ns = clock_monotonic_ns(clock_system());
    uint64_t taken_ns;
    int fd;

    open_loop();
    open_on("file");
    fd = open(in_folder("file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    while (told == 0) {
        ck_assert_int_eq(write(fd, "x", 1), 1);
        ck_assert_int_eq(reactor_turn(&reactor, CLOCK_NS_PER_MS), 0);
    }
    taken_ns = clock_monotonic_ns(clock_system()) - begin_ns;
    ck_assert_uint_ge(taken_ns, PATIENCE_NS);
    (void)close(fd);
    close_all();
}

END_TEST

/* As Kubernetes replaces a volume: files are links into ..data, which is a link to a folder, and
 * gets another target by a rename. Twice, for the way is another one after the first time. */
START_TEST(file_watch_follows_links)
{
    open_loop();
    shell("mkdir v1 && echo 1 >v1/tls.crt && ln -s v1 ..data && ln -s ..data/tls.crt tls.crt");
    open_on("tls.crt");
    for (int i = 2; i <= 3; i++) {
        shell("mkdir v%d && echo %d >v%d/tls.crt", i, i, i);
        shell("ln -s v%d ..tmp && mv -T ..tmp ..data && rm -r v%d", i, i - 1);
        await_told();
        assert_silent();
        told = 0;
    }
    shell("echo in place >v3/tls.crt");
    await_told();
    close_all();
}

END_TEST

/* A link to a file elsewhere, by an absolute path: both ends count. */
START_TEST(file_watch_follows_links_elsewhere)
{
    open_loop();
    shell("mkdir live archive other && echo 1 >archive/cert1 && echo 2 >archive/cert2");
    shell("ln -s %s/archive/cert1 live/cert", folder);
    open_on("live/cert");
    shell("echo changed >archive/cert1");
    await_told();
    shell("ln -sf ../archive/cert2 live/cert");
    await_told();
    shell("echo changed >archive/cert2");
    await_told();
    assert_silent();
    shell("echo >other/file");
    assert_silent();
    close_all();
}

END_TEST

/* A folder that is not there yet, comes, goes and comes back, or is swapped as a whole. */
START_TEST(file_watch_survives_its_folder)
{
    open_loop();
    open_on("a/b/file");
    shell("mkdir -p a/b");
    await_told();
    shell("echo 1 >a/b/file");
    await_told();
    shell("rm -r a");
    await_told();
    shell("mkdir -p a/b && echo 2 >a/b/file");
    await_told();
    shell("mkdir -p c/b && echo 3 >c/b/file && mv a old && mv c a");
    await_told();
    shell("echo 4 >a/b/file");
    await_told();
    assert_silent();
    shell("echo 5 >old/b/file"); /* which it was once */
    assert_silent();
    close_all();
}

END_TEST

/* Paths are relative to the working directory; another set takes the place of the first. */
START_TEST(file_watch_takes_another_set)
{
    const char *paths[] = {"one/file", "./one/../two/file", in_folder("one/other")};
    const char *later[] = {in_folder("three/file")};

    open_loop();
    ck_assert_int_eq(chdir(folder), 0);
    shell("mkdir one two three");
    paths[2] = in_folder("one/other");
    later[0] = in_folder("three/file");
    ck_assert_int_eq(open_watch(), 0);
    ck_assert_int_eq(file_watch_set(watch, paths, 3), 0);
    shell("echo 1 >two/file");
    await_told();
    shell("echo 1 >three/file");
    assert_silent();
    ck_assert_int_eq(file_watch_set(watch, later, 1), 0);
    await_told(); /* of the watches taken back: a hint too many is allowed */
    shell("echo 2 >three/file");
    await_told();
    shell("echo 2 >two/file; echo 2 >one/file");
    assert_silent();
    close_all();
}

END_TEST

/* A way in a circle, and one too long, are refused; the other files are watched. */
START_TEST(file_watch_refuses_endless_ways)
{
    static char huge[8192];
    const char *paths[] = {in_folder("circle"), huge, in_folder("file")};

    open_loop();
    memset(huge, 'x', sizeof(huge) - 1);
    shell("ln -s circle circle");
    paths[0] = in_folder("circle");
    paths[2] = in_folder("file");
    ck_assert_int_eq(open_watch(), 0);
    ck_assert_int_eq(file_watch_set(watch, paths, 1), -ELOOP);
    ck_assert_int_eq(file_watch_set(watch, paths + 1, 2), -ENAMETOOLONG);
    shell("echo 1 >file");
    await_told();
    close_all();
}

END_TEST

/* More events than the kernel keeps are one more reason to look. */
START_TEST(file_watch_survives_an_overflow)
{
    open_loop();
    open_on("file");
    for (int i = 0; i < 40000; i++) { /* the kernel merges equal events, so no two are */
        int fd = open(in_folder(i % 2 == 0 ? "a" : "b"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        ck_assert_int_ge(fd, 0);
        (void)close(fd);
    }
    await_told();
    assert_silent();
    ck_assert_uint_eq(told, 1);
    shell("echo 1 >file");
    await_told();
    close_all();
}

END_TEST

/* It may be closed while it tells, and while events wait to settle. */
START_TEST(file_watch_closes_at_any_time)
{
    open_loop();
    open_on("file");
    close_when_told = true;
    shell("echo 1 >file");
    await_told();
    close_all();
    open_loop();
    open_on("file");
    shell("echo 1 >file");
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0); /* settling */
    close_all();
    ck_assert_uint_eq(told, 0);
    open_loop();
    ck_assert_int_eq(open_watch(), 0);
    close_all();
}

END_TEST

/* Root may read everything, so it becomes somebody who may not. */
static void become_nobody(void)
{
    if (geteuid() == 0) {
        ck_assert_int_eq(chown(folder, NOBODY, NOBODY), 0);
        ck_assert_int_eq(setresgid(NOBODY, NOBODY, NOBODY), 0);
        ck_assert_int_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
    }
}

/* A file in a folder that may be gone through but not read: replaced, written, removed, back again;
 * and through a link that stands there. What is beside it does not count. */
START_TEST(file_watch_looks_into_hidden_folders)
{
    const char *paths[2];

    open_loop();
    become_nobody();
    shell("mkdir hidden hidden/in open && echo one >hidden/in/file && echo one >open/file");
    shell("ln -s ../open/file hidden/link && chmod 0311 hidden hidden/in");
    ck_assert_ptr_null(opendir(in_folder("hidden")));
    paths[0] = in_folder("hidden/in/file");
    paths[1] = in_folder("hidden/link");
    ck_assert_int_eq(open_watch(), 0);
    ck_assert_int_eq(file_watch_set(watch, paths, 2), 0);
    assert_silent();
    shell("echo two >hidden/in/new && mv hidden/in/new hidden/in/file");
    await_told();
    shell("echo three >hidden/in/file");
    await_told();
    shell("rm hidden/in/file");
    await_told();
    shell("echo four >hidden/in/other");
    assert_silent();
    shell("echo four >hidden/in/file");
    await_told();
    shell("echo two >open/file");
    await_told();
    shell("echo three >open/other && ln -sf ../open/other hidden/link");
    await_told();
    shell("chmod 0755 hidden hidden/in");
    close_all();
}

END_TEST

/* A whole folder of that kind is swapped, as Kubernetes does, and comes and goes. */
START_TEST(file_watch_follows_hidden_folders)
{
    const char *path;

    open_loop();
    become_nobody();
    shell("mkdir -p way/v1 way/v2 && echo 1 >way/v1/file && echo 2 >way/v2/file");
    shell("ln -s v1 way/data && chmod 0311 way");
    path = in_folder("way/data/file");
    ck_assert_int_eq(open_watch(), 0);
    ck_assert_int_eq(file_watch_set(watch, &path, 1), 0);
    shell("ln -s v2 way/tmp && mv -T way/tmp way/data");
    await_told();
    shell("echo 3 >way/v2/file");
    await_told();
    shell("mv way gone");
    await_told();
    shell("mv gone way");
    await_told();
    assert_silent();
    shell("chmod 0755 way");
    close_all();
}

END_TEST

/* Without a descriptor to be had there is no watch, and that is said. */
START_TEST(file_watch_needs_a_descriptor)
{
    struct rlimit none = {.rlim_cur = 0};
    struct rlimit before;

    open_loop();
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert_int_eq(open_watch(), -EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    watch = NULL;
    close_all();
}

END_TEST

UNIT_MAIN("file_watch", file_watch_tells_changes, file_watch_waits_until_it_settles,
          file_watch_is_not_put_off_for_ever, file_watch_follows_links,
          file_watch_follows_links_elsewhere, file_watch_survives_its_folder,
          file_watch_takes_another_set, file_watch_refuses_endless_ways,
          file_watch_survives_an_overflow, file_watch_closes_at_any_time,
          file_watch_looks_into_hidden_folders, file_watch_follows_hidden_folders,
          file_watch_needs_a_descriptor)
