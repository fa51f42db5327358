#include "lib/unit.h"

#include "core/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/test_directory.XXXXXX";

static void in_root(const char *name, char *ret_path)
{
    (void)snprintf(ret_path, PATH_MAX, "%s/%s", root, name);
}

/* Missing directories are made for the owner alone; those that are there stay as they are. */
START_TEST(directory_makes_parents)
{
    char path[PATH_MAX];
    struct stat stat_now;

    ck_assert_ptr_nonnull(mkdtemp(root));
    ck_assert_int_eq(chmod(root, 0755), 0);
    in_root("a//b/c/", path);
    ck_assert_int_eq(directory_make(path), 0);
    ck_assert_int_eq(directory_make(path), 0);
    ck_assert_int_eq(stat(path, &stat_now), 0);
    ck_assert_uint_eq(stat_now.st_mode & 07777, 0700);
    in_root("a", path);
    ck_assert_int_eq(stat(path, &stat_now), 0);
    ck_assert_uint_eq(stat_now.st_mode & 07777, 0700);
    ck_assert_int_eq(stat(root, &stat_now), 0);
    ck_assert_uint_eq(stat_now.st_mode & 07777, 0755);
    in_root("a/b/c", path);
    ck_assert_int_eq(rmdir(path), 0);
    in_root("a/b", path);
    ck_assert_int_eq(rmdir(path), 0);
    in_root("a", path);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(rmdir(root), 0);
}

END_TEST

/* A relative path works, and so does the directory we are in. */
START_TEST(directory_makes_relative_paths)
{
    ck_assert_ptr_nonnull(mkdtemp(root));
    ck_assert_int_eq(chdir(root), 0);
    ck_assert_int_eq(directory_make("data"), 0);
    ck_assert_int_eq(directory_make("."), 0);
    ck_assert_int_eq(rmdir("data"), 0);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(directory_make("/"), 0);
    ck_assert_int_eq(rmdir(root), 0);
}

END_TEST

/* No path, one that is too long, and one that leads through a file are errors. */
START_TEST(directory_refuses)
{
    char path[PATH_MAX + 2];

    ck_assert_int_eq(directory_make(""), -ENOENT);
    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    ck_assert_int_eq(directory_make(path), -ENAMETOOLONG);
    ck_assert_int_eq(directory_make("/dev/null/data"), -ENOTDIR);
}

END_TEST

UNIT_MAIN("directory", directory_makes_parents, directory_makes_relative_paths, directory_refuses)
