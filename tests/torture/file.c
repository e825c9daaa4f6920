/*
 * file.c - cached files that all actors share: 16 pages in a row are the same actor's, who alone
 *          writes them; of two files, all read all. They are read by pointers as well, and those
 *          that nobody else reads are written by them.
 *
 * Only who cuts a file, or makes it longer, has it to himself.
 */
#include "store.h"
#include "torture.h"

#include <quarry/buddy.h>
#include <quarry/space.h>

#include <errno.h>
#include <pthread.h>

#define FILES 4
#define GROUP 16u
#define PINS 6

struct file {
    struct qy_file *file;
    struct store store;
    pthread_rwlock_t lock;      /* to write: the one who changes the length */
    bool shared;                /* read by others than who wrote */
    uint64_t key[STORE_PAGES];  /* its owner's */
    uint16_t zero[STORE_PAGES]; /* its owner's: so many bytes at the end are zero */
    bool torn[STORE_PAGES]; /* its owner's: a pointer wrote some of it, and was refused the rest */
    char *at;               /* all of it, by a pointer */
};

struct pin {
    struct file *file; /* NULL: none */
    unsigned page;
    void *at;
};

struct files {
    struct pin pin[PINS];
    uint64_t buffer[GROUP * PAGE / 8];
};

static struct file files[FILES];
static struct qy_space *space;

/** The port's read and write are libc's: the thread sanitizer would see write-back read a page
 *  that is pinned to be written, which is as it is meant. */
#ifdef __SANITIZE_THREAD__
#define WRITES_IN_PLACE false
#else
#define WRITES_IN_PLACE true
#endif

/** All of it is there once: what the cache itself needs has its final size then. */
static void write_all(struct file *file)
{
    static uint64_t buffer[PAGE / 8];
    for (unsigned i = 0; i <= STORE_PAGES; i++) { /* the first page once more, all being there */
        unsigned page = i % STORE_PAGES;
        file->key[page] = (uint64_t)page << 8 | 1;
        file->zero[page] = 0;
        fill(buffer, PAGE, file->key[page]);
        if (qy_file_write(file->file, buffer, PAGE, (uint64_t)page * PAGE) != PAGE)
            test_fail("a file is not written before all began");
    }
}

static void prepare(void)
{
    static const char *const names[FILES] = {"torture-a", "torture-b", "torture-c", "torture-d"};
    catch_faults();
    space = qy_space_create(world.mm, "torture-files", GIB, NULL);
    if (space == NULL)
        test_fail("no space for files");
    for (unsigned i = 0; i < FILES; i++) {
        struct file *file = &files[i];
        file->shared = i % 2 == 0;
        pthread_rwlock_init(&file->lock, NULL);
        file->file = store_open(&file->store, world.mm, names[i], i >= 2);
        write_all(file);
        file->at = qy_space_map_file(space, file->file, 0, STORE_BYTES, QY_PROT_WRITE, 0, NULL);
        if (file->at == NULL)
            test_fail("a file has no area before all began");
        file->store.fails = i >= 2;
    }
}

static void begin(struct actor *actor)
{
    actor->own[3] = calloc(1, sizeof(struct files));
}

static bool is_allowed(const struct file *file, int64_t code)
{
    return code == -ENOMEM || (code == -EIO && file->store.bytes != NULL);
}

/** The first bytes of a page of the caller's. */
static void verify_page(const struct file *file, unsigned page, const void *at, size_t bytes,
                        const char *what)
{
    if (file->torn[page])
        return;
    size_t full = PAGE - file->zero[page];
    size_t head = bytes < full ? bytes : full;
    verify(at, head & ~(size_t)7, file->key[page], what);
    if (bytes > full)
        verify((const char *)at + full, (bytes - full) & ~(size_t)7, 0, what);
}

/** A page that another wrote as a whole, and perhaps was cut: no two keys meet in it. */
static void verify_others(const uint64_t *words, size_t bytes)
{
    uint64_t key = words[0];
    size_t same = differs(words, bytes & ~(size_t)7, key) / 8;
    for (size_t i = same; i < bytes / 8; i++)
        if (words[i] != 0)
            test_fail("a page of key %llx has %llx at word %zu", (unsigned long long)key,
                      (unsigned long long)words[i], i);
}

