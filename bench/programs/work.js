// Node at work: buffers outside the JavaScript heap, compression, parsing. Prints a digest of the result.
const crypto = require('crypto');
const zlib = require('zlib');

const digest = crypto.createHash('sha256');
let state = 42;
const below = n => (state = (state * 48271) % 2147483647) % n;
for (let turn = 0; turn < Number(process.argv[2]); turn++) {
    const parts = [];
    for (let i = 0; i < 3000; i++)
        parts.push(Buffer.alloc(10000 + below(3000), 'v' + below(1000)));
    const records = parts.map((p, i) => ({ i, head: p.toString('latin1', 0, 40), n: p.length }));
    const packed = zlib.deflateSync(Buffer.concat(parts), { level: 1 });
    digest.update(zlib.inflateSync(packed)).update(JSON.stringify(JSON.parse(JSON.stringify(records))));
}
console.log(digest.digest('hex'));
