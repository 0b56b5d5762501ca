/*
 * The calendar of a test: preloaded into a program, it moves what the C library says of the date. CLOCK_OFFSET_S says by
 * how many seconds. CLOCK_OFFSET_FILE names a file that says by how many more; it is read whenever a program asks for the
 * time, so a test can set the clock of a program that runs. Children inherit both. The monotonic clocks run on.
 *
 * Programs in Go ask the kernel itself, and are not reached. libfaketime does the same and more, of which 0.9.10 moves
 * deadlines on the monotonic clock as well, so that programs never wake up, and shares a lock with children that a test
 * may kill while they hold it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* A program whose clock is not what its test set it to would fail the test for a reason that nobody finds. */
static void give_up(const char *what)
{
    fprintf(stderr, "clock.so: %s\n", what);
    abort();
}

static long long number(const char *text)
{
    char *end;
    long long seconds = strtoll(text, &end, 10);
    if (end == text || (*end != '\0' && *end != '\n'))
        give_up("an offset is no number of seconds");
    return seconds;
}

static long long offset_s(void)
{
    long long seconds = 0;
    const char *fixed = getenv("CLOCK_OFFSET_S"), *file = getenv("CLOCK_OFFSET_FILE");
    if (fixed != NULL)
        seconds += number(fixed);
    if (file != NULL) {
        char text[32];
        int descriptor = open(file, O_RDONLY | O_CLOEXEC);
        ssize_t length = descriptor < 0 ? -1 : read(descriptor, text, sizeof text - 1);
        if (length < 0)
            give_up("CLOCK_OFFSET_FILE cannot be read");
        close(descriptor);
        text[length] = '\0';
        seconds += number(text);
    }
    return seconds;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    static int (*of_the_machine)(clockid_t, struct timespec *);
    if (of_the_machine == NULL)
        *(void **)&of_the_machine = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = of_the_machine(id, now);
    if (failed == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        now->tv_sec += offset_s();
    return failed;
}

int timespec_get(struct timespec *now, int base)
{
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    *now = (struct timeval){ .tv_sec = exact.tv_sec, .tv_usec = exact.tv_nsec / 1000 };
    return failed;
}

time_t time(time_t *seconds)
{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (seconds != NULL)
        *seconds = exact.tv_sec;
    return exact.tv_sec;
}
