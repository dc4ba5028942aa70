// node shoot.mjs PROMETHEUS END SECONDS WORKER OUT BOARD…: pictures of the built page, by Chromium.
import { execFileSync } from 'node:child_process';
import { readFile, mkdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { chromium } from 'playwright-core';

const [prometheus, end, seconds, worker, out, ...boards] = process.argv.slice(2);
const KINDS = { '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json', '.css': 'text/css', '.svg': 'image/svg+xml' };
const server = createServer(async (request, response) => {
  const path = normalize(new URL(request.url, 'http://x').pathname).replace(/\/$/, '/index.html');
  try {
    const body = await readFile(join('dist', path));
    response.writeHead(200, { 'Content-Type': KINDS[extname(path)] ?? 'application/octet-stream' }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const executablePath = process.env.CHROMIUM ?? execFileSync('sh', ['-c', 'command -v chromium chromium-browser google-chrome | head -1'], { encoding: 'utf8' }).trim();
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--force-color-profile=srgb'] });
await mkdir(out, { recursive: true });
let failed = false;
for (const board of boards) {
  const page = await browser.newPage({ viewport: { width: 1600, height: 900 } });
  page.on('pageerror', (error) => console.error(`${board}: ${error.message}`));
  const query = new URLSearchParams({ board, prometheus, end, seconds, worker });
  await page.goto(`http://127.0.0.1:${server.address().port}/index.html?${query}`);
  try {
    await page.waitForFunction(() => document.title.startsWith('Baton /') || document.title.startsWith('failed'), null, { timeout: 40000 });
    const title = await page.title();
    if (title.startsWith('failed')) throw new Error(title);
    await page.waitForTimeout(1500);
    await page.locator('#board').screenshot({ path: join(out, `${board}.png`), timeout: 10000 });
    console.log(`${join(out, board)}.png`);
  } catch (error) {
    failed = true;
    console.error(`${board}: ${error.message}`);
  }
  await page.close();
}
await browser.close();
server.close();
process.exit(failed ? 1 : 0);
