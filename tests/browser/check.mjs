// The browser test of the dashboard; `run` says what it needs. One server, one receiver, one browser; ends with 1 and every
// finding if there is one.
import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const HOSTILE = "</pre><script>window.pwned=1</script><img src=x onerror='window.pwned=1'>{{7*7}}";
const findings = [];
const note = (text) => { findings.push(text); console.log(`  ✕ ${text}`); };

// A receiver whose endpoints take, refuse, or answer with what must stay text.
const receiver = createServer((request, response) => {
  request.resume().on("end", () => {
    response.statusCode = request.url === "/bad" ? 500 : 200;
    response.setHeader("X-Note", "<b>bold</b>");
    response.end(request.url === "/bad" ? HOSTILE : "ok");
  });
});
await new Promise((ready) => receiver.listen(0, "127.0.0.1", ready));
const endpoint = (path) => `http://127.0.0.1:${receiver.address().port}${path}`;

const folder = mkdtempSync(join(tmpdir(), "tempclock-browser-"));
const config = join(folder, "config.toml");
writeFileSync(config, `
[server]
listen = "127.0.0.1:0"
[storage]
data_dir = "${folder}/data"
free_space_reserve = "0B"
[delivery]
allow_http = true
allow_networks = ["127.0.0.0/8"]
retry_schedule = ["1h"]
[rate_limit]
management_per_minute = 0
`);
const server = spawn(process.env.PROGRAM, ["serve", "--config", config], { stdio: ["ignore", "ignore", "pipe"] });
const origin = await new Promise((found, failed) => {
  let said = "";
  server.stderr.on("data", (data) => {
    said += data;
    const match = said.match(/listening on (http:\/\/\S+)/);
    if (match) found(match[1]);
  });
  server.on("exit", () => failed(new Error(said)));
});
const cli = (...words) => JSON.parse(execFileSync(process.env.PROGRAM, [...words, "--json", "--config", config]));
const key = cli("keys", "create", "--name", "payroll", "--scopes", "*").data.key;
const api = async (method, path, body) => {
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
  const answer = await fetch(`${origin}/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
  return (await answer.json()).data;
};
const NAMES = ["Maria Garcia", "Deshawn Carter", "Linh Nguyen", "Zoë Keller", "Tomás Ortega", "Aisha Khan"];
const clockIn = (entry, name) => ({
  event: "clock_in",
  data: { entry_id: entry, worker_id: 440 + entry, worker_name: name, clock_in: "2026-03-02T08:00:00Z", location_id: 12 },
});
async function seed(hostile) {
  await api("POST", "/webhooks", { url: endpoint("/crm"), events: ["clock_in", "clock_out"], description: "Time sheets to the CRM" });
  await api("POST", "/webhooks", { url: endpoint("/bad"), events: ["clock_in"], description: "Payroll" });
  await api("POST", "/webhooks", { url: endpoint("/off"), events: ["*"], description: "Old ATS", active: false });
  for (const [number, name] of NAMES.entries()) await api("POST", "/events", clockIn(number + 1, name));
  if (hostile) await api("POST", "/events", clockIn(99, HOSTILE));
  // Every delivery that goes out was attempted.
  for (let tries = 0; tries < 300; tries++) {
    const all = await api("GET", "/deliveries?limit=100");
    if (all.length && all.every((delivery) => delivery.attempt_count > 0 || delivery.held)) return;
    await new Promise((later) => setTimeout(later, 100));
  }
  throw new Error("the deliveries were never attempted");
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });

/** A page that tells what a page must not do. */
async function open(options) {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "Europe/London", ...options });
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
    });
  });
  const page = await context.newPage();
  page.on("console", (message) => {
    // A page that is an error on purpose is told by the browser too.
    if (message.type() === "error" && !message.text().includes("status of 4")) note(`${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => note(`${page.url()}: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(origin)) note(`${page.url()} asks for ${request.url()}`);
  });
  return page;
}

async function signIn(page) {
  await page.goto(`${origin}/sign-in`);
  await page.getByLabel("API key").fill(key);
  await page.keyboard.press("Enter");
  await page.waitForURL(`${origin}/`);
}

async function picture(file) {
  await seed(false);
  const page = await open({ viewport: { width: 1100, height: 615 }, colorScheme: "light" });
  await signIn(page);
  await page.screenshot({ path: file });
}

const screens = async () => {
  const delivery = (await api("GET", "/deliveries?subscription=2&limit=1"))[0];
  return [
    "/", "/?range=7d", "/deliveries", "/deliveries?status=exhausted", "/deliveries?status=lost", `/deliveries/${delivery.id}`,
    "/deliveries/retry?status=exhausted", "/subscriptions", "/subscriptions/new", "/subscriptions/1", "/subscriptions/2",
    "/subscriptions/1/edit", "/subscriptions/1/verify", "/subscriptions/1/rotate", "/subscriptions/1/replay?from=2020-01-01", "/subscriptions/1/delete",
    "/events", `/events/${delivery.event_id}`, "/event-types", "/jobs", "/keys", "/audit", "/system", "/deliveries/dlv_1",
  ];
};

async function look(page, path, theme) {
  await page.goto(origin + path);
  for (const details of await page.locator("details").all()) await details.evaluate((one) => { one.open = true; });
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run({ resultTypes: ["violations"] }));
  for (const { id, impact, nodes } of violations) {
    if (["serious", "critical"].includes(impact)) note(`${theme} ${path}: ${id} (${impact}): ${nodes[0].html}`);
  }
  if (await page.evaluate(() => window.pwned)) note(`${path} has run what a receiver or publisher sent`);
  for (const width of [320, 768, 1440]) {
    await page.setViewportSize({ width, height: 900 });
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (over > 0) note(`${path} is ${over} px too wide at ${width}`);
    const name = `${path.replace(/[^a-z0-9]+/gi, "-").slice(0, 40)}-${theme}-${width}.png`;
    await page.screenshot({ path: join(here, "screenshots", name), fullPage: true });
  }
}

/** Walks with the Tab key through the page: each stop is seen to be there. */
async function walk(page, path) {
  await page.goto(origin + path);
  let stops = 0;
  for (; stops < 150; stops++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const here = document.activeElement;
      if (!here || here === document.body) return null;
      const style = getComputedStyle(here);
      const box = here.getBoundingClientRect();
      return { html: here.outerHTML.slice(0, 80), isSeen: style.outlineStyle !== "none" && box.width > 0, height: box.height };
    });
    if (!stop) break;
    if (!stop.isSeen) note(`${path}: the focus is not seen on ${stop.html}`);
    if (stop.height < 18) note(`${path}: ${stop.html} is ${stop.height} px high`);
  }
  if (stops < 5) note(`${path} has ${stops} stops only`);
}

async function flows() {
  const page = await open({ viewport: { width: 1280, height: 900 } });
  await page.goto(`${origin}/deliveries?status=held`);
  await page.getByLabel("API key").fill("tc_live_wrong");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").waitFor();
  await page.getByLabel("API key").fill(key);
  await page.keyboard.press("Enter");
  await page.waitForURL(`${origin}/deliveries?status=held`);
  const stored = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, document.cookie]));
  if (stored.includes("tc_live_")) note("the key is kept in the browser");
  // Live rows.
  await page.goto(`${origin}/deliveries`);
  await page.getByRole("button", { name: "Follow live" }).press("Enter");
  await page.getByText("Following live").waitFor({ state: "attached" });
  await api("POST", "/events", clockIn(200, "Live"));
  await page.locator("tr.new, tr[data-id]").first().waitFor();
  await page.waitForFunction(() => document.getElementById("said").textContent.includes("new attempts"), null, { timeout: 8000 });
  // A subscription, by keyboard alone.
  await page.goto(`${origin}/subscriptions/new`);
  await page.getByLabel("Endpoint").focus();
  await page.keyboard.type(endpoint("/new"));
  await page.locator("#events-clock_in").focus();
  await page.keyboard.press("Space");
  await page.getByRole("button", { name: "Create" }).focus();
  await page.keyboard.press("Enter");
  const secret = await page.locator("pre#secret").textContent();
  if (secret.length !== 64) note(`the secret is ${secret}`);
  await page.reload().catch(() => {});
  await page.goto(`${origin}/subscriptions`);
  if ((await page.content()).includes(secret)) note("the secret is shown twice");
  // A ping, and how it went.
  await page.goto(`${origin}/subscriptions/2`);
  await page.getByRole("button", { name: "Send a test ping" }).press("Enter");
  await page.getByText("answered 500").first().waitFor();
  // Rows by keys.
  await page.goto(`${origin}/deliveries`);
  await page.keyboard.press("j");
  if (!(await page.evaluate(() => document.activeElement.closest("tr")))) note("j goes to no row");
  await page.keyboard.press("/");
  if ((await page.evaluate(() => document.activeElement.id)) !== "status") note("/ does not go to the filters");
  // The chosen colours are those of every page, whatever the system has.
  const colour = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const before = await colour();
  await page.goto(`${origin}/system`);
  await page.getByRole("button", { name: "Dark" }).press("Enter");
  await page.waitForURL(`${origin}/system?done=theme`);
  await page.goto(`${origin}/`);
  if ((await colour()) === before) note("dark is as light");
  // Without scripts everything can be read, and a form be sent.
  const plain = await open({ javaScriptEnabled: false });
  await signIn(plain);
  await plain.goto(`${origin}/deliveries?status=delivered`);
  if (!(await plain.locator("tr[data-id]").count())) note("no rows without scripts");
  await plain.getByRole("button", { name: "Sign out" }).click();
  await plain.waitForURL(`${origin}/sign-in`);
  // In a frame of another site nothing is shown.
  const framing = createServer((_, response) => {
    response.setHeader("Content-Type", "text/html");
    response.end(`<iframe src="${origin}/sign-in"></iframe>`);
  });
  await new Promise((ready) => framing.listen(0, "127.0.0.1", ready));
  const context = await browser.newContext();
  const evil = await context.newPage();
  await evil.goto(`http://localhost:${framing.address().port}/`);
  const framed = evil.frames()[1];
  if (framed && (await framed.content()).includes("API key")) note("the page can be framed");
  framing.close();
}

let failure = null;
try {
  if (process.argv[2] === "--picture") {
    await picture(process.argv[3]);
  } else {
    await seed(true);
    for (const theme of ["light", "dark"]) {
      const page = await open({ colorScheme: theme, viewport: { width: 1440, height: 900 } });
      await page.goto(`${origin}/sign-in`);
      await look(page, "/sign-in", theme);
      await signIn(page);
      for (const path of await screens()) {
        console.log(`${theme} ${path}`);
        await look(page, path, theme);
      }
      if (theme === "light") for (const path of ["/", "/deliveries", "/subscriptions/1", "/keys"]) await walk(page, path);
    }
    await flows();
  }
} catch (error) {
  failure = error;
} finally {
  await browser.close();
  server.removeAllListeners("exit");
  server.kill("SIGTERM");
  receiver.close();
  receiver.closeAllConnections();
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}
if (failure) console.error(failure);
console.log(findings.length ? `${findings.length} findings` : "nothing was found");
process.exit(failure || findings.length ? 1 : 0);
