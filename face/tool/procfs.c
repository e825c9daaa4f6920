/*
 * procfs.c - what /proc says of a process, alive or ended
 */
#include "tool.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static uint64_t microseconds(uint64_t ticks)
{
    long per_second = sysconf(_SC_CLK_TCK);
    return per_second > 0 ? ticks * 1000000 / (uint64_t)per_second : 0;
}

static uint64_t peak_rss_kb(pid_t pid)
{
    char path[64], line[256];
    uint64_t kb = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "VmHWM: %" SCNu64, &kb) == 1)
            break;
    fclose(file);
    return kb;
}

/** proc(5), stat: the name in brackets may hold anything, so the rest is read behind the last. */
static bool read_stat(const char *line, struct glance *glance)
{
    const char *rest = strrchr(line, ')');
    uint64_t minor, child_minor, major, child_major, user, system, child_user, child_system;
    char state;
    int last = 0;
    if (rest == NULL || sscanf(rest + 1,
                               " %c %*d %*d %*d %*d %*d %*u %" SCNu64 " %" SCNu64 " %" SCNu64
                               " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
                               &state, &minor, &child_minor, &major, &child_major, &user, &system,
                               &child_user, &child_system) != 9)
        return false;
    const char *status = strrchr(rest, ' ');
    glance->is_dead = state == 'Z' || state == 'X';
    glance->has_waited = child_minor + child_major + child_user + child_system > 0;
    glance->wait_status = status != NULL && sscanf(status, "%d", &last) == 1 ? last : -1;
    glance->usage = (struct qy_usage){
        .user_us = microseconds(user),
        .system_us = microseconds(system),
        .minor_faults = minor,
        .major_faults = major,
    };
    return true;
}

bool procfs_glance(pid_t pid, struct glance *glance)
{
    char path[64], line[1024];
    *glance = (struct glance){.wait_status = -1};
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool known = fgets(line, sizeof(line), file) != NULL && read_stat(line, glance);
    fclose(file);
    if (known && !glance->is_dead)
        glance->usage.peak_rss_kb = peak_rss_kb(pid);
    return known;
}
