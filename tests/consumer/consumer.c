/*
 * consumer.c - somebody else's program: a memory of 64 MiB, a block of frames, an object
 *
 * Valid C11 and C++17, for both must be able to use the library.
 */
#include <quarry/buddy.h>
#include <quarry/linux.h>
#include <quarry/mm.h>
#include <quarry/slab.h>
#include <quarry/view.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    struct qy_linux_options options;
    struct qy_error error;
    memset(&options, 0, sizeof options);
    options.limit_bytes = 64u << 20;
    struct qy_mm *mm = qy_linux_mm_create(&options, &error);
    if (!mm) {
        fprintf(stderr, "consumer: %s\n", error.text);
        return 1;
    }

    qy_pfn_t pfn = qy_alloc_pages(mm, QY_GFP_KERNEL, 3);
    void *object = qy_kmalloc(mm, 100, QY_GFP_KERNEL);
    if (pfn == QY_PFN_NONE || !object) {
        fprintf(stderr, "consumer: no memory in a new memory\n");
        return 1;
    }
    memset(qy_page_address(mm, pfn), 1, 8 * 4096);
    memset(object, 1, 100);

    char buffer[4096];
    struct qy_text text;
    memset(&text, 0, sizeof text);
    text.buffer = buffer;
    text.bytes = sizeof buffer;
    qy_print_buddyinfo(mm, &text);
    fputs(buffer, stdout);

    if (qy_kfree(mm, object) != 0 || qy_free_pages(mm, pfn, 3) != 0) {
        fprintf(stderr, "consumer: a right free was refused\n");
        return 1;
    }
    qy_linux_mm_destroy(mm);
    return strstr(buffer, "zone") ? 0 : 1;
}
