/*
 * Makes one system call fail, for this process and its children, by a seccomp filter: what a
 * container runtime or an odd file system does to us. It cannot be taken back, so call it in a
 * child.
 *
 * Thread: the calling one.
 */
#ifndef TESTS_LIB_SYSCALL_FILTER_H
#define TESTS_LIB_SYSCALL_FILTER_H

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static inline int syscall_filter_install(struct sock_filter *code, unsigned short size)
{
    struct sock_fprog program = {size, code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return -1;
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* The call `number` fails with `error`. Returns 0, or -1 with errno. */
static inline int syscall_filter_refuse(long number, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };

    return syscall_filter_install(code, sizeof(code) / sizeof(code[0]));
}

/* fcntl(F_SETFL) fails with `error` when one of `flags` is among the new ones. Returns as above. */
static inline int syscall_filter_refuse_flags(uint32_t flags, int error)
{
    /* Arguments have 64 bits; their low halves come first on a little-endian machine. */
    const uint32_t command = offsetof(struct seccomp_data, args) + sizeof(uint64_t);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, command),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_SETFL, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, command + sizeof(uint64_t)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, flags, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };

    return syscall_filter_install(code, sizeof(code) / sizeof(code[0]));
}

/* Runs `body` in a child and returns what it returned (0 to 255), or -1 when it died otherwise. */
static inline int run_in_child(int (*body)(void *context), void *context)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        _exit(body(context));
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
        return -1;
    }
    return WEXITSTATUS(status);
}

#endif
