// workers.js - workers, the pool of threads, a child, timers.
//
// SPDX-License-Identifier: Apache-2.0
const { Worker } = require("worker_threads");
const zlib = require("zlib"), child = require("child_process"), crypto = require("crypto");
const code = n => `require('worker_threads').parentPort.postMessage([...'x'.repeat(${n})].length)`;
const work = n => new Promise(done => new Worker(code(n), { eval: true }).on("message", done));
(async () => {
	console.log(await Promise.all([1, 2, 3].map(i => work(i * 1000))));
	console.log(zlib.inflateSync(zlib.deflateSync(Buffer.alloc(300000, "ab"))).length);
	console.log(child.execSync("echo child").toString().trim());
	crypto.pbkdf2("p", "s", 20000, 32, "sha256", (e, key) => {
		console.log(key.toString("hex"));
		setTimeout(() => process.exit(0), 50);
	});
})();
