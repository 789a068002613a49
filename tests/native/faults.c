/* Preloaded: the n-th write, fsync or rename below a folder goes wrong, in the way that fault_arm was told. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { COUNT, KILL, FULL, BROKEN, SHORT };

static char folder[4096];
static long number, count;
static int kind = COUNT, armed, full;

void fault_arm(const char *path, long which, int how)
{
    snprintf(folder, sizeof folder, "%s/", path);
    number = which;
    kind = how;
    count = full = 0;
    armed = 1;
}

/* How many operations there were. */
long fault_disarm(void)
{
    armed = 0;
    return count;
}

static int below(const char *path) { return armed && strncmp(path, folder, strlen(folder)) == 0; }

static int below_file(int file)
{
    char link[64], path[4096];
    if (!armed)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = '\0';
    /* The folder itself is synced, too. */
    return below(path) || strncmp(path, folder, strlen(folder) - 1) == 0;
}

/* What becomes of this operation: 0 when nothing does, else the error. */
static int fate(void)
{
    if (++count == number) {
        if (kind == KILL)
            kill(getpid(), SIGKILL);
        if (kind == FULL)
            full = 1;
        return kind == FULL ? ENOSPC : kind == BROKEN ? EIO : 0;
    }
    return 0;
}

ssize_t write(int file, const void *bytes, size_t size)
{
    ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (!below_file(file))
        return next(file, bytes, size);
    if (count + 1 == number && (kind == KILL || kind == SHORT) && size > 1)
        size = next(file, bytes, size / 2);
    else if (full) {
        count++;
        errno = ENOSPC;
        return -1;
    } else {
        int error = fate();
        if (error) {
            errno = error;
            return -1;
        }
        return next(file, bytes, size);
    }
    fate();
    return size;
}

int fsync(int file)
{
    int (*next)(int) = dlsym(RTLD_NEXT, "fsync");
    int error = below_file(file) ? fate() : 0;
    errno = error;
    return error ? -1 : next(file);
}

int rename(const char *from, const char *to)
{
    int (*next)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    int error = below(to) ? fate() : 0;
    errno = error;
    return error ? -1 : next(from, to);
}
