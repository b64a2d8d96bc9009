/* process.c - posix_spawn, two pipes, one poll loop.
 *
 * What: starts a program with its output in pipes and reads both until they are closed.
 * How: the loop wakes at least five times a second, which serves the tick and Ctrl-C alike. When
 * the pipes are closed the child is reaped with the same patience.
 * Mind: descriptors are close-on-exec, so a child never holds the pipe of another one. A child that
 * has to go gets SIGTERM and, after two seconds, SIGKILL.
 */
#include "data/process.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS      200
#define OUTPUT_LIMIT ((size_t)16 << 20)
#define READ_STEP    ((size_t)64 << 10)

extern char **environ;

typedef struct pipes {
    int out[2], err[2]; /* -1 = closed */
} pipes;

static void close_end(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void pipes_close(pipes *p) {
    close_end(&p->out[0]);
    close_end(&p->out[1]);
    close_end(&p->err[0]);
    close_end(&p->err[1]);
}

/* The environment with LC_ALL=C. mem_free it. */
static const char **environment_make(void) {
    size_t n = 0, kept = 0;
    while (environ[n] != NULL)
        n++;
    const char **copy = mem_zalloc(n + 2, sizeof *copy);
    if (copy == NULL) return NULL;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "LC_ALL=", 7) != 0) copy[kept++] = environ[i];
    copy[kept] = "LC_ALL=C";
    return copy;
}

static int actions_fill(posix_spawn_file_actions_t *a, const pipes *io, const char *folder) {
    int code = posix_spawn_file_actions_addopen(a, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (code == 0) code = posix_spawn_file_actions_adddup2(a, io->out[1], STDOUT_FILENO);
    if (code == 0) code = posix_spawn_file_actions_adddup2(a, io->err[1], STDERR_FILENO);
    if (code == 0 && folder != NULL) code = posix_spawn_file_actions_addchdir_np(a, folder);
    return code;
}

/* Starts the program; *pid is -1 if there is none of that name. */
static MUST_CHECK status child_start(const process *p, const pipes *io, pid_t *pid) {
    const char *doing = text("run %s", p->argv[0]);
    posix_spawn_file_actions_t actions;
    const char **environment = environment_make();
    if (environment == NULL) return STATUS_MEMORY;
    int code = posix_spawn_file_actions_init(&actions);
    if (code == 0) {
        code = actions_fill(&actions, io, p->folder);
        if (code == 0)
            code = posix_spawnp(pid, p->argv[0], &actions, NULL, (char *const *)(uintptr_t)p->argv,
                                (char *const *)(uintptr_t)environment);
        posix_spawn_file_actions_destroy(&actions);
    }
    mem_free(environment);
    if (code == ENOENT && (p->folder == NULL || access(p->folder, X_OK) == 0)) {
        *pid = -1;
        return STATUS_OK;
    }
    return code == 0 ? STATUS_OK : error_errno(code, doing, p->folder);
}

/* Reads what is there; closes the end at the end. */
static MUST_CHECK status pipe_read(int *fd, buffer *to, const char *program) {
    if (!buffer_reserve(to, READ_STEP)) return buffer_check(to);
    ssize_t n = read(*fd, to->bytes + to->n, READ_STEP);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return STATUS_OK;
    if (n < 0) return error_errno(errno, text("read what %s says", program), "pipe");
    if (n == 0) close_end(fd);
    to->n += (size_t)n;
    to->bytes[to->n] = '\0';
    if (to->n > OUTPUT_LIMIT)
        return FAIL(F_OVERFLOW, text("%s says more than %zu bytes", program, OUTPUT_LIMIT),
                    "its standard output or error", "the program behaves in an unexpected way",
                    text("run %s by hand and look at what it prints", program));
    return STATUS_OK;
}

static MUST_CHECK status output_collect(process *p, pipes *io) {
    while (io->out[0] >= 0 || io->err[0] >= 0) {
        struct pollfd fds[2] = {{.fd = io->out[0], .events = POLLIN},
                                {.fd = io->err[0], .events = POLLIN}};
        int ready = poll(fds, 2, TICK_MS);
        if (ready < 0 && errno != EINTR)
            return error_errno(errno, "wait for a program", p->argv[0]);
        if (ready > 0 && fds[0].revents != 0) TRY(pipe_read(&io->out[0], &p->out, p->argv[0]));
        if (ready > 0 && fds[1].revents != 0) TRY(pipe_read(&io->err[0], &p->err, p->argv[0]));
        if (p->tick != NULL) p->tick(p->context);
        TRY(interrupt_status(text("running %s", p->argv[0]), "the same command continues"));
    }
    return STATUS_OK;
}

/* Waits up to `seconds` (negative: as long as it takes); false if it still runs. */
static bool child_reap(pid_t pid, double seconds, int *exit_code) {
    double start = clock_seconds();
    for (;;) {
        int state;
        pid_t done = waitpid(pid, &state, WNOHANG);
        if (done == pid) {
            *exit_code = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
            return true;
        }
        if (done < 0 && errno != EINTR) return true; /* somebody else reaped it */
        if (seconds >= 0 && clock_seconds() - start > seconds) return false;
        const struct timespec pause = {0, 20000000};
        nanosleep(&pause, NULL);
        if (seconds < 0 && interrupted()) kill(pid, SIGTERM);
    }
}

static void child_stop(pid_t pid) {
    int ignored;
    kill(pid, SIGTERM);
    if (child_reap(pid, 2.0, &ignored)) return;
    kill(pid, SIGKILL);
    (void)child_reap(pid, -1, &ignored);
}

status process_run(process *p) {
    pipes io = {{-1, -1}, {-1, -1}};
    pid_t pid = -1;
    status result = STATUS_OK;
    if (pipe2(io.out, O_CLOEXEC) != 0 || pipe2(io.err, O_CLOEXEC) != 0)
        result = error_errno(errno, text("make a pipe for %s", p->argv[0]), NULL);
    if (result == STATUS_OK) result = child_start(p, &io, &pid);
    close_end(&io.out[1]);
    close_end(&io.err[1]);
    p->exit_code = PROCESS_NOT_FOUND;
    if (result == STATUS_OK && pid > 0) {
        result = output_collect(p, &io);
        if (result == STATUS_OK)
            (void)child_reap(pid, -1, &p->exit_code);
        else
            child_stop(pid);
    }
    pipes_close(&io);
    return result;
}

void process_clear(process *p) {
    buffer_clear(&p->out);
    buffer_clear(&p->err);
}