/* ---- steps: the file's lock is held ---- */

static bool read_pages(struct actor *actor, struct file *file, unsigned page, unsigned count,
                       bool own)
{
    struct files *mine = actor->own[3];
    doing(actor, "file_read");
    int64_t got =
        qy_file_read(file->file, mine->buffer, (size_t)count * PAGE, (uint64_t)page * PAGE);
    if (got < 0 && !is_allowed(file, got))
        test_fail("qy_file_read: %lld", (long long)got);
    for (unsigned i = 0; (int64_t)i * PAGE < got; i++) {
        size_t left = (size_t)got - (size_t)i * PAGE, bytes = left < PAGE ? left : PAGE;
        if (own)
            verify_page(file, page + i, mine->buffer + i * (PAGE / 8), bytes, "page of a file");
        else
            verify_others(mine->buffer + i * (PAGE / 8), bytes);
    }
    return got >= 0;
}

static bool write_pages(struct actor *actor, struct file *file, unsigned page, unsigned count)
{
    struct files *mine = actor->own[3];
    uint64_t key[GROUP];
    for (unsigned i = 0; i < count; i++) {
        key[i] = new_key(actor);
        fill(mine->buffer + i * (PAGE / 8), PAGE, key[i]);
    }
    doing(actor, "file_write");
    int64_t put =
        qy_file_write(file->file, mine->buffer, (size_t)count * PAGE, (uint64_t)page * PAGE);
    if (put < 0 ? !is_allowed(file, put) : put % PAGE != 0)
        test_fail("qy_file_write: %lld", (long long)put);
    for (unsigned i = 0; (int64_t)i * PAGE < put; i++) {
        file->key[page + i] = key[i];
        file->zero[page + i] = 0;
        file->torn[page + i] = false;
    }
    return put > 0;
}

/** The end of a page, which is as it was: a page that is not in memory has to be read first. */
static bool write_part(struct actor *actor, struct file *file, unsigned page)
{
    struct files *mine = actor->own[3];
    size_t from = random_below(&actor->random, PAGE / 8) * 8;
    if (file->key[page] == 0 || file->zero[page] != 0 || file->torn[page])
        return write_pages(actor, file, page, 1);
    fill(mine->buffer, PAGE, file->key[page]);
    doing(actor, "file_write of a part");
    int64_t put = qy_file_write(file->file, (char *)mine->buffer + from, PAGE - from,
                                (uint64_t)page * PAGE + from);
    if (put < 0 ? !is_allowed(file, put) : (size_t)put != PAGE - from)
        test_fail("qy_file_write of a part: %lld", (long long)put);
    return put > 0;
}

static bool pin(struct actor *actor, struct file *file, unsigned page, bool write)
{
    struct files *mine = actor->own[3];
    struct pin *pin = &mine->pin[random_below(&actor->random, PINS)];
    int code;
    if (pin->file != NULL)
        return true;
    write &= !file->shared && WRITES_IN_PLACE;
    doing(actor, write ? "file_pin to write" : "file_pin");
    char *at = qy_file_pin(file->file, page, write, &code);
    if (at == NULL && code != -EINVAL && code != -EBUSY && !is_allowed(file, code))
        test_fail("qy_file_pin: %d", code);
    if (at == NULL)
        return false;
    verify_page(file, page, at, PAGE, "pinned page of a file");
    if (write) {
        /* Behind the end of a file that was cut in this page nothing is kept. */
        file->key[page] = file->zero[page] == 0 ? new_key(actor) : file->key[page];
        file->torn[page] &= file->zero[page] != 0;
        fill(at, PAGE - file->zero[page], file->key[page]);
    }
    *pin = (struct pin){file, page, at};
    return true;
}

static void unpin(struct actor *actor, struct pin *pin)
{
    verify_page(pin->file, pin->page, pin->at, PAGE, "page that was pinned");
    doing(actor, "file_unpin");
    if (qy_file_unpin(pin->file->file, pin->page) != 0)
        test_fail("a pinned page of a file is not unpinned");
    pin->file = NULL;
}

/* ---- by pointers ---- */

