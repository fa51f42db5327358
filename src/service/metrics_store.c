#include "service/metrics_internal.h"
#include "service/user_list.h"
#include "service/user_snapshot.h"
#include "service/user_stream.h"
#include "service/user_watch.h"

static void write_log(struct metrics_writer *writer, const struct wal_stats *stats)
{
    /* 10 us to 10 s, and 1 to 10,000 records. */
    static const struct metrics_scale times = {&histogram_bounds[12], 19, METRICS_SECONDS_DIGITS};
    static const struct metrics_scale records = {&histogram_bounds[0], 13, 0};

    metrics_counter(writer, "userd_wal_written_bytes", "bytes", "Bytes written to the log.",
                    stats->bytes_written);
    metrics_counter(writer, "userd_wal_frames", NULL, "Frames written to the log.",
                    stats->frames_written);
    metrics_counter(writer, "userd_wal_records", NULL, "Records written to the log.",
                    stats->records_written);
    metrics_family(writer, METRICS_HISTOGRAM, "userd_wal_sync_seconds", "seconds",
                   "Time from handing a frame to the disk to its sync.");
    metrics_histogram(writer, METRICS_NO_LABELS, &stats->sync_ns, &times);
    metrics_family(writer, METRICS_HISTOGRAM, "userd_wal_sync_records", NULL,
                   "Records that one sync made durable.");
    metrics_histogram(writer, METRICS_NO_LABELS, &stats->sync_records, &records);
    metrics_gauge(writer, "userd_wal_pending_records", NULL, "Changes that wait for the disk.",
                  stats->pending);
    metrics_gauge(writer, "userd_wal_pending_bytes", "bytes", "Their size.", stats->pending_bytes);
    metrics_gauge(writer, "userd_wal_segments", NULL, "Files of the log.", stats->segments);
    metrics_gauge(writer, "userd_wal_log_bytes", "bytes", "Log since the last snapshot.",
                  stats->log_bytes);
    metrics_gauge(writer, "userd_wal_durable_lsn", NULL, "Number of the last durable record.",
                  stats->durable_lsn);
    metrics_gauge(writer, "userd_wal_written_lsn", NULL, "Number of the last answered record.",
                  stats->written_lsn);
}

static void write_log_state(struct metrics_writer *writer, enum commit_log_state state)
{
    metrics_family(writer, METRICS_GAUGE, "userd_wal_state", NULL, "1 for the present state.");
    metrics_labeled(writer, "state", "ready", state == COMMIT_LOG_READY);
    metrics_labeled(writer, "state", "degraded", state == COMMIT_LOG_DEGRADED);
    metrics_labeled(writer, "state", "failed", state == COMMIT_LOG_FAILED);
}

static void write_snapshots(struct metrics_writer *writer, const struct wal_stats *stats)
{
    metrics_family(writer, METRICS_COUNTER, "userd_snapshots", NULL, "Snapshots that ended.");
    metrics_labeled(writer, "result", "done", stats->snapshots_done);
    metrics_labeled(writer, "result", "failed", stats->snapshots_failed);
    metrics_gauge(writer, "userd_snapshot_running", NULL, "1 while a snapshot is taken.",
                  stats->snapshot_is_running);
    metrics_family(writer, METRICS_GAUGE, "userd_snapshot_last_timestamp_seconds", "seconds",
                   "When the newest snapshot was begun, since 1970; 0 = there is none.");
    metrics_decimal(writer, METRICS_NO_LABELS, stats->snapshot_realtime_ns, METRICS_SECONDS_DIGITS);
    metrics_family(writer, METRICS_GAUGE, "userd_snapshot_last_duration_seconds", "seconds",
                   "How long the last snapshot took; 0 = there was none in this run.");
    metrics_decimal(writer, METRICS_NO_LABELS, stats->snapshot_ns, METRICS_SECONDS_DIGITS);
    metrics_gauge(writer, "userd_snapshot_last_bytes", "bytes", "Size of the newest snapshot.",
                  stats->snapshot_bytes);
}

