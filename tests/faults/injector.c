/* Preloaded into a program, this library counts the changes it makes below one directory and strikes at the K-th.
 *
 * The settings and the counter live in one small file that every process of a run maps (see `struct state`, which
 * injector.py writes and reads): threads and child processes share one count. A process finds the file by the
 * environment variable ZARRSCOPE_FAULTS, or is handed it by `inject_arm` (a child of a fork server).
 *
 * An operation is struck before it happens, so K = 1..N visits every state between two operations. Descriptors are
 * named by /proc/self/fd; other paths by the real path of their folder, so links and relative names do not escape.
 * Not seen: writes through mmap or C's stdio, io_uring, and raw system calls.
 */
#undef _FORTIFY_SOURCE /* its inline open() would stand in the way of ours */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { COUNT, KILL, TORN, NO_SPACE, IO_ERROR };
enum kind { CHANGES, GROWS, WRITES }; /* GROWS: needs space; WRITES: needs space and can be torn */
enum { PASS = 0, TEAR = -1 };         /* verdicts; a positive one is the errno to fail with */

struct state {
    _Atomic uint64_t operations;
    uint64_t strike; /* K; 0 is never */
    uint32_t mode;
    uint32_t length;          /* of the directory's name */
    char directory[PATH_MAX]; /* absolute, no links, no slash at its end */
    char struck[PATH_MAX + 64];
};

static struct state *state;

int inject_arm(const char *path) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return errno;
    void *map = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int error = map == MAP_FAILED ? errno : 0;
    close(fd);
    if (!error) state = map;
    return error;
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("ZARRSCOPE_FAULTS");
    int error = path ? inject_arm(path) : 0;
    if (error) {
        fprintf(stderr, "injector: cannot map %s: %s\n", path, strerror(error));
        _exit(125); /* a run without its injector would prove nothing */
    }
}

static _Noreturn void die(void) {
    for (;;) kill(getpid(), SIGKILL);
}

static int within(const char *path) {
    size_t length = state->length;
    return strncmp(path, state->directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static int meet(const char *name, enum kind kind, const char *path) {
    uint64_t number = atomic_fetch_add(&state->operations, 1) + 1;
    if (state->mode == COUNT || state->strike == 0 || number < state->strike) return PASS;
    if (number == state->strike)
        snprintf(state->struck, sizeof state->struck, "%s %s", name,
                 path[state->length] ? path + state->length + 1 : ".");
    if (state->mode == NO_SPACE) return kind == CHANGES ? PASS : ENOSPC;
    if (number > state->strike) return PASS;
    if (state->mode == IO_ERROR) return EIO;
    if (state->mode == TORN && kind == WRITES) return TEAR;
    die();
}

static int meet_fd(const char *name, enum kind kind, int fd) {
    if (!state) return PASS;
    char link[32], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return PASS;
    path[length] = '\0';
    return within(path) ? meet(name, kind, path) : PASS;
}

/* Name a path by the real path of its folder. A folder that is not there gives 0: the operation changes nothing. */
static int locate(int folder, const char *path, char out[2 * PATH_MAX]) {
    char joined[2 * PATH_MAX];
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    if (length == 0 || length >= PATH_MAX) return 0;
    if (path[0] == '/') snprintf(joined, sizeof joined, "%.*s", (int)length, path);
    else if (folder == AT_FDCWD) snprintf(joined, sizeof joined, "./%.*s", (int)length, path);
    else snprintf(joined, sizeof joined, "/proc/self/fd/%d/%.*s", folder, (int)length, path);
    char *name = strrchr(joined, '/');
    *name++ = '\0';
    if (!realpath(joined[0] ? joined : "/", out)) return 0;
    size_t end = strcmp(out, "/") == 0 ? 0 : strlen(out);
    snprintf(out + end, 2 * PATH_MAX - end, "/%s", name);
    return within(out);
}

static int meet_path(const char *name, enum kind kind, int folder, const char *path) {
    char real[2 * PATH_MAX];
    return state && path && locate(folder, path, real) ? meet(name, kind, real) : PASS;
}

static int meet_paths(const char *name, enum kind kind, int folder, const char *path, int other, const char *second) {
    char real[2 * PATH_MAX];
    int seen = state && path && second && (locate(other, second, real) || locate(folder, path, real));
    return seen ? meet(name, kind, real) : PASS;
}

/* Function pointers come from dlsym through a void pointer, as POSIX has it. */
#define REAL(name)                    \
    static __typeof__(&name) real;    \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

#define CALL(name, parameters, arguments, verdict) \
    int name parameters {                          \
        REAL(name);                                \
        int error = verdict;                       \
        if (error) return errno = error, -1;       \
        return real arguments;                     \
    }

#define OPEN(name, parameters, folder, ...)                                                \
    int name parameters {                                                                  \
        REAL(name);                                                                        \
        mode_t mode = 0;                                                                   \
        if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {                       \
            va_list rest;                                                                  \
            va_start(rest, flags);                                                         \
            mode = va_arg(rest, mode_t);                                                   \
            va_end(rest);                                                                  \
        }                                                                                  \
        int changes = (flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE;   \
        int error = changes ? meet_path("open", GROWS, folder, path) : PASS;               \
        if (error) return errno = error, -1;                                               \
        return real(__VA_ARGS__, flags, mode);                                             \
    }

OPEN(open, (const char *path, int flags, ...), AT_FDCWD, path)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, path)
OPEN(openat, (int folder, const char *path, int flags, ...), folder, folder, path)
OPEN(openat64, (int folder, const char *path, int flags, ...), folder, folder, path)
CALL(creat, (const char *path, mode_t mode), (path, mode), meet_path("open", GROWS, AT_FDCWD, path))
CALL(creat64, (const char *path, mode_t mode), (path, mode), meet_path("open", GROWS, AT_FDCWD, path))

CALL(mkdir, (const char *path, mode_t mode), (path, mode), meet_path("mkdir", GROWS, AT_FDCWD, path))
CALL(mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), meet_path("mkdir", GROWS, at, path))
CALL(rmdir, (const char *path), (path), meet_path("rmdir", CHANGES, AT_FDCWD, path))
CALL(remove, (const char *path), (path), meet_path("unlink", CHANGES, AT_FDCWD, path))
CALL(unlink, (const char *path), (path), meet_path("unlink", CHANGES, AT_FDCWD, path))
CALL(unlinkat, (int at, const char *path, int flags), (at, path, flags),
     meet_path(flags & AT_REMOVEDIR ? "rmdir" : "unlink", CHANGES, at, path))

CALL(rename, (const char *old, const char *new), (old, new),
     meet_paths("rename", CHANGES, AT_FDCWD, old, AT_FDCWD, new))
CALL(renameat, (int from, const char *old, int to, const char *new), (from, old, to, new),
     meet_paths("rename", CHANGES, from, old, to, new))
CALL(renameat2, (int from, const char *old, int to, const char *new, unsigned flags), (from, old, to, new, flags),
     meet_paths("rename", CHANGES, from, old, to, new))
CALL(link, (const char *old, const char *new), (old, new), meet_path("link", GROWS, AT_FDCWD, new))
CALL(linkat, (int from, const char *old, int to, const char *new, int flags), (from, old, to, new, flags),
     meet_path("link", GROWS, to, new))
CALL(symlink, (const char *target, const char *path), (target, path), meet_path("symlink", GROWS, AT_FDCWD, path))
CALL(symlinkat, (const char *target, int at, const char *path), (target, at, path),
     meet_path("symlink", GROWS, at, path))

CALL(fsync, (int fd), (fd), meet_fd("fsync", CHANGES, fd))
CALL(fdatasync, (int fd), (fd), meet_fd("fsync", CHANGES, fd))
CALL(ftruncate, (int fd, off_t size), (fd, size), meet_fd("truncate", CHANGES, fd))
CALL(ftruncate64, (int fd, off64_t size), (fd, size), meet_fd("truncate", CHANGES, fd))
CALL(fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), meet_fd("fallocate", GROWS, fd))
CALL(fallocate64, (int fd, int mode, off64_t at, off64_t size), (fd, mode, at, size), meet_fd("fallocate", GROWS, fd))

