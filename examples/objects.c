/*
 * objects.c - objects that come constructed
 *
 * A server makes and ends sessions all day. Each has a mutex, and a mutex has to be initialised
 * once and is the same again after each life. So a constructor does it, when a slab is made,
 * and a session is given back as it was constructed: unlocked, and not connected. Constructors
 * run once an object's memory, not once a session (Bonwick 1994).
 *
 *     cc -pthread objects.c $(pkg-config --cflags --libs quarry)
 */
#include <quarry/linux.h>
#include <quarry/slab.h>
#include <quarry/view.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define SESSIONS 1000

struct session {
    pthread_mutex_t lock; /* constructed: initialised and unlocked */
    int socket;           /* constructed: -1, not connected */
    char request[200];    /* anything */
};

static unsigned constructed;

static void construct(void *object)
{
    struct session *session = object;
    pthread_mutex_init(&session->lock, NULL);
    session->socket = -1;
    constructed++;
}

/** A session's life. At its end it is as it was constructed. */
static void serve(struct session *session, int socket)
{
    pthread_mutex_lock(&session->lock);
    session->socket = socket;
    snprintf(session->request, sizeof(session->request), "GET /%d", socket);
    session->socket = -1;
    pthread_mutex_unlock(&session->lock);
}

/** Quarry's slabinfo, of which the lines about our own cache are shown. */
static void show(struct qy_mm *mm, const char *name)
{
    char buffer[16384];
    struct qy_text text = {buffer, sizeof(buffer), 0};
    qy_print_slabinfo(mm, &text);
    for (char *line = strtok(buffer, "\n"); line != NULL; line = strtok(NULL, "\n"))
        if (strncmp(line, name, strlen(name)) == 0)
            printf("%s\n", line);
}

int main(void)
{
    static struct session *sessions[SESSIONS];
    struct qy_error error;
    size_t live;

    struct qy_mm *mm = qy_linux_mm_create(NULL, &error);
    if (mm == NULL) {
        fprintf(stderr, "objects: %s\n", error.text);
        return 1;
    }
    struct qy_kmem_cache *cache =
        qy_kmem_cache_create(mm, "session", sizeof(struct session), 0, 0, construct, &error);
    if (cache == NULL) {
        fprintf(stderr, "objects: %s\n", error.text);
        return 1;
    }

    for (int day = 0; day < 100; day++) {
        if (qy_kmem_cache_alloc_bulk(cache, QY_GFP_KERNEL, SESSIONS, (void **)sessions) != 0)
            return 1;
        for (int i = 0; i < SESSIONS; i++)
            serve(sessions[i], i);
        qy_kmem_cache_free_bulk(cache, SESSIONS - 1, (void **)sessions);
        if (day < 99)
            qy_kmem_cache_free(cache, sessions[SESSIONS - 1]);
    }
    printf("%d sessions served, %u constructed\n", 100 * SESSIONS, constructed);
    show(mm, "session");

    /* One is still alive, so the cache stays and says how many there are. */
    if (qy_kmem_cache_destroy(cache, &live) != 0)
        printf("not destroyed: %zu alive, its last request was \"%s\"\n", live,
               sessions[SESSIONS - 1]->request);
    qy_kmem_cache_free(cache, sessions[SESSIONS - 1]);
    if (qy_kmem_cache_destroy(cache, NULL) != 0)
        return 1;
    qy_linux_mm_destroy(mm);
    return 0;
}
