# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # awk's dollars; names shared with run
# cases.sh - the real programs: what each does, in a folder of its own
#
# "${on[@]}" before a command puts it on Quarry (or on nothing, for the system's malloc). What a
# case prints is compared, so times, paths and process ids are kept out of it.

all_programs='python_dict python_list python_json python_threading python_work sqlite redis
compile_c compile_cpp clang git perl node forks bash tar_xz find_sort awk'

needs_of() {
    case $1 in
    python_*) echo python3 ;;
    sqlite) echo sqlite3 ;;
    redis) echo redis-server redis-benchmark redis-cli ;;
    clang) echo clang ;;
    git | perl | node) echo "$1" ;;
    tar_xz) echo tar xz ;;
    compile_c) echo "$CC" ;;
    compile_cpp) echo "$CXX" ;;
    esac
}

# Numbers that look random and are the same each time: 300,000 lines.
make_input() {
    awk 'BEGIN { x = 1; for (i = 0; i < 300000; i++) { x = (x * 1103515245 + 12345) % 2147483648;
        printf "%d key%d %s\n", x, x % 5000, substr("abcdefghijklmnopqrstuvwxyz", x % 20 + 1, x % 7) } }' \
        >"$build/input/lines"
    "$CC" -O1 -pthread "$here/forks.c" -o "$build/input/forks"
}

# The system's own python3 has the modules of Debian's test-suite package.
python=/usr/bin/python3
[ -x $python ] || python=python3

python_tests() {
    local status
    "${on[@]}" "$python" -m unittest -q "test.$1" >out 2>err
    status=$?
    grep -E '^(Ran|OK|FAILED|ERROR|FAIL)' err | sed 's/ in [0-9.]*s//'
    cat err >&2
    return $status
}

case_python_dict() { python_tests test_dict; }
case_python_list() { python_tests test_list; }
case_python_json() { python_tests test_json; }
case_python_threading() { python_tests test_threading; }

case_python_work() {
    "${on[@]}" "$python" - "$build/input/lines" <<'PYTHON'
import collections, concurrent.futures, hashlib, json, multiprocessing, re, sys, zlib

text = open(sys.argv[1]).read()
words = collections.defaultdict(list)
for line in text.splitlines():
    number, key, tail = (line.split() + [""])[:3]
    words[key].append((int(number), tail))
print(len(words), sum(len(v) for v in words.values()))
blob = json.dumps(words, sort_keys=True)
assert {k: [tuple(e) for e in v] for k, v in json.loads(blob).items()} == words
print(hashlib.sha256(blob.encode()).hexdigest(), len(zlib.compress(blob.encode())))

def longest(part):
    return max((len(m) for m in re.findall(r"[a-z]+", text[part::16])), default=0)

with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(list(pool.map(longest, range(16))))
    with multiprocessing.get_context("fork").Pool(3) as processes:
        print(processes.map(str.upper, ["forked", "while", "threads", "live"] * 50)[:4])
big = bytearray()
for i in range(2000):
    big += bytes([i % 256]) * 4096
print(hashlib.md5(big).hexdigest())
PYTHON
}

case_sqlite() {
    "${on[@]}" sqlite3 work.db <<'SQL'
PRAGMA journal_mode = WAL;
PRAGMA cache_size = -8000;
CREATE TABLE item(id INTEGER PRIMARY KEY, key TEXT, body TEXT, n INTEGER);
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60000)
INSERT INTO item SELECT i, 'key' || (i * 7919 % 60000), printf('%.*c', i % 400, 'x'), i % 97 FROM c;
CREATE INDEX by_key ON item(key);
CREATE INDEX by_n ON item(n, key);
DELETE FROM item WHERE n IN (3, 14, 15, 92, 65);
UPDATE item SET body = body || key WHERE n % 5 = 0;
SELECT count(*), sum(length(body)), min(key), max(key) FROM item;
SELECT n, count(*), group_concat(substr(key, 1, 5)) FROM item WHERE id < 3000 GROUP BY n ORDER BY n LIMIT 5;
SELECT count(*) FROM item a JOIN item b ON a.key = b.key WHERE a.n = b.n;
CREATE VIRTUAL TABLE words USING fts5(body);
INSERT INTO words SELECT key || ' ' || n FROM item;
SELECT count(*) FROM words WHERE words MATCH '42';
VACUUM;
REINDEX;
PRAGMA integrity_check;
SQL
}

