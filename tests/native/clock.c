/* Preloaded: the wall clock of a process is off by the seconds that stand, as one little-endian 64-bit number, in the file
   that PT_CLOCK_FILE names. Monotonic clocks are left alone, as by a person who sets the time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static int (*next)(clockid_t, struct timespec *);
static volatile int64_t *seconds;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("PT_CLOCK_FILE");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    next = dlsym(RTLD_NEXT, "clock_gettime");
    if (file >= 0) {
        void *page = mmap(NULL, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
        seconds = page == MAP_FAILED ? NULL : page;
    }
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (next == NULL)
        begin();
    int status = next(clock, now);
    if (status == 0 && seconds != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *seconds;
    return status;
}
