/*
 * Lines go out as fast as the server takes them, replies come back in their order.
 *
 * The steps, for each line of the file:
 * 1. It is parsed; one that is malformed is reported and left out.
 * 2. A stream is opened when none is: the server takes a limited number of messages on each, so
 * after ITEMS_PER_STREAM the stream is finished and the next begins.
 * 3. It is sent, and its number remembered until the reply with the same index comes. Only then has
 * the progress passed it: what is read and sent runs far ahead of what the server has done.
 *
 * What can go wrong: a line fails (reported by its number; the rest goes on), the stream fails (it
 * ends here, and what was not answered is counted, since seldom anybody knows whether it is in),
 * the program is interrupted (likewise), a file cannot be read or written.
 */
#include "userctl_import.h"

#include "common_json.h"
#include "common_lines.h"
#include "common_output.h"
#include "core/list.h"
#include "userctl_failure.h"
#include "userctl_json.h"
#include "userctl_output.h"
#include "userctl_progress.h"
#include "userctl_session.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ITEMS_PER_STREAM  50000 /* half of what a server takes by default */
#define INPUT_WAIT_MS     50
#define ERROR_BUFFER_SIZE 4096

#define TRANSFER_E_OVER 4 /* no line follows; it has been said why. Above those of the lines */

/* A line that was sent. */
struct sent_line {
    uint64_t number;
    uint64_t end; /* its offset in the file */
};

struct transfer {
    struct userctl_session session;
    struct userd_client *client;
    const struct userctl_arguments *arguments;
    bool is_sync;
    struct common_lines lines;
    struct userctl_progress progress;
    FILE *errors;
    int exit_code;                /* the first failure's */
    struct sent_line *sent_lines; /* of this stream, by index */
    uint64_t sent;                /* on this stream */
    uint64_t replies;
    uint64_t unanswered; /* of a stream that failed */
    bool is_untouched;   /* and none of them is in */
    bool is_open;
};

static void fail_with(struct transfer *transfer, int exit_code)
{
    if (transfer->exit_code == 0) {
        transfer->exit_code = exit_code;
    }
}

/* As an array of lines. The index that the server names counts the items of its stream: here it
 * would only contradict the number of the line. */
static void print_details(FILE *out, const char *details)
{
    static const char index_label[] = "metadata index: ";
    const char *separator = "";

    (void)fputs(",\"details\":[", out);
    while (*details != '\0') {
        size_t size = strcspn(details, "\n");

        if (strncmp(details, index_label, sizeof(index_label) - 1) != 0) {
            (void)fputs(separator, out);
            common_json_quote(out, (struct bytes){(const uint8_t *)details, size});
            separator = ",";
        }
        details += size + (details[size] == '\n');
    }
    (void)fputc(']', out);
}

/* A JSON line about a line that did not go in. */
static void report(struct transfer *transfer, uint64_t number, const struct userd_error *error)
{
    FILE *out = transfer->errors;

    transfer->progress.failed++;
    fail_with(transfer, (int)error->code);
    if (out == stderr) {
        userctl_progress_clear(&transfer->progress);
    }
    (void)fprintf(out, "{\"line\":%" PRIu64 ",\"status\":\"%s\",\"message\":", number,
                  userd_code_name((int)error->code));
    common_json_quote(out, bytes_from_text(error->message));
    if (error->details[0] != '\0') {
        print_details(out, error->details);
    }
    (void)fputs("}\n", out);
}

static void report_malformed(struct transfer *transfer, const char *problem)
{
    const struct userd_error error = {
        .code = USERD_INVALID_ARGUMENT,
        .message = problem,
        .details = "",
    };

    report(transfer, transfer->lines.number, &error);
}

/* All that was read is behind us when nothing waits for its answer: lines that were left out too.
 */
static void note_progress(struct transfer *transfer)
{
    if (transfer->replies == transfer->sent) {
        transfer->progress.passed = transfer->lines.taken;
    } else if (transfer->replies != 0) {
        transfer->progress.passed = transfer->sent_lines[transfer->replies - 1].end;
    }
    userctl_progress_draw(&transfer->progress);
}

