"""Python at work: records as dicts, to JSON text and back, indexed, sorted, joined. Prints a digest of the result."""
import hashlib
import json
import random
import sys

random.seed(7)
digest = hashlib.sha256()
for turn in range(int(sys.argv[1])):
    records = [{"id": i, "name": "user%d" % random.randrange(5000), "tags": ["t%d" % (i % k) for k in range(2, 8)],
                "score": random.random(), "address": {"street": "s" * (i % 40), "zip": str(i)}} for i in range(8000)]
    back = json.loads(json.dumps(records))
    by_name = {}
    for record in back:
        by_name.setdefault(record["name"], []).append(record)
    text = "\n".join("%s %d %.3f" % (name, len(rs), sum(r["score"] for r in rs))
                     for name, rs in sorted(by_name.items()))
    digest.update(text.upper().encode())
print(digest.hexdigest())