static bool point_at(struct actor *actor, struct file *file, unsigned page)
{
    bool write = !file->shared && random_one_in(&actor->random, 2);
    char *at = file->at + (size_t)page * PAGE;
    if (((uint64_t)page + 1) * PAGE > qy_file_bytes(file->file) || file->zero[page] != 0)
        return true;
    if (file->torn[page] && !write)
        return true;
    uint64_t key = write ? new_key(actor) : file->key[page];
    doing(actor, write ? "write to a file by a pointer" : "read of a file by a pointer");
    bool done = touch_page(at, key, write, "page of a file by a pointer");
    if (write) {
        file->key[page] = key;
        file->torn[page] = !done;
    }
    return done;
}

/** For a short time, as for a system call. */
static bool pin_at(struct actor *actor, struct file *file, unsigned page)
{
    qy_pfn_t pfn;
    char *at = file->at + (size_t)page * PAGE;
    doing(actor, "pin of a file's page in an area");
    int code = qy_space_pin(space, at, PAGE, QY_PIN_SHORT, &pfn);
    if (code != 0 && code != -EFAULT && code != -EBUSY && !is_allowed(file, code))
        test_fail("qy_space_pin of a file: %d", code);
    if (code != 0)
        return false;
    verify_page(file, page, qy_page_address(world.mm, pfn), PAGE - file->zero[page],
                "pinned page of a file in an area");
    if (qy_space_translate(space, at) != pfn)
        test_fail("a pinned page of a file has another frame");
    if (qy_space_unpin(space, at, PAGE) != 0)
        test_fail("a pinned page of a file is not unpinned");
    return true;
}

/** Another area, for a moment. */
static bool map_part(struct actor *actor, struct file *file, unsigned page, unsigned count)
{
    doing(actor, "map of a file");
    struct qy_error error = {0};
    char *at = qy_space_map_file(space, file->file, (uint64_t)page * PAGE, (size_t)count * PAGE,
                                 QY_PROT_READ, 0, &error);
    if (at == NULL && error.code != -ENOMEM)
        test_fail("qy_space_map_file: %s", error.text);
    if (at == NULL)
        return false;
    if (((uint64_t)page + 1) * PAGE <= qy_file_bytes(file->file) && file->zero[page] == 0 &&
        !file->torn[page])
        touch_page(at, file->key[page], false, "page of a file in another area");
    doing(actor, "unmap of a file");
    int code;
    while ((code = qy_space_unmap(space, at, (size_t)count * PAGE)) != 0)
        if (code != -ENOMEM)
            test_fail("qy_space_unmap of a file: %d", code);
    return true;
}

static bool sync(struct actor *actor, struct file *file)
{
    doing(actor, "file_sync");
    int code = qy_file_sync(file->file);
    if (code != 0 && !is_allowed(file, code))
        test_fail("qy_file_sync: %d", code);
    return code == 0;
}

/** Alone with the file. */
static bool cut(struct actor *actor, struct file *file)
{
    uint64_t bytes = random_below(&actor->random, STORE_PAGES * (PAGE / 8)) * 8;
    uint64_t before = qy_file_bytes(file->file);
    doing(actor, "file_truncate");
    int code = qy_file_truncate(file->file, bytes);
    if (code != 0 && code != -EBUSY && !is_allowed(file, code))
        test_fail("qy_file_truncate: %d", code);
    if (qy_file_bytes(file->file) != (code == 0 ? bytes : before))
        test_fail("a file is of another length than it was cut to");
    if (code != 0)
        return false;
    for (uint64_t page = bytes / PAGE; page < STORE_PAGES && bytes < before; page++) {
        uint64_t start = page * PAGE;
        uint16_t zero = start >= bytes ? PAGE : (uint16_t)(start + PAGE - bytes);
        file->zero[page] = zero > file->zero[page] ? zero : file->zero[page];
        file->key[page] = file->zero[page] == PAGE ? 0 : file->key[page];
        file->torn[page] &= file->zero[page] != PAGE;
    }
    return true;
}

