"""The seeded bugs: what is broken, and which tests must notice it. run.py says how."""

import typing


class Test(typing.NamedTuple):
    program: str  # below tests/, without .c
    arguments: tuple = ()


class Mutant(typing.NamedTuple):
    name: str
    file: str
    old: str  # exactly once in the file
    new: str
    tests: tuple  # the first one that notices it counts


WAL = Test("sim/sim_wal", ("1", "300"))
WHOLE = Test("sim/sim_durability", ("1", "300"))
CUTS = Test("sim/sim_cuts")
DAMAGE = Test("sim/sim_damage")
STORE = Test("sim/sim_store", ("1", "100"))


def unit(name):
    return Test(f"unit/test_{name}")


MUTANTS = (
    # ---- a change is answered too early, or when it should not be
    Mutant("no fdatasync", "src/core/wal_flush.c",
           "result = wal->frame_is_synced ? ops->write_synced",
           "result = wal->closing ? ops->write_synced",
           (WAL,)),
    Mutant("ack before completion", "src/core/wal_flush.c",
           "    wal->flush_pending = result == 0;\n    return result;\n}\n\n"
           "/* A frame that only testifies. */",
           "    wal->flush_pending = result == 0;\n    wal_tell(wal, &wal->flying, 0);\n"
           "    return result;\n}\n\n/* A frame that only testifies. */",
           (WAL, unit("wal"))),
    Mutant("retry after a failed sync", "src/core/wal_flush.c",
           "    wal->flush_pending = false;\n    reactor_defer(wal->reactor, &wal->task);\n",
           "    wal->flush_pending = false;\n"
           "    static struct wal *retried;\n\n"
           "    if (result != 0 && !wal->failed && retried != wal) {\n"
           "        retried = wal;\n"
           "        wal->flush_pending = true;\n"
           "        (void)wal->disk->ops->sync_later(wal->current.file, &wal->flush_op);\n"
           "        return;\n    }\n"
           "    reactor_defer(wal->reactor, &wal->task);\n",
           (unit("wal"), unit("lifetime_wal"), WAL)),
    Mutant("failure acknowledged", "src/core/wal.c",
           "wal_tell_all(wal, -EIO);", "wal_tell_all(wal, 0);",
           (WAL,)),
    Mutant("hard link instead of link", "src/core/ring.c",
           "io_uring_sqe_set_flags(entry, IOSQE_IO_LINK);",
           "io_uring_sqe_set_flags(entry, IOSQE_IO_HARDLINK);",
           (unit("ring"), unit("disk_file"))),
    Mutant("no link at all", "src/core/ring.c",
           "io_uring_sqe_set_flags(entry, IOSQE_IO_LINK);", ";",
           (unit("ring"), unit("disk_file"))),
    Mutant("write that is not written through", "src/core/ring.c",
           "entry->rw_flags = RWF_DSYNC;", ";",
           (unit("ring_restrict"),)),
    Mutant("short write taken for whole", "src/core/disk_file.c",
           "} else if ((size_t)event->result != op->size) {",
           "} else if (event->result == 0 && op->size > 0) {",
           (unit("disk_file"),)),
    Mutant("result of the sync ignored", "src/core/disk_file.c",
           "    if (event->result < 0 && op->result == 0) {",
           "    if (event->result < 0 && op->result == 0 && op->completions_due > 2) {",
           (unit("disk_file"),)),
    Mutant("lock shared", "src/core/disk_file.c",
           "flock(fd, LOCK_EX | LOCK_NB)", "flock(fd, LOCK_SH | LOCK_NB)",
           (unit("disk_file"),)),
    # ---- segments and the watermark
    Mutant("no directory sync for a segment", "src/core/wal_segment.c",
           "    return spare->state + 1; /* the states of the way stand in its order */",
           "    return spare->state == WAL_SPARE_RENAMING ? WAL_SPARE_PUBLISHED\n"
           "                                              : spare->state + 1;",
           (WAL, CUTS)),
    Mutant("segment header not synced", "src/core/wal_segment.c",
           "result = ops->write_synced(spare->file, &spare->op, block, 0);",
           "result = ops->write_later(spare->file, &spare->op, block, 0);",
           (WAL, CUTS)),
    Mutant("next segment before the sync", "src/core/wal_flush.c",
           "        if (!is_all_durable(wal)) {\n            return sync_now(wal); /* the segment's",
           "        if (wal->failed) {\n            return sync_now(wal); /* the segment's",
           (WAL, unit("wal_flush"))),
    Mutant("watermark ahead of the log", "src/core/wal_flush.c",
           "    now->durable_lsn = wal->stats.durable_lsn;",
           "    now->durable_lsn = wal->stats.next_lsn - 1;",
           (WAL,)),
    Mutant("durable_lsn of a frame too high", "src/core/wal_flush.c",
           "        .durable_lsn = wal->stats.durable_lsn,",
           "        .durable_lsn = wal->stats.written_lsn,",
           (WAL, unit("wal_flush"))),
    Mutant("sync says more than it covers", "src/core/wal_flush.c",
           "set_durable(wal, wal->sync_lsn);", "set_durable(wal, wal->stats.written_lsn);",
           (WAL, unit("wal_flush"))),
    # ---- recovery
    Mutant("payload CRC skipped", "src/core/wal_recover.c",
           "if (!wal_format_check_payload(&frame, payload.data)) {",
           "if (payload.data == NULL) {",
           (WAL, DAMAGE)),
    Mutant("first bad frame ends the log", "src/core/wal_recover.c",
           "    if (witness_offset == 0) {\n        return 0;\n    }",
           "    if (witness_offset < UINT64_MAX) {\n        return 0;\n    }",
           (DAMAGE, unit("wal_recover"))),
    Mutant("watermark not asked", "src/core/wal_recover.c",
           "    if (witnessed_lsn < recovery->next_lsn) {",
           "    if (witnessed_lsn < recovery->next_lsn || recovery->segments.count > 0) {",
           (DAMAGE, unit("wal_recover"))),
    Mutant("torn tail refused", "src/core/wal_recover.c",
           "        if (offset > first && witness_offset == 0 &&",
           "        if (witness_offset == 0 &&",
           (WAL, unit("wal_recover"))),
    Mutant("torn tail left in place", "src/core/wal_cut.c",
           "        result = zero_torn(recovery);", "        result = 0;",
           (unit("wal_recover"), WAL)),
    Mutant("damage behind the snapshot skipped", "src/core/wal_recover_skip.c",
           "recovery->snapshot_lsn + 1 ||", "recovery->snapshot_lsn + 2 ||",
           (unit("wal_recover_skip"),)),
    # ---- snapshots
    Mutant("snapshot named before its sync", "src/core/snapshot_write.c",
           "        result = write->disk->ops->sync_later(write->file, &write->op);\n"
           "        write->pending = result == 0;\n"
           "        write->state = SNAPSHOT_WRITE_SYNCING;",
           "        finish(write, 0);\n        return 0;",
           (CUTS, unit("wal_checkpoint"), WHOLE)),
    Mutant("half a snapshot accepted", "src/core/snapshot_check.c",
           "        footer.record_count != check->record_count ||",
           "        footer.record_count < check->record_count ||",
           (unit("snapshot_check"), DAMAGE)),
    Mutant("snapshot's payload not checked", "src/core/snapshot_check.c",
           "    if (!wal_format_check_payload(frame, check->payload.data)) {",
           "    if (check->payload.data == NULL) {",
           (DAMAGE, unit("snapshot_check"))),
    Mutant("stale snapshot accepted", "src/core/wal_choose.c",
           "    if (first_lsn <= needed_lsn) {",
           "    if (first_lsn <= needed_lsn || recovery->has_snapshot) {",
           (unit("wal_choose"), WHOLE)),
    Mutant("another store's snapshot accepted", "src/core/snapshot_check.c",
           "    if (check->store_uuid != NULL &&\n",
           "    if (check->store_uuid != NULL && check->file_size == 0 &&\n",
           (unit("snapshot_check"), unit("snapshot_read"), WHOLE)),
    Mutant("log trimmed to the newer snapshot", "src/core/wal_inventory.c",
           "segments->lsns[1] <= snapshots->lsns[0] + 1) {",
           "segments->lsns[1] <= snapshots->lsns[1] + 1) {",
           (unit("wal_checkpoint"), WHOLE)),
    Mutant("snapshot named though it is damaged", "src/core/wal_checkpoint.c",
           "    } else if (result != 0) {\n        clean(checkpoint);",
           "    } else if (result < -4095) {\n        clean(checkpoint);",
           (unit("wal_checkpoint"), WHOLE)),
    Mutant("snapshot ahead of the log", "src/core/wal_checkpoint.c",
           "    } else if (checkpoint->durable_lsn < checkpoint->plan.lsn) {",
           "    } else if (checkpoint->durable_lsn > UINT64_MAX - 1) {",
           (unit("wal_checkpoint"), WHOLE)),
    Mutant("changed user missing in a snapshot", "src/service/user_snapshot.c",
           "        user_entry_sequence(entry) <= snapshot->sequence) {",
           "        user_entry_sequence(entry) <= snapshot->sequence + 3) {",
           (unit("user_snapshot"), WHOLE)),
    Mutant("snapshot holds later changes", "src/service/user_snapshot.c",
           "        if (user_entry_revision(entry) <= snapshot->lsn) {",
           "        if (user_entry_revision(entry) <= snapshot->lsn + 2) {",
           (unit("user_snapshot"), WHOLE)),
    Mutant("counters not in the snapshot", "src/service/user_snapshot.c",
           "    } else if (!snapshot->counters_told) {",
           "    } else if (snapshot->stats.given_up > 1000) {",
           (unit("user_snapshot"), WHOLE)),
    # ---- the store
    Mutant("another's reservation released", "src/service/user_store.c",
           "    if (reservation->key.size > 0 &&\n"
           "        map_find_hashed(map, reservation->key, reservation->hash) == reservation) {\n"
           "        (void)map_remove_hashed(map, reservation->key, reservation->hash);",
           "    if (reservation->key.size > 0) {\n"
           "        (void)map_remove(map, reservation->key);",
           (STORE,)),
    Mutant("reservation never released", "src/service/user_store.c",
           "    forget(&store->reserved_names, &change->email);\n", "",
           (STORE,)),
)
