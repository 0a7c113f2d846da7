// Runs the component that was built in a server, against a small one that answers it: `obelisk build`, then `npm test`.

import assert from "node:assert";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";

const FETCH = "template-http:activity/http-activity-ifc.fetch";
const made = mkdtempSync(join(tmpdir(), "obelisk-"));
const pages = createServer((request, response) => {
  const [status, body] = { "/": [200, "hello"], "/large": [200, "x".repeat(100000)] }[request.url] ?? [404, "not here"];
  response.writeHead(status).end(body);
});
let server, page, api;

before(async () => {
  pages.listen(0, "127.0.0.1");
  await once(pages, "listening");
  page = `http://127.0.0.1:${pages.address().port}`;
  const own = { OBELISK__API__LISTENING_ADDR: "127.0.0.1:0", OBELISK__SQLITE__DIRECTORY: join(made, "db") };
  server = spawn("obelisk", ["server", "run"], { env: { ...process.env, ...own }, stdio: ["ignore", "pipe", "inherit"] });
  let written = "";
  for await (const piece of server.stdout.iterator({ destroyOnReturn: false })) {
    written += piece;
    const found = /Serving gRPC requests at (.*)\n/.exec(written);
    if (found) {
      api = `http://${found[1]}`;
      break;
    }
  }
  server.stdout.resume();
});

after(async () => {
  pages.close();
  pages.closeAllConnections();
  server.kill();
  await once(server, "exit");
  rmSync(made, { recursive: true });
});

async function fetched(url) {
  const command = ["execution", "submit", "--json", "--follow", FETCH, JSON.stringify([url])];
  const env = { ...process.env, OBELISK_API_URL: api };
  const submitted = spawn("obelisk", command, { env, stdio: ["ignore", "pipe", "inherit"] });
  let written = "";
  for await (const piece of submitted.stdout) written += piece;
  return JSON.parse(written);
}

test("a page", async () => {
  assert.deepStrictEqual(await fetched(`${page}/`), { ok: { status: 200, body: "hello" } });
});

test("a status is no error", async () => {
  assert.deepStrictEqual(await fetched(`${page}/nowhere?x=1`), { ok: { status: 404, body: "not here" } });
});

test("a long body is cut", async () => {
  assert.strictEqual((await fetched(`${page}/large`)).ok.body, "x".repeat(65536));
});

test("what obelisk.toml does not allow is an error", async () => {
  assert.match((await fetched("http://192.0.2.1/")).err, /^GET http:\/\/192.0.2.1\/: /);
});
