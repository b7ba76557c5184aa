/* Preloaded library: the n-th call on a file of the job fails, or ends the process. See tests/fault_injection.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { READ = 1, WRITE = 2, OPEN = 4, RENAME = 8, SYNC = 16, MKDIR = 32 };

static char folder[PATH_MAX];
static int kinds, error_number; /* error_number 0: kill after the call */
static long remaining;
static long *told; /* the calls of each kind, and at last whether one has failed */

/* Calls on relative names and names in `job` are counted; of those of `some_kinds`, number n fails with `number`. */
void arm_faults(const char *job, int some_kinds, long n, int number, long *tell)
{
    strncpy(folder, job, sizeof folder - 1);
    kinds = some_kinds;
    error_number = number;
    remaining = n;
    __atomic_store_n(&told, tell, __ATOMIC_SEQ_CST);
}

static int is_hit(int kind, const char *name)
{
    if (!told || (name[0] == '/' && strncmp(name, folder, strlen(folder)) != 0))
        return 0;
    __atomic_add_fetch(&told[__builtin_ctz(kind)], 1, __ATOMIC_SEQ_CST);
    if (!(kinds & kind) || __atomic_sub_fetch(&remaining, 1, __ATOMIC_SEQ_CST) != 0)
        return 0;
    told[6] = 1;
    return 1;
}

static int is_hit_at(int kind, int descriptor)
{
    char link[64], name[PATH_MAX];
    if (!told)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length <= 0 || name[0] != '/')
        return 0;
    name[length] = 0;
    return is_hit(kind, name);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define AROUND(hit, type, call)              \
    if (hit) {                               \
        if (error_number) {                  \
            errno = error_number;            \
            return -1;                       \
        }                                    \
        type result = call;                  \
        (void)result;                        \
        kill(getpid(), SIGKILL);             \
    }                                        \
    return call;
#define MODE                                 \
    mode_t mode = 0;                         \
    if (flags & (O_CREAT | O_TMPFILE)) {     \
        va_list rest;                        \
        va_start(rest, flags);               \
        mode = va_arg(rest, mode_t);         \
        va_end(rest);                        \
    }
#define OPENS(name) \
    int name(const char *path, int flags, ...) { MODE AROUND(is_hit(OPEN, path), int, REAL(name)(path, flags, mode)) }
#define OPENS_AT(name) \
    int name(int at, const char *path, int flags, ...) { MODE AROUND(is_hit(OPEN, path), int, REAL(name)(at, path, flags, mode)) }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)

ssize_t read(int d, void *b, size_t n) { AROUND(is_hit_at(READ, d), ssize_t, REAL(read)(d, b, n)) }
ssize_t pread(int d, void *b, size_t n, off_t o) { AROUND(is_hit_at(READ, d), ssize_t, REAL(pread)(d, b, n, o)) }
ssize_t pread64(int d, void *b, size_t n, off64_t o) { AROUND(is_hit_at(READ, d), ssize_t, REAL(pread64)(d, b, n, o)) }
ssize_t write(int d, const void *b, size_t n) { AROUND(is_hit_at(WRITE, d), ssize_t, REAL(write)(d, b, n)) }
ssize_t pwrite(int d, const void *b, size_t n, off_t o) { AROUND(is_hit_at(WRITE, d), ssize_t, REAL(pwrite)(d, b, n, o)) }
ssize_t pwrite64(int d, const void *b, size_t n, off64_t o) { AROUND(is_hit_at(WRITE, d), ssize_t, REAL(pwrite64)(d, b, n, o)) }
ssize_t writev(int d, const struct iovec *v, int n) { AROUND(is_hit_at(WRITE, d), ssize_t, REAL(writev)(d, v, n)) }
int fsync(int d) { AROUND(is_hit_at(SYNC, d), int, REAL(fsync)(d)) }
int fdatasync(int d) { AROUND(is_hit_at(SYNC, d), int, REAL(fdatasync)(d)) }
int rename(const char *a, const char *b) { AROUND(is_hit(RENAME, a), int, REAL(rename)(a, b)) }
int renameat(int p, const char *a, int q, const char *b) { AROUND(is_hit(RENAME, a), int, REAL(renameat)(p, a, q, b)) }
int renameat2(int p, const char *a, int q, const char *b, unsigned f)
{
    AROUND(is_hit(RENAME, a), int, REAL(renameat2)(p, a, q, b, f))
}
int mkdir(const char *path, mode_t mode) { AROUND(is_hit(MKDIR, path), int, REAL(mkdir)(path, mode)) }
