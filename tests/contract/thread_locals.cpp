/*
 * If this failed: C++ thread_local objects that own memory would crash or leak when threads end,
 * because the allocator had already packed up for that thread.
 */
#include "contract.h"
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

static std::atomic<int> destroyed;

struct owner {
    std::vector<std::string> names;
    std::unique_ptr<char[]> large;

    void use(int n)
    {
        for (int i = 0; i < n % 50 + 1; i++)
            names.push_back("a name that does not fit into the string itself " + std::to_string(i));
        large.reset(new char[static_cast<size_t>(n % 7) * 100000 + 1]);
    }

    ~owner()
    {
        /* Allocates, grows and frees while the thread is ending. */
        std::vector<std::string> copy = names;
        for (int i = 0; i < 200; i++)
            copy.push_back("another name that does not fit either " + std::to_string(i));
        for (size_t i = 0; i < names.size(); i++)
            EXPECT(copy[i] == names[i], "name %zu kept until the destructor", i);
        large.reset(new char[300000]);
        destroyed++;
    }
};

static thread_local owner early;
static thread_local owner later;

int main()
{
    const int threads = 300;
    deadline(60);
    for (int n = 0; n < threads; n += 3) {
        std::thread group[3];
        for (int i = 0; i < 3; i++)
            group[i] = std::thread([n, i] {
                early.use(n + i);
                free(malloc(10));
                later.use(n + i + 3);
            });
        for (std::thread &one : group)
            one.join();
    }
    EXPECT(destroyed == 2 * threads, "%d destructors to have run, came %d", 2 * threads,
           destroyed.load());
    early.use(5);
    return 0;
}