static void on_reply(void *context, const struct userd_reply *reply)
{
    struct transfer *transfer = context;

    transfer->replies++;
    if (reply->user == NULL) {
        report(transfer, transfer->sent_lines[reply->index].number, reply->error);
    } else {
        transfer->progress.done++;
        if (transfer->arguments->json) {
            userctl_output_user(reply->user, true);
        }
    }
    note_progress(transfer);
}

static enum userd_code open_stream(struct transfer *transfer)
{
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;
    enum userd_code code;

    if (transfer->is_open) {
        return USERD_OK;
    }
    options.timeout_ms = userctl_session_timeout_ms(transfer->arguments);
    transfer->sent = 0;
    transfer->replies = 0;
    code = transfer->is_sync
               ? userd_sync_open(transfer->client, &options, on_reply, transfer)
               : userd_batch_open(transfer->client, &options, true, on_reply, transfer);
    transfer->is_open = code == USERD_OK;
    return code;
}

/* True when nothing that was sent can be in: it never came to the server, or the server refused the
 * call before it looked at an item. A token that expires ends a stream that is at work. */
static bool is_untouched(const struct transfer *transfer, const struct userd_error *error)
{
    if (error->cause == USERD_CAUSE_CONNECT || error->cause == USERD_CAUSE_TLS ||
        error->cause == USERD_CAUSE_REFUSED || error->cause == USERD_CAUSE_BREAKER) {
        return true;
    }
    if (error->cause != USERD_CAUSE_ANSWER || transfer->replies != 0 || error->index >= 0) {
        return false;
    }
    return error->code == USERD_PERMISSION_DENIED || error->code == USERD_UNIMPLEMENTED ||
           (error->code == USERD_UNAUTHENTICATED &&
            strstr(error->details, "reason: TOKEN_EXPIRED\n") == NULL);
}

/* The stream is over with a failure: says which, and which line it is about if it is about one. */
static void stream_failed(struct transfer *transfer)
{
    const struct userd_error *error = userd_client_error(transfer->client);
    uint64_t lost = transfer->sent - transfer->replies;

    transfer->is_open = false;
    userctl_progress_clear(&transfer->progress);
    if (userctl_session_interrupted != 0) {
        (void)fputs("userctl: interrupted\n", stderr);
        fail_with(transfer, (int)USERD_CANCELLED);
        transfer->unanswered = lost;
        return;
    }
    transfer->is_untouched = is_untouched(transfer, error);
    if (error->index >= 0 && (uint64_t)error->index < transfer->sent) {
        report(transfer, transfer->sent_lines[error->index].number, error);
        (void)fprintf(stderr, "userctl: line %" PRIu64 " ends it:\n",
                      transfer->sent_lines[error->index].number);
        lost -= lost > 0 ? 1 : 0;
    }
    fail_with(transfer, userctl_session_failed(&transfer->session, transfer->client));
    transfer->unanswered = lost;
}

/* Returns false after it has said how the stream failed. */
static bool finish_stream(struct transfer *transfer)
{
    bool failed = transfer->is_open && userd_stream_finish(transfer->client) != USERD_OK;

    if (failed) {
        stream_failed(transfer);
    }
    transfer->is_open = false;
    return !failed;
}

/* Before the reply can come, which is within the sending. */
static void remember_line(struct transfer *transfer)
{
    transfer->sent_lines[transfer->sent++] = (struct sent_line){
        .number = transfer->lines.number,
        .end = transfer->lines.taken,
    };
}

/* Returns false when nothing may follow; it has said why. */
static bool send_parsed(struct transfer *transfer, const struct userd_new_user *create,
                        const struct userd_user *user)
{
    enum userd_code code = open_stream(transfer);

    if (code == USERD_OK) {
        remember_line(transfer);
        code = transfer->is_sync ? userd_sync_item(transfer->client, user)
                                 : userd_batch_item(transfer->client, create);
    }
    if (code != USERD_OK) {
        stream_failed(transfer);
        return false;
    }
    return transfer->sent < ITEMS_PER_STREAM || finish_stream(transfer);
}