wait_for_redis() {
    for _ in $(seq 100); do
        redis-cli -s "$1" ping 2>/dev/null | grep -q PONG && return 0
        sleep 0.1
    done
    return 1
}

# On a socket of its own, so that no other server and no port is touched.
case_redis() {
    local socket server status
    socket=$(mktemp -u /tmp/quarry-redis-XXXXXX)
    "${on[@]}" redis-server --port 0 --unixsocket "$socket" --save '' --appendonly no \
        --dir . --enable-debug-command local >server.log 2>&1 &
    server=$!
    wait_for_redis "$socket" || { cat server.log >&2; kill $server; return 1; }
    redis-benchmark -s "$socket" -q -n 20000 -r 5000 -d 200 -P 8 \
        -t set,get,incr,lpush,lpop,sadd,hset,spop,zadd,lrange_100,mset >bench.log 2>&1 || return 1
    # Times and random keys differ from run to run; what a script computes does not.
    redis-cli -s "$socket" flushall
    redis-cli -s "$socket" eval "for i = 1, 20000 do redis.call('hset', 'h' .. i % 100, i, string.rep('v', i % 300)) end
        for i = 1, 20000, 3 do redis.call('hdel', 'h' .. i % 100, i) end
        local n = 0
        for i = 0, 99 do n = n + redis.call('hlen', 'h' .. i) end
        return n" 0
    redis-cli -s "$socket" bgsave >/dev/null
    while redis-cli -s "$socket" info persistence | grep -q 'rdb_bgsave_in_progress:1'; do sleep 0.1; done
    redis-cli -s "$socket" info persistence | grep -o 'rdb_last_bgsave_status:[a-z]*'
    redis-cli -s "$socket" memory purge
    redis-cli -s "$socket" debug digest
    redis-cli -s "$socket" shutdown nosave
    wait $server
    status=$?
    echo "server ended with $status"
    return $status
}

hash_of() { sha256sum "$@" | cut -c1-64; }

case_compile_c() {
    local source
    for source in "$root"/src/*/*.c "$here"/forks.c; do
        case $source in */base/* | */view/* | */forks.c) ;; *) continue ;; esac
        "${on[@]}" "$CC" -std=gnu11 -O2 -g -I"$root/include" -I"$root/src" -I"$root/port/linux" \
            -pthread -c "$source" -o unit.o 2>/dev/null
        echo "${source#"$root"/} $?"
        [ -e unit.o ] && hash_of unit.o
        rm -f unit.o
    done
    "${on[@]}" "$CC" -O2 -pthread "$here/forks.c" -o forks && hash_of forks
}

make_cpp() {
    cat <<'CPP'
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>
template <int n> struct chain { static long sum(std::map<int, std::string> &m) {
    m[n] = std::to_string(n); return n + chain<n - 1>::sum(m); } };
template <> struct chain<0> { static long sum(std::map<int, std::string> &) { return 0; } };
int main() {
    std::map<int, std::string> m;
    std::regex word("([a-z]+)([0-9]*)");
    std::unordered_map<std::string, std::vector<std::shared_ptr<std::function<int(int)>>>> table;
    for (int i = 0; i < 20000; i++)
        table["k" + std::to_string(i % 777)].push_back(std::make_shared<std::function<int(int)>>([i](int x) { return x + i; }));
    long total = chain<200>::sum(m);
    for (auto &e : table) for (auto &f : e.second) total += (*f)(1);
    std::ostringstream out;
    std::vector<std::thread> group;
    for (int i = 0; i < 4; i++) group.emplace_back([&word] { for (int j = 0; j < 300; j++) { std::smatch found; std::string s = "abc" + std::to_string(j); if (!std::regex_match(s, found, word)) abort(); } });
    for (auto &t : group) t.join();
    out << total << " " << m.size();
    std::cout << out.str() << "\n";
}
CPP
}