/* posix_fallocate returns the error instead of setting errno. */
#define RESERVE(name, offset)                           \
    int name(int fd, offset at, offset size) {          \
        REAL(name);                                     \
        int error = meet_fd("fallocate", GROWS, fd);    \
        return error ? error : real(fd, at, size);      \
    }

RESERVE(posix_fallocate, off_t)
RESERVE(posix_fallocate64, off64_t)

/* Half the bytes of a vector: the pieces before the middle and a part of the one across it. */
static struct iovec *halve(const struct iovec *pieces, int *count) {
    static struct iovec half[IOV_MAX]; /* one thread of one process comes here, and dies */
    size_t left = 0;
    int kept = 0;
    for (int i = 0; i < *count; i++) left += pieces[i].iov_len;
    for (left /= 2; left && kept < IOV_MAX; kept++) {
        half[kept] = pieces[kept];
        if (half[kept].iov_len > left) half[kept].iov_len = left;
        left -= half[kept].iov_len;
    }
    *count = kept;
    return half;
}

#define WRITE(name, parameters, arguments, shrink)    \
    ssize_t name parameters {                         \
        REAL(name);                                   \
        int error = meet_fd("write", WRITES, fd);     \
        if (error > 0) return errno = error, -1;      \
        if (error == TEAR) shrink;                    \
        ssize_t written = real arguments;             \
        if (error == TEAR) die();                     \
        return written;                               \
    }

#define PIECES const struct iovec *pieces, int n
WRITE(write, (int fd, const void *data, size_t size), (fd, data, size), size /= 2)
WRITE(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), size /= 2)
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), size /= 2)
WRITE(writev, (int fd, PIECES), (fd, pieces, n), pieces = halve(pieces, &n))
WRITE(pwritev, (int fd, PIECES, off_t at), (fd, pieces, n, at), pieces = halve(pieces, &n))
WRITE(pwritev64, (int fd, PIECES, off64_t at), (fd, pieces, n, at), pieces = halve(pieces, &n))
WRITE(pwritev2, (int fd, PIECES, off_t at, int how), (fd, pieces, n, at, how), pieces = halve(pieces, &n))
WRITE(pwritev64v2, (int fd, PIECES, off64_t at, int how), (fd, pieces, n, at, how), pieces = halve(pieces, &n))
WRITE(sendfile, (int fd, int from, off_t *at, size_t size), (fd, from, at, size), size /= 2)
WRITE(sendfile64, (int fd, int from, off64_t *at, size_t size), (fd, from, at, size), size /= 2)
WRITE(copy_file_range, (int from, off64_t *start, int fd, off64_t *at, size_t size, unsigned flags),
      (from, start, fd, at, size, flags), size /= 2)