/** Shorter and longer, and what is on both sides of the ends. Alone with the file. */
static bool cut_twice(struct actor *actor, struct file *file)
{
    bool done = true;
    for (unsigned i = 0; i < 2 && done; i++) {
        done = cut(actor, file);
        uint64_t page = qy_file_bytes(file->file) / PAGE;
        page = page < STORE_PAGES - GROUP ? page : STORE_PAGES - GROUP;
        done &= read_pages(actor, file, (unsigned)page, GROUP, true);
        page = random_below(&actor->random, STORE_PAGES - GROUP);
        done &= read_pages(actor, file, (unsigned)page, GROUP, true);
    }
    return done;
}

/* ---- which of them ---- */

static bool step_shared(struct actor *actor, struct file *file, unsigned page, unsigned count)
{
    switch (random_below(&actor->random, 64)) {
    case 0:
        return sync(actor, file);
    case 1:
        doing(actor, "file_drop");
        qy_file_drop(file->file);
        return true;
    case 2:
        doing(actor, "reclaim");
        qy_reclaim(world.mm, random_below(&actor->random, 256));
        return true;
    case 3 ... 7:
        return pin(actor, file, page, random_one_in(&actor->random, 2));
    case 8 ... 9:
        return file->shared || write_part(actor, file, page);
    case 10:
        return pin_at(actor, file, page);
    case 11:
        return map_part(actor, file, page, count);
    case 12 ... 21:
        return point_at(actor, file, page);
    case 22 ... 27:
        return write_pages(actor, file, page, count);
    case 28 ... 40:
        page = (unsigned)random_below(&actor->random, STORE_PAGES - GROUP);
        return !file->shared || read_pages(actor, file, page, count, false);
    default:
        return read_pages(actor, file, page, count, true);
    }
}

static bool step(struct actor *actor)
{
    struct files *mine = actor->own[3];
    struct file *file = &files[random_below(&actor->random, FILES)];
    struct pin *pin = &mine->pin[random_below(&actor->random, PINS)];
    unsigned group = (unsigned)random_below(&actor->random, STORE_PAGES / GROUP / ACTORS);
    unsigned in_group = (unsigned)random_below(&actor->random, GROUP);
    unsigned page = (group * ACTORS + actor->number) * GROUP + in_group;
    bool done = true;
    if (pin->file != NULL && random_one_in(&actor->random, 16))
        unpin(actor, pin);
    if (random_one_in(&actor->random, 64) && pthread_rwlock_trywrlock(&file->lock) == 0)
        done = cut_twice(actor, file);
    else if (pthread_rwlock_rdlock(&file->lock) == 0)
        done = step_shared(actor, file, page,
                           1 + (unsigned)random_below(&actor->random, GROUP - in_group));
    pthread_rwlock_unlock(&file->lock);
    return done;
}

static void end(struct actor *actor)
{
    struct files *mine = actor->own[3];
    for (unsigned i = 0; i < PINS; i++)
        if (mine->pin[i].file != NULL)
            unpin(actor, &mine->pin[i]);
    free(mine);
}

/** The files are closed before their areas go. */
static void close_all(void)
{
    for (unsigned i = 0; i < FILES; i++) {
        struct file *file = &files[i];
        file->store.fails = false;
        int first = qy_file_sync(file->file); /* may tell of an error that was */
        int second = qy_file_sync(file->file);
        if ((first != 0 && !is_allowed(file, first)) || second != 0)
            test_fail("file %u is not synced: %d, %d", i, first, second);
        int code = qy_file_close(file->file);
        if (code != 0)
            test_fail("file %u is not closed: %d", i, code);
    }
    if (qy_space_destroy(space) != 0)
        test_fail("the space of the files is not destroyed");
}

/** What was written is where it belongs. */
static void finish(void)
{
    static uint64_t buffer[PAGE / 8];
    close_all();
    for (unsigned i = 0; i < FILES; i++) {
        struct file *file = &files[i];
        for (unsigned page = 0; page < STORE_PAGES; page++) {
            store_peek(&file->store, (uint64_t)page * PAGE, buffer, PAGE);
            verify_page(file, page, buffer, PAGE, "page that was written back");
            file->torn[page] = false;
        }
        store_remove(&file->store);
        pthread_rwlock_destroy(&file->lock);
    }
}

const struct kind file_kind = {"file", 30, prepare, begin, step, end, finish};
