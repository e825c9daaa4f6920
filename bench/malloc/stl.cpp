/*
 * stl.cpp - the containers of C++
 *
 * Stands for C++ applications, through operator new and delete. map: a tree of integers to strings,
 * random insert and erase. hash: word counts in an unordered_map that grows from nothing and is
 * dropped. strings: vectors of strings of 1 .. 100 characters, built, sorted, copied and dropped.
 * list: a list spliced and pruned. Every element is written; most are read.
 *
 *   stl map|hash|strings|list OPS     an operation is one insertion
 */
#include "bench.h"

#include <algorithm>
#include <list>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

static uint64_t rng = 123456789;

static std::string word(uint64_t distinct)
{
    uint64_t id = rng_below(&rng, distinct);
    return std::string(1 + id * 37 % 100, char('a' + id % 26)) + std::to_string(id);
}

static uint64_t map_work(uint64_t ops)
{
    std::map<uint64_t, std::string> map;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < ops; i++) {
        map[rng_below(&rng, 200000)] = word(1000000);
        auto victim = map.lower_bound(rng_below(&rng, 200000));
        if (i % 2 && victim != map.end()) {
            sum += victim->second.size();
            map.erase(victim);
        }
    }
    return sum + map.size();
}

static uint64_t hash_work(uint64_t ops)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < ops;) {
        std::unordered_map<std::string, uint64_t> counts;
        for (uint64_t k = 0; k < 200000 && i < ops; k++, i++)
            counts[word(100000)]++;
        for (const auto &entry : counts)
            sum += entry.second * entry.first.size();
    }
    return sum;
}

static uint64_t strings_work(uint64_t ops)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < ops;) {
        std::vector<std::string> words;
        for (uint64_t k = 0; k < 20000 && i < ops; k++, i++)
            words.push_back(word(1000000));
        std::vector<std::string> sorted(words);
        std::sort(sorted.begin(), sorted.end());
        sum += sorted[sorted.size() / 2].size() + words[0].size();
    }
    return sum;
}

static uint64_t list_work(uint64_t ops)
{
    std::list<std::vector<int>> queue;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < ops; i++) {
        queue.emplace_back(1 + rng_below(&rng, 60), int(i));
        if (queue.size() > 50000) {
            auto middle = queue.begin();
            std::advance(middle, 100);
            sum += uint64_t(middle->front());
            queue.erase(queue.begin(), middle);
        }
    }
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t ops = arg_count(argc, argv, 2, 1000000);
    std::string which = argc > 1 ? argv[1] : "map";
    stopwatch start = stopwatch_start();
    uint64_t sum = which == "map"       ? map_work(ops)
                   : which == "hash"    ? hash_work(ops)
                   : which == "strings" ? strings_work(ops)
                                        : list_work(ops);
    report_ns("stl", start, ops, sum);
    return 0;
}