/* Returns 0 when the next line may follow. */
static int transfer_line(struct transfer *transfer, struct bytes line)
{
    bool ignore_unknown = transfer->arguments->ignore_unknown;
    char problem[USERCTL_JSON_PROBLEM_SIZE];
    struct userctl_json json;
    struct userd_new_user create;
    struct userd_user user;
    int ret;

    ret = transfer->is_sync ? userctl_json_user(line, ignore_unknown, problem, &json, &user)
                            : userctl_json_create(line, ignore_unknown, problem, &json, &create);
    if (ret != 0) {
        report_malformed(transfer, problem);
        ret = transfer->arguments->strict ? ret : 0;
    } else {
        ret = send_parsed(transfer, &create, &user) ? 0 : TRANSFER_E_OVER;
    }
    userctl_json_deinit(&json);
    return ret;
}

static int line_too_long(struct transfer *transfer)
{
    report_malformed(transfer, "the line is longer than 256 KiB");
    return transfer->arguments->strict ? COMMON_LINES_E_TOO_LONG : 0;
}

/* Replies are told meanwhile. That a stream has failed shows when it is used next. */
static int wait_for_input(struct transfer *transfer)
{
    int ret;

    (void)fflush(stdout); /* a failure shows at the next line, by ferror() */
    ret = userd_client_run(transfer->client, INPUT_WAIT_MS);
    if (ret != 0) {
        userctl_progress_clear(&transfer->progress);
        userctl_failure_say("the event loop failed: %s", strerror(-ret));
        fail_with(transfer, (int)USERD_INTERNAL);
        return TRANSFER_E_OVER;
    }
    return 0;
}

static void read_failed(struct transfer *transfer, int error)
{
    userctl_progress_clear(&transfer->progress);
    userctl_failure_say("cannot read %s: %s", transfer->arguments->operand, strerror(-error));
    fail_with(transfer, COMMON_EXIT_IO);
}

/* Goes through the file, to its end or to where it cannot go on. */
static void transfer_lines(struct transfer *transfer)
{
    int ret = 0;

    while (ret == 0 && userctl_session_interrupted == 0 && ferror(stdout) == 0) {
        struct bytes line;

        note_progress(transfer);
        ret = common_lines_next(&transfer->lines, &line);
        if (ret == 0 && !common_lines_is_blank(line)) {
            ret = transfer_line(transfer, line);
        } else if (ret == COMMON_LINES_E_TOO_LONG) {
            ret = line_too_long(transfer);
        } else if (ret == COMMON_LINES_E_WAIT) {
            ret = wait_for_input(transfer);
        } else if (ret == COMMON_LINES_E_END) {
            return;
        } else if (ret < 0) {
            read_failed(transfer, ret);
        }
    }
}

static void print_summary(struct transfer *transfer)
{
    const struct userctl_progress *progress = &transfer->progress;
    double seconds = userctl_progress_seconds(progress);

    userctl_progress_clear(&transfer->progress);
    (void)fprintf(stderr, "%s %" PRIu64 " users in %.1f s, %" PRIu64 " failed",
                  transfer->is_sync ? "synced" : "imported", progress->done, seconds,
                  progress->failed);
    if (transfer->unanswered != 0) {
        (void)fprintf(stderr, ", %" PRIu64 " not answered: %s", transfer->unanswered,
                      transfer->is_untouched ? "none of them is in" : "they may or may not be in");
    }
    (void)fputc('\n', stderr);
}

/* What was sent is still answered, unless nobody wants to wait for it. */
static void end_stream(struct transfer *transfer)
{
    if (!transfer->is_open) {
        return;
    }
    if (userctl_session_interrupted != 0) {
        userd_stream_cancel(transfer->client);
        stream_failed(transfer);
    } else {
        (void)finish_stream(transfer); /* it has said what is wrong */
    }
}

