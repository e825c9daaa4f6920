/*
 * camera.c - a region that a camera needs now and then, lent out meanwhile
 *
 * 64 MiB are reserved for buffers of 32 MiB, contiguous as the camera wants them. While it is idle
 * they hold pages of a file, of which those in the cheapest window are dropped or moved when it
 * asks. Only a page that somebody pinned stands in its way: then the report says whose it is.
 *
 *     cc camera.c $(pkg-config --cflags --libs quarry)
 */
#include <quarry/buddy.h>
#include <quarry/cache.h>
#include <quarry/cma.h>
#include <quarry/linux.h>
#include <quarry/space.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define PAGE 4096
#define REQUESTS 20

/** Read, or first write, 80 MiB of file through the cache. True if each page has its number. */
static bool pass(struct qy_file *file, bool write)
{
    uint64_t page[PAGE / sizeof(uint64_t)] = {0};
    for (uint64_t i = 0; i < 80 * MIB / PAGE; i++) {
        page[0] = i;
        int64_t bytes = write ? qy_file_write(file, page, PAGE, i * PAGE)
                              : qy_file_read(file, page, PAGE, i * PAGE);
        if (bytes != PAGE || page[0] != i)
            return false;
    }
    return !write || qy_file_sync(file) == 0;
}

static uint64_t show(struct qy_cma *cma, const char *when)
{
    struct qy_cma_stat stat;
    qy_cma_stat(cma, &stat);
    printf("%-18s %4.1f MiB of the region are lent, %4.1f the camera's, %4.1f idle\n", when,
           (double)stat.lent / 256, (double)stat.out / 256, (double)stat.free / 256);
    return stat.lent;
}

int main(void)
{
    struct qy_linux_options options = {.limit_bytes = 112 * MIB, .shared = true};
    struct qy_cma_options region = {.name = "camera", .nr_ranges = 1, .policy = QY_CMA_EAGER};
    struct qy_cma_request request = {.nr_frames = 32 * MIB / PAGE};
    struct qy_cma_report report, sum = {0};
    struct qy_error error = {.text = "no temporary file"};
    char path[] = "/tmp/camera.XXXXXX";
    uint64_t worst_ns = 0;
    qy_pfn_t pfn;

    region.ranges[0] = (struct qy_cma_range){QY_PFN_NONE, 64 * MIB / PAGE};
    struct qy_mm *mm = mkstemp(path) >= 0 ? qy_linux_mm_create(&options, &error) : NULL;
    struct qy_cma *cma = mm ? qy_cma_create(mm, &region, &error) : NULL;
    struct qy_file *file = cma ? qy_linux_file_open(mm, path, O_RDWR, &error) : NULL;
    struct qy_space *net = file ? qy_space_create(mm, "packets", 0, &error) : NULL;
    void *packet = net ? qy_space_map(net, PAGE, QY_PROT_WRITE, 0, &error) : NULL;
    unlink(path);
    if (packet == NULL) {
        fprintf(stderr, "camera: %s\n", error.text);
        return 1;
    }
    if (qy_space_pin(net, packet, PAGE, QY_PIN_SHORT, NULL) != 0 || !pass(file, true))
        return 1;
    show(cma, "A file is read:");
    for (int i = 0; i < REQUESTS; i++) {
        if (qy_cma_alloc(cma, &request, &pfn, &report) != 0)
            return 1;
        memset(qy_page_address(mm, pfn), i, 32 * MIB); /* the picture */
        if (i == 0)
            show(cma, "A picture:");
        if (qy_cma_release(cma, pfn, request.nr_frames) != 0 || !pass(file, false))
            return 1;
        sum.ns += report.ns, sum.dropped += report.dropped, sum.moved += report.moved;
        worst_ns = report.ns > worst_ns ? report.ns : worst_ns;
    }
    bool lent = show(cma, "It is read again:") > 60 * MIB / PAGE;
    printf("%d pictures, no buffer refused: %.1f ms each, %.1f at worst; "
           "%llu pages dropped and %llu moved for each\n",
           REQUESTS, (double)sum.ns / REQUESTS / 1e6, (double)worst_ns / 1e6,
           (unsigned long long)sum.dropped / REQUESTS, (unsigned long long)sum.moved / REQUESTS);

    request.nr_frames = 64 * MIB / PAGE;
    int code = qy_cma_alloc(cma, &request, &pfn, &report);
    const struct qy_cma_stuck *stuck = report.stuck;
    printf("All 64 MiB: %s; frame 0x%llx of \"%s\" is %s\n", strerror(-code),
           (unsigned long long)stuck->pfn, stuck->owner, qy_cma_reason_name(stuck->reason));
    bool named = stuck->reason == QY_CMA_PINNED && strcmp(stuck->owner, "packets") == 0;
    code = qy_space_unpin(net, packet, PAGE) != 0 ? 1 : qy_cma_alloc(cma, &request, &pfn, &report);
    printf("It is unpinned:  %s\n", code == 0 ? "here they are" : "none");
    return lent && named && code == 0 ? 0 : 1;
}
