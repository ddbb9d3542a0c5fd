/* Preloaded into the program under torture: makes the disk fail at the Nth write or sync of a file below a folder.
 *
 * FAULT_UNDER    the folder
 * FAULT_COUNTER  a file of 8 bytes, shared by all processes: how many calls of the kind there were
 * FAULT_AT       the number of the call that fails, from 1; 0: none
 * FAULT_LASTS    1: all later ones fail, too
 * FAULT_KIND     sync: a sync fails with EIO; write: a write fails with EIO; full: half of it is written, then ENOSPC
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum kind { NONE, SYNC, WRITE, FULL };
static enum kind kind;
static uint64_t at, lasts, *count;
static const char *under;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FAULT_KIND"), *counter = getenv("FAULT_COUNTER");
    under = getenv("FAULT_UNDER");
    if (!name || !counter || !under) return;
    int fd = open(counter, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED) return;
    count = map;
    at = getenv("FAULT_AT") ? strtoull(getenv("FAULT_AT"), NULL, 10) : 0;
    lasts = getenv("FAULT_LASTS") != NULL;
    kind = !strcmp(name, "sync") ? SYNC : !strcmp(name, "write") ? WRITE : FULL;
}

/* Whether this call fails. */
static int fails(enum kind of, int fd) {
    if (kind == NONE || (kind == SYNC) != (of == SYNC)) return 0;
    char link[32], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    size_t under_len = strlen(under);
    if (len < 0 || (size_t)len <= under_len || memcmp(path, under, under_len) || path[under_len] != '/') return 0;
    uint64_t number = __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
    return at && (number == at || (lasts && number > at));
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define SYNCS(name)                        \
    int name(int fd) {                     \
        if (fails(SYNC, fd)) {             \
            errno = EIO;                   \
            return -1;                     \
        }                                  \
        return REAL(name)(fd);             \
    }
SYNCS(fsync)
SYNCS(fdatasync)

/* The first of a series that fails for want of space writes half. */
static int half(size_t *len) {
    if (kind == FULL && *len > 1 && __atomic_load_n(count, __ATOMIC_SEQ_CST) == at) {
        *len /= 2;
        return 1;
    }
    errno = kind == FULL ? ENOSPC : EIO;
    return 0;
}

ssize_t write(int fd, const void *from, size_t len) {
    if (fails(WRITE, fd) && !half(&len)) return -1;
    return REAL(write)(fd, from, len);
}

ssize_t pwrite(int fd, const void *from, size_t len, off_t offset) {
    if (fails(WRITE, fd) && !half(&len)) return -1;
    return REAL(pwrite)(fd, from, len, offset);
}

ssize_t pwrite64(int fd, const void *from, size_t len, off64_t offset) {
    if (fails(WRITE, fd) && !half(&len)) return -1;
    return REAL(pwrite64)(fd, from, len, offset);
}
