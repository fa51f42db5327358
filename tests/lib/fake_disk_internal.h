/*
 * The state of a fake disk, and what its parts ask each other: the calls (fake_disk.c), what goes
 * wrong with them (fake_disk_fault.c), what a test does past them (fake_disk_meddle.c). Inside of
 * the fake disk; nobody else includes it.
 *
 * Owns:    all of it.
 * Borrows: the reactor, operations until their `done`.
 * Thread:  the reactor's.
 */
#ifndef TESTS_LIB_FAKE_DISK_INTERNAL_H
#define TESTS_LIB_FAKE_DISK_INTERNAL_H

#include "lib/fake_disk.h"
#include "lib/fake_disk_content.h"

#include "core/bytes.h"
#include "core/reactor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_DISK_PENDING_MAX 16
#define FAKE_DISK_FAULTS_MAX  8

enum fake_async_kind {
    FAKE_ASYNC_WRITE_SYNCED,
    FAKE_ASYNC_WRITE,
    FAKE_ASYNC_SYNC,
    FAKE_ASYNC_READ,
    FAKE_ASYNC_SYNC_DIRECTORY,
    FAKE_ASYNC_RENAME,
    FAKE_ASYNC_REMOVE,
};

struct fake_async {
    enum fake_async_kind kind;
    struct disk_op *op;
    struct fake_inode *inode;
    struct bytes bytes; /* to be written */
    void *into;         /* to be read */
    size_t into_size;
    uint64_t offset;
    const char *old_name; /* also of what is to be removed */
    const char *new_name;
    bool ready;
};

struct fake_fault {
    enum fake_disk_kind kind;
    unsigned countdown; /* 0 = not used */
    int error;
    bool sticky;
};

struct fake_disk {
    struct disk base;
    struct reactor *reactor;
    struct reactor_task task;
    struct fake_content content;
    struct fake_async pending[FAKE_DISK_PENDING_MAX];
    unsigned pending_count;
    struct fake_fault faults[FAKE_DISK_FAULTS_MAX];
    unsigned counts[FAKE_DISK_ANY + 1];
    enum fake_disk_lie lie;
    unsigned lie_countdown; /* 0 = none is planned */
    unsigned lies_told;
    unsigned cut_countdown; /* 0 = none is planned */
    bool cut_after;
    bool cut_kills; /* the process alone goes */
    bool cut_due;   /* at the end of the operation that runs */
    uint64_t room;
    int room_error;
    unsigned open_count;
    bool hold;
    bool dead;
    bool locked;
};

/* An operation of this kind begins: counts it. Returns 0, or the error with which it fails. */
int fake_fault_begin(struct fake_disk *fake, enum fake_disk_kind kind);

/* It has ended, with all its effect: returns the result, unless the power goes right now. */
int fake_fault_end(struct fake_disk *fake, int result);

/* A write that succeeds as far as anybody is told. There is room in the file. */
void fake_fault_write(struct fake_disk *fake, struct fake_inode *inode, struct bytes bytes,
                      uint64_t offset);

/* A read that succeeds as far as anybody is told. */
void fake_fault_read(struct fake_disk *fake, const struct fake_inode *inode, void *bytes,
                     size_t size, uint64_t offset);

#endif
