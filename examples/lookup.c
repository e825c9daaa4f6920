/*
 * lookup.c - a file that is larger than the memory for it, looked up by a pointer
 *
 * A million records lie in a file, sorted. The program searches them as an array that it holds a
 * pointer to; which pages of it are in memory is Quarry's business: as many as 8 MiB have room for
 * beside the program's other objects, and those that searches come to most often. Every tenth
 * search counts a hit in the record itself; what was counted is in the file in the end.
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

#define MIB (UINT64_C(1) << 20)
#define LIMIT (8 * MIB)
#define RECORDS UINT64_C(1000000)
#define SEARCHES 100000U
#define BATCH 1000U

struct record {
    uint64_t key, hits;
};

static bool write_records(int fd)
{
    static struct record records[BATCH];
    for (uint64_t i = 0; i < RECORDS; i += BATCH) {
        for (uint64_t j = 0; j < BATCH; j++)
            records[j] = (struct record){.key = (i + j) * 7};
        if (write(fd, records, sizeof(records)) != (ssize_t)sizeof(records))
            return false;
    }
    return true;
}

static struct record *find(struct record *records, uint64_t key)
{
    uint64_t low = 0, high = RECORDS;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
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
        uint64_t often = i % 64 != 0; /* a sixteenth of the records is asked for most of the time */
        uint64_t key = (random >> 33) % (often ? RECORDS / 16 : RECORDS) * 7;
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
    for (uint64_t i = 0; i < RECORDS; i += BATCH)
        if (pread(fd, records, sizeof(records), (off_t)(i * sizeof(records[0]))) == sizeof(records))
            for (uint64_t j = 0; j < BATCH; j++)
                hits += records[j].hits;
    return hits;
}

int main(void)
{
    char path[] = "/tmp/quarry-lookup-XXXXXX";
    struct qy_linux_options options = {.limit_bytes = LIMIT, .shared = true};
    struct qy_error error = {.text = "no file for the records"};
    struct qy_file_stat stat;
    int fd = mkstemp(path);
    bool written = fd >= 0 && write_records(fd);
    struct qy_mm *mm = written ? qy_linux_mm_create(&options, &error) : NULL;
    struct qy_file *file = mm != NULL ? qy_linux_file_open(mm, path, O_RDWR, &error) : NULL;
    struct qy_space *space = file != NULL ? qy_space_create(mm, "lookup", 0, &error) : NULL;
    size_t bytes = RECORDS * sizeof(struct record);
    struct record *records =
        space != NULL ? qy_space_map_file(space, file, 0, bytes, QY_PROT_WRITE, 0, &error) : NULL;
    if (records == NULL) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    unlink(path);
    unsigned wrong = search(records);
    qy_file_stat(file, &stat);
    printf("%zu KiB of records, %llu KiB of them in memory\n", bytes >> 10,
           (unsigned long long)stat.pages * 4);
    int closed = qy_file_close(file); /* what was counted is written back; the area stays */
    uint64_t hits = count_hits(fd);
    printf("%u searches, %u wrong; %llu hits were counted, in the file\n", SEARCHES, wrong,
           (unsigned long long)hits);
    if (qy_space_destroy(space) != 0)
        return 1;
    qy_linux_mm_destroy(mm);
    close(fd);
    return wrong == 0 && closed == 0 && hits == SEARCHES / 10 ? 0 : 1;
}
