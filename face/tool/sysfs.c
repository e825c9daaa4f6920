/*
 * sysfs.c - this machine's contiguous regions, out of /sys/kernel/mm/cma
 *
 * A folder for each region, in it a file for each figure; which ones depends on the kernel's age.
 */
#include "tool.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER "/sys/kernel/mm/cma"

static uint64_t read_figure(const char *region, const char *figure)
{
    char path[512];
    uint64_t value;
    snprintf(path, sizeof(path), FOLDER "/%s/%s", region, figure);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return QY_VIEW_UNKNOWN;
    if (fscanf(file, "%" SCNu64, &value) != 1)
        value = QY_VIEW_UNKNOWN;
    fclose(file);
    return value;
}

static void read_region(struct views *views, const char *name)
{
    struct qy_region_view *region = views_region(views);
    snprintf(region->name, sizeof(region->name), "%.*s", QY_VIEW_NAME - 1, name);
    region->policy = QY_VIEW_UNKNOWN;
    for (size_t f = 0; f < QY_REGION_FIGURES; f++) {
        uint64_t value = read_figure(name, qy_region_figures[f].name);
        memcpy((char *)region + qy_region_figures[f].at, &value, sizeof(value));
    }
    if (region->total_pages != QY_VIEW_UNKNOWN && region->available_pages != QY_VIEW_UNKNOWN)
        region->out = region->total_pages - region->available_pages;
}

static int is_region(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

void sysfs_regions(struct views *views)
{
    struct dirent **entries;
    int count = scandir(FOLDER, &entries, is_region, alphasort);
    for (int e = 0; e < count; e++) {
        read_region(views, entries[e]->d_name);
        free(entries[e]);
    }
    if (count >= 0)
        free(entries);
}