case_compile_cpp() {
    make_cpp >unit.cpp
    "${on[@]}" "$CXX" -std=c++17 -O2 -g -pthread -c unit.cpp -o unit.o || return
    hash_of unit.o
    "$CXX" -pthread unit.o -o unit && "${on[@]}" ./unit
}

case_clang() {
    make_cpp >unit.cpp
    "${on[@]}" clang++ -std=c++17 -O1 -pthread -c unit.cpp -o unit.o && hash_of unit.o
}

case_git() {
    export GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z' HOME=$PWD
    export GIT_CONFIG_NOSYSTEM=1
    git config --global user.name Tester
    git config --global user.email tester@example.org
    git config --global init.defaultBranch main
    "${on[@]}" git init -q tree && cd tree || return
    local n
    for n in 1 2 3 4 5; do
        split -l $((8000 + n)) -d -a 3 "$build/input/lines" part
        awk -v n=$n 'NR % (n + 3) == 0' "$build/input/lines" >some
        "${on[@]}" git add . && "${on[@]}" git commit -q -m "commit $n" || return
    done
    "${on[@]}" git branch side HEAD~2
    "${on[@]}" git checkout -q side && echo new >new && git add new && "${on[@]}" git commit -q -m side
    "${on[@]}" git merge -q --no-edit -s ours main || return
    "${on[@]}" git repack -adfq --depth=30 --window=30 || return
    "${on[@]}" git gc -q --prune=now || return
    "${on[@]}" git fsck --full --strict 2>&1
    "${on[@]}" git log --stat --oneline --all | sha256sum
    git rev-list --objects --all | sort | sha256sum
    "${on[@]}" git grep -c key42 HEAD -- some
    "${on[@]}" git archive HEAD | sha256sum
}

