/*
 * A stand-in for a GPIO chip and a watchdog, preloaded into the interpreter under test.
 *
 * It intercepts open, ioctl and close of two paths and keeps the lines in a shared file. It speaks
 * the kernel's own structures: what the firmware packs by hand is read here through linux/gpio.h.
 * Behaviour as in drivers/gpio/gpiolib-cdev.c: padding must be zero, a line has one owner, bias
 * needs a direction, inputs cannot be set, outputs begin low unless told otherwise.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <linux/watchdog.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINES 64
#define FDS 64

struct line { uint32_t level, external, owned, output, pull_up, set_count; };
struct machine {
    uint32_t watchdog_timeout_s, watchdog_opens, refused, fail_set;
    char consumer[32];
    struct line line[LINES];
};

struct request { int fd, count, output; uint32_t offset[LINES]; };

static struct machine *machine;
static struct request requests[FDS];
static int chip_fd = -1, watchdog_fd = -1;

static void *next_symbol(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("SHIM_STATE");
    for (int i = 0; i < FDS; i++) requests[i].fd = -1;
    if (!path) return;
    int (*real_open)(const char *, int, ...) = next_symbol("open");
    int fd = real_open(path, O_RDWR);
    if (fd < 0) return;
    machine = mmap(0, sizeof *machine, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (machine == MAP_FAILED) machine = 0;
}

static int opened(const char *path, int fd)
{
    const char *chip = getenv("SHIM_GPIO"), *dog = getenv("SHIM_WATCHDOG");
    if (machine && fd >= 0 && chip && !strcmp(path, chip)) chip_fd = fd;
    if (machine && fd >= 0 && dog && !strcmp(path, dog)) {
        watchdog_fd = fd;
        machine->watchdog_opens++;
    }
    return fd;
}

#define OPEN(name)                                                        \
    int name(const char *path, int flags, ...)                            \
    {                                                                     \
        va_list list;                                                     \
        va_start(list, flags);                                            \
        int mode = va_arg(list, int);                                     \
        va_end(list);                                                     \
        int (*real)(const char *, int, ...) = next_symbol(#name);         \
        return opened(path, real(path, flags, mode));                     \
    }
OPEN(open)
OPEN(open64)

static int refuse(int number)
{
    machine->refused++;
    errno = number;
    return -1;
}

static int get_line(struct gpio_v2_line_request *r)
{
    uint64_t flags = r->config.flags;
    int output = !!(flags & GPIO_V2_LINE_FLAG_OUTPUT), input = !!(flags & GPIO_V2_LINE_FLAG_INPUT);
    if (!r->num_lines || r->num_lines > GPIO_V2_LINES_MAX) return refuse(EINVAL);
    for (unsigned i = 0; i < 5; i++)
        if (r->padding[i] || r->config.padding[i]) return refuse(EINVAL);
    if (output == input || r->config.num_attrs) return refuse(EINVAL);
    if (flags & ~(uint64_t)(GPIO_V2_LINE_FLAG_INPUT | GPIO_V2_LINE_FLAG_OUTPUT
                            | GPIO_V2_LINE_FLAG_BIAS_PULL_UP)) return refuse(EINVAL);
    for (unsigned i = 0; i < r->num_lines; i++) {
        if (r->offsets[i] >= LINES) return refuse(EINVAL);
        if (machine->line[r->offsets[i]].owned) return refuse(EBUSY);
    }
    struct request *slot = requests;
    while (slot->fd >= 0) slot++;
    slot->fd = memfd_create("lines", 0);
    slot->count = r->num_lines;
    slot->output = output;
    for (unsigned i = 0; i < r->num_lines; i++) {
        struct line *line = &machine->line[r->offsets[i]];
        slot->offset[i] = r->offsets[i];
        line->owned = getpid();
        line->output = output;
        line->pull_up = !!(flags & GPIO_V2_LINE_FLAG_BIAS_PULL_UP);
        if (output) line->level = 0;
    }
    memcpy(machine->consumer, r->consumer, sizeof machine->consumer);
    r->fd = slot->fd;
    return 0;
}

static int values(struct request *r, unsigned long number, struct gpio_v2_line_values *v)
{
    if (!v->mask) return refuse(EINVAL);
    if (number == GPIO_V2_LINE_SET_VALUES_IOCTL && (!r->output || machine->fail_set))
        return refuse(machine->fail_set ? EIO : EPERM);
    if (number == GPIO_V2_LINE_GET_VALUES_IOCTL) v->bits = 0;
    for (int i = 0; i < r->count; i++) {
        uint64_t bit = 1ull << i;
        struct line *line = &machine->line[r->offset[i]];
        if (!(v->mask & bit)) continue;
        if (number == GPIO_V2_LINE_SET_VALUES_IOCTL) {
            line->level = !!(v->bits & bit);
            line->set_count++;
        } else {
            /* external: 0 low, 1 high, 2 nothing connected */
            int level = r->output ? line->level
                : line->external == 2 ? line->pull_up : line->external;
            if (level) v->bits |= bit;
        }
    }
    return 0;
}

int ioctl(int fd, unsigned long number, ...)
{
    va_list list;
    va_start(list, number);
    void *argument = va_arg(list, void *);
    va_end(list);
    number &= 0xffffffff;
    if (machine && fd >= 0) {
        if (fd == chip_fd && number == GPIO_V2_GET_LINE_IOCTL) return get_line(argument);
        if (fd == watchdog_fd && number == WDIOC_SETTIMEOUT) {
            machine->watchdog_timeout_s = *(int *)argument;
            return 0;
        }
        for (int i = 0; i < FDS; i++)
            if (requests[i].fd == fd && (number == GPIO_V2_LINE_GET_VALUES_IOCTL
                                         || number == GPIO_V2_LINE_SET_VALUES_IOCTL))
                return values(&requests[i], number, argument);
    }
    int (*real)(int, unsigned long, ...) = next_symbol("ioctl");
    return real(fd, number, argument);
}

int close(int fd)
{
    if (machine && fd >= 0) {
        if (fd == chip_fd) chip_fd = -1;
        for (int i = 0; i < FDS; i++)
            if (requests[i].fd == fd) {
                for (int k = 0; k < requests[i].count; k++)
                    machine->line[requests[i].offset[k]].owned = 0;
                requests[i].fd = -1;
            }
    }
    int (*real)(int) = next_symbol("close");
    return real(fd);
}