static int use_import(struct userctl_session *session, struct userd_client *client)
{
    struct transfer *transfer = CONTAINER_OF(session, struct transfer, session);

    transfer->client = client;
    transfer->progress = userctl_progress_begin(transfer->lines.size);
    transfer_lines(transfer);
    end_stream(transfer);
    print_summary(transfer);
    return transfer->exit_code;
}

static int cannot(const struct userctl_arguments *arguments, const char *what, const char *path,
                  int error)
{
    return userctl_arguments_refuse(arguments, "cannot %s %s: %s", what, path, strerror(-error));
}

/* The file of failures was written, or else that is a failure too. */
static int close_errors(struct transfer *transfer)
{
    bool failed = ferror(transfer->errors) != 0;

    if (transfer->errors == stderr) {
        return 0;
    }
    if (fclose(transfer->errors) == 0 && !failed) {
        return 0;
    }
    (void)fprintf(stderr, "userctl: cannot write %s: %s\n", transfer->arguments->errors_file,
                  strerror(errno));
    return COMMON_EXIT_IO;
}

/* Emptied only when it is known not to be what is about to be read. Messages name users: nobody
 * else may read them. */
static int open_errors(struct transfer *transfer)
{
    const char *path = transfer->arguments->errors_file;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct stat input;
    struct stat about;
    int error;

    if (fd < 0 || fstat(fd, &about) != 0 || fstat(transfer->lines.fd, &input) != 0) {
        goto fail;
    }
    if (S_ISREG(about.st_mode) && about.st_dev == input.st_dev && about.st_ino == input.st_ino) {
        (void)close(fd); /* nothing was written to it */
        return userctl_arguments_refuse(transfer->arguments,
                                        "--errors names the file that is to be read");
    }
    if (S_ISREG(about.st_mode) && ftruncate(fd, 0) != 0) {
        goto fail;
    }
    transfer->errors = fdopen(fd, "w");
    if (transfer->errors != NULL) {
        return 0;
    }

fail:
    error = errno;
    transfer->errors = NULL;
    if (fd >= 0) {
        (void)close(fd); /* nothing was written to it */
    }
    return cannot(transfer->arguments, "write", path, -error);
}

/* With the lines open: the rest of what is needed, and the run. */
static int run_transfer(struct transfer *transfer)
{
    const struct userctl_arguments *arguments = transfer->arguments;
    int exit_code;
    int written;

    transfer->sent_lines = calloc(ITEMS_PER_STREAM, sizeof(*transfer->sent_lines));
    if (transfer->sent_lines == NULL) {
        userctl_failure_say("out of memory");
        return COMMON_EXIT_SOFTWARE;
    }
    if (arguments->errors_file != NULL) {
        exit_code = open_errors(transfer);
        if (exit_code != 0) {
            free(transfer->sent_lines);
            return exit_code;
        }
    }
    /* There may be many lines, and unbuffered each of their bytes would be a write. */
    (void)setvbuf(stderr, NULL, _IOLBF, ERROR_BUFFER_SIZE);
    common_read_begin();
    userctl_session_catch_signals();
    exit_code = userctl_session_run(&transfer->session);
    written = close_errors(transfer);
    free(transfer->sent_lines);
    return exit_code != 0 ? exit_code : written;
}

int userctl_import_run(const struct userctl_arguments *arguments)
{
    struct transfer transfer = {
        .session = {.arguments = arguments, .use = use_import},
        .arguments = arguments,
        .is_sync = arguments->command == USERCTL_SYNC,
        .errors = stderr,
    };
    int exit_code = userctl_session_need(arguments, "which file? FILE is missing; - is standard "
                                                    "input");
    int ret;

    if (exit_code != 0) {
        return exit_code;
    }
    ret = common_lines_open(arguments->operand, &transfer.lines);
    if (ret != 0) {
        return cannot(arguments, "read", arguments->operand, ret);
    }
    exit_code = run_transfer(&transfer);
    common_lines_close(&transfer.lines);
    return exit_code;
}