case_perl() {
    "${on[@]}" perl - "$build/input/lines" <<'PERL'
use strict;
use warnings;
my (%by_key, @all);
open my $in, '<', $ARGV[0] or die;
while (<$in>) {
    chomp;
    my ($number, $key, $tail) = split / /;
    push @{ $by_key{$key} }, { number => $number, tail => $tail // '' };
    push @all, $_ if $number % 3 == 0;
}
my $sum = 0;
for my $key (sort keys %by_key) {
    my @sorted = sort { $a->{number} <=> $b->{number} } @{ $by_key{$key} };
    $sum += $sorted[0]{number} + length join ',', map { $_->{tail} } @sorted;
}
print scalar(keys %by_key), " $sum ", scalar(@all), "\n";
my $text = join "\n", @all;
(my $changed = $text) =~ s/key(\d+)/<$1>/g;
print length($text), ' ', length($changed), ' ', unpack('%32C*', $changed), "\n";
delete $by_key{$_} for grep { /7/ } keys %by_key;
print scalar(keys %by_key), "\n";
for (1 .. 5) { my $pid = fork; if (!$pid) { my %copy = %by_key; exit(keys(%copy) == keys(%by_key) ? 0 : 1) } waitpid $pid, 0; print "$?\n" }
PERL
}

case_node() {
    "${on[@]}" node - "$build/input/lines" <<'JS'
const fs = require('fs'), crypto = require('crypto'), zlib = require('zlib');
const text = fs.readFileSync(process.argv[2], 'utf8');
const table = new Map();
for (const line of text.split('\n')) {
    const [number, key, tail] = line.split(' ');
    if (!table.has(key)) table.set(key, []);
    table.get(key).push({ number: Number(number), tail });
}
const json = JSON.stringify([...table]);
console.log(table.size, crypto.createHash('sha256').update(json).digest('hex'));
const packed = zlib.gzipSync(json);
console.log(zlib.gunzipSync(packed).length === Buffer.byteLength(json));
let buffers = [];
for (let i = 0; i < 3000; i++) { buffers.push(Buffer.alloc(i * 37 % 100000, i)); if (i % 3 == 0) buffers.splice(i % buffers.length, 1); }
console.log(buffers.reduce((sum, b) => sum + b.length + (b[0] || 0), 0));
const { Worker } = require('worker_threads');
let left = 3;
for (let i = 0; i < 3; i++)
    new Worker('const { parentPort } = require("worker_threads"); let a = []; for (let i = 0; i < 100000; i++) a.push({ i }); parentPort.postMessage(a.length)', { eval: true })
        .on('message', n => { left--; if (left === 0) console.log('workers', n); });
JS
}

case_forks() { "${on[@]}" "$build/input/forks"; }

case_bash() {
    "${on[@]}" bash -c '
        declare -A seen
        while read -r number key tail; do
            seen[$key]+="$tail,"
            (( ++lines == 20000 )) && break
        done <"$1"
        total=0
        for key in "${!seen[@]}"; do text=${seen[$key]}; (( total += ${#text} )); done
        echo "${#seen[@]} $total"
        for i in $(seq 60); do
            part=$( (echo "$i"; seq "$i") | tail -n 1)
            array+=("$part${array[-1]:-}")
        done
        echo "${#array[@]} ${#array[-1]}"
        long=$(printf "%0.sx" $(seq 20000)); long=$long$long$long
        echo "${long//x/yz}" | cksum
        f() { local n=$1; (( n <= 1 )) && { echo 1; return; }; echo $(( n * $(f $((n - 1))) )); }
        f 15
    ' bash "$build/input/lines"
}

case_tar_xz() {
    mkdir many && split -l 1000 -d -a 4 "$build/input/lines" many/part
    "${on[@]}" tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf many.tar many || return
    hash_of many.tar
    "${on[@]}" xz -T2 -4 -k --block-size=1MiB many.tar && hash_of many.tar.xz
    mkdir out && "${on[@]}" tar -C out -xJf many.tar.xz && cat out/many/* | sha256sum
    "${on[@]}" gzip -9 -n -c many.tar | sha256sum
}

case_find_sort() {
    "${on[@]}" find "$root/src" "$root/tests" /usr/include -type f -name '*.h' -size -200k 2>/dev/null |
        "${on[@]}" sort >list
    "${on[@]}" wc -l <list
    "${on[@]}" xargs grep -l 'define' <list | sort | sha256sum
    "${on[@]}" sort -n --parallel=2 -S 8M -T . "$build/input/lines" | sha256sum
    "${on[@]}" sort -u -k2,2 --parallel=4 -S 40M "$build/input/lines" | cut -d' ' -f2 | sha256sum
    "${on[@]}" grep -E -c '(key[0-9]*7 ).*[xyz]$' "$build/input/lines"
    "${on[@]}" sed -E 's/key([0-9])([0-9]*)/\2-\1/g' "$build/input/lines" | "${on[@]}" tac | sha256sum
    "${on[@]}" diff <(sort "$build/input/lines" | head -3000) <(head -3000 "$build/input/lines") | sha256sum
}

case_awk() {
    "${on[@]}" awk '{ count[$2]++; text[$2] = text[$2] $3; if (length(text[$2]) > 200) text[$2] = "" }
        END { for (k in count) { n += count[k]; l += length(text[k]) } print n, l, length(count);
              for (i = 0; i < 50000; i++) s = s "x"; gsub(/xx/, "y", s); print length(s) }' "$build/input/lines"
}
