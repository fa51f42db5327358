#include "core/ring_problem.h"

#include "core/ring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The number on the line of a /proc file that begins with `prefix`, or -1. */
static long read_proc_number(const char *path, const char *prefix)
{
    FILE *file = fopen(path, "re");
    char line[256];
    long number = -1;

    if (file == NULL) {
        return -1;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, prefix, strlen(prefix)) == 0) {
            number = strtol(line + strlen(prefix), NULL, 10);
            break;
        }
    }
    (void)fclose(file); /* it was only read */
    return number;
}

static void explain_refusal(char *problem)
{
    long disabled = read_proc_number("/proc/sys/kernel/io_uring_disabled", "");

    if (disabled == 2) {
        (void)snprintf(
            problem, RING_PROBLEM_SIZE,
            "io_uring is blocked (EPERM): the sysctl kernel.io_uring_disabled is 2, which "
            "forbids it to everyone; set it to 0: sysctl -w kernel.io_uring_disabled=0");
    } else if (disabled == 1) {
        (void)snprintf(
            problem, RING_PROBLEM_SIZE,
            "io_uring is blocked (EPERM): the sysctl kernel.io_uring_disabled is 1, which "
            "leaves it to members of the group kernel.io_uring_group; run as a member of "
            "that group, or set kernel.io_uring_disabled to 0");
    } else if (read_proc_number("/proc/self/status", "Seccomp:") == 2) {
        (void)snprintf(
            problem, RING_PROBLEM_SIZE,
            "io_uring is blocked (EPERM): a seccomp filter is active; the default profiles "
            "of Docker and containerd deny io_uring: run with a profile that allows "
            "io_uring_setup, io_uring_enter and io_uring_register (in a systemd unit: "
            "name them in SystemCallFilter=)");
    } else {
        (void)snprintf(
            problem, RING_PROBLEM_SIZE,
            "io_uring is blocked (EPERM): neither the sysctl kernel.io_uring_disabled nor "
            "a seccomp filter is the cause; look for a security module (SELinux, "
            "AppArmor) that denies io_uring, in the kernel's audit log");
    }
}

static void explain_memory(char *problem)
{
    struct rlimit limit = {.rlim_cur = RLIM_INFINITY};

    (void)getrlimit(RLIMIT_MEMLOCK, &limit); /* cannot fail for a valid resource */
    if (limit.rlim_cur == RLIM_INFINITY) {
        (void)snprintf(problem, RING_PROBLEM_SIZE,
                       "no memory for io_uring (ENOMEM): free memory, or raise the limit of the "
                       "service or container (MemoryMax= in the systemd unit)");
        return;
    }
    (void)snprintf(
        problem, RING_PROBLEM_SIZE,
        "no memory for io_uring (ENOMEM): the limit on locked memory (RLIMIT_MEMLOCK) is "
        "%" PRIu64 " KiB; raise it (LimitMEMLOCK=256M in the systemd unit, ulimit -l in a "
        "shell), or free memory",
        (uint64_t)limit.rlim_cur / 1024);
}

int ring_problem_explain(int error, char *problem)
{
    switch (-error) {
    case EPERM:
    case EACCES:
        explain_refusal(problem);
        break;
    case ENOMEM:
        explain_memory(problem);
        break;
    case ENOSYS:
        (void)snprintf(
            problem, RING_PROBLEM_SIZE,
            "there is no io_uring here (ENOSYS): the kernel was built without it, or a "
            "sandbox (gVisor, an old container runtime's seccomp profile) hides it; run "
            "on Linux 6.1 or newer, outside that sandbox or with io_uring allowed in it");
        break;
    case EINVAL:
        (void)snprintf(
            problem, RING_PROBLEM_SIZE,
            "this kernel's io_uring is too old (EINVAL): DEFER_TASKRUN, receive buffer rings and "
            "restrictions are needed; run on Linux 6.1 or newer");
        break;
    case EMFILE:
    case ENFILE:
        (void)snprintf(problem, RING_PROBLEM_SIZE,
                       "io_uring cannot start: %s; raise the limit on open files (LimitNOFILE= in "
                       "the systemd unit, ulimit -n in a shell)",
                       strerror(-error));
        break;
    default:
        (void)snprintf(problem, RING_PROBLEM_SIZE, "io_uring cannot start: %s", strerror(-error));
        break;
    }
    return error;
}