static void write_users(struct metrics_writer *writer, const struct metrics_sources *sources)
{
    metrics_gauge(writer, "userd_users", NULL, "Users that are stored.", sources->users);
    metrics_gauge(writer, "userd_users_max", NULL, "How many there may be.", sources->users_max);
    metrics_gauge(writer, "userd_store_bytes", "bytes", "Memory of the users and their indexes.",
                  sources->user_bytes);
}

static void write_watchers(struct metrics_writer *writer, const struct user_watch_stats *users,
                           const struct health_stats *health)
{
    metrics_family(writer, METRICS_GAUGE, "userd_watchers", NULL, "Watches that are open.");
    metrics_labeled(writer, "service", "users", users->watchers);
    metrics_labeled(writer, "service", "health", health->watchers);
    metrics_family(writer, METRICS_COUNTER, "userd_watch_messages", NULL,
                   "Messages that were sent to watchers.");
    metrics_labeled(writer, "service", "users", users->sent);
    metrics_labeled(writer, "service", "health", health->sent);
    metrics_family(writer, METRICS_COUNTER, "userd_watch_coalesced", NULL,
                   "States that a slow reader did not see.");
    metrics_labeled(writer, "service", "users", users->skipped);
    metrics_labeled(writer, "service", "health", health->skipped);
}

static void write_lists(struct metrics_writer *writer, const struct user_lister_stats *stats)
{
    metrics_family(writer, METRICS_COUNTER, "userd_list_requests", NULL,
                   "ListUsers by how it was answered.");
    metrics_labeled(writer, "by", "index", stats->by_index);
    metrics_labeled(writer, "by", "walk", stats->by_walk);
    metrics_labeled(writer, "by", "scan", stats->by_scan);
    metrics_gauge(writer, "userd_list_scans", NULL, "Scans that are under way.",
                  stats->scans_running);
    metrics_counter(writer, "userd_list_users_examined", NULL, "Users that filters looked at.",
                    stats->users_examined);
}

static void write_streams(struct metrics_writer *writer, const struct user_streams *streams)
{
    metrics_family(writer, METRICS_COUNTER, "userd_stream_items", NULL,
                   "Changes of BatchCreateUsers and SyncUsers.");
    metrics_labeled(writer, "result", "done", streams->items_done);
    metrics_labeled(writer, "result", "failed", streams->items_failed);
    metrics_counter(writer, "userd_stream_retries", NULL,
                    "Changes of streams that found a queue full and waited.", streams->retries);
}

static void write_hashing(struct metrics_writer *writer, const struct workpool_stats *stats,
                          const struct histogram *times)
{
    /* 1 ms to 10 s. */
    static const struct metrics_scale scale = {&histogram_bounds[18], 13, METRICS_SECONDS_DIGITS};

    metrics_gauge(writer, "userd_hash_queue", NULL, "Passwords that wait to be hashed.",
                  stats->waiting);
    metrics_gauge(writer, "userd_hash_running", NULL, "Passwords that are being hashed.",
                  stats->working);
    metrics_family(writer, METRICS_HISTOGRAM, "userd_hash_seconds", "seconds",
                   "Time to hash a password, without waiting.");
    metrics_histogram(writer, METRICS_NO_LABELS, times, &scale);
    metrics_counter(writer, "userd_hash_refused", NULL,
                    "Passwords for which there was no room in the queue.", stats->refused);
}

void metrics_write_store(struct metrics_writer *writer, const struct metrics_sources *sources)
{
    if (sources->wal != NULL) {
        write_log(writer, sources->wal);
        write_snapshots(writer, sources->wal);
    }
    write_log_state(writer, sources->log_state);
    if (sources->snapshot != NULL) {
        metrics_gauge(writer, "userd_snapshot_kept_bytes", "bytes",
                      "Old forms of users that are kept for a snapshot.",
                      sources->snapshot->kept_bytes);
    }
    write_users(writer, sources);
    if (sources->watch != NULL && sources->health != NULL) {
        write_watchers(writer, sources->watch, sources->health);
    }
    if (sources->lister != NULL) {
        write_lists(writer, sources->lister);
    }
    if (sources->streams != NULL) {
        write_streams(writer, sources->streams);
    }
    if (sources->hashing != NULL) {
        write_hashing(writer, sources->hashing, sources->hash_times);
    }
}
