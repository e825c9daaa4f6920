/*
 * lookup.c - a file that is larger than the memory for it, looked up by a pointer
 *
 * A million records lie in a file, sorted. The program writes and searches them by a pointer, as an
 * array. Which pages of it are in memory is Quarry's business: as many as 8 MiB have room for
 * beside other objects. Every tenth search counts a hit in the record.
 *
 *     cc lookup.c $(pkg-config --cflags --libs quarry)
 */
#include <quarry/cache.h>
#include <quarry/linux.h>
#include <quarry/mm.h>
#include <quarry/space.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RECORDS UINT64_C(1000000)
#define SEARCHES 100000U
#define BATCH 1000U

struct record {
    uint64_t key, hits;
};

static struct record *find(struct record *records, uint64_t key)
{
    uint64_t low = 0, high = RECORDS;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (records[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low < RECORDS && records[low].key == key ? &records[low] : NULL;
}

/** Returns how many searches found something wrong. */
static unsigned search(struct record *records)
{
    unsigned wrong = 0;
    uint64_t random = 1;
    for (unsigned i = 0; i < SEARCHES; i++) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        uint64_t most = i % 64 != 0 ? RECORDS / 16 : RECORDS, key = (random >> 33) % most * 7;
        struct record *record = find(records, key);
        if (record != NULL && i % 10 == 0)
            record->hits++;
        wrong += record == NULL || find(records, key + 1) != NULL;
    }
    return wrong;
}

/** What the file has, around all caches. */
static uint64_t count_hits(int fd)
{
    static struct record records[BATCH];
    uint64_t hits = 0;
    while (read(fd, records, sizeof(records)) == sizeof(records))
        for (unsigned i = 0; i < BATCH; i++)
            hits += records[i].hits;
    return hits;
}

int main(void)
{
    char path[] = "/tmp/quarry-lookup-XXXXXX";
    struct qy_linux_options options = {.limit_bytes = 8 << 20, .shared = true};
    struct qy_error error = {.text = "no file for the records"};
    struct qy_file_stat stat;
    size_t bytes = RECORDS * sizeof(struct record);
    int fd = mkstemp(path);
    bool made = fd >= 0 && ftruncate(fd, (off_t)bytes) == 0;
    struct qy_mm *mm = made ? qy_linux_mm_create(&options, &error) : NULL;
    struct qy_file *file = mm != NULL ? qy_linux_file_open(mm, path, O_RDWR, &error) : NULL;
    struct qy_space *space = file != NULL ? qy_space_create(mm, "lookup", 0, &error) : NULL;
    struct record *records =
        space != NULL ? qy_space_map_file(space, file, 0, bytes, QY_PROT_WRITE, 0, &error) : NULL;
    if (records == NULL) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    unlink(path);
    for (uint64_t i = 0; i < RECORDS; i++)
        records[i].key = i * 7;
    unsigned wrong = search(records);
    qy_file_stat(file, &stat);
    printf("%zu KiB of records, %llu KiB of them in memory\n", bytes >> 10,
           (unsigned long long)stat.pages * 4);
    int closed = qy_file_close(file); /* what was counted is written back; the area stays */
    uint64_t hits = count_hits(fd);
    printf("%u searches, %u wrong; %llu hits were counted, in the file\n", SEARCHES, wrong,
           (unsigned long long)hits);
    closed |= qy_space_destroy(space);
    qy_linux_mm_destroy(mm);
    return wrong == 0 && closed == 0 && hits == SEARCHES / 10 ? 0 : 1;
}
