/* Loaded before libc (LD_PRELOAD): counts every call that changes a file below a folder, and at the n-th one writes half
   of what was to be written, if it is a write, and kills the process. Nothing of it acts before kill_at is called. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[4096];
static size_t root_length;
static atomic_long seen;
static long deadly = -1;

/* The n-th counted call is the last one (-1: none). Paths that are not absolute count: the process stands in `folder`. */
void kill_at(const char *folder, long n) {
    snprintf(root, sizeof root, "%s/", folder);
    root_length = strlen(root);
    seen = 0;
    deadly = n;
}

long calls_seen(void) { return seen; }

static int below(const char *path) { return root_length && path && (path[0] != '/' || !strncmp(path, root, root_length)); }

static int fd_below(int fd) {
    char link[64], path[4096];
    if (!root_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return path[0] == '/' && !strncmp(path, root, root_length);
}

static int now(void) { return atomic_fetch_add(&seen, 1) + 1 == deadly; }
static void end(void) { kill(getpid(), SIGKILL); pause(); }

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

#define PATH_CALL(name, declared, passed, path, ...)                    \
    int name declared {                                                 \
        if (below(path) && now()) end();                                \
        return REAL(int, name, __VA_ARGS__) passed;                     \
    }
#define FD_CALL(name, declared, passed, ...)                            \
    int name declared {                                                 \
        if (fd_below(fd) && now()) end();                               \
        return REAL(int, name, __VA_ARGS__) passed;                     \
    }

PATH_CALL(rename, (const char *from, const char *to), (from, to), to, const char *, const char *)
PATH_CALL(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), to, int, const char *, int, const char *)
PATH_CALL(renameat2, (int a, const char *from, int b, const char *to, unsigned f), (a, from, b, to, f), to, int, const char *, int, const char *, unsigned)
PATH_CALL(link, (const char *from, const char *to), (from, to), to, const char *, const char *)
PATH_CALL(symlink, (const char *from, const char *to), (from, to), to, const char *, const char *)
PATH_CALL(unlink, (const char *path), (path), path, const char *)
PATH_CALL(unlinkat, (int fd, const char *path, int flags), (fd, path, flags), path, int, const char *, int)
PATH_CALL(rmdir, (const char *path), (path), path, const char *)
PATH_CALL(mkdir, (const char *path, mode_t mode), (path, mode), path, const char *, mode_t)
PATH_CALL(truncate, (const char *path, off_t size), (path, size), path, const char *, off_t)
PATH_CALL(truncate64, (const char *path, off64_t size), (path, size), path, const char *, off64_t)
FD_CALL(ftruncate, (int fd, off_t size), (fd, size), int, off_t)
FD_CALL(ftruncate64, (int fd, off64_t size), (fd, size), int, off64_t)
FD_CALL(fsync, (int fd), (fd), int)
FD_CALL(fdatasync, (int fd), (fd), int)

#define WRITE_CALL(name, declared, passed, halved, ...)                 \
    ssize_t name declared {                                             \
        if (fd_below(fd) && now()) {                                    \
            REAL(ssize_t, name, __VA_ARGS__) halved;                    \
            end();                                                      \
        }                                                               \
        return REAL(ssize_t, name, __VA_ARGS__) passed;                 \
    }

WRITE_CALL(write, (int fd, const void *data, size_t n), (fd, data, n), (fd, data, n / 2), int, const void *, size_t)
WRITE_CALL(pwrite, (int fd, const void *data, size_t n, off_t at), (fd, data, n, at), (fd, data, n / 2, at), int, const void *, size_t, off_t)
WRITE_CALL(pwrite64, (int fd, const void *data, size_t n, off64_t at), (fd, data, n, at), (fd, data, n / 2, at), int, const void *, size_t, off64_t)
WRITE_CALL(writev, (int fd, const struct iovec *parts, int n), (fd, parts, n), (fd, parts, n / 2), int, const struct iovec *, int)
WRITE_CALL(sendfile, (int fd, int in, off_t *at, size_t n), (fd, in, at, n), (fd, in, at, 1), int, int, off_t *, size_t)
WRITE_CALL(sendfile64, (int fd, int in, off64_t *at, size_t n), (fd, in, at, n), (fd, in, at, 1), int, int, off64_t *, size_t)

#define OPEN_CALL(name)                                                 \
    int name(const char *path, int flags, ...) {                        \
        va_list rest;                                                   \
        va_start(rest, flags);                                          \
        mode_t mode = va_arg(rest, mode_t);                             \
        va_end(rest);                                                   \
        if (flags & (O_CREAT | O_TRUNC) && below(path) && now()) end(); \
        return REAL(int, name, const char *, int, ...)(path, flags, mode); \
    }
#define OPENAT_CALL(name)                                               \
    int name(int folder, const char *path, int flags, ...) {            \
        va_list rest;                                                   \
        va_start(rest, flags);                                          \
        mode_t mode = va_arg(rest, mode_t);                             \
        va_end(rest);                                                   \
        if (flags & (O_CREAT | O_TRUNC) && below(path) && now()) end(); \
        return REAL(int, name, int, const char *, int, ...)(folder, path, flags, mode); \
    }
OPEN_CALL(open)
OPEN_CALL(open64)
OPENAT_CALL(openat)
OPENAT_CALL(openat64)
