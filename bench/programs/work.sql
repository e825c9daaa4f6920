-- SQLite at work, in memory: fill, index, join, group, update, delete, check. Prints sums.
PRAGMA temp_store = memory;
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, price REAL, note TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
INSERT INTO item SELECT i, 'item' || (i * 7919 % 150000), i * 31 % 97, i % 1000 / 7.0,
    substr('a note that is longer than the name, and of some length or other', 1, i % 60) FROM n;
COMMIT;
CREATE INDEX item_name ON item (name);
CREATE INDEX item_kind ON item (kind, price);
SELECT count(*), sum(length(a.note)) FROM item a JOIN item b ON b.name = 'item' || a.id WHERE a.kind < 40;
SELECT count(*) FROM (SELECT kind, group_concat(name, '|') FROM item GROUP BY kind ORDER BY 2);
UPDATE item SET note = note || upper(name) WHERE kind % 3 = 0;
DELETE FROM item WHERE kind % 5 = 1;
SELECT count(*), sum(length(note)) FROM item WHERE name LIKE '%99%' OR price > 100;
SELECT count(DISTINCT substr(note, 1, 20)) FROM item;
PRAGMA integrity_check;
